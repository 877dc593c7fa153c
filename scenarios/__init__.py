"""What a person asks: scenario files, treatments, cohorts, endpoints, reports, and the `twin` command.

- `Scenario`: the validated content of one scenario file
- `Arm`: a cell line, what is done to it, and when
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scenarios.arm import Arm
    from scenarios.scenario import Scenario

_HOME = {"Arm": "arm", "Scenario": "scenario"}
__all__ = ["Arm", "Scenario"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `twin --help` stays quick."""
    if name not in _HOME:
        raise AttributeError(f"module 'scenarios' has no attribute {name!r}")
    return getattr(import_module(f"scenarios.{_HOME[name]}"), name)
