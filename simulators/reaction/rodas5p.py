"""Rodas5P, a Rosenbrock method of order 5 for stiff systems, over lanes: each member has its own time and step.

Steinebach, BIT Numer. Math. 63, 27 (2023): eight stages, one LU factorisation per step, stiffly accurate, L-stable,
embedded order 4, dense output of order 4. In the form without products with J (Hairer & Wanner, Solving ODEs II, IV.7):

    (M/(h γ) - J) k_i = f(t + c_i h, x + Σ a_ij k_j) + h d_i ∂f/∂t + M Σ (C_ij / h) k_j

where M is diagonal: 1, or 0 for an algebraic state (index 1).

Legend: `M` members, `S` states, `P` constants, `T` times, `R` readouts, `L`
"""

from __future__ import annotations

import numba
import numpy as np

from simulators.reaction import lane_step
from simulators.reaction.dense_output import NONE, bend, differs, hidden_turn
from simulators.reaction.lane_problem import FINE, PAUSED, Layout, Members, Program
from simulators.reaction.lane_step import GOING
from simulators.reaction.lanes import LANES, combine, execute, execute_lane
from simulators.reaction.rodas5p_tableau import NODES, STAGES, A


@numba.njit(cache=True, nogil=True, error_model="numpy")
def integrate(
    layout: Layout,
    program: Program,
    members: Members,
    chosen: np.ndarray,
    times: np.ndarray,
    rtol: float,
    held: bool,
    max_steps: int,
    values: np.ndarray,
) -> None:
    """Integrate the chosen members to the last time, or until they pause; a free lane takes the next of them.

    A member's numbers do not depend on its lane, on its neighbours, or on who was there before.

    Args:
        chosen: rows of `members` and `values`.
        times: output times `[T]`, ascending and distinct.
        held: the model's time stays at `times[0]`.
        max_steps: most steps of a member in all.
        values: readouts `[M, T, R]`, filled from `point` on; NaN from where a member fails.
    """
    L = LANES
    S, K, X, B = layout.states, layout.switch_count, layout.x * LANES, layout.rhs * LANES
    R = program.image.copy()
    points, last, span = len(times), times[len(times) - 1], times[len(times) - 1] - times[0]
    still, timed = times[0] if held else np.nan, not program.autonomous and not held
    # the argument of the last stage becomes the new state, where it lies
    new = R[X : X + S * L]
    k, dense = np.zeros((STAGES, S * L)), np.zeros((3, S * L))
    x, zeros, floor = np.zeros(S * L), np.zeros(S * L), np.ones(S * L)
    t, h, inverse, grow, size, arrived = np.zeros(L), np.ones(L), np.zeros(L), np.ones(L), np.zeros(L), np.zeros(L)
    who = np.full(L, -1, np.int64)
    fresh, rejected = np.zeros(L, np.bool_), np.zeros(L, np.bool_)
    ok, turned = np.zeros(L, np.bool_), np.zeros(L, np.bool_)
    reach, gaps = np.ones(L), np.zeros((3, layout.gap_count))
    upcoming, running = 0, 0
    while True:
        for lane in range(L):
            while who[lane] < 0 and upcoming < len(chosen):
                m = chosen[upcoming]
                upcoming += 1
                t[lane] = members.t[m]
                for s in range(S):
                    floor[s * L + lane] = members.floor[m, s]
                lane_step.load(
                    layout, program.hoist, program.turn, members.x[m], members.p[m], R, x, lane, times[0] if held else t[lane],
                )  # fmt: skip
                while members.point[m] < points and times[members.point[m]] <= t[lane]:
                    lane_step.read(layout, program.read, R, lane, values, m, members.point[m])
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
            R[layout.time * L + lane] = times[0] if held else t[lane]
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
                if not held:
                    for lane in range(L):
                        R[layout.time * L + lane] = t[lane] + NODES[i] * h[lane]
                execute(program.rates, R)
            lane_step.right_hand_side(layout, program.mass, timed, R, zeros, k, i, h, inverse)
            execute(program.solve, R)
            k[i, :] = R[B : B + S * L]
        lane_step.measure(S, x, new, k[STAGES - 1], floor, rtol, size)
        bent = layout.gap_count > 0
        if bent:
            lane_step.densify(S, zeros, k, dense)
        wanted = False
        for lane in range(L):
            m = who[lane]
            if m < 0:
                continue
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
            if K > 0:
                lane_step.place(layout, R, new, lane, still if held else arrived[lane])
                execute_lane(program.turn, R, lane)
                turned[lane], reach[lane] = differs(layout, R, lane, K), 1.0
                if not turned[lane] and bent:
                    reach[lane] = hidden_turn(layout, program, R, x, new, dense, lane, S, t[lane], h[lane], still, gaps)
                    turned[lane] = reach[lane] < NONE
            wanted = wanted or turned[lane] or times[members.point[m]] <= arrived[lane]
        if wanted and not bent:
            lane_step.densify(S, zeros, k, dense)
        for lane in range(L):
            m = who[lane]
            if m < 0 or not ok[lane]:
                continue
            pause = arrived[lane] >= members.stop[m]
            if turned[lane]:
                share, arrived[lane] = lane_step.first_turn(
                    layout, program.turn, R, x, new, dense, lane, t[lane], h[lane], arrived[lane], reach[lane], still,
                    times[members.point[m] :],
                )  # fmt: skip
                if share < 1.0:
                    pause = arrived[lane] >= members.stop[m]
                bend(layout, R, x, new, dense, lane, S, share)
                R[layout.out_time * L + lane] = times[0] if held else arrived[lane]
                execute_lane(program.turn, R, lane)
                pause = pause or differs(layout, R, lane, layout.stopping)
                for s in range(S):
                    k[0, s * L + lane] = R[(layout.out_x + s) * L + lane]  # the stages are used no more
            while members.point[m] < points:
                when = times[members.point[m]]
                if when > arrived[lane] or (pause and when >= arrived[lane]):
                    break
                early = 1.0 if when == t[lane] + h[lane] else (when - t[lane]) / h[lane]
                bend(layout, R, x, new, dense, lane, S, early)
                R[layout.out_time * L + lane] = times[0] if held else when
                lane_step.read(layout, program.read, R, lane, values, m, members.point[m])
                members.point[m] += 1
            if turned[lane]:
                for s in range(S):
                    new[s * L + lane] = k[0, s * L + lane]
                grow[lane] = min(grow[lane], 0.3)  # what comes after a turn may be quite another course
            lane_step.place(layout, R, new, lane, still if held else arrived[lane])
            if turned[lane]:
                lane_step.turn(layout, program.turn, R, lane)
            t[lane] = arrived[lane]
            h[lane] *= grow[lane]
            finite = lane_step.move(S, x, new, lane)
            why = lane_step.outcome(finite, pause, members.point[m] >= points, members.steps[m] >= max_steps)
            if why == GOING:
                continue
            if why in (FINE, PAUSED):
                lane_step.unload(S, members, m, x, lane, t[lane], h[lane], why)
            else:
                lane_step.fail(members, values, m, why)
            who[lane] = -1
            running -= 1
