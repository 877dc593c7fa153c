"""What data leave open of parameters: closed forms for the Laplace approximation and for fits to perturbed data, and the
command on a small PEtab problem."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import antimony
import numpy as np
import pytest

from scenarios.cli import main
from scenarios.fit import Fit
from scenarios.laplace import Laplace
from scenarios.perturbed_fits import PerturbedFits
from scenarios.petab_fit import PetabFit
from simulators.reaction.petab_parameter import PetabParameter
from twin.errors import ConvergenceError, InputError, UnsupportedFeature

RNG = np.random.default_rng(20)


@dataclass
class Linear:
    """y = X theta, no scale: its posterior is known exactly."""

    design: np.ndarray
    measured: np.ndarray
    noise: np.ndarray
    parameters: tuple[PetabParameter, ...]
    scale_of: np.ndarray

    def simulate(self, scaled: np.ndarray) -> np.ndarray:
        return scaled @ self.design.T


def linear(points: int = 40, residual: float = 0.5) -> Linear:
    """Three parameters; the third moves nothing. Data lie `residual` noises beside the best fit, across the model."""
    design = np.c_[RNG.standard_normal((points, 2)), np.zeros(points)]
    best = np.array([1.0, -2.0, 0.5])
    across = RNG.standard_normal(points)
    across -= design[:, :2] @ np.linalg.lstsq(design[:, :2], across, rcond=None)[0]
    noise = np.full(points, 0.3)
    measured = design @ best + residual * noise * across * math.sqrt(points) / np.linalg.norm(across)
    bounds = [(-10.0, 10.0), (-8.0, 8.0), (-6.0, 6.0)]
    parameters = tuple(PetabParameter(f"p{i}", "lin", float(b), *bounds[i]) for i, b in enumerate(best))
    return Linear(design, measured, noise, parameters, np.full(points, -1))


def test_laplace_of_a_linear_model_is_its_posterior() -> None:
    problem = linear()
    laplace = Laplace.at_best_fit(problem)
    prior = np.diag([12.0 / (p.upper - p.lower) ** 2 for p in problem.parameters])  # the bounds as a box
    expected = np.linalg.inv(problem.design.T @ problem.design / 0.3**2 + prior)
    assert laplace.inflation == 1.0
    assert laplace.covariance == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert laplace.reached.tolist() == [True, True, False]
    assert laplace.points.tolist()[2] == 0
    assert laplace.posterior_sd[2] == pytest.approx(12.0 / math.sqrt(12.0))


def test_noise_is_inflated_where_the_model_misses_its_points() -> None:
    """chi2 = R * residual^2 by construction; two directions are resolved, all but fully."""
    laplace = Laplace.at_best_fit(linear(points=40, residual=3.0))
    assert laplace.chi2 == pytest.approx(40 * 9.0)
    assert laplace.inflation == pytest.approx(40 * 9.0 / (40 - laplace.constrained), rel=1e-3)
    assert laplace.constrained == pytest.approx(2.0, abs=0.05)


def test_perturbed_fits_of_a_linear_model_are_draws_from_its_posterior() -> None:
    """Randomise-then-optimise is exact there. 600 draws: a standard deviation is known to 1/sqrt(1200) = 3 %."""
    problem = linear()
    laplace = Laplace.at_best_fit(problem)
    fits = PerturbedFits.make(problem, laplace, draws=600, seed=4, iterations=30)
    assert fits.excess == pytest.approx(np.zeros(600), abs=1e-3)
    sd = fits.shifts.std(axis=0)[:2]
    assert sd == pytest.approx(laplace.posterior_sd[:2], rel=0.1)
    assert np.abs(fits.shifts.mean(axis=0)[:2]) == pytest.approx(np.zeros(2), abs=0.2 * sd.max())
    assert (fits.shifts[:, 2] == 0).all()  # no point depends on it
    assert fits.rise.mean() == pytest.approx(2.0, rel=0.15)  # chi2 of two parameters


def test_perturbed_fits_run_the_whole_length_of_a_ridge() -> None:
    """Two stiff parameters that only show as their sum, but for a trace: their difference is as open as its prior, their
    sum known 10⁴ times better. With the usual number of steps the draws' covariance is the posterior's, in every direction:
    whitened, its eigenvalues are 1 within (1 ± sqrt(3 / 600))² (Marchenko and Pastur), 0.86 to 1.15."""
    points = 40
    stiff, other = RNG.standard_normal((2, points))
    design = np.c_[1e3 * stiff, 1e3 * stiff + 0.02 * other, other]
    best, noise = np.array([1.0, -2.0, 0.5]), np.full(points, 0.3)
    parameters = tuple(
        PetabParameter(f"p{i}", "lin", float(b), b - 500.0, b + 500.0, True, "parameterScaleNormal", f"{b};1.0")
        for i, b in enumerate(best)
    )
    problem = Linear(design, design @ best, noise, parameters, np.full(points, -1))
    laplace = Laplace.at_best_fit(problem)
    expected = np.linalg.inv(design.T @ design / 0.3**2 + np.eye(3))
    assert laplace.covariance == pytest.approx(expected, rel=1e-3, abs=1e-6)
    fits = PerturbedFits.make(problem, laplace, draws=600, seed=4)
    assert fits.excess == pytest.approx(np.zeros(600), abs=1e-3)
    half = np.linalg.inv(np.linalg.cholesky(laplace.covariance))
    found = np.linalg.eigvalsh(np.cov(half @ fits.shifts.T))
    assert 0.8 < found.min() <= found.max() < 1.25
    assert fits.shifts.std(axis=0)[:2] == pytest.approx([np.sqrt(0.5)] * 2, rel=0.1)


def test_draws_do_not_depend_on_how_many_are_made() -> None:
    problem = linear()
    laplace = Laplace.at_best_fit(problem)
    few, many = (PerturbedFits.make(problem, laplace, draws=n, seed=4, iterations=6).shifts for n in (3, 9))
    assert many[:3] == pytest.approx(few, rel=1e-9)


def test_model_that_cannot_be_run_is_refused() -> None:
    problem = linear()
    problem.design[0, 0] = math.nan
    with pytest.raises(ConvergenceError, match="cannot be run at its best fit"):
        Laplace.at_best_fit(problem)


# -- PEtab: exponential decay on a blot of unknown scale

K, NOISE, SCALE = 0.2, 0.02, 3.0
TIMES = np.array([0.0, 1.0, 2.0, 4.0, 8.0, 12.0])


def petab(folder: Path, **changes: tuple[str, str]) -> Path:
    """A PEtab problem: dR/dt = -k R, R(0) = 1, seen as scale * R. `changes`: table → (text, replacement)."""
    antimony.clearPreviousLoads()
    model = "model decay\n R = 1; k = 1; idle = 1; dose = 0; J: R -> ; k*R; Z := idle*dose\nend\n"
    assert antimony.loadAntimonyString(model) >= 0
    offsets = np.array([1, -1, 1, -1, 1, -1]) * 0.5 * NOISE
    values = SCALE * np.exp(-K * TIMES) + offsets
    files = {
        "model.xml": antimony.getSBMLString("decay"),
        "conditions.tsv": "conditionId\tdose\nplain\t0\n",
        "observables.tsv": "observableId\tobservableFormula\tnoiseFormula\nblot\tobservableParameter1_blot*R\t"
        "noiseParameter1_blot\n",
        "parameters.tsv": "parameterId\tparameterScale\tlowerBound\tupperBound\tnominalValue\testimate\t"
        "objectivePriorType\tobjectivePriorParameters\n"
        f"k\tlog10\t1e-3\t1e3\t{K}\t1\t\t\nidle\tlog10\t1e-3\t1e3\t1\t1\tparameterScaleNormal\t0;0.4\n"
        f"s\tlog10\t1e-3\t1e3\t{SCALE}\t1\t\t\n",
        "measurements.tsv": "observableId\tsimulationConditionId\tmeasurement\ttime\tobservableParameters\t"
        "noiseParameters\n"
        + "".join(
            f"blot\tplain\t{value!r}\t{time}\ts\t{NOISE}\n"
            for value, time in zip(map(float, values), TIMES, strict=True)
        ),
        "problem.yaml": "format_version: 1\nparameter_file: parameters.tsv\nproblems:\n- condition_files: "
        "[conditions.tsv]\n  measurement_files: [measurements.tsv]\n  observable_files: [observables.tsv]\n  sbml_files: "
        "[model.xml]\n",
    }
    for name, text in files.items():
        old, new = changes.get(name.split(".")[0], ("", ""))
        assert old in text
        (folder / name).write_text(text.replace(old, new) if old else text)
    return folder / "problem.yaml"


def test_decay_rate_on_a_blot_of_unknown_scale(tmp_path: Path) -> None:
    """Closed form: with a = s exp(-k t)/noise, the scale takes out a's own direction; d/d(log10 k) is -ln 10 * k * t * a."""
    laplace = Laplace.at_best_fit(PetabFit.read(petab(tmp_path)))
    a = SCALE * np.exp(-K * TIMES) / NOISE
    slope = -math.log(10.0) * K * TIMES * a
    slope -= a * (a @ slope) / (a @ a)
    width = 6.0 / math.sqrt(12.0)
    assert laplace.inflation == 1.0
    assert laplace.posterior_sd[0] == pytest.approx((slope @ slope + width**-2) ** -0.5, rel=1e-3)
    assert laplace.posterior_sd[1] == pytest.approx((0.4**-2 + width**-2) ** -0.5)
    assert laplace.points.tolist() == [6, 0]


