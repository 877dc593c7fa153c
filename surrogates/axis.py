"""One input of an emulator: how it is scaled, and which values of it training has seen. Legend: `M` rows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float64]

_FEW = 24  # with so few different values an input is a set of settings, not a range
_NEXT = 0.6  # decades between two settings that may still be bridged: a factor of 4
_SLACK = 0.5  # standard deviations beyond what training saw: a sample never holds the extremes of what it is drawn from
_SAME = 1e-6  # relative: two such settings are one


@dataclass(frozen=True)
class Axis:
    """An input, as log10 of its value where none was negative.

    Args:
        name: as in the model.
        log: whether the logarithm is scaled; else the value itself.
        floor: added before the logarithm is taken; 0 where training saw no 0.
        mean, scale: of the (logarithms of) training values.
        low, high: smallest and largest training value, as (logarithms of) values; a 0 is not counted.
        zero: whether training saw a 0.
        seen: all training values, where they are few.
    """

    name: str
    log: bool
    floor: float
    mean: float
    scale: float
    low: float
    high: float
    zero: bool
    seen: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, values: Row) -> Self:
        """The axis of training values `[N]`, which are finite and differ."""
        distinct = np.unique(values)
        log = bool(distinct[0] >= 0.0)
        positive = distinct[distinct > 0.0]
        zero = log and bool(distinct[0] == 0.0)
        floor = 0.3 * max(float(positive[0]), 1e-8 * float(positive[-1])) if zero else 0.0
        scaled = np.log10(values + floor) if log else values
        shown = np.log10(positive) if log else distinct
        return cls(
            name=name,
            log=log,
            floor=floor,
            mean=float(scaled.mean()),
            scale=float(scaled.std()),
            low=float(shown[0]),
            high=float(shown[-1]),
            zero=zero,
            seen=tuple(distinct.tolist()) if len(distinct) <= _FEW else (),
        )

    def scaled(self, values: Row) -> Row:
        """What the network is given `[M]`; NaN where a logarithm has none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            taken = np.log10(values + self.floor) if self.log else values
            return np.where(np.isfinite(taken), (taken - self.mean) / self.scale, np.nan)

    def familiar(self, values: Row) -> NDArray[np.bool_]:
        """Whether training has seen such values `[M]`: within its range, or one of its few settings or between near ones."""
        with np.errstate(invalid="ignore", divide="ignore"):
            taken = np.log10(values) if self.log else np.asarray(values)
        fine = np.isfinite(taken)
        if not self.seen:
            slack = _SLACK * self.scale
            fine &= (taken >= self.low - slack) & (taken <= self.high + slack)
        else:
            fine &= self._near_a_setting(np.where(fine, taken, 0.0))
        return fine | (self.zero & (np.asarray(values) == 0.0))

    def _near_a_setting(self, taken: Row) -> NDArray[np.bool_]:
        settings = np.array([math.log10(v) if self.log else v for v in self.seen if v > 0.0 or not self.log])
        tolerance = _SAME * (1.0 if self.log else max(abs(self.low), abs(self.high)))
        same = np.abs(taken[:, None] - settings).min(axis=1) <= tolerance
        above = np.searchsorted(settings, taken)
        inside = (above > 0) & (above < len(settings))
        gap = settings[np.minimum(above, len(settings) - 1)] - settings[np.maximum(above - 1, 0)]
        return same | (inside & self.log & (gap <= _NEXT))

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "seen": list(self.seen)}

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """From plain data; raises `TypeError` or `KeyError` where it is not an axis."""
        return cls(**{**facts, "seen": tuple(float(v) for v in facts["seen"])})
