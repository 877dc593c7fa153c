"""Expressions of a reaction network: one hash-consed graph of operations, shared by every rate, rule and event.

A node is an integer into the graph. Equal expressions are the same node, so common subexpressions are found by
construction; identities of arithmetic are applied as nodes are made, so that a zero stays a zero in a Jacobian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

Node = int

ARITY: Final[dict[str, int]] = {
    "add": 2, "sub": 2, "mul": 2, "div": 2, "pow": 2, "neg": 1,
    "exp": 1, "ln": 1, "sqrt": 1, "abs": 1, "floor": 1, "ceil": 1, "factorial": 1,
    "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1,
    "sinh": 1, "cosh": 1, "tanh": 1, "asinh": 1, "acosh": 1, "atanh": 1,
    "lt": 2, "le": 2, "gt": 2, "ge": 2, "eq": 2, "ne": 2,
    "and": 2, "or": 2, "xor": 2, "not": 1,
    "where": 3, "min": 2, "max": 2, "rem": 2, "quotient": 2,
}  # fmt: skip
"""Operators and how many arguments they take. Relations and logic give 1.0 or 0.0; `where` is (condition, then, else)."""

RELATIONS: Final = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
_COMMUTATIVE: Final = frozenset({"add", "mul", "eq", "ne", "and", "or", "xor", "min", "max"})
_LOGIC: Final = frozenset({"and", "or", "xor", "not"})
STEPPED: Final = RELATIONS | {"floor", "ceil", "quotient"}
"""Operators whose value jumps where their arguments pass certain points."""
FLAT: Final = STEPPED | _LOGIC | {"factorial"}
"""Operators whose derivative is zero wherever it exists."""

_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power, "neg": np.negative,
    "exp": np.exp, "ln": np.log, "sqrt": np.sqrt, "abs": np.abs, "floor": np.floor, "ceil": np.ceil,
    "factorial": lambda x: np.vectorize(lambda v: math.gamma(v + 1.0), otypes=[float])(x),
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "lt": lambda a, b: np.less(a, b) * 1.0, "le": lambda a, b: np.less_equal(a, b) * 1.0,
    "gt": lambda a, b: np.greater(a, b) * 1.0, "ge": lambda a, b: np.greater_equal(a, b) * 1.0,
    "eq": lambda a, b: np.equal(a, b) * 1.0, "ne": lambda a, b: np.not_equal(a, b) * 1.0,
    "and": lambda a, b: ((a != 0) & (b != 0)) * 1.0, "or": lambda a, b: ((a != 0) | (b != 0)) * 1.0,
    "xor": lambda a, b: ((a != 0) ^ (b != 0)) * 1.0, "not": lambda a: (a == 0) * 1.0,
    "where": lambda c, a, b: np.where(c != 0, a, b), "min": np.minimum, "max": np.maximum,
    "rem": np.fmod, "quotient": lambda a, b: np.trunc(a / b),
}  # fmt: skip


class Graph:
    """A growing set of nodes: constants, symbols and operations.

    Nodes are numbered in the order in which they are made, so that arguments always come before what uses them.
    """

    def __init__(self) -> None:
        self.op: list[str] = []  # "const", "symbol", or an operator
        self.args: list[tuple[Node, ...]] = []
        self.payload: list[float | str] = []  # the number of a const, the name of a symbol, "" of an operator
        self._known: dict[tuple[Any, ...], Node] = {}
        self._derivatives: dict[tuple[Node, Node], Node] = {}
        self._reads: list[frozenset[Node]] = []

    def __len__(self) -> int:
        return len(self.op)

    def const(self, value: float) -> Node:
        """The node of a number."""
        value = float(value)
        return self._node(("const", math.copysign(1.0, value), repr(value)), "const", (), value)

    def symbol(self, name: str) -> Node:
        """The node of a name whose value comes from outside."""
        return self._node(("symbol", name), "symbol", (), name)

    def value(self, node: Node) -> float | None:
        """The number of a constant node, else None."""
        return float(self.payload[node]) if self.op[node] == "const" else None

    def reads(self, node: Node) -> frozenset[Node]:
        """The symbols that a node depends on."""
        return self._reads[node]

    def apply(self, op: str, *args: Node) -> Node:
        """The node of an operation, after the identities of arithmetic.

        Raises:
            ValueError: an unknown operator or a wrong number of arguments (a fault of the caller).
        """
        if ARITY.get(op) != len(args):
            raise ValueError(f"{op}{args}: expected one of {sorted(ARITY)} with its number of arguments.")
        values = [self.value(a) for a in args]
        if all(v is not None for v in values):
            return self.const(self._fold(op, values))
        short = self._shortened(op, args, values)
        if short is not None:
            return short
        if op in _COMMUTATIVE and args[0] > args[1]:
            args = (args[1], args[0])
        return self._node((op, *args), op, args, "")

    def add(self, a: Node, b: Node) -> Node:
        """a + b."""
        return self.apply("add", a, b)

    def sub(self, a: Node, b: Node) -> Node:
        """a - b."""
        return self.apply("sub", a, b)

    def mul(self, a: Node, b: Node) -> Node:
        """a * b."""
        return self.apply("mul", a, b)

    def div(self, a: Node, b: Node) -> Node:
        """a / b."""
        return self.apply("div", a, b)

    def total(self, nodes: Iterable[Node]) -> Node:
        """The sum of nodes; 0 for none."""
        found = self.const(0.0)
        for node in nodes:
            found = self.add(found, node)
        return found

    def derivative(self, node: Node, by: Node) -> Node:
        """d node / d by, where `by` is a symbol. At a switch it is the derivative of the branch that holds there."""
        if node == by:
            return self.const(1.0)
        if by not in self._reads[node]:
            return self.const(0.0)
        key = (node, by)
        if key not in self._derivatives:
            # arguments have smaller numbers: going up keeps the recursion shallow
            pending = [node]
            while pending:
                top = pending[-1]
                if (top, by) in self._derivatives:
                    pending.pop()
                    continue
                need = [
                    a for a in self.args[top] if a != by and by in self._reads[a] and (a, by) not in self._derivatives
                ]
                if need:
                    pending.extend(need)
                else:
                    zero, one = self.const(0.0), self.const(1.0)
                    inner = [one if a == by else self._derivatives.get((a, by), zero) for a in self.args[top]]
                    self._derivatives[(top, by)] = self._chain(top, inner)
                    pending.pop()
        return self._derivatives[key]

    def tangents(self, nodes: Sequence[Node], along: Mapping[Node, Node]) -> list[Node]:
        """Derivatives of nodes along a direction: what each symbol of `along` moves by. Shared work is done once."""
        zero = self.const(0.0)
        found = dict(along)
        moved = along.keys()
        for node in self.order(nodes):
            if node not in found and not self._reads[node].isdisjoint(moved):
                found[node] = self._chain(node, [found.get(a, zero) for a in self.args[node]])
        return [found.get(node, zero) for node in nodes]

    def substitute(self, node: Node, replaced: Mapping[Node, Node]) -> Node:
        """The node with some symbols (or other nodes) replaced."""
        return self.substitute_all([node], replaced)[0]

    def substitute_all(self, nodes: Sequence[Node], replaced: Mapping[Node, Node]) -> list[Node]:
        """Nodes with some symbols (or other nodes) replaced, shared work done once."""
        found = dict(replaced)
        for node in self.order(nodes, stop=found):
            if node not in found:
                args = self.args[node]
                found[node] = self.apply(self.op[node], *(found[a] for a in args)) if args else node
        return [found[node] for node in nodes]

    def order(self, nodes: Iterable[Node], *, stop: Mapping[Node, Any] | None = None) -> list[Node]:
        """Every node that these depend on and they themselves, arguments first; not below those in `stop`."""
        seen: set[Node] = set()
        pending = list(nodes)
        while pending:
            node = pending.pop()
            if node in seen:
                continue
            seen.add(node)
            if stop is None or node not in stop:
                pending.extend(self.args[node])
        return sorted(seen)

    def evaluate(self, nodes: Sequence[Node], symbols: Mapping[str, Any]) -> list[Any]:
        """Values of nodes by numpy, for given values of the symbols (numbers or arrays that broadcast).

        Raises:
            KeyError: a symbol without a value.
        """
        found: dict[Node, Any] = {}
        with np.errstate(all="ignore"):
            for node in self.order(nodes):
                op = self.op[node]
                if op == "const":
                    found[node] = np.float64(self.payload[node])
                elif op == "symbol":
                    found[node] = np.asarray(
                        symbols[str(self.payload[node])], dtype=np.result_type(float, symbols[str(self.payload[node])])
                    )
                else:
                    found[node] = _FUNCTIONS[op](*(found[a] for a in self.args[node]))
        return [found[node] for node in nodes]

    def _node(self, key: tuple[Any, ...], op: str, args: tuple[Node, ...], payload: float | str) -> Node:
        node = self._known.get(key)
        if node is None:
            node = self._known[key] = len(self.op)
            self.op.append(op)
            self.args.append(args)
            self.payload.append(payload)
            if op == "symbol":
                self._reads.append(frozenset((node,)))
            else:
                self._reads.append(frozenset().union(*(self._reads[a] for a in args)))
        return node

    def _fold(self, op: str, values: Sequence[float | None]) -> float:
        with np.errstate(all="ignore"):
            try:
                return float(_FUNCTIONS[op](*(np.float64(v) for v in values)))
            except (ValueError, OverflowError):
                return math.nan

    def _shortened(self, op: str, args: tuple[Node, ...], values: Sequence[float | None]) -> Node | None:
        """What an operation is equal to without being done, else None."""
        a = args[0]
        b = args[1] if len(args) > 1 else -1
        u = values[0]
        v = values[1] if len(values) > 1 else None
        match op:
            case "add":
                if u == 0.0:
                    return b
                if v == 0.0:
                    return a
                if self.op[b] == "neg":
                    return self.sub(a, self.args[b][0])
                if self.op[a] == "neg":
                    return self.sub(b, self.args[a][0])
            case "sub":
                if v == 0.0:
                    return a
                if u == 0.0:
                    return self.apply("neg", b)
                if a == b:
                    return self.const(0.0)
                if self.op[b] == "neg":
                    return self.add(a, self.args[b][0])
            case "mul":
                if u == 0.0 or v == 0.0:
                    return self.const(0.0)
                if u == 1.0:
                    return b
                if v == 1.0:
                    return a
                if u == -1.0:
                    return self.apply("neg", b)
                if v == -1.0:
                    return self.apply("neg", a)
                if self.op[a] == "neg":
                    return self.apply("neg", self.mul(self.args[a][0], b))
                if self.op[b] == "neg":
                    return self.apply("neg", self.mul(a, self.args[b][0]))
            case "div":
                if u == 0.0:
                    return self.const(0.0)
                if v == 1.0:
                    return a
                if v == -1.0:
                    return self.apply("neg", a)
                if self.op[a] == "neg":
                    return self.apply("neg", self.div(self.args[a][0], b))
            case "neg":
                if self.op[a] == "neg":
                    return self.args[a][0]
                if self.op[a] == "sub":
                    return self.sub(self.args[a][1], self.args[a][0])
            case "pow":
                return self._power(a, b, u, v)
            case "where":
                c = args[2] if len(args) > 2 else -1
                if u is not None:
                    return b if u != 0.0 else c
                if b == c:
                    return b
            case "and":
                if u == 0.0 or v == 0.0:
                    return self.const(0.0)
            case "or":
                if (u is not None and u != 0.0) or (v is not None and v != 0.0):
                    return self.const(1.0)
            case _:
                pass
        return None

    def _power(self, a: Node, b: Node, u: float | None, v: float | None) -> Node | None:
        """Small whole powers become products, halves square roots: both are quicker than pow and exact at 0."""
        if v is None:
            return self.const(1.0) if u == 1.0 else None
        if v == 0.0:
            return self.const(1.0)
        if v == 1.0:
            return a
        if v == 0.5:
            return self.apply("sqrt", a)
        if 2 <= abs(v) <= 16 and v == int(v):
            n, base, power = int(abs(v)), a, None
            while n:
                if n & 1:
                    power = base if power is None else self.mul(power, base)
                n >>= 1
                if n:
                    base = self.mul(base, base)
            assert power is not None
            return power if v > 0 else self.div(self.const(1.0), power)
        if v == -1.0:
            return self.div(self.const(1.0), a)
        return None

    def _chain(self, node: Node, d: Sequence[Node]) -> Node:
        """The chain rule for one operation whose arguments' derivatives are `d`."""
        op, args = self.op[node], self.args[node]
        if op in FLAT:
            return self.const(0.0)
        a = args[0]
        b = args[1] if len(args) > 1 else -1
        one = self.const(1.0)
        match op:
            case "add":
                return self.add(d[0], d[1])
            case "sub":
                return self.sub(d[0], d[1])
            case "neg":
                return self.apply("neg", d[0])
            case "mul":
                return self.add(self.mul(d[0], b), self.mul(a, d[1]))
            case "div":  # (a' - (a/b) b') / b shares the quotient
                return self.div(self.sub(d[0], self.mul(node, d[1])), b)
            case "pow":
                return self._power_rule(node, a, b, d)
            case "where":
                return self.apply("where", a, d[1], d[2])
            case "min":
                return self.apply("where", self.apply("le", a, b), d[0], d[1])
            case "max":
                return self.apply("where", self.apply("ge", a, b), d[0], d[1])
            case "rem":
                return self.sub(d[0], self.mul(self.apply("quotient", a, b), d[1]))
            case _:
                pass
        square = self.mul(a, a)
        outer = {
            "exp": lambda: node,
            "ln": lambda: self.div(one, a),
            "sqrt": lambda: self.div(self.const(0.5), node),
            "abs": lambda: self.apply("where", self.apply("ge", a, self.const(0.0)), one, self.const(-1.0)),
            "sin": lambda: self.apply("cos", a),
            "cos": lambda: self.apply("neg", self.apply("sin", a)),
            "tan": lambda: self.add(one, self.mul(node, node)),
            "asin": lambda: self.div(one, self.apply("sqrt", self.sub(one, square))),
            "acos": lambda: self.div(self.const(-1.0), self.apply("sqrt", self.sub(one, square))),
            "atan": lambda: self.div(one, self.add(one, square)),
            "sinh": lambda: self.apply("cosh", a),
            "cosh": lambda: self.apply("sinh", a),
            "tanh": lambda: self.sub(one, self.mul(node, node)),
            "asinh": lambda: self.div(one, self.apply("sqrt", self.add(square, one))),
            "acosh": lambda: self.div(one, self.apply("sqrt", self.sub(square, one))),
            "atanh": lambda: self.div(one, self.sub(one, square)),
        }[op]()
        return self.mul(outer, d[0])

    def _power_rule(self, node: Node, a: Node, b: Node, d: Sequence[Node]) -> Node:
        """d(a^b) = b a^(b-1) a' + a^b ln(a) b'; the second part is 0 where a is 0 (b > 0), not NaN."""
        zero, one = self.const(0.0), self.const(1.0)
        by_base = self.mul(self.mul(b, self.apply("pow", a, self.sub(b, one))), d[0])
        if d[1] == zero:
            return by_base
        logarithm = self.apply("where", self.apply("gt", a, zero), self.apply("ln", a), zero)
        return self.add(by_base, self.mul(self.mul(node, logarithm), d[1]))
