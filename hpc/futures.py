"""Tasks on any executor of `concurrent.futures`: those of Dask (`client.get_executor()`), Parsl and mpi4py, or Python's own.

Functions, tasks and results travel as one block of bytes each, arrays in it as they lie in memory. The function goes with every
task, since such executors know no other way to bring it to all workers; a worker unpacks it once.
"""

from __future__ import annotations

import hashlib
import os
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal, TypeVar

from hpc import parcel, stop
from hpc.errors import WorkerError
from hpc.granted import Granted
from hpc.parcel import Kind, Work
from hpc.processes import REACTION_TIME_S
from hpc.task_failure import SET_ASIDE, TaskFailure, attempt
from hpc.timeline import Timeline
from hpc.understudy import Understudy

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # tasks handed over per worker: the next is there when one ends
_loaded: dict[bytes, Callable[[Any], Any]] = {}  # in a worker: the function of the last round


def work(digest: bytes, function: bytearray, task: bytearray) -> bytearray:
    """A worker's part: the packed result, or failure, of a packed task."""
    if digest not in _loaded:
        _loaded.clear()
        _loaded[digest] = parcel.unpack(function)
    index = parcel.label(task).task
    began_ns, ticks_ns = time.time_ns(), time.perf_counter_ns()
    result = attempt(lambda packed: _loaded[digest](parcel.unpack(packed)), index, task)
    took = Work(began_ns, time.perf_counter_ns() - ticks_ns, 0, os.getpid())
    try:
        return parcel.stamp(parcel.pack(Kind.RESULT, result, index=index), took)
    except Exception as error:  # the result cannot be pickled: that is the task's failure as well
        return parcel.stamp(parcel.pack(Kind.RESULT, TaskFailure.of(index, error), index=index), took)


class FuturesExecutor:
    """The executor over another's workers.

    Args:
        pool: any `concurrent.futures.Executor`.
        workers: how many tasks it runs at once, where it does not say so itself.
    """

    is_root: bool = True
    took_over: bool = False
    kind: Literal["serial", "processes", "mpi", "futures"] = "futures"

    def __init__(self, pool: Executor, *, workers: int | None = None) -> None:
        self.workers = workers or _workers(pool)
        self.timeline = Timeline()
        self.granted: tuple[Granted, ...] = ()
        self._pool = pool

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        on_result: Callable[[int, R | TaskFailure], None] | None = None,
    ) -> list[R | TaskFailure]:
        """See `Executor.map`. A signal leaves tasks that run to themselves: only their pool can end them.

        Raises:
            WorkerError: the pool is broken, or its workers cannot load the function.
        """
        packed = parcel.pack(Kind.FUNCTION, function)
        digest = hashlib.sha256(packed).digest()
        results: list[Any] = [None] * len(tasks)
        out: dict[int, Future[bytearray]] = {}
        begun_s: dict[int, float] = {}
        ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        handed_out = 0
        with stop.deferred():
            try:
                while handed_out < len(tasks) or out:
                    stop.check()
                    while handed_out < len(tasks) and len(out) < _AHEAD * self.workers and stop.time_for_another():
                        task = parcel.pack(Kind.TASK, tasks[handed_out], index=handed_out)
                        future = self._submit(digest, packed, task)
                        out[handed_out], begun_s[handed_out] = future, time.monotonic()
                        future.add_done_callback(lambda _, index=handed_out: ended.put(index))
                        handed_out += 1
                    if not out:
                        stop.out_of_time()
                    try:
                        index = ended.get(timeout=REACTION_TIME_S)
                    except queue.Empty:
                        continue
                    message = _result(index, out.pop(index))
                    stop.took(time.monotonic() - begun_s.pop(index))
                    self.timeline.note(index, parcel.work(message))
                    results[index] = parcel.unpack(message)
                    if on_result is not None:
                        on_result(index, results[index])
            except BaseException:
                for future in out.values():
                    future.cancel()
                raise
        return results

    def serve(self, understudy: Understudy[Any] | None = None) -> None:
        """Nothing to serve: this process leads."""

    def _submit(self, digest: bytes, function: bytearray, task: bytearray) -> Future[bytearray]:
        try:
            return self._pool.submit(work, digest, function, task)
        except RuntimeError as error:
            raise _broken(error) from error


def _workers(pool: Executor) -> int:
    """How many workers a pool has; there is no common way to ask."""
    if isinstance(count := getattr(pool, "_max_workers", None), int):
        return count
    client = getattr(pool, "_client", None)  # of Dask
    if client is not None:
        return max(1, sum(client.nthreads().values()))
    raise WorkerError(f"{type(pool).__name__} does not say how many workers it has: give processes=N.")


def _result(index: int, future: Future[bytearray]) -> bytearray:
    try:
        return bytearray(future.result())
    except BrokenProcessPool as error:
        raise _broken(error) from error
    except Exception as error:
        if type(error).__name__ == "KilledWorker":  # Dask's own count of workers that died with a task
            return parcel.pack(
                Kind.RESULT, TaskFailure(index, SET_ASIDE, f"set aside by its pool: {error}"), index=index
            )
        raise WorkerError(
            "the workers of the given pool cannot run tasks; this version of kakehashi must be importable there, and what "
            f"they are to run:\n{type(error).__name__}: {error}"
        ) from error


def _broken(error: Exception) -> WorkerError:
    return WorkerError(
        f"the given pool can no longer be used: {error} What was finished is kept. Open a new one and go on with --resume; "
        "twin's own worker processes outlive a task that kills its process."
    )
