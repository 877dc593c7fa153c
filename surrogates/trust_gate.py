"""When to trust an emulator: a threshold on a score, calibrated so that few of the trusted answers are wrong.

The score foretells the logarithm of an answer's error from signs that need no mechanism (how much the ensemble disagrees,
how far the cell lies from the training cells). Candidate thresholds are fixed before calibration. For each, the share of
wrong answers among those below it is bounded from above by Clopper and Pearson (1934, Biometrika 26:404) at confidence
1 - δ/K, K the number of candidates (Bonferroni), and the largest threshold whose bound is within the risk is taken
(selective classification with guaranteed risk: Geifman and El-Yaniv 2017, arXiv 1705.08500, algorithm 1; there with
binary search in place of fixed candidates). The bound needs independent answers: calibration takes one arm per cell, and
no cell of training. Where no candidate holds, the gate vouches for nobody.

Legend: `M` rows, `N` calibration answers, `J` signs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError

Row = NDArray[np.float64]
Bools = NDArray[np.bool_]

_NEVER = 1e9
_RIDGE = 1e-3
_CANDIDATES = tuple(k / 10 for k in range(1, 11))


@dataclass(frozen=True, eq=False)
class TrustGate:
    """A calibrated decision.

    Args:
        weights: of the signs in the score `[J + 1]`, the last for 1.
        candidates: thresholds, ascending, fixed before calibration.
        scores, errors: of the calibration answers `[N]` each.
        tolerance: error up to which an answer is right.
        risk: share of wrong answers among trusted ones that is allowed.
        confidence: with which the share is within the risk.
    """

    weights: Row
    candidates: tuple[float, ...]
    scores: Row
    errors: Row
    tolerance: float
    risk: float = 0.1
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.scores.shape != self.errors.shape or self.scores.ndim != 1:
            raise InputError(
                f"TrustGate: {self.scores.shape} scores for {self.errors.shape} errors; expected one each."
            )
        for name, value in (("tolerance", self.tolerance), ("risk", self.risk), ("confidence", self.confidence)):
            if not 0 < value < 1:
                raise InputError(f"TrustGate: {name} {value}; expected a share above 0 and below 1.")

    @classmethod
    def learn(cls, signs_MJ: NDArray[np.float64], errors: Row, *, tolerance: float) -> Self:
        """Score and candidates from answers that are neither of training nor of calibration; not yet calibrated."""
        design = _design(signs_MJ)
        aim = np.log10(np.maximum(errors, 1e-6))
        ridge = _RIDGE * len(design) * np.eye(design.shape[1])
        ridge[-1, -1] = 0.0
        weights = np.asarray(np.linalg.solve(design.T @ design + ridge, design.T @ aim), dtype=np.float64)
        scores = (design * weights).sum(axis=1)
        candidates = tuple(float(q) for q in np.quantile(scores, _CANDIDATES))
        return cls(weights, candidates, np.zeros(0), np.zeros(0), tolerance)

    def calibrated(self, scores: Row, errors: Row) -> TrustGate:
        """The gate with these independent answers `[N]`, one per cell, as its calibration."""
        return replace(self, scores=np.asarray(scores), errors=np.asarray(errors))

    def with_tolerance(self, tolerance: float) -> TrustGate:
        """The gate at another tolerance, from the same calibration."""
        return replace(self, tolerance=tolerance)

    def score(self, signs_MJ: NDArray[np.float64]) -> Row:
        """Foretold log10 of the error `[M]`; infinite where a sign is not finite."""
        found = (_design(signs_MJ) * self.weights).sum(axis=1)  # row by row: no bits from the rows around
        return np.where(np.isfinite(signs_MJ).all(axis=1), found, math.inf)

    def vouch(self, scores: Row) -> Bools:
        """Which answers may stand `[M]`."""
        return np.asarray(scores) <= self.threshold

    @cached_property
    def threshold(self) -> float:
        """The largest score that is trusted; minus infinity where nothing can be."""
        fine = [t for t in self.candidates if self.upper_share_wrong(t) <= self.risk]
        return max(fine, default=-math.inf)

    def upper_share_wrong(self, threshold: float) -> float:
        """Upper limit of the share of wrong answers among those trusted at a threshold; 1 where there are none."""
        trusted = self.scores <= threshold
        wrong = int((self.errors[trusted] > self.tolerance).sum())
        return upper_limit(wrong, int(trusted.sum()), confidence=1 - (1 - self.confidence) / len(self.candidates))

    def facts(self) -> Mapping[str, Any]:
        """What is no array, as plain data."""
        return {
            "candidates": list(self.candidates),
            "tolerance": self.tolerance,
            "risk": self.risk,
            "confidence": self.confidence,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays."""
        scores = np.where(np.isinf(self.scores), _NEVER, self.scores)  # a checkpoint holds finite numbers only
        return {"gate.weights": self.weights, "gate.scores": scores, "gate.errors": self.errors}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """From what `facts` and `arrays` gave; raises `TypeError`, `KeyError` or `ValueError` where it is no gate."""
        return cls(
            weights=np.asarray(arrays["gate.weights"], dtype=np.float64),
            candidates=tuple(float(c) for c in facts["candidates"]),
            scores=np.asarray(arrays["gate.scores"], dtype=np.float64),
            errors=np.asarray(arrays["gate.errors"], dtype=np.float64),
            tolerance=float(facts["tolerance"]),
            risk=float(facts["risk"]),
            confidence=float(facts["confidence"]),
        )


def upper_limit(wrong: int, trials: int, *, confidence: float) -> float:
    """One-sided upper limit of a share after Clopper and Pearson 1934; 1 without trials."""
    from scipy.stats import beta

    return 1.0 if wrong >= trials else float(beta.ppf(confidence, wrong + 1, trials - wrong))


def _design(signs_MJ: NDArray[np.float64]) -> NDArray[np.float64]:
    clean = np.where(np.isfinite(signs_MJ), signs_MJ, 0.0)
    return np.concatenate([clean, np.ones((len(clean), 1))], axis=1)
