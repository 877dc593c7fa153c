"""What happens to the columns of one member: in tiles, they are taken through a step, looked at within it, and read.

Legend: `S` states, `A` constants that move, `N` = S + A rows, `C` columns.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from simulators.reaction.columns import WIDTHS, advance, gather, mix, wrong
from simulators.reaction.lanes import LANES, execute_lane
from simulators.reaction.rodas5p_tableau import DENSE, STAGES, A, C
from simulators.reaction.sensitive_program import Columns

_OWN = 1e-3
"""Absolute tolerance over the relative one, in shares of a column's greatest entry, where a column is measured by itself."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def step(
    columns: Columns, mass: Any, packed: Any, factors: Any, mixing: Any, inverse: float, rows: Any, stages: Any, peak: Any,
    floor: Any, given: Any, scale: Any, rtol: float,
) -> float:  # fmt: skip
    """Take the columns of a member through a step; the greatest error of one of them, 1 being what is allowed.

    Args:
        packed, factors: scalars of each stage and of the step; see `Columns`.
        given: as `Tangents.scale`. mixing, scale: for its own use.
        rows: of the member's tiles; u' ends as the columns at the end of the step. `stages` receives every k'.
    """
    S, moved = len(mass), len(columns.moved)
    for i in range(STAGES):  # an array of the caller's: one of our own might be given up once its address is taken
        for j in range(i):
            mixing[i, j] = -C[i, j] * inverse
    sums = np.zeros(WIDTHS[0])
    scalars, lu, total = packed.ctypes.data, factors.ctypes.data, sums.ctypes.data
    terms, steps = columns.terms.ctypes.data, columns.solve_terms.ctypes.data
    a, b = A.ctypes.data, mixing.ctypes.data
    column, worst = 0, 0.0
    for tile in range(len(columns.widths)):
        width = columns.widths[tile]
        row = width * 8
        k = stages.ctypes.data + column * STAGES * S * 8
        u = rows.ctypes.data + column * (2 * S + moved) * 8
        s = u + (S + moved) * row
        products = columns.rows.ctypes.data + tile * S * 32
        for i in range(STAGES):
            here = k + i * S * row
            mix(width, u, here, s, k, S * row, a + i * STAGES * 8, b + i * STAGES * 8, i, S)
            for q in range(S):
                if mass[q] != 1.0:
                    at = (column * STAGES + i * width) * S + q * width
                    for c in range(width):
                        stages[at + c] *= mass[q]
            gather(width, here, here, scalars + i * packed.shape[1] * 8, u, products, S, terms, lu)
            gather(width, here, here, lu, here, columns.solve.ctypes.data, len(columns.solve), steps, lu)
        for c in range(width):
            scale[0, c], scale[1, c] = given[column + c], 0.0
            if scale[0, c] == 0.0:
                found, first = 0.0, column * (2 * S + moved) + c
                for q in range(S):
                    e = stages[(column * STAGES + (STAGES - 1) * width) * S + q * width + c]
                    found = max(found, peak[column * S + q * width + c], abs(rows[first + q * width] + e))
                scale[0, c], scale[1, c] = 1.0, _OWN * found
        wrong(
            width, total, k + (STAGES - 1) * S * row, u, peak.ctypes.data + column * S * 8, floor.ctypes.data,
            scale[0].ctypes.data, scale[1].ctypes.data, rtol, S,
        )  # fmt: skip
        for c in range(width):
            found = np.sqrt(sums[c] / max(S, 1))
            if not found <= worst:  # also where it is not a number
                worst = found
        column += width
    return worst


@numba.njit(cache=True, nogil=True, error_model="numpy")
def look(columns: Columns, S: int, rows: Any, stages: Any, weights: Any, share: float) -> None:
    """Look at the columns at a share of the step."""
    for j in range(STAGES):
        end = 1.0 if j == STAGES - 1 else A[STAGES - 1, j]
        bend = DENSE[0, j] + share * (DENSE[1, j] + share * DENSE[2, j])
        weights[j] = share * (end + (1.0 - share) * bend) if share < 1.0 else end
    straight, terms, column, moved = (
        columns.straight.ctypes.data,
        columns.straight_terms.ctypes.data,
        0,
        len(columns.moved),
    )
    for tile in range(len(columns.widths)):
        width = columns.widths[tile]
        u = rows.ctypes.data + column * (2 * S + moved) * 8
        k = stages.ctypes.data + column * STAGES * S * 8
        gather(width, u, u + (S + moved) * width * 8, weights.ctypes.data, k, straight, S, terms, weights.ctypes.data)
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
