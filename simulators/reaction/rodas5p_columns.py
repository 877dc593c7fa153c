"""Rodas5P with sensitivities: each step of a member is followed by that of all its columns.

The state's step is that of `rodas5p`, over lanes, and so is what its columns need of J and F (see `sensitive_program`). Then
each member's columns are taken through the step: by collocation along the state's dense output, or, where that does not
pay, as the exact derivative of the state's step. A step is accepted if the state and every column meet their tolerances (as
CVODES does with its option to test sensitivities). Wherever a relation turns, the member pauses.

Legend: `M` members, `S` states, `A` constants that move, `N` = S + A rows, `C` columns, `T` times, `R` readouts, `L`
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from simulators.reaction import collocated_step, column_step, lane_step
from simulators.reaction.collocated_program import Nodes
from simulators.reaction.columns import WIDTHS, spread, turn
from simulators.reaction.dense_output import bend, differs
from simulators.reaction.lane_problem import FINE, PAUSED, Layout, Members, Program
from simulators.reaction.lane_step import GOING
from simulators.reaction.lanes import LANES, combine, execute, execute_lane
from simulators.reaction.rodas5p_tableau import NODES, STAGES, A, D
from simulators.reaction.sensitive_program import Columns


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
    nodes: Nodes,
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
        slopes: derivatives of readouts `[R, M, T, C]`; written as far as `members.point` says.
    """
    L = LANES
    S, K, X, B = layout.states, layout.switch_count, layout.x * LANES, layout.rhs * LANES
    width = tangents.s.shape[2]
    R = program.image.copy()
    points, last, span = len(times), times[len(times) - 1], times[len(times) - 1] - times[0]
    timed = not program.autonomous
    k, dense = np.zeros((STAGES, S * L)), np.zeros((3, S * L))
    x, zeros, floor, new = np.zeros(S * L), np.zeros(S * L), np.ones(S * L), np.zeros(S * L)
    t, h, inverse, grow, size, arrived = np.zeros(L), np.ones(L), np.zeros(L), np.ones(L), np.zeros(L), np.zeros(L)
    who = np.full(L, -1, np.int64)
    fresh, rejected = np.zeros(L, np.bool_), np.zeros(L, np.bool_)
    ok, turned = np.zeros(L, np.bool_), np.zeros(L, np.bool_)
    moved = len(columns.moved)
    each, per_step = columns.scalars
    packed = np.zeros((L, STAGES, each))
    factors, all_factors = np.zeros((L, per_step)), np.zeros((L, max(nodes.scalars, 1)))
    # of each lane, tile by tile: where the columns are looked at (S), constants (A), where they are (S)
    rows = np.zeros((L, (2 * S + moved) * width))
    peak = np.zeros((L, S * width))
    scale = np.zeros((3, WIDTHS[0]))
    stages = np.zeros(STAGES * S * width)
    shown = np.zeros(len(columns.read_rows) * width)
    weights, mixing = np.zeros(STAGES), np.zeros((STAGES, STAGES))
    registers, to_stages, to_factors = R.ctypes.data, packed.ctypes.data, factors.ctypes.data
    lane_bytes, stage_bytes = STAGES * each * 8, each * 8
    upcoming, running = 0, 0
    while True:
        for lane in range(L):
            while who[lane] < 0 and upcoming < len(chosen):
                m = chosen[upcoming]
                upcoming += 1
                t[lane] = members.t[m]
                for s in range(S):
                    floor[s * L + lane] = members.floor[m, s]
                lane_step.load(layout, program.hoist, program.turn, members.x[m], members.p[m], R, x, lane, t[lane])
                column_step.load(columns, S, tangents.s[m], tangents.peak[m], rows[lane], peak[lane])
                while members.point[m] < points and times[members.point[m]] <= t[lane]:
                    lane_step.read(layout, program.read, R, lane, values, m, members.point[m])
                    column_step.read(columns, S, R, lane, rows[lane], shown, slopes, m, members.point[m])
                    members.point[m] += 1
                if members.point[m] < points:
                    who[lane], fresh[lane], rejected[lane] = m, True, False
                    running += 1
        if running == 0:
            return
        if members.halt[0] != 0:
            lane_step.halt(members, values, chosen[upcoming:])
            lane_step.halt(members, values, who)
            return
        lane_step.tame(who, h, x, S)
        R[X : X + S * L] = x
        for lane in range(L):
            R[layout.time * L + lane] = t[lane]
        execute(program.start, R)
        for lane in range(L):
            m = who[lane]
            if m < 0:
                continue
            if fresh[lane]:
                fresh[lane] = False
                h[lane] = members.h[m]
                if h[lane] <= 0.0:
                    h[lane] = lane_step.first_step(S, R, layout.f * L, x, floor, lane, rtol, span)
            h[lane] = lane_step.shortened(h[lane], min(last, members.stop[m]) - t[lane])
        lane_step.shift(S, R, program.diagonal, program.source, program.mass, h, inverse)
        execute(program.factor, R)
        for i in range(STAGES):
            if i > 0:
                combine(R, layout.x, x, k, A[i], i, S)
                for lane in range(L):
                    R[layout.time * L + lane] = t[lane] + NODES[i] * h[lane]
            if i == 0 or not nodes.used:
                execute(columns.stage_code, R)
                stage = to_stages + i * stage_bytes
                spread(stage, lane_bytes, registers, columns.stage.ctypes.data, len(columns.stage), -1.0, False)
                spread(stage, lane_bytes, registers, columns.force.ctypes.data, len(columns.force), -1.0, False)
            else:
                execute(program.rates, R)
            lane_step.right_hand_side(layout, program.mass, timed, R, zeros, k, i, h, inverse)
            execute(program.solve, R)
            k[i, :] = R[B : B + S * L]
        new[:] = R[X : X + S * L]
        lane_step.measure(S, x, new, k[STAGES - 1], floor, rtol, size)
        wanted = False
        for lane in range(L):
            wanted = wanted or (who[lane] >= 0 and size[lane] <= 1.0)
        if wanted:
            lane_step.densify(S, zeros, k, dense)
            if nodes.used:
                collocated_step.evaluate(layout, columns, nodes, R, x, new, dense, t, h, inverse, packed, all_factors)
            else:
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
            pivots = to_factors + len(columns.solve_terms) * 8
            turn(to_factors, per_step * 8, registers, columns.factors.ctypes.data, len(columns.factors), -1.0)
            turn(pivots, per_step * 8, registers, columns.pivots.ctypes.data, len(columns.pivots), 1.0)
        for lane in range(L):
            m = who[lane]
            if m < 0:
                continue
            if size[lane] <= 1.0:
                if nodes.used:
                    worst = collocated_step.step(
                        columns, nodes, S, packed[lane], factors[lane], all_factors[lane], mixing, inverse[lane], rows[lane],
                        stages, peak[lane], members.floor[m], tangents.scale[m], scale, rtol,
                    )  # fmt: skip
                else:
                    worst = column_step.step(
                        columns, program.mass, packed[lane], factors[lane], mixing, inverse[lane], rows[lane], stages,
                        peak[lane], members.floor[m], tangents.scale[m], scale, rtol,
                    )  # fmt: skip
                if not worst <= size[lane]:  # also where it is not a number
                    size[lane] = worst
            members.steps[m] += 1
            ok[lane], turned[lane], grow[lane] = size[lane] <= 1.0, False, lane_step.growth(size[lane])
            if not ok[lane]:
                rejected[lane] = True
                h[lane] *= grow[lane]
                why = lane_step.refusal(size[lane], t[lane], h[lane], span, members.steps[m] >= max_steps)
                if why != GOING:
                    lane_step.fail(members, values, m, why)
                    who[lane] = -1
                    running -= 1
                continue
            if rejected[lane]:
                grow[lane] = min(grow[lane], 1.0)
            rejected[lane] = False
            arrived[lane] = lane_step.arrival(t[lane], h[lane], min(last, members.stop[m]), span)
            share, pause, looked = 1.0, arrived[lane] >= members.stop[m], False
            if K > 0:
                lane_step.place(layout, R, new, lane, arrived[lane])
                execute_lane(program.turn, R, lane)
                turned[lane] = differs(layout, R, lane, K)
            if turned[lane]:
                share, arrived[lane] = lane_step.first_turn(
                    layout, program.turn, R, x, new, dense, lane, t[lane], h[lane], arrived[lane], 1.0, np.nan,
                    times[members.point[m] :],
                )  # fmt: skip
                pause = True
            while members.point[m] < points:
                when = times[members.point[m]]
                if when > arrived[lane] or (pause and when >= arrived[lane]):
                    break
                early = 1.0 if when == t[lane] + h[lane] else (when - t[lane]) / h[lane]
                bend(layout, R, x, new, dense, lane, S, early)
                R[layout.out_time * L + lane] = when
                lane_step.read(layout, program.read, R, lane, values, m, members.point[m])
                column_step.look(columns, nodes.used, S, rows[lane], stages, weights, min(early, 1.0))
                column_step.read(columns, S, R, lane, rows[lane], shown, slopes, m, members.point[m])
                looked = True
                members.point[m] += 1
            if turned[lane]:
                bend(layout, R, x, new, dense, lane, S, share)
                for s in range(S):
                    new[s * L + lane] = R[(layout.out_x + s) * L + lane]
                grow[lane] = min(grow[lane], 0.3)
            if turned[lane] or looked:
                column_step.look(columns, nodes.used, S, rows[lane], stages, weights, share)
            column_step.settle(columns, S, rows[lane], peak[lane])
            t[lane] = arrived[lane]
            h[lane] *= grow[lane]
            finite = lane_step.move(S, x, new, lane)
            why = lane_step.outcome(finite, pause, members.point[m] >= points, members.steps[m] >= max_steps)
            if why == GOING:
                continue
            if why in (FINE, PAUSED):
                lane_step.unload(S, members, m, x, lane, t[lane], h[lane], why)
                column_step.store(columns, S, rows[lane], peak[lane], tangents.s[m], tangents.peak[m])
                for q in range(K):
                    tangents.was[m, q] = R[(layout.switches + q) * L + lane]
            else:
                lane_step.fail(members, values, m, why)
            who[lane] = -1
            running -= 1
