"""Expressions as layers: what depends on earlier layers alone is computed together, one array operation per operator.

An array library pays for every call, not for every number: a network of ten thousand operations takes some hundred
calls this way. Sums become one gathered sum each, however many terms they have.

Legend: `N` nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.expression import FLAT, Graph, Node

Places = NDArray[np.int64]

_SAFE: Final[Mapping[str, tuple[int, float]]] = {
    "div": (1, 1.0), "rem": (1, 1.0), "pow": (0, 1.0), "ln": (0, 1.0), "sqrt": (0, 1.0), "exp": (0, 0.0),
    "tan": (0, 0.0), "asin": (0, 0.0), "acos": (0, 0.0), "sinh": (0, 0.0), "cosh": (0, 0.0), "acosh": (0, 2.0),
    "atanh": (0, 0.0),
}  # fmt: skip
"""Operators whose value or slope may be infinite → which argument makes it so, and where it does not."""


@dataclass(frozen=True)
class Group:
    """One operator applied to `count` nodes.

    Attributes:
        op: as in `expression.ARITY`, or `sum`.
        width: arguments of each node; sums are filled up with zeros.
        signs: +1 or -1 of a sum's terms `[count, width]`; None: all +1.
    """

    op: str
    count: int
    width: int
    signs: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Layer:
    """What is computed at once.

    Attributes:
        gathered: places in the table before: first of the nodes that later layers need, which are carried on, then of
            the groups' arguments: of an operator first all first arguments, then all second; of a sum term by term.
        carried: how many are carried on. The next table is these, then the results of the groups.
    """

    gathered: Places
    carried: int
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Layers:
    """Nodes of a graph as layers.

    Attributes:
        constants: numbers that stand behind the inputs in the first table.
        layers: in order.
        outputs: places of the nodes asked for in the last table `[N]`.
    """

    constants: NDArray[np.float64]
    layers: tuple[Layer, ...]
    outputs: Places


def layered(graph: Graph, outputs: Sequence[Node], inputs: Sequence[Node]) -> Layers:
    """The layers that lead from `inputs` (symbols, in the order of the first table) to `outputs`.

    Raises:
        ValueError: a symbol that is no input (a fault of the caller).
    """
    zero = graph.const(0.0)
    order = graph.order([*outputs, zero])
    known = set(inputs)
    for node in order:
        if graph.op[node] == "symbol" and node not in known:
            raise ValueError(f"symbol {graph.payload[node]!r} is no input (a fault of the caller)")
    arguments, signs, inner = _flattened(graph, order, outputs)
    level = dict.fromkeys(inputs, 0)
    steps: dict[int, dict[tuple[str, int], list[Node]]] = {}
    last = dict.fromkeys(outputs, 1 << 30)  # the last layer that reads a node
    for node in order:
        if node in inner or node in level:
            continue
        if graph.op[node] == "const":
            level[node] = 0
            continue
        at = level[node] = 1 + max(level[a] for a in arguments[node])
        kind = ("sum", _filled(len(arguments[node]))) if node in signs else (graph.op[node], len(arguments[node]))
        steps.setdefault(at, {}).setdefault(kind, []).append(node)
        for a in arguments[node]:
            last[a] = max(last.get(a, 0), at)
    constants = [node for node in order if graph.op[node] == "const" and node not in inner]
    last[zero] = 1 << 30
    table = {node: i for i, node in enumerate([*inputs, *constants])}
    layers: list[Layer] = []
    for at in sorted(steps):
        carried = [node for node in table if last.get(node, 0) > at]
        gathered = [table[node] for node in carried]
        groups: list[Group] = []
        results = list(carried)
        for (op, width), nodes in sorted(steps[at].items()):
            results += nodes
            if op == "sum":
                rows = [[*arguments[n], *([zero] * (width - len(arguments[n])))] for n in nodes]
                sign = np.array([[*signs[n], *([1.0] * (width - len(signs[n])))] for n in nodes])
                gathered += [table[a] for row in rows for a in row]
                groups.append(Group(op, len(nodes), width, None if (sign == 1.0).all() else sign))
            else:
                gathered += [table[arguments[n][k]] for k in range(width) for n in nodes]
                groups.append(Group(op, len(nodes), width))
        layers.append(Layer(np.array(gathered, dtype=np.int64), len(carried), tuple(groups)))
        table = {node: i for i, node in enumerate(results)}
    numbers = np.array([graph.value(node) for node in constants], dtype=np.float64)
    return Layers(numbers, tuple(layers), np.array([table[node] for node in outputs], dtype=np.int64))


def guarded(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
    """Nodes of the same value whose slope, found backwards through them, does not suffer from branches not taken.

    Backwards, a branch that `where` does not take gets a slope of 0, and 0 times the infinite slope of, say, ln(0) in it
    would be NaN. What only branches read is therefore computed at a harmless point wherever none of them is taken.
    """
    order = graph.order(nodes)
    if not any(graph.op[node] == "where" for node in order):
        return list(nodes)
    one = graph.const(1.0)
    taken = dict.fromkeys(nodes, one)

    def reach(node: Node, when: Node) -> None:
        known = taken.get(node)
        if known is None or when == one:
            taken[node] = when
        elif known not in (one, when):
            taken[node] = graph.apply("or", known, when)

    def both(a: Node, b: Node) -> Node:
        return b if a == one else graph.apply("and", a, b)

    for node in reversed(order):  # what uses a node comes after it
        when = taken.get(node)
        if when is None or graph.op[node] in FLAT:
            continue  # what only relations read has no slope
        args = graph.args[node]
        if graph.op[node] == "where":
            reach(args[1], both(when, args[0]))
            reach(args[2], both(when, graph.apply("not", args[0])))
        else:
            for a in args:
                reach(a, when)
    found: dict[Node, Node] = {}
    for node in order:
        op = graph.op[node]
        args = [found[a] for a in graph.args[node]]
        when = taken.get(node, one)
        if op in _SAFE and when != one:
            k, safe = _SAFE[op]
            args[k] = graph.apply("where", when, args[k], graph.const(safe))
        found[node] = graph.apply(op, *args) if args else node
    return [found[node] for node in nodes]


def copied(graph: Graph, nodes: Sequence[Node]) -> tuple[Graph, list[Node]]:
    """Nodes in a graph of their own: what is added to it leaves the first one, and the order of its sums, as it is."""
    other = Graph()
    found: dict[Node, Node] = {}
    for node in graph.order(nodes):
        op, payload = graph.op[node], graph.payload[node]
        if op == "const":
            found[node] = other.const(float(payload))
        elif op == "symbol":
            found[node] = other.symbol(str(payload))
        else:
            found[node] = other.apply(op, *(found[a] for a in graph.args[node]))
    return other, [found[node] for node in nodes]


def _flattened(
    graph: Graph, order: Sequence[Node], outputs: Sequence[Node]
) -> tuple[dict[Node, tuple[Node, ...]], dict[Node, list[float]], set[Node]]:
    """Arguments of every node, signs of the terms of sums, and the nodes that have become part of a sum."""
    uses: dict[Node, int] = {}
    for node in order:
        for a in graph.args[node]:
            uses[a] = uses.get(a, 0) + 1
    for node in outputs:
        uses[node] = uses.get(node, 0) + 1
    arguments = {node: graph.args[node] for node in order}
    signs: dict[Node, list[float]] = {}
    inner: set[Node] = set()
    for root in reversed(order):  # what uses a node comes after it
        if graph.op[root] not in ("add", "sub") or root in inner:
            continue
        terms: list[tuple[Node, float]] = []
        pending = [(root, 1.0)]
        while pending:
            node, sign = pending.pop()
            op = graph.op[node]
            if node == root or (op in ("add", "sub", "neg") and uses[node] == 1):
                if node != root:
                    inner.add(node)
                args = graph.args[node]
                own = (-sign,) if op == "neg" else (sign, sign if op == "add" else -sign)
                pending.extend(zip(reversed(args), reversed(own), strict=True))
            else:
                terms.append((node, sign))
        arguments[root] = tuple(node for node, _ in terms)
        signs[root] = [sign for _, sign in terms]
    return arguments, signs, inner


def _filled(terms: int) -> int:
    """How many terms a sum is filled up to: few widths make few groups, and at most a third is filled in vain."""
    width = 2
    while width < terms:
        width = width * 4 // 3 if width % 3 == 0 else width * 3 // 2
    return terms if terms <= 4 else width
