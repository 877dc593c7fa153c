"""Tasks one after the other in this process: for one core, and for a debugger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from hpc import stop
from hpc.task_failure import TaskFailure, attempt

T = TypeVar("T")
R = TypeVar("R")


class SerialExecutor:
    """The executor without other processes. A crash in compiled code ends the run here; elsewhere it costs its task."""

    workers: int = 1
    is_root: bool = True
    kind: Literal["serial", "processes", "mpi"] = "serial"

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
            result = attempt(function, index, task)
            results.append(result)
            if on_result is not None:
                with stop.deferred():
                    on_result(index, result)
        return results

    def serve(self) -> None:
        """Nothing to serve: this process leads."""
