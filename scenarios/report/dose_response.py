"""Dose–response of each compound: bands over cells, the share that reaches the goal, and the cells themselves."""

from __future__ import annotations

import numpy as np

from scenarios.report import potency
from scenarios.report.cells import strip, thinned, view_range
from scenarios.report.contents import Contents, Treated
from scenarios.report.figure import COLOURS, Figure, Panel, Trace, View, band, dose_axis, label, level, line, share_axis
from scenarios.report.number import SPACE, dose, percent, plain
from scenarios.report.quantile import quantiles
from scenarios.report.section import Section, paragraph

COMPOUNDS = 60
"""Compounds with a figure of their own at most; the map holds all."""


def section(contents: Contents) -> Section | None:
    """Dose–response; None where no compound was given at two doses or more."""
    series = _series(contents)
    if not series or not contents.has("removed"):
        return None
    parts: list[object] = [
        paragraph(
            f"Every compound at every dose, in {contents.judged_line}. S is the share of the signal that the positive control removes "
            "and the treatment removes too: (vehicle − treatment) / (vehicle − positive control), per cell, on the "
            f"area under {contents.goal.readout if contents.goal else 'the readout'}.",
            lead=True,
        )
    ]
    if contents.has("responder_fraction"):
        parts.append(_map(contents, series))
    parts.append(_curves(contents, series))
    parts += [*potency.doses(contents), *potency.room(contents)]
    return Section("dose-response", "Dose–response", "Dose–response", tuple(parts))


def _series(contents: Contents) -> dict[str, list[Treated]]:
    """Ranked arms of each compound, by dose; compounds in the order of their best rank."""
    found: dict[str, list[Treated]] = {}
    for arm in contents.ranked:
        if arm.compound and np.isfinite(arm.dose_uM) and arm.dose_uM > 0:
            found.setdefault(arm.compound, []).append(arm)
    ordered = {compound: sorted(arms, key=lambda arm: arm.dose_uM) for compound, arms in found.items()}
    return {compound: arms for compound, arms in ordered.items() if len(arms) > 1}


