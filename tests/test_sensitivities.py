"""Forward sensitivities: closed forms, jumps at switches and events, differences of simulations, bits, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_data import shared

from scenarios.commands.sensitivity_cost import measure, ready
from simulators.reaction import ReactionModel, Status
from twin.errors import InputError, UnsupportedFeature

TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12, "threads": 1}


def differences(
    model: ReactionModel, times: Any, name: str, share: float = 1e-3, quantity: Any = "concentration", **given: Any
) -> tuple[Any, Any]:
    """Differences of `simulate`, once extrapolated (Richardson), and the steps `[M]`: central, error ~ share⁴; from a value
    of 0 forward, since amounts below 0 may not be integrable."""
    what = "initial" if model.network.observables[name].kind == "species" else "parameters"
    tight = {"rtol": 1e-11, "atol": 1e-14, "threads": 1, "quantity": quantity}
    base = model.simulate(times[:1], select=[name], **tight, **given)[name].values[:, 0]
    central = bool(base.all())
    step = share * np.abs(base) if central else np.full(len(base), 1e-8)

    def run(factor: float) -> Any:
        changed = {**given, what: {**given.get(what, {}), name: base + factor * step}}
        data = model.simulate(times, **tight, **changed)
        return np.stack([data[v].values for v in data.data_vars if v not in ("status", "constraint")])

    if central:
        return (4 * (run(0.5) - run(-0.5)) - (run(1.0) - run(-1.0)) / 2) / 3 / step[:, None], step
    return (4 * run(0.5) - 3 * run(0.0) - run(1.0)) / step[:, None], step


def agree(text: str, wrt: list[str], end: float = 5.0, tolerance: float = 1e-6, **given: Any) -> Any:
    """Sensitivities against differences, in shares of each one's maximum; states against `simulate`."""
    model, times = ReactionModel.read(text), np.linspace(0.0, end, 24)
    data, plain = model.sensitivities(times, wrt=wrt, **TIGHT, **given), model.simulate(times, **TIGHT, **given)
    names = [v for v in plain.data_vars if v not in ("status", "constraint")]
    assert (data["status"] == Status.FINE).all()
    for name in names:
        np.testing.assert_allclose(data[name], plain[name], rtol=1e-7, atol=1e-9)
    for i, name in enumerate(wrt):
        expected, step = differences(model, times, name, **given)
        found = np.stack([data[f"d {v}"].values[:, :, i] for v in names])
        greatest = np.abs(expected).max(axis=2, keepdims=True)
        assert (np.abs(found - expected) <= tolerance * greatest + 1e-7 + 1e-11 / step[:, None]).all(), name
    return data


def test_chain_of_decays_has_its_closed_form_and_exact_zeros() -> None:
    model = ReactionModel.read("A -> B; k1*A; B -> C; k2*B; k1 = 1; k2 = 0.2; A = 3; B = 0; C = 0; unused = 4")
    times, k1, k2 = np.linspace(0.0, 8.0, 17), np.array([0.5, 1.0, 2.0])[:, None], 0.2
    data = model.sensitivities(times, wrt=["k1", "k2", "A", "unused"], parameters={"k1": k1[:, 0]}, **TIGHT)
    one, two = np.exp(-k1 * times), np.exp(-k2 * times)
    np.testing.assert_allclose(data["d A"].sel(wrt="k1"), -3 * times * one, atol=1e-8)
    np.testing.assert_allclose(data["d A"].sel(wrt="A"), one, atol=1e-8)
    by_k1 = 3 / (k2 - k1) * (one - two - k1 * times * one) + 3 * k1 / (k2 - k1) ** 2 * (one - two)
    by_k2 = 3 * k1 / (k2 - k1) * times * two - 3 * k1 / (k2 - k1) ** 2 * (one - two)
    np.testing.assert_allclose(data["d B"].sel(wrt="k1"), by_k1, atol=1e-8)
    np.testing.assert_allclose(data["d B"].sel(wrt="k2"), by_k2, atol=1e-8)
    for name in ("d A", "d B", "d C"):
        assert not data[name].sel(wrt="unused").any()
    assert not data["d A"].sel(wrt="k2").any()


