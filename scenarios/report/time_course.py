"""Time courses of the readouts: the arms that matter side by side, every arm by choice, and the measured protocol
with its measured points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scenarios.arm import MEASURED_SUFFIX
from scenarios.report.contents import Contents, Treated
from scenarios.report.dose_series import dose_series
from scenarios.report.figure import COLOURS, DASHES, Entry, Figure, Layout, Panel, Trace, View, band, label, level, line
from scenarios.report.markup import element
from scenarios.report.number import SPACE, plain, significant
from scenarios.report.quantile import quantiles
from scenarios.report.section import Section, paragraph

SIDE_BY_SIDE = 6
"""Treatments drawn over each other at most; beyond that, colours cannot be told apart."""

APART = 4.0
"""Beyond this ratio of their highest values, cell lines do not share a scale: the lower one would be flat."""

NOTHING = 1e-6
"""Share of the highest value below which a readout is nothing."""

NUMBERS = 400_000
"""Numbers that the choice of all arms may hold; beyond it times are thinned, then arms left to the Zarr result."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")


def section(contents: Contents) -> Section | None:
    """Time courses; None where the result has no readouts."""
    if not contents.readouts or not contents.arms:
        return None
    bands = {name: quantiles(contents.numbers(name), (0.05, 0.5, 0.95), axis=1) for name in contents.readouts}
    parts: list[object] = [
        paragraph(f"Lines are the median cell, bands span 5–95{SPACE}% of {contents.members} virtual cells.", lead=True)
    ]
    plain_arms = [arm for arm in contents.arms if not arm.measured]
    if plain_arms:
        parts += [element("h3", "Treatments side by side"), _side_by_side(contents, bands, plain_arms)]
    if any(arm.measured for arm in contents.arms):
        parts += [element("h3", "The measured protocol"), _measured(contents, bands)]
    # a choice of what is drawn already would be idle
    if len(contents.arms) > SIDE_BY_SIDE or len({arm.treatment for arm in plain_arms}) < len(plain_arms):
        parts += [element("h3", "Any arm"), _explorer(contents, bands)]
    return Section("time-courses", "Time courses", "Time courses", tuple(parts))


