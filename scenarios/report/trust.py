"""Trust: which cells the learned emulator answered, how wrong it is, and which of the two was chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.markup import Markup, element
from scenarios.report.number import count, percent, significant
from scenarios.report.section import Section, definitions, paragraph
from scenarios.report.table import Cell, Column, table

WORDS: dict[str, str] = {
    "tolerance": "Tolerance",
    "coverage": "Coverage on held-out simulations",
    "share": "Share of cells the emulator answered",
    "share_answered": "Share of cells the emulator answered",
    "share_vouched": "Share of cells the gate vouches for",
    "speed_up": "Speed-up over mechanism",
    "error_quantiles": "Error on held-out simulations",
    "held_out": "Held-out simulations",
}
SHARES = ("tolerance", "coverage", "share", "error")


def section(contents: Contents) -> Section | None:
    """Trust; None where the result says nothing of it."""
    parts: list[object] = []
    trust = contents.data("trust")
    if isinstance(trust, dict) and trust:
        sentence = trust.get("decision")
        parts += [paragraph(str(sentence), lead=True)] if sentence else []
        parts.append(
            definitions(
                {
                    WORDS.get(str(key), str(key).replace("_", " ")): _value(str(key), value)
                    for key, value in trust.items()
                    if key != "decision"
                }
            )
        )
    # where mechanism answered everything and nothing else was asked, there is nothing to say
    if contents.has("answered_by") and (parts or contents.numbers("answered_by").any() or set_aside(contents)):
        parts.append(_who(contents))
    return Section("trust", "Mechanism or emulator", "Trust", tuple(parts)) if parts else None


def _value(key: str, value: Any) -> object:
    if isinstance(value, dict):
        return definitions({str(name): _value(key, one) for name, one in value.items()})
    if isinstance(value, list):
        return ", ".join(str(_value(key, one)) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        number = float(value)
        if key.startswith(SHARES) and 0 <= number <= 1:
            return f"{significant(100 * number, 2)} %" if number < 0.1 else percent(number)
        return f"{significant(number, 2)}×" if key.startswith("speed") else significant(number, 3)
    return "" if value is None else str(value)


def _who(contents: Contents) -> Markup:
    by, status = (
        np.asarray(contents.dataset[name].values) if contents.has(name) else None for name in ("answered_by", "status")
    )
    assert by is not None
    aside = status != 0 if status is not None else np.zeros(by.shape, dtype=bool)
    lines = list(dict.fromkeys(arm.cell_line for arm in contents.arms))
    rows = []
    for cell_line in lines:
        index = [arm.index for arm in contents.arms if arm.cell_line == cell_line]
        fine = ~aside[index]
        counts = (int(((by[index] == 0) & fine).sum()), int(((by[index] == 1) & fine).sum()), int(aside[index].sum()))
        rows.append([cell_line or "the cell", len(index), *(Cell(count(one), one) for one in counts)])
    columns = [
        Column("Cell line"),
        Column("Arms", numeric=True),
        Column("By mechanism", "cells × arms", numeric=True),
        Column("By emulator", "cells × arms", numeric=True),
        Column("Set aside", "cells × arms", numeric=True),
    ]
    return table(columns, rows, caption="Who answered", id="trust-table", sortable=False)


def set_aside(contents: Contents) -> Markup | None:
    """A notice where simulations failed and were left out; None where all went well."""
    if not contents.has("status"):
        return None
    aside = np.asarray(contents.dataset["status"].values) != 0
    if not aside.any():
        return None
    variable = contents.dataset["status"].attrs
    words = str(variable.get("flag_meanings", "")).split()
    flags = np.atleast_1d(np.asarray(variable.get("flag_values", [])))
    values, counts = np.unique(np.asarray(contents.dataset["status"].values)[aside], return_counts=True)
    names = {int(flag): word.replace("_", " ") for flag, word in zip(flags.tolist(), words, strict=False)}
    why = ", ".join(
        f"{number} × {names.get(int(value), f'status {value}')}" for value, number in zip(values, counts, strict=True)
    )
    where = [arm.name for arm in contents.arms if aside[arm.index].any()]
    listed = ", ".join(where[:5]) + (f" and {len(where) - 5} more arms" if len(where) > 5 else "")
    text = f"{int(aside.sum())} of {aside.size} simulations were set aside ({why}) and enter no number on this page: {listed}."
    return element("p", element("strong", "Not complete. "), text, class_="notice", role="note")
