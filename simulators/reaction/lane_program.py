"""A network's equations as instructions over lanes, and the register file that they work on.

Legend: `M` members, `S` states, `P` constants, `R` readouts, `N` nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numba
import numpy as np

from simulators.reaction.engine import Floats
from simulators.reaction.expression import STEPPED, Graph, Node
from simulators.reaction.lane_problem import Layout, Program
from simulators.reaction.lanes import LANES, execute, execute_lane
from simulators.reaction.operation import Instructions
from simulators.reaction.sparse_lu import SparseLU, sparse_lu
from simulators.reaction.tape import Registers, instructions


@dataclass(frozen=True)
class System:
    """What is integrated: mass × dx/dt = rates.

    Attributes:
        clock: the symbol of the time.
        states, rates: symbols and nodes `[S]`.
        constants: symbols `[P]`.
        readouts: nodes read at output times `[R]`.
        watched: nodes that stop a member when a relation in them turns (triggers of events), and whatever else must be
            read between the integrator's calls.
        triggers: how many of `watched` stop a member: the first ones.
        masses: what multiplies each d state / dt `[S]`; 0 where the rate is a residual. None: 1.
        pause_always: whether every relation that turns stops a member, not those of triggers and residuals alone.
        stops: further nodes that stop a member when a relation in them turns.
        remembered: nodes that are read with the relations as they were at another moment.
    """

    graph: Graph
    clock: Node
    states: Sequence[Node]
    rates: Sequence[Node]
    constants: Sequence[Node]
    readouts: Sequence[Node]
    watched: Sequence[Node] = ()
    triggers: int = 0
    masses: Sequence[float] | None = None
    pause_always: bool = False
    stops: Sequence[Node] = ()
    remembered: Sequence[Node] = ()

    def jacobian(self) -> dict[tuple[int, int], Node]:
        """Entries of ∂ rates / ∂ states that are not zero by construction."""
        columns = {symbol: i for i, symbol in enumerate(self.states)}
        zero = self.graph.const(0.0)
        found: dict[tuple[int, int], Node] = {}
        for row, rate in enumerate(self.rates):
            for symbol in sorted(self.graph.reads(rate) & columns.keys(), key=columns.__getitem__):
                node = self.graph.derivative(rate, symbol)
                if node != zero:
                    found[row, columns[symbol]] = node
        return found


class LaneProgram:
    """Instructions and register file of a system."""

    def __init__(self, system: System) -> None:
        graph, self.size = system.graph, len(system.states)
        jacobian = system.jacobian()
        slope = [graph.derivative(rate, system.clock) for rate in system.rates]
        zero = graph.const(0.0)
        self.autonomous = all(node == zero for node in slope)
        file = Registers()
        S, R = self.size, len(system.readouts)
        time, x, p = file.block(1), file.block(S), file.block(len(system.constants))
        f, ft = file.block(S), file.block(S)
        rhs, out_time, out_x, out = file.block(S), file.block(1), file.block(S), file.block(R)
        self._watch = file.block(len(system.watched))
        self._watched = len(system.watched)
        symbols = {symbol: p + i for i, symbol in enumerate(system.constants)}
        fixed = set(symbols)
        symbols |= {symbol: x + i for i, symbol in enumerate(system.states)}
        symbols[system.clock] = time
        moving = [*system.rates, *jacobian.values(), *slope]
        varying = symbols.keys() - fixed
        triggers = system.watched[: system.triggers]
        # residuals are solved anew where they bend, so they stop a member too
        mass = np.ones(S) if system.masses is None else np.array(system.masses, dtype=np.float64)
        held = [rate for rate, m in zip(system.rates, mass, strict=True) if m != 1.0]
        more = [*moving, *system.remembered] if system.pause_always else []
        stopping = _relations(graph, [*triggers, *system.stops, *held, *more], varying)
        relations = [*stopping, *(n for n in _relations(graph, moving, varying) if n not in set(stopping))]
        states = set(system.states)
        gaps = [
            graph.sub(*graph.args[node])
            for node in _relations(graph, [*triggers, *system.stops], states)
            if graph.op[node] in ("lt", "le", "gt", "ge")
        ]
        switch = {node: graph.symbol(f" switch {i}") for i, node in enumerate(relations)}
        frozen = graph.substitute_all(moving, switch)
        remembered = graph.substitute_all(system.remembered, switch)
        self._remember, self._remembered = file.block(len(remembered)), len(remembered)
        switches, out_switches = file.block(len(relations)), file.block(len(relations))
        symbols |= {switch[node]: switches + i for i, node in enumerate(relations)}
        more_nodes = self._more_nodes(system, frozen[:S], frozen[S : len(frozen) - S], relations)
        wanted = [*frozen, *remembered, *system.readouts, *relations, *system.watched, *gaps, *more_nodes]
        self.hoist, hoisted = _hoisted(graph, wanted, fixed, symbols, file)
        place = {**symbols, **hoisted}
        rates = list(zip(frozen[:S], range(f, f + S), strict=True))
        slopes = list(zip(frozen[len(frozen) - S :], range(ft, ft + S), strict=True))
        entries = dict(zip(jacobian, frozen[S : len(frozen) - S], strict=True))
        # entries stay where they are computed; those that are states themselves are copied, since states move on
        copied = {node: file.block(1) for node in dict.fromkeys(entries.values()) if node in symbols.keys() - fixed}
        numbers = {node: file.constant(value) for node in entries.values() if (value := graph.value(node)) is not None}
        rate_code = instructions(graph, rates, dict(place), file, gathered=True)
        found = dict(place)
        self.start_code = instructions(
            graph,
            [*rates, *([] if self.autonomous else slopes), *copied.items()],
            found,
            file,
            gathered=True,
            kept=[node for node in entries.values() if node not in copied],
        )
        found |= numbers | copied
        self.entries = {entry: found[node] for entry, node in entries.items()}
        shown = {**place, system.clock: out_time}
        shown |= {symbol: out_x + i for i, symbol in enumerate(system.states)}
        read_code = instructions(graph, [(node, out + i) for i, node in enumerate(system.readouts)], shown, file)
        turn = [(node, out_switches + i) for i, node in enumerate(relations)]
        turn_code = instructions(graph, turn, shown, file)
        gap = file.block(len(gaps))
        gap_code = instructions(graph, [(node, gap + i) for i, node in enumerate(gaps)], shown, file)
        watch = [(node, self._watch + i) for i, node in enumerate(system.watched)]
        self.watch_code = instructions(graph, watch, shown, file)
        remember = [(node, self._remember + i) for i, node in enumerate(remembered)]
        self.remember_code = instructions(graph, remember, shown, file)
        off = {(i, k): place for (i, k), place in self.entries.items() if i != k}
        nothing = file.constant(0.0)
        lu = sparse_lu(S, off, first=file.count, rhs=rhs, zero=nothing)
        file.block(lu.registers)
        self.operations = lu.operations
        self._append(place, shown, file, lu, rhs, nothing)
        self.layout = Layout(
            time=time, x=x, p=p, f=f, ft=ft, rhs=rhs, out_time=out_time, out_x=out_x, out=out,
            states=S, constants=len(system.constants), readouts=R,
            switches=switches, out_switches=out_switches, switch_count=len(relations), stopping=len(stopping),
            gaps=gap, gap_count=len(gaps),
        )  # fmt: skip
        image = np.zeros((file.count, LANES))
        for place_, value in file.constants.items():
            image[place_] = value
        self.image = image.ravel()
        self.code = Program(
            hoist=self.hoist, rates=rate_code, start=self.start_code, factor=lu.factor, solve=lu.solve,
            read=read_code, turn=turn_code, gap=gap_code,
            diagonal=np.array(lu.diagonal, dtype=np.int64),
            source=np.array([self.entries.get((s, s), nothing) for s in range(S)], dtype=np.int64),
            factors=np.array(lu.read, dtype=np.int64), image=self.image, autonomous=self.autonomous, mass=mass,
        )  # fmt: skip

    def _more_nodes(
        self, system: System, rates: Sequence[Node], entries: Sequence[Node], relations: Sequence[Node]
    ) -> Sequence[Node]:
        """Nodes that a kind of program computes besides: of rates and entries of the Jacobian whose relations stay."""
        return ()

    def _append(
        self,
        place: Mapping[Node, int],
        shown: Mapping[Node, int],
        file: Registers,
        lu: SparseLU,
        rhs: int,
        nothing: int,
    ) -> None:
        """Instructions for them.

        Args:
            place, shown: where nodes lie that rates read, and those that readouts read.
            rhs, nothing: register of the first right-hand side, and one that holds 0.
        """

    def rates(self, x: Floats, p: Floats, time: float) -> tuple[Floats, Floats]:
        """dx/dt `[M, S]` and its Jacobian `[M, S, S]`."""
        S = self.size
        f, j = np.empty((len(x), S)), np.zeros((len(x), S, S))
        rows = np.array([i for i, _ in self.entries], dtype=np.intp)
        columns = np.array([k for _, k in self.entries], dtype=np.intp)
        places = np.array(list(self.entries.values()), dtype=np.intp)
        for file, part, width in self._blocks(x, p, time, self.layout.x, self.layout.time):
            execute(self.start_code, file)
            table = file.reshape(-1, LANES)
            f[part] = table[self.layout.f : self.layout.f + S, :width].T
            j[part, rows, columns] = table[places, :width].T
        return f, j

    def read(self, x: Floats, p: Floats, time: float | Floats) -> Floats:
        """Readouts `[M, R]`."""
        return self._shown(self.code.read, self.layout.out, self.layout.readouts, x, p, time)

    def watch(self, x: Floats, p: Floats, time: float | Floats) -> Floats:
        """Watched nodes `[M, N]`, with the bits that the integrator sees."""
        return self._shown(self.watch_code, self._watch, self._watched, x, p, time)

    def remember(self, x: Floats, p: Floats, time: Floats, *, x0: Floats, time0: Floats) -> Floats:
        """Remembered nodes `[M, N]`, relations being what they are at states `x0` and times `time0`."""
        found = np.empty((len(x), self._remembered))
        layout = self.layout
        for file, part, width in self._blocks(x0, p, time0, layout.out_x, layout.out_time):
            table = file.reshape(-1, LANES)
            table[layout.out_x : layout.out_x + self.size, :width] = x[part].T
            table[layout.out_time, :width] = time[part]
            execute(self.remember_code, file)
            found[part] = table[self._remember : self._remember + self._remembered, :width].T
        return found

    def _shown(self, code: Instructions, out: int, count: int, x: Floats, p: Floats, time: float | Floats) -> Floats:
        found = np.empty((len(x), count))
        times = np.ascontiguousarray(np.broadcast_to(np.asarray(time, dtype=np.float64), (len(x),)))
        x, p = np.ascontiguousarray(x, dtype=np.float64), np.ascontiguousarray(p, dtype=np.float64)
        _show(self.layout, self.hoist, code, self.image, x, p, times, out, found)
        return found

    def _blocks(self, x: Floats, p: Floats, time: float | Floats, at_x: int, at_time: int):
        file = self.image.copy()
        table = file.reshape(-1, LANES)
        times = np.broadcast_to(np.asarray(time, dtype=np.float64), (len(x),))
        for first in range(0, len(x), LANES):
            width = min(LANES, len(x) - first)
            part = slice(first, first + width)
            table[at_x : at_x + self.size, :width] = x[part].T
            table[self.layout.p : self.layout.p + p.shape[1], :width] = p[part].T
            table[at_time, :width] = times[part]
            for lane in range(width):
                execute_lane(self.hoist, file, lane)
            if self.layout.switch_count:
                table[self.layout.out_x : self.layout.out_x + self.size, :width] = x[part].T
                table[self.layout.out_time, :width] = times[part]
                execute(self.code.turn, file)
                count, at = self.layout.switch_count, self.layout.out_switches
                table[self.layout.switches : self.layout.switches + count] = table[at : at + count]
            yield file, part, width


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _show(layout, hoist, code, image, x, p, times, out, found):
    """Registers from `out` on after `code`, for states, constants and times of members `[M, …]` → `found` `[M, N]`."""
    file = image.copy()
    for first in range(0, len(x), LANES):
        width = min(LANES, len(x) - first)
        for lane in range(width):
            m = first + lane
            for s in range(x.shape[1]):
                file[(layout.out_x + s) * LANES + lane] = x[m, s]
            for c in range(p.shape[1]):
                file[(layout.p + c) * LANES + lane] = p[m, c]
            file[layout.out_time * LANES + lane] = times[m]
            execute_lane(hoist, file, lane)
        execute(code, file)
        for lane in range(width):
            for n in range(found.shape[1]):
                found[first + lane, n] = file[(out + n) * LANES + lane]


def _relations(graph: Graph, nodes: Sequence[Node], varying: Collection[Node]) -> list[Node]:
    """Relations and steps between what varies: within a step of the integrator they stay as they are at its start, so
    that what is integrated is smooth. Of nested ones the outer reads the inner as it is now."""
    return [n for n in graph.order(nodes) if graph.op[n] in STEPPED and not graph.reads(n).isdisjoint(varying)]


def _hoisted(
    graph: Graph, wanted: Sequence[Node], fixed: set[Node], symbols: Mapping[Node, int], file: Registers
) -> tuple[Instructions, dict[Node, int]]:
    """What depends on constants alone and is used by what moves: computed once per member."""
    outer: set[Node] = set()

    def constant(node: Node) -> bool:
        return bool(graph.args[node]) and graph.reads(node) <= fixed

    for node in graph.order(wanted):
        if not constant(node):
            outer.update(a for a in graph.args[node] if constant(a))
    outer.update(node for node in wanted if constant(node))
    hoisted = {node: file.block(1) for node in sorted(outer)}
    return instructions(graph, list(hoisted.items()), dict(symbols), file), hoisted
