"""The loop of a twin against closed forms: what is fed, given, looked at and exchanged, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from coupling.equilibrium import settle
from coupling.simulate import advance, perturb, simulate, start
from coupling.window import windows
from simulators.closed_form import Constant, OneCompartment
from simulators.reaction import ReactionSimulator
from twin import (
    Conduit,
    InputError,
    Perturbation,
    SimulationError,
    Simulator,
    State,
    Twin,
    UnsupportedFeature,
    Values,
    Variable,
    WiringError,
)

MEMBERS = np.arange(3)
RATES = np.array([0.6, 1.2, 3.0])  # 1/h
CVODE = 1e-6  # relative; its global error at rtol 1e-8 is some 10 to 100 times that


def decay(time_units: str = "min") -> ReactionSimulator:
    """A species that decays, in `time_units`."""
    return ReactionSimulator(
        "A = 1; k = 0; J: A -> ; k * A",
        readouts=["A"],
        inputs=["k"],
        units={"A": "nM", "k": f"1/{time_units}"},
        time_units=time_units,
    )


def fed_decay() -> Twin:
    """Each member decays at its own rate, which a constant keeps in 1/h while the model counts in 1/min."""
    return Twin({"rate": Constant({"k": ("1/h", RATES)}), "cell": decay()}, (Conduit("rate.k", "cell.k"),))


def test_a_constant_feeds_a_reaction_in_its_own_units() -> None:
    found = simulate(fed_decay(), members=MEMBERS, t0=0.0, t1=120.0, sample=[0.0, 30.0, 120.0])
    assert found["cell.A"].dims == ("member", "time")
    assert found["cell.A"].attrs["units"] == "nM"
    assert found["time"].attrs["units"] == "min"
    exact = np.exp(-RATES[:, None] * np.array([0.0, 0.5, 2.0]))
    assert_allclose(found["cell.A"], exact, rtol=CVODE)
    assert_array_equal(found["rate.k"], np.repeat(RATES[:, None], 3, axis=1))


def test_the_twins_clock_and_a_simulators_own_may_differ() -> None:
    twin = Twin({"minutes": decay("min"), "hours": decay("h")})
    changes = [Perturbation(0.0, "minutes.k", 0.01), Perturbation(0.0, "hours.k", 0.6)]
    found = simulate(twin, changes, members=MEMBERS, t0=-60.0, t1=180.0, sample=[-60.0, 0.0, 60.0, 180.0])
    assert_allclose(found["minutes.A"], np.exp([[0.0, 0.0, -0.6, -1.8]] * 3), rtol=CVODE)
    assert_allclose(found["hours.A"], found["minutes.A"], rtol=CVODE)


def test_a_sample_at_a_change_shows_the_state_after_it() -> None:
    """Boluses of 8 at 0 h and 4 at 6 h into 2 L with a half-life of 6 h: 4, then 2 + 2, then 2 at 12 h."""
    twin = Twin({"drug": OneCompartment(volume=2.0, half_life=6.0)})
    boluses = [Perturbation(6 * 60.0, "drug.amount", 4.0, "add"), Perturbation(0.0, "drug.amount", 8.0, "add")]
    looks = [-60.0, 0.0, 360.0, 720.0]
    found = simulate(twin, boluses, members=MEMBERS, t0=-60.0, t1=720.0, sample=looks)
    assert_allclose(found["drug.concentration"], [[0.0, 4.0, 4.0, 2.0]] * 3, rtol=1e-14)


def test_a_change_at_the_very_end_is_seen_at_the_end() -> None:
    twin = Twin({"drug": OneCompartment(volume=1.0, half_life=1.0)})
    last = [Perturbation(60.0, "drug.amount", 3.0, "add")]
    found = simulate(twin, last, members=MEMBERS, t0=0.0, t1=60.0, sample=[0.0, 60.0])
    assert_allclose(found["drug.concentration"], [[0.0, 3.0]] * 3)


def test_changes_of_one_time_are_made_in_the_order_given() -> None:
    twin = Twin({"cell": decay()})
    added, scaled = Perturbation(1.0, "cell.A", 1.0, "add"), Perturbation(1.0, "cell.A", 3.0, "scale")
    for changes, value in (((added, scaled), 6.0), ((scaled, added), 4.0)):
        found = simulate(twin, changes, members=MEMBERS, t0=0.0, t1=2.0, sample=[2.0])
        assert_allclose(found["cell.A"], [[value]] * 3, rtol=1e-12)


def test_a_change_at_the_start_is_a_change_in_time_and_no_change_of_the_start() -> None:
    """An initial assignment has had its say when the clock starts."""
    twin = Twin({"cell": ReactionSimulator("k = 2; A = 10 * k; J: A -> ; 0 * A", readouts=["A", "k"])})
    found = simulate(twin, [Perturbation(0.0, "cell.k", 7.0)], members=MEMBERS, t0=0.0, t1=1.0, sample=[0.0])
    assert_allclose(found["cell.A"], 20.0)
    assert_allclose(found["cell.k"], 7.0)


def test_the_order_in_which_things_are_listed_changes_no_bit() -> None:
    changes = [Perturbation(t, "cell.A", 0.5, "add") for t in (10.0, 40.0)] + [Perturbation(20.0, "rate.k", 2.0)]
    one = fed_decay()
    other = Twin(dict(reversed(one.simulators.items())), one.conduits)
    runs = [
        simulate(twin, order, members=MEMBERS, t0=0.0, t1=60.0, sample=[0.0, 10.0, 60.0])
        for twin in (one, other)
        for order in (changes, changes[::-1])
    ]
    for run in runs[1:]:
        assert run["cell.A"].values.tobytes() == runs[0]["cell.A"].values.tobytes()


def test_a_run_in_two_pieces_equals_the_run_in_one() -> None:
    twin, looks = fed_decay(), [0.0, 10.0, 20.0, 30.0]
    bolus = [Perturbation(20.0, "cell.A", 1.0, "add")]
    begun = start(twin, members=MEMBERS)
    whole = advance(twin, begun, bolus, t0=0.0, t1=30.0, sample=looks)
    first = advance(twin, begun, t0=0.0, t1=20.0, sample=looks[:2])
    second = advance(twin, first.states, bolus, t0=20.0, t1=30.0, sample=looks[2:])
    joined = np.concatenate([first.values["cell.A"], second.values["cell.A"]], axis=1)
    assert joined.tobytes() == whole.values["cell.A"].tobytes()


@pytest.mark.parametrize("exchange", [1.0, 0.25, 0.3])
def test_explicit_coupling_sees_the_past_of_each_window(exchange: float) -> None:
    """x' = y, y = exp(-t), y read at the start of each window: x is the left Riemann sum, first order in the window."""
    source = ReactionSimulator("y = 1; J: y -> ; y", readouts=["y"], time_units="min")
    sink = ReactionSimulator("x = 0; v = 0; J: -> x; v", readouts=["x"], inputs=["v"], time_units="min")
    twin = Twin({"source": source, "sink": sink}, (Conduit("source.y", "sink.v"),))
    found = simulate(twin, members=MEMBERS, t0=0.0, t1=3.0, sample=[3.0], exchange=exchange)
    edges = np.append(np.arange(0.0, 3.0 - 1e-9, exchange), 3.0)
    assert_allclose(found["sink.x"], (np.exp(-edges[:-1]) * np.diff(edges)).sum(), rtol=CVODE)


