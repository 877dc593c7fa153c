"""The first twin as a whole: landmarks in member 0, arms, compounds, answer and evidence in the result of a small run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray
from numpy.testing import assert_allclose, assert_array_equal
from same_result import opened


@pytest.fixture(scope="module")
def found(gastric: Path) -> xarray.Dataset:
    return opened(gastric)


def course(found: xarray.Dataset, line: str, treatment: str, readout: str, *, time: float) -> float:
    """Of the unperturbed cell."""
    arm = np.flatnonzero((found["cell_line"].values == line) & (found["treatment"].values == treatment))
    assert len(arm) == 1
    return float(found[readout].isel(arm=int(arm[0])).sel(member=0, time=time))


@pytest.mark.parametrize(
    ("line", "treatment", "readout", "time", "value"),
    [
        ("MKN1", "EGF", "pMAPK", 5, 0.711),
        ("MKN1", "EGF + cetuximab", "pMAPK", 5, 0.236),
        ("Hs746T", "EGF", "pAKT", 240, 0.425),
        ("Hs746T", "EGF + cetuximab", "pAKT", 240, 0.568),
    ],
)
def test_landmarks_to_three_digits(
    line: str, treatment: str, readout: str, time: float, value: float, found: xarray.Dataset
) -> None:
    """Published equations without inhibitor, in full medium, cetuximab from 180 min before EGF."""
    assert course(found, line, treatment, readout, time=time) == pytest.approx(value, abs=5e-4)


def test_the_module_at_saturation_reaches_the_knock_out(found: xarray.Dataset) -> None:
    """Within 1 % of the span from vehicle to knock-out, for the tightest binder at 30 µM."""
    for readout, value in (("pAKT", 0.007), ("pMAPK", 0.232)):
        vehicle, out = (
            course(found, "Hs746T", f"EGF + cetuximab{more}", readout, time=240) for more in ("", " + MET knock-out")
        )
        high = (found["treatment"] == "EGF + cetuximab + inhibitor") & (found["dose_uM"] == 30)
        high &= found["cell_line"] == "Hs746T"
        drugged = found[readout].sel(member=0, time=240).values[high.values]
        best = float(drugged[np.argmin(np.abs(drugged - out))])
        assert best == pytest.approx(value, abs=1e-3)
        assert abs(best - out) < 0.01 * abs(vehicle - out)


def test_arms_are_those_of_the_question(found: xarray.Dataset) -> None:
    hs = found["cell_line"] == "Hs746T"
    inhibited = found["treatment"] == "EGF + cetuximab + inhibitor"
    assert int((hs & inhibited).sum()) == 18 * 3
    assert int((hs & (found["role"] == "washout")).sum()) == 18
    assert int((~hs & inhibited).sum()) == 1
    assert "no target by construction" in str(found["arm"].values[(~hs & inhibited).values][0])
    assert {str(t) for t in found["treatment"].values[(found["protocol"] == "measured").values]} == {
        "EGF (measured protocol)",
        "EGF + cetuximab 1 ug/ml (measured protocol)",
        "EGF + cetuximab 10 ug/ml (measured protocol)",
        "EGF + cetuximab 50 ug/ml (measured protocol)",
    }
    assert {-180.0, 0.0, 5.0, 60.0, 240.0} <= set(found["time"].values.tolist())
    assert (found["status"] == 0).all()


def test_without_met_the_inhibitor_does_nothing(found: xarray.Dataset) -> None:
    line = found.isel(arm=(found["cell_line"] == "MKN1").values)
    inhibited = line["pAKT"].values[(line["treatment"] == "EGF + cetuximab + inhibitor").values][0]
    vehicle = line["pAKT"].values[(line["treatment"] == "EGF + cetuximab").values][0]
    assert_allclose(inhibited, vehicle, rtol=1e-5)


def test_rates_keep_detailed_balance_and_member_0_is_the_median(found: xarray.Dataset) -> None:
    """koff = kon Kd in every cell; Kd of member 0 is IC50 times 10^0.8; the median kon over the series is 10⁵."""
    assert_allclose(found["koff"], found["kon"] * found["Kd"] * 1e-9, rtol=1e-12)
    assert_allclose(found["Kd"].sel(member=0), found["ic50_nM"] * 10**0.8, rtol=1e-12)
    assert_allclose(np.exp(np.log(found["kon"].sel(member=0)).mean()), 1e5, rtol=1e-9)
    assert (found["kon"] <= found["k_D"]).all()
    assert (found["sigma_ln_k_D"] <= 0.1).all()
    assert found["k_D"].max() / found["k_D"].min() < 3  # spheres cannot rank a series


def test_a_cell_is_the_same_in_every_arm_of_a_line(found: xarray.Dataset) -> None:
    """Every arm of a line starts from the same settled cell, the knock-out aside."""
    rest = found["pAKT"].sel(time=-180.0)
    for line in ("Hs746T", "MKN1"):
        arms = (found["cell_line"] == line) & (found["role"] != "positive control")
        values = rest.values[arms.values]
        assert_array_equal(values, np.broadcast_to(values[0], values.shape))


def test_readouts_fall_with_the_dose_of_a_compound(found: xarray.Dataset) -> None:
    for compound in found["candidate"].values:
        arms = (found["compound"] == compound) & (found["treatment"] == "EGF + cetuximab + inhibitor")
        arms &= found["cell_line"] == "Hs746T"
        dose, level = found["dose_uM"].values[arms.values], found["pMET"].sel(time=240.0).values[arms.values]
        assert (np.diff(level[np.argsort(dose)], axis=0) < 1e-6 * level.max()).all()


def test_the_answer_and_what_it_rests_on(found: xarray.Dataset) -> None:
    assert "CHEMBL" in str(found.attrs["answer"])
    assert json.loads(found.attrs["answer_details"])
    assert found.attrs["winner"] in found["arm"].values
    assert set(found["source"].values) == {"affinity", "kinetics", "cell-to-cell", "module", "fit"}
    assert found["crossed_removed"].shape == (2, 3)
    verdicts = dict(zip(found["parameter"].values, found["evidence_verdict"].values, strict=True))
    assert verdicts["kdp_METinh"] == "assumed"
    assert found["removed"].dims == ("arm", "member")
    vehicle = (found["treatment"] == "EGF + cetuximab") & (found["cell_line"] == "Hs746T")
    assert_array_equal(found["removed"].values[vehicle.values], 0.0)


def test_measured_points_belong_to_arms_on_the_measured_protocol(found: xarray.Dataset) -> None:
    protocol = dict(zip(found["arm"].values, found["protocol"].values, strict=True))
    assert found.sizes["point"] > 100
    assert {protocol[arm] for arm in found["measured_arm"].values} == {"measured"}


def test_the_page_lies_beside_the_result(gastric: Path) -> None:
    page = gastric.with_suffix(".html").read_text(encoding="utf-8")
    assert "<!doctype html>" in page[:40]
    assert "CHEMBL" in page
