"""Steps of simulators that do not wait for each other, taken together: here one after the other.

A scheme hands over all steps that may run at the same time and gets all of them back, in the same order. Whoever steps
them on threads or on other ranks writes another `Stepper`; no scheme knows the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hpc.errors import HpcError
from twin.errors import KakehashiError, SimulationError
from twin.graph import Twin
from twin.signal import Signal
from twin.simulator import Follower, Simulator, State, Values
from twin.units import factor


class Step(NamedTuple):
    """One step that is asked for; times are the twin's.

    Args:
        name: of the simulator.
        state: from which it starts.
        inputs: what stays as it is, `[M, *dims]`.
        t0, t1: start and end.
        sample: ascending times in between.
        signals: what moves within the step, in place of `inputs`; None: nothing does.
    """

    name: str
    state: State
    inputs: Values
    t0: float
    t1: float
    sample: Sequence[float] = ()
    signals: Mapping[str, Signal] | None = None


class Stepper(Protocol):
    """Takes steps that do not wait for each other."""

    def __call__(self, steps: Sequence[Step]) -> Sequence[tuple[State, Values]]:
        """The state at the end, and outputs `[M, len(sample) + 1, *dims]`, of each step in the order asked.

        Raises:
            SimulationError: a simulator broke; the text names it, its members and when.
        """
        ...


@runtime_checkable
class Deferred(Simulator, Protocol):
    """A simulator that works elsewhere (`coupling.remote`): a step is sent off, and waited for later."""

    def begin(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = (),
        signals: Mapping[str, Signal] | None = None,
    ) -> Callable[[], tuple[State, Values]]:  # fmt: skip
        """Send a step off; what is returned waits for its end. Signals only for a `Follower`."""
        ...


class SerialStepper:
    """A `Stepper` that takes one step after the other in this process, while those of `Deferred` simulators run elsewhere.

    Args:
        twin: whose simulators are stepped.
        time_units: of the times in a `Step`; each simulator is told its own.
    """

    def __init__(self, twin: Twin, *, time_units: str) -> None:
        self._twin = twin
        self._clocks = {
            name: factor(time_units, simulator.time_units or time_units, where=f"clock of {name}")
            for name, simulator in twin.simulators.items()
        }
        self._elsewhere = any(isinstance(simulator, Deferred) for simulator in twin.simulators.values())

    def __call__(self, steps: Sequence[Step]) -> Sequence[tuple[State, Values]]:
        """See `Stepper`."""
        if not self._elsewhere:
            return [self._taken(step) for step in steps]
        sent = [self._sent(step) for step in steps]
        here = {i: self._taken(step) for i, step in enumerate(steps) if sent[i] is None}
        return [here[i] if wait is None else wait() for i, wait in enumerate(sent)]

    def _sent(self, step: Step) -> Callable[[], tuple[State, Values]] | None:
        """Waits for a step that was sent off; None where it is taken here."""
        simulator = self._twin.simulators[step.name]
        if not isinstance(simulator, Deferred) or (step.signals is not None and not isinstance(simulator, Follower)):
            return None
        return simulator.begin(step.state, step.inputs, **self._times(step), signals=self._signals(step))

    def _taken(self, step: Step) -> tuple[State, Values]:
        simulator, clock = self._twin.simulators[step.name], self._clocks[step.name]
        try:
            if step.signals is None:
                sample = [time * clock for time in step.sample] if step.sample else ()
                return simulator.step(step.state, step.inputs, t0=step.t0 * clock, t1=step.t1 * clock, sample=sample)
            signals, times = self._signals(step) or {}, self._times(step)
            if isinstance(simulator, Follower):
                return simulator.follow(step.state, signals, **times)
            return _sub_cycled(simulator, step.state, signals, **times)
        except (KakehashiError, HpcError):
            raise
        except Exception as error:
            raise broken(step.name, step.state.members, f"from {step.t0:g} to {step.t1:g}", error) from error

    def _times(self, step: Step) -> dict[str, Any]:
        clock = self._clocks[step.name]
        return {"t0": step.t0 * clock, "t1": step.t1 * clock, "sample": [time * clock for time in step.sample]}

    def _signals(self, step: Step) -> dict[str, Signal] | None:
        if step.signals is None:
            return None
        return {name: signal.on_clock(self._clocks[step.name]) for name, signal in step.signals.items()}


SUB_CYCLES = 4
"""Steps in which a simulator that only takes constant inputs crosses a window."""


def _sub_cycled(
    simulator: Simulator, state: State, signals: Mapping[str, Signal], *, t0: float, t1: float, sample: Sequence[float]
) -> tuple[State, Values]:
    """Equal steps under the inputs of their midpoints: second order in their length (midpoint rule)."""
    whole = t1 == t0 or simulator.clock == "micro" or not any(signal.degree for signal in signals.values())
    edges = np.linspace(t0, t1, (1 if whole else SUB_CYCLES) + 1)  # an average of a micro simulator holds for a window
    found: list[Values] = []
    for i, (since, until) in enumerate(pairwise(edges)):
        last = i == len(edges) - 2
        looks = [time for time in sample if since <= time and (last or time < until)]
        inputs = {name: signal.at([(since + until) / 2])[:, 0] for name, signal in signals.items()}
        state, values = simulator.step(state, inputs, t0=float(since), t1=float(until), sample=looks)
        found.append(values if last else {name: value[:, :-1] for name, value in values.items()})
    return state, {name: np.concatenate([values[name] for values in found], axis=1) for name in found[0]}


@contextmanager
def named(name: str, members: NDArray[np.int64], when: str) -> Iterator[None]:
    """What breaks inside is told with the simulator's name, its members and the time.

    Raises:
        SimulationError: in place of anything that is not our own error already.
    """
    try:
        yield
    except (KakehashiError, HpcError):
        raise
    except Exception as error:
        raise broken(name, members, when, error) from error


def broken(name: str, members: NDArray[np.int64], when: str, error: Exception) -> SimulationError:
    """What broke, with the simulator's name, its members and the time."""
    whom = f"member {members[0]}" if len(members) == 1 else f"members {members.min()} … {members.max()}"
    return SimulationError(f"simulator {name!r}, {whom}, {when}: {type(error).__name__}: {error}")
