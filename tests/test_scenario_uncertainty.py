"""Draws of what is uncertain: draw 0 is the nominal cell, and the distributions are those that the file names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.uncertainty import Distribution, Group
from twin.errors import InputError

DRAWS = np.arange(4001)


def group(**parameters: object) -> Group:
    return Group.model_validate({"parameters": parameters})


def drawn(
    of: Group, *, seed: int = 3, draws: np.ndarray = DRAWS, nominal: dict[str, float] | None = None
) -> dict[str, np.ndarray]:
    units = {"k": "1/min", "L": "nM"}
    return of.draw(
        "module", seed=seed, draws=draws, nominal=nominal or {"a": 2.0, "b": 5.0, "k": 0.5, "L": 4.0}, units=units
    )


def test_draw_zero_is_the_nominal_cell() -> None:
    values = drawn(
        group(a={"lognormal": {"cv": 0.4}}, b={"normal": {"sd": 1}}, k={"loguniform": ["0.1 1/min", "10 1/min"]}),
        draws=np.array([0, 0]),
    )
    assert values["a"].tolist() == [2.0, 2.0]
    assert values["b"].tolist() == [5.0, 5.0]
    assert values["k"] == pytest.approx([1.0, 1.0], rel=1e-15)  # geometric mean of the bounds


def test_lognormal_has_its_median_and_coefficient_of_variation() -> None:
    """Median: sigma/sqrt(N) * 1.25 = 0.8 %; CV of a log-normal: about 1.6 % relative at N = 4000. Four of those."""
    values = drawn(group(a={"lognormal": {"cv": "40 %"}}))["a"][1:]
    assert np.median(values) == pytest.approx(2.0, rel=0.032)
    assert values.std() / values.mean() == pytest.approx(0.4, rel=0.07)


def test_decades_and_sigma_are_what_they_say() -> None:
    one = Distribution.model_validate({"lognormal": {"decades": 1}}).values(np.array([0.0, 1.0]), nominal=3.0, units="")
    assert one == pytest.approx([3.0, 30.0], rel=1e-14)
    two = Distribution.model_validate({"lognormal": {"sigma_ln": 1, "median": "2 uM"}}).values(
        np.array([1.0]), nominal=3.0, units="nM"
    )
    assert two == pytest.approx([2000 * math.e], rel=1e-14)


def test_loguniform_fills_its_bounds_evenly() -> None:
    values = drawn(group(k={"loguniform": ["0.1 1/min", "600 1/h"]}))["k"][1:]
    assert values.min() > 0.1
    assert values.max() < 10.0
    share = np.sort((np.log10(values) + 1) / 2)
    distance = np.abs(share - (np.arange(len(share)) + 0.5) / len(share)).max()
    assert distance < 1.95 / math.sqrt(len(share))  # Kolmogorov-Smirnov at 0.1 %


def test_correlation_is_that_of_the_file() -> None:
    of = Group.model_validate(
        {
            "parameters": {"a": {"lognormal": {"cv": 0.4}}, "b": {"lognormal": {"cv": 0.4}}},
            "correlate": [["a", "b", 0.4]],
        }
    )
    values = drawn(of)
    measured = np.corrcoef(np.log(values["a"][1:]), np.log(values["b"][1:]))[0, 1]
    assert measured == pytest.approx(0.4, abs=4 * (1 - 0.4**2) / math.sqrt(4000))


def test_correlations_that_contradict_each_other_are_refused() -> None:
    spread = {"lognormal": {"cv": 0.4}}
    of = Group.model_validate(
        {"parameters": dict.fromkeys("abc", spread), "correlate": [["a", "b", 0.9], ["b", "c", 0.9], ["a", "c", -0.9]]}
    )
    with pytest.raises(InputError, match="contradict each other"):
        of.factor()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(0, 2**31))
def test_a_member_is_the_same_in_any_block(draws: list[int], seed: int) -> None:
    """What a member draws depends on its draw number alone, to the last bit."""
    of = Group.model_validate(
        {"parameters": {"a": {"lognormal": {"cv": 0.4}}, "b": {"normal": {"sd": 1}}}, "correlate": [["a", "b", 0.4]]}
    )
    whole = drawn(of, seed=seed, draws=np.array(draws))
    for row, number in enumerate(draws):
        alone = drawn(of, seed=seed, draws=np.array([number]))
        assert {name: v[0] for name, v in alone.items()} == {name: v[row] for name, v in whole.items()}


def test_groups_draw_on_their_own() -> None:
    of = group(a={"lognormal": {"cv": 0.4}})
    nominal = {"a": 2.0}
    one = of.draw("module", seed=1, draws=DRAWS[:10], nominal=nominal, units={})["a"]
    other = of.draw("cell-to-cell", seed=1, draws=DRAWS[:10], nominal=nominal, units={})["a"]
    assert not np.any(one[1:] == other[1:])


def test_relative_spread_follows_another_groups_draw() -> None:
    of = group(a={"lognormal": {"cv": 0.4}})
    centre = np.array([1.0, 2.0, 4.0])
    flat = of.draw("g", seed=1, draws=np.array([1, 2, 3]), nominal={"a": 1.0}, units={})["a"]
    moved = of.draw("g", seed=1, draws=np.array([1, 2, 3]), nominal={"a": centre}, units={})["a"]
    assert moved == pytest.approx(centre * flat, rel=1e-15)
