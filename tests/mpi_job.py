"""One MPI job of the tests: `python mpi_job.py WHAT [FOLDER]` on every rank."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import signal
import sys
import time
from pathlib import Path
from typing import Any

import hpc_tasks as work
import numpy as np

from hpc import Executor, Journal, Stopped, TaskFailure, open_executor
from hpc.launch import announced


def results(executor: Executor, folder: Path) -> None:
    """Everything that an executor promises; prints a digest of it."""
    seen: dict[int, Any] = {}
    assert executor.map(work.square, range(200), on_result=seen.__setitem__) == [i * i for i in range(200)]
    assert seen == {i: i * i for i in range(200)}
    assert executor.map(work.square, []) == []
    found = executor.map(work.arrays, [0, 1, 1000, 200_000, 5, 3000])
    for n, arrays in zip((0, 1, 1000, 200_000, 5, 3000), found, strict=True):
        for name, value in work.arrays(n).items():
            np.testing.assert_array_equal(arrays[name], value, strict=True)
        assert arrays["x"].flags.writeable
    failures = executor.map(work.odd, range(9))
    assert [r for r in failures if not isinstance(r, TaskFailure)] == [0, 2, 4, 6, 8]
    assert [str(r) for r in failures if isinstance(r, TaskFailure)] == [
        f"hpc_tasks.Odd: odd {i} {i}" for i in (1, 3, 5, 7)
    ]
    deaths = executor.map(work.Notch(folder, {2: 1, 5: 99}), range(9))
    assert [r for r in deaths if not isinstance(r, TaskFailure)] == [0, 1, 2, 3, 4, 6, 7, 8]
    assert isinstance(deaths[5], TaskFailure)
    assert deaths[5].error_type == "WorkerDied"
    digest = hashlib.sha256(pickle.dumps([seen[i] for i in range(200)]))
    for arrays in found:
        digest.update(b"".join(np.ascontiguousarray(value).tobytes() for value in arrays.values()))
    digest.update(pickle.dumps(failures))
    print(f"{executor.kind} {executor.workers} {digest.hexdigest()}")


def unequal(executor: Executor, folder: Path) -> None:
    """Log-normal durations, each task done once."""
    seconds = tuple(np.random.default_rng(1).lognormal(math.log(0.01), 1.0, 80).tolist())
    assert len(work.started(executor)) == executor.workers
    assert executor.map(work.Unequal(folder, seconds), range(80)) == [-i for i in range(80)]
    print(f"{executor.kind} {executor.workers}")


def large(executor: Executor, folder: Path) -> None:
    """A large function, large tasks and large results: nothing waits for ever on a full buffer."""
    array = np.random.default_rng(0).normal(size=1_000_000)
    for result in executor.map(
        work.Plus(array), [array * i for i in range(8)], on_result=lambda i, r: time.sleep(0.05)
    ):
        assert isinstance(result, np.ndarray)
    print("fine")


def unloadable(executor: Executor, folder: Path) -> None:
    """What no worker can load is an error of the map, after which the executor goes on."""
    try:
        executor.map(work.OnlyHere(), range(10))
    except Exception as error:
        print(type(error).__name__, "only_in_process" in str(error))
    assert executor.map(work.square, range(50)) == [i * i for i in range(50)]
    print("goes on")


def root_fails(executor: Executor, folder: Path) -> None:
    """The root has an error in the middle of a map."""

    def refuse(index: int, result: object) -> None:
        raise OSError("disk full")

    executor.map(work.nap, [0.01] * 50, on_result=refuse)


def survive(executor: Executor, folder: Path) -> None:
    """A rank of those that lead others kills itself in the middle; every task ends, and is told once."""
    victim = int(os.environ["VICTIM"])
    told: dict[int, Any] = {}

    def keep(index: int, result: Any) -> None:
        assert index not in told
        told[index] = result
        if len(told) == 10 and not executor.took_over:
            os.kill(int((folder / f"pid-{victim}").read_text()), signal.SIGKILL)

    expected = [work.arrays(20_000 + i)["x"].tobytes() for i in range(60)]
    found = executor.map(work.slow_arrays, [20_000 + i for i in range(60)], on_result=keep)
    assert [one["x"].tobytes() for one in found] == expected
    assert sorted(told) == list(range(60))
    assert executor.map(work.square, range(50)) == [i * i for i in range(50)]
    print("survived", "took over" if executor.took_over else "led", flush=True)


def long(executor: Executor, folder: Path) -> None:
    """A job to be stopped from outside."""
    with Journal(folder / "journal", {"job": "mpi"}) as journal:

        def keep(index: int, result: object) -> None:
            journal.append(str(index))
            if index == 0:
                (folder / "begun").touch()

        executor.map(work.nap, [0.05] * 100_000, on_result=keep)


def main(what: str, folder: Path) -> int:
    """The job of this rank; exit code as the command's."""
    launched = announced()
    rank = launched.rank if launched is not None else 0
    (folder / f"pid-{rank}").write_text(str(os.getpid()))
    if what == "cannot start" and rank == 1:
        raise ImportError("no module named 'nowhere'")
    try:
        with open_executor() as executor:
            if what == "cannot go on" and rank == 1:
                raise OSError("this node has no scratch disk")
            if what == "stopped early" and rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(10)
            executor.serve()
            if not executor.is_root:
                return 0
            {"cannot start": results, "cannot go on": results, "stopped early": long}.get(what, globals().get(what))(
                executor, folder
            )  # pyright: ignore[reportOptionalCall]
            return 0
    except Stopped as stopped:
        (folder / "said").write_text(str(stopped.exit_code))
        return stopped.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
