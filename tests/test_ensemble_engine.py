"""The ensemble engine: closed forms, its order, switches, members on their own, and agreement with libRoadRunner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from mass_action import networks
from shared_data import shared

from simulators.reaction import EnsembleEngine, RoadRunnerEngine, Status, rodas5p


def course(model: str, times: list[float], *, members: int = 1, rtol: float = 1e-8, threads: int = 1, **given: object):
    """Readouts `[M, T, R]` and status of a model from its start."""
    engine = EnsembleEngine(model, threads=threads)
    x, p = engine.start(
        {name: np.broadcast_to(v, members) for name, v in given.items()}, members=members, time=times[0]
    )
    return engine.run(x, p, times, rtol=rtol, atol=rtol * 1e-3), engine


def test_decay_of_members_at_their_own_rates() -> None:
    rates, times = np.geomspace(1e-3, 1e3, 50), [0.0, 0.1, 1.0, 10.0]
    run, _ = course("S' = -k*S; S = 2; k = 1", times, members=50, k=rates)
    np.testing.assert_allclose(run.values[:, :, 0], 2 * np.exp(-rates[:, None] * times), atol=2e-8)


def test_order_of_the_method_is_five_and_of_its_dense_output_four() -> None:
    """Error against tolerance: per step tolerance ~ h^5, error ~ h^5, so halving decades must follow closely."""
    model = "x' = y; y' = -x; x = 1; y = 0"
    times = list(np.linspace(0.0, 10.0, 40))
    errors = []
    for rtol in (1e-4, 1e-6, 1e-8):
        run, engine = course(model, times, rtol=rtol)
        errors.append(np.abs(run.values[0, :, engine.readouts.index("x")] - np.cos(times)).max())
    assert errors[0] < 1e-3
    assert errors[2] < 1e-7
    assert np.log10(errors[0] / errors[2]) > 3.0


def test_robertson_gives_the_reference_values() -> None:
    """Values at t = 40 and 4e5 from Hairer & Wanner's test set (2008)."""
    model = """
        A = 1; B = 0; C = 0
        A' = -0.04*A + 1e4*B*C; B' = 0.04*A - 1e4*B*C - 3e7*B^2; C' = 3e7*B^2
    """
    engine = EnsembleEngine(model)
    x, p = engine.start({}, members=1, time=0.0)
    run = engine.run(x, p, [0.0, 40.0, 4e5], rtol=1e-9, atol=1e-14)
    of = {name: run.values[0, :, i] for i, name in enumerate(engine.readouts)}
    assert of["A"][1] == pytest.approx(0.7158270688, rel=1e-7)
    assert of["B"][1] == pytest.approx(0.9185534765e-5, rel=1e-6)
    assert of["C"][1] == pytest.approx(0.2841637457, rel=1e-7)
    np.testing.assert_allclose(of["A"] + of["B"] + of["C"], 1.0, rtol=1e-12)


