"""Affinity from structure: a Gaussian process over fingerprints, from SMILES to ln Kd with an interval.

    ln Kd(x) = β + f(x) + ε,   f ~ GP(0, a K),   ε ~ N(0, s)

K is the similarity of count fingerprints, a and s the variances of signal and noise. β, the constant kernel, has a flat
prior, as has every level of affinity before anything is measured: it is integrated out (Rasmussen and Williams 2006,
eqs 2.41-2.45 with B⁻¹ = 0), and a, s maximise what is left, the restricted marginal likelihood (Patterson and Thompson
1971, Biometrika 58:545). The noise is at least the assay's error: a small series cannot show that it measures better.
No weights are downloaded, nothing is drawn. Legend: `N` training compounds, `Q` compounds asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, helmert
from scipy.optimize import minimize

from surrogates.affinity_prediction import FEWEST, Prediction, Row, lesson
from surrogates.fingerprint import Fingerprint, fingerprint, similarity
from twin.errors import InputError

ASSAY_ERROR_LOG10 = 0.2
"""Standard deviation of a measured log10 IC50 about its own mean, unless told otherwise."""

LEAST_ERROR_LOG10 = 0.01
"""No assay is better than 2 %, and the covariance stays well conditioned where two compounds have one fingerprint."""


@dataclass(frozen=True, eq=False)
class AffinityModel:
    """A fitted Gaussian process; make it with `AffinityModel.fit`.

    Args:
        smiles: training compounds `[N]`.
        ln_Kd: their ln(Kd / M), `[N]`.
        similarity_NN: their similarities `[N, N]`.
        signal_variance: a, of f at any compound.
        noise_variance: s, of a measurement about β + f; at least `noise_floor`.
        noise_floor: the assay's own variance.
    """

    smiles: tuple[str, ...]
    ln_Kd: Row  # noqa: N815 - the field's spelling
    similarity_NN: NDArray[np.float64]  # noqa: N815 - a shape suffix
    signal_variance: float
    noise_variance: float
    noise_floor: float

    @classmethod
    def fit(
        cls,
        smiles: Sequence[str],
        ln_Kd: Sequence[float] | NDArray[np.floating[Any]],
        *,
        assay_error_log10: float = ASSAY_ERROR_LOG10,
    ) -> Self:
        """Learn from compounds `[N]` and their ln(Kd / M) `[N]`.

        Args:
            smiles: structures, protonated as they are to be predicted.
            ln_Kd: natural logarithms of Kd in M (of IC50, where it stands for Kd).
            assay_error_log10: standard deviation of a measured log10 Kd; taken as 0.01 at least.

        Raises:
            InputError: a malformed SMILES, fewer than three compounds, one twice, lengths that differ, or a value that is
                not finite.
        """
        if not (math.isfinite(assay_error_log10) and assay_error_log10 >= 0):
            raise InputError(f"assay error {assay_error_log10} decades; expected a standard deviation, 0 or above.")
        known, values = lesson(smiles, ln_Kd)
        prints = [fingerprint(text) for text in known]
        return cls._fitted(
            known, values, similarity(prints, prints), (max(assay_error_log10, LEAST_ERROR_LOG10) * math.log(10.0)) ** 2
        )

    @classmethod
    def _fitted(cls, smiles: tuple[str, ...], ln_Kd: Row, similarity_NN: NDArray[np.float64], floor: float) -> Self:
        signal, noise = _variances(similarity_NN, ln_Kd, floor)
        return cls(smiles, ln_Kd, similarity_NN, signal, noise, floor)

    def predict(self, smiles: Sequence[str]) -> Prediction:
        """ln(Kd / M) expected of a measurement of these compounds `[Q]`, in the assay of the training data.

        Far from all training compounds the mean is the series' level and the spread `prior_sd` or a little more, as the
        level is uncertain too.

        Raises:
            InputError: a malformed SMILES.
        """
        return self._posterior(self._similarity_to(smiles))

    def nearest(self, smiles: Sequence[str]) -> Row:
        """Highest similarity of each of these compounds to a training compound, `[Q]`: near 0 nothing is known of it."""
        return self._similarity_to(smiles).max(axis=1)

    def leave_one_out(self) -> Prediction:
        """Each training compound predicted from all others, `[N]`: the variances are learned anew without it."""
        if len(self.smiles) <= FEWEST:
            raise InputError(f"{len(self.smiles)} compounds: leaving one out needs more than {FEWEST}; measure more.")
        means, sds = np.empty(len(self.smiles)), np.empty(len(self.smiles))
        for i in range(len(self.smiles)):
            kept = np.delete(np.arange(len(self.smiles)), i)
            others = self._fitted(
                tuple(self.smiles[j] for j in kept),
                self.ln_Kd[kept],
                self.similarity_NN[np.ix_(kept, kept)],
                self.noise_floor,
            )
            (means[i],), (sds[i],) = others._posterior(self.similarity_NN[[i]][:, kept])
        return Prediction(means, sds)

    def leave_one_out_with_these_variances(self) -> Prediction:
        """As `leave_one_out`, but with the variances learned from all, `[N]`: a little of each compound leaks.

        Closed form, one inverse for all compounds (Dubrule 1983, Math. Geol. 15:687; without β, Rasmussen and Williams
        2006, eq 5.12): with Q = C⁻¹ - C⁻¹1 (1ᵀC⁻¹1)⁻¹ 1ᵀC⁻¹, the mean is y_i - (Qy)_i / Q_ii and the variance 1 / Q_ii.
        """
        inverse = cho_solve(self._factor, np.eye(len(self.smiles)))
        to_level = inverse.sum(axis=1)
        projected = inverse - np.outer(to_level, to_level) / to_level.sum()
        precision = np.diag(projected)
        return Prediction(self.ln_Kd - projected @ self.ln_Kd / precision, 1 / np.sqrt(precision))

    @property
    def prior_sd(self) -> float:
        """Standard deviation of a measurement of a compound that resembles none, its level given."""
        return math.sqrt(self.signal_variance + self.noise_variance)

    @property
    def level(self) -> float:
        """β, the series' level of ln(Kd / M)."""
        return float(self._to_level @ self.ln_Kd / self._to_level.sum())

    @property
    def log_restricted_likelihood(self) -> float:
        """Logarithm of the restricted marginal likelihood at these variances, without its constant."""
        roots, loads = _spectrum(self.similarity_NN, self.ln_Kd)
        return -float(_cost(math.log(self.signal_variance), math.log(self.noise_variance), roots, loads))

    @cached_property
    def _factor(self) -> tuple[NDArray[np.float64], bool]:
        covariance = self.signal_variance * self.similarity_NN + self.noise_variance * np.eye(len(self.smiles))
        return cho_factor(covariance, lower=True)

    @cached_property
    def _to_level(self) -> Row:
        """C⁻¹1."""
        return cho_solve(self._factor, np.ones(len(self.smiles)))

    @cached_property
    def _weights(self) -> Row:
        """C⁻¹(y - β)."""
        return cho_solve(self._factor, self.ln_Kd - self.level)

    @cached_property
    def _fingerprints(self) -> tuple[Fingerprint, ...]:
        return tuple(fingerprint(text) for text in self.smiles)

    def _similarity_to(self, smiles: Sequence[str]) -> NDArray[np.float64]:
        """`[Q, N]`."""
        return similarity([fingerprint(text) for text in smiles], self._fingerprints)

    def _posterior(self, similarity_QN: NDArray[np.float64]) -> Prediction:
        means, sds = np.empty(len(similarity_QN)), np.empty(len(similarity_QN))
        # one at a time: a product of matrices could differ in the last bits with the number of compounds asked for
        for q, row in enumerate(similarity_QN):
            covariance = self.signal_variance * row
            explained = covariance @ cho_solve(self._factor, covariance)
            unsure_level = (1.0 - covariance @ self._to_level) ** 2 / self._to_level.sum()
            means[q] = self.level + covariance @ self._weights
            sds[q] = math.sqrt(self.signal_variance - explained + unsure_level + self.noise_variance)
        return Prediction(means, sds)


