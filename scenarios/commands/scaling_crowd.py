"""A discrete-event model of ranks and workers that share the cores of one machine, look by look: what `scaling_model` leaves out.

Every rank is a process that looks for mail, does what it finds, and sleeps as the executor's own rules say; every worker is another.
Both need a core for all that they do but sleep, and wait for one while others have them: that is how 128 processes on two cores
take time from each other. Tasks sleep, and need none. Fed with the costs of `scaling_costs`; what it says is simulated.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpc.ahead import Ahead
from hpc.crew import teams
from hpc.patience import BUSY_S, HOLD_S, IDLE_S, LEADING_S, pause_s
from hpc.post import FULL
from hpc.vacancies import Vacancies
from scenarios.commands.scaling_model import Costs
from twin.seeds import stream

if TYPE_CHECKING:
    import simpy

Steps = Generator[Any, Any, None]


@dataclass(frozen=True)
class Crowded:
    """How a simulated run on shared cores went.

    Args:
        makespan_s: from the first hand-out to the last result.
        rank_cpu_s: of each rank.
        looks: of each rank.
    """

    makespan_s: float
    rank_cpu_s: tuple[float, ...]
    looks: tuple[int, ...]


@dataclass
class _Rank:
    """One rank: what it leads, what it holds, and what its worker does."""

    number: int
    boss: int
    below: dict[int, int]  # ranks that answer to it, with the workers that each leads
    held: dict[int, int] = field(default_factory=dict[int, int])
    mail: list[tuple[int, int, bool]] = field(default_factory=list[tuple[int, int, bool]])  # from, how many, results?
    waiting: int = 0
    running: int = 0
    ahead: int = 0
    queue: int = 0  # tasks of its own worker
    pipe: int = 0  # results of its own worker
    busy: bool = False  # its own worker
    loaded: bool = False
    spoke: bool = False  # its own worker, since it was last listened to
    results: int = 0  # that wait for company
    held_since: float = 0.0
    cpu_s: float = 0.0
    looks: int = 0
    spoken: simpy.Event | None = None  # by its own worker

    @property
    def workers(self) -> int:
        return 1 + sum(self.below.values())


def simulate_crowd(
    costs: Costs, *, ranks: int, tasks: int, task_s: float, cores: int, group: int | None = None, seed: int = 1
) -> Crowded:
    """One run.

    Args:
        costs: of each step.
        ranks: how many, each with one worker; rank 0 leads.
        tasks: how many.
        task_s: how long each sleeps [s].
        cores: that all processes share.
        group: ranks in a group with its head; None: as the executor cuts them.
        seed: of where in their pauses ranks are when the map begins.
    """
    return _Crowd(costs, ranks, tasks, task_s, cores, group, seed).run()


class _Crowd:
    """A simulated run under way."""

    def __init__(
        self, costs: Costs, ranks: int, tasks: int, task_s: float, cores: int, group: int | None, seed: int
    ) -> None:
        import simpy

        self.costs, self.tasks, self.task_s = costs, tasks, task_s
        self.env = simpy.Environment()
        self.cores = simpy.Resource(self.env, capacity=cores)
        self.generator = stream(seed, "crowd")
        led = teams(range(1, ranks), group)
        self.ranks = [_Rank(0, 0, {head: 1 + len(others) for head, others in led.items()})]
        boss = {rank: head for head, others in led.items() for rank in others}
        for number in range(1, ranks):
            below = dict.fromkeys(led.get(number, ()), 1)
            self.ranks.append(_Rank(number, boss.get(number, 0), below))
        for rank in self.ranks:
            rank.held = dict.fromkeys(rank.below, 0)
        self.rule = Ahead(ranks)
        self.left, self.ended = tasks, 0
        self.over = self.env.event()

    def run(self) -> Crowded:
        for rank in self.ranks:
            self.env.process(self._serve(rank))
        self.env.run(until=self.over)
        return Crowded(
            float(self.env.now), tuple(rank.cpu_s for rank in self.ranks), tuple(rank.looks for rank in self.ranks)
        )

    def _works(self, seconds: float) -> Steps:
        """A process computes on one of the cores, when its turn comes."""
        with self.cores.request() as core:
            yield core
            yield self.env.timeout(seconds)

    # --- a rank ---

    def _serve(self, rank: _Rank) -> Steps:
        since = -1.0
        if rank.number:  # nothing has come for long: it is somewhere in its longest pause
            yield self.env.timeout(self.generator.random() * IDLE_S)
        while True:
            mail, rank.mail = rank.mail, []
            cpu_s, messages, heard = self._look(rank, mail)
            rank.cpu_s += cpu_s
            rank.looks += 1
            yield from self._works(cpu_s)
            for receiver, count, results in messages:
                self.env.process(self._deliver(rank.number, receiver, count, results))
            if self.ended == self.tasks:
                if not self.over.triggered:
                    self.over.succeed()
                return
            if heard:
                since = float(self.env.now)
            if mail:
                continue  # there may be more
            waited_s = float(self.env.now) - since
            idle_s = pause_s(waited_s, LEADING_S if rank.below else IDLE_S)
            nap_s = BUSY_S if rank.busy and not rank.below else idle_s
            if not rank.spoke:
                rank.spoken = self.env.event()
                yield self.env.any_of([self.env.timeout(nap_s), rank.spoken])
                rank.spoken = None

    def _look(self, rank: _Rank, mail: list[tuple[int, int, bool]]) -> tuple[float, list[tuple[int, int, bool]], bool]:
        """What a rank does with what it finds: CPU time [s], messages that it sends, and whether there was anything."""
        costs = self.costs
        cpu_s, done = costs.look_s, rank.pipe
        cpu_s += rank.pipe * costs.member_s / 2
        rank.pipe, rank.spoke = 0, False
        for sender, count, results in mail:
            cpu_s += costs.receive_s
            if results:
                cpu_s += count * costs.take_s
                rank.held[sender] -= count
                done += count
            else:
                rank.running += count
                rank.waiting += count
        messages: list[tuple[int, int, bool]] = []
        if rank.number == 0:
            cpu_s += self._lead(rank, done)
        else:
            messages += self._pass_back(rank, done)
        cpu_s += self._distribute(rank, messages)
        return cpu_s + len(messages) * costs.send_s, messages, bool(mail or done)

    def _lead(self, root: _Rank, done: int) -> float:
        """The root takes results in and has new tasks to distribute; CPU time [s]."""
        self.ended += done
        for _ in range(done):
            self.rule.note(self.task_s)
        root.ahead = self.rule.depth(self.left, float(self.env.now))
        own = 1 + root.ahead - root.queue - root.busy
        room = max(0, own) + sum(max(0, self._room(root, one)) for one in root.below)
        fresh = min(self.left, max(0, room - root.waiting))
        root.waiting += fresh
        self.left -= fresh
        return fresh * self.costs.hand_s

    def _pass_back(self, rank: _Rank, done: int) -> list[tuple[int, int, bool]]:
        """Results leave, or wait for company while the workers have more to do."""
        now = float(self.env.now)
        if not rank.results:
            rank.held_since = now
        rank.running -= done
        rank.results += done
        rank.ahead = max(0, -(-rank.running // rank.workers) - 1)
        if not rank.results or (rank.running > max(rank.workers, rank.results) and now - rank.held_since < HOLD_S):
            return []
        count, rank.results = rank.results, 0
        return [(rank.boss, count, True)]

    def _room(self, rank: _Rank, other: int) -> int:
        return rank.below[other] * (1 + rank.ahead) - rank.held[other]

    def _distribute(self, rank: _Rank, messages: list[tuple[int, int, bool]]) -> float:
        """What waits goes to whoever has room, and the next task to the own worker; CPU time [s] without that of messages."""
        costs, cpu_s = self.costs, 0.0
        vacancies = (
            Vacancies({other: self._room(rank, other) for other in rank.below}) if rank.waiting else Vacancies({})
        )
        trays: dict[int, int] = {}
        while rank.waiting:
            own = 1 + rank.ahead - rank.queue - rank.busy
            other = vacancies.next()
            if other is not None and vacancies.of(other) > max(0, own):
                vacancies.take(other)
                rank.held[other] += 1
                trays[other] = trays.get(other, 0) + 1
                cpu_s += costs.hand_s if rank.number else 0.0
            elif own > 0:
                rank.queue += 1
            else:
                break
            rank.waiting -= 1
        for other, count in trays.items():
            messages += [(other, min(FULL, count - start), False) for start in range(0, count, FULL)]
        if rank.queue and not rank.busy:
            rank.busy = True
            cpu_s += costs.member_s / 2
            if rank.loaded:
                rank.queue -= 1
            self.env.process(self._work(rank, loads=not rank.loaded))
        return cpu_s

    def _deliver(self, sender: int, receiver: int, count: int, results: bool) -> Steps:
        yield self.env.timeout(self.costs.latency_s)
        self.ranks[receiver].mail.append((sender, count, results))

    # --- its worker ---

    def _work(self, rank: _Rank, *, loads: bool) -> Steps:
        """A worker loads the function, or does one task, and tells its rank."""
        if loads:
            yield from self._works(self.costs.load_s)
            rank.loaded = True
        else:
            yield from self._works(self.costs.worker_s / 2)
            yield self.env.timeout(self.task_s)
            yield from self._works(self.costs.worker_s / 2)
            rank.pipe += 1
        rank.busy, rank.spoke = False, True
        if rank.spoken is not None and not rank.spoken.triggered:
            rank.spoken.succeed()
