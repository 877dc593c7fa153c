"""What happens to the columns of one member: in tiles, they are taken through a step, looked at within it, and read.

Of a tile, `rows` holds the columns where they are looked at (S rows), constants (A) and the columns at the start of the step
(S); `stages` holds eight matrices of S rows: every k' of Rodas5P, or, of collocation (`collocated_step`), the columns at the
start and at the four nodes.

Legend: `S` states, `A` constants that move, `N` = S + A rows, `C` columns.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from simulators.reaction import collocation
from simulators.reaction.columns import advance, gather, greatest, mix, total, wrong
from simulators.reaction.lanes import LANES, execute_lane
from simulators.reaction.rodas5p_tableau import DENSE, STAGES, A, C
from simulators.reaction.sensitive_program import Columns

_OWN = 1e-3
"""Absolute tolerance over the relative one, in shares of a column's greatest entry, where a column is measured by itself."""
ONES = np.ones(2)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def judge(
    width: int, column: int, S: int, moved: int, last: int, rows: Any, stages: Any, peak: Any, floor: Any, given: Any,
    scale: Any, rtol: float,
) -> float:  # fmt: skip
    """The greatest error of a tile's columns, 1 being what is allowed.

    Args:
        column: the first of the tile. last: the matrix of `stages` that is the error.
        rows: the columns at the end of the step, where they are looked at.
        given: as `Tangents.scale`. scale: for its own use.
    """
    first, error = column * (2 * S + moved), (column * STAGES + last * width) * S
    end, been = rows.ctypes.data + first * 8, peak.ctypes.data + column * S * 8
    greatest(width, scale[1].ctypes.data, end, been, S)
    for c in range(width):
        known, scale[2, c] = given[column + c], 0.0
        scale[0, c], scale[1, c] = (known, 0.0) if known > 0.0 else (1.0, _OWN * scale[1, c])
    wrong(
        width, scale[2].ctypes.data, stages.ctypes.data + error * 8, end, been, floor.ctypes.data, scale[0].ctypes.data,
        scale[1].ctypes.data, rtol, S,
    )  # fmt: skip
    worst = 0.0
    for c in range(width):
        if not scale[2, c] <= worst:  # also where it is not a number
            worst = scale[2, c]
    return np.sqrt(worst / max(S, 1))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def force(
    columns: Columns, tile: int, packed: Any, first: int, count: int, stages: Any, at: int, size: int, rows: Any,
    constants: int,
) -> None:  # fmt: skip
    """Matrices of a tile grow by F q'.

    Args:
        packed: scalars, of which those of `count` stages from `first` on are used.
        at, size: where the first of the matrices begins in `stages`, and the numbers of each.
        constants: where q' begins in `rows`.
    """
    for e in range(columns.ends[tile], columns.ends[tile + 1]):
        here, place, moved = at + columns.own[e, 0], columns.own[e, 1], rows[constants + columns.own[e, 2]]
        for i in range(count):
            stages[here + i * size] += packed[first + i, place] * moved


@numba.njit(cache=True, nogil=True, error_model="numpy")
def step(
    columns: Columns, mass: Any, packed: Any, factors: Any, mixing: Any, inverse: float, rows: Any, stages: Any, peak: Any,
    floor: Any, given: Any, scale: Any, rtol: float,
) -> float:  # fmt: skip
    """Differentiate a member's step of Rodas5P; the greatest error of one of the columns, 1 being what is allowed.

    Args:
        packed, factors: scalars of each stage and of the step; see `Columns`.
        mixing: for its own use. others: as of `judge`; `stages` receives every k'.
    """
    S, moved = len(mass), len(columns.moved)
    for i in range(STAGES):  # an array of the caller's: one of our own might be given up once its address is taken
        for j in range(i):
            mixing[i, j] = -C[i, j] * inverse
    scalars, lu = packed.ctypes.data, factors.ctypes.data
    products, terms, steps = columns.rows.ctypes.data, columns.terms.ctypes.data, columns.solve_terms.ctypes.data
    a, b = A.ctypes.data, mixing.ctypes.data
    column, worst = 0, 0.0
    for tile in range(len(columns.widths)):
        width = columns.widths[tile]
        row = width * 8
        k = stages.ctypes.data + column * STAGES * S * 8
        u = rows.ctypes.data + column * (2 * S + moved) * 8
        s = u + (S + moved) * row
        constants = column * (2 * S + moved) + S * width
        for i in range(STAGES):
            here = k + i * S * row
            mix(width, u, here, s, k, S * row, a + i * STAGES * 8, b + i * STAGES * 8, i, S)
            for q in range(S):
                if mass[q] != 1.0:
                    at = (column * STAGES + i * width) * S + q * width
                    for c in range(width):
                        stages[at + c] *= mass[q]
            force(columns, tile, packed, i, 1, stages, (column * STAGES + i * width) * S, S * width, rows, constants)
            gather(width, here, here, scalars + i * packed.shape[1] * 8, u, products, S, terms, lu)
            gather(width, here, here, lu, here, columns.solve.ctypes.data, len(columns.solve), steps, lu)
        total(width, u, u, k + (STAGES - 1) * S * row - u, ONES.ctypes.data, 2, S)
        found = judge(width, column, S, moved, STAGES - 1, rows, stages, peak, floor, given, scale, rtol)
        if not found <= worst:
            worst = found
        column += width
    return worst


