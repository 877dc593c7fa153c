"""PEtab problems: closed forms, published likelihoods, and the simulations that the benchmark collection stores."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tellurium
from scipy import stats
from shared_data import shared

from scenarios.cli import main
from scenarios.commands.petab_deviation import deviation, stored
from scenarios.result import read
from simulators.reaction import PetabProblem, ReactionModel
from simulators.reaction.petab_files import is_petab
from simulators.reaction.petab_formula import PetabFormula
from twin.errors import InputError, UnsupportedFeature

# -- what the benchmark collection stores (Hass et al. 2019, doi 10.1093/bioinformatics/btz020)

STORED = {  # folder → greatest deviation from the stored simulations, as a share of each observable's greatest value
    "models/Boehm_JProteomeRes2014": 1e-7,
    "models/SalazarCavazos_MBoC2020": 1e-7,
    "models/Lucarelli_CellSystems2018": 1e-7,
    "models/Smith_BMCSystBiol2013": 1e-7,
    "models/Bachmann_MSB2011": 2e-5,  # stored by an integrator of about 1e-5: a tighter one moves ours by 1e-8
    "gastric/cell_model": 1e-4,  # likewise
}
PUBLISHED = {  # log-likelihood at the nominal parameters, as AMICI states it (its tests/benchmark_models)
    "models/Boehm_JProteomeRes2014": -138.22199693517703,
    "models/Bachmann_MSB2011": 418.40573341425295,
    "models/Lucarelli_CellSystems2018": -1681.6059879426584,
    "models/Smith_BMCSystBiol2013": -888198.436541014,
}


@pytest.mark.parametrize("name", STORED)
def test_simulations_equal_the_stored_ones(name: str) -> None:
    problem = PetabProblem.read(shared(*name.split("/")))
    table = problem.simulate()
    assert list(table.columns) == [c if c != "measurement" else "simulation" for c in problem.table.columns]
    kept = stored(problem)
    assert kept is not None
    assert deviation(problem, kept, table["simulation"].to_numpy()) < STORED[name]
    if name in PUBLISHED:
        assert problem.log_likelihood() == pytest.approx(PUBLISHED[name], rel=1e-7)


def test_roadrunner_gives_the_same_simulations() -> None:
    """An independent integrator; both at 1e-8."""
    problem = PetabProblem.read(shared("models", "Boehm_JProteomeRes2014"))
    ours, theirs = (problem.evaluate(engine=engine).simulation[0] for engine in ("ensemble", "reference"))
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-9)


# -- a problem of our own, whose answers are known: dR/dt = kin - kout R

KIN, KOUT, R0 = 2.0, 0.5, 3.0
MODEL = """model turnover
  compartment c = 1; species R in c; R = 3; kin = 9; kout = 0.5; boost = 1; gate := 2*boost; free = 7
  -> R; kin*boost*c
  R -> ; kout*R*c
end"""
TABLES = {
    "problem.yaml": "format_version: 1\nparameter_file: p.tsv\nproblems:\n- sbml_files: [model.xml]\n  condition_files: "
    "[c.tsv]\n  measurement_files: [m.tsv]\n  observable_files: [o.tsv]\n",
    "p.tsv": "parameterId\tparameterScale\tlowerBound\tupperBound\tnominalValue\testimate\n"
    f"kin\tlog10\t1e-3\t1e3\t{KIN}\t1\nr0\tlin\t0\t10\t{R0}\t0\nscale\tlog10\t1e-3\t1e3\t10\t1\nsd\tlog10\t1e-3\t1e3\t0.25\t1\n",
    "c.tsv": "conditionId\tconditionName\tboost\tR\tkout\nplain\t\t1\tr0\t\nboosted\t\t4\t\t0.5\nkept\t\t4\tNaN\t0.5\n"
    "reset\t\t1\t1.5\tkout\n",
    "o.tsv": "observableId\tobservableName\tobservableFormula\tobservableTransformation\tnoiseFormula\tnoiseDistribution\n"
    "amount\tR\tR\t\t0.5\t\n"
    "blot\tR on a blot\tobservableParameter1_blot*R + observableParameter2_blot\tlog10\tnoiseParameter1_blot\tnormal\n"
    "folds\tfold\tlog(R) + gate\tlog\t0.1*folds + sd\tlaplace\n",
    "m.tsv": "observableId\tpreequilibrationConditionId\tsimulationConditionId\tmeasurement\ttime\tobservableParameters\t"
    "noiseParameters\tdatasetId\n"
    "amount\t\tplain\t2.5\t1.5\t\t\t\n"
    "amount\t\tplain\t2.6\t1.5\t\t\t\n"
    "amount\t\tboosted\t15\tinf\t\t\t\n"
    "amount\tplain\tboosted\t9\t0\t\t\t\n"
    "blot\tplain\tkept\t90\t2\tscale;1\tsd\tset 1\n"
    "blot\tplain\treset\t20\t2\tscale;1\t0.1\tset 1\n"
    "folds\tplain\treset\t3\t4\t\t\t\n",
}


def written(folder: Path, **changes: tuple[str, str]) -> Path:
    """The problem's files; `changes`: table → (text, replacement)."""
    (folder / "model.xml").write_text(str(tellurium.antimonyToSBML(MODEL)))
    for name, text in TABLES.items():
        old, new = changes.get(name.split(".")[0], ("", ""))
        assert old in text
        (folder / name).write_text(text.replace(old, new) if old else text)
    return folder / "problem.yaml"


