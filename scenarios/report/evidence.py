"""What the answer rests on: for each parameter whether data constrain it, how much it moves the answer, and which cells escape."""

from __future__ import annotations

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.figure import Entry, Figure, Panel, Trace, label, level, share_axis
from scenarios.report.markup import element, join
from scenarios.report.number import SPACE, count, plain, significant
from scenarios.report.section import Section, paragraph
from scenarios.report.table import Cell, Column, share_bar, table

SURE = 0.05
"""Adjusted p-value below which a parameter sets cells apart."""

FIRST = 12
"""Parameters shown before the reader asks for all."""

SIGNS = {"constrained": "●", "weakly constrained": "◐", "cited": "◇", "assumed": "○"}
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
    on_dose = numbers("influence_dose")
    dosed = bool(np.isfinite(on_dose).any())
    sources, groups = texts("source"), texts("group")
    order = np.argsort(-np.nan_to_num(influence, nan=-1.0), kind="stable")
    rows = [
        [
            Cell(
                join((element("code", names[n]), element("small", " · ".join(filter(None, (groups[n], sources[n])))))),
                names[n],
            ),
            Cell(verdict(verdicts[n]), verdicts[n]),
            Cell(count(float(points[n])), float(points[n])),
            Cell(significant(float(prior[n]), 2), float(prior[n])),
            Cell(significant(float(posterior[n]), 2), float(posterior[n])),
            Cell(share_bar(float(influence[n]), wide=50), float(influence[n])),
            *([Cell(share_bar(float(on_dose[n]), wide=50), float(on_dose[n]))] if dosed else []),
        ]
        for n in order
    ]
    columns = [
        Column("Parameter", "source of uncertainty · where its width comes from"),
        Column("Verdict"),
        Column("Points", "that bear on it", numeric=True),
        Column("Width before", "SD, log10", numeric=True),
        Column("Width after", "SD, log10", numeric=True),
        Column("Influence", "share of the answer's variance"),
        *([Column("On the dose", "that a cell needs")] if dosed else []),
    ]
    counts = [(name, verdicts.count(name)) for name in dict.fromkeys((*SIGNS, *verdicts)) if name in verdicts]
    assumed = [
        names[n] for n in order if verdicts[n] not in ("constrained", "cited") and np.nan_to_num(influence[n]) >= 0.05
    ]
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
    """Which parameters set cells of the best treatment that miss the goal apart from those that reach it."""
    winner = contents.winner
    if winner is None or not contents.has("parameter", "evidence_escape"):
        return []
    heading = element("h3", "Who escapes")
    cells, escaped = contents.share("evidence_cells"), contents.share("evidence_escaped")
    counted = (
        f"{count(escaped)} of {count(cells)} cells" if np.isfinite(escaped) and np.isfinite(cells) else "Some cells"
    )
    chance = contents.numbers("evidence_escape")
    if not np.isfinite(chance).any():
        which = "No cell" if escaped == 0 else "Every cell"
        return [heading, paragraph(f"{which} misses the goal under {winner.label}.")]
    names = contents.texts("parameter")
    p = contents.numbers("evidence_escape_p") if contents.has("evidence_escape_p") else np.full(len(names), np.nan)
    order = sorted(
        (n for n in range(len(names)) if np.isfinite(chance[n])), key=lambda n: (-abs(chance[n] - 0.5), names[n])
    )
    sure = [n for n in order if p[n] < SURE]
    told = "; ".join(f"{'high' if chance[n] > 0.5 else 'low'} {names[n]}" for n in sure[:3])
    words = f"What sets them apart: {told}." if sure else "No single parameter sets them apart beyond chance."
    sentence = f"{counted} miss the goal under {winner.label}. {words}"
    shown = order[:8][::-1]
    traces: list[Trace] = []
    for group, chosen in (
        ("sure", [n for n in shown if p[n] < SURE]),
        ("chance", [n for n in shown if not p[n] < SURE]),
    ):
        colour = "@vermilion" if group == "sure" else "@muted"
        x = [value for n in chosen for value in (0.5, float(chance[n]), None)]
        y = [value for n in chosen for value in (label(names[n]), label(names[n]), None)]
        traces.append(
            {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": {"color": f"{colour}/0.5", "width": 3},
             "hoverinfo": "skip", "legendgroup": group, "showlegend": False}
        )  # fmt: skip
        traces.append(
            {"type": "scatter", "mode": "markers", "x": plain(chance[chosen]), "y": [label(names[n]) for n in chosen],
             "marker": {"color": colour, "size": 10, "symbol": "circle" if group == "sure" else "circle-open"},
             "customdata": [significant(float(p[n]), 2) for n in chosen], "legendgroup": group, "showlegend": False,
             "hovertemplate": "<b>%{y}</b>: %{x:.0%}<br>p = %{customdata}<extra></extra>"}
        )  # fmt: skip
    layout = {
        "xaxis": share_axis("chance that an escaping cell has the higher value", 0, 1),
        "yaxis": {
            "type": "category",
            "automargin": True,
            "categoryorder": "array",
            "categoryarray": [label(names[n]) for n in shown],
        },
        "shapes": [level(0.5, vertical=True)],
        "margin": {"l": 10},
    }
    figure = Figure(
        id="evidence-escapes",
        alt=sentence,
        panels=(Panel("", traces, layout, height=90 + 30 * len(shown), wide=True),),
        legend=(
            Entry("sure", f"beyond chance (adjusted p < {SURE:g})", "@vermilion", kind="point"),
            Entry("chance", "may be chance", "@muted", kind="point"),
        ),
        caption=f"At 50{SPACE}% a parameter says nothing of who escapes; at 0 or 100{SPACE}% it tells every escaping cell from every "
        "responding one (Mann and Whitney 1947).",
    )
    return [heading, paragraph(sentence), figure.html()]
