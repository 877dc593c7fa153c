"""Tasks in worker processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from hpc import parcel, stop
from hpc.granted import Granted
from hpc.parcel import Kind
from hpc.pool import Pool
from hpc.task_failure import TaskFailure
from hpc.timeline import Timeline

T = TypeVar("T")
R = TypeVar("R")

REACTION_TIME_S = 0.05  # how late a signal may be noticed; launchers grant as little as 0.2 s


class ProcessExecutor:
    """The executor over worker processes; `close` it, or use `open_executor`."""

    is_root: bool = True
    kind: Literal["serial", "processes", "mpi"] = "processes"

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
        results: list[Any] = [None] * len(tasks)
        handed_out = ended = 0
        with stop.deferred():
            try:
                if tasks:
                    self._pool.begin(parcel.pack(Kind.FUNCTION, function, round=self._round))
                while ended < len(tasks):
                    stopping = stop.requested() is not None
                    while not stopping and handed_out < len(tasks) and self._pool.room:
                        task = tasks[handed_out]
                        self._pool.submit(parcel.pack(Kind.TASK, task, round=self._round, index=handed_out))
                        handed_out += 1
                    for message in self._pool.collect(0.0 if stopping else REACTION_TIME_S):
                        index = parcel.label(message).task
                        self.timeline.note(index, parcel.work(message))
                        results[index] = parcel.unpack(message)
                        ended += 1
                        if on_result is not None:
                            on_result(index, results[index])
                    if stopping:
                        stop.check()
            except BaseException:
                self._pool.cancel()
                raise
        return results

    def serve(self) -> None:
        """Nothing to serve: this process leads."""

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()
