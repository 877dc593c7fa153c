"""MPI: the same bits on any number of ranks, no rank that waits for ever, and a launcher that does not fit is an error."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mpi_launch
import pytest
from mpi_launch import ROOT, environment, needs_mpiexec

from hpc import Journal, LaunchError
from hpc.launch import Launch, announced, check

JOB = str(ROOT / "tests" / "mpi_job.py")


@needs_mpiexec
@pytest.mark.slow
def test_the_same_bits_on_one_to_four_ranks(tmp_path: Path) -> None:
    digests = set()
    for ranks in (1, 2, 3, 4):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        done = mpi_launch.run(ranks, JOB, "results", str(folder))
        assert done.returncode == 0, done.stdout + done.stderr
        kind, workers, digest = done.stdout.split()
        assert (kind, workers) == ("mpi", str(ranks))
        digests.add(digest)
        assert len(list(folder.glob("2.*"))) == 2  # died once, tried again
        assert len(list(folder.glob("5.*"))) == 3  # set aside
        assert all(len(list(folder.glob(f"{task}.*"))) == 1 for task in (0, 1, 3, 4, 6, 7, 8))
    assert len(digests) == 1


@needs_mpiexec
@pytest.mark.slow
def test_unequal_tasks_are_done_once_each_by_all_ranks(tmp_path: Path) -> None:
    done = mpi_launch.run(3, JOB, "unequal", str(tmp_path))
    assert done.returncode == 0, done.stderr
    marks = [path.name.split("-") for path in tmp_path.iterdir() if not path.name.startswith("pid")]
    assert sorted(int(task) for task, _ in marks) == list(range(80))
    assert len({pid for _, pid in marks}) == 3  # rank 0 works as well


@needs_mpiexec
@pytest.mark.slow
def test_large_messages(tmp_path: Path) -> None:
    done = mpi_launch.run(3, JOB, "large", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


@needs_mpiexec
def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    done = mpi_launch.run(3, JOB, "unloadable", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "WorkerError True\ngoes on\n"), done.stderr


@needs_mpiexec
@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("root_fails", "OSError: disk full"),
        ("cannot start", "ImportError: no module named 'nowhere'"),
        ("cannot go on", "rank 1 cannot go on:(.|\n)*OSError: this node has no scratch disk"),
    ],
)
def test_no_rank_waits_for_one_that_failed(what: str, says: str, tmp_path: Path) -> None:
    done = mpi_launch.run(3, JOB, what, str(tmp_path), timeout_s=40)
    assert done.returncode != 0
    assert re.search(says, done.stderr)


@needs_mpiexec
@pytest.mark.parametrize("rank", [0, 2])
def test_a_signal_to_any_rank_stops_all_with_its_exit_code(rank: int, tmp_path: Path) -> None:
    job = _begin(tmp_path)
    os.kill(int((tmp_path / f"pid-{rank}").read_text()), signal.SIGTERM)
    assert job.wait(20) == 143
    assert (tmp_path / "said").read_text() == "143"
    _nothing_lost(tmp_path)


@needs_mpiexec
def test_a_signal_before_a_rank_serves_stops_all(tmp_path: Path) -> None:
    assert mpi_launch.run(2, JOB, "stopped early", str(tmp_path), timeout_s=40).returncode == 143
    assert (tmp_path / "said").read_text() == "143"


@needs_mpiexec
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_stops_all_and_loses_nothing(number: int, tmp_path: Path) -> None:
    # Open MPI's launcher turns either into SIGTERM, ends ranks that are still there after 0.2 s, and returns 1 whatever they return
    job = _begin(tmp_path)
    job.send_signal(number)
    assert job.wait(20) != 0
    _nothing_lost(tmp_path)
    assert _ended(tmp_path)


@needs_mpiexec
@pytest.mark.slow
def test_a_killed_rank_ends_the_job_and_loses_nothing(tmp_path: Path) -> None:
    job = _begin(tmp_path)
    os.kill(int((tmp_path / "pid-1").read_text()), signal.SIGKILL)
    assert job.wait(20) != 0
    _nothing_lost(tmp_path)
    assert _ended(tmp_path)


def test_more_ranks_than_mpi_sees_is_an_error(tmp_path: Path) -> None:
    alone = environment(OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_RANK="0")
    done = subprocess.run(
        [sys.executable, JOB, "results", str(tmp_path)], env=alone, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert re.search(
        r"LaunchError: mpiexec of Open MPI started 4 processes, and the MPI library sees 1 \(", done.stderr
    )
    assert "MPI4PY_LIBMPI" in done.stderr


def test_an_mpi_library_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    broken = environment(OMPI_COMM_WORLD_SIZE="1", OMPI_COMM_WORLD_RANK="0", MPI4PY_LIBMPI=str(tmp_path / "libmpi.so"))
    done = subprocess.run(
        [sys.executable, JOB, "results", str(tmp_path)], env=broken, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "LaunchError: mpiexec of Open MPI started this process, and the MPI library cannot be loaded" in done.stderr


def test_a_start_that_never_comes_to_an_end_is_ended() -> None:
    # MPICH's launcher lets ranks wait for ever for one that ended before it started MPI
    code = (
        "import time\nfrom hpc.launch import Launch, watched\n"
        "with watched(Launch('srun', 4, 2)): time.sleep(0.01)\n"
        "print('fine', flush=True)\n"
        "with watched(Launch('srun', 4, 2)): time.sleep(60)\n"
    )
    patient = environment(TWIN_MPI_START_S="1")
    done = subprocess.run([sys.executable, "-c", code], env=patient, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stdout == "fine\n"
    assert re.search(r"MPI did not start on rank 2 within 1 s\. srun started 4 processes", done.stderr)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, None),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}, ("mpiexec of Open MPI", 4, 2)),
        ({"PMI_SIZE": "8", "PMI_RANK": "7"}, ("mpiexec of MPICH or Intel MPI", 8, 7)),
        ({"PMIX_RANK": "3"}, ("a PMIx launcher", None, 3)),
        ({"FLUX_JOB_SIZE": "2", "FLUX_TASK_RANK": "1"}, ("flux", 2, 1)),
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1", "PMIX_RANK": "1"}, ("srun", 4, 1)),
        # the ranks of a launcher that uses srun for its own helpers, one on each of two nodes
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "OMPI_COMM_WORLD_SIZE": "8",
          "OMPI_COMM_WORLD_RANK": "5"}, ("mpiexec of Open MPI", 8, 5)),
        # a batch script and an interactive shell on a node: no launcher
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "17"}, None),
        ({"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
    ],
)  # fmt: skip
def test_what_launchers_say(said: dict[str, str], expected: tuple[str, int | None, int] | None) -> None:
    launched = announced(said)
    assert launched == (None if expected is None else Launch(*expected))


def test_what_fits_passes_and_what_does_not_names_its_cure() -> None:
    check(Launch("srun", 4, 0), seen=4, library="MPICH 4.2")
    check(Launch("a PMIx launcher", None, 0), seen=1, library="MPICH 4.2")
    with pytest.raises(
        LaunchError, match=r"srun started 4 processes, and the MPI library sees 1 \(MPICH 4\.2\)(.|\n)*--mpi=pmix"
    ):
        check(Launch("srun", 4, 0), seen=1, library="MPICH 4.2")
    with pytest.raises(LaunchError, match="a PMIx launcher started several processes"):
        check(Launch("a PMIx launcher", None, 3), seen=1, library="MPICH 4.2")


def _begin(folder: Path) -> subprocess.Popen[bytes]:
    """A job of three ranks that has finished some tasks; its launcher's pid."""
    assert mpi_launch.MPIEXEC is not None
    job = subprocess.Popen(
        mpi_launch.mpiexec(3, JOB, "long", str(folder)), env=environment(), stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while not (folder / "begun").exists():
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    return job


def _nothing_lost(folder: Path) -> None:
    deadline = time.monotonic() + 5
    while not _ended(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    with Journal(folder / "journal", {"job": "mpi"}) as journal:
        assert 0 < len(journal) < 100_000
        assert journal.damaged == 0


def _ended(folder: Path) -> bool:
    """Whether no rank is left."""
    return not any(Path("/proc", path.read_text()).exists() for path in folder.glob("pid-*"))
