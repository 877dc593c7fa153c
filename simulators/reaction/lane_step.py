"""What happens to lanes in a step of Rodas5P, whether columns of sensitivities go along or not.

A step of a small model takes two microseconds, so whatever is called at every step becomes part of its caller, and arguments
are arrays and numbers: a tuple's arrays would all be counted as used at every call. numba keeps callers by their own
source; after a change here remove what it kept of them (`rodas5p*.nb?` in `__pycache__`).

Legend: `S` states, `L` lanes, `M` members, `T` times, `R` readouts. Of each lane: `who` its member, -1 if it is free; `t`,
`h`, `inverse` start and width of its step and 1/h; `arrived` where it ends; `x`, `new` states at start and end
`[S * L]`; `k` those of every stage; `still` the model's time if it stands still, else NaN.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np

from simulators.reaction.dense_output import bend, differs
from simulators.reaction.lane_problem import (
    FINE,
    NOT_CONVERGED,
    NOT_FINITE,
    OUT_OF_TIME,
    PAUSED,
    TOO_MANY_STEPS,
    Layout,
    Members,
)
from simulators.reaction.lanes import LANES, combine, execute_lane
from simulators.reaction.rodas5p_tableau import DENSE, GAMMA, STAGES, C, D

GOING: Final = -1
"""Of a member that stays in its lane; no status."""
_SMALLEST, _LARGEST, _SAFETY = 0.2, 6.0, 0.9
_BISECTIONS = 80


@numba.njit(cache=True, nogil=True, error_model="numpy")
def load(layout: Layout, hoist: Any, turning: Any, x_S: Any, p_P: Any, R: Any, x: Any, lane: int, clock: float) -> None:
    """Put a member's state, constants and time into a lane, and what follows from them."""
    for p in range(layout.constants):
        R[(layout.p + p) * LANES + lane] = p_P[p]
    for s in range(layout.states):
        x[s * LANES + lane] = x_S[s]
        R[(layout.out_x + s) * LANES + lane] = x_S[s]
    R[layout.time * LANES + lane] = clock
    R[layout.out_time * LANES + lane] = clock
    execute_lane(hoist, R, lane)
    turn(layout, turning, R, lane)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def tame(who: Any, h: Any, x: Any, S: int) -> None:
    """A free lane is computed too: keep its numbers tame."""
    for lane in range(LANES):
        if who[lane] < 0:
            h[lane] = 1.0
            for s in range(S):
                x[s * LANES + lane] = 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def shortened(h: float, left: float) -> float:
    """A step, not wider than what is left: two even steps rather than a whole and a crumb."""
    if h >= left:
        return left
    return 0.5 * left if h > 0.5 * left else h


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def shift(S: int, R: Any, diagonal: Any, source: Any, mass: Any, h: Any, inverse: Any) -> None:
    """J - M/(h γ) where it is factored; entries off the diagonal are read where J lies."""
    for lane in range(LANES):
        inverse[lane] = 1.0 / h[lane]
    for s in range(S):
        w, j, m = diagonal[s] * LANES, source[s] * LANES, mass[s] / GAMMA
        for lane in range(LANES):
            R[w + lane] = R[j + lane] - m * inverse[lane]


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def right_hand_side(
    layout: Layout, mass: Any, timed: bool, R: Any, zeros: Any, k: Any, i: int, h: Any, inverse: Any
) -> None:
    """What is solved is (J - M/(h γ)) k = -(f + h d ∂f/∂t + M Σ (C/h) k).

    Args:
        timed: whether f reads the time and that moves.
    """
    S, F, FT, B = layout.states, layout.f * LANES, layout.ft * LANES, layout.rhs * LANES
    combine(R, layout.rhs, zeros, k, C[i], i, S)
    for s in range(S):
        n, m = s * LANES, -mass[s]
        for lane in range(LANES):
            R[B + n + lane] = m * (R[B + n + lane] * inverse[lane]) - R[F + n + lane]
    if timed and D[i] != 0.0:
        for s in range(S):
            for lane in range(LANES):
                R[B + s * LANES + lane] -= h[lane] * D[i] * R[FT + s * LANES + lane]


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def measure(S: int, x: Any, new: Any, wrong: Any, floor: Any, rtol: float, size: Any) -> None:
    """The last k is the error `wrong`; with it the argument of the last stage, which `new` holds, is the new state.

    Args:
        floor: absolute tolerances `[S * L]`. size: the error, 1 being what is allowed; written.
    """
    size[:] = 0.0
    for s in range(S):
        for lane in range(LANES):
            n = s * LANES + lane
            new[n] += wrong[n]
            ratio = wrong[n] / (floor[n] + rtol * max(abs(x[n]), abs(new[n])))
            size[lane] += ratio * ratio
    for lane in range(LANES):
        size[lane] = np.sqrt(size[lane] / max(S, 1))


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def growth(size: float) -> float:
    """What the next step is multiplied by."""
    if not np.isfinite(size):
        return 0.1
    if size == 0.0:
        return _LARGEST
    return min(_LARGEST, max(_SMALLEST, _SAFETY * size ** (-0.2)))


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def refusal(size: float, t: float, h: float, span: float, spent: Any) -> int:
    """Why a member ends whose step was not accepted, the next one being h wide; or `GOING`."""
    if not h > 1e-15 * max(abs(t), 1e-3 * abs(span)):
        return NOT_CONVERGED if np.isfinite(size) else NOT_FINITE
    return TOO_MANY_STEPS if spent else GOING


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def arrival(t: float, h: float, goal: float, span: float) -> float:
    """Where an accepted step ends: at the goal, if only rounding parts them."""
    arrived = t + h
    return goal if goal - arrived <= 4e-16 * max(abs(goal), abs(span)) else arrived


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def densify(S: int, zeros: Any, k: Any, dense: Any) -> None:
    """Coefficients of the dense output `[3, S * L]`."""
    for q in range(3):
        combine(dense[q], 0, zeros, k, DENSE[q], STAGES, S)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def first_turn(
    layout: Layout, turning: Any, R: Any, x: Any, new: Any, dense: Any, lane: int, t: float, h: float, arrived: float,
    share: float, still: float, ahead: Any,
) -> tuple[float, float]:  # fmt: skip
    """Share and time at which a switch turns first, one having turned at the given share of the step.

    Args:
        ahead: output times that are yet to come.
    """
    S, K, held, low = layout.states, layout.switch_count, still == still, 0.0
    for _ in range(_BISECTIONS):
        if (share - low) * h <= 2.3e-16 * max(abs(t), abs(arrived)):
            break
        middle = 0.5 * (low + share)
        bend(layout, R, x, new, dense, lane, S, middle)
        R[layout.out_time * LANES + lane] = still if held else t + middle * h
        execute_lane(turning, R, lane)
        if differs(layout, R, lane, K):
            share = middle
        else:
            low = middle
    if share < 1.0:
        arrived = t + share * h
        # a turn at an output time is found there, not one rounding error later
        for when in ahead:
            if when >= arrived:
                break
            if arrived - when <= 1e-15 * max(abs(t), abs(arrived)):
                early = (when - t) / h
                bend(layout, R, x, new, dense, lane, S, early)
                R[layout.out_time * LANES + lane] = still if held else when
                execute_lane(turning, R, lane)
                if differs(layout, R, lane, K):
                    return early, when
    return share, arrived


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def move(S: int, x: Any, new: Any, lane: int) -> bool:
    """The state is where the step ended; whether it is finite."""
    finite = True
    for s in range(S):
        n = s * LANES + lane
        x[n] = new[n]
        finite = finite and np.isfinite(new[n])
    return finite


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def outcome(finite: bool, pause: bool, done: Any, spent: Any) -> int:
    """Status of a member that ends with an accepted step, or `GOING`."""
    if not finite:
        return NOT_FINITE
    if pause:
        return PAUSED
    if done:
        return FINE
    return TOO_MANY_STEPS if spent else GOING