def _side_by_side(contents: Contents, bands: dict[str, np.ndarray], arms: Sequence[Treated]) -> object:
    """Cell lines × readouts: arms without a compound, and the best treatment."""
    winner = contents.winner
    ordinary = [
        arm for arm in arms if not arm.compound or arm == winner or (winner is None and len(arms) <= SIDE_BY_SIDE)
    ]
    # of a treatment with several doses one course would stand for all: they are under dose series, and under the choice
    doses = {arm for of in dose_series(contents).values() for arm in of if arm != winner}
    ordinary = [arm for arm in ordinary if arm not in doses] or list(arms[:SIDE_BY_SIDE])
    treatments = list(dict.fromkeys(arm.treatment for arm in ordinary))
    if winner is not None:  # the winner keeps the first colour, as elsewhere on the page
        treatments.sort(key=lambda treatment: treatment != winner.treatment)
    left_out = treatments[SIDE_BY_SIDE:]
    treatments = treatments[:SIDE_BY_SIDE]
    # a control in another line is shown under the winner's treatment: same drug, other cells
    shown = [
        next((arm for arm in (*ordinary, *arms) if arm.cell_line == cell_line and arm.treatment == treatment), None)
        for cell_line in dict.fromkeys(arm.cell_line for arm in arms)
        for treatment in treatments
    ]
    chosen = [arm for arm in shown if arm is not None]
    styles = {name: (COLOURS[n], DASHES[n]) for n, name in enumerate(treatments)}
    lines = list(dict.fromkeys(arm.cell_line for arm in chosen))
    panels = []
    tops = {
        (readout, cell_line): _top(bands[readout], [arm for arm in chosen if arm.cell_line == cell_line])
        for readout in contents.readouts
        for cell_line in lines
    }
    shared = all(
        max(tops[readout, one] for one in lines) <= APART * min(tops[readout, one] for one in lines)
        for readout in contents.readouts
    )
    for readout in contents.readouts:
        for cell_line in lines:
            highest = max(tops[readout, one] for one in lines)
            # what is a rounding error beside another line is zero, and not to be blown up
            own = not shared and tops[readout, cell_line] > NOTHING * highest
            top = tops[readout, cell_line] if own else highest
            traces: list[Trace] = []
            for arm in (arm for arm in chosen if arm.cell_line == cell_line):
                colour, dash = styles[arm.treatment]
                traces += _course(
                    contents.times, bands[readout][:, arm.index], arm, colour, dash, treatments.index(arm.treatment)
                )
            title = " · ".join(filter(None, (cell_line if len(lines) > 1 else "", contents.named(readout))))
            panels.append(Panel(title, traces, _layout(contents, readout, top), height=260))
    names = {
        treatment: f"{treatment} ({winner.label})"
        if winner is not None and treatment == winner.treatment and winner.compound
        else treatment
        for treatment in treatments
    }
    legend = [Entry(str(n), names[name], *styles[name]) for n, name in enumerate(treatments)]
    others = f" Not drawn here: {', '.join(left_out)}; choose them below." if left_out else ""
    scale = "The panels of a readout share one scale." if shared else "Mind the scales: each panel has its own."
    scale = "" if len(lines) == 1 else scale
    controls = [f"{arm.cell_line}: {arm.label}" for arm in chosen if arm.compound and arm != winner]
    also = f" In the other line the compound's arm is {'; '.join(controls)}." if controls else ""
    return Figure(
        id="time-main",
        alt=f"Time courses of {', '.join(contents.readouts)} in {', '.join(filter(None, lines)) or 'the cell'} under {'; '.join(names.values())}.",
        panels=panels,
        legend=legend,
        columns=len(lines),
        caption=f"Time counts from the stimulus. {scale}{also}{others}",
    ).html()


def _top(levels: np.ndarray, arms: Sequence[Treated]) -> float:
    """The highest value of the upper band."""
    return max(float(np.nanmax(levels[2][[arm.index for arm in arms]], initial=0.0)), 1e-300)


def _scale(levels: np.ndarray, arms: Sequence[Treated]) -> float:
    """The top of an axis: the highest value of these arms, or of all where theirs is nothing."""
    highest, own = float(np.nanmax(levels[2], initial=0.0)), _top(levels, arms)
    return own if own > NOTHING * highest else max(highest, 1e-300)


def _course(
    times: np.ndarray, levels: np.ndarray, arm: Treated, colour: str, dash: str, group: int | str
) -> list[Trace]:
    low, middle, high = levels
    text = f"{label(arm.label)}<br>%{{x:g}} min: median <b>%{{y:.3g}}</b><extra></extra>".replace("{{", "{")
    return [
        band(times, low, high, colour=colour, opacity=0.13, legendgroup=str(group)),
        {**line(times, middle, colour=colour, dash=dash), "legendgroup": str(group), "hovertemplate": text},
    ]


def _layout(
    contents: Contents, readout: str, top: float, *, start: float | None = None, narrow: bool = False
) -> Layout:
    times = contents.times
    first = float(times.min()) if start is None else start
    span = float(times.max()) - first
    axis: Layout = {
        "title": {"text": "time from the stimulus [min]"},
        "range": [first, float(times.max()) + 0.02 * span],
    }
    if 200 <= span <= 1000:  # hours are how people read minutes
        axis["dtick"] = 120 if narrow else 60
    stimulus = [level(0.0, vertical=True)] if first < 0 <= float(times.max()) else []
    return {
        "xaxis": axis,
        "yaxis": {"title": {"text": contents.axis(readout)}, "range": [0, float(f"{1.06 * top:.4g}")]},
        "shapes": stimulus,
    }


