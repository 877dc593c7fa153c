"""In time and across scales: the loop that runs a twin, and the bridges from molecules to the rates of a cell.

- `simulate.simulate`: runs a twin; `start`, `perturb`, `advance`: its steps, for those who keep states
- `Course`, `States`, `Standing`: what a twin did, and where it stands
- `Jacobi`, `GaussSeidel`, `Strang`, `WaveformRelaxation`: schemes: how values are exchanged over a window
- `Constant`, `Aitken`, `QuasiNewton`: accelerations: how an implicit window is iterated
- `FixedWindows`, `AdaptiveWindows`: how long windows are
- `Stepper`, `SerialStepper`: what takes the steps that do not wait for each other
- `Restart`: keeps how far a long run is, to go on from there bit by bit
- `settle`: a twin in its steady state
- `Cached`: a micro simulator that is asked only when its inputs have moved
- `Closure`: a learned law that stands in for a micro simulator and is corrected by it; `Horizon`, `MicroCourses`: what it rests on
- `NeuralLaw`, `LinearLaw`: laws of a closure: a neural differential equation, and a baseline
- `rate_estimate`: a diffusion limit and an affinity become one `RateEstimate`
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupling.acceleration import Constant
    from coupling.adaptive_windows import AdaptiveWindows
    from coupling.aitken import Aitken
    from coupling.binding_rates import rate_estimate
    from coupling.cached import Cached
    from coupling.closure import Closure
    from coupling.closure_baseline import LinearLaw
    from coupling.equilibrium import settle
    from coupling.fixed_windows import FixedWindows
    from coupling.gauss_seidel import GaussSeidel
    from coupling.horizon import Horizon
    from coupling.jacobi import Jacobi
    from coupling.micro_courses import MicroCourses
    from coupling.neural import NeuralLaw
    from coupling.quasi_newton import QuasiNewton
    from coupling.restart import Restart
    from coupling.scheme import Standing, States
    from coupling.simulate import Course, advance, perturb, start
    from coupling.stepper import SerialStepper, Stepper
    from coupling.strang import Strang
    from coupling.waveform_relaxation import WaveformRelaxation

_HOME = {
    "AdaptiveWindows": "adaptive_windows", "Aitken": "aitken", "Cached": "cached", "Closure": "closure",
    "Constant": "acceleration", "Course": "simulate", "FixedWindows": "fixed_windows", "GaussSeidel": "gauss_seidel",
    "Horizon": "horizon", "Jacobi": "jacobi", "LinearLaw": "closure_baseline", "MicroCourses": "micro_courses",
    "NeuralLaw": "neural", "QuasiNewton": "quasi_newton", "Restart": "restart", "SerialStepper": "stepper", "Standing": "scheme",
    "States": "scheme", "Stepper": "stepper", "Strang": "strang", "WaveformRelaxation": "waveform_relaxation",
    "advance": "simulate", "perturb": "simulate", "rate_estimate": "binding_rates", "settle": "equilibrium",
    "start": "simulate",
}  # fmt: skip

__all__ = [
    "AdaptiveWindows",
    "Aitken",
    "Cached",
    "Closure",
    "Constant",
    "Course",
    "FixedWindows",
    "GaussSeidel",
    "Horizon",
    "Jacobi",
    "LinearLaw",
    "MicroCourses",
    "NeuralLaw",
    "QuasiNewton",
    "Restart",
    "SerialStepper",
    "Standing",
    "States",
    "Stepper",
    "Strang",
    "WaveformRelaxation",
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
