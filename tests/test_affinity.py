"""Affinity from structure: the Gaussian process against formulas written otherwise, its baselines, and what it may claim."""

from __future__ import annotations

import csv
import itertools
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal, spearmanr, t

from scenarios.cli import main
from surrogates.affinity import AffinityModel
from surrogates.affinity_evaluation import BASELINES, AffinityEvaluation, kcal_per_mol, leave_one_out
from surrogates.affinity_prediction import Prediction, ln_molar
from surrogates.baseline import ChargeLine, MeanAffinity, NearestNeighbour
from surrogates.fingerprint import canonical, fingerprint, formal_charge, molecule, similarity
from tests.shared_data import shared
from twin.errors import InputError

SMALL = ("CCO", "CCCO", "CCN", "CC[NH3+]", "c1ccccc1", "Cc1ccccc1", "Oc1ccccc1", "CC(=O)[O-]")
VALUES = np.array([-9.0, -9.6, -12.0, -13.5, -15.0, -15.9, -16.2, -10.1])

# substituents on two rings: compounds that resemble each other more or less, as a series does
_GROUPS = ("", "C", "CC", "O", "OC", "F", "Cl", "C#N", "N", "C(F)(F)F")
SERIES = tuple(
    dict.fromkeys(
        canonical(text)
        for a, b in itertools.product(_GROUPS, _GROUPS)
        for text in (f"c1cc({a})cc(C(=O)Nc2ccc({b})nc2)c1".replace("()", ""),)
    )
)


@pytest.fixture(scope="module")
def inhibitors() -> tuple[list[str], np.ndarray]:
    """The 18 c-MET inhibitors: SMILES and ln(IC50 / M)."""
    with shared("gastric", "met_inhibitors", "inhibitors.tsv").open() as handle:
        rows = list(csv.DictReader((line for line in handle if not line.startswith("#")), delimiter="\t"))
    return [row["smiles"] for row in rows], ln_molar([float(row["ic50_nM"]) for row in rows])


@pytest.fixture(scope="module")
def evaluation(inhibitors: tuple[list[str], np.ndarray]) -> AffinityEvaluation:
    return AffinityEvaluation.of(*inhibitors)


def universal_kriging(
    k: np.ndarray, k_new: np.ndarray, y: np.ndarray, signal: float, noise: float
) -> tuple[float, float]:
    """Mean and sd from the bordered system of geostatistics (Cressie 1993, eq 3.4.2): no β, no Cholesky factor."""
    n = len(y)
    bordered = np.zeros((n + 1, n + 1))
    bordered[:n, :n] = signal * k + noise * np.eye(n)
    bordered[:n, n] = bordered[n, :n] = 1.0
    right = np.append(signal * k_new, 1.0)
    solution = np.linalg.solve(bordered, right)
    return float(solution[:n] @ y), math.sqrt(signal + noise - solution @ right)


# --- fingerprints --------------------------------------------------------------------------------------------------


def test_similarity_is_shared_over_all_environments() -> None:
    """Against a loop over the two dictionaries, to the bit: both are ratios of whole numbers."""
    prints = [fingerprint(text) for text in SMALL]
    found = similarity(prints, prints)
    for (i, a), (j, b) in itertools.product(enumerate(prints), enumerate(prints)):
        keys = a.keys() | b.keys()
        shared_counts = sum(min(a.get(key, 0), b.get(key, 0)) for key in keys)
        all_counts = sum(max(a.get(key, 0), b.get(key, 0)) for key in keys)
        assert found[i, j] == shared_counts / all_counts
    assert (np.diag(found) == 1).all()
    assert np.linalg.eigvalsh(found).min() > 0  # a kernel


def test_similarity_of_ethane_and_propane_by_hand() -> None:
    """Radius 2: ethane holds CH3 ×2 and its one rim; propane CH3 ×2, CH2, and other rims: 2 shared of 3 + 5 - 2 = 6."""
    ethane, propane = fingerprint("CC"), fingerprint("CCC")
    assert (sum(ethane.values()), sum(propane.values())) == (3, 6)
    assert similarity([ethane], [propane])[0, 0] == 2 / 7


