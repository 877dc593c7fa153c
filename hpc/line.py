"""A line between ranks that are coupled: a wire to each of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpc.errors import LaunchError, RankLostError
from hpc.form import Message
from hpc.roll import Roll, tolerates_faults
from hpc.wire import Wire


class Line:
    """Wires to other ranks.

    Args:
        communicator: of mpi4py, e.g. ``COMM_WORLD``.
        copy: whether the line takes a duplicate, so that nobody else's mail is read. That takes all ranks to make, and so none may
            die meanwhile; without, what else is said on the communicator must have other tags than a `Wire`.

    Attributes:
        communicator: the line's own.
        rank, size: of the communicator.
        leader: the rank that asks, while the others answer: the first, or where that has died the lowest one alive.
        ticket: that was used last, of those who number what they send over this line.
        on_loss: told of each rank that is found dead.
    """

    def __init__(self, communicator: Any, *, copy: bool = True) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self.communicator = communicator.Dup() if copy else communicator
        self.rank, self.size = int(communicator.rank), int(communicator.size)
        self.leader = self.ticket = 0
        self.on_loss: Callable[[int], None] | None = None
        self._roll = Roll(self.communicator, MPI, tolerant=tolerates_faults())
        self._lost: set[int] = set()
        self._wires: dict[int, Wire] = {}

    @classmethod
    def world(cls) -> Line:
        """Between all ranks of the job.

        Raises:
            LaunchError: no MPI library.
        """
        try:
            import mpi4py

            if tolerates_faults():
                mpi4py.rc.finalize = False  # would wait for all ranks, the dead among them
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise LaunchError(
                f"simulators are placed on ranks, and MPI cannot be loaded ({error}); install an MPI runtime "
                "(pip install 'kakehashi[mpi]'), or run without a placement."
            ) from error
        return cls(MPI.COMM_WORLD)

    @property
    def tolerant(self) -> bool:
        """Whether the job goes on without ranks that died."""
        return self._roll.tolerant

    @property
    def lost(self) -> frozenset[int]:
        """Ranks that are known to be dead."""
        return frozenset(self._lost)

    @property
    def others(self) -> tuple[int, ...]:
        """Ranks that are alive as far as is known, but for this one."""
        return tuple(rank for rank in range(self.size) if rank != self.rank and rank not in self._lost)

    def wire(self, rank: int) -> Wire:
        """To one rank. Whatever its calls raise is for `died` to judge."""
        wire = self._wires.get(rank)
        if wire is None:
            wire = self._wires[rank] = Wire(self.communicator, self._mpi, rank)
        return wire

    def receive(self, rank: int) -> Message:
        """The next message from a rank.

        Raises:
            RankLostError: it has died.
        """
        if rank not in self._lost:
            try:
                return self.wire(rank).receive()
            except Exception as error:
                if not self.died(rank, error):
                    raise
        raise RankLostError(rank)

    def died(self, rank: int, error: Exception) -> bool:
        """Whether this error of a rank's wire is its death; from now on that rank is among the lost."""
        if not self._roll.is_death(error):
            return False
        self._lose({rank} | self._roll.call(now=True))
        return True

    def call_roll(self) -> None:
        """Look who has died since the last call."""
        self._lose(self._roll.call())

    def elect(self) -> int:
        """Who leads now: the lowest rank that is alive. Each rank finds that out by itself."""
        self._lose(self._roll.call(now=True))
        self.leader = next(rank for rank in range(self.size) if rank not in self._lost)
        return self.leader

    def _lose(self, ranks: set[int]) -> None:
        for rank in sorted(ranks - self._lost):
            self._lost.add(rank)
            if self.on_loss is not None:
                self.on_loss(rank)

    def flush(self) -> None:
        """Wait until everything has left, but for what ranks were to get that have died."""
        for rank in self.others:
            if rank in self._wires:
                try:
                    self._wires[rank].flush()
                except Exception as error:
                    if not self.died(rank, error):
                        raise

    def close(self) -> None:
        """Wait until everything has left, and expect nothing more."""
        self.flush()
        for rank in self.others:
            if rank in self._wires:
                self._wires[rank].forget()
