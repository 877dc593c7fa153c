"""The methods of the ensemble engine: their formulas, their answers beside closed forms and each other, their bits, who gets which."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from scenarios.commands import method_race
from simulators.reaction import ReactionModel, rodas5p
from simulators.reaction.bdf_coefficients import HIGHER, HIGHEST, LOWER, SAME, set_coefficients
from simulators.reaction.lanes import LANES
from simulators.reaction.method import iterations_per_step, stiffness
from tests.shared_data import shared
from twin.errors import InputError, UnsupportedFeature

OSCILLATOR = """
    A -> B; k*A; B -> A; k*B; A = 1; B = 0; k = 2
    X -> ; w*Y; -> Y; w*X; X = 1; Y = 0; w = 3
"""
ROBERTSON = "x' = -0.04*x + 1e4*y*z; y' = 0.04*x - 1e4*y*z - 3e7*y^2; z' = 3e7*y^2; x = 1; y = 0; z = 0"
DOSES = """
    S1 -> S2; k*S1; S2 -> ; 5*S2; S1 = 1; S2 = 0; k = 50
    at (time >= 1): S1 = S1 + 1
    at (time >= 2.5): S1 = S1 + 2
    at (S2 > 0.02): high = high + 1
    high = 0
    S3 -> ; piecewise(1, S2 > 0.01, 0.1)*S3; S3 = 1
"""


@pytest.mark.parametrize("q", range(1, HIGHEST + 1))
def test_coefficients_of_even_steps_are_the_classical_ones(q):
    """Λ(x) = Π (1 + x/j), and the error constant 1/(q+1) of the backward difference over l_1 = Σ 1/j."""
    shape, tests, tau = np.zeros((6, LANES)), np.zeros((6, LANES)), np.full((7, LANES), 0.25)
    set_coefficients(q, 0.25, True, tau, shape, tests, 3)
    expected = [Fraction(1)]
    for j in range(1, q + 1):
        expected = [a + b / j for a, b in zip([*expected, Fraction(0)], [Fraction(0), *expected], strict=True)]
    np.testing.assert_allclose(shape[: q + 1, 3], [float(value) for value in expected], rtol=1e-14)
    harmonic = sum(Fraction(1, j) for j in range(1, q + 1))
    assert tests[SAME, 3] == pytest.approx(float(1 / ((q + 1) * harmonic)), rel=1e-13)
    assert tests[LOWER, 3] > 0.0
    assert tests[HIGHER, 3] > 0.0


@pytest.mark.parametrize("method", ["bdf", "dormand_prince", "rodas5p"])
def test_closed_forms(method):
    model = ReactionModel.read(OSCILLATOR)
    t = np.linspace(0.0, 20.0, 101)
    errors = []
    for rtol in (1e-5, 1e-7, 1e-9):
        data = model.simulate(t, rtol=rtol, atol=1e-3 * rtol, method=method)
        assert data.attrs["method"] == method
        a = np.abs(data["A"].values[0] - (0.5 + 0.5 * np.exp(-4.0 * t))).max()
        x = np.abs(data["X"].values[0] - np.cos(3.0 * t)).max()
        errors.append(max(a, x))
    assert errors[0] < 1e-3
    assert errors[1] < 5e-2 * errors[0]
    assert errors[2] < 5e-2 * errors[1]


def test_robertson():
    """Reference values of Hairer & Wanner, Solving Ordinary Differential Equations II, to 10 digits, at t = 40 and 4·10^7."""
    data = ReactionModel.read(ROBERTSON).simulate([0.0, 40.0, 4e7], rtol=1e-9, atol=1e-16, method="bdf")
    found = np.array([data[name].values[0, 1:] for name in "xyz"])
    assert found[0, 0] == pytest.approx(0.7158270688, rel=1e-8)
    assert found[1, 0] == pytest.approx(9.185534765e-6, rel=1e-8)
    assert found.sum(axis=0) == pytest.approx([1.0, 1.0], abs=1e-12)
    assert found[0, 1] == pytest.approx(ReactionModel.read(ROBERTSON).simulate(
        [0.0, 40.0, 4e7], rtol=1e-11, atol=1e-18, method="rodas5p")["x"].values[0, 2], rel=1e-6)  # fmt: skip


@pytest.mark.parametrize("method", ["bdf", "dormand_prince"])
def test_events_and_switches_as_with_rodas5p(method):
    model = ReactionModel.read(DOSES)
    k = np.random.default_rng(0).uniform(20.0, 80.0, 40)
    t = np.linspace(0.0, 4.0, 41)
    runs = {
        method: model.simulate(t, parameters={"k": k}, rtol=1e-9, atol=1e-13, method=method)
        for method in (method, "rodas5p")
    }
    assert (runs[method]["high"].values[:, -1] == 3.0).all()
    for name in ("S1", "S2", "S3", "high"):
        np.testing.assert_allclose(runs[method][name], runs["rodas5p"][name], atol=3e-7)


@pytest.mark.parametrize("method", ["bdf", "dormand_prince"])
def test_bits_do_not_depend_on_neighbours_threads_or_blocks(method):
    """Lanes wait for company before factors are made, others' factors are put back, slopes are kept for the next step, and the
    stiff are handed over: none of it may be seen."""
    model = ReactionModel.read(ROBERTSON.replace("0.04", "k") + "; k = 0.04")
    k = 0.04 * np.exp(np.random.default_rng(1).normal(0.0, 1.0, 53))
    t = np.geomspace(1e-3, 1e5, 30)

    def run(values, threads=1):
        return model.simulate(t, parameters={"k": values}, rtol=1e-8, atol=1e-14, method=method, threads=threads)

    whole = run(k)
    for name in "xyz":
        np.testing.assert_array_equal(run(k, threads=2)[name], whole[name])
        np.testing.assert_array_equal(run(k[::-1])[name], whole[name][::-1])
        np.testing.assert_array_equal(run(k[20:37])[name], whole[name][20:37])
        np.testing.assert_array_equal(run(k[5:6])[name], whole[name][5:6])


@pytest.mark.parametrize("method", ["bdf", "dormand_prince"])
def test_a_member_that_blows_up_leaves_the_others_alone(method):
    model = ReactionModel.read("x' = a*x^2 - x; x = 1; a = 0.5")
    t = np.linspace(0.0, 3.0, 16)
    a = np.array([0.5, 4.0, 0.25])
    data = model.simulate(t, parameters={"a": a}, rtol=1e-8, method=method)
    assert data["status"].values[0] == data["status"].values[2] == 0
    assert data["status"].values[1] != 0
    assert np.isnan(data["x"].values[1, -1])
    exact = 1.0 / (a[:, None] + (1.0 - a[:, None]) * np.exp(t))
    np.testing.assert_allclose(data["x"].values[[0, 2]], exact[[0, 2]], rtol=1e-6)
    alone = model.simulate(t, parameters={"a": a[:1]}, rtol=1e-8, method=method)
    np.testing.assert_array_equal(alone["x"].values[0], data["x"].values[0])


def test_most_steps_and_not_a_number():
    model = ReactionModel.read(ROBERTSON)
    few = model.simulate([0.0, 1e5], max_steps=20, method="bdf")
    assert "too many" in _why(few)
    odd = ReactionModel.read("x' = ln(x - 2); x = 1").simulate([0.0, 1.0], method="bdf")
    assert odd["status"].values[0] != 0
    assert np.isnan(odd["x"].values[0, -1])


def test_who_cannot_go_on_at_order_one_is_handed_over(monkeypatch):
    """A transient of 1e-19 s at t = 1000 s lies below the machine's resolution of the time: the one-step method leaps over it."""
    model = ReactionModel.read("x' = -1e19*(x - y); y' = -0.001*y; x = 1; y = 1; at (time >= 1000): x = x + 1")
    handed = _handed_over(monkeypatch)
    data = model.simulate([0.0, 500.0, 2000.0], rtol=1e-8, atol=1e-12, method="bdf")
    assert handed == [0]
    assert data["status"].values[0] == 0
    np.testing.assert_allclose(data["x"].values[0], np.exp([0.0, -0.5, -2.0]), rtol=1e-6)


