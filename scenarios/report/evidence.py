"""What the answer rests on: for each parameter whether data constrain it, how much it moves the answer, and which cells escape."""

from __future__ import annotations

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.figure import Entry, Figure, Panel, Trace, label, share_axis
from scenarios.report.markup import element
from scenarios.report.number import SPACE, count, percent, plain, significant
from scenarios.report.section import Section, paragraph
from scenarios.report.table import Cell, Column, share_bar, table

FIRST = 12
"""Parameters shown before the reader asks for all."""

SIGNS = {"constrained": "●", "weakly constrained": "◐", "assumed": "○"}
"""A sign beside each verdict: it must be readable without colour."""


def section(contents: Contents) -> Section | None:
    """The evidence; None where the result holds none."""
    parts: list[object] = []
    if contents.has("parameter", "evidence_verdict"):
        parts += _table(contents)
    escapes = _escapes(contents)
    parts += escapes
    return Section("evidence", "What the answer rests on", "Evidence", tuple(parts)) if parts else None


def _table(contents: Contents) -> list[object]:
    names, verdicts = contents.texts("parameter"), contents.texts("evidence_verdict")
    none = np.full(len(names), np.nan)

    def numbers(name: str) -> np.ndarray:
        return contents.numbers(f"evidence_{name}") if contents.has(f"evidence_{name}") else none

    def texts(name: str) -> list[str]:
        return contents.texts(f"evidence_{name}") if contents.has(f"evidence_{name}") else [""] * len(names)

    influence, points, prior, posterior = (
        numbers(name) for name in ("influence", "points", "prior_sd_log10", "posterior_sd_log10")
    )
    sources, groups = texts("source"), texts("group")
    order = np.argsort(-np.nan_to_num(influence, nan=-1.0), kind="stable")
    rows = [
        [
            Cell(element("code", names[n]), names[n]),
            Cell(groups[n], groups[n]),
            Cell(verdict(verdicts[n]), verdicts[n]),
            Cell(count(float(points[n])), float(points[n])),
            Cell(significant(float(prior[n]), 2), float(prior[n])),
            Cell(significant(float(posterior[n]), 2), float(posterior[n])),
            Cell(share_bar(float(influence[n])), float(influence[n])),
            Cell(sources[n], sources[n]),
        ]
        for n in order
    ]
    columns = [
        Column("Parameter"),
        Column("Group"),
        Column("Verdict"),
        Column("Points", "that bear on it", numeric=True),
        Column("Width before", "SD, log10", numeric=True),
        Column("Width after", "SD, log10", numeric=True),
        Column("Influence", "share of the answer's variance"),
        Column("Source"),
    ]
    counts = [(name, verdicts.count(name)) for name in dict.fromkeys((*SIGNS, *verdicts)) if name in verdicts]
    assumed = [names[n] for n in order if verdicts[n] != "constrained" and np.nan_to_num(influence[n]) >= 0.05]
    rests = f" Those that move the answer and that data do not constrain: {', '.join(assumed)}." if assumed else ""
    lead = paragraph(
        f"{len(names)} uncertain parameters: {', '.join(f'{count} {name}' for name, count in counts)}.{rests}",
        lead=True,
    )
    note = paragraph(
        "Width before is what was believed without the data, width after what the data leave open; where they are equal, "
        "the data say nothing. Influence is by ranks over the virtual cells."
    )
    return [
        lead,
        table(columns, rows, caption="Evidence by parameter, most influential first", id="evidence-table", shown=FIRST),
        note,
    ]


def verdict(text: str) -> object:
    """A verdict with its sign."""
    sign = SIGNS.get(text, "·")
    return element(
        "span", element("span", sign, aria_hidden="true"), f" {text}", class_=f"verdict {'-'.join(text.split())}"
    )


