"""The explicit method of Dormand and Prince over lanes, for courses that are not stiff: no Jacobian, no factors.

Order 5 with an embedded order 4 and dense output of order 4 (Dormand & Prince, J. Comput. Appl. Math. 6, 19, 1980; Hairer,
Nørsett & Wanner, Solving ODEs I, II.5 and II.6). Each member has its own time and step. A member whose steps turn out to be
bounded by stability, not by accuracy (Hairer & Wanner, Solving ODEs II, IV.2), or become too narrow is handed over to a stiff method
where it is.

Legend: `M` members, `S` states, `P` constants, `T` times, `R` readouts, `L` lanes.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np

from simulators.reaction import lane_step
from simulators.reaction.dense_output import NONE, bend, differs, hidden_turn
from simulators.reaction.lane_problem import FINE, HANDED, PAUSED, TOO_MANY_STEPS, Layout, Members, Program
from simulators.reaction.lane_step import GOING
from simulators.reaction.lanes import LANES, combine, execute, execute_lane

STAGES: Final = 7
NODES: Final = np.array([0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0])
A: Final = np.array(
    [
        [0.0] * 7,
        [1 / 5] + [0.0] * 6,
        [3 / 40, 9 / 40] + [0.0] * 5,
        [44 / 45, -56 / 15, 32 / 9] + [0.0] * 4,
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729] + [0.0] * 3,
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656] + [0.0] * 2,
        [35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0],
    ]
)
"""The last row is the new state."""
ERROR: Final = np.array([71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40])
MIDDLE: Final = np.array(
    [
        -12715105075 / 11282082432, 0.0, 87487479700 / 32700410799, -10690763975 / 1880347072,
        701980252875 / 199316789632, -1453857185 / 822651844, 69997945 / 29380423,
    ]
)  # fmt: skip
"""Of the dense output."""
_ACCURACY: Final = 0.1
"""How much of what is allowed a step may be wrong, so that courses are as right as those of the stiff methods."""
_BOUND: Final = 3.25
"""h times the greatest eigenvalue, near which stability bounds the step."""
_SUSPECTED, _CLEARED = 15, 6
"""Steps near the bound after which a member is stiff; steps away from it, one after the other, that forget them."""
_WIDE, _LONG = 1.0, 100
"""The same, for steps that are wider than this by that many: what quickly decays but is small can hold steps below the bound for
thousands of them (Robertson's problem), while a smooth course is seldom followed so widely for long."""


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _stretched(S: int, k: Any, slope: Any, h: Any) -> None:
    """h · f of all lanes."""
    for s in range(S):
        for lane in range(LANES):
            k[s * LANES + lane] = h[lane] * slope[s * LANES + lane]


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _measure(
    S: int, x: Any, new: Any, before: Any, wrong: Any, k: Any, floor: Any, rtol: float, size: Any, bound: Any
) -> None:
    """The error, 1 being what is allowed, and h times the eigenvalue that the last two stages tell `[L]`.

    Args:
        before: where the stage before the last was evaluated `[S * L]`.
    """
    size[:] = 0.0
    bound[:] = 0.0
    apart = np.zeros(LANES)
    for s in range(S):
        for lane in range(LANES):
            n = s * LANES + lane
            ratio = wrong[n] / (floor[n] + rtol * max(abs(x[n]), abs(new[n])))
            size[lane] += ratio * ratio
            a, b = k[6, n] - k[5, n], new[n] - before[n]
            bound[lane] += a * a
            apart[lane] += b * b
    for lane in range(LANES):
        size[lane] = np.sqrt(size[lane] / max(S, 1))
        bound[lane] = np.sqrt(bound[lane] / apart[lane]) if apart[lane] > 0.0 else 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _densify(S: int, x: Any, new: Any, k: Any, zeros: Any, dense: Any) -> None:
    """Coefficients of the dense output `[3, S * L]`, as `dense_output.bend` reads them."""
    combine(dense[2], 0, zeros, k, MIDDLE, STAGES, S)
    for n in range(S * LANES):
        moved = new[n] - x[n]
        first = k[0, n] - moved
        middle = dense[2, n]
        dense[0, n], dense[1, n], dense[2, n] = first, moved - k[6, n] - first + middle, -middle


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

    Args and bits as of `rodas5p.integrate`. States must all be moved by f (mass 1). Members that are stiff, or whose steps
    become too narrow, are `HANDED` over.
    """
    L = LANES
    S, K, X, F = layout.states, layout.switch_count, layout.x * LANES, layout.f * LANES
    R = program.image.copy()
    points, last, span = len(times), times[len(times) - 1], times[len(times) - 1] - times[0]
    still, bent = times[0] if held else np.nan, layout.gap_count > 0
    rtol = max(rtol * _ACCURACY, min(rtol, 1e-13))
    new = R[X : X + S * L]
    k, dense = np.zeros((STAGES, S * L)), np.zeros((3, S * L))
    x, zeros, floor = np.zeros(S * L), np.zeros(S * L), np.ones(S * L)
    slope, before, wrong, bound = np.zeros(S * L), np.zeros(S * L), np.zeros(S * L), np.zeros(L)
    t, h, grow, size, arrived = np.zeros(L), np.ones(L), np.ones(L), np.zeros(L), np.zeros(L)
    who, near, away = np.full(L, -1, np.int64), np.zeros(L, np.int64), np.zeros(L, np.int64)
    wide, narrow = np.zeros(L, np.int64), np.zeros(L, np.int64)
    fresh, rejected, known = np.zeros(L, np.bool_), np.zeros(L, np.bool_), np.zeros(L, np.bool_)
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
                    floor[s * L + lane] = members.floor[m, s] * _ACCURACY
                lane_step.load(
                    layout, program.hoist, program.turn, members.x[m], members.p[m], R, x, lane, times[0] if held else t[lane],
                )  # fmt: skip
                while members.point[m] < points and times[members.point[m]] <= t[lane]:
                    lane_step.read(layout, program.read, R, lane, values, m, members.point[m])
                    members.point[m] += 1
                if members.point[m] < points:
                    who[lane], fresh[lane], rejected[lane], known[lane] = m, True, False, False
                    near[lane], away[lane], wide[lane], narrow[lane] = 0, 0, 0, 0
                    running += 1
        if running == 0:
            return
        if members.halt[0] != 0:
            lane_step.halt(members, values, chosen[upcoming:])
            lane_step.halt(members, values, who)
            return
        lane_step.tame(who, h, x, S)
        anew = False
        for lane in range(L):
            anew = anew or (who[lane] >= 0 and not known[lane])
        if anew:  # else f is known from the last stage of the step before
            R[X : X + S * L] = x
            for lane in range(L):
                R[layout.time * L + lane] = times[0] if held else t[lane]
            execute(program.rates, R)
            for lane in range(L):
                if not known[lane]:
                    for s in range(S):
                        slope[s * L + lane] = R[F + s * L + lane]
        for lane in range(L):
            m = who[lane]
            if m < 0:
                continue
            if fresh[lane]:
                fresh[lane] = False
                h[lane] = members.h[m]
                if h[lane] <= 0.0:
                    h[lane] = lane_step.first_step(S, R, F, x, floor, lane, rtol, span)
            h[lane] = lane_step.shortened(h[lane], min(last, members.stop[m]) - t[lane])
        _stretched(S, k[0], slope, h)
        for i in range(1, STAGES):
            combine(R, layout.x, x, k, A[i], i, S)
            if i == STAGES - 2:
                before[:] = new
            if not held:
                for lane in range(L):
                    R[layout.time * L + lane] = t[lane] + NODES[i] * h[lane]
            execute(program.rates, R)
            _stretched(S, k[i], R[F : F + S * L], h)
        combine(wrong, 0, zeros, k, ERROR, STAGES, S)
        _measure(S, x, new, before, wrong, k, floor, rtol, size, bound)
        if bent:
            _densify(S, x, new, k, zeros, dense)
        wanted = False
        for lane in range(L):
            m = who[lane]
            if m < 0:
                continue
            members.steps[m] += 1
            ok[lane], turned[lane], grow[lane] = size[lane] <= 1.0, False, lane_step.growth(size[lane])
            known[lane] = True
            if not ok[lane]:
                rejected[lane] = True
                h[lane] *= grow[lane]
                why = lane_step.refusal(size[lane], t[lane], h[lane], span, members.steps[m] >= max_steps)
                if why != GOING:
                    if why == TOO_MANY_STEPS:
                        lane_step.fail(members, values, m, why)
                    else:
                        lane_step.unload(S, members, m, x, lane, t[lane], 0.0, HANDED)
                        members.status[m] = HANDED
                    who[lane] = -1
                    running -= 1
                continue
            if bound[lane] > _BOUND:
                near[lane], away[lane] = near[lane] + 1, 0
            else:
                away[lane] += 1
                if away[lane] >= _CLEARED:
                    near[lane] = 0
            if bound[lane] > _WIDE:
                wide[lane], narrow[lane] = wide[lane] + 1, 0
            else:
                narrow[lane] += 1
                if narrow[lane] >= _CLEARED:
                    wide[lane] = 0
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
            _densify(S, x, new, k, zeros, dense)
        for lane in range(L):
            m = who[lane]
            if m < 0 or not ok[lane]:
                continue
            pause = bool(arrived[lane] >= members.stop[m])
            for s in range(S):
                slope[s * L + lane] = R[F + s * L + lane]
            if turned[lane]:
                share, arrived[lane] = lane_step.first_turn(
                    layout, program.turn, R, x, new, dense, lane, t[lane], h[lane], arrived[lane], reach[lane], still,
                    times[members.point[m] :],
                )  # fmt: skip
                if share < 1.0:
                    pause = bool(arrived[lane] >= members.stop[m])
                bend(layout, R, x, new, dense, lane, S, share)
                R[layout.out_time * L + lane] = times[0] if held else arrived[lane]
                execute_lane(program.turn, R, lane)
                pause = pause or differs(layout, R, lane, layout.stopping)
                for s in range(S):
                    before[s * L + lane] = R[(layout.out_x + s) * L + lane]
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
                    new[s * L + lane] = before[s * L + lane]
                grow[lane] = min(grow[lane], 0.3)  # what comes after a turn may be quite another course
                known[lane] = False
            lane_step.place(layout, R, new, lane, still if held else arrived[lane])
            if turned[lane]:
                lane_step.turn(layout, program.turn, R, lane)
            t[lane] = arrived[lane]
            h[lane] *= grow[lane]
            finite = lane_step.move(S, x, new, lane)
            why = lane_step.outcome(finite, pause, members.point[m] >= points, members.steps[m] >= max_steps)
            if why == GOING:
                if near[lane] < _SUSPECTED and wide[lane] < _LONG:
                    continue
                lane_step.unload(S, members, m, x, lane, t[lane], 0.0, HANDED)
                members.status[m] = HANDED
            elif why in (FINE, PAUSED):
                lane_step.unload(S, members, m, x, lane, t[lane], h[lane], why)
            else:
                lane_step.fail(members, values, m, why)
            who[lane] = -1
            running -= 1
