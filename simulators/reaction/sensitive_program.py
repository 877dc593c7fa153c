"""What sensitivities need besides a system's rates and Jacobian: how these change, as instructions and as sparse rows.

With `s` = dx/dw for a column w, F = ∂f/∂q and q the constants that move with w, ds/dt = J s + F q' is linear. Where factors
are sparse it is solved by collocation at each step (`collocated_program`), which needs J and F at four nodes.

Else the state's step of Rodas5P is differentiated exactly: with what stage i solves,

    (M/(h γ) - J) k_i = f(t + c_i h, u_i) + h d_i ∂f/∂t + M Σ (C_ij / h) k_j,    u_i = x + Σ a_ij k_j,

    (M/(h γ) - J) k'_i = J(u_i) u'_i + F(u_i) q' + M Σ (C_ij / h) k'_j + B_i s + β_i q',    u'_i = s + Σ a_ij k'_j,

where B_i, β_i are the derivatives of J and F at (x, t) along (k_i, h d_i): matrices with the patterns of J and F. Every
column shares them, and the factors of the state's own step.

Legend: `S` states, `A` constants that move with a column (rows after the states), `N` = S + A, `K` switches, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.collocated_program import collocated, pays, unused
from simulators.reaction.columns import tiles
from simulators.reaction.engine import Floats
from simulators.reaction.expression import Graph, Node
from simulators.reaction.lane_program import LaneProgram, System
from simulators.reaction.lanes import LANES, execute
from simulators.reaction.operation import Instructions
from simulators.reaction.sparse_lu import SparseLU
from simulators.reaction.substitution import placed, substitutions, table
from simulators.reaction.tape import Registers, instructions

Entry = tuple[int, int]


class Columns(NamedTuple):
    """A model's instructions and sparse rows for sensitivities.

    Scalars of a lane are packed: for each stage those of J and B, row by row, and of F + β; once per step those of the
    factors. Rows of a tile are u'_i (S), q' (A), s (S). Tables and terms are those of `columns.gather`.

    Attributes:
        stage_code: f, J and F at a stage's argument. base_code: what B and β need of the state alone. bend_code: B, β.
        along_x, along_t: registers of the direction.
        stage: registers of J, and their places `[n, 2]`; force: those of F; late: of β; bends: of B.
        factors, pivots: registers of the factors' negatives, of the pivots' reciprocals. scalars: packed per stage and step.
        widths: of the tiles; rows: products with J and B `[S, 4]`; terms: theirs.
        own, ends: what F adds to single columns, (number in the tile's matrix, place, number in its constants), and where
            each tile's begins and ends `[tiles + 1]`.
        solve: substitutions `[2 S, 4]`; solve_terms: theirs.
        read_code: derivatives of readouts; read: their registers and places; read_rows, read_terms: products with them.
        moved: constants whose rows follow the states' `[A]`.
    """

    stage_code: Instructions
    base_code: Instructions
    bend_code: Instructions
    along_x: int
    along_t: int
    stage: NDArray[np.int64]
    force: NDArray[np.int64]
    late: NDArray[np.int64]
    bends: NDArray[np.int64]
    factors: NDArray[np.int64]
    pivots: NDArray[np.int64]
    scalars: tuple[int, int]
    widths: NDArray[np.int64]
    rows: NDArray[np.int64]
    terms: NDArray[np.int32]
    own: NDArray[np.int64]
    ends: NDArray[np.int64]
    solve: NDArray[np.int64]
    solve_terms: NDArray[np.int32]
    read_code: Instructions
    read: NDArray[np.int64]
    read_rows: NDArray[np.int64]
    read_terms: NDArray[np.int32]
    moved: NDArray[np.int64]


class SensitiveProgram(LaneProgram):
    """Instructions of a system and of its derivatives.

    Args:
        moved: numbers of the constants that move with some column `[A]`.
        reach: which columns each of them moves with `[A, C]`.
    """

    def __init__(self, system: System, moved: Sequence[int], reach: NDArray[np.bool_]) -> None:
        self._system, self._moved, self._reach = system, list(moved), reach
        super().__init__(system)

    def _more_nodes(
        self, system: System, rates: Sequence[Node], entries: Sequence[Node], relations: Sequence[Node]
    ) -> Sequence[Node]:
        graph, S = system.graph, len(system.states)
        rows = [*system.states, *(system.constants[q] for q in self._moved)]
        self._graph, self.frozen_rates, self.relations = graph, list(rates), list(relations)
        self._jacobian = dict(zip(system.jacobian(), entries, strict=True))
        self._forcing = _slopes(graph, rates, rows[S:])
        self._along = [graph.symbol(f" along {i}") for i in range(S)]
        self._along_time = graph.symbol(" along time")
        along = {**dict(zip(system.states, self._along, strict=True)), system.clock: self._along_time}
        self._bends, self._late = (
            {e: n for e, n in zip(table, graph.tangents(list(table.values()), along), strict=True) if graph.value(n) != 0.0}
            for table in (self._jacobian, self._forcing)
        )  # fmt: skip
        self._read = _slopes(graph, system.readouts, rows)
        directions = {*self._along, self._along_time}
        order = graph.order([*self._bends.values(), *self._late.values()])
        bent = [n for n in order if not graph.reads(n).isdisjoint(directions)]
        self._base = [a for a in dict.fromkeys(a for n in bent for a in graph.args[n])
                      if graph.reads(a).isdisjoint(directions)]  # fmt: skip
        # of what reads the direction only the parts that do not are looked at for what to compute once
        return [*self._forcing.values(), *self._base, *self._read.values()]

    def _append(
        self,
        place: Mapping[Node, int],
        shown: Mapping[Node, int],
        file: Registers,
        lu: SparseLU,
        rhs: int,
        nothing: int,
    ) -> None:
        graph, S = self._graph, self.size
        numbers: dict[Node, int] = {}

        def registers(nodes: Sequence[Node], found: Mapping[Node, int]) -> list[int]:
            for node in nodes:
                value = graph.value(node)
                if value is not None and node not in numbers:
                    numbers[node] = file.constant(value)
            return [numbers[n] if n in numbers else found[n] for n in nodes]

        entries, forcing = list(self._jacobian.values()), list(self._forcing.values())
        at_stage = dict(place)
        f = rhs - 2 * S  # as `LaneProgram` lays the file out: f, ∂f/∂t, right-hand sides
        rates = list(zip(self.frozen_rates, range(f, f + S), strict=True))
        stage_code = instructions(graph, rates, at_stage, file, gathered=True, kept=[*entries, *forcing])
        base = dict(place)
        widths = tiles(self._reach.shape[1])
        # an algebraic state has no value at the start from which a polynomial could go
        ordinary = self._system.masses is None or all(mass == 1.0 for mass in self._system.masses)
        if ordinary and pays(lu, S, len(entries), len(self._bends), len(widths)):
            self.nodes = collocated(
                S, dict(zip(self._jacobian, registers(entries, at_stage), strict=True)), file, nothing
            )
            self._bends, self._late, self._base = {}, {}, []
        else:
            self.nodes = unused()
        base_code = instructions(graph, [], base, file, gathered=True, kept=self._base)
        along_x, along_t = file.block(S), file.block(1)
        base |= {symbol: along_x + i for i, symbol in enumerate(self._along)} | {self._along_time: along_t}
        bends, late = list(self._bends.values()), list(self._late.values())
        bend_code = instructions(graph, [], base, file, gathered=True, kept=[*bends, *late])
        reads = dict(shown)
        read_nodes = list(self._read.values())
        read_code = instructions(graph, [], reads, file, kept=read_nodes)
        # scalars of J and B lie in the order of their rows, F behind them
        order = sorted([*((r, 0, c) for r, c in self._jacobian), *((r, 1, c) for r, c in self._bends)])
        number = {entry: i for i, entry in enumerate(order)}
        shared, A, R = len(order), len(self._moved), len(self._system.readouts)
        force = {entry: shared + i for i, entry in enumerate(self._forcing)}
        rows, terms = table(S, [(r, c + (S + A) * bent) for r, bent, c in order])
        own, ends = _own(force, self._reach, widths)
        factors, pivots, solve, solve_terms = substitutions(lu.solve, rhs)
        read_rows, read_terms = table(R, list(self._read))
        self.columns = Columns(
            stage_code=stage_code, base_code=base_code, bend_code=bend_code, along_x=along_x, along_t=along_t,
            stage=placed(registers(entries, at_stage), [number[r, 0, c] for r, c in self._jacobian]),
            force=placed(registers(forcing, at_stage), list(force.values())),
            late=placed(registers(late, base), [force[entry] for entry in self._late]),
            bends=placed(registers(bends, base), [number[r, 1, c] for r, c in self._bends]),
            factors=factors, pivots=pivots, scalars=(shared + len(force), len(factors) + len(pivots)),
            widths=widths, rows=rows, terms=terms, own=own, ends=ends, solve=solve, solve_terms=solve_terms, read_code=read_code,
            read=placed(registers(read_nodes, reads), range(len(read_nodes))), read_rows=read_rows, read_terms=read_terms,
            moved=np.array(self._moved, dtype=np.int64),
        )  # fmt: skip

    def rates_at(self, x: Floats, p: Floats, time: Floats, switches: Floats) -> Floats:
        """Rates `[M, S]` with switches as given `[M, K]`."""
        found = np.empty_like(x)
        first, count = self.layout.switches, self.layout.switch_count
        for file, part, width in self._blocks(x, p, time, self.layout.x, self.layout.time):
            table = file.reshape(-1, LANES)
            table[first : first + count, :width] = switches[part].T
            execute(self.code.rates, file)
            found[part] = table[self.layout.f : self.layout.f + self.size, :width].T
        return found

    def switches(self, x: Floats, p: Floats, time: Floats) -> Floats:
        """What the relations behind the switches are `[M, K]`."""
        found = np.empty((len(x), self.layout.switch_count))
        if not self.layout.switch_count:
            return found
        first, count = self.layout.switches, self.layout.switch_count
        for file, part, width in self._blocks(x, p, time, self.layout.x, self.layout.time):
            found[part] = file.reshape(-1, LANES)[first : first + count, :width].T
        return found


def _slopes(graph: Graph, nodes: Sequence[Node], symbols: Sequence[Node]) -> dict[Entry, Node]:
    """Derivatives of nodes by symbols that are not zero by construction."""
    column = {symbol: i for i, symbol in enumerate(symbols)}
    found: dict[Entry, Node] = {}
    for row, node in enumerate(nodes):
        for symbol in sorted(graph.reads(node) & column.keys(), key=column.__getitem__):
            slope = graph.derivative(node, symbol)
            if graph.value(slope) != 0.0:
                found[row, column[symbol]] = slope
    return found


def _own(
    force: Mapping[Entry, int], reach: NDArray[np.bool_], widths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What F adds to single columns, and where each tile's begins and ends.

    Args:
        force: entry of F → place among the scalars.
    """
    found: list[tuple[int, int, int]] = []
    ends, column = [0], 0
    for width in widths.tolist():
        here = reach[:, column : column + width]
        found += [
            (r * width + int(c), place, a * width + int(c))
            for (r, a), place in force.items()
            for c in np.flatnonzero(here[a])
        ]
        ends.append(len(found))
        column += width
    return np.array(found, dtype=np.int64).reshape(-1, 3), np.array(ends, dtype=np.int64)