def course(start: float, steady: float, time: float) -> float:
    return steady + (start - steady) * math.exp(-KOUT * time)


def expected(kin: float) -> list[float]:
    """Of each point. An empty or NaN cell keeps the model's start, or what cells have settled to."""
    rest = kin / KOUT
    reset = [course(1.5, rest, t) for t in (2.0, 4.0)]
    amounts = [course(R0, rest, 1.5)] * 2 + [4 * rest, rest]
    return [*amounts, 10 * course(rest, 4 * rest, 2.0) + 1, 10 * reset[0] + 1, math.log(reset[1]) + 2.0]


def test_conditions_settling_placeholders_and_steady_states(tmp_path: Path) -> None:
    problem = PetabProblem.read(written(tmp_path).parent)
    found = problem.evaluate({"kin": [KIN, 3.0]})
    for member, kin in enumerate((KIN, 3.0)):
        assert found.simulation[member] == pytest.approx(expected(kin), rel=1e-6)
    assert found.noise[0] == pytest.approx([0.5] * 4 + [0.25, 0.1, 0.1 * expected(KIN)[6] + 0.25], rel=1e-6)
    assert (found.status == 0).all()
    assert (found.found_by[0] > 0).tolist() == [False, False, True, True, True, True, True]
    assert problem.simulate()["simulation"].tolist() == pytest.approx(expected(KIN), rel=1e-6)
    again = problem.evaluate(engine="reference").simulation[0]
    assert again == pytest.approx(expected(KIN), rel=1e-5)


def test_likelihood_is_the_density_of_the_measurements(tmp_path: Path) -> None:
    """Against scipy: log10-normal is lognormal with s = ln(10) sd; log-Laplace is the Laplace density of ln y over y."""
    problem = PetabProblem.read(written(tmp_path))
    y, m = expected(KIN), problem.points.measured
    densities = [stats.norm.logpdf(m[i], y[i], 0.5) for i in range(4)]
    for i, sd in ((4, 0.25), (5, 0.1)):
        densities.append(stats.lognorm.logpdf(m[i], math.log(10.0) * sd, scale=y[i]))
    width = 0.1 * y[6] + 0.25
    densities.append(stats.laplace.logpdf(math.log(m[6]), math.log(y[6]), width) - math.log(m[6]))
    assert problem.evaluate().densities[0] == pytest.approx(densities, rel=1e-5)
    assert problem.log_likelihood() == pytest.approx(sum(densities), rel=1e-6)
    residuals = [(y[i] - m[i]) / 0.5 for i in range(4)]
    residuals += [math.log10(y[4] / m[4]) / 0.25, math.log10(y[5] / m[5]) / 0.1, math.log(y[6] / m[6]) / width]
    assert problem.chi2() == pytest.approx(float(np.square(residuals).sum()), rel=1e-5)


def test_noise_that_is_not_above_0_has_no_density(tmp_path: Path) -> None:
    """A square would make -0.25 look like 0.25."""
    found = PetabProblem.read(written(tmp_path)).evaluate({"sd": [0.25, 0.0, -0.25]})
    assert np.isfinite(found.log_likelihood).tolist() == np.isfinite(found.chi2).tolist() == [True, False, False]
    assert np.isnan(found.residuals[1:, 4]).all()
    assert np.isfinite(found.simulation).all()


