"""What sensitivities do where something turns: they jump, for the moment at which it turns moves with the columns.

A relation between a and b turns when g = a - b passes 0, at a moment τ whose derivative is

    τ' = -(∂g/∂x s + ∂g/∂q q') / (∂g/∂x v + ∂g/∂t),        v = dx/dt,

and at a fixed time after it the columns are s + (v before - v after) τ' (Rozenvasser 1967; Galán, Feehery & Barton,
Appl. Numer. Math. 31, 17, 1999).

Legend: `m` members that pause, `S` states, `A` constants that move, `N` = S + A rows, `K` switches, `C` columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats
from simulators.reaction.expression import RELATIONS, Graph, Node
from simulators.reaction.network import CLOCK, Network, symbol_name
from simulators.reaction.sensitive_program import SensitiveProgram

_TANGENT = 1e-8
"""Share of its parts below which the speed of a relation is cancellation: it is touched, not crossed."""
_EARLIER = 1e-4
"""Share of a step within which the speed of a relation may not double or halve."""
_CONTINUOUS = 1e-12
"""Relative difference up to which rates on both sides of a switch are the same."""
_SAME = 1e-9
"""Relative difference up to which two orders of turning lead to the same."""

Rows = NDArray[np.int64]


class Slopes:
    """Derivatives of some nodes by the rows (states, then constants that move) and by the time, as nodes.

    Attributes:
        nodes: the derivatives that are not zero by construction.
        entries: (number of the node derived, row) of each; row N is the time.
    """

    def __init__(self, graph: Graph, nodes: Sequence[Node], rows: Sequence[Node], clock: Node) -> None:
        column = {symbol: i for i, symbol in enumerate([*rows, clock])}
        self.nodes: list[Node] = []
        self.entries: list[tuple[int, int]] = []
        for i, node in enumerate(nodes):
            for symbol in sorted(graph.reads(node) & column.keys(), key=column.__getitem__):
                slope = graph.derivative(node, symbol)
                if graph.value(slope) != 0.0:
                    self.nodes.append(slope)
                    self.entries.append((i, column[symbol]))

    def of(self, number: int) -> list[tuple[int, int]]:
        """(place among `nodes`, row) of one of the nodes derived."""
        return [(k, row) for k, (i, row) in enumerate(self.entries) if i == number]


class Jumps:
    """The jumps of one model's columns."""

    def __init__(self, network: Network, program: SensitiveProgram) -> None:
        graph = network.graph
        self._network, self._program = network, program
        symbol = graph.symbol
        states = [symbol(symbol_name(name)) for name in network.state_names]
        names = network.constant_names
        rows = [*states, *(symbol(symbol_name(names[q])) for q in program.columns.moved)]
        self._rows, clock = len(rows), symbol(CLOCK)
        self._relations = [crossing(graph, node) for node in program.relations]
        self._slopes = [Slopes(graph, [node], rows, clock) for node in self._relations]
        moving = set().union(*(graph.reads(node) for node in program.frozen_rates)) if states else set()
        self._moves = [symbol(f" switch {i}") in moving for i in range(len(program.relations))]
        self._algebraic = [i for i, state in enumerate(network.states) if state.mass != 1.0]
        held = [program.frozen_rates[i] for i in self._algebraic]
        self._balance = Slopes(graph, held, rows, clock)

    def velocities(self, x: Floats, p: Floats, t: Floats, switches: Floats) -> Floats:
        """dx/dt `[m, S]` with switches as given `[m, K]`; of algebraic states too, from their rules' derivatives."""
        v = self._program.rates_at(x, p, t, switches)
        if self._algebraic:
            slopes = self._balances(x, p, t, switches)
            S = x.shape[1]
            for m in range(len(x)):
                v[m, self._algebraic] = 0.0
                known = slopes[m, :, :S] @ v[m] + slopes[m, :, -1]
                v[m, self._algebraic] = _solved(slopes[m][:, self._algebraic], -known)
        return v

    def settle(self, x: Floats, p: Floats, t: Floats, switches: Floats, s: Floats) -> None:
        """Put the columns `s` `[m, N, C]` of algebraic states where their rules hold them."""
        if not self._algebraic:
            return
        slopes = self._balances(x, p, t, switches)
        for m in range(len(x)):
            s[m, self._algebraic] = 0.0
            known = slopes[m, :, :-1] @ s[m]
            s[m, self._algebraic] = _solved(slopes[m][:, self._algebraic], -known)

    def turn(
        self, before: Floats, x: Floats, p: Floats, t: Floats, h: Floats, was: Floats, now: Floats, s: Floats
    ) -> Floats:
        """Let the columns `s` `[m, N, C]` (read and written) jump where switches turn; τ' of each `[m, K, C]`.

        Relations that turn at once turn one after the other. A column that moves them apart turns one or the other first, as it
        is taken to one side or to the other: where the two orders do not give the same, it has no derivative, and is NaN.

        Args:
            before, x: states `[m, S]` before algebraic ones were put in their places, and after.
            h: the steps `[m]`.
            was, now: switches before and after `[m, K]`.
        """
        turned = was != now
        order, several = np.flatnonzero(turned.any(axis=0)), np.flatnonzero(turned.sum(axis=1) > 1)
        back = s[several]
        moments, _ = self._turn_in(order, before, x, p, t, h, was, now, s)
        if len(several):
            i = several
            _, size = self._turn_in(order[::-1], before[i], x[i], p[i], t[i], h[i], was[i], now[i], back)
            found = s[several]
            with np.errstate(invalid="ignore"):
                apart = np.abs(found - back) > _SAME * (np.abs(found) + np.abs(back) + size)
            s[several] = np.where(apart.any(axis=1, keepdims=True), np.nan, found)
        return moments

    def _turn_in(
        self, order: NDArray[np.intp], before: Floats, x: Floats, p: Floats, t: Floats, h: Floats, was: Floats, now: Floats,
        s: Floats,
    ) -> tuple[Floats, Floats]:  # fmt: skip
        """τ' of each switch, and the sizes of the jumps that the columns have made `[m, N, C]`."""
        moments, size = np.zeros((len(x), was.shape[1], s.shape[2])), np.zeros_like(s)
        current, states = was.copy(), before.copy()
        for q in order:
            rows = np.flatnonzero(was[:, q] != now[:, q])
            here = (states[rows], p[rows], t[rows])
            v = self.velocities(*here, current[rows])
            found = self._moment(int(q), *here, h[rows], current[rows], v, s[rows])
            moments[rows, q] = found
            current[rows, q] = now[rows, q]
            states[rows] = x[rows]
            if self._moves[q] or self._algebraic:
                then = self.velocities(states[rows], p[rows], t[rows], current[rows])
                change = v - then
                change[np.abs(change) <= _CONTINUOUS * (np.abs(v) + np.abs(then))] = 0.0
                with np.errstate(invalid="ignore"):
                    jump = change[:, :, None] * found[:, None, :]
                jump[change == 0.0] = 0.0
                jump[np.broadcast_to((found == 0.0)[:, None, :], jump.shape)] = 0.0
                s[rows, : x.shape[1]] += jump
                size[rows, : x.shape[1]] += np.abs(jump)
        return moments, size

    def _moment(self, q: int, x: Floats, p: Floats, t: Floats, h: Floats, z: Floats, v: Floats, s: Floats) -> Floats:
        """τ' of a relation `[m, C]`: NaN where it is touched."""
        speed, size, slopes = self._speed(q, x, p, t, v)
        moved = np.zeros((len(x), s.shape[2]))
        for row, slope in slopes.items():
            moved += np.where(s[:, row] != 0.0, slope[:, None] * s[:, row], 0.0)
        # a little earlier: what is only touched gets its speed within no time
        back = _EARLIER * h
        early, early_t = x - back[:, None] * v, t - back
        before, _, _ = self._speed(q, early, p, early_t, self.velocities(early, p, early_t, z))
        touched = ~(np.abs(speed) > _TANGENT * size) | ~(np.abs(before - speed) <= 0.5 * np.abs(speed))
        speed = np.where(touched, np.nan, speed)
        return np.where(moved != 0.0, -moved / speed[:, None], 0.0)

    def _speed(self, q: int, x: Floats, p: Floats, t: Floats, v: Floats) -> tuple[Floats, Floats, dict[int, Floats]]:
        """d/dt of what passes 0, the sum of its parts' sizes `[m]`, and its derivatives by row `[m]`."""
        table = self._slopes[q]
        values = self._network.evaluate(table.nodes, x, p, t) if table.nodes else np.zeros((len(x), 0))
        speed, size, slopes = np.zeros(len(x)), np.zeros(len(x)), dict[int, Floats]()
        for k, (_, row) in enumerate(table.entries):
            slope = values[:, k]
            if row < self._rows:
                slopes[row] = slope
            if row < x.shape[1] or row == self._rows:
                part = slope * v[:, row] if row < x.shape[1] else slope
                speed += part
                size += np.abs(part)
        return speed, size, slopes

    def _balances(self, x: Floats, p: Floats, t: Floats, switches: Floats) -> Floats:
        """Derivatives of the algebraic rules by rows and time `[m, algebraic, N + 1]`."""
        found = np.zeros((len(x), len(self._algebraic), self._rows + 1))
        more: Mapping[str, Any] = {f" switch {i}": switches[:, i] for i in range(switches.shape[1])}
        values = self._network.evaluate(self._balance.nodes, x, p, t, **more)
        for k, (i, row) in enumerate(self._balance.entries):
            found[:, i, row] = values[:, k]
        return found


def crossing(graph: Graph, node: Node) -> Node:
    """What passes 0, or a whole number, when a relation or a step turns."""
    args = graph.args[node]
    if graph.op[node] in RELATIONS:
        return graph.sub(*args)
    return graph.div(*args) if graph.op[node] == "quotient" else args[0]


def _solved(matrix: Floats, right: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.full_like(right, np.nan)