def test_parameter_that_is_only_a_threshold_in_time_acts_by_the_jump_alone() -> None:
    """x' = a until p and 0 after: dx/dp = a from p on, though no rate reads p but through its relation."""
    model = ReactionModel.read("x' = piecewise(a, time < p, 0); x = 0; a = 2; p = 1.7")
    data = model.sensitivities([0.0, 1.0, 1.7, 3.0], wrt=["p", "a"], parameters={"p": [1.7, 0.5]}, **TIGHT)
    np.testing.assert_allclose(data["d x"].sel(wrt="p"), [[0, 0, 2, 2], [0, 2, 2, 2]], atol=1e-9)
    np.testing.assert_allclose(data["d x"].sel(wrt="a"), [[0, 1, 1.7, 1.7], [0, 0.5, 0.5, 0.5]], atol=1e-9)


def test_ball_that_bounces_knows_how_its_height_depends_on_restitution_and_gravity() -> None:
    """After the first bounce at τ = √(2/g): x = e g τ (t-τ) - g (t-τ)²/2, differentiated by hand."""
    model = ReactionModel.read("x' = v; v' = -g; x = 1; v = 0; g = 9.81; e = 0.8; at (x < 0): v = -e*v, x = 0")
    times = np.linspace(0.5, 1.0, 6)
    data = model.sensitivities([0.0, *times], wrt=["e", "g", "x"], **TIGHT).isel(member=0, time=slice(1, None))
    g, e = 9.81, 0.8
    fall = np.sqrt(2 / g)
    by_fall = e * g * (times - 2 * fall) + g * (times - fall)
    np.testing.assert_allclose(data["d x"].sel(wrt="e"), g * fall * (times - fall), rtol=1e-8)
    by_g = e * fall * (times - fall) - (times - fall) ** 2 / 2 - by_fall * fall / (2 * g)
    np.testing.assert_allclose(data["d x"].sel(wrt="g"), by_g, rtol=1e-7)
    np.testing.assert_allclose(data["d x"].sel(wrt="x"), by_fall * fall / 2, rtol=1e-7)


def test_dose_after_a_delay_moves_with_its_time_its_delay_and_its_amount() -> None:
    """S = e^(-kt) + d e^(-k(t-p-w)) after p + w."""
    model = ReactionModel.read(
        "S -> ; k*S; S = 1; k = 0.5; d = 2; p = 1.3; w = 0.9; at w after (time > p): S = S + d*p"
    )
    times = np.array([0.0, 2.0, 3.0, 4.0])
    data = model.sensitivities(times, wrt=["p", "w", "d", "k"], **TIGHT).isel(member=0)
    with_trigger = np.exp(-0.5 * 1.3) + 2.6  # the value is taken at trigger time
    left, after = np.exp(-0.5 * (times - 2.2)), times > 2.2
    before = np.exp(-0.5 * times)
    np.testing.assert_allclose(data["S"], np.where(after, with_trigger * left, before), atol=1e-9)
    np.testing.assert_allclose(data["d S"].sel(wrt="w"), np.where(after, 0.5 * with_trigger * left, 0.0), atol=1e-8)
    by_p = (0.5 * with_trigger - 0.5 * np.exp(-0.65) + 2.0) * left
    np.testing.assert_allclose(data["d S"].sel(wrt="p"), np.where(after, by_p, 0.0), atol=1e-8)
    np.testing.assert_allclose(data["d S"].sel(wrt="d"), np.where(after, 1.3 * left, 0.0), atol=1e-8)


@pytest.mark.parametrize(
    ("text", "wrt"),
    [
        ("x' = piecewise(k, x < c, 0.5); x = 0; k = 1; c = 1.1", ["k", "c", "x"]),
        ("x' = k*floor(x/c + 1); x = 0.1; k = 0.4; c = 0.9", ["k", "c", "x"]),
        ("x' = abs(sin(w*time)) - 0.1*x; x = 0.1; w = 1.4", ["w", "x"]),
        ("S1 -> S2; k*S1; S1 = 2; S2 = 0; k = 1; c = 1.2; at (S2 > c): k = 0.2*k, S1 = S1 + c", ["k", "c", "S1"]),
        ("S -> ; k*S; S = 2; k = 1; c = 1.2; f = 0; g = 3; at (S < c): f = g*S; at (f > 1): S = S + f", ["k", "c", "g"]),
        ("x' = -k*x; x = 2; k = 1; p = 1.1; a = 0.4; at (time > p), priority = 1: x = x + a; at (time > p), priority = 2: x = 3*x",
         ["k", "p", "a"]),
        ("S -> ; k*S; S = 1; k = 0.5; p = 1.3; w = 0.9; at w after (time > p), fromTrigger = false: S = S*2 + p*time", ["k", "p", "w"]),
        ("compartment c; c = 2; species S1 in c, S2 in c; S1 = 3; S2 = 0; J: S1 -> S2; c*k*S1^2; k = 0.3", ["k", "c", "S1"]),
        ("k = 2; S2 = 3*k; S2 -> ; k*S2; b = k^2; S3 = b; S3 -> S4; b*S3; S4 = 0", ["k", "S2", "b"]),
        ("x' = a - x*y^n/(1 + y^n); y' = -0.5*y; x = 0; y = 2; a = 1; n = 2.5", ["a", "n", "y"]),
    ],
)  # fmt: skip
def test_switches_events_and_starts_agree_with_differences(text: str, wrt: list[str]) -> None:
    agree(text, wrt)


