"""A wire to one other rank: messages of agreed forms, at the latency of MPI while something is expected.

A form is told once (its number and its text) and then only used. Buffers and MPI's requests on both sides are made once and used
again: to read from when nobody holds a part of what was read any more. What can be done before a message comes, is.

Who waits looks without pause for a moment, since answers mostly come at once, then lets others have the core between looks, then
sleeps between them: MPI's own waiting would keep a core from the simulator it waits for.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from sys import getrefcount
from typing import Any

import numpy as np

from hpc import stop
from hpc.form import Array, Buffer, Form, Groups, Message, Place, copied

_TAG = 7471
_HEAD = struct.Struct("<qq")
_FORM = 0  # in place of a form's number: its text follows
_FORMS = 32  # that either end is told; a run has a handful
_CAPACITY = 1024  # bytes of the first buffers to receive into
_BUFFERS = 8  # to receive into, and as many large arrays of each kind
_SHARE = 8  # an array so many times smaller than its buffer is copied from it: it would keep all of it
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
        sent, received: forms of the latest messages.
        kept: for the reader: arrays that stay the same from message to message, by what these are about.
    """

    def __init__(self, communicator: Any, mpi: Any, rank: int) -> None:
        self._communicator, self._mpi, self._rank = communicator, mpi, rank
        self.sent: Form | None = None
        self.received: Form | None = None
        self.kept: dict[int, Array] = {}
        self._lanes: dict[tuple[int, int], _Lane] = {}  # by kind and what it is about: that of the latest message
        self._told: dict[tuple[bytes, str], _Lane] = {}
        self._known: dict[int, Form] = {}
        self._leaving: list[tuple[Any, Array]] = []
        self._incoming: list[_Slot] = []
        self._large: dict[tuple[np.dtype[Any], tuple[int, ...]], list[Array]] = {}
        self._capacity = _CAPACITY
        self._posted: _Slot | None = None
        self._at_once_s = _AT_ONCE_S

    def send(
        self,
        kind: int,
        about: int,
        groups: Groups,
        numbers: Sequence[float] = (),
        facts: Mapping[str, Any] = _NO_FACTS,
        ticket: int = 0,
    ) -> None:
        """Send a message without waiting; see `hpc.form.Message`. Large arrays must stay as they are until it has come.

        Raises:
            TypeError: an array of objects or records.
        """
        lane = self._lanes.get((kind, about))
        if lane is not None and lane.form.says(facts, len(numbers)):
            slot = lane.slot
            if not slot.test():
                slot = lane.slot = self._outgoing(lane)
            try:
                large = copied(groups, slot.places)
            except AttributeError:  # a list, or a number: told as arrays below
                large = None
            if large is not None:
                form = self.sent = lane.form
                form.head.pack_into(slot.block, 0, form.number, ticket, *numbers)
                slot.start()
                for array in large:
                    self._leave(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
                return
        first, second, third = ({name: np.asarray(array) for name, array in group.items()} for group in groups)
        self._agree(kind, about, facts, (first, second, third), len(numbers))
        self.send(kind, about, (first, second, third), numbers, facts, ticket)

    def expect(self) -> Message | None:
        """Something will come: be ready for it. Returns the message that will come if it has the form of the latest one."""
        if self._posted is not None:
            return None
        for slot in self._incoming:
            if slot.free():
                break
        else:
            if len(self._incoming) >= _BUFFERS:
                self._incoming.pop(0).request.Free()  # its memory lives as long as somebody holds a part of it
            slot = _Slot(self._capacity)
            slot.serve(self._communicator.Recv_init([slot.buffer, self._mpi.BYTE], self._rank, _TAG))
            self._incoming.append(slot)
        slot.start()
        self._posted = slot
        if self.received is not None:
            slot.open(self.received)
        return slot.message

    def receive(self) -> Message:
        """The next message. Its arrays are the reader's as long as the reader wants them.

        Raises:
            Stopped: a signal came while nothing did.
        """
        if self._posted is None:
            self.expect()
        slot, form = self._posted, self.received
        assert slot is not None
        if not slot.test():
            self._at_once_s = _wait(slot.test, self._at_once_s)
        self._posted = None
        message, slot.message = slot.message, None
        if form is not None:
            head = form.head.unpack_from(slot.block)
            if head[0] == form.number:
                message = message or form.message(self._arrays(slot, form))
                message.ticket, message.numbers = head[1], head[2:]
                return message
        message = None
        number, length = _HEAD.unpack_from(slot.block)
        if number == _FORM:
            content = np.empty(length, dtype=np.uint8)
            self._communicator.Recv([content, self._mpi.BYTE], self._rank, _TAG)
            self._learn(Form.read(content.tobytes()))
            return self.receive()
        form = self.received = self._known[number]
        slot.open(form)
        message, slot.message = slot.message or form.message(self._arrays(slot, form)), None
        head = form.head.unpack_from(slot.block)
        message.ticket, message.numbers = head[1], head[2:]
        return message

    def flush(self) -> None:
        """Wait until everything has left."""
        for lane in self._told.values():
            for slot in lane.slots:
                slot.request.Wait()
        for request, _ in self._leaving:
            request.Wait()
        self._leaving.clear()

    def forget(self) -> None:
        """Expect nothing more: what comes now is lost, and so is the wire."""
        if self._posted is not None:
            self._posted.request.Cancel()
            self._posted.request.Wait()
            self._posted = None

    def _agree(self, kind: int, about: int, facts: Mapping[str, Any], groups: Groups, count: int) -> None:
        """Use the form of these contents from now on; the other end is told of it if it does not know it."""
        form = Form.of(kind, about, facts, groups, count)
        key = (form.text(), form.said)  # numbers of numpy read like Python's, and are said otherwise
        lane = self._told.get(key)
        if lane is None:
            form.number = len(self._told) + 1
            if form.number > _FORMS:  # the oldest makes room
                oldest = self._told.pop(next(iter(self._told)))
                form.number = oldest.form.number
                self._lanes = {place: one for place, one in self._lanes.items() if one is not oldest}
                for slot in oldest.slots:
                    slot.request.Wait()
                    slot.request.Free()
            text = np.frombuffer(form.text(), dtype=np.uint8)
            self._leave(np.frombuffer(_HEAD.pack(_FORM, len(text)), dtype=np.uint8))
            self._leave(text)
            lane = self._told[key] = _Lane(form)
            lane.slot = self._outgoing(lane)
        self._lanes[kind, about] = lane

    def _outgoing(self, lane: _Lane) -> _Slot:
        """A buffer whose last message has left."""
        for slot in lane.slots:
            if slot.test():
                return slot
        slot = _Slot(lane.form.total)
        slot.places = lane.form.places(slot.buffer)
        slot.serve(self._communicator.Send_init([slot.buffer, self._mpi.BYTE], self._rank, _TAG))
        lane.slots.append(slot)
        return slot

    def _leave(self, content: Array) -> None:
        self._leaving = [(request, held) for request, held in self._leaving if not request.Test()]
        self._leaving.append((self._communicator.Isend([content, self._mpi.BYTE], self._rank, _TAG), content))

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

    def _arrays(self, slot: _Slot, form: Form) -> list[Array]:
        """All arrays of a message whose block is here: small ones copied, others lent, large ones still to come."""
        least = slot.least
        packed = iter(slot.views)
        found: list[Array] = []
        for dtype, shape, start in zip(form.dtypes, form.shapes, form.starts, strict=True):
            if start >= 0:
                view = next(packed)
                found.append(view if view.nbytes > least else view.copy())
                continue
            array = self._room(dtype, shape)
            self._communicator.Recv([array.reshape(-1).view(np.uint8), self._mpi.BYTE], self._rank, _TAG)
            found.append(array)
        return found

    def _room(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        """A large array that nobody holds: memory that was written before is much faster than new memory."""
        kept = self._large.setdefault((dtype, shape), [])
        for i in range(len(kept)):
            if getrefcount(kept[i]) == 2:  # the list's, and that of the question
                return kept[i]
        if len(kept) >= _BUFFERS:
            kept.pop(0)
        kept.append(np.empty(shape, dtype))
        return kept[-1]


class _Lane:
    """A form that the other end was told, with the buffers of its messages; `slot` is the one used last."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.slots: list[_Slot] = []
        self.slot: _Slot


class _Slot:
    """A buffer with its request, and the places in it of the arrays of one form."""

    def __init__(self, size: int) -> None:
        self.buffer: Buffer = np.empty(size, dtype=np.uint8)
        self.block = self.buffer.data
        self.least = size // _SHARE if size > _CAPACITY else -1  # bytes up to which an array is copied
        self.request: Any = None
        self.start: Callable[[], None]
        self.test: Callable[[], bool]
        self.views: list[Array] = []  # what is read from here
        self.places: list[tuple[list[str], list[Place]]] = []  # where what is sent from here goes
        self.message: Message | None = None  # made ready, where all of it lies here
        self._form: Form | None = None
        self._plain = False
        self._bare = self._alone = 0  # references to the buffer by itself; to all of it, while nobody holds any

    def serve(self, request: Any) -> None:
        """Be the buffer of a persistent request."""
        self.request, self.start, self.test = request, request.Start, request.Test
        self._bare = self._alone = getrefcount(self.buffer)

    def open(self, form: Form) -> None:
        """Make ready for a message of this form."""
        if form is not self._form:
            self._form, self.views = form, form.views(self.buffer)
            self._plain = not form.large and all(view.nbytes > self.least for view in self.views)
            self.message = None
            # not what is counted now: a part of a message of another form may still be held. A view counts as one of the buffer's
            self._alone = self._bare + len(self.views) + sum(map(getrefcount, self.views))
        if self._plain:
            self.message = form.message(self.views)

    def free(self) -> bool:
        """Whether nobody holds any of what was lent: counted references are as before. Views of views count as the buffer's."""
        return self._held() == self._alone

    def _held(self) -> int:
        return getrefcount(self.buffer) + sum(map(getrefcount, self.views))


def _wait(test: Callable[[], bool], at_once_s: float) -> float:
    """Wait; returns for how long to look without pause the next time: briefly where messages are long in coming."""
    begun = time.perf_counter()
    waited = 0.0
    while waited < at_once_s:
        for _ in range(_LOOKS):
            if test():
                return at_once_s
        waited = time.perf_counter() - begun
    while not test():
        waited = time.perf_counter() - begun
        if waited < _EAGER_S:
            os.sched_yield()
        else:
            stop.check()
            time.sleep(min(_LONGEST_NAP_S, _NAP_SHARE * waited))
    return _AT_ONCE_S if waited < _AT_ONCE_S else _GLANCE_S