def test_switch_in_time_is_met_to_the_tolerance() -> None:
    """dx/dt is 1 from 1/3 to 2/3 and 0 else: x ends at 1/3, however large the steps may grow."""
    run, _ = course("x' = piecewise(1, time >= 1/3 && time < 2/3, 0); x = 0", [0.0, 0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose(run.values[0, :, 0], [0.0, 0.5 - 1 / 3, 1 / 3], atol=1e-9)


def test_switch_on_a_state_is_met_by_each_member_at_its_own_time() -> None:
    """x grows with rate k until it reaches 1, then decays to it from above with rate 1: closed form in two pieces."""
    rates = np.linspace(0.5, 3.0, 40)
    run, _ = course("x' = piecewise(k, x < 1, 0.5); x = 0; k = 1", [0.0, 4.0], members=40, rtol=1e-8, k=rates)
    np.testing.assert_allclose(run.values[:, 1, 0], 1.0 + 0.5 * (4.0 - 1.0 / rates), rtol=1e-8)


def test_bits_of_a_member_do_not_depend_on_threads_lanes_or_neighbours() -> None:
    model = "S1 -> S2; k1*S1^2/(1+S1); S2 -> S1; k2*S2; k1 = 1; k2 = 0.2; S1 = 3; S2 = 0"
    k1, times = np.geomspace(0.01, 100.0, 45), [0.0, 0.3, 1.0, 20.0]
    whole, engine = course(model, times, members=45, k1=k1)
    threaded, _ = course(model, times, members=45, threads=3, k1=k1)
    assert threaded.values.tobytes() == whole.values.tobytes()
    x, p = engine.start({"k1": k1}, members=45, time=0.0)
    rows = np.random.default_rng(1).permutation(45)
    shuffled = engine.run(x[rows], p[rows], times, rtol=1e-8, atol=1e-8 * 1e-3)
    assert shuffled.values.tobytes() == whole.values[rows].tobytes()
    for row in (0, 17, 44):
        alone = engine.run(x[row : row + 1], p[row : row + 1], times, rtol=1e-8, atol=1e-8 * 1e-3)
        assert alone.values.tobytes() == whole.values[row : row + 1].tobytes()


def test_member_that_blows_up_is_nan_from_there_and_the_others_are_untouched() -> None:
    rates = np.array([0.1, 2.0, 0.1, 0.3])  # x = 1/(1 - k t) blows up at 1/k
    run, _ = course("x' = k*x^2; x = 1; k = 1", [0.0, 0.4, 1.0], members=4, k=rates)
    assert run.status[1] != Status.FINE
    assert np.isnan(run.values[1, 2, 0])
    assert np.isfinite(run.values[1, :2]).all()
    np.testing.assert_allclose(run.values[[0, 2, 3], 2, 0], 1 / (1 - rates[[0, 2, 3]]), rtol=1e-6)
    assert (run.status[[0, 2, 3]] == Status.FINE).all()


def test_too_many_steps_and_bad_numbers_have_their_status() -> None:
    engine = EnsembleEngine("x' = 1000*cos(1000*time)*k; x = 0; k = 1", max_steps=20)
    x, p = engine.start({"k": np.array([1.0, 0.0, np.nan])}, members=3, time=0.0)
    run = engine.run(x, p, [0.0, 100.0], rtol=1e-8, atol=1e-10)
    assert run.status.tolist() == [Status.TOO_MANY_STEPS, Status.FINE, Status.NOT_FINITE]
    assert np.isfinite(run.values[1]).all()


def test_held_clock_stands_still() -> None:
    engine = EnsembleEngine("x' = piecewise(1, time < 5, -100) - x; x = 0")
    x, p = engine.start({}, members=1, time=0.0)
    run = engine.run(x, p, [0.0, 100.0], rtol=1e-8, atol=1e-10, held=True)
    assert run.values[0, 1, 0] == pytest.approx(1.0, rel=1e-8)


@settings(max_examples=20, deadline=None)
@given(networks())
def test_random_mass_action_networks_agree_with_roadrunner(model: str) -> None:
    """Two implementations that share no code: at rtol 1e-9 they differ by the sum of their errors, some 1e-7."""
    times = [0.0, 0.1, 1.0, 5.0]
    ours, reference = EnsembleEngine(model), RoadRunnerEngine(model)
    assert ours.states == reference.states
    x, p = ours.start({}, members=2, time=0.0)
    np.testing.assert_array_equal(x, reference.start({}, members=2, time=0.0)[0])
    np.testing.assert_allclose(ours.rates(x, p, time=0.0), reference.rates(x, p, time=0.0), rtol=1e-12, atol=1e-12)
    one, other = (e.run(x, p, times, rtol=1e-9, atol=1e-12) for e in (ours, reference))
    np.testing.assert_allclose(one.values, other.values, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(one.x.sum(axis=1), x.sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("name", ["Bachmann_MSB2011", "Lucarelli_CellSystems2018", "SalazarCavazos_MBoC2020"])
def test_jacobian_is_that_of_the_rates(name: str) -> None:
    """Against the complex step, which is exact (Squire & Trapp 1998), through the graph evaluated by numpy."""
    engine = EnsembleEngine(shared("models", name, f"model_{name}.xml"))
    x, p = engine.start({}, members=1, time=0.0)
    x = x * 1.3 + 0.01
    exact = engine.jacobian(x, p, time=1.0)[0]
    equations = engine.equations
    symbols = {"time": 1.0, **dict(zip(engine.parameters, p[0], strict=True))}
    moved = x[0][:, None] + 1e-30j * np.eye(x.shape[1])
    rates = equations.graph.evaluate(equations.rates, {**symbols, **dict(zip(engine.states, moved, strict=True))})
    for row, rate in enumerate(rates):
        slope = np.broadcast_to(rate, x.shape[1]).imag / 1e-30
        np.testing.assert_allclose(exact[row], slope, rtol=1e-11, atol=1e-14 * np.abs(exact).max())


@pytest.mark.parametrize(("name", "end"), [("Bachmann_MSB2011", 120.0), ("SalazarCavazos_MBoC2020", 10.0)])
def test_published_models_agree_with_roadrunner(name: str, end: float) -> None:
    """To 1e-6 of each species' maximum, both at rtol 1e-10."""
    path = shared("models", name, f"model_{name}.xml")
    ours, reference = EnsembleEngine(path), RoadRunnerEngine(path)
    spread = np.exp(0.3 * np.random.default_rng(3).standard_normal(4))
    name_ = next(n for n in ours.parameters if ours.model.initial[n].value > 0 and n not in ours.model.compartments)
    start = ours.start({name_: ours.model.initial[name_].value * spread}, members=4, time=0.0)
    times = list(np.linspace(0.0, end, 13))
    one, other = (e.run(*start, times, rtol=1e-10, atol=1e-13).values for e in (ours, reference))
    scale = np.abs(other).max(axis=1, keepdims=True) + 1e-12
    assert np.abs((one - other) / scale).max() < 1e-6


def test_kernels_can_be_compiled_beforehand() -> None:
    from simulators.reaction.kernels import compile_kernels

    compile_kernels()
    assert rodas5p.integrate.signatures  # compiled, or read from where numba keeps it
