"""Parcels to and from other ranks, small ones in bundles, and which of the ranks have died.

Where the launcher was asked for it (Open MPI 5: `mpiexec --with-ft ulfm`), the death of a rank is an error of the calls that
concern it, and news that `lost` tells; everything else goes on. Only messages from one rank to another are used after the start:
these work among survivors without any repair of the communicator, whoever died and however many. Without fault tolerance MPI ends
the job by itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hpc import parcel

_LOOK_EVERY_S = 0.0005
_ROLL_CALL_EVERY_S = 0.02  # asking MPI who has died takes microseconds, at no rank's cost
_SMALL = 1 << 14  # bytes of a parcel that shares a message
FULL = 32  # parcels in one message
_ERRORS = ("ERR_PROC_FAILED", "ERR_PROC_FAILED_PENDING", "ERR_REVOKED")


def tolerates_faults(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the launcher lets a job go on without ranks that died: it tells each rank so before MPI starts."""
    return environment.get("OMPI_MCA_mpi_ft_enable", "").lower() in ("1", "t", "true", "enabled", "yes", "y")


class Post:
    """Parcels to and from other ranks. Sending never waits; parcels are kept until MPI has them delivered.

    Small parcels to the same rank wait for each other until `dispatch`, and travel in one message: a message costs more than
    what a small parcel takes to be made and read.

    Args:
        communicator: of all ranks.
        mpi: the module `mpi4py.MPI`.
        tolerant: whether the job goes on without ranks that died.

    Attributes:
        rank, size: of the communicator.
        lost: ranks that are known to be dead.
    """

    def __init__(self, communicator: Any, mpi: Any, *, tolerant: bool = False) -> None:
        self.rank, self.size = int(communicator.rank), int(communicator.size)
        self.tolerant = tolerant
        self.lost: set[int] = set()
        self._communicator, self._mpi = communicator, mpi
        self._trays: dict[int, list[bytearray]] = {}
        self._outgoing: list[tuple[int, Any, bytearray]] = []
        self._undeliverable: list[tuple[Any, bytearray]] = []  # MPI may still look at their memory
        self._called = 0.0
        self._status = mpi.Status()
        self._deadly = {getattr(mpi, name) for name in _ERRORS if hasattr(mpi, name)}

    def send(self, message: bytearray, rank: int) -> None:
        """Send a parcel, at the latest with the next `dispatch`; to a rank that has died it goes nowhere."""
        tray = self._trays.setdefault(rank, [])
        if len(message) <= _SMALL:
            tray.append(message)
            if len(tray) < FULL:
                return
        self._leave(rank, self._trays.pop(rank))
        if len(message) > _SMALL:
            self._leave(rank, [message])

    def dispatch(self) -> None:
        """Send what waits for company."""
        trays, self._trays = self._trays, {}
        for rank, tray in trays.items():
            self._leave(rank, tray)

    def _leave(self, rank: int, tray: list[bytearray]) -> None:
        if rank in self.lost or not tray:
            return
        message = tray[0] if len(tray) == 1 else parcel.bundle(tray)
        with self.surviving():
            request = self._communicator.Isend([message, self._mpi.BYTE], rank)
            self._outgoing.append((rank, request, message))

    def receive(self) -> list[tuple[int, bytearray]]:
        """What has arrived, with the ranks it comes from."""
        arrived: list[tuple[int, bytearray]] = []
        status = self._status
        while True:
            waiting = None
            with self.surviving():
                waiting = self._communicator.Improbe(self._mpi.ANY_SOURCE, self._mpi.ANY_TAG, status)
            if waiting is None:
                return arrived
            message = bytearray(status.Get_count(self._mpi.BYTE))
            with self.surviving():
                waiting.Recv([message, self._mpi.BYTE])
                rank = status.Get_source()
                arrived += [(rank, one) for one in parcel.unbundle(message)]

    def busy(self) -> bool:
        """Whether something is still on its way. Asking moves it on."""
        under_way: list[tuple[int, Any, bytearray]] = []
        for rank, request, message in self._outgoing:
            if rank in self.lost:
                self._undeliverable.append((request, message))
                continue
            with self.surviving():
                if not request.Test():
                    under_way.append((rank, request, message))
        self._outgoing = under_way
        return bool(under_way)

    def flush(self) -> None:
        """Wait until everything has left."""
        self.dispatch()
        while self.busy():
            self.roll_call()
            time.sleep(_LOOK_EVERY_S)

    def roll_call(self) -> set[int]:
        """Ranks that died since the last call."""
        if not self.tolerant or time.monotonic() - self._called < _ROLL_CALL_EVERY_S:
            return set()
        self._called = time.monotonic()
        failed = self._communicator.Get_failed()
        count = failed.Get_size()
        if count == len(self.lost):
            failed.Free()
            return set()
        own = self._communicator.Get_group()
        now = set(self._mpi.Group.Translate_ranks(failed, list(range(count)), own))
        own.Free()
        failed.Free()
        self._communicator.Ack_failed(count)  # else every look into the mail would be an error
        fresh, self.lost = now - self.lost, self.lost | now
        return fresh

    @contextmanager
    def surviving(self) -> Iterator[None]:
        """The death of a rank is no error of this one: the next roll call tells of it."""
        try:
            yield
        except self._mpi.Exception as error:
            if not self.tolerant or error.Get_error_class() not in self._deadly:
                raise
            self._called = 0.0
            self._acknowledge()

    def _acknowledge(self) -> None:
        failed = self._communicator.Get_failed()
        self._communicator.Ack_failed(failed.Get_size())
        failed.Free()
