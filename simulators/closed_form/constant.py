"""Values that each member keeps: drawn binding rates, a dose level, a body weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.closed_form.closed_form import ClosedForm, Floats
from twin.simulator import Values
from twin.variable import Variable


class Constant(ClosedForm):
    """A simulator whose outputs are its members' own values, until a perturbation changes them.

    Args:
        values: name → (units, value of every member `[N]`, or one number for all).
        time_units: units of the clock.

    Raises:
        InputError: values of different lengths, or not finite.
        UnitError: an unknown unit.
    """

    def __init__(
        self, values: Mapping[str, tuple[str, NDArray[np.floating[Any]] | float]], *, time_units: str = "min"
    ) -> None:
        ports = [Variable(name, units) for name, (units, _) in values.items()]
        super().__init__(
            variables=ports,
            values={name: array for name, (_, array) in values.items()},
            outputs=ports,
            time_units=time_units,
        )

    def _course(self, arrays: Mapping[str, Floats], since: Floats) -> tuple[Mapping[str, Floats], Values]:
        return {}, {port.name: np.repeat(arrays[port.name][:, None], len(since), axis=1) for port in self.outputs}
