"""The program of every rank of `twin bench scaling`: maps of tasks that sleep, timed where they run, and what they cost in CPU time.

`mpiexec -n 4 python -m scenarios.commands.scaling_ranks '[[0.1, 16, 2, false]]'`: seconds and number of the tasks of each map, how
often it is repeated, and whether CPU times are told.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from hpc import Executor, TaskFailure, open_executor

Cpu = tuple[int, int, float, float]


def nap(seconds: float) -> Cpu:
    """Sleep; tells its rank's process, its own, and the CPU time [s] that both have used."""
    if seconds > 0:
        time.sleep(seconds)
    rank = os.getppid()
    return rank, os.getpid(), _cpu_s(rank), time.process_time()


def rest(seconds: float) -> None:
    """Sleep, and nothing else."""
    time.sleep(seconds)


def _cpu_s(process: int) -> float:
    """CPU time [s] of another process's main thread, to the nanosecond where the kernel tells it (proc(5), schedstat)."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) * 1e-9
    except (OSError, IndexError):
        return float("nan")


def measure(executor: Executor, task_s: float, tasks: int, repeats: int) -> dict[str, Any]:
    """Makespan of the quickest map [s]."""
    makespans_s: list[float] = []
    for _ in range(repeats):
        begun = time.perf_counter()
        executor.map(rest, [task_s] * tasks)
        makespans_s.append(time.perf_counter() - begun)
    executor.timeline.take()
    return {"task_s": task_s, "tasks": tasks, "makespan_s": min(makespans_s)}


def measure_cpu(executor: Executor, task_s: float, tasks: int, repeats: int) -> dict[str, Any]:
    """Maps one after the other: CPU times per task [s] of ranks but the root and of workers, and by how much a sleep is longer than asked."""
    executor.timeline.take()
    ranks: dict[int, list[float]] = {}
    workers: dict[int, list[float]] = {}
    for _ in range(repeats):
        for told in executor.map(nap, [task_s] * tasks):
            assert not isinstance(told, TaskFailure), told
            rank, worker, rank_s, worker_s = told
            ranks.setdefault(rank, []).append(rank_s)
            workers.setdefault(worker, []).append(worker_s)
    spans = executor.timeline.take()
    begun, telling = time.process_time(), 200
    for _ in range(telling):
        nap(0.0)
    telling_s = (time.process_time() - begun) / telling
    return {
        "task_s": task_s,
        "tasks": tasks,
        "member_cpu_per_task_s": _per_task([times for rank, times in ranks.items() if rank != os.getpid()]),
        "worker_cpu_per_task_s": max(0.0, _per_task(list(workers.values())) - telling_s),
        "oversleep_s": min(span.took_s for span in spans) - task_s,
    }


def _per_task(groups: list[list[float]]) -> float:
    """Rise per task of CPU times told at the end of each; NaN where no process had two."""
    tasks = sum(len(times) - 1 for times in groups)
    return sum(max(times) - min(times) for times in groups) / tasks if tasks else float("nan")


def main(maps: list[tuple[float, int, int, bool]]) -> None:
    """All maps; the root prints what was measured as JSON."""
    begun = time.perf_counter()
    with open_executor() as executor:
        if not executor.is_root:
            executor.serve()
            return
        seen: set[int] = set()
        while len(seen) < executor.workers and time.perf_counter() - begun < 300:  # all are there and have loaded
            executor.map(nap, [0.02] * 2 * executor.workers)
            seen |= {span.worker for span in executor.timeline.take()}
        start_s = time.perf_counter() - begun
        found = [
            (measure_cpu if cpu else measure)(executor, task_s, tasks, repeats) for task_s, tasks, repeats, cpu in maps
        ]
        print(json.dumps({"ranks": executor.workers, "start_s": start_s, "maps": found}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
