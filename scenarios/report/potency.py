"""Potency and room: the doses that each compound needs, and how far vehicle and positive control lie apart."""

from __future__ import annotations

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.number import NONE, SPACE, dose, percent, percent_range
from scenarios.report.table import Cell, Column, table

FIRST = 10
"""Compounds shown before the reader asks for all."""


def doses(contents: Contents) -> list[object]:
    """A table of doses by compound, most potent first; nothing where the result holds none."""
    if not contents.has("candidate", "needed_dose_uM"):
        return []
    names = contents.texts("candidate")
    cells = contents.numbers("needed_dose_uM")
    reasons = _reasons(contents, "needed_dose_reason", cells.shape)
    middles = [_middle(row, why) for row, why in zip(cells, reasons, strict=True)]
    none = np.full(len(names), np.nan)
    lowest, half, low, high = (
        contents.numbers(name) if contents.has(name) else none
        for name in ("lowest_dose_uM", "half_dose_uM", "half_dose_uM_low", "half_dose_uM_high")
    )
    why_half = _reasons(contents, "half_dose_reason", (len(names),))
    order = sorted(range(len(names)), key=lambda n: (np.nan_to_num(lowest[n], nan=np.inf), middles[n][1], n))
    rows = [
        [
            Cell(names[n], names[n]),
            Cell(dose(float(lowest[n])) if np.isfinite(lowest[n]) else "none tested", float(lowest[n])),
            Cell(middles[n][0], middles[n][1]),
            Cell(_about(float(half[n])) if np.isfinite(half[n]) else why_half[n] or NONE, float(half[n])),
            f"{_about(float(low[n]))} to {_about(float(high[n]))}"
            if np.isfinite(low[n]) and np.isfinite(high[n])
            else NONE,
        ]
        for n in order
    ]
    columns = [
        Column("Compound"),
        Column("Goal met from", "lowest tested dose", numeric=True),
        Column("A cell needs", "median cell", numeric=True),
        Column("Half of the signal", "median cell", numeric=True),
        Column("Range", f"5–95{SPACE}% of cells", numeric=True),
    ]
    return [table(columns, rows, caption="Doses by compound", id="potency-table", shown=FIRST)]


def room(contents: Contents) -> list[object]:
    """A table of spans: what the positive control removes of each readout; nothing where the result holds none."""
    if not contents.has("judged_readout", "span"):
        return []
    names, span = contents.texts("judged_readout"), contents.numbers("span")
    low, high = (
        contents.numbers(f"span_{end}") if contents.has(f"span_{end}") else np.full(len(names), np.nan)
        for end in ("low", "high")
    )
    rows = [
        [name, Cell(percent(float(span[n])), float(span[n])), percent_range(float(low[n]), float(high[n]))]
        for n, name in enumerate(names)
    ]
    columns = [
        Column("Readout"),
        Column("Removed by the positive control", "share of the vehicle's, median cell", numeric=True),
        Column("Range", f"5–95{SPACE}% of cells", numeric=True),
    ]
    caption = "Room: how far vehicle and positive control lie apart"
    return [table(columns, rows, caption=caption, id="span-table", sortable=False)]


def _about(micromolar: float) -> str:
    """A dose that lies between tested ones: two digits are all that it has."""
    return dose(float(f"{micromolar:.2g}"))


def _reasons(contents: Contents, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Codes of a variable in words, empty where all is fine."""
    if not contents.has(name):
        return np.full(shape, "", dtype=object)
    attributes = contents.dataset[name].attrs
    flags = np.atleast_1d(np.asarray(attributes.get("flag_values", []))).tolist()
    words = [word.replace("_", " ") for word in str(attributes.get("flag_meanings", "")).split()]
    known = dict(zip(flags, words, strict=False)) | {0: ""}
    codes = np.asarray(contents.dataset[name].values)
    return np.array([known.get(int(code), f"code {code}") for code in codes.ravel()], dtype=object).reshape(shape)


def _middle(doses_uM: np.ndarray, reasons: np.ndarray) -> tuple[str, float]:
    """The median cell's dose [uM], where cells beyond the tested doses count as such; in words, and to sort by."""
    below, above = (np.array([word in reason for reason in reasons]) for word in ("lowest", "highest"))
    counted = np.where(below, 0.0, np.where(above, np.inf, doses_uM))
    counted = np.sort(counted[~np.isnan(counted)])
    if not counted.size:
        return NONE, np.inf
    value = float(counted[int(np.ceil(0.5 * counted.size)) - 1])
    if value == 0.0:
        return "below the lowest tested", 0.0
    return (_about(value), value) if np.isfinite(value) else ("above the highest tested", np.inf)
