"""The gastric cell in our own Antimony: equal to the reference without inhibitor, in every condition that was measured,
and right by closed forms with it."""

from __future__ import annotations

import csv
import re
from functools import cache

import numpy as np
import pytest
from gastric_reference import FLAGS, INHIBITED, LEVELS, SPECIES, TIMES, experiments, reference, table
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared

from scenarios import shelf
from scenarios.compound import Compounds
from scenarios.fit import Fit
from scenarios.measurement import Measurement
from simulators.reaction import ReactionSimulator
from twin.perturbation import Perturbation

FOLDER = shelf.LIBRARY / "gastric_met_resistance"
OBSERVABLES = ("pEGFR", "EGFR_all", "MET_all")  # beside the species pAKT and pMAPK
BOUND = (
    "MMET_METinh", "MMET_2_METinh", "MMET_2_METinh_2", "pMMET_2_METinh", "pMMET_2_METinh_2", "MMET_EGFR_METinh",
    "pMMET_pEGFR_METinh",
)  # fmt: skip
TURNOVER = {
    "ksyn_MMET__HS746T_fm": 0.0, "ksyn_EGFR__MKN1_fm": 0.0, "kdeg_membran__MKN1": 0.0, "kimp_pEGFR_EGF_2__MKN1": 0.0,
    "kexp_pEGFR_EGF_2_i__MKN1": 0.0, "kdeg_pEGFR_EGF_2_i__MKN1": 0.0,
}  # fmt: skip
DIMERISATION = {"kdim_MMET": 0.0, "kdim_MMET_EGFR": 0.0}
PHOSPHORYLATION = {"kpho_MMET": 0.0, "kpho_MMET_EGFR": 0.0, "kdp_METinh": 0.0}


@cache
def ours(model: str, metinh_level: float = 0.0, rounded: bool = False) -> np.ndarray:
    """Species and observables of each experiment over TIMES `[experiment, time, name]`: members are experiments.

    Args:
        rounded: best values from the article's table, which rounds two of them to three digits, not from the model.
    """
    inhibited = INHIBITED if model == "published" else ()
    simulator = ReactionSimulator(
        FOLDER / f"{model}.ant", readouts=[*SPECIES, *inhibited, *OBSERVABLES], rtol=1e-10, atol=1e-13
    )
    if rounded:
        values = {row["parameterId"]: float(row["nominalValue"]) for row in table("parameters")}
        kept = {name: value for name, value in values.items() if name in simulator.targets}
        simulator = ReactionSimulator(
            simulator.engine, readouts=simulator.engine.readouts, parameters=kept, rtol=1e-10, atol=1e-13
        )
    levels = LEVELS if model == "published" else LEVELS[:2]
    settled, treated = (np.array([getattr(e, part) for e in experiments()]).T for part in ("settled", "treated"))
    state = simulator.init(members=np.arange(len(experiments())), seed=0)
    names = (*FLAGS, *levels)
    state = simulator.perturb(state, [Perturbation(0.0, f"cell.{n}", v) for n, v in zip(names, settled, strict=False)])
    state = simulator.equilibrate(state, tolerance=1e-11)
    state = simulator.perturb(state, [Perturbation(0.0, f"cell.{n}", v) for n, v in zip(names, treated, strict=False)])
    if metinh_level:
        state = simulator.perturb(state, [Perturbation(0.0, "cell.METinh_level", metinh_level)])
    state, values = simulator.step(state, {}, t0=0.0, t1=TIMES[-1], sample=TIMES)
    assert not state.arrays["status"].any()
    return np.stack([values[name][:, :-1] for name in (*SPECIES, *inhibited, *OBSERVABLES)], axis=2)


