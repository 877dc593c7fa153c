"""The same bits on 1, 2, 3 and 4 MPI ranks as in one process, and one voice."""

from __future__ import annotations

import json
from pathlib import Path

import mpi_launch
import pytest
import small_scenario
from mpi_launch import needs_mpiexec
from same_result import opened, same_result

from scenarios import job
from scenarios.scenario import Scenario

TWIN = ("-m", "scenarios.cli", "run")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small scenario in one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert job.run(Scenario.load(small_scenario.write(folder)), out=folder / "small.zarr", processes=1) == job.DONE
    return folder / "small.zarr"


@needs_mpiexec
@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_ranks_change_no_bit(ranks: int, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.zarr"
    scenario = str(alone.parent / "small.yaml")
    done = mpi_launch.run(ranks, *TWIN, scenario, "--out", str(out), timeout_s=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("A species that is made and decays") == 1  # one rank speaks
    assert f"{ranks} MPI rank" in done.stdout
    same_result(alone, out)
    attrs = opened(out).attrs
    assert (attrs["run_executor"], attrs["run_workers"]) == ("mpi", ranks)


@needs_mpiexec
@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_all_scales_give_the_same_bits_on_ranks(ranks: int, gastric: Path, tmp_path: Path) -> None:
    """Molecules, cells, variance split and answer of the gastric twin."""
    out = tmp_path / "gastric.zarr"
    done = mpi_launch.run(ranks, *TWIN, str(gastric.parent / "gastric.yaml"), "--out", str(out), timeout_s=280)
    assert done.returncode == 0, done.stdout + done.stderr
    same_result(gastric, out)
    assert out.with_suffix(".html").stat().st_size > 100_000


@needs_mpiexec
def test_a_refusal_is_told_once_and_ends_all_ranks(tmp_path: Path) -> None:
    path = small_scenario.write(tmp_path, members="membrs: 3")
    done = mpi_launch.run(3, *TWIN, str(path), timeout_s=120)
    assert done.returncode == 2
    assert done.stderr.count("unknown key 'membrs'") == 1
    assert {p.name for p in tmp_path.iterdir()} == {"small.yaml"}


@needs_mpiexec
def test_what_only_the_root_can_refuse_ends_all_ranks(alone: Path) -> None:
    done = mpi_launch.run(3, *TWIN, str(alone.parent / "small.yaml"), "--out", str(alone), timeout_s=120)
    assert done.returncode == 2
    assert done.stderr.count("is there already. Replace it with --overwrite") == 1


def test_a_launcher_that_mpi_does_not_see_is_an_error_and_no_second_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`PMI_SIZE` of another MPI's launcher: each process would otherwise do the whole job."""
    import os
    import subprocess
    import sys

    path = small_scenario.write(tmp_path)
    told = subprocess.run(
        [sys.executable, *TWIN, str(path)],
        cwd=tmp_path,
        env={**mpi_launch.environment(), "PMI_SIZE": "4", "PMI_RANK": "0", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 2, told.stderr
    assert "started 4 processes, and the MPI library sees 1" in told.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"small.yaml"}


def test_settings_of_the_run_are_recorded(alone: Path) -> None:
    attrs = opened(alone).attrs
    assert attrs["run_executor"] == "serial"
    assert attrs["run_seconds_cells"] >= 0
    assert "numpy" in json.loads(attrs["versions"])
