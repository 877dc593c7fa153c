"""Ranks that act together: what rank 0 begins, all others take part in, until they are dismissed.

    company = Company(line)
    if company.leads:
        with company.acting(part, about, *more):     # meanwhile the others run part(line, about, *more)
            ...
        company.dismiss()
    else:
        company.follow()

A part is whatever answers over the line until rank 0 has what it wants (`coupling.remote.placed`). Who leads decides when to
stop: a signal to another rank waits until its part is over, and is reported then.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np

from hpc import stop
from hpc.form import Array, Message
from hpc.line import Line

Part = Callable[..., None]


class Kind(IntEnum):
    """What a message is; other kinds on the same line are those of a part."""

    AGREED = 100
    ACT = 101
    REPORT = 102
    DISMISS = 103


class Company:
    """All ranks of a line.

    Args:
        line: between them.

    Attributes:
        line: the same.
        leads: whether this is rank 0.
    """

    def __init__(self, line: Line) -> None:
        self.line, self.leads = line, line.rank == 0
        self._about: Any = None
        self._heard: int | None = None
        self._dismissed = self.leads

    def agreed(self, say: Callable[[], Sequence[str]]) -> tuple[str, ...]:
        """Words of rank 0 on every rank; none on the others where `say` raises on rank 0."""
        if not self.leads:
            try:
                return tuple(str(self._awaited(0, Kind.AGREED).facts["words"]).split())
            finally:
                self._pass_on()
        words: tuple[str, ...] = ()
        try:
            words = tuple(say())
            return words
        finally:
            self._send(Kind.AGREED, facts={"words": " ".join(words)})

    @contextmanager
    def acting(self, part: Part, about: Any, *more: Any) -> Iterator[None]:
        """Within the block all other ranks run ``part(line, about, *more)``, which the block must bring to its end.

        Args:
            part: a function of a module, which is pickled by its name.
            about: what it is about; sent once as long as it stays the same object.
            more: what differs from call to call.

        Raises:
            Stopped: after the block, where a signal came to any rank.
        """
        changed = about is not self._about
        self._about = about
        call = pickle.dumps((part, more), protocol=5)
        known = pickle.dumps(about, protocol=5) if changed else b""
        blocks = {"call": _block(call), "about": _block(known)}
        with stop.deferred():  # half a message would leave the others waiting
            self._send(Kind.ACT, blocks, (len(call), len(known)))
            stopping = False
            try:
                yield
            except stop.Stopped:
                stopping = True
                raise
            finally:
                told = [self._awaited(rank, Kind.REPORT).facts["signal"] for rank in range(1, self.line.size)]
                for number in told:
                    self._heard = number if self._heard is None else self._heard
                if stopping:  # obeyed already: launchers send one signal to all ranks
                    self._heard = None
                self._pass_on()

    def follow(self) -> None:
        """Take part until rank 0 dismisses; a signal is passed on to it. On rank 0, and afterwards, do nothing."""
        if self._dismissed:
            return
        with stop.deferred():
            while (asked := self._awaited(0, Kind.ACT, Kind.DISMISS)).kind != Kind.DISMISS:
                blocks, (call, known) = asked.groups[0], map(int, asked.numbers)
                if known:
                    self._about = pickle.loads(blocks["about"][:known].tobytes())
                part, more = pickle.loads(blocks["call"][:call].tobytes())
                self._play(part, more)
                if (
                    self._heard is None and (pending := stop.requested()) is not None
                ):  # came while messages left no pause
                    self._heard = pending
                    stop.forget()
                self.line.wire(0).send(Kind.REPORT, 0, ({}, {}, {}), facts={"signal": self._heard})
                self._heard = None
            self._dismissed = True
            self.line.flush()
            stop.forget()

    def dismiss(self) -> None:
        """Let the other ranks go."""
        if self.leads:
            self._send(Kind.DISMISS)

    def _send(
        self,
        kind: Kind,
        blocks: Mapping[str, Array] | None = None,
        numbers: Sequence[float] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        for rank in range(1, self.line.size):
            self.line.wire(rank).send(kind, 0, (blocks or {}, {}, {}), numbers, facts or {})
        self.line.flush()

    def _play(self, part: Part, more: Sequence[Any]) -> None:
        """A part, to its end: it answers over the line only, so that one which a signal broke off between two messages is begun again."""
        while True:
            try:
                return part(self.line, self._about, *more)
            except stop.Stopped as stopped:
                self._heard = stopped.signal_number
                stop.forget()

    def _awaited(self, rank: int, *kinds: Kind) -> Message:
        """The next message of these kinds from a rank, whatever signal comes; what is left over from a part that was broken off goes."""
        with stop.deferred():
            while True:
                try:
                    found = self.line.wire(rank).receive()
                except stop.Stopped as stopped:
                    self._heard = stopped.signal_number
                    stop.forget()
                    continue
                if found.kind in kinds:
                    return found

    def _pass_on(self) -> None:
        """What was heard while this rank could not stop waits to be obeyed."""
        if self._heard is not None:
            stop.request(self._heard)
        self._heard = None


def _block(content: bytes) -> Array:
    """Bytes, filled up to a power of two: calls of like lengths go in messages of one form."""
    block = np.zeros(1 << len(content).bit_length(), dtype=np.uint8)
    block[: len(content)] = np.frombuffer(content, dtype=np.uint8)
    return block
