"""What a run outlives: a rank that is killed, whichever it is, and a process that dies with its task again and again."""

from __future__ import annotations

import re
from pathlib import Path

import mpi_launch
import pytest
from mpi_launch import ROOT, needs_mpiexec, needs_ulfm

from hpc.crew import teams
from hpc.post import tolerates_faults
from scenarios.commands import faults

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
