"""What an arm does to the levels of a medium: windows between changes, in each of which every level stands still.

Legend: `M` rows, `L` levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError
from twin.perturbation import Perturbation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DoseWindow:
    """A stretch of the clock without a change.

    Args:
        t0, t1: from and until when.
        changes: made at `t0`.
        last: whether no window follows.
    """

    t0: float
    t1: float
    changes: tuple[Perturbation, ...]
    last: bool

    def holds(self, times: Floats) -> NDArray[np.intp]:
        """Positions of the times that lie in it; the time at which the next window starts belongs to that one."""
        inside = (times >= self.t0) & ((times < self.t1) | ((times == self.t1) & self.last))
        return np.flatnonzero(inside)


def dose_windows(perturbations: Sequence[Perturbation], *, t0: float, t1: float) -> tuple[DoseWindow, ...]:
    """The windows of an arm from `t0` to `t1`; changes later than `t1` are left out.

    Raises:
        InputError: a change before `t0`.
    """
    changes: dict[float, list[Perturbation]] = {}
    for change in perturbations:
        if change.time < t0:
            raise InputError(f"Perturbation of {change.target} at {change.time:g}: the arm starts at {t0:g}.")
        if change.time <= t1:
            changes.setdefault(float(change.time), []).append(change)
    stops = sorted({float(t0), float(t1), *changes})
    spans = [*pairwise(stops), *([(t1, t1)] if t1 in changes or len(stops) == 1 else [])]
    return tuple(
        DoseWindow(since, until, tuple(changes.get(since, ())), last=position == len(spans) - 1)
        for position, (since, until) in enumerate(spans)
    )


def changed(levels_ML: Floats, names: Sequence[str], changes: Sequence[Perturbation]) -> Floats:
    """The levels after changes in the order given.

    Raises:
        InputError: a target that is no level, a wrong number of values, or a level below 0 or not finite.
    """
    after = np.array(levels_ML, dtype=np.float64)
    for change in changes:
        if change.name not in names:
            raise InputError(
                f"Perturbation of {change.target}: the emulator has learned no changes of it; "
                f"it knows {', '.join(names) or 'none'}."
            )
        column = list(names).index(change.name)
        after[:, column] = change.applied(after[:, column])
    return after


def merged(
    arms: Sequence[Sequence[Perturbation]], arm_M: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.intp], list[Perturbation]]]:
    """Rows whose arms change the same things at the same times, with the changes of them all, a value per row.

    Args:
        arm_M: position in `arms` of each row.

    Yields:
        Positions of rows, and changes for them.
    """
    alike: dict[tuple[tuple[float, str, str], ...], list[int]] = {}
    for row, arm in enumerate(arm_M.tolist()):
        key = tuple((change.time, change.target, change.operation) for change in arms[arm])
        alike.setdefault(key, []).append(row)
    for key, rows in alike.items():
        values = np.array([[np.broadcast_to(c.value, ()) for c in arms[arm_M[row]]] for row in rows], dtype=np.float64)
        yield (
            np.array(rows, dtype=np.intp),
            [
                Perturbation(time, target, values[:, column], operation)  # pyright: ignore[reportArgumentType]
                for column, (time, target, operation) in enumerate(key)
            ],
        )
