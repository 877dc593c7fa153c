"""Coupling schemes against the closed form of two masses and springs: their orders, their bits, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from coupling import (
    AdaptiveWindows,
    Aitken,
    Constant,
    FixedWindows,
    GaussSeidel,
    Jacobi,
    QuasiNewton,
    SerialStepper,
    Strang,
    WaveformRelaxation,
    advance,
    start,
)
from coupling.simulate import simulate
from scenarios.commands.coupling_cases import mass, swing_error
from scenarios.commands.coupling_cases import masses_and_springs as cut_in_two
from scenarios.commands.coupling_cases import where as exact
from simulators.closed_form import Constant as Constants
from simulators.closed_form import LinearSystem
from twin import Conduit, InputError, Signal, SimulationError, Twin, UnsupportedFeature, WiringError
from twin.signal import nodes

ONE = np.arange(1)
LOOKS = np.linspace(0.0, 1.0, 17)


def error(scheme: Any, windows: Any) -> float:
    """Largest error of both places at all looks, within windows as well as at their ends [m]."""
    return swing_error(scheme, windows, LOOKS)[0]


@pytest.mark.parametrize(
    ("scheme", "dt", "low", "high"),
    [
        (Jacobi(), 1 / 64, 0.9, 1.1),
        (GaussSeidel(["left", "right"]), 1 / 64, 0.9, 1.1),
        (Strang(), 1 / 32, 1.9, 2.1),
        (WaveformRelaxation(1e-11, degree=1), 1 / 32, 1.9, 2.1),
        (WaveformRelaxation(1e-11), 1 / 8, 3.8, 7.0),  # nodes of Gauss and Lobatto: the ends of windows converge faster
    ],
    ids=["Jacobi", "GaussSeidel", "Strang", "waveform, degree 1", "waveform, degree 3"],
)
def test_the_observed_order_is_the_promised_one(scheme: Any, dt: float, low: float, high: float) -> None:
    errors = [error(scheme, FixedWindows(length)) for length in (dt, dt / 2, dt / 4)]
    assert low < np.log2(errors[1] / errors[2]) < high
    assert scheme.order == round(min(np.log2(errors[1] / errors[2]), 4.0))


@pytest.mark.parametrize("acceleration", [Constant(), Constant(0.8), Aitken(0.9), QuasiNewton(), QuasiNewton(reuse=3)])
@pytest.mark.parametrize("mode", ["serial", "parallel"])
def test_every_acceleration_finds_the_same_waveform(acceleration: Any, mode: Any) -> None:
    reference = error(WaveformRelaxation(1e-11), FixedWindows(1 / 16))
    assert_allclose(
        error(WaveformRelaxation(1e-11, 80, acceleration, mode=mode), FixedWindows(1 / 16)), reference, rtol=1e-4
    )


def test_adaptive_windows_keep_the_tolerance_and_save_windows() -> None:
    """A tenfold smaller tolerance makes a smaller error; the windows that it takes grow by the order of the scheme."""
    windows, errors = [], []
    for tolerance in (1e-3, 1e-5):
        found = simulate(
            cut_in_two(), members=ONE, t0=0.0, t1=1.0, sample=list(LOOKS), scheme=WaveformRelaxation(1e-10),
            windows=AdaptiveWindows(tolerance), time_units="s",
        )  # fmt: skip
        errors.append(np.abs(np.array([found["left.x"][0], found["right.x"][0]]) - exact(LOOKS)).max())
        windows.append(int(found["coupling_windows"][0]))
        assert errors[-1] < tolerance
    assert errors[1] < 0.05 * errors[0]
    assert windows[1] < 100**0.25 * 1.5 * windows[0]  # fourth order


def test_a_ring_needs_an_iteration_and_a_chain_none() -> None:
    chain = Twin({"right": mass(0.0), "left": mass(1.0)}, (Conduit("left.x", "right.other"),))
    found = simulate(
        chain, members=ONE, t0=0.0, t1=1.0, sample=[1.0], scheme=WaveformRelaxation(), windows=FixedWindows(0.125),
        time_units="s",
    )  # fmt: skip
    assert_array_equal(found["coupling_iterations"], found["coupling_windows"])
    fine = simulate(
        chain, members=ONE, t0=0.0, t1=1.0, sample=[1.0], scheme=WaveformRelaxation(), windows=FixedWindows(1 / 64),
        time_units="s",
    )  # fmt: skip
    assert_allclose(found["right.x"], fine["right.x"], rtol=1e-3)


SCHEMES = [
    (Jacobi(), FixedWindows(0.0625)),
    (GaussSeidel(["right", "left"]), FixedWindows(0.0625)),
    (Strang(), FixedWindows(0.0625)),
    (WaveformRelaxation(1e-6, acceleration=Aitken()), FixedWindows(0.0625)),
    (WaveformRelaxation(1e-6, acceleration=QuasiNewton(reuse=2)), FixedWindows(0.0625)),
    (WaveformRelaxation(1e-6, acceleration=QuasiNewton(reuse=2)), AdaptiveWindows(1e-2)),
    (Strang(), AdaptiveWindows(1e-2)),
]


@pytest.mark.parametrize(("scheme", "windows"), SCHEMES)
def test_a_members_bits_do_not_depend_on_the_others(scheme: Any, windows: Any) -> None:
    lefts = np.array([1.0, 0.0, -7.0, 0.25])  # the second one never moves and never iterates
    run: dict[str, Any] = {
        "t0": 0.0, "t1": 0.25, "sample": [0.1, 0.2, 0.25], "scheme": scheme, "windows": windows, "time_units": "s",
    }  # fmt: skip
    together = simulate(cut_in_two(lefts), members=np.arange(4), **run)
    for member in (1, 2):
        alone = simulate(cut_in_two(lefts), members=np.array([member]), **run)
        assert together["right.x"].values[member].tobytes() == alone["right.x"].values[0].tobytes()
        assert int(together["coupling_iterations"][member]) == int(alone["coupling_iterations"][0])


@pytest.mark.parametrize(("scheme", "windows"), SCHEMES)
def test_a_run_that_stopped_goes_on_with_the_same_bits(scheme: Any, windows: Any) -> None:
    """Stopped where a sample makes no cut but a window ends; all that is remembered is in `standing`."""
    twin, begun = cut_in_two(), start(cut_in_two(), members=ONE)
    how: dict[str, Any] = {"scheme": scheme, "windows": windows, "time_units": "s"}
    first = advance(twin, begun, t0=0.0, t1=0.25, sample=[0.1], **how)
    again = advance(twin, begun, t0=0.0, t1=0.25, sample=[0.1], **how)
    for name, array in again.standing.memory.items():
        assert array.tobytes() == first.standing.memory[name].tobytes()
    second = advance(twin, first.standing, t0=0.25, t1=0.5, sample=[0.5], **how)
    if isinstance(windows, FixedWindows):
        whole = advance(twin, begun, t0=0.0, t1=0.5, sample=[0.1, 0.5], **how)
        assert second.values["left.x"].tobytes() == whole.values["left.x"][:, 1:].tobytes()
    assert np.isfinite(second.values["left.x"]).all()


def test_independent_steps_are_handed_over_together() -> None:
    """Jacobi asks for both masses at once, Gauss–Seidel for one after the other, and what is not fed waits for nobody."""
    twin = Twin({**cut_in_two().simulators, "free": mass(1.0)}, cut_in_two().conduits)
    for scheme, sizes in (
        (Jacobi(), [2, 3]),
        (GaussSeidel(["left", "free", "right"]), [2, 2, 1]),
        (WaveformRelaxation(0.5, acceleration=Constant()), [2, 2, 1]),
        (WaveformRelaxation(0.5, acceleration=Constant(), mode="parallel"), [2, 3]),
    ):
        asked: list[int] = []
        serial = SerialStepper(twin, time_units="s")

        def stepper(steps: Any, *, serial: Any = serial, asked: list[int] = asked) -> Any:
            asked.append(len(steps))
            return serial(steps)

        begun = start(twin, members=ONE)
        advance(twin, begun, t0=0.0, t1=1e-6, sample=[], scheme=scheme, stepper=stepper, time_units="s")
        assert asked[: len(sizes)] == sizes, scheme


def test_a_signal_that_dips_below_its_bound_is_lifted_and_keeps_its_ends() -> None:
    values = np.array([[1.0, 0.05, 0.02, 1.2], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 2.0]])
    raw = Signal.through(2.0, 5.0, values)
    fine = list(np.linspace(2.0, 5.0, 301))
    assert raw.at(fine).min() < 0.0
    lifted = raw.bounded(0.0)
    assert lifted.at(fine).min() > -1e-15
    assert_allclose(lifted.at([2.0, 5.0]), values[:, [0, -1]], atol=1e-14)
    assert_allclose(lifted.at(fine)[1], 1.0, rtol=1e-14)
    assert raw.bounded(-10.0) is raw


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4, 5])
def test_a_signal_is_the_polynomial_through_its_values(degree: int) -> None:
    coefficients = np.arange(1.0, degree + 2)[::-1]
    times = 3.0 + 2.0 * nodes(degree)
    signal = Signal.through(3.0, 5.0, np.polyval(coefficients, times)[None])
    looks = np.linspace(3.0, 5.0, 9)
    assert_allclose(signal.at(list(looks))[0], np.polyval(coefficients, looks), rtol=1e-12)
    slopes = [np.polyval(np.polyder(coefficients, k), 3.7) for k in range(degree + 1)]
    assert_allclose(signal.derivatives(3.7)[0], slopes, rtol=1e-9)
    told = signal.on_clock(60.0)
    assert_allclose(told.at(list(60.0 * looks)), signal.at(list(looks)), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: FixedWindows(0.0), "above 0, or None; this does not advance"),
        (lambda: FixedWindows(float("nan")), "does not advance"),
        (lambda: AdaptiveWindows(smallest=0.0), "every window advances the clock"),
        (lambda: AdaptiveWindows(smallest=1.0, largest=0.5), "smallest <= first <= largest"),
        (lambda: AdaptiveWindows(2.0), "a share between 0 and 1"),
        (lambda: WaveformRelaxation(0.0), "a relative tolerance between 0 and 1"),
        (lambda: WaveformRelaxation(max_iterations=0), "at least 1 iteration"),
        (lambda: WaveformRelaxation(acceleration=Jacobi()), "an explicit scheme or a number cannot iterate"),  # pyright: ignore[reportArgumentType]
        (lambda: WaveformRelaxation(degree=0), "degree 1 to 5"),
        (lambda: Constant(0.0), r"Constant\(0.0\): expected a relaxation factor above 0"),
        (lambda: Aitken(1.5), r"Aitken\(1.5\)"),
        (lambda: QuasiNewton(filter=1.0), "a filter from 0 to below 1"),
        (lambda: QuasiNewton(reuse=-1), "reuse of 0 or more windows"),
        (lambda: QuasiNewton(reuse=float("nan")), "reuse of 0 or more windows"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_work_is_refused_at_construction(make: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()


@pytest.mark.parametrize(
    ("scheme", "problem", "says"),
    [
        (
            GaussSeidel(),
            WiringError,
            r"left -> right -> left|right -> left -> right.* so that no order is the natural one",
        ),
        (GaussSeidel(["left"]), WiringError, "must hold every simulator of the twin once"),
        (Strang(["left", "right", "middle"]), WiringError, "middle"),
        (WaveformRelaxation(absolute={"left.x": 1.0}), InputError, "fed are left.other, right.other"),
    ],
)
def test_a_scheme_that_does_not_fit_the_twin_is_refused(scheme: Any, problem: Any, says: str) -> None:
    with pytest.raises(problem, match=says):
        simulate(cut_in_two(), members=ONE, t0=0.0, t1=1.0, sample=[1.0], scheme=scheme, windows=FixedWindows(0.1))


def test_a_simulator_of_constant_inputs_is_refused_above_second_order_and_taken_below() -> None:
    class Held(LinearSystem):
        follow = None  # pyright: ignore[reportAssignmentType]

        def step(self, state: Any, inputs: Any, **times: Any) -> Any:
            signals = {n: Signal.constant(times["t0"], times["t1"], v) for n, v in inputs.items()}
            return LinearSystem.follow(self, state, signals, **times)

    held = Held(states={"x": ("m", 0.0)}, rates={"x": {"x": -1.0, "push": 1.0}}, inputs={"push": "m"}, time_units="s")
    twin = Twin({"left": mass(1.0), "held": held}, (Conduit("left.x", "held.push"),))
    run: dict[str, Any] = {"members": ONE, "t0": 0.0, "t1": 1.0, "sample": [1.0], "time_units": "s"}
    with pytest.raises(
        UnsupportedFeature, match=r"'held' only takes inputs that stay constant .* take WaveformRelaxation.degree=1."
    ):
        simulate(twin, **run, scheme=WaveformRelaxation(), windows=FixedWindows(0.1))
    follower = LinearSystem(
        states={"x": ("m", 0.0)}, rates={"x": {"x": -1.0, "push": 1.0}}, inputs={"push": "m"}, time_units="s"
    )
    free = Twin({"left": mass(1.0), "held": follower}, (Conduit("left.x", "held.push"),))
    truth = float(simulate(free, **run, scheme=WaveformRelaxation(), windows=FixedWindows(1 / 64))["held.x"][0, 0])
    errors = [
        abs(
            float(simulate(twin, **run, scheme=WaveformRelaxation(degree=1), windows=FixedWindows(dt))["held.x"][0, 0])
            - truth
        )
        for dt in (1 / 32, 1 / 64)
    ]
    assert 1.8 < np.log2(errors[0] / errors[1]) < 2.2


def stiff() -> Twin:
    """A ring so tight that plain iteration of a long window runs away: x' = -x + 30 y, y' = -y - 30 x."""

    def one(sign: float, start_: float) -> LinearSystem:
        return LinearSystem(
            states={"x": ("m", start_)},
            rates={"x": {"x": -1.0, "other": 30.0 * sign}},
            inputs={"other": "m"},
            time_units="s",
        )

    return Twin({"a": one(1.0, 1.0), "b": one(-1.0, 0.0)}, (Conduit("a.x", "b.other"), Conduit("b.x", "a.other")))


def test_a_window_that_does_not_converge_is_named_with_its_cure_or_shortened() -> None:
    run: dict[str, Any] = {"members": ONE, "t0": 0.0, "t1": 1.0, "sample": [1.0], "time_units": "s"}
    scheme = WaveformRelaxation(1e-8, 12, Constant())
    with pytest.raises(
        SimulationError,
        match=r"window from 0 to 1: member 0, conduit b.x -> a.other: residual .* after 12 iterations; shorten the windows",
    ):
        simulate(stiff(), **run, scheme=scheme, windows=FixedWindows(1.0))
    found = simulate(stiff(), **run, scheme=scheme, windows=AdaptiveWindows(1e-4, first=0.5))
    assert int(found["coupling_rejected"][0]) > 0
    assert_allclose(found["a.x"][0, 0], np.exp(-1.0) * np.cos(30.0), atol=1e-4)
    with pytest.raises(SimulationError, match=r"shorter than 0.5"):
        simulate(stiff(), **run, scheme=scheme, windows=AdaptiveWindows(1e-4, smallest=0.5))


def test_what_is_exchanged_keeps_its_bound_through_interpolation_and_acceleration() -> None:
    """A drug that is almost gone within a window: its cubic dips below 0 between the nodes, what arrives does not."""
    heard: list[float] = []

    class Listening(LinearSystem):
        def follow(self, state: Any, signals: Any, **times: Any) -> Any:
            heard.extend(s.at(list(np.linspace(times["t0"], times["t1"], 101))).min() for s in signals.values())
            return super().follow(state, signals, **times)

    from simulators.reaction import ReactionSimulator

    drug = ReactionSimulator("A = 1; k = 40; J: A -> ; k*A", readouts=["A"], units={"A": "nM"}, time_units="s")
    cell = Listening(states={"x": ("nM", 0.0)}, rates={"x": {"dose": 1.0}}, inputs={"dose": "nM"}, time_units="s")
    twin = Twin({"drug": drug, "cell": cell}, (Conduit("drug.A", "cell.dose"),))
    simulate(
        twin, members=ONE, t0=0.0, t1=1.0, sample=[1.0], scheme=WaveformRelaxation(), windows=FixedWindows(0.5),
        time_units="s",
    )  # fmt: skip
    assert min(heard) >= 0.0


def test_the_result_says_how_it_was_coupled() -> None:
    found = simulate(
        cut_in_two(), members=ONE, t0=0.0, t1=1.0, sample=[1.0], scheme=WaveformRelaxation(1e-9),
        windows=FixedWindows(0.25), time_units="s",
    )  # fmt: skip
    assert found.attrs["coupling_order"] == 4
    assert "WaveformRelaxation" in found.attrs["coupling_scheme"]
    assert int(found["coupling_windows"][0]) == 4
    assert float(found["coupling_residual"].sel(conduit="right.x -> left.other")[0]) < 1e-9
    plain = simulate(Twin({"c": Constants({"k": ("1/h", 1.0)})}), members=ONE, t0=0.0, t1=1.0, sample=[1.0])
    assert set(plain.coords) == {"member", "time"}
    assert not plain.attrs


def test_a_member_that_fails_is_nan_and_takes_no_endless_windows() -> None:
    """A' = A² blows up at 1 / A(0) = 0.5 min in member 1; the others follow 1 / (1/A(0) - t), adaptive windows or not."""
    from simulators.reaction import ReactionSimulator

    begun = np.array([0.1, 2.0, 0.2])
    source = ReactionSimulator("A = 0; J: -> A; A^2", readouts=["A"], member_parameters={"A": begun}, time_units="min")
    sink = ReactionSimulator("x = 0; v = 0; J: -> x; v", readouts=["x"], inputs=["v"], time_units="min")
    twin = Twin({"source": source, "sink": sink}, (Conduit("source.A", "sink.v"),))
    found = simulate(
        twin, members=np.arange(3), t0=0.0, t1=1.0, sample=[0.25, 1.0], scheme=WaveformRelaxation(),
        windows=AdaptiveWindows(1e-3, smallest=1e-4),
    )  # fmt: skip
    assert np.isnan(found["source.A"][1, 1])
    assert_allclose(found["sink.x"][[0, 2], 1], -np.log(1.0 - begun[[0, 2]]), rtol=1e-5)
    assert int(found["coupling_windows"][1]) < 200