def _escapes(contents: Contents) -> list[object]:
    """Cells of the winner that miss the goal, against those that reach it, in the parameters that tell them apart most."""
    winner, goal = contents.winner, contents.goal
    if winner is None or goal is None or not contents.has("removed"):
        return []
    removed = contents.numbers("removed")[winner.index]
    known = np.isfinite(removed)
    escaped = known & (removed < goal.removed_share)
    heading = element("h3", "Who escapes")
    if known.sum() == 0:
        return []
    if escaped.sum() == 0 or escaped.sum() == known.sum():
        which = "No" if escaped.sum() == 0 else "Every"
        return [heading, paragraph(f"{which} virtual cell misses the goal under {winner.label}.")]
    drawn = _drawn(contents, winner.index)
    told = sorted(
        ((_apart(values, escaped, known), name) for name, values in drawn.items()),
        key=lambda one: (-abs(one[0] - 0.5), one[1]),
    )[:6]
    if not told:
        return []
    words = "; ".join(
        f"{'high' if area > 0.5 else 'low'} {name} ({percent(max(area, 1 - area))})" for area, name in told[:3]
    )
    names = [label(name) for _, name in told][::-1]
    traces: list[Trace] = []
    for group, chosen, colour in (("escapes", escaped, "@vermilion"), ("responds", known & ~escaped, "@blue")):
        x, y = [], []
        for _, name in told[::-1]:
            place = _ranks(drawn[name], known)[chosen]
            x += plain(place)
            y += [label(name)] * int(chosen.sum())
        traces.append(
            {
                "type": "box", "orientation": "h", "x": x, "y": y, "boxpoints": False,
                "line": {"color": colour, "width": 1.5}, "fillcolor": f"{colour}/0.25", "legendgroup": group,
                "hoverinfo": "skip", "showlegend": False,
            }
        )  # fmt: skip
    layout = {
        "xaxis": share_axis("place of the cell among all cells, from the lowest to the highest value", 0, 1),
        "yaxis": {"type": "category", "automargin": True, "categoryorder": "array", "categoryarray": names},
        "boxmode": "group",
        "margin": {"l": 10},
    }
    sentence = f"{int(escaped.sum())} of {int(known.sum())} virtual cells miss the goal under {winner.label}. What sets them apart most: {words}."
    figure = Figure(
        id="evidence-escapes",
        alt=sentence,
        panels=(Panel("", traces, layout, height=90 + 52 * len(told), wide=True),),
        legend=(
            Entry("escapes", "cells that escape", "@vermilion", kind="band"),
            Entry("responds", "cells that respond", "@blue", kind="band"),
        ),
        caption=f"In brackets: the chance that an escaping cell and a responding cell are told apart by this parameter alone (50{SPACE}% is "
        "a coin). Boxes span the quartiles, whiskers the range.",
    )
    return [heading, paragraph(sentence), figure.html()]


def _drawn(contents: Contents, arm: int) -> dict[str, np.ndarray]:
    """Parameters drawn per cell, as they are in one arm, by name; also the winner's own rates."""
    found: dict[str, np.ndarray] = {}
    for name, variable in contents.dataset.coords.items():
        if variable.dtype.kind not in "fiu" or name == "member" or "member" not in variable.dims:
            continue
        values = np.asarray(variable.values, dtype=float)
        if variable.dims == ("member",):
            found[str(name)] = values
        elif variable.dims == ("arm", "member"):
            found[str(name)] = values[arm]
    compound = contents.arms[arm].compound
    if compound and contents.has("candidate") and compound in contents.texts("candidate"):
        place = contents.texts("candidate").index(compound)
        for name in ("Kd", "kon", "koff"):
            if contents.has(name) and contents.dataset[name].dims == ("candidate", "member"):
                found[name] = contents.numbers(name)[place]
    return {name: values for name, values in found.items() if np.isfinite(values).all() and np.ptp(values) > 0}


def _ranks(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Place among the known cells, 0…1; equal values share their mean place."""
    from scipy.stats import rankdata

    ranks = np.full(values.shape, np.nan)
    ranks[known] = (rankdata(values[known]) - 0.5) / known.sum()
    return ranks


def _apart(values: np.ndarray, escaped: np.ndarray, known: np.ndarray) -> float:
    """Chance that an escaping cell has the higher value than a responding one (Mann & Whitney 1947)."""
    ranks = _ranks(values, known) * known.sum() + 0.5
    inside, outside = int(escaped.sum()), int((known & ~escaped).sum())
    return float((ranks[escaped].sum() - inside * (inside + 1) / 2) / (inside * outside))