def test_stiff_members_of_a_model_that_is_not_are_handed_over(monkeypatch):
    """Van der Pol's oscillator at its own µ = 1 is not stiff; members of µ = 10,000 are."""
    model = ReactionModel.read("x' = y; y' = mu*((1 - x^2)*y) - x; x = 2; y = 0; mu = 1")
    handed = _handed_over(monkeypatch)
    t = np.linspace(0.0, 20.0, 21)
    mu = np.array([1.0, 1e4, 0.5, 1e4])
    data = model.simulate(t, parameters={"mu": mu}, rtol=1e-7, atol=1e-10, threads=1)
    assert data.attrs["method"] == "dormand_prince"
    assert handed == [1, 3]
    assert (data["status"] == 0).all()
    stiff = model.simulate(t, parameters={"mu": mu}, rtol=1e-11, atol=1e-14, method="rodas5p")
    np.testing.assert_allclose(data["x"], stiff["x"], atol=2e-5)


def test_members_that_become_stiff_below_the_bound_of_stability_are_handed_over(monkeypatch):
    """Robertson's problem is not stiff at its own start, y = 0; then steps are a little narrower than stability would have them,
    thousands one after the other. Of 1,000 steps, so many would be too many."""
    model, handed = ReactionModel.read(ROBERTSON), _handed_over(monkeypatch)
    data = model.simulate([0.0, 40.0], rtol=1e-7, atol=1e-12, max_steps=1000)
    assert data.attrs["method"] == "dormand_prince"
    assert handed == [0]
    assert data["x"].values[0, 1] == pytest.approx(0.7158270688, rel=1e-6)


