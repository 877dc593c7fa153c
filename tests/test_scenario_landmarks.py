"""The arms of gastric_met_resistance, run on the published SBML of Raimúndez et al. 2020, give its known landmarks.

An independent check of the scenario file and of how changes become perturbations: the reference, RoadRunner alone,
nothing of our own cell model. Its `time < 0` gate is taken out, since the scenario's own clock starts at -180 min.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import libsbml
import pytest
from plain_run import trajectory
from shared_data import shared

from scenarios import shelf
from scenarios.scenario import Scenario
from scenarios.yaml_file import YamlFile

GATE = "piecewise(0, time < 0, 1)"


def ungated() -> str:
    """The reference SBML without gate and inhibitor."""
    document = libsbml.readSBMLFromFile(str(shared("gastric", "cell_model", "model_Raimundez_PCB2020.xml")))
    model = document.getModel()
    for name in ("EGF", "CET", "METinh"):
        rule = model.getRule(name)
        formula = libsbml.formulaToL3String(rule.getMath())
        assert GATE in formula
        rule.setMath(libsbml.parseL3Formula(formula.replace(GATE, "1")))
    model.getParameter("METinh_level").setValue(0.0)
    for parameter in model.getListOfParameters():
        parameter.setConstant(False)  # RoadRunner may then change it between two runs
    return str(libsbml.writeSBMLToString(document))


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """The library's scenario with the reference as its cell, and without what needs an inhibitor."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "reference.xml").write_text(ungated(), encoding="utf-8")
    file = YamlFile.read(shelf.LIBRARY / "gastric_met_resistance.yaml")
    data = {
        key: value
        for key, value in file.data.items()
        if key not in ("compounds", "uncertainty", "measured", "emulator")
    }
    data["cell"] = {**data["cell"], "model": "reference.xml"}
    data["cell"]["parameters"] = {n: v for n, v in data["cell"]["parameters"].items() if n != "METinh_uM"}
    data["arms"] = [arm for arm in data["arms"] if "compounds" not in arm]
    return Scenario.from_file(replace(file, folder=Path(folder), data=data))


@pytest.mark.parametrize(
    ("arm", "readout", "time", "value"),
    [
        ("MKN1 | EGF", "pMAPK", 5, 0.711),
        ("MKN1 | EGF + cetuximab", "pMAPK", 5, 0.236),
        ("Hs746T | EGF", "pAKT", 240, 0.425),
        ("Hs746T | EGF + cetuximab", "pAKT", 240, 0.568),
        ("Hs746T | EGF + cetuximab + MET knock-out", "pAKT", 240, 0.007),
        ("Hs746T | EGF + cetuximab + MET knock-out", "pMAPK", 240, 0.232),
    ],
)
def test_landmarks(scenario: Scenario, arm: str, readout: str, time: float, value: float) -> None:
    """To the three digits in which the landmarks are stated."""
    (found,) = [a for a in scenario.arms() if a.name == arm]
    assert trajectory(scenario, found, readout, [time])[0] == pytest.approx(value, abs=5e-4)


def test_measured_arms_give_both_drugs_at_zero(scenario: Scenario) -> None:
    measured = [arm for arm in scenario.arms() if arm.protocol == "measured"]
    assert len(measured) == 6
    assert all(p.time == 0.0 for arm in measured for p in arm.perturbations)
    assert all(arm.name.endswith(" (measured protocol)") for arm in measured)
