"""Where a start lies exactly on a relation: there a derivative exists only if both sides lead to the same.

A column moves the start to one side of the relation or to the other. If events then fire on one side alone, or at moments
that move on one side alone, or if rates differ between the sides, a difference to the left is another one than to the right.

Legend: `m` members, `S` states, `A` constants that move, `N` = S + A rows, `Q` relations and steps, `E` events, `C` columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats
from simulators.reaction.expression import RELATIONS, STEPPED, Node
from simulators.reaction.jumps import Slopes, crossing
from simulators.reaction.network import CLOCK, Network, symbol_name

_CANCELLED = 1e-12
"""Share of its parts below which a derivative is their cancellation, and relative difference up to which rates are equal."""


class Ties:
    """The relations of one model's triggers and rates, also those that only constants enter.

    Args:
        moved: numbers of the constants whose rows follow the states'.
    """

    def __init__(self, network: Network, moved: Sequence[int]) -> None:
        graph, S = network.graph, len(network.states)
        names = [*network.state_names, *(network.constant_names[q] for q in moved)]
        rows, clock = [graph.symbol(symbol_name(name)) for name in names], graph.symbol(CLOCK)
        deciding = [*(event.trigger for event in network.events), *(state.rate for state in network.states)]
        self._network, self._events, self._rows, self._states = network, len(network.events), len(rows), S
        self._row_symbols = rows
        self._relations = [node for node in graph.order(deciding) if graph.op[node] in STEPPED]
        self._kinds = [graph.op[node] for node in self._relations]
        self._gaps = [crossing(graph, node) for node in self._relations]
        self._slopes = Slopes(graph, self._gaps, rows, clock)
        set_ = [{graph.symbol(symbol_name(a.target)) for a in event.assignments} for event in network.events]
        self._set_by = [np.array([bool(graph.reads(gap) & one) for gap in self._gaps], dtype=bool) for one in set_]
        symbols = {node: graph.symbol(f" tie {q}") for q, node in enumerate(self._relations)}
        self._frozen = graph.substitute_all(deciding, symbols)

    def __bool__(self) -> bool:
        """Whether there are any relations at all."""
        return bool(self._relations)

    def of(self, x: Floats, p: Floats, t: Floats, v: Floats, s: Floats) -> NDArray[np.bool_]:
        """Columns `[m, C]` in which what happens after the start differs between both sides of a relation.

        Args:
            v: dx/dt `[m, S]`; s: rows `[m, N, C]`.
        """
        found = np.zeros((len(x), s.shape[2]), dtype=bool)
        gaps = self._network.evaluate(self._gaps, x, p, t)
        steps = np.array([kind not in RELATIONS for kind in self._kinds])
        tied = np.where(steps, gaps == np.floor(gaps), gaps == 0.0)
        for m in np.flatnonzero(tied.any(axis=1)):
            i = slice(m, m + 1)
            found[m] = self._of_member(x[i], p[i], t[i], v[i], s[i], tied[m], gaps[m])
        return found

    def after(
        self, event: int, x: Floats, p: Floats, t: Floats, v: Floats, s: Floats, moment: Floats
    ) -> NDArray[np.bool_]:
        """Columns `[C]` in which what happens after an event differs between both sides of a relation that it has put at 0.

        Args:
            event: its number; x, p, t, v: of one member after it `[1, …]`.
            s, moment: rows `[N, C]` as they are at the event's moment, and the derivative of that `[C]`.
        """
        set_ = self._set_by[event]
        if not set_.any():
            return np.zeros(s.shape[1], dtype=bool)
        gaps = self._network.evaluate(self._gaps, x, p, t)[0]
        tied = set_ & (gaps == 0.0) & np.array([kind in RELATIONS for kind in self._kinds])
        if not tied.any():
            return np.zeros(s.shape[1], dtype=bool)
        return self._of_member(x, p, t, v, s[None], tied, gaps, moment=moment)

    def _of_member(
        self, x: Floats, p: Floats, t: Floats, v: Floats, s: Floats, tied: NDArray[np.bool_], gaps: Floats,
        moment: Floats | None = None,
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Columns `[C]` that meet two futures; `moment`: of an event, else this is the start."""
        now, C = self._network.evaluate(self._relations, x, p, t)[0], s.shape[2]
        slopes = self._network.evaluate(self._slopes.nodes, x, p, t)[0] if self._slopes.nodes else np.zeros(0)
        # the last column is the way that time takes
        along, size = np.zeros((len(now), C + 1)), np.zeros((len(now), C + 1))
        for slope, (q, row) in zip(slopes, self._slopes.entries, strict=True):
            part = np.zeros(C + 1)
            if row < self._rows:
                part[:C] = np.where(s[0, row] != 0.0, slope * s[0, row], 0.0)
            elif moment is not None:
                part[:C] = slope * moment
            part[C] = slope if row == self._rows else slope * v[0, row] if row < self._states else 0.0
            along[q] += part
            size[q] += np.abs(part)
        sides = np.where(tied[:, None] & (np.abs(along) > _CANCELLED * size), np.sign(along), 0.0)
        kinds, number = np.unique(sides[:, :C], axis=1, return_inverse=True)
        begins, way = moment is None, sides[:, C]
        differs = [bool(side.any()) and self._differs(x, p, t, now, gaps, side, way, begins) for side in kinds.T]
        found, number = np.array(differs)[number.reshape(-1)], number.reshape(-1)
        for i, side in enumerate(kinds.T):
            if not differs[i] and np.any((side != 0.0) & (sides[:, C] == 0.0)):
                found[number == i] = self._bends(x, p, t, now, gaps, side, sides[:, C], s[0][:, number == i])
        return found

    def _bends(
        self, x: Floats, p: Floats, t: Floats, now: Floats, gaps: Floats, side: Floats, way: Floats, s: Floats
    ) -> NDArray[np.bool_]:
        """Columns `s` `[N, C]` along which rates have another slope on either side of a relation that does not move away,
        such as those of x' = -|x| at 0; `side` and `way` as in `_differs`."""
        table, size, found = self._rate_slopes, 0.0, list[Floats]()
        for sign in (1.0, -1.0):
            there = self._beyond(self._beyond(now, gaps, sign * side), gaps, way)
            slopes = self._at(table.nodes, x, p, t, there)
            along = np.zeros((self._states, s.shape[1]))
            for slope, (i, row) in zip(slopes, table.entries, strict=True):
                if row < self._rows:
                    part = np.where(s[row] != 0.0, slope * s[row], 0.0)
                    along[i] += part
                    size = size + np.abs(part)
            found.append(along)
        with np.errstate(invalid="ignore"):
            return ~np.all(np.abs(found[0] - found[1]) <= _CANCELLED * size, axis=0)

    @cached_property
    def _rate_slopes(self) -> Slopes:
        graph = self._network.graph
        return Slopes(graph, self._frozen[self._events :], self._row_symbols, graph.symbol(CLOCK))

    def _differs(
        self, x: Floats, p: Floats, t: Floats, now: Floats, gaps: Floats, side: Floats, way: Floats, begins: bool
    ) -> bool:
        """Whether the column that moves gaps towards `side` `[Q]` (-1, 0, 1), or back, meets two different futures.

        Args:
            way: where the gaps go by themselves soon after.
            begins: whether this is the start, at which triggers may count as having been true.
        """
        E = self._events
        found = []
        for sign in (1.0, -1.0):
            there = self._beyond(now, gaps, sign * side)
            then = self._beyond(there, gaps, way)
            found.append([self._decided(x, p, t, values) for values in (there, then)])
        (one, one_then), (other, other_then) = found
        begun = self._decided(x, p, t, now)
        rates, rates_other = one[E:], other[E:]
        if np.any(np.abs(rates - rates_other) > _CANCELLED * (np.abs(rates) + np.abs(rates_other))):
            return True
        for e, event in enumerate(self._network.events):
            here, later = {begun[e], one[e], other[e]}, {one_then[e], other_then[e]}
            turns = len(later) > 1 or (not one[e] and one_then[e]) or (not other[e] and other_then[e])
            if len(here) > 1 and (turns or not (begins and event.initially)):
                return True
        return False

    def _beyond(self, values: Floats, gaps: Floats, side: Floats) -> Floats:
        """Relations and steps as they are a little to the side of where they turn."""
        found = values.copy()
        for q in np.flatnonzero(side):
            above, kind = side[q] > 0.0, self._kinds[q]
            if kind in ("eq", "ne"):
                found[q] = float(kind == "ne")
            elif kind in RELATIONS:
                found[q] = float(above == (kind in ("gt", "ge")))
            else:
                found[q] = gaps[q] + (0.0 if above else -1.0) + (1.0 if kind == "ceil" else 0.0)
        return found

    def _decided(self, x: Floats, p: Floats, t: Floats, relations: Floats) -> Floats:
        """Triggers, then rates."""
        return self._at(self._frozen, x, p, t, relations)

    def _at(self, nodes: Sequence[Node], x: Floats, p: Floats, t: Floats, relations: Floats) -> Floats:
        """Values of nodes with relations and steps as given."""
        more: Mapping[str, Any] = {f" tie {q}": np.array([value]) for q, value in enumerate(relations)}
        return self._network.evaluate(nodes, x, p, t, **more)[0]
