"""Quantiles over cells where some cells have no value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BAND = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The bands of the page: 5–95 %, 25–75 %, median."""


def quantiles(values: np.ndarray, levels: Sequence[float] = BAND, *, axis: int = -1) -> np.ndarray:
    """Quantiles of the finite values along one axis; NaN where there are none.

    Args:
        values: any shape.
        levels: between 0 and 1.
        axis: the axis of the cells.

    Returns:
        Shape `(levels, *other axes)`; linear between order statistics, as numpy's default (Hyndman & Fan 1996, type 7).
    """
    # np.nanquantile loops over rows in Python; sorting puts NaN last and does all rows at once
    moved = np.moveaxis(np.where(np.isfinite(values), values, np.nan), axis, -1)
    ordered = np.sort(moved, axis=-1)
    count = np.isfinite(moved).sum(axis=-1)
    result = np.full((len(levels), *count.shape), np.nan)
    if ordered.shape[-1] == 0:
        return result
    last = np.maximum(count - 1, 0)
    for n, level in enumerate(levels):
        place = level * last
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, last)
        low = np.take_along_axis(ordered, below[..., None], axis=-1)[..., 0]
        high = np.take_along_axis(ordered, above[..., None], axis=-1)[..., 0]
        result[n] = low + (place - below) * (high - low)
    return result
