"""Time courses against closed forms, against references of more than 12 digits, and against what reactions conserve.

The Brusselator's and the Oregonator's references were made for this test by Taylor series of degree 30 in 80-bit numbers,
each step as long as the last two terms being below 1e-18 of the sum allows; with 1e-19 the 17 digits given differ by one
in the last place at most. `taylor` below is that method in double precision, so that anyone can make them again: it must
agree to what double precision leaves. The Oregonator at 360 is also a reference of the test set for IVP solvers (Mazzia &
Magherini 2008, problem OREGO), to whose 16 digits ours are equal.

How far an adaptive method is off at rtol 1e-10: some hundred times rtol of the greatest value, times what the problem
amplifies; a relaxation oscillator amplifies along its course, which is why the Oregonator gets 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from mass_action import networks
from shared_data import shared

from simulators.reaction import ReactionModel
from simulators.reaction.steady_state import conserved

BRUSSELATOR = "x = 1.5; y = 3; A = 1; B = 3; x' = A + x^2*y - (B + 1)*x; y' = B*x - x^2*y"
BRUSSELATOR_AT = {
    1.0: (1.96873243686311350, 1.38722426580754803),
    5.0: (0.426847668407535307, 4.29484180586674775),
    10.0: (0.413558783001955894, 2.9890253794739729),
    20.0: (0.498637071268347849, 4.59678034945201118),
}

OREGONATOR = """a = 1; b = 2; c = 3; s = 77.27; q = 8.375e-6; w = 0.161
    a' = s*(b + a*(1 - q*a - b)); b' = (c - (1 + a)*b)/s; c' = w*(a - c)"""
OREGONATOR_AT = {
    10.0: (2.7332774277813564, 1.57592815958669884, 2.51050858961159242),
    30.0: (1.00066146718049672, 1512.77893734825048, 10358.5431276722729),
    100.0: (1.00244996617005442, 409.165130436742972, 1.13416611916404140),
    300.0: (1.77972475193702031, 2.28185238554240051, 1.61375402367172561),
    360.0: (1.00081487031852272, 1228.17852154988709, 132.055494284650116),
}

Step = Callable[[list[np.ndarray], int], list[float]]


def taylor(step: Step, start: tuple[float, ...], end: float, *, degree: int = 20) -> np.ndarray:
    """States at the end, by Taylor series: `step` gives coefficient k+1 of every state from those up to k."""
    t, state = 0.0, np.array(start)
    while t < end:
        series = [np.zeros(degree + 1) for _ in state]
        for row, value in zip(series, state, strict=True):
            row[0] = value
        for k in range(degree):
            for row, value in zip(series, step(series, k), strict=True):
                row[k + 1] = value / (k + 1)
        last = max(max(abs(row[degree - 1]), abs(row[degree])) / (abs(row[0]) + 1e-10) for row in series)
        h = min((1e-17 / last) ** (1 / degree), end - t)
        state = np.array([np.polynomial.polynomial.polyval(h, row) for row in series])
        t = end if end - t - h < 1e-12 else t + h
    return state


def times(a: np.ndarray, b: np.ndarray, k: int) -> float:
    """Coefficient k of the product of two series."""
    return float(a[: k + 1] @ b[k::-1])


def brusselator(series: list[np.ndarray], k: int) -> list[float]:
    x, y = series
    square = np.array([times(x, x, i) for i in range(k + 1)])
    xxy = times(square, y, k)
    return [(k == 0) + xxy - 4 * x[k], 3 * x[k] - xxy]


def oregonator(series: list[np.ndarray], k: int) -> list[float]:
    a, b, c = series
    ab = times(a, b, k)
    return [
        77.27 * (b[k] + a[k] - 8.375e-6 * times(a, a, k) - ab), (c[k] - b[k] - ab) / 77.27, 0.161 * (a[k] - c[k])
    ]  # fmt: skip


def test_the_references_can_be_made_again() -> None:
    for end in (1.0, 5.0, 20.0):
        np.testing.assert_allclose(taylor(brusselator, (1.5, 3.0), end), BRUSSELATOR_AT[end], rtol=1e-12)
    np.testing.assert_allclose(taylor(oregonator, (1.0, 2.0, 3.0), 10.0), OREGONATOR_AT[10.0], rtol=1e-12)


