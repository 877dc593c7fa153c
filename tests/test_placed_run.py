"""Runs whose simulators are placed on ranks: the bits of any other run, stopped and resumed alike, and placements that are refused."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import mpi_launch
import pytest
import small_scenario
from mpi_launch import ROOT, environment, needs_mpiexec
from same_result import opened, same_result

from hpc.errors import PlacementError
from scenarios import job, placing
from scenarios.cli import main
from scenarios.command_line import one_word_each
from scenarios.scenario import Scenario
from twin.errors import InputError

TWIN = ("-m", "scenarios.cli")

DRUGS = """\
name: drugs
title: Two inhibitors of a receptor
seed: 2
members: 5
cell:
  antimony: |
    R = 10; RI = 0; I = 0; kon = 0.1; koff = 0.1; ksyn = 1; kdeg = 0.1
    J1: -> R; ksyn
    J2: R -> ; kdeg * R
    J3: R -> RI; kon * I * R - koff * RI
  units: {I: uM, R: nM, ksyn: nM/min, kon: 1/(uM min), koff: 1/min}
  equilibrate: true
readouts: {R: {label: free receptor, units: nM}}
time: {start: 0 min, end: 30 min, every: 10 min}
uncertainty:
  cell-to-cell: {parameters: {ksyn: {lognormal: {cv: 0.3}, source: assumed}}}
compounds:
  list: [{id: acid, smiles: "CC(=O)Oc1ccccc1C(=O)O", ic50: 10 nM}, {id: amine, smiles: CCCCN, ic50: 100 nM}]
  dose: I
  kon: kon
  koff: koff
molecular: {receptor: c-MET kinase, kon: {median: 1e5 1/(M s), decades: 1.0, source: assumed}, trajectories: 100, replicas: 2, sigma_ln: 1.0}
arms:
  - treatment: none
    role: vehicle
  - treatment: inhibitor
    compounds: all
    doses: [1 uM]
    changes: [{hold: compound, dose: each, at: 0 min}]
