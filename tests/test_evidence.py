"""Evidence: the inputs that move an answer are found among those that do not, also where inputs are correlated or draws are few."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from scenarios import result
from scenarios.answer import judge
from scenarios.cohort import AFFINITY, KINETICS, Cohort, groups
from scenarios.evidence import ASSUMED, CITED, CONSTRAINED, WEAK, Quantity, evidence, quantities, spread_log10
from scenarios.influence import influence, telling_apart
from scenarios.statement import statement
from scenarios.uncertainty import Distribution
from tests.judged_data import courses, scenario
from twin.rates import RateComponent, RateEstimate

KNOCKED = {"vehicle": 1.0, "knock-out": 0.2}


def moved(inputs: np.ndarray, answer: np.ndarray, sources: list[str] | None = None):
    return influence(inputs, answer, sources=sources or ["one"] * len(inputs), seed=1, name="test")


def test_influence_of_independent_inputs_is_their_share_of_the_variance() -> None:
    x = np.random.default_rng(1).normal(size=(4, 4000))
    found = moved(x, 2 * x[0] + x[1] + 0.5 * x[2])
    # ranks of normals: Spearman² is (6/pi asin(rho/2))², slightly below rho²
    rho = np.array([2, 1, 0.5, 0]) / math.sqrt(5.25)
    np.testing.assert_allclose(found.share, (6 / math.pi * np.arcsin(rho / 2)) ** 2, atol=0.03)
    assert found.jointly
    assert found.explained == pytest.approx(found.share.sum())


def test_influence_sees_order_only_so_saturation_does_not_hide_it() -> None:
    x = np.random.default_rng(2).normal(size=(3, 400))
    y = x[0] + 0.3 * x[1]
    plain, saturated, endless = (
        moved(x, y),
        moved(x, 1 - np.exp(-np.exp(2 * y))),
        moved(x, np.where(y > 2, np.inf, y)),
    )
    np.testing.assert_allclose(plain.share, saturated.share, atol=0.02)
    assert endless.share[0] > 0.7


def test_few_that_matter_stand_out_of_many_that_do_not() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 450))
    y = x[7] + 0.6 * x[31] + 0.3 * rng.normal(size=450)
    found = moved(x, y)
    assert np.flatnonzero(found.share > found.floor).tolist() == [7, 31]
    noise = np.delete(found.share, [7, 31])
    assert abs(noise.mean()) < 0.002
    # 1 / 1.45 and 0.36 / 1.45 of the variance
    np.testing.assert_allclose(found.share[[7, 31]], [0.69, 0.25], atol=0.06)


def test_noise_stays_under_its_floor() -> None:
    rng = np.random.default_rng(4)
    over = 0
    for trial in range(40):
        found = influence(
            rng.normal(size=(30, 200)), rng.normal(size=200), sources=["one"] * 30, seed=trial, name="noise"
        )
        over += bool((found.share > found.floor).any())
    assert over <= 6  # 5 % of 40 are expected; more than 6 has a probability below 1 %


def test_correlated_inputs_share_what_they_explain() -> None:
    rng = np.random.default_rng(5)
    common = rng.normal(size=2000)
    x = np.stack([common + 0.1 * rng.normal(size=2000), common + 0.1 * rng.normal(size=2000), rng.normal(size=2000)])
    found = moved(x, common + x[2])
    # squared correlations would give each twin the half that both explain, 1.5 in all
    np.testing.assert_allclose(found.share, [0.25, 0.25, 0.5], atol=0.05)


def test_inputs_of_few_shared_draws_are_not_blamed() -> None:
    blamed, own, together = 0, 0, []
    draws = np.tile(np.arange(12), 25)  # 12 draws of 40 inputs, each carried by 25 cells
    for trial in range(20):
        rng = np.random.default_rng(trial)
        table, other, effect = rng.normal(size=(40, 12)), rng.normal(size=(1, 300)), rng.normal(size=12)
        x, y = np.concatenate((table[:, draws], other)), effect[draws] + other[0]
        found = influence(x, y, sources=["fit"] * 40 + ["own"], seed=trial, name="test")
        blamed += bool((found.share[:40] > found.floor[:40]).any())
        own += bool(found.share[40] > found.floor[40])
        together.append(found.share[:40].sum() - effect.var() / (effect.var() + 1))
    assert blamed <= 4  # 5 % of 20 is expected; more than 4 has a probability of 0.3 %
    assert own == 20
    # together they hold what their draws hold, though none of them is told apart
    assert abs(np.mean(together)) < 0.03


def test_too_few_cells_say_nothing() -> None:
    found = moved(np.zeros((2, 5)), np.arange(5.0))
    assert np.isnan(found.share).all()
    assert np.isnan(moved(np.random.default_rng(0).normal(size=(2, 50)), np.ones(50)).share).all()
    alone = moved(np.random.default_rng(7).normal(size=(40, 50)), np.arange(50.0))
    assert not alone.jointly  # 40 inputs and 50 cells: each is taken alone
    assert np.isfinite(alone.share).all()


def test_telling_apart_is_the_chance_of_mann_and_whitney() -> None:
    values = np.array([[1.0, 2, 3, 4], [4, 3, 2, 1], [1, 1, 1, 1], [1, 3, 2, 4]])
    chosen = np.array([False, False, True, True])
    chance, p = telling_apart(values, chosen, sources=["one"] * 4, seed=1, name="t")
    np.testing.assert_allclose(chance, [1.0, 0.0, 0.5, 0.75])
    assert (p > 0.05).all()  # 4 cells prove nothing
    rng = np.random.default_rng(8)
    x = rng.normal(size=(20, 400))
    chance, p = telling_apart(
        x, x[3] + 0.5 * rng.normal(size=400) > 1.5, sources=["a"] * 10 + ["b"] * 10, seed=1, name="t"
    )
    assert np.flatnonzero(p < 0.05).tolist() == [3]
    assert chance[3] > 0.9
    assert np.isnan(telling_apart(x, np.zeros(400, bool), sources=["a"] * 20, seed=1, name="t")[0]).all()


@pytest.mark.parametrize(
    ("points", "before", "after", "cited", "verdict"),
    [
        (0, 1.0, 1.0, False, ASSUMED),
        (12, 1.0, 0.4, False, CONSTRAINED),
        (12, 1.0, 0.5, False, CONSTRAINED),
        (12, 1.0, 0.8, False, WEAK),
        (12, 1.0, 0.99, False, ASSUMED),  # points bear on it and say nothing
        (math.nan, 0.3, 0.3, True, CITED),
        (3, math.nan, 0.3, False, ASSUMED),
    ],
)
def test_verdicts(points: float, before: float, after: float, cited: bool, verdict: str) -> None:
    assert Quantity("k", "fit", np.zeros(1), points, before, after, "", cited).verdict == verdict


def test_width_of_a_distribution_in_decades() -> None:
    of = lambda **kind: spread_log10(Distribution.model_validate(kind), "")  # noqa: E731
    assert of(lognormal={"decades": 0.4}) == pytest.approx(0.4)
    assert of(loguniform=[0.1, 10]) == pytest.approx(2 / math.sqrt(12), rel=1e-5)
    # uniform 0…1 is not positive at its end only: -log10 of it is exponential with the mean 1 / ln 10, its SD
    assert of(uniform=[0, 1]) == pytest.approx(1 / math.log(10), rel=0.01)
    assert math.isnan(of(uniform=[-1, 1]))
    assert math.isnan(of(normal={"sd": 0.1}))


def estimate(name: str, nM: float) -> RateEstimate:
    return RateEstimate(
        name,
        math.log(1e5),
        math.log(nM * 1e-9),
        (
            RateComponent("shift", AFFINITY, d_ln_Kd=1.0, shared=True),
            RateComponent("assay error", AFFINITY, d_ln_Kd=0.2 * math.log(10)),
            RateComponent("efficiency κ", KINETICS, d_ln_kon=2.3),
        ),
        provenance={"IC50": "measured IC50", "Kd": "assumed shift", "κ": "assumed κ"},
    )


def judged(members: int):
    """A drug that works by its affinity: S = dose / (dose + Kd), Kd scattered by a shift that nobody measured."""
    asked = scenario(members=members)
    estimates = {name: estimate(name, nM) for name, nM in (("X", 1.0), ("Y", 10.0), ("Z", 100.0))}
    numbers = np.arange(members, dtype=np.int64)
    cohort = Cohort(
        asked, {"A": {"k": 1.0, "S": 1.0, "T": 1.0}, "B": {"k": 2.0}}, estimates, dict.fromkeys(groups(asked), numbers)
    )
    levels: dict[str, object] = dict(KNOCKED)
    for name in estimates:
        kd = cohort.rates(name)[1] * 1e9
        for dose in (1, 10, 100):
            levels[f"drug {name} {dose}"] = 1 - 0.8 * dose / (dose + kd)
    data = courses(asked, levels)
    return asked, cohort, result.joined(data, judge(asked, data))


def test_evidence_finds_what_the_answer_rests_on_and_the_first_sentence_says_so() -> None:
    asked, cohort, found = judged(200)
    rests = evidence(asked, found, cohort)
    names = rests["parameter"].values.tolist()
    assert names == ["shift", "assay error of X", "efficiency κ of X", "k", "S", "T"]
    # ln Kd = shift (1²) + assay error (0.46²): 0.825 and 0.175 of its variance
    shares = dict(zip(names, rests["evidence_influence"].values, strict=True))
    assert shares["shift"] == pytest.approx(0.82, abs=0.1)
    assert shares["assay error of X"] == pytest.approx(0.18, abs=0.1)
    assert max(shares[name] for name in names[2:]) < 0.05
    verdicts = dict(zip(names, rests["evidence_verdict"].values, strict=True))
    assert verdicts == {
        "shift": ASSUMED,
        "assay error of X": CONSTRAINED,
        "efficiency κ of X": ASSUMED,
        "k": ASSUMED,
        "S": ASSUMED,
        "T": CITED,
    }
    # one measured IC50 narrows a series that spreads over a decade to the assay's error
    assert rests["evidence_points"].values.tolist()[:3] == [0, 1, 0]
    assert rests["evidence_prior_sd_log10"].values[1] == pytest.approx(1.0)
    assert rests["evidence_posterior_sd_log10"].values[1] == pytest.approx(0.2)
    # cells that escape have a high Kd
    assert rests["evidence_escape"].values[0] > 0.8
    assert rests["evidence_escape_p"].values[0] < 0.05 < rests["evidence_escape_p"].values[3]
    said = statement(asked, result.joined(found, rests)).attrs
    assert said["answer"].startswith("Resting on what no data constrain (shift), the best treatment is X at 100 nM")
    details = json.loads(said["answer_details"])
    assert (
        "Of 6 uncertain quantities behind the best treatment 4 are assumed, 1 are constrained and 1 are cited."
        not in details
    )
    assert any("escape. Against those that respond they have high shift" in text for text in details)


def test_more_cells_sharpen_the_evidence_and_the_same_cells_give_the_same_bits() -> None:
    asked, cohort, found = judged(60)
    numbers = 10_000 + np.arange(400, dtype=np.int64)
    draws = dict.fromkeys(groups(asked), numbers)
    kd = cohort.with_draws(draws).rates("X")[1] * 1e9
    few, many = evidence(asked, found, cohort), evidence(asked, found, cohort, more=(draws, 100 / (100 + kd)))
    assert many.attrs["evidence_cells"] == few.attrs["evidence_cells"] + 400
    assert many["evidence_influence_floor"].values[0] < few["evidence_influence_floor"].values[0]
    assert many.identical(evidence(asked, found, cohort, more=(draws, 100 / (100 + kd))))
    assert not [name for name, variable in many.variables.items() if variable.dtype == object]


def test_a_name_drawn_by_two_sources_is_told_twice() -> None:
    text = ("S: {{loguniform: [0.1, 10], source: assumed here}}", "k: {{lognormal: {{cv: 0.2}}, source: assumed}}")
    asked = scenario(replace=tuple(part.replace("{{", "{").replace("}}", "}") for part in text))  # pyright: ignore[reportArgumentType]
    draws = dict.fromkeys(groups(asked), np.arange(5, dtype=np.int64))
    assert [q.name for q in quantities(asked, None, draws)] == ["k (cell-to-cell)", "k (module)", "T"]


def test_nothing_ranked_means_no_evidence() -> None:
    asked, cohort, _ = judged(10)
    data = courses(asked, {"vehicle": 1.0, "knock-out": 1.0})
    assert not evidence(asked, result.joined(data, judge(asked, data)), cohort).variables
