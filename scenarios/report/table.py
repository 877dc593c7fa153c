"""Tables of the page: headers with units, numbers flush right, columns that sort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scenarios.report.markup import Markup, element, join
from scenarios.report.number import percent, percent_range


@dataclass(frozen=True)
class Column:
    """One column: its header, what the header needs said besides, and whether it holds numbers."""

    header: str
    note: str = ""
    numeric: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, and the number or text it is sorted by."""

    shown: object
    sort: float | str | None = None


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    caption: str,
    id: str,
    shown: int | None = None,
    sortable: bool = True,
    marked: int | None = None,
) -> Markup:
    """A table; `shown` folds all further rows behind a button that tells their number, `marked` is the row set off."""
    head = element(
        "tr",
        *(
            element(
                "th",
                element("button", column.header, type="button") if sortable else column.header,
                element("small", column.note) if column.note else "",
                scope="col",
                class_="number" if column.numeric else None,
            )
            for column in columns
        ),
    )
    body = join(
        element(
            "tr",
            *(
                _cell(value, column, first=place == 0)
                for place, (value, column) in enumerate(zip(row, columns, strict=True))
            ),
            class_=" ".join(
                filter(None, ("more" if shown is not None and n >= shown else "", "marked" if n == marked else ""))
            )
            or None,
        )
        for n, row in enumerate(rows)
    )
    hidden = 0 if shown is None else max(len(rows) - shown, 0)
    button = (
        element("button", f"Show all {len(rows)} rows", type="button", class_="unfold", aria_controls=id)
        if hidden
        else ""
    )
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", head),
            element("tbody", body),
            id=id,
            class_="sortable" if sortable else None,
        ),
        button,
        element("p", f"The first {shown} of {len(rows)} rows; the page holds all.", class_="printed") if hidden else "",
        class_="table",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def _cell(value: object, column: Column, *, first: bool) -> Markup:
    cell = value if isinstance(value, Cell) else Cell(value)
    sort = None
    if cell.sort is not None:
        # an empty key sorts last whichever way the column is sorted
        sort = "" if isinstance(cell.sort, float) and not math.isfinite(cell.sort) else cell.sort
    kind = "number" if column.numeric else None
    if first:
        return element("th", cell.shown, scope="row", class_=kind, data_sort=sort)
    return element("td", cell.shown, class_=kind, data_sort=sort)


def share_bar(
    share: float, low: float = math.nan, high: float = math.nan, *, goal: float = math.nan, wide: int = 100
) -> Markup:
    """A share as a bar with its interval and the goal as a tick, beside its number."""
    if not math.isfinite(share):
        return element("span", "–")
    value = max(0.0, min(1.0, share))
    parts = [
        element("rect", x=0, y=5, width=wide, height=6, rx=3, class_="track"),
        element("rect", x=0, y=5, width=f"{value * wide:.1f}", height=6, rx=3, class_="fill"),
    ]
    has_interval = math.isfinite(low) and math.isfinite(high)
    if has_interval:
        left, right = max(0.0, low) * wide, min(1.0, high) * wide
        parts.append(element("line", x1=f"{left:.1f}", x2=f"{right:.1f}", y1=8, y2=8, class_="whisker"))
    if math.isfinite(goal):
        parts.append(element("line", x1=f"{goal * wide:.1f}", x2=f"{goal * wide:.1f}", y1=1, y2=15, class_="goal"))
    picture = element(
        "svg", *parts, viewBox=f"-1 0 {wide + 2} 16", width=wide + 2, height=16, aria_hidden="true", focusable="false"
    )
    return element(
        "span",
        picture,
        element("b", percent(share)),
        element("small", percent_range(low, high)) if has_interval else "",
        class_="share",
    )
