"""Potency: per compound the dose from which on enough of the signal is gone, by cell and by population.

A dose is given only where the curve crosses within the tested doses; elsewhere it is NaN, with the reason. Legend: `L`
compounds, `D` doses, `N` cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from numpy.typing import NDArray

from scenarios.statistics import reached

if TYPE_CHECKING:
    from scenarios.scenario import Scenario

Floats = NDArray[np.float64]
Codes = NDArray[np.int8]

SPAN_FOR_HALF = 0.5
"""Half-effective doses are given where the positive control halves the vehicle's signal at least (signal : background 2)."""
FINE, BELOW, ABOVE, FEW, UNDEFINED, NARROW = range(6)
REASONS = {
    FINE: "crossed within the tested doses",
    BELOW: "reached at the lowest tested dose already",
    ABOVE: "not reached at the highest tested dose",
    FEW: "fewer than two doses",
    UNDEFINED: "a share removed is not defined",
    NARROW: "vehicle and positive control lie too close",
}
"""Why there is no dose. Stored in results: never renumber them."""


def crossing(doses: Floats, removed_DN: Floats, level: float) -> tuple[Floats, Codes]:
    """The dose from which on a curve stays at `level` or above, between tested doses by straight lines over log dose.

    Args:
        doses: above 0, rising `[D]`.
        removed_DN: share removed `[D, N]`.
        level: to be reached.

    Returns:
        Dose in the units of `doses`, NaN where the curve does not cross, and why `[N]` each.
    """
    cells = removed_DN.shape[1]
    dose, reason = np.full(cells, np.nan), np.full(cells, FINE, dtype=np.int8)
    if len(doses) < 2:
        reason[:] = FEW
        return dose, reason
    under = ~reached(removed_DN, level)
    last = len(doses) - 1 - np.argmax(under[::-1], axis=0)  # the highest dose that is under the level
    reason[last == len(doses) - 1] = ABOVE
    reason[~under.any(axis=0)] = BELOW
    reason[~np.isfinite(removed_DN).all(axis=0)] = UNDEFINED
    fine = np.flatnonzero(reason == FINE)
    below, above = removed_DN[last[fine], fine], removed_DN[last[fine] + 1, fine]
    log = np.log(doses)
    part = np.clip((level - below) / (above - below), 0.0, 1.0)
    dose[fine] = np.exp(log[last[fine]] + part * (log[last[fine] + 1] - log[last[fine]]))
    return dose, reason


def middle(dose: Floats, reason: Codes, q: float = 0.5) -> tuple[float, int]:
    """A quantile over cells `[N]` whose doses may lie beyond the tested ones, and why there is none.

    Cells below the lowest and above the highest dose count as such; the quantile is given where it falls among doses.
    """
    counted = reason <= ABOVE
    if not counted.any():
        return float("nan"), int(reason[0]) if len(reason) else FEW
    ordered = np.sort(np.where(reason == BELOW, 0.0, np.where(reason == ABOVE, np.inf, dose))[counted])
    # the order statistic that a share q of cells does not exceed: no interpolation across an infinite dose
    value = float(ordered[min(int(np.ceil(q * len(ordered))) - 1, len(ordered) - 1)]) if q > 0 else float(ordered[0])
    if value == 0.0:
        return float("nan"), BELOW
    return (value, FINE) if np.isfinite(value) else (float("nan"), ABOVE)


def potency(
    scenario: Scenario,
    dataset: xarray.Dataset,
    removed: Floats,
    share: Floats,
    rank: NDArray[np.int16],
    *,
    span_wide: bool,
) -> xarray.Dataset:
    """Doses of every compound, in the treatment of the best arm.

    Args:
        removed: S `[A, N]`.
        share: of responding cells `[A]`.
        rank: 0 where not ranked `[A]`.
        span_wide: whether vehicle and positive control leave room for a half-effective dose.

    Returns:
        Dims `candidate`, `member`.
    """
    goal = scenario.answer
    assert goal is not None
    treatments, compounds = dataset["treatment"].values.astype(str), dataset["compound"].values.astype(str)
    given = dataset["dose_uM"].values.astype(float)
    best = treatments[rank == 1][0] if (rank == 1).any() else ""
    names = [compound.id for compound in scenario.candidates]
    shape = (len(names), removed.shape[1])
    needed, needed_reason = np.full(shape, np.nan), np.full(shape, FEW, dtype=np.int8)
    half = np.full((3, len(names)), np.nan)
    half_reason = np.full(len(names), FEW, dtype=np.int8)
    lowest = np.full(len(names), np.nan)
    for row, name in enumerate(names):
        listed = np.flatnonzero((rank > 0) & (treatments == best) & (compounds == name) & (given > 0))
        if not len(listed):
            continue
        arms = listed[np.argsort(given[listed], kind="stable")]
        doses, curves = given[arms], removed[arms]
        needed[row], needed_reason[row] = crossing(doses, curves, goal.removed_share)
        halves, reasons = crossing(doses, curves, 0.5)
        if not span_wide:
            halves[:], reasons[:] = np.nan, NARROW
        half[1, row], half_reason[row] = middle(halves, reasons)
        half[0, row], half[2, row] = middle(halves, reasons, 0.05)[0], middle(halves, reasons, 0.95)[0]
        missed = np.flatnonzero(~reached(share[arms], goal.cell_share))
        first = int(missed[-1]) + 1 if len(missed) else 0
        lowest[row] = doses[first] if first < len(doses) else np.nan

    def dose(label: str) -> dict[str, str]:
        return {"units": "uM", "long_name": label}

    codes = {
        "flag_values": np.array(list(REASONS), dtype=np.int8),
        "flag_meanings": " ".join(text.replace(" ", "_") for text in REASONS.values()),
    }
    one, each = "candidate", ("candidate", "member")
    found: dict[str, Any] = {
        "lowest_dose_uM": (one, lowest, dose("lowest tested dose from which on the goal is reached in enough cells")),
        "half_dose_uM": (one, half[1], dose("dose that removes half of the signal: median cell")),
        "half_dose_uM_low": (one, half[0], dose("5 % of cells need less")),
        "half_dose_uM_high": (one, half[2], dose("5 % of cells need more")),
        "half_dose_reason": (one, half_reason, {"long_name": "why there is no such dose", **codes}),
        "needed_dose_uM": (
            each,
            needed,
            dose(f"dose from which on a cell loses {goal.removed_share:.0%} of the signal"),
        ),
        "needed_dose_reason": (each, needed_reason, {"long_name": "why there is no such dose", **codes}),
    }
    return xarray.Dataset(found, coords={"candidate": np.array(names, dtype=str)})