def ends(text: str, table: dict[float, tuple[float, ...]], names: str, **tolerances: float) -> tuple[np.ndarray, ...]:
    """Found and expected states at the reference's times."""
    data = ReactionModel.read(text).simulate([0.0, *table], **tolerances, threads=1)
    assert (data["status"] == 0).all()
    return np.stack([data[n].values[0, 1:] for n in names], axis=1), np.array(list(table.values()))


def test_brusselator() -> None:
    found, expected = ends(BRUSSELATOR, BRUSSELATOR_AT, "xy", rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_oregonator() -> None:
    found, expected = ends(OREGONATOR, OREGONATOR_AT, "abc", rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_error_falls_with_the_tolerance() -> None:
    """Ten times the accuracy asked for gives, over four decades, at least three."""
    worst = []
    for rtol in (1e-6, 1e-8, 1e-10):
        found, expected = ends(BRUSSELATOR, BRUSSELATOR_AT, "xy", rtol=rtol, atol=rtol * 1e-3)
        worst.append(np.abs(found / expected - 1).max())
    assert worst[0] < 1e-3
    assert worst[2] < 1e-3 * worst[0]


@pytest.mark.parametrize("engine", ["ensemble", "reference"])
def test_decay_by_two_steps(engine: str) -> None:
    """A → B → C: A = e^(-at), B = a (e^(-at) - e^(-bt)) / (b - a), C the rest; each member has its own a."""
    a, b, t = np.array([0.2, 1.0, 30.0])[:, None], 0.5, np.linspace(0.0, 8.0, 9)
    model = ReactionModel.read("A -> B; a*A; B -> C; b*B; A = 1; B = 0; C = 0; a = 1; b = 0.5")
    data = model.simulate(t, parameters={"a": a[:, 0]}, engine=engine, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(data["A"], np.exp(-a * t), atol=1e-8)
    np.testing.assert_allclose(data["B"], a * (np.exp(-a * t) - np.exp(-b * t)) / (b - a), atol=1e-8)
    np.testing.assert_allclose(data["A"] + data["B"] + data["C"], 1.0, rtol=1e-11)


@pytest.mark.parametrize("name", ["Lucarelli_CellSystems2018", "SalazarCavazos_MBoC2020", "Boehm_JProteomeRes2014"])
def test_what_reactions_conserve_stays(name: str) -> None:
    """Sums that no reaction changes are found from stoichiometry alone; a Rosenbrock method keeps linear ones to rounding."""
    model = ReactionModel.read(shared("models", name, f"model_{name}.xml"))
    network = model.network
    x, p = network.start({}, members=1, time=0.0)
    laws, _ = conserved(network, x, p, 0.0)
    assert len(laws)
    shown = list(network.state_names)
    away = {n: x[0, i] + [0.1, 1.0] for i, n in enumerate(shown)}  # at their own values some models stand still
    data = model.simulate(
        np.linspace(0.0, 20.0, 6), initial=away, select=shown, quantity="amount", rtol=1e-4, threads=1
    )
    course = np.stack([data[n].values for n in shown], axis=2)
    sizes = np.einsum("mts,ls->mtl", np.abs(course), np.abs(laws)).max(axis=1, keepdims=True)
    sums = np.einsum("mts,ls->mtl", course, laws)
    assert (np.abs(sums - sums[:, :1]) <= 1e-11 * sizes).all()
    assert (np.abs(course[:, -1] - course[:, 0]).max(axis=1) > 1e-3).all()  # something has moved


@settings(max_examples=10, deadline=None)
@given(networks())
def test_random_networks_keep_their_sums_at_any_tolerance(text: str) -> None:
    model = ReactionModel.read(text)
    x, p = model.network.start({}, members=1, time=0.0)
    laws, _ = conserved(model.network, x, p, 0.0)
    assert len(laws)  # at least the number of molecules
    data = model.simulate([0.0, 0.3, 4.0], rtol=1e-3, atol=1e-6, threads=1)
    course = np.stack([data[n].values[0] for n in model.network.state_names], axis=1)
    np.testing.assert_allclose(course @ laws.T, np.broadcast_to(x @ laws.T, (3, len(laws))), rtol=1e-11, atol=1e-11)
