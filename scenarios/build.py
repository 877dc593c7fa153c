"""The wiring of a scenario: its model as an engine, its cells as simulators, its arms as twins.

Everything that floor 2 keeps apart meets here: a reaction network for the cell, constants for drawn binding rates, and
the conduits between them. `build` checks every name and unit of the scenario against the model; nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scenarios.cast import Cast, own, ports
from scenarios.coupling import CAPTURE_UNITS
from scenarios.coupling_consistency import capture_outputs
from scenarios.emulation import emulator_card
from scenarios.fit import Fit
from scenarios.model_consistency import Known, model_problems
from scenarios.placing import BINDING, CELL
from scenarios.problem import Problem, refusal
from simulators.closed_form import Constant
from twin.errors import InputError
from twin.graph import Conduit, Twin
from twin.simulator import Simulator
from twin.units import factor

if TYPE_CHECKING:
    from scenarios.cell import Network
    from scenarios.scenario import Scenario
    from simulators.reaction import Engine, ReactionSimulator

Row = NDArray[np.float64]
RATE_UNITS = {"kon": "1/(M s)", "koff": "1/s"}
"""What the binding constants are in; their conduits convert them to the model's units."""


@dataclass(frozen=True)
class Build:
    """A scenario whose names and units fit its model.

    Args:
        scenario: what was asked.
        engine: integrates the cell's model; it remembers nothing between calls.
        cast: the simulators that exchange values with the cell; None: it is alone.
    """

    scenario: Scenario
    engine: Engine
    cast: Cast | None = None

    def nominal(self, cell_line: str) -> dict[str, float]:
        """What every settable name starts with in an unperturbed cell of this line, in the model's units; names of other
        simulators with that of the simulator."""
        given = self.scenario.parameters(cell_line)
        found = _nominal(self.engine, own(given, CELL))
        if self.cast is not None:
            for simulator, engine in self.cast.engines.items():
                found |= {
                    f"{simulator}.{name}": value for name, value in _nominal(engine, own(given, simulator)).items()
                }
            found |= self.cast.nominal(cell_line)
        return found

    def nonnegative(self, target: str) -> bool:
        """Whether a target ``"simulator.name"`` is an amount of something."""
        simulator, _, name = target.partition(".")
        if simulator == CELL:
            return name in self.engine.nonnegative
        if self.cast is None or simulator not in self.cast.engines:
            return True  # of a capture simulator
        return name in self.cast.engines[simulator].nonnegative

    def cell(self, cell_line: str, drawn: Mapping[str, Row]) -> ReactionSimulator:
        """The cells of a line by mechanism.

        Args:
            drawn: what differs between cells, name → values `[N]`.
        """
        from simulators.reaction import ReactionSimulator

        asked = self.scenario.cell
        compounds = self.scenario.compounds
        return ReactionSimulator(
            self.engine,
            inputs=(
                *(() if compounds is None else (compounds.kon, compounds.koff)),
                *(() if self.cast is None else self.cast.inputs),
            ),
            parameters=own(self.scenario.parameters(cell_line), CELL),
            member_parameters=own(drawn, CELL),
            rtol=asked.relative_tolerance,
            atol=asked.absolute_tolerance,
        )

    def twin(
        self,
        cell: ReactionSimulator,
        kon: Row | None = None,
        koff: Row | None = None,
        *,
        others: Mapping[str, Simulator] | None = None,
    ) -> Twin:
        """The twin of one arm: the cell, and what exchanges values with it; with a compound fed with each cell's own rates of binding.

        Args:
            kon, koff: of the arm's compound, 1/(M s) and 1/s, `[N]` each.
            others: the simulators beside the cell.
        """
        compounds = self.scenario.compounds
        others = others or {}
        conduits = () if self.cast is None or not others else self.cast.conduits
        if kon is None or koff is None or compounds is None:
            return Twin({CELL: cell, **others}, conduits)
        binding = Constant({"kon": (RATE_UNITS["kon"], kon), "koff": (RATE_UNITS["koff"], koff)})
        return Twin(
            {BINDING: binding, CELL: cell, **others},
            (
                Conduit(f"{BINDING}.kon", f"{CELL}.{compounds.kon}"),
                Conduit(f"{BINDING}.koff", f"{CELL}.{compounds.koff}"),
                *conduits,
            ),
        )

    def rates_in_model_units(self, kon: Row | None = None, koff: Row | None = None) -> dict[str, Row]:
        """What the conduits of `twin` bring to the cell: name → value `[N]` in the model's units."""
        compounds, units = self.scenario.compounds, self.scenario.cell.units
        if kon is None or koff is None or compounds is None:
            return {}
        return {
            compounds.kon: kon * factor(RATE_UNITS["kon"], units[compounds.kon]),
            compounds.koff: koff * factor(RATE_UNITS["koff"], units[compounds.koff]),
        }


