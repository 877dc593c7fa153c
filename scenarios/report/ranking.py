"""Treatments ranked by the share of cells that reach the goal, and the cells behind each share."""

from __future__ import annotations

import numpy as np

from scenarios.report.cells import strip, thinned, view_range
from scenarios.report.contents import Contents
from scenarios.report.figure import Figure, Panel, label, level, share_axis
from scenarios.report.markup import element, join
from scenarios.report.number import SPACE, dose, percent, percent_range
from scenarios.report.quantile import quantiles
from scenarios.report.section import Section, paragraph
from scenarios.report.table import Cell, Column, share_bar, table

FIRST = 10
"""Treatments shown before the reader asks for all."""


def section(contents: Contents) -> Section | None:
    """The ranking; None where nothing was ranked."""
    if not contents.ranked:
        return None
    lead = paragraph(
        f"{len(contents.ranked)} treatments of {contents.judged_line}, ranked by the share of virtual cells with "
        f"{contents.goal_words or 'the goal reached'}. Intervals of shares are 95{SPACE}% Wilson intervals over cells; "
        f"those of signals span 5–95{SPACE}% of cells.",
        lead=True,
    )
    parts = [lead, _table(contents)]
    if contents.has("removed"):
        parts.append(_distribution(contents))
    return Section("ranking", "Ranking of treatments", "Ranking", tuple(parts))


def _table(contents: Contents) -> object:
    goal = contents.goal
    wash, washed_dose = _washouts(contents)
    with_compound = any(arm.compound for arm in contents.ranked)
    columns = [Column("Rank", numeric=True)]
    columns += [Column("Compound"), Column("Dose", numeric=True)] if with_compound else [Column("Treatment")]
    columns.append(Column("Cells at the goal", f"share of cells, 95{SPACE}% interval"))
    removed = quantiles(contents.numbers("removed")) if contents.has("removed") else None
    engaged = quantiles(contents.numbers("engagement")) if contents.has("engagement") else None
    between = f"median, 5–95{SPACE}%"
    if removed is not None:
        columns.append(Column("Signal removed", between, numeric=True))
    if engaged is not None:
        columns.append(Column("Target engaged", between, numeric=True))
    if wash:
        when = f" at {goal.washout_min:g} min" if goal is not None and goal.washout_min is not None else ""
        columns.append(Column("After wash-out", f"median{when}, from {washed_dose}", numeric=True))
    shares, lows, highs = _shares(contents)
    rows = []
    for place, arm in enumerate(contents.ranked, start=1):
        row: list[object] = [Cell(place, place)]
        if with_compound:
            name = arm.compound or arm.treatment
            row += [Cell(name, name), Cell(dose(arm.dose_uM), arm.dose_uM)]
        else:
            row.append(Cell(arm.label, arm.label))
        n = arm.index
        required = goal.cell_share if goal is not None else np.nan
        row.append(Cell(share_bar(shares[n], lows[n], highs[n], goal=required), float(shares[n])))
        row += [_spread(of[:, n]) for of in (removed, engaged) if of is not None]
        if wash:
            left = wash.get(arm.compound, np.nan)
            row.append(Cell(percent(left), left))
        rows.append(row)
    return table(columns, rows, caption="Treatments, best first", id="ranking-table", shown=FIRST, marked=0)


def _shares(contents: Contents) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    none = np.full(len(contents.arms), np.nan)

    def of(name: str) -> np.ndarray:
        return contents.numbers(name) if contents.has(name) else none

    return of("responder_fraction"), of("responder_fraction_low"), of("responder_fraction_high")


def _spread(levels: np.ndarray) -> Cell:
    low, _, median, _, high = (float(value) for value in levels)
    return Cell(join((percent(median), " ", element("small", percent_range(low, high)))), median)


def _washouts(contents: Contents) -> tuple[dict[str, float], str]:
    """Median signal still removed when washed out, by compound, and the dose; empty where compounds have several."""
    if not contents.has("removed_at_washout"):
        return {}, ""
    medians = quantiles(contents.numbers("removed_at_washout"), (0.5,))[0]
    arms = [arm for arm in contents.arms if np.isfinite(medians[arm.index])]
    doses = {dose(arm.dose_uM) for arm in arms}
    if len(doses) != 1:
        return {}, ""
    return {arm.compound: float(medians[arm.index]) for arm in arms}, doses.pop()


def _distribution(contents: Contents) -> object:
    best = contents.ranked[:FIRST]
    values = contents.numbers("removed")
    goal = contents.goal
    # the best treatments differ in their left tails: the axis starts there, not at zero
    low, high, outside = view_range(
        values[[arm.index for arm in best]], hold=(goal.removed_share if goal else 0.9, 1.0)
    )
    traces = [strip(values[arm.index], label(arm.label), colour="@blue") for arm in reversed(best)]
    layout = {
        "xaxis": share_axis("signal removed, S", low, high),
        "yaxis": {"automargin": True, "type": "category"},
        "margin": {"l": 10},
        "shapes": [level(goal.removed_share, vertical=True)] if goal is not None else [],
    }
    medians = quantiles(values, (0.5,))[0]
    alt = "Signal removed per cell, by treatment: " + "; ".join(
        f"{arm.label} median {percent(float(medians[arm.index]))}" for arm in best[:3]
    )
    return Figure(
        id="ranking-cells",
        alt=alt,
        panels=(Panel("Every cell of the best treatments", traces, layout, height=60 + 34 * len(best), wide=True),),
        caption=f"Each dot is one virtual cell{thinned(contents.members)}; the box spans the quartiles, its line is the median, "
        f"the dotted line is the goal. A treatment that fails in a few cells fails in the left tail.{outside}",
    ).html()
