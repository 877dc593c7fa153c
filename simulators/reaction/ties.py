"""Where a start lies exactly on a relation: there a derivative exists only if both sides lead to the same.

A column moves the start to one side of the relation or to the other. If events then fire on one side alone, or at moments
that move on one side alone, or if rates differ between the sides, a difference to the left is another one than to the right.

Legend: `m` members, `S` states, `A` constants that move, `N` = S + A rows, `Q` relations and steps, `E` events, `C` columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats
from simulators.reaction.expression import RELATIONS, STEPPED
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
        self._relations = [node for node in graph.order(deciding) if graph.op[node] in STEPPED]
        self._kinds = [graph.op[node] for node in self._relations]
        self._gaps = [crossing(graph, node) for node in self._relations]
        self._slopes = Slopes(graph, self._gaps, rows, clock)
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

    def _of_member(
        self, x: Floats, p: Floats, t: Floats, v: Floats, s: Floats, tied: NDArray[np.bool_], gaps: Floats
    ) -> NDArray[np.bool_]:
        now, C = self._network.evaluate(self._relations, x, p, t)[0], s.shape[2]
        slopes = self._network.evaluate(self._slopes.nodes, x, p, t)[0] if self._slopes.nodes else np.zeros(0)
        # the last column is the way that time takes
        along, size = np.zeros((len(now), C + 1)), np.zeros((len(now), C + 1))
        for slope, (q, row) in zip(slopes, self._slopes.entries, strict=True):
            part = np.zeros(C + 1)
            if row < self._rows:
                part[:C] = np.where(s[0, row] != 0.0, slope * s[0, row], 0.0)
            part[C] = slope if row == self._rows else slope * v[0, row] if row < self._states else 0.0
            along[q] += part
            size[q] += np.abs(part)
        sides = np.where(tied[:, None] & (np.abs(along) > _CANCELLED * size), np.sign(along), 0.0)
        kinds, number = np.unique(sides[:, :C], axis=1, return_inverse=True)
        differs = [bool(side.any()) and self._differs(x, p, t, now, gaps, side, sides[:, C]) for side in kinds.T]
        return np.array(differs)[number.reshape(-1)]

    def _differs(self, x: Floats, p: Floats, t: Floats, now: Floats, gaps: Floats, side: Floats, way: Floats) -> bool:
        """Whether the column that moves gaps towards `side` `[Q]` (-1, 0, 1), or back, meets two different futures.

        Args:
            way: where the gaps go by themselves soon after.
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
            if len(here) > 1 and (turns or not event.initially):
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
        more: Mapping[str, Any] = {f" tie {q}": np.array([value]) for q, value in enumerate(relations)}
        return self._network.evaluate(self._frozen, x, p, t, **more)[0]
