"""A scenario file: what it holds when it is right, and that it stays the same when it is written and read again."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from scenarios import shelf
from scenarios.scenario import Scenario
from scenarios.schema import schema
from scenarios.template import STARTER, write
from scenarios.yaml_file import YamlFile
from twin.errors import InputError
from twin.perturbation import Perturbation

STARTER_TEXT = STARTER.format(name="demo", file="demo.yaml")


def read(text: str, folder: Path = Path()) -> Scenario:
    return Scenario.from_file(YamlFile.parse(text, name="demo.yaml", folder=folder))


def test_starter_makes_an_arm_per_cell_line_and_dose() -> None:
    arms = read(STARTER_TEXT).arms()
    # no ligand, ligand, 3 doses, knock-down; each for two lines
    assert len(arms) == 2 * (1 + 1 + 3 + 1)
    assert len({arm.name for arm in arms}) == len(arms)
    series = [arm for arm in arms if arm.treatment == "ligand, dose series" and arm.cell_line == "wild type"]
    assert [arm.dose_uM for arm in series] == [0.001, 0.01, 0.1]
    assert [arm.perturbations[0].value for arm in series] == [1.0, 10.0, 100.0]  # in nM, the units of L


def test_knock_down_comes_before_equilibration_and_the_dose_after() -> None:
    arm = next(arm for arm in read(STARTER_TEXT).arms() if "knock-down" in arm.treatment)
    assert arm.before_equilibration == (Perturbation(-30.0, "cell.ksyn", 0.2, "scale"),)
    assert arm.perturbations == (
        Perturbation(0.0, "cell.L", 10.0, "set"),
        Perturbation(60.0, "cell.L", 0.0, "set"),
    )


def test_sample_times_hold_start_stimulus_step_and_end() -> None:
    times = read(STARTER_TEXT).sample_times
    assert times == tuple(float(t) for t in range(-30, 241, 10))


def test_sample_times_hold_what_the_answer_needs() -> None:
    text = STARTER_TEXT + (
        "answer: {readout: P, window: [7 min, 200 min], cell_line: wild type, vehicle: ligand,\n"
        "         positive_control: ligand + receptor knock-down, washout_at: 61 min}\n"
    )
    scenario = read(text)
    assert {7.0, 61.0, 200.0} <= set(scenario.sample_times)
    assert scenario.answer is not None
    assert scenario.answer.removed_share == 0.9


def test_parameters_of_a_line_stand_over_the_cells() -> None:
    text = STARTER_TEXT.replace("  equilibrate: true", "  parameters: {ksyn: 1 uM/h, kdeg: 0.02}\n  equilibrate: true")
    scenario = read(text)
    assert scenario.parameters("wild type") == {"ksyn": 0.1, "kdeg": 0.02}
    without_lines = read(
        STARTER_TEXT.replace("cell_lines:", "# cell_lines:")
        .replace("  wild type: {", "  # {")
        .replace("  half the receptor: {", "  # {")
    )
    assert without_lines.lines == ("cell",)


@pytest.mark.parametrize("name", ["receptor_dimerisation"])
def test_canonical_yaml_is_a_fixed_point(name: str) -> None:
    scenario = Scenario.load(name)
    text = scenario.canonical_yaml()
    again = read(text, scenario.folder)
    assert again.canonical_yaml() == text
    assert again.sha256 == scenario.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert again.arms() == scenario.arms()


def test_sha256_sees_content_and_not_comments() -> None:
    one = read(STARTER_TEXT)
    assert read(STARTER_TEXT + "# a remark\n").sha256 == one.sha256
    assert read(STARTER_TEXT.replace("seed: 1 ", "seed: 2 ")).sha256 != one.sha256
    assert one.with_changes(seed=2).sha256 == read(STARTER_TEXT.replace("seed: 1 ", "seed: 2 ")).sha256


def test_text_that_looks_like_a_number_stays_text() -> None:
    scenario = read(STARTER_TEXT.replace("treatment: no ligand", 'treatment: "1e5"'))
    assert read(scenario.canonical_yaml()).treatments[0].treatment == "1e5"


def test_changes_of_members_are_checked() -> None:
    scenario = read(STARTER_TEXT)
    assert scenario.with_changes(members=3).members == 3
    with pytest.raises(InputError, match="members 0: expected a whole number from 1"):
        scenario.with_changes(members=0)
    with pytest.raises(InputError, match="seed -1"):
        scenario.with_changes(seed=-1)


def test_scenario_is_frozen() -> None:
    scenario = read(STARTER_TEXT)
    with pytest.raises(ValueError, match="frozen"):
        scenario.seed = 7  # pyright: ignore[reportAttributeAccessIssue]


def test_files_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "cell.ant").write_text("L = 0; R = 1; J: R -> ; 0.1 * R\n")
    (tmp_path / "ligands.csv").write_text("# ours\ncompound,smiles,ic50_nM\nA,CCO,12\nB,c1ccccc1,\n")
    (tmp_path / "s.yaml").write_text(
        "name: s\ntitle: t\ncell: {model: cell.ant, units: {L: uM, kon: 1/(uM min), koff: 1/min}}\nreadouts: {R: r}\n"
        "time: {start: 0 min, end: 10 min}\n"
        "compounds: {table: ligands.csv, list: [{id: C, smiles: CCN, ic50: 3 uM}], dose: L, kon: kon, koff: koff}\n"
        "arms:\n  - treatment: t\n    compounds: all\n    doses: [1 nM, 1 uM]\n"
        "    changes: [{hold: compound, dose: each, at: 0 min}]\n"
    )
    scenario = Scenario.load(tmp_path / "s.yaml")
    assert set(scenario.files) == {"cell.ant", "ligands.csv"}
    assert scenario.files["cell.ant"] == hashlib.sha256((tmp_path / "cell.ant").read_bytes()).hexdigest()
    assert [c.id for c in scenario.candidates] == ["A", "B", "C"]
    assert [c.measured for c in scenario.candidates] == [True, False, True]
    assert scenario.candidates[2].ic50_nM == 3000.0
    arms = scenario.arms()
    assert [(a.compound, a.dose_uM) for a in arms] == [(c, d) for c in "ABC" for d in (0.001, 1.0)]
    assert arms[0].name == "cell | t, A 1 nM"


def test_measured_protocol_marks_name_and_treatment() -> None:
    text = STARTER_TEXT.replace(
        "treatment: ligand\n    role: vehicle", "treatment: ligand\n    protocol: measured\n    role: measured"
    )
    arm = next(arm for arm in read(text).arms() if arm.protocol == "measured")
    assert arm.treatment == "ligand (measured protocol)"
    assert arm.name == "wild type | ligand (measured protocol)"
    assert math.isnan(arm.dose_uM)


def test_schema_is_valid_and_accepts_what_we_accept() -> None:
    json_schema = schema()
    jsonschema.Draft202012Validator.check_schema(json_schema)
    validator = jsonschema.Draft202012Validator(json_schema)
    for path in sorted(shelf.LIBRARY.glob("*.yaml")):
        assert [e.message for e in validator.iter_errors(YamlFile.read(path).data)] == []
    starter = dict(YamlFile.parse(STARTER_TEXT, name="s", folder=Path()).data)
    assert list(validator.iter_errors(starter)) == []
    assert [e.message for e in validator.iter_errors({**starter, "membrs": 3})] == [
        "Additional properties are not allowed ('membrs' was unexpected)"
    ]
    wrong = {**starter, "arms": [{"treatment": "x", "changes": [{"hold": "L"}]}]}
    assert list(validator.iter_errors(wrong))


def test_new_refuses_to_overwrite_and_bad_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write("mine")
    assert Scenario.load(path).name == "mine"
    path.write_text("changed")
    with pytest.raises(InputError, match=r"mine\.yaml is there already and stays as it is"):
        write("mine")
    assert path.read_text() == "changed"
    with pytest.raises(InputError, match="expected a short name"):
        write("my twin")
    with pytest.raises(InputError, match="cannot be written"):
        write("nowhere/mine")


def test_every_library_scenario_has_a_title() -> None:
    for name in shelf.names():
        assert shelf.title(shelf.LIBRARY / f"{name}.yaml")


def test_gastric_arms_are_those_of_the_question() -> None:
    """18 compounds x at least 8 doses from 0.1 nM to 30 uM on Hs746T, controls, wash-out, and MKN1's."""
    scenario = Scenario.load("gastric_met_resistance")
    arms = scenario.arms()
    dosed = [a for a in arms if a.treatment == "EGF + cetuximab + inhibitor" and a.cell_line == "Hs746T"]
    assert len({a.compound for a in dosed}) == 18
    doses = np.unique([a.dose_uM for a in dosed])
    assert len(doses) >= 8
    assert (doses.min(), doses.max()) == (0.0001, 30.0)
    assert {a.treatment for a in arms if a.cell_line == "MKN1" and a.protocol == "twin"} == {
        "no EGF", "EGF", "EGF + cetuximab", "EGF + cetuximab + inhibitor",
    }  # fmt: skip
    washed = [a for a in arms if a.role == "washout"]
    assert {a.compound for a in washed} == {a.compound for a in dosed}
    assert all(Perturbation(0.0, "cell.METinh_uM", 0.0, "set") in a.perturbations for a in washed)
    vehicle = next(a for a in arms if a.name == "Hs746T | EGF + cetuximab")
    assert vehicle.perturbations == (
        Perturbation(-180.0, "cell.CET_level", 10.0, "set"),
        Perturbation(0.0, "cell.EGF_level", 5.0, "set"),
    )
    assert {-180.0, 0.0, 5.0, 60.0, 240.0} <= set(scenario.sample_times)
    assert scenario.members >= 200
