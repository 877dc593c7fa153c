"""How far data pin parameters: the Laplace approximation of a posterior at its best fit.

The likelihood is Gaussian, with an unknown scale for each blot that is taken out (projected: the profile of a factor that
enters linearly, Golub & Pereyra 1973). Its Hessian is Gauss and Newton's, J'J. Legend: `P` parameters, `R` measured points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.petab_parameter import PetabParameter
from twin.errors import ConvergenceError

Floats = NDArray[np.float64]
BEARS = 0.1
"""A point bears on a parameter if one prior standard deviation moves it, to first order, by this share of its noise."""
_REACHED = 1e-3  # of the noise, per prior standard deviation: below it is the rounding of differences, not an effect


class Problem(Protocol):
    """What is fitted. Attributes and shapes as of `PetabFit`."""

    parameters: tuple[PetabParameter, ...]
    measured: Floats
    noise: Floats
    scale_of: NDArray[np.intp]

    def simulate(self, scaled: Floats) -> Floats:
        """The model's value of every point `[M, R]`, before its scale, for parameter vectors `[M, P]` on their scales."""
        ...


@dataclass(frozen=True)
class Laplace:
    """The Gaussian that a posterior is near its best fit.

    Attributes:
        best: the best fit, each parameter on its scale `[P]`.
        prior_sd: standard deviation before the data, on those scales `[P]`.
        fitted: the model's value of each point at the best fit, its blot's scale applied `[R]`.
        chi2: sum of squared residuals over noise at the best fit.
        inflation: variance by which the noise is too small, max(1, chi2 / degrees of freedom): a model that misses its
            points by more than their noise has not earned the certainty of that noise (Birge 1932).
        slope: change of each point in units of the inflated noise for one prior standard deviation of each parameter,
            scales projected out `[R, P]`.
    """

    best: Floats
    prior_sd: Floats
    fitted: Floats
    chi2: float
    inflation: float
    slope: Floats

    @classmethod
    def at_best_fit(cls, problem: Problem, *, step: float = 1e-3) -> Laplace:
        """The approximation at the problem's nominal values.

        Args:
            step: of the central differences, on the parameters' scales.

        Raises:
            ConvergenceError: the model cannot be run near its best fit.
        """
        best = np.array([p.best for p in problem.parameters])
        prior_sd = np.array([p.prior_sd for p in problem.parameters])
        moves = step * np.eye(len(best))
        model = problem.simulate(np.concatenate((best[None], best + moves, best - moves)))
        if not np.isfinite(model).all():
            raise ConvergenceError(
                "the model cannot be run at its best fit, or a small step beside it; loosen the step."
            )
        value, up, down = model[0], model[1 : len(best) + 1], model[len(best) + 1 :]
        scales, _ = best_scales(problem, value[None], problem.measured[None])
        fitted = scales[0] * value
        direction = (value / problem.noise)[:, None]
        slope = (scales[0] / problem.noise)[:, None] * ((up - down) / (2 * step)).T * prior_sd
        slope = slope - direction * _per_blot(problem, direction * slope, direction**2)
        chi2 = float((((fitted - problem.measured) / problem.noise) ** 2).sum())
        inflation = _inflation(chi2, slope, points=len(fitted), scales=int(problem.scale_of.max(initial=-1)) + 1)
        return cls(best, prior_sd, fitted, chi2, inflation, slope / np.sqrt(inflation))

    @property
    def covariance(self) -> Floats:
        """Of the parameters on their scales `[P, P]`; the prior bounds what no point constrains."""
        within = np.linalg.inv(self.slope.T @ self.slope + np.eye(len(self.best)))
        return self.prior_sd[:, None] * within * self.prior_sd

    @property
    def posterior_sd(self) -> Floats:
        """Marginal standard deviations `[P]`."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def constrained(self) -> float:
        """How many parameters' worth of directions the data pin: the trace of the resolution matrix, 0…P."""
        return float(_resolved(np.linalg.eigvalsh(self.slope.T @ self.slope)))

    @property
    def points(self) -> NDArray[np.int64]:
        """Number of points that bear on each parameter `[P]`; see `BEARS`."""
        return (np.abs(self.slope) * np.sqrt(self.inflation) >= BEARS).sum(axis=0)

    @property
    def reached(self) -> NDArray[np.bool_]:
        """Whether any point depends on each parameter once its scale is taken out `[P]`."""
        return (np.abs(self.slope) * np.sqrt(self.inflation) >= _REACHED).any(axis=0)


def best_scales(problem: Problem, model: Floats, target: Floats) -> tuple[Floats, Floats]:
    """The scales that bring model values `[M, R]` nearest to targets `[M, R]`, per point `[M, R]`, and scaled values."""
    weight = 1.0 / problem.noise**2
    over = _per_blot(problem, (weight * model * target).T, (weight * model**2).T).T
    scales = np.where(problem.scale_of < 0, 1.0, over)
    return scales, scales * model


def _per_blot(problem: Problem, above: Floats, below: Floats) -> Floats:
    """Sums over each blot, above / below, given back to its points `[R, …]`; 0 for points without a scale."""
    found = np.zeros(np.broadcast_shapes(above.shape, below.shape))
    for scale in range(int(problem.scale_of.max(initial=-1)) + 1):
        rows = problem.scale_of == scale
        total = below[rows].sum(axis=0)
        found[rows] = np.where(total > 0, above[rows].sum(axis=0) / np.where(total > 0, total, 1.0), 0.0)
    return found


def _inflation(chi2: float, slope: Floats, *, points: int, scales: int) -> float:
    """Fixed point of b = chi2 / (R - G - resolved(b)), at least 1."""
    squares = np.linalg.eigvalsh(slope.T @ slope)
    inflation = 1.0
    for _ in range(50):
        freedom = points - scales - _resolved(squares / inflation)
        inflation = max(1.0, chi2 / freedom) if freedom > 0 else 1.0
    return float(inflation)


def _resolved(squares: NDArray[np.floating[Any]]) -> float:
    squares = np.maximum(squares, 0.0)
    return float((squares / (1.0 + squares)).sum())


def steps_agree(one: Laplace, other: Laplace) -> float:
    """Largest difference of the posterior standard deviations of two step sizes, relative."""
    return float(np.max(np.abs(one.posterior_sd / other.posterior_sd - 1.0)))
