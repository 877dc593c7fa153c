"""Anything that advances in time: mechanism, surrogate, hybrid or remote.

Legend: `M` members of this chunk, `T` sample times. Ports carry numpy arrays with a leading member axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.signal import Signal
from twin.variable import Variable

Values = Mapping[str, NDArray[Any]]
"""Inputs `[M, *dims]`; outputs of a step `[M, T + 1, *dims]`: at each time of `sample`, then at `t1`."""


@dataclass(frozen=True)
class State:
    """Everything a simulator must remember between steps, storable and reloadable.

    Args:
        members: global member numbers `[M]`; a chunk knows whom it holds.
        arrays: numpy arrays, each with the leading member axis; no object arrays, so that any checkpoint can hold them.
        time: the simulator's own clock in its own time units; NaN before the first step.
        note: small plain data (str, int, float, bool) that is the same for all members, e.g. a generator's seed.
    """

    members: NDArray[np.int64]
    arrays: Mapping[str, NDArray[Any]]
    time: float = float("nan")
    note: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, "str | int | float | bool"])

    def __post_init__(self) -> None:
        for name, array in self.arrays.items():
            if array.dtype == object or array.shape[:1] != self.members.shape:
                raise InputError(
                    f"State array {name!r}: dtype {array.dtype}, shape {array.shape}; expected a plain dtype and a "
                    f"leading axis of {len(self.members)} members."
                )

    @classmethod
    def known(
        cls,
        members: NDArray[np.int64],
        arrays: Mapping[str, NDArray[Any]],
        time: float,
        note: Mapping[str, str | int | float | bool],
    ) -> State:
        """A state of arrays that are known to fit, not looked at again: for one that was a state elsewhere, and comes often."""
        state = object.__new__(cls)
        content = state.__dict__
        content["members"], content["arrays"], content["time"], content["note"] = members, arrays, time, note
        return state

    def clocked(self, time: float) -> State:
        """Itself, with its clock set: for a state that was made ready before its time was known, and that nobody has seen yet."""
        self.__dict__["time"] = time
        return self

    def take(self, rows: NDArray[np.int64]) -> State:
        """The state of some members, by position in this chunk."""
        return replace(self, members=self.members[rows], arrays={name: a[rows] for name, a in self.arrays.items()})


def step_times(t0: float, t1: float, sample: Sequence[float] = ()) -> list[float]:
    """The times of a step: `t0`, the samples, `t1`.

    Raises:
        InputError: out of order, outside the step, or not finite.
    """
    times = [float(t0), *(float(time) for time in sample), float(t1)]
    if not all(math.isfinite(time) for time in times) or any(b < a for a, b in pairwise(times)):
        raise InputError(f"step from {t0} to {t1} with samples {list(sample)}: expected ascending times in the step.")
    return times


@runtime_checkable
class Simulator(Protocol):
    """What the loop needs of a simulator. State goes in and comes out: nothing else is kept between steps.

    Attributes:
        inputs: ports that conduits may feed; an unfed input keeps the simulator's own value.
        outputs: ports that every step returns.
        targets: what a `Perturbation` may change (parameters and states), by name.
        clock: ``"macro"`` shares the twin's clock; ``"micro"`` runs its own short time inside a step and returns averages.
        time_units: units of `t0`, `t1` and `sample`.
    """

    @property
    def inputs(self) -> tuple[Variable, ...]: ...
    @property
    def outputs(self) -> tuple[Variable, ...]: ...
    @property
    def targets(self) -> Mapping[str, Variable]: ...
    @property
    def clock(self) -> Literal["macro", "micro"]: ...
    @property
    def time_units(self) -> str: ...

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """State at the start for these global member numbers. Noise is drawn from (seed, member)."""
        ...

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """A new state with the changes made, in the order given. Raises `InputError` for an unknown target."""
        ...

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """Advance from `t0` to `t1` under constant inputs; outputs `[M, len(sample) + 1, *dims]`.

        A member that cannot be advanced is NaN from there on in the outputs (its reason in the array
        ``"status"`` of the state, 0 = fine); the other members are untouched.
        """
        ...


@runtime_checkable
class Follower(Simulator, Protocol):
    """A simulator whose inputs may move while it steps; one without `follow` only takes inputs that stay as they are.

    This is what coupling of a higher order than 2 asks of every simulator that a conduit feeds.
    """

    def follow(
        self, state: State, signals: Mapping[str, Signal], *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """Advance as `step` does, while each input is its signal's value at every time, to the simulator's own tolerance.

        Args:
            signals: by input, on the simulator's own clock; each holds from `t0` to `t1` at least. After the step an
                input keeps its value at `t1`.
        """
        ...
