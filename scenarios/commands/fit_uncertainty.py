"""`twin fit-uncertainty`: from a fit in PEtab to the tables that a scenario draws from."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from scenarios.fit import COLUMNS, reflected
from scenarios.laplace import Laplace, best_scales, steps_agree
from scenarios.perturbed_fits import PerturbedFits
from scenarios.petab_fit import PetabFit
from twin.errors import InputError
from twin.seeds import stream

_DIGITS = 4  # of a shift on its scale: 1e-4 of a decade is 0.02 %


def write(problem: Path, *, out: Path, factors: Path, draws: int, seed: int, model_values: bool) -> None:
    """Write both tables, and tell how good the approximation is.

    Raises:
        InputError: a table that cannot be read or written.
        UnsupportedFeature: PEtab that we do not read.
    """
    for path in (out, factors):
        if not path.parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.parent}; make it first.")
    begun = time.perf_counter()
    fit = PetabFit.read(problem, model_values=model_values)
    laplace = Laplace.at_best_fit(fit)
    free = int(laplace.reached.sum())
    print(f"{problem.name}: {len(fit.measured)} points, {len(fit.scales)} scales, {len(fit.parameters)} parameters")
    print(f"  chi2 {laplace.chi2:.1f}; noise variance taken {laplace.inflation:.2f} times as large")
    print(f"  directions that data pin: {laplace.constrained:.1f} of {len(fit.parameters)}; drawn: {free} parameters")
    change = steps_agree(laplace, Laplace.at_best_fit(fit, step=3e-4))
    print(f"  posterior widths at a step of 1e-3 and of 3e-4 differ by at most {change:.1e}")
    gaussian = _rise_of_gaussian(fit, laplace, draws=min(draws, 50), seed=seed)
    print(f"  chi2 rise of draws from the Gaussian alone: {_quartiles(gaussian)}; expected {laplace.constrained:.1f}")

    def tell(number: int, cost: np.ndarray) -> None:
        print(f"  fits to perturbed data, iteration {number}: median cost {np.median(cost):.1f}", flush=True)

    fits = PerturbedFits.make(fit, laplace, draws=draws, seed=seed, on_iteration=tell)
    print(f"  chi2 rise of the draws: {_quartiles(fits.rise)}; expected {laplace.constrained:.1f}")
    print(f"  cost of the draws above the least of a linear model: {_quartiles(fits.excess)}; 0 in one")
    _write_tables(fit, laplace, fits, name=problem.name, out=out, factors=factors)
    print(f"wrote {out} and {factors} in {time.perf_counter() - begun:.0f} s")


def _rise_of_gaussian(fit: PetabFit, laplace: Laplace, *, draws: int, seed: int) -> np.ndarray:
    """How much worse draws from the Laplace approximation itself fit the data: what the perturbed fits are there to mend."""
    scores = np.stack([stream(seed, "gaussian", i).standard_normal(len(laplace.best)) for i in range(draws)])
    bounds = np.array([p.bounds for p in fit.parameters]).T
    drawn = reflected(laplace.best + scores @ np.linalg.cholesky(laplace.covariance).T, *bounds)
    _, scaled = best_scales(fit, model := fit.simulate(drawn), np.broadcast_to(fit.measured, model.shape))
    return ((((scaled - fit.measured) / fit.noise) ** 2).sum(axis=1) - laplace.chi2) / laplace.inflation


def _quartiles(values: np.ndarray) -> str:
    low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75])
    failed = int(np.isnan(values).sum())
    return f"quartiles {low:.1f}, {middle:.1f}, {high:.1f}" + (f" ({failed} could not be run)" if failed else "")


def _write_tables(fit: PetabFit, laplace: Laplace, fits: PerturbedFits, *, name: str, out: Path, factors: Path) -> None:
    drawn = fits.shifts.std(axis=0)
    lines = [
        "# What a fit leaves open, by `twin fit-uncertainty`: widths on each parameter's scale, before the data (prior and",
        "# bounds), after them (Laplace approximation), and of the draws beside. 0 points: nothing measured bears on it.",
        f"# {name}: chi2 {laplace.chi2:.1f} of {len(fit.measured)} points with {len(fit.scales)} scales; noise variance taken"
        f" {laplace.inflation:.2f} times as large.",
        ",".join(COLUMNS),
    ]
    for i, p in enumerate(fit.parameters):
        widths = f"{laplace.prior_sd[i]:.4g},{laplace.posterior_sd[i]:.4g},{drawn[i]:.4g}"
        lines.append(f"{p.name},{p.scale},{p.nominal!r},{p.lower:g},{p.upper:g},{widths},{laplace.points[i]}")
    columns = np.flatnonzero(laplace.reached)
    rows = [
        f"# Joint draws of a fit, by `twin fit-uncertainty`, one a row: distance from the best values of {out.name}, on its scales.",
        ",".join(fit.parameters[i].name for i in columns),
        *(",".join(f"{value:.{_DIGITS}f}" for value in row[columns]) for row in fits.shifts),
    ]
    for path, text in ((out, lines), (factors, rows)):
        try:
            path.write_text("\n".join(text) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror}); give a file in a folder that exists."
            ) from error
