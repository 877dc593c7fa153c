"""The answer: per cell the share of the signal that a treatment removes, and treatments ranked by how many cells respond.

    S = (vehicle - arm) / (vehicle - positive control), on the area under a readout in the goal's window, cell by cell.

Where vehicle and positive control hardly differ S is not defined: it is NaN, with a reason, never a false number.
Legend: `A` arms, `N` cells (members), `T` sample times, `L` compounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from numpy.typing import NDArray

from scenarios.potency import SPAN_FOR_HALF, potency
from scenarios.statistics import partial_spearman, reached, spearman, wilson
from twin.errors import InputError

if TYPE_CHECKING:
    from scenarios.goal import Goal
    from scenarios.scenario import Scenario

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SMALLEST_SPAN = 0.05
"""Vehicle minus positive control, as a share of the vehicle: below it S would multiply every error by more than twenty."""
DEFINED, NOT_JUDGED, NO_COURSE, NO_REFERENCE, NO_SPAN = range(5)
REASONS = {
    DEFINED: "defined",
    NOT_JUDGED: "not judged: another cell line or the measured protocol",
    NO_COURSE: "no course: the cell was set aside in this arm",
    NO_REFERENCE: "no course of vehicle or positive control",
    NO_SPAN: f"vehicle does not exceed the positive control by {SMALLEST_SPAN:.0%} of itself",
}
"""Why a cell has no S in an arm. Stored in results: never renumber them."""
_SLACK_MIN = 1e-9  # of sample times


@dataclass(frozen=True)
class Arms:
    """Which arms of a result the goal speaks of.

    Attributes:
        vehicle, control: their positions.
        judged: arms of the judged line on the twin's protocol `[A]`.
        ranked: treatments among them `[A]`.
        washed: wash-outs among them `[A]`.
    """

    vehicle: int
    control: int
    judged: Flags
    ranked: Flags
    washed: Flags

    @classmethod
    def of(cls, goal: Goal, line: str, dataset: xarray.Dataset) -> Arms:
        """The arms of a result that a goal speaks of.

        Args:
            line: the cell line that is judged.

        Raises:
            InputError: the result has no arm, or several, of vehicle or positive control.
        """
        lines, treatments, protocols, roles = (
            dataset[name].values.astype(str) for name in ("cell_line", "treatment", "protocol", "role")
        )
        place: list[int] = []
        for label in (goal.vehicle, goal.positive_control):
            found = np.flatnonzero((lines == line) & (treatments == label))
            if len(found) != 1:
                raise InputError(
                    f"the result has {len(found)} arms of {line} under {label!r}, and the answer needs one; run the scenario again."
                )
            place.append(int(found[0]))
        judged = (lines == line) & (protocols != "measured")
        judged[place] = True
        reference = np.isin(np.arange(len(lines)), place)
        return cls(
            *place,
            judged=judged,
            ranked=judged & (roles == "treatment") & ~reference,
            washed=judged & (roles == "washout") & ~reference,
        )


def judged_line(scenario: Scenario) -> str:
    """The cell line whose arms are ranked."""
    named = scenario.answer.cell_line if scenario.answer is not None else None
    return named or scenario.lines[0]


def area(dataset: xarray.Dataset, readout: str, window_min: tuple[float, float]) -> Floats:
    """Area under a readout `[A, N]`, by trapezoids over the sample times within a window; NaN where there is no course.

    Args:
        window_min: from … to [min]; both are sample times.

    Raises:
        InputError: the window does not begin and end at sample times.
    """
    times = dataset["time"].values
    low, high = window_min
    inside = (times >= low - _SLACK_MIN) & (times <= high + _SLACK_MIN)
    t = times[inside]
    if len(t) < 2 or abs(t[0] - low) > _SLACK_MIN or abs(t[-1] - high) > _SLACK_MIN:
        raise InputError(f"{readout}: no samples at both ends of {low:g} … {high:g} min; add them to `time.samples`.")
    return np.asarray(np.trapezoid(_values(dataset, readout)[:, :, inside], t, axis=2))


def share_removed(level: Floats, arms: Arms) -> tuple[Floats, NDArray[np.int8]]:
    """S and why it is not defined, `[A, N]` each, from what stands for the signal in each arm and cell `[A, N]`."""
    vehicle, control = level[arms.vehicle], level[arms.control]
    span = vehicle - control
    reason = np.full(level.shape, DEFINED, dtype=np.int8)
    reason[:, ~(span >= SMALLEST_SPAN * np.abs(vehicle)) | (span <= 0)] = NO_SPAN
    reason[:, ~np.isfinite(span)] = NO_REFERENCE
    reason[~np.isfinite(level)] = NO_COURSE
    reason[~arms.judged] = NOT_JUDGED
    fine = reason == DEFINED
    removed = np.full(level.shape, np.nan)
    np.divide(vehicle - level, span, out=removed, where=fine)
    return removed, reason


def signal_removed(scenario: Scenario, dataset: xarray.Dataset) -> tuple[Floats, NDArray[np.int8]]:
    """S of the goal in every arm and cell, and why it is not defined, `[A, N]` each.

    Args:
        dataset: courses with at least the arms of vehicle and positive control; other arms as wanted.

    Raises:
        InputError: as `area` and `Arms.of`.
    """
    goal = scenario.answer
    assert goal is not None, "asked only where the scenario has a goal"
    arms = Arms.of(goal, judged_line(scenario), dataset)
    return share_removed(area(dataset, goal.readout, goal.window_min), arms)


def judge(scenario: Scenario, dataset: xarray.Dataset) -> xarray.Dataset:
    """What a result says of the scenario's goal, as variables to be joined to it; `scenarios.statement` puts it in words.

    Args:
        dataset: courses of all arms, joined with the compounds' rates where there are compounds.

    Returns:
        Dims `arm`, `member`, and `judged_readout` and `candidate` where they apply; attribute `winner`. Empty where the
        scenario asks for no answer.

    Raises:
        InputError: as `area` and `Arms.of`.
    """
    goal = scenario.answer
    if goal is None:
        return xarray.Dataset()
    arms = Arms.of(goal, judged_line(scenario), dataset)
    level = area(dataset, goal.readout, goal.window_min)
    removed, reason = share_removed(level, arms)
    responders = reached(removed, goal.removed_share)
    share, low, high, rank = _ranking(goal, dataset, removed, responders, arms)
    each, one = ("arm", "member"), "arm"
    percent = {"units": "1"}
    found: dict[str, Any] = {
        "removed": (each, removed, percent | {"long_name": f"share of the {goal.readout} signal removed, S"}),
        "removed_reason": (each, reason, _flags(REASONS, "why S is not defined")),
        "responder_fraction": (one, share, percent | {"long_name": f"share of cells with S of {goal.removed_share:.0%} or more"}),
        "responder_fraction_low": (one, low, percent | {"long_name": "its 95 % Wilson interval, lower end"}),
        "responder_fraction_high": (one, high, percent | {"long_name": "its 95 % Wilson interval, upper end"}),
        "judged_cells": (one, (reason == DEFINED).sum(axis=1).astype(np.int32), percent | {"long_name": "cells with a defined S"}),
        "goal_met": (one, np.where(rank > 0, reached(share, goal.cell_share), False).astype(np.int8), _flags({0: "no", 1: "yes"}, "goal reached in enough of the cells")),
        "rank": (one, rank, percent | {"long_name": "place by share of responding cells; 0 is not ranked"}),
    }  # fmt: skip
    if goal.engagement is not None:
        found["engagement"] = (
            each,
            _engagement(goal, dataset, arms),
            percent | {"long_name": f"share of {goal.engagement} lost against the vehicle"},
        )
    spans, half = _spans(goal, dataset, arms, level)
    winner = str(dataset["arm"].values[rank == 1][0]) if (rank == 1).any() else ""
    fragments = [xarray.Dataset(found, attrs={"winner": winner}), spans]
    if goal.washout_min is not None and arms.washed.any():
        fragments.append(_washed(goal, dataset, arms))
    if scenario.candidates and arms.ranked.any():
        fragments.append(potency(scenario, dataset, removed, share, rank, span_wide=half))
    return xarray.merge(fragments, join="exact", compat="identical", combine_attrs="no_conflicts")


def _ranking(
    goal: Goal, dataset: xarray.Dataset, removed: Floats, responders: Flags, arms: Arms
) -> tuple[Floats, Floats, Floats, NDArray[np.int16]]:
    """Share of responding cells with its interval, and the place of each arm: by share, lower dose, median S, name."""
    known = np.isfinite(removed).sum(axis=1)
    hits = responders.sum(axis=1)
    share = np.divide(hits, known, out=np.full(len(known), np.nan), where=known > 0)
    low, high = wilson(hits, known)
    dose = np.nan_to_num(dataset["dose_uM"].values.astype(float), nan=np.inf)
    names = dataset["arm"].values.astype(str)
    listed = np.flatnonzero(arms.ranked & np.isfinite(share))
    middle = {n: float(np.nanmedian(removed[n])) for n in listed}
    order = sorted(listed, key=lambda n: (-share[n], dose[n], -middle[n], names[n]))
    rank = np.zeros(len(share), dtype=np.int16)
    rank[order] = np.arange(1, len(order) + 1)
    return share, low, high, rank


def _engagement(goal: Goal, dataset: xarray.Dataset, arms: Arms) -> Floats:
    """1 - area / area in the vehicle, of the target's readout `[A, N]`."""
    assert goal.engagement is not None
    level = area(dataset, goal.engagement, goal.window_min)
    vehicle = level[arms.vehicle]
    fine = arms.judged[:, None] & (vehicle > 0) & np.isfinite(level)
    left = np.full(level.shape, np.nan)
    np.divide(level, vehicle, out=left, where=fine)
    return 1.0 - left