def build(scenario: Scenario) -> Build:
    """Check a scenario against its model, and wire it.

    Raises:
        InputError: names that the model lacks, units that contradict it, a model that is none; all of it at once.
        UnsupportedFeature: the model has a feature that cannot be run.
    """
    from simulators.reaction.stepped_model import SteppedModel

    known: dict[str, Known] = {}
    for simulator, network in scenario.networks.items():
        try:
            model = SteppedModel.read(scenario.text_of(network))
        except InputError as error:
            name = network.model
            text = str(error) if name is None else str(error).replace("the model's text", name)
            top = ("cell",) if simulator == CELL else ("coupling", "simulators", simulator)
            raise _refused(scenario, [Problem((*top, "antimony" if name is None else "model"), text)]) from None
        settable = (*model.parameters, *model.species, *model.rated)
        targets = {name: model.units.get(name, "") for name in settable}
        known[simulator] = Known(
            targets,
            readable=[name for name in model.readable if name not in settable],
            moving=[name for name in settable if name not in model.parameters],
        )
    if scenario.coupling is not None:
        for simulator, capture in scenario.coupling.captures.items():
            known[simulator] = Known(CAPTURE_UNITS, capture_outputs(capture))
    found = model_problems(scenario, known)
    if found:
        raise _refused(scenario, found)
    built = wire(scenario)
    misfits = list(_misfits(built))
    if misfits:
        raise _refused(scenario, misfits)
    return built


def wire(scenario: Scenario) -> Build:
    """Wire a scenario that `build` has checked: what a worker does."""
    engines = {name: _engine_of(scenario, name, network) for name, network in scenario.networks.items()}
    cell = engines.pop(CELL)
    return Build(scenario, cell, None if scenario.coupling is None else Cast(scenario, scenario.coupling, engines))


def _engine_of(scenario: Scenario, simulator: str, network: Network) -> Engine:
    said = ports(scenario, simulator)
    units = {**network.units, **{n: r.units for n, r in scenario.readouts.items() if r.units and n in said}}
    text = scenario.text_of(network)
    return _engine(network.engine, text, tuple(said.items()), tuple(units.items()), network.time_units)


def _nominal(engine: Engine, values: Mapping[str, float]) -> dict[str, float]:
    """What every settable name of a model starts with where these are given."""
    x, p = engine.start({name: np.array([value]) for name, value in values.items()}, members=1, time=0.0)
    found = {name: float(value) for name, value in zip(engine.parameters, p[0], strict=True)}
    for name, amount, volume in zip(engine.states, x[0], engine.volumes, strict=True):
        found[name] = float(amount if volume < 0 else amount / p[0, volume])
    return found


def _refused(scenario: Scenario, found: Sequence[Problem]) -> InputError:
    """All problems, with their lines where the scenario was read from a file."""
    if scenario.source is not None:
        return refusal(found, scenario.source)
    return InputError("; ".join(problem.text for problem in found))


@cache
def _engine(
    kind: str, text: str, readouts: tuple[tuple[str, str], ...], units: tuple[tuple[str, str], ...], time_units: str
) -> Engine:
    """The scenario's engine, made once per process; `auto` is our own, which runs whatever can be stepped at all."""
    from simulators.reaction import EnsembleEngine, RoadRunnerEngine

    engine = RoadRunnerEngine if kind == "roadrunner" else EnsembleEngine
    return engine(text, readouts=dict(readouts), units=dict(units), time_units=time_units)


def _given_elsewhere(scenario: Scenario) -> Iterator[str]:
    """Names whose value in a cell need not be its line's: an arm or another source of uncertainty gives it."""
    for treatment in scenario.treatments:
        yield from treatment.parameters
    for group in scenario.uncertainty.values():
        yield from (name for name, distribution in group.parameters.items() if not distribution.relative)
        if group.table is not None:
            yield from Fit.read(scenario.path(group.table), group.factors and scenario.path(group.factors)).drawn


def _misfits(built: Build) -> Iterator[Problem]:
    """What shows only when parts meet: a value that its name cannot take, another scenario's emulator, a compound without a receptor."""
    scenario = built.scenario
    try:
        starts = [built.nominal(line) for line in scenario.lines]
    except InputError as error:
        yield Problem(("cell",), str(error))
        return
    elsewhere = set(_given_elsewhere(scenario))
    for group, spread in scenario.uncertainty.items():
        for name, distribution in spread.parameters.items():
            if distribution.relative and name not in elsewhere and all(start[name] == 0 for start in starts):
                yield Problem(
                    ("uncertainty", group, "parameters", name),
                    f"{name} is 0 in every cell line, and a spread around 0 is none; give the line a value, or the spread "
                    "one of its own, e.g. `lognormal: {median: 2, cv: 0.4}`.",
                )
    for position, treatment in enumerate(scenario.treatments):
        for arm in treatment.arms(scenario.panel):
            for change in (*arm.before_equilibration, *arm.perturbations):
                if change.operation == "set" and float(change.value) < 0 and built.nonnegative(change.target):
                    yield Problem(
                        ("arms", position),
                        f"{change.name} is set to {float(change.value):g}; it is an amount of something, "
                        "and cannot be below 0.",
                    )
    if built.cast is not None:
        yield from built.cast.problems(built.cell(scenario.lines[0], {}))
    try:
        emulator_card(built)
    except InputError as error:
        yield Problem(("emulator", "checkpoint"), str(error))
    if scenario.compounds is None:
        return
    if scenario.molecular is None:
        yield Problem(
            ("compounds",),
            "nothing says how fast they bind; add `molecular:` with the receptor, and the median and spread of kon.",
        )
        return
    from simulators.molecular.receptor import Receptor

    try:
        Receptor.named(scenario.molecular.receptor)
    except InputError as error:
        yield Problem(("molecular", "receptor"), str(error))
    one = np.ones(1)
    twin = built.twin(built.cell(scenario.lines[0], {}), kon=one, koff=one)
    for conduit in twin.conduits:
        twin.bridge_of(conduit)
