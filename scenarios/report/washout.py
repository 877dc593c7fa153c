"""Wash-out: how long a compound stays on its target against how much of the signal stays removed."""

from __future__ import annotations

import numpy as np

from scenarios.report.cells import CELLS, chosen_cells, view_range
from scenarios.report.contents import Contents
from scenarios.report.figure import Entry, Figure, Panel, label, level, log_axis, share_axis
from scenarios.report.number import SPACE, minutes, percent, plain
from scenarios.report.quantile import quantiles
from scenarios.report.section import Section, paragraph

DOTS = 1500
"""Cells drawn in the cloud at most, over all compounds."""


def section(contents: Contents) -> Section | None:
    """Wash-out; None where no arm is washed out or no off-rate is known."""
    if not contents.has("removed_at_washout", "koff", "candidate"):
        return None
    values = contents.numbers("removed_at_washout")
    place = {name: n for n, name in enumerate(contents.texts("candidate"))}
    arms = [arm for arm in contents.arms if arm.compound in place and np.isfinite(values[arm.index]).any()]
    if not arms:
        return None
    removed = values[[arm.index for arm in arms]]
    # koff is in 1/s; time on the target in minutes, as all times of the page
    residence = 1.0 / (60.0 * contents.numbers("koff")[[place[arm.compound] for arm in arms]])
    residence = np.where(np.isfinite(removed), residence, np.nan)
    r_low, r_mid, r_high = quantiles(residence, (0.05, 0.5, 0.95))
    s_low, s_mid, s_high = quantiles(removed, (0.05, 0.5, 0.95))
    cells = chosen_cells(contents.members)[:: max(1, -(-len(arms) * min(contents.members, CELLS) // DOTS))]
    low, high, outside = view_range(removed)
    cloud = {
        "type": "scatter",
        "mode": "markers",
        "x": plain(residence[:, cells]),
        "y": plain(removed[:, cells]),
        "marker": {"color": "@muted/0.35", "size": 3.5},
        "hoverinfo": "skip",
        "legendgroup": "cells",
    }
    names = [arm.label for arm in arms]
    medians = {
        "type": "scatter",
        "mode": "markers",
        "x": plain(r_mid),
        "y": plain(s_mid),
        "error_x": _whiskers(r_low, r_mid, r_high),
        "error_y": _whiskers(s_low, s_mid, s_high),
        "marker": {"color": "@blue", "size": 9, "line": {"color": "@paper", "width": 1}},
        "text": [label(name) for name in names],
        "customdata": [[minutes(float(r)), label(percent(float(s)))] for r, s in zip(r_mid, s_mid, strict=True)],
        "hovertemplate": "<b>%{text}</b><br>residence time %{customdata[0]}<br>still removed %{customdata[1]}<extra></extra>",
        "legendgroup": "medians",
    }
    when = contents.goal.washout_min if contents.goal is not None else None
    at = f" at {when:g} min" if when is not None else ""
    layout = {
        "xaxis": log_axis("residence time 1/koff [min]", np.concatenate([r_low, r_high, residence[:, cells].ravel()])),
        "yaxis": share_axis(f"signal removed{at}, S", low, high),
        "shapes": [level(contents.goal.removed_share)] if contents.goal is not None else [],
    }
    best, worst = int(np.nanargmax(s_mid)), int(np.nanargmin(s_mid))
    words = (
        f"After wash-out{at}, {names[best]} still removes {percent(float(s_mid[best]))} of the signal in the median cell "
        f"(residence time {minutes(float(r_mid[best]))}), {names[worst]} {percent(float(s_mid[worst]))} "
        f"({minutes(float(r_mid[worst]))})."
    )
    figure = Figure(
        id="washout-residence",
        alt=words,
        panels=(Panel("", (cloud, medians), layout, height=420, wide=True),),
        legend=(
            Entry("medians", "compound: median cell", "@blue", kind="point"),
            Entry("cells", "cells", "@muted", kind="point"),
        ),
        caption=f"Bars span 5–95{SPACE}% of cells. The small dots are {len(cells)} of {contents.members} cells per compound: within one "
        f"compound the residence time is as uncertain as its rates.{outside}",
    )
    lead = paragraph(
        "The compound is given and taken away. What stays bound then depends on how slowly it leaves, "
        "1/koff, and not only on how tightly it binds. ",
        words,
        lead=True,
    )
    return Section("washout", "Wash-out", "Wash-out", (lead, figure.html()))


def _whiskers(low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": plain(high - middle),
        "arrayminus": plain(middle - low),
        "color": "@blue/0.45",
        "thickness": 1.2,
        "width": 0,
    }
