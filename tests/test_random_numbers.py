"""Random numbers in models (SBML's distrib), and the suite's rules for random answers.

Tolerances: 4.5 standard errors, as in `test_stochastic.py`.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simulators.reaction import ReactionModel
from simulators.reaction.distributions import sample
from simulators.reaction.suite_case import SuiteCase
from simulators.reaction.suite_statistics import judged
from tests.shared_data import shared
from twin.errors import UnsupportedFeature
from twin.seeds import stream

_KNOWN = {
    ("normal", 1.0, 2.0): stats.norm(1, 2),
    ("normal", 0.0, 1.0, 0.5, 2.0): stats.truncnorm(0.5, 2),
    ("uniform", -1.0, 3.0): stats.uniform(-1, 4),
    ("bernoulli", 0.3): stats.bernoulli(0.3),
    ("binomial", 9.0, 0.3): stats.binom(9, 0.3),
    ("cauchy", 2.0): stats.cauchy(0, 2),
    ("cauchy", 1.0, 2.0): stats.cauchy(1, 2),
    ("chisquare", 3.0): stats.chi2(3),
    ("exponential", 4.0): stats.expon(scale=0.25),
    ("gamma", 2.0, 3.0): stats.gamma(2, scale=3),
    ("laplace", 2.0): stats.laplace(0, 2),
    ("laplace", 1.0, 2.0): stats.laplace(1, 2),
    ("lognormal", 0.5, 0.7): stats.lognorm(0.7, scale=np.exp(0.5)),
    ("poisson", 3.5): stats.poisson(3.5),
    ("rayleigh", 2.0): stats.rayleigh(scale=2),
}


@pytest.mark.parametrize("call", _KNOWN, ids=lambda call: f"{call[0]}{call[1:]}")
def test_each_distribution_is_the_one_of_its_name(call):
    generator = stream(3, *map(str, call))
    found = np.array([sample(generator, call[0], call[1:]) for _ in range(2000)])
    known = _KNOWN[call]
    # of discrete ones both sides of the steps are compared, at the points themselves
    points = np.unique(found) if known.dist.name in ("bernoulli", "binom", "poisson") else np.sort(found)
    share = np.searchsorted(np.sort(found), points, side="right") / len(found)
    assert np.abs(share - known.cdf(points)).max() < 2.4 / np.sqrt(len(found))  # Kolmogorov: 1 in 50 000


def test_what_makes_no_distribution_is_nan():
    for call in (("normal", 0.0, -1.0), ("exponential", 0.0), ("bernoulli", 2.0), ("uniform", 0.0, np.nan)):
        assert np.isnan(sample(stream(1), call[0], call[1:]))
    assert np.isnan(sample(stream(1), "normal", (0.0, 1.0, 90.0, 99.0)))  # nothing is drawn there in a million tries


def test_initial_assignments_draw_once_per_member():
    model = ReactionModel.read("a = normal(2, 0.5); b = a + 1; S1 = a; S1 -> ; 0*S1")
    data = model.simulate([0.0, 1.0], members=2000, seed=4, select=["a", "b", "S1"], threads=1)
    a = data["a"].values[:, 0]
    assert abs(a.mean() - 2) < 4.5 * 0.5 / np.sqrt(2000)
    assert abs(a.std() - 0.5) < 4.5 * 0.5 / np.sqrt(2 * 2000)
    np.testing.assert_array_equal(data["b"].values[:, 0], a + 1)
    np.testing.assert_array_equal(data["S1"].values[:, 1], a)
    few = model.simulate([0.0, 1.0], members=3, seed=4, select=["a"], threads=1)
    np.testing.assert_array_equal(few["a"].values[:, 0], a[:3])
    given = model.simulate([0.0, 1.0], parameters={"a": 7.0}, select=["b"])
    assert float(given["b"][0, 0]) == 8.0


def test_events_draw_anew_and_one_number_may_depend_on_another():
    text = "X = 0; m = 0; t = 0; t' = 1; at t >= 1: X = normal(uniform(10, 20), 1e-3), t = 0"
    data = ReactionModel.read(text).simulate(np.arange(0.5, 6.0), members=300, seed=2, select=["X"], threads=1)
    x = data["X"].values[:, 1:]
    assert stats.kstest(x.ravel(), stats.uniform(10, 10).cdf).pvalue > 1e-5
    assert (np.abs(np.diff(x, axis=1)) > 1e-9).all()
    again = ReactionModel.read(text).simulate(np.arange(0.5, 6.0), members=7, seed=2, select=["X"], threads=1)
    np.testing.assert_array_equal(again["X"].values[:, 1:], x[:7])


def test_a_delay_may_be_random():
    data = ReactionModel.read("X = 0; at 2 after time > 1: X = 1; at exponential(0.5) after time > 1: X = 2").simulate(
        np.arange(0.0, 12.0), members=400, seed=2, select=["X"], threads=1
    )
    late = (data["X"].values[:, 5:] == 2).any(axis=1) & (data["X"].values[:, 3] != 2)
    assert abs(late.mean() - np.exp(-1.0)) < 4.5 * np.sqrt(np.exp(-1.0) / 400)  # P(delay > 2)


def test_noise_in_time_is_refused():
    for text in ("X' = normal(0, 1); X = 0", "X := normal(0, 1);", "S1 -> ; normal(0, 1); S1 = 1"):
        with pytest.raises(UnsupportedFeature, match="draws random numbers at every moment"):
            ReactionModel.read(text)


@pytest.mark.parametrize("case", ["00001", "00019", "00025", "00028", "00032", "00037", "00040", "00049"])
def test_cases_of_the_stochastic_suite_pass(case):
    outcome = SuiteCase.read(shared("sbml", "stochastic", case)).run()
    assert outcome.result == "passes", outcome.reason


def test_a_wrong_mean_or_deviation_is_found():
    case = SuiteCase.read(shared("sbml", "stochastic", "00001"))
    model = ReactionModel.read(case.model)
    for column, factor in ((1, 1.02), (2, 1.15)):
        wrong = case.reference.copy()
        wrong[1:, column] *= factor
        assert judged(model, case.settings, case.header, wrong).worst > 1.0