@pytest.mark.parametrize(
    ("text", "wrt"),
    [
        ("x' = -k*y; 0 = a*y^3 + y - x; var y; x = 2; y = 1; k = 0.7; a = 1.3", ["k", "a", "x"]),
        (
            "x' = piecewise(-k*y, y > c, -0.2*y); 0 = a*y^3 + y - x; var y; x = 2; y = 1; k = 0.7; a = 1.3; c = 0.6",
            ["k", "a", "c"],
        ),
        (
            "x' = -k*y; 0 = a*y^3 + y*piecewise(1, time < p, 2) - x; var y; x = 2; y = 1; k = 0.7; a = 1.3; p = 1.6",
            ["k", "p"],
        ),
        (
            "x' = -k*y; 0 = a*y^3 + y - x; var y; x = 2; y = 1; k = 0.7; a = 1.3; c = 0.6; at (y < c): x = x + 1 + y",
            ["k", "a", "c"],
        ),
    ],
)
def test_algebraic_states_stay_where_their_rules_hold_them(text: str, wrt: list[str]) -> None:
    agree(text, wrt, tolerance=3e-5)  # differences of states that are solved for to 1e-10 only


def test_amounts_are_given_and_returned_where_amounts_are_asked_for() -> None:
    text = "compartment c; c = 2; species S1 in c, S2 in c; S1 = 3; S2 = 0; J: S1 -> S2; c*k*S1^2; k = 0.3"
    data = agree(text, ["S1", "k"], quantity="amount")
    assert data["d S1"].sel(wrt="S1").values[0, 0] == 1.0


def test_units_are_those_of_the_variable_over_those_of_the_parameter() -> None:
    text = """
        unit per_min = 1 / (60 second); unit substance = 1e-9 mole; unit volume = 1 litre
        compartment c = 1; species S in c; S = 3; S -> ; k*S; k = 0.2; k has per_min
    """
    data = ReactionModel.read(text).sensitivities([0.0, 1.0], wrt=["k"])
    assert data["d S"].attrs["units"].endswith("/ wrt_units")
    assert data["wrt_units"].dims == ("wrt",)
    assert data["d S"].attrs["units_by_wrt"] == [f"({data['S'].attrs['units']}) / ({data['wrt_units'].values[0]})"]


def test_bits_do_not_depend_on_threads_or_neighbours() -> None:
    model = ReactionModel.read(
        "S1 -> S2; k1*S1^2/(1+S1); S2 -> S1; k2*S2; k1 = 1; k2 = 0.2; S1 = 3; S2 = 0; at (S2 > 1): S2 = 0.5"
    )
    k1, times = np.geomspace(0.05, 20.0, 37), [0.0, 0.3, 1.0, 20.0]
    given: dict[str, Any] = {"wrt": ["k1", "k2", "S1"], "rtol": 1e-6}
    whole = model.sensitivities(times, parameters={"k1": k1}, threads=1, **given)
    threaded = model.sensitivities(times, parameters={"k1": k1}, threads=3, **given)
    assert threaded["d S2"].values.tobytes() == whole["d S2"].values.tobytes()
    for row in (0, 20, 36):
        alone = model.sensitivities(times, parameters={"k1": k1[row : row + 1]}, threads=1, **given)
        assert alone["d S2"].values.tobytes() == whole["d S2"].values[row : row + 1].tobytes()


