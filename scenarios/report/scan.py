"""A scan: courses over the scanned values, and the end of each variable against them."""

from __future__ import annotations

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.figure import COLOURS, Figure, Layout, Panel, Trace, View, band, label, line
from scenarios.report.number import SPACE, plain, significant
from scenarios.report.section import Section, paragraph
from scenarios.scan_view import ScanView

_VARIABLES = 60
_SCALE = [[0, "@scale0"], [0.25, "@scale1"], [0.5, "@scale2"], [0.75, "@scale3"], [1, "@scale4"]]


def section(contents: Contents) -> Section | None:
    """The scan; None where the result is none."""
    if contents.text("kind") != "scan":
        return None
    view = ScanView(contents.dataset)
    if not view.variables:
        return None
    names = view.variables[:_VARIABLES]
    what = " × ".join(f"{len(view.values(axis))} values of {view.named(axis)}" for axis in view.axes) or "One course"
    lead = f"{what}, {len(view.times)} times" + (
        f", {view.members} members at each point." if view.members > 1 else "."
    )
    panels = [Panel("Courses", (), _axis_layout(view.named("time"), ""), height=340)]
    if len(view.axes) == 1:
        panels.append(Panel(f"At {view.end_words}", (), _scanned_layout(view, view.axes[0], ""), height=340))
    elif view.axes:
        panels.append(Panel(f"At {view.end_words}{view.cut_words()}", (), _map_layout(view), height=340))
    views = [
        View(view.named(name), [_courses(view, name), *([_ends(view, name)] if view.axes else [])],
             layouts=[{"yaxis": {"title": {"text": label(view.named(name))}}}, *_end_layouts(view, name)])
        for name in names
    ]  # fmt: skip
    figure = Figure(
        id="scan-figure",
        alt=f"Courses and ends of {', '.join(names[:5])} over the scan.",
        panels=panels,
        caption=_caption(view),
        choice="Variable",
        views=views,
    )
    left = len(view.variables) - len(names)
    more = paragraph(f"{left} more variables are in the Zarr result.") if left > 0 else ""
    return Section("scan", "Scan", "Scan", (paragraph(lead, lead=True), figure.html(), more))


def _caption(view: ScanView) -> str:
    words = "Pale is the first scanned value, dark the last; hover for values."
    if len(view.axes) > 1:
        words = f"Courses over {view.axes[0]}, the other scanned values in their middle. " + words
    floors = {view.floor(name) for name in view.variables if view.rounded(name)}
    if floors:
        words += f" What the solver does not know from 0, within {significant(max(floors), 1)}, is drawn as 0."
    bands = f" Lines are the median of {view.members} members, bands span 5–95{SPACE}%." if view.members > 1 else ""
    return words + bands


def _courses(view: ScanView, name: str) -> list[Trace]:
    bands = view.bands(name)
    if not view.axes:
        traces = [line(view.times, bands[1], colour=COLOURS[0])]
        return [band(view.times, bands[0], bands[2], colour=COLOURS[0]), *traces] if view.members > 1 else traces
    middle = tuple(view.dataset.sizes[axis] // 2 for axis in view.axes[1:])
    cut = bands[(slice(None), slice(None), *middle)]
    traces: list[Trace] = []
    values = view.values(view.axes[0])
    chosen = view.chosen(len(values))
    for n, i in enumerate(chosen):
        share = 0.2 + 0.8 * n / max(len(chosen) - 1, 1)
        if view.members > 1 and i in (chosen[0], chosen[-1]):
            traces.append(band(view.times, cut[0, i], cut[2, i], colour=COLOURS[0], opacity=0.15))
        text = f"{view.axes[0]} = {significant(float(values[i]))}"
        traces.append(line(view.times, cut[1, i], colour=f"{COLOURS[0]}/{share:.2g}", name=label(text)))
    return traces


def _ends(view: ScanView, name: str) -> list[Trace]:
    ends = view.bands(name)[..., -1]
    first = view.values(view.axes[0])
    if len(view.axes) == 1:
        traces = [line(first, ends[1], colour=COLOURS[0], mode="lines+markers" if len(first) <= 60 else "lines")]
        return [band(first, ends[0], ends[2], colour=COLOURS[0]), *traces] if view.members > 1 else traces
    grid = ends[(1, slice(None), slice(None), *view.middle())]
    return [
        {
            "type": "heatmap",
            "z": [plain(row) for row in grid.T],
            "x": plain(first),
            "y": plain(view.values(view.axes[1])),
            "colorscale": _SCALE,
            "colorbar": {"title": {"text": label(view.named(name)), "side": "right"}, "thickness": 12},
            "hovertemplate": f"{label(view.axes[0])} %{{x:.3g}}<br>{label(view.axes[1])} %{{y:.3g}}<br>%{{z:.4g}}<extra></extra>",
        }
    ]


def _end_layouts(view: ScanView, name: str) -> list[Layout]:
    return [{"yaxis": {"title": {"text": label(view.named(name))}}}] if len(view.axes) == 1 else []


def _axis_layout(x: str, y: str) -> Layout:
    return {"xaxis": {"title": {"text": label(x)}}, "yaxis": {"title": {"text": label(y)}}}


def _scanned(view: ScanView, axis: str) -> Layout:
    values = view.values(axis)
    logarithmic = view.logarithmic(axis) and bool(np.all(values > 0.0))
    return {"title": {"text": label(view.named(axis))}, **({"type": "log"} if logarithmic else {})}


def _scanned_layout(view: ScanView, axis: str, y: str) -> Layout:
    return {"xaxis": _scanned(view, axis), "yaxis": {"title": {"text": label(y)}}}


def _map_layout(view: ScanView) -> Layout:
    return {"xaxis": _scanned(view, view.axes[0]), "yaxis": _scanned(view, view.axes[1])}
