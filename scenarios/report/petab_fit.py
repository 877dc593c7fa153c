"""A PEtab problem: simulated courses of every observable through its measured points, and how near they are."""

from __future__ import annotations

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.figure import COLOURS, DASHES, Figure, Layout, Panel, Trace, View, label, line
from scenarios.report.number import plain, significant
from scenarios.report.section import Section, paragraph
from scenarios.report.table import Cell, Column, table

_NUMBERS = 300_000
"""Numbers that the choice of observables may hold; further ones are in the Zarr result."""


def section(contents: Contents) -> Section | None:
    """Fits; None where the result is no PEtab problem."""
    if contents.text("kind") != "petab":
        return None
    data = contents.dataset
    chi2, log_likelihood = contents.share("chi2"), contents.share("log_likelihood")
    lead = (
        f"χ² {significant(chi2, 5)} of {data.sizes['point']} measured points at the nominal parameters; "
        f"log-likelihood {significant(log_likelihood, 7)}."
    )
    names = contents.texts("observable")
    order = np.argsort(-data["chi2_of"].values / data["points_of"].values, kind="stable")
    views, used, left = [], 0, 0
    for n in order:
        view, size = _view(contents, names[int(n)])
        used += size
        if used > _NUMBERS and views:
            left += 1
            continue
        views.append(view)
    panels = (
        Panel("Courses and measured points", (), {"xaxis": {"title": {"text": label(_time(contents))}}}, height=380),
        Panel("Simulated against measured", (), {"xaxis": {"title": {"text": "measured"}}, "yaxis": {"title": {"text": "simulated"}}}, height=380),
    )  # fmt: skip
    figure = Figure(
        id="petab-fits",
        alt=f"Simulated courses of {len(views)} observables beside their measured points.",
        panels=panels,
        caption="Points are measured, with their noise as bars; lines are simulated, one colour for each condition. A measured "
        "steady state is drawn at the end. The observable that is met worst for its noise comes first.",
        choice="Observable",
        views=views,
    )
    parts = (paragraph(lead, lead=True), figure.html())
    more = paragraph(f"{left} further observables are in the Zarr result.") if left else ""
    return Section("fits", "Simulated and measured", "Fits", (*parts, more, _table(contents, order)))


def _view(contents: Contents, name: str) -> tuple[View, int]:
    data = contents.dataset
    points = np.flatnonzero(np.asarray(contents.texts("point_observable")) == name)
    curves = np.flatnonzero(np.asarray(contents.texts("curve_observable")) == name)
    conditions, before = contents.texts("condition"), contents.texts("preequilibration")
    kinds = list(dict.fromkeys((before[i], conditions[i]) for i in points))
    style = {kind: (COLOURS[n % len(COLOURS)], DASHES[n // len(COLOURS) % len(DASHES)]) for n, kind in enumerate(kinds)}
    scale = contents.texts("transformation")[points[0]]
    time, measured, simulated, noise = (
        np.asarray(data[n].values, dtype=float) for n in ("point_time", "measurement", "simulation", "noise")
    )
    course_time, course = np.asarray(data["course_time"].values), np.asarray(data["course"].values)
    of_curve = np.asarray(data["point_curve"].values)
    traces: list[Trace] = []
    scatter: list[Trace] = []
    for c in curves:
        rows = points[of_curve[points] == c]
        kind = (before[rows[0]], conditions[rows[0]])
        colour, dash = style[kind]
        text = label(" → ".join(filter(None, kind)))
        if np.ptp(course_time[c]) > 0.0 and np.isfinite(time[rows]).any():
            traces.append(line(course_time[c], course[c], colour=colour, dash=dash, name=text, width=1.6))
        shown = np.where(np.isfinite(time[rows]), time[rows], course_time[c, -1])
        traces.append(_measured(shown, measured[rows], noise[rows], scale, colour, text))
        scatter.append({"type": "scatter", "mode": "markers", "x": plain(measured[rows]), "y": plain(simulated[rows]),
                        "name": text, "marker": {"color": colour, "size": 6}, "showlegend": False})  # fmt: skip
    both = np.concatenate([measured[points], simulated[points]])
    ends = np.array([np.nanmin(both), np.nanmax(both)]) if np.isfinite(both).any() else np.zeros(2)
    scatter.insert(0, line(ends, ends, colour="@ink/0.4", width=1, dash="dot", hoverinfo="skip"))
    axis: Layout = {"type": "log"} if scale != "lin" else {}
    layouts: list[Layout] = [{"yaxis": {"title": {"text": label(name)}, **axis}}, {"xaxis": axis, "yaxis": axis}]
    size = len(curves) * course.shape[1] * 2 + 5 * len(points)
    titles = dict(zip(contents.texts("observable"), contents.texts("observable_name"), strict=True))
    shown_name = name if titles[name] == name else f"{name}: {titles[name]}"
    return View(shown_name, [traces, scatter], layouts=layouts), size


def _measured(x: np.ndarray, y: np.ndarray, noise: np.ndarray, scale: str, colour: str, text: str) -> Trace:
    base = {"log": np.e, "log10": 10.0}.get(scale)
    with np.errstate(all="ignore"):
        up = noise if base is None else y * (base**noise - 1.0)
        down = noise if base is None else y * (1.0 - base**-noise)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": plain(x),
        "y": plain(y),
        "error_y": {"type": "data", "array": plain(up), "arrayminus": plain(down), "color": f"{colour}/0.5", "width": 2, "thickness": 1},
        "marker": {"color": colour, "size": 6},
        "name": text,
        "showlegend": False,
    }  # fmt: skip


def _time(contents: Contents) -> str:
    units = str(contents.dataset["point_time"].attrs.get("units", ""))
    return f"time [{units}]" if units not in ("", "1") else "time"


def _table(contents: Contents, order: np.ndarray) -> object:
    data = contents.dataset
    columns = [
        Column("Observable"), Column("Points", numeric=True), Column("χ²", numeric=True),
        Column("χ² / points", "1 where the noise tells how far a point is off", numeric=True),
        Column("Log-likelihood", numeric=True),
    ]  # fmt: skip
    names = contents.texts("observable")
    rows: list[list[object]] = []
    for n in order.tolist():
        points, chi2 = int(data["points_of"].values[n]), float(data["chi2_of"].values[n])
        density = float(data["log_likelihood_of"].values[n])
        rows.append([
            Cell(names[n], names[n]), Cell(points, float(points)), Cell(significant(chi2, 4), chi2),
            Cell(significant(chi2 / points), chi2 / points), Cell(significant(density, 5), density),
        ])  # fmt: skip
    return table(columns, rows, caption="How near simulations are to measured points", id="fits-table", shown=20)
