"""An emulator behind its gate, with the mechanism it stands in for: who can vouch answers, the rest is simulated.

Legend: `M` rows, `T` times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.emulator import Emulator
from twin.perturbation import Perturbation

Mechanism = Callable[[NDArray[np.intp]], Mapping[str, NDArray[Any]]]
"""Simulates some rows, by position: name → `[len(rows), ...]`."""


@dataclass(frozen=True)
class TrustedAnswer:
    """Courses of some rows, and who gave each.

    Args:
        values: readout → `[M, T]`; what else the mechanism returned comes too, 0 for rows that it did not run.
        emulated: whether the emulator answered `[M]`; else mechanism did.
    """

    values: Mapping[str, NDArray[Any]]
    emulated: NDArray[np.bool_]


@dataclass(frozen=True)
class Trusted:
    """Emulator where its gate vouches, mechanism elsewhere.

    Args:
        emulator: with its gate.
    """

    emulator: Emulator

    def run(
        self,
        mechanism: Mechanism,
        *,
        features: Mapping[str, NDArray[np.float64]],
        initial: Mapping[str, NDArray[np.float64]],
        perturbations: Sequence[Perturbation],
        times: Sequence[float],
    ) -> TrustedAnswer:
        """One arm of some cells; an arm that the emulator has not learned is run by mechanism at once.

        Args:
            mechanism: simulates the rows that nobody vouches for; it returns at least the readouts.
            features, initial, perturbations, times: see `Emulator.answer`.
        """
        rows = len(next(iter(initial.values())))
        if not self.emulator.domain.knows(perturbations):
            return TrustedAnswer(mechanism(np.arange(rows)), np.zeros(rows, dtype=np.bool_))
        answer = self.emulator.answer(features=features, initial=initial, perturbations=perturbations, times=times)
        left = np.flatnonzero(~answer.vouched)
        values: dict[str, NDArray[Any]] = {
            name: np.where(answer.vouched[:, None], course, np.nan) for name, course in answer.values.items()
        }
        if len(left):
            for name, simulated in mechanism(left).items():
                if name not in values:
                    values[name] = np.zeros((rows, *simulated.shape[1:]), dtype=simulated.dtype)
                values[name][left] = simulated
        return TrustedAnswer(values, answer.vouched)
