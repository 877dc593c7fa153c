"""Tasks given ahead: how many, that they travel together, and that no death is blamed on one that had not begun."""

from __future__ import annotations

import time
from pathlib import Path

import hpc_tasks as work
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc import TaskFailure, parcel, stop
from hpc.ahead import Ahead
from hpc.crew import Crew, teams
from hpc.parcel import Kind
from hpc.patience import Patience
from hpc.pool import Pool
from hpc.round import carry_out
from hpc.timeline import Timeline


def test_nobody_is_given_tasks_ahead_whose_length_is_not_known() -> None:
    assert [Ahead(2).depth(1000, since_s) for since_s in (0.0, 0.01, 1.0, 100.0)] == [0] * 4


def test_with_thousands_of_workers_one_is_given_ahead_while_the_first_are_out() -> None:
    """The root needs seconds to hand out as many tasks; those that none has ended of after hours may be too long to be given ahead."""
    assert [Ahead(82_944).depth(10**6, since_s) for since_s in (0.1, 5.0, 10_000.0)] == [0, 1, 0]


@pytest.mark.parametrize(("workers", "took_s", "depth"), [(2, 1e-5, 32), (2, 0.02, 1), (2, 1.0, 0), (82_944, 10.0, 1)])
def test_the_shorter_the_tasks_and_the_more_the_workers_the_more_are_given_ahead(
    workers: int, took_s: float, depth: int
) -> None:
    ahead = Ahead(workers)
    ahead.note(took_s)
    assert ahead.depth(1000 * workers, 1.0) == depth


def test_what_is_left_at_the_end_is_shared() -> None:
    """With less than a task left for each worker nobody is given one ahead; before, never more than a fair share."""
    ahead = Ahead(4)
    ahead.note(1e-5)
    depths = [ahead.depth(left, 1.0) for left in range(1000)]
    assert depths[:4] == [0] * 4
    assert depths == sorted(depths)
    assert all(depth * 4 <= left for left, depth in enumerate(depths))


def test_a_slow_start_is_forgotten() -> None:
    ahead = Ahead(2)
    for took_s in (3.0, *[1e-4] * 40):  # the first has imported what it needs
        ahead.note(took_s)
    assert ahead.depth(1000, 5.0) > 1


@given(st.lists(st.one_of(st.integers(), st.text(), st.integers(0, 50).map(np.arange)), max_size=8))
def test_a_bundle_holds_what_was_put_in(contents: list[object]) -> None:
    parcels = [parcel.pack(Kind.TASK, one, round=7, index=index) for index, one in enumerate(contents)]
    found = parcel.unbundle(parcel.bundle(parcels)) if len(parcels) != 1 else parcel.unbundle(parcels[0])
    assert found == parcels
    for index, (one, content) in enumerate(zip(found, contents, strict=True)):
        assert parcel.label(one) == (Kind.TASK, 7, index)
        np.testing.assert_array_equal(parcel.unpack(one), np.asarray(content))


