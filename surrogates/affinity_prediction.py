"""What a predictor of affinity says, and what it may be taught with.

Affinities are ln(Kd / M) throughout: natural logarithms of molar. Measured values are those of an assay; where it gave an
IC50, it stands for Kd. Legend: `N` training compounds, `Q` compounds asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from surrogates.fingerprint import canonical
from twin.errors import InputError
from twin.units import factor

Row = NDArray[np.float64]

FEWEST = 3
"""Training compounds below which neither a level nor a spread can be learned."""


class Prediction(NamedTuple):
    """Affinities expected of a measurement: normal in ln(Kd / M).

    Args:
        mean: of ln(Kd / M), `[Q]`.
        sd: standard deviation of a new measurement, its error included, `[Q]`.
    """

    mean: Row
    sd: Row

    def interval(self, level: float) -> tuple[Row, Row]:
        """Bounds `[Q]` of ln(Kd / M) that hold the central `level` of the probability."""
        half = ndtri(0.5 + level / 2) * self.sd
        return self.mean - half, self.mean + half

    def Kd_nM(self, level: float = 0.95) -> tuple[Row, Row, Row]:  # noqa: N802 - the field's spelling
        """Median and central interval of Kd [nM], `[Q]` each."""
        low, high = self.interval(level)
        nanomolar = factor("M", "nM")
        return np.exp(self.mean) * nanomolar, np.exp(low) * nanomolar, np.exp(high) * nanomolar


class Predictor(Protocol):
    """Anything that learns affinities of structures."""

    @classmethod
    def fit(cls, smiles: Sequence[str], ln_Kd: Sequence[float] | NDArray[np.floating[Any]]) -> Self:
        """Learn from compounds `[N]` and their ln(Kd / M) `[N]`."""
        ...

    def predict(self, smiles: Sequence[str]) -> Prediction:
        """What to expect of these compounds `[Q]`."""
        ...


def ln_molar(nM: Sequence[float] | NDArray[np.floating[Any]]) -> Row:
    """ln(c / M) of concentrations [nM], e.g. of measured IC50s. Raises `InputError` where one is not above 0."""
    values = np.asarray(nM, dtype=np.float64)
    if not (np.isfinite(values) & (values > 0)).all():
        raise InputError(f"concentrations {values.tolist()} nM; expected finite numbers above 0.")
    return np.log(values * factor("nM", "M"))


def lesson(
    smiles: Sequence[str], ln_Kd: Sequence[float] | NDArray[np.floating[Any]], *, fewest: int = FEWEST
) -> tuple[tuple[str, ...], Row]:
    """Compounds and values, checked.

    Raises:
        InputError: a malformed SMILES, too few compounds, one twice, lengths that differ, or a value not finite.
    """
    values = np.array(ln_Kd, dtype=np.float64)
    if values.shape != (len(smiles),):
        raise InputError(
            f"{len(smiles)} compounds and values of shape {values.shape}; expected one value per compound."
        )
    if len(smiles) < fewest:
        raise InputError(f"{len(smiles)} compounds to learn from; expected at least {fewest}: measure more.")
    seen: dict[str, int] = {}
    for position, text in enumerate(smiles):
        if not math.isfinite(values[position]):
            raise InputError(
                f"compound {position + 1} ({text}): ln(Kd / M) is {values[position]}; expected a finite number; "
                "leave out what was not measured."
            )
        first = seen.setdefault(canonical(text), position)
        if first != position:
            raise InputError(
                f"compounds {first + 1} and {position + 1} are the same molecule ({text}); "
                "keep one, with the mean of its logarithms."
            )
    return tuple(smiles), values
