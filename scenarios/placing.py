"""Where the simulators of a scenario run: its `place:`, or `--place` in its stead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, WithJsonSchema

from hpc.errors import PlacementError
from hpc.placement import Placement, shown
from scenarios.problem import Problem
from twin.errors import InputError

if TYPE_CHECKING:
    from scenarios.scenario import Scenario

Ranks = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int) and not isinstance(value, bool) else value),
    WithJsonSchema({"type": ["integer", "string"], "examples": [0, "1-3", "1,3"]}),
]
"""Ranks of a job, as on the command line."""

CELL, BINDING, MOLECULAR = "cell", "binding", "molecular"
"""Names of the simulators: the cell, its compound's rates of binding, and Brownian dynamics of compounds."""


def simulators(scenario: Scenario) -> tuple[str, ...]:
    """Names of all simulators that a scenario runs: what can be placed."""
    others = () if scenario.coupling is None else tuple(scenario.coupling.simulators)
    return (CELL, *others, *((BINDING, MOLECULAR) if scenario.compounds is not None else ()))


def asked(scenario: Scenario, words: Sequence[str] | None) -> Placement | None:
    """The placement: of the command line, else of the scenario.

    Args:
        words: of `--place`; None: not given.

    Raises:
        PlacementError: words that are no placement, or a name that is no simulator's.
    """
    if words is None:
        return placement(scenario)
    found = Placement.parse([part for word in words for part in (word.split() or [word])])
    found.check_names(simulators(scenario), where=scenario.name)
    _check_parts(scenario, found)
    return found


def placement(scenario: Scenario) -> Placement | None:
    """What the scenario itself asks for."""
    return Placement.parse([f"{name}={ranks}" for name, ranks in scenario.place.items()]) if scenario.place else None


def _check_parts(scenario: Scenario, found: Placement) -> None:
    """Refuse more ranks for Brownian dynamics than it has parts: the others would stand by. Raises `PlacementError`."""
    ranks, asked = found.ranks.get(MOLECULAR, ()), scenario.molecular
    parts = 1 if asked is None else asked.replicas or 1
    if len(ranks) > parts:
        many = f"{parts} parts" if parts > 1 else "one piece"
        raise PlacementError(
            f"placement {MOLECULAR}={shown(ranks)}: the trajectories of a class are in {many}; write `replicas: {len(ranks)}` under "
            f"`molecular:` for a part to each rank, or place it on {'fewer ranks' if parts > 1 else 'one'}."
        )


def refuse_processes(found: Placement | None, processes: int | None) -> None:
    """Refuse worker processes where ranks answer for simulators instead of taking tasks. Raises `InputError`."""
    if found is not None and found.elsewhere and processes is not None:
        raise InputError(
            f"--processes {processes} and the placement {found}: ranks that answer for simulators have no workers; leave one out."
        )


def problems(scenario: Scenario) -> Iterator[Problem]:
    """What is wrong with `place:`."""
    for name, ranks in scenario.place.items():
        try:
            found = Placement.parse([f"{name}={ranks}"])
            found.check_names(simulators(scenario), where="the scenario")
            _check_parts(scenario, found)
        except PlacementError as error:
            yield Problem(("place", name), str(error))