def _spans(goal: Goal, dataset: xarray.Dataset, arms: Arms, level: Floats) -> tuple[xarray.Dataset, bool]:
    """How far vehicle and positive control lie apart in every judged readout, and whether the goal's has room for a half."""
    names = list(dict.fromkeys((goal.readout, *((goal.engagement,) if goal.engagement else ()), *goal.shown)))
    spans = np.full((len(names), level.shape[1]), np.nan)
    for row, name in enumerate(names):
        values = level if name == goal.readout else area(dataset, name, goal.window_min)
        vehicle, control = values[arms.vehicle], values[arms.control]
        np.divide(vehicle - control, vehicle, out=spans[row], where=vehicle > 0)
    with np.errstate(invalid="ignore"):
        low, middle, high = (np.array([_quantile(row, q) for row in spans]) for q in (0.05, 0.5, 0.95))
    attrs = {"units": "1", "long_name": "vehicle minus positive control, as share of the vehicle: median cell"}
    dataset_ = xarray.Dataset(
        {
            "span": ("judged_readout", middle, attrs),
            "span_low": ("judged_readout", low, {"units": "1", "long_name": "5 % of cells have less"}),
            "span_high": ("judged_readout", high, {"units": "1", "long_name": "5 % of cells have more"}),
        },
        coords={"judged_readout": np.array(names, dtype=str)},
    )
    return dataset_, bool(middle[0] >= SPAN_FOR_HALF)


