"""Our own engine: many members at once, one per lane of the CPU's vectors, each with its own time and step.

The model becomes instructions over lanes (`tape`), its Jacobian symbolic and sparse, its LU factors a fixed list of
operations (`sparse_lu`), its integration Rodas5P (`rodas5p`). Nothing is compiled per model.

Legend: `M` members, `S` states, `P` settable constants, `T` times, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.reaction import rodas5p
from simulators.reaction.engine import Floats, Run, Status
from simulators.reaction.lanes import LANES, execute, execute_lane
from simulators.reaction.lowering import INITIAL
from simulators.reaction.mathematics import Equations, equations_of
from simulators.reaction.readout import Readouts, unknown
from simulators.reaction.sparse_lu import sparse_lu
from simulators.reaction.stepped_model import SteppedModel
from simulators.reaction.tape import Code, Registers, instructions
from twin.errors import InputError


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
        self._equations = equations_of(self.model)
        self.states: tuple[str, ...] = self._equations.states
        column = {name: i for i, name in enumerate(self.parameters)}
        self.volumes: NDArray[np.intp] = np.array(
            [column.get(self.model.species.get(name) or "", -1) for name in self.states], dtype=np.intp
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process as its arguments."""
        return _again, (self._arguments,)

    @cached_property
    def _program(self) -> _Program:
        return _Program(self._equations, self.parameters)

    def start(self, given: Mapping[str, Floats], *, members: int, time: float) -> tuple[Floats, Floats]:
        """See `Engine.start`."""
        settable = {*self.parameters, *self.states}
        for name in given:
            if name not in settable:
                raise InputError(unknown(name, settable))
        # `free`: as the model reads it; amounts wait until the sizes of their compartments are known
        free = {name: np.full(members, start.value) for name, start in self.model.initial.items()}
        free |= {name: np.array(values, dtype=np.float64) for name, values in given.items()}
        amounts = {
            n: s.compartment for n, s in self.model.initial.items() if s.compartment is not None and n not in given
        }
        for name, compartment in amounts.items():
            if compartment not in self.model.assigned or compartment in given:
                free[name] = free[name] / free[compartment]
        for name in self.model.assigned:
            if name not in given:
                free[name] = self._equations.assigned(INITIAL + name, free, time, members)
            for species, compartment in amounts.items():
                if compartment == name and name not in given and species not in self.model.assigned:
                    free[species] = free[species] / free[name]
        missing = {
            name for name in settable - {*given, *self.model.assigned} if np.isnan(self.model.initial[name].value)
        }
        if missing:
            raise InputError(
                f"No value at the start for {', '.join(sorted(missing))}; give one in the model or in `parameters`."
            )
        p = np.array([free[name] for name in self.parameters]).reshape(len(self.parameters), members).T.copy()
        x = np.array([free[name] for name in self.states]).reshape(len(self.states), members).T.copy()
        held = self.volumes >= 0
        x[:, held] *= p[:, self.volumes[held]]
        return x, p

    def run(self, x: Floats, p: Floats, times: Sequence[float], *, rtol: float, atol: float, held: bool = False) -> Run:
        """See `Engine.run`."""
        program, members = self._program, len(x)
        when = np.array(times, dtype=np.float64)
        values = np.full((members, len(when), len(self.readouts)), np.nan)
        end = np.full_like(x, np.nan)
        status = np.where(np.isfinite(x).all(axis=1) & np.isfinite(p).all(axis=1), 0, int(Status.NOT_FINITE)).astype(
            np.int8
        )
        steps = np.zeros(members, dtype=np.int64)
        floor = np.full_like(x, atol)  # of amounts
        amounts = self.volumes >= 0
        floor[:, amounts] *= p[:, self.volumes[amounts]]
        distinct = np.concatenate(([True], np.diff(when) > 0)) if len(when) else np.zeros(0, dtype=bool)
        which = np.cumsum(distinct) - 1
        when = when[distinct]
        found = np.full((members, len(when), len(self.readouts)), np.nan)

        def part(rows: slice) -> None:
            program.integrate(
                x[rows], p[rows], floor[rows], when, rtol, held, self._max_steps,
                found[rows], end[rows], status[rows], steps[rows],
            )  # fmt: skip

        if len(when) == 1:
            fine = status == 0
            found[fine, 0] = program.read(x[fine], p[fine], when[0])
            end[fine] = x[fine]
        elif self._threads > 1 and members > LANES:
            cut = np.linspace(0, members, self._threads + 1).astype(int)
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(lambda i: part(slice(cut[i], cut[i + 1])), range(self._threads)))
        else:
            part(slice(0, members))
        values[:] = found[:, which]
        return Run(values=values, x=end, status=status)

    def rates(self, x: Floats, p: Floats, *, time: float) -> Floats:
        """See `Engine.rates`."""
        return self._program.rates(x, p, time)[0]

    def jacobian(self, x: Floats, p: Floats, *, time: float) -> Floats:
        """∂(dx/dt)/∂x `[M, S, S]`, exact."""
        return self._program.rates(x, p, time)[1]


