"""The equations of a stepped model as one expression graph: rates of what moves, their Jacobian, and readouts.

Legend: `S` states, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import libsbml
import numpy as np

from simulators.reaction.expression import Graph, Node
from simulators.reaction.formulas import Formulas
from simulators.reaction.lane_program import System
from simulators.reaction.lowering import HOISTED, INITIAL
from simulators.reaction.stepped_model import SteppedModel


@dataclass(frozen=True)
class Equations:
    """What an engine of ours runs. Symbols of the graph are `time`, the states (species as amounts) and the parameters.

    Attributes:
        graph: of all nodes.
        states: names of what moves `[S]`.
        rates: d state / dt `[S]`.
        readouts: nodes of the readouts `[R]`.
        ids: every id of the model → its node, as mathematics reads it.
    """

    graph: Graph
    states: tuple[str, ...]
    rates: tuple[Node, ...]
    readouts: tuple[Node, ...]
    ids: Mapping[str, Node]
    compartment_of: Mapping[str, str | None]

    def system(self, parameters: Sequence[str]) -> System:
        """What is integrated."""
        symbol = self.graph.symbol
        return System(
            graph=self.graph, clock=symbol("time"), states=[symbol(name) for name in self.states], rates=self.rates,
            constants=[symbol(name) for name in parameters], readouts=self.readouts,
        )  # fmt: skip

    def assigned(self, name: str, free: Mapping[str, Any], time: float, members: int) -> Any:
        """The value `[M]` of an id when a run starts; `free` holds values as mathematics reads them."""
        symbols: dict[str, Any] = {"time": np.full(members, time)}
        for key, values in free.items():
            compartment = self.compartment_of.get(key)
            symbols[key] = values * free[compartment] if compartment else values
        (value,) = self.graph.evaluate([self.ids[name]], symbols)
        return np.broadcast_to(np.asarray(value, dtype=np.float64), (members,)).copy()


def equations_of(model: SteppedModel) -> Equations:
    """Read the lowered SBML of a model into a graph.

    Raises:
        UnsupportedFeature: an operator of mathematics that we do not know.
    """
    return _Reader(model).read()


class _Reader(Formulas):
    def __init__(self, model: SteppedModel) -> None:
        super().__init__()
        self.model = model
        self.document = libsbml.readSBMLFromString(model.sbml)  # keeps the model alive
        self.sbml: Any = self.document.getModel()
        self.ids: dict[str, Node] = {}
        self.rules = {r.getVariable(): r.getMath() for r in self.sbml.getListOfRules() if r.isAssignment()}
        self.reactions = {r.getId(): r for r in self.sbml.getListOfReactions()}

    def read(self) -> Equations:
        model, graph = self.model, self.graph
        species = [s.getId() for s in self.sbml.getListOfSpecies()]
        states = (*model.rated, *species)
        change: dict[str, list[Node]] = {name: [] for name in species}
        for reaction in self.reactions.values():
            rate = self.id(reaction.getId())
            for references, sign in ((reaction.getListOfReactants(), -1.0), (reaction.getListOfProducts(), 1.0)):
                for reference in references:
                    factor = sign * (reference.getStoichiometry() if reference.isSetStoichiometry() else 1.0)
                    change[reference.getSpecies()].append(graph.mul(graph.const(factor), rate))
        rates = {
            name: graph.mul(self._conversion(name), graph.total(nodes)) if nodes else graph.const(0.0)
            for name, nodes in change.items()
        }
        for rule in self.sbml.getListOfRules():
            if rule.isRate():
                rates[rule.getVariable()] = self.node(rule.getMath())
        readouts = tuple(self._selected(text) for text in model.readouts.values())
        for name in [*(INITIAL + name for name in model.assigned), *model.readable]:
            self.id(name)
        return Equations(graph, states, tuple(rates[name] for name in states), readouts, self.ids, model.species)

    def _selected(self, selection: str) -> Node:
        return self.id(selection[1:-1]) if selection.startswith("[") else self.id(selection)

    def _conversion(self, species: str) -> Node:
        own = self.sbml.getSpecies(species)
        name = own.getConversionFactor() if own.isSetConversionFactor() else self.sbml.getConversionFactor()
        return self.id(name) if name else self.graph.const(1.0)

    def id(self, name: str) -> Node:
        """The node of an id, as mathematics reads it."""
        name = name.removeprefix(HOISTED)
        if name not in self.ids:
            self.ids[name] = self._id(name)
        return self.ids[name]

    def _id(self, name: str) -> Node:
        hoisted = HOISTED + name
        if hoisted in self.rules:  # RoadRunner's detour for a rule over constants
            return self.node(self.rules[hoisted])
        if name in self.rules:
            return self.node(self.rules[name])
        if name in self.reactions:
            return self.node(self.reactions[name].getKineticLaw().getMath())
        compartment = self.model.species.get(name)
        if compartment is not None:
            return self.graph.div(self.graph.symbol(name), self.id(compartment))
        return self.graph.symbol(name)
