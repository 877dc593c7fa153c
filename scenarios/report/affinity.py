"""Learned affinity: what the model says of compounds it has not seen, beside what was measured and beside simple guesses."""

from __future__ import annotations

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.figure import Entry, Figure, Panel, Trace, label, log_axis
from scenarios.report.markup import element
from scenarios.report.number import SPACE, count, percent, plain, significant
from scenarios.report.section import paragraph
from scenarios.report.table import Cell, Column, table

HEADERS: dict[str, str] = {
    "model": "Model",
    "baseline": "Model",
    "name": "Model",
    "rmse_log10": "RMSE [log10]",
    "mae_log10": "Mean error [log10]",
    "spearman": "Spearman ρ",
    "pearson": "Pearson r",
    "coverage": "Inside the interval",
    "coverage_95": "Inside the 95 % interval",
    "n": "Compounds",
}


def parts(contents: Contents) -> list[object]:
    """The learned affinities and how far they can be trusted."""
    learned = contents.numbers("Kd_learned")
    measured = contents.numbers("ic50_nM") if contents.has("ic50_nM") else np.full(learned.shape, np.nan)
    names = contents.texts("candidate")
    low, high = (
        contents.numbers(f"Kd_learned_{end}") if contents.has(f"Kd_learned_{end}") else learned
        for end in ("low", "high")
    )
    both = np.isfinite(learned) & np.isfinite(measured)
    found: list[object] = [element("h3", "Learned affinity")]
    pictures: list[object] = []
    if both.any():
        inside = int(((low <= measured) & (measured <= high) & both).sum())
        found.append(
            paragraph(
                f"Each of {int(both.sum())} measured compounds, predicted by a model that has not seen it. ",
                _limits(contents)
                or f"{inside} of {int(both.sum())} lie inside their 95{SPACE}% interval; so few cannot certify that intervals cover.",
                " Compounds with a measured IC50 are ranked by it; the model serves those without.",
            )
        )
        pictures.append(_scatter(names, measured, learned, low, high, both))
    unmeasured = np.isfinite(learned) & ~np.isfinite(measured)
    if unmeasured.any():
        rows = [
            [
                name,
                Cell(significant(learned[n]), float(learned[n])),
                f"{significant(low[n], 2)} to {significant(high[n], 2)}",
            ]
            for n, name in enumerate(names)
            if unmeasured[n]
        ]
        columns = [
            Column("Compound"),
            Column("Kd, learned", "nM", numeric=True),
            Column(f"95{SPACE}% interval", "nM", numeric=True),
        ]
        found.append(table(columns, rows, caption="Compounds without a measured IC50", id="affinity-unmeasured"))
    pictures += _baselines(contents)
    return [*found, element("div", *pictures, class_="beside")] if pictures else found


def _scatter(
    names: list[str], measured: np.ndarray, learned: np.ndarray, low: np.ndarray, high: np.ndarray, there: np.ndarray
) -> object:
    ends = np.concatenate([measured[there], low[there], high[there]])
    first, last = log_axis("", ends)["range"]
    diagonal: Trace = {
        "type": "scatter", "mode": "lines", "x": plain([10**first, 10**last]), "y": plain([10**first, 10**last]),
        "line": {"color": "@muted", "width": 1.2, "dash": "dot"}, "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip
    points: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": plain(measured[there]),
        "y": plain(learned[there]),
        "error_y": {
            "type": "data", "symmetric": False, "array": plain((high - learned)[there]),
            "arrayminus": plain((learned - low)[there]), "color": "@blue/0.45", "thickness": 1.3, "width": 0,
        },
        "marker": {"color": "@blue", "size": 8, "line": {"color": "@paper", "width": 1}},
        "text": [label(name) for name, here in zip(names, there, strict=True) if here],
        "hovertemplate": "<b>%{text}</b><br>measured %{x:.3g} nM<br>predicted %{y:.3g} nM<extra></extra>",
        "legendgroup": "points",
        "showlegend": False,
    }  # fmt: skip
    ratio = np.log10(learned[there] / measured[there])
    error = float(np.sqrt(np.mean(ratio**2)))
    layout = {
        "xaxis": log_axis("measured IC50 [nM]", ends),
        "yaxis": log_axis("predicted Kd, left out [nM]", ends),
    }
    return Figure(
        id="affinity-left-out",
        alt=f"Predicted against measured affinity of {int(there.sum())} compounds left out one at a time; "
        f"root mean square error {significant(error, 2)} in log10.",
        panels=(Panel("", (diagonal, points), layout, height=430),),
        legend=(
            Entry("points", f"compound, left out of its own prediction, 95{SPACE}% interval", "@blue", kind="point"),
        ),
        caption=f"Dotted: perfect prediction. Root mean square error {significant(error, 2)} in log10 units "
        f"(a factor of {significant(10**error, 2)}).",
    ).html()


def _limits(contents: Contents) -> str:
    """What the scores cannot say, as the result tells it."""
    said = contents.data("affinity")
    told = str(said.get("limits", "")).strip() if isinstance(said, dict) else ""
    return told


def _baselines(contents: Contents) -> list[object]:
    rows = contents.data("affinity") or []
    if isinstance(rows, dict):
        rows = rows.get("leave_one_out", [])
    if isinstance(rows, dict):
        rows = [{"model": name, **scores} for name, scores in rows.items()]
    if not rows:
        return []
    keys = list(dict.fromkeys(str(key) for row in rows for key in row))
    caption = "Left out one at a time, beside simple guesses"
    if "n" in keys and len({row.get("n") for row in rows}) == 1:  # the same for all: it belongs above the table
        keys.remove("n")
        caption = f"{rows[0]['n']} compounds, left out one at a time, beside simple guesses"
    numeric = {key: any(isinstance(row.get(key), (int, float)) for row in rows) for key in keys}
    columns = [Column(HEADERS.get(str(key), str(key).replace("_", " ")), numeric=numeric[key]) for key in keys]
    shown = [[_score(key, row.get(key)) for key in keys] for row in rows]
    return [table(columns, shown, caption=caption, id="affinity-baselines")]


def _score(key: str, value: object) -> Cell:
    if isinstance(value, (int, float)):
        number = float(value)
        if key.startswith("coverage"):
            return Cell(percent(number), number)
        return Cell(count(number) if isinstance(value, int) else significant(number, 3), number)
    return Cell("–" if value is None else str(value), "" if value is None else str(value))
