"""The variance split against models whose Sobol indices are known in closed form, and against analysis of variance."""

from __future__ import annotations

import numpy as np
import pytest

from scenarios import result
from scenarios.answer import judge
from scenarios.statement import statement
from scenarios.variance_split import FIRST_DRAW, RANKS, SHARES, Design, design_removed, split
from tests.judged_data import courses, scenario
from twin.errors import InputError
from twin.rates import standard_scores

KNOCKED = {"vehicle": 1.0, "knock-out": 0.2}
SOURCES = ("affinity", "kinetics", "cell-to-cell", "module")


def designed(*, rows: int = 128, epistemic: int = 40, cells: int = 50, extra: str = "") -> tuple[Design, object]:
    asked = scenario(extra=f"variance: {{rows: {rows}, epistemic: {epistemic}, cells: {cells}{extra}}}")
    data = courses(asked, {**KNOCKED, "drug Y 10": 0.2})
    design = Design.of(asked, result.joined(data, judge(asked, data)))
    assert design is not None
    return design, asked


def scores(design: Design, source: str, quantity: str = "z") -> np.ndarray:
    """Independent standard normal scores of each member from the draws of a source, as a cohort makes them."""
    return standard_scores(1, f"{source}: {quantity}", design.draws[source])


def uniform(design: Design, source: str) -> np.ndarray:
    from scipy.special import ndtr

    return ndtr(scores(design, source))


def test_design_mixes_one_source_at_a_time_and_crosses_truths_with_cells() -> None:
    design, asked = designed(rows=3, epistemic=2, cells=4)
    assert design.sources == SOURCES
    assert design.cell_sources == ("cell-to-cell",)
    assert design.members == 3 * (4 + 2) + 2 * 4 == len(design.draws["module"])
    a, b = FIRST_DRAW + np.arange(3), FIRST_DRAW + 3 + np.arange(3)
    for place, name in enumerate(SOURCES):
        blocks = design.draws[name][: design.blocks].reshape(6, 3)
        for row, block in enumerate(blocks):
            np.testing.assert_array_equal(block, b if row in (1, place + 2) else a)
    crossed = {name: numbers[design.blocks :].reshape(2, 4) for name, numbers in design.draws.items()}
    assert (crossed["module"] == crossed["module"][:, :1]).all()
    assert (crossed["cell-to-cell"] == crossed["cell-to-cell"][:1]).all()
    numbers = [
        set(a.tolist()),
        set(b.tolist()),
        set(crossed["module"].ravel().tolist()),
        set(crossed["cell-to-cell"].ravel().tolist()),
    ]
    assert len(set().union(*numbers)) == sum(map(len, numbers))
    assert FIRST_DRAW > 10_000_000  # the largest cohort
    arms = asked.arms()
    assert [arms[n].treatment for n in design.arms] == ["vehicle", "knock-out", "drug"]
    assert (arms[design.arms[2]].compound, arms[design.arms[2]].dose_uM) == ("Y", 0.01)


def test_indices_of_an_additive_model_are_its_variances() -> None:
    design, asked = designed(rows=2000, epistemic=2, cells=2)
    weights = {"affinity": 2.0, "kinetics": 0.0, "cell-to-cell": 1.0, "module": 0.5}
    s = sum(weight * scores(design, name) for name, weight in weights.items())
    found = split(asked, design, s)
    exact = np.array([weights[name] ** 2 for name in found["source"].values]) / 5.25
    # 2000 rows: a standard error of (f_B - f_AB)² / 2V is at most sqrt(2 / 2000) = 0.032; 4 of them
    np.testing.assert_allclose(found["first_order"], exact, atol=0.13)
    np.testing.assert_allclose(found["total_order"], exact, atol=0.13)
    assert found["total_order"].sel(source="kinetics") == 0.0
    assert found.attrs["variance_scale"] == SHARES
    assert found.attrs["variance_sd"] == pytest.approx(np.sqrt(5.25), rel=0.05)


