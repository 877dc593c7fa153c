"""A discrete-event model of the executor over MPI with up to 100,000 workers, each on a core of its own: what the root, heads of
groups and ranks do with each task, and when.

Fed with CPU times and latencies that `scaling_costs` measures on the running executor; what it says is simulated, and labelled so.
Legend: `W` workers, one a rank; `N` tasks; a *place* is who answers to the root: a rank, or the head of a group (`hpc.crew.teams`).

The executor's own rules decide: who is given the next task (`hpc.vacancies`), how many ahead (`hpc.ahead`), how long a rank sleeps
between looks (`hpc.patience`), how many parcels share a message (`hpc.post`) and how long results wait for company (`hpc.mpi`).
Root and heads do one thing at a time. Tasks are equally long, so that a rank's next result is known when its task leaves: events are
the root's passes, and results that come to the head of a group. Ranks that share cores, and what their looks take from each
other, are the matter of `scaling_crowd`.
"""

from __future__ import annotations

import gc
import heapq
import math
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpc.ahead import Ahead
from hpc.crew import teams
from hpc.patience import HOLD_S, IDLE_S, LEADING_S, pause_s
from hpc.post import FULL
from hpc.round import AT_ONCE
from hpc.vacancies import Vacancies
from twin.seeds import stream

if TYPE_CHECKING:
    import simpy

_DRAWS = 4096


@dataclass(frozen=True)
class Costs:
    """What each step takes [s]; CPU time but for the last.

    Args:
        hand_s: the root, to hand out a task.
        take_s: the root, to take in a result.
        send_s: a message.
        receive_s: a message.
        look_s: a look for mail, after a sleep.
        member_s: a rank, per task, to pass it to its worker and the result back.
        worker_s: a worker, per task, beside the task itself.
        load_s: a worker, to load the function that is mapped.
        latency_s: of a message, from sending to where a look would find it.
    """

    hand_s: float
    take_s: float
    send_s: float
    receive_s: float
    look_s: float
    member_s: float
    worker_s: float
    load_s: float
    latency_s: float


@dataclass(frozen=True)
class Outcome:
    """How a simulated run went.

    Args:
        makespan_s: from the first hand-out to the last result.
        efficiency: time in tasks over time of all workers, of the whole run: filling and draining included.
        steady: the same from the moment when every worker has had a task to that when the last task is handed out.
        root_busy: share of the makespan in which the root worked.
    """

    makespan_s: float
    efficiency: float
    steady: float
    root_busy: float


def simulate(
    costs: Costs, *, workers: int, tasks: int, task_s: float, group: int | None = None, seed: int = 1
) -> Outcome:
    """One run.

    Args:
        costs: of each step.
        workers: W, one a rank; rank 0 leads and has a worker, too.
        tasks: N.
        task_s: how long each computes [s].
        group: ranks in a group with its head; None: as the executor cuts them.
        seed: of where in its pause each look finds a message.
    """
    return _Run(costs, workers, tasks, task_s, group, seed).run()


class _Group:
    """A place with more than one rank: which of them holds how many tasks, and results that wait for company."""

    def __init__(self, ranks: list[int]) -> None:
        self.ranks = len(ranks)
        self.free_s = 0.0  # when its head has done what it was told
        self.running = 0
        self.results: list[int] = []
        self.bundles = 0  # that have left
        self._held = dict.fromkeys(ranks, 0)
        self._holding: list[deque[int]] = [deque(ranks)]  # ranks by what they held when they were put there

    def give(self) -> int:
        """A task, to a rank that holds the fewest."""
        self.running += 1
        for count, line in enumerate(self._holding):
            while line:
                rank = line.popleft()
                if self._held[rank] == count:
                    self._put(rank, count + 1)
                    return rank
        raise AssertionError("every rank is in the line of what it holds")

    def take(self, rank: int) -> None:
        """A result of one of them."""
        self.running -= 1
        self._put(rank, self._held[rank] - 1)
        self.results.append(rank)

    def _put(self, rank: int, count: int) -> None:
        self._held[rank] = count
        while len(self._holding) <= count:
            self._holding.append(deque())
        self._holding[count].append(rank)


