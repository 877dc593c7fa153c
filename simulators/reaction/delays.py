"""delay(): what a value was some time ago, by the method of steps (Bellen & Zennaro, Numerical Methods for DDEs, 2003).

The integrator is called for one window after the other, none longer than the shortest delay, so that what lies a
delay back is already known. There it is a polynomial in time, of degree 5, from value and two derivatives at both ends
of an earlier window; it stands in the rates in place of the delayed value, its coefficients being constants of the
member. A window in which the polynomial is not exact enough is done again, shorter. Where a delay vanishes, the window's
own polynomial is needed: it is guessed, and the window done again until it no longer changes.

Legend: `M` members, `S` states, `P` constants, `D` delayed values.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats
from simulators.reaction.expression import Node
from simulators.reaction.lane_problem import Members
from simulators.reaction.lane_program import LaneProgram
from simulators.reaction.network import CLOCK, Constant, Network, symbol_name
from twin.errors import InputError, UnsupportedFeature

_ORDER = 6
_START, _RECIPROCAL, _SINCE, _UNTIL = range(_ORDER, _ORDER + 4)
_WIDTH = _ORDER + 4  # coefficients, start and reciprocal width of their window, and where another takes over
_SLACK = 1e-12
_ORIGIN = " past start"
_BEGIN = " begin "


def with_histories(network: Network, readouts: Sequence[Node]) -> tuple[Network, tuple[Node, ...]]:
    """A network, and nodes of it, with every delayed value as a polynomial whose coefficients are constants."""
    if not network.delayed:
        return network, tuple(readouts)
    graph = network.graph
    clock = graph.symbol(CLOCK)
    constants: list[Constant] = []
    nodes: dict[Node, Node] = {}
    zero = graph.const(0.0)
    pasts = _Pasts(network)
    delayed = []
    for i, item in enumerate(network.delayed):
        names = [f" past {i} {k}" for k in range(_WIDTH)]
        constants += [Constant(name, zero) for name in names]
        start, reciprocal = graph.symbol(names[_START]), graph.symbol(names[_RECIPROCAL])
        then = graph.sub(clock, item.delay)
        u = graph.mul(graph.sub(then, start), reciprocal)
        value = zero
        for name in reversed(names[:_ORDER]):
            value = graph.add(graph.mul(value, u), graph.symbol(name))
        past = pasts.before(item.past)
        if clock in graph.reads(past):
            early = graph.apply("lt", then, graph.symbol(_ORIGIN))
            value = graph.apply("where", early, graph.substitute(past, {clock: then}), value)
        nodes[graph.symbol(item.name)] = value
        delayed.append(replace(item, past=past))
    _refuse_moving_pasts(network, {item.name: item.past for item in delayed})
    for constant in (*network.states, *network.constants):
        if clock in graph.reads(constant.initial):
            pasts.before(constant.initial)  # what `_refuse_overridden` reads
    constants += [Constant(_ORIGIN, zero), *(Constant(_BEGIN + name, zero) for name in sorted(pasts.used))]
    found = replace(network, constants=(*network.constants, *constants), delayed=tuple(delayed))
    for _ in network.delayed:  # delays of delayed values
        found = found.replaced(nodes)
        readouts = graph.substitute_all(readouts, nodes)
    return found, tuple(readouts)


def _refuse_moving_pasts(network: Network, pasts: Mapping[str, Node]) -> None:
    """Raise `UnsupportedFeature` for initial values that read what was before the start, where that depends on the time."""
    graph = network.graph
    clock, past = graph.symbol(CLOCK), {graph.symbol(name): node for name, node in pasts.items()}
    for item in (*network.states, *network.constants):
        late = [past[symbol] for symbol in graph.reads(item.initial) & past.keys()]
        if late and any(clock in graph.reads(node) for node in (item.initial, *late)):
            raise UnsupportedFeature(
                "delay() of the time in an initial value",
                f"{item.name}: its initial value reads by delay() what depends on the time before the start; give it as a "
                "number, or by an assignment rule.",
            )


class _Pasts:
    """What nodes were before the start: over the clock and constants ` begin <name>`, the values at the start."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._initial = {item.name: item.initial for item in (*network.states, *network.constants)}
        self._names = {network.graph.symbol(symbol_name(name)): name for name in self._initial}
        self.used: set[str] = set()

    def before(self, node: Node) -> Node:
        graph = self._network.graph
        replaced: dict[Node, Node] = {}
        for symbol in graph.reads(node) & self._names.keys():
            name = self._names[symbol]
            initial = self._initial[name]
            if self._reads_clock(initial):
                replaced[symbol] = self.before(initial)
            else:
                self.used.add(name)
                replaced[symbol] = graph.symbol(_BEGIN + name)
        return graph.substitute(node, replaced)

    def _reads_clock(self, node: Node) -> bool:
        reads = self._network.graph.reads(node)
        return self._network.graph.symbol(CLOCK) in reads or any(
            self._reads_clock(self._initial[self._names[s]]) for s in reads if s in self._names
        )


