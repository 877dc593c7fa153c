"""Rodas5P, a Rosenbrock method of order 5 for stiff systems, over lanes: each member has its own time and step.

Steinebach, BIT Numer. Math. 63, 27 (2023): eight stages, one LU factorisation per step, stiffly accurate, L-stable,
embedded order 4, dense output of order 4. In the form without products with J (Hairer & Wanner, Solving ODEs II, IV.7):

    (I/(h γ) - J) k_i = f(t + c_i h, x + Σ a_ij k_j) + h d_i ∂f/∂t + Σ (C_ij / h) k_j

Legend: `M` members, `S` states, `P` constants, `T` times, `R` readouts, `L` lanes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numba
import numpy as np

from simulators.reaction.lanes import LANES, execute, execute_lane

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

FINE, NOT_CONVERGED, TOO_MANY_STEPS, NOT_FINITE = 0, 1, 2, 3
_SMALLEST, _LARGEST, _SAFETY = 0.2, 6.0, 0.9


class Layout(NamedTuple):
    """Where a model's quantities lie in the register file (numbers of first registers)."""

    time: int
    x: int
    p: int
    f: int
    jacobian: int
    ft: int
    w: int
    rhs: int
    out_time: int
    out_x: int
    out: int
    states: int
    constants: int
    entries: int
    readouts: int


