"""A run as a whole: what it writes, what it refuses, how it goes on after a kill, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import killed_run
import numpy as np
import pytest
import small_scenario
import xarray
from numpy.testing import assert_allclose
from same_result import opened, same_result

from scenarios import job, report
from scenarios.cli import main
from scenarios.scenario import Scenario
from simulators.reaction import ReactionSimulator
from twin import State

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the small scenario."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = small_scenario.write(folder)
    assert job.run(Scenario.load(path), out=folder / "small.zarr", processes=1) == job.DONE
    return folder / "small.zarr"


def left(folder: Path) -> set[str]:
    """Names in a folder."""
    return {path.name for path in folder.iterdir()}


def test_a_run_leaves_result_page_and_log_and_nothing_else(undisturbed: Path) -> None:
    assert left(undisturbed.parent) == {"small.yaml", "small.zarr", "small.html", "small.log"}
    assert "cells" in (undisturbed.parent / "small.log").read_text(encoding="utf-8")


def test_the_result_is_labelled_and_says_where_it_comes_from(undisturbed: Path) -> None:
    found = opened(undisturbed)
    assert found["A"].dims == ("arm", "member", "time")
    assert found["A"].attrs == {"units": "nM", "long_name": "amount"}
    assert found["time"].attrs["units"] == "min"
    assert found["time"].values.tolist() == [-10.0, 0.0, 20.0]
    assert found["arm"].values.tolist()[:4] == ["one | none", "other | none", "one | bolus, 1 nM", "one | bolus, 5 nM"]
    assert set(found["cell_line"].values) == {"one", "other"}
    assert found["kdeg"].dims == ("member",)
    assert found["ksyn"].dims == ("arm", "member")  # the lines differ
    assert found["kdeg"].attrs["units"] == "1/min"
    assert (found["status"] == 0).all()
    assert (found["answered_by"] == 0).all()
    asked = Scenario.load(undisturbed.parent / "small.yaml")
    assert found.attrs["scenario_sha256"] == asked.sha256
    assert found.attrs["seed"] == 3
    assert json.loads(found.attrs["versions"])["kakehashi"] == found.attrs["kakehashi_version"]
    assert {"title", "question", "files", "Conventions"} <= set(found.attrs)


def test_courses_follow_their_closed_form(undisturbed: Path) -> None:
    """A rests at ksyn / kdeg, a bolus decays as exp(-kdeg t), and without synthesis there is nothing."""
    found = opened(undisturbed)
    rest = (found["ksyn"] / found["kdeg"]).transpose("arm", "member")
    dose = found["dose_uM"].fillna(0.0) * 1e3
    for time in (-10.0, 0.0, 20.0):
        given = dose * np.exp(-found["kdeg"] * time) if time >= 0 else 0.0 * dose
        expected = xarray.where(found["treatment"] == "knock-out", 0.0, rest + given).transpose("arm", "member")
        assert_allclose(found["A"].sel(time=time), expected, rtol=1e-6, atol=1e-9)


def test_member_0_is_the_unperturbed_cell(undisturbed: Path) -> None:
    nominal = opened(undisturbed).sel(member=0)
    assert nominal["ksyn"].sel(arm="one | none") == 2.0
    assert nominal["ksyn"].sel(arm="other | none") == 4.0
    assert_allclose(nominal["kdeg"], 0.1)  # the median of uniform 0.05 … 0.15


def test_worker_processes_give_the_same_bits(undisturbed: Path, tmp_path: Path) -> None:
    asked = Scenario.load(undisturbed.parent / "small.yaml")
    assert job.run(asked, out=tmp_path / "two.zarr", processes=2) == job.DONE
    same_result(undisturbed, tmp_path / "two.zarr")


def test_members_are_the_same_cells_in_a_smaller_cohort(undisturbed: Path, tmp_path: Path) -> None:
    asked = Scenario.load(undisturbed.parent / "small.yaml").with_changes(members=7)
    job.run(asked, out=tmp_path / "seven.zarr", processes=1)
    few, many = opened(tmp_path / "seven.zarr"), opened(undisturbed).isel(member=slice(0, 7))
    assert few["A"].values.tobytes() == np.ascontiguousarray(many["A"].values).tobytes()


@pytest.mark.parametrize("moment", killed_run.MOMENTS)
def test_a_killed_run_goes_on_and_ends_in_the_same_bits(moment: str, undisturbed: Path, tmp_path: Path) -> None:
    scenario, out = small_scenario.write(tmp_path), tmp_path / "small.zarr"
    script = Path(killed_run.__file__)
    died = subprocess.run(
        [sys.executable, str(script), str(scenario), str(out), moment],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{script.parent}"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert not (tmp_path / "small.html").exists()
    assert (tmp_path / ".small.zarr.journal").exists()
    asked = Scenario.load(scenario)
    with pytest.raises(Exception, match=r"--resume|already"):
        job.run(asked, out=out, processes=1)
    assert job.run(asked, out=out, resume=True, processes=1) == job.DONE
    same_result(undisturbed, out)
    assert left(tmp_path) == {"small.yaml", "small.zarr", "small.html", "small.log"}


def test_finished_work_is_not_done_again(undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when only the page was left: no cell is integrated after that."""
    scenario, out = small_scenario.write(tmp_path), tmp_path / "small.zarr"
    monkeypatch.setattr(report, "write", _raise)
    with pytest.raises(ZeroDivisionError):
        job.run(Scenario.load(scenario), out=out, processes=1)
    monkeypatch.undo()
    monkeypatch.setattr(ReactionSimulator, "step", _raise)
    assert job.run(Scenario.load(scenario), out=out, resume=True, processes=1) == job.DONE
    same_result(undisturbed, out)


