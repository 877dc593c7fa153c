"""Whether a scenario fits its model: every name that it uses is there, and units do not contradict the model's own."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from scenarios.fit import Fit
from scenarios.problem import Path as KeyPath
from scenarios.problem import Problem, near, one_of
from scenarios.quantity import read
from twin.errors import UnitError

if TYPE_CHECKING:
    from scenarios.scenario import Scenario

_ID = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?!\s*\()\b")
_CONSTANTS = {"pi", "time", "exponentiale", "true", "false", "inf", "nan", "avogadro"}


def model_problems(scenario: Scenario, *, targets: Mapping[str, str], readable: Collection[str]) -> list[Problem]:
    """Names that the scenario uses and the model lacks, and units that contradict the model's own.

    Args:
        targets: what can be set in the model, with its units where the model states them, else ``""``.
        readable: everything else that can be read: assignment rules, reaction rates, compartments.
    """
    found: list[Problem] = []
    for place, name in _settable(scenario):
        if name in targets:
            continue
        if name in readable:
            text = f"{name!r} is computed by the model (by a rule) and cannot be set; name a parameter that it uses."
        else:
            has = one_of(targets, limit=8)
            text = f"the model has no parameter or species {name!r};{near(name, targets)} it has {has}."
        found.append(Problem(place, text))
    known = {*targets, *readable, *_CONSTANTS}
    for name in scenario.cell.units:
        if name not in known:
            text = f"the model has no {name!r};{near(name, known)} mend the name, or drop its unit."
            found.append(Problem(("cell", "units", name), text))
    for name, readout in scenario.readouts.items():
        place = ("readouts", name) if readout.expression is None else ("readouts", name, "expression")
        for used in dict.fromkeys(_ID.findall(readout.expression or name)):
            if used not in known:
                cure = "name something that it has, or give an `expression`."
                found.append(Problem(place, f"the model has no {used!r};{near(used, known)} {cure}"))
    for name, units in scenario.cell.units.items():
        own = targets.get(name, "")
        if own:
            try:
                same = math.isclose(read(f"1 {units}", own), 1.0, rel_tol=1e-9)
            except UnitError:
                same = False
            if not same:
                found.append(
                    Problem(
                        ("cell", "units", name),
                        f"{units!r}, but the model states {own!r}; write {own!r} or leave it out.",
                    )
                )
    return found


def _settable(scenario: Scenario) -> Iterator[tuple[KeyPath, str]]:
    """Every name that the scenario wants to set, and where."""
    cell = scenario.cell
    for key, names in (
        ("units", cell.units),
        ("parameters", cell.parameters),
        ("equilibrate_with", cell.equilibrate_with),
    ):
        if key != "units":
            yield from ((("cell", key, name), name) for name in names)
    for line, values in scenario.cell_lines.items():
        yield from ((("cell_lines", line, name), name) for name in values)
    for group_name, group in scenario.uncertainty.items():
        yield from ((("uncertainty", group_name, "parameters", name), name) for name in group.parameters)
        if group.table is not None:
            fit = Fit.read(scenario.path(group.table), group.factors and scenario.path(group.factors))
            yield from ((("uncertainty", group_name, "table"), name) for name in fit.drawn)
    if scenario.compounds is not None:
        for key in ("dose", "kon", "koff"):
            yield ("compounds", key), str(getattr(scenario.compounds, key))
    for position, treatment in enumerate(scenario.treatments):
        yield from ((("arms", position, "parameters", name), name) for name in treatment.parameters)
        for number, change in enumerate(treatment.changes):
            if change.target != "compound":
                yield ("arms", position, "changes", number, change.verb), change.target
