"""Figures of the page: panels that Plotly draws in the reader's light or dark colours, with one legend and one choice.

A figure is written as data. The page's script draws it, so that colours can follow the reader's scheme: a colour is
the name of a CSS variable, `@blue`, with an opacity where wanted, `@blue/0.2`.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scenarios.report.markup import Markup, element, join
from scenarios.report.number import dose, plain, superscript

Trace = dict[str, Any]
Layout = dict[str, Any]

COLOURS = ("@blue", "@vermilion", "@green", "@purple", "@ochre", "@sky")
"""Told apart with every kind of colour vision: hue and lightness both differ (after Okabe & Ito 2008)."""

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    traces: Sequence[Trace]
    layout: Layout
    height: int = 300
    wide: bool = False


@dataclass(frozen=True)
class View:
    """What one choice adds to the panels, in their order; `behind` names what several choices share."""

    label: str
    traces: Sequence[Sequence[Trace]]
    group: str = ""
    behind: str = ""
    layouts: Sequence[Layout] = ()


@dataclass(frozen=True)
class Entry:
    """One entry of the legend; its traces bear `legendgroup: key`."""

    key: str
    label: str
    colour: str
    dash: str = "solid"
    kind: str = "line"


@dataclass(frozen=True)
class Figure:
    """Panels in a grid, under a legend and a choice.

    Args:
        id: of the element, unique on the page.
        alt: what the figure shows, in words, for those who do not see it.
        caption: what it shows and how to read it.
        choice: what the reader chooses among `views`.
        chosen: which view is shown first.
        backgrounds: what is drawn behind a view, by the name that the view gives.
        columns: panels side by side where there is room, 1 to 3; 0 lets their number decide.
    """

    id: str
    alt: str
    panels: Sequence[Panel]
    caption: object = ""
    legend: Sequence[Entry] = ()
    choice: str = ""
    views: Sequence[View] = ()
    chosen: int = 0
    columns: int = 0
    backgrounds: Mapping[str, Sequence[Sequence[Trace]]] = field(default_factory=dict)

    def html(self) -> Markup:
        """The figure as it stands on the page."""
        spec = {
            "panels": [{"traces": panel.traces, "layout": panel.layout} for panel in self.panels],
            "views": [{"traces": view.traces, "layouts": view.layouts, "behind": view.behind} for view in self.views],
            "backgrounds": self.backgrounds,
        }
        plots = [
            element(
                "div",
                element("h4", panel.title, id=f"{self.id}-{n}-title") if panel.title else "",
                element(
                    "div",
                    id=f"{self.id}-{n}",
                    class_="plot",
                    role="img",
                    aria_label=f"{panel.title}. {self.alt}" if panel.title else self.alt,
                    style=f"height:{panel.height}px",
                ),
                class_="panel wide" if panel.wide else "panel",
            )
            for n, panel in enumerate(self.panels)
        ]
        narrow = sum(not panel.wide for panel in self.panels)
        columns = min(self.columns or (2 if narrow == 4 else narrow), 3)
        return element(
            "figure",
            element("div", self._choice(), self._legend(), class_="controls") if self.views or self.legend else "",
            element("div", *plots, class_=f"panels of{columns}"),
            element("script", Markup(as_json(spec)), type="application/json"),
            element("figcaption", self.caption) if self.caption else "",
            id=self.id,
        )

    def _choice(self) -> Markup:
        if not self.views:
            return Markup("")
        groups: dict[str, list[Markup]] = {}
        for n, view in enumerate(self.views):
            option = element("option", view.label, value=n, selected=n == self.chosen)
            groups.setdefault(view.group, []).append(option)
        options = join(
            element("optgroup", *options, label=group) if group else join(options) for group, options in groups.items()
        )
        select = element("select", options, id=f"{self.id}-choice", autocomplete="off")
        printed = element("span", class_="printed")  # a select does not print well: the script copies its choice here
        return element("label", element("span", self.choice), select, printed, for_=f"{self.id}-choice")

    def _legend(self) -> Markup:
        if not self.legend:
            return Markup("")
        return element("ul", *(element("li", _legend_button(entry)) for entry in self.legend), class_="legend")


def _legend_button(entry: Entry) -> Markup:
    name = entry.colour.removeprefix("@").split("/")[0]
    stroke = f"stroke:var(--{name});fill:var(--{name})"
    dash = {"dash": "5 3", "dot": "1.5 3", "dashdot": "5 3 1.5 3", "longdash": "8 3", "longdashdot": "8 3 1.5 3"}
    drawn = {
        "line": element("line", x1=1, x2=23, y1=6, y2=6, stroke_width=2.5, stroke_dasharray=dash.get(entry.dash)),
        "point": element("circle", cx=12, cy=6, r=4),
        "band": element("rect", x=1, y=1, width=22, height=10, opacity=0.4, stroke="none"),
        "bar": element("rect", x=1, y=1, width=22, height=10, stroke="none"),
    }[entry.kind]
    sign = element("svg", drawn, viewBox="0 0 24 12", width=24, height=12, style=stroke, aria_hidden="true")
    return element("button", sign, entry.label, type="button", data_group=entry.key, aria_pressed="true")


def as_json(data: Any) -> str:
    """JSON that may stand inside a script element: no `<`, no `&`, no line separators, the same bytes every time."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def label(text: object) -> str:
    """A user's text for Plotly, which reads a few HTML tags and `%{name}` in labels: none of them comes through."""
    return html.escape(str(text), quote=False).replace("%{", "%&#123;")


