"""A user's own SBML through `twin check` and `twin run`: the scenario of docs/own_model.md, end to end."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from plain_run import trajectory
from same_result import opened
from shared_data import shared

from scenarios.cli import main
from scenarios.scenario import Scenario

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own_model.md"


def test_the_scenario_of_the_page_is_checked_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Member 0 follows the published simulation (CIS at 120 min 24.610, condition model1_data2) and, in arms with and without
    changes in time, RoadRunner run in the plainest way."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(shared("models", "Bachmann_MSB2011", "model_Bachmann_MSB2011.xml"), tmp_path)
    (written,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    Path("epo.yaml").write_text(written, encoding="utf-8")
    assert main(["check", "epo.yaml"]) == 0
    assert main(["run", "epo.yaml", "--members", "3", "--processes", "1"]) == 0
    assert "results/epo.zarr" in capsys.readouterr().out
    found = opened(Path("results/epo.zarr"))
    assert found["CIS"].attrs["units"] == "nM"
    assert found["pSTAT5_share"].attrs["units"] == "percent"
    assert (found["status"] == 0).all()
    assert float(found["CIS"].sel(arm="wild type | Epo", member=0, time=120)) == pytest.approx(24.61004, rel=2e-5)
    assert {"init_STAT5", "STAT5ActEpoR", "SHP1ActEpoR"} <= set(found.coords)
    assert np.ptp(found["CIS"].sel(arm="wild type | Epo", time=120).values) > 0.1  # cells differ
    scenario = Scenario.load("epo.yaml")
    times = found["time"].values.tolist()
    for name in ("wild type | Epo, washed out", "SOCS3 overexpressed | Epo, no inhibition by CIS"):
        (arm,) = [arm for arm in scenario.arms() if arm.name == name]
        for readout in ("CIS", "SOCS3"):
            expected = trajectory(scenario, arm, readout, times)
            got = found[readout].sel(arm=name, member=0).values
            assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_a_species_set_below_zero_is_refused_when_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import small_scenario

    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path)
    text = Path("small.yaml").read_text(encoding="utf-8")
    Path("small.yaml").write_text(
        text.replace("- {bolus: A, dose: each, at: 0 min}", "- {set: A, to: -1 nM, at: 0 min}").replace(
            "    doses: [1 nM, 5 nM]\n", ""
        ),
        encoding="utf-8",
    )
    assert main(["check", "small.yaml"]) == 2
    assert "A is set to -1; it is an amount of something, and cannot be below 0" in capsys.readouterr().err


def test_compounds_without_kinetics_and_unknown_receptors_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gastric_run

    monkeypatch.chdir(tmp_path)
    text = gastric_run.write(tmp_path).read_text(encoding="utf-8")
    Path("receptor.yaml").write_text(text.replace("receptor: c-MET kinase", "receptor: c-MET kinas"), encoding="utf-8")
    assert main(["run", "receptor.yaml"]) == 2
    told = capsys.readouterr().err
    assert "molecular.receptor: receptor 'c-MET kinas' is not known; did you mean c-MET kinase?" in told
    start, end = text.index("molecular:\n"), text.index("arms:\n")
    Path("none.yaml").write_text(text[:start] + text[end:], encoding="utf-8")
    assert main(["run", "none.yaml"]) == 2
    assert "compounds: nothing says how fast they bind; add `molecular:`" in capsys.readouterr().err
    assert not Path("results").exists()


def test_a_species_whose_start_is_drawn_may_be_a_readout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import small_scenario

    monkeypatch.chdir(tmp_path)
    text = small_scenario.TEXT.replace("members: 150", "members: 3").replace("equilibrate: true", "equilibrate: false")
    text = text.replace("before: equilibration", "at: -10 min")
    text = text.replace(
        "      kdeg: {uniform", "      A: {uniform: [1 nM, 3 nM], source: assumed}\n      kdeg: {uniform"
    )
    Path("small.yaml").write_text(text, encoding="utf-8")
    assert main(["run", "small.yaml", "--processes", "1"]) == 0
    found = opened(Path("results/small.zarr"))
    assert_allclose(found["A"].sel(time=-10.0), np.broadcast_to(found["A_drawn"], found["A"].shape[:2]))
    assert float(found["A_drawn"].sel(member=0)) == 2.0
