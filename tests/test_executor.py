"""Executors: the same results from one process and from many, each task done once, and failures that cost one task."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import hpc_tasks as work
import numpy as np
import pytest
from mpi_launch import environment

from hpc import Executor, TaskFailure, WorkerError, open_executor
from hpc import grant as granting


@pytest.fixture(scope="module")
def many() -> Iterator[Executor]:
    with open_executor(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def pooled() -> Iterator[Executor]:
    """On a pool that somebody else has opened."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool, open_executor(pool=pool) as executor:
        yield executor


@pytest.fixture(params=["serial", "processes", "futures"])
def executor(request: pytest.FixtureRequest, many: Executor, pooled: Executor) -> Iterator[Executor]:
    if request.param in ("processes", "futures"):
        yield many if request.param == "processes" else pooled
        return
    with open_executor(1) as one:
        yield one


def test_kinds(many: Executor) -> None:
    assert (many.kind, many.workers, many.is_root) == ("processes", 2, True)
    with open_executor(1) as one:
        assert (one.kind, one.workers, one.is_root) == ("serial", 1, True)
        one.serve()  # nothing to wait for


def test_results_come_in_the_order_of_the_tasks(executor: Executor) -> None:
    seen: dict[int, int] = {}
    assert executor.map(work.square, range(300), on_result=seen.__setitem__) == [i * i for i in range(300)]
    assert seen == {i: i * i for i in range(300)}
    assert executor.map(work.square, []) == []


def test_processes_are_other_processes_and_stay(many: Executor) -> None:
    seen = [ids for _ in range(3) for ids in many.map(work.process, range(20))]
    assert {parent for _, parent in seen} == {os.getpid()}
    assert len({pid for pid, _ in seen}) <= 2


def test_arrays_come_back_bit_for_bit_and_writable(executor: Executor) -> None:
    for n, found in zip((0, 1, 1000, 400_000), executor.map(work.arrays, (0, 1, 1000, 400_000)), strict=True):
        expected = work.arrays(n)
        assert list(found) == list(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, strict=True)
        assert found["x"].flags.writeable
        assert found["x"].flags.aligned


def test_a_failure_is_a_value_in_its_place(executor: Executor) -> None:
    seen: dict[int, object] = {}
    results = executor.map(work.odd, range(5), on_result=seen.__setitem__)
    assert [r for r in results if not isinstance(r, TaskFailure)] == [0, 2, 4]
    failure = results[3]
    assert isinstance(failure, TaskFailure)
    assert (failure.index, failure.error_type, failure.message) == (3, "hpc_tasks.Odd", "odd 3 3")
    assert "raise Odd" in failure.traceback
    assert str(failure) == "hpc_tasks.Odd: odd 3 3"
    assert seen == dict(enumerate(results))


def test_a_task_that_exits_fails_alone(executor: Executor) -> None:
    (failure,) = executor.map(work.leave, [0])
    assert isinstance(failure, TaskFailure)
    assert failure.error_type == "SystemExit"


def test_a_result_that_cannot_travel_is_a_failure(many: Executor) -> None:
    (failure,) = many.map(work.unpicklable, [0])
    assert isinstance(failure, TaskFailure)
    assert "pickle" in failure.message


def test_unequal_tasks_are_done_once_each_and_balance(many: Executor, tmp_path: Path) -> None:
    # log-normal with sigma 1: the longest is some ten times the median
    seconds = tuple(np.random.default_rng(1).lognormal(math.log(0.01), 1.0, 60).tolist())
    work.started(many)
    begun = time.perf_counter()
    assert many.map(work.Unequal(tmp_path, seconds), range(60)) == [-i for i in range(60)]
    taken = time.perf_counter() - begun
    marks = sorted(int(path.name.split("-")[0]) for path in tmp_path.iterdir())
    assert marks == list(range(60))
    assert len({path.name.split("-")[1] for path in tmp_path.iterdir()}) == 2
    # greedy distribution is at most one longest task from the ideal half; the rest is for a busy machine
    assert taken < sum(seconds) / 2 + max(seconds) + 1.0


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSEGV])
def test_a_task_whose_worker_dies_is_tried_again(many: Executor, tmp_path: Path, by: int) -> None:
    assert many.map(work.Notch(tmp_path, {2: 1, 5: 2}, by), range(8)) == list(range(8))
    assert {len(list(tmp_path.glob(f"{task}.*"))) for task in (0, 1, 3, 4, 6, 7)} == {1}
    assert len(list(tmp_path.glob("2.*"))) == 2
    assert len(list(tmp_path.glob("5.*"))) == 3


def test_three_deaths_set_a_task_aside_and_leave_the_others(many: Executor, tmp_path: Path) -> None:
    results = many.map(work.Notch(tmp_path, {3: 99}), range(8))
    failure = results.pop(3)
    assert results == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(failure, TaskFailure)
    assert failure.error_type == "WorkerDied"
    assert failure.message == (
        "set aside after 3 worker processes died with it; the last was killed by signal 9 (SIGKILL: out of memory?)"
    )
    assert len(list(tmp_path.glob("3.*"))) == 3


def test_a_worker_killed_from_outside_costs_nothing(many: Executor) -> None:
    def kill_the_first(index: int, result: object) -> None:
        if index == 0:
            assert isinstance(result, tuple)
            os.kill(result[0], signal.SIGKILL)

    assert len(many.map(work.process, range(40), on_result=kill_the_first)) == 40
    assert many.map(work.square, range(10)) == [i * i for i in range(10)]


