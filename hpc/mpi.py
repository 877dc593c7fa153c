"""Tasks on the ranks of an MPI job: rank 0 leads, and every rank, rank 0 too, has a worker process that computes.

The rank itself only passes parcels on, so it answers at once however long a task takes, in whatever compiled code; a
crash there costs a worker, not the job. A rank that waits sleeps between looks at its messages, since MPI's own waiting would
take a core from the worker. Each free worker asks for nothing and gets the next task: unequal tasks balance themselves.
"""

from __future__ import annotations

import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import mpi4py

from hpc import granted, launch, parcel, stop
from hpc.errors import LaunchError, WorkerError
from hpc.granted import Asked, Granted
from hpc.launch import Launch
from hpc.parcel import Kind
from hpc.pool import Pool
from hpc.task_failure import TaskFailure
from hpc.timeline import Timeline

T = TypeVar("T")
R = TypeVar("R")

_LOOK_EVERY_S = 0.0005  # while tasks run
_IDLE_LOOK_EVERY_S = 0.02  # between maps
_LARGEST = 2**31 - 1  # bytes in one message: MPI counts in 32 bits
_INTERNAL_ERROR = 4


class _Post:
    """Parcels to and from other ranks. Sending never waits; parcels are kept until MPI has them delivered."""

    def __init__(self, communicator: Any, mpi: Any) -> None:
        self._communicator, self._mpi = communicator, mpi
        self._outgoing: list[tuple[Any, bytearray]] = []

    def send(self, message: bytearray, rank: int) -> None:
        self._outgoing.append((self._communicator.Isend([message, self._mpi.BYTE], rank), message))

    def receive(self) -> list[tuple[int, bytearray]]:
        """What has arrived, with the ranks it comes from."""
        arrived: list[tuple[int, bytearray]] = []
        status = self._mpi.Status()
        while (waiting := self._communicator.Improbe(self._mpi.ANY_SOURCE, self._mpi.ANY_TAG, status)) is not None:
            message = bytearray(status.Get_count(self._mpi.BYTE))
            waiting.Recv([message, self._mpi.BYTE])
            arrived.append((status.Get_source(), message))
        return arrived

    def busy(self) -> bool:
        """Whether something is still on its way. Asking moves it on."""
        self._outgoing = [(request, message) for request, message in self._outgoing if not request.Test()]
        return bool(self._outgoing)

    def flush(self) -> None:
        while self.busy():
            time.sleep(_LOOK_EVERY_S)


class RootRank:
    """The executor on rank 0, which leads."""

    is_root: bool = True
    kind: Literal["serial", "processes", "mpi"] = "mpi"

    def __init__(self, post: _Post, *, ranks: int, workers_per_rank: int) -> None:
        self.workers = ranks * workers_per_rank
        self.ranks = ranks
        self.timeline = Timeline()
        self.granted: tuple[Granted, ...] = ()
        self._per_rank = workers_per_rank
        self._post = post
        self._pool = Pool(workers_per_rank)
        self._round = 0

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        on_result: Callable[[int, R | TaskFailure], None] | None = None,
    ) -> list[R | TaskFailure]:
        """See `Executor.map`. A signal to any rank stops the map; tasks that run are dropped."""
        self._round += 1
        results: list[Any] = [None] * len(tasks)
        handed_out = ended = 0
        free = dict.fromkeys(range(1, self.ranks), self._per_rank)  # room on the other ranks
        told: set[int] = set()
        load = parcel.pack(Kind.FUNCTION, function, round=self._round)
        _check_size(load, "the function that is mapped")
        with stop.deferred():
            try:
                self._pool.begin(load)
                while ended < len(tasks):
                    stopping = stop.requested() is not None
                    while not stopping and handed_out < len(tasks) and (place := self._place(free)) is not None:
                        task = parcel.pack(Kind.TASK, tasks[handed_out], round=self._round, index=handed_out)
                        if place == 0:
                            self._pool.submit(task)
                        else:
                            _check_size(task, f"task {handed_out}")
                            if place not in told:
                                told.add(place)
                                self._post.send(load, place)
                            free[place] -= 1
                            self._post.send(task, place)
                        handed_out += 1
                    for message in self._collect(free):
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
                for rank in told:
                    self._post.send(parcel.pack(Kind.CANCEL, round=self._round), rank)
                raise
        return results

    def serve(self) -> None:
        """Nothing to serve: this rank leads."""

    def leave(self) -> None:
        """Let the other ranks go, and end the own worker."""
        self._pool.close()
        for rank in range(1, self.ranks):
            self._post.send(parcel.pack(Kind.LEAVE), rank)
        self._post.flush()

    def _place(self, free: dict[int, int]) -> int | None:
        """The rank with most room for another task."""
        own = self._pool.room
        rank = max(free, key=lambda rank: free[rank], default=0)
        if rank and free[rank] > own:
            return rank
        return 0 if own > 0 else None

    def _collect(self, free: dict[int, int]) -> list[bytearray]:
        """Results that are there, from the own worker and the other ranks; waits a moment for the first."""
        results = self._pool.collect(0.0 if self._post.busy() else _LOOK_EVERY_S)
        for rank, message in self._post.receive():
            kind, round_, index = parcel.label(message)
            if kind is Kind.SIGNAL:
                stop.request(index)
            elif kind is Kind.BROKEN and round_ == self._round:
                raise WorkerError(f"rank {rank}: {parcel.unpack(message)}")
            elif kind is Kind.RESULT and round_ == self._round:
                free[rank] += 1
                results.append(message)
        return results


