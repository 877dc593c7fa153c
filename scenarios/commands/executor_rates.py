"""How fast executors are with tasks that do nothing, and with results of some size: the overhead below which tasks are too small.

Under MPI this module is the program of every rank: `mpiexec -n 4 python -m scenarios.commands.executor_rates`.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures

import numpy as np

from hpc import mpiexec, open_executor

_MEGABYTES, _LARGE_TASKS = 8, 16
_MEDIAN_S, _UNEQUAL_TASKS = 0.02, 300


def nothing(task: int) -> int:
    """A task that does nothing."""
    return task


def megabytes(task: int) -> np.ndarray:
    """A result of 8 MB."""
    return np.full(_MEGABYTES * 125_000, float(task))


def unequal(seconds: float) -> float:
    """A task that takes so long [s]; it sleeps, so that what else the machine does is not measured."""
    time.sleep(seconds)
    return seconds


def durations(workers: int) -> list[float]:
    """Log-normal task times with σ = 1 [s], some hundred for each worker; the longest is some twenty times the median."""
    drawn = np.random.default_rng(1).lognormal(math.log(_MEDIAN_S), 1.0, _UNEQUAL_TASKS * workers)
    return drawn.tolist()


def measure(
    processes: int | None, *, tasks: int, repeats: int, pool: futures.Executor | None = None
) -> dict[str, str | float] | None:
    """Start [s], tasks per second, MB/s and efficiency of the executor that fits the launch; None on other ranks than 0.

    The best of the repeats counts. Efficiency: the time that tasks of log-normal duration take, by workers times the time of the map.
    """
    begun = time.perf_counter()
    with open_executor(processes, pool=pool) as executor:
        executor.serve()
        if not executor.is_root:
            return None
        executor.map(nothing, range(executor.workers * 4))  # all workers are there and have loaded
        start_s = time.perf_counter() - begun
        seconds = min(_seconds(lambda: executor.map(nothing, range(tasks))) for _ in range(repeats))
        large_s = min(_seconds(lambda: executor.map(megabytes, range(_LARGE_TASKS))) for _ in range(repeats))
        times = durations(executor.workers)
        unequal_s = min(_seconds(lambda: executor.map(unequal, times)) for _ in range(min(repeats, 2)))
        return {
            "kind": executor.kind,
            "workers": executor.workers,
            "start_s": start_s,
            "tasks_per_s": tasks / seconds,
            "MB_per_s": _LARGE_TASKS * _MEGABYTES / large_s,
            "efficiency": sum(times) / executor.workers / unequal_s,
        }


def lines(workers: int, *, tasks: int, repeats: int) -> Iterator[str]:
    """The table of all executors that can run here."""
    yield f"{'executor':10} {'workers':>7} {'start':>8} {'no-op tasks':>14} {'results':>12} {'log-normal':>11}"
    for processes in (1, workers):
        if processes > 1 or workers > 1:
            yield _line(measure(processes, tasks=tasks, repeats=repeats))
    with futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield _line(measure(None, tasks=tasks, repeats=repeats, pool=pool))
    for ranks in sorted({1, 2, workers}):
        command = mpiexec.command(ranks, ["-m", __spec__.name, str(tasks), str(repeats)])
        if command is None:
            yield "mpi        no mpiexec here"
            return
        done = subprocess.run(command, env=mpiexec.environment(), stdout=subprocess.PIPE, text=True)
        yield _line(json.loads(done.stdout)) if done.returncode == 0 else f"mpi        {ranks:7} failed; see above"


def _seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _line(found: dict[str, str | float] | None) -> str:
    assert found is not None
    return (
        f"{found['kind']:10} {found['workers']:7} {found['start_s']:6.2f} s {found['tasks_per_s']:12,.0f}/s "
        f"{found['MB_per_s']:7,.0f} MB/s {found['efficiency']:10.1%}"
    )


if __name__ == "__main__":
    own = measure(None, tasks=int(sys.argv[1]), repeats=int(sys.argv[2]))
    if own is not None:
        print(json.dumps(own))
