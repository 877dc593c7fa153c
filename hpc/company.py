"""Ranks that act together: what the one that leads begins, all others take part in, until they are dismissed.

    company = Company(line)
    company.follow()                                 # returns at once on rank 0, and on others when they are dismissed
    if company.leads:
        with company.acting(part, about, *more):     # meanwhile the others run part(line, about, *more)
            ...
        company.dismiss()

A part is whatever answers over the line until the leader has what it wants (`coupling.remote.placed`). Who leads decides when to
stop: a signal to another rank waits until its part is over, and is reported then. Where the job outlives its ranks, the leader goes
on with those that are left; has it died itself, the lowest one alive returns from `follow` and leads.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np

from hpc import stop
from hpc.errors import RankLostError
from hpc.form import Array, Message
from hpc.line import Line
from hpc.understudy import Understudy

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
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self._about: Any = None
        self._heard: int | None = None
        self._dismissed = self.leads

    @property
    def leads(self) -> bool:
        """Whether this rank leads."""
        return self.line.rank == self.line.leader

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
                for rank in self.line.others:
                    number = self._reported(rank)
                    self._heard = number if self._heard is None else self._heard
                if stopping:  # obeyed already: launchers send one signal to all ranks
                    self._heard = None
                self._pass_on()

    def follow(self, understudy: Understudy[Any] | None = None) -> None:
        """Take part until the leader dismisses, or until this rank leads; a signal is passed on. Where it leads, and once
        dismissed, do nothing.

        Args:
            understudy: what leading needs; made ready on the rank that is next in line, where a job outlives the one that leads.
        """
        if self._dismissed or self.leads:
            return
        with stop.deferred():
            while not self._dismissed:
                try:
                    self._take_part(understudy)
                except RankLostError:
                    self.line.elect()
                    if self.leads:
                        self._about = None  # what it is about from now on, nobody has heard yet
                        self._pass_on()
                        return
            self.line.flush()
            stop.forget()

    def dismiss(self) -> None:
        """Let the other ranks go. Where the job outlives its ranks, wait until they know: else they take this one's end for its death."""
        if not self.leads:
            return
        self._send(Kind.DISMISS)
        if self.line.tolerant:
            for rank in self.line.others:
                self._reported(rank)

    def _take_part(self, understudy: Understudy[Any] | None) -> None:
        """Do what the leader asks for next. Raises `RankLostError` where it has died."""
        leader = self.line.leader
        if understudy is not None and self._next_in_line():
            understudy.begin()
        asked = self._awaited(leader, Kind.ACT, Kind.DISMISS)
        self._dismissed = asked.kind == Kind.DISMISS
        if not self._dismissed:
            if understudy is not None:
                understudy.wait()
            blocks, (call, known) = asked.groups[0], map(int, asked.numbers)
            if known:
                self._about = pickle.loads(blocks["about"][:known].tobytes())
            part, more = pickle.loads(blocks["call"][:call].tobytes())
            self._play(part, more)
        elif not self.line.tolerant:
            return
        if self._heard is None and (pending := stop.requested()) is not None:  # came while messages left no pause
            self._heard = pending
            stop.forget()
        self._tell(leader, Kind.REPORT, facts={"signal": self._heard})
        self._heard = None

    def _next_in_line(self) -> bool:
        """Whether this rank leads if the one that leads dies."""
        if not self.line.tolerant:
            return False
        self.line.call_roll()
        return self.line.rank == min(rank for rank in (self.line.rank, *self.line.others) if rank != self.line.leader)

    def _reported(self, rank: int) -> int | None:
        """The signal that a rank tells of at the end of its part; none where it has died."""
        try:
            return self._awaited(rank, Kind.REPORT).facts["signal"]
        except RankLostError:
            return None

    def _send(
        self,
        kind: Kind,
        blocks: Mapping[str, Array] | None = None,
        numbers: Sequence[float] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        for rank in self.line.others:
            self._tell(rank, kind, blocks, numbers, facts)
        self.line.flush()

    def _tell(
        self,
        rank: int,
        kind: Kind,
        blocks: Mapping[str, Array] | None = None,
        numbers: Sequence[float] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Send to a rank; to one that has died it goes nowhere."""
        try:
            self.line.wire(rank).send(kind, 0, (blocks or {}, {}, {}), numbers, facts or {})
        except Exception as error:
            if not self.line.died(rank, error):
                raise

    def _play(self, part: Part, more: Sequence[Any]) -> None:
        """A part, to its end: it answers over the line only, so that one which a signal broke off between two messages is begun again."""
        while True:
            try:
                return part(self.line, self._about, *more)
            except stop.Stopped as stopped:
                self._heard = stopped.signal_number
                stop.forget()
            except Exception as error:
                if self.line.died(self.line.leader, error):
                    raise RankLostError(self.line.leader) from None
                raise

    def _awaited(self, rank: int, *kinds: Kind) -> Message:
        """The next message of these kinds from a rank, whatever signal comes; what is left over from a part that was broken off goes.

        Raises:
            RankLostError: it has died.
        """
        with stop.deferred():
            while True:
                try:
                    found = self.line.receive(rank)
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
