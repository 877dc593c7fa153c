"""Interface quasi-Newton with an approximate inverse Jacobian from least squares (IQN-ILS), on sampled signals.

Degroote, Bathe & Vierendeels 2009, Comput. Struct. 87:793; the filter is QR2 of Haelterman, Bogaers, Scheufele, Uekermann
& Mehl 2016, Comput. Struct. 171:9; on all values of a signal in a window: Rüth, Uekermann, Mehl, Birken, Monge &
Bungartz 2021, Int. J. Numer. Methods Eng. 122:5236.

Legend: `M` members, `n` numbers that are iterated, `C` columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coupling.acceleration import Session, check_factor
from coupling.scheme import Floats, Memory
from twin.errors import InputError

_RESIDUALS, _VALUES, _AGES = "quasi_newton residuals", "quasi_newton values", "quasi_newton ages"


@dataclass(frozen=True)
class QuasiNewton:
    """x + what least squares over earlier changes of residuals say of the way to residual zero.

    Every member has columns of its own. The memory is part of where a run stands, so that a run goes on from it with
    the same bits.

    Args:
        reuse: from how many earlier windows changes are used.
        filter: a change is left out if less than this share of it is new against the more recent ones.
        relaxation: ω of the first iteration, when there is no change yet.
        columns: most changes remembered.

    Raises:
        InputError: an argument outside its range.
    """

    reuse: int = 0
    filter: float = 1e-3
    relaxation: float = 0.5
    columns: int = 100

    def __post_init__(self) -> None:
        check_factor("QuasiNewton relaxation", self.relaxation)
        whole = isinstance(self.reuse, int) and isinstance(self.columns, int)
        if not whole or self.reuse < 0 or self.columns < 1 or not 0.0 <= self.filter < 1.0:
            raise InputError(
                f"QuasiNewton(reuse={self.reuse}, filter={self.filter}, columns={self.columns}): expected reuse of 0 or "
                "more windows, a filter from 0 to below 1, and at least 1 column."
            )

    def begin(self, memory: Memory, weights: Floats) -> Session:
        """See `Acceleration.begin`."""
        M, n = weights.shape
        old = memory.get(_RESIDUALS)
        if old is None or old.shape[2] != n or not self.reuse:
            empty = np.zeros((M, 0, n))
            return _Learning(self, weights, empty, empty, np.zeros((M, 0), dtype=np.int64))
        return _Learning(self, weights, old, memory[_VALUES], memory[_AGES])


class _Learning:
    """IQN-ILS at work. Columns stand from recent to old; an age of -1 is an empty place."""

    def __init__(
        self, method: QuasiNewton, weights: Floats, residuals: Floats, values: Floats, ages: NDArray[np.int64]
    ) -> None:
        self._method, self._weights = method, weights
        M = len(ages)
        full = ages >= 0
        self._residuals = [list(residuals[m][full[m]]) for m in range(M)]
        self._values = [list(values[m][full[m]]) for m in range(M)]
        self._ages = [list(ages[m][full[m]]) for m in range(M)]
        self._last: list[tuple[Floats, Floats] | None] = [None] * M

    def next(self, x: Floats, said: Floats, active: NDArray[np.bool_]) -> Floats:
        after = x.copy()
        for m in np.flatnonzero(active):
            after[m] = self._one(int(m), x[m], said[m])
        return after

    def _one(self, m: int, x: Floats, said: Floats) -> Floats:
        residual = said - x
        last = self._last[m]
        if last is not None:
            self._residuals[m].insert(0, residual - last[0])
            self._values[m].insert(0, said - last[1])
            self._ages[m].insert(0, 0)
            for held in (self._residuals[m], self._values[m], self._ages[m]):
                del held[self._method.columns :]
        self._last[m] = (residual, said)
        scale = self._weights[m]
        chosen, weights = filtered([row * scale for row in self._residuals[m]], residual * scale, self._method.filter)
        if not chosen:
            return x + self._method.relaxation * residual
        return said + sum(weight * self._values[m][c] for c, weight in zip(chosen, weights, strict=True))

    def memory(self, converged: NDArray[np.bool_]) -> Memory:
        reuse = self._method.reuse
        if not reuse:
            return {}
        for m in range(len(self._ages)):
            keep = [c for c, age in enumerate(self._ages[m]) if age < reuse]
            self._residuals[m] = [self._residuals[m][c] for c in keep]
            self._values[m] = [self._values[m][c] for c in keep]
            self._ages[m] = [self._ages[m][c] + 1 for c in keep]
        M, n, C = *self._weights.shape, max(map(len, self._ages), default=0)
        residuals, values, ages = np.zeros((M, C, n)), np.zeros((M, C, n)), np.full((M, C), -1, dtype=np.int64)
        for m in range(M):
            count = len(self._ages[m])
            if count:
                residuals[m, :count], values[m, :count] = self._residuals[m], self._values[m]
                ages[m, :count] = self._ages[m]
        return {_RESIDUALS: residuals, _VALUES: values, _AGES: ages}


def filtered(columns: list[Floats], residual: Floats, share: float) -> tuple[list[int], Floats]:
    """Which columns count, and the weights with which their sum is nearest to -residual.

    Modified Gram–Schmidt from the first column on; one whose part that is new is below `share` of it is left out.
    """
    chosen: list[int] = []
    base: list[Floats] = []
    upper: list[list[float]] = []
    for c, column in enumerate(columns):
        if len(base) == len(residual):
            break
        rest, parts = column.copy(), []
        for direction in base:
            part = float(direction @ rest)
            rest = rest - part * direction
            parts.append(part)
        size, new = float(np.linalg.norm(column)), float(np.linalg.norm(rest))
        if not np.isfinite(new) or new <= max(share, 1e-14) * size or new == 0.0:
            continue
        chosen.append(c)
        base.append(rest / new)
        upper.append([*parts, new])
    k = len(chosen)
    weights = np.zeros(k)
    for i in range(k - 1, -1, -1):
        known = sum(upper[j][i] * weights[j] for j in range(i + 1, k))
        weights[i] = (-float(base[i] @ residual) - known) / upper[i][i]
    return chosen, weights
