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

from scenarios.laplace import Laplace, Problem, best_scales
from twin.seeds import stream

Floats = NDArray[np.float64]


_OPEN = 10.0  # eigenvalue of J'J in prior widths below which a direction is explored on its own


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
        iterations: int = 10,
        on_move: Callable[[str, Floats], None] | None = None,
    ) -> PerturbedFits:
        """Fit `draws` times: along open directions one by one, then by damped Gauss-Newton steps; the Jacobian starts as
        the best fit's and follows by Broyden's formula. A draw that does not get nearer keeps what it has; see `excess`.

        Args:
            on_move: called after each move with what was done and the costs `[D]`.
        """
        fits = _Fits(problem, laplace, draws=draws, seed=seed)
        tell = on_move or (lambda what, cost: None)
        for number in range(len(fits.open)):
            fits.explore(number)
            tell(f"open direction {number + 1} of {len(fits.open)}", fits.cost)
        for number in range(iterations):
            fits.step(number)
            tell(f"step {number + 1} of {iterations}", fits.cost)
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
        self.damping = np.ones((draws, 2))  # of the two kinds of step
        squares, directions = np.linalg.eigh(slope.T @ slope)
        self.open = directions.T[squares < _OPEN]  # ascending: the most open first
        ideal = np.linalg.solve(slope.T @ slope + np.eye(free), (-self.misfit @ slope + self.prior).T).T
        self.promised = ((self.misfit + ideal @ slope.T) ** 2).sum(axis=1) + ((ideal - self.prior) ** 2).sum(axis=1)

    def _cost(self, u: Floats) -> tuple[Floats, Floats]:
        """(cost `[D]`, residuals over noise `[D, R]`); infinite where the model cannot be run."""
        model = self.problem.simulate(self.laplace.best + self.laplace.prior_sd * u)
        _, scaled = best_scales(self.problem, model, self.target)
        misfit = (scaled - self.target) / self.noise
        cost = (misfit**2).sum(axis=1) + ((u[:, self.free] - self.prior) ** 2).sum(axis=1)
        return np.where(np.isfinite(cost), cost, np.inf), misfit

    def explore(self, number: int) -> None:
        """Try to move every fit along one direction that the data leave nearly open. Joint steps there are cut short by
        the one direction that bends most; stiff directions are left to `step`, which is good at them alone."""
        along = self.open[number]
        moves = np.zeros_like(self.u)
        for i in range(len(moves)):
            slope = self.jacobian[i] @ along
            downhill = -slope @ self.misfit[i] + (self.prior[i] - self.u[i, self.free]) @ along
            moves[i, self.free] = along * downhill / (slope @ slope + 1.0)
        self._try(np.clip(self.u + moves, self.low, self.high))

    def step(self, number: int) -> None:
        """One damped Gauss-Newton step of every fit, kept where the cost falls.

        Damping is by turns of steps in prior widths, which lets parameters move that are stiff each and free together
        (the factors of a product), and of each parameter by its own stiffness (Marquardt's), which lets free ones move.
        """
        kind = number % 2
        trial = self.u.copy()
        for i in range(len(trial)):
            trial[i, self.free] = self._trial(i, own_stiffness=kind == 1, damping=self.damping[i, kind])
        self.damping[:, kind] *= np.where(self._try(trial), 0.2, 4.0)

    def _try(self, trial: Floats) -> NDArray[np.bool_]:
        """Which fits fall in cost `[D]`; those move. All learn from it (Broyden 1965)."""
        cost, misfit = self._cost(trial)
        for i in range(len(trial)):
            move = (trial[i] - self.u[i])[self.free]
            if np.isfinite(misfit[i]).all() and move @ move > 0:
                wrong = misfit[i] - self.misfit[i] - self.jacobian[i] @ move
                self.jacobian[i] += np.outer(wrong, move) / (move @ move)
        nearer = cost < self.cost
        self.u[nearer], self.cost[nearer], self.misfit[nearer] = trial[nearer], cost[nearer], misfit[nearer]
        return nearer

    def _trial(self, i: int, *, own_stiffness: bool, damping: float) -> Floats:
        """Where one fit's damped step leads, within the bounds: what lies on a bound and is drawn outward stays there."""
        u, low, high = self.u[i, self.free], self.low[self.free], self.high[self.free]
        jacobian = self.jacobian[i]
        downhill = -jacobian.T @ self.misfit[i] + self.prior[i] - u
        inside = ((u > low) | (downhill > 0)) & ((u < high) | (downhill < 0))
        curvature = jacobian[:, inside].T @ jacobian[:, inside] + np.eye(int(inside.sum()))
        curvature += damping * (np.diag(np.diag(curvature)) if own_stiffness else np.eye(len(curvature)))
        move = np.zeros_like(u)
        move[inside] = np.linalg.solve(curvature, downhill[inside])
        return np.clip(u + move, low, high)

    def rise(self) -> Floats:
        """Chi2 to the true data above the best fit's, over the inflated noise `[D]`."""
        model = self.problem.simulate(self.laplace.best + self.laplace.prior_sd * self.u)
        _, scaled = best_scales(self.problem, model, np.broadcast_to(self.problem.measured, model.shape))
        chi2 = (((scaled - self.problem.measured) / self.problem.noise) ** 2).sum(axis=1)
        return (chi2 - self.laplace.chi2) / self.laplace.inflation
