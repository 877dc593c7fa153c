"""Models that few write, against answers worked out by hand: what happens in one moment, before the start, and in old levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, inf, nan
from typing import Any

import numpy as np
import pytest

from simulators.reaction import ReactionModel
from twin.errors import UnsupportedFeature

Expected = dict[str, "Sequence[float] | Callable[[float], float]"]
_T = (0.0, 1.0, 2.0, 3.0)

CASES: dict[str, tuple[str, Sequence[float], Expected]] = {
    # what happens in one moment
    "three events set each other off": (
        "a = 0; b = 0; c = 0; at (time >= 1): a = 1; at (a > 0.5), priority = 5: b = 2; at (b > 1): c = a + b;",
        _T, {"c": (0, 3, 3, 3)}),
    "priorities are those of the moment of execution": (
        "x = 1; p = 0; at 1 after (time >= 1), priority = p, fromTrigger = false: x = x + 1; "
        "at 1 after (time >= 1), priority = 1, fromTrigger = false: x = 2*x, p = 5; at (time >= 1.5): p = 2;",
        (0.0, 1.0, 1.9, 2.0), {"x": (1, 1, 1, 4), "p": (0, 0, 2, 5)}),
    "an event that does not persist is dropped by another one": (
        "x = 0; y = 0; at (time >= 1), priority = 10: y = 1; at (time >= 1 && y < 0.5), priority = 1, persistent = false: x = 1;",
        _T, {"x": (0, 0, 0, 0)}),
    "an event that persists is not": (
        "x = 0; y = 0; at (time >= 1), priority = 10: y = 1; at (time >= 1 && y < 0.5), priority = 1, persistent = true: x = 1;",
        _T, {"x": (0, 1, 1, 1)}),
    "an event that is triggered again before it happens": (  # at 0+, 1 and 2; values are those of these moments
        "x = 0; at 1.5 after (sin(2*pi*time) > 0): x = x + 1;", (0.0, 1.4, 2.0, 3.4, 4.4), {"x": (0, 0, 1, 1, 2)}),
    "a trigger that is false before the start": (
        "x = 0; y = 0; at (time >= 0), t0 = false: x = 3; at 1.5 after (time >= 0), t0 = false: y = 4;",
        _T, {"x": (3, 3, 3, 3), "y": (0, 0, 4, 4)}),
    "an event that reads a rate": (
        "A -> B; k*A; A = 1; B = 0; k = 1; n = 0; at (rateOf(A) > -0.5): n = rateOf(A);", (0.0, 0.5, 1.0), {"n": (0, 0, -0.5)}),
    "an event that sets what a reaction's rate reads": (
        "A = 1; k = 1; n = 0; J: A -> ; k*A; at (J < 0.5): n = J, k = 0;", (0.0, 0.5, 1.0), {"A": (1, exp(-0.5), 0.5)}),
    "counters may be compared by equality": (
        "n = 0; x = 0; at (time > 0.5): n = n + 1; at (time > 1.5): n = n + 1; at (n == 2): x = 7; z := piecewise(1, n == 1, 0);",
        _T, {"x": (0, 0, 7, 7), "z": (0, 1, 0, 0)}),
    "a switch with hysteresis": (
        "x' = piecewise(1, on > 0.5, -1); x = 0; on = 1; at (x >= 1): on = 0; at (x <= 0.2): on = 1;",
        (0.0, 1.0, 1.8, 2.6), {"x": (0, 1, 0.2, 1)}),
    # sizes
    "an event halves a concentration by its size": (
        "compartment c; c = 1; species S in c; S = 1; at (time > 1.5): c = 2;", _T, {"S": (1, 1, 0.5, 0.5)}),
    "a size that grows": (
        "compartment c; c' = 1; c = 1; species S in c; S = 1; J: S -> ; c*k*S; k = 1;", _T, {"S": lambda t: exp(-t) / (1 + t)}),
    "a size that a rule gives": ("compartment c; c := 1 + time; species S in c; S = 1; S -> ; 0*S;", _T, {"S": lambda t: 1 / (1 + t)}),
    # before the start
    "delay() of the time": ("z := delay(time, 0.5);", (0.0, 0.25, 1.0), {"z": (-0.5, -0.25, 0.5)}),
    "delay() of delay()": ("x' = 1; x = 0; y := delay(delay(x, 0.5), 0.25);", (0.0, 0.5, 1.0, 2.0), {"y": (0, 0, 0.25, 1.25)}),
    "delay() in a trigger and in what an event sets": (
        "x' = 1; x = 0; n = 0; m = 0; at (delay(x, 1) > 1): n = 1; at (time > 2): m = delay(x, 0.5);",
        (0.0, 1.9, 2.1), {"n": (0, 0, 1), "m": (0, 0, 1.5)}),
    "delay() of what an event sets": (
        "x = 0; y' = delay(x, 0.5); y = 0; at (time >= 1): x = 2;", (0.0, 1.0, 1.5, 2.0, 3.0), {"y": (0, 0, 0, 1, 3)}),
    "delay() in an initial value": (
        "x' = 1; x = 3; z = delay(x, 2) + 1; z' = 2*x; y := delay(z, 0.5);", (0.0, 1.0), {"z": (4, 11), "y": (4, 7.25)}),
    # mathematics
    "max, min, quotient, rem and implies": (
        "x := max(time, 1, 2.5); y := min(3, time, 2); q := quotient(3*time, 2); r := rem(3*time, 2); "
        "i := piecewise(1, implies(time > 1.5, time > 2.5), 0);",
        _T, {"x": (2.5, 2.5, 2.5, 3), "y": (0, 1, 2, 2), "q": (0, 1, 3, 4), "r": (0, 1, 0, 1), "i": (1, 1, 0, 1)}),
    "truth values in sums": ("x := (time > 1.5) + 2*(time < 2.5); y := piecewise(1, x, 0);", _T, {"x": (2, 2, 3, 1), "y": (1, 1, 1, 1)}),
    "xor of three": ("x := piecewise(1, xor(time > 0.5, time > 1.5, time > 2.5), 0);", _T, {"x": (0, 1, 0, 1)}),
    "no piece that holds, and a division by 0": (
        "y := piecewise(1, time < 1.5); z := 1/(time - 1);", _T, {"y": (1, 1, nan, nan), "z": (-1, inf, 1, 0.5)}),
    # algebraic rules
    "an algebraic rule beside an event": (
        "x' = -1; x = 5; var y; 0 = y - 2*x; y = 10; n = 0; at (y < 7): x = 10, n = n + 1;", _T, {"y": (10, 8, 19, 17)}),
    "an algebraic rule whose parameter an event sets": ("var y; a = 4; 0 = y^2 - a; y = 1.5; at (time > 1.5): a = 9;", _T, {"y": (2, 2, 3, 3)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_known_by_hand(name: str) -> None:
    text, times, expected = CASES[name]
    data = ReactionModel.read(text).simulate(times, select=list(expected), rtol=1e-9, atol=1e-12, threads=1)
    assert data["status"].values[0] == 0
    for id_, known in expected.items():
        values = [known(t) for t in times] if callable(known) else known
        np.testing.assert_allclose(data[id_].values[0], values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("trigger", ["time == 1", "x == 0.5", "x != 0.5", "n < 1 && x - 0.5 == 0"])
def test_an_event_at_a_moment_of_equality_is_refused(trigger: str) -> None:
    """A step ends beside the moment as often as in it: the event would happen for half of all numbers."""
    model = ReactionModel.read(f"x' = x; x = 0.1; n = 0; at ({trigger}): n = n + 1;")
    for run in (model.simulate, lambda times: model.sensitivities(times, wrt=["x"])):
        with pytest.raises(
            UnsupportedFeature, match=r"event _E0: its trigger asks whether what moves is equal .* write ≥"
        ):
            run([0.0, 3.0])


@pytest.mark.parametrize(
    "text", ["z = delay(time, 0.5);", "y := 2*time; z = delay(y, 0.5);", "y = time; y' = 1; z = delay(y, 1);"]
)
def test_an_initial_value_that_reads_the_time_before_the_start_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedFeature, match=r"z: its initial value reads by delay\(\) what depends on the time"):
        ReactionModel.read(text).simulate([0.0, 1.0], select=["z"])


def test_an_algebraic_rule_of_level_1_determines_what_alone_is_left() -> None:
    """Level 1 does not say what is constant: b is all that is left for 2a = b, c for b + c = 10."""
    rules = (("algebraicRule", "2 * a - b"), ("algebraicRule", "b + c - 10"))
    names = "".join(f'<parameter name="{n}" value="1"/>' for n in "abc")
    model = ReactionModel.read(
        '<sbml xmlns="http://www.sbml.org/sbml/level1" level="1" version="2"><model name="m">'
        f'<listOfCompartments><compartment name="v" volume="1"/></listOfCompartments><listOfParameters>{names}</listOfParameters><listOfRules>'
        + "".join(f'<{tag} formula="{formula}"/>' for tag, formula in rules)
        + '<parameterRule name="a" type="rate" formula="1"/></listOfRules></model></sbml>'
    )
    data: Any = model.simulate([0.0, 2.0], threads=1)
    np.testing.assert_allclose([data[n].values[0, 1] for n in "abc"], [3.0, 6.0, 4.0], rtol=1e-9)
