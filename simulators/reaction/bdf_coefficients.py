"""Coefficients of the backward differentiation formulas at steps of any width, and of the changes of their order.

Fixed leading coefficients (Jackson & Sacks-Davis, ACM TOMS 6, 295, 1980), as in VODE (Brown, Byrne & Hindmarsh, SIAM J. Sci. Stat.
Comput. 10, 1038, 1989), whose choice of step and order this follows. With x in steps before the end of the step, at -ξ_j the points
before, and at -ξ*_q the one that keeps the leading coefficient that of even steps, the correction is a multiple of

    Λ(x) = (1 + x/ξ*_q) Π_{j<q} (1 + x/ξ_j) = Σ l_j x^j

Legend: `L` lanes, `q` order. Of each lane: `tau[j]` width of the j-th step before `[7, L]`; `shape` l_j `[6, L]`; `tests` `[6, L]`.
"""

from __future__ import annotations

from typing import Any, Final

import numba

HIGHEST: Final = 5
"""The formulas of order 6 are hardly stable, those above not at all."""
LOWER, SAME, HIGHER, SHARE = 1, 2, 3, 5
"""Rows of `tests`: what the norms of z_q, of the correction, and of the change of the correction are multiplied by for the errors
at order q - 1, q and q + 1; and what corrections of two steps are compared by."""


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def set_coefficients(q: int, h: float, soon: bool, tau: Any, shape: Any, tests: Any, lane: int) -> None:
    """`shape` and `tests` of a step of width h.

    Args:
        soon: whether the order may change after this step.
    """
    l1, l2, l3, l4, l5 = 1.0, 0.0, 0.0, 0.0, 0.0
    leading, seen, inverse, fixed, since = -1.0, -1.0, 1.0, 1.0, h
    for j in range(2, q + 1):
        since += tau[j - 1, lane]
        inverse = h / since
        leading -= 1.0 / j
        factor = inverse
        if j == q:
            fixed, seen = -l1 - leading, -l1 - inverse
            factor = fixed
        l5 += l4 * factor
        l4 += l3 * factor
        l3 += l2 * factor
        l2 += l1 * factor
        l1 += factor
    shape[0, lane], shape[1, lane], shape[2, lane], shape[3, lane], shape[4, lane], shape[5, lane] = (
        1.0,
        l1,
        l2,
        l3,
        l4,
        l5,
    )
    highest = l1 if q == 1 else l2 if q == 2 else l3 if q == 3 else l4 if q == 4 else l5
    uneven = 1.0 - seen + leading
    weight = 1.0 + q * uneven
    tests[SAME, lane] = abs(uneven / (leading * weight))
    if soon:
        tests[LOWER, lane] = 1.0
        if q > 1:
            a, b = leading + 1.0 / q, seen + inverse
            tests[LOWER, lane] = abs(fixed / highest * (1.0 - b + a) / a)
    tests[SHARE, lane] = abs(weight * fixed / (highest * inverse))
    if soon:
        inverse = h / (since + tau[q, lane])
        a, b = leading - 1.0 / (q + 1), seen - inverse
        tests[HIGHER, lane] = abs((1.0 - b + a) / (weight * inverse * (q + 2) * a))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def higher(q: int, h: float, tau: Any, change: Any, lane: int) -> float:
    """What the correction is multiplied by for the new z_{q+1}; and `change[j]`, how much of that z_j gets, 2 ≤ j ≤ q.

    Args:
        change: written `[7]`.
    """
    change[:] = 0.0
    change[2] = 1.0
    leading, slope, product, before, since = -1.0, 1.0, 1.0, 1.0, h
    for j in range(1, q):
        since += tau[j + 1, lane]
        point = since / h
        product *= point
        leading -= 1.0 / (j + 1)
        slope += 1.0 / point
        for i in range(j + 2, 1, -1):
            change[i] = change[i] * before + change[i - 1]
        before = point
    return (-leading - slope) / product


@numba.njit(cache=True, nogil=True, error_model="numpy")
def lower(q: int, h: float, tau: Any, change: Any, lane: int) -> None:
    """How much of z_q is taken from z_j when the order falls, 2 ≤ j < q.

    Args:
        change: written `[7]`.
    """
    change[:] = 0.0
    change[2] = 1.0
    since = 0.0
    for j in range(1, q - 1):
        since += tau[j, lane]
        for i in range(j + 2, 1, -1):
            change[i] = change[i] * (since / h) + change[i - 1]
