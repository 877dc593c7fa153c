"""Tasks on the rank that leads, one after the other, whose simulators run on the other ranks: those answer for them and take no tasks.

Every rank computes in its own process here, so that a crash in compiled code costs a rank. Where the launcher tolerates faults
(`hpc.roll`) the others go on: simulators of a rank that died are placed anew, and if it led, the lowest one alive leads in its place
and goes on with what the journal holds. Where it does not, the job ends; what is in the journal stays.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from hpc import parcel, stop
from hpc.company import Company
from hpc.line import Line
from hpc.parcel import Kind
from hpc.placement import Placement, shown
from hpc.post import Post
from hpc.serial import SerialExecutor
from hpc.understudy import Understudy

_LOOK_EVERY_S = 0.0005


class PlacedExecutor(SerialExecutor):
    """The executor of one rank of a job whose ranks answer for simulators.

    Args:
        company: all ranks.
        placement: who runs where, as it was asked for.
        announce: tells the others that there is a placement: done again by who comes to lead.

    Attributes:
        losses: who has died and what was placed where, in words.
        say: is told each of them at once.
    """

    kind: Literal["serial", "processes", "mpi", "futures"] = "mpi"

    def __init__(self, company: Company, placement: Placement, *, announce: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.company, self.placement = company, placement
        self.is_root = company.leads
        self.took_over = self.is_root and company.line.rank != 0
        self.ranks = company.line.size
        self.losses: list[str] = []
        self.say: Callable[[str], None] = _aloud
        self._announce = announce
        self._now = placement
        company.line.on_loss = self._lost

    @property
    def cast(self) -> str:
        """Who runs where, in words."""
        line = self.company.line
        idle = [rank for rank in self._now.idle(self.ranks) if rank in line.others]
        rest = f"; nothing for {shown(idle)} to do" if idle else ""
        return f"{len(line.others) + 1} MPI rank{'s' * bool(line.others)}, {self._now}, all else on {line.leader}{rest}"

    def serve(self, understudy: Understudy[Any] | None = None) -> None:
        """Answer for simulators until the tasks are done, or until this rank has to lead; where it does, do nothing."""
        if self.is_root:
            return
        try:
            self.company.follow(understudy)
        finally:
            if self.company.leads:
                self.is_root = self.took_over = True
                self._take_stock()
                if self._announce is not None:
                    self._announce()

    def leave(self) -> None:
        """Who leads lets the others go; these do not go before."""
        self.company.follow()
        self.company.dismiss()

    def _lost(self, rank: int) -> None:
        """A rank was found dead; only who leads speaks of it."""
        if self.company.leads:
            before = dict(self._now.ranks)
            self._replace()
            moved = [f"{name} goes on on {shown(now)}" for name, now in self._now.ranks.items() if now != before[name]]
            self._tell(f"rank {rank} has died; {', '.join(moved) or 'no simulator was placed there'}")

    def _take_stock(self) -> None:
        """Who comes to lead tells of all that have died before."""
        self._replace()
        line = self.company.line
        many = (
            f"ranks {shown(sorted(line.lost))} have" if len(line.lost) > 1 else f"rank {shown(sorted(line.lost))} has"
        )
        self._tell(f"{many} died, and rank {line.rank} leads; {self._now}")

    def _replace(self) -> None:
        line = self.company.line
        self._now = self.placement.without(line.lost, size=line.size, leader=line.leader)

    def _tell(self, text: str) -> None:
        self.losses.append(text)
        self.say(text)


def _aloud(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def placed_executor(post: Post, world: Any, asked: Callable[[], Placement | None]) -> PlacedExecutor | None:
    """The executor of this rank, if the one that leads asks for a placement on other ranks; None on every rank where it does not.

    Args:
        post: to the other ranks.
        world: their communicator.
        asked: on the rank that leads, what is asked for; what it raises is raised there, after the others know that there is none.

    Raises:
        PlacementError: ranks that the job has not.
    """

    def words() -> list[str]:
        found = asked()
        if found is None or not found.elsewhere:
            return []
        found.check_size(post.size)
        return str(found).split()

    if post.tolerant:
        return _surviving(post, world, words)
    company = Company(Line(world))
    agreed = company.agreed(words)
    return PlacedExecutor(company, Placement.parse(agreed)) if agreed else None


def _surviving(post: Post, world: Any, words: Callable[[], Sequence[str]]) -> PlacedExecutor | None:
    """The same where the job outlives its ranks: by messages alone, the first of which says whether ranks answer for simulators or
    take tasks. Whoever leads by then says it, and says it again to all when it comes to lead."""
    with stop.deferred():
        agreed = _heard(post, words)
        if (pending := stop.requested()) is not None:
            stop.forget()
    if pending is not None:  # waits until it can be passed on
        stop.request(pending)
    if not agreed:
        return None
    line = Line(world, copy=False)
    line.elect()

    def announce() -> None:
        for rank in line.others:
            post.send(parcel.pack(Kind.PLACED, list(agreed)), rank)
        post.dispatch()

    if line.rank == line.leader:
        announce()
    return PlacedExecutor(Company(line), Placement.parse(agreed), announce=announce)


def _heard(post: Post, words: Callable[[], Sequence[str]]) -> Sequence[str]:
    """The placement that the leader tells, or this rank asks for where it leads; none where ranks take tasks."""
    while True:
        post.roll_call()
        if post.rank == next(rank for rank in range(post.size) if rank not in post.lost):
            if post.rank == 0:
                return words()
            try:
                return words()
            except Exception:  # heard by whoever leads the tasks: that reads it again
                return ()
        mail = post.receive()
        for position, (rank, message) in enumerate(mail):
            if rank in post.lost:
                continue
            if parcel.label(message).kind is Kind.PLACED:
                post.put_back(mail[position + 1 :])
                return parcel.unpack(message)
            post.put_back(mail[position:])
            return ()
        post.busy()
        time.sleep(_LOOK_EVERY_S)
