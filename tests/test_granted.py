"""What a job was granted beside what it asked for: cores, GPUs and memory by affinity, control group and environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import mpi_launch
import pytest
import small_scenario
from mpi_launch import needs_mpiexec
from same_result import opened

from hpc import LaunchError
from hpc.granted import Asked, Granted, check_ranks, shortfalls
from scenarios.cli import main


def rank(
    number: int, host: str = "n1", cores: range = range(4), quota: int = 99, memory: int | None = None, gpus: int = 0
) -> Granted:
    return Granted(number, host, frozenset(cores), min(quota, len(cores)), memory, gpus)


ASKED = Asked(ranks=2, cores_per_rank=4, gpus_per_rank=1, memory_MiB_per_node=24_576, by="the job script")


def test_all_is_there() -> None:
    granted = [rank(0, gpus=1, memory=30_000), rank(1, cores=range(4, 8), gpus=1, memory=30_000)]
    assert shortfalls(ASKED, granted, workers_per_rank=4) == []
    check_ranks(ASKED, 2)


@pytest.mark.parametrize(
    ("granted", "says"),
    [
        # multiscale/muscle3#318: --ntasks-per-core=1 left one core of the node to all
        ([rank(0, cores=range(1)), rank(1, cores=range(1))], "each of 2 ranks: one core, and the job script asked for 4 for each"),
        ([rank(0), rank(1, cores=range(4, 6))], "rank 1 on n1: 2 cores"),
        ([rank(0), rank(1)], "node n1: its 2 ranks share 4 cores, and the job script asked for 8"),
        ([rank(0, quota=2)], "this process: 2 cores"),
        ([rank(0, gpus=1), rank(1, cores=range(4, 8))], "rank 1 on n1: no GPU, and the job script asked for 1 for each"),
        ([rank(0, gpus=1, memory=8_000)], "node n1: 8,000 MiB of memory, and the job script asked for 24,576 MiB per node"),
    ],
)  # fmt: skip
def test_less_than_asked_for_is_told(granted: list[Granted], says: str) -> None:
    texts = shortfalls(ASKED, granted, workers_per_rank=4)
    assert any(text.startswith(says) for text in texts), texts


def test_workers_need_cores_whoever_asked() -> None:
    texts = shortfalls(Asked(), [rank(0, cores=range(2))], workers_per_rank=8)
    assert texts[0].startswith("this process: 2 cores, and its workers need 8")


def test_fewer_ranks_are_refused() -> None:
    with pytest.raises(
        LaunchError, match="the job script asked for 2 ranks, and 1 started: the run would take 2 times"
    ):
        check_ranks(ASKED, 1)


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, Asked()),
        (
            {"TWIN_ASKED_RANKS": "16", "TWIN_ASKED_CORES_PER_RANK": "2", "TWIN_ASKED_MEMORY_MIB_PER_NODE": "24576"},
            Asked(16, 2, None, 24_576, "the job script"),
        ),
        (
            {"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "6", "SLURM_NTASKS": "4", "SLURM_MEM_PER_NODE": "4096"},
            Asked(None, 6, None, 4096, "Slurm"),
        ),
        ({"PBS_JOBID": "1.pbs", "NCPUS": "8"}, Asked()),
    ],
)
def test_who_asked(environment: dict[str, str], asked: Asked) -> None:
    assert Asked.read(environment) == asked


def test_what_a_process_finds(tmp_path: Path) -> None:
    """A control group of 1.5 cores and 3 GiB, within one of 2 GiB, on a node of 16 GiB with two GPUs, one of them ours."""
    for folder, files in {
        "cg/job/step": {"cpu.max": "150000 100000", "memory.max": str(3 * 2**30)},
        "cg/job": {"cpu.max": "max 100000", "memory.max": str(2 * 2**30)},
        "process": {"cgroup": "0::/job/step\n"},
        "machine": {"meminfo": f"MemTotal:  {16 * 2**20} kB\nMemFree: 1 kB\n"},
    }.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / folder / name).write_text(text)
    for gpu in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "machine/driver/nvidia/gpus" / gpu).mkdir(parents=True)
    places = {"cgroups": tmp_path / "cg", "process": tmp_path / "process", "machine": tmp_path / "machine"}
    found = Granted.look(3, {}, **places)
    assert (found.rank, found.quota, found.memory_MiB, found.gpus) == (3, 1, 2048, 2)
    assert found.cores == os.sched_getaffinity(0)
    assert Granted.look(0, {"CUDA_VISIBLE_DEVICES": "1"}, **places).gpus == 1
    assert Granted.look(0, {"CUDA_VISIBLE_DEVICES": "GPU-1f,GPU-2e,-1,0"}, **places).gpus == 2
    assert Granted.look(0, {"CUDA_VISIBLE_DEVICES": ""}, **places).gpus == 0


def test_a_run_says_so_and_the_result_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One core, by the real affinity mask, where the job script asked for four."""
    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path, members="members: 2")
    monkeypatch.setenv("TWIN_ASKED_RANKS", "1")
    monkeypatch.setenv("TWIN_ASKED_CORES_PER_RANK", "4")
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        assert main(["run", "small.yaml", "--processes", "1"]) == 0
    finally:
        os.sched_setaffinity(0, mine)
    says = "granted less than asked: this process: one core, and the job script asked for 4 for each"
    assert says in capsys.readouterr().out
    assert says in Path("results/small.log").read_text(encoding="utf-8")
    attrs = opened(Path("results/small.zarr")).attrs
    assert attrs["run_granted_less"].startswith("this process: one core")
    assert json.loads(attrs["run_granted"])["cores"] == 1
    assert json.loads(attrs["run_asked"]) == {"ranks": 1, "cores_per_rank": 4, "by": "the job script"}


def test_a_job_of_one_process_where_more_ranks_were_asked_for_is_refused(tmp_path: Path) -> None:
    """The launcher was forgotten: without this, one rank would do the work of sixteen."""
    path = small_scenario.write(tmp_path)
    told = subprocess.run(
        [sys.executable, "-m", "scenarios.cli", "run", str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env=mpi_launch.environment(TWIN_ASKED_RANKS="16"), check=False,
    )  # fmt: skip
    assert told.returncode == 2
    assert "the job script asked for 16 ranks, and 1 started" in told.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"small.yaml"}


GATHER = """
import sys
from hpc import open_executor
with open_executor() as executor:
    if not executor.is_root:
        executor.serve()
        sys.exit()
    print(sorted(one.rank for one in executor.granted), {one.host for one in executor.granted} and "told")
"""


@needs_mpiexec
def test_every_rank_tells_the_root_what_it_finds_and_missing_ranks_are_refused() -> None:
    done = mpi_launch.run(3, "-c", GATHER, timeout_s=120)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2] told\n"), done.stderr
    refused = mpi_launch.run(2, "-c", GATHER, timeout_s=120, TWIN_ASKED_RANKS="3")
    assert refused.returncode != 0
    assert "LaunchError: the job script asked for 3 ranks, and 2 started" in refused.stderr
