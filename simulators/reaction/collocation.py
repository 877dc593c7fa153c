"""The coefficients of Radau IIA with four stages, of order 7, for linear equations (Hairer & Wanner, Solving ODEs II, IV.5).

Over a step of width h the solution of dy/dt = J(t) y + F(t) is taken as the polynomial of degree 4 that starts at y and
fulfils the equation at four nodes, the last being the end. At the nodes its values solve

    J(t_a) Y_a - Σ_b (A⁻¹)_ab M Y_b / h = -F(t_a) - Σ_b (A⁻¹)_ab M y / h.

At the start it misses the equation by a residual d; (M/(h γ) - J)⁻¹ d is what separates it from the embedded formula of
order 4 (ibid., IV.8). The polynomial itself is closer: by `INNER` = max |∫ Π (θ - c_a) dθ| / (γ Π c_a) within the step where a
column moves smoothly. (Where it follows its equation infinitely stiffly, by max |Π (θ - c_a)| / Π c_a, twice that,
beyond the first node.) At the end the error falls with h⁸.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.polynomial import Polynomial, legendre

from simulators.reaction.rodas5p_tableau import GAMMA

STAGES: Final = 4


def _nodes() -> np.ndarray:
    """Zeros of P_4 - P_3, moved to (0, 1]."""
    found = (np.sort(legendre.legroots([0.0] * (STAGES - 1) + [-1.0, 1.0]).real) + 1.0) / 2.0
    found[-1] = 1.0
    return found


def _inner() -> float:
    product = Polynomial.fromroots(NODES)
    apart = np.abs(product.integ()(np.linspace(0.0, 1.0, 2001))).max()
    return float(apart / (GAMMA * np.prod(NODES)))


NODES: Final = _nodes()
_POWERS: Final = np.arange(1, STAGES + 1)
A: Final = (NODES[:, None] ** _POWERS / _POWERS) @ np.linalg.inv(NODES[:, None] ** (_POWERS - 1))
INVERSE: Final = np.ascontiguousarray(np.linalg.inv(A))
START: Final = INVERSE.sum(axis=1)
"""Σ_b (A⁻¹)_ab."""
_KNOTS: Final = np.concatenate(([0.0], NODES))
POLYNOMIAL: Final = np.ascontiguousarray(np.linalg.inv(_KNOTS[:, None] ** np.arange(STAGES + 1)))
"""Coefficients of the polynomial `[power, value]` from y and the values at the nodes."""
SLOPE: Final = POLYNOMIAL[1].copy()
"""h × its derivative at the start."""
INNER: Final = _inner()
