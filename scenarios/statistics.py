"""Statistics of shares and ranks that the answer and its evidence have in common.

All of it is the same bit for bit on every rank: sums run in a fixed order, without threads. Legend: `N` cells, `K` rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
LEVEL = 0.95


def wilson(hits: ArrayLike, of: ArrayLike, *, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Wilson's score interval of shares (Wilson 1927, J. Am. Stat. Assoc. 22:209), by scipy; NaN where `of` is 0.

    Args:
        hits, of: counts, of any one shape.
        level: of confidence.
    """
    hit, total = (np.asarray(values, dtype=np.int64) for values in np.broadcast_arrays(hits, of))
    pairs, place = np.unique(np.stack((hit.ravel(), total.ravel())), axis=1, return_inverse=True)
    bounds = np.full((2, pairs.shape[1]), np.nan)
    for column, (k, n) in enumerate(pairs.T):
        if n > 0:
            interval = stats.binomtest(int(k), int(n)).proportion_ci(confidence_level=level, method="wilson")
            bounds[:, column] = interval.low, interval.high
    low, high = bounds[:, place.ravel()].reshape(2, *hit.shape)
    return low, high


def reached(values: Floats, level: float) -> NDArray[np.bool_]:
    """Whether values lie at a level or above; NaN does not. A rounding below it counts: 0.9 of areas may read 0.8999…9."""
    return np.nan_to_num(values, nan=-np.inf) >= level - 1e-12


def ranks(values: Floats, *, axis: int = -1) -> Floats:
    """Ranks from 1 on; equal values share their mean rank."""
    return np.asarray(stats.rankdata(values, axis=axis), dtype=np.float64)


def standardised(values: Floats) -> Floats:
    """Rows `[..., N]` with mean 0 and mean square 1; a row whose values are all equal becomes 0."""
    centred = values - values.mean(axis=-1, keepdims=True)
    size = np.sqrt((centred**2).mean(axis=-1, keepdims=True))
    return np.divide(centred, size, out=np.zeros_like(centred), where=size > 1e-12)


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman's rank correlation of rows `[..., N]`; NaN where a row does not vary or has fewer than 3 values."""
    if np.asarray(x).shape[-1] < 3:
        return np.full(np.broadcast_shapes(np.shape(x)[:-1], np.shape(y)[:-1]), np.nan)
    product = (standardised(ranks(x)) * standardised(ranks(y))).mean(axis=-1)
    vary = (np.ptp(x, axis=-1) > 0) & (np.ptp(y, axis=-1) > 0)
    return np.where(vary, np.clip(product, -1.0, 1.0), np.nan)


def partial_spearman(x: Floats, y: Floats, given: Floats) -> Floats:
    """Spearman's correlation of rows `[..., N]` among cells that are equal in a third; NaN where one does not vary.

    By the formula of partial correlations on ranks (Kendall 1942, Biometrika 32:277).
    """
    xy, xz, yz = spearman(x, y), spearman(x, given), spearman(y, given)
    left = (1.0 - xz**2) * (1.0 - yz**2)
    return np.where(left > 1e-12, (xy - xz * yz) / np.sqrt(np.where(left > 1e-12, left, 1.0)), np.nan)