def _variances(similarity_NN: NDArray[np.float64], ln_Kd: Row, floor: float) -> tuple[float, float]:
    """Signal and noise variance of highest restricted likelihood: the best of a fixed grid, then refined from there."""
    roots, loads = _spectrum(similarity_NN, ln_Kd)
    scale = max(float(np.var(ln_Kd)), floor)
    signals = np.log(scale) + np.log(10.0) * np.linspace(-4, 3, 29)
    noises = np.linspace(math.log(floor), math.log(100 * scale), 25)
    costs = _cost(signals[:, None], noises[None, :], roots, loads)
    i, j = np.unravel_index(int(np.argmin(costs)), costs.shape)
    found = minimize(
        lambda p: (float(_cost(p[0], p[1], roots, loads)), _slope(p[0], p[1], roots, loads)),
        x0=np.array([signals[i], noises[j]]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(signals[0], signals[-1]), (noises[0], noises[-1])],
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    best = found.x if found.fun <= costs[i, j] else np.array([signals[i], noises[j]])
    return math.exp(best[0]), max(math.exp(best[1]), floor)


def _spectrum(similarity_NN: NDArray[np.float64], ln_Kd: Row) -> tuple[Row, Row]:
    """Eigenvalues `[N-1]` of K among contrasts, which know nothing of β, and the values' squared loads on them `[N-1]`."""
    contrasts = helmert(len(ln_Kd))
    roots, vectors = np.linalg.eigh(contrasts @ similarity_NN @ contrasts.T)
    return np.clip(roots, 0.0, None), (vectors.T @ (contrasts @ ln_Kd)) ** 2


def _cost(log_signal: Any, log_noise: Any, roots: Row, loads: Row) -> NDArray[np.float64]:
    """Minus log restricted likelihood without its constant; broadcasts over variances."""
    variances = np.exp(log_signal)[..., None] * roots + np.exp(log_noise)[..., None]
    return 0.5 * (np.log(variances) + loads / variances).sum(axis=-1)


def _slope(log_signal: float, log_noise: float, roots: Row, loads: Row) -> Row:
    """Derivatives of the cost by both logarithms, `[2]`."""
    signal, noise = math.exp(log_signal), math.exp(log_noise)
    variances = signal * roots + noise
    by_variance = 0.5 * (1 / variances - loads / variances**2)
    return np.array([(by_variance * signal * roots).sum(), noise * by_variance.sum()])