def test_indices_of_the_g_function_with_groups() -> None:
    # Sobol's g-function, product of (|4x - 2| + a) / (1 + a): V_i = 1 / (3 (1 + a)²), V = prod (1 + V_i) - 1; the total
    # index of i is V_i prod over others (1 + V_j) / V (Saltelli et al. 2008, ch. 4). A group of two acts as one with
    # 1 + V_g = (1 + V_1)(1 + V_2).
    design, asked = designed(rows=2000, epistemic=2, cells=2)
    a = {"affinity": [0.0, 1.0], "kinetics": [4.5], "cell-to-cell": [9.0], "module": [99.0]}
    from scipy.special import ndtr

    value, parts = np.ones(design.members), {}
    for source, constants in a.items():
        for n, constant in enumerate(constants):
            x = ndtr(scores(design, source, f"x{n}"))
            value *= (np.abs(4 * x - 2) + constant) / (1 + constant)
        parts[source] = np.prod([1 + 1 / (3 * (1 + constant) ** 2) for constant in constants]) - 1
    variance = np.prod([1 + part for part in parts.values()]) - 1
    first = np.array([parts[name] for name in SOURCES]) / variance
    total = (
        np.array([parts[name] * np.prod([1 + parts[o] for o in SOURCES if o != name]) for name in SOURCES]) / variance
    )
    found = split(asked, design, value)
    np.testing.assert_allclose(found["first_order"], first, atol=0.13)
    np.testing.assert_allclose(found["total_order"], total, atol=0.13)
    for order, exact in (("first_order", first), ("total_order", total)):
        inside = (found[f"{order}_low"] <= exact) & (exact <= found[f"{order}_high"])
        assert int(inside.sum()) >= 3  # of four 95 % intervals


def test_interaction_shows_in_total_order_only() -> None:
    design, asked = designed(rows=2000, epistemic=2, cells=2)
    found = split(asked, design, scores(design, "affinity") * scores(design, "module"))
    np.testing.assert_allclose(found["first_order"], 0.0, atol=0.2)  # fourth moments of normals are large
    np.testing.assert_allclose(found["total_order"], [1.0, 0.0, 0.0, 1.0], atol=0.2)


def test_ranks_are_told_where_s_has_a_long_tail() -> None:
    design, asked = designed(rows=128)
    s = 1 - 0.001 * np.exp(2.5 * scores(design, "affinity") + 1.0 * scores(design, "module"))
    found = split(asked, design, s)
    assert found.attrs["variance_scale"] == RANKS
    width = (found["total_order_rank_high"] - found["total_order_rank_low"]).max()
    assert width < 0.5 < (found["total_order_high"] - found["total_order_low"]).max()
    # ranks do not see the exponential: shares near those of the additive exponent, 6.25 : 1
    np.testing.assert_allclose(found["total_order_rank"].sel(source="affinity"), 6.25 / 7.25, atol=0.2)


def test_crossed_design_tells_how_sure_from_how_many() -> None:
    design, asked = designed(rows=2, epistemic=200, cells=200)
    s = 1.0 + 0.2 * scores(design, "module") + 0.1 * scores(design, "cell-to-cell")
    found = split(asked, design, s)
    # variances 0.04 and 0.01 without interaction; a variance of 200 normals has a relative error of sqrt(2/200) = 0.1
    assert found.attrs["crossed_variance_unknown"] == pytest.approx(0.8, abs=0.06)
    assert found.attrs["crossed_variance_cells"] == pytest.approx(0.2, abs=0.06)
    assert found.attrs["crossed_variance_joint"] == pytest.approx(0.0, abs=1e-9)
    stretched = split(asked, design, np.exp(20 * s)).attrs
    assert stretched["crossed_variance_rank_unknown"] == pytest.approx(found.attrs["crossed_variance_rank_unknown"])
    # half of the cells respond (S >= 0.9) where 1 + 0.2 z >= 0.9, that is with the probability Phi(0.5) = 0.691
    low, met, high = (found.attrs[f"goal_met_probability{end}"] for end in ("_low", "", "_high"))
    assert met == pytest.approx(0.691, abs=0.13)  # 3 standard errors of 200 truths, and of the cells' median
    assert low < met < high
    np.testing.assert_allclose(found["crossed_fraction"], (found["crossed_removed"] >= 0.9).mean("cell"))


