"""Tasks on the ranks of an MPI job: one rank leads, and every rank, that one too, has a worker process that computes.

The rank itself only passes parcels on, so it answers at once however long a task takes, in whatever compiled code; a
crash there costs a worker, not the job. A rank that waits sleeps between looks at its messages, since MPI's own waiting would
take a core from the worker. Each free worker asks for nothing and gets the next task: unequal tasks balance themselves.

Rank 0 leads. Where the launcher tolerates faults (`hpc.roll`) the job outlives any rank: the lowest one alive leads, which
every rank finds out by itself, and whoever comes to lead goes on with what the journal holds.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import mpi4py

from hpc import granted, launch, parcel, stop
from hpc.crew import Crew, teams, within_limit
from hpc.errors import LaunchError, WorkerError
from hpc.granted import Asked, Granted
from hpc.launch import Launch
from hpc.parcel import Kind
from hpc.patience import BUSY_S, HOLD_S
from hpc.placed import PlacedExecutor, placed_executor
from hpc.placement import Placement
from hpc.post import Post
from hpc.roll import tolerates_faults
from hpc.round import carry_out
from hpc.task_failure import TaskFailure
from hpc.timeline import Timeline
from hpc.understudy import Understudy

T = TypeVar("T")
R = TypeVar("R")

_LOOK_EVERY_S = 0.0005  # who waits for others to end
_ROUNDS = 1 << 32  # of one leader: those of the next, whose rank is higher, have higher numbers
_SILENCE_S = 1.0  # after the death of who led a rank, until it reports
_FAREWELL_S = 5.0
_INTERNAL_ERROR = 4


class RankExecutor:
    """The executor on one rank.

    Args:
        post: to the other ranks.
        workers_per_rank: worker processes of each rank.
        group: ranks that one rank leads for the root, see `hpc.crew.teams`.
    """

    kind: Literal["serial", "processes", "mpi", "futures"] = "mpi"

    def __init__(self, post: Post, *, workers_per_rank: int, group: int | None = None) -> None:
        self.ranks = post.size
        self.workers = post.size * workers_per_rank
        self.is_root = post.rank == 0
        self.took_over = False
        self.timeline = Timeline()
        self.granted: tuple[Granted, ...] = ()
        self._post, self._group = post, group
        self._crew = Crew(post, workers=workers_per_rank)
        self._rounds = 0
        self._boss = 0  # who gave this rank its work
        self._boss_died: float | None = None
        self._results: list[bytearray] = []  # that wait for company
        self._held_since = 0.0
        self._released = False

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        on_result: Callable[[int, R | TaskFailure], None] | None = None,
    ) -> list[R | TaskFailure]:
        """See `Executor.map`. A signal to any rank stops the map; tasks that run are dropped."""
        if not self.is_root:
            raise RuntimeError("only the root maps tasks; on the other ranks call serve() and leave when it returns.")
        self._rounds += 1
        self._crew.lead(teams(self._others(), self._group))
        number = self._post.rank * _ROUNDS + self._rounds
        return carry_out(
            self._crew,
            function,
            tasks,
            number=number,
            patience_s=BUSY_S,
            timeline=self.timeline,
            on_result=on_result,
        )

    def serve(self, understudy: Understudy[Any] | None = None) -> None:
        """Work for the root until it leaves, or until this rank has to lead. A signal is passed on to the root: it decides."""
        if self.is_root or self._released:
            return
        with stop.deferred():
            told: int | None = None  # whom of a signal
            try:
                while not self._released:
                    results = self._work()
                    self._obey()  # first: a worker may wait for what it says
                    self._pass_on(results)
                    leader = self._leader()
                    if leader == self._post.rank:
                        self.is_root = self.took_over = True
                        return
                    if understudy is not None and self._next_in_line(leader):
                        understudy.begin()
                    self._report_to(leader)
                    if (number := stop.requested()) is not None and told != leader:
                        told = leader
                        self._post.send(parcel.pack(Kind.SIGNAL, index=number), leader)
                    self._post.dispatch()
            finally:
                if not self.is_root:
                    self._crew.close()
                    stop.forget()

    def leave(self) -> None:
        """The root lets the other ranks go; these do not go before, since it may have sent them tasks."""
        if not self.is_root:
            self.serve()  # returns at once where it was released
        if self.is_root:
            self._crew.close()
            for rank in self._others():
                self._post.send(parcel.pack(Kind.LEAVE), rank)
            if self._post.tolerant:
                self._await_farewells()
        self._post.flush()

    def _others(self) -> list[int]:
        """Ranks that are alive, but for this one."""
        return [rank for rank in range(self.ranks) if rank != self._post.rank and rank not in self._post.lost]

    def _leader(self) -> int:
        return next(rank for rank in range(self.ranks) if rank not in self._post.lost)

    def _next_in_line(self, leader: int) -> bool:
        """Whether this rank leads if the leader dies, and a run that could be lost has begun."""
        if not self._post.tolerant or self._crew.round == 0:
            return False
        return self._post.rank == next(rank for rank in range(leader + 1, self.ranks) if rank not in self._post.lost)

    def _work(self) -> list[bytearray]:
        """What is finished, after a moment's wait for it."""
        try:
            return self._crew.collect(BUSY_S)
        except WorkerError as error:
            self._post.send(parcel.pack(Kind.BROKEN, str(error), round=self._crew.round), self._boss)
            self._crew.cancel()
            return []

    def _pass_on(self, results: list[bytearray]) -> None:
        """Send results to who leads, or let them wait for company."""
        now = time.monotonic()
        if not self._results:
            self._held_since = now
        self._results += results
        left = self._crew.running
        # while more is left than the workers work on, the leader is in no hurry for what is finished
        if left <= max(self._crew.workers, len(self._results)) or now - self._held_since >= HOLD_S:
            for result in self._results:
                self._post.send(within_limit(result), self._boss)
            self._results.clear()

    def _obey(self) -> None:
        """Do what those who lead say. The dead no longer do, nor those whose round is over."""
        orders, self._crew.orders = self._crew.orders, []
        for rank, message in orders:
            kind, round_, _ = parcel.label(message)
            if rank in self._post.lost:
                continue
            if kind is Kind.LEAVE:
                self._post.send(parcel.pack(Kind.LEAVE), rank)
                self._released = True
            elif kind is Kind.TEAM and round_ >= self._crew.round:
                self._crew.lead(dict.fromkeys(parcel.unpack(message), ()))
            elif kind is Kind.FUNCTION and round_ >= self._crew.round:
                self._boss, self._boss_died = rank, None
                self._crew.begin(message)
            elif kind is Kind.CANCEL and round_ == self._crew.round:
                self._crew.cancel()
            elif kind is Kind.TASK and round_ == self._crew.round:
                self._crew.submit(message)
        self._crew.ahead = max(0, -(-self._crew.running // self._crew.workers) - 1)  # all that it holds is passed on

    def _report_to(self, leader: int) -> None:
        """Say that nobody leads this rank any more: usually the leader knows, and has told it what to do before."""
        if self._boss not in self._post.lost:
            return
        now = time.monotonic()
        if self._boss_died is None:
            self._boss_died = now
        elif now - self._boss_died > _SILENCE_S:
            self._post.send(parcel.pack(Kind.ORPHAN, round=self._crew.round), leader)
            self._boss, self._boss_died = leader, None

    def _await_farewells(self) -> None:
        """Wait until the others know that all is done: else they would take this rank's end for its death."""
        staying = set(self._others())
        deadline = time.monotonic() + _FAREWELL_S
        while staying - self._post.lost and time.monotonic() < deadline:
            self._post.dispatch()
            staying -= {rank for rank, message in self._post.receive() if parcel.label(message).kind is Kind.LEAVE}
            self._post.busy()
            self._post.roll_call()
            time.sleep(_LOOK_EVERY_S)


@contextmanager
def open_ranks(
    launched: Launch, *, workers_per_rank: int, placement: Callable[[], Placement | None] | None = None
) -> Iterator[RankExecutor | PlacedExecutor]:
    """The executor of this rank. An error that a rank cannot mend ends the whole job, so that no rank waits for ever; where
    the job outlives its ranks it ends this one.

    Args:
        launched: what the launcher said.
        workers_per_rank: worker processes of each rank that takes tasks.
        placement: see `open_executor`.

    Raises:
        LaunchError: MPI cannot be loaded, or sees other ranks than were launched.
        PlacementError: simulators are placed on ranks that the job has not.
    """
    tolerant = tolerates_faults()
    mpi = started(launched, finalize=not tolerant)
    # a copy keeps our messages apart from those of others, but takes all ranks to make
    world = mpi.COMM_WORLD if tolerant else mpi.COMM_WORLD.Dup()
    post = Post(world, mpi, tolerant=tolerant)
    executor: RankExecutor | PlacedExecutor = RankExecutor(
        post, workers_per_rank=workers_per_rank, group=launch.group()
    )
    with post.surviving():  # a job that loses a rank this early does without knowing what its ranks were granted
        executor.granted = granted.gather(world)
    try:
        placed = None if placement is None else placed_executor(post, world, placement)
        if placed is not None:
            placed.granted, executor = executor.granted, placed
        yield executor
    except stop.Stopped as stopped:
        if not executor.is_root:
            stop.request(stopped.signal_number)  # `leave` passes it on
        raise
    except Exception:
        if not executor.is_root:
            # rank 0 would wait for this one for ever
            print(f"rank {world.rank} cannot go on:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
            if tolerant:
                os._exit(_INTERNAL_ERROR)
            world.Abort(_INTERNAL_ERROR)
        raise
    finally:
        executor.leave()


def started(launched: Launch, *, finalize: bool) -> Any:
    """MPI, initialised; checked against what the launcher announced."""
    mpi4py.rc.thread_level = "funneled"  # only the main thread communicates
    mpi4py.rc.finalize = finalize  # would wait for all ranks: one that dies meanwhile could hold up the others
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
