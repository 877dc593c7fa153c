"""A simulator round another one: what it does not change is that of the one inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from twin.simulator import Simulator
from twin.variable import Variable


class Wrapper:
    """Ports, targets and clock of a simulator inside; who wraps overrides what differs.

    Args:
        inside: the simulator.
    """

    def __init__(self, inside: Simulator) -> None:
        self._inside = inside

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """Those of the simulator inside."""
        return self._inside.inputs

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Those of the simulator inside."""
        return self._inside.outputs

    @property
    def targets(self) -> Mapping[str, Variable]:
        """Those of the simulator inside."""
        return self._inside.targets

    @property
    def clock(self) -> Literal["macro", "micro"]:
        """That of the simulator inside."""
        return self._inside.clock

    @property
    def time_units(self) -> str:
        """Those of the simulator inside."""
        return self._inside.time_units