def test_without_an_exchange_conduits_are_read_at_changes() -> None:
    """k is fed once at 0 and again at 30, where its source changes."""
    found = simulate(
        fed_decay(), [Perturbation(30.0, "rate.k", 0.0)], members=MEMBERS, t0=0.0, t1=60.0, sample=[30.0, 60.0]
    )
    assert_allclose(found["cell.A"], np.exp(-RATES / 2)[:, None].repeat(2, axis=1), rtol=CVODE)


@dataclass(frozen=True)
class Sensor:
    """A micro simulator: returns twice its input, from a run of its own; counts nothing, remembers nothing."""

    inputs: tuple[Variable, ...] = (Variable("x"),)
    outputs: tuple[Variable, ...] = (Variable("mean"),)
    targets: Mapping[str, Variable] = field(default_factory=dict)
    clock: Literal["macro", "micro"] = "micro"
    time_units: str = ""

    def init(self, *, members: np.ndarray, seed: int) -> State:
        return State(members=members, arrays={"status": np.zeros(len(members), dtype=np.int8)})

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        return state

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        mean = 2.0 * inputs["x"] if "x" in inputs else np.ones(len(state.members))
        return state, {"mean": np.repeat(mean[:, None], len(sample) + 1, axis=1)}


def test_a_micro_simulator_runs_within_the_window_and_its_averages_are_used_at_once() -> None:
    """One micro simulator feeds another, and that one the cell: k = 2 * 2 * 0.1 in the same window."""
    names = {"fine": Sensor(), "coarse": Sensor(), "level": Constant({"x": ("", 0.1)}), "cell": decay()}
    conduits = (
        Conduit("level.x", "fine.x"),
        Conduit("fine.mean", "coarse.x"),
        Conduit("coarse.mean", "cell.k", bridge=Rate()),
    )
    for order in (list(names), list(names)[::-1]):
        twin = Twin({name: names[name] for name in order}, conduits)
        found = simulate(twin, members=MEMBERS, t0=0.0, t1=5.0, sample=[0.0, 5.0])
        assert_allclose(found["cell.A"], [[1.0, np.exp(-2.0)]] * 3, rtol=CVODE)
        assert_allclose(found["coarse.mean"], 0.4)


