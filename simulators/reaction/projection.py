"""States that no rate moves put in their places: algebraic ones by Newton's method, fast reactions run to their end.

Both at once are solved by pseudo-transient continuation (Kelley & Keyes, SIAM J. Numer. Anal. 35, 508, 1998): implicit
Euler steps in a time of their own, each longer than the last, which end as Newton's method. So of several zeros the one
is found that fast reactions run into.

Legend: `M` members, `S` states, `P` constants, `A` states with another mass than 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats
from simulators.reaction.network import Network, symbol_name

_ITERATIONS, _GROWTH, _HALVINGS = 400, 1.5, 12


class Projection:
    """Solves the balances of a network for its states with another mass than 1."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._columns = [i for i, state in enumerate(network.states) if state.mass != 1.0]
        graph = network.graph
        self._balances = [network.states[i].balance or network.states[i].rate for i in self._columns]
        symbols = [graph.symbol(symbol_name(network.states[i].name)) for i in self._columns]
        self._slopes = [graph.derivative(balance, symbol) for balance in self._balances for symbol in symbols]
        self._moving = np.array([float(network.states[i].mass > 0) for i in self._columns])

    def solve(self, x: Floats, p: Floats, t: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """States `[M, S]` that satisfy the balances, from `x` as a first guess, and which members converged."""
        x = x.copy()
        fine = np.zeros(len(x), dtype=bool)
        for column in self._columns:
            x[np.isnan(x[:, column]), column] = 1.0
        one = self._relax if self._moving.any() else self._newton
        for m in range(len(x)):
            fine[m] = one(x[m : m + 1], p[m : m + 1], t[m : m + 1])
        return x, fine

    def _balance(self, x: Floats, p: Floats, t: Floats) -> Floats:
        return self._network.evaluate(self._balances, x, p, t)[0]

    def _slope(self, x: Floats, p: Floats, t: Floats) -> Floats:
        A = len(self._columns)
        return self._network.evaluate(self._slopes, x, p, t).reshape(A, A)

    def _newton(self, x: Floats, p: Floats, t: Floats) -> bool:
        columns = self._columns
        balance = self._balance(x, p, t)
        for _ in range(_ITERATIONS):
            if not balance.any():
                return True
            step = _solved(self._slope(x, p, t), balance)
            if step is None:
                return False
            start, size, share = x[0, columns].copy(), np.abs(balance).max(), 1.0
            for _ in range(_HALVINGS):
                x[0, columns] = start - share * step
                balance = self._balance(x, p, t)
                if np.abs(balance).max() <= size:
                    break
                share *= 0.5
            if np.all(np.abs(step) <= 1e-10 * np.abs(start) + 1e-15):  # what is left is its square
                return True
        return False

    def _relax(self, x: Floats, p: Floats, t: Floats) -> bool:
        columns = self._columns
        span = 0.0
        for _ in range(_ITERATIONS):
            balance, slope = self._balance(x, p, t), self._slope(x, p, t)
            if not balance.any():
                return True
            if span == 0.0:
                speed = np.abs(slope).max() + np.abs(balance).max() / (np.abs(x[0, columns]).max() + 1e-12)
                span = 0.01 / speed if np.isfinite(speed) and speed > 0 else 1.0
            step = _solved(np.diag(self._moving / span) - slope, balance)
            if step is None:
                return False
            x[0, columns] += step
            if span * np.abs(slope).max() > 1e6 and np.all(np.abs(step) <= 1e-12 * np.abs(x[0, columns]) + 1e-18):
                return True
            span *= _GROWTH
        return bool(np.isfinite(x[0, columns]).all())


def _solved(matrix: Floats, right: Floats) -> Floats | None:
    try:
        found = np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        return None
    return np.asarray(found, dtype=np.float64) if np.isfinite(found).all() else None