def test_member_that_fails_is_nan_from_there_and_the_others_are_untouched() -> None:
    model = ReactionModel.read("x' = k*x^2; x = 1; k = 1")  # 1 / (1 - k t)
    data = model.sensitivities([0.0, 0.4, 1.0], wrt=["k"], parameters={"k": [0.1, 2.0, 0.3]}, **TIGHT)
    k = np.array([0.1, 0.3])
    np.testing.assert_allclose(data["d x"].values[[0, 2], 2, 0], 1 / (1 - k) ** 2, rtol=1e-6)
    assert data["status"].values[1] != Status.FINE
    assert np.isnan(data["d x"].values[1, 2])
    assert np.isfinite(data["d x"].values[1, :2]).all()


def test_event_that_is_touched_but_not_crossed_has_no_derivative() -> None:
    """x = (t-1)³ stands still as it passes 0: τ = 1 + c^(1/3) has no derivative there, and 4/3 at c = 1/8."""
    model = ReactionModel.read("x' = 3*(time - 1)^2; x = -1; y = 0; c = 0; at (x >= c): y = y + time")
    data = model.sensitivities([0.0, 2.0], wrt=["c"], parameters={"c": [0.0, 0.125]}, rtol=1e-10, atol=1e-13)
    assert data["status"].values.tolist() == [Status.NOT_DIFFERENTIABLE, Status.FINE]
    assert np.isnan(data["d y"].values[0]).all()
    np.testing.assert_allclose(data["d y"].values[1, -1, 0], 4 / 3, rtol=1e-7)


@pytest.mark.parametrize(
    ("text", "wrt", "fine"),
    [
        # the start lies on a relation: the event fires on one side alone, or at once on one and at τ' on the other
        ("x' = -1; x = 1; c = 1; y = 0; at (x < c): y = 1", "c", False),
        ("x' = 1; x = 1; c = 1; y = 0; at (x >= c): y = 1", "c", False),
        ("x' = -1; x = 1; c = 1; y = 0; at (x >= c): y = 1", "c", True),  # true at first at most: never fires
        ("x' = v; v' = -g; x = 0; v = 3; g = 9.81; at (x < 0): v = -v, x = 0", "x", True),  # thrown from the ground
        ("x' = piecewise(a, time < p, 0); x = 0; a = 2; p = 0", "p", False),
        ("x' = piecewise(a, time < p, b); x = 0; a = 2; b = 2; p = 0", "p", True),  # the same rate on both sides
        ("x' = piecewise(a, k > 1, 0); x = 0; a = 2; k = 1", "k", False),  # only constants
        # two events of one moment: which one is first
        ("y = 1; p = 1; q = 1; at (time > p): y = 2*y; at (time > q): y = y + 1", "p", False),
        ("y = 1; z = 0; p = 1; q = 1; at (time > p): y = 2*y; at (time > q): z = z + 1", "p", True),
        ("y = 1; k = 1; at (time > 1), priority = k, fromTrigger = false: y = 2*y; "
         "at (time > 1), priority = 1, fromTrigger = false: y = y + 1", "k", False),
        ("y = 1; a = 1; at (time > 1), priority = 1, fromTrigger = false: y = y + a; "
         "at (time > 1), priority = 1, fromTrigger = false: y = y + 1", "a", True),
        ("x' = 1; x = 1; y = 1; p = 1; q = 1; at (time > p && time > q): y = x", "p", False),
        # rates that agree on a relation, but not their slopes, where the state stays on it
        ("x' = -abs(x); x = 0", "x", False),
        ("x' = max(x, 0) - x; x = 0", "x", False),
        ("x' = abs(x - c); x = 1; c = 1", "c", False),
        ("x' = 1 + abs(x); x = 0", "x", True),  # the state leaves it at once
        # two relations of a rate that turn at once
        ("x' = piecewise(1, time > p && time > q, 0); x = 0; p = 1; q = 1", "p", False),
        ("x' = piecewise(1, time > p, 0)*piecewise(2, time > q, 1); x = 0; p = 1; q = 1", "q", False),
        ("x' = piecewise(1, time > p, 0) + piecewise(2, time > q, 0); x = 0; p = 1; q = 1", "p", True),
        # an event puts what moves on a relation
        ("z' = 1; z = 0; x = 0; c = 0.5; at (z >= 1): z = c; at (z >= 0.5): x = x + 1", "c", False),
        ("z = 0; x = 0; c = 0.5; at (time >= 1): z = c; x' = piecewise(1, z > 0.5, 2)", "c", False),
        ("z' = 1; z = 0; x = 0; c = 0.5; at (z >= 1): z = c; at (z >= 0.7): x = x + time", "c", True),
    ],
)  # fmt: skip
def test_where_both_sides_of_a_tie_differ_there_is_no_derivative(text: str, wrt: str, fine: bool) -> None:
    model, name = ReactionModel.read(text), "y" if " y =" in text or text.startswith("y") else "x"
    data = model.sensitivities([0.0, 0.5, 3.0], wrt=[wrt], **TIGHT)
    start = model.simulate([0.0], select=[wrt], **TIGHT)[wrt].values[0, 0]
    what = "initial" if wrt in ("x", "y") and f"{wrt}'" in text else "parameters"
    step = 1e-5
    moved = model.simulate([0.0, 0.5, 3.0], **TIGHT, **{what: {wrt: start + np.array([-step, 0.0, step])}})[name].values
    left, right = (moved[1] - moved[0]) / step, (moved[2] - moved[1]) / step
    assert (np.abs(left - right).max() < 1e-3) == fine, "the test's own case"
    if fine:
        np.testing.assert_allclose(data[f"d {name}"].values[0, :, 0], right, atol=1e-3)
    else:
        assert data["status"].values[0] == Status.NOT_DIFFERENTIABLE
        assert np.isnan(data[f"d {name}"].values).all()


