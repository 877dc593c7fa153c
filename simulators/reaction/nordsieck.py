"""What lanes remember of their course in a multistep method: the polynomial through it, as scaled derivatives.

Nordsieck (Math. Comput. 16, 22, 1962): z_j = h^j / j! · d^j x / dt^j at the end of the step. Steps of another width are z_j times
powers of the ratio, prediction is a product with Pascal's triangle.

Legend: `S` states, `L` lanes. Number (s · `ROWS` + j) · L + lane of `z` is z_j of a state; rows above the order are 0, and the last
row keeps an earlier correction. `error`: what corrects the prediction `[S * L]`.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np

from simulators.reaction.bdf_coefficients import HIGHEST, higher, lower
from simulators.reaction.lanes import LANES
from simulators.reaction.nordsieck_vector import v_advance, v_correct, v_exchange, v_less, v_predict, v_residual

ROWS: Final = HIGHEST + 2
_KEPT: Final = HIGHEST + 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def begin(S: int, z: Any, x: Any, R: Any, F: int, h: float, lane: int) -> None:
    """Order 1 at a state whose slope lies in the registers from number F on."""
    for s in range(S):
        first = s * ROWS * LANES + lane
        for j in range(2, ROWS):
            z[first + j * LANES] = 0.0
        z[first], z[first + LANES] = x[s * LANES + lane], h * R[F + s * LANES + lane]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def shift(R: Any, diagonal: Any, source: Any, inverse: Any) -> None:
    """J - 1/γ where it is factored; entries off the diagonal are read where J lies."""
    width, start, by = LANES * 8, R.ctypes.data, inverse.ctypes.data
    for s in range(len(diagonal)):
        v_less(start + diagonal[s] * width, start + source[s] * width, by)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def exchange(R: Any, registers: Any, kept: Any, wanted: Any) -> None:
    """Factors are new in the lanes that wanted them, and what they were in the others.

    Args:
        kept: factors of all lanes `[len(registers) * L]`.
    """
    width, start, other, mask = LANES * 8, R.ctypes.data, kept.ctypes.data, wanted.ctypes.data
    for i in range(len(registers)):
        v_exchange(start + registers[i] * width, other + i * width, mask)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def iterate(S: int, R: Any, layout_f: int, layout_rhs: int, z: Any, error: Any, scales: Any) -> None:
    """Right-hand sides of Newton's iteration.

    Args:
        scales: of f, z_1 and the error so far `[3, L]`; 0 for lanes that take no part.
    """
    width, rows = LANES * 8, ROWS * LANES * 8
    out, f = R.ctypes.data + layout_rhs * width, R.ctypes.data + layout_f * width
    slope, e, by = z.ctypes.data + width, error.ctypes.data, scales.ctypes.data
    for s in range(S):
        v_residual(out + s * width, f + s * width, slope + s * rows, e + s * width, by, by + width, by + 2 * width)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def advance(S: int, R: Any, layout_x: int, layout_rhs: int, z: Any, error: Any, weight: Any, sums: Any) -> None:
    """What Newton's iteration found is added to the error.

    Args:
        sums: of squares of what was added, and of the whole error `[2, L]`; written.
    """
    width, rows = LANES * 8, ROWS * LANES * 8
    sums[:] = 0.0
    step, state = R.ctypes.data + layout_rhs * width, R.ctypes.data + layout_x * width
    e, predicted, w, to = error.ctypes.data, z.ctypes.data, weight.ctypes.data, sums.ctypes.data
    for s in range(S):
        n = s * width
        v_advance(step + n, e + n, predicted + s * rows, state + n, w + n, to, to + width)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def correct(S: int, z: Any, error: Any, shape: Any, accepted: Any) -> None:
    """z_j + l_j · error in the lanes whose step is accepted."""
    width, rows = LANES * 8, ROWS * LANES * 8
    past, by, mask, e = z.ctypes.data, shape.ctypes.data, accepted.ctypes.data, error.ctypes.data
    for s in range(S):
        v_correct(past + s * rows, by, mask, e + s * width)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def predict(
    S: int,
    z: Any,
    powers: Any,
    moved: Any,
    x: Any,
    weight: Any,
    floor: Any,
    rtol: float,
    error: Any,
    R: Any,
    layout_x: int,
) -> None:
    """In lanes that have moved: the state, its tolerances, and the prediction of the next step where f reads it.

    Args:
        powers: of the ratio of the next step to this `[6, L]`.
    """
    width, rows = LANES * 8, ROWS * LANES * 8
    past, by, mask, now = z.ctypes.data, powers.ctypes.data, moved.ctypes.data, x.ctypes.data
    w, a, e, state = weight.ctypes.data, floor.ctypes.data, error.ctypes.data, R.ctypes.data + layout_x * width
    for s in range(S):
        n = s * width
        v_predict(past + s * rows, by, mask, now + n, w + n, a + n, e + n, state + n, rtol)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def retract(S: int, z: Any, x: Any, q: int, lane: int) -> None:
    """Undo a lane's prediction."""
    for s in range(S):
        first = s * ROWS * LANES + lane
        for k in range(1, q + 1):
            for j in range(q, k - 1, -1):
                z[first + (j - 1) * LANES] -= z[first + j * LANES]
        z[first] = x[s * LANES + lane]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def keep(S: int, z: Any, error: Any, lane: int) -> None:
    """Remember a lane's correction."""
    for s in range(S):
        z[(s * ROWS + _KEPT) * LANES + lane] = error[s * LANES + lane]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def size_of_last(S: int, z: Any, weight: Any, q: int, lane: int) -> float:
    """Norm of z_q."""
    total = 0.0
    for s in range(S):
        part = z[(s * ROWS + q) * LANES + lane] * weight[s * LANES + lane]
        total += part * part
    return np.sqrt(total / max(S, 1))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def size_of_change(S: int, z: Any, error: Any, weight: Any, share: float, lane: int) -> float:
    """Norm of the correction less a share of the one remembered."""
    total = 0.0
    for s in range(S):
        n = s * LANES + lane
        part = (error[n] - share * z[(s * ROWS + _KEPT) * LANES + lane]) * weight[n]
        total += part * part
    return np.sqrt(total / max(S, 1))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def raise_order(S: int, z: Any, error: Any, q: int, h: float, tau: Any, change: Any, lane: int) -> None:
    """From order q to q + 1, by the correction of the last step."""
    scale = higher(q, h, tau, change, lane)
    for s in range(S):
        first = s * ROWS * LANES + lane
        above = scale * error[s * LANES + lane]
        z[first + (q + 1) * LANES] = above
        for j in range(2, q + 1):
            z[first + j * LANES] += change[j] * above


@numba.njit(cache=True, nogil=True, error_model="numpy")
def lower_order(S: int, z: Any, q: int, h: float, tau: Any, change: Any, lane: int) -> None:
    """From order q to q - 1."""
    lower(q, h, tau, change, lane)
    for s in range(S):
        first = s * ROWS * LANES + lane
        above = z[first + q * LANES]
        z[first + q * LANES] = 0.0
        for j in range(2, q):
            z[first + j * LANES] -= change[j] * above


@numba.njit(cache=True, nogil=True, error_model="numpy")
def densify(S: int, z: Any, dense: Any, lane: int) -> None:
    """Coefficients of the course within the last step `[4, S * L]`, as `dense_output.bend` reads them."""
    for s in range(S):
        first, n = s * ROWS * LANES + lane, s * LANES + lane
        z2, z3, z4, z5 = z[first + 2 * LANES], z[first + 3 * LANES], z[first + 4 * LANES], z[first + 5 * LANES]
        dense[0, n] = -(z2 - 2.0 * z3 + 3.0 * z4 - 4.0 * z5)
        dense[1, n] = -(z3 - 3.0 * z4 + 6.0 * z5)
        dense[2, n] = -(z4 - 4.0 * z5)
        dense[3, n] = -z5
