"""How the next iterate of exchanged signals is found from the last: the protocol, and relaxation by a constant.

With x what simulators heard and H(x) what they said in return, an iteration looks for the x at which the residual
H(x) - x is zero.

Legend: `M` members, `n` numbers that are iterated: the values of all torn signals at their nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coupling.scheme import Floats, Memory
from twin.errors import InputError


class Session(Protocol):
    """An acceleration at work in one window."""

    def next(self, x: Floats, said: Floats, active: NDArray[np.bool_]) -> Floats:
        """The next iterate `[M, n]` of active members, from this one and what it led to; the others keep `x`."""
        ...

    def memory(self, converged: NDArray[np.bool_]) -> Memory:
        """What the next window may use."""
        ...


class Acceleration(Protocol):
    """A way from one iterate to the next."""

    def begin(self, memory: Memory, weights: Floats) -> Session:
        """In a new window, with what earlier windows left. Members never mix.

        Args:
            weights: what makes the numbers `[M, n]` of signals in different units comparable.
        """
        ...


@dataclass(frozen=True)
class Constant:
    """x + ω (H(x) - x): plain iteration with ω = 1, safer and slower below it.

    Args:
        factor: ω, above 0 and at most 1.

    Raises:
        InputError: a factor outside.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        check_factor("Constant", self.factor)

    def begin(self, memory: Memory, weights: Floats) -> Session:
        """See `Acceleration.begin`."""
        return _Relaxed(self.factor)


@dataclass(frozen=True)
class _Relaxed:
    factor: float

    def next(self, x: Floats, said: Floats, active: NDArray[np.bool_]) -> Floats:
        return np.where(active[:, None], x + self.factor * (said - x), x)

    def memory(self, converged: NDArray[np.bool_]) -> Memory:
        return {}


def check_factor(name: str, factor: float) -> None:
    """Raise `InputError` for a relaxation factor outside (0, 1]."""
    if not 0.0 < factor <= 1.0:
        raise InputError(f"{name}({factor}): expected a relaxation factor above 0 and at most 1, such as 0.5.")