@pytest.mark.parametrize(
    ("case", "fine", "tied"),
    [
        ("00965", ["Q", "R"], ["maxrun"]),
        ("01588", ["reset"], ["Q", "R", "k1", "maxdiff"]),
        ("01589", ["reset"], ["Q", "R", "maxdiff"]),
        ("01627", ["reset"], ["Q", "R", "maxdiff"]),
        ("00997", ["p2", "p3"], ["p1"]),
        ("01336", ["x", "y"], []),
        ("01337", ["x", "y"], []),
    ],
)
def test_suite_cases_with_ties_have_derivatives_where_their_differences_converge(
    case: str, fine: list[str], tied: list[str]
) -> None:
    """One-sided differences of one member each, so that each has the same random order of simultaneous events."""
    model, times = ReactionModel.read(shared("sbml", "semantic", case) / "model.xml"), [0.0, 0.105, 0.305]
    starts = {"k1": 0.01, "p1": 1.0, "x": 3.0, "y": 6.0} | ({"Q": 1.0, "R": 1.0} if case == "01627" else {})
    for name in [*fine, *tied]:
        data = model.sensitivities(times, wrt=[name], **TIGHT)
        shown = [v for v in data.data_vars if f"d {v}" in data]

        def run(move: float, name: str = name, shown: list[str] = shown) -> Any:
            found = model.simulate(times, parameters={name: starts.get(name, 0.0) + move}, **TIGHT)
            return np.stack([found[v].values[0] for v in shown])

        middle, step = run(0.0), 1e-6
        left, right = (middle - run(-step)) / step, (run(step) - middle) / step
        if name in tied:
            assert np.abs(left - right).max() > 0.5
            assert data["status"].values[0] == Status.NOT_DIFFERENTIABLE
        else:
            found = np.stack([data[f"d {v}"].values[0, :, 0] for v in shown])
            np.testing.assert_allclose(found, right, atol=1e-6)
            np.testing.assert_allclose(found, left, atol=1e-6)


def test_what_is_refused_is_named_before_anything_runs() -> None:
    model = ReactionModel.read("S1 -> S2; k1*S1; S1 = 1; S2 = 0; k1 = 1; total := S1 + S2")
    with pytest.raises(InputError, match=r"wrt: no 'k11' in this model; did you mean k1"):
        model.sensitivities([0.0, 1.0], wrt=["k11"])
    with pytest.raises(InputError, match=r"wrt: 'total' cannot be set: it is given by a rule"):
        model.sensitivities([0.0, 1.0], wrt=["total"])
    with pytest.raises(InputError, match="k1 given twice"):
        model.sensitivities([0.0, 1.0], wrt=["k1", "k1"])
    with pytest.raises(InputError, match="at least one"):
        model.sensitivities([0.0, 1.0], wrt=[])
    with pytest.raises(InputError, match="expected a list"):
        model.sensitivities([0.0, 1.0], wrt="k1")
    with pytest.raises(UnsupportedFeature, match="not carried through delays"):
        ReactionModel.read("x' = -k*delay(x, 1); x = 1; k = 1").sensitivities([0.0, 1.0], wrt=["k"])


