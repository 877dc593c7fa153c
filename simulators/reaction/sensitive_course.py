"""Time courses with sensitivities: the integrator over lanes and columns, and what happens when it pauses.

Legend: `M` members, `S` states, `P` constants, `A` constants that move, `N` = S + A rows, `K` switches, `C` columns,
`T` times, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulators.reaction import rodas5p_columns
from simulators.reaction.course import Course
from simulators.reaction.engine import Floats, Status
from simulators.reaction.events import watched
from simulators.reaction.expression import Node
from simulators.reaction.halt import Halt, deadline, shared_out
from simulators.reaction.jumps import Jumps
from simulators.reaction.lane_problem import PAUSED, Members
from simulators.reaction.lane_program import System
from simulators.reaction.lanes import LANES
from simulators.reaction.network import CLOCK, Network, symbol_name
from simulators.reaction.sensitive_events import EventSlopes, SensitiveQueue
from simulators.reaction.sensitive_program import SensitiveProgram
from simulators.reaction.ties import Ties
from twin.errors import UnsupportedFeature

_AT_ONCE = 1024
"""Members whose switches and events are settled together, per thread."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class SensitiveRun:
    """Readouts `[M, T, R]`, their derivatives `[R, M, T, C]`, NaN from where a member failed, and a `Status` `[M]`."""

    values: Floats
    slopes: Floats
    status: NDArray[np.int8]


