"""From molecules to a cell's rates: unit round trips, detailed balance, the diffusion limit, and who shares which draw."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling.binding_rates import (
    KD_UNITS,
    KOFF_UNITS,
    KON_UNITS,
    AssayAffinity,
    CellShift,
    Efficiency,
    Encounter,
    cell_rates,
    rate_estimate,
)
from twin.errors import InputError, UnitError
from twin.rates import RateEstimate
from twin.units import factor

LN_10 = math.log(10)
# a product of a few correctly rounded operations: some units in the last place
FEW_ULP = 8 * np.finfo(float).eps

# the first conversion of a process reads the units' definitions, which takes longer than an example may by default
examples = settings(deadline=None, derandomize=True)

ic50 = st.floats(1e-3, 1e6)  # nM: from picomolar to millimolar
kon = st.floats(1e0, 1e11)  # 1/(M s)


def estimate(ligand: str = "A", **given_here: object) -> RateEstimate:
    encounter = given_here.pop("encounter", Encounter(1e9, 0.05))
    assert isinstance(encounter, Encounter)
    ready: dict[str, object] = {
        "affinity": AssayAffinity.measured(10.0),
        "encounter": encounter,
        "efficiency": Efficiency.of_series([encounter], median_kon_per_M_s=1e5, decades=1.0, source="test"),
    }
    return rate_estimate(ligand, **(ready | given_here))  # pyright: ignore[reportArgumentType]


def drawn(rates: RateEstimate, number: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    draws = np.arange(number)
    return rates.sample(seed, {"affinity": draws, "kinetics": draws})


# --- units ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "number"),
    [
        ("nM", "M", 1e-9),
        ("uM", "M", 1e-6),
        ("nM", "uM", 1e-3),
        ("1/(M s)", "1/(uM min)", 60e-6),
        ("1/(M s)", "1/(nM min)", 60e-9),
        ("1/s", "1/min", 60.0),
        ("1/min", "1/h", 60.0),
    ],
)
def test_conversions_are_the_numbers_of_the_field(source: str, target: str, number: float) -> None:
    assert factor(source, target) == pytest.approx(number, rel=FEW_ULP)


@examples
@given(
    value=st.floats(1e-12, 1e12),
    pair=st.sampled_from(
        [("nM", "M"), ("nM", "uM"), ("uM", "M"), ("1/(M s)", "1/(uM min)"), ("1/(nM min)", "1/(M s)"), ("1/min", "1/s")]
    ),
)
def test_there_and_back_is_where_one_was(value: float, pair: tuple[str, str]) -> None:
    there, back = factor(*pair), factor(*reversed(pair))
    assert value * there * back == pytest.approx(value, rel=FEW_ULP)


@examples
@given(ic50_nM=ic50)
def test_ic50_survives_the_logarithm(ic50_nM: float) -> None:
    affinity = AssayAffinity.measured(ic50_nM)
    # |ln| <= 28 magnifies the rounding of one ulp of the logarithm by as much
    assert math.exp(affinity.ln_IC50) * factor("M", "nM") == pytest.approx(ic50_nM, rel=64 * np.finfo(float).eps)


@examples
@given(
    kon_per_M_s=kon,
    kd_nM=ic50,
    units=st.sampled_from([("1/(uM min)", "1/min"), ("1/(nM s)", "1/s"), ("1/(M h)", "1/h"), ("1/(nM min)", "1/s")]),
)
def test_a_cell_s_rates_obey_detailed_balance_in_any_units(
    kon_per_M_s: float, kd_nM: float, units: tuple[str, str]
) -> None:
    kd_M = kd_nM * factor("nM", KD_UNITS)
    on, off = cell_rates(np.array([kon_per_M_s]), np.array([kd_M]), kon_units=units[0], koff_units=units[1])
    back_on = on * factor(units[0], KON_UNITS)
    back_off = off * factor(units[1], KOFF_UNITS)
    assert back_on[0] == pytest.approx(kon_per_M_s, rel=FEW_ULP)
    assert back_off[0] / back_on[0] == pytest.approx(kd_M, rel=FEW_ULP)


def test_a_known_compound_in_the_model_s_units() -> None:
    """kon 10⁵ 1/(M s) is 6 1/(µM min); with Kd 10 nM the complex leaves at 10⁻³ 1/s = 0.06 1/min, in 11.6 min by half."""
    on, off = cell_rates(np.array([1e5]), np.array([1e-8]), kon_units="1/(uM min)", koff_units="1/min")
    assert on[0] == pytest.approx(6.0, rel=FEW_ULP)
    assert off[0] == pytest.approx(0.06, rel=FEW_ULP)
    assert math.log(2) / off[0] == pytest.approx(11.552, abs=1e-3)


def test_units_of_another_dimension_are_refused() -> None:
    with pytest.raises(UnitError, match=r"koff.*1/s.*cannot become.*uM"):
        cell_rates(np.array([1e5]), np.array([1e-8]), kon_units="1/(uM min)", koff_units="uM")


# --- medians -------------------------------------------------------------------------------------------------------


@examples
@given(ic50_nM=ic50, shift=st.floats(-2, 2))
def test_kd_is_ic50_times_the_shift(ic50_nM: float, shift: float) -> None:
    rates = estimate(affinity=AssayAffinity.measured(ic50_nM), shift=CellShift(log10=shift))
    assert math.exp(rates.ln_Kd) / 1e-9 == pytest.approx(ic50_nM * 10**shift, rel=1e-12)


@examples
@given(k_D=st.floats(1e6, 1e11), median=st.floats(1e2, 1e6))
def test_a_single_compound_has_the_median_that_was_asked_for(k_D: float, median: float) -> None:
    met = Encounter(k_D)
    efficiency = Efficiency.of_series([met], median_kon_per_M_s=median, decades=1.0, source="test")
    assert math.exp(estimate(encounter=met, efficiency=efficiency).ln_kon) == pytest.approx(median, rel=1e-12)


def test_a_series_keeps_the_ratios_of_its_diffusion_limits_about_the_median() -> None:
    met = [Encounter(8e8), Encounter(1e9), Encounter(1.25e9)]  # geometric mean 1e9
    efficiency = Efficiency.of_series(met, median_kon_per_M_s=1e5, decades=1.0, source="test")
    kons = [math.exp(estimate(encounter=one, efficiency=efficiency).ln_kon) for one in met]
    assert kons == pytest.approx([8e4, 1e5, 1.25e5], rel=1e-12)


def test_member_zero_is_the_median() -> None:
    rates = estimate()
    ln_kon, ln_kd = drawn(rates, 1)
    assert (ln_kon[0], ln_kd[0]) == (rates.ln_kon, rates.ln_Kd)


# --- spread --------------------------------------------------------------------------------------------------------


def test_each_source_has_its_group_and_its_decades() -> None:
    rates = estimate(encounter=Encounter(1e9, 0.07))
    spread = {c.name: (c.group, c.d_ln_kon, c.d_ln_Kd, c.shared) for c in rates.components}
    assert spread == {
        "shift from assay to cell": ("affinity", 0.0, pytest.approx(0.4 * LN_10), True),
        "assay error": ("affinity", 0.0, pytest.approx(0.2 * LN_10), False),
        "statistical error of k_D": ("kinetics", 0.07, 0.0, False),
        "efficiency κ": ("kinetics", pytest.approx(LN_10), 0.0, False),
    }


def test_a_prediction_brings_its_own_spread_in_place_of_the_assay_error() -> None:
    rates = estimate(affinity=AssayAffinity.learned(math.log(1e-7), 1.5))
    assert rates.ln_Kd == pytest.approx(math.log(1e-7) + 0.8 * LN_10)
    assert rates.covariance[1, 1] == pytest.approx((0.4 * LN_10) ** 2 + 1.5**2)
    assert not any(component.name == "assay error" for component in rates.components)


def test_kappa_not_the_diffusion_limit_decides_kon() -> None:
    """A decade of κ beside 10 % of k_D: σ² = 5.3019 and 0.01, so κ holds 99.8 % of the variance of ln kon."""
    rates = estimate(encounter=Encounter(1e9, 0.1))
    shares = rates.variance_shares("ln_kon")
    assert shares["efficiency κ"] == pytest.approx(LN_10**2 / (LN_10**2 + 0.01))
    assert shares["efficiency κ"] > 0.998
    for quantity in ("ln_kon", "ln_Kd", "ln_koff"):
        assert math.fsum(rates.variance_shares(quantity).values()) == pytest.approx(1.0)
    assert rates.variance_shares("ln_Kd")["shift from assay to cell"] == pytest.approx(0.16 / 0.20)
    assert RateEstimate("A", ln_kon=1.0, ln_Kd=-1.0).variance_shares("ln_kon") == {}
    with pytest.raises(InputError, match="no variance of 'kon'"):
        rates.variance_shares("kon")  # pyright: ignore[reportArgumentType]


def test_draws_have_the_stated_moments() -> None:
    """4,000 draws: the standard error of a mean is σ/63, of a standard deviation σ/89; three of them are allowed."""
    rates = estimate()
    ln_kon, ln_kd = drawn(rates, 4000)
    sd_kon, sd_kd = math.hypot(LN_10, 0.05), math.hypot(0.4, 0.2) * LN_10
    assert ln_kon.mean() == pytest.approx(rates.ln_kon, abs=3 * sd_kon / 63)
    assert ln_kon.std() == pytest.approx(sd_kon, rel=3 / 89)
    assert ln_kd.mean() == pytest.approx(rates.ln_Kd, abs=3 * sd_kd / 63)
    assert ln_kd.std() == pytest.approx(sd_kd, rel=3 / 89)
    assert abs(np.corrcoef(ln_kon, ln_kd)[0, 1]) < 3 / 63  # affinity and kinetics are independent sources


def test_koff_follows_from_kon_and_kd_in_every_draw() -> None:
    rates = estimate()
    ln_kon, ln_kd = drawn(rates, 500)
    on, off = cell_rates(np.exp(ln_kon), np.exp(ln_kd), kon_units="1/(uM min)", koff_units="1/min")
    assert off / on == pytest.approx(np.exp(ln_kd) * 1e6, rel=1e-12)  # Kd in µM
    assert np.var(np.log(off)) == pytest.approx(
        np.var(ln_kon) + np.var(ln_kd) + 2 * np.cov(ln_kon, ln_kd, ddof=0)[0, 1], rel=1e-9
    )


@examples
@given(median=st.floats(1e7, 1e9), seed=st.integers(0, 50))
def test_no_draw_binds_more_often_than_it_meets(median: float, seed: int) -> None:
    met = Encounter(1e9, 0.1)
    efficiency = Efficiency.of_series([met], median_kon_per_M_s=median, decades=1.0, source="test")
    ln_kon, _ = drawn(estimate(encounter=met, efficiency=efficiency), 100, seed=seed)
    assert (ln_kon <= math.log(1e9)).all()


def test_the_shift_is_one_draw_for_all_compounds_and_errors_are_each_compound_s_own() -> None:
    exact = AssayAffinity.measured(10.0, error_log10=0.0)
    a, b = (drawn(estimate(name, affinity=exact), 50)[1] for name in "AB")
    assert (a == b).all()
    a, b = (drawn(estimate(name), 2000)[1] for name in "AB")
    # cov = 0.16 of 0.20 decades²: correlation 0.8, its standard error (1 - 0.64)/sqrt(2000) = 0.008
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(0.8, abs=0.025)
    a, b = (drawn(estimate(name), 2000)[0] for name in "AB")
    assert abs(np.corrcoef(a, b)[0, 1]) < 3 / math.sqrt(2000)


def test_compounds_of_one_simulation_share_its_error() -> None:
    met = Encounter(1e9, 0.3, run="charge +1, 0.55 nm")
    certain = Efficiency(math.log(1e-4), 0.0, "test")
    a, b = (drawn(estimate(name, encounter=met, efficiency=certain), 20)[0] for name in "AB")
    assert (a == b).all()
    assert np.ptp(a) > 0


# --- honesty and refusals --------------------------------------------------------------------------------------------


def test_the_estimate_says_what_it_rests_on() -> None:
    rates = estimate(conditions={"temperature": "310.15 K"})
    assert "no Cheng-Prusoff" in rates.provenance["Kd"]
    assert rates.provenance["κ"] == "test"
    assert rates.conditions == {"temperature": "310.15 K"}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: AssayAffinity.measured(0.0), "ic50_nM is 0.0.*above 0"),
        (lambda: AssayAffinity.measured(math.nan), "ic50_nM is nan"),
        (lambda: AssayAffinity.measured(1.0, error_log10=-0.2), "error_log10 is -0.2.*standard deviation"),
        (lambda: AssayAffinity.learned(math.inf, 1.0), "ln_IC50 is inf.*finite"),
        (lambda: CellShift(log10=math.nan), "cell shift: log10 is nan"),
        (lambda: Encounter(-1e9), "k_D_per_M_s is -1000000000.0.*units"),
        (lambda: Encounter(1e9, math.nan), "sigma_ln is nan"),
        (lambda: Efficiency(0.1, 1.0, "test"), "median 1.11 is above 1.*Lower the median"),
        (lambda: Efficiency.of_series([], median_kon_per_M_s=1e5, decades=1.0, source="test"), "no compound"),
        (
            lambda: Efficiency.of_series([Encounter(1e9)], median_kon_per_M_s=1e10, decades=1.0, source="test"),
            "median 10 is above 1",
        ),
    ],
)
def test_impossible_values_are_refused_with_the_cure(make: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()  # pyright: ignore[reportCallIssue]