def deviation(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over a run, as a share of the species' maximum in that run; a species that is absent from a
    run (below 1e-9 of its maximum in any) counts by that floor."""
    peak = np.abs(expected).max(axis=1, keepdims=True)
    floor = 1e-9 * peak.max(axis=0, keepdims=True)
    return float((np.abs(found - expected) / np.maximum(np.maximum(peak, floor), 1e-12)).max())


# -- against the reference


def test_published_model_is_the_reference_in_all_170_conditions() -> None:
    found = ours("published")[..., : len(SPECIES) + len(INHIBITED)]
    assert deviation(found, reference()) < 1e-6  # both integrate at 1e-10; the measured difference is some 1e-8


def test_published_inhibitor_reactions_are_the_references() -> None:
    """The 170 conditions leave them idle, so `METinh_level` is 1 here."""
    found = ours("published", metinh_level=1.0)[..., : len(SPECIES) + len(INHIBITED)]
    expected = reference(metinh_level=1.0)
    assert all(expected[..., len(SPECIES) + i].max() > 1e-3 for i in range(len(INHIBITED)))
    assert deviation(found, expected) < 1e-6


def test_cell_without_inhibitor_is_the_reference_in_all_170_conditions() -> None:
    assert deviation(ours("cell")[..., : len(SPECIES)], reference()[..., : len(SPECIES)]) < 1e-6


@pytest.mark.parametrize("model", ["published", "cell"])
def test_simulated_data_of_the_article(model: str) -> None:
    """Landmark (a): all 627 points, cetuximab and EGF together at time 0, each with its fitted scale. These data were
    made with the values of the article's table, which rounds two of them; that alone is worth 5e-4."""
    scale = {row["parameterId"]: float(row["nominalValue"]) for row in table("parameters")}
    member = {condition: i for i, conditions in enumerate(experiments().values()) for condition in conditions}
    readout = {"EGFR": "EGFR_all", "MMET": "MET_all"}
    names = (*SPECIES, *(INHIBITED if model == "published" else ()), *OBSERVABLES)
    values, rows = ours(model, rounded=True), table("simulatedData")
    assert len(rows) == 627
    for row in rows:
        kind = row["observableId"].split("_")[0]
        place = (
            member[row["simulationConditionId"]],
            TIMES.index(float(row["time"])),
            names.index(readout.get(kind, kind)),
        )
        assert values[place] * scale[row["observableParameters"]] == pytest.approx(float(row["simulation"]), abs=1e-4)


def test_both_models_share_the_cell_word_for_word() -> None:
    marks = re.compile(r"  // ==== the cell: .*?// ==== end of the common part ====\n", re.DOTALL)
    common = [marks.findall((FOLDER / f"{name}.ant").read_text(encoding="utf-8")) for name in ("cell", "published")]
    assert len(common[0]) == 1
    assert common[0] == common[1]


def test_cell_reads_no_clock() -> None:
    """The twin's clock starts at -180 min: a gate on time would erase what is given before 0."""
    code = re.sub(r"//.*", "", (FOLDER / "cell.ant").read_text(encoding="utf-8"))
    assert not re.search(r"\btime\b|piecewise", code)


# -- the inhibitor module


def cell(readouts: tuple[str, ...], **parameters: float) -> ReactionSimulator:
    return ReactionSimulator(FOLDER / "cell.ant", readouts=readouts, parameters=parameters)


def settle_and_treat(simulator: ReactionSimulator, members: int, *given: tuple[str, float | np.ndarray]) -> dict:
    """Equilibrated, cetuximab and the given from -180 min, EGF from 0; readouts `[member, time]` at 0, 5, …, 240 min."""
    state = simulator.init(members=np.arange(members), seed=0)
    before = [Perturbation(-180.0, f"cell.{n}", v) for n, v in given if n.startswith("ksyn")]
    state = simulator.equilibrate(simulator.perturb(state, before))
    after = [Perturbation(-180.0, f"cell.{n}", v) for n, v in given if not n.startswith("ksyn")]
    state, _ = simulator.step(simulator.perturb(state, after), {}, t0=-180.0, t1=0.0)
    state = simulator.perturb(state, [Perturbation(0.0, "cell.EGF_level", 5.0)])
    return dict(simulator.step(state, {}, t0=0.0, t1=240.0, sample=range(0, 240, 5))[1])


@pytest.mark.parametrize(
    ("line", "cetuximab", "readout", "place", "value"),
    [
        ("MKN1", 0.0, "pMAPK", 1, 0.711),
        ("MKN1", 10.0, "pMAPK", 1, 0.236),
        ("HS746T", 0.0, "pAKT", -1, 0.425),
        ("HS746T", 10.0, "pAKT", -1, 0.568),
    ],
)
def test_landmarks(line: str, cetuximab: float, readout: str, place: int, value: float) -> None:
    """Landmark (b), at 5 and 240 min, to the three digits in which it is stated."""
    simulator = cell((readout,), HS746T=float(line == "HS746T"), MKN1=float(line == "MKN1"))
    assert settle_and_treat(simulator, 1, ("CET_level", cetuximab))[readout][0, place] == pytest.approx(value, abs=5e-4)


def test_saturation_is_the_knock_out() -> None:
    """Landmark (c): within 1 % of the span from vehicle to knock-out, at every time, for slow and fast binding and
    dephosphorylation. Members: vehicle, knock-out, then the corners."""
    corners = [(kon, kdp) for kon in (0.06, 6.0, 600.0) for kdp in (0.1, 1.0, 10.0)]
    simulator = cell(("pAKT", "pMAPK"))
    found = settle_and_treat(
        simulator,
        2 + len(corners),
        ("ksyn_MMET__HS746T_fm", np.array([0.0263508050701968, 0.0] + [0.0263508050701968] * len(corners))),
        ("CET_level", 10.0),
        ("METinh_uM", np.array([0.0, 0.0] + [1e3] * len(corners))),
        ("kon_METinh", np.array([1.0, 1.0, *(kon for kon, _ in corners)])),
        ("koff_METinh", np.array([1.0, 1.0, *(1e-3 * kon for kon, _ in corners)])),  # Kd 1 nM
        ("kdp_METinh", np.array([1.0, 1.0, *(kdp for _, kdp in corners)])),
    )
    assert found["pAKT"][2:, -1] == pytest.approx(0.007, abs=5e-4)
    assert found["pMAPK"][2:, -1] == pytest.approx(0.232, abs=5e-4)
    for values in found.values():
        vehicle, knock_out, inhibited = values[0], values[1], values[2:]
        assert np.abs((inhibited - knock_out) / (vehicle - knock_out)).max() < 0.01


@cache
def still(with_dimerisation: bool) -> ReactionSimulator:
    off = {**TURNOVER, **PHOSPHORYLATION, **({} if with_dimerisation else DIMERISATION)}
    return cell((*SPECIES, *BOUND, "MET_all", "MET_bound"), **off)


rates = st.lists(
    st.tuples(st.floats(-4, 4), st.floats(-4, 2), st.floats(-4, 2)), min_size=1, max_size=6
)  # log10 of kon [1/(uM min)], Kd and L [uM]


@settings(max_examples=15, deadline=None)
@given(rates)
def test_occupancy_is_that_of_one_site(drawn: list[tuple[float, float, float]]) -> None:
    """With turnover, dimerisation and phosphorylation off: L/(L + Kd) in every pool, binomial in dimers, for any kon."""
    kon, kd, dose = (10.0 ** np.array(column) for column in zip(*drawn, strict=True))
    simulator, share = still(False), dose / (dose + kd)
    start = {"MMET": 1.0, "MMET_2": 2.0, "pMMET_2": 3.0, "MMET_EGFR": 4.0, "pMMET_pEGFR": 5.0}
    given = {**start, "kon_METinh": kon, "koff_METinh": kon * kd, "METinh_uM": dose}
    state = simulator.init(members=np.arange(len(kon)), seed=0)
    state = simulator.perturb(state, [Perturbation(0.0, f"cell.{name}", value) for name, value in given.items()])
    _, values = simulator.step(state, {}, t0=0.0, t1=30.0 / float((kon * (dose + kd)).min()))
    end = {name: value[:, -1] for name, value in values.items()}
    near = {"rel": 1e-6, "abs": 1e-9}  # the integrator's 1e-8, over some hundred steps
    assert end["MET_bound"] / end["MET_all"] == pytest.approx(share, **near)
    assert end["MMET_METinh"] == pytest.approx(1.0 * share, **near)
    assert end["MMET_EGFR_METinh"] == pytest.approx(4.0 * share, **near)
    assert end["pMMET_pEGFR_METinh"] == pytest.approx(5.0 * share, **near)
    for dimer, amount in (("MMET_2", 2.0), ("pMMET_2", 3.0)):
        assert end[dimer] == pytest.approx(amount * (1 - share) ** 2, **near)
        assert end[f"{dimer}_METinh"] == pytest.approx(2 * amount * share * (1 - share), **near)
        assert end[f"{dimer}_METinh_2"] == pytest.approx(amount * share**2, **near)


@settings(max_examples=10, deadline=None)
@given(rates)
def test_pairing_keeps_the_balance_of_binding(drawn: list[tuple[float, float, float]]) -> None:
    """Detailed balance around the cycle of binding and pairing (Wegscheider): receptors that pair while binding is at
    equilibrium stay at equilibrium, at every time, in monomers, dimers and heterodimers."""
    kon, kd, dose = (10.0 ** np.array(column) for column in zip(*drawn, strict=True))
    simulator, share = still(True), dose / (dose + kd)
    start = {"MMET": 40.0 * (1 - share), "MMET_METinh": 40.0 * share, "EGFR": 10.0}
    given = {**start, "kon_METinh": kon, "koff_METinh": kon * kd, "METinh_uM": dose}
    state = simulator.init(members=np.arange(len(kon)), seed=0)
    state = simulator.perturb(state, [Perturbation(0.0, f"cell.{name}", value) for name, value in given.items()])
    _, end = simulator.step(state, {}, t0=0.0, t1=1e4, sample=(10.0, 100.0, 1000.0))
    share = share[:, None]
    near = {"rel": 1e-6, "abs": 1e-7}
    monomers, dimers = end["MMET"] + end["MMET_METinh"], sum(end[f"MMET_2{n}"] for n in ("", "_METinh", "_METinh_2"))
    assert (dimers[:, -1] > 1.0).all()
    assert end["MMET_METinh"] == pytest.approx(share * monomers, **near)
    assert end["MMET_2_METinh"] == pytest.approx(2 * share * (1 - share) * dimers, **near)
    assert end["MMET_2_METinh_2"] == pytest.approx(share**2 * dimers, **near)
    hetero = end["MMET_EGFR"] + end["MMET_EGFR_METinh"]
    assert end["MMET_EGFR_METinh"] == pytest.approx(share * hetero, **near)
    assert end["MET_all"] == pytest.approx(np.full_like(hetero, 40.0), rel=1e-7)  # receptors are kept


def test_mkn1_has_no_target() -> None:
    simulator = cell(("pAKT", "pMAPK", "pMET", "MET_all"), HS746T=0.0, MKN1=1.0)
    found = settle_and_treat(simulator, 2, ("CET_level", 10.0), ("METinh_uM", np.array([0.0, 10.0])))
    assert found["MET_all"].max() == pytest.approx(0.0, abs=1e-12)
    assert found["pAKT"][1] == pytest.approx(found["pAKT"][0], rel=1e-6)


# -- the tables beside the model


def test_compounds_are_the_measured_ones() -> None:
    compounds, problems = Compounds(table="compounds.csv", dose="d", kon="a", koff="b").read(FOLDER)  # pyright: ignore[reportCallIssue]
    assert problems == []
    with shared("gastric", "met_inhibitors", "inhibitors.tsv").open(newline="") as handle:
        facts = {r["compound"]: (r["smiles"], float(r["ic50_nM"])) for r in csv.DictReader(handle, delimiter="\t")}
    assert {c.id: (c.smiles, c.ic50_nM) for c in compounds} == facts
    assert len(facts) == 18


def test_tepotinib_is_the_one_we_name() -> None:
    """By structure: the INN's formula C29H28N6O2 and the InChIKey of the neutral molecule without stereo marks."""
    from rdkit import Chem
    from rdkit.Chem.MolStandardize import rdMolStandardize
    from rdkit.Chem.rdMolDescriptors import CalcMolFormula

    compounds, _ = Compounds(table="compounds.csv", dose="d", kon="a", koff="b").read(FOLDER)  # pyright: ignore[reportCallIssue]
    keys = {}
    for compound in compounds:
        molecule = rdMolStandardize.Uncharger().uncharge(Chem.MolFromSmiles(compound.smiles))
        Chem.RemoveStereochemistry(molecule)
        keys[compound.id] = Chem.MolToInchiKey(molecule), CalcMolFormula(molecule)
    assert keys["CHEMBL3402762"] == ("AHYMHWXQRWRBKT-UHFFFAOYSA-N", "C29H28N6O2")
    assert len(set(keys.values())) == 18


def test_measured_points_are_the_articles_over_their_scale() -> None:
    points = Measurement.read(FOLDER / "measurements.csv")
    scale = {row["parameterId"]: float(row["nominalValue"]) for row in table("parameters")}
    flags = {row["conditionId"]: row for row in table("experimentalCondition")}
    facts = []
    for row in table("measurementData"):
        condition = flags[row["simulationConditionId"]]
        kind, cetuximab = row["observableId"].split("_")[0], float(condition["CET_level"])
        line = "Hs746T" if condition["HS746T"] == "1" else "MKN1"
        given = [0.0, 1.0, 50.0 if line == "Hs746T" else 10.0]
        wanted = condition["full_medium"] == "1" and float(condition["EGF_level"]) == 5.0 and cetuximab in given
        if wanted and kind in ("pAKT", "pMAPK", "pEGFR") and float(row["time"]) <= 240.0:
            treatment = "EGF" if cetuximab == 0 else f"EGF + cetuximab {cetuximab:g} ug/ml"
            size = scale[row["observableParameters"]]
            value, sd = float(row["measurement"]) / size, float(row["noiseParameters"]) / size
            facts.append((line, treatment, kind, float(row["time"]), row["datasetId"], value, sd))
    columns = (
        points.cell_line,
        points.treatment,
        points.readout,
        points.time_min,
        points.dataset,
        points.value,
        points.sd,
    )
    ours = sorted(zip(*columns, strict=True))
    assert [row[:5] for row in ours] == [row[:5] for row in sorted(facts)]
    for row, fact in zip(ours, sorted(facts), strict=True):
        assert row[5:] == pytest.approx(fact[5:], rel=1e-5)  # six digits are written


def test_fit_is_of_this_cell_and_leaves_the_published_inhibitor_out() -> None:
    fit = Fit.read(FOLDER / "fit.csv", FOLDER / "fit_factor.csv")
    simulator = cell(("pAKT",))
    assert set(fit.drawn) <= set(simulator.targets)
    by_name = {p.name: p for p in fit.parameters}
    for name in ("KD_METinh", "kdim_MMETinh"):
        assert by_name[name].points == 0
        assert by_name[name].posterior_sd == by_name[name].prior_sd
        assert name not in fit.drawn
        assert name not in simulator.targets
    state = simulator.init(members=np.arange(1), seed=0)
    for name in fit.drawn:  # draw 0 is the cell as it is written
        own = state.arrays["p"][0, simulator.engine.parameters.index(name)]
        assert by_name[name].nominal == pytest.approx(own, rel=1e-12, abs=1e-20)


def test_drawn_cells_can_be_run() -> None:
    """Every draw of the shipped fit settles, and runs in the vehicle."""
    fit = Fit.read(FOLDER / "fit.csv", FOLDER / "fit_factor.csv")
    drawn = fit.draw(1, np.arange(100))
    simulator = ReactionSimulator(FOLDER / "cell.ant", readouts=("pAKT",), member_parameters=drawn)
    values = settle_and_treat(simulator, 100, ("CET_level", 10.0))["pAKT"]
    assert np.isfinite(values).all()
    assert values[0, -1] == pytest.approx(0.568, abs=5e-4)


# -- what the module's choices are worth (docs/decisions/0001-met-inhibitor-module.md)

CHOICES = {
    "as decided": ((), (218, 50, 41)),
    "one free kinase suffices": (
        (
            ("kdp_METinh*pMMET_2_METinh;", "kdp_METinh*0;"),
            ("MMET_made: ", "also_fires: MMET_2_METinh -> pMMET_2_METinh; kpho_MMET_2*MMET_2_METinh;\n  MMET_made: "),
        ),
        (337, 76, 61),
    ),
    "bound receptors do not pair": (
        (
            ("2*kdim_MMET_2*MMET*MMET_METinh", "0*MMET"),
            ("kdim_MMET_2*MMET_METinh^2", "0*MMET"),
            ("kdim_hetero*EGFR*MMET_METinh", "0*MMET"),
        ),
        (214, 48, 39),
    ),
    "bound receptors are taken in": (
        (
            (
                "MMET_made: ",
                "in_1: pMMET_2_METinh -> pMMET_2_i; kimp_pMMET_2*pMMET_2_METinh;\n"
                "  in_2: pMMET_2_METinh_2 -> pMMET_2_i; kimp_pMMET_2*pMMET_2_METinh_2;\n"
                "  in_3: pMMET_pEGFR_METinh -> pMMET_pEGFR_i; kimp_hetero*pMMET_pEGFR_METinh;\n  MMET_made: ",
            ),
        ),
        (206, 50, 41),
    ),
    "bound receptors do not signal": (
        (
            ("pMMET_2_i + pMMET_2_METinh + pMMET_2_METinh_2;", "pMMET_2_i;"),
            ("pMMET_pEGFR_i + pMMET_pEGFR_METinh;", "pMMET_pEGFR_i;"),
        ),
        (50, 41, 40),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_what_the_choices_of_the_module_are_worth(choice: str) -> None:
    """The dose [nM] that removes 90 % of the MET-driven AKT signal, for kdp of 0.1, 1 and 10 per minute, to 3 %."""
    changes, expected = CHOICES[choice]
    text = (FOLDER / "cell.ant").read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    doses = np.geomspace(0.01, 1.0, 13)  # uM; S is straight in log dose between two of them, to 1 %
    kdp = np.repeat([0.1, 1.0, 10.0], len(doses))
    own = 0.0263508050701968
    found = settle_and_treat(
        ReactionSimulator(text, readouts=("pAKT",)),
        2 + len(kdp),
        ("ksyn_MMET__HS746T_fm", np.array([own, 0.0, *np.full(len(kdp), own)])),
        ("CET_level", 10.0),
        ("METinh_uM", np.array([0.0, 0.0, *np.tile(doses, 3)])),
        ("kdp_METinh", np.array([1.0, 1.0, *kdp])),
    )["pAKT"]
    area = found[:, :-1].mean(axis=1)
    removed = ((area[0] - area[2:]) / (area[0] - area[1])).reshape(3, len(doses))
    ec90 = [1e3 * np.exp(np.interp(0.9, row, np.log(doses))) for row in removed]
    assert ec90 == pytest.approx(expected, rel=0.03)