def _again(arguments: dict[str, Any]) -> EnsembleEngine:
    return EnsembleEngine(arguments.pop("model"), **arguments)


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
        wanted = [*equations.rates, *jacobian.values(), *slope, *equations.readouts]
        self.hoist, hoisted = self._hoisted(equations, wanted, fixed, symbols, file)
        place = {**symbols, **hoisted}
        rates = [(node, f + i) for i, node in enumerate(equations.rates)]
        matrix = [(node, j + i) for i, node in enumerate(jacobian.values())]
        slopes = [] if self.autonomous else [(node, ft + i) for i, node in enumerate(slope)]
        self.rate_code = instructions(graph, rates, place, file)
        self.start_code = instructions(graph, [*rates, *matrix, *slopes], place, file)
        shown = {**place, graph.symbol("time"): out_time}
        shown |= {graph.symbol(name): out_x + i for i, name in enumerate(equations.states)}
        self.read_code = instructions(
            graph, [(node, out + i) for i, node in enumerate(equations.readouts)], shown, file
        )
        self.pattern = list(jacobian)
        w = file.count
        lu = sparse_lu(S, self.pattern, w=w, rhs=rhs)
        file.block(len(lu.entries))
        self.lu = lu
        known = {entry: n for n, entry in enumerate(self.pattern)}
        self.source = np.full(len(lu.entries), -1, dtype=np.int64)
        for entry, n in lu.entries.items():
            self.source[n] = known.get(entry, -1)
        self.diagonal = np.array([lu.entries[s, s] for s in range(S)], dtype=np.int64)
        self.layout = rodas5p.Layout(
            time=time, x=x, p=p, f=f, jacobian=j, ft=ft, w=w, rhs=rhs, out_time=out_time, out_x=out_x, out=out,
            states=S, constants=len(parameters), entries=len(lu.entries), readouts=R,
        )  # fmt: skip
        image = np.zeros((file.count, LANES))
        for place_, value in file.constants.items():
            image[place_] = value
        self.image = image.ravel()

    @staticmethod
    def _hoisted(
        equations: Equations, wanted: list[int], fixed: set[int], symbols: dict[int, int], file: Registers
    ) -> tuple[Code, dict[int, int]]:
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

    def integrate(
        self, x: Floats, p: Floats, floor: Floats, times: Floats, rtol: float, held: bool, max_steps: int,
        values: Floats, end: Floats, status: NDArray[np.int8], steps: NDArray[np.int64],
    ) -> None:  # fmt: skip
        """See `rodas5p.integrate`."""
        rodas5p.integrate(
            self.layout, self.hoist, self.rate_code, self.start_code, self.lu.factor, self.lu.solve, self.read_code,
            self.diagonal, self.source, self.image, np.ascontiguousarray(x), np.ascontiguousarray(p),
            np.ascontiguousarray(floor), times, rtol, held, self.autonomous, max_steps, values, end, status, steps,
        )  # fmt: skip

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
            yield file, slice(first, first + width), width
