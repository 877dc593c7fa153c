"""What a run outlives: a rank that is killed, whichever it is, and a process that dies with its task again and again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import mpi_launch
import pytest
import small_scenario
from mpi_launch import ROOT, needs_mpiexec, needs_ulfm
from same_result import opened

from hpc.crew import teams
from hpc.roll import tolerates_faults
from scenarios.commands import faults
from scenarios.tasks import LOST

JOB = str(ROOT / "tests" / "mpi_job.py")


@needs_ulfm
@pytest.mark.slow
def test_a_run_ends_in_the_same_bits_whichever_rank_is_killed(tmp_path: Path) -> None:
    """The short form of `twin bench faults`."""
    for kill in faults.kills(tmp_path, count=2, seed=3, members=300, ranks=2):
        assert kill.passed, f"{kill}\n{kill.said}"
        assert kill.records == 10


@needs_ulfm
@pytest.mark.slow
@pytest.mark.parametrize(("victim", "group", "says"), [(0, 2, "took over"), (1, 3, "led"), (2, 3, "led")])
def test_ranks_that_lead_others_and_ranks_that_are_led(victim: int, group: int, says: str, tmp_path: Path) -> None:
    """Five ranks: 1 leads 2 (and 3 leads 4), or 1 leads 2 and 3."""
    done = mpi_launch.run(
        5, JOB, "survive", str(tmp_path), tolerant=True, VICTIM=str(victim), TWIN_MPI_GROUP=str(group)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"survived {says}\n"


@needs_mpiexec
@pytest.mark.slow
def test_a_job_that_dies_with_its_rank_is_resumed_on_fewer_ranks(tmp_path: Path) -> None:
    """Without fault tolerance, on 2 ranks after 3: the same bits; the long form goes on on 7 as well."""
    (kill,) = faults.kills(tmp_path, count=1, seed=3, members=200, ranks=3, tolerant=False)
    assert kill.passed, f"{kill}\n{kill.said}"
    assert kill.resumed_on == 2


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [0, pytest.param(2, marks=needs_mpiexec)])
def test_a_task_that_kills_its_process_is_named_and_the_rest_completes(ranks: int, tmp_path: Path) -> None:
    script, scenario, out = str(ROOT / "tests" / "lethal_run.py"), small_scenario.write(tmp_path), tmp_path / "r.zarr"
    options = [script, str(scenario), "--out", str(out)]
    if ranks:
        done = mpi_launch.run(ranks, *options, timeout_s=200)
    else:
        done = subprocess.run(
            [sys.executable, *options, "--processes", "2"], env=mpi_launch.environment(), capture_output=True, text=True,
            timeout=200, check=False,
        )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    named = "arm 'one | none' and 2 more, members 64 … 127 drawn from seed 3: WorkerDied: set aside after 3 worker processes"
    found = opened(out)
    assert (found["status"].values == LOST).sum() == 3 * 64
    assert named in json.loads(found.attrs["set_aside"])[0]
    for text in (done.stdout, out.with_suffix(".html").read_text(), out.with_suffix(".log").read_text()):
        assert "members 64 … 127 drawn from seed 3" in text


def test_a_run_that_is_out_of_time_ends_with_75_and_goes_on(tmp_path: Path) -> None:
    """Two seconds are not enough to begin with; the same command goes on, as a job script does, until it is done."""
    scenario, out = str(small_scenario.write(tmp_path)), tmp_path / "r.zarr"
    command = [
        sys.executable,
        "-m",
        "scenarios.cli",
        "run",
        scenario,
        "--out",
        str(out),
        "--processes",
        "1",
        "--resume",
    ]
    first = subprocess.run(
        [*command, "--walltime", "00:00:01"], env=mpi_launch.environment(), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert first.returncode == 75, first.stdout + first.stderr
    assert re.search(r"the time given \(--walltime\) is over\. What is finished is kept(.|\n)*--resume", first.stderr)
    last = subprocess.run(
        [*command, "--walltime", "01:00:00"], env=mpi_launch.environment(), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert last.returncode == 0, last.stdout + last.stderr


@needs_mpiexec
@pytest.mark.slow
def test_two_levels_give_the_same_results(tmp_path: Path) -> None:
    done = mpi_launch.run(5, JOB, "results", str(tmp_path), TWIN_MPI_GROUP="3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"mpi 5 [0-9a-f]{64}\n", done.stdout)


def test_who_answers_to_whom() -> None:
    assert teams(range(1, 5)) == {1: (), 2: (), 3: (), 4: ()}
    assert teams(range(1, 6), 2) == {1: (2,), 3: (4,), 5: ()}
    large = teams(range(1, 82_944))
    assert len(large) == 288
    assert sorted([*large, *(rank for group in large.values() for rank in group)]) == list(range(1, 82_944))
    assert max(len(group) for group in large.values()) == 287


def test_whether_the_launcher_tolerates_faults() -> None:
    assert tolerates_faults({"OMPI_MCA_mpi_ft_enable": "1"})
    assert not tolerates_faults({"OMPI_MCA_mpi_ft_enable": "0"})
    assert not tolerates_faults({})
