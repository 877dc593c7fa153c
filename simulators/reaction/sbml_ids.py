"""What the ids of an SBML model mean in mathematics, and the operators that read more than the present values.

Legend: an id's *value* is what it means in mathematics; a species stands in the graph as an *amount*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import libsbml

from simulators.reaction.distributions import DISTRIBUTIONS
from simulators.reaction.expression import Node
from simulators.reaction.formulas import Formulas
from simulators.reaction.network import Delayed, Draw, symbol_name
from twin.errors import InputError

_DISTRIBUTIONS = {
    getattr(libsbml, f"AST_DISTRIB_FUNCTION_{name.upper()}"): name for name in DISTRIBUTIONS
}  # fmt: skip


class SbmlIds(Formulas):
    """The ids of a model.

    Args:
        file: the libSBML document; kept, since the model lives as long as it does.
    """

    def __init__(self, file: Any) -> None:
        super().__init__()
        self.file = file
        self.sbml = model = file.getModel()
        self.species = {s.getId(): s for s in model.getListOfSpecies()}
        self.compartments = {c.getId(): c for c in model.getListOfCompartments()}
        self.parameters = {p.getId(): p for p in model.getListOfParameters()}
        self.reactions = {r.getId(): r for r in model.getListOfReactions()}
        self.references = {r.getId(): r for r in _references(model) if r.isSetId()}
        with_math = [rule for rule in model.getListOfRules() if rule.isSetMath()]
        self.assigned = {r.getVariable(): r.getMath() for r in with_math if r.isAssignment()}
        self.rated = {r.getVariable(): r.getMath() for r in with_math if r.isRate()}
        self.residuals = [r.getMath() for r in with_math if r.isAlgebraic()]
        self.initial = {a.getSymbol(): a.getMath() for a in model.getListOfInitialAssignments() if a.isSetMath()}
        self.set_by_events = {
            a.getVariable()
            for e in model.getListOfEvents()
            if e.isSetTrigger()
            for a in e.getListOfEventAssignments()
            if a.isSetMath()
        }
        self.reacting = {
            reference.getSpecies()
            for reaction in self.reactions.values()
            for reference in (*reaction.getListOfReactants(), *reaction.getListOfProducts())
            if self.reacts(reference.getSpecies())
        }
        self.ids: dict[str, Node] = {}
        self.open: list[str] = []  # ids being read, to find rules that need each other
        self.delayed: dict[tuple[Node, Node], Delayed] = {}
        self.draws: list[Draw] = []
        self.slopes: dict[str, Node] = {}  # id → the symbol that stands for its rate

    def reacts(self, species: str) -> bool:
        """Whether reactions change a species."""
        found = self.species.get(species)
        return found is not None and not (found.getBoundaryCondition() or found.getConstant())

    def id(self, name: str) -> Node:
        """See `Formulas.id`."""
        if name not in self.ids:
            if name in self.open:
                circle = " → ".join([*self.open[self.open.index(name) :], name])
                raise InputError(f"{self.sbml.getId()}: rules that need each other: {circle}; SBML forbids it.")
            self.open.append(name)
            self.ids[name] = self._id(name)
            self.open.pop()
        return self.ids[name]

    def _id(self, name: str) -> Node:
        graph = self.graph
        if name in self.assigned:
            return self.node(self.assigned[name])
        if name in self.reactions:
            law = self.reactions[name].getKineticLaw()
            return self.node(law.getMath()) if law is not None and law.isSetMath() else graph.const(0.0)
        if name in self.species:
            amount = self.symbol(name)
            return graph.div(amount, self.size(name)) if self.is_concentration(name) else amount
        if name in self.references and not self.reference_is_symbol(name):
            return self.stoichiometry(self.references[name])
        known = name in self.references or name in self.compartments or name in self.parameters
        if not known:
            raise InputError(f"{self.sbml.getId()}: a formula reads {name!r}, which is nothing in this model.")
        return self.symbol(name)

    def symbol(self, name: str) -> Node:
        """The symbol of an id (an amount if it is a species)."""
        return self.graph.symbol(symbol_name(name))

    def is_concentration(self, species: str) -> bool:
        """Whether the species' id means a concentration; in a compartment without dimensions there is none."""
        found = self.species[species]
        return not found.getHasOnlySubstanceUnits() and not self.is_point(found.getCompartment())

    def is_point(self, compartment: str) -> bool:
        """Whether there is no such compartment, or one without dimensions that states no size."""
        found = self.compartments.get(compartment)
        return found is None or (
            found.isSetSpatialDimensions() and found.getSpatialDimensionsAsDouble() == 0 and not found.isSetSize()
        )

    def size(self, species: str) -> Node:
        """The size of a species' compartment."""
        compartment = self.species[species].getCompartment()
        return self.id(compartment) if compartment in self.compartments else self.graph.const(1.0)

    def reference_is_symbol(self, name: str) -> bool:
        """Whether the stoichiometry that an id means is a constant or a state of the network, not a formula."""
        return name in self.rated or name in self.initial or name in self.set_by_events or self._solvable(name)

    def _solvable(self, reference: str) -> bool:
        return bool(self.residuals) and not self.references[reference].getConstant()

    def stoichiometry(self, reference: Any) -> Node:
        """What a reference of a reaction to a species says by itself."""
        if reference.isSetStoichiometryMath() and reference.getStoichiometryMath().isSetMath():
            return self.node(reference.getStoichiometryMath().getMath())
        if not reference.isSetStoichiometry() and self.sbml.getLevel() > 2:
            return self.graph.const(math.nan if reference.isSetId() else 1.0)
        return self.graph.const(reference.getStoichiometry() if reference.isSetStoichiometry() else 1.0)

    def special(self, tree: Any) -> Node | None:
        """See `Formulas.special`."""
        kind = tree.getType()
        if kind == libsbml.AST_FUNCTION_RATE_OF:
            name = tree.getChild(0).getName()
            return self.slope_of(name)
        if kind == libsbml.AST_FUNCTION_DELAY:
            value, delay = self.node(tree.getChild(0)), self.node(tree.getChild(1))
            if self.graph.value(delay) == 0.0:
                return value
            key = (value, delay)
            if key not in self.delayed:
                self.delayed[key] = Delayed(f" delayed {len(self.delayed)}", value, delay, value)
            return self.graph.symbol(self.delayed[key].name)
        if libsbml.AST_DISTRIB_FUNCTION_NORMAL <= kind <= libsbml.AST_DISTRIB_FUNCTION_RAYLEIGH:
            arguments = tuple(self.node(tree.getChild(i)) for i in range(tree.getNumChildren()))
            self.draws.append(Draw(f" random {len(self.draws)}", _DISTRIBUTIONS[kind], arguments))
            return self.graph.symbol(self.draws[-1].name)
        return None

    def slope_of(self, name: str) -> Node:
        """A symbol that stands for d value / dt, replaced when every rate is known."""
        if name not in self.slopes:
            self.slopes[name] = self.graph.symbol(f" rate of {name}")
        return self.slopes[name]


def _references(model: Any) -> Iterator[Any]:
    for reaction in model.getListOfReactions():
        yield from reaction.getListOfReactants()
        yield from reaction.getListOfProducts()
