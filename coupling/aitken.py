"""Relaxation by a factor that follows the residuals: Aitken's Δ² for vectors.

Legend: `M` members, `n` numbers that are iterated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coupling.acceleration import Session, check_factor
from coupling.scheme import Floats, Memory

_LAST = "aitken"


@dataclass(frozen=True)
class Aitken:
    """x + ω (H(x) - x), with ω from the last two residuals (Irons & Tuck 1969; Küttler & Wall 2008, Comput. Mech. 43:61).

    Args:
        factor: ω at the start; a later window starts from its predecessor's last ω, but with no more than this.

    Raises:
        InputError: a factor outside (0, 1].
    """

    factor: float = 0.5

    def __post_init__(self) -> None:
        check_factor("Aitken", self.factor)

    def begin(self, memory: Memory, weights: Floats) -> Session:
        """See `Acceleration.begin`."""
        last = memory.get(_LAST, np.full(len(weights), self.factor))
        first = np.copysign(np.minimum(np.abs(last), self.factor), last)
        return _Following(first, weights)


class _Following:
    """Aitken's relaxation at work."""

    def __init__(self, factor: Floats, weights: Floats) -> None:
        self._weights = weights
        self._factor = factor
        self._residual: Floats | None = None

    def next(self, x: Floats, said: Floats, active: NDArray[np.bool_]) -> Floats:
        residual = said - x
        if self._residual is not None:
            change = (residual - self._residual) * self._weights
            square = (change * change).sum(axis=1)
            moved = active & (square > 0.0)
            quotient = (self._residual * self._weights * change).sum(axis=1) / np.where(moved, square, 1.0)
            self._factor = np.where(moved, -self._factor * quotient, self._factor)
        self._residual = residual
        return np.where(active[:, None], x + self._factor[:, None] * residual, x)

    def memory(self, converged: NDArray[np.bool_]) -> Memory:
        return {_LAST: np.where(np.isfinite(self._factor) & (self._factor != 0.0), self._factor, 1e-3)}
