"""An SBML model made ready to be stepped: what can be set is told apart from what moves, and nothing is hidden."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libsbml

from simulators.reaction import lowering
from simulators.reaction.readout import Readouts, named, unknown
from simulators.reaction.sbml_units import joined, time_units_of, units_of
from simulators.reaction.source import document
from twin.errors import InputError


@dataclass(frozen=True)
class Initial:
    """What a name starts with: `value` as it is read or, with a `compartment`, an amount that its size divides."""

    value: float
    compartment: str | None = None


@dataclass(frozen=True)
class SteppedModel:
    """A model ready to be stepped.

    Attributes:
        sbml: the lowered model; see `lowering`.
        parameters: every name that is constant during a run and may be set.
        compartments: those of `parameters` that are sizes of compartments.
        substances: names of species that no reaction changes; like parameters, each is constant, rated or ruled.
        species: names that reactions change → their compartment, or None where the id means an amount.
        rated: parameters moved by a rate rule.
        initial: what each parameter, species and rated name starts with; NaN where the model does not say.
        hoisted: parameters computed from others, once per run; the rule is read as `hoisted__name`.
        assigned: names whose start is computed, each after what it needs; the rule is read as `initial__name`.
        readouts: readout → what RoadRunner selects for it.
        readable: every name that an expression may read.
        units: of names and readouts, where known.
        time_units: of the model's clock; empty where unknown.
    """

    sbml: str
    parameters: tuple[str, ...]
    compartments: frozenset[str]
    substances: frozenset[str]
    species: Mapping[str, str | None]
    rated: tuple[str, ...]
    initial: Mapping[str, Initial]
    hoisted: tuple[str, ...]
    assigned: tuple[str, ...]
    readouts: Mapping[str, str]
    readable: tuple[str, ...]
    units: Mapping[str, str]
    time_units: str

    @classmethod
    def read(
        cls,
        model: str | Path,
        *,
        readouts: Readouts = None,
        units: Mapping[str, str] | None = None,
        time_units: str | None = None,
        moving: Sequence[str] = (),
        degree: int = 0,
    ) -> SteppedModel:
        """Read and lower SBML or Antimony, a path or text.

        Args:
            readouts: ids, or name → expression over ids; None: all species and everything moved by a rule.
            units: of names and readouts, where the file gives none.
            time_units: of the model's clock, where the file gives none.
            moving, degree: parameters that are polynomials of the time, and of which degree; see `lowering.lower_moving`.

        Raises:
            InputError: not a model, an unknown name, a malformed expression.
            UnitError: units that contradict the file.
            UnsupportedFeature: a feature whose memory cannot be carried from step to step.
        """
        file = document(model)
        sbml = file.getModel()
        lowering.drop_empty(sbml)
        lowering.refuse_unsupported(sbml)
        stated = units_of(sbml)
        clock = _clock(time_units_of(sbml), time_units)
        substances = lowering.lower_unreacted_species(sbml)
        species = {
            s.getId(): None if s.getHasOnlySubstanceUnits() else str(s.getCompartment())
            for s in sbml.getListOfSpecies()
        }
        assigned = lowering.lower_initial_assignments(
            sbml, {**{name: compartment for name, (compartment, _) in substances.items()}, **species}
        )
        lowering.lower_moving(sbml, moving, degree)
        ruled, rated, free = _sorted_parameters(sbml)
        compartments = [c.getId() for c in sbml.getListOfCompartments()]
        readable = (*species, *rated, *ruled, *free, *compartments, *(r.getId() for r in sbml.getListOfReactions()))
        asked = named(readouts, [*species, *rated, *ruled])
        for name in units or {}:
            if name not in readable and name not in asked:
                raise InputError(f"units: {unknown(name, readable)}")
        initial = _initial(sbml, substances)
        hoisted = lowering.hoist_constant_rules(sbml)
        lowering.fill_unset(sbml)
        selected = lowering.lower_readouts(sbml, asked, species, readable)
        return cls(
            sbml=str(libsbml.writeSBMLToString(file)),
            parameters=(*free, *compartments),
            compartments=frozenset(compartments),
            substances=frozenset(substances),
            species=species,
            rated=tuple(rated),
            initial=initial,
            hoisted=hoisted,
            assigned=assigned,
            readouts=selected,
            readable=readable,
            units=_with_readouts(joined(stated, units or {}), asked),
            time_units=clock,
        )

    @property
    def held_sbml(self) -> str | None:
        """The lowered model with its time replaced by the parameter `clock__`; None where nothing reads the time."""
        file = libsbml.readSBMLFromString(self.sbml)
        return str(libsbml.writeSBMLToString(file)) if lowering.hold_clock(file.getModel()) else None


def _clock(stated: str, declared: str | None) -> str:
    both = joined({"time": stated} if stated else {}, {"time": declared} if declared else {})
    return both.get("time", "")


def _sorted_parameters(model: Any) -> tuple[list[str], list[str], list[str]]:
    """Ids of parameters: those of an assignment rule, those of a rate rule, and the free ones that may be set."""
    kinds = {rule.getVariable(): "rate" if rule.isRate() else "assignment" for rule in model.getListOfRules()}
    ids = [p.getId() for p in model.getListOfParameters() if not p.getId().startswith(lowering.INITIAL)]
    ruled = [name for name in ids if kinds.get(name) == "assignment"]
    return ruled, [name for name in ids if kinds.get(name) == "rate"], [name for name in ids if name not in kinds]


def _initial(model: Any, substances: Mapping[str, tuple[str, bool]]) -> dict[str, Initial]:
    found: dict[str, Initial] = {}
    for compartment in model.getListOfCompartments():
        flat = compartment.getSpatialDimensionsAsDouble() == 0  # a point has no size: its species are read as amounts
        found[compartment.getId()] = Initial(1.0 if flat else compartment.getSize())
    for parameter in model.getListOfParameters():
        name = parameter.getId()
        compartment, amount = substances.get(name, ("", False))
        found[name] = Initial(parameter.getValue(), compartment if amount else None)
    for species in model.getListOfSpecies():
        size = model.getCompartment(species.getCompartment()).getSize()
        whole, amount = species.getHasOnlySubstanceUnits(), species.isSetInitialAmount()
        value = species.getInitialAmount() if amount else species.getInitialConcentration()
        if not (amount or species.isSetInitialConcentration()):
            value = math.nan
        elif whole and not amount:
            value *= size
        found[species.getId()] = Initial(value, species.getCompartment() if amount and not whole else None)
    return found


def _with_readouts(units: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    """A readout that is a bare id has the id's units."""
    bare = {name: units[text.strip()] for name, text in asked.items() if text.strip() in units}
    return {**units, **joined(bare, {name: units[name] for name in asked if name in units})}
