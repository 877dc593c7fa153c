"""The equations of a stepped model as one expression graph: rates of what moves, their Jacobian, and readouts.

Legend: `S` states, `R` readouts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import libsbml
import numpy as np

from simulators.reaction.expression import Graph, Node
from simulators.reaction.lowering import HOISTED, INITIAL
from simulators.reaction.stepped_model import SteppedModel
from twin.errors import UnsupportedFeature

_PLAIN = {
    libsbml.AST_FUNCTION_CEILING: "ceil", libsbml.AST_FUNCTION_FLOOR: "floor",
    libsbml.AST_FUNCTION_EXP: "exp", libsbml.AST_FUNCTION_LN: "ln", libsbml.AST_FUNCTION_FACTORIAL: "factorial",
    libsbml.AST_FUNCTION_SIN: "sin", libsbml.AST_FUNCTION_COS: "cos", libsbml.AST_FUNCTION_TAN: "tan",
    libsbml.AST_FUNCTION_ARCSIN: "asin", libsbml.AST_FUNCTION_ARCCOS: "acos", libsbml.AST_FUNCTION_ARCTAN: "atan",
    libsbml.AST_FUNCTION_SINH: "sinh", libsbml.AST_FUNCTION_COSH: "cosh", libsbml.AST_FUNCTION_TANH: "tanh",
    libsbml.AST_FUNCTION_ARCSINH: "asinh", libsbml.AST_FUNCTION_ARCCOSH: "acosh",
    libsbml.AST_FUNCTION_ARCTANH: "atanh", libsbml.AST_LOGICAL_NOT: "not",
    libsbml.AST_FUNCTION_REM: "rem", libsbml.AST_FUNCTION_QUOTIENT: "quotient",
    libsbml.AST_POWER: "pow", libsbml.AST_FUNCTION_POWER: "pow", libsbml.AST_DIVIDE: "div",
}  # fmt: skip
_RECIPROCAL = {  # sec x = 1 / cos x, arcsec x = arccos(1/x), …: (of the argument's reciprocal?, function, reciprocal?)
    libsbml.AST_FUNCTION_SEC: "cos", libsbml.AST_FUNCTION_CSC: "sin", libsbml.AST_FUNCTION_COT: "tan",
    libsbml.AST_FUNCTION_SECH: "cosh", libsbml.AST_FUNCTION_CSCH: "sinh", libsbml.AST_FUNCTION_COTH: "tanh",
}  # fmt: skip
_INVERSE_RECIPROCAL = {
    libsbml.AST_FUNCTION_ARCSEC: "acos", libsbml.AST_FUNCTION_ARCCSC: "asin", libsbml.AST_FUNCTION_ARCCOT: "atan",
    libsbml.AST_FUNCTION_ARCSECH: "acosh", libsbml.AST_FUNCTION_ARCCSCH: "asinh",
    libsbml.AST_FUNCTION_ARCCOTH: "atanh",
}  # fmt: skip
_CHAINED = {
    libsbml.AST_RELATIONAL_LT: "lt", libsbml.AST_RELATIONAL_LEQ: "le", libsbml.AST_RELATIONAL_GT: "gt",
    libsbml.AST_RELATIONAL_GEQ: "ge", libsbml.AST_RELATIONAL_EQ: "eq", libsbml.AST_RELATIONAL_NEQ: "ne",
}  # fmt: skip
_FOLDED = {
    libsbml.AST_PLUS: ("add", 0.0), libsbml.AST_TIMES: ("mul", 1.0), libsbml.AST_LOGICAL_AND: ("and", 1.0),
    libsbml.AST_LOGICAL_OR: ("or", 0.0), libsbml.AST_LOGICAL_XOR: ("xor", 0.0),
}  # fmt: skip
_CHOSEN = {libsbml.AST_FUNCTION_MIN: "le", libsbml.AST_FUNCTION_MAX: "ge"}
_CONSTANTS = {
    libsbml.AST_CONSTANT_E: math.e, libsbml.AST_CONSTANT_PI: math.pi, libsbml.AST_CONSTANT_TRUE: 1.0,
    libsbml.AST_CONSTANT_FALSE: 0.0, libsbml.AST_NAME_AVOGADRO: 6.02214179e23,
}  # fmt: skip


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

    def jacobian(self) -> dict[tuple[int, int], Node]:
        """Entries of ∂ rates / ∂ states that are not zero by construction."""
        symbols = {self.graph.symbol(name): i for i, name in enumerate(self.states)}
        zero = self.graph.const(0.0)
        found: dict[tuple[int, int], Node] = {}
        for row, rate in enumerate(self.rates):
            for symbol in sorted(self.graph.reads(rate) & symbols.keys(), key=symbols.__getitem__):
                node = self.graph.derivative(rate, symbol)
                if node != zero:
                    found[row, symbols[symbol]] = node
        return found

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


class _Reader:
    def __init__(self, model: SteppedModel) -> None:
        self.model = model
        self.document = libsbml.readSBMLFromString(model.sbml)  # keeps the model alive
        self.sbml: Any = self.document.getModel()
        self.graph = Graph()
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

    def node(self, tree: Any) -> Node:
        """The node of a libSBML tree."""
        kind = tree.getType()
        graph = self.graph
        if kind == libsbml.AST_NAME:
            return self.id(tree.getName().removeprefix(HOISTED))
        if kind == libsbml.AST_NAME_TIME:
            return graph.symbol("time")
        if tree.isNumber():
            return graph.const(tree.getValue())
        if kind in _CONSTANTS:
            return graph.const(_CONSTANTS[kind])
        given = [self.node(tree.getChild(i)) for i in range(tree.getNumChildren())]
        if kind in _FOLDED:
            operator, neutral = _FOLDED[kind]
            found = given[0] if given else graph.const(neutral)
            for node in given[1:]:
                found = graph.apply(operator, found, node)
            return found
        if kind in _CHOSEN:  # as a choice, whose switch is found in time
            found = given[0]
            for node in given[1:]:
                found = graph.apply("where", graph.apply(_CHOSEN[kind], found, node), found, node)
            return found
        if kind == libsbml.AST_FUNCTION_ABS:
            return graph.apply(
                "where", graph.apply("ge", given[0], graph.const(0.0)), given[0], graph.apply("neg", given[0])
            )
        if kind == libsbml.AST_MINUS:
            return graph.apply("neg", given[0]) if len(given) == 1 else graph.sub(*given)
        if kind in _PLAIN:
            return graph.apply(_PLAIN[kind], *given)
        if kind in _CHAINED:
            found = graph.const(1.0)
            for one, other in pairwise(given):
                found = graph.apply("and", found, graph.apply(_CHAINED[kind], one, other))
            return graph.apply(_CHAINED[kind], *given) if len(given) == 2 else found
        if kind == libsbml.AST_FUNCTION_PIECEWISE:
            found = given[-1] if len(given) % 2 else graph.const(math.nan)
            for i in reversed(range(0, len(given) - 1, 2)):
                found = graph.apply("where", given[i + 1], given[i], found)
            return found
        if kind == libsbml.AST_FUNCTION_ROOT:
            degree, base = given if len(given) == 2 else (graph.const(2.0), given[0])
            return graph.apply("pow", base, graph.div(graph.const(1.0), degree))
        if kind == libsbml.AST_FUNCTION_LOG:
            base, value = given if len(given) == 2 else (graph.const(10.0), given[0])
            return graph.div(graph.apply("ln", value), graph.apply("ln", base))
        if kind == libsbml.AST_LOGICAL_IMPLIES:
            return graph.apply("or", graph.apply("not", given[0]), given[1])
        one = graph.const(1.0)
        if kind in _RECIPROCAL:
            return graph.div(one, graph.apply(_RECIPROCAL[kind], given[0]))
        if kind in _INVERSE_RECIPROCAL:
            return graph.apply(_INVERSE_RECIPROCAL[kind], graph.div(one, given[0]))
        name = tree.getName() or str(kind)
        raise UnsupportedFeature(f"operator {name}", f"operator {name} in mathematics: the ensemble engine lacks it.")
