"""Simulators whose course is a formula: constants, exposure, linear systems, flow in an elastic tube.

- `Constant`: values that a member keeps, e.g. its drawn binding rates
- `LinearSystem`: masses and springs, compartments: linear equations with constant coefficients
- `OneCompartment`: exposure after a bolus or during an infusion
- `TubeFlow`, `TubeWall`: a liquid in an elastic tube, and its wall
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulators.closed_form.constant import Constant
    from simulators.closed_form.linear_system import LinearSystem
    from simulators.closed_form.one_compartment import OneCompartment
    from simulators.closed_form.tube_flow import TubeFlow
    from simulators.closed_form.tube_wall import TubeWall

_HOME = {
    "Constant": "constant", "LinearSystem": "linear_system", "OneCompartment": "one_compartment", "TubeFlow": "tube_flow",
    "TubeWall": "tube_wall",
}  # fmt: skip

__all__ = ["Constant", "LinearSystem", "OneCompartment", "TubeFlow", "TubeWall"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'simulators.closed_form' has no attribute {name!r}")
    return getattr(import_module(f"simulators.closed_form.{_HOME[name]}"), name)
