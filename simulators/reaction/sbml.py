"""SBML of every level, read into a `Network`; what its ids mean in mathematics says `SbmlIds`.

Legend: an id's *value* is what it means in mathematics; a species stands in the graph as an *amount*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import libsbml

from simulators.reaction import algebraic
from simulators.reaction.expression import Node
from simulators.reaction.fast_reactions import relaxed
from simulators.reaction.network import (
    CLOCK,
    Assignment,
    Constant,
    Delayed,
    Event,
    Kind,
    Network,
    Observable,
    Reaction,
    State,
    refuse_drawn_motion,
    symbol_name,
)
from simulators.reaction.sbml_features import features_of
from simulators.reaction.sbml_ids import SbmlIds
from simulators.reaction.sbml_units import time_units_of, units_of
from simulators.reaction.source import document
from twin.errors import InputError, UnsupportedFeature


def read_network(model: str | Path) -> Network:
    """The network of an SBML or Antimony model or a COMBINE archive, a path or text.

    Raises:
        InputError: not a model; or rules or initial values that need each other.
        UnsupportedFeature: a feature that we do not run; its name is in `feature`.
    """
    return _Reader(document(model)).read()


class _Reader(SbmlIds):
    """Reads the parts of a model."""

    def read(self) -> Network:
        """The whole model."""
        graph = self.graph
        rates = self._rates()
        constants, states = self._sorted(rates)
        residuals = [self.node(tree) for tree in self.residuals]
        reactions = [self._reaction(reaction) for reaction in self.reactions.values()]
        observables = dict(self._observables())
        events = list(self._events())
        constraints = [
            (self.truth(self.node(c.getMath())), _message(c)) for c in self.sbml.getListOfConstraints() if c.isSetMath()
        ]
        initials = {
            name: (s.getHasOnlySubstanceUnits() or not self.is_concentration(name), self.size(name))
            for name, s in self.species.items()
        }
        initial = {name: self._initial(name) for name in (*constants, *states)}
        solved = algebraic.solve(graph, residuals, self._undetermined(constants))
        replaced = dict(solved.expressions)
        gone = {str(graph.payload[symbol]) for symbol in (*solved.expressions, *solved.residuals)}
        by_symbol = {symbol_name(name): name for name in constants}
        states.update({by_symbol[str(graph.payload[v])]: r for v, r in solved.residuals.items()})
        constants = [name for name in constants if symbol_name(name) not in gone]
        for event in events:
            for assignment in event.assignments:
                if symbol_name(assignment.target) in gone:
                    raise UnsupportedFeature(
                        "event that assigns what an algebraic rule determines",
                        f"event {event.id or 'without id'} sets {assignment.target}, which an algebraic rule determines.",
                    )
        delayed = self._with_pasts()
        network = Network(
            id=self.sbml.getId(), graph=graph,
            constants=(
                *(Constant(name, initial[name]) for name in constants),
                *(Constant(draw.name, graph.const(math.nan)) for draw in self.draws),
            ),
            states=tuple(
                State(name, initial[name], rate, 0.0, rate) if symbol_name(name) in gone
                else State(name, initial[name], rate)
                for name, rate in states.items()
            ),
            observables=observables, events=tuple(events), delayed=tuple(delayed), draws=tuple(self.draws),
            reactions=tuple(reactions),
            initials=initials, constraints=tuple(constraints), time_units=time_units_of(self.sbml),
            features=features_of(self.sbml),
        )  # fmt: skip
        network = network.replaced(replaced)
        network = network.replaced(self._slopes(network))
        refuse_drawn_motion(network)
        return relaxed(network)

    def _rates(self) -> dict[str, Node]:
        """State → d/dt, species as amounts."""
        graph = self.graph
        rates: dict[str, Node] = {}
        for name, tree in self.rated.items():
            rate = self.node(tree)
            if name in self.species and self.is_concentration(name):
                # d(c V)/dt; `slope_of` is 0 where the size does not change
                compartment = self.species[name].getCompartment()
                rate = graph.mul(rate, self.size(name))
                if self._may_move(compartment):
                    rate = graph.add(rate, graph.mul(self.id(name), self.slope_of(compartment)))
            rates[name] = rate
        changes: dict[str, list[Node]] = {name: [] for name in self.species if name in self.reacting}
        for reaction in self.reactions.values():
            rate = self.id(reaction.getId())
            for species, factor in self._changes(reaction):
                changes[species].append(graph.mul(factor, rate))
        for name, nodes in changes.items():
            if name not in rates and name not in self.assigned:
                rates[name] = graph.mul(self._conversion(name), graph.total(nodes))
        return rates

    def _may_move(self, compartment: str) -> bool:
        return compartment in self.rated or compartment in self.assigned or bool(self.residuals)

    def _changes(self, reaction: Any) -> Iterator[tuple[str, Node]]:
        for references, sign in ((reaction.getListOfReactants(), -1.0), (reaction.getListOfProducts(), 1.0)):
            for reference in references:
                if self.reacts(reference.getSpecies()):
                    node = (
                        self.id(reference.getId()) if reference.isSetId() else self.stoichiometry(reference)
                    )  # fmt: skip
                    yield reference.getSpecies(), self.graph.mul(self.graph.const(sign), node)

    def _conversion(self, species: str) -> Node:
        own = self.species[species]
        name = own.getConversionFactor() if own.isSetConversionFactor() else self.sbml.getConversionFactor()
        return self.id(name) if name else self.graph.const(1.0)

    def _reaction(self, reaction: Any) -> Reaction:
        changes: dict[str, Node] = {}
        for species, factor in self._changes(reaction):
            change = self.graph.mul(self._conversion(species), factor)
            changes[species] = self.graph.add(changes[species], change) if species in changes else change
        return Reaction(
            reaction.getId(), self.id(reaction.getId()), changes, bool(reaction.isSetFast() and reaction.getFast())
        )

    def _sorted(self, rates: dict[str, Node]) -> tuple[list[str], dict[str, Node]]:
        """Names of the constants, and states with their rates."""
        symbols = [name for name in self.references if self.reference_is_symbol(name)]
        every = [*self.parameters, *self.compartments, *self.species, *symbols]
        constants = [name for name in every if name not in rates and name not in self.assigned]
        return constants, {name: rates[name] for name in every if name in rates}

    def _undetermined(self, constants: list[str]) -> list[Node]:
        """Symbols that an algebraic rule may determine; what events set comes last."""
        every = {**self.parameters, **self.compartments, **self.species, **self.references}
        free = [name for name in constants if not every[name].getConstant() and name not in self.reacting]
        free.sort(key=lambda name: name in self.set_by_events)
        return [self.symbol(name) for name in free]

    def _initial(self, name: str) -> Node:
        graph = self.graph
        if name in self.species:
            return self._initial_amount(name)
        if name in self.initial:
            return self.node(self.initial[name])
        if name in self.parameters:
            found = self.parameters[name]
            return graph.const(found.getValue() if found.isSetValue() else math.nan)
        if name in self.compartments:
            found = self.compartments[name]
            if self.is_point(name):
                return graph.const(1.0)
            return graph.const(found.getSize() if found.isSetSize() else math.nan)
        return self.stoichiometry(self.references[name])

    def _initial_amount(self, name: str) -> Node:
        graph, found = self.graph, self.species[name]
        if name in self.initial:
            value = self.node(self.initial[name])
            return graph.mul(value, self.size(name)) if self.is_concentration(name) else value
        if found.isSetInitialAmount():
            return graph.const(found.getInitialAmount())
        if found.isSetInitialConcentration():
            return graph.mul(graph.const(found.getInitialConcentration()), self.size(name))
        return graph.const(0.0)  # SBML leaves it open; none of a species is what every simulator takes

    def _events(self) -> Iterator[Event]:
        for event in self.sbml.getListOfEvents():
            trigger = event.getTrigger() if event.isSetTrigger() else None
            if trigger is None or not trigger.isSetMath():
                continue  # without a trigger's mathematics it never happens (SBML L3V2 §4.11.2)
            modern = self.sbml.getLevel() > 2
            yield Event(
                id=event.getId(),
                trigger=self.truth(self.node(trigger.getMath())),
                assignments=tuple(
                    self._assignment(a) for a in event.getListOfEventAssignments() if a.isSetMath()
                ),
                delay=self._optional(event.getDelay() if event.isSetDelay() else None),
                priority=self._optional(event.getPriority() if event.isSetPriority() else None),
                initially=bool(trigger.getInitialValue()) if modern else True,
                persistent=bool(trigger.getPersistent()) if modern else True,
                values_from_trigger_time=bool(event.getUseValuesFromTriggerTime()),
            )  # fmt: skip

    def _optional(self, part: Any) -> Node | None:
        return self.node(part.getMath()) if part is not None and part.isSetMath() else None

    def _assignment(self, assignment: Any) -> Assignment:
        name = assignment.getVariable()
        scale = self.size(name) if name in self.species and self.is_concentration(name) else None
        return Assignment(name, self.node(assignment.getMath()), scale)

    def _observables(self) -> Iterator[tuple[str, Observable]]:
        graph, units = self.graph, units_of(self.sbml)
        kinds: list[tuple[Kind, Any]] = [
            ("species", self.species), ("compartment", self.compartments), ("parameter", self.parameters),
            ("reaction", self.reactions), ("reference", self.references),
        ]  # fmt: skip
        for kind, names in kinds:
            for name in names:
                value = amount = concentration = self.id(name)
                own = units.get(name, "")
                amount_units = concentration_units = own
                if kind == "species" and self.is_concentration(name):
                    amount = self.symbol(name) if name not in self.assigned else graph.mul(value, self.size(name))
                    amount_units = ""
                elif kind == "species" and not self.is_point(self.species[name].getCompartment()):
                    concentration, concentration_units = graph.div(value, self.size(name)), ""
                moves = name in self.rated or name in self.set_by_events or name in self.reacting
                yield name, Observable(
                    name, kind, value, amount, concentration, moves, own, amount_units, concentration_units
                )  # fmt: skip

    def _with_pasts(self) -> list[Delayed]:
        """Delayed values with their pasts; inner ones come before those that read them."""
        graph = self.graph
        clock = graph.symbol(CLOCK)
        still = {symbol: graph.const(0.0) for symbol in self.slopes.values()}
        found: list[Delayed] = []
        inner: dict[Node, Node] = {}
        for item in self.delayed.values():
            past = graph.substitute(item.value, {**inner, **still})
            found.append(replace(item, past=past))
            back = graph.sub(clock, graph.substitute(item.delay, {**inner, **still}))
            inner[graph.symbol(item.name)] = graph.substitute(past, {clock: back})
        return found

    def _slopes(self, network: Network) -> dict[Node, Node]:
        """Symbol of a rate → what it is, free of such symbols."""
        graph = self.graph
        found: dict[Node, Node] = {}
        for name, symbol in self.slopes.items():
            value = network.observables[name].value
            found[symbol] = self.node(self.rated[name]) if name in self.rated else network.slope(value)
        waiting = set(found)
        for _ in range(len(found) + 1):
            if all(graph.reads(node).isdisjoint(waiting) for node in found.values()):
                return found
            found = {symbol: graph.substitute(node, found) for symbol, node in found.items()}
        raise InputError(f"{network.id}: rateOf() of {', '.join(self.slopes)}: these rates need each other.")


def _message(constraint: Any) -> str:
    text = constraint.getMessageString() if constraint.isSetMessage() else ""
    return " ".join(text.split()) or libsbml.formulaToL3String(constraint.getMath())
