"""How the executor scales: who is given the next task, and a discrete-event model with known answers, beside a real run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpi_launch import environment, needs_mpiexec

from hpc.vacancies import Vacancies
from scenarios.commands import scaling
from scenarios.commands.scaling_costs import root_cpu_s
from scenarios.commands.scaling_crowd import Crowded, simulate_crowd
from scenarios.commands.scaling_model import Costs, shortest_task_s, simulate

_NOTHING = dict.fromkeys(
    ("hand_s", "take_s", "send_s", "receive_s", "member_s", "worker_s", "load_s", "latency_s"), 0.0
)
FREE = Costs(**_NOTHING, look_s=1e-9)
REAL = Costs(
    hand_s=1.2e-5, take_s=1e-5, send_s=2e-5, receive_s=5e-6, look_s=5e-5, member_s=3e-4, worker_s=2e-4, load_s=3e-4,
    latency_s=2e-5,
)  # fmt: skip
ALMOST_S = 0.05
"""Of the pauses that ranks may be in when a run of some waves begins, and between its waves."""


@given(
    st.dictionaries(st.integers(0, 9), st.integers(-1, 4), max_size=8),
    st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(-1, 5)), max_size=60),
)
def test_whoever_has_room_is_given_tasks_and_nobody_else(
    free: dict[int, int], steps: list[tuple[bool, int, int]]
) -> None:
    """Against plain counting: the sum is right, the next has room, and there is a next if anybody has."""
    vacancies, plain = Vacancies(free), dict(free)
    for gives, rank, room in steps:
        if gives:
            chosen = vacancies.next()
            assert (chosen is None) == (max(plain.values(), default=0) <= 0)
            if chosen is not None:
                assert plain[chosen] > 0
                vacancies.take(chosen)
                plain[chosen] -= 1
        else:
            vacancies.put(rank, room)
            plain[rank] = room
        assert vacancies.total == sum(max(0, n) for n in plain.values())


def test_ranks_take_turns() -> None:
    vacancies = Vacancies({1: 2, 2: 1, 3: 3})
    order: list[int | None] = []
    while (rank := vacancies.next()) is not None:
        order.append(rank)
        vacancies.take(rank)
    assert order == [1, 2, 3, 1, 3, 3]


def test_handing_out_costs_the_same_for_any_number_of_ranks() -> None:
    """A look at every rank per task would cost 100 times more with 100 times the ranks. Memory costs something: a factor of 5."""
    few, many = (min(sum(root_cpu_s(ranks, group=1, tasks=3000)) for _ in range(2)) for ranks in (20, 2000))
    assert many < 5 * few


def test_tasks_that_travel_together_cost_the_root_less() -> None:
    """In groups of 32 a message holds up to 32 tasks; without MPI's own part, which only adds to the difference."""
    alone, together = (min(sum(root_cpu_s(1024, group=group, tasks=4000)) for _ in range(3)) for group in (1, 32))
    assert together < 0.8 * alone


def test_work_that_costs_nothing_to_hand_out_is_shared_evenly() -> None:
    found = simulate(FREE, workers=8, tasks=40, task_s=1.0)
    assert found.makespan_s == pytest.approx(5.0, abs=ALMOST_S)
    assert found.efficiency == pytest.approx(1.0, abs=0.01)
    # 41 tasks on 8 workers: one more wave
    assert simulate(FREE, workers=8, tasks=41, task_s=1.0).makespan_s == pytest.approx(6.0, abs=ALMOST_S)


def test_one_worker_waits_for_all_that_is_done_with_each_task() -> None:
    """Out, work, look, in: the root does nothing else meanwhile."""
    costs = replace(FREE, hand_s=0.04, take_s=0.06, member_s=0.2, worker_s=0.3)
    found = simulate(costs, workers=1, tasks=10, task_s=1.0)
    assert found.makespan_s == pytest.approx(10 * (0.04 + 0.06 + 0.2 + 0.3 + 1.0), abs=ALMOST_S)
    assert found.root_busy == pytest.approx(0.1 / 1.6, abs=0.002)


def test_a_root_that_is_always_busy_sets_the_pace() -> None:
    """1000 workers with tasks of 10 ms could take 100,000 a second; a root of 0.1 ms gives 10,000."""
    costs = replace(FREE, hand_s=6e-5, take_s=4e-5)
    found = simulate(costs, workers=1000, tasks=20_000, task_s=0.01, group=1)
    assert found.makespan_s == pytest.approx(20_000 * 1e-4, rel=0.03)
    assert found.root_busy > 0.97