def test_courses_of_every_condition(tmp_path: Path) -> None:
    problem = PetabProblem.read(written(tmp_path))
    times = np.array([0.0, 1.0, 3.0])
    data = problem.courses(times, select=["R", "gate"])
    assert data["R"].dims == ("condition", "time")
    kept = data.isel(condition=[c == "kept" for c in data["condition"].values])
    assert kept["R"].values[0] == pytest.approx([course(4.0, 16.0, t) for t in times], rel=1e-6)
    assert kept["settled"].values.tolist() == ["plain"]
    assert data["gate"].sel(condition="reset").values == pytest.approx(np.full(3, 2.0))


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"problem": ("format_version: 1", "format_version: 2.0.0")}, UnsupportedFeature, "PEtab 2.0.0; we read version 1"),
        ({"problem": ("condition_files", "condition_file")}, InputError, "no `condition_files:` .* 'condition_file'"),
        ({"problem": ("[c.tsv]", "[d.tsv]")}, InputError, "condition_files names d.tsv, which is not there"),
        ({"m": ("simulationConditionId", "simulationCondition")}, InputError,
         "m.tsv:1: no column 'simulationConditionId'; did you mean 'simulationCondition'"),
        ({"m": ("kept\t90", "keptt\t90")}, InputError, "m.tsv:6: simulationConditionId: no condition 'keptt'; did you mean 'kept'"),
        ({"m": ("amount\tplain\tboosted", "amont\tplain\tboosted")}, InputError, "m.tsv:5: no observable 'amont'"),
        ({"m": ("scale;1\tsd", "scale\tsd")}, InputError, "m.tsv:6: observableParameters is 'scale', 1 values; expected 2"),
        ({"m": ("scale;1\tsd", "scael;1\tsd")}, InputError, "m.tsv:6: observableParameters: no parameter 'scael'; did you mean"),
        ({"m": ("kept\t90", "kept\t-90")}, InputError, "m.tsv:6: measurement is -90, .* logarithmic scale"),
        ({"m": ("2.6\t1.5", "NaN\t1.5")}, InputError, "m.tsv:3: measurement is NaN; expected a finite number"),
        ({"m": ("scale;1\t0.1", "scale;1\t-0.1")}, InputError, "m.tsv:7: noiseParameters is -0.1; expected a value above 0"),
        ({"m": ("15\tinf", "15\tlater")}, InputError, "m.tsv:4: time is 'later'; expected a number, or inf"),
        ({"c": ("kept\t\t4", "reset\t\t4")}, InputError, "c.tsv:5: conditionId 'reset' is there already .c.tsv:4."),
        ({"c": ("boost\t", "bost\t")}, InputError, "c.tsv:1: column 'bost' is nothing in the model; did you mean 'boost'"),
        ({"c": ("boost\t", "gate\t")}, InputError, "column 'gate': the model computes it by a rule"),
        ({"c": ("\tr0\t", "\trO\t")}, InputError, "c.tsv:2: R is 'rO'; expected a number or an id of a parameter"),
        ({"p": ("kin\tlog10", "kin\tlog2")}, InputError, "p.tsv:2: parameterScale is 'log2'; expected lin, log, log10"),
        ({"p": (f"{R0}\t0", "\t0")}, InputError, "p.tsv:3: r0 is not estimated and has no nominalValue"),
        ({"o": ("R\tR\t", "R\tR*(\t")}, InputError, "o.tsv:2: observableFormula: .* is not a formula"),
        ({"o": ("R\tR\t", "R\tQ\t")}, InputError, "o.tsv:2: observableFormula reads 'Q', which is neither in the model"),
        ({"o": ("log10\tnoise", "log2\tnoise")}, InputError, "o.tsv:3: observableTransformation is 'log2'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, changes: dict[str, tuple[str, str]], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        PetabProblem.read(written(tmp_path, **changes))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)2 problems in .*p.tsv:2.*m.tsv:6"):
        PetabProblem.read(written(tmp_path, m=("kept\t90", "keptt\t90"), p=("kin\tlog10", "kin\tlog2")))


@pytest.mark.parametrize(
    ("more", "settles", "text"),
    [
        (
            "R' = kin*(1 + sin(time)) - kout*R;",
            False,
            "measured at time inf: this model has rates that read the time; give",
        ),
        ("at (R > 5): R = 1;", False, "measured at time inf: this model has events; give these points a late time"),
        ("at (R > 5): R = 1;", True, "pre-equilibration: this model has events; leave preequilibrationConditionId out"),
    ],
)
def test_steady_states_of_a_model_that_has_none_are_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, settles: bool, text: str
) -> None:
    model = "model m; R = 3; kin = 9; kout = 0.5; boost = 1; gate := 2*boost;"
    model += more if more.startswith("R'") else f"-> R; kin; R -> ; kout*R; {more}"
    changes = {} if settles else {"m": ("amount\tplain\tboosted\t9", "amount\t\tboosted\t9")}
    path = written(tmp_path, **changes)
    table = [line for line in (tmp_path / "m.tsv").read_text().splitlines() if line[:6] in ("observ", "amount")]
    (tmp_path / "m.tsv").write_text("\n".join(table) + "\n")
    (tmp_path / "model.xml").write_text(str(tellurium.antimonyToSBML(model + " end")))
    problem = PetabProblem.read(path)

    def runs(*_: object, **__: object) -> None:
        raise AssertionError("something runs")

    monkeypatch.setattr(ReactionModel, "simulate", runs)
    for asked in (problem.evaluate, problem.refuse_unsettled):
        with pytest.raises(UnsupportedFeature, match=f"problem.yaml: {text}"):
            asked()
    assert main(["check", str(path)]) == 2


