"""A scenario's arm run in the plainest way, as an independent check of what its perturbations mean: RoadRunner alone,
parameters written into the SBML, one `simulate` between any two changes."""

from __future__ import annotations

import antimony
import libsbml
import numpy as np
import roadrunner

from scenarios.arm import Arm
from scenarios.scenario import Scenario


def sbml_of(scenario: Scenario) -> str:
    """The scenario's model as SBML."""
    text = scenario.model_text
    if text.lstrip().startswith("<"):
        return text
    antimony.clearPreviousLoads()
    assert antimony.loadAntimonyString(text) >= 0, antimony.getLastError()
    return str(antimony.getSBMLString(antimony.getMainModuleName()))


def names_of(scenario: Scenario) -> tuple[dict[str, str], list[str]]:
    """What can be set in the model, and what can only be read, by libSBML."""
    model = libsbml.readSBMLFromString(sbml_of(scenario)).getModel()
    ruled = {model.getRule(i).getVariable() for i in range(model.getNumRules()) if model.getRule(i).isAssignment()}
    ids = [x.getId() for group in (model.getListOfParameters(), model.getListOfSpecies()) for x in group]
    reactions = [x.getId() for x in model.getListOfReactions()]
    return {name: "" for name in ids if name not in ruled}, [*ruled, *reactions]


def trajectory(scenario: Scenario, arm: Arm, readout: str, times: list[float]) -> np.ndarray:
    """Values of a species or rule of the unperturbed cell at `times` [min], after changes at equal times."""
    document = libsbml.readSBMLFromString(sbml_of(scenario))
    model = document.getModel()
    for name, value in scenario.parameters(arm.cell_line).items():
        parameter = model.getParameter(name)
        (parameter.setValue if parameter is not None else model.getSpecies(name).setInitialConcentration)(value)
    runner = roadrunner.RoadRunner(libsbml.writeSBMLToString(document))
    runner.integrator.relative_tolerance, runner.integrator.absolute_tolerance = 1e-10, 1e-12
    species = set(runner.model.getFloatingSpeciesIds())

    def read(name: str) -> float:
        return float(np.real(runner.getValue(name)))

    def change(target: str, operation: str, value: float) -> None:
        name = target.removeprefix("cell.")
        name = f"[{name}]" if name in species else name
        old = read(name)
        runner.setValue(name, {"set": value, "scale": old * value, "add": old + value}[operation])

    for p in arm.before_equilibration:
        change(p.target, p.operation, float(p.value))
    if scenario.cell.equilibrate:
        runner.simulate(0.0, 1e5, 2)
    clock = scenario.time.start_min
    found: dict[float, float] = {}
    changes = list(arm.perturbations)
    for stop in sorted({*times, *(p.time for p in changes)}):
        if stop > clock:
            runner.simulate(times=[clock, stop])  # with `end=` RoadRunner warns wrongly of any negative end
            clock = stop
        while changes and changes[0].time <= stop:
            p = changes.pop(0)
            change(p.target, p.operation, float(p.value))
        found[stop] = read(f"[{readout}]" if readout in species else readout)
    return np.array([found[time] for time in times])
