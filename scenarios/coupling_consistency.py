"""Whether the simulators of a scenario fit together: names, conduits, what they feed, and readouts of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from scenarios.coupling import CAPTURE_UNITS, Capture
from scenarios.placing import BINDING, CELL, MOLECULAR
from scenarios.problem import Fault, Problem, near, one_of
from scenarios.problem import Path as KeyPath
from scenarios.quantity import minutes
from twin.errors import UnitError
from twin.units import check_unit

if TYPE_CHECKING:
    from scenarios.coupling import Arrow, Coupling
    from scenarios.scenario import Scenario

_MOST_WINDOWS = 10_000_000
CAPTURE_OUTPUTS = ("kon_eff", "escape", "sigma_escape")
_DOTTED = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\.([A-Za-z_]\w*)")
_PLAIN = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?!\w*\s*[.(])")


def located(name: str, expression: str | None) -> tuple[str, str]:
    """The simulator that a readout is of, and its expression over that one's own names.

    Raises:
        Fault: names of several simulators in one expression.
    """
    text = expression or name
    named = list(dict.fromkeys(found[0] for found in _DOTTED.findall(text)))
    if not named:
        return CELL, text
    plain = [one for one in _PLAIN.findall(text) if one not in ("pi", "time")]
    if plain and CELL not in named:
        named.append(CELL)
    if len(named) > 1:
        raise Fault(
            f"{text!r} mixes names of {' and '.join(named)}; a readout is of one simulator: make one of each.",
            "expression",
        )
    return named[0], _DOTTED.sub(r"\2", text)


def coupling_problems(scenario: Scenario) -> Iterator[Problem]:
    """What is wrong between the simulators; empty where nothing is coupled."""
    coupling = scenario.coupling
    if coupling is None:
        return
    yield from _simulators(coupling)
    arrows = [*_arrows(scenario, coupling)]
    wrong = [one for one in arrows if isinstance(one, Problem)]
    yield from wrong
    if not wrong:
        yield from _fed(scenario, [one for one in arrows if not isinstance(one, Problem)])
    try:
        coupling.windows.lowered()
        yield from _many(scenario, coupling)
    except Fault as fault:
        yield fault.under("coupling", "windows")
    try:
        coupling.scheme.lowered(degree=1)
    except Fault as fault:
        yield fault.under("coupling", "scheme")
    for name in coupling.scheme.order or ():
        if name not in coupled(coupling):
            text = (
                f"no simulator {name!r};{near(name, coupled(coupling))} expected all of {', '.join(coupled(coupling))}."
            )
            yield Problem(("coupling", "scheme", "order"), text)
    if scenario.emulator is not None:
        text = "a learned stand-in knows the cell alone, and here other simulators exchange with it; leave `emulator:` or `coupling:` out."
        yield Problem(("emulator",), text)


def _many(scenario: Scenario, coupling: Coupling) -> Iterator[Problem]:
    """Windows so short that nobody could wait for them."""
    if coupling.windows.every is None:
        return
    count = (scenario.time.end_min - scenario.time.start_min) / minutes(coupling.windows.every)
    if count > _MOST_WINDOWS:
        text = (
            f"{count:.2g} windows of {coupling.windows.every} from {scenario.time.start} to {scenario.time.end}; expected "
            f"{_MOST_WINDOWS:,} at most: take longer ones, or `{{tolerance: 0.1 %}}`."
        )
        yield Problem(("coupling", "windows"), text)


def readout_problems(scenario: Scenario) -> Iterator[Problem]:
    """Readouts that are of no simulator, or of two."""
    there = (CELL,) if scenario.coupling is None else coupled(scenario.coupling)
    for name, readout in scenario.readouts.items():
        place = ("readouts", name) if readout.expression is None else ("readouts", name, "expression")
        try:
            simulator, expression = located(name, readout.expression)
        except Fault as fault:
            yield Problem(place, str(fault))
            continue
        if simulator not in there:
            yield Problem(place, f"no simulator {simulator!r};{near(simulator, there)} there is {one_of(there)}.")
        elif scenario.coupling is not None and simulator in scenario.coupling.captures:
            has = capture_outputs(scenario.coupling.captures[simulator])
            if expression not in has:
                text = f"{expression!r} is not said by {simulator};{near(expression, has)} expected one of {', '.join(has)}, without arithmetic."
                yield Problem(place, text)


def coupled(coupling: Coupling) -> tuple[str, ...]:
    """Names of the simulators that exchange values."""
    return (CELL, *coupling.simulators)


def capture_outputs(capture: Capture) -> tuple[str, ...]:
    """What a capture simulator says."""
    return (*CAPTURE_OUTPUTS, *(("evaluations",) if capture.cached is not None else ()))


def _simulators(coupling: Coupling) -> Iterator[Problem]:
    for name, one in coupling.simulators.items():
        place: KeyPath = ("coupling", "simulators", name)
        if name in (CELL, BINDING, MOLECULAR):
            yield Problem(
                place, f"{name!r} is the name of a simulator that every scenario may have; call this one otherwise."
            )
        if isinstance(one, Capture):
            if one.cached_share is not None and not 0 < one.cached_share < 1:
                yield Problem(
                    (*place, "cached"), f"{one.cached!r}: expected a share above 0 % and below 100 %, e.g. 5 %."
                )
            for key, value in one.values.items():
                if key != "free" and not value > 0:
                    yield Problem((*place, key), f"{value:g} {CAPTURE_UNITS[key]}: expected a value above 0.")
            continue
        for key, units in one.units.items():
            try:
                check_unit(units)
            except UnitError:
                text = f"{units!r} is not a unit; write for example nM, ug/ml, 1/min, 1/(uM min)."
                yield Problem((*place, "units", key), text)


def _arrows(scenario: Scenario, coupling: Coupling) -> Iterator[Arrow | Problem]:
    """The conduits, or what is wrong with them."""
    from scenarios.coupling import Arrow

    there, fed = coupled(coupling), dict[str, int]()
    touched: set[str] = set()
    for number, text in enumerate(coupling.conduits):
        place: KeyPath = ("coupling", "conduits", number)
        try:
            arrow = Arrow.parse(text)
        except Fault as fault:
            yield fault.under(*place)
            continue
        touched |= {arrow.source, arrow.target}
        wrong = [name for name in (arrow.source, arrow.target) if name not in there]
        target = f"{arrow.target}.{arrow.into}"
        if wrong:
            yield Problem(place, f"no simulator {wrong[0]!r};{near(wrong[0], there)} there is {', '.join(there)}.")
        elif arrow.source == arrow.target:
            yield Problem(place, f"{arrow.source} feeds itself; write that into its model.")
        elif target in fed:
            text = f"{target} is fed by coupling.conduits[{fed[target]}] too; keep one, or sum both in a model."
            yield Problem(place, text)
        elif arrow.target in coupling.captures and arrow.into != "free":
            yield Problem(place, f"{arrow.target} takes `free`, the number of free receptors, and not {arrow.into!r}.")
        elif arrow.source in coupling.captures and arrow.port not in CAPTURE_OUTPUTS:
            has = ", ".join(CAPTURE_OUTPUTS)
            yield Problem(
                place, f"{arrow.source} does not say {arrow.port!r};{near(arrow.port, CAPTURE_OUTPUTS)} it says {has}."
            )
        elif scenario.compounds is not None and target in (
            f"{CELL}.{scenario.compounds.kon}",
            f"{CELL}.{scenario.compounds.koff}",
        ):
            yield Problem(place, f"{target} is the compounds' own; name another parameter, or leave `compounds:` out.")
        else:
            fed[target] = number
            yield arrow
    for name in coupling.simulators:
        if name not in touched:
            yield Problem(
                ("coupling", "simulators", name), "exchanges nothing with anybody; add a conduit, or leave it out."
            )


def _fed(scenario: Scenario, arrows: list[Arrow]) -> Iterator[Problem]:
    """Changes and spreads of what a conduit feeds, which would undo them at once."""
    fed = {
        (arrow.into if arrow.target == CELL else f"{arrow.target}.{arrow.into}"): f"{arrow.source}.{arrow.port}"
        for arrow in arrows
    }
    for place, name in settable(scenario):
        if name in fed:
            yield Problem(place, f"{name} is fed by {fed[name]}, which would undo this at once; change what feeds it.")


def settable(scenario: Scenario) -> Iterator[tuple[KeyPath, str]]:
    """Every name that the scenario wants to draw or to change in time, and where."""
    for group_name, group in scenario.uncertainty.items():
        yield from ((("uncertainty", group_name, "parameters", name), name) for name in group.parameters)
    for position, treatment in enumerate(scenario.treatments):
        yield from ((("arms", position, "parameters", name), name) for name in treatment.parameters)
        for number, change in enumerate(treatment.changes):
            yield ("arms", position, "changes", number, change.verb), change.target