@numba.njit(cache=True, nogil=True, error_model="numpy")
def unload(S: int, members: Members, m: int, x: Any, lane: int, t: float, h: float, why: int) -> None:
    """Store a member that paused, or is at the last time."""
    for s in range(S):
        members.x[m, s] = x[s * LANES + lane]
    members.t[m], members.h[m] = t, h
    if why == PAUSED:
        members.status[m] = PAUSED


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def place(layout: Layout, R: Any, state: Any, lane: int, clock: float) -> None:
    """Put a lane's state and time where readouts and switches read them."""
    for s in range(layout.states):
        R[(layout.out_x + s) * LANES + lane] = state[s * LANES + lane]
    R[layout.out_time * LANES + lane] = clock


@numba.njit(cache=True, nogil=True, error_model="numpy")
def turn(layout: Layout, turning: Any, R: Any, lane: int) -> None:
    """Let the switches of a lane be what their relations are."""
    if layout.switch_count > 0:
        execute_lane(turning, R, lane)
        for q in range(layout.switch_count):
            R[(layout.switches + q) * LANES + lane] = R[(layout.out_switches + q) * LANES + lane]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def read(layout: Layout, reading: Any, R: Any, lane: int, values: Any, m: int, point: Any) -> None:
    """Readouts of a lane → `values` `[M, T, R]`."""
    execute_lane(reading, R, lane)
    for o in range(layout.readouts):
        values[m, point, o] = R[(layout.out + o) * LANES + lane]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fail(members: Members, values: Any, m: int, why: int) -> None:
    """End a member: NaN from its next output time on."""
    values[m, members.point[m] :, :] = np.nan
    members.x[m, :] = np.nan
    members.status[m] = why


@numba.njit(cache=True, nogil=True, error_model="numpy")
def halt(members: Members, values: Any, rows: Any) -> None:
    """End members as out of time; -1 is none."""
    for m in rows:
        if m >= 0:
            fail(members, values, m, OUT_OF_TIME)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def first_step(S: int, R: Any, F: int, x: Any, floor: Any, lane: int, rtol: float, span: float) -> float:
    """A step over which an explicit Euler step would move the state by some of its tolerances."""
    fastest = 0.0
    for s in range(S):
        n = s * LANES + lane
        speed = abs(R[F + n]) / (floor[n] + rtol * abs(x[n]))
        if speed > fastest:
            fastest = speed
    if fastest == 0.0 or not np.isfinite(fastest):
        return 1e-3 * span
    return min(span, max(1e-12 * span, 5.0 / fastest))