def test_members_whose_steps_become_too_narrow_are_handed_over(monkeypatch):
    """A rate of 1e20: its first explicit step would have to be narrower than the time's resolution in 1e10."""
    model = ReactionModel.read("A -> B; 1e-20*A; B -> C; 1e20*B; A = 1e20; B = 0; C = 1e-20")
    handed = _handed_over(monkeypatch)
    data = model.simulate([0.0, 1.0, 1e10], rtol=1e-8, atol=1e-30, method="dormand_prince")
    assert handed == [0]
    assert data["status"].values[0] == 0
    np.testing.assert_allclose(data["C"].values[0], [1e-20, 1.0, 1e10], rtol=1e-6)


def test_the_method_is_chosen_by_stiffness_cost_and_tolerance():
    large = ReactionModel.read(shared("models", "SalazarCavazos_MBoC2020", "model_SalazarCavazos_MBoC2020.xml"))
    small, smooth = ReactionModel.read(ROBERTSON.replace("y = 0", "y = 1e-4")), ReactionModel.read(OSCILLATOR)

    def method(model, rtol, **more):
        return model.simulate([0.0, 1e-6], rtol=rtol, **more).attrs["method"]

    assert [method(large, rtol) for rtol in (1e-3, 1e-6, 1e-7, 1e-9)] == ["rodas5p", "rodas5p", "bdf", "bdf"]
    assert [method(small, rtol) for rtol in (1e-3, 1e-6)] == ["rodas5p", "rodas5p"]
    assert [method(smooth, rtol) for rtol in (1e-3, 1e-9)] == ["dormand_prince", "dormand_prince"]
    assert method(large, 1e-9, method="rodas5p") == "rodas5p"
    assert iterations_per_step(1e-4) > iterations_per_step(1e-8) > 1.0


def test_stiffness():
    """Of the network of a flow through compartments at rates 1 and 50 that keeps a sum: 50, its eigenvalue 0 left out."""
    assert stiffness(np.array([[-1.0, 0.0, 0.0], [1.0, -50.0, 0.0], [0.0, 50.0, 0.0]])) == pytest.approx(50.0)
    assert stiffness(np.diag([-1e12, -1.0])) == pytest.approx(1e12)
    assert stiffness(np.zeros((2, 2))) == np.inf
    assert stiffness(np.full((2, 2), np.nan)) == np.inf
    assert stiffness(np.zeros((0, 0))) == np.inf


def test_what_bdf_cannot_do_is_refused():
    algebraic = ReactionModel.read(
        """<sbml xmlns="http://www.sbml.org/sbml/level3/version1/core" level="3" version="1"><model>
        <listOfParameters><parameter id="x" value="1" constant="false"/><parameter id="y" value="1" constant="false"/>
        </listOfParameters><listOfRules>
        <rateRule variable="x"><math xmlns="http://www.w3.org/1998/Math/MathML"><apply><minus/><ci>x</ci></apply></math></rateRule>
        <algebraicRule><math xmlns="http://www.w3.org/1998/Math/MathML"><apply><minus/><ci>x</ci><apply><plus/><ci>y</ci>
        <apply><power/><ci>y</ci><cn>3</cn></apply></apply></apply></math></algebraicRule></listOfRules></model></sbml>"""
    )
    with pytest.raises(UnsupportedFeature, match=r"(?s)bdf.*rodas5p"):
        algebraic.simulate([0.0, 1.0], method="bdf")
    assert algebraic.simulate([0.0, 1.0], rtol=1e-10, atol=1e-14).attrs["method"] == "rodas5p"
    model = ReactionModel.read(OSCILLATOR)
    with pytest.raises(InputError, match=r"method='gear'.*auto, dormand_prince, rodas5p, bdf"):
        model.simulate([0.0, 1.0], method="gear")
    with pytest.raises(InputError, match=r"method='bdf'.*engine reference has its own"):
        model.simulate([0.0, 1.0], method="bdf", engine="reference")


def _handed_over(monkeypatch):
    """The rows that rodas5p gets."""
    handed = []
    integrate = rodas5p.integrate

    def watched(layout, program, members, chosen, *rest):
        handed.extend(chosen.tolist())
        integrate(layout, program, members, chosen, *rest)

    monkeypatch.setattr(rodas5p, "integrate", watched)
    return handed


def _why(data):
    status = data["status"]
    meanings = dict(zip(status.attrs["flag_values"], status.attrs["flag_meanings"].split(), strict=True))
    return meanings[int(status.values[0])].replace("_", " ")


def test_methods_are_measured_side_by_side(tmp_path):
    model = tmp_path / "model.ant"
    model.write_text(OSCILLATOR)
    said = []
    laps = method_race.compare([model], 20, [1e-6], said.append)
    assert [lap["method"] for lap in laps if lap["chosen"]] == ["dormand_prince"]
    assert len(said) == len(laps) == 3
    assert all(lap["ms"] > 0.0 and lap["failed"] == 0 and 0.0 < lap["error"] < 1e-3 for lap in laps)
