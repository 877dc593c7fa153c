"""Whether two results are one: every variable, coordinate and attribute to the last bit, clocks and workers aside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray


def opened(path: Path) -> xarray.Dataset:
    """A result, read whole."""
    with xarray.open_zarr(path) as found:
        return found.load()


def same_result(one: Path, other: Path) -> None:
    """Fails unless all but attributes `run_*` have the same bits."""
    a, b = opened(one), opened(other)
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        left, right = np.asarray(a[name].values), np.asarray(b[name].values)
        assert (left.dtype, left.shape) == (right.dtype, right.shape), name
        assert left.tobytes() == right.tobytes(), f"{name} differs"
        assert a[name].dims == b[name].dims, name
        assert str(a[name].attrs) == str(b[name].attrs), name
    kept = [{key: str(value) for key, value in d.attrs.items() if not key.startswith("run_")} for d in (a, b)]
    assert kept[0] == kept[1]