def test_bundles_keep_more_workers_busy() -> None:
    """Messages of 0.1 ms, one for each task: 20,000 workers with tasks of 3 s ask for more than the root can do. In groups they do not."""
    costs = replace(REAL, send_s=1e-4, receive_s=5e-5)
    flat, groups = (simulate(costs, workers=20_000, tasks=80_000, task_s=3.0, group=group) for group in (1, None))
    assert flat.root_busy > 0.85
    assert groups.root_busy < flat.root_busy / 2
    assert groups.efficiency > flat.efficiency + 0.05


def test_processes_that_share_cores_take_their_time_from_each_other() -> None:
    """All CPU of 100 tasks, 0.01 s each, passes through one core."""
    costs = replace(FREE, worker_s=0.01)
    one, two = (simulate_crowd(costs, ranks=10, tasks=100, task_s=0.0, cores=cores).makespan_s for cores in (1, 2))
    assert one == pytest.approx(1.0, abs=ALMOST_S)
    assert two == pytest.approx(0.5, abs=ALMOST_S)


def test_one_rank_hears_its_own_worker_at_once() -> None:
    assert simulate_crowd(FREE, ranks=1, tasks=4, task_s=1.0, cores=2).makespan_s == pytest.approx(4.0, abs=1e-3)


def test_looks_are_counted_and_take_their_time() -> None:
    """Ranks whose workers rest for a second look twenty times, and as often more as they wait, and each look is paid for."""
    costs = replace(FREE, look_s=1e-4)
    found = simulate_crowd(costs, ranks=4, tasks=8, task_s=1.0, cores=8)
    assert all(2 * 20 <= looks <= 2 * 20 + 60 for looks in found.looks[1:])
    assert found.rank_cpu_s == pytest.approx([1e-4 * looks for looks in found.looks])


@pytest.mark.parametrize(("ranks", "task_s", "group"), [(16, 0.05, 1), (64, 0.2, 1), (40, 0.2, 8)])
def test_both_models_agree_where_every_process_has_its_core(ranks: int, task_s: float, group: int) -> None:
    """One moves look by look, the other from result to result; what they leave to chance are pauses of some milliseconds."""
    tasks = 10 * ranks
    crowd = simulate_crowd(REAL, ranks=ranks, tasks=tasks, task_s=task_s, cores=2 * ranks, group=group).makespan_s
    lean = simulate(REAL, workers=ranks, tasks=tasks, task_s=task_s, group=group).makespan_s
    assert lean == pytest.approx(crowd, rel=0.04)


def test_heads_of_groups_cost_a_hop_and_keep_the_result() -> None:
    flat, grouped = (simulate(REAL, workers=200, tasks=2000, task_s=1.0, group=group) for group in (1, 20))
    assert abs(grouped.makespan_s - flat.makespan_s) < 10 * 0.01
    assert grouped.efficiency > 0.95


def test_the_same_seed_gives_the_same_run() -> None:
    for run in (simulate, _crowded):
        first, again = (run(REAL, workers=50, tasks=500, task_s=0.1, seed=3) for _ in range(2))
        assert first == again
        assert run(REAL, workers=50, tasks=500, task_s=0.1, seed=4) != first


def _crowded(costs: Costs, *, workers: int, tasks: int, task_s: float, seed: int) -> Crowded:
    return simulate_crowd(costs, ranks=workers, tasks=tasks, task_s=task_s, cores=4, seed=seed)


def test_the_shortest_task_is_where_the_efficiency_crosses() -> None:
    length = shortest_task_s(REAL, workers=300, share=0.9, per_worker=5)
    above, below = (simulate(REAL, workers=300, tasks=1500, task_s=length * factor).efficiency for factor in (1.1, 0.8))
    assert above >= 0.9 > below


@needs_mpiexec
@pytest.mark.slow
def test_the_model_agrees_with_a_real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs measured and compared on two ranks. The bench asks for 15 %; a test on a machine that others use, for 40 %."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(scaling, "_SLEEPS_S", (0.1,))
    wanted = scaling.Wanted(
        ranks=(2,), grouped=(), workers=(100,), task_s=1.0, per_worker=(3,), slower=(1.0,), repeats=1
    )
    found = scaling.run(wanted, say=lambda _: None)
    assert found["largest_error"] < 0.4
    assert all(
        0 < found["costs"][name] < 0.05 for name in ("hand_s", "take_s", "send_s", "receive_s", "look_s", "worker_s")
    )
    assert {row["simulated"] for row in found["simulated"]} == {True}
    scaling.write(tmp_path / "scaling.json", found)
    scaling.plot(found, tmp_path / "scaling.svg")
    assert json.loads((tmp_path / "scaling.json").read_text())["measured"][0]["ranks"] == 2
    assert (tmp_path / "scaling.svg").stat().st_size > 5000
    text = "\n".join(scaling.table(found))
    assert "simulated, not measured:" in text
    assert "90% from tasks of" in text
    assert [row["efficiency"] > 0.5 for row in found["simulated"] if "efficiency" in row] == [True, True]
