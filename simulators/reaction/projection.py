"""Algebraic states put where their residuals are 0, by Newton's method for each member.

Legend: `M` members, `S` states, `P` constants, `A` algebraic states.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats
from simulators.reaction.network import Network, symbol_name

_ITERATIONS, _HALVINGS = 60, 12


class Projection:
    """Solves the residuals of a network for its algebraic states."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._columns = [i for i, state in enumerate(network.states) if state.algebraic]
        graph = network.graph
        self._residuals = [network.states[i].rate for i in self._columns]
        symbols = [graph.symbol(symbol_name(network.states[i].name)) for i in self._columns]
        self._slopes = [graph.derivative(residual, symbol) for residual in self._residuals for symbol in symbols]

    def solve(self, x: Floats, p: Floats, t: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """States `[M, S]` that satisfy the residuals, from `x` as a first guess, and which members converged."""
        A, columns, network = len(self._columns), self._columns, self._network
        x = x.copy()
        fine = np.zeros(len(x), dtype=bool)
        for column in columns:
            x[np.isnan(x[:, column]), column] = 1.0
        for m in range(len(x)):
            row, constants, time = x[m : m + 1], p[m : m + 1], t[m : m + 1]
            residual = network.evaluate(self._residuals, row, constants, time)[0]
            for _ in range(_ITERATIONS):
                slope = network.evaluate(self._slopes, row, constants, time).reshape(A, A)
                try:
                    step = np.linalg.solve(slope, residual)
                except np.linalg.LinAlgError:
                    break
                if not np.isfinite(step).all():
                    break
                start, size, share = row[0, columns].copy(), np.abs(residual).max(), 1.0
                for _ in range(_HALVINGS):
                    row[0, columns] = start - share * step
                    residual = network.evaluate(self._residuals, row, constants, time)[0]
                    if np.abs(residual).max() <= size:
                        break
                    share *= 0.5
                if np.all(np.abs(step) <= 1e-13 * (np.abs(start) + 1e-300)) or not residual.any():
                    fine[m] = True
                    break
                if share == 1.0 and np.all(np.abs(step) <= 1e-10 * (np.abs(start) + 1e-6)):
                    fine[m] = True  # the next step would be below rounding: Newton squares the error
                    break
        return x, fine