@dataclass(frozen=True)
class _Window:
    start: float
    end: float
    coefficients: Floats  # [D, 6]


class Histories:
    """What has been, for every member.

    Args:
        network: with histories.
        program: whose remembered nodes are `remembered(network)`.
        members: arrays that the integrator works on; coefficients are written into their constants.
        atol: absolute tolerance of what is remembered, of each member `[M]`.
        span: how long the run lasts.
    """

    def __init__(
        self, network: Network, program: LaneProgram, members: Members, *, rtol: float, atol: Floats, span: float
    ) -> None:
        self._network, self._program, self._members = network, program, members
        self._rtol, self._atol, self._span = rtol, atol, span
        self._count = len(network.delayed)
        self._first = network.constant_names.index(" past 0 0")
        self._varies = [bool(reads) for reads in _moving_delays(network)]
        self._still = _still_delays(network)
        self._known = np.zeros((len(members.t), self._count))
        self._end = np.full(len(members.t), np.inf)
        self._start = float(members.t[0]) if len(members.t) else 0.0
        M, D = len(members.t), self._count
        self._windows: list[list[_Window]] = [[] for _ in range(M)]
        self._before = np.zeros((M, D))
        self._size = np.full(M, np.inf)
        self._x0, self._t0 = members.x.copy(), members.t.copy()
        self._h0, self._point0 = members.h.copy(), members.point.copy()
        self._left = np.zeros((M, 3 * D))
        self._guess: list[Floats | None] = [None] * M  # coefficients of the window's own polynomial, where it is needed
        self._own = np.zeros((M, D), dtype=bool)
        self._tries = np.zeros(M, dtype=np.int64)

    def begin(self, rows: NDArray[np.int64]) -> None:
        """What was before the start."""
        members, network = self._members, self._network
        names = network.constant_names
        place = {name: i for i, name in enumerate(network.state_names)}
        members.p[rows, names.index(_ORIGIN)] = self._start
        for column, name in enumerate(names):
            if name.startswith(_BEGIN):
                id = name.removeprefix(_BEGIN)
                array, k = (members.x, place[id]) if id in place else (members.p, names.index(id))
                members.p[rows, column] = array[rows, k]
        x, p = members.x[rows], members.p[rows]
        self._before[rows] = network.evaluate([item.past for item in network.delayed], x, p, self._start)
        self._refuse_overridden(x, p)
        self._known[rows] = self._evaluated_delays(rows)

    def _refuse_overridden(self, x: Floats, p: Floats) -> None:
        network = self._network
        pasts = _Pasts(network)
        polynomials = {network.graph.symbol(f" past {i} 0") for i in range(self._count)}
        for array, items in ((x, network.states), (p, network.constants)):
            for column, item in enumerate(items):
                reads = network.graph.reads(item.initial)
                if network.graph.symbol(CLOCK) not in reads or reads & polynomials:
                    continue  # what reads delay() follows what was before the start, which does not move
                found = network.evaluate([pasts.before(item.initial)], x, p, self._start)[:, 0]
                if not np.allclose(found, array[:, column], rtol=1e-9, atol=1e-300, equal_nan=True):
                    raise InputError(
                        f"{item.name}: its initial assignment says what delay() finds before the start; "
                        "it cannot be given another value from outside."
                    )

    def open(self, rows: NDArray[np.int64]) -> None:
        """Begin a window at the members' present times: coefficients are set, and members stop at its end."""
        members = self._members
        self._x0[rows], self._t0[rows] = members.x[rows], members.t[rows]
        self._h0[rows], self._point0[rows] = members.h[rows], members.point[rows]
        for m, delays in zip(rows, self._delays(rows), strict=True):
            if not (np.isfinite(delays).all() and (delays >= 0).all()):
                raise UnsupportedFeature(
                    "delay() into the future",
                    f"delay(): member {m} goes back by {float(delays.min()):g}; expected 0 or a positive time.",
                )
            self._open(int(m), delays)
        self._left[rows] = self._remembered(rows, members.x, members.t)
        for m in rows[self._own[rows].any(axis=1)]:
            self._guess_own(int(m))

    def _open(self, m: int, delays: Floats) -> None:
        members, t = self._members, float(self._members.t[m])
        windows = self._windows[m]
        end = t + self._size[m]
        for d in range(self._count):
            then = t - delays[d]
            base = self._first + d * _WIDTH
            slack = _SLACK * max(abs(t), abs(delays[d]), 1e-300)
            self._own[m, d] = delays[d] <= 1e-6 * self._span
            if self._own[m, d]:
                self._size[m] = min(self._size[m], 0.01 * self._span)
                end = min(end, t + self._size[m])
                members.p[m, base + _SINCE], members.p[m, base + _UNTIL] = -np.inf, np.inf
                continue
            if then < self._start - slack or not windows:
                members.p[m, base : base + _WIDTH] = 0.0
                members.p[m, base] = self._before[m, d]
                since, until = -np.inf, self._start
            else:
                i = max(bisect_right(windows, then + slack, key=lambda w: w.start) - 1, 0)
                window = windows[i]
                self._write(m, d, window.coefficients[d], window.start, window.end)
                since, until = window.start if i else -np.inf, window.end
            members.p[m, base + _SINCE], members.p[m, base + _UNTIL] = since, until
            if not self._varies[d]:
                end = min(end, until + delays[d])
        self._end[m] = end
        members.stop[m] = min(members.stop[m], end)

    def limit(self, rows: NDArray[np.int64]) -> None:
        """Let members whose window is open stop at its end."""
        self._members.stop[rows] = np.minimum(self._members.stop[rows], self._end[rows])

    def _write(self, m: int, d: int, coefficients: Floats, start: float, end: float) -> None:
        base = self._first + d * _WIDTH
        self._members.p[m, base : base + _ORDER] = coefficients
        self._members.p[m, base + _START] = start
        self._members.p[m, base + _RECIPROCAL] = 1.0 / (end - start)

    def _guess_own(self, m: int) -> None:
        """The window's own polynomial: as it came out of the last try, at first a tangent."""
        t, size, D = float(self._t0[m]), float(self._size[m]), self._count
        guess = self._guess[m]
        if guess is None:
            guess = np.zeros((D, _ORDER))
            guess[:, 0], guess[:, 1] = self._left[m, :D], self._left[m, D : 2 * D] * size
            guess[~np.isfinite(guess)] = 0.0
        for d in np.flatnonzero(self._own[m]):
            self._write(m, int(d), guess[d], t, t + size)

    def close(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """End the windows of members that have paused; False where it must be done again, from where it began."""
        members, D = self._members, self._count
        if not len(rows):
            return np.zeros(0, dtype=bool)
        right = self._program.remember(
            members.x[rows], members.p[rows], members.t[rows], x0=self._x0[rows], time0=self._t0[rows]
        )[:, : 3 * D]
        return np.array([self._close(int(m), values) for m, values in zip(rows, right, strict=True)], dtype=bool)

    def _close(self, m: int, right: Floats) -> bool:
        members, D = self._members, self._count
        start, end = float(self._t0[m]), float(members.t[m])
        h = end - start
        if h <= 0.0:
            return True
        left = self._left[m]
        v0, a0, b0 = left[:D], left[D : 2 * D] * h, left[2 * D :] * h * h
        v1, a1, b1 = right[:D], right[D : 2 * D] * h, right[2 * D :] * h * h
        allowed = 10.0 * (self._atol[m] + self._rtol * np.maximum(np.abs(v0), np.abs(v1)))
        wrong = np.abs((a0 - a1) / 32 + (b0 + b1) / 64)  # degree 5 beside degree 3, in the middle
        ratio = float(np.max(wrong / allowed)) if np.isfinite(wrong).all() else 1.0
        shortest = 1e-9 * max(abs(end), abs(start), 1e-9)
        coefficients = _hermite(v0, a0, b0, v1, a1, b1)
        if ratio > 1.0 and h > shortest:
            return self._again(m, h * max(0.2, 0.8 * ratio**-0.25), None)
        if self._own[m].any():
            own = self._own[m]
            used = self._used(m, h, own)
            change = np.abs(coefficients[own] - used).max(axis=1) / allowed[own]
            self._tries[m] += 1
            if np.isfinite(change).all() and (change > 0.01).any():
                if self._tries[m] > 12 and h > shortest:
                    return self._again(m, 0.3 * h, None)
                return self._again(m, h, coefficients)
        self._guess[m], self._tries[m] = None, 0
        if np.isfinite(self._size[m]) or ratio > 0.1:
            size = max(self._size[m], h) if np.isfinite(self._size[m]) else h
            self._size[m] = size * min(4.0, 0.8 * max(ratio, 1e-9) ** -0.25)
        self._windows[m].append(_Window(start, end, coefficients))
        self._forget(m, end)
        return True

    def _again(self, m: int, size: float, guess: Floats | None) -> bool:
        members = self._members
        members.x[m], members.t[m] = self._x0[m], self._t0[m]
        members.h[m], members.point[m] = self._h0[m], self._point0[m]
        self._size[m], self._guess[m] = size, guess
        if guess is None:
            self._tries[m] = 0
        return False

    def _used(self, m: int, h: float, own: NDArray[np.bool_]) -> Floats:
        """Coefficients that stood in the rates, for a width of `h`."""
        p = self._members.p[m]
        rows = []
        for d in np.flatnonzero(own):
            base = self._first + int(d) * _WIDTH
            rows.append(p[base : base + _ORDER] * (h * p[base + _RECIPROCAL]) ** np.arange(_ORDER))
        return np.array(rows)

    def _forget(self, m: int, t: float) -> None:
        windows = self._windows[m]
        if len(windows) % 1000 == 0 and not any(self._varies):
            oldest = t - float(self._delays(np.array([m])).max()) * (1 + 1e-9)
            keep = max(bisect_right(windows, oldest, key=lambda w: w.start) - 2, 0)
            del windows[:keep]

    def _remembered(self, rows: NDArray[np.int64], x: Floats, t: Floats) -> Floats:
        found = self._program.remember(x[rows], self._members.p[rows], t[rows], x0=x[rows], time0=t[rows])
        return found[:, : 3 * self._count]

    def _delays(self, rows: NDArray[np.int64]) -> Floats:
        return self._known[rows] if self._still else self._evaluated_delays(rows)

    def _evaluated_delays(self, rows: NDArray[np.int64]) -> Floats:
        x, p, t = self._members.x[rows], self._members.p[rows], self._members.t[rows]
        return self._program.remember(x, p, t, x0=x, time0=t)[:, 3 * self._count :]


def _hermite(v0: Floats, a0: Floats, b0: Floats, v1: Floats, a1: Floats, b1: Floats) -> Floats:
    """Coefficients `[D, 6]` over 0–1 of the polynomials with these values, slopes and curvatures at both ends."""
    delta = v1 - v0
    return np.stack(
        [
            v0, a0, 0.5 * b0,
            10 * delta - 6 * a0 - 4 * a1 - 1.5 * b0 + 0.5 * b1,
            -15 * delta + 8 * a0 + 7 * a1 + 1.5 * b0 - b1,
            6 * delta - 3 * a0 - 3 * a1 - 0.5 * b0 + 0.5 * b1,
        ],
        axis=1,
    )  # fmt: skip


def _moving_delays(network: Network) -> list[frozenset[Node]]:
    """For each delayed value what its delay reads that moves."""
    moving = {network.symbols[name] for name in network.state_names} | {network.graph.symbol(CLOCK)}
    return [network.graph.reads(item.delay) & moving for item in network.delayed]


def _still_delays(network: Network) -> bool:
    """Whether every delay is the same all the time."""
    graph = network.graph
    targets = {assignment.target for event in network.events for assignment in event.assignments}
    still = {network.symbols[name] for name in network.constant_names if name not in targets and name[0] != " "}
    return all(graph.reads(item.delay) <= still for item in network.delayed)


def passages(network: Network) -> list[Node]:
    """Nodes that turn where what lies a delay back passes into another window, for delays that change."""
    graph = network.graph
    found: list[Node] = []
    for i, (item, moves) in enumerate(zip(network.delayed, _moving_delays(network), strict=True)):
        if moves:
            then = graph.sub(graph.symbol(CLOCK), item.delay)
            since, until = (graph.symbol(f" past {i} {k}") for k in (_SINCE, _UNTIL))
            found += [graph.apply("lt", then, since), graph.apply("ge", then, until)]
    return found


def remembered(network: Network) -> list[Node]:
    """Nodes that histories need: values, first and second derivatives, delays; nothing if nothing is delayed."""
    values = [item.value for item in network.delayed]
    slopes = [network.slope(value) for value in values]
    return [*values, *slopes, *(network.slope(slope) for slope in slopes), *(item.delay for item in network.delayed)]
