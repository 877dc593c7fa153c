"""Events of a network: which members they befall, in which order, and what they set (SBML L3V2 §4.11.6).

The integrator stops a member when a relation in a trigger turns; what happens then is decided here, outside of it, and
the member goes on. Events of one moment are executed one by one, by priority; each execution may turn other triggers.

Legend: `M` members, `S` states, `P` constants, `E` events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.distributions import sample
from simulators.reaction.engine import Floats
from simulators.reaction.expression import Node
from simulators.reaction.network import Event, Network
from twin.seeds import stream

_MOST_AT_ONCE = 10_000
"""Executions at one moment after which a member is given up: its events set each other off for ever."""

Watch = Callable[[NDArray[np.int64]], Floats]
"""Rows of members → watched nodes `[m, N]` as the members stand now."""


@dataclass(frozen=True)
class Waiting:
    """An event that has been triggered: when it is due, and the values it sets if those were taken then."""

    time: float
    event: int
    order: int
    values: tuple[float, ...] | None


@dataclass(frozen=True)
class _Columns:
    """Where an event's nodes lie among the watched ones."""

    delay: int
    priority: int
    values: tuple[int, ...]
    scales: tuple[int, ...]
    draws: tuple[_DrawColumns, ...]


@dataclass(frozen=True)
class _DrawColumns:
    """A random number that an event reads: the column of `p` that holds it, and where its arguments lie.

    `late`: whether assignments read it, so that it is drawn when the values are taken. `level`: 0 if its arguments read
    no other random number, else one above the highest that they read.
    """

    column: int
    distribution: str
    arguments: tuple[int, ...]
    late: bool
    level: int


def watched(network: Network) -> list[Node]:
    """Nodes that events need: the triggers first, then what `_Columns` points to."""
    return [event.trigger for event in network.events] + _others(network)[0]


def _others(network: Network) -> tuple[list[Node], list[_Columns]]:
    events, graph = network.events, network.graph
    constant = {name: i for i, name in enumerate(network.constant_names)}
    nodes: list[Node] = []
    columns: list[_Columns] = []

    def add(node: Node | None) -> int:
        if node is None:
            return -1
        nodes.append(node)
        return len(events) + len(nodes) - 1

    def drawn(event: Event) -> Iterator[_DrawColumns]:
        values = [a.value for a in event.assignments]
        needed = {
            s for node in (*values, *((event.delay,) if event.delay is not None else ())) for s in graph.reads(node)
        }
        late = {s for node in values for s in graph.reads(node)}
        found: list[_DrawColumns] = []
        levels: dict[Node, int] = {}
        for draw in network.draws:
            inner = [levels[s] + 1 for node in draw.arguments for s in graph.reads(node) if s in levels]
            levels[graph.symbol(draw.name)] = max(inner, default=0)
        for draw in reversed(network.draws):  # what one reads comes before it
            symbol = graph.symbol(draw.name)
            if symbol in needed:
                needed |= {s for node in draw.arguments for s in graph.reads(node)}
                late |= {s for node in draw.arguments for s in graph.reads(node)} if symbol in late else set()
                places = tuple(add(node) for node in draw.arguments)
                found.append(
                    _DrawColumns(constant[draw.name], draw.distribution, places, symbol in late, levels[symbol])
                )
        return reversed(found)

    for event in events:
        columns.append(
            _Columns(
                add(event.delay),
                add(event.priority),
                tuple(add(a.value) for a in event.assignments),
                tuple(add(a.scale) for a in event.assignments),
                tuple(drawn(event)),
            )
        )
    return nodes, columns


