"""How simulators exchange values over one window: the protocol of a coupling scheme, and what it works with.

Legend: `M` members, `T` sample times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coupling.stepper import Step, Stepper
from coupling.window import Window
from coupling.wiring import Group, Wiring
from twin.simulator import State, Values

Floats = NDArray[np.float64]
States = Mapping[str, State]
"""The state of every simulator of a twin, by the simulator's name."""

Memory = Mapping[str, NDArray[Any]]
"""What a scheme and its windows remember from window to window, each array with the leading member axis."""


@dataclass(frozen=True)
class Standing:
    """Where a run stands between two windows; to go back is to use an older one.

    Args:
        states: of every simulator.
        now: what macro simulators say here, as far as it is known.
        memory: see `Memory`.
    """

    states: States
    now: Mapping[str, Values] = field(default_factory=dict[str, Values])
    memory: Memory = field(default_factory=dict[str, NDArray[Any]])


@dataclass(frozen=True)
class Taken:
    """What a scheme did in one window.

    Args:
        standing: at the end.
        said: simulator → port → `[M, T, *dims]` at the window's sample times.
        compare: gives `defects` and `scales`; asked only by windows that adapt, since it costs as much as the exchange.
        iterations: how often simulators stepped `[M]`.
        residuals: per conduit that is iterated, what the last iteration still changed `[M]`, in the port's units.
        converged: `[M]`.
    """

    standing: Standing
    said: dict[str, Values]
    compare: Callable[[], tuple[Mapping[str, Floats], Mapping[str, Floats]]]
    iterations: NDArray[np.int64]
    residuals: Mapping[str, Floats]
    converged: NDArray[np.bool_]

    @property
    def defects(self) -> Mapping[str, Floats]:
        """Per conduit ``"source -> target"``, by how much at most the target heard something else than the source said
        `[M]`, in the units of the target's port.
        """
        return self._compared[0]

    @property
    def scales(self) -> Mapping[str, Floats]:
        """Per conduit, the largest value that was exchanged `[M]`."""
        return self._compared[1]

    @cached_property
    def _compared(self) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
        return self.compare()


@dataclass(frozen=True)
class Loop:
    """What a scheme works with: who feeds whom, and who steps."""

    wiring: Wiring
    stepper: Stepper

    def heard(self, standing: Standing, time: float) -> dict[str, Values]:
        """What macro sources say at `time`: remembered, or looked at by a step without length."""
        sources = self.wiring.macro_sources
        open_ = [name for name in sources if name not in standing.now]
        looked = self.stepper([Step(name, standing.states[name], {}, time, time) for name in open_]) if open_ else ()
        found = {name: standing.now[name] for name in sources if name in standing.now}
        for name, (_, outputs) in zip(open_, looked, strict=True):
            found[name] = {port: values[:, -1] for port, values in outputs.items()}
        return found

    def stepped(
        self, names: Group, states: States, heard: Mapping[str, Values], window: Window
    ) -> dict[str, tuple[State, Values]]:
        """These simulators, together, over a window under inputs that stay as they were heard."""
        steps = [
            Step(name, states[name], self.wiring.inputs(name, heard), window.t0, window.t1, window.sample)
            for name in names
        ]
        return dict(zip(names, self.stepper(steps), strict=True))

    def apart(
        self, before: Mapping[str, Values], after: Mapping[str, Values]
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """Per conduit, how far what was heard is from what was said in the end, and the larger of both `[M]`."""
        defects: dict[str, Floats] = {}
        scales: dict[str, Floats] = {}
        for link in self.wiring.links:
            if link.source in before and link.source in after:
                one = link.bridge(before[link.source][link.port])
                other = link.bridge(after[link.source][link.port])
                defects[str(link)] = largest(other - one)
                scales[str(link)] = np.maximum(largest(one), largest(other))
        return defects, scales


class Scheme(Protocol):
    """A way of exchanging values over one window.

    Attributes:
        order: of the error that coupling makes at the end of a run, in the length of windows.
        defect_order: of `Taken.defects`, in the length of a window.
    """

    @property
    def order(self) -> int: ...
    @property
    def defect_order(self) -> int: ...

    def check(self, wiring: Wiring) -> None:
        """Raise `WiringError` or `UnsupportedFeature` for a twin that this scheme cannot couple as promised."""
        ...

    def take(self, loop: Loop, at: Standing, window: Window) -> Taken:
        """Cross one window; `at` is not changed."""
        ...


def largest(values: NDArray[Any]) -> Floats:
    """The largest absolute value of each member `[M]`."""
    return np.abs(values).reshape(len(values), -1).max(axis=1, initial=0.0)


def ends(outputs: Values) -> Values:
    """What was said at the end of a step."""
    return {port: values[:, -1] for port, values in outputs.items()}