def test_command_writes_tables_that_a_scenario_draws_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem, out, factors = petab(tmp_path), tmp_path / "fit.csv", tmp_path / "draws.csv"
    code = main(["fit-uncertainty", str(problem), "--out", str(out), "--factors", str(factors), "--draws", "40"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "6 points, 1 scales, 2 parameters" in said
    fit = Fit.read(out, factors)
    assert fit.drawn == ("k",)
    assert [p.points for p in fit.parameters] == [6, 0]
    drawn = fit.draw(7, np.arange(41))["k"]
    assert drawn[0] == K
    assert np.log10(drawn[1:]).std() == pytest.approx(fit.parameters[0].posterior_sd, rel=0.4)  # 40 draws: 11 %, curved


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"problem": ("format_version: 1", "format_version: 2.0.0")}, UnsupportedFeature, "PEtab 2.0.0"),
        ({"problem": ("condition_files", "condition_file")}, InputError, "no `condition_files:`"),
        ({"problem": ("conditions.tsv", "condition.tsv")}, InputError, "condition_files names condition.tsv, which is not there"),
        ({"measurements": ("noiseParameters", "noise")}, InputError, "noiseParameters is '', 0 values; expected 1"),
        ({"measurements": ("plain", "plane")}, InputError, "no condition 'plane'; did you mean 'plain'"),
        ({"measurements": (f"\t{NOISE}\n", "\t-1\n")}, InputError, "noiseParameters is -1; expected a value above 0"),
        ({"observables": ("observableParameter1_blot*R", "observableParameter1_blot+R")}, UnsupportedFeature, "blot"),
        ({"observables": ("noiseParameter1_blot", "0.1*R")}, UnsupportedFeature, "noise '0.1\\*R'"),
        ({"parameters": ("parameterScaleNormal", "logNormal")}, UnsupportedFeature, "idle: .* prior 'logNormal'"),
        ({"model": ("<sbml", "<smbl")}, InputError, "SBML"),
    ],
)  # fmt: skip
def test_petab_that_we_do_not_read_is_refused(
    tmp_path: Path, changes: dict[str, tuple[str, str]], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        PetabFit.read(petab(tmp_path, **changes))