class EventQueue:
    """What waits for each member. `x` and `p` are the members' own arrays, which events change.

    Args:
        output_times: a due time that misses one of them by rounding alone is put on it.
        seed, first_member: of the order of simultaneous events with equal priorities.
    """

    def __init__(
        self, network: Network, x: Floats, p: Floats, output_times: Floats, *, seed: int = 0, first_member: int = 0
    ) -> None:
        self._seed, self._first_member = seed, first_member
        self._random: list[np.random.Generator | None] = [None] * len(x)
        self._events = network.events
        self._columns = _others(network)[1]
        self._x, self._p = x, p
        self._times = output_times
        state = {name: i for i, name in enumerate(network.state_names)}
        constant = {name: i for i, name in enumerate(network.constant_names)}
        self._places = [
            [(x, state[a.target]) if a.target in state else (p, constant[a.target]) for a in event.assignments]
            for event in network.events
        ]
        self._held = np.tile(np.array([event.initially for event in network.events], dtype=bool), (len(x), 1))
        self._waiting: list[list[Waiting]] = [[] for _ in range(len(x))]
        self._due = np.full(len(x), np.inf)  # when the next of them is
        # events that happen as soon as they are triggered, and draw nothing
        self._prompt = np.array([c.delay < 0 and not c.draws for c in self._columns], dtype=bool)
        self._orders = 0

    def settle(self, rows: NDArray[np.int64], t: Floats, watch: Watch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Let everything happen that is due at the members' times `t` `[M]`.

        Returns the rows of members that an event has changed, and of those whose events never come to rest.
        """
        if not self._events:
            return rows[:0], rows[:0]
        changed = np.zeros(len(t), dtype=bool)
        active, rounds = rows, 0
        while len(active) and rounds < _MOST_AT_ONCE:
            active = self._one_each(active, t, watch)
            changed[active] = True
            rounds += 1
        return np.flatnonzero(changed), active

    def next(self, rows: NDArray[np.int64]) -> Floats:
        """When the next waiting event of members is due; infinite where none waits."""
        return self._due[rows]

    def _one_each(self, rows: NDArray[np.int64], t: Floats, watch: Watch) -> NDArray[np.int64]:
        """One execution at most for every member; the rows of those that had one."""
        seen, E = watch(rows), len(self._events)
        holds = (seen[:, :E] != 0.0) & ~np.isnan(seen[:, :E])
        held = self._held[rows]
        idle, begun = np.isinf(self._due[rows]), holds & ~held
        # most members have one event that happens at once, and nothing waits: those are served together
        alone = idle & (begun.sum(axis=1) == 1) & (begun & self._prompt).any(axis=1)
        rest = np.where(idle, begun.any(axis=1) & ~alone, (holds != held).any(axis=1) | (self._due[rows] <= t[rows]))
        self._held[rows[idle]] = holds[idle]
        self._held[rows[rest]] = held[rest]
        for e in np.flatnonzero(begun[alone].any(axis=0)):
            these = alone & begun[:, e]
            self._execute_all(rows[these], int(e), seen[these])
        executed = alone.copy()
        executed[rest] = self._one_of_each(rows[rest], t, seen[rest], watch)
        return rows[executed]

    def _execute_all(self, rows: NDArray[np.int64], e: int, seen: Floats) -> None:
        columns = self._columns[e]
        for (array, column), value, scale in zip(self._places[e], columns.values, columns.scales, strict=True):
            array[rows, column] = seen[:, value] * (seen[:, scale] if scale >= 0 else 1.0)

    def _one_of_each(self, rows: NDArray[np.int64], t: Floats, seen: Floats, watch: Watch) -> NDArray[np.bool_]:
        """One execution at most for every member, member by member; whether it had one."""
        turned = [self._turned(int(m), values) for m, values in zip(rows, seen, strict=True)]
        seen = self._drawn(rows, turned, seen, watch)
        chosen: list[Waiting | None] = []
        for m, events, values in zip(rows, turned, seen, strict=True):
            waiting = self._waiting[m]
            waiting += [self._triggered(int(m), e, float(t[m]), values) for e in events]
            due = [w for w in waiting if w.time <= t[m]]
            chosen.append(self._first(int(m), due, values) if due else None)
        late = [[c.event] if c is not None and c.values is None else [] for c in chosen]
        seen = self._drawn(rows, late, seen, watch, late=True)
        for m, event, values in zip(rows, chosen, seen, strict=True):
            if event is not None:
                self._waiting[m].remove(event)
                self._execute(int(m), event, values)
        for m in rows:
            self._due[m] = min((w.time for w in self._waiting[m]), default=np.inf)
        return np.array([c is not None for c in chosen], dtype=bool)

    def _turned(self, m: int, values: Floats) -> list[int]:
        """Events whose triggers have become true; those that wait and do not persist are dropped."""
        holds = values[: len(self._events)] != 0.0
        holds &= ~np.isnan(values[: len(self._events)])
        before = self._held[m].copy()
        if np.array_equal(holds, before):
            return []
        for e in np.flatnonzero(before & ~holds):
            if not self._events[e].persistent:
                self._waiting[m][:] = [w for w in self._waiting[m] if w.event != e]
        self._held[m] = holds
        return [int(e) for e in np.flatnonzero(holds & ~before)]

    def _drawn(
        self,
        rows: NDArray[np.int64],
        events: Sequence[Sequence[int]],
        seen: Floats,
        watch: Watch,
        *,
        late: bool = False,
    ) -> Floats:
        """The watched nodes after the random numbers of each member's events have been drawn anew."""
        level = 0
        while True:
            drawn = [
                (i, draw)
                for i, chosen in enumerate(events)
                for e in chosen
                for draw in self._columns[e].draws
                if draw.level == level and (draw.late or not late)
            ]
            if not drawn:
                return seen
            for i, draw in drawn:
                m, arguments = int(rows[i]), [float(seen[i, k]) for k in draw.arguments]
                self._p[m, draw.column] = sample(self._generator(m), draw.distribution, arguments)
            again = np.unique([i for i, _ in drawn])
            seen = seen.copy()
            seen[again] = watch(rows[again])
            level += 1

    def _generator(self, m: int) -> np.random.Generator:
        found = self._random[m]
        if found is None:
            found = self._random[m] = stream(self._seed, "events", m + self._first_member)
        return found

    def _first(self, m: int, due: Sequence[Waiting], values: Floats) -> Waiting:
        """The highest priority; among equals a random one (§4.11.6), among those without priority the oldest."""
        best = max(self._priority(w.event, values) for w in due)
        equal = [w for w in due if self._priority(w.event, values) == best]
        if best == -np.inf or len(equal) == 1:
            return min(equal, key=lambda w: (w.time, w.order))
        return equal[int(self._generator(m).integers(len(equal)))]

    def _triggered(self, m: int, e: int, t: float, values: Floats) -> Waiting:
        columns, event = self._columns[e], self._events[e]
        delay = values[columns.delay] if columns.delay >= 0 else 0.0
        taken = tuple(float(values[c]) for c in columns.values) if event.values_from_trigger_time else None
        self._orders += 1
        return Waiting(self._on_output(t + delay) if delay > 0 else t, e, self._orders, taken)

    def _on_output(self, time: float) -> float:
        i = int(np.searchsorted(self._times, time))
        for near in self._times[max(i - 1, 0) : i + 1]:
            if abs(near - time) <= 1e-14 * max(abs(near), abs(time)):
                return float(near)
        return float(time)

    def _priority(self, e: int, values: Floats) -> float:
        column = self._columns[e].priority
        if column < 0 or np.isnan(values[column]):
            return -np.inf
        return float(values[column])

    def _execute(self, m: int, chosen: Waiting, values: Floats) -> None:
        columns, places = self._columns[chosen.event], self._places[chosen.event]
        taken = chosen.values if chosen.values is not None else tuple(float(values[c]) for c in columns.values)
        for i, (array, column) in enumerate(places):
            scale = values[columns.scales[i]] if columns.scales[i] >= 0 else 1.0
            array[m, column] = taken[i] * scale
