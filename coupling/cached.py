"""A micro simulator that is asked again only when what it hears has moved; until then its last averages hold.

A micro simulator (molecules, single receptors) costs most of a twin's time and mostly hears the same: its averages change
only as far as its inputs do. `Cached` wraps it and is itself a micro `twin.Simulator`; each member is asked or reused for
itself, so chunks and ranks change nothing. How often it was asked is an output port, and so part of every result.

Legend: `M` members of this chunk, `T` sample times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupling.evaluation import (
    COUNT,
    HEARD,
    SINCE,
    STALE,
    check_step,
    evaluated,
    held,
    repeated,
    require_micro,
    rewrapped,
    unwrapped,
    wrapped,
)
from coupling.wrapper import Wrapper
from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.simulator import Simulator, State, Values
from twin.variable import Variable


class Cached(Wrapper):
    """A micro simulator behind a tolerance.

    Args:
        simulator: with the clock ``"micro"``. Its noise must come from (seed, member), as the protocol asks.
        rtol: how far an input may move from where it was when the simulator was last asked, as a share of that value;
            one number for every input, or by name (0 for inputs left out).
        atol: the same in the input's units; an input has moved when it left both, |u - u_then| > atol + rtol |u_then|.
        longest: time after which it is asked anyway, in its own time units.

    Raises:
        WiringError: a macro simulator: its state would stand still while it is reused.
        InputError: a tolerance that is negative or names no input, a `longest` not above 0, or an output called ``evaluations``.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        rtol: float | Mapping[str, float] = 0.05,
        atol: float | Mapping[str, float] = 0.0,
        longest: float | None = None,
    ) -> None:
        require_micro(simulator, "Cached")
        names = [port.name for port in simulator.inputs]
        self._rtol, self._atol = _by_input(rtol, names, "rtol"), _by_input(atol, names, "atol")
        if longest is not None and not longest > 0:
            raise InputError(f"Cached: longest {longest}; expected a time above 0 in {simulator.time_units}, or None.")
        super().__init__(simulator)
        self._longest = longest

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Those of the micro simulator, and how often it was asked."""
        return (*self._inside.outputs, COUNT)

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """The micro simulator's start; nobody has been asked yet."""
        return wrapped(self._inside.init(members=members, seed=seed))

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """The micro simulator's state after the changes; all members will be asked again."""
        return rewrapped(state, self._inside.perturb(unwrapped(state), perturbations), stale=True)

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """Ask for the members whose inputs have moved; for the others, what was last said. See `twin.Simulator.step`."""
        check_step(self._inside, state, inputs, t0=t0, t1=t1, sample=sample)
        rows = np.flatnonzero(state.arrays[STALE] | self._moved(state, inputs) | self._aged(state, t0))
        state = evaluated(self._inside, state, inputs, rows, t0=t0, t1=t1)
        return state, repeated(held(state, self._inside), state, times=len(sample) + 1)

    def _moved(self, state: State, inputs: Values) -> NDArray[np.bool_]:
        moved = np.zeros(len(state.members), dtype=np.bool_)
        for port in self._inside.inputs:
            then, now = state.arrays.get(HEARD + port.name), inputs.get(port.name)
            if then is None and now is None:
                continue
            if then is None or now is None:  # fed now and not then, or the other way round
                return ~moved
            far = np.abs(now - then) > self._atol[port.name] + self._rtol[port.name] * np.abs(then)
            far |= np.isnan(now) != np.isnan(then)
            moved |= far.reshape(len(moved), -1).any(axis=1)
        return moved

    def _aged(self, state: State, t0: float) -> NDArray[np.bool_]:
        if self._longest is None:
            return np.zeros(len(state.members), dtype=np.bool_)
        return t0 - state.arrays[SINCE] >= self._longest


def _by_input(tolerance: float | Mapping[str, float], names: Sequence[str], what: str) -> dict[str, float]:
    given: dict[str, Any] = dict(tolerance) if isinstance(tolerance, Mapping) else dict.fromkeys(names, tolerance)
    for name, value in given.items():
        if name not in names:
            raise InputError(f"Cached: {what} names {name!r}; the micro simulator's inputs are {', '.join(names)}.")
        if not value >= 0:
            raise InputError(f"Cached: {what} of {name} is {value}; expected 0 or more.")
    return {name: float(given.get(name, 0.0)) for name in names}
