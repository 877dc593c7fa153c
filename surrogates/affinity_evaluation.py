"""How well affinities are predicted, leave-one-out: the Gaussian process beside mean, nearest neighbour and charge.

Every predictor learns everything anew without the compound it is asked for, its variances included, so nothing leaks.
Legend: `N` compounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

from surrogates.affinity import ASSAY_ERROR_LOG10, AffinityModel
from surrogates.affinity_prediction import FEWEST, Prediction, Predictor, Row, lesson
from surrogates.baseline import ChargeLine, MeanAffinity, NearestNeighbour
from twin.errors import InputError

LEVELS = (0.5, 0.8, 0.95)
"""Intervals whose coverage is counted."""

KCAL_PER_MOL_K = 1.987204258640832e-3  # the gas constant, CODATA 2018
TEMPERATURE_K = 298.15
"""At which free energies are stated, ΔG = RT ln(Kd / M)."""

BASELINES: Mapping[str, type[Predictor]] = {
    "mean": MeanAffinity,
    "nearest neighbour": NearestNeighbour,
    "charge only": ChargeLine,
}

GAUSSIAN_PROCESS = "Gaussian process"


@dataclass(frozen=True)
class Coverage:
    """How many measured values fell into intervals that promise `level`.

    Args:
        level: promised share.
        inside, of: counted.
        low, high: true shares that the count does not contradict (Clopper and Pearson 1934, 95 %).
    """

    level: float
    inside: int
    of: int
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """A predictor's answers to compounds it had not seen.

    Args:
        predictor: its name.
        ln_Kd: measured ln(Kd / M), `[N]`.
        prediction: `[N]` each.
        ranks: False where it predicts one value for all. Left out in turn, such a predictor would rank compounds
            backwards, since the mean of the others falls as the value left out rises: nothing of it is worth showing.
    """

    predictor: str
    ln_Kd: Row  # noqa: N815 - the field's spelling
    prediction: Prediction
    ranks: bool = True

    @property
    def error_log10(self) -> Row:
        """Predicted minus measured, in decades, `[N]`."""
        return (self.prediction.mean - self.ln_Kd) / math.log(10.0)

    @property
    def rmse_log10(self) -> float:
        """Root mean square error in decades."""
        return math.sqrt(np.mean(self.error_log10**2))

    @property
    def mae_log10(self) -> float:
        """Mean absolute error in decades."""
        return float(np.mean(np.abs(self.error_log10)))

    @property
    def rmse_kcal_mol(self) -> float:
        """Root mean square error of ΔG [kcal/mol] at 298.15 K."""
        return kcal_per_mol(self.rmse_log10)

    @property
    def mae_kcal_mol(self) -> float:
        """Mean absolute error of ΔG [kcal/mol] at 298.15 K."""
        return kcal_per_mol(self.mae_log10)

    @property
    def spearman(self) -> float:
        """Rank correlation of predicted with measured; NaN where nothing is ranked."""
        if not self.ranks or np.ptp(self.ln_Kd) == 0 or np.ptp(self.prediction.mean) == 0:
            return math.nan
        return float(np.corrcoef(rankdata(self.prediction.mean), rankdata(self.ln_Kd))[0, 1])

    def coverage(self, level: float) -> Coverage:
        """How many measured values fell into the central `level` of what was predicted."""
        low, high = self.prediction.interval(level)
        inside, of = int(np.sum((low <= self.ln_Kd) & (self.ln_Kd <= high))), len(self.ln_Kd)
        bounds = binomtest(inside, of).proportion_ci(0.95, method="exact")
        return Coverage(level, inside, of, float(bounds.low), float(bounds.high))


@dataclass(frozen=True, eq=False)
class AffinityEvaluation:
    """The Gaussian process beside its baselines, on the same compounds left out in turn.

    Args:
        smiles: the compounds `[N]`.
        ln_Kd: their measured ln(Kd / M), `[N]`.
        runs: one per predictor, the Gaussian process first.
        similarity: of each compound to the most similar other one, `[N]`.
    """

    smiles: tuple[str, ...]
    ln_Kd: Row  # noqa: N815
    runs: tuple[LeaveOneOut, ...]
    similarity: Row

    @classmethod
    def of(
        cls,
        smiles: Sequence[str],
        ln_Kd: Sequence[float] | NDArray[np.floating[Any]],
        *,
        assay_error_log10: float = ASSAY_ERROR_LOG10,
    ) -> AffinityEvaluation:
        """Leave out each compound in turn.

        Args:
            smiles: structures `[N]`, at least four.
            ln_Kd: measured ln(Kd / M), `[N]`.
            assay_error_log10: of the Gaussian process: standard deviation of a measured log10 Kd.

        Raises:
            InputError: as `AffinityModel.fit`, or fewer than four compounds.
        """
        known, values = lesson(smiles, ln_Kd, fewest=FEWEST + 1)
        model = AffinityModel.fit(known, values, assay_error_log10=assay_error_log10)
        runs = [LeaveOneOut(GAUSSIAN_PROCESS, values, model.leave_one_out())]
        for name, baseline in BASELINES.items():
            flat = np.ptp(baseline.fit(known, values).predict(known).mean) == 0
            runs.append(LeaveOneOut(name, values, leave_one_out(baseline, known, values), ranks=not flat))
        others = model.similarity_NN - 2 * np.eye(len(known))
        return cls(known, values, tuple(runs), others.max(axis=1))

    def __getitem__(self, predictor: str) -> LeaveOneOut:
        for run in self.runs:
            if run.predictor == predictor:
                return run
        raise InputError(f"no predictor {predictor!r}; there are {', '.join(run.predictor for run in self.runs)}.")

    def closer(self, than: str) -> tuple[int, float]:
        """For how many compounds the Gaussian process is closer than another predictor, and the two-sided p of a sign test."""
        ours, theirs = np.abs(self[GAUSSIAN_PROCESS].error_log10), np.abs(self[than].error_log10)
        wins, ties = int(np.sum(ours < theirs)), int(np.sum(ours == theirs))
        counted = len(ours) - ties
        return wins, float(binomtest(wins, counted).pvalue) if counted else 1.0

    @property
    def limits(self) -> str:
        """What these numbers cannot say, in two sentences."""
        widest = max((self[GAUSSIAN_PROCESS].coverage(level) for level in LEVELS), key=lambda c: c.high - c.low)
        outer = self[GAUSSIAN_PROCESS].coverage(LEVELS[-1])
        verb = "cannot certify" if widest.high - widest.low > 0.1 else "bound"
        return (
            f"{outer.of} compounds {verb} coverage: the {100 * outer.level:.0f} % interval held {outer.inside} of "
            f"{outer.of}, which fits a true coverage from {100 * outer.low:.0f} to {100 * outer.high:.0f} %. "
            f"Each left-out compound has relatives among the others (similarity to the nearest "
            f"{self.similarity.min():.2f}-{self.similarity.max():.2f}), so nothing here speaks of other chemistry."
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text, ready for JSON; what is not defined is None."""
        return {
            "compounds": len(self.smiles),
            "limits": self.limits,
            "temperature_K": TEMPERATURE_K,
            "predictors": {
                run.predictor: {
                    "rmse_log10": run.rmse_log10,
                    "mae_log10": run.mae_log10,
                    "rmse_kcal_mol": run.rmse_kcal_mol,
                    "mae_kcal_mol": run.mae_kcal_mol,
                    "spearman": None if math.isnan(run.spearman) else run.spearman,
                    "coverage": [vars(run.coverage(level)) for level in LEVELS],
                }
                for run in self.runs
            },
            "closer_than": {
                name: dict(zip(("compounds", "sign_test_p"), self.closer(name), strict=True)) for name in BASELINES
            },
        }


def leave_one_out(
    predictor: type[Predictor], smiles: Sequence[str], ln_Kd: Sequence[float] | NDArray[np.floating[Any]]
) -> Prediction:
    """Each compound predicted by a predictor that learned from all others, `[N]`: plain, slow and the same for all.

    Raises:
        InputError: as the predictor's `fit`, or fewer than four compounds.
    """
    known, values = lesson(smiles, ln_Kd, fewest=FEWEST + 1)
    means, sds = np.empty(len(known)), np.empty(len(known))
    for i, left_out in enumerate(known):
        fitted = predictor.fit([*known[:i], *known[i + 1 :]], np.delete(values, i))
        (means[i],), (sds[i],) = fitted.predict([left_out])
    return Prediction(means, sds)


def kcal_per_mol(decades: float) -> float:
    """ΔG [kcal/mol] at 298.15 K of so many decades of Kd."""
    return KCAL_PER_MOL_K * TEMPERATURE_K * math.log(10.0) * decades
