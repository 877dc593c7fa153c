"""The molecular scale: how fast each compound can meet its target, how fast it is assumed to bind, and which one matters."""

from __future__ import annotations

import numpy as np

from scenarios.report import affinity
from scenarios.report.contents import Contents
from scenarios.report.figure import Entry, Figure, Panel, Trace, label, log_axis
from scenarios.report.markup import element
from scenarios.report.number import SPACE, percent, plain, significant
from scenarios.report.quantile import quantiles
from scenarios.report.section import Section, folded, paragraph
from scenarios.report.table import Cell, Column, table


def section(contents: Contents) -> Section | None:
    """The molecular scale; None where the result has neither rates nor affinities of compounds."""
    parts: list[object] = []
    if contents.has("candidate", "k_D"):
        parts += _rates(contents)
    if contents.has("candidate", "Kd_learned"):
        parts += affinity.parts(contents)
    if contents.has("candidate", "smiles"):
        parts.append(_compounds(contents))
    return Section("molecules", "Molecules", "Molecules", tuple(parts)) if parts else None


def _rates(contents: Contents) -> list[object]:
    limit = contents.numbers("k_D")
    order = np.argsort(-np.where(np.isfinite(limit), limit, -np.inf), kind="stable")[::-1]
    names = [label(name) for name in np.array(contents.texts("candidate"))[order]]
    traces: list[Trace] = []
    words = [f"The diffusion limit k_D differs by a factor of {significant(_spread(limit), 2)} between the compounds"]
    ends = limit * 1.2
    if contents.has("kon"):
        low, q1, median, q3, high = quantiles(contents.numbers("kon"))[:, order]
        traces += [
            _bar(names, low, high, "@ochre/0.35", 7, "kon"),
            _bar(names, q1, q3, "@ochre/0.75", 7, "kon"),
            {
                **_marks(names, median, "@ochre", "line-ns-open"),
                "legendgroup": "kon",
                "hovertemplate": _hover("median kon"),
            },
        ]
        ends = np.concatenate([ends, low])
        factor = significant(float(np.nanmedian(high / low)), 2)
        words.append(
            f"the assumed kon of one compound spans a factor of {factor} (5–95{SPACE}%), with a median "
            f"{significant(float(np.nanmedian(limit[order] / median)), 2)} times below the limit"
        )
    sentence = "; ".join(words) + ". " + _verdict(contents, limit)
    error = contents.numbers("sigma_ln_k_D")[order] if contents.has("sigma_ln_k_D") else np.full(len(order), np.nan)
    mean = limit[order]
    traces.append(
        {
            **_marks(names, mean, "@blue", "circle"),
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": plain(mean * (np.exp(1.96 * error) - 1)),
                "arrayminus": plain(mean * (1 - np.exp(-1.96 * error))),
                "color": "@blue",
                "thickness": 1.6,
                "width": 3,
            },
            "legendgroup": "limit",
            "hovertemplate": _hover("k_D"),
        }
    )
    layout = {
        "xaxis": log_axis("association rate [1/(M s)]", ends),
        "yaxis": {"type": "category", "automargin": True},
        "margin": {"l": 10},
    }
    legend = [Entry("limit", f"k_D, simulated, 95{SPACE}% interval", "@blue", kind="point")]
    legend += (
        [Entry("kon", "kon, assumed: median, 25–75 %, 5–95 %", "@ochre", kind="band")] if contents.has("kon") else []
    )
    runs = len(set(contents.texts("encounter_run"))) if contents.has("encounter_run") else 0
    figure = Figure(
        id="molecule-rates",
        alt=sentence,
        panels=(Panel("Association: limit and assumption", traces, layout, height=110 + 22 * len(names), wide=True),),
        legend=legend,
        caption="k_D comes from Brownian dynamics of charged spheres: no compound can associate faster. "
        + (f"Compounds of one charge and size share a run: {runs} for {len(names)} compounds. " if runs else "")
        + "kon is what the cell's model uses.",
    )
    return [paragraph(sentence, lead=True), figure.html()]


def _compounds(contents: Contents) -> object:
    """Every compound with its structure and its numbers."""
    shown = {
        "ic50_nM": Column("IC50", "nM, measured", numeric=True),
        "Kd_learned": Column("Kd from structure", "nM", numeric=True),
        "ligand_charge": Column("Charge", "e", numeric=True),
        "ligand_radius_nm": Column("Radius", "nm", numeric=True),
        "k_D": Column("k_D", "1/(M s)", numeric=True),
        "kon": Column("kon", "1/(M s), median", numeric=True),
        "Kd": Column("Kd in the cell", "nM, median", numeric=True),
        "koff": Column("koff", "1/s, median", numeric=True),
    }
    held = [name for name in shown if contents.has(name)]
    values = {
        name: quantiles(contents.numbers(name), (0.5,))[0]
        if contents.numbers(name).ndim > 1
        else contents.numbers(name)
        for name in held
    }
    rows = [
        [
            name,
            *(Cell(significant(float(values[key][n])), float(values[key][n])) for key in held),
            element("code", smiles),
        ]
        for n, (name, smiles) in enumerate(zip(contents.texts("candidate"), contents.texts("smiles"), strict=True))
    ]
    columns = [Column("Compound"), *(shown[name] for name in held), Column("Structure", "SMILES")]
    return folded(
        f"Compounds ({len(rows)})", table(columns, rows, caption="Compounds and their numbers", id="compounds-table")
    )


def _verdict(contents: Contents, limit: np.ndarray) -> str:
    """Which of the two matters, and how much kinetics as a whole carries of the answer's variance."""
    if not contents.has("kon"):
        return ""
    low, high = quantiles(contents.numbers("kon"), (0.05, 0.95))
    assumed = float(np.nanmedian(high / low)) > _spread(limit)
    said = (
        "What matters is the assumption: beside it the simulated differences are small."
        if assumed
        else "What matters is the simulated limit: it differs more between compounds than what is assumed."
    )
    if contents.has("source", "total_order") and "kinetics" in contents.texts("source"):
        share = float(
            contents.numbers(f"total_order{contents.variance_suffix}")[contents.texts("source").index("kinetics")]
        )
        if np.isfinite(share):
            said += f" Kinetics as a whole carries {percent(max(share, 0.0))} of the answer's variance (total order)."
    return said


def _spread(values: np.ndarray) -> float:
    known = values[np.isfinite(values) & (values > 0)]
    return float(known.max() / known.min()) if known.size else float("nan")


def _marks(names: list[str], x: np.ndarray, colour: str, symbol: str) -> Trace:
    marker = {
        "color": colour,
        "size": 9 if symbol == "circle" else 12,
        "symbol": symbol,
        "line": {"color": colour, "width": 2},
    }
    return {"type": "scatter", "mode": "markers", "x": plain(x), "y": names, "marker": marker, "showlegend": False}


def _bar(names: list[str], low: np.ndarray, high: np.ndarray, colour: str, width: int, group: str) -> Trace:
    """Intervals as thick lines, cut between rows."""
    x = [value for pair in zip(plain(low), plain(high), strict=True) for value in (*pair, None)]
    y = [value for name in names for value in (name, name, None)]
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "line": {"color": colour, "width": width},
        "hoverinfo": "skip", "legendgroup": group, "showlegend": False,
    }  # fmt: skip


def _hover(what: str) -> str:
    return f"<b>%{{y}}</b><br>{what} %{{x:.3g}} 1/(M s)<extra></extra>"
