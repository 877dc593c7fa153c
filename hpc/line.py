"""A line between ranks that are coupled: messages as buffers, at the latency of MPI while something is expected.

Who waits looks without pause for a moment, since answers mostly come at once, then sleeps between looks: MPI's own waiting
would keep a core from the simulator it waits for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpc import stop
from hpc.errors import LaunchError
from hpc.message import Buffer

_TAG = 7471
_AT_ONCE_S = 0.0002  # looking without pause: answers of simulators that do little come by then
_EAGER_S = 0.02  # looking again and again, but letting others have the core in between
_LONGEST_NAP_S = 0.001


class Line:
    """Buffers to and from other ranks.

    Args:
        communicator: of mpi4py, e.g. ``COMM_WORLD``. The line takes a duplicate, so that nobody else's mail is read.

    Attributes:
        communicator: the line's own.
        rank, size: of the communicator.
    """

    def __init__(self, communicator: Any) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self.communicator = communicator.Dup()
        self.rank, self.size = int(communicator.rank), int(communicator.size)
        self._leaving: list[tuple[Any, Buffer]] = []

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

    def send(self, buffer: Buffer, rank: int) -> None:
        """Send without waiting; the buffer is kept until it has left."""
        self._leaving = [(request, held) for request, held in self._leaving if not request.Test()]
        request = self.communicator.Isend([buffer, self._mpi.BYTE], rank, _TAG)
        if not request.Test():
            self._leaving.append((request, buffer))

    def receive(self, ranks: Sequence[int] | None = None) -> tuple[int, Buffer]:
        """The next message, and where it comes from; from any rank, or from these.

        Raises:
            Stopped: a signal came while nothing did.
        """
        status = self._mpi.Status()
        begun, nap = time.perf_counter(), 0.0
        places = (self._mpi.ANY_SOURCE,) if ranks is None else ranks
        while True:
            for place in places:
                waiting = self.communicator.Improbe(place, _TAG, status)
                if waiting is not None:
                    buffer = np.empty(status.Get_count(self._mpi.BYTE), dtype=np.uint8)
                    waiting.Recv([buffer, self._mpi.BYTE])
                    return status.Get_source(), buffer
            waited = time.perf_counter() - begun
            if waited > _EAGER_S:
                stop.check()
                nap = min(_LONGEST_NAP_S, 2 * nap or 2e-5)
                time.sleep(nap)
            elif waited > _AT_ONCE_S:
                os.sched_yield()

    def flush(self) -> None:
        """Wait until everything has left."""
        for request, _ in self._leaving:
            request.Wait()
        self._leaving.clear()
