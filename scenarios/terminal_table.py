"""The end of a run in the terminal: the answer, the best treatments, and where result and page are; no box drawing.

Without a terminal it is plain text: no colour, no line wider than 100 columns except paths, which stay
whole so that they can be copied.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray

from scenarios.report.contents import Contents, Treated
from scenarios.report.number import SPACE, dose, percent, percent_range
from scenarios.report.quantile import quantiles

if TYPE_CHECKING:
    from rich.console import Console

FIRST = 5
"""Treatments in the table."""

WIDTH = 100
"""Columns where there is no terminal to ask."""


def show(
    dataset: xarray.Dataset, *, result: Path | None = None, page: Path | None = None, console: Console | None = None
) -> None:
    """Print the end of a run.

    Args:
        dataset: the result, dims (arm, member, time).
        result: where it lies.
        page: where its page lies.
        console: where to print; None: standard output.

    Raises:
        InputError: the scenario in the result's attributes cannot be read.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    screen = console or Console()
    if not screen.is_terminal:
        screen = Console(file=screen.file, width=min(screen.width, WIDTH) if console else WIDTH, color_system=None)
    contents = Contents(dataset)
    screen.print()
    if contents.text("answer"):
        # Text, and not a string: names may hold what Rich takes for markup
        screen.print(Text(contents.text("answer"), style="bold"))
        screen.print()
    if contents.ranked:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        columns = _fitting(_columns(contents), screen.width)
        for name, values in columns.items():
            wraps = name in ("treatment", "compound")
            width = _width(name, values)
            table.add_column(Text(name), justify="left" if wraps else "right", min_width=width, overflow="fold")
        for row in zip(*columns.values(), strict=True):
            table.add_row(*(Text(cell) for cell in row))
        screen.print(table)
        rest = len(contents.ranked) - FIRST
        if rest > 0:
            screen.print(Text(f"and {rest} more treatments on the page", style="dim"))
        screen.print()
    for name, path in (("result", result), ("page", page)):
        if path is not None:
            screen.print(Text(f"{name:6}  {path}"), soft_wrap=True)


def _width(name: str, cells: list[str]) -> int:
    """What a column needs: headers may break between words, names anywhere beyond 24 characters, numbers nowhere."""
    longest = max(len(cell) for cell in cells)
    return max(min(longest, 24) if name in ("treatment", "compound") else longest, *map(len, name.split()))


def _fitting(columns: dict[str, list[str]], width: int) -> dict[str, list[str]]:
    """The columns that a narrow terminal has room for; the first ones say what matters most."""
    kept, used = {}, 0
    for name, cells in columns.items():
        used += _width(name, cells) + 2
        if used > width and len(kept) > 1:
            break
        kept[name] = cells
    return kept


def _plain(text: str) -> str:
    """Without the narrow spaces, which some terminals draw wide."""
    return text.replace(f">{SPACE}", ">").replace(f"<{SPACE}", "<").replace(SPACE, " ")


def _columns(contents: Contents) -> dict[str, list[str]]:
    """Header → cells, of the best treatments."""
    best, goal = contents.ranked[:FIRST], contents.goal
    found = {"rank": [str(n) for n in range(1, len(best) + 1)]}
    if any(arm.compound for arm in best):
        found["compound"] = [arm.compound or arm.treatment for arm in best]
        found["dose"] = [dose(arm.dose_uM) for arm in best]
    else:
        found["treatment"] = [arm.label for arm in best]
    if contents.has("responder_fraction"):
        share = contents.numbers("responder_fraction")
        wanted = f"cells with ≥ {percent(goal.removed_share)} removed" if goal is not None else "cells at the goal"
        found[wanted] = [_with_interval(contents, arm, float(share[arm.index])) for arm in best]
    if contents.has("removed"):
        median = quantiles(contents.numbers("removed"), (0.5,))[0]
        found["median removed"] = [percent(float(median[arm.index])) for arm in best]
    if contents.has("engagement"):
        median = quantiles(contents.numbers("engagement"), (0.5,))[0]
        if np.isfinite(median[[arm.index for arm in best]]).any():
            found["target engaged"] = [percent(float(median[arm.index])) for arm in best]
    return {_plain(name): [_plain(cell) for cell in cells] for name, cells in found.items()}


def _with_interval(contents: Contents, arm: Treated, share: float) -> str:
    if not contents.has("responder_fraction_low", "responder_fraction_high"):
        return percent(share)
    low, high = (float(contents.numbers(f"responder_fraction_{end}")[arm.index]) for end in ("low", "high"))
    return f"{percent(share)} ({percent_range(low, high)})"
