"""The cells behind a number: dots beside a box, and an axis that holds nearly all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from scenarios.report.number import plain
from scenarios.report.quantile import quantiles

CELLS = 400
"""Cells drawn per treatment at most; quantiles are always of all."""


def view_range(values: np.ndarray, *, hold: tuple[float, float] = (0.0, 1.0)) -> tuple[float, float, str]:
    """Axis limits that hold `hold` and nearly all cells, and a sentence about those outside."""
    known = values[np.isfinite(values)]
    first, last = hold[0] - 0.05, hold[1] + 0.05
    if not known.size:
        return first, last, ""
    low, high = (float(np.quantile(known, q)) for q in (0.02, 0.98))
    # the ratio S has long tails where vehicle and positive control lie close: they must not squeeze all others
    low, high = max(min(low - 0.03, first), -1.0), min(max(high + 0.03, last), 2.0)
    out = int(((known < low) | (known > high)).sum())
    return low, high, f" {out} of {known.size} values lie outside the axis." if out else ""


def chosen_cells(members: int) -> np.ndarray:
    """Which cells are drawn: all, or evenly spaced ones where there are many."""
    return np.arange(members) if members <= CELLS else np.unique(np.linspace(0, members - 1, CELLS).round().astype(int))


def thinned(members: int) -> str:
    """What to say where not every cell is drawn."""
    return "" if members <= CELLS else f" ({CELLS} of {members}, evenly spaced by number)"


def strip(values: np.ndarray, name: str, *, colour: str, upright: bool = False) -> dict[str, Any]:
    """Cells as dots beside a box of all of them; along x, or upright."""
    drawn = values[chosen_cells(values.size)]
    q1, median, q3 = (float(q) for q in quantiles(values, (0.25, 0.5, 0.75)))
    known = drawn[np.isfinite(drawn)]
    along, across = ("y", "x") if upright else ("x", "y")
    box = {"lowerfence": [q1], "q1": [q1], "median": [median], "q3": [q3], "upperfence": [q3]}
    return {
        "type": "box",
        along: [plain(known)],
        across: [name],
        **({key: plain(value) for key, value in box.items()} if np.isfinite(median) else {}),
        "orientation": "v" if upright else "h",
        "boxpoints": "all",
        "jitter": 0.7,
        "pointpos": 0,
        "width": 0.62,
        "whiskerwidth": 0,
        "marker": {"color": f"{colour}/0.45", "size": 3.2},
        "line": {"color": "@ink", "width": 1.4},
        "fillcolor": f"{colour}/0.16",
        "hoverinfo": "skip",
        "showlegend": False,
    }
