"""Our own engine: many members at once, one per lane of the CPU's vectors, each with its own time and step.

The model becomes instructions over lanes (`tape`), its Jacobian symbolic and sparse, its LU factors a fixed list of
operations (`sparse_lu`), its integration Rodas5P (`rodas5p`). Nothing is compiled per model.

Legend: `M` members, `S` states, `P` settable constants, `T` times, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.reaction import rodas5p
from simulators.reaction.engine import Floats, Run, Status
from simulators.reaction.expression import RELATIONS, Graph, Node
from simulators.reaction.lanes import LANES, Instructions, execute, execute_lane
from simulators.reaction.lowering import INITIAL
from simulators.reaction.mathematics import Equations, equations_of
from simulators.reaction.readout import Readouts
from simulators.reaction.sparse_lu import sparse_lu
from simulators.reaction.start import start
from simulators.reaction.stepped_model import SteppedModel
from simulators.reaction.tape import Registers, instructions


class EnsembleEngine:
    """Integrates an SBML or Antimony model for many members at once (see `Engine`).

    Args:
        model, readouts, units, time_units: as `RoadRunnerEngine`.
        max_steps: most steps of a member in one run.
        threads: how many threads share the members; the bits do not depend on it.

    Raises:
        InputError, UnitError, UnsupportedFeature: as `RoadRunnerEngine`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        readouts: Readouts = None,
        units: Mapping[str, str] | None = None,
        time_units: str | None = None,
        max_steps: int = 100_000,
        threads: int = 1,
    ) -> None:
        self._arguments = {
            "model": model, "readouts": readouts, "units": units, "time_units": time_units, "max_steps": max_steps,
            "threads": threads,
        }  # fmt: skip
        self.model = SteppedModel.read(model, readouts=readouts, units=units, time_units=time_units)
        self.parameters: tuple[str, ...] = self.model.parameters
        self.readouts: tuple[str, ...] = tuple(self.model.readouts)
        self.units: Mapping[str, str] = self.model.units
        self.time_units: str = self.model.time_units
        self.nonnegative: frozenset[str] = self.model.compartments | self.model.substances | set(self.model.species)
        self._max_steps, self._threads = max_steps, threads
        self.equations = equations_of(self.model)
        self.states: tuple[str, ...] = self.equations.states
        column = {name: i for i, name in enumerate(self.parameters)}
        self.volumes: NDArray[np.intp] = np.array(
            [column.get(self.model.species.get(name) or "", -1) for name in self.states], dtype=np.intp
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process as its arguments."""
        return _again, (self._arguments,)

    @cached_property
    def _program(self) -> _Program:
        return _Program(self.equations, self.parameters)

    def start(self, given: Mapping[str, Floats], *, members: int, time: float) -> tuple[Floats, Floats]:
        """See `Engine.start`."""
        return start(
            self.model,
            given,
            states=self.states,
            volumes=self.volumes,
            members=members,
            assigned=lambda name, free: self.equations.assigned(INITIAL + name, free, time, members),
        )

    def run(self, x: Floats, p: Floats, times: Sequence[float], *, rtol: float, atol: float, held: bool = False) -> Run:
        """See `Engine.run`."""
        when, which = np.unique(np.array(times, dtype=np.float64), return_inverse=True)
        floor = np.full_like(x, atol)  # of amounts
        amounts = self.volumes >= 0
        floor[:, amounts] *= p[:, self.volumes[amounts]]
        fine = np.asarray(np.isfinite(x).all(axis=1) & np.isfinite(p).all(axis=1))
        members = rodas5p.Members(
            x=np.where(fine[:, None], x, np.nan),
            p=np.ascontiguousarray(p),
            floor=floor,
            t=np.full(len(x), when[0]),
            h=np.zeros(len(x)),
            stop=np.full(len(x), np.inf),
            point=np.zeros(len(x), dtype=np.int64),
            status=np.where(fine, Status.FINE, Status.NOT_FINITE).astype(np.int8),
            steps=np.zeros(len(x), dtype=np.int64),
        )
        values = np.full((len(x), len(when), len(self.readouts)), np.nan)
        rows = np.flatnonzero(fine)

        def part(chosen: NDArray[np.int64]) -> None:
            program = self._program
            rodas5p.integrate(program.layout, program.code, members, chosen, when, rtol, held, self._max_steps, values)

        if self._threads > 1 and len(rows) > LANES:
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(part, np.array_split(rows, self._threads)))
        else:
            part(rows)
        return Run(values=values[:, which], x=members.x, status=members.status)

    def rates(self, x: Floats, p: Floats, *, time: float) -> Floats:
        """See `Engine.rates`."""
        return self._program.rates(x, p, time)[0]

    def jacobian(self, x: Floats, p: Floats, *, time: float) -> Floats:
        """∂(dx/dt)/∂x `[M, S, S]`, exact."""
        return self._program.rates(x, p, time)[1]


def _again(arguments: dict[str, Any]) -> EnsembleEngine:
    return EnsembleEngine(arguments.pop("model"), **arguments)


def _switches(graph: Graph, nodes: Sequence[Node], moving: Collection[Node]) -> tuple[list[Node], dict[Node, Node]]:
    """Nodes whose relations between what moves are replaced by symbols, and symbol → relation.

    Within a step the branch that holds at its start is kept, so that what is integrated is smooth.
    """
    relations = [
        node for node in graph.order(nodes) if graph.op[node] in RELATIONS and not graph.reads(node).isdisjoint(moving)
    ]
    replaced = {node: graph.symbol(f" switch {i}") for i, node in enumerate(relations)}
    return graph.substitute_all(nodes, replaced), {switch: node for node, switch in replaced.items()}


class _Program:
    """A model's instructions and register file."""

    def __init__(self, equations: Equations, parameters: Sequence[str]) -> None:
        graph, self.size = equations.graph, len(equations.states)
        jacobian = equations.jacobian()
        slope = [graph.derivative(rate, graph.symbol("time")) for rate in equations.rates]
        zero = graph.const(0.0)
        self.autonomous = all(node == zero for node in slope)
        file = Registers()
        S, R = self.size, len(equations.readouts)
        time, x, p = file.block(1), file.block(S), file.block(len(parameters))
        f, j, ft = file.block(S), file.block(len(jacobian)), file.block(S)
        rhs, out_time, out_x, out = file.block(S), file.block(1), file.block(S), file.block(R)
        symbols = {graph.symbol(name): p + i for i, name in enumerate(parameters)}
        fixed = set(symbols)
        symbols |= {graph.symbol(name): x + i for i, name in enumerate(equations.states)}
        symbols[graph.symbol("time")] = time
        moving = [*equations.rates, *jacobian.values(), *slope]
        frozen, relations = _switches(graph, moving, symbols.keys() - fixed)
        switches, out_switches = file.block(len(relations)), file.block(len(relations))
        symbols |= {switch: switches + i for i, switch in enumerate(relations)}
        wanted = [*frozen, *equations.readouts, *relations.values()]
        hoist, hoisted = self._hoisted(equations, wanted, fixed, symbols, file)
        place = {**symbols, **hoisted}
        homes = [*range(f, f + S), *range(j, j + len(jacobian)), *range(ft, ft + S)]
        pairs = list(zip(frozen, homes, strict=True))
        rate_code = instructions(graph, pairs[:S], place, file)
        self.start_code = instructions(graph, pairs[: -S or None] if self.autonomous else pairs, place, file)
        shown = {**place, graph.symbol("time"): out_time}
        shown |= {graph.symbol(name): out_x + i for i, name in enumerate(equations.states)}
        self.read_code = instructions(
            graph, [(node, out + i) for i, node in enumerate(equations.readouts)], shown, file
        )
        turn = [(node, out_switches + i) for i, node in enumerate(relations.values())]
        turn_code = instructions(graph, turn, shown, file)
        self.pattern = list(jacobian)
        w = file.count
        lu = sparse_lu(S, self.pattern, w=w, rhs=rhs)
        file.block(len(lu.entries))
        known = {entry: n for n, entry in enumerate(self.pattern)}
        source = np.full(len(lu.entries), -1, dtype=np.int64)
        for entry, n in lu.entries.items():
            source[n] = known.get(entry, -1)
        self.layout = rodas5p.Layout(
            time=time, x=x, p=p, f=f, jacobian=j, ft=ft, w=w, rhs=rhs, out_time=out_time, out_x=out_x, out=out,
            states=S, constants=len(parameters), entries=len(lu.entries), readouts=R,
            switches=switches, out_switches=out_switches, switch_count=len(relations), stopping=0,
        )  # fmt: skip
        image = np.zeros((file.count, LANES))
        for place_, value in file.constants.items():
            image[place_] = value
        self.image = image.ravel()
        self.hoist = hoist
        self.code = rodas5p.Program(
            hoist=hoist, rates=rate_code, start=self.start_code, factor=lu.factor, solve=lu.solve,
            read=self.read_code, turn=turn_code,
            diagonal=np.array([lu.entries[s, s] for s in range(S)], dtype=np.int64),
            source=source, image=self.image, autonomous=self.autonomous,
        )  # fmt: skip

    @staticmethod
    def _hoisted(
        equations: Equations, wanted: list[int], fixed: set[int], symbols: dict[int, int], file: Registers
    ) -> tuple[Instructions, dict[int, int]]:
        """What depends on constants alone and is used by what moves: computed once per member."""
        graph = equations.graph
        outer: set[int] = set()

        def constant(node: int) -> bool:
            return bool(graph.args[node]) and graph.reads(node) <= fixed

        for node in graph.order(wanted):
            if not constant(node):
                outer.update(a for a in graph.args[node] if constant(a))
        outer.update(node for node in wanted if constant(node))
        hoisted = {node: file.block(1) for node in sorted(outer)}
        return instructions(graph, list(hoisted.items()), dict(symbols), file), hoisted

    def rates(self, x: Floats, p: Floats, time: float) -> tuple[Floats, Floats]:
        """dx/dt `[M, S]` and its Jacobian `[M, S, S]`."""
        S = self.size
        f, j = np.empty((len(x), S)), np.zeros((len(x), S, S))
        rows = np.array([i for i, _ in self.pattern], dtype=np.intp)
        columns = np.array([k for _, k in self.pattern], dtype=np.intp)
        for file, part, width in self._blocks(x, p, time, self.layout.x, self.layout.time):
            execute(self.start_code, file)
            table = file.reshape(-1, LANES)
            f[part] = table[self.layout.f : self.layout.f + S, :width].T
            first = self.layout.jacobian
            j[part, rows, columns] = table[first : first + len(rows), :width].T
        return f, j

    def read(self, x: Floats, p: Floats, time: float) -> Floats:
        """Readouts `[M, R]`."""
        found = np.empty((len(x), self.layout.readouts))
        for file, part, width in self._blocks(x, p, time, self.layout.out_x, self.layout.out_time):
            execute(self.read_code, file)
            out = self.layout.out
            found[part] = file.reshape(-1, LANES)[out : out + self.layout.readouts, :width].T
        return found

    def _blocks(self, x: Floats, p: Floats, time: float, at_x: int, at_time: int):
        file = self.image.copy()
        table = file.reshape(-1, LANES)
        for first in range(0, len(x), LANES):
            width = min(LANES, len(x) - first)
            table[at_x : at_x + self.size, :width] = x[first : first + width].T
            table[self.layout.p : self.layout.p + p.shape[1], :width] = p[first : first + width].T
            table[at_time] = time
            for lane in range(width):
                execute_lane(self.hoist, file, lane)
            if self.layout.switch_count:
                table[self.layout.out_x : self.layout.out_x + self.size, :width] = x[first : first + width].T
                table[self.layout.out_time] = time
                execute(self.code.turn, file)
                count, at = self.layout.switch_count, self.layout.out_switches
                table[self.layout.switches : self.layout.switches + count] = table[at : at + count]
            yield file, slice(first, first + width), width