place: {molecular: 1-2, binding: 1, cell: 2}
"""


def drugs(folder: Path, *, place: str | None = None) -> Path:
    """A scenario with compounds, so with all simulators that can be placed."""
    path = folder / "drugs.yaml"
    text = DRUGS if place is None else re.sub(r"^place: .*$", place, DRUGS, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
    return path


@needs_mpiexec
def test_all_simulators_of_a_scenario_on_other_ranks_change_no_bit(tmp_path: Path) -> None:
    """Brownian dynamics shared by ranks 1 and 2, rates of binding on rank 1, cells on rank 2; the command line overrules the scenario for the other run."""
    path = drugs(tmp_path)
    options = ["--place", "cell=0", "--processes", "1", "--out", str(tmp_path / "here.zarr")]
    assert main(["run", str(path), *options]) == 0
    done = mpi_launch.run(3, *TWIN, "run", str(path), "--out", str(tmp_path / "there.zarr"), timeout_s=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 MPI ranks, molecular=1-2 binding=1 cell=2, all else on 0" in done.stdout
    same_result(tmp_path / "here.zarr", tmp_path / "there.zarr")
    assert opened(tmp_path / "there.zarr").attrs["run_placement"] == "molecular=1-2 binding=1 cell=2"


@needs_mpiexec
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("whom", ["rank 1", "launcher"])
def test_a_placed_run_is_stopped_and_resumed_without_a_placement(whom: str, tmp_path: Path) -> None:
    """SIGTERM to any rank ends the run between two tasks; what is finished counts where nothing is placed, too."""
    path = small_scenario.write(tmp_path, members="members: 400")
    pids, result, journal = tmp_path / "pids", tmp_path / "stopped.zarr", tmp_path / ".stopped.zarr.journal"
    pids.mkdir()
    command = mpi_launch.mpiexec(2, str(ROOT / "tests" / "placed_job.py"), str(path), str(result), str(pids))
    running = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 300
        while not (journal.exists() and journal.stat().st_size > 8_000):  # a task or two
            assert running.poll() is None, running.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(running.pid if whom == "launcher" else int((pids / whom[-1]).read_text()), signal.SIGTERM)
        said, _ = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode in ((143,) if whom != "launcher" else (143, 1)), said
    assert not result.exists()
    ranks = [Path("/proc", each.read_text()) for each in pids.iterdir()]
    while any(rank.exists() for rank in ranks):  # Open MPI's launcher may end before the ranks that it has told to
        assert time.monotonic() < deadline
        time.sleep(0.01)
    asked = Scenario.load(path)
    assert job.run(asked, out=result, resume=True, processes=1) == job.DONE
    assert job.run(asked, out=tmp_path / "whole.zarr", processes=1) == job.DONE
    same_result(result, tmp_path / "whole.zarr")
    assert "going on after" in (tmp_path / "stopped.log").read_text(encoding="utf-8")


@needs_mpiexec
def test_what_does_not_fit_the_job_is_refused_once_and_nothing_is_written(tmp_path: Path) -> None:
    path = small_scenario.write(tmp_path)
    done = mpi_launch.run(2, *TWIN, "run", str(path), "--out", str(tmp_path / "r" / "x.zarr"), "--place", "cell=1-3")
    assert done.returncode == 2, done.stderr
    says = "placement cell=1-3: the job has 2 ranks, 0-1; launch more (mpiexec -n 4 …), or place on fewer."
    assert done.stderr.count(says) == 1
    assert {found.name for found in tmp_path.iterdir()} == {"small.yaml"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--place", "cell=1"],
            "placement cell=1: the job has 1 rank, 0; launch more (mpiexec -n 2 …), or place on fewer.",
        ),
        (["--place", "binding=0"], "small has no simulator 'binding'; it has cell."),
        (["--place", "cel=1"], "small has no simulator 'cel'; did you mean cell? It has cell."),
        (["--place", ""], "placement '': expected SIMULATOR=RANKS, e.g. molecular=1-3"),
        (["--place", "cell"], "placement 'cell': expected SIMULATOR=RANKS"),
        (["--place", "cell=1,1"], "placement 'cell=1,1': rank 1 is named twice"),
        (["--place", "cell=1", "cell=2"], "cell is placed twice"),
        (["--place", "cell=0-1"], "rank 0 leads the others"),
        (["--place", "cell=0-99999999999"], "no job has so many ranks"),
        (["--place", "cell=1", "--processes", "2"], "ranks that answer for simulators have no workers; leave one out"),
    ],
)
def test_without_ranks_a_placement_is_refused_and_nothing_is_written(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_scenario.write(tmp_path)
    assert main(["run", str(path), "--out", str(tmp_path / "r" / "x.zarr"), *words]) == 2
    assert says in capsys.readouterr().err
    assert {found.name for found in tmp_path.iterdir()} == {"small.yaml"}


def test_a_model_has_no_simulators_to_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.ant").write_text("S = 1; S -> ; S")
    assert main(["run", str(tmp_path / "m.ant"), "--place", "cell=1"]) == 2
    assert "--place: not for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("place: {cell: 1, mollecular: 2}", "the scenario has no simulator 'mollecular'; did you mean molecular? It has cell, binding, molecular."),
        ("place: {molecular: 1-3}", "the trajectories of a class are in 2 parts; write `replicas: 3` under `molecular:`"),
        ("place: {cell: 3-1}", "ranks 3-1 descend; write 1-3."),
        ("place: {cell: one}", "expected SIMULATOR=RANKS"),
        ("place: {cell: }", "place.cell: nothing stands here"),
        ("place: {cell: -1}", "place.cell"),
        ("place: {cell: 0-3}", "rank 0 leads the others"),
    ],
)  # fmt: skip
def test_a_placement_in_the_scenario_is_checked_with_its_line(place: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        Scenario.load(drugs(tmp_path, place=place))
    assert says in str(refused.value)
    assert f"drugs.yaml:{DRUGS.splitlines().index('place: {molecular: 1-2, binding: 1, cell: 2}') + 1}: place" in str(
        refused.value
    )


def test_where_a_scenario_runs_is_no_part_of_what_it_asks(tmp_path: Path) -> None:
    """So that a result, and the journal of a run under way, are the same wherever they are made."""
    placed = Scenario.load(drugs(tmp_path))
    assert str(placing.asked(placed, None)) == "molecular=1-2 binding=1 cell=2"
    assert str(placing.asked(placed, ["cell=1-2 molecular=3"])) == "cell=1-2 molecular=3"  # as a whole, not by name
    assert placing.asked(Scenario.load(drugs(tmp_path, place="place: {}")), None) is None  # as if it were left out
    assert placed.sha256 == Scenario.load(drugs(tmp_path, place="place: {cell: '1,3'}")).sha256
    with pytest.raises(PlacementError, match=r"drugs has no simulator 'bindin'; did you mean binding\?"):
        placing.asked(placed, ["bindin=1"])


def test_words_of_a_placement_on_the_command_line() -> None:
    assert one_word_each(["run", "x", "--place", "a=1-3", "b=0", "--resume"]) == [
        "run", "x", "--place", "a=1-3", "--place", "b=0", "--resume",
    ]  # fmt: skip
    assert one_word_each(["run", "--place=a=1", "b=0,2", "x.yaml"]) == [
        "run",
        "--place=a=1",
        "--place",
        "b=0,2",
        "x.yaml",
    ]
    untouched = ["run", "a=1", "--place", "a=1", "folder/b=2", "c=3"], ["--place", "a=1", "--", "b=1"], ["--place"]
    for words in untouched:
        assert one_word_each(words) == words
