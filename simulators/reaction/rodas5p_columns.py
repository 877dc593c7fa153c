"""Rodas5P with sensitivities: every step of a member is differentiated exactly, for all columns at once.

The state's step is that of `rodas5p`, over lanes. What it needs of J, F, B and β (see `sensitive_program`) is computed over
lanes too; then each member's columns are taken through the eight stages with the factors that its state was solved with.
The last stage's k' is a column's error, as k is the state's: a step is accepted if the state and every column meet their
tolerances (as CVODES does with its option to test sensitivities). Wherever a relation turns, the member pauses.

Legend: `M` members, `S` states, `A` constants that move, `N` = S + A rows, `C` columns, `T` times, `R` readouts, `L` lanes.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from simulators.reaction.columns import WIDTHS, advance, gather, mix, spread, wrong
from simulators.reaction.lanes import LANES, combine, execute, execute_lane
from simulators.reaction.rodas5p import (
    _BISECTIONS,
    _LARGEST,
    _SAFETY,
    _SMALLEST,
    DENSE,
    FINE,
    GAMMA,
    NODES,
    NOT_CONVERGED,
    NOT_FINITE,
    PAUSED,
    STAGES,
    TOO_MANY_STEPS,
    A,
    C,
    D,
    Layout,
    Members,
    Program,
    _bend,
    _differs,
    _fail,
    _first_step,
    _halt,
    _place,
    _read,
    _turn,
)
from simulators.reaction.sensitive_program import Columns

_OWN = 1e-3
"""Absolute tolerance over the relative one, in shares of a column's greatest entry, where a column is measured by itself."""


class Tangents(NamedTuple):
    """Sensitivities of the members.

    Attributes:
        s: rows of states, then of constants that move `[M, N, C]`; read and written.
        peak: the greatest that |s| of the states has been `[M, S, C]`; read and written.
        scale: what turns the states' absolute tolerances into those of a column `[M, C]`; where it is 0, they are as
            those of the states, and 1e-3 × the relative tolerance × the greatest that an entry of the column has been.
        was: switches of a member that pauses, as they were before `[M, K]`; written.
    """

    s: np.ndarray
    peak: np.ndarray
    scale: np.ndarray
    was: np.ndarray


