"""Every Simulator keeps the contract of `twin/simulator.py`."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
from contract import CASES, MEMBERS, Case, same_bits, stored

from twin import Follower, InputError, Perturbation, Signal, Simulator, Twin
from twin.units import factor


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def simulator(case: Case) -> Simulator:
    return case.make()


def _finite(values: object) -> bool:
    return bool(np.isfinite(np.asarray(values)).all())


def test_ports_are_named_once_and_have_units(simulator: Simulator) -> None:
    assert isinstance(simulator, Simulator)
    for ports in (simulator.inputs, simulator.outputs):
        assert len({port.name for port in ports}) == len(ports)
    for name, port in simulator.targets.items():
        assert port.name == name
    assert simulator.outputs
    assert simulator.clock in ("macro", "micro")
    if simulator.time_units:
        assert factor(simulator.time_units, "s") > 0
    assert Twin({"it": simulator}).simulators["it"] is simulator


def test_outputs_have_shape_and_dtype_and_something_moves_in_time_or_between_members(
    case: Case, simulator: Simulator
) -> None:
    sample = np.linspace(case.t0, case.t1, 4)
    state, values = case.stepped(simulator, case.begun(simulator), sample=list(sample))
    assert set(values) == {port.name for port in simulator.outputs}
    for port in simulator.outputs:
        assert values[port.name].shape[:2] == (MEMBERS, 5)
        assert values[port.name].ndim == 2 + len(port.dims)
        assert values[port.name].dtype == np.float64
        assert _finite(values[port.name])
        np.testing.assert_array_equal(values[port.name][:, -1], values[port.name][:, -2])  # the last sample is t1
    assert any(np.ptp(v) > 0 for v in values.values())
    assert state.time == case.t1
    assert (state.arrays["status"] == 0).all()


def test_outputs_keep_their_bounds(case: Case, simulator: Simulator) -> None:
    _, values = case.stepped(simulator, case.begun(simulator), sample=list(np.linspace(case.t0, case.t1, 21)))
    for port in simulator.outputs:
        if port.lower is not None:
            assert values[port.name].min() >= port.lower


def test_same_seed_gives_same_bits_in_another_instance(case: Case, simulator: Simulator) -> None:
    sample = [(case.t0 + case.t1) / 2]
    state, values = case.stepped(simulator, case.begun(simulator, seed=7), sample=sample)
    other = case.make()
    again, repeated = case.stepped(other, case.begun(other, seed=7), sample=sample)
    assert same_bits(values, repeated)
    assert same_bits(state.arrays, again.arrays)
    assert (state.time, dict(state.note)) == (again.time, dict(again.note))
    if case.seeded:
        _, others = case.stepped(simulator, case.begun(simulator, seed=8), sample=sample)
        assert not same_bits(values, others)


def test_second_run_is_not_touched_by_the_first(case: Case, simulator: Simulator) -> None:
    begun = case.begun(simulator)
    _, values = case.stepped(simulator, begun)
    _, repeated = case.stepped(simulator, begun)
    assert same_bits(values, repeated)


def test_stored_state_goes_on_with_the_same_bits(case: Case, simulator: Simulator) -> None:
    middle = (case.t0 + case.t1) / 2
    begun = case.begun(simulator)
    half, _ = case.stepped(simulator, begun, t1=middle)
    for state, t0 in ((begun, case.t0), (half, middle)):
        other = case.make()
        end, values = case.stepped(simulator, state, t0=t0)
        reloaded, repeated = case.stepped(other, stored(state), t0=t0)
        assert same_bits(values, repeated)
        assert same_bits(end.arrays, reloaded.arrays)


def test_split_step_equals_whole_step(case: Case, simulator: Simulator) -> None:
    if case.split is None:
        pytest.skip("this method does not promise it")
    middle = case.t0 + 0.37 * (case.t1 - case.t0)
    begun = case.begun(simulator)
    _, whole = case.stepped(simulator, begun, sample=[middle])
    half, first = case.stepped(simulator, begun, t1=middle)
    _, second = case.stepped(simulator, half, t0=middle)
    for name, values in whole.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(first[name][:, 0], values[:, 0], rtol=case.split, atol=case.split * scale)
        np.testing.assert_allclose(second[name][:, 0], values[:, 1], rtol=case.split, atol=case.split * scale)


def test_samples_do_not_change_the_end(case: Case, simulator: Simulator) -> None:
    """Within the tolerance of a split: an adaptive method may choose its first step by its first output time."""
    if case.split is None:
        pytest.skip("this method does not promise it")
    begun = case.begun(simulator)
    _, values = case.stepped(simulator, begun)
    _, sampled = case.stepped(simulator, begun, sample=list(np.linspace(case.t0, case.t1, 7)))
    for name, plain in values.items():
        atol = case.split * np.abs(plain).max()
        np.testing.assert_allclose(sampled[name][:, -1], plain[:, -1], rtol=case.split, atol=atol)


def test_member_has_the_same_bits_in_any_block(case: Case, simulator: Simulator) -> None:
    if not case.alone:
        pytest.skip("learned models run in padded blocks fixed by the scenario")
    whole, values = case.stepped(simulator, case.begun(simulator))
    picked = [MEMBERS - 1, 1]
    part, some = case.stepped(simulator, case.begun(simulator, members=picked))
    np.testing.assert_array_equal(part.members, picked)
    assert same_bits(some, {name: v[picked] for name, v in values.items()})
    assert same_bits(part.arrays, {name: a[picked] for name, a in whole.arrays.items()})
    taken = case.begun(simulator).take(np.array(picked))
    assert same_bits(case.stepped(simulator, taken)[1], some)


def test_member_without_a_row_is_refused_or_drawn_but_never_another_member(case: Case, simulator: Simulator) -> None:
    try:
        state = simulator.init(members=np.array([MEMBERS + 1000]), seed=1)
    except InputError as error:
        assert str(MEMBERS + 1000) in str(error)
    else:
        assert state.members.tolist() == [MEMBERS + 1000]


def test_nothing_that_goes_in_is_changed(case: Case, simulator: Simulator) -> None:
    fresh = simulator.init(members=np.arange(MEMBERS), seed=1)
    before = copy.deepcopy(dict(fresh.arrays))
    name = next(iter(simulator.targets))
    changed = simulator.perturb(fresh, [Perturbation(case.t0, f"x.{name}", 1.25, "scale")])
    assert same_bits(fresh.arrays, before)
    begun = case.begun(simulator)
    before = copy.deepcopy(dict(begun.arrays))
    fed = case.fed(begun)
    end, _ = simulator.step(begun, fed, t0=case.t0, t1=case.t1)
    simulator.perturb(end, [Perturbation(case.t1, f"x.{name}", 0.5)])
    assert same_bits(begun.arrays, before)
    assert same_bits(fed, case.fed(begun))
    assert changed.members.tolist() == list(range(MEMBERS))


def test_perturbation_at_t0_is_seen_by_the_sample_at_t0(case: Case, simulator: Simulator) -> None:
    both = [port.name for port in simulator.outputs if port.name in simulator.targets]
    if not both:
        pytest.skip("no output is a target")
    begun = case.begun(simulator)
    for name in both:
        values = 0.5 + np.arange(MEMBERS) / 8
        changed = simulator.perturb(begun, [Perturbation(case.t0, f"x.{name}", values)])
        _, seen = case.stepped(simulator, changed, sample=[case.t0])
        np.testing.assert_allclose(seen[name][:, 0], values, rtol=1e-15)


def test_operations_set_scale_and_add_in_the_order_given(case: Case, simulator: Simulator) -> None:
    both = [port.name for port in simulator.outputs if port.name in simulator.targets]
    if not both:
        pytest.skip("no output is a target")
    changes = [
        Perturbation(case.t0, f"x.{both[0]}", 3.0),
        Perturbation(case.t0, f"x.{both[0]}", 2.0, "scale"),
        Perturbation(case.t0, f"x.{both[0]}", np.arange(MEMBERS) / 4, "add"),
    ]
    _, seen = case.stepped(simulator, simulator.perturb(case.begun(simulator), changes), sample=[case.t0])
    np.testing.assert_allclose(seen[both[0]][:, 0], 6.0 + np.arange(MEMBERS) / 4, rtol=1e-15)


def test_unknown_target_is_an_input_error(case: Case, simulator: Simulator) -> None:
    begun = case.begun(simulator)
    with pytest.raises(InputError, match="no_such_thing"):
        simulator.perturb(begun, [Perturbation(case.t0, "x.no_such_thing", 1.0)])


def test_unknown_input_is_an_input_error(case: Case, simulator: Simulator) -> None:
    begun = case.begun(simulator)
    with pytest.raises(InputError, match="no_such_port"):
        simulator.step(begun, {"no_such_port": np.ones(MEMBERS)}, t0=case.t0, t1=case.t1)


@pytest.mark.parametrize("sample", [[1e9], [-1e9], [float("nan")], "descending"])
def test_samples_outside_the_step_or_out_of_order_are_refused(case: Case, simulator: Simulator, sample: object) -> None:
    begun = case.begun(simulator)
    times = [case.t1, case.t0] if sample == "descending" else sample
    with pytest.raises(InputError, match="ascending"):
        case.stepped(simulator, begun, sample=times)


def test_step_backwards_is_refused(case: Case, simulator: Simulator) -> None:
    with pytest.raises(InputError, match="ascending"):
        case.stepped(simulator, case.begun(simulator), t0=case.t1, t1=case.t0)


def test_wrong_number_of_values_is_an_input_error(case: Case, simulator: Simulator) -> None:
    name = next(iter(simulator.targets))
    with pytest.raises(InputError, match=name):
        simulator.perturb(case.begun(simulator), [Perturbation(case.t0, f"x.{name}", np.ones(MEMBERS + 1))])


def test_signals_that_stay_are_inputs_that_stay(case: Case, simulator: Simulator) -> None:
    begun = case.begun(simulator)
    if not isinstance(simulator, Follower):
        pytest.skip("takes constant inputs only")
    looks = list(np.linspace(case.t0, case.t1, 4))
    signals = {name: Signal.constant(case.t0, case.t1, values) for name, values in case.fed(begun).items()}
    end, followed = simulator.follow(begun, signals, t0=case.t0, t1=case.t1, sample=looks)
    stepped_end, stepped = case.stepped(simulator, begun, sample=looks)
    for name, values in stepped.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(followed[name], values, rtol=case.split or 0.0, atol=(case.split or 0.0) * scale)
    assert set(end.arrays) == set(stepped_end.arrays)
    assert end.time == stepped_end.time


def test_a_signal_is_followed_as_by_many_short_steps(case: Case, simulator: Simulator) -> None:
    """Steps under the midpoint's value are of second order; what is left after extrapolation of two lengths is below 1e-3."""
    if not isinstance(simulator, Follower) or not case.inputs:
        pytest.skip("takes constant inputs only")
    begun = case.begun(simulator)
    shape = np.array([1.0, 1.5, 0.2, 0.7])  # at the nodes: up, down and up again
    signals = {
        name: Signal.through(case.t0, case.t1, values[:, None] * shape) for name, values in case.fed(begun).items()
    }
    end, followed = simulator.follow(begun, signals, t0=case.t0, t1=case.t1)
    ends = []
    for count in (40, 80):
        state, outputs = begun, {}
        edges = np.linspace(case.t0, case.t1, count + 1)
        for since, until in pairwise(edges):
            inputs = {name: signal.at([(since + until) / 2])[:, 0] for name, signal in signals.items()}
            state, outputs = simulator.step(state, inputs, t0=since, t1=until)
        ends.append({name: values[:, -1] for name, values in outputs.items()})
    for name, values in followed.items():
        limit = (4 * ends[1][name] - ends[0][name]) / 3
        np.testing.assert_allclose(values[:, -1], limit, rtol=1e-3, atol=1e-3 * np.abs(limit).max())
        constant = case.stepped(simulator, begun)[1][name][:, -1]
        assert (
            name not in _moved_by_inputs(case, simulator) or np.abs(constant - limit).max() > 1e-2 * np.abs(limit).max()
        )
    with pytest.raises(InputError, match="no_such_port"):
        simulator.follow(
            begun, {"no_such_port": Signal.constant(case.t0, case.t1, np.ones(MEMBERS))}, t0=case.t0, t1=case.t1
        )
    assert end.members.tolist() == list(range(MEMBERS))


def _moved_by_inputs(case: Case, simulator: Simulator) -> set[str]:
    """Outputs that would be elsewhere by 10 % if all inputs were half as large: a signal must show in them."""
    begun = case.begun(simulator)
    one = case.stepped(simulator, begun)[1]
    halved = {name: values / 2 for name, values in case.fed(begun).items()}
    other = simulator.step(begun, halved, t0=case.t0, t1=case.t1)[1]
    return {
        name
        for name, values in one.items()
        if np.abs(values[:, -1] - other[name][:, -1]).max() > 0.1 * np.abs(values[:, -1]).max()
    }