@pytest.mark.slow
def test_bachmann_agrees_with_differences_in_every_parameter() -> None:
    """Every sensitivity of the published model to 1e-5 of its maximum; no false zeros."""
    model = ReactionModel.read(shared("models", "Bachmann_MSB2011", "model_Bachmann_MSB2011.xml"))
    times = np.linspace(0.0, 60.0, 7)
    start = model.simulate(times[:1], select=model.parameters)
    names = [n for n in model.parameters if start[n].values[0, 0] != 0.0]  # from 0 no difference has a step of its own
    data = model.sensitivities(times, wrt=names, rtol=1e-7, atol=1e-10, threads=1)
    variables = [v for v in data.data_vars if v in model.species]
    sizes = {v: float(np.abs(data[v]).max()) for v in variables}
    for i, name in enumerate(names):
        expected, step = differences(model, times, name, share=1e-2)
        for v, row in zip(variables, expected, strict=True):
            found, greatest = data[f"d {v}"].values[0, :, i], np.abs(row).max()
            noise = 1e-11 * sizes[v] / step[0]  # of the differences
            bound = 1e-5 * greatest + noise
            # what differences do not tell from 0 adds up to it by cancelling, which is to the tolerance of the species
            if greatest <= noise:
                bound += 1e-7 * (sizes[v] + 1e-3) / start[name].values[0, 0]
            assert np.abs(found - row[0]).max() <= bound, (name, v)


@pytest.mark.parametrize(
    "lost", [(), ("A", "k"), ("B", "A"), ("P", "boost")], ids=["none", "of k", "of a start", "of a 0"]
)
def test_zeros_are_judged_by_differences_and_a_false_one_is_counted(
    lost: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A and B do not see Q's rate, P and Q not theirs; boost and the starts of B and P are 0. One pair is set to 0 by hand."""
    path = tmp_path / "two.ant"
    path.write_text("A -> B; k*A; A = 2; B = 0; k = 1\nQ -> P; (r + boost)*Q; Q = 3; P = 0; r = 0.5; boost = 0\n")
    honest = ReactionModel.sensitivities

    def forgetful(*args: Any, **more: Any) -> Any:
        data = honest(*args, **more)
        if lost:
            data[f"d {lost[0]}"].loc[{"wrt": lost[1]}] = 0.0
        return data

    monkeypatch.setattr(ReactionModel, "sensitivities", forgetful)
    chosen: dict[str, Any] = {"rtol": 1e-6, "most": 9, "initial": 9}
    found = measure(ready(path, until=2.0, **chosen), members=1, check=True, repeats=1, **chosen)
    # each of k, A, B does not move P, Q; r, boost, Q, P do not move A, B; a start of a product does not move its source
    assert found["pairs"] == 4 * 7
    assert found["zeros"] == 3 * 2 + 4 * 2 + 2 + len(lost[:1])
    assert found["pairs_judged"] == found["pairs"] - (3 * 2 + 4 * 2 + 2)
    assert found["false_zeros"] == len(lost[:1])
    if not lost:
        assert found["difference"] < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["Boehm_JProteomeRes2014", "Lucarelli_CellSystems2018", "Smith_BMCSystBiol2013"])
def test_published_models_agree_with_differences_where_most_species_move(folder: str) -> None:
    """As `twin bench sensitivities` judges it: 1e-5 of each sensitivity's maximum, and no false zeros. Smith's species are
    amounts by definition, far from their concentrations, and have invariants, whose sensitivities are cancellation."""
    chosen: dict[str, Any] = {"rtol": 1e-6, "most": 6, "initial": 3}
    found = measure(ready(shared("models", folder), **chosen), members=2, check=True, repeats=1, **chosen)
    assert found["failed_share"] == 0.0
    assert found["pairs_judged"] >= 40
    assert found["difference"] < 1e-5
    assert found["error"] < 1e-4
    assert found["false_zeros"] == 0


@pytest.mark.slow
def test_a_model_of_124_states_agrees_with_differences() -> None:
    """As above, of Lang's cell cycle, before its first division."""
    chosen: dict[str, Any] = {"rtol": 1e-6, "most": 2, "initial": 1}
    track = ready(shared("models", "Lang_PLOSComputBiol2024"), until=1000.0, **chosen)
    found = measure(track, members=1, check=True, repeats=1, **chosen)
    assert found["failed_share"] == 0.0
    assert found["pairs_judged"] >= 100
    assert found["difference"] < 1e-5
    assert found["error"] < 1e-4
    assert found["false_zeros"] == 0
