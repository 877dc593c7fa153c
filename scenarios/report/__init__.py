"""The page of a result: one HTML file, complete in itself, made from the result alone.

- `write(dataset, page)`: writes the page.
- `html(dataset)`: the page as text.

Every section is there only if the result holds what it shows; `contents` reads the result, `page` puts sections together.
"""

from __future__ import annotations

from pathlib import Path

import xarray

from scenarios.report.page import html

__all__ = ["html", "write"]


def write(dataset: xarray.Dataset, page: Path) -> None:
    """Write the page of a result; it appears whole or not at all. The same result gives the same bytes.

    Args:
        dataset: a result of `twin run`, dims (arm, member, time).
        page: the HTML file to write.

    Raises:
        InputError: the scenario in the result's attributes cannot be read.
        OSError: `page` cannot be written.
    """
    draft = page.with_name(f".{page.name}.part")
    try:
        draft.write_text(html(dataset), encoding="utf-8")
        draft.replace(page)
    finally:
        draft.unlink(missing_ok=True)
