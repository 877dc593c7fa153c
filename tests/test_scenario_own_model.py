"""A user's own SBML under its own names: the scenario of docs/own_model.md against the published model's own values."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from plain_run import names_of, trajectory
from shared_data import shared

from scenarios.model_consistency import Known, model_problems
from scenarios.scenario import Scenario

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own_model.md"


@pytest.fixture
def scenario_file(tmp_path: Path) -> Path:
    """The scenario of the page, beside its model."""
    shutil.copy(shared("models", "Bachmann_MSB2011", "model_Bachmann_MSB2011.xml"), tmp_path)
    (written,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "epo.yaml"
    path.write_text(written, encoding="utf-8")
    return path


def test_names_and_units_fit_the_model(scenario_file: Path) -> None:
    scenario = Scenario.load(scenario_file)
    targets, readable = names_of(scenario)
    assert model_problems(scenario, {"cell": Known(targets, readable)}) == []


def test_dose_gives_the_published_simulation(scenario_file: Path) -> None:
    """Benchmark collection, simulatedData, condition model1_data2 (Epo 1.25e-7): CIS at 120 min is 24.6100368089178.

    Tolerance: the parameters in the SBML and in the collection's table differ from the fifth digit on.
    """
    scenario = Scenario.load(scenario_file)
    arm = next(a for a in scenario.arms() if a.name == "wild type | Epo")
    assert trajectory(scenario, arm, "CIS", [-10, 0, 120]) == pytest.approx([0, 0, 24.6100368089178], rel=2e-5)


def test_more_epo_more_cis_and_transcription_stopped_none(scenario_file: Path) -> None:
    scenario = Scenario.load(scenario_file)
    arms = {a.name: a for a in scenario.arms()}
    series = [a for a in arms.values() if a.treatment == "Epo, dose series" and a.cell_line == "wild type"]
    values = [trajectory(scenario, a, "CIS", [120])[0] for a in series]
    assert values == sorted(values)
    stopped = trajectory(scenario, arms["wild type | Epo, transcription stopped"], "CIS", [240])
    assert stopped == pytest.approx([0.0], abs=1e-12)


def test_a_wrong_name_is_told_with_its_line(scenario_file: Path) -> None:
    scenario_file.write_text(scenario_file.read_text().replace("knock-out: CISInh", "knock-out: CIS_Inh"))
    scenario = Scenario.load(scenario_file)
    targets, readable = names_of(scenario)
    (problem,) = model_problems(scenario, {"cell": Known(targets, readable)})
    assert "no parameter or species 'CIS_Inh'; did you mean 'CISInh'" in problem.text
    assert scenario.source is not None
    text = scenario_file.read_text()
    assert scenario.source.line(problem.path) == text[: text.index("CIS_Inh")].count("\n") + 1
