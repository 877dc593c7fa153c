"""The clock of a run cut into windows: stretches in which nothing happens from outside, and nothing is exchanged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from twin.errors import InputError
from twin.perturbation import Perturbation


@dataclass(frozen=True)
class Window:
    """A stretch of the clock in which nothing happens from outside, and nothing is exchanged.

    Args:
        t0, t1: where it starts and ends; equal where only the last instant of a run is left to change.
        perturbations: made at `t0`.
        sample: times to look at, from `t0` on; `t1` belongs to the next window.
    """

    t0: float
    t1: float
    perturbations: tuple[Perturbation, ...] = ()
    sample: tuple[float, ...] = ()


def windows(
    perturbations: Sequence[Perturbation],
    *,
    t0: float,
    t1: float,
    sample: Sequence[float],
    exchange: float | None = None,
) -> Iterator[Window]:
    """The windows of a run, in order; every perturbation and every sample is in exactly one.

    Raises:
        InputError: times out of order, outside or not finite, or an exchange that is not above 0.
    """
    if not (math.isfinite(t0) and math.isfinite(t1) and t0 <= t1):
        raise InputError(f"A run from {t0} to {t1}: expected two finite times in order.")
    if exchange is not None and not exchange > 0:
        raise InputError(f"exchange={exchange}: expected a span of time above 0, or None.")
    looks = [float(time) for time in sample]
    if any(not t0 <= time <= t1 for time in looks) or any(b < a for a, b in pairwise(looks)):
        raise InputError(f"sample={looks}: expected ascending times within {t0:g} … {t1:g}.")
    changes: dict[float, list[Perturbation]] = {}
    for change in perturbations:
        if not t0 <= change.time <= t1:
            raise InputError(f"Perturbation of {change.target} at {change.time:g}: expected {t0:g} … {t1:g}.")
        changes.setdefault(float(change.time), []).append(change)
    stops = sorted({float(t0), float(t1), *changes})
    if exchange is not None:
        stops = sorted({*stops, *(t0 + i * exchange for i in range(1, math.ceil((t1 - t0) / exchange)))})
    spans = [*pairwise(stops)]
    if t1 in changes or not spans:
        spans.append((float(t1), float(t1)))
    taken = 0
    for position, (since, until) in enumerate(spans):
        upto = taken
        while upto < len(looks) and (looks[upto] < until or position == len(spans) - 1):
            upto += 1
        yield Window(since, until, tuple(changes.get(since, ())), tuple(looks[taken:upto]))
        taken = upto