def _measured(contents: Contents, bands: dict[str, np.ndarray]) -> object:
    """Arms of the measured protocol, and they alone with measured points."""
    arms = [arm for arm in contents.arms if arm.measured]
    points = _points(contents)
    with_points = {readout for _, readout in points}
    readouts = [name for name in contents.readouts if name in with_points] or list(contents.readouts)
    sets = sorted({name for of in points.values() for name in of["set"]})
    panels, drawn = [], 0
    for readout in readouts:
        ends = [float(np.nanmax(bands[readout][2][[arm.index for arm in arms]], initial=0.0))]
        ends += [max(of["value"]) for (_, name), of in points.items() if name == readout]
        for arm in arms:
            here = points.get((arm.name, readout))
            if with_points and here is None:
                continue
            traces = _course(contents.times, bands[readout][:, arm.index], arm, "@blue", "solid", "model")
            if here is not None:
                traces += [_dots(here, name, n) for n, name in enumerate(sets) if name in here["set"]]
                drawn += len(here["value"])
            treatment = arm.treatment.replace(MEASURED_SUFFIX, "")
            title = " · ".join(filter(None, (readout, arm.cell_line, treatment)))
            layout = _layout(contents, readout, max(ends), start=max(-10.0, float(contents.times.min())))
            panels.append(Panel(title, traces, layout, height=240))
    held = int(contents.dataset.sizes.get("point", 0))
    rest = (
        f" {held - drawn} of {held} points belong to no arm of this result and are not drawn." if drawn < held else ""
    )
    legend = [Entry("model", "model: median and 5–95 % of cells", "@blue")]
    legend += [Entry("points", "measured, ± 1 SD", "@vermilion", kind="point")] if drawn else []
    return Figure(
        id="time-measured",
        alt=f"The measured protocol: {len(arms)} arms with {drawn} measured points.",
        panels=panels,
        legend=legend,
        caption="Only these arms repeat an experiment, so only they are drawn over measured points; all other treatments go "
        f"beyond what was measured.{rest} {_remarks(contents)}",
    ).html()


def _remarks(contents: Contents) -> str:
    """What the result says of its measured points: source, and how values were made comparable."""
    if not contents.has("measured_value"):
        return ""
    said = contents.dataset["measured_value"].attrs
    return " ".join(str(said[key]).strip() for key in ("comment", "source") if said.get(key))


def _points(contents: Contents) -> dict[tuple[str, str], dict[str, list]]:
    """Measured points by arm and readout."""
    needed = ("measured_value", "measured_time", "measured_arm", "measured_readout")
    if not contents.has(*needed):
        return {}
    size = contents.dataset.sizes["point"]
    value, time = contents.numbers("measured_value"), contents.numbers("measured_time")
    sd = contents.numbers("measured_sd") if contents.has("measured_sd") else np.full(size, np.nan)
    names = contents.texts("measured_set") if contents.has("measured_set") else [""] * size
    allowed = {arm.name for arm in contents.arms if arm.measured}
    found: dict[tuple[str, str], dict[str, list]] = {}
    arms, readouts = contents.texts("measured_arm"), contents.texts("measured_readout")
    for n, (arm, readout) in enumerate(zip(arms, readouts, strict=True)):
        if arm in allowed and readout in contents.readouts and np.isfinite(value[n]):
            of = found.setdefault((arm, readout), {"value": [], "time": [], "sd": [], "set": []})
            for key, entry in zip(of, (float(value[n]), float(time[n]), float(sd[n]), names[n]), strict=True):
                of[key].append(entry)
    return found


def _dots(points: dict[str, list], name: str, n: int) -> Trace:
    chosen = [k for k, of in enumerate(points["set"]) if of == name]
    sd = [points["sd"][k] for k in chosen]
    trace: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": plain([points["time"][k] for k in chosen]),
        "y": plain([points["value"][k] for k in chosen]),
        "marker": {
            "color": "@vermilion",
            "size": 6,
            "symbol": SYMBOLS[n % len(SYMBOLS)],
            "line": {"color": "@paper", "width": 0.8},
        },
        "text": [label(name)] * len(chosen),
        "hovertemplate": "measured %{text}<br>%{x:g} min: <b>%{y:.3g}</b><extra></extra>",
        "legendgroup": "points",
        "showlegend": False,
    }
    if np.isfinite(sd).any():
        trace["error_y"] = {"type": "data", "array": plain(sd), "color": "@vermilion/0.5", "thickness": 1.1, "width": 0}
    return trace


