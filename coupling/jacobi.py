"""Explicit parallel coupling: nobody sees what another does within a window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coupling.scheme import Loop, Standing, Taken, ends
from coupling.window import Window
from coupling.wiring import Wiring
from twin.simulator import State, Values


@dataclass(frozen=True)
class Jacobi:
    """Macro simulators step side by side under what all said at the start of the window; first order.

    Micro simulators run first, each after those that feed it, and their averages are used at once. What never changes
    in a window, such as drawn binding rates, is coupled without any error.
    """

    @property
    def order(self) -> int:
        """First."""
        return 1

    @property
    def defect_order(self) -> int:
        """First: an input lags by up to a window."""
        return 1

    def check(self, wiring: Wiring) -> None:
        """Nothing more than a `Wiring` checks itself."""

    def take(self, loop: Loop, at: Standing, window: Window) -> Taken:
        """See `Scheme.take`."""
        begun = loop.heard(at, window.t0)
        heard = dict(begun)
        states: dict[str, State] = {}
        now: dict[str, Values] = {}
        said: dict[str, Values] = {}
        for group in (*loop.wiring.micro_groups, loop.wiring.macro):
            for name, (state, outputs) in loop.stepped(group, at.states, heard, window).items():
                states[name], now[name] = state, ends(outputs)
                said[name] = {port: values[:, :-1] for port, values in outputs.items()}
                if name in loop.wiring.micro:
                    heard[name] = now[name]
        members = len(next(iter(states.values())).members)
        return Taken(
            Standing(states, now, at.memory), said, lambda: loop.apart(begun, now), np.ones(members, dtype=np.int64), {},
            np.ones(members, dtype=bool),
        )  # fmt: skip
