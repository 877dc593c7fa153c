"""Expressions as instructions: a graph's nodes put in order, with registers shared by what is needed no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from simulators.reaction.expression import Graph, Node
from simulators.reaction.lanes import OPCODES, Instructions


@dataclass
class Registers:
    """The register file as it is laid out: every name or constant has its place, the rest is scratch."""

    count: int = 0
    constants: dict[int, float] = field(default_factory=dict[int, float])
    _free: list[int] = field(default_factory=list[int])

    def block(self, size: int) -> int:
        """The first of `size` registers that lie together."""
        first = self.count
        self.count += size
        return first

    def constant(self, value: float) -> int:
        """A register that always holds a number."""
        place = self.block(1)
        self.constants[place] = value
        return place

    def take(self) -> int:
        """A scratch register."""
        return self._free.pop() if self._free else self.block(1)

    def give(self, place: int) -> None:
        """A scratch register that is needed no more."""
        self._free.append(place)


def instructions(
    graph: Graph,
    outputs: Sequence[tuple[Node, int]],
    place: dict[Node, int],
    registers: Registers,
) -> Instructions:
    """Instructions that put nodes into registers.

    Args:
        outputs: (node, register) pairs.
        place: where nodes already lie (symbols, hoisted nodes, constants); constants that are new are added.
        registers: the file; scratch is taken from it and given back.
    """
    order = graph.order([node for node, _ in outputs], stop=place)
    uses: dict[Node, int] = {}
    for node in order:
        if node not in place:
            for argument in graph.args[node]:
                uses[argument] = uses.get(argument, 0) + 1
    homes: dict[Node, list[int]] = {}
    for node, home in outputs:
        uses[node] = uses.get(node, 0) + 1
        homes.setdefault(node, []).append(home)
    fused = _fused(graph, order, uses, place)
    code: list[tuple[int, ...]] = []
    where: dict[Node, int] = {}
    scratch: set[Node] = set()

    def at(node: Node) -> int:
        if node in place:
            return place[node]
        if node in where:
            return where[node]
        place[node] = registers.constant(float(graph.payload[node]))  # only constants are left
        return place[node]

    def used(nodes: Iterable[Node]) -> None:
        for node in nodes:
            uses[node] -= 1
            if uses[node] == 0 and node in scratch:
                scratch.discard(node)
                registers.give(where[node])

    for node in order:
        if node in place or graph.op[node] == "const" or node in fused.inner:
            continue
        if graph.op[node] == "symbol":
            raise ValueError(f"symbol {graph.payload[node]!r} has no register (a fault of the caller)")
        name, arguments = fused.outer.get(node, (graph.op[node], graph.args[node]))
        given = [at(a) for a in arguments]
        if node in homes:
            target = homes[node][0]
            used(arguments)
        else:
            used(arguments)  # the result may take the place of an argument that ends here: loads come before the store
            target = registers.take()
            scratch.add(node)
        where[node] = target
        code.append((OPCODES[name], target, *given, *(given[:1] * (3 - len(given)))))
    for node, targets in homes.items():
        source = at(node)
        for target in targets if node in place or graph.op[node] == "const" else targets[1:]:
            code.append((OPCODES["copy"], target, source, source, source))
    for node in scratch:
        registers.give(where[node])
    return np.array(code, dtype=np.int32).reshape(-1, 5)


@dataclass(frozen=True)
class _Fusion:
    """Products that are used once, in a sum, and become part of it."""

    inner: frozenset[Node]
    outer: Mapping[Node, tuple[str, tuple[Node, ...]]]


def _fused(graph: Graph, order: Sequence[Node], uses: Mapping[Node, int], place: Mapping[Node, int]) -> _Fusion:
    inner: set[Node] = set()
    outer: dict[Node, tuple[str, tuple[Node, ...]]] = {}

    def product(node: Node) -> bool:
        return graph.op[node] == "mul" and uses[node] == 1 and node not in place and node not in inner

    for node in order:
        if node in place or graph.op[node] not in ("add", "sub"):
            continue
        a, b = graph.args[node]
        if a == b:
            continue
        if product(a):
            inner.add(a)
            outer[node] = ("madd" if graph.op[node] == "add" else "msub", (*graph.args[a], b))
        elif product(b):
            inner.add(b)
            outer[node] = ("madd" if graph.op[node] == "add" else "nmadd", (*graph.args[b], a))
    return _Fusion(frozenset(inner), outer)
