"""Formulas of SBML as nodes of an expression graph: one rule for every operator of MathML that SBML knows."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import libsbml

from simulators.reaction.expression import RELATIONS, Graph, Node
from twin.errors import UnsupportedFeature

_PLAIN = {
    libsbml.AST_FUNCTION_CEILING: "ceil", libsbml.AST_FUNCTION_FLOOR: "floor",
    libsbml.AST_FUNCTION_EXP: "exp", libsbml.AST_FUNCTION_LN: "ln", libsbml.AST_FUNCTION_FACTORIAL: "factorial",
    libsbml.AST_FUNCTION_SIN: "sin", libsbml.AST_FUNCTION_COS: "cos", libsbml.AST_FUNCTION_TAN: "tan",
    libsbml.AST_FUNCTION_ARCSIN: "asin", libsbml.AST_FUNCTION_ARCCOS: "acos", libsbml.AST_FUNCTION_ARCTAN: "atan",
    libsbml.AST_FUNCTION_SINH: "sinh", libsbml.AST_FUNCTION_COSH: "cosh", libsbml.AST_FUNCTION_TANH: "tanh",
    libsbml.AST_FUNCTION_ARCSINH: "asinh", libsbml.AST_FUNCTION_ARCCOSH: "acosh",
    libsbml.AST_FUNCTION_ARCTANH: "atanh",
    libsbml.AST_FUNCTION_QUOTIENT: "quotient",
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

_LOGIC = frozenset({"and", "or", "xor", "not"})


class Formulas:
    """Turns libSBML trees into nodes. A reader of models says what an id means (`id`) and, if it can, what the
    operators mean that read more than the present values (`special`)."""

    def __init__(self) -> None:
        self.graph = Graph()

    def id(self, name: str) -> Node:
        """The node of an id, as mathematics reads it."""
        raise NotImplementedError

    def special(self, tree: Any) -> Node | None:
        """The node of an operator that is not a function of its arguments' present values; None: not one of them."""
        return None

    def truth(self, node: Node) -> Node:
        """A number where a truth value is meant: it is true if it is not 0."""
        if self.graph.op[node] in RELATIONS or self.graph.op[node] in _LOGIC or self.graph.value(node) in (0.0, 1.0):
            return node
        return self.graph.apply("ne", node, self.graph.const(0.0))

    def node(self, tree: Any) -> Node:
        """The node of a libSBML tree."""
        kind = tree.getType()
        graph = self.graph
        if kind == libsbml.AST_NAME:
            return self.id(tree.getName())
        if kind == libsbml.AST_NAME_TIME:
            return graph.symbol("time")
        if tree.isNumber():
            return graph.const(tree.getValue())
        if kind in _CONSTANTS:
            return graph.const(_CONSTANTS[kind])
        special = self.special(tree)
        if special is not None:
            return special
        given = [self.node(tree.getChild(i)) for i in range(tree.getNumChildren())]
        if kind in _FOLDED:
            operator, neutral = _FOLDED[kind]
            if operator in _LOGIC:
                given = [self.truth(node) for node in given]
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
        if kind == libsbml.AST_LOGICAL_NOT:
            return graph.apply("not", self.truth(given[0]))
        if kind == libsbml.AST_FUNCTION_REM:  # its jumps are those of the quotient
            return graph.sub(given[0], graph.mul(given[1], graph.apply("quotient", *given)))
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
                found = graph.apply("where", self.truth(given[i + 1]), given[i], found)
            return found
        if kind == libsbml.AST_FUNCTION_ROOT:
            degree, base = given if len(given) == 2 else (graph.const(2.0), given[0])
            return graph.apply("pow", base, graph.div(graph.const(1.0), degree))
        if kind == libsbml.AST_FUNCTION_LOG:
            base, value = given if len(given) == 2 else (graph.const(10.0), given[0])
            return graph.div(graph.apply("ln", value), graph.apply("ln", base))
        if kind == libsbml.AST_LOGICAL_IMPLIES:
            return graph.apply("or", graph.apply("not", self.truth(given[0])), self.truth(given[1]))
        one = graph.const(1.0)
        if kind in _RECIPROCAL:
            return graph.div(one, graph.apply(_RECIPROCAL[kind], given[0]))
        if kind in _INVERSE_RECIPROCAL:
            return graph.apply(_INVERSE_RECIPROCAL[kind], graph.div(one, given[0]))
        name = tree.getName() or str(kind)
        raise UnsupportedFeature(f"operator {name}", f"operator {name} in mathematics: our engine does not know it.")
