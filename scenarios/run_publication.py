"""The publication of a run: its result appears, whole, then its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpc.publication import draft, publish
from scenarios import report, result
from scenarios.place import Place

if TYPE_CHECKING:
    import xarray


def published(dataset: xarray.Dataset, place: Place) -> xarray.Dataset:
    """The result as whoever opens it at its place reads it; what bore its name before is replaced."""
    written = draft(place.result)
    result.write(dataset, written)
    publish(written, place.result, overwrite=True)
    shown = result.read(place.result)
    report.write(shown, place.page)
    return shown
