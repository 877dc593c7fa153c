"""What a learned affinity must beat: the mean, the nearest neighbour, and a line through formal charge.

Each has an interval of its own, so that coverage compares as well as error. Legend: `N` training compounds, `Q` asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from surrogates.affinity_prediction import Prediction, Row, lesson
from surrogates.fingerprint import Fingerprint, fingerprint, formal_charge, molecule, similarity

Values = Sequence[float] | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class MeanAffinity:
    """Every compound binds like the mean of the training compounds.

    Args:
        mean: of ln(Kd / M).
        sd: of a new value, the mean's own error included.
    """

    mean: float
    sd: float

    @classmethod
    def fit(cls, smiles: Sequence[str], ln_Kd: Values) -> Self:
        """Learn from compounds `[N]` and their ln(Kd / M) `[N]`; raises `InputError` as `AffinityModel.fit`."""
        known, values = lesson(smiles, ln_Kd)
        return cls(float(values.mean()), float(values.std(ddof=1)) * math.sqrt(1 + 1 / len(known)))

    def predict(self, smiles: Sequence[str]) -> Prediction:
        """The same for all compounds `[Q]`."""
        for text in smiles:
            molecule(text)
        return Prediction(np.full(len(smiles), self.mean), np.full(len(smiles), self.sd))


@dataclass(frozen=True, eq=False)
class NearestNeighbour:
    """Every compound binds like the training compound it resembles most; like the mean of those, where several tie.

    Args:
        fingerprints: of the training compounds `[N]`.
        ln_Kd: of the training compounds `[N]`.
        sd: root mean square error of the same rule among the training compounds.
    """

    fingerprints: tuple[Fingerprint, ...]
    ln_Kd: Row  # noqa: N815 - the field's spelling
    sd: float

    @classmethod
    def fit(cls, smiles: Sequence[str], ln_Kd: Values) -> Self:
        """Learn from compounds `[N]` and their ln(Kd / M) `[N]`; raises `InputError` as `AffinityModel.fit`."""
        known, values = lesson(smiles, ln_Kd)
        prints = tuple(fingerprint(text) for text in known)
        among = similarity(prints, prints)
        np.fill_diagonal(among, -1.0)  # nobody is its own neighbour
        return cls(prints, values, math.sqrt(np.mean((_of_nearest(among, values) - values) ** 2)))

    def predict(self, smiles: Sequence[str]) -> Prediction:
        """Values of the nearest neighbours of these compounds `[Q]`."""
        alike = similarity([fingerprint(text) for text in smiles], self.fingerprints)
        return Prediction(_of_nearest(alike, self.ln_Kd), np.full(len(smiles), self.sd))


def _of_nearest(similarity_QN: NDArray[np.float64], ln_Kd: Row) -> Row:
    # similarities are ratios of whole numbers: those of ties are equal to the bit
    return np.array([ln_Kd[row == row.max()].mean() for row in similarity_QN])


@dataclass(frozen=True)
class ChargeLine:
    """ln Kd on a straight line through formal charge, by least squares.

    Args:
        mean, mean_charge: of the training compounds.
        slope: ln Kd per unit charge; 0 where all training compounds have one charge.
        variance: of a value about the line.
        compounds: N.
        charge_scatter: Σ (charge - mean charge)² of the training compounds.
    """

    mean: float
    mean_charge: float
    slope: float
    variance: float
    compounds: int
    charge_scatter: float

    @classmethod
    def fit(cls, smiles: Sequence[str], ln_Kd: Values) -> Self:
        """Learn from compounds `[N]` and their ln(Kd / M) `[N]`; raises `InputError` as `AffinityModel.fit`."""
        known, values = lesson(smiles, ln_Kd)
        charges = np.array([formal_charge(text) for text in known], dtype=np.float64)
        off, mean = charges - charges.mean(), values.mean()
        scatter = float(off @ off)
        slope = float(off @ (values - mean) / scatter) if scatter > 0 else 0.0
        rest = values - mean - slope * off
        freedom = len(known) - (2 if scatter > 0 else 1)
        return cls(float(mean), float(charges.mean()), slope, float(rest @ rest / freedom), len(known), scatter)

    def predict(self, smiles: Sequence[str]) -> Prediction:
        """Values of the line at the charges of these compounds `[Q]`."""
        off = np.array([formal_charge(text) for text in smiles], dtype=np.float64) - self.mean_charge
        leverage = off**2 / self.charge_scatter if self.charge_scatter > 0 else np.zeros(len(off))
        return Prediction(self.mean + self.slope * off, np.sqrt(self.variance * (1 + 1 / self.compounds + leverage)))
