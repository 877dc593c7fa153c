"""A crew: a rank's own workers and the ranks that answer to it, as one team; these may have ranks of their own below them.

Large jobs are led through two levels, so that the root neither holds all tasks nor answers all ranks by itself. What a rank
held when it died is given to others; ranks that answered to it then answer to who leads the crew.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Mapping, Sequence

from hpc import parcel, stop
from hpc.errors import WorkerError
from hpc.parcel import Kind
from hpc.patience import BUSY_S, IDLE_S, LEADING_S, Patience
from hpc.pool import Pool
from hpc.post import Post
from hpc.task_failure import DEATHS_BEFORE_SET_ASIDE, SET_ASIDE, TaskFailure
from hpc.vacancies import Vacancies

_LARGEST = 2**31 - 1  # bytes in one message: MPI counts in 32 bits
_FLAT = 64  # ranks that one rank leads without help


def teams(ranks: Sequence[int], size: int | None = None) -> dict[int, tuple[int, ...]]:
    """Who answers to the root, and who to those.

    Args:
        ranks: all but the root.
        size: of a group with its head; None: everybody answers to the root up to 64 ranks, and groups of √ranks beyond.
    """
    if size is None:
        size = 1 if len(ranks) <= _FLAT else math.ceil(math.sqrt(len(ranks)))
    groups = [ranks[start : start + size] for start in range(0, len(ranks), size)]
    return {group[0]: tuple(group[1:]) for group in groups}


class Crew:
    """See the module. As `Pool`, it does not open the parcels that it passes on.

    Args:
        post: to other ranks.
        workers: of each rank.
    """

    def __init__(self, post: Post, *, workers: int) -> None:
        self._post, self._per_rank = post, workers
        self._pool = Pool(workers)
        self._workers = workers
        self._below: dict[int, tuple[int, ...]] = {}
        self._held: dict[int, dict[int, bytearray]] = {}
        self._vacancies = Vacancies({})
        self._told: set[int] = set()
        self._waiting: deque[bytearray] = deque()
        self._set_aside: list[bytearray] = []
        self._deaths: dict[int, int] = {}
        self._suspects: set[int] = (
            set()
        )  # that a rank may have died of: nothing is given ahead of them until they are done
        self._function = bytearray()
        self._patience = Patience()
        self._ahead = 0
        self.round = 0
        self.running = 0
        self.orders: list[tuple[int, bytearray]] = []
        """Mail that is not about this crew's work, with the ranks it comes from."""

    def lead(self, below: Mapping[int, Sequence[int]]) -> None:
        """These ranks answer to this one from the next round on, each with those that answer to it."""
        self._below = {rank: tuple(others) for rank, others in below.items()}
        self._held = {rank: {} for rank in below}
        self._count()
        self._told.clear()

    @property
    def workers(self) -> int:
        """How many tasks are worked on at once."""
        return self._workers

    @property
    def ahead(self) -> int:
        """How many tasks each worker is given ahead of the one that it works on."""
        return self._ahead

    @ahead.setter
    def ahead(self, ahead: int) -> None:
        if ahead != self._ahead:
            self._ahead = self._pool.ahead = ahead
            self._count()

    @property
    def room(self) -> int:
        """How many more tasks the crew takes, those ahead included."""
        return max(0, self._pool.room) + self._vacancies.total - len(self._waiting)

    def begin(self, function: bytearray) -> None:
        """A new round: what its tasks are given to."""
        _check_size(function, "the function that is mapped")
        self.cancel()
        self._function, self.round = function, parcel.label(function).round
        self._deaths.clear()
        self._suspects.clear()
        self._pool.begin(function)

    def submit(self, task: bytearray) -> None:
        """Give a task of this round to the crew."""
        _check_size(task, f"task {parcel.label(task).task}")
        self._waiting.append(task)
        self.running += 1
        self._distribute()

    def collect(self, timeout_s: float) -> list[bytearray]:
        """Results that are there, from the own workers and the other ranks; waits at most so long for a worker's, less where mail is due.

        Raises:
            WorkerError: workers cannot start, or cannot load the function.
        """
        for rank in self._post.roll_call():
            self._lose(rank)
        self._distribute()
        self._post.dispatch()
        under_way, mail = self._post.busy(), self._post.receive()
        pause_s = min(timeout_s, BUSY_S)
        if under_way or mail or self._set_aside:
            pause_s = 0.0
        elif self._below or self._pool.free > 0:
            pause_s = self._patience.pause_s(LEADING_S if self._below else IDLE_S)
        results, self._set_aside = self._set_aside, []
        results += self._read(mail)
        results += self._pool.collect(pause_s)
        if results and pause_s:  # the next task may have come meanwhile: its worker shall not wait for the next look
            mail = self._post.receive()
            results += self._read(mail)
        if mail or results:
            self._patience.renew()
        self.running = max(0, self.running - len(results))
        return results

    def _read(self, mail: Sequence[tuple[int, bytearray]]) -> list[bytearray]:
        """The results in it; what else it says is obeyed, or becomes an order. All is read before an error is raised."""
        results: list[bytearray] = []
        broken: str | None = None
        for rank, message in mail:
            kind, round_, index = parcel.label(message)
            if kind is Kind.SIGNAL:
                stop.request(index)
            elif kind is Kind.BROKEN:
                if round_ == self.round:
                    broken = f"rank {rank}: {parcel.unpack(message)}"
            elif kind is Kind.RESULT:
                if round_ == self.round:
                    self._suspects.discard(index)
                    if self._held.get(rank, {}).pop(index, None) is not None:
                        self._vacancies.put(rank, self._room(rank))
                    results.append(message)
            elif kind is Kind.ORPHAN:
                if round_ == self.round and rank in self._below:
                    self._requeue(rank)
            else:
                self.orders.append((rank, message))
        if broken is not None:
            raise WorkerError(broken)
        return results

    def cancel(self) -> None:
        """Forget the tasks of this round, here and on the other ranks."""
        self._waiting.clear()
        self._set_aside.clear()
        self._pool.cancel()
        for rank in self._told:
            self._post.send(parcel.pack(Kind.CANCEL, round=self.round), rank)
        self._post.dispatch()
        self._told.clear()
        self._held = {rank: {} for rank in self._below}
        self._count()
        self.running = 0

    def close(self) -> None:
        """End the own workers."""
        self._pool.close()

    def _room(self, rank: int) -> int:
        held = self._held[rank]
        singled_out = self._suspects and not self._suspects.isdisjoint(held)
        return self._workers_of(rank) * (1 if singled_out else 1 + self._ahead) - len(held)

    def _workers_of(self, rank: int) -> int:
        """Workers of a rank that answers to this one, and of those that answer to it."""
        return self._per_rank * (1 + len(self._below[rank]))

    def _count(self) -> None:
        """Who has room, counted anew: ranks have come or gone, or what they held is given to others."""
        self._workers = self._pool.size + sum(map(self._workers_of, self._below))
        self._vacancies = Vacancies({rank: self._room(rank) for rank in self._below})

    def _distribute(self) -> None:
        """Give what waits to whoever has room: in turn, and to the own workers where they have more."""
        while self._waiting:
            if self._suspects and parcel.label(self._waiting[0]).task in self._suspects and self._below:
                free = (rank for rank, held in self._held.items() if len(held) < self._workers_of(rank))
                if (rank := next(free, None)) is None:
                    return
                self._hand_over(self._waiting.popleft(), rank)
                continue
            rank, own = self._vacancies.next(), self._pool.room
            if rank is not None and self._vacancies.of(rank) > max(0, own):
                self._hand_over(self._waiting.popleft(), rank)
            elif own > 0:
                self._pool.submit(self._waiting.popleft())
            else:
                return

    def _hand_over(self, task: bytearray, rank: int) -> None:
        if rank not in self._told:
            self._told.add(rank)
            self._post.send(parcel.pack(Kind.TEAM, self._below[rank], round=self.round), rank)
            self._post.send(self._function, rank)
        self._held[rank][parcel.label(task).task] = task
        self._vacancies.take(rank)
        if self._suspects:
            self._vacancies.put(rank, self._room(rank))
        self._post.send(task, rank)

    def _requeue(self, rank: int) -> None:
        """A rank that has lost who led it begins anew: orders of the dead may have overtaken ours."""
        self._told.discard(rank)
        self._waiting.extendleft(reversed(self._held[rank].values()))
        self._held[rank] = {}
        self._count()

    def _lose(self, rank: int) -> None:
        """A rank has died: its tasks are tried again, and ranks that answered to it answer to this one, beginning anew.

        Its death is blamed on what it held if all of that was worked on. Where more had been given to it ahead, results of some may have
        waited to be sent (`hpc.patience.HOLD_S`), so that nobody knows which task it was: none is blamed, and all of them are tried again
        with nothing ahead of them, which tells.
        """
        if rank not in self._below:
            self._below = {head: tuple(one for one in group if one != rank) for head, group in self._below.items()}
            self._count()
            return
        print(f"rank {rank} has died; its tasks go to others.", file=sys.stderr, flush=True)
        self._told.discard(rank)
        begun = self._workers_of(rank)
        for orphan in self._below.pop(rank):
            if orphan not in self._post.lost:
                self._below[orphan], self._held[orphan] = (), {}
        again: list[bytearray] = []
        held = self._held.pop(rank)
        self._suspects |= held.keys()
        for index, task in held.items():
            self._deaths[index] = self._deaths.get(index, 0) + (len(held) <= begun)
            if self._deaths[index] < DEATHS_BEFORE_SET_ASIDE:
                again.append(task)
                continue
            text = f"set aside after {self._deaths[index]} ranks were lost that held it; the last was rank {rank}"
            failure = TaskFailure(index, SET_ASIDE, text)
            self._set_aside.append(parcel.pack(Kind.RESULT, failure, round=self.round, index=index))
        self._waiting.extendleft(reversed(again))
        self._count()


def _check_size(message: bytearray, what: str) -> None:
    if len(message) > _LARGEST:
        raise ValueError(
            f"{what} is {len(message) / 2**30:.1f} GiB; a message holds less than 2 GiB: send what it is read from."
        )


def within_limit(result: bytearray) -> bytearray:
    """The result, or a failure in its place where MPI cannot send it."""
    if len(result) <= _LARGEST:
        return result
    _, round_, index = parcel.label(result)
    text = f"its result is {len(result) / 2**30:.1f} GiB, and an MPI message holds less than 2 GiB: cut the task into smaller ones"
    return parcel.pack(Kind.RESULT, TaskFailure(index, "ValueError", text), round=round_, index=index)
