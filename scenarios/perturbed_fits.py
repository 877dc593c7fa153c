"""Joint draws of what data leave open: each is a fit of its own, to data and best values perturbed by their noise.

Where the model is linear, such fits are draws from the posterior, exactly; where it is not, they follow its curved valleys,
which draws from a Gaussian leave at once (randomise-then-optimise: Bardsley, Solonen, Haario & Laine 2014). Here without
their weights. Legend: `D` draws, `P` parameters, `R` measured points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenarios.fit import reflected
from scenarios.laplace import Laplace, Problem, best_scales
from twin.seeds import stream

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PerturbedFits:
    """Draws around a best fit.

    Attributes:
        shifts: distance from the best fit, each parameter on its scale, within its bounds `[D, P]`.
        rise: how much worse than the best fit each draw fits the true data: difference of chi2 over the inflated noise
            `[D]`. Draws from a linear model's posterior rise by about `Laplace.constrained`.
        excess: how far each fit is from the least cost that the linear model promises `[D]`.
    """

    shifts: Floats
    rise: Floats
    excess: Floats

    @classmethod
    def make(
        cls,
        problem: Problem,
        laplace: Laplace,
        *,
        draws: int,
        seed: int,
        iterations: int = 8,
        on_iteration: Callable[[int, Floats], None] | None = None,
    ) -> PerturbedFits:
        """Fit `draws` times: a whole Gauss-Newton step, which ends the fit of a linear model, and damped ones whose
        Jacobian is kept up to date by Broyden's formula.

        A draw that does not get nearer keeps what it has; see `excess`.

        Args:
            on_iteration: called with the number of the iteration and the costs `[D]`.
        """
        fits = _Fits(problem, laplace, draws=draws, seed=seed)
        fits.leap()
        for number in range(iterations):
            fits.step()
            if on_iteration is not None:
                on_iteration(number + 1, fits.cost)
        return cls(fits.u * laplace.prior_sd, fits.rise(), fits.cost - fits.promised)


class _Fits:
    """The state of all fits. `u`: parameters in prior standard deviations from the best fit; parameters that no point
    depends on stay at 0."""

    def __init__(self, problem: Problem, laplace: Laplace, *, draws: int, seed: int) -> None:
        self.problem, self.laplace = problem, laplace
        self.noise = problem.noise * np.sqrt(laplace.inflation)
        bounds = np.array([p.bounds for p in problem.parameters])
        self.low, self.high = (bounds - laplace.best[:, None]).T / laplace.prior_sd
        self.free = laplace.reached
        slope, free = laplace.slope[:, self.free], int(self.free.sum())
        scores = np.stack(
            [stream(seed, "perturbed fit", i).standard_normal(len(self.noise) + free) for i in range(1, draws + 1)]
        )
        self.target = laplace.fitted + self.noise * scores[:, : len(self.noise)]
        self.prior = scores[:, len(self.noise) :]
        self.u = np.zeros((draws, len(laplace.best)))
        self.cost, self.misfit = self._cost(self.u)
        self.jacobian = np.repeat(slope[None], draws, axis=0)
        self.damping = np.ones(draws)
        ideal = np.linalg.solve(slope.T @ slope + np.eye(free), (-self.misfit @ slope + self.prior).T).T
        self.promised = ((self.misfit + ideal @ slope.T) ** 2).sum(axis=1) + ((ideal - self.prior) ** 2).sum(axis=1)

    def _cost(self, u: Floats) -> tuple[Floats, Floats]:
        """(cost `[D]`, residuals over noise `[D, R]`); infinite where the model cannot be run."""
        model = self.problem.simulate(self.laplace.best + self.laplace.prior_sd * u)
        _, scaled = best_scales(self.problem, model, self.target)
        misfit = (scaled - self.target) / self.noise
        cost = (misfit**2).sum(axis=1) + ((u[:, self.free] - self.prior) ** 2).sum(axis=1)
        return np.where(np.isfinite(cost), cost, np.inf), misfit

    def leap(self) -> None:
        """One whole step of every fit; kept where the cost falls, else forgotten: so far away it says nothing of here."""
        trial = self._trial(np.zeros(len(self.u)))
        cost, misfit = self._cost(trial)
        self._keep(trial, cost, misfit)

    def step(self) -> None:
        """One damped step of every fit; kept where the cost falls."""
        trial = self._trial(self.damping)
        cost, misfit = self._cost(trial)
        for i in range(len(trial)):
            move = (trial[i] - self.u[i])[self.free]
            if np.isfinite(misfit[i]).all() and move @ move > 0:
                wrong = misfit[i] - self.misfit[i] - self.jacobian[i] @ move
                self.jacobian[i] += np.outer(wrong, move) / (move @ move)
        nearer = self._keep(trial, cost, misfit)
        self.damping = np.where(nearer, self.damping / 3.0, self.damping * 4.0)

    def _trial(self, damping: Floats) -> Floats:
        """Where a step leads, damped in units of each parameter's curvature `[D]`; within the bounds `[D, P]`."""
        trial = self.u.copy()
        for i in range(len(trial)):
            curvature = self.jacobian[i].T @ self.jacobian[i] + np.eye(int(self.free.sum()))
            gradient = -self.jacobian[i].T @ self.misfit[i] + self.prior[i] - self.u[i, self.free]
            damped = curvature + damping[i] * np.diag(np.diag(curvature))
            trial[i, self.free] += np.linalg.solve(damped, gradient)
        return reflected(trial, self.low, self.high)

    def _keep(self, trial: Floats, cost: Floats, misfit: Floats) -> NDArray[np.bool_]:
        """Take what is nearer `[D]`."""
        nearer = cost < self.cost
        self.u[nearer], self.cost[nearer], self.misfit[nearer] = trial[nearer], cost[nearer], misfit[nearer]
        return nearer

    def rise(self) -> Floats:
        """Chi2 to the true data above the best fit's, over the inflated noise `[D]`."""
        model = self.problem.simulate(self.laplace.best + self.laplace.prior_sd * self.u)
        _, scaled = best_scales(self.problem, model, np.broadcast_to(self.problem.measured, model.shape))
        chi2 = (((scaled - self.problem.measured) / self.problem.noise) ** 2).sum(axis=1)
        return (chi2 - self.laplace.chi2) / self.laplace.inflation