def _raise(*arguments: object, **options: object) -> None:
    raise ZeroDivisionError("not to be called, or broken")


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with the finished result, and this as the current one."""
    for name in left(undisturbed.parent):
        source = undisturbed.parent / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """When and how large every file in a folder is."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()}


def test_resume_of_a_finished_run_does_nothing(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = stamps(finished)
    assert main(["run", "small.yaml", "--out", "small.zarr", "--resume"]) == 0
    assert "small.zarr is finished: nothing to resume" in capsys.readouterr().out
    assert stamps(finished) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "small.zarr is there already. Replace it with --overwrite"),
        (["--resume", "--seed", "4"], "seed: 3 there, 4 now"),
        (["--resume", "--members", "9"], "scenario_sha256"),
        (["--out", "small.yaml"], "expected the name of a result"),
        (["--out", "."], "expected the name of a result"),
        (["--out", "folder"], "is no result of `twin run`; it stays as it is"),
        (["--out", "folder", "--overwrite"], "is no result of `twin run`; it stays as it is"),
        (["--out", "small.yaml/x.zarr"], "no folder that can be written to"),
    ],
)
def test_what_would_overwrite_or_mix_is_refused_and_leaves_all_as_it_was(
    arguments: list[str], says: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (finished / "folder").mkdir()
    (finished / "folder" / "thesis.txt").write_text("three years")
    before = stamps(finished)
    given = arguments if "--out" in arguments else [*arguments, "--out", "small.zarr"]
    assert main(["run", "small.yaml", *given, "--processes", "1"]) == 2
    assert says in capsys.readouterr().err
    assert stamps(finished) == before


def test_overwrite_replaces_the_result(finished: Path) -> None:
    assert main(["run", "small.yaml", "--out", "small.zarr", "--members", "2", "--overwrite", "--processes", "1"]) == 0
    assert opened(finished / "small.zarr").sizes["member"] == 2
    assert left(finished) == {"small.yaml", "small.zarr", "small.html", "small.log"}


def test_an_unfinished_run_is_resumed_only_on_what_it_was_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job.result, "write", _raise)
    small_scenario.write(tmp_path, members="members: 2")
    assert main(["run", "small.yaml", "--processes", "1"]) == 4
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert main(["run", "small.yaml", "--processes", "1", "--resume", "--seed", "8"]) == 2
    assert "belongs to a run on something else" in capsys.readouterr().err
    small_scenario.write(tmp_path, members="members: 2", ksyn="ksyn: {lognormal: {cv: 0.2}, source: assumed}")
    assert main(["run", "small.yaml", "--processes", "1", "--resume"]) == 2
    small_scenario.write(tmp_path, members="members: 2")
    assert main(["run", "small.yaml", "--processes", "1", "--resume"]) == 0
    assert left(tmp_path / "results") == {"small.zarr", "small.html", "small.log"}