def _map(contents: Contents, series: dict[str, list[Treated]]) -> object:
    share = contents.numbers("responder_fraction")
    doses = sorted({round(arm.dose_uM, 12) for arms in series.values() for arm in arms})
    names = list(series)[::-1]
    grid = np.full((len(names), len(doses)), np.nan)
    for row, name in enumerate(names):
        for arm in series[name]:
            grid[row, doses.index(round(arm.dose_uM, 12))] = share[arm.index]
    shown = [[label(percent(float(value))) if np.isfinite(value) else "" for value in row] for row in grid]
    heat: Trace = {
        "type": "heatmap",
        "z": [plain(row) for row in grid],
        "x": [dose(value) for value in doses],
        "y": [label(name) for name in names],
        "text": shown,
        "hovertemplate": "<b>%{y}</b>, %{x}<br>%{text} of cells at the goal<extra></extra>",
        "colorscale": [[0, "@scale0"], [0.25, "@scale1"], [0.5, "@scale2"], [0.75, "@scale3"], [1, "@scale4"]],
        "zmin": 0,
        "zmax": 1,
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
    }
    numbers: Trace = {
        "type": "scatter",
        "mode": "text",
        "x": [dose(value) for _ in names for value in doses],
        "y": [label(name) for name in names for _ in doses],
        "text": [text for row in shown for text in row],
        # dark on pale, pale on dark: the numbers must be read on every colour of the map
        "textfont": {"size": 12, "color": ["@full" if value > 0.7 else "@faint" for value in grid.ravel().tolist()]},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    layout = {
        "xaxis": {
            "type": "category",
            "title": {"text": "dose"},
            "showgrid": False,
            "ticks": "",
            "range": [-0.5, len(doses) - 0.5],
        },
        "yaxis": {
            "type": "category",
            "automargin": True,
            "showgrid": False,
            "ticks": "",
            "showline": False,
            "range": [-0.5, len(names) - 0.5],
        },
        "margin": {"l": 10},
    }
    best = contents.ranked[0]
    alt = (
        f"Share of cells at the goal for {len(names)} compounds and {len(doses)} doses; the highest is "
        f"{percent(float(share[best.index]))} for {best.label}."
    )
    return Figure(
        id="dose-map",
        alt=alt,
        panels=(Panel("Share of cells at the goal", (heat, numbers), layout, height=90 + 25 * len(names), wide=True),),
        caption=f"Compounds in the order of their best rank; each number is the share of {contents.members} virtual cells "
        f"with {contents.goal_words or 'the goal reached'}.",
    ).html()


def _curves(contents: Contents, series: dict[str, list[Treated]]) -> object:
    removed, goal = contents.numbers("removed"), contents.goal
    doses = np.array([arm.dose_uM for arms in series.values() for arm in arms])
    listed = list(series)[:COMPOUNDS]
    low, high, outside = view_range(removed[[arm.index for name in listed for arm in series[name]]])
    goal_line = [level(goal.removed_share)] if goal is not None else []
    middle = quantiles(removed, (0.5,))[0]
    others = _context(series, listed, middle)
    axis = dose_axis(doses)
    panels = [
        Panel(
            "Signal removed",
            (others,),
            {"xaxis": axis, "yaxis": share_axis("signal removed, S", low, high), "shapes": goal_line},
        )
    ]
    if contents.has("responder_fraction"):
        required = [level(goal.cell_share)] if goal is not None else []
        fraction = contents.numbers("responder_fraction")
        panels.append(
            Panel(
                "Cells at the goal",
                (_context(series, listed, fraction),),
                {"xaxis": axis, "yaxis": share_axis("share of cells", -0.02, 1.02), "shapes": required},
            )
        )
    if contents.has("engagement"):
        engaged = quantiles(contents.numbers("engagement"), (0.5,))[0]
        readout = goal.engagement if goal is not None and goal.engagement else "target"
        panels.append(
            Panel(
                f"Target engaged ({readout})",
                (_context(series, listed, engaged),),
                {"xaxis": axis, "yaxis": share_axis("target engaged", -0.05, 1.05)},
            )
        )
    across = {"type": "category", "title": {"text": "dose"}, "categoryorder": "array"}
    panels.append(
        Panel(
            "Every cell",
            (),
            {"xaxis": across, "yaxis": share_axis("signal removed, S", low, high), "shapes": goal_line},
            wide=True,
        )
    )
    views = [_view(contents, name, series[name], axis) for name in listed]
    winner = contents.winner.compound if contents.winner is not None else ""
    chosen = listed.index(winner) if winner in listed else 0
    cut = (
        ""
        if len(series) == len(listed)
        else f" The {COMPOUNDS} best of {len(series)} compounds can be chosen; the map holds all."
    )
    return Figure(
        id="dose-curves",
        alt="Dose–response of the chosen compound: signal removed, cells at the goal, target engaged, and every cell, "
        f"against the dose. Shown first: {listed[chosen]}, {_summary(series[listed[chosen]], middle)}.",
        panels=panels,
        choice="Compound",
        views=views,
        chosen=chosen,
        caption=f"Line: median cell. Dark band: 25–75{SPACE}% of cells, light band: 5–95{SPACE}%. Grey: medians of the other compounds. "
        f"Dotted: the goal. Whiskers of shares: 95{SPACE}% Wilson. Dots: one cell each{thinned(contents.members)}, "
        f"beside the box of their quartiles.{outside}{cut}",
    ).html()


def _summary(arms: list[Treated], middle: np.ndarray) -> str:
    first, last = arms[0], arms[-1]
    return (
        f"median {percent(float(middle[first.index]))} removed at {dose(first.dose_uM)} "
        f"and {percent(float(middle[last.index]))} at {dose(last.dose_uM)}"
    )


def _context(series: dict[str, list[Treated]], listed: list[str], values: np.ndarray) -> Trace:
    """Curves of all compounds as one grey trace, cut between compounds."""
    x, y = [], []
    for name in listed:
        x += [arm.dose_uM for arm in series[name]] + [np.nan]
        y += [values[arm.index] for arm in series[name]] + [np.nan]
    return line(x, y, colour="@muted/0.3", width=1, hoverinfo="skip")


def _view(contents: Contents, compound: str, arms: list[Treated], axis: dict[str, object]) -> View:
    colour, index = COLOURS[0], [arm.index for arm in arms]
    x = np.array([arm.dose_uM for arm in arms])
    names = [dose(value) for value in x]
    removed = contents.numbers("removed")[index]
    traces = [_banded(x, removed, colour, names)]
    if contents.has("responder_fraction"):
        traces.append([_responders(contents, index, x, colour, names)])
    if contents.has("engagement"):
        traces.append(_banded(x, contents.numbers("engagement")[index], colour, names))
    traces.append([strip(cells, name, colour=colour, upright=True) for cells, name in zip(removed, names, strict=True)])
    layouts: list[dict[str, object]] = [{} for _ in traces]
    layouts[-1] = {"xaxis": {"categoryarray": names}}
    return View(compound, traces, layouts=layouts)


def _banded(x: np.ndarray, values: np.ndarray, colour: str, names: list[str]) -> list[Trace]:
    low, q1, median, q3, high = quantiles(values)
    shown = [
        [name, label(percent(float(a))), label(percent(float(b)))] for name, a, b in zip(names, low, high, strict=True)
    ]
    text = "%{customdata[0]}: median <b>%{y:.0%}</b><br>5–95 % of cells: %{customdata[1]} to %{customdata[2]}<extra></extra>"
    return [
        band(x, low, high, colour=colour, opacity=0.14),
        band(x, q1, q3, colour=colour, opacity=0.26),
        line(
            x,
            median,
            colour=colour,
            mode="lines+markers",
            marker={"size": 6, "color": colour},
            customdata=shown,
            hovertemplate=text,
        ),
    ]


def _responders(contents: Contents, index: list[int], x: np.ndarray, colour: str, names: list[str]) -> Trace:
    share = contents.numbers("responder_fraction")[index]
    trace = line(
        x, share, colour=colour, mode="lines+markers", marker={"size": 7, "color": colour}, customdata=names,
        hovertemplate="%{customdata}: <b>%{y:.0%}</b> of cells<extra></extra>",
    )  # fmt: skip
    if contents.has("responder_fraction_low", "responder_fraction_high"):
        low, high = (contents.numbers(f"responder_fraction_{end}")[index] for end in ("low", "high"))
        trace["error_y"] = {
            "type": "data", "symmetric": False, "array": plain(high - share), "arrayminus": plain(share - low),
            "color": f"{colour}/0.6", "thickness": 1.4, "width": 0,
        }  # fmt: skip
    return trace