def band(x: np.ndarray, low: np.ndarray, high: np.ndarray, *, colour: str, opacity: float = 0.18, **more: Any) -> Trace:
    """The area between two curves; points without a value are left out."""
    there = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
    x, low, high = x[there], low[there], high[there]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": plain(np.concatenate([x, x[::-1]])),
        "y": plain(np.concatenate([high, low[::-1]])),
        "fill": "toself",
        "fillcolor": f"{colour}/{opacity:g}",
        "line": {"width": 0, "color": colour},
        "hoverinfo": "skip",
        "showlegend": False,
        **more,
    }


def line(x: Iterable[float] | np.ndarray, y: Iterable[float] | np.ndarray, *, colour: str, **more: Any) -> Trace:
    """A curve; `width` and `dash` style it, all else is Plotly's."""
    style = {"color": colour, "width": more.pop("width", 2.2), "dash": more.pop("dash", "solid")}
    return {
        "type": "scatter",
        "mode": "lines",
        "x": plain(x),
        "y": plain(y),
        "line": style,
        "showlegend": False,
        **more,
    }


def level(value: float, *, vertical: bool = False, colour: str = "@ink/0.6") -> Layout:
    """A dotted line across a panel, for a goal or an event."""
    own, other = ("x", "y") if vertical else ("y", "x")
    return {
        "type": "line",
        f"{own}0": value,
        f"{own}1": value,
        f"{own}ref": own,
        f"{other}0": 0,
        f"{other}1": 1,
        f"{other}ref": f"{other} domain",
        "line": {"color": colour, "width": 1.2, "dash": "dot"},
        "layer": "below",
    }


def log_axis(title: str, values: np.ndarray, *, pad: float = 0.15) -> Layout:
    """A logarithmic axis over positive values, with a tick at each decade or every few."""
    known = values[np.isfinite(values) & (values > 0)]
    low, high = (np.log10(known.min()) - pad, np.log10(known.max()) + pad) if known.size else (-1.0, 1.0)
    decades = np.arange(np.ceil(low - 1e-9), np.floor(high + 1e-9) + 1)
    step = max(1, -(-len(decades) // 9))
    powers = [int(d) for d in decades if d % step == 0]
    return {
        "type": "log",
        "title": {"text": f"{title}, log scale"},
        "range": [float(f"{low:.4g}"), float(f"{high:.4g}")],
        "tickvals": [float(f"1e{power}") for power in powers],
        "ticktext": [str(10**power) if 0 <= power < 4 else f"10{superscript(power)}" for power in powers],
    }


def dose_axis(doses_uM: np.ndarray) -> Layout:
    """A logarithmic axis for doses [uM], a tick for each decade, every second one with its value and unit."""
    given = doses_uM[np.isfinite(doses_uM) & (doses_uM > 0)]
    low, high = (np.log10(given.min()), np.log10(given.max())) if given.size else (-3.0, 1.0)
    decades = np.arange(np.ceil(low - 0.2), np.floor(high + 0.2) + 1)
    step = max(1, -(-len(decades) // 4))
    return {
        "type": "log",
        "title": {"text": "dose (log scale)"},
        "tickvals": plain(10.0**decades),
        "ticktext": [dose(float(10.0**d)) if n % step == 0 else "" for n, d in enumerate(decades)],
        "range": [float(f"{low - 0.15:.4g}"), float(f"{high + 0.15:.4g}")],
    }


def share_axis(title: str, low: float = 0.0, high: float = 1.0) -> Layout:
    """An axis for shares, in percent."""
    return {"title": {"text": title}, "tickformat": ".0%", "range": [low, high]}
