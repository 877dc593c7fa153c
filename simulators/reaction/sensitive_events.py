"""Events and what they do to sensitivities: an event sets values, at a moment, and both move with the columns.

With τ' the moment's derivative, v = dx/dt before the event and h what a state is set to, the state's columns at a fixed
time after it are h_x (s + v τ') + h_q q' + h_t τ' - v⁺ τ'; those of a state that is not set are s + (v - v⁺) τ'. A delayed
event's moment moves with that of its trigger and with its delay; values taken at trigger time keep the derivatives of that time.

Legend: `M` members, `S` states, `A` constants that move, `N` = S + A rows, `C` columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats
from simulators.reaction.events import EventQueue, Waiting, watched
from simulators.reaction.expression import Node
from simulators.reaction.jumps import Slopes
from simulators.reaction.network import CLOCK, Network, symbol_name

Velocity = Callable[[int], Floats]
"""Member → dx/dt `[S]` as it stands now, algebraic states put in their places."""


@dataclass(frozen=True)
class _Moved(Waiting):
    """An event that waits, the derivative of the moment at which it is due `[C]`, and those of its values."""

    moment: Floats | None = None
    slopes: tuple[Floats, ...] | None = None


class EventSlopes:
    """Derivatives of all that events read, as nodes that are watched after those of `events.watched`."""

    def __init__(self, network: Network, moved: Sequence[int]) -> None:
        graph, names = network.graph, network.constant_names
        symbols = [*network.state_names, *(names[q] for q in moved)]
        rows = [graph.symbol(symbol_name(name)) for name in symbols]
        own: list[Node] = []
        for event in network.events:
            own += [node for node in (event.delay, event.priority) if node is not None]
            own += [a.value for a in event.assignments] + [a.scale for a in event.assignments if a.scale is not None]
        self._first = len(watched(network))
        self._number = {node: i for i, node in enumerate(dict.fromkeys(own))}
        self._slopes = Slopes(graph, list(self._number), rows, graph.symbol(CLOCK))
        self._places = [self._slopes.of(i) for i in range(len(self._number))]
        self.nodes = self._slopes.nodes

    def row(self, node: Node, seen: Floats, moving: Floats, moment: Floats) -> Floats:
        """Derivative of a node `[C]` along rows `moving` `[N, C]` while the time moves by `moment` `[C]`."""
        found = np.zeros(len(moment))
        for k, row in self._places[self._number[node]]:
            by = moving[row] if row < len(moving) else moment
            found += np.where(by != 0.0, seen[self._first + k] * by, 0.0)
        return found


class SensitiveQueue(EventQueue):
    """What waits for each member, and its columns.

    Args:
        s: rows of the members `[M, N, C]`, which events change.
        moved: constants whose rows follow those of the states.
        velocity: see `Velocity`.
        settled: puts the columns of a member's algebraic states where their rules hold them.
        relations: for every event the relations that its trigger reads, as numbers of switches.
        tied: member, event, its rows at the event's moment and the derivative of that → columns `[C]` that the event has put
            on a relation whose sides lead to two futures.
    """

    def __init__(
        self, network: Network, x: Floats, p: Floats, output_times: Floats, *, seed: int, s: Floats, moved: Sequence[int],
        slopes: EventSlopes, velocity: Velocity, settled: Callable[[int], None], relations: Sequence[Sequence[int]],
        tied: Callable[[int, int, Floats, Floats], NDArray[np.bool_]],
    ) -> None:  # fmt: skip
        super().__init__(network, x, p, output_times, seed=seed)
        self._network, self._s, self._slopes = network, s, slopes
        self._velocity, self._settled, self._relations, self._tied = velocity, settled, relations, tied
        state = {name: i for i, name in enumerate(network.state_names)}
        constant = {network.constant_names[q]: len(state) + a for a, q in enumerate(moved)}
        self._rows = [[{**constant, **state}[a.target] for a in event.assignments] for event in network.events]
        self._interplay = _interplay(network)
        self._now: dict[int, Floats] = {}
        self._turned_now: dict[int, dict[int, Floats]] = {}

    def crossed(self, rows: NDArray[np.int64], turned: NDArray[np.bool_], moments: Floats) -> None:
        """Tell which switches have turned, and how these moments move: `[m, K]`, `[m, K, C]`."""
        for i, m in enumerate(rows):
            self._now.pop(int(m), None)
            self._turned_now[int(m)] = {int(q): moments[i, q] for q in np.flatnonzero(turned[i])}

    def _triggered(self, m: int, e: int, t: float, values: Floats) -> Waiting:
        waiting, event = super()._triggered(m, e, t, values), self._events[e]
        moment = self._now.get(m)
        if moment is None:  # no event of this moment has been executed: the trigger turned by itself
            crossed = [row for q, row in self._turned_now.get(m, {}).items() if q in self._relations[e]]
            moment = crossed[-1] if crossed else np.zeros(self._s.shape[2])
            for other in crossed[:-1]:  # the first or the last of moments that part
                moment = np.where(_same(moment, other), moment, np.nan)
        moving = self._carried(m, moment)
        taken = None
        if event.values_from_trigger_time:
            taken = tuple(self._slopes.row(a.value, values, moving, moment) for a in event.assignments)
        later = moment
        if event.delay is not None:
            later = moment + self._slopes.row(event.delay, values, moving, moment)
        return _Moved(waiting.time, e, waiting.order, waiting.values, later, taken)

    def _first(self, m: int, due: Sequence[Waiting], values: Floats) -> Waiting:
        found = super()._first(m, due, values)
        for other in due:
            if other is not found and other.event in self._interplay[found.event]:
                self._s[m][:, ~self._keeps_order(m, found, other, values)] = np.nan
        return found

    def _keeps_order(self, m: int, one: Waiting, other: Waiting, values: Floats) -> NDArray[np.bool_]:
        """Columns `[C]` that move neither the moments of two events, nor priorities that are equal, apart."""
        assert isinstance(one, _Moved)
        assert isinstance(other, _Moved)
        assert one.moment is not None
        assert other.moment is not None
        found = _same(one.moment, other.moment)
        if self._priority(one.event, values) == self._priority(other.event, values):
            moving, slopes = self._carried(m, one.moment), []
            for waiting in (one, other):
                node = self._events[waiting.event].priority
                slopes.append(
                    self._slopes.row(node, values, moving, one.moment) if node is not None else 0.0 * one.moment
                )
            found &= _same(*slopes)
        return found

    def _execute(self, m: int, chosen: Waiting, values: Floats) -> None:
        assert isinstance(chosen, _Moved)
        assert chosen.moment is not None
        event, moment, S = self._events[chosen.event], chosen.moment, self._x.shape[1]
        moving = self._carried(m, moment)
        columns, rows = self._columns[chosen.event], self._rows[chosen.event]
        taken = chosen.values if chosen.values is not None else tuple(float(values[c]) for c in columns.values)
        slopes = chosen.slopes
        if slopes is None:
            slopes = tuple(self._slopes.row(a.value, values, moving, moment) for a in event.assignments)
        found: list[Floats] = []
        for i, assignment in enumerate(event.assignments):
            if assignment.scale is None:
                found.append(slopes[i])
            else:
                scale = values[columns.scales[i]]
                found.append(slopes[i] * scale + taken[i] * self._slopes.row(assignment.scale, values, moving, moment))
        super()._execute(m, chosen, values)
        for row, slope in zip(rows, found, strict=True):
            moving[row] = slope
        moving[:, self._tied(m, chosen.event, moving, moment)] = np.nan
        self._s[m] = moving
        if moment.any():
            self._s[m, :S] -= _times(self._velocity(m), moment)
        self._settled(m)
        self._now[m] = moment

    def _execute_all(self, rows: NDArray[np.int64], e: int, seen: Floats) -> None:
        for m, values in zip(rows, seen, strict=True):
            self._execute(int(m), self._triggered(int(m), e, np.nan, values), values)

    def _carried(self, m: int, moment: Floats) -> Floats:
        """Rows `[N, C]` as they are at a moment that moves."""
        found = self._s[m].copy()
        if moment.any():
            found[: self._x.shape[1]] += _times(self._velocity(m), moment)
        return found


def _interplay(network: Network) -> list[set[int]]:
    """Of each event those whose order with it may matter: one sets what the other one reads or sets."""
    graph, events = network.graph, network.events
    sets = [{a.target for a in event.assignments} for event in events]
    reads: list[set[str]] = []
    for event in events:
        nodes = [
            event.trigger,
            event.delay,
            event.priority,
            *(n for a in event.assignments for n in (a.value, a.scale)),
        ]
        symbols = {symbol for node in nodes if node is not None for symbol in graph.reads(node)}
        reads.append({name for targets in sets for name in targets if graph.symbol(symbol_name(name)) in symbols})
    return [
        {j for j in range(len(events)) if (sets[i] & (sets[j] | reads[j])) or (sets[j] & reads[i])}
        for i in range(len(events))
    ]


def _same(one: Floats, other: Floats) -> NDArray[np.bool_]:
    """Where numbers differ by rounding at most."""
    return np.abs(one - other) <= 1e-9 * (np.abs(one) + np.abs(other))


def _times(velocity: Floats, moment: Floats) -> Floats:
    """The outer product, in which what does not move, and what stands still, gives 0."""
    product = velocity[:, None] * np.where(moment != 0.0, moment, 0.0)[None, :]
    product[velocity == 0.0] = 0.0
    return product