def test_a_dry_run_tells_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path)
    before = stamps(tmp_path)
    assert main(["run", "small.yaml", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "8 arms x 150 members = 1,200 courses in 12 tasks" in told
    assert "an estimate" in told
    assert "results/small.zarr" in told
    assert stamps(tmp_path) == before
    assert left(tmp_path) == {"small.yaml"}


def test_members_that_cannot_be_integrated_are_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With growth as A², some cells blow up within the run; the others are as they would be."""
    monkeypatch.chdir(tmp_path)
    text = small_scenario.TEXT.replace("members: 150", "members: 8")
    text = text.replace(
        "      kdeg: {uniform", "      grow: {uniform: [-0.1, 0.1], source: assumed}\n      kdeg: {uniform"
    )
    text = text.replace("equilibrate: true", "equilibrate: false").replace("before: equilibration", "at: -10 min")
    Path("small.yaml").write_text(text, encoding="utf-8")
    assert main(["run", "small.yaml", "--processes", "1"]) == 3
    told = capsys.readouterr().out
    found = opened(Path("results/small.zarr"))
    failed = found["status"].values != 0
    assert failed.any()
    assert not failed.all()
    assert np.isnan(found["A"].values[failed][:, -1]).all()
    assert np.isfinite(found["A"].values[~failed]).all()
    arm, member = (int(i) for i in np.argwhere(failed)[0])
    assert f"arm {str(found['arm'].values[arm])!r}, member {member}, simulator 'cell': " in told
    assert "set aside" in told
    meanings = dict(
        zip(found["status"].attrs["flag_values"], found["status"].attrs["flag_meanings"].split(), strict=True)
    )
    assert set(found["status"].values[failed]) <= set(meanings)


def test_a_simulator_that_breaks_costs_its_arm_and_member_only(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One cell of one arm makes the engine raise what engines do not raise."""
    whole = opened(undisturbed)
    victim = float(whole["A"].sel(arm="one | bolus, 5 nM", member=70, time=0.0))
    real = ReactionSimulator.step

    def fragile(self: ReactionSimulator, state: State, *arguments: Any, **times: Any) -> Any:
        if np.isclose(state.arrays["x"], victim, rtol=1e-9).any():
            raise RuntimeError("segmentation of a vault")
        return real(self, state, *arguments, **times)

    monkeypatch.setattr(ReactionSimulator, "step", fragile)
    asked = Scenario.load(undisturbed.parent / "small.yaml")
    assert job.run(asked, out=tmp_path / "small.zarr", processes=1) == job.SET_ASIDE
    found = opened(tmp_path / "small.zarr")
    broken = np.argwhere(found["status"].values != 0)
    assert [(str(found["arm"].values[a]), m) for a, m in broken] == [("one | bolus, 5 nM", 70)]
    assert int(found["status"].values.max()) == 100
    told = capsys.readouterr().out
    assert (
        "arm 'one | bolus, 5 nM', member 70: simulator 'cell', member 70, from 0 to 20: RuntimeError: segmentation"
        in told
    )
    fine = found["status"].values == 0
    assert found["A"].values[fine].tobytes() == whole["A"].values[fine].tobytes()


def test_every_task_lost_is_an_internal_error_and_keeps_nothing_as_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path, members="members: 2")
    monkeypatch.setattr("scenarios.cell_runner.advance", _raise)
    assert main(["run", "small.yaml", "--processes", "1"]) == 4
    assert "every task failed" in capsys.readouterr().err
    assert not Path("results/small.zarr").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_ends_cleanly_and_says_how_to_go_on(
    number: signal.Signals, code: int, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path)
    real, calls = ReactionSimulator.step, [0]

    def interrupted(self: ReactionSimulator, *arguments: Any, **times: Any) -> Any:
        calls[0] += 1
        if calls[0] == 12:
            os.kill(os.getpid(), number)
        return real(self, *arguments, **times)

    monkeypatch.setattr(ReactionSimulator, "step", interrupted)
    assert main(["run", "small.yaml", "--out", "small.zarr", "--processes", "1"]) == code
    told = capsys.readouterr().err
    assert told.startswith("stopped: ")
    assert "twin run small.yaml --out small.zarr --processes 1 --resume" in told
    assert not Path("small.zarr").exists()
    assert main(["run", "small.yaml", "--out", "small.zarr", "--processes", "1", "--resume"]) == 0
    same_result(undisturbed, tmp_path / "small.zarr")


def test_a_table_that_changed_is_another_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's file is named by the scenario, so its bytes are part of the run's fingerprint."""
    monkeypatch.chdir(tmp_path)
    model = "A = 0; ksyn = 2; kdeg = 0.1; grow = 0; J1: -> A; ksyn; J2: A -> ; kdeg * A"
    lines = small_scenario.TEXT.splitlines()
    first = next(i for i, line in enumerate(lines) if "antimony:" in line)
    lines[first : first + 5] = ["  model: model.ant"]
    Path("small.yaml").write_text("\n".join(lines).replace("members: 150", "members: 2"), encoding="utf-8")
    Path("model.ant").write_text(model, encoding="utf-8")
    assert main(["run", "small.yaml", "--processes", "1"]) == 0
    Path("model.ant").write_text(model + "; J3: A -> ; 0.1 * A", encoding="utf-8")
    assert main(["run", "small.yaml", "--processes", "1", "--resume"]) == 2
