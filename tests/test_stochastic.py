"""Exact stochastic simulation against distributions known in closed form and the master equation.

Tolerances: with n members the mean differs from the true one by less than 4.5 standard errors, the variance by less
than 4.5 of its own (in a million tests 7 would fail; the seed is fixed).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import chi2

from simulators.reaction import ReactionModel
from simulators.reaction.engine import Status
from twin.errors import UnsupportedFeature

TIMES = np.linspace(0.0, 10.0, 6)
_ITEMS = "compartment C = 1; substanceOnly species {}; "


def _run(text: str, times: Any = TIMES, *, members: int = 4000, seed: int = 1, **more):
    return ReactionModel.read(text).simulate(
        times, engine="stochastic", members=members, seed=seed, threads=1, quantity="amount", **more
    )


def _agrees(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, fourth: np.ndarray) -> None:
    """`fourth`: the central moment, which says how much an estimated variance scatters."""
    n = len(x)
    assert (np.abs(x.mean(axis=0) - mean) <= 4.5 * np.sqrt(variance / n) + 1e-12).all()
    scatter = np.sqrt((fourth - variance**2) / n)
    assert (np.abs(x.var(axis=0, ddof=1) - variance) <= 4.5 * scatter + 1e-12).all()


def test_immigration_and_death_are_poisson():
    data = _run(_ITEMS.format("X in C") + "X = 0; -> X; 3; X -> ; 0.4*X")
    mean = 3 / 0.4 * (1 - np.exp(-0.4 * TIMES))
    _agrees(data["X"].values, mean, mean, mean * (1 + 3 * mean))
    assert data.attrs["engine"] == "stochastic"
    assert (data["status"] == 0).all()


def test_decay_is_binomial():
    data = _run(_ITEMS.format("X in C") + "X = 50; X -> ; k*X; k = 0.2")
    p = np.exp(-0.2 * TIMES)
    variance = 50 * p * (1 - p)
    _agrees(data["X"].values, 50 * p, variance, variance * (1 + 3 * 48 * p * (1 - p)))


def test_dimers_follow_the_master_equation():
    # states: number of dimers 0…5 of 11 monomers; every probability is compared, by χ²
    data = _run(
        _ITEMS.format("P in C, D in C") + "P = 11; D = 0; 2 P -> D; 0.02*P*(P-1)/2; D -> 2 P; 0.1*D", [0.0, 3.0]
    )
    rate = np.zeros((6, 6))
    for d in range(6):
        free = 11 - 2 * d
        if d < 5:
            rate[d + 1, d] += 0.02 * free * (free - 1) / 2
            rate[d, d] -= 0.02 * free * (free - 1) / 2
        if d > 0:
            rate[d - 1, d] += 0.1 * d
            rate[d, d] -= 0.1 * d
    expected = expm(3.0 * rate)[:, 0] * 4000
    found = np.bincount(data["D"].values[:, 1].astype(int), minlength=6)
    assert ((found - expected) ** 2 / expected).sum() < chi2.isf(1e-5, 5)
    np.testing.assert_array_equal(data["P"] + 2 * data["D"], 11)


def test_a_reaction_without_enough_molecules_does_not_fire():
    data = _run(_ITEMS.format("P in C, D in C") + "P = 5; D = 0; 2 P -> D; P*P", [0.0, 1e3], members=50)
    assert (data["P"][:, 1] == 1).all()


def test_events_happen_at_their_times_and_amounts():
    text = _ITEMS.format("X in C, Y in C") + "X = 20; Y = 0; X -> ; 0.5*X; at time >= 4: X = 7; at time > 6: Y = 3; "
    data = _run(text + "at X <= 2: Y = Y + 10", members=200)
    np.testing.assert_array_equal(data["X"][:, 2], 7)  # at 4, after the event
    assert (data["Y"][:, 3] % 10 == 0).all()
    assert (data["Y"][:, 4] % 10 == 3).all()
    seen = (data["X"][:, 0].values == 20) & (data["X"].values[:, 1:] <= 2).any(axis=1)
    assert (data["Y"].values[seen].max(axis=1) >= 10).all()


def test_a_members_bits_depend_on_seed_and_number_alone():
    text = _ITEMS.format("X in C") + "X = 0; -> X; k; X -> ; 0.4*X; k = 3; at time > 5: X = 1"
    model = ReactionModel.read(text)
    run = {"engine": "stochastic", "seed": 7}
    whole = model.simulate(TIMES, members=23, threads=2, **run)["X"].values
    np.testing.assert_array_equal(model.simulate(TIMES, members=5, threads=1, **run)["X"], whole[:5])
    k = np.full(23, 3.0)
    k[11] = 90.0  # another member's parameters change nothing but that member
    other = model.simulate(TIMES, parameters={"k": k}, threads=1, **run)["X"].values
    assert np.flatnonzero((other != whole).any(axis=1)).tolist() == [11]
    assert (model.simulate(TIMES, members=23, engine="stochastic", seed=8)["X"] != whole).any()


def test_what_cannot_be_counted_is_refused():
    for text, feature in (
        ("X = 1; -> X; time", "rate that reads the time"),
        ("X = 1; -> X; 1; k = 1; k' = 1", "rate rule"),
        ("X = 1.5; X -> ; X", "amount that is not a whole number"),
        ("X = 1; -> 0.5 X; 1", "stoichiometry that is not a whole number"),
        ("X = 1; -> X; 1; at time > X: X = 0", "trigger that is not linear in time"),
    ):
        with pytest.raises(UnsupportedFeature, match=r"\w") as told:
            _run(_ITEMS.format("X in C") + text, members=1)
        assert feature in told.value.feature


def test_a_member_that_fails_is_told_and_the_others_go_on():
    text = _ITEMS.format("X in C") + "X = 5; -> X; k - X; k = 50"
    data = ReactionModel.read(text).simulate(
        [0.0, 1e3], engine="stochastic", parameters={"k": [50.0, 2.5]}, seed=1, quantity="amount"
    )
    assert data["status"].values.tolist() == [Status.FINE, Status.NEGATIVE_RATE]  # 50 stays at 50
    text = _ITEMS.format("X in C") + "X = 5; -> X; 100; X -> ; 20*X; at time > 1: X = h; h = 2"
    data = ReactionModel.read(text).simulate(
        [0.0, 2.0], engine="stochastic", parameters={"h": [2.0, 2.5]}, seed=1, quantity="amount"
    )
    assert data["status"].values.tolist() == [Status.FINE, Status.NOT_WHOLE]
    many = ReactionModel.read(text).simulate([0.0, 2.0], engine="stochastic", max_steps=1)
    assert many["status"].values.tolist() == [Status.TOO_MANY_STEPS]
