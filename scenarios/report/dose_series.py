"""Dose series of the readouts themselves, for arms that no goal judges: mean level after the stimulus against the dose."""

from __future__ import annotations

import numpy as np

from scenarios.report.contents import Contents, Treated
from scenarios.report.figure import Figure, Layout, Panel, Trace, View, band, dose_axis, label, line
from scenarios.report.number import SPACE, dose, significant
from scenarios.report.quantile import quantiles
from scenarios.report.section import Section, paragraph

SERIES = 60
"""Series that can be chosen at most."""

Key = tuple[str, str, str]
"""Cell line, treatment, compound."""


def section(contents: Contents) -> Section | None:
    """Dose series; None where no treatment has several doses, or where a goal ranks those that have."""
    series = dose_series(contents)
    if not series or not contents.readouts or len(contents.times) < 2:
        return None
    kept = dict(list(series.items())[:SERIES])
    axis = dose_axis(np.array([arm.dose_uM for arms in kept.values() for arm in arms]))
    levels = {name: quantiles(_mean_level(contents, name)) for name in contents.readouts}
    panels = [
        Panel(contents.named(name), (), {"xaxis": axis, "yaxis": {"title": {"text": f"mean {contents.axis(name)}"}}})
        for name in contents.readouts
    ]
    views = [
        View(
            " · ".join(filter(None, (cell_line, compound or treatment))),
            [_traces(levels[name], arms) for name in contents.readouts],
            group=treatment if compound else "",
            layouts=[_scale(levels[name], arms) for name in contents.readouts],
        )
        for (cell_line, treatment, compound), arms in kept.items()
    ]
    cut = "" if len(kept) == len(series) else f" The first {SERIES} of {len(series)} series can be chosen."
    figure = Figure(
        id="dose-series-levels",
        alt=f"Mean level of {', '.join(contents.readouts)} after the stimulus, against the dose, for {len(series)} dose series.",
        panels=panels,
        choice="Series",
        views=views,
        caption=f"Line: median cell. Dark band: 25–75{SPACE}% of cells, light band: 5–95{SPACE}%. Each series has its own scale.{cut}",
    )
    lead = paragraph(f"Mean level from {_start(contents):g} to {contents.times[-1]:g} min, by dose.", lead=True)
    return Section("dose-series", "Dose series", "Dose series", (lead, figure.html()))


def dose_series(contents: Contents) -> dict[Key, list[Treated]]:
    """Arms that differ in dose only, by dose, where no goal ranks them."""
    found: dict[Key, list[Treated]] = {}
    ranked = set(contents.ranked)
    for arm in contents.arms:
        if np.isfinite(arm.dose_uM) and arm.dose_uM > 0 and arm not in ranked and not arm.measured:
            found.setdefault((arm.cell_line, arm.treatment, arm.compound), []).append(arm)
    return {key: sorted(arms, key=lambda arm: arm.dose_uM) for key, arms in found.items() if len(arms) > 1}


def _start(contents: Contents) -> float:
    """Mean levels count from the stimulus, or from the first sample where all lie before or after it."""
    times = contents.times
    return 0.0 if times[0] < 0 < times[-1] else float(times[0])


def _mean_level(contents: Contents, readout: str) -> np.ndarray:
    """Time average per arm and member, by trapezoids over the samples."""
    times = contents.times
    after = times >= _start(contents)
    t, values = times[after], contents.numbers(readout)[:, :, after]
    if len(t) < 2:
        return values[:, :, -1]
    return np.trapezoid(values, t, axis=2) / (t[-1] - t[0])


def _scale(levels: np.ndarray, arms: list[Treated]) -> Layout:
    """Each series has its own scale: lines and compounds may lie far apart."""
    top = float(np.nanmax(levels[-1][[arm.index for arm in arms]], initial=0.0)) or 1.0
    return {"yaxis": {"range": [0, float(f"{1.06 * top:.4g}")]}}


def _traces(levels: np.ndarray, arms: list[Treated]) -> list[Trace]:
    x, index = np.array([arm.dose_uM for arm in arms]), [arm.index for arm in arms]
    low, q1, median, q3, high = levels[:, index]
    shown = [
        [dose(value), significant(float(a)), significant(float(b))] for value, a, b in zip(x, low, high, strict=True)
    ]
    text = "%{customdata[0]}: median <b>%{y:.3g}</b><br>5–95 % of cells: %{customdata[1]} to %{customdata[2]}<extra></extra>"
    return [
        band(x, low, high, colour="@blue", opacity=0.14),
        band(x, q1, q3, colour="@blue", opacity=0.26),
        line(
            x, median, colour="@blue", mode="lines+markers", marker={"size": 6, "color": "@blue"},
            customdata=[[label(part) for part in row] for row in shown], hovertemplate=text,
        ),
    ]  # fmt: skip