@numba.njit(cache=True, nogil=True, error_model="numpy")
def look(columns: Columns, collocated: bool, S: int, rows: Any, stages: Any, weights: Any, share: float) -> None:
    """Look at the columns at a share of the step."""
    for j in range(STAGES):
        end = 1.0 if j == STAGES - 1 else A[STAGES - 1, j]
        bend = DENSE[0, j] + share * (DENSE[1, j] + share * DENSE[2, j])
        weights[j] = share * (end + (1.0 - share) * bend) if share < 1.0 else end
    count = STAGES
    if collocated:
        count = collocation.STAGES + 1
        for j in range(count):
            weights[j] = 0.0
            for power in range(count - 1, -1, -1):
                weights[j] = weights[j] * share + collocation.POLYNOMIAL[power, j]
    column, moved = 0, len(columns.moved)
    for tile in range(len(columns.widths)):
        width = columns.widths[tile]
        u = rows.ctypes.data + column * (2 * S + moved) * 8
        k, size = stages.ctypes.data + column * STAGES * S * 8, S * width * 8
        if collocated and share >= 1.0:
            total(width, u, k + (count - 1) * size, 0, ONES.ctypes.data, 1, S)
        else:
            total(width, u, k, size, weights.ctypes.data, count, S)
        if not collocated:
            total(width, u, u, (S + moved) * width * 8, ONES.ctypes.data, 2, S)
        column += width


@numba.njit(cache=True, nogil=True, error_model="numpy")
def settle(columns: Columns, S: int, rows: Any, peak: Any) -> None:
    """The columns are where they are looked at."""
    column, moved = 0, len(columns.moved)
    for tile in range(len(columns.widths)):
        width = columns.widths[tile]
        u = rows.ctypes.data + column * (2 * S + moved) * 8
        advance(width, u + (S + moved) * width * 8, u, peak.ctypes.data + column * S * 8, S)
        column += width


@numba.njit(cache=True, nogil=True, error_model="numpy")
def load(columns: Columns, S: int, s: Any, greatest: Any, rows: Any, peak: Any) -> None:
    """Put columns `[N, C]`, and the greatest that they have been, into tiles; they are looked at where they are."""
    column, moved = 0, len(columns.moved)
    for tile in range(len(columns.widths)):
        width = columns.widths[tile]
        first = column * (2 * S + moved)
        for c in range(width):
            for q in range(S):
                value = s[q, column + c]
                rows[first + q * width + c] = value
                rows[first + (S + moved + q) * width + c] = value
                peak[column * S + q * width + c] = max(greatest[q, column + c], abs(value))
            for q in range(S, S + moved):
                rows[first + q * width + c] = s[q, column + c]
        column += width


@numba.njit(cache=True, nogil=True, error_model="numpy")
def store(columns: Columns, S: int, rows: Any, peak: Any, s: Any, greatest: Any) -> None:
    """What `load` reads, from tiles; the constants' rows stay as they are."""
    column, moved = 0, len(columns.moved)
    for tile in range(len(columns.widths)):
        width = columns.widths[tile]
        first = column * (2 * S + moved)
        for c in range(width):
            for q in range(S):
                s[q, column + c] = rows[first + (S + moved + q) * width + c]
                greatest[q, column + c] = peak[column * S + q * width + c]
        column += width


@numba.njit(cache=True, nogil=True, error_model="numpy")
def read(columns: Columns, S: int, R: Any, lane: int, rows: Any, shown: Any, slopes: Any, m: int, point: Any) -> None:
    """Derivatives of the readouts where `out_x` lies, from the columns as they are looked at."""
    execute_lane(columns.read_code, R, lane)
    scalars = np.zeros(max(len(columns.read), 1))
    for z in range(len(columns.read)):
        scalars[z] = R[columns.read[z, 0] * LANES + lane]
    moved, count, column = len(columns.moved), len(columns.read_rows), 0
    shown[:] = 0.0
    for tile in range(len(columns.widths)):
        width = columns.widths[tile]
        out = shown.ctypes.data + column * count * 8
        gather(
            width, out, out, scalars.ctypes.data, rows.ctypes.data + column * (2 * S + moved) * 8,
            columns.read_rows.ctypes.data, count, columns.read_terms.ctypes.data, scalars.ctypes.data,
        )  # fmt: skip
        for o in range(count):
            for c in range(min(width, slopes.shape[3] - column)):
                slopes[o, m, point, column + c] = shown[column * count + o * width + c]
        column += width
