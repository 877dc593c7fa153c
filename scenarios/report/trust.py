"""Trust: which cells the learned emulator answered, how wrong it is, and which of the two was chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.markup import Markup, element, join
from scenarios.report.number import NONE, SPACE, count, percent, significant
from scenarios.report.section import Section, definitions, folded, paragraph
from scenarios.report.table import Cell, Column, table

WORDS: dict[str, str] = {
    "choice": "Who answers",
    "tolerance": "Tolerance",
    "coverage": "Unseen cells that the gate vouches for",
    "share": "Share of cells the emulator answered",
    "share_answered": "Share of cells the emulator answered",
    "share_wrong": "Of these beyond the tolerance",
    "share_wrong_limit": "At most, with 95 % confidence",
    "within": "All unseen cells within the tolerance",
    "speed_up": "Speed-up over mechanism",
    "mechanism_ms": "One course by mechanism",
    "emulator_ms": "One course by emulator",
    "start_up_s": "Starting the emulator costs",
    "risk": "The gate's promise: at most wrong",
    "confidence": "With confidence",
    "calibration_limit": "Upper limit at calibration",
}
"""Names of what is told of the emulator, in the order in which it reads best; others follow."""

SHARES = ("tolerance", "coverage", "share", "within", "risk", "confidence", "calibration_limit")
UNITS = {"_ms": f"{SPACE}ms", "_s": f"{SPACE}s", "speed_up": "×"}
ERRORS = {"q50": "Median", "q90": f"90{SPACE}%", "q99": f"99{SPACE}%"}


def section(contents: Contents) -> Section | None:
    """Trust; None where the result says nothing of it."""
    parts: list[object] = []
    trust = contents.data("trust")
    if isinstance(trust, dict) and trust:
        parts += [paragraph(str(trust["decision"]), lead=True)] if trust.get("decision") else []
        plain = {key: trust[key] for key in (*WORDS, *trust) if key in trust and not isinstance(trust[key], dict)}
        plain.pop("decision", None)
        parts.append(
            definitions(
                {WORDS.get(key, str(key).replace("_", " ")): _value(str(key), value) for key, value in plain.items()}
            )
        )
        parts += _errors(trust)
        rest = {
            key: value
            for key, value in trust.items()
            if isinstance(value, dict) and key not in ("error", "error_vouched", "baselines")
        }
        parts += [
            folded(
                str(key).replace("_", " ").capitalize(),
                definitions({str(name): _value(str(name), one) for name, one in value.items()}),
            )
            for key, value in rest.items()
        ]
    # where mechanism answered everything and nothing else was asked, there is nothing to say
    if contents.has("answered_by") and (parts or contents.numbers("answered_by").any() or set_aside(contents)):
        parts.append(_who(contents))
    return Section("trust", "Mechanism or emulator", "Trust", tuple(parts)) if parts else None


def _errors(trust: dict[str, Any]) -> list[object]:
    """Errors of the emulator beside those of simpler rules."""
    named = {
        "emulator, all unseen cells": trust.get("error"),
        "emulator, where the gate vouches": trust.get("error_vouched"),
    }
    named |= {str(name): errors for name, errors in (trust.get("baselines") or {}).items()}
    told = {name: errors for name, errors in named.items() if isinstance(errors, dict)}
    if not told:
        return []
    columns = [
        Column("Answers by"),
        *(Column(header, "of a readout's span", numeric=True) for header in ERRORS.values()),
    ]
    rows = [[name, *(Cell(*_share(errors.get(key))) for key in ERRORS)] for name, errors in told.items()]
    return [
        table(
            columns, rows, caption="Largest error of a course, on cells never seen", id="trust-errors", sortable=False
        )
    ]


def _share(value: Any) -> tuple[str, float]:
    number = float(value) if isinstance(value, (int, float)) else float("nan")
    return (f"{significant(100 * number, 2)}{SPACE}%" if np.isfinite(number) else NONE), number


def _value(key: str, value: Any) -> object:
    if isinstance(value, dict):
        return definitions({str(name): _value(key, one) for name, one in value.items()})
    if isinstance(value, list):
        return ", ".join(str(_value(key, one)) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        if key.startswith(SHARES) and 0 <= value <= 1:
            return f"{significant(100 * float(value), 2)}{SPACE}%" if value < 0.1 else percent(float(value))
        units = next((text for ending, text in UNITS.items() if key.endswith(ending)), "")
        return (
            f"{significant(float(value), 2 if units else 3)}{units}"
            if isinstance(value, float)
            else f"{count(value)}{units}"
        )
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
    notice = element("p", element("strong", "Not complete. "), text, class_="notice", role="note")
    told = contents.data("set_aside") or []
    if not told:
        return notice
    return join(
        (
            notice,
            folded(
                "What was set aside, with its inputs and why",
                table(
                    [Column("Set aside")],
                    [[one] for one in told],
                    caption="As the log says it",
                    id="set-aside",
                    sortable=False,
                ),
            ),
        )
    )
