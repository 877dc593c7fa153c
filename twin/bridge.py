"""A map of values from one scale to another, with units on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twin.units import factor
from twin.variable import Variable


@runtime_checkable
class Bridge(Protocol):
    """Maps the values of a source port to those of a target port.

    Attributes:
        source_units, target_units: what goes in and what comes out.
    """

    @property
    def source_units(self) -> str: ...
    @property
    def target_units(self) -> str: ...

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values `[M, *dims]` of the source, as the target reads them; shape may change behind the member axis."""
        ...


@dataclass(frozen=True)
class UnitBridge:
    """The bridge between two ports that differ in units alone, e.g. 1/(M s) to 1/(uM min)."""

    source_units: str
    target_units: str

    @classmethod
    def between(cls, source: Variable, target: Variable) -> UnitBridge:
        """The bridge for these ports. Raises `UnitError` where the dimensions differ."""
        factor(source.units, target.units, where=f"{source.name} to {target.name}")
        return cls(source.units, target.units)

    @cached_property
    def factor(self) -> float:
        """The number that turns source units into target units."""
        return factor(self.source_units, self.target_units)

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        floats = np.asarray(values, dtype=np.float64)
        return floats if self.factor == 1.0 else floats * self.factor
