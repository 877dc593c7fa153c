"""Runs whose simulators are placed on ranks of which some are killed: they go on by themselves, and end in the bits of any other run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import coupled_scenario
import mpi_launch
import pytest
from coupled_scenario import RING
from mpi_launch import ROOT, needs_ulfm
from same_result import opened, same_result

from hpc.placement import Placement
from scenarios import job
from scenarios.scenario import Scenario
from scenarios.tasks import LOST

REMOTE = str(ROOT / "tests" / "remote_job.py")
MORTAL = str(ROOT / "tests" / "mortal_run.py")


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two species that make each other, in 100 members, so in four tasks; run in one process."""
    folder = tmp_path_factory.mktemp("ring")
    shorter = ("members: 4", "members: 100"), ("end: 10 min", "end: 5 min"), ("windows: 30 s", "windows: 1 min")
    path = coupled_scenario.write(folder, RING, *shorter)
    assert job.run(Scenario.load(path), out=folder / "alone.zarr", processes=1) == job.DONE
    return path


def ran(ring: Path, out: Path, ranks: int, deaths: str, *place: str) -> subprocess.CompletedProcess[str]:
    """The same on ranks of which some die."""
    options = ("run", str(ring), "--out", str(out), "--place", *place)
    return mpi_launch.run(ranks, MORTAL, deaths, *options, timeout_s=100, tolerant=True)


@needs_ulfm
@pytest.mark.slow
def test_a_run_goes_on_without_ranks_that_answer_and_without_the_one_that_leads(ring: Path, tmp_path: Path) -> None:
    """Rank 2 dies in the midst of a window, and rank 1 goes on with all members; then rank 0 dies, and rank 1 leads and is alone."""
    out = tmp_path / "r.zarr"
    done = ran(ring, out, 3, "2 step 20; 0 journal 2", "other=1-2")
    assert done.returncode == 0, done.stdout + done.stderr
    same_result(ring.parent / "alone.zarr", out)
    attrs = opened(out).attrs
    assert attrs["run_placement"] == "other=1-2"
    assert attrs["run_lost"] == "ranks 0,2 have died, and rank 1 leads; other=1"
    assert "1 MPI rank, other=1, all else on 1, going on after 1 finished piece" in done.stdout
    assert attrs["run_lost"] in out.with_suffix(".html").read_text(encoding="utf-8")
    assert "rank 2 has died; other goes on on 1" in out.with_suffix(".log").read_text(encoding="utf-8")


@needs_ulfm
@pytest.mark.slow
def test_a_step_that_kills_ranks_is_set_aside_before_it_kills_the_last(ring: Path, tmp_path: Path) -> None:
    """The task with members 64 and on, of either group of arms: named, and the rest completes on the rank that leads."""
    out = tmp_path / "r.zarr"
    done = ran(ring, out, 3, "1 members 64; 2 members 64", "other=1")
    assert done.returncode == 3, done.stdout + done.stderr
    found = opened(out)
    assert (found["status"].values == LOST).sum() == 2 * 36
    assert found.attrs["run_lost"] == "rank 1 has died; other goes on on 2; rank 2 has died; other goes on on 0"
    said = json.loads(found.attrs["set_aside"])[0]
    assert (
        "members 64 … 99 drawn from seed 1: WorkerDied: simulator 'other': set aside after 2 ranks died at the same step"
        in said
    )


@needs_ulfm
@pytest.mark.slow
def test_a_program_of_ones_own_goes_on_without_ranks_that_answer_and_says_when_the_leader_is_gone() -> None:
    """Both ranks that share a simulator die in the midst of it, one after the other."""
    placed = ("patch=1-2", "cell=3")
    said = [
        mpi_launch.run(4, REMOTE, "mortal", *placed, tolerant=True, VICTIMS=victims) for victims in ("-", "1,2", "0")
    ]
    assert [one.returncode for one in said] == [0, 0, 2], [one.stderr for one in said]
    assert said[0].stdout == said[1].stdout != ""
    assert (
        "rank 0 has died, and what it did cannot go on here; start again, with --resume or from a checkpoint"
        in said[2].stderr
    )


def test_who_stands_in_for_whom() -> None:
    asked = Placement.parse(["a=1-3", "b=4", "c=4", "d=0"])
    assert str(asked.without((), size=6)) == str(asked)
    assert str(asked.without({2}, size=6)) == "a=1,3 b=4 c=4 d=0"
    assert str(asked.without({4}, size=6)) == "a=1-3 b=5 c=1 d=0"  # who has nothing to do, then the least
    assert str(asked.without({4, 5}, size=6)) == "a=1-3 b=1 c=2 d=0"
    assert str(asked.without({0}, size=6, leader=1)) == "a=2-3 b=4 c=4 d=1"
    assert str(asked.without({0, 2, 3}, size=6, leader=1)) == "a=5 b=4 c=4 d=1"
    assert str(asked.without({1, 2, 3, 4, 5}, size=6)) == "a=0 b=0 c=0 d=0"
