"""A wire to one other rank: messages of agreed forms, at the latency of MPI while something is expected.

A form is told once (its number and its text) and then only used. Buffers and MPI's requests on both sides are made once and used
again: to read from when nobody holds a part of what was read any more. What can be done before a message comes, is.

Who waits looks without pause for a moment, since answers mostly come at once, then lets others have the core between looks, then
sleeps between them: MPI's own waiting would keep a core from the simulator it waits for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import cache
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc import stop
from hpc.form import Form, Groups, Message
from hpc.scribe import Array
from hpc.slot import CAPACITY, Head, Incoming, Look
from hpc.way import FORM, HEAD, TAG, Way, Ways

if TYPE_CHECKING:
    from hpc.compiled_scribe import CompiledScribe

_BUFFERS = 8  # to receive into, and as many large arrays of each kind
_HELD_ONCE = [*map(getrefcount, [object()])]  # what is counted of something that only a list holds
_NO_FACTS: Mapping[str, Any] = {}

_LOOKS = 100  # between two looks at the clock
_AT_ONCE_S = 0.0005  # looking without pause, while messages come so soon
_GLANCE_S = 0.00005  # and while they do not
_EAGER_S = 0.002  # looking again and again, but letting others have the core in between
_NAP_SHARE, _LONGEST_NAP_S = 1 / 16, 0.001  # of the time waited so far


class Wire:
    """Messages to and from one rank.

    Args:
        communicator: of mpi4py, which nobody else uses.
        mpi: the module `mpi4py.MPI`.
        rank: at the other end.

    Attributes:
        received: form of the latest message.
        kept: for the reader: arrays that stay the same from message to message, by what these are about.
    """

    def __init__(self, communicator: Any, mpi: Any, rank: int) -> None:
        self._communicator, self._mpi, self._rank = communicator, mpi, rank
        self.received: Form | None = None
        self.kept: dict[int, Array] = {}
        self._compiled = _compiled(mpi)
        self._ways = Ways(communicator, mpi, rank, self._compiled)
        self._known: dict[int, Form] = {}
        self._incoming: list[Incoming] = []
        self._large: dict[tuple[np.dtype[Any], tuple[int, ...]], list[Array]] = {}
        self._capacity = CAPACITY
        self._posted: Incoming | None = None
        self._at_once_s = _AT_ONCE_S

    def way(self, kind: int, about: int) -> Way:
        """For messages of one kind about one thing: who sends many asks once."""
        return self._ways.way(kind, about)

    def send(
        self,
        kind: int,
        about: int,
        groups: Groups,
        numbers: Sequence[float] = (),
        facts: Mapping[str, Any] = _NO_FACTS,
        ticket: int = 0,
    ) -> None:
        """Send one message; see `Way.send`."""
        self._ways.way(kind, about).send(*groups, numbers, facts, ticket)

    def expect(self) -> Message | None:
        """Something will come: be ready for it. Returns the message that will come if it has the form of the latest one."""
        if self._posted is not None:
            return None
        for slot in self._incoming:
            if slot.begin():
                break
        else:
            if len(self._incoming) >= _BUFFERS:
                self._incoming.pop(0).request.Free()  # its memory lives as long as somebody holds a part of it
            slot = Incoming(self._capacity, self._persistent, self._mpi.BYTE, self._compiled)
            slot.begin()
            self._incoming.append(slot)
        self._posted = slot
        if self.received is not None:
            slot.foresee(self.received)
        return slot.message

    def receive(self) -> Message:
        """The next message. Its arrays are the reader's as long as the reader wants them.

        Raises:
            Stopped: a signal came while nothing did.
        """
        if self._posted is None:
            self.expect()
        slot = self._posted
        assert slot is not None
        head = slot.look(1)
        if head is None:
            head, self._at_once_s = _waited(slot.look, self._at_once_s)
        self._posted, message = None, slot.message
        if head and message is not None:
            slot.message = None
            message.ticket, message.numbers = head
            return message
        return self._read(slot)

    def flush(self) -> None:
        """Wait until everything has left."""
        self._ways.flush()

    def forget(self) -> None:
        """Expect nothing more: what comes now is lost, and so is the wire."""
        if self._posted is not None:
            self._posted.request.Cancel()
            self._posted.request.Wait()
            self._posted = None

    def _persistent(self, content: list[Any]) -> Any:
        return self._communicator.Recv_init(content, self._rank, TAG)

    def _read(self, slot: Incoming) -> Message:
        """A message that was not made ready: it has another form than the one before, or not all of it is here."""
        slot.message = None
        number, length = HEAD.unpack_from(slot.block)
        if number == FORM:
            content = np.empty(length, dtype=np.uint8)
            self._communicator.Recv([content, self._mpi.BYTE], self._rank, TAG)
            self._learn(Form.read(content.tobytes()))
            return self.receive()
        form = self.received = self._known[number]
        slot.foresee(form)
        message, slot.message = slot.message or form.message(*self._arrays(slot, form)), None
        head = form.head.unpack_from(slot.block)
        message.ticket, message.numbers = head[1], head[2:]
        return message

    def _learn(self, form: Form) -> None:
        """A form that the other end will use from now on."""
        grows = self._capacity < form.total
        if grows:
            self._capacity = form.total
        if grows or form.number in self._known:  # buffers are too small, or have places of another form by this number
            for slot in self._incoming:
                slot.request.Free()
            self._incoming.clear()
            self.received = None
        self._known[form.number] = form

    def _arrays(self, slot: Incoming, form: Form) -> list[Array]:
        """All arrays of a message whose block is here: small ones copied, others lent, large ones still to come."""
        packed = iter(slot.views)
        found: list[Array] = []
        for dtype, shape, start in zip(form.dtypes, form.shapes, form.starts, strict=True):
            if start >= 0:
                view = next(packed)
                found.append(view if view.nbytes > slot.least else view.copy())
                continue
            array = self._room(dtype, shape)
            self._communicator.Recv([array.reshape(-1).view(np.uint8), self._mpi.BYTE], self._rank, TAG)
            found.append(array)
        return found

    def _room(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        """A large array that nobody holds: memory that was written before is much faster than new memory."""
        kept = self._large.setdefault((dtype, shape), [])
        for i, count in enumerate([*map(getrefcount, kept)]):
            if count == _HELD_ONCE[0]:
                return kept[i]
        if len(kept) >= _BUFFERS:
            kept.pop(0)
        kept.append(np.empty(shape, dtype))
        return kept[-1]


def _waited(look: Look, at_once_s: float) -> tuple[Head, float]:
    """What came, and for how long to look without pause the next time: briefly where messages are long in coming."""
    begun = time.perf_counter()
    waited = 0.0
    while waited < at_once_s:
        head = look(_LOOKS)
        if head is not None:
            return head, at_once_s
        waited = time.perf_counter() - begun
    while (head := look(1)) is None:
        waited = time.perf_counter() - begun
        if waited < _EAGER_S:
            os.sched_yield()
        else:
            stop.check()
            time.sleep(min(_LONGEST_NAP_S, _NAP_SHARE * waited))
    return head, _AT_ONCE_S if waited < _AT_ONCE_S else _GLANCE_S


@cache
def _compiled(mpi: Any) -> CompiledScribe | None:
    """What writes and looks in compiled code; None where that cannot be: the scribe in Python then does everything."""
    try:
        from hpc.compiled_scribe import CompiledScribe

        return CompiledScribe.of(mpi)
    except (ImportError, RuntimeError):  # RuntimeError: numba finds no folder to keep what it compiled
        return None