class SensitiveCourse(Course):
    """A network, what is read of it, and which constants move with which columns.

    Args:
        readouts: nodes of the network's graph `[R]`.
        reach: which constants move with which columns at the start `[P, C]`; those that events set may move with all.

    Raises:
        UnsupportedFeature: delays, fast reactions, random numbers.
    """

    def __init__(self, network: Network, readouts: Sequence[Node], reach: NDArray[np.bool_]) -> None:
        refuse(network)
        super().__init__(network, readouts)
        reach = reach.copy()
        for event in network.events:
            for assignment in event.assignments:
                if assignment.target in network.constant_names:
                    reach[network.constant_names.index(assignment.target)] = True
        self._moved = [int(q) for q in np.flatnonzero(reach.any(axis=1))]
        self._reach = reach[self._moved]
        self._event_slopes = EventSlopes(network, self._moved)

    @cached_property
    def _program(self) -> SensitiveProgram:
        network = self.network
        symbol = network.graph.symbol
        system = System(
            graph=network.graph,
            clock=symbol(CLOCK),
            states=[symbol(symbol_name(name)) for name in network.state_names],
            rates=[state.rate for state in network.states],
            constants=[symbol(symbol_name(name)) for name in network.constant_names],
            readouts=self.readouts,
            watched=[*watched(network), *self._event_slopes.nodes],
            triggers=len(network.events),
            masses=[state.mass for state in network.states],
        )
        return SensitiveProgram(system, self._moved, self._reach)

    @cached_property
    def _jumps(self) -> Jumps:
        return Jumps(self.network, self._program)

    @cached_property
    def _ties(self) -> Ties:
        return Ties(self.network, self._moved)

    @cached_property
    def _relations(self) -> list[list[int]]:
        """Of each event the switches that its trigger reads."""
        graph = self.network.graph
        number = {node: i for i, node in enumerate(self._program.relations)}
        return [[number[n] for n in graph.order([event.trigger]) if n in number] for event in self.network.events]

    def run_columns(
        self,
        x: Floats,
        p: Floats,
        dx: Floats,
        dp: Floats,
        times: Floats,
        *,
        rtol: float,
        atol: Floats,
        scale: Floats,
        max_steps: int = 100_000,
        threads: int = 1,
        seed: int = 0,
        time_limit_s: float | None = None,
    ) -> SensitiveRun:
        """Integrate members and columns from `times[0]` to the last time.

        Args:
            x, p: states `[M, S]` and constants `[M, P]` at the start; not changed.
            dx, dp: their derivatives `[M, S, C]`, `[M, P, C]`.
            atol: absolute tolerances of the states `[M, S]`; those of a column are `scale` `[M, C]` times as large
                (0: see `rodas5p_columns.Tangents`).
            rtol, max_steps, threads, seed, time_limit_s: as of `Course.run`.
        """
        end, halt = deadline(time_limit_s), Halt()
        (M, _, C), program = dx.shape, self._program
        width = int(program.columns.widths.sum())
        s = np.zeros((M, x.shape[1] + len(self._moved), width))
        s[:, :, :C] = np.concatenate((dx, dp[:, self._moved]), axis=1)
        scales = np.ones((M, width))
        scales[:, :C] = scale
        x, p = np.array(x, dtype=np.float64), np.array(p, dtype=np.float64)
        ordinary = [i for i, state in enumerate(self.network.states) if state.mass == 1.0]
        fine = np.isfinite(x[:, ordinary]).all(axis=1) & np.isfinite(s[:, ordinary]).all(axis=(1, 2))
        members = Members(
            x=x, p=p, floor=np.ascontiguousarray(np.broadcast_to(atol, x.shape)), t=np.full(M, times[0]), h=np.zeros(M),
            stop=np.full(M, np.inf), point=np.zeros(M, dtype=np.int64),
            status=np.where(fine, Status.FINE, Status.NOT_FINITE).astype(np.int8), steps=np.zeros(M, dtype=np.int64),
            halt=halt.flag,
        )  # fmt: skip
        tangents = rodas5p_columns.Tangents(
            s, np.zeros((M, x.shape[1], width)), scales, np.full((M, program.layout.switch_count), np.nan)
        )
        values = np.full((M, len(times), len(self.readouts)), np.nan)
        slopes = np.empty((len(self.readouts), M, len(times), C))  # large: filled once, by what is computed
        queue = SensitiveQueue(
            self.network, x, p, times, seed=seed, s=s, moved=self._moved, slopes=self._event_slopes,
            velocity=lambda m: self._velocity(members, m), settled=lambda m: self._settled(members, tangents, m),
            relations=self._relations, tied=lambda *event: self._tied_by(members, *event),
        )  # fmt: skip
        looks = np.linspace(times[0], times[-1], 1001)
        looks[-1] = np.inf

        def part(chosen: Rows) -> None:
            going = chosen
            while len(going):
                if halt.called:
                    members.status[going] = Status.OUT_OF_TIME
                    return
                tied = self._tied(members, tangents, going) if going is chosen else going[:0]
                self._pause(members, tangents, queue, going, looks)
                members.status[tied] = Status.NOT_DIFFERENTIABLE
                going = going[members.status[going] == Status.FINE]
                rodas5p_columns.integrate(
                    program.layout, program.code, program.columns, program.nodes, members, tangents, going, times, rtol, max_steps,
                    values, slopes,
                )  # fmt: skip
                going = going[members.status[going] == PAUSED]
                members.status[going] = Status.FINE

        rows = np.flatnonzero(fine).astype(np.int64)
        threads = threads if len(rows) > LANES else 1
        rounds = -(-len(rows) // (_AT_ONCE * threads))  # as many parts for every thread
        shared_out(part, np.array_split(rows, max(1, rounds) * threads), threads=threads, halt=halt, end=end)
        for status in (Status.OUT_OF_TIME, Status.NOT_DIFFERENTIABLE):
            values[members.status == status] = np.nan
            members.point[members.status == status] = 0
        for m in np.flatnonzero(members.point < len(times)):
            slopes[:, m, members.point[m] :] = np.nan
        return SensitiveRun(values, slopes, members.status)

    def _pause(
        self,
        members: Members,
        tangents: rodas5p_columns.Tangents,
        queue: SensitiveQueue,
        rows: Rows,
        looks: Floats,
    ) -> None:
        """What happens between two calls of the integrator: switches turn, algebraic states settle, events happen."""
        before = members.x[rows]
        self._project(members, rows)
        rows, before = rows[members.status[rows] == Status.FINE], before[members.status[rows] == Status.FINE]
        x, p, t = members.x[rows], members.p[rows], members.t[rows]
        now = self._program.switches(x, p, t)
        was = np.where(np.isnan(tangents.was[rows]), now, tangents.was[rows])
        s = tangents.s[rows]
        moments = self._jumps.turn(before, x, p, t, members.h[rows], was, now, s)
        self._jumps.settle(x, p, t, now, s)
        tangents.s[rows] = s
        queue.crossed(rows, was != now, moments)
        self._happen(members, queue, rows, looks)
        ill = rows[~np.isfinite(tangents.s[rows]).all(axis=(1, 2)) & (members.status[rows] == Status.FINE)]
        members.status[ill] = Status.NOT_DIFFERENTIABLE

    def _tied(self, members: Members, tangents: rodas5p_columns.Tangents, rows: Rows) -> Rows:
        """Rows whose start lies on a relation both sides of which lead to something else."""
        if not self._ties:
            return rows[:0]
        self._project(members, rows)
        rows = rows[members.status[rows] == Status.FINE]
        x, p, t = members.x[rows], members.p[rows], members.t[rows]
        v = self._jumps.velocities(x, p, t, self._program.switches(x, p, t))
        return rows[self._ties.of(x, p, t, v, tangents.s[rows]).any(axis=1)]

    def _tied_by(self, members: Members, m: int, event: int, s: Floats, moment: Floats) -> NDArray[np.bool_]:
        v = self._velocity(members, m)[None]
        x, p, t = members.x[m : m + 1], members.p[m : m + 1], members.t[m : m + 1]
        return self._ties.after(event, x, p, t, v, s, moment)

    def _velocity(self, members: Members, m: int) -> Floats:
        x, p, t = members.x[m : m + 1], members.p[m : m + 1], members.t[m : m + 1]
        if self._projection is not None:
            x, _ = self._projection.solve(x, p, t)
        return self._jumps.velocities(x, p, t, self._program.switches(x, p, t))[0]

    def _settled(self, members: Members, tangents: rodas5p_columns.Tangents, m: int) -> None:
        if self._projection is not None:
            p, t = members.p[m : m + 1], members.t[m : m + 1]
            x, _ = self._projection.solve(members.x[m : m + 1], p, t)
            self._jumps.settle(x, p, t, self._program.switches(x, p, t), tangents.s[m : m + 1])


def refuse(network: Network) -> None:
    """Raise `UnsupportedFeature` for what sensitivities are not carried through."""
    if network.delayed:
        raise UnsupportedFeature(
            "delay", "delay(): sensitivities are not carried through delays; difference simulations."
        )
    if any(0.0 < state.mass < 1.0 for state in network.states):
        raise UnsupportedFeature(
            "fast reaction", "fast reactions: sensitivities are not carried through them; difference simulations."
        )
    if network.draws:
        raise UnsupportedFeature(
            "random numbers", "random numbers in the model: what is drawn has no derivative; difference simulations."
        )
