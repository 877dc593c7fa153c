"""The program of every rank of `twin bench scaling`: maps of tasks that sleep, timed where they run, and what they cost in CPU time.

`mpiexec -n 4 python -m scenarios.commands.scaling_ranks '[[0.1, 16], [0, 2000]]'`: seconds and number of the tasks of each map.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from hpc import Executor, open_executor

Cpu = tuple[int, int, float, float]


def nap(seconds: float) -> Cpu:
    """Sleep; tells its rank's process, its own, and the CPU time [s] that both have used."""
    if seconds > 0:
        time.sleep(seconds)
    rank = os.getppid()
    return rank, os.getpid(), _cpu_s(rank), time.process_time()


def _cpu_s(process: int) -> float:
    """CPU time [s] of another process's main thread, to the nanosecond where the kernel tells it (proc(5), schedstat)."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) * 1e-9
    except (OSError, IndexError):
        return float("nan")


def measure(executor: Executor, task_s: float, tasks: int) -> dict[str, Any]:
    """One map: makespan [s], time in tasks [s], and CPU times per task [s] of root, other ranks and workers."""
    executor.timeline.take()
    cpu, begun = time.process_time(), time.perf_counter()
    found = executor.map(nap, [task_s] * tasks)
    makespan_s, root_s = time.perf_counter() - begun, time.process_time() - cpu
    spans = executor.timeline.take()
    ranks: dict[int, list[float]] = {}
    workers: dict[int, list[float]] = {}
    for rank, worker, rank_s, worker_s in found:  # pyright: ignore[reportGeneralTypeIssues]
        ranks.setdefault(rank, []).append(rank_s)
        workers.setdefault(worker, []).append(worker_s)
    others = [times for rank, times in ranks.items() if rank != os.getpid()]
    return {
        "task_s": task_s,
        "tasks": tasks,
        "makespan_s": makespan_s,
        "worked_s": sum(span.took_s for span in spans),
        "ranks_at_work": len({span.rank for span in spans}),
        "root_cpu_s": root_s,
        "member_cpu_per_task_s": _per_task(others),
        "worker_cpu_per_task_s": _per_task(list(workers.values())),
    }


def _per_task(groups: list[list[float]]) -> float:
    """Rise per task of CPU times told at the end of each; NaN where no process had two."""
    tasks = sum(len(times) - 1 for times in groups)
    return sum(max(times) - min(times) for times in groups) / tasks if tasks else float("nan")


def main(maps: list[tuple[float, int]]) -> None:
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
        found = [measure(executor, task_s, tasks) for task_s, tasks in maps]
        print(json.dumps({"ranks": executor.workers, "start_s": start_s, "maps": found}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
