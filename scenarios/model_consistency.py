"""Whether a scenario fits its model: every name that it uses is there, and units do not contradict the model's own."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scenarios.coupling_consistency import located, settable
from scenarios.fit import Fit
from scenarios.placing import CELL
from scenarios.problem import Path as KeyPath
from scenarios.problem import Problem, near, one_of
from scenarios.quantity import read
from twin.errors import UnitError

if TYPE_CHECKING:
    from scenarios.cell import Network
    from scenarios.scenario import Scenario

_ID = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?!\s*\()\b")
_CONSTANTS = {"pi", "time", "exponentiale", "true", "false", "inf", "nan", "avogadro"}


@dataclass(frozen=True)
class Known:
    """The names of one simulator.

    Args:
        targets: what can be set, with its units where the model states them, else ``""``.
        readable: everything else that can be read: assignment rules, reaction rates, compartments.
        moving: those of the targets that the simulator moves by itself, so that nothing else can feed them.
    """

    targets: Mapping[str, str]
    readable: Collection[str] = ()
    moving: Collection[str] = ()

    @property
    def all(self) -> set[str]:
        """Every name."""
        return {*self.targets, *self.readable}


def model_problems(scenario: Scenario, known: Mapping[str, Known]) -> list[Problem]:
    """Names that the scenario uses and its simulators lack, and units that contradict the models' own.

    Args:
        known: the names of every simulator, by its name.
    """
    found: list[Problem] = []
    for place, path in _settable(scenario):
        simulator, dot, name = path.partition(".") if "." in path else (CELL, "", path)
        if simulator not in known or (dot and simulator == CELL):
            cure = (
                f"write {name!r}." if simulator == CELL else f"expected one of {one_of(n for n in known if n != CELL)}."
            )
            found.append(Problem(place, f"no simulator {simulator!r} beside the cell;{near(simulator, known)} {cure}"))
            continue
        has = known[simulator]
        if name in has.targets:
            continue
        if name in has.readable:
            text = f"{name!r} is computed by the model (by a rule) and cannot be set; name a parameter that it uses."
        else:
            who = "the model" if simulator == CELL else simulator
            text = f"{who} has no parameter or species {name!r};{near(name, has.targets)} it has {one_of(has.targets, limit=8)}."
        found.append(Problem(place, text))
    for simulator, network in scenario.networks.items():
        top: KeyPath = ("cell",) if simulator == CELL else ("coupling", "simulators", simulator)
        found += _units(top, network, known[simulator])
    found += _readouts(scenario, known)
    found += _conduits(scenario, known)
    return found


def _units(top: KeyPath, network: Network, known: Known) -> Iterator[Problem]:
    for name, units in network.units.items():
        if name not in {*known.all, *_CONSTANTS}:
            text = f"the model has no {name!r};{near(name, known.all)} mend the name, or drop its unit."
            yield Problem((*top, "units", name), text)
        own = known.targets.get(name, "")
        if own:
            try:
                same = math.isclose(read(f"1 {units}", own), 1.0, rel_tol=1e-9)
            except UnitError:
                same = False
            if not same:
                text = f"{units!r}, but the model states {own!r}; write {own!r} or leave it out."
                yield Problem((*top, "units", name), text)


def _readouts(scenario: Scenario, known: Mapping[str, Known]) -> Iterator[Problem]:
    for name, readout in scenario.readouts.items():
        place = ("readouts", name) if readout.expression is None else ("readouts", name, "expression")
        simulator, expression = located(name, readout.expression)
        has = {*known[simulator].all, *_CONSTANTS}
        for used in dict.fromkeys(_ID.findall(expression)):
            if used not in has:
                who = "the model" if simulator == CELL else simulator
                cure = "name something that it has, or give an `expression`."
                yield Problem(place, f"{who} has no {used!r};{near(used, has)} {cure}")


def _conduits(scenario: Scenario, known: Mapping[str, Known]) -> Iterator[Problem]:
    """Conduits from what nobody says, or into what cannot be fed."""
    coupling = scenario.coupling
    for number, arrow in enumerate(() if coupling is None else coupling.arrows):
        place: KeyPath = ("coupling", "conduits", number)
        source, target = known[arrow.source], known[arrow.target]
        readouts = {name: located(name, readout.expression) for name, readout in scenario.readouts.items()}
        own = {name: expression for name, (simulator, expression) in readouts.items() if simulator == arrow.source}
        if arrow.port in source.all and own.get(arrow.port, arrow.port) != arrow.port:
            text = f"{arrow.port!r} is a name of {arrow.source} and a readout of something else; call the readout otherwise."
            yield Problem(place, text)
        elif arrow.port not in source.all and arrow.port not in own:
            yield Problem(
                place,
                f"{arrow.source} has no {arrow.port!r};{near(arrow.port, source.all)} name what its model has, or a readout.",
            )
        if arrow.into in target.moving:
            text = (
                f"{arrow.target} moves {arrow.into!r} by itself, so it cannot be fed; a conduit feeds a parameter: make one that "
                "the rate of its reactions reads."
            )
            yield Problem(place, text)
        elif arrow.into not in target.targets:
            text = (
                f"{arrow.into!r} is computed by {arrow.target} (by a rule) and cannot be fed; make it a parameter there."
                if arrow.into in target.readable
                else f"{arrow.target} has no parameter {arrow.into!r};{near(arrow.into, target.targets)} "
                f"it has {one_of(target.targets, limit=8)}."
            )
            yield Problem(place, text)


def _settable(scenario: Scenario) -> Iterator[tuple[KeyPath, str]]:
    """Every name that the scenario wants to set, and where."""
    cell = scenario.cell
    for key, names in (("parameters", cell.parameters), ("equilibrate_with", cell.equilibrate_with)):
        yield from ((("cell", key, name), name) for name in names)
    for simulator, network in scenario.networks.items():
        if simulator != CELL:
            top = ("coupling", "simulators", simulator, "parameters")
            yield from (((*top, name), f"{simulator}.{name}") for name in network.parameters)
    for line, values in scenario.cell_lines.items():
        yield from ((("cell_lines", line, name), name) for name in values)
    for group_name, group in scenario.uncertainty.items():
        if group.table is not None:
            fit = Fit.read(scenario.path(group.table), group.factors and scenario.path(group.factors))
            yield from ((("uncertainty", group_name, "table"), name) for name in fit.drawn)
    if scenario.compounds is not None:
        for key in ("dose", "kon", "koff"):
            yield ("compounds", key), str(getattr(scenario.compounds, key))
    yield from ((place, name) for place, name in settable(scenario) if name != "compound")
