"""Executor: an ordered map over tasks, the same for one process, many, and MPI ranks.

Results come back in the order of the tasks and do not depend on who computed them; a task that fails is a `TaskFailure` in
its place. Tasks are handed out one at a time as workers become free, so unequal tasks balance themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TypeVar

from hpc import grant, launch, stop
from hpc.errors import PlacementError
from hpc.granted import Asked, Granted, check_ranks
from hpc.placement import Placement
from hpc.task_failure import TaskFailure
from hpc.timeline import Timeline
from hpc.understudy import Understudy

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Where tasks run.

    Attributes:
        workers: how many tasks run at once.
        is_root: whether this process leads. Others call `serve`, and leave when it returns; unless they lead then.
        took_over: whether it leads since the rank that led has died: what that one has begun is there, and may be half done.
        kind: by what means.
        timeline: when and where the tasks ran.
        granted: what each rank found where it runs, on the root.
    """

    workers: int
    is_root: bool
    took_over: bool
    kind: Literal["serial", "processes", "mpi", "futures"]
    timeline: Timeline
    granted: tuple[Granted, ...]

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        on_result: Callable[[int, R | TaskFailure], None] | None = None,
    ) -> list[R | TaskFailure]:
        """The function's results, in the order of the tasks.

        Args:
            function: picklable; each worker receives it once per call.
            tasks: picklable, small: what a task needs beyond the function.
            on_result: called on the root, in its main thread, as each task ends: with its index, and its result or failure.

        Raises:
            Stopped: a signal came; `on_result` has seen everything that was finished.
            WorkerError: workers cannot start, or cannot load the function.
        """
        ...

    def serve(self, understudy: Understudy[Any] | None = None) -> None:
        """Work for the root until it leaves, or until this process has to lead; on the root itself, do nothing.

        Args:
            understudy: what leading needs; begun on the rank that is next in line, where the job can outlive the one that leads.
        """
        ...


@contextmanager
def open_executor(
    processes: int | None = None,
    *,
    walltime_s: float | None = None,
    pool: futures.Executor | None = None,
    placement: Callable[[], Placement | None] | None = None,
) -> Iterator[Executor]:
    """The executor that fits how this process was launched; within the block SIGINT and SIGTERM raise `Stopped`.

    Under `mpiexec` or `srun`: all ranks, one worker process each. Otherwise worker processes on all granted cores, or
    no other process at all where that is one.

        with open_executor() as executor:
            executor.serve()
            if not executor.is_root:
                return 0
            ...                     # read the input, map, write: all of it by the root alone

    Open it before the input is read: where every rank refused a bad input by itself, the launcher would end the job at the
    first that does, perhaps before the root has said why. An error inside the block on another rank than the root ends the
    whole job, since the root would wait for it.

    Args:
        processes: worker processes (under MPI: per rank), in place of the default.
        walltime_s: stop in time for this process to end so many seconds after it started; `Stopped` then has exit code 75.
        pool: run tasks there: any executor of `concurrent.futures`, such as those of Dask and Parsl. It stays open.
        placement: asked on the root alone, which simulators run on which ranks. Where any runs on another rank than 0 this is a
            `PlacedExecutor`: rank 0 takes all tasks, the others answer for simulators.

    Raises:
        PlacementError: simulators are placed on ranks that the job has not; and whatever `placement` raises.
        LaunchError: the launcher started more ranks than the MPI library sees, or fewer than the job script asked for.
    """
    grant.one_thread_each()
    launched = launch.announced() if pool is None else None
    with stop.listening():
        if walltime_s is not None:
            stop.at_age(walltime_s)
        if launched is None and placement is not None:
            _check_alone(placement(), pool)
        if pool is not None:
            from hpc.futures import FuturesExecutor

            yield FuturesExecutor(pool, workers=processes)
            return
        if launched is not None:
            from hpc.mpi import open_ranks  # MPI starts by being imported, and must not where nobody launched it

            with open_ranks(launched, workers_per_rank=processes or 1, placement=placement) as executor:
                yield executor
            return
        check_ranks(Asked.read(), 1)
        count = processes or grant.granted_cores()
        if count == 1:
            from hpc.serial import SerialExecutor

            alone = SerialExecutor()
            alone.granted = (Granted.look(),)
            yield alone
            return
        from hpc.processes import ProcessExecutor

        workers = ProcessExecutor(count)
        workers.granted = (Granted.look(),)
        try:
            yield workers
        finally:
            workers.close()


def _check_alone(found: Placement | None, pool: futures.Executor | None) -> None:
    """Refuse ranks where there are none."""
    if found is None or not found.elsewhere:
        return
    if pool is not None:
        raise PlacementError(f"placement {found}: a pool of workers has no ranks; run under mpiexec, without a pool.")
    found.check_size(1)