def test_what_is_no_problem_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing.yaml: no such file; expected a PEtab problem, its YAML file or the"):
        PetabProblem.read(tmp_path / "missing.yaml")
    with pytest.raises(InputError, match=r"expected one PEtab file .* found 0"):
        PetabProblem.read(tmp_path)
    (tmp_path / "other.yaml").write_text("problems: []\n")
    assert not is_petab(tmp_path / "other.yaml")
    with pytest.raises(InputError, match="not a PEtab problem"):
        PetabProblem.read(tmp_path / "other.yaml")
    assert is_petab(written(tmp_path))


def test_parameters_without_a_value_are_asked_for(tmp_path: Path) -> None:
    problem = PetabProblem.read(written(tmp_path, p=(f"1e3\t{KIN}\t1", "1e3\t\t1")))
    with pytest.raises(InputError, match="no nominal value of kin; give one in the table or as `parameters`"):
        problem.simulate()
    assert problem.simulate({"kin": KIN})["simulation"].tolist() == pytest.approx(expected(KIN), rel=1e-6)
    with pytest.raises(InputError, match="no 'kinn' in the problem's table; did you mean 'kin'"):
        problem.simulate({"kinn": 1.0})


@pytest.mark.parametrize(
    ("text", "value"),
    [("log(x)", math.log(3.0)), ("log10(x) + log2(x)", math.log10(3) + math.log2(3)), ("x**2 - x^-1", 9 - 1 / 3),
     ("piecewise(1, x > 2, 0)", 1.0), ("max(x, 5) + exp(0)", 6.0)],
)  # fmt: skip
def test_formulas(text: str, value: float) -> None:
    formula = PetabFormula(text)
    assert formula.names == {"x"}
    assert formula.values({"x": np.array([3.0])}) == pytest.approx([value])


# -- the command


def test_run_writes_result_table_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(path), "--processes", "1"]) == 0
    said = capsys.readouterr().out
    data = read(Path("results/problem.zarr"))
    assert data["simulation"].values == pytest.approx(expected(KIN), rel=1e-6)
    problem = PetabProblem.read(path)
    assert data.attrs["chi2"] == pytest.approx(problem.chi2())
    assert data.attrs["log_likelihood"] == pytest.approx(problem.log_likelihood())
    assert f"chi2 {problem.chi2():.6g} of 7 points" in said
    assert "steady states found by" in said
    blot = data.isel(curve=(data["curve_condition"].values == "kept").argmax())
    assert blot["course"].values == pytest.approx(
        [10 * course(4, 16, t) + 1 for t in blot["course_time"].values], rel=1e-6
    )
    assert all("units" in data[name].attrs for name in ("measurement", "simulation", "point_time", "course"))
    page = Path("results/problem.html").read_text()
    assert "Simulated and measured" in page
    assert "R on a blot" in page
    assert main(["report", "results/problem.zarr", "--out", "again.html"]) == 0
    assert main(["run", str(path), "--processes", "2", "--out", "two.zarr"]) == 0
    two = read(Path("two.zarr"))
    assert two.identical(data.assign_attrs(two.attrs))
    assert main(["run", str(path)]) == 2


def test_check_validates_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(written(tmp_path))]) == 0
    said = capsys.readouterr().out
    assert "7 measured points of 3 observables, 5 conditions" in said
    assert "cells settle first under 1 condition" in said
    assert main(["check", str(written(tmp_path, m=("kept\t90", "keptt\t90")))]) == 2
    assert "m.tsv:6: simulationConditionId: no condition 'keptt'" in capsys.readouterr().err
    assert main(["run", str(written(tmp_path)), "--scan", "kin=1,2"]) == 2
    assert "--scan: not for" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["ensemble", "reference"])
def test_model_of_a_problem_has_its_nominal_parameters(tmp_path: Path, engine: str) -> None:
    model = ReactionModel.read(written(tmp_path))
    data = model.simulate([0.0, 2.0], select=["R", "kin"], engine=engine)
    assert data["kin"].values[0, 0] == KIN  # 9 in the file
    assert data["R"].values[0, 1] == pytest.approx(course(3.0, KIN / KOUT, 2.0), rel=1e-5)


def test_steady_states_of_members_do_not_depend_on_each_other(tmp_path: Path) -> None:
    """They share runs of the integrator."""
    model = ReactionModel.read(written(tmp_path))
    many = np.geomspace(1e-3, 1e3, 9)
    together = model.steady_state(parameters={"kout": many}, method="integration")["R"].values
    alone = [model.steady_state(parameters={"kout": k}, method="integration")["R"].values[0] for k in many]
    assert together.tolist() == alone
    np.testing.assert_allclose(together, KIN / many, rtol=1e-6)
