"""A value that moves while a simulator steps: a polynomial in time, one per member.

Legend: `M` members, `K` coefficients (degree + 1), `T` times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import comb, factorial
from typing import Any

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Signal:
    """What one input is from `t0` to `t1`: Σ coefficient_k · s^k, with s = (t - t0) / (t1 - t0).

    Args:
        t0, t1: the span over which it holds.
        coefficients: `[M, K, *dims]`, in the units of the port.
    """

    t0: float
    t1: float
    coefficients: Floats

    @classmethod
    def through(cls, t0: float, t1: float, values: NDArray[Any]) -> Signal:
        """The polynomial through values `[M, K, *dims]` at the times ``nodes(K - 1)`` of the span."""
        inverse = _inverse(values.shape[1] - 1)
        floats = np.asarray(values, dtype=np.float64)
        # summed term by term, so that a member's bits do not depend on how many there are
        terms = [sum(inverse[k, j] * floats[:, j] for j in range(len(inverse))) for k in range(len(inverse))]
        return cls(t0, t1, np.stack([np.asarray(term) for term in terms], axis=1))

    @classmethod
    def constant(cls, t0: float, t1: float, values: NDArray[Any]) -> Signal:
        """A value `[M, *dims]` that stays."""
        return cls(t0, t1, np.asarray(values, dtype=np.float64)[:, None])

    @property
    def degree(self) -> int:
        """Of the polynomial."""
        return self.coefficients.shape[1] - 1

    def at(self, times: Sequence[float]) -> Floats:
        """Values `[M, T, *dims]`."""
        s = self._places(times).reshape(-1, *[1] * (self.coefficients.ndim - 2))
        found = np.repeat(self.coefficients[:, -1:], len(times), axis=1)
        for k in range(self.degree - 1, -1, -1):
            found = found * s + self.coefficients[:, k : k + 1]
        return found

    def derivatives(self, time: float) -> Floats:
        """The value and all derivatives `[M, K, *dims]` at one time, in the units of the port per (unit of time)^k."""
        s = float(self._places([time])[0])
        span = self.t1 - self.t0
        found = np.zeros_like(self.coefficients)
        for k in range(self.degree + 1):
            for j in range(k, self.degree + 1):
                found[:, k] += factorial(j) // factorial(j - k) * s ** (j - k) * self.coefficients[:, j]
            if k and span > 0:
                found[:, k] /= span**k
        return found

    def bounded(self, lower: float | None) -> Signal:
        """The same ends, and nowhere below `lower`: what dips below is drawn towards the chord between the ends.

        A polynomial lies above the least of its Bernstein coefficients (Farouki 2012, Comput. Aided Geom. Des. 29:379),
        so that the bound holds at every time, not only where somebody looks. Ends below the bound are set to it.
        """
        if lower is None:
            return self
        degree = self.degree
        b = np.zeros_like(self.coefficients)
        for i in range(degree + 1):
            for k in range(i + 1):
                b[:, i] += comb(i, k) / comb(degree, k) * self.coefficients[:, k]
        if (b >= lower).all():
            return self
        first, last = np.maximum(b[:, 0], lower), np.maximum(b[:, -1], lower)
        shares = np.linspace(0.0, 1.0, degree + 1).reshape(-1, *[1] * (b.ndim - 2))
        chord = first[:, None] + shares * (last - first)[:, None]
        b[:, 0], b[:, -1] = first, last
        with np.errstate(invalid="ignore", divide="ignore"):
            pull = np.where(b < lower, (lower - b) / (chord - b), 0.0).max(axis=1, keepdims=True)
        b = np.maximum(b + pull * (chord - b), np.where(np.isnan(b), np.nan, lower))
        back = np.zeros_like(b)
        for k in range(degree + 1):
            for i in range(k + 1):
                back[:, k] += comb(degree, k) * comb(k, i) * (-1) ** (k - i) * b[:, i]
        return replace(self, coefficients=back)

    def on_clock(self, factor: float) -> Signal:
        """The same signal where times are `factor` times as large: told in other units of time."""
        return replace(self, t0=self.t0 * factor, t1=self.t1 * factor)

    def _places(self, times: Sequence[float]) -> Floats:
        span = self.t1 - self.t0
        since = np.asarray(times, dtype=np.float64) - self.t0
        return since / span if span > 0 else np.zeros_like(since)


@cache
def nodes(degree: int) -> Floats:
    """The places, from 0 to 1, of the values that fix a polynomial: Gauss–Lobatto points; one value is read at 1/2.

    Integrals over the span are then exact up to degree 2 · degree - 1 (Abramowitz & Stegun 1964, 25.4.32).
    """
    if degree == 0:
        return np.array([0.5])
    inner = legendre.Legendre.basis(degree).deriv().roots()
    return (1.0 + np.concatenate([[-1.0], np.sort(inner.real), [1.0]])) / 2.0


@cache
def _inverse(degree: int) -> Floats:
    """Coefficients of powers `[K, K]` from values at the nodes."""
    return np.asarray(np.linalg.inv(np.vander(nodes(degree), increasing=True)), dtype=np.float64)