class OtherRank:
    """The executor on the ranks that do not lead."""

    is_root: bool = False
    kind: Literal["serial", "processes", "mpi"] = "mpi"

    def __init__(self, post: _Post, *, ranks: int, workers_per_rank: int) -> None:
        self.workers = ranks * workers_per_rank
        self.ranks = ranks
        self.timeline = Timeline()
        self.granted: tuple[Granted, ...] = ()
        self._post = post
        self._pool = Pool(workers_per_rank)
        self._released = False

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        on_result: Callable[[int, R | TaskFailure], None] | None = None,
    ) -> list[R | TaskFailure]:
        """Only rank 0 maps."""
        raise RuntimeError("only the root maps tasks; on the other ranks call serve() and leave when it returns.")

    def serve(self) -> None:
        """Work for rank 0 until it leaves. A signal is passed on to it: it decides."""
        with stop.deferred():
            told = False
            running = 0
            try:
                while True:
                    for _, message in self._post.receive():
                        kind = parcel.label(message).kind
                        if kind is Kind.LEAVE:
                            self._released = True
                            return
                        if kind is Kind.FUNCTION:
                            self._pool.begin(message)
                            running = 0
                        elif kind is Kind.CANCEL:
                            self._pool.cancel()
                            running = 0
                        elif kind is Kind.TASK:
                            self._pool.submit(message)
                            running += 1
                    running -= self._work(running)
                    if (number := stop.requested()) is not None and not told:
                        told = True
                        self._post.send(parcel.pack(Kind.SIGNAL, index=number), 0)
            finally:
                self._pool.close()
                stop.forget()

    def leave(self) -> None:
        """Do not go before the root does: it may have sent tasks here."""
        if not self._released:
            self.serve()
        self._post.flush()

    def _work(self, running: int) -> int:
        """Pass on what is finished, or wait a moment for it; returns how many results that were."""
        pause = 0.0 if self._post.busy() else _LOOK_EVERY_S if running else _IDLE_LOOK_EVERY_S
        try:
            results = self._pool.collect(pause)
        except WorkerError as error:
            self._pool.cancel()
            self._post.send(parcel.pack(Kind.BROKEN, str(error), round=self._pool.round), 0)
            return running
        for result in results:
            self._post.send(_within_limit(result), 0)
        return len(results)


def _check_size(message: bytearray, what: str) -> None:
    if len(message) > _LARGEST:
        raise ValueError(
            f"{what} is {len(message) / 2**30:.1f} GiB; a message holds less than 2 GiB: send what it is read from."
        )


def _within_limit(result: bytearray) -> bytearray:
    """The result, or a failure in its place where MPI cannot send it."""
    if len(result) <= _LARGEST:
        return result
    _, round_, index = parcel.label(result)
    text = f"its result is {len(result) / 2**30:.1f} GiB, and an MPI message holds less than 2 GiB: cut the task into smaller ones"
    return parcel.pack(Kind.RESULT, TaskFailure(index, "ValueError", text), round=round_, index=index)


@contextmanager
def open_ranks(launched: Launch, *, workers_per_rank: int) -> Iterator[RootRank | OtherRank]:
    """The executor of this rank. An error that a rank cannot mend ends the whole job, so that no rank waits for ever.

    Raises:
        LaunchError: MPI cannot be loaded, or sees other ranks than were launched.
    """
    mpi = _start(launched)
    world = mpi.COMM_WORLD.Dup()
    post = _Post(world, mpi)
    which = RootRank if world.rank == 0 else OtherRank
    executor = which(post, ranks=world.size, workers_per_rank=workers_per_rank)
    executor.granted = granted.gather(world)
    try:
        yield executor
    except stop.Stopped as stopped:
        if not executor.is_root:
            stop.request(stopped.signal_number)  # `leave` passes it on
        raise
    except Exception:
        if not executor.is_root:
            # rank 0 would wait for this one for ever
            print(f"rank {world.rank} cannot go on:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
            world.Abort(_INTERNAL_ERROR)
        raise
    finally:
        executor.leave()


def _start(launched: Launch) -> Any:
    """MPI, initialised; checked against what the launcher announced."""
    mpi4py.rc.thread_level = "funneled"  # only the main thread communicates
    try:
        with launch.watched(launched), stop.immediate(), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # of a launcher that does not fit: refused below, with the cure
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise LaunchError(
            f"{launched.launcher} started this process, and the MPI library cannot be loaded: {error}\n  {launch.cure(launched)}"
        ) from error
    library = MPI.Get_library_version().split("\n")[0].split(",")[0].strip("\0 ")
    launch.check(launched, seen=MPI.COMM_WORLD.size, library=library)
    granted.check_ranks(Asked.read(), MPI.COMM_WORLD.size)
    return MPI
