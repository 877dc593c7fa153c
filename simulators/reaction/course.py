"""Time courses of a network for many members: the integrator over lanes, and what happens when it pauses.

Legend: `M` members, `S` states, `P` constants, `T` times, `R` readouts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.delays import Histories, passages, remembered, with_histories
from simulators.reaction.engine import Floats, Run, Status
from simulators.reaction.events import EventQueue, watched
from simulators.reaction.expression import RELATIONS, Node
from simulators.reaction.halt import Halt, deadline, shared_out
from simulators.reaction.lane_problem import PAUSED, Members
from simulators.reaction.lane_program import LaneProgram, System
from simulators.reaction.lanes import LANES
from simulators.reaction.method import LARGEST, METHODS, Method, chosen_method, stiffness
from simulators.reaction.network import CLOCK, Network, symbol_name
from simulators.reaction.projection import Projection
from twin.errors import UnsupportedFeature

_AT_ONCE = 2048
"""Members whose events are settled together, per thread."""

_LOOKS = 1001
"""How often the integrator is stopped where relations follow the time to and fro."""


class Course:
    """A network and what is read of it, ready to be integrated for any members.

    Args:
        readouts: nodes of the network's graph `[R]`.

    Raises:
        UnsupportedFeature: a delay that changes; an event at the moment at which what moves is equal to something.
    """

    def __init__(self, network: Network, readouts: Sequence[Node]) -> None:
        _refuse_moments(network)
        self._columns = len(network.constants)
        self.network, self.readouts = with_histories(network, readouts)

    @cached_property
    def _program(self) -> LaneProgram:
        network = self.network
        symbol = network.graph.symbol
        return LaneProgram(
            System(
                graph=network.graph,
                clock=symbol(CLOCK),
                states=[symbol(symbol_name(name)) for name in network.state_names],
                rates=[state.rate for state in network.states],
                constants=[symbol(symbol_name(name)) for name in network.constant_names],
                readouts=self.readouts,
                watched=watched(network),
                triggers=len(network.events),
                masses=[state.mass for state in network.states],
                pause_always=bool(network.delayed),
                stops=passages(network),
                remembered=remembered(network),
            )
        )

    @cached_property
    def _looks(self) -> bool:
        """Whether a relation depends on the time in a way that may turn and turn back, such as sin(time) > 0.9: the
        integrator, which sees no more than the ends of its steps, is then stopped often enough not to miss it."""
        network, graph = self.network, self.network.graph
        clock = graph.symbol(CLOCK)
        nodes = [*(event.trigger for event in network.events), *(state.rate for state in network.states)]
        for node in graph.order(nodes):
            if graph.op[node] in RELATIONS and clock in graph.reads(node):
                slope = graph.derivative(graph.sub(*graph.args[node]), clock)
                if clock in graph.reads(slope):
                    return True
        return False

    @cached_property
    def _projection(self) -> Projection | None:
        return Projection(self.network) if any(state.mass != 1.0 for state in self.network.states) else None

    def run(
        self,
        x: Floats,
        p: Floats,
        times: Floats,
        *,
        rtol: float,
        atol: Floats | float,
        max_steps: int = 100_000,
        threads: int = 1,
        seed: int = 0,
        first_member: int = 0,
        time_limit_s: float | None = None,
        method: Method = "auto",
    ) -> Run:
        """Integrate from `times[0]`, where states are `x` and constants `p`, to the last time.

        Args:
            x, p: `[M, S]`, `[M, P]`; not changed.
            times: ascending and distinct `[T]`.
            atol: absolute tolerance of the states, a number or `[M, S]`.
            threads: how many share the members; the bits do not depend on it.
            seed, first_member: of the order of simultaneous events with equal priorities.
            time_limit_s: seconds after which members that are not done end: NaN, with status `OUT_OF_TIME`. Which
                members these are depends on the machine.
            method: what integrates.

        Raises:
            UnsupportedFeature: a method that cannot integrate this network.
        """
        end, halt = deadline(time_limit_s), Halt()
        M, more = len(x), len(self.network.constants) - self._columns
        x = np.array(x, dtype=np.float64)
        p = np.concatenate((np.array(p, dtype=np.float64), np.zeros((M, more))), axis=1)
        ordinary = [i for i, state in enumerate(self.network.states) if state.mass == 1.0]
        fine = np.isfinite(x[:, ordinary]).all(axis=1)
        members = Members(
            x=x, p=p, floor=np.ascontiguousarray(np.broadcast_to(np.asarray(atol, dtype=np.float64), x.shape)),
            t=np.full(M, times[0]), h=np.zeros(M), stop=np.full(M, np.inf), point=np.zeros(M, dtype=np.int64),
            status=np.where(fine, Status.FINE, Status.NOT_FINITE).astype(np.int8), steps=np.zeros(M, dtype=np.int64),
            halt=halt.flag,
        )  # fmt: skip
        values = np.full((M, len(times), len(self.readouts)), np.nan)
        queue = EventQueue(self.network, x, p, times, seed=seed, first_member=first_member)
        past = None
        if self.network.delayed:
            past = Histories(
                self.network, self._program, members, rtol=rtol, atol=members.floor.min(axis=1, initial=1e-3),
                span=float(times[-1] - times[0]),
            )  # fmt: skip
        rows = np.flatnonzero(fine).astype(np.int64)
        looks = np.linspace(times[0], times[-1], _LOOKS)
        looks[-1] = np.inf
        program, integrate = self._program, METHODS[self.method(method, rtol)]

        def part(chosen: NDArray[np.int64]) -> None:
            if past is not None:
                past.begin(chosen)
            ended = going = chosen
            while len(going):
                if halt.called:
                    members.status[going] = Status.OUT_OF_TIME
                    return
                changed = self._settle(members, queue, past, ended, looks)
                going = going[members.status[going] == Status.FINE]
                if past is not None:
                    past.limit(going)
                    past.open(going[np.isin(going, changed) | ~np.isin(going, ended)])
                integrate(program.layout, program.code, members, going, times, rtol, False, max_steps, values)
                going = going[members.status[going] == PAUSED]
                members.status[going] = Status.FINE
                ended = going if past is None else going[past.close(going)]

        threads = threads if len(rows) > LANES else 1
        rounds = -(-len(rows) // (_AT_ONCE * threads))  # as many parts for every thread
        shared_out(part, np.array_split(rows, max(1, rounds) * threads), threads=threads, halt=halt, end=end)
        members.x[members.status != Status.FINE] = np.nan
        values[members.status == Status.OUT_OF_TIME] = np.nan
        return Run(values=values, x=members.x, status=members.status)

    def method(self, method: Method, rtol: float) -> str:
        """What integrates at a tolerance, if asked for `method`: see `chosen_method`."""
        program = self._program
        restarts = bool(self.network.events) or program.layout.switch_count > 0
        return chosen_method(
            method, program.code, rtol=rtol, stiffness=lambda: self._stiffness, restarts=restarts,
            delays=bool(self.network.delayed),
        )  # fmt: skip

    @cached_property
    def _stiffness(self) -> float:
        """Of the model at its own values, at time 0."""
        if len(self.network.states) > LARGEST:
            return math.inf
        x, p = self.network.start({}, members=1, time=0.0, seed=0)
        return stiffness(self.rates(x, p, 0.0)[1][0])

    def rates(self, x: Floats, p: Floats, time: float) -> tuple[Floats, Floats]:
        """dx/dt `[M, S]` and its Jacobian `[M, S, S]`."""
        return self._program.rates(x, p, time)

    def read(self, x: Floats, p: Floats, time: float) -> Floats:
        """Readouts `[M, R]`."""
        return self._program.read(x, p, time)

    def _settle(
        self,
        members: Members,
        queue: EventQueue,
        past: Histories | None,
        rows: NDArray[np.int64],
        looks: Floats,
    ) -> NDArray[np.int64]:
        """What happens between two calls of the integrator: algebraic states are put right, events executed.

        Returns the rows that events have changed.
        """
        if not len(rows):
            return rows
        if past is not None:
            past.open(rows)  # triggers read what was, as it is seen from now on
        self._project(members, rows)
        return self._happen(members, queue, rows, looks)

    def _happen(self, members: Members, queue: EventQueue, rows: NDArray[np.int64], looks: Floats) -> NDArray[np.int64]:
        """Events are executed, and the members' next stops set; the rows that have changed."""
        program = self._program

        def watch(some: NDArray[np.int64]) -> Floats:
            return program.watch(members.x[some], members.p[some], members.t[some])

        here, every = rows, [rows[:0]]
        for _ in range(100):
            changed, restless = queue.settle(here, members.t, watch)
            members.status[restless] = Status.TOO_MANY_STEPS
            every.append(changed)
            if self._projection is None or not len(changed):
                break
            self._project(members, changed)
            here = changed
        members.stop[rows] = queue.next(rows)
        if self._looks:
            at = np.searchsorted(looks, members.t[rows], side="right")
            members.stop[rows] = np.minimum(members.stop[rows], looks[np.minimum(at, len(looks) - 1)])
        return np.concatenate(every)

    def _project(self, members: Members, rows: NDArray[np.int64]) -> None:
        if self._projection is not None:
            found, fine = self._projection.solve(members.x[rows], members.p[rows], members.t[rows])
            members.x[rows] = found
            members.status[rows[~fine]] = Status.NOT_CONVERGED


def _refuse_moments(network: Network) -> None:
    """Raise `UnsupportedFeature` for events that are triggered by = or ≠ of what moves: true for no longer than a moment,
    which lies between two numbers of the machine as often as not."""
    graph = network.graph
    moving = {graph.symbol(symbol_name(s.name)) for s in network.states if graph.value(s.rate) != 0.0 or s.mass != 1.0}
    moving.add(graph.symbol(CLOCK))
    for event in network.events:
        for node in graph.order([event.trigger]):
            if graph.op[node] in ("eq", "ne") and graph.reads(node) & moving:
                raise UnsupportedFeature(
                    "event at a moment of equality",
                    f"event {event.id or 'without id'}: its trigger asks whether what moves is equal to something, which it "
                    "is for no longer than a moment; write ≥ or ≤ (at (time >= 1) in place of at (time == 1)).",
                )
