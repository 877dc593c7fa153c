"""A scan's result as pages, figures and the terminal read it: its axes, its variables, courses and ends.

Legend: `N` members, `T` times.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray
from numpy.typing import NDArray

from scenarios.report.number import significant
from scenarios.report.quantile import quantiles

Floats = NDArray[np.float64]
_SHOWN = 12


@dataclass(frozen=True)
class ScanView:
    """A result of kind `scan`."""

    dataset: xarray.Dataset

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables, those that change over scan and time first."""
        there = [str(n) for n, v in self.dataset.data_vars.items() if "time" in v.dims]
        asked = [n if n in there else f"{n}_" for n in json.loads(self.dataset.attrs["scan"])["select"]]
        names = [n for n in asked if n in there]  # a store gives variables back in an order of its own
        spans = {n: self._span(n) for n in names}
        return tuple(sorted(names, key=lambda n: spans[n] <= 1e-6))

    def _span(self, name: str) -> float:
        values = self.resolved(name)
        finite = values[np.isfinite(values)]
        return float(np.ptp(finite) / (np.abs(finite).max() or 1.0)) if finite.size else 0.0

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Scanned dims."""
        dims = self.dataset[self.variables[0]].dims if self.variables else ()
        return tuple(str(d) for d in dims if d not in ("member", "time"))

    @property
    def times(self) -> Floats:
        """`[T]`."""
        return np.asarray(self.dataset["time"].values, dtype=np.float64)

    @property
    def members(self) -> int:
        """`N`."""
        return int(self.dataset.sizes.get("member", 1))

    def named(self, name: str) -> str:
        """A variable, a dim or the time with its unit."""
        attrs = self.dataset[name].attrs
        label = str(attrs.get("long_name", name)).removesuffix(", scanned")
        units = str(attrs.get("units", ""))
        return f"{label} [{units}]" if units not in ("", "1") else label

    @property
    def end_words(self) -> str:
        """The last time with its unit."""
        units = str(self.dataset["time"].attrs.get("units", ""))
        return f"{self.times[-1]:g} {units}" if units not in ("", "1") else f"time {self.times[-1]:g}"

    def logarithmic(self, axis: str) -> bool:
        """Whether its values are spaced by logarithm."""
        return self.dataset[axis].attrs.get("spacing") == "logarithmic"

    def values(self, axis: str) -> Floats:
        """Of a scanned dim."""
        return np.asarray(self.dataset[axis].values, dtype=np.float64)

    def floor(self, name: str) -> float:
        """Below what the solver does not know this variable from 0; 0 where it is not solved for, but computed or counted."""
        return float(self.dataset[name].attrs.get("absolute_tolerance", 0.0))

    def resolved(self, name: str) -> Floats:
        """Values, 0 for what is left of a course where it is below both tolerances, that is 0 but for rounding.

        Below the absolute one alone it may be a real number: a course that never was larger is small, not zero.
        """
        variable = self.dataset[name]
        values = np.asarray(variable.values, dtype=np.float64)
        floor = self.floor(name)
        if floor == 0.0:
            return values
        sizes = np.abs(values)
        greatest = np.fmax.reduce(sizes, axis=variable.dims.index("time"), keepdims=True)
        share = float(variable.attrs["relative_tolerance"])
        return np.where(sizes < np.minimum(floor, share * greatest), 0.0, values)

    def rounded(self, name: str) -> bool:
        """Whether a value is shown as 0 that is something else in the result."""
        return bool((self.resolved(name) != self.dataset[name].values)[np.isfinite(self.dataset[name].values)].any())

    def bands(self, name: str) -> Floats:
        """5 %, 50 % and 95 % of members, `resolved` `[3, axes …, T]`; the same three times where there is one member."""
        variable, values = self.dataset[name], self.resolved(name)
        if "member" not in variable.dims:
            return np.stack([values] * 3)
        return quantiles(values, (0.05, 0.5, 0.95), axis=variable.dims.index("member"))

    def chosen(self, count: int) -> list[int]:
        """At most `_SHOWN` positions, evenly, of so many."""
        return sorted(set(np.linspace(0, count - 1, min(count, _SHOWN)).round().astype(int).tolist()))

    def middle(self) -> tuple[int, ...]:
        """Positions of the third and further axes at which figures cut."""
        return tuple(self.dataset.sizes[axis] // 2 for axis in self.axes[2:])

    def cut_words(self) -> str:
        """`` at Z = 3`` where figures cut; empty where they need not."""
        cuts = [
            f"{a} = {significant(float(self.values(a)[i]))}" for a, i in zip(self.axes[2:], self.middle(), strict=True)
        ]
        return f" at {', '.join(cuts)}" if cuts else ""


def lines(dataset: xarray.Dataset) -> list[str]:
    """The lowest and the highest end of each variable, and where in the scan it is; 0 with the solver's tolerance where
    only rounding is left."""
    view = ScanView(dataset)
    rows = [("at the end", "units", "lowest", "highest")]
    for name in view.variables[:_SHOWN]:
        ends = view.bands(name)[1][..., -1]
        units = str(dataset[name].attrs.get("units", ""))
        if not np.isfinite(ends).any():
            rows.append((name, units, "–", "–"))
            continue
        told = ["", ""]
        for i, position in enumerate((np.nanargmin(ends), np.nanargmax(ends))):
            place = np.unravel_index(position, ends.shape)
            where = ", ".join(f"{a} {view.values(a)[n]:.3g}" for a, n in zip(view.axes, place, strict=True))
            zero = f"0 ± {view.floor(name):.0e}" if view.rounded(name) else "0"
            text = f"{ends[place]:.4g}" if ends[place] else zero
            told[i] = text + (f"  ({where})" if where and np.nanmax(np.abs(ends)) else "")
        rows.append((name, units, told[0], told[1]))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    found = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = len(view.variables) - _SHOWN
    if more > 0:
        found.append(f"… and {more} more variables, in the result")
    aside = int((np.asarray(dataset["status"].values) != 0).sum())
    if aside:
        found.append(
            f"{aside} of {math.prod(dataset['status'].shape)} courses were set aside; status in the result says why."
        )
    return found
