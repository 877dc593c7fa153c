"""Windows of one length."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coupling.scheme import Scheme, Standing, Taken
from coupling.window import Window
from twin.errors import InputError, SimulationError

Take = Callable[[Standing, Window], Taken]
"""A scheme that crosses one window."""


@dataclass(frozen=True)
class Crossed:
    """One window that is behind us.

    Args:
        taken: what the scheme did.
        rejected: how many tries were thrown away `[M]`.
        wasted: how many iterations went into them `[M]`.
    """

    taken: Taken
    rejected: NDArray[np.int64]
    wasted: NDArray[np.int64]


class Windows(Protocol):
    """How the stretches between changes from outside are cut.

    Attributes:
        dt: longest span of a stretch; None: as long as nothing happens.
        alone: whether every member has windows of its own.
    """

    @property
    def dt(self) -> float | None: ...
    @property
    def alone(self) -> bool: ...

    def cross(self, take: Take, at: Standing, stretch: Window, scheme: Scheme) -> Iterator[Crossed]:
        """The windows of one stretch, in order."""
        ...


@dataclass(frozen=True)
class FixedWindows:
    """Windows of length `dt`, counted from the start of the run, and shorter ones where something happens.

    Args:
        dt: in the twin's time units; None: conduits are read at the start and at changes only.

    Raises:
        InputError: a length that does not advance the clock.
    """

    dt: float | None = None

    def __post_init__(self) -> None:
        if self.dt is not None and not (self.dt > 0 and math.isfinite(self.dt)):
            raise InputError(
                f"FixedWindows({self.dt}): expected a span of time above 0, or None; this does not advance."
            )

    @property
    def alone(self) -> bool:
        """All members share the windows."""
        return False

    def cross(self, take: Take, at: Standing, stretch: Window, scheme: Scheme) -> Iterator[Crossed]:
        """See `Windows.cross`."""
        taken = take(at, stretch)
        if not taken.converged.all():
            raise not_converged(
                taken, at, stretch, cure="shorten the windows, let their length adapt, take another acceleration"
            )
        none = np.zeros(len(taken.converged), dtype=np.int64)
        yield Crossed(taken, none, none)


def not_converged(taken: Taken, at: Standing, window: Window, *, cure: str) -> SimulationError:
    """The error that names the window, the conduit that changes most against its size, the residual and the cure."""
    row = int(np.flatnonzero(~taken.converged)[0])
    member = int(next(iter(at.states.values())).members[row])
    worst = max(taken.residuals, key=lambda n: taken.residuals[n][row] / (taken.scales[n][row] or 1.0))
    return SimulationError(
        f"coupling did not converge in the window from {window.t0:g} to {window.t1:g}: member {member}, conduit {worst}: "
        f"residual {taken.residuals[worst][row]:.3g} of values up to {taken.scales[worst][row]:.3g} after "
        f"{taken.iterations[row]} iterations; {cure}, or allow more iterations."
    )
