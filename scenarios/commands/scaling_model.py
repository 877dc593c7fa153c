"""A discrete-event model of the executor over MPI: what the root, heads of groups, ranks and workers do with each task, and when.

Fed with CPU times and latencies that `scaling` measures on the running executor; what it says is simulated, and labelled so.
Legend: `W` workers, one a rank; `N` tasks; `G` heads of groups (`hpc.crew.teams`).

A task's way: the root packs and sends it (half of `root_s`), the head of a group passes it on (half of `head_s`), the rank notices
it at its next look and gives it to its worker, which computes; the result goes back the same way. The root and the heads do one
thing at a time, so they have queues; with `cores`, all processes of the job share these, as when ranks oversubscribe a machine.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpc.crew import teams
from twin.seeds import stream

if TYPE_CHECKING:
    import simpy

_DRAWS = 4096


@dataclass(frozen=True)
class Costs:
    """What each step takes [s].

    Args:
        root_s: CPU of the root per task: pack, send, receive, unpack.
        loop_s: CPU of each of the root's looks at its worker and its mail, however many tasks it finds.
        head_s: CPU of a group's head per task that it passes on, both ways.
        member_s: CPU of a rank per task, both ways.
        worker_s: CPU of a worker per task beside the task itself.
        look_s: between two looks of a rank that waits for mail.
        latency_s: of a message, from sending to where a look would find it.
        poll_share: of a core, while its worker computes: what looking takes of a rank.
    """

    root_s: float
    loop_s: float
    head_s: float
    member_s: float
    worker_s: float
    look_s: float
    latency_s: float
    poll_share: float = 0.0


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
    costs: Costs,
    *,
    workers: int,
    tasks: int,
    task_s: float,
    group: int | None = None,
    cores: int | None = None,
    seed: int = 1,
) -> Outcome:
    """One run.

    Args:
        costs: of each step.
        workers: W, one a rank; rank 0 leads and has a worker, too.
        tasks: N.
        task_s: how long each computes [s].
        group: ranks in a group with its head; None: as the executor cuts them.
        cores: that all processes share; None: each has its own.
        seed: of where in its pause each look finds a message.
    """
    return _Run(costs, workers, tasks, task_s, group, cores, seed).run()


class _Run:
    """A simulated run under way."""

    def __init__(
        self, costs: Costs, workers: int, tasks: int, task_s: float, group: int | None, cores: int | None, seed: int
    ) -> None:
        import simpy

        self.costs, self.workers, self.tasks, self.task_s = costs, workers, tasks, task_s
        self.env = simpy.Environment()
        self.cores = simpy.Resource(self.env, capacity=cores) if cores else None
        # looks take a part of the cores from everybody's work
        self.stretch = 1.0
        if cores:
            polls = (costs.loop_s / costs.look_s + (workers - 1) * costs.poll_share) / cores
            self.stretch = 1.0 / max(1.0 - polls, 0.1)
        self.head_of = _heads(workers, group)
        self.head_free = dict.fromkeys(self.head_of.values(), 0.0)
        self.inbox: deque[int] = deque()
        self.arrived: simpy.Event | None = None
        self.left = self.ended = 0
        self.root_worked_s = 0.0
        self.filled_s = self.emptied_s = float("nan")
        self.ended_when_filled = self.ended_when_emptied = 0
        self._generator = stream(seed, "looks")
        self._draws: list[float] = []

    def run(self) -> Outcome:
        root = self.env.process(self._root())
        self.env.run(until=root)
        makespan = float(self.env.now)
        steady_s = self.emptied_s - self.filled_s
        done = (self.ended_when_emptied - self.ended_when_filled) * self.task_s
        return Outcome(
            makespan,
            self.tasks * self.task_s / (self.workers * makespan) if makespan > 0 else float("nan"),
            min(1.0, done / (self.workers * steady_s)) if steady_s > self.task_s else float("nan"),
            self.root_worked_s / makespan if makespan > 0 else float("nan"),
        )

    def _look(self) -> float:
        """How long until the next look [s]."""
        if not self._draws:
            self._draws = (self._generator.random(_DRAWS) * self.costs.look_s * self.stretch).tolist()
        return self._draws.pop()

    def _root(self) -> Generator[Any, Any, None]:
        free = deque(range(self.workers))
        half = self.costs.root_s / 2
        while self.ended < self.tasks:
            while free and self.left < self.tasks:
                yield from self._root_works(half)
                worker = free.popleft()
                self.left += 1
                if self.left == min(self.workers, self.tasks):
                    self.filled_s, self.ended_when_filled = float(self.env.now), self.ended
                if self.left == self.tasks:
                    self.emptied_s, self.ended_when_emptied = float(self.env.now), self.ended
                self._send(worker)
            yield from self._root_works(self.costs.loop_s)
            if not self.inbox:
                self.arrived = self.env.event()
                yield self.arrived
                yield self.env.timeout(self._look())
            for _ in range(len(self.inbox)):  # what is there; what comes meanwhile waits for the next look
                free.append(self.inbox.popleft())
                yield from self._root_works(half)
                self.ended += 1

    def _root_works(self, seconds: float) -> Generator[Any, Any, None]:
        self.root_worked_s += seconds
        yield from self._works(seconds)

    def _works(self, seconds: float) -> Generator[Any, Any, None]:
        """A process computes, on a core of its own or on one of those that all share."""
        if self.cores is None:
            yield self.env.timeout(seconds)
            return
        with self.cores.request() as core:
            yield core
            yield self.env.timeout(seconds * self.stretch)

    # --- a task's way from the root and back ---

    def _send(self, worker: int) -> None:
        head = self.head_of.get(worker)
        if head is None:
            self._work(worker)
            return
        self._after(self.costs.latency_s + self._look(), lambda: self._pass_on(head, lambda: self._work(worker)))

    def _work(self, worker: int) -> None:
        if self.cores is not None:
            self.env.process(self._share_cores(worker))
            return
        costs = self.costs
        way_s = costs.latency_s + self._look() if worker else 0.0
        way_s += costs.member_s + costs.worker_s + self.task_s
        if worker in self.head_of:
            self._after(way_s, lambda: self._return(worker))
        else:  # what follows is only the message's way: one event for both
            self._after(way_s + (costs.latency_s if worker else 0.0), lambda: self._there(worker))

    def _share_cores(self, worker: int) -> Generator[Any, Any, None]:
        costs = self.costs
        if worker:
            yield self.env.timeout(costs.latency_s + self._look())
            yield from self._works(costs.member_s / 2)
        yield from self._works(costs.worker_s)
        yield self.env.timeout(self.task_s)
        if worker:
            yield from self._works(costs.member_s / 2)
        self._return(worker)

    def _return(self, worker: int) -> None:
        head = self.head_of.get(worker)
        if head is None:
            self._arrive(worker, self.costs.latency_s if worker else 0.0)
            return
        back = self.costs.latency_s + self._look()
        self._after(back, lambda: self._pass_on(head, lambda: self._arrive(worker, self.costs.latency_s)))

    def _pass_on(self, head: int, then: Any) -> None:
        """A head does one thing at a time, in the order in which it comes."""
        begins = max(float(self.env.now), self.head_free[head])
        self.head_free[head] = begins + self.costs.head_s / 2
        self._after(self.head_free[head] - float(self.env.now), then)

    def _arrive(self, worker: int, latency_s: float) -> None:
        self._after(latency_s, lambda: self._there(worker))

    def _there(self, worker: int) -> None:
        """A result lies in the root's mail."""
        self.inbox.append(worker)
        if self.arrived is not None and not self.arrived.triggered:
            self.arrived.succeed()

    def _after(self, seconds: float, then: Any) -> None:
        event = self.env.timeout(seconds)
        assert event.callbacks is not None
        event.callbacks.append(lambda _: then())


def _heads(workers: int, group: int | None) -> dict[int, int]:
    """Rank → who leads it for the root; ranks that answer to the root themselves are left out."""
    return {rank: head for head, others in teams(range(1, workers), group).items() for rank in others}


def shortest_task_s(
    costs: Costs, *, workers: int, share: float, group: int | None = None, per_worker: int = 10
) -> float:
    """The task length [s] at which the efficiency of a simulated run falls below a share, to 10 %, by bisection.

    The root's own pace, `workers · root_s`, bounds it from below, or the way of a single task does.
    """
    guess = math.log(workers * costs.root_s + costs.member_s + costs.worker_s + 2 * costs.look_s)
    low, high = guess - 0.5, guess + 3.5
    while high - low > 0.1:
        middle = (low + high) / 2
        found = simulate(costs, workers=workers, tasks=per_worker * workers, task_s=math.exp(middle), group=group)
        low, high = (low, middle) if found.efficiency >= share else (middle, high)
    return math.exp(high)
