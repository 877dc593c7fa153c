"""How fast executors are with tasks that do nothing, and with results of some size: the overhead below which tasks are too small.

Under MPI this module is the program of every rank: `mpiexec -n 4 python -m scenarios.commands.executor_rates`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from hpc import mpiexec, open_executor

_MEGABYTES, _LARGE_TASKS = 8, 16


def nothing(task: int) -> int:
    """A task that does nothing."""
    return task


def megabytes(task: int) -> np.ndarray:
    """A result of 8 MB."""
    return np.full(_MEGABYTES * 125_000, float(task))


def measure(processes: int | None, *, tasks: int, repeats: int) -> dict[str, str | float] | None:
    """Start [s], tasks per second and MB/s of the executor that fits the launch, best of the repeats; None on other ranks than 0."""
    begun = time.perf_counter()
    with open_executor(processes) as executor:
        if not executor.is_root:
            executor.serve()
            return None
        executor.map(nothing, range(executor.workers * 4))  # all workers are there and have loaded
        start_s = time.perf_counter() - begun
        seconds = min(_seconds(lambda: executor.map(nothing, range(tasks))) for _ in range(repeats))
        large_s = min(_seconds(lambda: executor.map(megabytes, range(_LARGE_TASKS))) for _ in range(repeats))
        return {
            "kind": executor.kind,
            "workers": executor.workers,
            "start_s": start_s,
            "tasks_per_s": tasks / seconds,
            "MB_per_s": _LARGE_TASKS * _MEGABYTES / large_s,
        }


def lines(workers: int, *, tasks: int, repeats: int) -> Iterator[str]:
    """The table of all executors that can run here."""
    yield f"{'executor':10} {'workers':>7} {'start':>8} {'no-op tasks':>14} {'results':>12}"
    for processes in (1, workers):
        if processes > 1 or workers > 1:
            yield _line(measure(processes, tasks=tasks, repeats=repeats))
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
        f"{found['MB_per_s']:7,.0f} MB/s"
    )


if __name__ == "__main__":
    own = measure(None, tasks=int(sys.argv[1]), repeats=int(sys.argv[2]))
    if own is not None:
        print(json.dumps(own))
