"""In time and across scales: the loop that runs a twin, and the bridges from molecules to the rates of a cell.

- `simulate.simulate`: runs a twin; `start`, `perturb`, `advance`: its steps, for those who keep states
- `Course`, `States`: what a twin did, and where it stands
- `settle`: a twin in its steady state
- `Cached`: a micro simulator that is asked only when its inputs have moved
- `Closure`: a learned law that stands in for a micro simulator and is corrected by it; `Horizon`, `MicroCourses`: what it rests on
- `NeuralLaw`, `LinearLaw`: laws of a closure: a neural differential equation, and a baseline
- `rate_estimate`: a diffusion limit and an affinity become one `RateEstimate`
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupling.binding_rates import rate_estimate
    from coupling.cached import Cached
    from coupling.closure import Closure
    from coupling.closure_baseline import LinearLaw
    from coupling.equilibrium import settle
    from coupling.horizon import Horizon
    from coupling.micro_courses import MicroCourses
    from coupling.neural import NeuralLaw
    from coupling.simulate import Course, States, advance, perturb, start

_HOME = {
    "Cached": "cached", "Closure": "closure", "Course": "simulate", "Horizon": "horizon", "LinearLaw": "closure_baseline",
    "MicroCourses": "micro_courses", "NeuralLaw": "neural", "States": "simulate", "advance": "simulate", "perturb": "simulate", "rate_estimate": "binding_rates",
    "settle": "equilibrium", "start": "simulate",
}  # fmt: skip

__all__ = [
    "Cached",
    "Closure",
    "Course",
    "Horizon",
    "LinearLaw",
    "MicroCourses",
    "NeuralLaw",
    "States",
    "advance",
    "perturb",
    "rate_estimate",
    "settle",
    "start",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'coupling' has no attribute {name!r}")
    return getattr(import_module(f"coupling.{_HOME[name]}"), name)