def _explorer(contents: Contents, bands: dict[str, np.ndarray]) -> object:
    """Any arm by choice, over the vehicle and the positive control of its own line."""
    keep, arms, cut = _budget(contents)
    readouts, times = contents.readouts, contents.times[keep]
    narrow = len(readouts) == 3 or len(readouts) > 4
    panels = [
        Panel(contents.named(name), (), _layout(contents, name, 1.0, narrow=narrow), height=260) for name in readouts
    ]
    lines = list(dict.fromkeys(arm.cell_line for arm in contents.arms))
    goal = contents.goal
    styles = {goal.vehicle: ("@muted", "solid"), goal.positive_control: ("@green", "dash")} if goal is not None else {}
    backgrounds: dict[str, list[list[Trace]]] = {}
    scales: dict[str, list[Layout]] = {}
    for cell_line in lines:
        references = contents.references(cell_line)
        backgrounds[cell_line] = [
            [
                trace
                for arm in references
                for trace in _course(
                    contents.times, bands[name][:, arm.index], arm, *styles[arm.treatment], arm.treatment
                )
            ]
            for name in readouts
        ]
        tops = [_scale(bands[name], [arm for arm in contents.arms if arm.cell_line == cell_line]) for name in readouts]
        scales[cell_line] = [{"yaxis": {"range": [0, float(f"{1.06 * top:.4g}")]}} for top in tops]
    views = []
    for arm in arms:
        name = f"{arm.compound} · {arm.label.removeprefix(arm.compound).strip()}" if arm.compound else arm.name
        group = " · ".join(filter(None, (arm.cell_line, arm.treatment))) if arm.compound else arm.cell_line
        courses = [
            _course(times, bands[readout][:, arm.index][:, keep], arm, "@blue", "solid", "chosen")
            for readout in readouts
        ]
        views.append(View(name, courses, group=group, behind=arm.cell_line, layouts=scales[arm.cell_line]))
    legend = [Entry("chosen", "the chosen arm", "@blue")]
    legend += [Entry(treatment, treatment, *style) for treatment, style in styles.items()]
    first = [n for n, arm in enumerate(arms) if arm.role == "treatment" and arm.cell_line == contents.judged_line]
    chosen = arms.index(contents.winner) if contents.winner in arms else (first or [0])[0]
    over = ", over vehicle and positive control of the same line as far as it has them" if styles else ""
    return Figure(
        id="time-any",
        alt=f"Time courses of the chosen arm among {len(arms)}; shown first: {arms[chosen].name}.",
        panels=panels,
        legend=legend if styles else (),
        choice="Arm",
        views=views,
        chosen=chosen,
        backgrounds=backgrounds,
        caption=f"Every arm of the result{over}. Each line has its own scale.{cut}",
    ).html()


def _budget(contents: Contents) -> tuple[np.ndarray, list[Treated], str]:
    """Which times and arms the choice of all arms holds, and what to say where it does not hold all."""
    arms, times = list(contents.arms), len(contents.times)
    per_time = 5 * len(contents.readouts)  # x twice and y twice for the band, y for the line
    wanted = max(12, NUMBERS // (per_time * len(arms)))
    keep = np.arange(times) if times <= wanted else np.unique(np.linspace(0, times - 1, wanted).round().astype(int))
    room = max(1, NUMBERS // (per_time * len(keep)))
    said = f" {len(keep)} of {times} times are drawn here." if len(keep) < times else ""
    if room < len(arms):
        best = [arm for arm in contents.ranked if arm in arms][: room // 2]
        chosen = [*best, *(arm for arm in arms if arm not in best)][:room]
        said += f" {significant(len(chosen))} of {len(arms)} arms can be chosen here; the Zarr result holds all."
        arms = [arm for arm in arms if arm in chosen]
    return keep, arms, said