def test_the_writing_of_a_molecule_does_not_matter_and_its_charge_does() -> None:
    assert fingerprint("OCC") == fingerprint("CCO")
    assert fingerprint("CCN") != fingerprint("CC[NH3+]")
    assert [formal_charge(text) for text in ("CCN", "CC[NH3+]", "CC(=O)[O-]", "C[N+](C)(C)CC(=O)[O-]")] == [0, 1, -1, 0]


@pytest.mark.parametrize(
    ("smiles", "says"),
    [
        ("", "holds no atom"),
        ("c1ccccc", "cannot be parsed.*brackets"),
        ("C(C)(C)(C)(C)C", "malformed: Explicit valence"),
        ("c1cccc1", "malformed: Can't kekulize"),
        ("CC[NH3+].[Cl-]", "2 fragments; give the compound alone"),
    ],
)
def test_a_structure_that_is_none_is_refused(smiles: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        molecule(smiles)


# --- the Gaussian process ------------------------------------------------------------------------------------------


def test_predictions_are_those_of_universal_kriging() -> None:
    model = AffinityModel.fit(SMALL[:6], VALUES[:6])
    k = model.similarity_NN
    k_new = similarity([fingerprint(text) for text in SMALL[6:]], [fingerprint(text) for text in SMALL[:6]])
    prediction = model.predict(SMALL[6:])
    for q in range(2):
        mean, sd = universal_kriging(k, k_new[q], VALUES[:6], model.signal_variance, model.noise_variance)
        assert prediction.mean[q] == pytest.approx(mean, rel=1e-10)
        assert prediction.sd[q] == pytest.approx(sd, rel=1e-10)


def test_a_flat_level_is_the_limit_of_a_wide_constant_kernel() -> None:
    """Conditioning the joint normal distribution with a constant kernel of variance 10⁵: equal but for terms of 1/10⁵ of it."""
    model = AffinityModel.fit(SMALL, VALUES)
    asked = ("CCCCO", "c1ccc2ccccc2c1")
    prints = [fingerprint(text) for text in (*SMALL, *asked)]
    joint = 1e5 + model.signal_variance * similarity(prints, prints) + model.noise_variance * np.eye(len(prints))
    known, new = slice(0, len(SMALL)), slice(len(SMALL), None)
    to_known = joint[new, known] @ np.linalg.inv(joint[known, known])
    covariance = joint[new, new] - to_known @ joint[known, new]
    prediction = model.predict(asked)
    assert prediction.mean == pytest.approx(to_known @ VALUES, abs=2e-3)
    assert prediction.sd == pytest.approx(np.sqrt(np.diag(covariance)), abs=2e-3)


def test_the_likelihood_is_that_of_contrasts() -> None:
    """Differences to the first compound know nothing of the level; their density is the same but for one constant."""
    differences = np.hstack([-np.ones((len(SMALL) - 1, 1)), np.eye(len(SMALL) - 1)])
    model = AffinityModel.fit(SMALL, VALUES)
    offsets = []
    for signal, noise in ((0.5, 0.3), (4.0, 0.3), (4.0, 9.0)):
        other = AffinityModel(SMALL, VALUES, model.similarity_NN, signal, noise, model.noise_floor)
        covariance = differences @ (signal * model.similarity_NN + noise * np.eye(len(SMALL))) @ differences.T
        density = multivariate_normal.logpdf(differences @ VALUES, mean=np.zeros(len(SMALL) - 1), cov=covariance)  # pyright: ignore[reportArgumentType]
        offsets.append(float(density) - other.log_restricted_likelihood)
    assert np.ptp(offsets) < 1e-10


def test_no_variances_near_or_far_are_more_likely() -> None:
    model = AffinityModel.fit(SMALL, VALUES)
    for signal, noise in itertools.product(np.geomspace(1e-3, 1e3, 40), np.geomspace(model.noise_floor, 1e3, 40)):
        other = AffinityModel(SMALL, VALUES, model.similarity_NN, signal, noise, model.noise_floor)
        assert other.log_restricted_likelihood <= model.log_restricted_likelihood + 1e-9


def test_leave_one_out_in_closed_form_is_leaving_one_out() -> None:
    """With the variances held: one inverse against eight systems, each without its compound."""
    model = AffinityModel.fit(SMALL, VALUES)
    found = model.leave_one_out_with_these_variances()
    for i in range(len(SMALL)):
        kept = np.delete(np.arange(len(SMALL)), i)
        k = model.similarity_NN[np.ix_(kept, kept)]
        mean, sd = universal_kriging(
            k, model.similarity_NN[i, kept], VALUES[kept], model.signal_variance, model.noise_variance
        )
        assert found.mean[i] == pytest.approx(mean, rel=1e-10)
        assert found.sd[i] == pytest.approx(sd, rel=1e-10)


def test_leave_one_out_learns_the_variances_anew() -> None:
    """Nothing leaks: the same bits as a model that never saw the compound, whatever was measured of it."""
    found = AffinityModel.fit(SMALL, VALUES).leave_one_out()
    plain = leave_one_out(AffinityModel, SMALL, VALUES)
    assert (found.mean == plain.mean).all()
    assert (found.sd == plain.sd).all()
    changed = VALUES.copy()
    changed[2] += 20.0
    again = AffinityModel.fit(SMALL, changed).leave_one_out()
    assert (again.mean[2], again.sd[2]) == (found.mean[2], found.sd[2])


def test_far_from_all_compounds_nothing_is_known() -> None:
    """A molecule that shares nothing gets the series' level and at least the prior's width; a relative gets less."""
    model = AffinityModel.fit(SERIES[:40], draw_values(SERIES[:40], seed=1))
    prediction = model.predict(["[Na+]", "OCC1OC(O)C(O)C(O)C1O", SERIES[41]])
    assert model.nearest(["[Na+]", "OCC1OC(O)C(O)C(O)C1O"]) == pytest.approx([0.0, 0.0], abs=0.05)
    assert model.nearest([SERIES[41]])[0] > 0.6
    assert (prediction.sd[:2] > 0.99 * model.prior_sd).all()
    assert prediction.sd[0] >= model.prior_sd
    assert prediction.mean[0] == pytest.approx(model.level)
    assert prediction.sd[2] < 0.75 * model.prior_sd


def draw_values(compounds: tuple[str, ...], *, seed: int, signal: float = 9.0, noise: float = 0.25) -> np.ndarray:
    prints = [fingerprint(text) for text in compounds]
    covariance = signal * similarity(prints, prints) + noise * np.eye(len(compounds))
    return np.random.default_rng(seed).multivariate_normal(np.full(len(compounds), -16.0), covariance)


def test_intervals_keep_their_promise_where_the_world_is_as_the_model_says() -> None:
    """Five worlds of 90 compounds drawn from the prior: 450 left out, each interval's share within 3 standard errors.

    Compounds of one world are not independent, so the binomial standard error is taken of half their number.
    """
    inside = {0.5: 0, 0.8: 0, 0.95: 0}
    for world in range(5):
        values = draw_values(SERIES[:90], seed=world)
        prediction = AffinityModel.fit(SERIES[:90], values).leave_one_out()
        for level in inside:
            low, high = prediction.interval(level)
            inside[level] += int(((low <= values) & (values <= high)).sum())
    for level, count in inside.items():
        assert count / 450 == pytest.approx(level, abs=3 * math.sqrt(level * (1 - level) / 225))


def test_the_same_bits_every_time_and_for_any_number_asked_for_at_once() -> None:
    model, again = (AffinityModel.fit(SERIES[:30], draw_values(SERIES[:30], seed=3)) for _ in range(2))
    together = model.predict(SERIES[30:60])
    assert (together.mean == again.predict(SERIES[30:60]).mean).all()
    alone = [model.predict([text]) for text in SERIES[30:60]]
    assert (together.mean == [one.mean[0] for one in alone]).all()
    assert (together.sd == [one.sd[0] for one in alone]).all()
    kept = pickle.loads(pickle.dumps(model)).predict(SERIES[30:60])
    assert (kept.mean == together.mean).all()


def test_the_noise_is_never_below_the_assay_s_error() -> None:
    smooth = np.array([sum(fingerprint(text).values()) for text in SERIES[:30]], dtype=float)
    model = AffinityModel.fit(SERIES[:30], smooth, assay_error_log10=0.3)
    assert model.noise_variance == pytest.approx((0.3 * math.log(10)) ** 2)
    assert (model.predict(SERIES[:30]).sd > 0.3 * math.log(10)).all()


def test_mirror_images_measured_without_error_are_one_fingerprint() -> None:
    """The covariance would be singular; two values of one fingerprint are averaged."""
    model = AffinityModel.fit(
        ["C[C@H](N)O", "C[C@@H](N)O", "CCO", "CCC"], [-9.0, -10.0, -12.0, -14.0], assay_error_log10=0
    )
    assert model.predict(["CC(N)O"]).mean[0] == pytest.approx(-9.5, abs=0.2)  # a little drawn to the level


def test_values_all_alike_are_no_accident() -> None:
    model = AffinityModel.fit(SMALL, np.full(len(SMALL), -12.0))
    prediction = model.predict(["CCCC"])
    assert prediction.mean[0] == pytest.approx(-12.0)
    assert math.sqrt(model.noise_floor) < prediction.sd[0] < 1.2 * math.sqrt(model.noise_floor)


def test_units() -> None:
    assert ln_molar([1.0])[0] == pytest.approx(math.log(1e-9))
    median, low, high = Prediction(ln_molar([10.0]), np.array([math.log(10.0)])).Kd_nM(0.95)
    assert median[0] == pytest.approx(10.0)
    assert (low[0], high[0]) == pytest.approx((10 / 10**1.959964, 10 * 10**1.959964))
    assert kcal_per_mol(1.0) == pytest.approx(1.3643, abs=1e-4)  # RT ln 10 at 298.15 K


@pytest.mark.parametrize(
    ("smiles", "values", "says"),
    [
        (["CCO", "CCC"], [-9.0, -8.0], "2 compounds to learn from; expected at least 3"),
        (["CCO", "CCC", "OCC"], [-9.0, -8.0, -9.1], "compounds 1 and 3 are the same molecule.*keep one"),
        (["CCO", "CCC", "CCN"], [-9.0, math.nan, -9.1], r"compound 2 \(CCC\).*nan.*finite"),
        (["CCO", "CCC", "CCN"], [-9.0, -8.0], "3 compounds and values of shape"),
        (["CCO", "CCC", "CC("], [-9.0, -8.0, -7.0], "'CC\\(' is malformed"),
    ],
)
def test_lessons_that_teach_nothing_are_refused(smiles: list[str], values: list[float], says: str) -> None:
    for predictor in (AffinityModel, *BASELINES.values()):
        with pytest.raises(InputError, match=says):
            predictor.fit(smiles, values)


def test_other_refusals() -> None:
    three = AffinityModel.fit(SMALL[:3], VALUES[:3])
    with pytest.raises(InputError, match="leaving one out needs more than 3"):
        three.leave_one_out()
    with pytest.raises(InputError, match=r"3 compounds.*at least 4"):
        AffinityEvaluation.of(SMALL[:3], VALUES[:3])
    with pytest.raises(InputError, match="assay error -1"):
        AffinityModel.fit(SMALL, VALUES, assay_error_log10=-1)
    with pytest.raises(InputError, match="'CC\\(' is malformed"):
        three.predict(["CC("])
    with pytest.raises(InputError, match="finite numbers above 0"):
        ln_molar([0.0])
    with pytest.raises(InputError, match="no predictor 'oracle'"):
        AffinityEvaluation.of(SMALL, VALUES)["oracle"]


# --- baselines -----------------------------------------------------------------------------------------------------


def test_the_mean_has_the_width_of_a_new_value() -> None:
    prediction = MeanAffinity.fit(SMALL, VALUES).predict(["CCCC"])
    assert prediction.mean[0] == pytest.approx(VALUES.mean())
    # of n + 1 draws of one normal distribution, the last lies within t(n - 1) of these widths
    width = VALUES.std(ddof=1) * math.sqrt(1 + 1 / 8)
    assert prediction.sd[0] == pytest.approx(width)
    assert t.ppf(0.975, 7) > 1.96


def test_the_nearest_neighbour_is_the_nearest_and_ties_share() -> None:
    model = NearestNeighbour.fit(SMALL, VALUES)
    assert model.predict(["CCCCO"]).mean[0] == VALUES[1]
    assert model.predict(["OCC"]).mean[0] == VALUES[0]
    assert model.predict(["[Na+]"]).mean[0] == pytest.approx(VALUES.mean())  # resembles all equally, not at all


def test_the_charge_line_is_least_squares() -> None:
    charges = np.array([formal_charge(text) for text in SMALL])
    slope, start = np.polyfit(charges, VALUES, 1)
    prediction = ChargeLine.fit(SMALL, VALUES).predict(["[NH3+]CC[NH3+]", "CCC"])
    assert prediction.mean == pytest.approx([start + 2 * slope, start])
    # the textbook variance of a new value: σ² (1 + xᵀ(XᵀX)⁻¹x)
    design = np.column_stack([np.ones(8), charges])
    rest = VALUES - design @ [start, slope]
    unexplained = rest @ rest / 6
    for value, charge in zip(prediction.sd, (2, 0), strict=True):
        x = np.array([1.0, charge])
        assert value == pytest.approx(math.sqrt(unexplained * (1 + x @ np.linalg.solve(design.T @ design, x))))


def test_one_charge_teaches_no_slope() -> None:
    neutral = ChargeLine.fit(SMALL[:3], VALUES[:3]).predict(["CC[NH3+]"])
    mean = MeanAffinity.fit(SMALL[:3], VALUES[:3]).predict(["CC[NH3+]"])
    assert neutral.mean == pytest.approx(mean.mean)
    assert neutral.sd == pytest.approx(mean.sd)


# --- the c-MET inhibitors --------------------------------------------------------------------------------------------


def test_the_table_of_the_design_note(evaluation: AffinityEvaluation) -> None:
    """docs/decisions/0004-affinity-model.md; rounded as there."""
    found = {
        run.predictor: (round(run.rmse_log10, 2), round(run.mae_log10, 2), round(run.rmse_kcal_mol, 2))
        for run in evaluation.runs
    }
    assert found == {
        "Gaussian process": (0.64, 0.51, 0.88),
        "mean": (1.32, 1.09, 1.80),
        "nearest neighbour": (0.86, 0.75, 1.17),
        "charge only": (0.94, 0.81, 1.28),
    }
    assert evaluation["Gaussian process"].spearman == pytest.approx(0.86, abs=0.005)
    assert [evaluation["Gaussian process"].coverage(level).inside for level in (0.5, 0.8, 0.95)] == [11, 17, 17]


def test_the_model_beats_every_baseline_in_most_compounds(evaluation: AffinityEvaluation) -> None:
    for name in BASELINES:
        wins, p = evaluation.closer(name)
        assert wins == 15
        assert p == pytest.approx(0.0075, abs=1e-4)  # sign test: 2 Σ C(18, k)/2¹⁸, k = 0..3


def test_holding_the_variances_would_leak_little(
    inhibitors: tuple[list[str], np.ndarray], evaluation: AffinityEvaluation
) -> None:
    """Two variances of 18 compounds hardly know any one of them; still the table is the nested one."""
    held = AffinityModel.fit(*inhibitors).leave_one_out_with_these_variances()
    rmse = math.sqrt(np.mean((held.mean - inhibitors[1]) ** 2)) / math.log(10)
    assert rmse < evaluation["Gaussian process"].rmse_log10
    assert evaluation["Gaussian process"].rmse_log10 - rmse == pytest.approx(0.0007, abs=0.0003)


def test_a_mean_ranks_nothing(evaluation: AffinityEvaluation) -> None:
    """Left out in turn it would rank backwards, correlation -1: an artefact, not shown."""
    run = evaluation["mean"]
    assert np.corrcoef(run.prediction.mean, run.ln_Kd)[0, 1] == pytest.approx(-1.0)
    assert math.isnan(run.spearman)


def test_eighteen_compounds_cannot_certify_coverage(evaluation: AffinityEvaluation) -> None:
    assert evaluation.limits.startswith("18 compounds cannot certify coverage: the 95 % interval held 17 of 18")
    outer = evaluation["Gaussian process"].coverage(0.95)
    assert (outer.low, outer.high) == pytest.approx((0.727, 0.9986), abs=1e-3)  # Clopper and Pearson's table
    assert "other chemistry" in evaluation.limits
    kept = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert kept["predictors"]["mean"]["spearman"] is None
    assert kept["limits"] == evaluation.limits


def test_published_free_energies_err_as_much_on_the_same_compounds(
    inhibitors: tuple[list[str], np.ndarray], evaluation: AffinityEvaluation
) -> None:
    """FEP+ had no measured neighbours but a crystal structure; its values are centred on the measured mean."""
    with shared("gastric", "met_inhibitors", "inhibitors.tsv").open() as handle:
        rows = list(csv.DictReader((line for line in handle if not line.startswith("#")), delimiter="\t"))
    measured = np.array([float(row["dG_exp_kcal_mol"]) for row in rows])
    error = np.array([float(row["dG_fep_kcal_mol"]) for row in rows]) - measured
    assert measured == pytest.approx(kcal_per_mol(1.0) * inhibitors[1] / math.log(10), abs=0.02)  # ΔG = RT ln IC50
    assert math.sqrt(np.mean(error**2)) == pytest.approx(0.94, abs=0.005)
    assert spearmanr(measured + error, measured)[0] == pytest.approx(0.89, abs=0.005)
    assert abs(evaluation["Gaussian process"].rmse_kcal_mol - 0.94) < 0.1


def test_the_command_prints_the_table_of_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"c{i},{text},{10.0 * (i + 1)}\n" for i, text in enumerate(SMALL))
    (tmp_path / "ligands.csv").write_text(f"compound,smiles,ic50_nM\n{rows}unmeasured,CCCCO,\n")
    text = (
        "name: s\ntitle: t\ncell: {antimony: 'L = 0; kon = 1; koff = 1; R = 1; J: R -> ; kon * L * R', "
        "units: {L: uM, kon: 1/(uM min), koff: 1/min}}\nreadouts: {R: r}\ntime: {start: 0 min, end: 10 min}\n"
        "compounds: {table: ligands.csv, dose: L, kon: kon, koff: koff}\n"
        "molecular: {receptor: c-MET kinase, kon: {median: 1e5 1/(M s), decades: 1.0, source: test}}\n"
        "arms:\n  - treatment: t\n    compounds: all\n    doses: [1 nM]\n"
        "    changes: [{hold: compound, dose: each, at: 0 min}]\n"
    )
    path = tmp_path / "s.yaml"
    path.write_text(text)
    assert main(["bench", "affinity", str(path)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("s: 8 measured compounds, each left out in turn")
    for name in ("Gaussian process", *BASELINES):
        assert f"\n{name} " in told
    assert "8 compounds cannot certify coverage" in told

    (tmp_path / "ligands.csv").write_text("compound,smiles,ic50_nM\nA,CCO,1\nB,CCN,2\nC,CCC,3\n")
    assert main(["bench", "affinity", str(path)]) == 2
    assert "3 compounds to learn from; expected at least 4" in capsys.readouterr().err


def test_unrelated_drugs_get_the_prior_s_width(inhibitors: tuple[list[str], np.ndarray]) -> None:
    model = AffinityModel.fit(*inhibitors)
    imatinib = "Cc1ccc(cc1Nc1nccc(n1)-c1cccnc1)NC(=O)c1ccc(cc1)CN1CCN(C)CC1"
    paracetamol = "CC(=O)Nc1ccc(O)cc1"
    assert (model.nearest([imatinib, paracetamol]) < 0.35).all()
    assert (model.predict([imatinib, paracetamol]).sd > 0.95 * model.prior_sd).all()
    assert math.exp(1.96 * model.prior_sd) == pytest.approx(590, rel=0.02)  # a factor either way, at 95 %


def test_charge_goes_with_half_of_the_variance(inhibitors: tuple[list[str], np.ndarray]) -> None:
    smiles, values = inhibitors
    assert np.corrcoef([formal_charge(text) for text in smiles], values)[0, 1] ** 2 == pytest.approx(0.55, abs=0.005)