@numba.njit(cache=True, nogil=True, error_model="numpy")
def integrate(
    layout: Layout,
    hoist: np.ndarray,
    rates: np.ndarray,
    start: np.ndarray,
    factor: np.ndarray,
    solve: np.ndarray,
    read: np.ndarray,
    diagonal: np.ndarray,
    source: np.ndarray,
    image: np.ndarray,
    x_MS: np.ndarray,
    p_MP: np.ndarray,
    floor_MS: np.ndarray,
    times: np.ndarray,
    rtol: float,
    held: bool,
    autonomous: bool,
    max_steps: int,
    values: np.ndarray,
    end_MS: np.ndarray,
    status: np.ndarray,
    steps: np.ndarray,
) -> None:
    """Integrate members until all are done; a lane that becomes free takes the next member.

    Args:
        hoist: what depends on constants alone, run once per member. rates: f. start: f, J, ∂f/∂t. read: readouts.
        diagonal: entries of W on the diagonal `[S]`. source: for every entry of W the entry of J, or -1.
        image: the register file as it starts (constants set) `[registers * L]`.
        floor_MS: absolute tolerance of each state.
        values `[M, T, R]`, end_MS, status, steps `[M]`: filled.
    """
    L = LANES
    S, E = layout.states, layout.entries
    R = image.copy()
    members, points = x_MS.shape[0], len(times)
    k = np.zeros((STAGES, S * L))
    x = np.zeros(S * L)
    dense = np.zeros((3, S * L))
    t, h = np.zeros(L), np.zeros(L)
    who = np.full(L, -1, np.int64)
    fresh = np.zeros(L, np.bool_)
    point = np.zeros(L, np.int64)
    taken = np.zeros(L, np.int64)
    rejected = np.zeros(L, np.bool_)
    error = np.zeros(L)
    ok = np.zeros(L, np.bool_)
    upcoming = 0
    span = times[points - 1] - times[0]
    X, F, J, FT, W, B = layout.x * L, layout.f * L, layout.jacobian * L, layout.ft * L, layout.w * L, layout.rhs * L
    running = 0
    while True:
        # free lanes take the next members
        for lane in range(L):
            while who[lane] < 0 and upcoming < members:
                m = upcoming
                upcoming += 1
                if status[m] != FINE:
                    continue
                who[lane], fresh[lane], point[lane], taken[lane], rejected[lane] = m, True, 0, 0, False
                t[lane] = times[0]
                for s in range(S):
                    x[s * L + lane] = x_MS[m, s]
                for p in range(layout.constants):
                    R[(layout.p + p) * L + lane] = p_MP[m, p]
                R[layout.time * L + lane] = times[0]
                execute_lane(hoist, R, lane)
                running += 1
        if running == 0:
            return
        # f, J and ∂f/∂t where each lane is
        R[X : X + S * L] = x
        for lane in range(L):
            R[layout.time * L + lane] = times[0] if held else t[lane]
        execute(start, R)
        for lane in range(L):
            if fresh[lane]:
                fresh[lane] = False
                _read(layout, read, R, x, lane, times[0], values, who[lane], 0)
                point[lane] = 1
                h[lane] = _first_step(R, F, x, floor_MS, who[lane], lane, S, rtol, span)
            if who[lane] >= 0:
                left = times[points - 1] - t[lane]
                if h[lane] >= left:
                    h[lane] = left
                elif h[lane] > 0.5 * left:
                    h[lane] = 0.5 * left  # two even steps rather than a whole and a crumb
        # W = I/(h γ) - J and its factors
        for e in range(E):
            w = W + e * L
            j = source[e]
            if j < 0:
                R[w : w + L] = 0.0
            else:
                for lane in range(L):
                    R[w + lane] = -R[J + j * L + lane]
        for s in range(S):
            w = W + diagonal[s] * L
            for lane in range(L):
                R[w + lane] += 1.0 / (h[lane] * GAMMA)
        execute(factor, R)
        # the stages
        for i in range(STAGES):
            if i > 0:
                u = R[X : X + S * L]
                u[:] = x
                for j in range(i):
                    a = A[i, j]
                    if a != 0.0:
                        kj = k[j]
                        for n in range(S * L):
                            u[n] += a * kj[n]
                if not held:
                    for lane in range(L):
                        R[layout.time * L + lane] = t[lane] + NODES[i] * h[lane]
                execute(rates, R)
            b = R[B : B + S * L]
            b[:] = R[F : F + S * L]
            if not autonomous and not held and D[i] != 0.0:
                for s in range(S):
                    for lane in range(L):
                        b[s * L + lane] += h[lane] * D[i] * R[FT + s * L + lane]
            if i > 0:
                mixed = k[i]
                mixed[:] = 0.0
                for j in range(i):
                    c = C[i, j]
                    kj = k[j]
                    for n in range(S * L):
                        mixed[n] += c * kj[n]
                for s in range(S):
                    for lane in range(L):
                        b[s * L + lane] += mixed[s * L + lane] / h[lane]
            execute(solve, R)
            k[i, :] = b
        # error and new steps; X holds the argument of the last stage, to which the last k is added
        new = R[X : X + S * L]
        last = k[STAGES - 1]
        error[:] = 0.0
        for s in range(S):
            for lane in range(L):
                n = s * L + lane
                new[n] += last[n]
                if who[lane] >= 0:
                    scale = floor_MS[who[lane], s] + rtol * max(abs(x[n]), abs(new[n]))
                    ratio = last[n] / scale
                    error[lane] += ratio * ratio
        output = False
        for lane in range(L):
            if who[lane] < 0:
                continue
            m = who[lane]
            size = np.sqrt(error[lane] / max(S, 1))
            taken[lane] += 1
            ok[lane] = size <= 1.0
            if not np.isfinite(size):
                factor_h = 0.1
            elif size == 0.0:
                factor_h = _LARGEST
            else:
                factor_h = min(_LARGEST, max(_SMALLEST, _SAFETY * size ** (-0.2)))
            if ok[lane]:
                if rejected[lane]:
                    factor_h = min(factor_h, 1.0)
                rejected[lane] = False
                arrived = t[lane] + h[lane]
                if times[points - 1] - arrived <= 1e-14 * max(abs(arrived), abs(span)):
                    arrived = times[points - 1]
                if point[lane] < points and times[point[lane]] <= arrived:
                    output = True
                error[lane] = arrived
            else:
                rejected[lane] = True
                h[lane] *= factor_h
                if h[lane] < 1e-13 * max(abs(t[lane]), abs(span)) * 1e-3 or not np.isfinite(h[lane]):
                    _stop(values, end_MS, status, m, point[lane], NOT_CONVERGED if np.isfinite(size) else NOT_FINITE)
                elif taken[lane] >= max_steps:
                    _stop(values, end_MS, status, m, point[lane], TOO_MANY_STEPS)
                else:
                    continue
                steps[m] = taken[lane]
                who[lane] = -1
                running -= 1
                continue
            # the new step's length is kept until the dense output has used the old one
            R[layout.out_time * L + lane] = factor_h
        if output:
            for q in range(3):
                d = dense[q]
                d[:] = 0.0
                for j in range(STAGES):
                    c = DENSE[q, j]
                    kj = k[j]
                    for n in range(S * L):
                        d[n] += c * kj[n]
        for lane in range(L):
            if who[lane] < 0 or not ok[lane]:
                continue
            m = who[lane]
            factor_h, arrived = R[layout.out_time * L + lane], error[lane]
            while point[lane] < points and times[point[lane]] <= arrived:
                when = times[point[lane]]
                r = (when - t[lane]) / h[lane]
                if when == arrived:
                    for s in range(S):
                        R[(layout.out_x + s) * L + lane] = new[s * L + lane]
                else:
                    for s in range(S):
                        n = s * L + lane
                        bend = dense[0, n] + r * (dense[1, n] + r * dense[2, n])
                        R[(layout.out_x + s) * L + lane] = (1.0 - r) * x[n] + r * (new[n] + (1.0 - r) * bend)
                R[layout.out_time * L + lane] = times[0] if held else when
                execute_lane(read, R, lane)
                for o in range(layout.readouts):
                    values[m, point[lane], o] = R[(layout.out + o) * L + lane]
                point[lane] += 1
            t[lane] = arrived
            h[lane] *= factor_h
            finite = True
            for s in range(S):
                n = s * L + lane
                x[n] = new[n]
                finite = finite and np.isfinite(new[n])
            if point[lane] >= points or not finite or taken[lane] >= max_steps:
                if point[lane] >= points and finite:
                    for s in range(S):
                        end_MS[m, s] = x[s * L + lane]
                else:
                    _stop(values, end_MS, status, m, point[lane], TOO_MANY_STEPS if finite else NOT_FINITE)
                steps[m] = taken[lane]
                who[lane] = -1
                running -= 1
        for lane in range(L):
            if who[lane] < 0:
                h[lane] = 1.0  # a free lane is computed too: keep its numbers tame
                for s in range(S):
                    x[s * L + lane] = 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _read(layout, read, R, x, lane, when, values, m, point):
    for s in range(layout.states):
        R[(layout.out_x + s) * LANES + lane] = x[s * LANES + lane]
    R[layout.out_time * LANES + lane] = when
    execute_lane(read, R, lane)
    for o in range(layout.readouts):
        values[m, point, o] = R[(layout.out + o) * LANES + lane]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _stop(values, end_MS, status, m, point, why):
    values[m, point:, :] = np.nan
    end_MS[m, :] = np.nan
    status[m] = why


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _first_step(R, F, x, floor_MS, m, lane, S, rtol, span):
    """A step over which an explicit Euler step would move the state by about its tolerance, to the order of the method."""
    fastest = 0.0
    for s in range(S):
        n = s * LANES + lane
        speed = abs(R[F + n]) / (floor_MS[m, s] + rtol * abs(x[n]))
        if speed > fastest:
            fastest = speed
    if fastest == 0.0 or not np.isfinite(fastest):
        return 1e-3 * span
    return min(span, max(1e-12 * span, 5.0 / fastest))
