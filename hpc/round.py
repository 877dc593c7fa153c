"""One round: a function over tasks, handed one at a time to a team that has room, and results kept in the order of the tasks.

A team is whatever computes: worker processes (`hpc.pool`), or ranks with theirs (`hpc.crew`). Where tasks are short it is given some
ahead (`hpc.ahead`). A result that comes twice, since a
rank was thought lost when it had worked, counts once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from hpc import parcel, stop
from hpc.ahead import Ahead
from hpc.parcel import Kind
from hpc.task_failure import TaskFailure
from hpc.timeline import Timeline

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 8192
"""Tasks that are handed out before results are looked at: enough for bundles to many ranks, and a tenth of a second."""


class Team(Protocol):
    """Who computes. Functions, tasks and results are parcels.

    Attributes:
        ahead: how many tasks each worker shall be given ahead of the one that it works on.
    """

    @property
    def ahead(self) -> int: ...
    @ahead.setter
    def ahead(self, ahead: int) -> None: ...

    @property
    def workers(self) -> int:
        """How many tasks are worked on at once."""
        ...

    @property
    def room(self) -> int:
        """How many more tasks it would take now."""
        ...

    def begin(self, function: bytearray) -> None:
        """A new round: what its tasks are given to."""
        ...

    def submit(self, task: bytearray) -> None:
        """Give a task of this round to the team."""
        ...

    def collect(self, timeout_s: float) -> list[bytearray]:
        """Results that are there, waiting at most so long for the first. Raises `WorkerError`."""
        ...

    def cancel(self) -> None:
        """Forget the tasks of this round."""
        ...


def carry_out(
    team: Team,
    function: Callable[[T], R],
    tasks: Sequence[T],
    *,
    number: int,
    patience_s: float,
    timeline: Timeline,
    on_result: Callable[[int, R | TaskFailure], None] | None,
) -> list[R | TaskFailure]:
    """The function's results in the order of the tasks; see `Executor.map`.

    Args:
        team: who computes.
        number: of the round, higher than all that the team has seen.
        patience_s: how long to wait for a result before signals are looked at again.
        timeline: told when and where each task ran.
    """
    results: list[Any] = [None] * len(tasks)
    begun_s: dict[int, float] = {}  # tasks that are out
    handed_out = 0
    ahead, begun = Ahead(team.workers), time.monotonic()
    with stop.deferred():
        try:
            if tasks:
                team.begin(parcel.pack(Kind.FUNCTION, function, round=number))
            while handed_out < len(tasks) or begun_s:
                stopping = stop.requested() is not None
                team.ahead = ahead.depth(len(tasks) - handed_out, time.monotonic() - begun)
                turns = 1 + team.ahead
                for _ in range(0 if stopping else min(team.room, len(tasks) - handed_out, AT_ONCE)):
                    if not stop.time_for_another(turns):
                        break
                    team.submit(parcel.pack(Kind.TASK, tasks[handed_out], round=number, index=handed_out))
                    begun_s[handed_out] = time.monotonic()
                    handed_out += 1
                for message in team.collect(0.0 if stopping else patience_s):
                    index = parcel.label(message).task
                    if index not in begun_s:
                        continue
                    work, way_s = parcel.work(message), time.monotonic() - begun_s.pop(index)
                    took_s = work.took_ns * 1e-9 if work is not None else way_s / turns
                    ahead.note(took_s)
                    stop.took(max(took_s, way_s / turns))
                    timeline.note(index, work)
                    results[index] = parcel.unpack(message)
                    if on_result is not None:
                        on_result(index, results[index])
                if stopping:
                    stop.check()
                if not begun_s and handed_out < len(tasks) and not stop.time_for_another():
                    stop.out_of_time()
        except BaseException:
            team.cancel()
            raise
    return results
