"""A line between ranks that are coupled: a wire to each of the others."""

from __future__ import annotations

from typing import Any

from hpc.errors import LaunchError
from hpc.wire import Wire


class Line:
    """Wires to other ranks.

    Args:
        communicator: of mpi4py, e.g. ``COMM_WORLD``. The line takes a duplicate, so that nobody else's mail is read.

    Attributes:
        communicator: the line's own.
        rank, size: of the communicator.
        ticket: that was used last, of those who number what they send over this line.
    """

    def __init__(self, communicator: Any) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self.communicator = communicator.Dup()
        self.rank, self.size = int(communicator.rank), int(communicator.size)
        self.ticket = 0
        self._wires: dict[int, Wire] = {}

    @classmethod
    def world(cls) -> Line:
        """Between all ranks of the job.

        Raises:
            LaunchError: no MPI library.
        """
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise LaunchError(
                f"simulators are placed on ranks, and MPI cannot be loaded ({error}); install an MPI runtime "
                "(pip install 'kakehashi[mpi]'), or run without a placement."
            ) from error
        return cls(MPI.COMM_WORLD)

    def wire(self, rank: int) -> Wire:
        """To one rank."""
        wire = self._wires.get(rank)
        if wire is None:
            wire = self._wires[rank] = Wire(self.communicator, self._mpi, rank)
        return wire

    def flush(self) -> None:
        """Wait until everything has left."""
        for wire in self._wires.values():
            wire.flush()

    def close(self) -> None:
        """Wait until everything has left, and expect nothing more."""
        for wire in self._wires.values():
            wire.flush()
            wire.forget()