class _Run:
    """A simulated run under way."""

    def __init__(self, costs: Costs, workers: int, tasks: int, task_s: float, group: int | None, seed: int) -> None:
        import simpy

        self.costs, self.workers, self.tasks, self.task_s = costs, workers, tasks, task_s
        self.env = simpy.Environment()
        led = teams(range(1, workers), group)
        self.sizes = {0: 1} | {head: 1 + len(others) for head, others in led.items()}
        self.groups = {head: _Group([head, *others]) for head, others in led.items() if others}
        self.place_of = {rank: head for head, others in led.items() for rank in (head, *others)} | {0: 0}
        self.free_s = [-1.0] * workers  # nothing has come for long; then when each worker will have done what it holds
        self.fresh = [True] * workers  # which have not loaded the function yet
        self.mail: list[tuple[float, int, int]] = []  # a heap of results: when they arrive [s], place and number
        self.woken: simpy.Event | None = None
        self.left, self.ended = tasks, 0
        self.root_worked_s = 0.0
        self.filled_s = self.emptied_s = float("nan")
        self.ended_when_filled = self.ended_when_emptied = 0
        self._generator = stream(seed, "looks")
        self._draws: list[float] = []

    def run(self) -> Outcome:
        collects = gc.isenabled()
        gc.disable()  # there are no cycles, and looking for them among so many events takes most of the time
        try:
            self.env.run(until=self.env.process(self._root()))
        finally:
            if collects:
                gc.enable()
        makespan = float(self.env.now)
        steady_s = self.emptied_s - self.filled_s
        done = (self.ended_when_emptied - self.ended_when_filled) * self.task_s
        return Outcome(
            makespan,
            self.tasks * self.task_s / (self.workers * makespan) if makespan > 0 else float("nan"),
            min(1.0, done / (self.workers * steady_s)) if steady_s > self.task_s else float("nan"),
            self.root_worked_s / makespan if makespan > 0 else float("nan"),
        )

    def _look(self, waited_s: float, most_s: float) -> float:
        """How long until the next look [s] of who has waited so long."""
        if not self._draws:
            self._draws = self._generator.random(_DRAWS).tolist()
        return self._draws.pop() * pause_s(waited_s, most_s)

    # --- the root ---

    def _root(self) -> Generator[Any, Any, None]:
        ahead, depth = Ahead(self.workers), 0
        held = dict.fromkeys(self.sizes, 0)
        vacancies = Vacancies(self.sizes)
        while self.ended < self.tasks:
            now, cpu_s = float(self.env.now), self.costs.look_s
            while self.mail and self.mail[0][0] <= now:
                _, place, count = heapq.heappop(self.mail)
                cpu_s += count * self.costs.take_s + (self.costs.receive_s if place else 0.0)
                held[place] -= count
                vacancies.put(place, self.sizes[place] * (1 + depth) - held[place])
                self.ended += count
                for _ in range(count):
                    ahead.note(self.task_s)
            if (wanted := ahead.depth(self.left, now)) != depth:
                depth = wanted
                vacancies = Vacancies({p: size * (1 + depth) - held[p] for p, size in self.sizes.items()})
            cpu_s = self._hand_out(vacancies, held, cpu_s)
            self.root_worked_s += cpu_s
            yield self.env.timeout(cpu_s)
            if not (self.left and vacancies.total):
                yield from self._wait(ahead.unknown_s)

    def _wait(self, until_s: float) -> Generator[Any, Any, None]:
        """Until the root's next look that finds mail, or that time has come; no time where some is there."""
        since = float(self.env.now)
        while self.ended < self.tasks and not (self.mail and self.mail[0][0] <= self.env.now):
            self.woken = self.env.event()
            first_s = self.mail[0][0] if self.mail else math.inf
            due_s = min(first_s, until_s if until_s > self.env.now else math.inf)
            later = [self.env.timeout(due_s - float(self.env.now))] if due_s < math.inf else []
            yield self.env.any_of([self.woken, *later])
            if due_s < first_s and not self.woken.triggered:
                return
            if not self.woken.triggered:
                yield self.env.timeout(self._look(first_s - since, LEADING_S))

    def _hand_out(self, vacancies: Vacancies, held: dict[int, int], cpu_s: float) -> float:
        """Tasks to whoever has room, until enough have been handed out at once; returns the root's CPU time so far [s]."""
        trays: dict[int, int] = {}
        for _ in range(min(AT_ONCE, self.left)):
            place = vacancies.next()
            if place is None:
                break
            vacancies.take(place)
            held[place] += 1
            cpu_s += self.costs.hand_s
            self.left -= 1
            if self.left == self.tasks - min(self.workers, self.tasks):
                self.filled_s, self.ended_when_filled = float(self.env.now) + cpu_s, self.ended
            if self.left == 0:
                self.emptied_s, self.ended_when_emptied = float(self.env.now) + cpu_s, self.ended
            trays[place] = trays.get(place, 0) + 1
            if trays[place] == FULL:
                cpu_s = self._leave(place, trays.pop(place), cpu_s)
        for place, count in trays.items():
            cpu_s = self._leave(place, count, cpu_s)
        return cpu_s

    def _leave(self, place: int, count: int, cpu_s: float) -> float:
        if place == 0:
            self._begin(0, count, float(self.env.now) + cpu_s)
            return cpu_s
        cpu_s += self.costs.send_s
        there_s = cpu_s + self.costs.latency_s
        if place in self.groups:
            self._after(there_s, lambda: self._head(place, count))
        else:
            self._begin(place, count, float(self.env.now) + there_s)
        return cpu_s

    # --- a task's way from the root and back ---

    def _head(self, place: int, count: int) -> None:
        """The head of a group passes tasks on: to itself, and to others by a message each."""
        now, costs, group = float(self.env.now), self.costs, self.groups[place]
        free_s = max(now + self._look(LEADING_S, LEADING_S), group.free_s) + costs.look_s + costs.receive_s
        for _ in range(count):
            rank = group.give()
            free_s += costs.hand_s
            way_s = 0.0
            if rank != place:
                free_s += costs.send_s
                way_s = costs.latency_s
            self._begin(rank, 1, free_s + way_s)
        group.free_s = free_s

    def _begin(self, rank: int, count: int, there_s: float) -> None:
        """Tasks arrive, then, at the rank whose worker computes them."""
        costs = self.costs
        begins_s = self.free_s[rank]
        if begins_s <= there_s:  # its worker has nothing to do, and the rank looks when it looks
            look_s = self._look(there_s - begins_s, IDLE_S) if rank else 0.0
            begins_s = there_s + look_s + costs.look_s + costs.member_s / 2
        if self.fresh[rank]:
            self.fresh[rank] = False
            begins_s += costs.load_s + costs.look_s
        place = self.place_of[rank]
        for _ in range(count):
            begins_s += costs.worker_s + self.task_s
            ends_s = begins_s + costs.member_s / 2
            if place in self.groups:
                self._after(ends_s - float(self.env.now), lambda: self._end(place, rank))
            else:
                self._arrive(rank, 1, ends_s + (costs.send_s + costs.latency_s if rank else 0.0))
        self.free_s[rank] = begins_s

    def _end(self, place: int, rank: int) -> None:
        """A result of a group, which waits at its head for company while ranks have more to do."""
        group = self.groups[place]
        group.take(rank)
        if group.running <= max(group.ranks, len(group.results)):
            self._return(place)
        elif len(group.results) == 1:
            bundle = group.bundles
            self._after(HOLD_S, lambda: self._return(place) if group.bundles == bundle else None)

    def _return(self, place: int) -> None:
        """All results that the head of a group has: it has received each by a message."""
        now, costs, group = float(self.env.now), self.costs, self.groups[place]
        count = len(group.results)
        group.results.clear()
        group.bundles += 1
        seen_s = now + costs.send_s + costs.latency_s + self._look(LEADING_S, LEADING_S)
        group.free_s = max(seen_s, group.free_s) + count * (costs.receive_s + costs.take_s) + costs.look_s
        group.free_s += costs.send_s * math.ceil(count / FULL)
        self._arrive(place, count, group.free_s + costs.latency_s)

    def _arrive(self, place: int, count: int, there_s: float) -> None:
        """Results will lie in the root's mail."""
        sooner = not self.mail or there_s < self.mail[0][0]
        heapq.heappush(self.mail, (there_s, place, count))
        if sooner and self.woken is not None and not self.woken.triggered:
            self.woken.succeed()

    def _after(self, seconds: float, then: Callable[[], None]) -> None:
        event = self.env.timeout(seconds)
        assert event.callbacks is not None
        event.callbacks.append(lambda _: then())


def shortest_task_s(
    costs: Costs, *, workers: int, share: float, group: int | None = None, per_worker: int = 10
) -> float:
    """The task length [s] at which the efficiency of a simulated run falls below a share, to 5 %, by bisection of its logarithm."""
    at_root = workers * (costs.hand_s + costs.take_s)
    low = math.log(at_root + costs.member_s + costs.worker_s)
    high = low + 0.5

    def holds(log: float) -> bool:
        task_s = math.exp(log)
        return (
            simulate(costs, workers=workers, tasks=per_worker * workers, task_s=task_s, group=group).efficiency >= share
        )

    while not holds(high):
        low, high = high, high + 0.7
    while high - low > 0.05:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return math.exp(high)
