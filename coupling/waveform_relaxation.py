"""Implicit coupling: a window is crossed again and again until every simulator has heard what the others really said.

What is exchanged is a signal: the polynomial through a source's values at Gauss–Lobatto nodes of the window (waveform
relaxation: Lelarasmee, Ruehli & Sangiovanni-Vincentelli 1982, IEEE Trans. CAD 1:131; with sampled signals and
quasi-Newton: Rüth et al. 2021, Int. J. Numer. Methods Eng. 122:5236). Only the signals that go against the order of
simulators, the *torn* ones, are iterated; the others are always fresh.

Legend: `M` members, `K` nodes, `n` numbers that are iterated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coupling.acceleration import Acceleration, Session
from coupling.quasi_newton import QuasiNewton
from coupling.scheme import Floats, Loop, Memory, Standing, Taken, largest
from coupling.stepper import Step
from coupling.window import Window
from coupling.wiring import Link, Wiring
from twin.errors import InputError, UnsupportedFeature
from twin.signal import Signal, nodes
from twin.simulator import Follower, State, Values


@dataclass(frozen=True)
class WaveformRelaxation:
    """Windows iterated until the exchanged signals stand still; order `degree` + 1.

    A member that has converged stays as it is while others go on, so that its bits do not depend on them.

    Args:
        tolerance: a torn signal has converged when its residual, over all nodes, is below this share of it …
        absolute: … or below this, per target ``"simulator.port"``, in the port's units (root mean square).
        max_iterations: then the window has failed: `AdaptiveWindows` shorten it, else the run ends.
        acceleration: `Constant`, `Aitken` or `QuasiNewton`; None: `QuasiNewton()`.
        degree: of the signals, 1 to 5. Above 1, every simulator that is fed must be a `Follower`; with 1, one that only
            takes constant inputs crosses the window in a few steps of the midpoint rule.
        order: names of all simulators, one hearing in the same iteration what those before it said; None: sources
            first, micro before macro.
        mode: ``"serial"`` as described, or ``"parallel"``: all step together, and every signal is torn.

    Raises:
        InputError: an argument outside its range.
    """

    tolerance: float = 1e-8
    max_iterations: int = 50
    acceleration: Acceleration = field(default_factory=QuasiNewton)
    degree: int = 3
    sequence: tuple[str, ...] | None = None
    mode: Literal["serial", "parallel"] = "serial"
    absolute: Mapping[str, float] = field(default_factory=dict[str, float])

    def __init__(
        self,
        tolerance: float = 1e-8,
        max_iterations: int = 50,
        acceleration: Acceleration | None = None,
        *,
        degree: int = 3,
        order: Sequence[str] | None = None,
        mode: Literal["serial", "parallel"] = "serial",
        absolute: Mapping[str, float] | None = None,
    ) -> None:
        for name, value in {
            "tolerance": tolerance, "max_iterations": max_iterations, "acceleration": acceleration or QuasiNewton(),
            "degree": degree, "sequence": None if order is None else tuple(order), "mode": mode,
            "absolute": dict(absolute or {}),
        }.items():  # fmt: skip
            object.__setattr__(self, name, value)
        if isinstance(self.acceleration, type) or not hasattr(self.acceleration, "begin"):
            raise InputError(
                f"WaveformRelaxation: acceleration {acceleration!r} is neither Constant(…), Aitken(…) nor QuasiNewton(…): an "
                "explicit scheme or a number cannot iterate."
            )
        if not 0.0 < tolerance < 1.0 or max_iterations < 1:
            raise InputError(
                f"WaveformRelaxation(tolerance={tolerance}, max_iterations={max_iterations}): expected a relative "
                "tolerance between 0 and 1, and at least 1 iteration."
            )
        if not 1 <= degree <= 5:
            raise InputError(f"WaveformRelaxation(degree={degree}): expected signals of degree 1 to 5.")
        if mode not in ("serial", "parallel"):
            raise InputError(f"WaveformRelaxation(mode={mode!r}): expected 'serial' or 'parallel'.")

    @property
    def order(self) -> int:
        """One more than the degree of signals."""
        return self.degree + 1

    @property
    def defect_order(self) -> int:
        """That of the interpolation error."""
        return self.degree + 1

    def check(self, wiring: Wiring) -> None:
        """Refuse what would not keep the promised order.

        Raises:
            UnsupportedFeature: a fed simulator that only takes constant inputs, with signals of degree 2 or more.
            WiringError: an order that does not fit.
            InputError: an absolute tolerance of what no conduit feeds.
        """
        wiring.order(self.sequence, scheme="WaveformRelaxation", loops=True)
        fed = {f"{link.target}.{link.into}" for link in wiring.links}
        for target, value in self.absolute.items():
            if target not in fed or not value >= 0.0:
                raise InputError(
                    f"WaveformRelaxation(absolute={{{target!r}: {value}}}): expected a number of at least 0 for a fed port; "
                    f"fed are {', '.join(sorted(fed)) or 'none'}."
                )
        for link in wiring.links:
            simulator = wiring.twin.simulators[link.target]
            follows = isinstance(simulator, Follower) and link.target not in wiring.micro
            if self.degree > 1 and not follows:
                raise UnsupportedFeature(
                    "inputs that move within a step",
                    f"WaveformRelaxation of order {self.order}: {link.target!r} only takes inputs that stay constant over "
                    f"a step, and {link} would hold it at order 2; take WaveformRelaxation(degree=1) or Strang(), or give "
                    f"{type(simulator).__name__} a method `follow` (twin.Follower).",
                )

    def take(self, loop: Loop, at: Standing, window: Window) -> Taken:
        """See `Scheme.take`."""
        return _Iteration(self, loop, at, window).run()


class _Iteration:
    """One window at work."""

    def __init__(self, scheme: WaveformRelaxation, loop: Loop, at: Standing, window: Window) -> None:
        self._scheme, self._loop, self._at, self._window = scheme, loop, at, window
        wiring = loop.wiring
        order = wiring.order(scheme.sequence, scheme="WaveformRelaxation", loops=True)
        parallel = scheme.mode == "parallel"
        self._torn = [
            link for link in wiring.links
            if (parallel and link.source not in wiring.micro) or order.index(link.source) >= order.index(link.target)
        ]  # fmt: skip
        ahead = {(link.source, link.target) for link in self._torn}
        self._groups = _levels(order, [link for link in wiring.links if (link.source, link.target) not in ahead])
        span = window.t1 - window.t0
        self._nodes = [window.t0 + float(s) * span for s in nodes(scheme.degree)[:-1]]
        self._checks = [window.t0 + span * float(s) for s in _between(scheme.degree)]
        self._times = sorted({*self._nodes, *self._checks, *window.sample})
        self._members = len(next(iter(at.states.values())).members)

    def run(self) -> Taken:
        scheme, M = self._scheme, self._members
        begun = self._loop.heard(self._at, self._window.t0)
        self._first = {link: np.asarray(link.bridge(begun[link.source][link.port]), float) for link in self._torn}
        guess = [np.repeat(self._first[link][:, None], scheme.degree, axis=1) for link in self._torn]
        self._shapes = [values.shape[1:] for values in guess]
        x = self._flat(guess)
        iterations = np.zeros(M, dtype=np.int64)
        done = np.zeros(M, dtype=bool)
        session: Session | None = None
        residuals: dict[str, Floats] = {}
        while True:
            states, outputs, signals = self._crossed(x)
            iterations[~done] += 1
            said = self._flat([self._bridged(link, outputs[link.source], self._nodes[1:]) for link in self._torn])
            converged, residuals = self._measured(x, said)
            done |= converged
            if session is None:  # also where nothing is left to do: what a member remembers depends on no other member
                session = scheme.acceleration.begin(self._at.memory, self._weights(said))
            if done.all() or int(iterations.max()) >= scheme.max_iterations:
                break
            x = self._bound(session.next(x, said, ~done), keep=done, old=x)
        memory = {**self._at.memory, **session.memory(done)} if self._torn else self._at.memory
        return self._taken(states, outputs, signals, memory, iterations, residuals, done)

    def _crossed(self, x: Floats) -> tuple[dict[str, State], dict[str, Values], dict[Link, Signal]]:
        """All simulators over the window: torn signals from `x`, the others from what was just said."""
        signals = {
            link: self._signal(link, np.concatenate([self._first[link][:, None], values], axis=1))
            for link, values in zip(self._torn, self._parts(x), strict=True)
        }
        states: dict[str, State] = {}
        outputs: dict[str, Values] = {}
        window, wiring = self._window, self._loop.wiring
        for group in self._groups:
            for link in wiring.links:
                if link.target in group and link not in signals:
                    signals[link] = self._fresh(link, outputs[link.source])
            steps = [
                Step(
                    name, self._at.states[name], {}, window.t0, window.t1, self._times,
                    {link.into: signals[link] for link in wiring.links if link.target == name},
                )
                for name in group
            ]  # fmt: skip
            for name, (state, said) in zip(group, self._loop.stepper(steps), strict=True):
                states[name], outputs[name] = state, said
        return states, outputs, signals

    def _fresh(self, link: Link, outputs: Values) -> Signal:
        if link.source in self._loop.wiring.micro:
            return Signal.constant(self._window.t0, self._window.t1, link.bridge(outputs[link.port][:, -1]))
        return self._signal(link, self._bridged(link, outputs, self._nodes))

    def _signal(self, link: Link, values: Floats) -> Signal:
        return Signal.through(self._window.t0, self._window.t1, values).bounded(link.lower)

    def _bridged(self, link: Link, outputs: Values, times: Sequence[float]) -> Floats:
        """What a conduit brings at these times and at the end `[M, times + 1, *dims]`."""
        said = outputs[link.port]
        places = [*(self._times.index(time) for time in times), said.shape[1] - 1]
        return np.stack([np.asarray(link.bridge(said[:, place]), dtype=np.float64) for place in places], axis=1)

    def _measured(self, x: Floats, said: Floats) -> tuple[NDArray[np.bool_], dict[str, Floats]]:
        """Who has converged, and the residual of each torn conduit as a root mean square; a failed member is done."""
        converged = np.ones(self._members, dtype=bool)
        residuals: dict[str, Floats] = {}
        for link, old, new in zip(self._torn, self._parts(x), self._parts(said), strict=True):
            axes = tuple(range(1, new.ndim))
            residual, size = np.sqrt(((new - old) ** 2).mean(axis=axes)), np.sqrt((new**2).mean(axis=axes))
            limit = np.maximum(
                self._scheme.tolerance * size, self._scheme.absolute.get(f"{link.target}.{link.into}", 0.0)
            )
            converged &= ~(residual > limit)
            residuals[str(link)] = np.maximum(residuals.get(str(link), 0.0), residual)
        return converged, residuals

    def _taken(
        self, states: Mapping[str, State], outputs: Mapping[str, Values], signals: Mapping[Link, Signal], memory: Memory,
        iterations: NDArray[np.int64], residuals: Mapping[str, Floats], done: NDArray[np.bool_],
    ) -> Taken:  # fmt: skip
        looks = [self._times.index(time) for time in self._window.sample]

        def compare() -> tuple[dict[str, Floats], dict[str, Floats]]:
            defects: dict[str, Floats] = {}
            scales: dict[str, Floats] = {}
            for link, signal in signals.items():
                if link.source not in self._loop.wiring.micro:
                    said = self._bridged(link, outputs[link.source], self._checks)
                    defects[str(link)] = largest(said[:, :-1] - signal.at(self._checks))
                    scales[str(link)] = largest(said)
            return defects, scales

        order = [name for group in self._groups for name in group]
        return Taken(
            Standing(states, {name: {p: v[:, -1] for p, v in outputs[name].items()} for name in order}, memory),
            {name: {port: values[:, looks] for port, values in outputs[name].items()} for name in order},
            compare, iterations, residuals, done,
        )  # fmt: skip

    def _flat(self, parts: Sequence[NDArray[Any]]) -> Floats:
        return np.concatenate([np.zeros((self._members, 0)), *(p.reshape(self._members, -1) for p in parts)], axis=1)

    def _parts(self, flat: Floats) -> list[Floats]:
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        pieces = np.split(flat, np.cumsum(sizes)[:-1], axis=1) if sizes else []
        return [piece.reshape(-1, *shape) for piece, shape in zip(pieces, self._shapes, strict=True)]

    def _bound(self, x: Floats, *, keep: NDArray[np.bool_], old: Floats) -> Floats:
        wiring = self._loop.wiring
        moved = self._flat([wiring.bounded(link, p) for link, p in zip(self._torn, self._parts(x), strict=True)])
        return np.where(keep[:, None], old, moved)

    def _weights(self, said: Floats) -> Floats:
        """Signals in different units count alike: each in its own largest value in this window."""
        sizes = [largest(np.nan_to_num(part)) for part in self._parts(said)]
        each = [
            np.broadcast_to(1.0 / np.where(size > 0.0, size, 1.0)[:, None], (self._members, int(np.prod(shape))))
            for size, shape in zip(sizes, self._shapes, strict=True)
        ]
        return np.concatenate(each, axis=1) if each else np.ones_like(said)


def _levels(order: Sequence[str], links: Sequence[Link]) -> tuple[tuple[str, ...], ...]:
    """The order in groups: who hears another in the same iteration is in a later group."""
    level: dict[str, int] = {}
    for name in order:
        level[name] = 1 + max((level[link.source] for link in links if link.target == name), default=-1)
    return tuple(tuple(n for n in order if level[n] == i) for i in range(max(level.values()) + 1))


def _between(degree: int) -> Floats:
    """Places at which an interpolation shows its error: half way between nodes."""
    places = nodes(degree)
    return (places[1:] + places[:-1]) / 2
