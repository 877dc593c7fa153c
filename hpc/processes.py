"""Tasks in worker processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from hpc.granted import Granted
from hpc.pool import Pool
from hpc.round import carry_out
from hpc.task_failure import TaskFailure
from hpc.timeline import Timeline
from hpc.understudy import Understudy

T = TypeVar("T")
R = TypeVar("R")

REACTION_TIME_S = 0.05  # how late a signal may be noticed; launchers grant as little as 0.2 s


class ProcessExecutor:
    """The executor over worker processes; `close` it, or use `open_executor`."""

    is_root: bool = True
    took_over: bool = False
    kind: Literal["serial", "processes", "mpi", "futures"] = "processes"

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.timeline = Timeline()
        self.granted: tuple[Granted, ...] = ()
        self._pool = Pool(workers)
        self._round = 0

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        on_result: Callable[[int, R | TaskFailure], None] | None = None,
    ) -> list[R | TaskFailure]:
        """See `Executor.map`. A signal does not wait for the tasks that run: they are dropped."""
        self._round += 1
        return carry_out(
            self._pool,
            function,
            tasks,
            number=self._round,
            patience_s=REACTION_TIME_S,
            timeline=self.timeline,
            on_result=on_result,
        )

    def serve(self, understudy: Understudy[Any] | None = None) -> None:
        """Nothing to serve: this process leads."""

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()
