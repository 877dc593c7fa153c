"""One change from outside at one time: a dose, a knock-down, a wash-out."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError

Operation = Literal["set", "scale", "add"]


@dataclass(frozen=True)
class Perturbation:
    """At `time`, `target` is set to, scaled by, or increased by `value`.

    Args:
        time: on the twin's clock, in the twin's time units.
        target: ``"simulator.name"``: a parameter or a state that the simulator lists in its `targets`.
        value: one number for all members, or one per member `[M]` in the target's units (``scale``: dimensionless).
        operation: knock-out is ``set 0``; knock-down and overexpression are ``scale``; a bolus is ``add``.

    Raises:
        InputError: a time or value that is not finite, or a target without a dot.
    """

    time: float
    target: str
    value: float | NDArray[np.float64]
    operation: Operation = "set"

    def __post_init__(self) -> None:
        if not math.isfinite(self.time):
            raise InputError(f"Perturbation of {self.target}: time {self.time} is not finite.")
        if self.operation not in get_args(Operation):
            raise InputError(
                f"Perturbation of {self.target}: operation {self.operation!r} is none of {get_args(Operation)}."
            )
        if "." not in self.target:
            raise InputError(f"Perturbation target {self.target!r} must read 'simulator.name', e.g. 'cell.EGF_level'.")
        if not np.all(np.isfinite(self.value)):
            raise InputError(f"Perturbation of {self.target} at {self.time}: value {self.value} is not finite.")

    @property
    def simulator(self) -> str:
        """Name of the simulator whose target changes."""
        return self.target.split(".", 1)[0]

    @property
    def name(self) -> str:
        """Name of the target within its simulator."""
        return self.target.split(".", 1)[1]

    def refuse_unknown(self, targets: Collection[str]) -> None:
        """Refuse a change of what a simulator does not list.

        Raises:
            InputError: the name is none of `targets`; the text names near ones.
        """
        if self.name not in targets:
            near = difflib.get_close_matches(self.name, targets, n=3)
            cure = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(targets)}."
            raise InputError(f"Perturbation of {self.target}: no such target; {cure}")

    def applied(self, old: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the target's values `[M]` become.

        Raises:
            InputError: another number of values than members.
        """
        value = np.asarray(self.value, dtype=np.float64)
        if value.shape not in ((), old.shape):
            raise InputError(
                f"Perturbation of {self.target}: {value.shape} values for {len(old)} members; "
                "expected one number, or one per member."
            )
        if self.operation == "set":
            return np.full(old.shape, value)
        return old * value if self.operation == "scale" else old + value
