"""Backward differentiation formulas over lanes: each member has its own time, step and order, and keeps its factors.

Orders 1 to 5 with fixed leading coefficients; step, order, Newton's iteration and the age of factors are chosen as VODE does (Brown,
Byrne & Hindmarsh, SIAM J. Sci. Stat. Comput. 10, 1038, 1989; Cohen & Hindmarsh, Comput. Phys. 10, 138, 1996):

    x = x_predicted + e,   (I - γ J) δ = γ f(t + h, x) - h x'_predicted / l_1 - e,   e ← e + δ,   γ = h / l_1

All lanes take one iteration at a time, whatever step each of them is in: nobody waits for another's convergence. Who needs new
factors waits until enough do, since factoring costs as much for one lane as for all; what others had is put back. So a
member's numbers do not depend on its neighbours.

Legend: `M` members, `S` states, `P` constants, `T` times, `R` readouts, `L` lanes.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np

from simulators.reaction import lane_step, nordsieck
from simulators.reaction.bdf_coefficients import HIGHER, HIGHEST, LOWER, SAME, SHARE, set_coefficients
from simulators.reaction.dense_output import NONE, bend, differs, hidden_turn
from simulators.reaction.lane_problem import FINE, HANDED, PAUSED, TOO_MANY_STEPS, Layout, Members, Program
from simulators.reaction.lane_step import GOING
from simulators.reaction.lanes import LANES, execute, execute_lane

_BEGIN, _WAIT, _ITERATE = 0, 1, 2
"""What a lane does: it starts at order 1; it waits for factors; it iterates."""
_ACCURACY: Final = 0.03
"""How much of what is allowed a step may be wrong: its rest is more of the course's error than with one-step methods."""
_SOLVED: Final = 0.1
"""What Newton's iteration may leave, as a share of the error that a step may make."""
_ITERATIONS, _OLDEST, _DRIFT = 3, 20, 0.13
"""Of Newton's iteration; steps that factors serve; how far γ may move from that of the factors, relatively."""
_NARROWEST: Final = 1e-24
"""Of the whole course: the first step may have to be as narrow, at order 1."""
_WORTH, _FIRST_GROWTH, _GROWTH = 1.5, 1e4, 10.0
"""By how much a step must be able to grow to be changed; the most it grows after the first, and after any other."""


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _ratio(bias: float, size: float, power: int) -> float:
    """What a step may be multiplied by, its error being what it is; 0 where that is not worth it."""
    limit = 1.0 / bias
    for _ in range(power):
        limit *= 1.0 / _WORTH
    return 0.0 if size > limit else 1.0 / ((bias * size) ** (1.0 / power) + 1e-6)


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

    Args and bits as of `rodas5p.integrate`. States must all be moved by f (mass 1). Members whose steps become too narrow are
    `HANDED` over where they are: at order 1, after an event, that need not mean that nothing can go on.
    """
    L = LANES
    S, K, X, F = layout.states, layout.switch_count, layout.x * LANES, layout.f * LANES
    R = program.image.copy()
    points, last, span = len(times), times[len(times) - 1], times[len(times) - 1] - times[0]
    still, bent = times[0] if held else np.nan, layout.gap_count > 0
    rtol = rtol * _ACCURACY
    new = R[X : X + S * L]
    z, error, x = np.zeros(S * nordsieck.ROWS * L), np.zeros(S * L), np.zeros(S * L)
    weight, floor, dense = np.ones(S * L), np.ones(S * L), np.zeros((4, S * L))
    factors = np.zeros(len(program.factors) * L)
    t, h, gamma, factored, rate, before, most = (
        np.zeros(L), np.ones(L), np.ones(L), np.ones(L), np.ones(L), np.ones(L), np.ones(L),
    )  # fmt: skip
    kept_share, forced, inverse, ratios = np.zeros(L), np.zeros(L), np.ones(L), np.ones(L)
    scales, sums = np.zeros((3, L)), np.zeros((2, L))
    shape, tests, tau, powers = np.zeros((6, L)), np.zeros((6, L)), np.zeros((7, L)), np.ones((6, L))
    change, gaps = np.zeros(7), np.zeros((3, layout.gap_count))
    who = np.full(L, -1, np.int64)
    stage, order = np.zeros(L, np.int64), np.ones(L, np.int64)
    until, turns = np.zeros(L, np.int64), np.zeros(L, np.int64)
    age, taken, failures = np.zeros(L, np.int64), np.zeros(L, np.int64), np.zeros(L, np.int64)
    # all bits are set, or none
    accepted, moved, wanted = np.zeros(L, np.int64), np.zeros(L, np.int64), np.zeros(L, np.int64)
    fresh = np.zeros(L, np.bool_)
    # as long as factoring is no dearer than an iteration, nobody waits for company
    cost = (len(program.start) + len(program.factor)) / (len(program.rates) + len(program.solve) + 10.0 * S)
    company = min(L // 2 + 1, max(3, int(1.5 * cost)))
    upcoming, running, waiting = 0, 0, 0
    while True:
        for lane in range(L):
            while who[lane] < 0 and upcoming < len(chosen):
                m = chosen[upcoming]
                upcoming += 1
                t[lane] = members.t[m]
                for s in range(S):
                    floor[s * L + lane] = members.floor[m, s] * _ACCURACY
                lane_step.load(
                    layout, program.hoist, program.turn, members.x[m], members.p[m], R, x, lane, times[0] if held else t[lane],
                )  # fmt: skip
                while members.point[m] < points and times[members.point[m]] <= t[lane]:
                    lane_step.read(layout, program.read, R, lane, values, m, members.point[m])
                    members.point[m] += 1
                if members.point[m] < points:
                    who[lane], stage[lane], forced[lane] = m, _BEGIN, 0.0
                    running += 1
                    waiting += 1
        if running == 0:
            return
        if members.halt[0] != 0:
            lane_step.halt(members, values, chosen[upcoming:])
            lane_step.halt(members, values, who)
            return
        # factors, for those who wait: J where they are, whoever begins at the step that its slope suggests
        if waiting >= company or waiting == running:
            for lane in range(L):
                wanted[lane], inverse[lane] = 0, 1.0
                if who[lane] < 0 or stage[lane] != _ITERATE:
                    wanted[lane] = -1
                    starts = stage[lane] == _BEGIN
                    for s in range(S):
                        n = s * L + lane
                        error[n] = 0.0
                        R[X + n] = x[n] if starts else z[s * nordsieck.ROWS * L + lane]
                    if starts and who[lane] >= 0 and not held:
                        R[layout.time * L + lane] = t[lane]
            execute(program.start, R)
            for lane in range(L):
                m = who[lane]
                if m < 0 or stage[lane] == _ITERATE:
                    continue
                if stage[lane] == _BEGIN:
                    h[lane] = forced[lane]
                    if h[lane] <= 0.0:
                        h[lane] = lane_step.first_step(S, R, F, x, floor, lane, rtol, span)
                    h[lane] = min(h[lane], min(last, members.stop[m]) - t[lane])
                    nordsieck.begin(S, z, x, R, F, h[lane], lane)
                    for s in range(S):
                        n = s * L + lane
                        weight[n] = 1.0 / (floor[n] + rtol * abs(x[n]))
                        z[s * nordsieck.ROWS * L + lane] += z[(s * nordsieck.ROWS + 1) * L + lane]
                        R[X + n] = z[s * nordsieck.ROWS * L + lane]
                    order[lane], until[lane], taken[lane], failures[lane] = 1, 2, 0, 0
                    kept_share[lane], most[lane] = 0.0, _FIRST_GROWTH
                    set_coefficients(1, h[lane], False, tau, shape, tests, lane)
                    gamma[lane] = h[lane]
                    R[layout.time * L + lane] = times[0] if held else t[lane] + h[lane]
                inverse[lane] = 1.0 / gamma[lane]
                factored[lane], fresh[lane], rate[lane], turns[lane], age[lane] = gamma[lane], True, 1.0, 0, 0
                stage[lane] = _ITERATE
            waiting = 0
            nordsieck.shift(R, program.diagonal, program.source, inverse)
            execute(program.factor, R)
            nordsieck.exchange(R, program.factors, factors, wanted)
        # one iteration
        execute(program.rates, R)
        for lane in range(L):
            if who[lane] >= 0 and stage[lane] == _ITERATE:
                # factors of another γ: the correction is scaled by what it would be for the stiffest and the others, in the middle
                scale = 2.0 / (1.0 + gamma[lane] / factored[lane]) / factored[lane]
                scales[0, lane], scales[1, lane], scales[2, lane] = -gamma[lane] * scale, scale / shape[1, lane], scale
            else:
                scales[0, lane], scales[1, lane], scales[2, lane] = 0.0, 0.0, 0.0
        nordsieck.iterate(S, R, layout.f, layout.rhs, z, error, scales)
        execute(program.solve, R)
        nordsieck.advance(S, R, layout.x, layout.rhs, z, error, weight, sums)
        # who has converged, who has failed
        some = False
        for lane in range(L):
            accepted[lane], moved[lane] = 0, 0
            m = who[lane]
            if m < 0 or stage[lane] != _ITERATE:
                continue
            q = order[lane]
            size = np.sqrt(sums[0, lane] / max(S, 1))
            if turns[lane] > 0:
                rate[lane] = max(0.3 * rate[lane], size / before[lane])
            ratio, finite = 0.0, np.isfinite(size)
            if size * min(1.0, rate[lane]) * tests[SAME, lane] <= _SOLVED:
                members.steps[m] += 1
                size = np.sqrt(sums[1, lane] / max(S, 1)) * tests[SAME, lane]
                if size <= 1.0:
                    accepted[lane], some = -1, True
                    continue
                failures[lane] += 1
                ratio = max(0.1, 1.0 / ((6.0 * size) ** (1.0 / (q + 1)) + 1e-6))
                if failures[lane] > 1:
                    ratio = min(ratio, 0.2)
            elif not finite or turns[lane] + 1 >= _ITERATIONS or (turns[lane] > 0 and size > 2.0 * before[lane]):
                if not fresh[lane]:
                    stage[lane] = _WAIT
                    waiting += 1
                    continue
                members.steps[m] += 1
                ratio = 0.25
            else:
                turns[lane] += 1
                before[lane] = size
                continue
            # the step is tried again, narrower
            most[lane] = 1.0
            narrow = not h[lane] * ratio > max(1e-15 * abs(t[lane]), _NARROWEST * span)
            if narrow or members.steps[m] >= max_steps:
                if narrow:
                    lane_step.unload(S, members, m, x, lane, t[lane], 0.0, HANDED)
                    members.status[m] = HANDED
                else:
                    lane_step.fail(members, values, m, TOO_MANY_STEPS)
                who[lane] = -1
                running -= 1
                continue
            if failures[lane] >= 3:  # the past is of no use
                stage[lane], forced[lane] = _BEGIN, 0.1 * h[lane]
                waiting += 1
                continue
            nordsieck.retract(S, z, x, q, lane)
            moved[lane], some = -1, True
            ratios[lane] = ratio
        if not some:
            continue
        # where a step is accepted: switches, outputs, and what to do next
        nordsieck.correct(S, z, error, shape, accepted)
        for lane in range(L):
            if accepted[lane] == 0:
                continue
            m, q = who[lane], order[lane]
            goal = min(last, members.stop[m])
            arrived, turned, reach, filled = lane_step.arrival(t[lane], h[lane], goal, span), False, 1.0, False
            if K > 0:
                lane_step.place(layout, R, new, lane, still if held else arrived)
                execute_lane(program.turn, R, lane)
                turned = differs(layout, R, lane, K)
                if turned or bent:
                    nordsieck.densify(S, z, dense, lane)
                    filled = True
                if not turned and bent:
                    reach = hidden_turn(layout, program, R, x, new, dense, lane, S, t[lane], h[lane], still, gaps)
                    turned = reach < NONE
            pause = bool(arrived >= members.stop[m])
            if turned:
                share, arrived = lane_step.first_turn(
                    layout, program.turn, R, x, new, dense, lane, t[lane], h[lane], arrived, reach, still,
                    times[members.point[m] :],
                )  # fmt: skip
                if share < 1.0:
                    pause = bool(arrived >= members.stop[m])
                bend(layout, R, x, new, dense, lane, S, share)
                R[layout.out_time * L + lane] = times[0] if held else arrived
                execute_lane(program.turn, R, lane)
                pause = pause or differs(layout, R, lane, layout.stopping)
                for s in range(S):
                    error[s * L + lane] = R[(layout.out_x + s) * L + lane]
            while members.point[m] < points:
                when = times[members.point[m]]
                if when > arrived or (pause and when >= arrived):
                    break
                early = 1.0 if when == t[lane] + h[lane] else (when - t[lane]) / h[lane]
                if not filled:
                    nordsieck.densify(S, z, dense, lane)
                    filled = True
                bend(layout, R, x, new, dense, lane, S, early)
                R[layout.out_time * L + lane] = times[0] if held else when
                lane_step.read(layout, program.read, R, lane, values, m, members.point[m])
                members.point[m] += 1
            if turned:
                for s in range(S):
                    new[s * L + lane] = error[s * L + lane]
                lane_step.place(layout, R, new, lane, still if held else arrived)
                lane_step.turn(layout, program.turn, R, lane)
            t[lane] = arrived
            why = lane_step.outcome(
                np.isfinite(sums[1, lane]), pause, members.point[m] >= points, members.steps[m] >= max_steps
            )
            if why != GOING or turned:
                for s in range(S):
                    x[s * L + lane] = new[s * L + lane]
                if why == GOING:
                    stage[lane], forced[lane] = _BEGIN, 0.0
                    waiting += 1
                elif why in (FINE, PAUSED):
                    lane_step.unload(S, members, m, x, lane, t[lane], 0.0, why)
                else:
                    lane_step.fail(members, values, m, why)
                if why != GOING:
                    who[lane] = -1
                    running -= 1
                continue
            taken[lane] += 1
            age[lane] += 1
            failures[lane] = 0
            for j in range(q, 1, -1):
                tau[j, lane] = tau[j - 1, lane]
            if q == 1 and taken[lane] > 1:
                tau[2, lane] = tau[1, lane]
            tau[1, lane] = h[lane]
            until[lane] -= 1
            if until[lane] == 1 and q < HIGHEST:
                nordsieck.keep(S, z, error, lane)
                kept_share[lane] = tests[SHARE, lane]
            ratio, then = 1.0, q
            if most[lane] == 1.0:  # right after a failure
                until[lane] = max(until[lane], 2)
            else:
                ratio = _ratio(6.0, np.sqrt(sums[1, lane] / max(S, 1)) * tests[SAME, lane], q + 1)
                if until[lane] == 0:
                    until[lane] = 2
                    down, up = 0.0, 0.0
                    if q > 1:
                        down = _ratio(6.0, nordsieck.size_of_last(S, z, weight, q, lane) * tests[LOWER, lane], q)
                    if q < HIGHEST and kept_share[lane] != 0.0:
                        share = tests[SHARE, lane] / kept_share[lane]
                        for _ in range(q + 1):
                            share *= h[lane] / tau[2, lane]
                        size = nordsieck.size_of_change(S, z, error, weight, share, lane)
                        up = _ratio(10.0, size * tests[HIGHER, lane], q + 2)
                    if max(down, up) >= _WORTH and ratio < max(down, up):
                        if down >= up:
                            nordsieck.lower_order(S, z, q, h[lane], tau, change, lane)
                            ratio, then = down, q - 1
                        else:
                            nordsieck.raise_order(S, z, error, q, h[lane], tau, change, lane)
                            ratio, then = up, q + 1
                        until[lane] = then + 1
                        order[lane] = then
                ratio = max(1.0, min(ratio, most[lane]))
            most[lane] = _GROWTH
            left = goal - arrived
            if h[lane] * ratio >= left:
                ratio = left / h[lane]
            moved[lane] = -1
            ratios[lane] = ratio
        # the next step
        for lane in range(L):
            if moved[lane] == 0:
                powers[1, lane] = powers[2, lane] = powers[3, lane] = powers[4, lane] = powers[5, lane] = 1.0
                continue
            h[lane] *= ratios[lane]
            for j in range(1, HIGHEST + 1):
                powers[j, lane] = powers[j - 1, lane] * ratios[lane]
            set_coefficients(order[lane], h[lane], until[lane] == 1, tau, shape, tests, lane)
            gamma[lane] = h[lane] / shape[1, lane]
            fresh[lane], turns[lane] = False, 0
            drift = abs(gamma[lane] - factored[lane]) / (gamma[lane] + factored[lane])
            if drift > _DRIFT or age[lane] >= _OLDEST:
                stage[lane] = _WAIT
                waiting += 1
            if not held:
                R[layout.time * L + lane] = t[lane] + h[lane]
        nordsieck.predict(S, z, powers, moved, x, weight, floor, rtol, error, R, layout.x)
