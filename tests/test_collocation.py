"""Columns of sensitivities by collocation: its order, its stability, and that it agrees with the derivative of Rodas5P."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.reaction import ReactionModel, sensitive_program
from simulators.reaction.collocation import INNER, INVERSE, NODES, POLYNOMIAL, SLOPE, START, A
from simulators.reaction.rodas5p_tableau import GAMMA

ROBERTSON = """
    A -> B; k1*A
    B + B -> B + C; k2*B^2
    B + C -> A + C; k3*B*C
    A = 1; B = 0; C = 0; k1 = 0.04; k2 = 3e7; k3 = 1e4
"""


def step(rate: complex, forcing: float, y: complex, h: float) -> np.ndarray:
    """Values at the nodes of dy/dt = rate × y + forcing, as the engine solves for them."""
    matrix = rate * np.eye(len(NODES)) - INVERSE / h
    return np.linalg.solve(matrix, -forcing - START * y / h)


def test_end_of_a_step_is_the_pade_approximant_of_the_exponential_with_degrees_3_and_4() -> None:
    """That of Radau IIA with four stages (Hairer & Wanner, IV.5); it vanishes at infinity."""
    for z in (-0.3, -2.0 + 1.0j, -40.0, 3.0j):
        above = 1 + 3 * z / 7 + z**2 / 14 + z**3 / 210
        below = 1 - 4 * z / 7 + z**2 / 7 - 2 * z**3 / 105 + z**4 / 840
        assert step(z, 0.0, 1.0, 1.0)[-1] == pytest.approx(above / below, rel=1e-12)
    assert abs(step(-1e9, 0.0, 1.0, 1.0)[-1]) < 1e-8


def test_error_falls_with_the_eighth_power_of_the_step_and_within_it_with_the_fifth() -> None:
    ends, inner = [], []
    for h in (0.4, 0.2):
        values = np.concatenate(([1.0], step(-1.0, 2.0, 1.0, h)))  # y = 2 - exp(-t)
        ends.append(abs(values[-1] - (2.0 - np.exp(-h))))
        shares = np.linspace(0.0, 1.0, 101)
        polynomial = (shares[:, None] ** np.arange(len(values))) @ POLYNOMIAL @ values
        inner.append(np.abs(polynomial - (2.0 - np.exp(-h * shares))).max())
    assert np.log2(ends[0] / ends[1]) == pytest.approx(8.0, abs=0.5)
    assert np.log2(inner[0] / inner[1]) == pytest.approx(5.0, abs=0.3)


def test_estimate_is_the_error_within_a_step() -> None:
    for h in (0.05, 0.1):
        values = np.concatenate(([1.0], step(-1.0, 2.0, 1.0, h)))
        estimate = INNER * abs((-1.0 + 2.0 - SLOPE @ values / h) / (1.0 / (h * GAMMA) + 1.0))
        shares = np.linspace(0.0, 1.0, 1001)
        polynomial = (shares[:, None] ** np.arange(len(values))) @ POLYNOMIAL @ values
        error = np.abs(polynomial - (2.0 - np.exp(-h * shares))).max()
        assert estimate == pytest.approx(error, rel=0.1)


def test_coefficients_integrate_polynomials_up_to_the_third_degree_to_every_node() -> None:
    for power in range(4):
        assert A @ NODES**power == pytest.approx(NODES ** (power + 1) / (power + 1), abs=1e-14)


def test_it_agrees_with_the_derivative_of_rodas5p_over_ten_decades_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = np.concatenate(([0.0], np.logspace(-5, 5, 11)))
    wrt = ["k1", "k2", "k3", "A", "B"]

    def found() -> tuple[np.ndarray, bool]:
        model = ReactionModel.read(ROBERTSON)
        data = model.sensitivities(times, wrt=wrt, rtol=1e-8, atol=1e-14, threads=1)
        courses = list(model._sensitive_courses.values())  # pyright: ignore[reportPrivateUsage]
        return np.stack([data[f"d {s}"].values[0] for s in "ABC"]), courses[0]._program.nodes.used

    collocated, used = found()
    monkeypatch.setattr(sensitive_program, "pays", lambda *_: False)
    derived, other = found()
    assert used
    assert not other
    greatest = np.abs(derived).max(axis=1, keepdims=True)
    assert (np.abs(collocated - derived) <= 2e-5 * greatest).all()