def test_a_task_that_waited_behind_one_that_kills_its_worker_is_begun_once(tmp_path: Path) -> None:
    pool = Pool(1)
    pool.ahead = 3
    pool.begin(parcel.pack(Kind.FUNCTION, work.Notch(tmp_path, {0: 99}), round=1))
    try:
        assert pool.room == 4
        for index in range(4):
            pool.submit(parcel.pack(Kind.TASK, index, round=1, index=index))
        assert pool.room == 0
        found: dict[int, object] = {}
        deadline = time.monotonic() + 60
        while len(found) < 4 and time.monotonic() < deadline:
            found |= {parcel.label(one).task: parcel.unpack(one) for one in pool.collect(0.1)}
    finally:
        pool.close()
    assert isinstance(failure := found.pop(0), TaskFailure)
    assert failure.error_type == "WorkerDied"
    assert found == {1: 1, 2: 2, 3: 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.0", "0.1", "0.2", "1.0", "2.0", "3.0"]


class Stuck:
    """A post to ranks of which each works until it is given task 0: that one never ends, nor does what waits behind it."""

    def __init__(self, ranks: int) -> None:
        self.rank, self.size, self.tolerant = 0, ranks, True
        self.lost: set[int] = set()
        self.dying: set[int] = set()
        self.stuck: dict[int, list[int]] = {}
        self.mail: list[tuple[int, bytearray]] = []

    def send(self, message: bytearray, rank: int) -> None:
        kind, round_, index = parcel.label(message)
        if kind is not Kind.TASK:
            return
        if index == 0 or rank in self.stuck:
            self.stuck.setdefault(rank, []).append(index)
        else:
            self.mail.append((rank, parcel.pack(Kind.RESULT, -index, round=round_, index=index)))

    def dispatch(self) -> None: ...

    def receive(self) -> list[tuple[int, bytearray]]:
        mail, self.mail = self.mail, []
        return mail

    def busy(self) -> bool:
        return False

    def roll_call(self) -> set[int]:
        fresh, self.dying = self.dying, set()
        self.lost |= fresh
        return fresh


def test_the_death_of_a_rank_is_blamed_on_the_task_that_it_worked_on() -> None:
    """Ranks die in turn with the same task. With the first others waited behind it: nobody knows of which it died; then it is alone, and
    three deaths are its own. The others are done once, elsewhere, and blamed for nothing."""
    post = Stuck(6)
    crew = Crew(post, workers=1)  # pyright: ignore[reportArgumentType]
    crew._pool.size = 0  # all tasks go to other ranks
    crew.lead(teams(range(1, 6)))
    crew.begin(parcel.pack(Kind.FUNCTION, work.square, round=1))
    crew.ahead = 3
    assert crew.room == 20
    for index in range(16):
        crew.submit(parcel.pack(Kind.TASK, index, round=1, index=index))
    results: list[bytearray] = []
    for death in range(4):
        ((victim, waiting),) = post.stuck.items()
        assert (len(waiting) > 1) == (death == 0)
        post.stuck.clear()
        post.dying = {victim}
        results += crew.collect(0.0)
        results += crew.collect(0.0)  # the others have answered, and have room for what it held
        assert {index: count for index, count in crew._deaths.items() if count} == ({0: death} if death else {})
    results += crew.collect(0.0) + crew.collect(0.0)
    found = {parcel.label(one).task: parcel.unpack(one) for one in results}
    assert len(results) == len(found) == 16
    failure = found.pop(0)
    assert (failure.index, failure.error_type) == (0, "WorkerDied")
    assert "set aside after 3 ranks were lost that held it" in failure.message
    assert found == {index: -index for index in range(1, 16)}
    assert crew.running == 0


class Hasty(Stuck):
    """A post to ranks that keep what they have finished while more waits behind it, and die of task 6 before they send it."""

    def send(self, message: bytearray, rank: int) -> None:
        kind, _, index = parcel.label(message)
        if kind is Kind.TASK:
            self.stuck.setdefault(rank, []).append(index)

    def receive(self) -> list[tuple[int, bytearray]]:
        given, self.stuck = self.stuck, {}
        self.dying = {rank for rank, tasks in given.items() if 6 in tasks}
        return [
            (rank, parcel.pack(Kind.RESULT, -index, round=1, index=index))
            for rank, tasks in given.items()
            for index in tasks
            if rank not in self.dying
        ]


def test_a_task_that_was_finished_and_not_yet_sent_is_blamed_for_nothing() -> None:
    """Task 1 was given to the same rank before task 6, which kills it: if the oldest unanswered were blamed, 1 would be set aside."""
    post = Hasty(6)
    crew = Crew(post, workers=1)  # pyright: ignore[reportArgumentType]
    crew._pool.size = 0
    crew.lead(teams(range(1, 6)))
    crew.begin(parcel.pack(Kind.FUNCTION, work.square, round=1))
    crew.ahead = 3
    for index in range(20):
        crew.submit(parcel.pack(Kind.TASK, index, round=1, index=index))
    assert post.stuck[2] == [1, 6, 11, 16]
    results = [one for _ in range(20) for one in crew.collect(0.0)]
    assert post.lost
    assert {index: count for index, count in crew._deaths.items() if count} == {6: 3}
    found = {parcel.label(one).task: parcel.unpack(one) for one in results}
    assert isinstance(found.pop(6), TaskFailure)
    assert found == {index: -index for index in range(20) if index != 6}


def test_results_of_tasks_given_ahead_come_in_order_and_once() -> None:
    pool, seen = Pool(2), dict[int, int]()
    try:
        found = carry_out(
            pool, work.square, range(400), number=1, patience_s=0.05, timeline=Timeline(), on_result=seen.__setitem__
        )
        assert pool.ahead == 0  # nothing was left to give
    finally:
        pool.close()
    assert found == [i * i for i in range(400)]
    assert seen == dict(enumerate(found))


def test_no_task_is_given_ahead_that_would_not_end_in_time() -> None:
    with stop.listening():
        stop.at_age(time.monotonic() - stop._BEGUN + 20.0)
        stop.took(2.0)
        assert stop.time_for_another(1)
        assert stop.time_for_another(3)
        assert not stop.time_for_another(10)


def test_who_waits_looks_the_less_the_longer_nothing_comes() -> None:
    patience = Patience()
    pauses: list[float] = []
    for _ in range(4):
        pauses.append(patience.pause_s(10.0))
        time.sleep(0.02)
    assert pauses == sorted(pauses)
    assert 0.004 < pauses[1] < pauses[3]
    assert patience.pause_s(0.002) == 0.002
    patience.renew()
    assert patience.pause_s(10.0) < pauses[3]
