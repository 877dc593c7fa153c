"""What closed-form simulators share: named values per member, drawn as rows, changed by perturbations.

Legend: `M` members of this chunk, `N` members in all, `T` sample times.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.simulator import State, Values, step_times
from twin.variable import Variable

Floats = NDArray[np.float64]


class ClosedForm(ABC):
    """A `twin.Simulator` whose state is one value per name and member, and whose course is the formula `_course`.

    Args:
        variables: what the state holds; every one is a target.
        values: per name one number for all members, or one per member `[N]`.
        outputs: what a step returns.
        time_units: units of the clock.

    Raises:
        InputError: values of different lengths, not finite, or below their bound.
    """

    def __init__(
        self,
        *,
        variables: Sequence[Variable],
        values: Mapping[str, NDArray[np.floating[Any]] | float],
        outputs: Sequence[Variable],
        time_units: str,
    ) -> None:
        self._variables = {variable.name: variable for variable in variables}
        self._outputs = tuple(outputs)
        self._time_units = time_units
        self._values = {name: np.array(values[name], dtype=np.float64) for name in self._variables}
        lengths = {name: len(array) for name, array in self._values.items() if array.ndim == 1}
        if any(array.ndim > 1 for array in self._values.values()) or len(set(lengths.values())) > 1:
            shapes = {name: array.shape for name, array in self._values.items()}
            raise InputError(f"{type(self).__name__}: shapes {shapes}; expected numbers, or one per member, N alike.")
        for name, array in self._values.items():
            self._check(name, np.atleast_1d(array), np.arange(array.size), where=type(self).__name__)

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """None: what changes is a perturbation."""
        return ()

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """What a step returns."""
        return self._outputs

    @property
    def targets(self) -> Mapping[str, Variable]:
        """Every value of the state."""
        return self._variables

    @property
    def clock(self) -> Literal["macro", "micro"]:
        """``"macro"``."""
        return "macro"

    @property
    def time_units(self) -> str:
        """Units of the clock."""
        return self._time_units

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """The rows of these members; `seed` is not used, nothing is random.

        Raises:
            InputError: a member without a row.
        """
        del seed
        members = np.asarray(members, dtype=np.int64)
        arrays: dict[str, NDArray[Any]] = {"status": np.zeros(len(members), dtype=np.int8)}
        for name, values in self._values.items():
            if values.ndim and len(members) and not 0 <= members.min() <= members.max() < len(values):
                raise InputError(
                    f"{type(self).__name__}: members {members.min()}…{members.max()}, but {name} has {len(values)} rows."
                )
            arrays[name] = values[members] if values.ndim else np.full(len(members), float(values))
        return State(members=members, arrays=arrays)

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """A new state with the changes made, in the order given.

        Raises:
            InputError: an unknown target, a wrong number of values, or a value below its bound.
        """
        arrays = dict(state.arrays)
        for change in perturbations:
            change.refuse_unknown(self._variables)
            arrays[change.name] = change.applied(arrays[change.name])
            self._check(change.name, arrays[change.name], state.members, where=f"Perturbation at {change.time}")
        return replace(state, arrays=arrays)

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """The formula from `t0` to `t1`. See `twin.Simulator.step`.

        Raises:
            InputError: an input (there is none), or times out of order.
        """
        times = step_times(t0, t1, sample)
        if inputs:
            raise InputError(f"{type(self).__name__} has no input {next(iter(inputs))!r}; it has none at all.")
        moved, values = self._course(state.arrays, np.array(times[1:]) - t0)
        return replace(state, arrays={**state.arrays, **moved}, time=t1), values

    @abstractmethod
    def _course(self, arrays: Mapping[str, Floats], since: Floats) -> tuple[Mapping[str, Floats], Values]:
        """What changed at the last time, and the outputs `[M, T + 1]` at the times `since` the start of the step."""

    def _check(self, name: str, values: Floats, members: NDArray[np.integer[Any]], *, where: str) -> None:
        lower = self._variables[name].lower
        wrong = ~np.isfinite(values) if lower is None else ~np.isfinite(values) | (values < lower)
        if wrong.any():
            bound = "a finite number" if lower is None else f"a finite number of at least {lower:g}"
            raise InputError(f"{where}: {name} is {values[wrong][0]} in member {members[wrong][0]}; expected {bound}.")
