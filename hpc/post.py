"""Parcels to and from other ranks, small ones in bundles.

Only messages from one rank to another are used after the start: where the job outlives its ranks (`hpc.roll`), these work among
survivors without any repair of the communicator, whoever died and however many.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hpc import parcel
from hpc.roll import Roll

_LOOK_EVERY_S = 0.0005
_SMALL = 1 << 14  # bytes of a parcel that shares a message
FULL = 32  # parcels in one message
_TAG = 0  # which mpi4py gives what it sends; wires on the same communicator have another (`hpc.wire`)


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
    """

    def __init__(self, communicator: Any, mpi: Any, *, tolerant: bool = False) -> None:
        self.rank, self.size = int(communicator.rank), int(communicator.size)
        self.tolerant = tolerant
        self._roll = Roll(communicator, mpi, tolerant=tolerant)
        self._communicator, self._mpi = communicator, mpi
        self._trays: dict[int, list[bytearray]] = {}
        self._outgoing: list[tuple[int, Any, bytearray]] = []
        self._undeliverable: list[tuple[Any, bytearray]] = []  # MPI may still look at their memory
        self._put_back: list[tuple[int, bytearray]] = []
        self._status = mpi.Status()

    @property
    def lost(self) -> set[int]:
        """Ranks that are known to be dead."""
        return self._roll.lost

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
        arrived, self._put_back = self._put_back, []
        status = self._status
        while True:
            waiting = None
            with self.surviving():
                waiting = self._communicator.Improbe(self._mpi.ANY_SOURCE, _TAG, status)
            if waiting is None:
                return arrived
            message = bytearray(status.Get_count(self._mpi.BYTE))
            with self.surviving():
                waiting.Recv([message, self._mpi.BYTE])
                rank = status.Get_source()
                arrived += [(rank, one) for one in parcel.unbundle(message)]

    def put_back(self, mail: Sequence[tuple[int, bytearray]]) -> None:
        """Leave what was received to whoever receives next."""
        self._put_back += mail

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
        return self._roll.call()

    @contextmanager
    def surviving(self) -> Iterator[None]:
        """The death of a rank is no error of this one: the next roll call tells of it."""
        with self._roll.surviving():
            yield