def test_an_error_of_the_root_ends_the_map_and_the_executor_goes_on(many: Executor) -> None:
    def refuse(index: int, result: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        many.map(work.nap, [0.01] * 20, on_result=refuse)
    assert many.map(work.square, range(10)) == [i * i for i in range(10)]


def test_what_cannot_be_loaded_is_said_once(many: Executor) -> None:
    with pytest.raises(WorkerError, match=r"cannot load what they are to run(.|\n)*only_in_process"):
        many.map(work.OnlyHere(), range(3))
    with pytest.raises(WorkerError, match="die before they receive a task: ended with exit code 5"):
        many.map(work.DiesOnArrival(), range(3))
    with pytest.raises((AttributeError, TypeError), match=r"[Cc]an't (get|pickle) local object"):
        many.map(lambda x: x, range(3))
    assert many.map(work.square, range(3)) == [0, 1, 4]


def test_one_thread_each(executor: Executor) -> None:
    (limits,) = executor.map(work.thread_limits, [0])
    assert isinstance(limits, dict)
    assert set(limits.values()) == {"1"}


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    granting.one_thread_each()
    assert os.environ["OMP_NUM_THREADS"] == "4"
    assert os.environ["MKL_NUM_THREADS"] == "1"


def test_a_pool_of_somebody_else_that_breaks_is_an_error_with_its_cure(tmp_path: Path) -> None:
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
        open_executor(pool=pool) as executor,
        pytest.raises(WorkerError, match=r"given pool can no longer be used(.|\n)*--resume"),
    ):
        executor.map(work.Notch(tmp_path, {0: 99}), range(3))


def test_a_pool_of_threads_and_one_that_does_not_count(many: Executor) -> None:
    with ThreadPoolExecutor(3) as pool, open_executor(pool=pool) as executor:
        assert (executor.workers, executor.kind) == (3, "futures")
        assert executor.map(work.square, range(9)) == [i * i for i in range(9)]
        del pool._max_workers
        with (
            pytest.raises(WorkerError, match=r"does not say how many workers it has: give processes=N"),
            open_executor(pool=pool),
        ):
            pass


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    # the workers are deep in a task, and do not look at their pipe
    script = tmp_path / "job.py"
    script.write_text(
        "import hpc_tasks, os\n"
        "from hpc import open_executor\n"
        "if __name__ == '__main__':\n"
        "    with open_executor(2) as executor:\n"
        "        print(*hpc_tasks.started(executor), flush=True)\n"
        "        executor.map(hpc_tasks.nap, [60.0, 60.0])\n"
    )
    job = subprocess.Popen([sys.executable, script], env=environment(), stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    workers = {int(word) for word in job.stdout.readline().split()}
    assert len(workers) == 2
    time.sleep(0.3)
    assert all(Path(f"/proc/{pid}").exists() for pid in workers)
    job.kill()
    job.wait(10)
    assert _gone(workers)


def test_a_script_without_a_main_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "import hpc_tasks\nfrom hpc import open_executor\n"
        "with open_executor(2) as executor:\n    executor.map(hpc_tasks.square, range(3))\n"
    )
    done = subprocess.run([sys.executable, script], env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "needs `if __name__ == '__main__':`" in done.stderr


def test_cores_are_the_least_of_what_is_granted(tmp_path: Path) -> None:
    affinity = len(os.sched_getaffinity(0))
    none = tmp_path / "none"
    cores = partial(granting.granted_cores, cgroups=none, process=none)
    assert cores({}) == affinity
    # the four ways in which a scheduler says one core; a huge number never adds any
    assert (
        cores({"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "64"}) == 1
    )
    assert cores({"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "8", "SLURM_CPUS_ON_NODE": "1"}) == 1
    assert cores({"SLURM_CPUS_PER_TASK": "1"}) == affinity  # left over from another job: no job here
    assert cores({"NSLOTS": "1"}) == 1
    assert cores({"NCPUS": "64"}) == affinity
    assert cores({"NCPUS": "many"}) == affinity


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 8), ("270000 100000", 2), ("50000 100000", 1)])
def test_the_control_group_may_grant_less(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "process").mkdir()
    # version 2: own group open, the one above it narrow
    (tmp_path / "process/cgroup").write_text("0::/job/step\n")
    (tmp_path / "two/job/step").mkdir(parents=True)
    (tmp_path / "two/job/step/cpu.max").write_text("max 100000\n")
    (tmp_path / "two/job/cpu.max").write_text(f"{quota}\n")
    assert granting.granted_cores({}, cgroups=tmp_path / "two", process=tmp_path / "process") == cores
    # version 1
    (tmp_path / "process/cgroup").write_text("5:memory:/job\n4:cpu,cpuacct:/job\n")
    group = tmp_path / "one/cpu,cpuacct/job"
    group.mkdir(parents=True)
    numbers = quota.replace("max", "-1").split()
    (group / "cpu.cfs_quota_us").write_text(numbers[0])
    (group / "cpu.cfs_period_us").write_text(numbers[1])
    assert granting.granted_cores({}, cgroups=tmp_path / "one", process=tmp_path / "process") == cores


def test_the_executor_loads_neither_mpi_nor_numpy() -> None:
    code = (
        "import sys, hpc.executor, hpc.processes, hpc.errors\n"
        "assert not {'mpi4py', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True, timeout=60)


def _gone(pids: set[int]) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
