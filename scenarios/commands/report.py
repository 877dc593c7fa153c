"""`twin report`: the page of a result, made again from the result alone."""

from __future__ import annotations

from pathlib import Path

from twin.errors import InputError


def rebuild(result: Path, *, out: Path | None = None) -> Path:
    """Write the page of a Zarr result; returns its path.

    Raises:
        InputError: no such result, not Zarr, damaged, or not written by `twin run`.
    """
    if not result.exists():
        raise InputError(f"{result}: there is no such result; `twin run NAME` writes one to results/NAME.zarr.")

    from scenarios.result import read

    dataset = read(result)
    if "scenario" not in dataset.attrs and dataset.attrs.get("kind") not in ("scan", "petab"):
        raise InputError(f"{result} was not written by `twin run`: its attributes hold no scenario.")
    page = out or result.with_suffix(".html")
    if not page.parent.is_dir():
        raise InputError(f"--out {page}: there is no folder {page.parent}; make it first.")

    from scenarios import report

    report.write(dataset, page)
    return page
