"""Ways to one other rank: what is sent there, by kind and what it is about, in forms that are told once and then only used."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc.form import Form
from hpc.scribe import Array, Group
from hpc.slot import Outgoing

if TYPE_CHECKING:
    from hpc.compiled_scribe import CompiledScribe

TAG = 7471
FORM = 0
"""In place of a form's number: its text follows."""
HEAD = struct.Struct("<qq")
"""Begins every message: the number of its form and a ticket, or `FORM` and the bytes of the text."""
_FORMS = 1024  # that the other end knows: some for each simulator
_NO_FACTS: Mapping[str, Any] = {}


class Lane:
    """A form that the other end was told, with the buffers of its messages."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.slots: list[Outgoing] = []


class Way:
    """Messages of one kind about one thing.

    Attributes:
        lane: of the latest message.
    """

    def __init__(self, ways: Ways, kind: int, about: int) -> None:
        self._ways, self._kind, self._about = ways, kind, about
        self.lane: Lane | None = None
        self._slot: Outgoing | None = None  # used last
        self._facts = False  # its form has some

    def send(
        self,
        one: Group,
        two: Group,
        three: Group,
        numbers: Sequence[float] = (),
        facts: Mapping[str, Any] = _NO_FACTS,
        ticket: int = 0,
    ) -> None:
        """Send a message without waiting; see `hpc.form.Message`. Large arrays must stay as they are until it has come.

        Raises:
            TypeError: an array of objects or records.
        """
        lane, slot = self.lane, self._slot
        if lane is not None and slot is not None and (not (facts or self._facts) or lane.form.says(facts)):
            try:
                large = slot.write(one, two, three, ticket, numbers)
                if large is None:
                    slot = self._slot = self._ways.idle(lane)
                    large = slot.write_patiently(one, two, three, ticket, numbers)
            except AttributeError:  # a list, or a number: told as arrays below
                large = None
            if large is not None:
                if large:
                    self._ways.leave(*(np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in large))
                return
        first, second, third = (
            {name: np.asarray(array) for name, array in group.items()} for group in (one, two, three)
        )
        self.use(self._ways.agreed(Form.of(self._kind, self._about, facts, (first, second, third), len(numbers))))
        self.send(first, second, third, numbers, facts, ticket)

    def use(self, lane: Lane | None) -> None:
        """Send in this form from now on; None: the other end does not know the one used so far any more."""
        self.lane = lane
        self._slot = None if lane is None else self._ways.idle(lane)
        self._facts = lane is not None and bool(lane.form.facts)


class Ways:
    """All that is sent to one rank.

    Args:
        communicator: of mpi4py.
        mpi: the module `mpi4py.MPI`.
        rank: at the other end.
        compiled: writes, where it can.
    """

    def __init__(self, communicator: Any, mpi: Any, rank: int, compiled: CompiledScribe | None) -> None:
        self._communicator, self._mpi, self._rank, self._compiled = communicator, mpi, rank, compiled
        self._ways: dict[tuple[int, int], Way] = {}
        self._told: dict[Any, Lane] = {}
        self._leaving: list[tuple[Any, Array]] = []

    def way(self, kind: int, about: int) -> Way:
        """For messages of one kind about one thing."""
        way = self._ways.get((kind, about))
        if way is None:
            way = self._ways[kind, about] = Way(self, kind, about)
        return way

    def agreed(self, form: Form) -> Lane:
        """The form as the other end knows it; it is told of it if it does not."""
        lane = self._told.get(form.key)
        if lane is None:
            form.number = len(self._told) + 1 if len(self._told) < _FORMS else self._forgotten()
            text = np.frombuffer(form.text(), dtype=np.uint8)
            self.leave(np.frombuffer(HEAD.pack(FORM, len(text)), dtype=np.uint8), text)
            lane = self._told[form.key] = Lane(form)
        return lane

    def idle(self, lane: Lane) -> Outgoing:
        """A buffer whose last message has left."""
        for slot in lane.slots:
            if slot.test():
                return slot
        slot = Outgoing(lane.form, self._persistent, self._mpi.BYTE, self._compiled)
        lane.slots.append(slot)
        return slot

    def leave(self, *contents: Array) -> None:
        """Send bytes as they are, which stay until they have left."""
        self._leaving = [(request, held) for request, held in self._leaving if not request.Test()]
        for content in contents:
            self._leaving.append((self._communicator.Isend([content, self._mpi.BYTE], self._rank, TAG), content))

    def flush(self) -> None:
        """Wait until everything has left."""
        for lane in self._told.values():
            for slot in lane.slots:
                slot.request.Wait()
        for request, _ in self._leaving:
            request.Wait()
        self._leaving.clear()

    def _persistent(self, content: list[Any]) -> Any:
        return self._communicator.Send_init(content, self._rank, TAG)

    def _forgotten(self) -> int:
        """The number of a form that the other end need not know any longer: the oldest that no way uses, or else the oldest."""
        used = {way.lane for way in self._ways.values()}
        key = next((key for key, lane in self._told.items() if lane not in used), next(iter(self._told)))
        oldest = self._told.pop(key)
        for way in self._ways.values():
            if way.lane is oldest:
                way.use(None)
        for slot in oldest.slots:
            slot.request.Wait()
            slot.request.Free()
        return oldest.form.number
