"""Reaction networks: SBML and Antimony models, integrated for many members at once.

- `ReactionModel`: a model read once, simulated in many ways
- `PetabProblem`: a model with conditions, observables and measured points, in PEtab
- `ReactionSimulator`: a network as a simulator of the twin
- `RoadRunnerEngine`: libRoadRunner as an engine, the reference
- `EnsembleEngine`: our own, many members at once in the lanes of the CPU's vectors
- `Engine`, `Run`, `Status`: what an engine is, what it returns, and why a member is NaN
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

# libSEDML, which tellurium brings, takes over libSBML's types where it is loaded after libSBML: syntax trees then lose their
# kinds. Loaded first, it does no harm, whenever a user imports tellurium. Where libSBML has come before us, it gets them back.
import libsedml  # noqa: F401  # pyright: ignore[reportUnusedImport]

if TYPE_CHECKING:
    from simulators.reaction.engine import Engine, Run, Status
    from simulators.reaction.ensemble import EnsembleEngine
    from simulators.reaction.model import ReactionModel
    from simulators.reaction.petab import PetabProblem
    from simulators.reaction.roadrunner import RoadRunnerEngine
    from simulators.reaction.simulator import ReactionSimulator

if "libsbml" in sys.modules:
    _libsbml: Any = sys.modules["libsbml"]
    for _name in dir(_libsbml._libsbml):
        _class = getattr(_libsbml, _name.removesuffix("_swigregister"), None)
        if _name.endswith("_swigregister") and _class is not None:
            getattr(_libsbml._libsbml, _name)(_class)

_HOME = {
    "Engine": "engine",
    "EnsembleEngine": "ensemble",
    "PetabProblem": "petab",
    "ReactionModel": "model",
    "ReactionSimulator": "simulator",
    "RoadRunnerEngine": "roadrunner",
    "Run": "engine",
    "Status": "engine",
}

__all__ = [
    "Engine",
    "EnsembleEngine",
    "PetabProblem",
    "ReactionModel",
    "ReactionSimulator",
    "RoadRunnerEngine",
    "Run",
    "Status",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: RoadRunner and libSBML take half a second."""
    if name not in _HOME:
        raise AttributeError(f"module 'simulators.reaction' has no attribute {name!r}")
    return getattr(import_module(f"simulators.reaction.{_HOME[name]}"), name)
