"""How busy the workers were: the share of them at work through the run, and of each rank's time that went into tasks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.figure import Figure, Layout, Panel, Trace, share_axis
from scenarios.report.number import percent, plain

ATTRIBUTE = "run_utilisation"


def parts(contents: Contents) -> list[object]:
    """The figure; nothing where the result does not say, as after a run that found all its tasks in the journal."""
    found = contents.data(ATTRIBUTE)
    if not isinstance(found, dict) or not found.get("busy"):
        return []
    busy, workers = contents.share("run_busy"), contents.share("run_workers")
    count = f"{workers:.0f} workers'" if workers > 1 else "one worker's"
    alt = f"{percent(busy)} of the {count} time went into tasks, from the first task's begin to the last one's end."
    panels = [_through(found), *_by_rank(found)]
    caption = f"{alt} The rest is waiting: for a task, for the slowest of them, or for the root's own stages."
    return [Figure(id="run-utilisation", alt=alt, panels=panels, caption=caption).html()]


def _through(found: dict[str, Any]) -> Panel:
    """Shares by time; where each stage of the root began is marked below."""
    bin_s = float(found["bin_s"])
    shares = np.asarray(found["busy"], dtype=float)
    trace: Trace = {
        "type": "scatter", "mode": "lines", "x": plain(np.arange(len(shares) + 1) * bin_s), "y": plain([*shares, shares[-1]]),
        "line": {"shape": "hv", "color": "@blue", "width": 1.6}, "fill": "tozeroy", "fillcolor": "@blue/0.18",
        "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip
    end_s = bin_s * len(shares)
    # a mark per stage that lasts long enough for its name to stand beside the next
    marks = [
        (str(name), float(began)) for name, began, ended in found.get("stages", []) if ended - began > 0.06 * end_s
    ]
    notes = [
        {
            "x": began, "y": 1.0, "xref": "x", "yref": "y domain", "text": name, "showarrow": False,
            "xanchor": "left", "yanchor": "bottom", "font": {"size": 11, "color": "@ink"},
        }
        for name, began in marks
    ]  # fmt: skip
    lines = [
        {
            "type": "line", "x0": began, "x1": began, "y0": 0, "y1": 1, "xref": "x", "yref": "y domain",
            "line": {"color": "@ink/0.35", "width": 1, "dash": "dot"}, "layer": "below",
        }
        for _, began in marks
    ]  # fmt: skip
    layout: Layout = {
        "xaxis": {"title": {"text": "wall time since the run began [s]"}, "range": [0, float(f"{end_s:.4g}")]},
        "yaxis": share_axis("workers at work", 0.0, 1.05),
        "annotations": notes,
        "shapes": lines,
        "margin": {"t": 24},
    }
    return Panel("Workers at work", (trace,), layout, height=240, wide=True)


def _by_rank(found: dict[str, Any]) -> list[Panel]:
    """One bar a rank, or the quantiles of many ranks; nothing where there is one rank."""
    ranks = found.get("ranks")
    if isinstance(ranks, dict) and len(ranks) > 1:
        names, shares, title = [str(rank) for rank in ranks], [float(share) for share in ranks.values()], "rank"
    elif found.get("rank_quantiles"):
        names, title = ["least", "5 %", "median", "95 %", "most"], "quantile of the ranks"
        shares = [float(share) for share in found["rank_quantiles"]]
    else:
        return []
    known = [share for share in shares if math.isfinite(share)]
    trace: Trace = {
        "type": "bar", "x": names, "y": plain(shares), "marker": {"color": "@blue"}, "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip
    layout: Layout = {
        "xaxis": {"title": {"text": title}, "type": "category"},
        "yaxis": share_axis("time in tasks", 0.0, max(1.05, *known) if known else 1.05),
    }
    return [Panel("Time in tasks by rank", (trace,), layout, height=200, wide=True)]
