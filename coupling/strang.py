"""Symmetric splitting: half a window forward through the simulators, the last one whole, and half a window back.

Strang 1968, SIAM J. Numer. Anal. 5:506: while one part moves the others stand still, and a symmetric sequence of exact
moves is of second order. So simulators that only take constant inputs are coupled to second order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from coupling.scheme import Floats, Loop, Standing, Taken, ends, largest
from coupling.window import Window
from coupling.wiring import Wiring
from twin.errors import WiringError
from twin.simulator import State, Values


@dataclass(frozen=True)
class Strang:
    """Each simulator but the last steps twice, half a window each, under what the others have said last; second order.

    Args:
        order: names of all simulators; None: as the twin lists them. Any order is of second order; the last one steps
            once, so put the most expensive one there.
    """

    sequence: tuple[str, ...] | None = None

    def __init__(self, order: Sequence[str] | None = None) -> None:
        object.__setattr__(self, "sequence", None if order is None else tuple(order))

    @property
    def order(self) -> int:
        """Second."""
        return 2

    @property
    def defect_order(self) -> int:
        """Second: what lags in one half leads in the other."""
        return 2

    def check(self, wiring: Wiring) -> None:
        """Raises `WiringError` for a micro simulator that is fed: its averages have no symmetric place in a window."""
        self._sequence(wiring)
        for link in wiring.links:
            if link.target in wiring.micro:
                raise WiringError(
                    f"Strang: {link} feeds a micro simulator, whose averages hold for a whole window, so that the scheme "
                    "would fall to first order; take GaussSeidel, or WaveformRelaxation(degree=1), which is of second."
                )

    def _sequence(self, wiring: Wiring) -> tuple[str, ...]:
        asked = tuple(wiring.twin.simulators) if self.sequence is None else self.sequence
        if self.sequence is None:
            asked = tuple(sorted(asked, key=lambda name: name not in wiring.micro))
        return wiring.order(asked, scheme="Strang", loops=True)

    def take(self, loop: Loop, at: Standing, window: Window) -> Taken:
        """See `Scheme.take`."""
        order = self._sequence(loop.wiring)
        micro = tuple(name for name in order if name in loop.wiring.micro)
        groups = loop.wiring.groups([name for name in order if name not in micro], both=True)
        middle = (window.t0 + window.t1) / 2
        ahead = Window(window.t0, middle, sample=tuple(time for time in window.sample if time < middle))
        behind = Window(middle, window.t1, sample=tuple(time for time in window.sample if time >= middle))
        heard = loop.heard(at, window.t0)
        begun, halfway = dict(heard), dict[str, Values]()
        states: dict[str, State] = dict(at.states)
        said: dict[str, Values] = {}
        for name, (state, outputs) in loop.stepped(micro, at.states, heard, window).items():
            states[name], heard[name] = state, ends(outputs)
            said[name] = {port: values[:, :-1] for port, values in outputs.items()}
        for group in groups[:-1]:
            for name, (state, outputs) in loop.stepped(group, states, heard, ahead).items():
                states[name], halfway[name] = state, ends(outputs)
                said[name] = {port: values[:, :-1] for port, values in outputs.items()}
            heard.update({name: halfway[name] for name in group})
        whole = Window(window.t0, window.t1, sample=(*ahead.sample, middle, *behind.sample))
        place = len(ahead.sample)
        for name, (state, outputs) in loop.stepped(groups[-1] if groups else (), states, heard, whole).items():
            states[name], heard[name] = state, ends(outputs)
            halfway[name] = {port: values[:, place] for port, values in outputs.items()}
            said[name] = {port: np.delete(values[:, :-1], place, axis=1) for port, values in outputs.items()}
        for group in groups[-2::-1]:
            for name, (state, outputs) in loop.stepped(group, states, heard, behind).items():
                states[name], heard[name] = state, ends(outputs)
                later = {port: values[:, :-1] for port, values in outputs.items()}
                said[name] = {port: np.concatenate([said[name][port], later[port]], axis=1) for port in later}
        members = len(next(iter(states.values())).members)
        now = {name: values for name, values in heard.items() if name not in micro}
        return Taken(
            Standing(states, now, at.memory), {name: said[name] for name in order},
            lambda: self._defects(loop, begun, halfway, heard),
            np.ones(members, dtype=np.int64), {}, np.ones(members, dtype=bool),
        )  # fmt: skip

    def _defects(
        self, loop: Loop, begun: Mapping[str, Values], halfway: Mapping[str, Values], ended: Mapping[str, Values]
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """How far the middle of a window is from the mean of its ends, which is what the first order cannot see."""
        defects: dict[str, Floats] = {}
        scales: dict[str, Floats] = {}
        for link in loop.wiring.links:
            if link.source in begun and link.source in halfway:
                a, b, c = (
                    np.asarray(link.bridge(values[link.source][link.port]), dtype=np.float64)
                    for values in (begun, halfway, ended)
                )
                defects[str(link)] = largest(b - (a + c) / 2)
                scales[str(link)] = np.maximum(largest(a), largest(c))
        return defects, scales
