"""The desk of the rank that leads: where requests to simulators on other ranks go out, and answers wait until they are asked for.

A rank that dies leaves requests unanswered; the desk says so, and places anew what that rank ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hpc.form import Groups, Message
from hpc.line import Line
from hpc.placement import Placement


class Placed(Protocol):
    """A simulator that is elsewhere."""

    def settle_in(self) -> None:
        """Be where the desk says."""
        ...


class Desk:
    """Takes requests of all remote simulators and keeps answers until they are asked for.

    Args:
        line: between the ranks.
        placement: who runs where, as long as all are alive.

    Attributes:
        remote: the simulators whose requests it takes.
        fatal: tickets of the requests that were sent or waited for when a rank was found dead.
    """

    def __init__(self, line: Line, placement: Placement) -> None:
        self.line = line
        self.wires = {rank: line.wire(rank) for rank in line.others}
        self.remote: list[Placed] = []
        self.fatal: set[int] = set()
        self._asked_for = placement
        self._there: dict[int, Message] = {}
        self.place()

    def place(self) -> None:
        """Place anew what ranks ran that have died."""
        self._gone = self.line.lost
        self._placement = self._asked_for.without(self._gone, size=self.line.size, leader=self.line.leader)
        for one in self.remote:
            one.settle_in()

    def lose(self, rank: int, error: Exception, ticket: int | None) -> None:
        """Do without a rank whose wire says that it has died, perhaps of a request; raises any other error."""
        if not self.line.died(rank, error):
            raise error
        if ticket is not None:
            self.fatal.add(ticket)
        self.place()

    def ranks(self, name: str) -> tuple[int, ...]:
        """Where a simulator runs."""
        return self._placement.ranks[name]

    def send(
        self, rank: int, kind: int, about: int, groups: Groups, numbers: Sequence[float], facts: Mapping[str, Any]
    ) -> int:
        """Send a request; returns its ticket. Of a rank that has died nothing is to be had."""
        wire, line = self.wires[rank], self.line
        line.ticket += 1
        if rank not in self._gone:
            sent = False
            try:
                wire.send(kind, about, groups, numbers, facts, line.ticket)
                sent = True
                wire.expect()
            except Exception as error:
                self.lose(rank, error, line.ticket if sent else None)
        return line.ticket

    def collect(self, rank: int, ticket: int) -> Message | None:
        """The answer to a request, from the rank that got it; None where that has died."""
        if self._there and ticket in self._there:
            return self._there.pop(ticket)
        while rank not in self._gone:
            try:
                reply = self.wires[rank].receive()
            except Exception as error:
                self.lose(rank, error, ticket)
                break
            if reply.ticket == ticket:
                return reply
            self._there[reply.ticket] = reply
        return None
