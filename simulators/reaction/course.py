"""Time courses of a network for many members: the integrator over lanes, and what happens when it pauses.

Legend: `M` members, `S` states, `P` constants, `T` times, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulators.reaction import rodas5p
from simulators.reaction.engine import Floats, Run, Status
from simulators.reaction.events import EventQueue, watched
from simulators.reaction.expression import Node
from simulators.reaction.lane_program import LaneProgram, System
from simulators.reaction.lanes import LANES
from simulators.reaction.network import CLOCK, Network, symbol_name
from simulators.reaction.projection import Projection


class Course:
    """A network and what is read of it, ready to be integrated for any members.

    Args:
        readouts: nodes of the network's graph `[R]`.
    """

    def __init__(self, network: Network, readouts: Sequence[Node]) -> None:
        self.network = network
        self.readouts = tuple(readouts)

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
                algebraic=[i for i, state in enumerate(network.states) if state.algebraic],
            )
        )

    @cached_property
    def _projection(self) -> Projection | None:
        return Projection(self.network) if any(state.algebraic for state in self.network.states) else None

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
    ) -> Run:
        """Integrate from `times[0]`, where states are `x` and constants `p`, to the last time.

        Args:
            x, p: `[M, S]`, `[M, P]`; not changed.
            times: ascending and distinct `[T]`.
            atol: absolute tolerance of the states, a number or `[M, S]`.
            threads: how many share the members; the bits do not depend on it.
        """
        x, p = np.array(x, dtype=np.float64), np.array(p, dtype=np.float64)
        fine = np.isfinite(x).all(axis=1)
        M = len(x)
        members = rodas5p.Members(
            x=x, p=p, floor=np.ascontiguousarray(np.broadcast_to(np.asarray(atol, dtype=np.float64), x.shape)),
            t=np.full(M, times[0]), h=np.zeros(M), stop=np.full(M, np.inf), point=np.zeros(M, dtype=np.int64),
            status=np.where(fine, Status.FINE, Status.NOT_FINITE).astype(np.int8), steps=np.zeros(M, dtype=np.int64),
        )  # fmt: skip
        values = np.full((M, len(times), len(self.readouts)), np.nan)
        queue = EventQueue(self.network, x, p, times)
        rows = np.flatnonzero(fine).astype(np.int64)
        program = self._program

        def part(chosen: NDArray[np.int64]) -> None:
            self._settle(members, queue, chosen)
            going = chosen[members.status[chosen] == Status.FINE]
            while len(going):
                rodas5p.integrate(
                    program.layout, program.code, members, going, times, rtol, False, max_steps, values
                )  # fmt: skip
                going = going[members.status[going] == rodas5p.PAUSED]
                members.status[going] = Status.FINE
                self._settle(members, queue, going)
                going = going[members.status[going] == Status.FINE]

        if threads > 1 and len(rows) > LANES:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(part, np.array_split(rows, threads)))
        else:
            part(rows)
        return Run(values=values, x=members.x, status=members.status)

    def _settle(self, members: rodas5p.Members, queue: EventQueue, rows: NDArray[np.int64]) -> None:
        """What happens between two calls of the integrator: algebraic states are put right, events executed."""
        if not len(rows):
            return
        program = self._program

        def watch(some: NDArray[np.int64]) -> Floats:
            return program.watch(members.x[some], members.p[some], members.t[some])

        self._project(members, rows)
        for _ in range(100):
            changed, restless = queue.settle(rows, members.t, watch)
            members.status[restless] = Status.TOO_MANY_STEPS
            if self._projection is None or not len(changed):
                break
            self._project(members, changed)
            rows = changed
        for m in rows:
            members.stop[m] = queue.next(int(m))

    def _project(self, members: rodas5p.Members, rows: NDArray[np.int64]) -> None:
        if self._projection is not None:
            found, fine = self._projection.solve(members.x[rows], members.p[rows], members.t[rows])
            members.x[rows] = found
            members.status[rows[~fine]] = Status.NOT_CONVERGED
