"""What a digital twin is: ports, simulators, perturbations, bridges and the wiring between them.

- `Variable`: a port: what flows, in which units
- `Simulator`, `State`, `Values`: anything that advances, what it remembers, what it says
- `step_times`: the times of a step, checked
- `Signal`, `Follower`: an input that moves within a step, and a simulator that takes it
- `Perturbation`: one change from outside
- `Bridge`, `UnitBridge`, `Conduit`, `Twin`: scales joined into a checked wiring
- `stream`: random streams named by what they serve
- errors, sorted by their cure: `InputError`, `UnitError`, `WiringError`, `UnsupportedFeature`, `ConvergenceError`,
  `ResourceError`, `SimulationError`
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twin.bridge import Bridge, UnitBridge
    from twin.errors import (
        ConvergenceError,
        InputError,
        KakehashiError,
        ResourceError,
        SimulationError,
        UnitError,
        UnsupportedFeature,
        WiringError,
    )
    from twin.graph import Conduit, Twin
    from twin.perturbation import Perturbation
    from twin.rates import RateEstimate
    from twin.seeds import stream
    from twin.signal import Signal
    from twin.simulator import Follower, Simulator, State, Values, step_times
    from twin.variable import Variable

_HOME = {
    "Bridge": "bridge", "UnitBridge": "bridge", "Conduit": "graph", "Twin": "graph", "Perturbation": "perturbation",
    "RateEstimate": "rates", "stream": "seeds", "Signal": "signal", "Follower": "simulator", "Simulator": "simulator",
    "State": "simulator", "Values": "simulator", "step_times": "simulator",
    "Variable": "variable", "ConvergenceError": "errors", "InputError": "errors", "KakehashiError": "errors",
    "ResourceError": "errors", "SimulationError": "errors", "UnitError": "errors", "UnsupportedFeature": "errors",
    "WiringError": "errors",
}  # fmt: skip

__all__ = [
    "Bridge",
    "Conduit",
    "ConvergenceError",
    "Follower",
    "InputError",
    "KakehashiError",
    "Perturbation",
    "RateEstimate",
    "ResourceError",
    "Signal",
    "SimulationError",
    "Simulator",
    "State",
    "Twin",
    "UnitBridge",
    "UnitError",
    "UnsupportedFeature",
    "Values",
    "Variable",
    "WiringError",
    "step_times",
    "stream",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: numpy and pint stay unread by `twin --help`."""
    if name not in _HOME:
        raise AttributeError(f"module 'twin' has no attribute {name!r}")
    return getattr(import_module(f"twin.{_HOME[name]}"), name)
