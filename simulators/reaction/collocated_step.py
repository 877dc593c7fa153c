"""Columns through a step by collocation: what lanes compute at its nodes, and what each member's columns do with it.

Legend: `S` states, `L` lanes, `C` columns; lanes and columns as of `lane_step` and `column_step`.
"""

from __future__ import annotations

from typing import Any

import numba

from simulators.reaction.collocated_program import Nodes
from simulators.reaction.collocation import INNER, INVERSE, NODES, SLOPE, START
from simulators.reaction.collocation import STAGES as COUNT
from simulators.reaction.column_step import ONES, force, judge
from simulators.reaction.columns import gather, spread, total, turn
from simulators.reaction.lane_problem import Layout
from simulators.reaction.lanes import LANES, execute
from simulators.reaction.rodas5p_tableau import STAGES
from simulators.reaction.sensitive_program import Columns


@numba.njit(cache=True, nogil=True, error_model="numpy")
def evaluate(
    layout: Layout, columns: Columns, nodes: Nodes, R: Any, x: Any, new: Any, dense: Any, t: Any, h: Any, inverse: Any,
    packed: Any, factors: Any,
) -> None:  # fmt: skip
    """F at the nodes and the factors of all nodes together, where the state is its dense output, for all lanes.

    Args:
        packed: scalars of the start, which are there already, and of each node `[L, nodes + 1, …]`. factors: `[L, …]`.
    """
    L, S, X, entries = LANES, layout.states, layout.x * LANES, nodes.entries
    each, n = packed.shape[2], len(nodes.entries)
    lane_bytes = packed.shape[1] * each * 8
    for a in range(COUNT):
        share = NODES[a]
        for i in range(S * L):
            if share < 1.0:
                bent = dense[0, i] + share * (dense[1, i] + share * dense[2, i])
                R[X + i] = (1.0 - share) * x[i] + share * (new[i] + (1.0 - share) * bent)
            else:
                R[X + i] = new[i]
        for lane in range(L):
            R[layout.time * L + lane] = t[lane] + share * h[lane]
        execute(columns.stage_code, R)
        for e in range(n):
            source, target = entries[e, 0] * L, (entries[e, 1] + a * n) * L
            for lane in range(L):
                R[target + lane] = R[source + lane]
        place = packed.ctypes.data + (a + 1) * each * 8
        spread(place, lane_bytes, R.ctypes.data, columns.force.ctypes.data, len(columns.force), -1.0, False)
        for b in range(COUNT):
            for lane in range(L):
                R[(nodes.coupling + a * COUNT + b) * L + lane] = -INVERSE[a, b] * inverse[lane]
    for i in range(COUNT * S):
        target, source, own = nodes.diagonal[i] * L, nodes.source[i] * L, INVERSE[i // S, i // S]
        for lane in range(L):
            R[target + lane] = R[source + lane] - own * inverse[lane]
    execute(nodes.factor, R)
    base, to, stride = R.ctypes.data, factors.ctypes.data, factors.shape[1] * 8
    turn(to, stride, base, nodes.factors.ctypes.data, len(nodes.factors), -1.0)
    turn(to + len(nodes.solve_terms) * 8, stride, base, nodes.pivots.ctypes.data, len(nodes.pivots), 1.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def step(
    columns: Columns, nodes: Nodes, S: int, packed: Any, own: Any, factors: Any, mixing: Any, inverse: float, rows: Any,
    stages: Any, peak: Any, floor: Any, given: Any, scale: Any, rtol: float,
) -> float:  # fmt: skip
    """Take the columns of a member through a step; the greatest error of one of them, 1 being what is allowed.

    Args:
        packed: scalars of the start and of each node. own: factors of the state's step. factors: of all nodes together.
        mixing: for its own use. others: as of `column_step.judge`.
    """
    moved = len(columns.moved)
    for a in range(COUNT):
        mixing[0, a] = -START[a] * inverse
    mixing[0, COUNT], mixing[1, COUNT + 1] = 0.0, 1.0
    for a in range(COUNT + 1):
        mixing[1, a] = SLOPE[a] * inverse
    scalars = packed.ctypes.data
    start, slope, one = mixing.ctypes.data, mixing.ctypes.data + mixing.shape[1] * 8, ONES.ctypes.data
    column, worst = 0, 0.0
    for tile in range(len(columns.widths)):
        width = columns.widths[tile]
        size, first = S * width, column * STAGES * S
        u = rows.ctypes.data + column * (2 * S + moved) * 8
        constants = column * (2 * S + moved) + size
        k = stages.ctypes.data + first * 8
        at = k + size * 8  # the nodes
        # slot by slot: s; what the nodes are solved for; by how much their polynomial misses the equation at the start
        total(width, k, u + (S + moved) * width * 8, 0, one, 1, S)
        for a in range(COUNT + 1):
            total(width, at + a * size * 8, k, 0, start + a * 8, 1, S)
        force(columns, tile, packed, 1, COUNT, stages, first + size, size, rows, constants)
        force(columns, tile, packed, 0, 1, stages, first + (COUNT + 1) * size, size, rows, constants)
        lu, solve = factors.ctypes.data, nodes.solve
        gather(width, at, at, lu, at, solve.ctypes.data, len(solve), nodes.solve_terms.ctypes.data, lu)
        total(width, u, k + COUNT * size * 8, 0, one, 1, S)
        error = k + (COUNT + 1) * size * 8
        total(width, error, k, size * 8, slope, COUNT + 2, S)
        gather(width, error, error, scalars, k, columns.rows.ctypes.data, S, columns.terms.ctypes.data, scalars)
        lu, solve = own.ctypes.data, columns.solve
        gather(width, error, error, lu, error, solve.ctypes.data, len(solve), columns.solve_terms.ctypes.data, lu)
        found = INNER * judge(
            width, column, S, moved, COUNT + 1, rows, stages, peak, floor, given, scale, rtol
        )  # fmt: skip
        if not found <= worst:  # also where it is not a number
            worst = found
        column += width
    return worst
