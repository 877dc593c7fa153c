"""A run in which a learned emulator answers where its gate vouches: who answered, the same bits, and wrong checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from same_result import opened, same_result

from scenarios import job, shelf, training
from scenarios.cli import main
from scenarios.scenario import Scenario

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in receptor scenario with an emulator that was hardly trained, at a tolerance that forgives it."""
    from surrogates.emulator_training import Training

    place = tmp_path_factory.mktemp("emulated")
    text = (shelf.LIBRARY / "receptor_dimerisation.yaml").read_text(encoding="utf-8")
    text = text.replace("members: 50", "members: 9") + "\nvariance: {rows: 4, epistemic: 2, cells: 3}\n"
    (place / "plain.yaml").write_text(text, encoding="utf-8")
    plan = training.Plan(training=60, validation=20, calibration=200, test=40, arms=3)
    training.train(
        Scenario.load(place / "plain.yaml"), place / "em.safetensors", plan=plan, training=Training(epochs=4)
    )
    for use in ("auto", "mechanism", "emulator"):
        choice = f"emulator: {{checkpoint: em.safetensors, tolerance: 95 %, use: {use}}}\n"
        (place / f"{use}.yaml").write_text(text + choice, encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def emulated(folder: Path) -> Path:
    """The result with the emulator in use."""
    assert job.run(Scenario.load(folder / "emulator.yaml"), out=folder / "e.zarr", processes=1) == job.DONE
    return folder / "e.zarr"


def test_the_result_tells_who_answered_and_why(emulated: Path) -> None:
    found = opened(emulated)
    share = float((found["answered_by"].values == 1).mean())
    assert 0 < share <= 1
    trust = json.loads(found.attrs["trust"])
    assert trust["share_answered"] == share
    assert trust["tolerance"] == 0.95
    assert trust["decision"]
    assert found["answered_by"].attrs["flag_meanings"] == "mechanism emulator"
    assert np.isfinite(found["D"].values).all()


def test_workers_change_no_bit_of_what_is_learned(emulated: Path, folder: Path) -> None:
    assert job.run(Scenario.load(folder / "emulator.yaml"), out=folder / "two.zarr", processes=2) == job.DONE
    same_result(emulated, folder / "two.zarr")


def test_mechanism_answers_all_when_it_is_chosen(emulated: Path, folder: Path) -> None:
    """Members for whom the gate did not vouch have the same bits in both runs."""
    assert job.run(Scenario.load(folder / "mechanism.yaml"), out=folder / "m.zarr", processes=1) == job.DONE
    mechanism, mixed = opened(folder / "m.zarr"), opened(emulated)
    assert (mechanism["answered_by"].values == 0).all()
    by_mechanism = mixed["answered_by"].values == 0
    assert mechanism["D"].values[by_mechanism].tobytes() == mixed["D"].values[by_mechanism].tobytes()
    assert json.loads(mechanism.attrs["trust"])["share_answered"] == 0.0


def test_another_scenarios_emulator_is_refused_and_nothing_is_left(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (folder / "emulator.yaml").read_text(encoding="utf-8").replace("kdeg * RL", "2 * kdeg * RL")
    (tmp_path / "other.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "em.safetensors").write_bytes((folder / "em.safetensors").read_bytes())
    for command in ("check", "run"):
        assert main([command, "other.yaml"]) == 2
        told = capsys.readouterr().err
        assert "emulator.checkpoint: " in told
        assert "em.safetensors" in told
    assert {path.name for path in tmp_path.iterdir()} == {"other.yaml", "em.safetensors"}