@dataclass(frozen=True)
class Rate:
    """Reads a plain number as a rate per minute."""

    source_units: str = ""
    target_units: str = "1/min"

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return values


def test_micro_simulators_that_wait_for_each_other_are_refused() -> None:
    twin = Twin({"a": Sensor(), "b": Sensor()}, (Conduit("a.mean", "b.x"), Conduit("b.mean", "a.x")))
    with pytest.raises(WiringError, match="wait for each other"):
        simulate(twin, members=MEMBERS, t0=0.0, t1=1.0, sample=[1.0])


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (Perturbation(5.0, "cell.k", 1.0), WiringError, "rate.k feeds it .* perturb rate.k"),
        (Perturbation(5.0, "cel.A", 1.0), InputError, "no simulator 'cel'; this twin has rate, cell"),
        (Perturbation(5.0, "cell.B", 1.0), InputError, "no 'B'"),
        (Perturbation(99.0, "cell.A", 1.0), InputError, "at 99: expected 0 … 60"),
    ],
)
def test_changes_that_cannot_be_made_are_refused(change: Perturbation, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        simulate(fed_decay(), [change], members=MEMBERS, t0=0.0, t1=60.0, sample=[60.0])


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ({"t1": -1.0}, "two finite times in order"),
        ({"sample": [5.0, 1.0]}, "ascending"),
        ({"sample": [61.0]}, "ascending times within"),
        ({"exchange": 0.0}, "span of time above 0"),
    ],
)
def test_times_that_make_no_sense_are_refused(times: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        simulate(fed_decay(), members=MEMBERS, **{"t0": 0.0, "t1": 60.0, "sample": [60.0], **times})


class Broken(Sensor):
    """A simulator with a defect."""

    def step(self, state: State, inputs: Values, **times: Any) -> tuple[State, Values]:
        raise ZeroDivisionError("three members, no peace")


def test_what_breaks_is_told_with_simulator_members_and_time() -> None:
    with pytest.raises(
        SimulationError, match=r"simulator 'it', members 0 … 2, from 0 to 60: ZeroDivisionError: three members"
    ):
        advance(Twin({"it": Broken()}), start(Twin({"it": Broken()}), members=MEMBERS), t0=0.0, t1=60.0, sample=[60.0])


def test_a_member_that_cannot_be_integrated_is_nan_and_the_others_are_untouched() -> None:
    """A' = A² blows up at t = 1 / A(0): member 1 reaches it, the others follow 1 / (1/A0 - t)."""
    start_ = np.array([0.1, 2.0, 0.2])
    cell = ReactionSimulator("A = 0; J: -> A; A^2", readouts=["A"], member_parameters={"A": start_}, time_units="min")
    found = simulate(Twin({"cell": cell}), members=MEMBERS, t0=0.0, t1=1.0, sample=[0.25, 1.0])
    assert_allclose(found["cell.A"][[0, 2]], 1 / (1 / start_[[0, 2], None] - [[0.25, 1.0]]), rtol=CVODE)
    assert np.isnan(found["cell.A"][1, 1])


def test_cells_settle_under_held_values_and_share_the_state() -> None:
    """A = ksyn / kdeg at rest; the ligand that is held away while cells settle is back afterwards."""
    cell = ReactionSimulator(
        "L = 5; A = 0; ksyn = 2; kdeg = 0.5; J1: -> A; ksyn; J2: A -> ; (kdeg + L) * A", readouts=["A", "L"]
    )
    twin = Twin({"cell": cell})
    settled = settle(twin, start(twin, members=MEMBERS), held={"cell.L": 0.0})
    found = simulate(twin, members=MEMBERS, t0=0.0, t1=9.0, sample=[0.0, 9.0], states=settled)
    assert_allclose(found["cell.A"], [[4.0, 2.0 / 5.5]] * 3, rtol=CVODE)
    assert_array_equal(found["cell.L"], 5.0)
    halved = perturb(twin, settled, [Perturbation(0.0, "cell.A", 0.5, "scale")])
    assert_allclose(advance(twin, halved, t0=0.0, t1=0.0, sample=[0.0]).values["cell.A"], 2.0, rtol=CVODE)


def test_what_cannot_settle_is_refused() -> None:
    twin = Twin({"rate": Constant({"k": ("1/h", 1.0)})})
    with pytest.raises(UnsupportedFeature, match="'rate' has no `equilibrate`"):
        settle(twin, start(twin, members=MEMBERS))


TIMES = st.integers(0, 20).map(float)


@given(
    changes=st.lists(TIMES, max_size=6),
    looks=st.lists(TIMES, max_size=8).map(sorted),
    exchange=st.none() | st.floats(0.7, 30.0),
)
def test_windows_tile_the_run_and_hold_every_sample_and_change_once(
    changes: list[float], looks: list[float], exchange: float | None
) -> None:
    made = [Perturbation(time, "cell.A", float(i)) for i, time in enumerate(changes)]
    found = list(windows(made, t0=0.0, t1=20.0, sample=looks, exchange=exchange))
    assert found[0].t0 == 0.0
    assert found[-1].t1 == 20.0
    assert all(one.t1 == other.t0 for one, other in pairwise(found))
    assert [look for window in found for look in window.sample] == looks
    assert sorted(p.value for w in found for p in w.perturbations) == [float(i) for i in range(len(changes))]
    assert all(p.time == w.t0 for w in found for p in w.perturbations)
    assert all(w.t0 <= look <= w.t1 for w in found for look in w.sample)
    last_change = max(changes, default=-1.0)
    assert all(look < w.t1 or w is found[-1] for w in found for look in w.sample)
    assert last_change < 20.0 or found[-1].t0 == 20.0
    assert exchange is None or all(w.t1 - w.t0 <= exchange * (1 + 1e-12) for w in found)


def test_sensor_is_a_simulator() -> None:
    assert isinstance(Sensor(), Simulator)
