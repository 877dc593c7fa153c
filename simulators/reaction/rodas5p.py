"""Rodas5P, a Rosenbrock method of order 5 for stiff systems, over lanes: each member has its own time and step.

Steinebach, BIT Numer. Math. 63, 27 (2023): eight stages, one LU factorisation per step, stiffly accurate, L-stable,
embedded order 4, dense output of order 4. In the form without products with J (Hairer & Wanner, Solving ODEs II, IV.7):

    (M/(h γ) - J) k_i = f(t + c_i h, x + Σ a_ij k_j) + h d_i ∂f/∂t + M Σ (C_ij / h) k_j

where M is diagonal: 1, or 0 for an algebraic state (index 1).

Legend: `M` members, `S` states, `P` constants, `T` times, `R` readouts, `L` lanes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numba
import numpy as np

from simulators.reaction.dense_output import NONE, hidden_turn
from simulators.reaction.dense_output import bend as _bend
from simulators.reaction.dense_output import differs as _differs
from simulators.reaction.lanes import LANES, combine, execute, execute_lane

GAMMA: Final = 0.21193756319429014
STAGES: Final = 8
A: Final = np.zeros((STAGES, STAGES))
A[1, :1] = (3.0,)
A[2, :2] = (2.849394379747939, 0.45842242204463923)
A[3, :3] = (-6.954028509809101, 2.489845061869568, -10.358996098473584)
A[4, :4] = (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641)
A[5, :5] = (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946)
A[6, :6] = (*A[5, :5], 1.0)
A[7, :7] = (*A[6, :6], 1.0)
C: Final = np.zeros((STAGES, STAGES))
C[1, :1] = (-14.155112264123755,)
C[2, :2] = (-17.97296035885952, -2.859693295451294)
C[3, :3] = (147.12150275711716, -1.41221402718213, 71.68940251302358)
C[4, :4] = (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306)
C[5, :5] = (24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471)
C[6, :6] = (30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783, -19.097331116725623,
            -28.087943162872662)  # fmt: skip
C[7, :7] = (37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047, -40.06618937091002,
            -54.66780262877968, -9.48861652309627)  # fmt: skip
NODES: Final = np.array(
    [0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1.0, 1.0, 1.0]
)
D: Final = np.array(
    [
        0.21193756319429014,
        -0.42387512638858027,
        -0.3384627126235924,
        1.8046452872882734,
        2.325825639765069,
        0.0,
        0.0,
        0.0,
    ]
)
DENSE: Final = np.array(
    [
        [25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204,
         0.524948541321073, 1.1241088310450404, 0.4272876194431874, -0.17202221070155493],
        [-9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796,
         20.176138334709044, 15.98066361424651, -6.789040303419874, -6.710236069923372],
        [11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643,
         -52.072871366152654, -59.78993625266729, -0.15582684282751913, 4.883087185713722],
    ]
)  # fmt: skip

FINE, NOT_CONVERGED, TOO_MANY_STEPS, NOT_FINITE, OUT_OF_TIME = 0, 1, 2, 3, 7
PAUSED: Final = 100
"""Status of a member that waits for its event: a switch of an event has turned, or its stop time has come."""
_SMALLEST, _LARGEST, _SAFETY = 0.2, 6.0, 0.9
_BISECTIONS = 80


class Layout(NamedTuple):
    """Where a model's quantities lie in the register file (numbers of first registers), and how many there are.

    `x`, `time` and `switches` are what rates and Jacobian read; `out_x`, `out_time` what readouts and the turning of
    switches read. A switch is a relation (0 or 1) that stays as it is within a step; the first `stopping` of them belong
    to events. `gaps`: differences of both sides of those that read states, which `gap_count` says.
    """

    time: int
    x: int
    p: int
    f: int
    ft: int
    rhs: int
    out_time: int
    out_x: int
    out: int
    states: int
    constants: int
    readouts: int
    switches: int
    out_switches: int
    switch_count: int
    stopping: int
    gaps: int
    gap_count: int


class Program(NamedTuple):
    """A model's instructions.

    Attributes:
        hoist: what depends on constants alone, run once per member.
        rates: f. start: f, J and ∂f/∂t. factor, solve: of W. read: readouts. turn: relations behind the switches. gap: differences of their sides.
        diagonal: registers of the diagonal of what is factored `[S]`.
        source: registers of the diagonal of J `[S]`.
        image: the register file as it starts, constants set `[registers * L]`.
        autonomous: whether f does not read the time.
        mass: 1 for a state that f moves, 0 where f is a residual that stays 0 `[S]`.
    """

    hoist: np.ndarray
    rates: np.ndarray
    start: np.ndarray
    factor: np.ndarray
    solve: np.ndarray
    read: np.ndarray
    turn: np.ndarray
    gap: np.ndarray
    diagonal: np.ndarray
    source: np.ndarray
    image: np.ndarray
    autonomous: bool
    mass: np.ndarray


class Members(NamedTuple):
    """Who is integrated, from where, and what comes of it. Everything but `p` and `floor` is read and written.

    Attributes:
        x: states `[M, S]`: at the start, then at the end; NaN where a member failed.
        p, floor: constants `[M, P]`; absolute tolerance of each state `[M, S]`.
        t, h: time and next step `[M]`; a step of 0 is chosen anew.
        stop: a time at which to pause `[M]`; infinite if none.
        point: the next output time `[M]`.
        status, steps: why a member ended, and how many steps it took in all `[M]`.
        halt: one number; as soon as it is not 0, whoever is not done ends as out of time.
    """

    x: np.ndarray
    p: np.ndarray
    floor: np.ndarray
    t: np.ndarray
    h: np.ndarray
    stop: np.ndarray
    point: np.ndarray
    status: np.ndarray
    steps: np.ndarray
    halt: np.ndarray = np.zeros(1, dtype=np.uint8)


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
    S, K = layout.states, layout.switch_count
    R = program.image.copy()
    points, last = len(times), times[len(times) - 1]
    span = last - times[0]
    k = np.zeros((STAGES, S * L))
    x, zeros, floor = np.zeros(S * L), np.zeros(S * L), np.ones(S * L)
    inverse = np.zeros(L)
    dense, gaps = np.zeros((3, S * L)), np.zeros((3, layout.gap_count))
    t, h, grow, error, arrived = np.zeros(L), np.ones(L), np.ones(L), np.zeros(L), np.zeros(L)
    reach = np.ones(L)
    who = np.full(L, -1, np.int64)
    fresh, rejected, ok, turned = (
        np.zeros(L, np.bool_),
        np.zeros(L, np.bool_),
        np.zeros(L, np.bool_),
        np.zeros(L, np.bool_),
    )
    upcoming, running = 0, 0
    X, F, FT, B = layout.x * L, layout.f * L, layout.ft * L, layout.rhs * L
    while True:
        for lane in range(L):
            while who[lane] < 0 and upcoming < len(chosen):
                m = chosen[upcoming]
                upcoming += 1
                for p in range(layout.constants):
                    R[(layout.p + p) * L + lane] = members.p[m, p]
                for s in range(S):
                    x[s * L + lane] = members.x[m, s]
                    floor[s * L + lane] = members.floor[m, s]
                    R[(layout.out_x + s) * L + lane] = members.x[m, s]
                t[lane] = members.t[m]
                clock = times[0] if held else t[lane]
                R[layout.time * L + lane] = clock
                R[layout.out_time * L + lane] = clock
                execute_lane(program.hoist, R, lane)
                _turn(layout, program, R, lane)
                while members.point[m] < points and times[members.point[m]] <= t[lane]:
                    _read(layout, program, R, lane, values, m, members.point[m])
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
            R[layout.time * L + lane] = times[0] if held else t[lane]
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
                h[lane] = 0.5 * left  # two even steps rather than a whole and a crumb
        # J - M/(h γ) and its factors; entries off the diagonal are read where J lies
        for lane in range(L):
            inverse[lane] = 1.0 / h[lane]
        for s in range(S):
            w, j, mass = program.diagonal[s] * L, program.source[s] * L, program.mass[s] / GAMMA
            for lane in range(L):
                R[w + lane] = R[j + lane] - mass * inverse[lane]
        execute(program.factor, R)
        for i in range(STAGES):
            if i > 0:
                combine(R, layout.x, x, k, A[i], i, S)
                if not held:
                    for lane in range(L):
                        R[layout.time * L + lane] = t[lane] + NODES[i] * h[lane]
                execute(program.rates, R)
            # what is solved is (J - M/(h γ)) k = -(f + h d ∂f/∂t + M Σ (C/h) k)
            combine(R, layout.rhs, zeros, k, C[i], i, S)
            for s in range(S):
                n, mass = s * L, -program.mass[s]
                for lane in range(L):
                    R[B + n + lane] = mass * (R[B + n + lane] * inverse[lane]) - R[F + n + lane]
            if not program.autonomous and not held and D[i] != 0.0:
                for s in range(S):
                    for lane in range(L):
                        R[B + s * L + lane] -= h[lane] * D[i] * R[FT + s * L + lane]
            execute(program.solve, R)
            k[i, :] = R[B : B + S * L]
        # X holds the argument of the last stage; with the last k it is the new state, and the last k is the error
        new = R[X : X + S * L]
        wrong = k[STAGES - 1]
        error[:] = 0.0
        for s in range(S):
            for lane in range(L):
                n = s * L + lane
                new[n] += wrong[n]
                ratio = wrong[n] / (floor[n] + rtol * max(abs(x[n]), abs(new[n])))
                error[lane] += ratio * ratio
        bent = False
        if layout.gap_count > 0:
            for q in range(3):
                combine(dense[q], 0, zeros, k, DENSE[q], STAGES, S)
        for lane in range(L):
            if who[lane] < 0:
                continue
            m = who[lane]
            size = np.sqrt(error[lane] / max(S, 1))
            members.steps[m] += 1
            ok[lane], turned[lane] = size <= 1.0, False
            if not np.isfinite(size):
                grow[lane] = 0.1
            elif size == 0.0:
                grow[lane] = _LARGEST
            else:
                grow[lane] = min(_LARGEST, max(_SMALLEST, _SAFETY * size ** (-0.2)))
            if ok[lane]:
                if rejected[lane]:
                    grow[lane] = min(grow[lane], 1.0)
                rejected[lane] = False
                goal = min(last, members.stop[m])
                arrived[lane] = t[lane] + h[lane]
                if goal - arrived[lane] <= 4e-16 * max(abs(goal), abs(span)):
                    arrived[lane] = goal
                if K > 0:
                    _place(layout, R, new, lane, times[0] if held else arrived[lane])
                    execute_lane(program.turn, R, lane)
                    turned[lane], reach[lane] = _differs(layout, R, lane, K), 1.0
                    if not turned[lane] and layout.gap_count > 0:
                        clock = times[0] if held else np.nan
                        reach[lane] = hidden_turn(
                            layout, program, R, x, new, dense, lane, S, t[lane], h[lane], clock, gaps
                        )
                        turned[lane] = reach[lane] < NONE
                if turned[lane] or times[members.point[m]] <= arrived[lane]:
                    bent = True
                continue
            rejected[lane] = True
            h[lane] *= grow[lane]
            why = FINE
            if not h[lane] > 1e-15 * max(abs(t[lane]), 1e-3 * abs(span)):
                why = NOT_CONVERGED if np.isfinite(size) else NOT_FINITE
            elif members.steps[m] >= max_steps:
                why = TOO_MANY_STEPS
            if why != FINE:
                _fail(members, values, m, why)
                who[lane] = -1
                running -= 1
        if bent and layout.gap_count == 0:
            for q in range(3):
                combine(dense[q], 0, zeros, k, DENSE[q], STAGES, S)
        for lane in range(L):
            if who[lane] < 0 or not ok[lane]:
                continue
            m = who[lane]
            share, pause = 1.0, arrived[lane] >= members.stop[m]
            if turned[lane]:
                # the first moment at which a switch has turned
                low, share = 0.0, reach[lane]
                for _ in range(_BISECTIONS):
                    if (share - low) * h[lane] <= 2.3e-16 * max(abs(t[lane]), abs(arrived[lane])):
                        break
                    middle = 0.5 * (low + share)
                    _bend(layout, R, x, new, dense, lane, S, middle)
                    R[layout.out_time * L + lane] = times[0] if held else t[lane] + middle * h[lane]
                    execute_lane(program.turn, R, lane)
                    if _differs(layout, R, lane, K):
                        share = middle
                    else:
                        low = middle
                if share < 1.0:
                    arrived[lane] = t[lane] + share * h[lane]
                    # a turn at an output time is found there, not one rounding error later
                    for q in range(members.point[m], points):
                        if times[q] >= arrived[lane]:
                            break
                        if arrived[lane] - times[q] <= 1e-15 * max(abs(t[lane]), abs(arrived[lane])):
                            early = (times[q] - t[lane]) / h[lane]
                            _bend(layout, R, x, new, dense, lane, S, early)
                            R[layout.out_time * L + lane] = times[0] if held else times[q]
                            execute_lane(program.turn, R, lane)
                            if _differs(layout, R, lane, K):
                                share, arrived[lane] = early, times[q]
                                break
                    pause = arrived[lane] >= members.stop[m]
                _bend(layout, R, x, new, dense, lane, S, share)
                R[layout.out_time * L + lane] = times[0] if held else arrived[lane]
                execute_lane(program.turn, R, lane)
                pause = pause or _differs(layout, R, lane, layout.stopping)
                for s in range(S):
                    k[0, s * L + lane] = R[(layout.out_x + s) * L + lane]  # the stages are used no more but by `_bend`
            while members.point[m] < points:
                when = times[members.point[m]]
                if when > arrived[lane] or (pause and when >= arrived[lane]):
                    break
                _bend(
                    layout, R, x, new, dense, lane, S, 1.0 if when == t[lane] + h[lane] else (when - t[lane]) / h[lane]
                )
                R[layout.out_time * L + lane] = times[0] if held else when
                _read(layout, program, R, lane, values, m, members.point[m])
                members.point[m] += 1
            if turned[lane]:
                for s in range(S):
                    new[s * L + lane] = k[0, s * L + lane]
                grow[lane] = min(grow[lane], 0.3)  # what comes after a turn may be quite another course
            _place(layout, R, new, lane, times[0] if held else arrived[lane])
            if turned[lane]:
                _turn(layout, program, R, lane)
            t[lane] = arrived[lane]
            h[lane] *= grow[lane]
            finite = True
            for s in range(S):
                n = s * L + lane
                x[n] = new[n]
                finite = finite and np.isfinite(new[n])
            if not finite:
                _fail(members, values, m, NOT_FINITE)
            elif pause or members.point[m] >= points:
                for s in range(S):
                    members.x[m, s] = x[s * L + lane]
                members.t[m], members.h[m] = t[lane], h[lane]
                if pause:
                    members.status[m] = PAUSED
            elif members.steps[m] >= max_steps:
                _fail(members, values, m, TOO_MANY_STEPS)
            else:
                continue
            who[lane] = -1
            running -= 1
        for lane in range(L):
            if who[lane] < 0:
                h[lane] = 1.0  # a free lane is computed too: keep its numbers tame
                for s in range(S):
                    x[s * L + lane] = 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _place(layout, R, state, lane, clock):
    """Put a lane's state and time where readouts and switches read them."""
    for s in range(layout.states):
        R[(layout.out_x + s) * LANES + lane] = state[s * LANES + lane]
    R[layout.out_time * LANES + lane] = clock


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _turn(layout, program, R, lane):
    """Let the switches of a lane be what their relations are."""
    if layout.switch_count > 0:
        execute_lane(program.turn, R, lane)
        for q in range(layout.switch_count):
            R[(layout.switches + q) * LANES + lane] = R[(layout.out_switches + q) * LANES + lane]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _read(layout, program, R, lane, values, m, point):
    execute_lane(program.read, R, lane)
    for o in range(layout.readouts):
        values[m, point, o] = R[(layout.out + o) * LANES + lane]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fail(members, values, m, why):
    values[m, members.point[m] :, :] = np.nan
    members.x[m, :] = np.nan
    members.status[m] = why


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _halt(members, values, rows):
    for m in rows:
        if m >= 0:
            _fail(members, values, m, OUT_OF_TIME)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _first_step(R, F, x, floor_MS, m, lane, S, rtol, span):
    """A step over which an explicit Euler step would move the state by some of its tolerances."""
    fastest = 0.0
    for s in range(S):
        n = s * LANES + lane
        speed = abs(R[F + n]) / (floor_MS[m, s] + rtol * abs(x[n]))
        if speed > fastest:
            fastest = speed
    if fastest == 0.0 or not np.isfinite(fastest):
        return 1e-3 * span
    return min(span, max(1e-12 * span, 5.0 / fastest))