def test_probability_is_never_certain_however_the_truths_agree() -> None:
    design, asked = designed()
    found = split(asked, design, np.ones(design.members))
    assert found.attrs["goal_met_probability"] == 1.0
    assert found.attrs["goal_met_probability_low"] == pytest.approx(0.912, abs=1e-3)  # Wilson, 40 of 40
    assert np.isnan(found["total_order"]).all()  # nothing varies: there is nothing to split
    assert np.isnan(found.attrs["crossed_variance_unknown"])


def test_lost_members_leave_their_rows_out() -> None:
    design, asked = designed(rows=1000, epistemic=10, cells=10)
    s = scores(design, "affinity") + scores(design, "module")
    whole = split(asked, design, s)
    lost = s.copy()
    lost[::50] = np.nan
    found = split(asked, design, lost)
    assert found.attrs["variance_rows_lost"] == -(-design.blocks // 50)
    assert np.isfinite(found["total_order"]).all()
    np.testing.assert_allclose(found["total_order"], whole["total_order"], atol=0.03)
    assert np.isfinite(found["crossed_fraction"]).all()


def test_same_design_same_bits() -> None:
    design, asked = designed()
    s = scores(design, "affinity") + uniform(design, "cell-to-cell")
    one, other = split(asked, design, s), split(asked, design, s.copy())
    assert one.identical(other)
    assert not [name for name, variable in one.variables.items() if variable.dtype == object]


def test_a_scenario_says_what_differs_between_cells() -> None:
    design, _ = designed(extra=", between_cells: [module, cell-to-cell]")
    assert design.cell_sources == ("cell-to-cell", "module")
    with pytest.raises(
        InputError,
        match=r"judged.yaml:\d+: variance.between_cells: no source of uncertainty 'modul'; did you mean 'module'\?",
    ):
        designed(extra=", between_cells: [modul]")
    design, asked = designed(extra=", between_cells: []")
    assert design.cells == 1
    assert split(asked, design, np.ones(design.members)).sizes["cell"] == 1


def test_removed_comes_from_the_courses_of_the_design() -> None:
    design, asked = designed(rows=2, epistemic=2, cells=2)
    whole = courses(asked, {**KNOCKED, "drug Y 10": np.linspace(0.2, 1.0, design.members)}, members=design.members)
    chosen = whole.isel(arm=list(design.arms))
    np.testing.assert_allclose(design_removed(asked, design, chosen), np.linspace(1.0, 0.0, design.members), atol=1e-12)
    with pytest.raises(InputError, match="the design has 3 x 16"):
        design_removed(asked, design, chosen.isel(member=slice(5)))


def test_nothing_won_or_nothing_judged_means_no_design() -> None:
    asked = scenario()
    data = courses(asked, {"vehicle": 1.0, "knock-out": 1.0})
    assert Design.of(asked, result.joined(data, judge(asked, data))) is None
    unjudged = courses(asked, KNOCKED)
    assert Design.of(asked, unjudged) is None


def test_words_tell_sureness_and_sources() -> None:
    design, asked = designed()
    data = courses(asked, {**KNOCKED, "drug Y 10": 0.2})
    whole = result.joined(data, judge(asked, data))
    s = 0.95 + 0.1 * scores(design, "module") + 0.02 * scores(design, "cell-to-cell")
    whole = result.joined(whole, split(asked, design, s))
    said = statement(asked, whole).attrs
    assert "and the probability that at least 50 % of cells respond is " in said["answer"]
    assert "over all that is unknown." in said["answer"]
    assert "How sure, and how many: under 40 draws of what is unknown, with 50 cells each" in said["answer_details"]
    assert "Variance of S under the best treatment by source, total order: module " in said["answer_details"]
