"""Algebraic rules: which rule determines which variable, and what can be solved for beforehand.

A rule `0 = r(…)` does not say what it determines. Each rule is matched with one of the variables that nothing else
determines (SBML L3V2 §4.11.5); where a rule is linear in its variable, the variable becomes an expression and is gone.
What is left is integrated as a differential-algebraic system of index 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulators.reaction.expression import Graph, Node
from twin.errors import UnsupportedFeature


@dataclass(frozen=True)
class Solved:
    """Attributes:
    expressions: symbol → what it equals, over symbols that are not themselves keys.
    residuals: symbol → the residual that determines it, for those that could not be solved for.
    """

    expressions: Mapping[Node, Node]
    residuals: Mapping[Node, Node]


def solve(graph: Graph, residuals: Sequence[Node], candidates: Sequence[Node]) -> Solved:
    """Match residuals with variables and eliminate what is linear.

    Args:
        candidates: symbols that nothing else determines, the likeliest first.

    Raises:
        UnsupportedFeature: a rule for which no variable is left.
    """
    left = list(residuals)
    zero = graph.const(0.0)
    expressions: dict[Node, Node] = {}
    while left:
        pairs = _matched(graph, left, candidates)
        chosen = next((pair for pair in pairs if _linear(graph, *pair)), None)
        if chosen is None:
            return Solved(expressions, {variable: residual for residual, variable in pairs})
        residual, variable = chosen
        slope = graph.derivative(residual, variable)
        rest = graph.substitute(residual, {variable: zero})
        found = graph.div(graph.apply("neg", rest), slope)
        left.remove(residual)
        left = graph.substitute_all(left, {variable: found})
        expressions = {v: graph.substitute(e, {variable: found}) for v, e in expressions.items()}
        expressions[variable] = found
    return Solved(expressions, {})


def _linear(graph: Graph, residual: Node, variable: Node) -> bool:
    return variable not in graph.reads(graph.derivative(residual, variable)) and not _switched(
        graph, residual, variable
    )


def _switched(graph: Graph, residual: Node, variable: Node) -> bool:
    """Whether a condition or a step reads the variable: then it is not linear though its derivative looks so."""
    flat = {"lt", "le", "gt", "ge", "eq", "ne", "floor", "ceil", "quotient", "factorial", "abs", "min", "max"}
    return any(graph.op[node] in flat and variable in graph.reads(node) for node in graph.order([residual]))


def _matched(graph: Graph, residuals: Sequence[Node], candidates: Sequence[Node]) -> list[tuple[Node, Node]]:
    """(residual, variable) pairs by augmenting paths (Kuhn 1955)."""
    taken: dict[Node, int] = {}

    def place(i: int, seen: set[Node]) -> bool:
        for variable in candidates:
            if variable in graph.reads(residuals[i]) and variable not in seen:
                seen.add(variable)
                if variable not in taken or place(taken[variable], seen):
                    taken[variable] = i
                    return True
        return False

    for i in range(len(residuals)):
        if not place(i, set()):
            raise UnsupportedFeature(
                "overdetermined algebraic rule",
                "an algebraic rule has no variable left to determine: all that it reads is already determined by "
                "reactions or other rules; take the rule out, or one of the others.",
            )
    return [(residuals[i], variable) for variable, i in sorted(taken.items(), key=lambda pair: pair[1])]
