"""Tasks one after the other in this process: for one core, and for a debugger."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from hpc import stop
from hpc.granted import Granted
from hpc.parcel import Work
from hpc.task_failure import TaskFailure, attempt
from hpc.timeline import Timeline
from hpc.understudy import Understudy

T = TypeVar("T")
R = TypeVar("R")


class SerialExecutor:
    """The executor without other processes. A crash in compiled code ends the run here; elsewhere it costs its task."""

    workers: int = 1
    is_root: bool = True
    took_over: bool = False
    kind: Literal["serial", "processes", "mpi", "futures"] = "serial"

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.granted: tuple[Granted, ...] = ()

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        on_result: Callable[[int, R | TaskFailure], None] | None = None,
    ) -> list[R | TaskFailure]:
        """See `Executor.map`. A signal stops the task that runs."""
        results: list[R | TaskFailure] = []
        for index, task in enumerate(tasks):
            stop.check()
            if not stop.time_for_another():
                stop.out_of_time()
            began_ns, ticks_ns = time.time_ns(), time.perf_counter_ns()
            result = attempt(function, index, task)
            took_ns = time.perf_counter_ns() - ticks_ns
            self.timeline.note(index, Work(began_ns, took_ns, 0, os.getpid()))
            stop.took(took_ns * 1e-9)
            results.append(result)
            if on_result is not None:
                with stop.deferred():
                    on_result(index, result)
        return results

    def serve(self, understudy: Understudy[Any] | None = None) -> None:
        """Nothing to serve: this process leads."""