@numba.njit(cache=True, nogil=True, error_model="numpy")
def integrate(
    layout: Layout,
    program: Program,
    columns: Columns,
    members: Members,
    tangents: Tangents,
    chosen: np.ndarray,
    times: np.ndarray,
    rtol: float,
    max_steps: int,
    values: np.ndarray,
    slopes: np.ndarray,
) -> None:
    """Integrate the chosen members and their columns to the last time, or until they pause.

    Args:
        chosen, times, rtol, max_steps, values: as of `rodas5p.integrate`.
        slopes: derivatives of readouts `[R, M, T, C]`, filled like `values`.
    """
    L = LANES
    S, K = layout.states, layout.switch_count
    width = tangents.s.shape[2]
    R = program.image.copy()
    points, last = len(times), times[len(times) - 1]
    span = last - times[0]
    k = np.zeros((STAGES, S * L))
    x, zeros, floor, new = np.zeros(S * L), np.zeros(S * L), np.ones(S * L), np.zeros(S * L)
    inverse = np.zeros(L)
    dense = np.zeros((3, S * L))
    t, h, grow, error, arrived = np.zeros(L), np.ones(L), np.ones(L), np.zeros(L), np.zeros(L)
    size = np.zeros(L)
    who = np.full(L, -1, np.int64)
    fresh, rejected, ok, turned = (
        np.zeros(L, np.bool_),
        np.zeros(L, np.bool_),
        np.zeros(L, np.bool_),
        np.zeros(L, np.bool_),
    )
    moved = len(columns.moved)
    each, per_step = columns.scalars
    packed = np.zeros((L, STAGES, each))
    factors = np.zeros((L, per_step))
    # of each lane, tile by tile: where the columns are looked at (S), constants (A), where they are (S)
    rows = np.zeros((L, (2 * S + moved) * width))
    peak = np.zeros((L, S * width))
    scale = np.zeros((2, WIDTHS[0]))
    stages = np.zeros(STAGES * S * width)
    shown = np.zeros(len(columns.read_rows) * width)
    weights, mixing = np.zeros(STAGES), np.zeros((STAGES, STAGES))
    registers, to_stages, to_factors = R.ctypes.data, packed.ctypes.data, factors.ctypes.data
    lane_bytes, stage_bytes = STAGES * each * 8, each * 8
    upcoming, running = 0, 0
    X, F, FT, B = layout.x * L, layout.f * L, layout.ft * L, layout.rhs * L
    while True:
        for lane in range(L):
            while who[lane] < 0 and upcoming < len(chosen):
                m = chosen[upcoming]
                upcoming += 1
                for p in range(layout.constants):
                    R[(layout.p + p) * L + lane] = members.p[m, p]
                for i in range(S):
                    x[i * L + lane] = members.x[m, i]
                    floor[i * L + lane] = members.floor[m, i]
                    R[(layout.out_x + i) * L + lane] = members.x[m, i]
                t[lane] = members.t[m]
                R[layout.time * L + lane] = t[lane]
                R[layout.out_time * L + lane] = t[lane]
                execute_lane(program.hoist, R, lane)
                _turn(layout, program, R, lane)
                _load(columns, S, tangents.s[m], tangents.peak[m], rows[lane], peak[lane])
                while members.point[m] < points and times[members.point[m]] <= t[lane]:
                    _read(layout, program, R, lane, values, m, members.point[m])
                    _read_columns(columns, S, R, lane, rows[lane], shown, slopes, m, members.point[m])
                    members.point[m] += 1
                if members.point[m] < points:
                    who[lane], fresh[lane], rejected[lane] = m, True, False
                    running += 1
        if running == 0:
            return
        if members.halt[0] != 0:
            _halt(members, values, chosen[upcoming:])
            _halt(members, values, who)
            return
        R[X : X + S * L] = x
        for lane in range(L):
            R[layout.time * L + lane] = t[lane]
        execute(program.start, R)
        for lane in range(L):
            if who[lane] < 0:
                continue
            m = who[lane]
            if fresh[lane]:
                fresh[lane] = False
                h[lane] = members.h[m]
                if h[lane] <= 0.0:
                    h[lane] = _first_step(R, F, x, members.floor, m, lane, S, rtol, span)
            left = min(last, members.stop[m]) - t[lane]
            if h[lane] >= left:
                h[lane] = left
            elif h[lane] > 0.5 * left:
                h[lane] = 0.5 * left
        for lane in range(L):
            inverse[lane] = 1.0 / h[lane]
        for i in range(S):
            w, j, mass = program.diagonal[i] * L, program.source[i] * L, program.mass[i] / GAMMA
            for lane in range(L):
                R[w + lane] = R[j + lane] - mass * inverse[lane]
        execute(program.factor, R)
        for i in range(STAGES):
            if i > 0:
                combine(R, layout.x, x, k, A[i], i, S)
                for lane in range(L):
                    R[layout.time * L + lane] = t[lane] + NODES[i] * h[lane]
            execute(columns.stage_code, R)
            stage = to_stages + i * stage_bytes
            spread(stage, lane_bytes, registers, columns.stage.ctypes.data, len(columns.stage), -1.0, False)
            combine(R, layout.rhs, zeros, k, C[i], i, S)
            for q in range(S):
                n, mass = q * L, -program.mass[q]
                for lane in range(L):
                    R[B + n + lane] = mass * (R[B + n + lane] * inverse[lane]) - R[F + n + lane]
            if not program.autonomous and D[i] != 0.0:
                for q in range(S):
                    for lane in range(L):
                        R[B + q * L + lane] -= h[lane] * D[i] * R[FT + q * L + lane]
            execute(program.solve, R)
            k[i, :] = R[B : B + S * L]
        new[:] = R[X : X + S * L]
        wrong = k[STAGES - 1]
        error[:] = 0.0
        for q in range(S):
            for lane in range(L):
                n = q * L + lane
                new[n] += wrong[n]
                ratio = wrong[n] / (floor[n] + rtol * max(abs(x[n]), abs(new[n])))
                error[lane] += ratio * ratio
        wanted = False
        for lane in range(L):
            size[lane] = np.sqrt(error[lane] / max(S, 1))
            wanted = wanted or (who[lane] >= 0 and size[lane] <= 1.0)
        if wanted:
            # B and β of every stage lie at the start of the step
            R[X : X + S * L] = x
            for lane in range(L):
                R[layout.time * L + lane] = t[lane]
            execute(columns.base_code, R)
            for i in range(STAGES):
                R[columns.along_x * L : (columns.along_x + S) * L] = k[i]
                for lane in range(L):
                    R[columns.along_t * L + lane] = h[lane] * D[i]
                execute(columns.bend_code, R)
                stage = to_stages + i * stage_bytes
                spread(stage, lane_bytes, registers, columns.late.ctypes.data, len(columns.late), -1.0, True)
                spread(stage, lane_bytes, registers, columns.bends.ctypes.data, len(columns.bends), -1.0, False)
            for table, sign in ((columns.factors, -1.0), (columns.pivots, 1.0)):
                spread(to_factors, per_step * 8, registers, table.ctypes.data, len(table), sign, False)
        for lane in range(L):
            if who[lane] < 0:
                continue
            m = who[lane]
            if size[lane] <= 1.0:
                worst = _step(
                    columns, program.mass, packed[lane], factors[lane], mixing, inverse[lane], rows[lane], stages, peak[lane],
                    members.floor[m], tangents.scale[m], scale, rtol,
                )  # fmt: skip
                if not worst <= size[lane]:  # also where it is not a number
                    size[lane] = worst
            members.steps[m] += 1
            ok[lane], turned[lane] = size[lane] <= 1.0, False
            if not np.isfinite(size[lane]):
                grow[lane] = 0.1
            elif size[lane] == 0.0:
                grow[lane] = _LARGEST
            else:
                grow[lane] = min(_LARGEST, max(_SMALLEST, _SAFETY * size[lane] ** (-0.2)))
            if not ok[lane]:
                rejected[lane] = True
                h[lane] *= grow[lane]
                why = FINE
                if not h[lane] > 1e-15 * max(abs(t[lane]), 1e-3 * abs(span)):
                    why = NOT_CONVERGED if np.isfinite(size[lane]) else NOT_FINITE
                elif members.steps[m] >= max_steps:
                    why = TOO_MANY_STEPS
                if why != FINE:
                    slopes[:, m, members.point[m] :, :] = np.nan
                    _fail(members, values, m, why)
                    who[lane] = -1
                    running -= 1
                continue
            if rejected[lane]:
                grow[lane] = min(grow[lane], 1.0)
            rejected[lane] = False
            goal = min(last, members.stop[m])
            arrived[lane] = t[lane] + h[lane]
            if goal - arrived[lane] <= 4e-16 * max(abs(goal), abs(span)):
                arrived[lane] = goal
            share, pause = 1.0, arrived[lane] >= members.stop[m]
            if K > 0:
                _place(layout, R, new, lane, arrived[lane])
                execute_lane(program.turn, R, lane)
                turned[lane] = _differs(layout, R, lane, K)
            if turned[lane] or times[members.point[m]] <= arrived[lane]:
                for q in range(3):
                    combine(dense[q], 0, zeros, k, DENSE[q], STAGES, S)
            if turned[lane]:
                # the first moment at which a switch has turned
                low = 0.0
                for _ in range(_BISECTIONS):
                    if (share - low) * h[lane] <= 2.3e-16 * max(abs(t[lane]), abs(arrived[lane])):
                        break
                    middle = 0.5 * (low + share)
                    _bend(layout, R, x, new, dense, lane, S, middle)
                    R[layout.out_time * L + lane] = t[lane] + middle * h[lane]
                    execute_lane(program.turn, R, lane)
                    if _differs(layout, R, lane, K):
                        share = middle
                    else:
                        low = middle
                if share < 1.0:
                    arrived[lane] = t[lane] + share * h[lane]
                    for q in range(members.point[m], points):
                        if times[q] >= arrived[lane]:
                            break
                        if arrived[lane] - times[q] <= 1e-15 * max(abs(t[lane]), abs(arrived[lane])):
                            early = (times[q] - t[lane]) / h[lane]
                            _bend(layout, R, x, new, dense, lane, S, early)
                            R[layout.out_time * L + lane] = times[q]
                            execute_lane(program.turn, R, lane)
                            if _differs(layout, R, lane, K):
                                share, arrived[lane] = early, times[q]
                                break
                pause = True
            looked = False
            while members.point[m] < points:
                when = times[members.point[m]]
                if when > arrived[lane] or (pause and when >= arrived[lane]):
                    break
                early = 1.0 if when == t[lane] + h[lane] else (when - t[lane]) / h[lane]
                _bend(layout, R, x, new, dense, lane, S, early)
                R[layout.out_time * L + lane] = when
                _read(layout, program, R, lane, values, m, members.point[m])
                _columns_at(columns, S, rows[lane], stages, weights, min(early, 1.0))
                looked = True
                _read_columns(columns, S, R, lane, rows[lane], shown, slopes, m, members.point[m])
                members.point[m] += 1
            if turned[lane]:
                _bend(layout, R, x, new, dense, lane, S, share)
                for q in range(S):
                    new[q * L + lane] = R[(layout.out_x + q) * L + lane]
                grow[lane] = min(grow[lane], 0.3)
            if turned[lane] or looked:
                _columns_at(columns, S, rows[lane], stages, weights, share)
            _advance(columns, S, rows[lane], peak[lane])
            t[lane] = arrived[lane]
            h[lane] *= grow[lane]
            finite = True
            for q in range(S):
                n = q * L + lane
                x[n] = new[n]
                finite = finite and np.isfinite(new[n])
            if not finite:
                slopes[:, m, members.point[m] :, :] = np.nan
                _fail(members, values, m, NOT_FINITE)
            elif pause or members.point[m] >= points:
                for q in range(S):
                    members.x[m, q] = x[q * L + lane]
                members.t[m], members.h[m] = t[lane], h[lane]
                _store(columns, S, rows[lane], peak[lane], tangents.s[m], tangents.peak[m])
                for q in range(K):
                    tangents.was[m, q] = R[(layout.switches + q) * L + lane]
                if pause:
                    members.status[m] = PAUSED
            elif members.steps[m] >= max_steps:
                slopes[:, m, members.point[m] :, :] = np.nan
                _fail(members, values, m, TOO_MANY_STEPS)
            else:
                continue
            who[lane] = -1
            running -= 1
        for lane in range(L):
            if who[lane] < 0:
                h[lane] = 1.0  # a free lane is computed too: keep its numbers tame
                for i in range(S):
                    x[i * L + lane] = 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _step(columns, mass, packed, factors, mixing, inverse, rows, stages, peak, floor, given, scale, rtol):
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
def _columns_at(columns, S, rows, stages, weights, share):
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
def _advance(columns, S, rows, peak):
    """The columns are where they are looked at."""
    column, moved = 0, len(columns.moved)
    for tile in range(len(columns.widths)):
        width = columns.widths[tile]
        u = rows.ctypes.data + column * (2 * S + moved) * 8
        advance(width, u + (S + moved) * width * 8, u, peak.ctypes.data + column * S * 8, S)
        column += width


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _load(columns, S, s, greatest, rows, peak):
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
def _store(columns, S, rows, peak, s, greatest):
    """What `_load` reads, from tiles; the constants' rows stay as they are."""
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
def _read_columns(columns, S, R, lane, rows, shown, slopes, m, point):
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
