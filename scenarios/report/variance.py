"""Where the answer's variance comes from, and how many cells respond under each possible truth."""

from __future__ import annotations

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.figure import Entry, Figure, Panel, Trace, label, level, share_axis
from scenarios.report.number import SPACE, percent, plain
from scenarios.report.section import Section, paragraph


def section(contents: Contents) -> Section | None:
    """The variance split; None where the result holds none."""
    parts: list[object] = []
    if contents.has("source", "total_order"):
        parts += _split(contents)
    if contents.has("crossed_removed"):
        parts.append(_crossed(contents))
    return Section("variance", "Where the uncertainty comes from", "Uncertainty", tuple(parts)) if parts else None


def _split(contents: Contents) -> list[object]:
    relied = contents.variance_suffix
    names, total = contents.texts("source"), contents.numbers(f"total_order{relied}")
    order = np.argsort(np.nan_to_num(total), kind="stable")
    shown = [label(names[n]) for n in order]
    largest = order[::-1][:2]
    words = " and ".join(f"{names[n]} ({percent(max(float(total[n]), 0.0))})" for n in largest)
    winner = contents.winner
    under = f"Under the best treatment, {winner.label}, the" if winner is not None else "The"
    what = "the cells' ranks by signal removed" if relied else "the signal removed"
    sentence = f"{under} variance of {what} comes most from {words}, by total order."
    layout = {
        "xaxis": {"title": {"text": "share of the variance"}, "tickformat": ".0%", "rangemode": "tozero"},
        "yaxis": {"type": "category", "automargin": True},
        "barmode": "group",
        "bargap": 0.35,
        "bargroupgap": 0.08,
        "margin": {"l": 10},
    }
    scales = {"": "Of the signal removed", "_rank": "Of the cells' ranks by signal removed"}
    held = [suffix for suffix in (relied, *(s for s in scales if s != relied)) if contents.has(f"total_order{suffix}")]
    panels = [
        Panel(scales[suffix], _indices(contents, suffix, shown, order), layout, height=110 + 52 * len(shown))
        for suffix in held
    ]
    legend = [Entry("total_order", "total: with all interactions", "@blue", kind="bar")]
    if contents.has("first_order"):
        legend.append(Entry("first_order", "first order: alone", "@ochre", kind="bar"))
    note = " A few cells carry most of the variance of the signal removed itself, so its indices are wide; ranks ask the same question of all cells alike."
    figure = Figure(
        id="variance-split",
        alt=sentence,
        panels=panels,
        legend=legend,
        caption=f"Sobol indices; whiskers are 95{SPACE}% intervals. Where totals exceed first orders, sources act together. "
        f"Estimates may lie below zero or above one.{note if relied else ''}",
    )
    return [paragraph(sentence, lead=True), figure.html()]


def _indices(contents: Contents, suffix: str, names: list[str], order: np.ndarray) -> list[Trace]:
    styles = (("total_order", "@blue"), ("first_order", "@ochre"))
    return [
        _bars(contents, f"{which}{suffix}", names, order, colour)
        for which, colour in styles
        if contents.has(f"{which}{suffix}")
    ]


def _crossed_shares(contents: Contents) -> str:
    """How the crossed design's variance divides, in words; empty where the result does not say."""
    unknown, cells, joint = (contents.share(f"crossed_variance_{part}") for part in ("unknown", "cells", "joint"))
    if not np.isfinite([unknown, cells, joint]).all():
        return ""
    return (
        f"Of the variance of S here, {percent(unknown)} is what nobody knows, {percent(cells)} how cells differ, "
        f"{percent(joint)} both together. "
    )


def _bars(contents: Contents, which: str, names: list[str], order: np.ndarray, colour: str) -> Trace:
    value = contents.numbers(which)[order]
    trace: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": plain(value),
        "y": names,
        "marker": {"color": colour},
        "hovertemplate": "<b>%{y}</b>: %{x:.0%}<extra></extra>",
        "legendgroup": which.removesuffix("_rank"),
        "showlegend": False,
    }
    if contents.has(f"{which}_low", f"{which}_high"):
        low, high = (contents.numbers(f"{which}_{end}")[order] for end in ("low", "high"))
        trace["error_x"] = {
            "type": "data", "symmetric": False, "array": plain(high - value), "arrayminus": plain(value - low),
            "color": "@ink", "thickness": 1.2, "width": 4,
        }  # fmt: skip
    return trace


def _crossed(contents: Contents) -> object:
    removed = contents.numbers("crossed_removed")
    goal = contents.goal
    threshold = goal.removed_share if goal is not None else 0.9
    known = np.isfinite(removed)
    counted = np.maximum(known.sum(axis=1), 1)
    fraction = ((removed >= threshold) & known).sum(axis=1) / counted
    if contents.has("crossed_fraction"):
        fraction = contents.numbers("crossed_fraction")
    # possible truths from worst to best; within each, cells from worst to best
    order = np.lexsort((np.nanmean(removed, axis=1), fraction))
    ordered = np.sort(removed[order], axis=1)
    rows, cells = ordered.shape
    heat: Trace = {
        "type": "heatmap",
        "z": [plain(row) for row in ordered],
        "x": plain((np.arange(cells) + 0.5) / cells),
        "y": list(range(1, rows + 1)),
        "colorscale": [[0, "@scale0"], [0.25, "@scale1"], [0.5, "@scale2"], [0.75, "@scale3"], [1, "@scale4"]],
        "zmin": 0,
        "zmax": 1,
        "colorbar": {
            "tickformat": ".0%",
            "thickness": 10,
            "outlinewidth": 0,
            "title": {"text": "S", "side": "top"},
            "len": 0.9,
        },
        "hovertemplate": "possible truth %{y}<br>S = %{z:.0%}<extra></extra>",
    }
    step: Trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": plain(np.sort(fraction)),
        "y": plain((np.arange(rows) + 1) / rows),
        "line": {"shape": "hv", "color": "@blue", "width": 2},
        "marker": {"color": "@blue", "size": 5},
        "hovertemplate": "%{y:.0%} of possible truths: at most %{x:.0%} of cells at the goal<extra></extra>",
        "showlegend": False,
    }
    met = contents.share("goal_met_probability")
    share = goal.cell_share if goal is not None else float("nan")
    words = f"In {percent(met)} of possible truths the goal is met." if np.isfinite(met) else ""
    return Figure(
        id="variance-crossed",
        alt=f"Signal removed for {rows} possible truths and {cells} cells under each. {words}",
        panels=(
            Panel(
                "Each row a possible truth, each column a cell",
                (heat,),
                {
                    "xaxis": {
                        "title": {"text": "cells, from least to most removed"},
                        "tickformat": ".0%",
                        "showgrid": False,
                        "range": [0, 1],
                    },
                    "yaxis": {"title": {"text": "possible truth, worst to best"}, "showgrid": False},
                },
                height=340,
            ),
            Panel(
                "How many cells reach the goal",
                (step,),
                {
                    "xaxis": share_axis("share of cells at the goal", -0.02, 1.02),
                    "yaxis": share_axis("share of possible truths", 0, 1.03),
                    "shapes": [level(share, vertical=True)] if goal is not None else [],
                },
                height=340,
            ),
        ),
        caption=f"{_crossed_shares(contents)}The crossed design keeps two things apart: what nobody knows (rows) and how cells differ (columns). {words} Dotted: the share of cells asked for.",
    ).html()
