"""A scan as one image: courses of a variable, and its end against the scanned values, or as a map of two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray

from scenarios.scan_view import ScanView

_VARIABLES = 3
_INK, _GRID = "#1b2330", "#e1e5ea"


def draw(dataset: xarray.Dataset, path: Path) -> None:
    """Write the image (.png, .svg or .pdf): a row for each of the first three variables."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    view = ScanView(dataset)
    names = view.variables[:_VARIABLES]
    colours = mpl.colormaps["viridis"]
    columns = 2 if view.axes else 1
    style: Any = {
        "font.size": 9, "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": _GRID, "svg.hashsalt": "scan",
    }  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure(figsize=(3.6 * columns + 0.4, 2.6 * len(names)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(names), columns, squeeze=False)
        for row, name in zip(axes, names, strict=True):
            _courses(row[0], view, name, colours)
            if len(view.axes) == 1:
                _ends(row[1], view, name, colours)
            elif view.axes:
                _map(figure, row[1], view, name)
        figure.savefig(path, dpi=160, metadata={"Software": None} if path.suffix == ".png" else None)


def _courses(panel: Any, view: ScanView, name: str, colours: Any) -> None:
    bands = view.bands(name)
    if view.axes:
        middle = tuple(view.dataset.sizes[axis] // 2 for axis in view.axes[1:])
        bands = bands[(slice(None), slice(None), *middle)]
        values = view.values(view.axes[0])
        chosen = view.chosen(len(values))
        for n, i in enumerate(chosen):
            shade = colours(0.92 * (1.0 - n / max(len(chosen) - 1, 1)))
            ends = i in (chosen[0], chosen[-1])
            text = f"{view.axes[0]} = {values[i]:.3g}" if ends else None
            panel.plot(view.times, bands[1, i], color=shade, linewidth=1.4, label=text)
            if view.members > 1 and ends:
                panel.fill_between(view.times, bands[0, i], bands[2, i], color=shade, alpha=0.2, linewidth=0)
        panel.legend(fontsize=8, frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 0.98))
    else:
        panel.plot(view.times, bands[1], color=colours(0.3), linewidth=1.6)
        if view.members > 1:
            panel.fill_between(view.times, bands[0], bands[2], color=colours(0.3), alpha=0.2, linewidth=0)
    panel.set_xlabel(view.named("time"))
    panel.set_ylabel(view.named(name))


def _ends(panel: Any, view: ScanView, name: str, colours: Any) -> None:
    ends = view.bands(name)[..., -1]
    values = view.values(view.axes[0])
    panel.plot(values, ends[1], color=colours(0.3), linewidth=1.6, marker="o", markersize=3)
    if view.members > 1:
        panel.fill_between(values, ends[0], ends[2], color=colours(0.3), alpha=0.2, linewidth=0)
    if view.logarithmic(view.axes[0]):
        panel.set_xscale("log")
    panel.set_xlabel(view.named(view.axes[0]))
    panel.set_ylabel(f"{view.named(name)}\nat {view.end_words}")


def _map(figure: Any, panel: Any, view: ScanView, name: str) -> None:
    grid = view.bands(name)[..., -1][(1, slice(None), slice(None), *view.middle())]
    x, y = view.values(view.axes[0]), view.values(view.axes[1])
    drawn = panel.pcolormesh(x, y, np.asarray(grid).T, shading="nearest", cmap="viridis")
    panel.grid(visible=False)
    for axis, scale in ((view.axes[0], panel.set_xscale), (view.axes[1], panel.set_yscale)):
        if view.logarithmic(axis):
            scale("log")
    panel.set_xlabel(view.named(view.axes[0]))
    panel.set_ylabel(view.named(view.axes[1]))
    figure.colorbar(drawn, ax=panel, label=f"{view.named(name)}{view.cut_words()}\nat {view.end_words}")
