"""Expressions as instructions: a graph's nodes put in order, with registers shared by what is needed no more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from simulators.reaction.expression import Graph, Node
from simulators.reaction.operation import OPCODES, Instructions, signed_sum


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
    *,
    gathered: bool = False,
    kept: Sequence[Node] = (),
) -> Instructions:
    """Instructions that put nodes into registers.

    Args:
        outputs: (node, register) pairs.
        place: where nodes already lie (symbols, hoisted nodes, constants); constants that are new are added, and so
            are the nodes of `kept`.
        registers: the file; scratch is taken from it and given back.
        gathered: whether sums become one instruction each (which only `lanes.execute` knows, and whose last bits may
            differ), and equal operations stand together, so that the CPU foresees what comes next.
        kept: further nodes that are computed and stay where they are, in registers that nothing else uses.
    """
    kept = [node for node in dict.fromkeys(kept) if node not in place and graph.op[node] != "const"]
    order = graph.order([*(node for node, _ in outputs), *kept], stop=place)
    uses: dict[Node, int] = {}
    for node in order:
        if node not in place:
            for argument in graph.args[node]:
                uses[argument] = uses.get(argument, 0) + 1
    homes: dict[Node, list[int]] = {}
    for node, home in outputs:
        uses[node] = uses.get(node, 0) + 1
        homes.setdefault(node, []).append(home)
    for node in kept:
        uses[node] = uses.get(node, 0) + 1
        homes.setdefault(node, []).insert(0, registers.block(1))
    sums = _sums(graph, order, uses, place, homes) if gathered else {}
    inner = {node for found in sums.values() for node in found.inner}
    fused = _fused(graph, order, uses, place, inner | sums.keys(), triple=gathered)
    inner |= fused.inner
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

    def arguments_of(node: Node) -> tuple[Node, ...]:
        if node in sums:
            return sums[node].arguments
        return fused.outer[node][1] if node in fused.outer else graph.args[node]

    steps = [n for n in order if n not in place and graph.op[n] != "const" and n not in inner]
    if gathered:
        level: dict[Node, int] = {}
        for node in steps:
            level[node] = 1 + max((level.get(a, 0) for a in arguments_of(node)), default=0)
        kinds = {n: "sum" if n in sums else fused.outer[n][0] if n in fused.outer else graph.op[n] for n in steps}
        steps.sort(key=lambda n: (level[n], kinds[n], n))
    for node in steps:
        if graph.op[node] == "symbol":
            raise ValueError(f"symbol {graph.payload[node]!r} has no register (a fault of the caller)")
        arguments = arguments_of(node)
        given = [at(a) for a in arguments]
        if node not in sums:
            used(arguments)  # the result may take the place of an argument that ends here: loads come before the store
        if node in homes:
            target = homes[node][0]
        else:
            target = registers.take()
            scratch.add(node)
        if node in sums:
            used(arguments)
        where[node] = target
        if node in sums:
            code += sums[node].rows(target, at)
        else:
            name = fused.outer[node][0] if node in fused.outer else graph.op[node]
            code.append((OPCODES[name], target, *given, *(given[:1] * (3 - len(given)))))
    for node, targets in homes.items():
        source = at(node)
        for target in targets if node in place or graph.op[node] == "const" else targets[1:]:
            code.append((OPCODES["copy"], target, source, source, source))
    for node in kept:
        place[node] = where[node]
    for node in scratch:
        registers.give(where[node])
    return np.array(code, dtype=np.int32).reshape(-1, 5)


@dataclass
class _Sum:
    """A tree of additions, subtractions and products that nothing else reads, as one instruction."""

    inner: set[Node] = field(default_factory=set[Node])
    plus: list[Node] = field(default_factory=list[Node])
    minus: list[Node] = field(default_factory=list[Node])
    added: list[tuple[Node, Node]] = field(default_factory=list[tuple[Node, Node]])
    subtracted: list[tuple[Node, Node]] = field(default_factory=list[tuple[Node, Node]])

    @property
    def arguments(self) -> tuple[Node, ...]:
        products = [node for pair in (*self.added, *self.subtracted) for node in pair]
        return (*self.plus, *self.minus, *products)

    def rows(self, target: int, at: Callable[[Node], int]) -> list[tuple[int, ...]]:
        added, subtracted = ([(at(a), at(b)) for a, b in pairs] for pairs in (self.added, self.subtracted))
        return signed_sum(target, [at(n) for n in self.plus], [at(n) for n in self.minus], added, subtracted)


def _sums(
    graph: Graph, order: Sequence[Node], uses: Mapping[Node, int], place: Mapping[Node, int], homes: Collection[Node]
) -> dict[Node, _Sum]:
    found: dict[Node, _Sum] = {}
    taken: set[Node] = set()

    def alone(node: Node) -> bool:
        return uses[node] == 1 and node not in place and node not in homes

    for root in reversed(order):  # what uses a node comes after it
        if root in place or root in taken or graph.op[root] not in ("add", "sub"):
            continue
        total = _Sum()
        pending = [(root, True)]
        while pending:
            node, positive = pending.pop()
            op = graph.op[node]
            if node == root or (op in ("add", "sub", "neg") and alone(node)):
                if node != root:
                    total.inner.add(node)
                args = graph.args[node]
                signs = (not positive,) if op == "neg" else (positive, positive == (op == "add"))
                pending.extend(zip(reversed(args), reversed(signs), strict=True))
            elif op == "mul" and alone(node):
                total.inner.add(node)
                a, b = graph.args[node]
                (total.added if positive else total.subtracted).append((a, b))
            else:
                (total.plus if positive else total.minus).append(node)
        if len(total.plus) + len(total.minus) + len(total.added) + len(total.subtracted) > 2:
            found[root] = total
            taken |= total.inner
    return found


@dataclass(frozen=True)
class _Fusion:
    """Products that are used once, in a sum or another product, and become part of it."""

    inner: frozenset[Node]
    outer: Mapping[Node, tuple[str, tuple[Node, ...]]]


def _fused(
    graph: Graph,
    order: Sequence[Node],
    uses: Mapping[Node, int],
    place: Mapping[Node, int],
    taken: Collection[Node],
    *,
    triple: bool,
) -> _Fusion:
    inner: set[Node] = set()
    outer: dict[Node, tuple[str, tuple[Node, ...]]] = {}

    def product(node: Node) -> bool:
        return (
            graph.op[node] == "mul"
            and uses[node] == 1
            and node not in place
            and node not in inner
            and node not in outer
            and node not in taken
        )

    for node in order:
        op = graph.op[node]
        if node in place or node in taken or op not in ("add", "sub", "mul") or (op == "mul" and not triple):
            continue
        a, b = graph.args[node]
        if a == b:
            continue
        if product(a):
            inner.add(a)
            outer[node] = ({"add": "madd", "sub": "msub", "mul": "mul3"}[op], (*graph.args[a], b))
        elif product(b):
            inner.add(b)
            outer[node] = ({"add": "madd", "sub": "nmadd", "mul": "mul3"}[op], (*graph.args[b], a))
    return _Fusion(frozenset(inner), outer)
