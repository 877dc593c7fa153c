"""Windows as long as the exchanged values allow.

What is controlled is the *defect*: by how much at most, inside a window, a simulator heard something else than its source
said. An explicit scheme knows it at the end of a window (what was held against what is said now), a waveform half way
between the nodes of its signals. A window whose defect is too large is thrown away and taken again, shorter: states go in
and come out, so that going back costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from coupling.fixed_windows import Crossed, Take, not_converged
from coupling.scheme import Memory, Scheme, Standing, Taken
from coupling.window import Window
from twin.errors import InputError

_LENGTH, _ERROR, _SCALES = "windows length", "windows error", "windows scales"
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 4.0


@dataclass(frozen=True)
class AdaptiveWindows:
    """Windows whose length follows the defect of the exchanged signals, by a PI controller (Gustafsson 1991, ACM Trans.
    Math. Softw. 17:533).

    Every member has windows of its own, so that a result does not depend on which members run together.

    Args:
        tolerance: largest defect, as a share of the largest value that its conduit has carried so far.
        smallest, largest: bounds of the length, in the twin's time units; largest None: as long as nothing happens.
        first: length of the first window; None: a hundredth of the first stretch.

    Raises:
        InputError: a tolerance outside (0, 1), or lengths that do not advance the clock or are out of order.
    """

    tolerance: float = 1e-3
    smallest: float = 1e-6
    largest: float | None = None
    first: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.tolerance < 1.0:
            raise InputError(
                f"AdaptiveWindows(tolerance={self.tolerance}): expected a share between 0 and 1, e.g. 1e-3."
            )
        lengths = [self.smallest, *(x for x in (self.first,) if x is not None), self.largest or math.inf]
        if not self.smallest > 0 or self.largest == 0 or lengths != sorted(lengths) or math.isnan(sum(lengths)):
            raise InputError(
                f"AdaptiveWindows(smallest={self.smallest}, first={self.first}, largest={self.largest}): expected "
                "0 < smallest <= first <= largest, so that every window advances the clock."
            )

    @property
    def dt(self) -> float | None:
        """None: the cuts come on the way."""
        return None

    @property
    def alone(self) -> bool:
        """Every member has windows of its own."""
        return True

    def cross(self, take: Take, at: Standing, stretch: Window, scheme: Scheme) -> Iterator[Crossed]:
        """See `Windows.cross`."""
        time, end = stretch.t0, stretch.t1
        if time == end:
            yield Crossed(take(at, stretch), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
            return
        length, before = self._start(at.memory, end - time)
        looks = list(stretch.sample)
        tries = wasted = 0
        while time < end:
            least = max(self.smallest, 4 * math.ulp(max(abs(time), abs(end))))
            length = max(length, least)
            last = time + length * (1 + 1e-9) >= end
            until = end if last else min(time + length, (time + end) / 2 if time + 2 * length > end else end)
            window = Window(time, until, sample=tuple(look for look in looks if last or look < until))
            taken = take(at, window)
            error, scales = self._error(taken, at.memory)
            lost = math.isnan(error) and math.isnan(before)  # a member that has failed is led to the end in peace
            fine = bool(taken.converged.all()) and (error <= 1.0 or lost)
            if not fine and until - time > least * (1 + 1e-9):
                share = _SAFETY * error ** (-1.0 / scheme.defect_order) if taken.converged.all() else 0.5
                length = max(least, (until - time) * min(max(share, _SHRINK), 0.9) if not math.isnan(error) else least)
                tries, wasted = tries + 1, wasted + int(taken.iterations.max(initial=0))
                continue
            if not taken.converged.all():
                raise not_converged(
                    taken,
                    at,
                    window,
                    cure=f"let windows become shorter than {self.smallest:g}, take another acceleration",
                )
            if math.isnan(error):
                length, before = self.largest or math.inf, math.nan
            else:
                grown = (until - time) * self._growth(error, before, scheme.defect_order)
                cut = until - time < length * (1 - 1e-9)  # a window cut short by an end says little of the next
                length = min(max(length, grown, least) if cut else max(grown, least), self.largest or math.inf)
                before = max(error, 1e-4)
            memory: Memory = {
                **taken.standing.memory, _LENGTH: np.array([length]), _ERROR: np.array([before]), _SCALES: scales[None],
            }  # fmt: skip
            at = replace(taken.standing, memory=memory)
            yield Crossed(replace(taken, standing=at), np.array([tries]), np.array([wasted]))
            tries = wasted = 0
            looks, time = looks[len(window.sample) :], until

    def _start(self, memory: Memory, span: float) -> tuple[float, float]:
        if _LENGTH in memory:
            return float(memory[_LENGTH][0]), float(memory[_ERROR][0])
        first = span / 100 if self.first is None else self.first
        return min(max(first, self.smallest), self.largest or math.inf), 1.0

    def _error(self, taken: Taken, memory: Memory) -> tuple[float, np.ndarray]:
        """The largest defect in units of what is tolerated; scales of conduits so far. NaN where a member has failed."""
        names = sorted(taken.defects)
        scales = np.array([float(taken.scales[name][0]) for name in names])
        if _SCALES in memory and memory[_SCALES].shape[1] == len(scales):
            scales = np.maximum(scales, memory[_SCALES][0])
        defects = np.array([float(taken.defects[name][0]) for name in names])
        floor = np.where(scales > 0.0, scales, 1.0)
        return float((defects / (self.tolerance * floor)).max(initial=0.0)), scales

    def _growth(self, error: float, before: float, order: int) -> float:
        error = max(error, 1e-4)
        share = _SAFETY * error ** (-0.7 / order) * before ** (0.4 / order)
        return min(max(share, _SHRINK), _GROW)