def _quantile(row: Floats, q: float) -> float:
    known = row[np.isfinite(row)]
    return float(np.quantile(known, q)) if known.size else float("nan")


def _washed(goal: Goal, dataset: xarray.Dataset, arms: Arms) -> xarray.Dataset:
    """S at one time after wash-out, and how it goes with the time that a compound stays on its target, 1/koff."""
    assert goal.washout_min is not None
    times = dataset["time"].values
    at = int(np.argmin(np.abs(times - goal.washout_min)))
    if abs(times[at] - goal.washout_min) > _SLACK_MIN:
        raise InputError(f"no sample at {goal.washout_min:g} min, when wash-outs are judged; add it to `time.samples`.")
    removed, reason = share_removed(_values(dataset, goal.readout)[:, :, at], arms)
    removed[~arms.washed] = np.nan
    reason[~arms.washed] = NOT_JUDGED
    each = ("arm", "member")
    found: dict[str, Any] = {
        "removed_at_washout": (each, removed, {"units": "1", "long_name": f"share of the {goal.readout} level removed at {goal.washout_min:g} min"}),
        "removed_at_washout_reason": (each, reason, _flags(REASONS, "why it is not defined")),
    }  # fmt: skip
    attrs: dict[str, float | int] = {}
    if {"koff", "Kd"} <= set(dataset.variables) and "candidate" in dataset.coords:
        within, medians = _by_residence(dataset, removed, arms)
        found["washout_spearman"] = ("arm", within, {"units": "1", "long_name": "rank correlation over cells of S at wash-out with 1/koff, among cells of equal Kd"})  # fmt: skip
        across = medians[:, np.isfinite(medians).all(axis=0)]
        if across.shape[1] >= 3:
            attrs["washout_spearman_compounds"] = float(spearman(across[0], across[1]))
            attrs["washout_spearman_affinity"] = float(spearman(across[0], across[2]))
            attrs["washout_compounds"] = int(across.shape[1])
    return xarray.Dataset(found, attrs=attrs)


def _by_residence(dataset: xarray.Dataset, removed: Floats, arms: Arms) -> tuple[Floats, Floats]:
    """Within each washed arm the correlation of S with 1/koff at equal Kd `[A]`; over arms the medians of S, 1/koff and 1/Kd `[3, A]`."""
    place = {name: n for n, name in enumerate(dataset["candidate"].values.astype(str))}
    compound = dataset["compound"].values.astype(str)
    koff, kd = dataset["koff"].values, dataset["Kd"].values
    within = np.full(len(removed), np.nan)
    medians = np.full((3, len(removed)), np.nan)
    for n in np.flatnonzero(arms.washed):
        known = np.isfinite(removed[n])
        if compound[n] not in place or known.sum() < 3:
            continue
        row = place[compound[n]]
        within[n] = partial_spearman(removed[n, known], -koff[row, known], kd[row, known])
        medians[:, n] = np.median(removed[n, known]), 1 / np.median(koff[row, known]), 1 / np.median(kd[row, known])
    return within, medians


def _values(dataset: xarray.Dataset, readout: str) -> Floats:
    """A readout `[A, N, T]`; NaN where the cell was set aside."""
    values = dataset[readout].transpose("arm", "member", "time").values
    if "status" in dataset:
        values = np.where((dataset["status"].values != 0)[:, :, None], np.nan, values)
    return values


def _flags(meanings: dict[int, str], label: str) -> dict[str, Any]:
    """CF attributes of a variable of codes."""
    return {
        "long_name": label,
        "flag_values": np.array(list(meanings), dtype=np.int8),
        "flag_meanings": " ".join(
            text.replace(" ", "_").replace(",", "").replace(":", "") for text in meanings.values()
        ),
    }
