"""A learned law that stands in for a micro simulator between its evaluations and is corrected by them.

From its last correction the law carries a micro simulator's averages y along the inputs u that the twin sends. The micro
simulator is asked again, and y corrected, when the law can no longer vouch: the calibrated error at this age is above the
tolerance, the inputs or averages leave what was learned, or earlier corrections of this member were too large. The errors
at each age come from courses that the law has not seen (`Horizon`); without such courses nothing is vouched for, and the
micro simulator answers every time.

After the heterogeneous multiscale method (E & Engquist 2003, Commun. Math. Sci. 1:87) with the law between the samples
learned beforehand. Legend: `M` members, `I` inputs, `O` outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coupling.evaluation import (
    COUNT,
    HELD,
    SINCE,
    STALE,
    check_step,
    evaluated,
    repeated,
    require_micro,
    rewrapped,
    unwrapped,
    wrapped,
)  # fmt: skip
from coupling.horizon import Horizon
from coupling.wrapper import Wrapper
from twin.errors import InputError, WiringError
from twin.perturbation import Perturbation
from twin.simulator import Simulator, State, Values
from twin.units import factor
from twin.variable import Variable

Floats = NDArray[np.float64]
CORRECTION = "correction"
"""Output port: how far the law was off at its worst correction so far, in spans of the outputs; 0 while there was none."""
_SAID, _HEARD, _AT, _TRUST = "said", "heard before", "at", "trust"


class Law(Protocol):
    """How averages move when inputs do; learned by `coupling.neural`, or a baseline of `coupling.closure_baseline`.

    Attributes:
        input_units, output_units: name → units, in the order of the axes.
        time_units: of spans of time.
    """

    @property
    def input_units(self) -> Mapping[str, str]: ...
    @property
    def output_units(self) -> Mapping[str, str]: ...
    @property
    def time_units(self) -> str: ...

    def advance(self, said_MO: Floats, *, heard_MI: Floats, hears_MI: Floats, span_M: Floats) -> Floats:
        """The averages after a `span_M` of time in which the inputs went from `heard_MI` to `hears_MI`."""
        ...

    def knows(self, said_MO: Floats, hears_MI: Floats) -> NDArray[np.bool_]:
        """Whether averages and inputs lie within what was learned `[M]`."""
        ...


class Closure(Wrapper):
    """A micro simulator and the law between its evaluations; itself a micro `twin.Simulator`.

    Args:
        simulator: with the clock ``"micro"`` and scalar ports.
        law: of all its outputs.
        horizon: how large the law's errors are at each age, from courses it has not seen.
        tolerance: error that may stand, a share of an output's span.
        noise: standard error of the micro simulator's own averages, a share of a span; a correction then weighs both
            (gain e²/(e² + noise²), e the calibrated error), as a Kalman filter does.

    Raises:
        WiringError: a macro simulator.
        InputError: a law of other ports or units, or a tolerance not above 0.
    """

    def __init__(
        self, simulator: Simulator, *, law: Law, horizon: Horizon, tolerance: float = 0.05, noise: float = 0.0
    ) -> None:
        require_micro(simulator, "Closure")
        _check_law(simulator, law)
        if not tolerance > 0 or not noise >= 0:
            raise InputError(f"Closure: tolerance {tolerance}, noise {noise}; expected above 0, and 0 or more.")
        super().__init__(simulator)
        self._law, self._horizon = law, horizon
        self._tolerance, self._noise = tolerance, noise
        self._longest = horizon.longest(tolerance)
        self._lower_O = np.array([-np.inf if port.lower is None else port.lower for port in simulator.outputs])

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Those of the micro simulator, how often it was asked, and how far the law was off at worst."""
        return (*self._inside.outputs, COUNT, Variable(CORRECTION, lower=0.0))

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """The micro simulator's start; nobody has been asked yet, everybody is trusted alike."""
        state = wrapped(self._inside.init(members=members, seed=seed))
        blank = np.full(len(state.members), np.nan)
        arrays = {
            _SAID: np.full((len(blank), len(self._inside.outputs)), np.nan),
            _HEARD: np.full((len(blank), len(self._law.input_units)), np.nan),
            _AT: blank,
            _TRUST: np.ones(len(blank)),
            CORRECTION: np.zeros(len(blank)),
        }
        return replace(state, arrays={**state.arrays, **arrays})

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """The micro simulator's state after the changes; all members will be asked again."""
        return rewrapped(state, self._inside.perturb(unwrapped(state), perturbations), stale=True)

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """The law's averages where it can vouch, corrected ones elsewhere. See `twin.Simulator.step`.

        Raises:
            InputError: an input of the law that nothing feeds.
        """
        check_step(self._inside, state, inputs, t0=t0, t1=t1, sample=sample)
        hears_MI = self._hears(inputs, len(state.members))
        guess_MO = self._guess(state, hears_MI, t0)
        age_M = t0 - state.arrays[SINCE]
        sure = ~state.arrays[STALE] & (age_M <= self._longest * state.arrays[_TRUST])
        sure &= np.isfinite(guess_MO).all(axis=1) & self._law.knows(guess_MO, hears_MI)
        rows = np.flatnonzero(~sure)
        fresh = state.arrays[STALE][rows]
        state = evaluated(self._inside, state, inputs, rows, t0=t0, t1=t1)
        arrays = dict(state.arrays)
        said_MO = guess_MO
        if len(rows):
            micro_NO = np.stack([arrays[HELD + port.name][rows] for port in self._inside.outputs], axis=-1)
            off_N = np.where(fresh, np.nan, self._off(guess_MO[rows], micro_NO))
            gain_N = self._gain(age_M[rows], fresh, off_N)
            mended = guess_MO[rows] + gain_N[:, None] * (micro_NO - guess_MO[rows])
            said_MO = said_MO.copy()
            said_MO[rows] = np.where(gain_N[:, None] == 1.0, micro_NO, mended)
            arrays[_TRUST] = arrays[_TRUST].copy()
            arrays[_TRUST][rows] = self._trust(arrays[_TRUST][rows], off_N)
            arrays[CORRECTION] = arrays[CORRECTION].copy()
            arrays[CORRECTION][rows] = np.fmax(arrays[CORRECTION][rows], off_N)
        arrays |= {_SAID: said_MO, _HEARD: hears_MI, _AT: np.full(len(said_MO), t0)}
        state = replace(state, arrays=arrays)
        values = {port.name: said_MO[:, o] for o, port in enumerate(self._inside.outputs)}
        return state, repeated({**values, CORRECTION: arrays[CORRECTION]}, state, times=len(sample) + 1)

    def _hears(self, inputs: Values, members: int) -> Floats:
        missing = [name for name in self._law.input_units if name not in inputs]
        if missing:
            raise InputError(f"Closure: nothing feeds {missing[0]!r}, which its law reads; put a Conduit to it.")
        columns = [
            np.broadcast_to(np.asarray(inputs[name], dtype=np.float64), (members,)) for name in self._law.input_units
        ]
        return np.stack(columns, axis=-1) if columns else np.zeros((members, 0))

    def _guess(self, state: State, hears_MI: Floats, now: float) -> Floats:
        """The law's averages now; NaN where nothing has been said yet."""
        said, known = state.arrays[_SAID], ~state.arrays[STALE]
        guess = np.full(said.shape, np.nan)
        if known.any():
            span = factor(self.time_units, self._law.time_units) * (now - state.arrays[_AT][known])
            heard = state.arrays[_HEARD][known]
            found = self._law.advance(said[known], heard_MI=heard, hears_MI=hears_MI[known], span_M=span)
            guess[known] = np.maximum(found, self._lower_O)
        return guess

    def _off(self, guess_NO: Floats, micro_NO: Floats) -> Floats:
        off: Floats = (np.abs(guess_NO - micro_NO) / self._horizon.spans).max(axis=1)
        return off

    def _gain(self, age_N: Floats, fresh: NDArray[np.bool_], off_N: Floats) -> Floats:
        """How much of a correction is taken: all of it where the law's error is not known or exceeded its calibration."""
        error = self._horizon.error(age_N)
        unknown = fresh | ~np.isfinite(error)
        if self._noise == 0.0:
            return np.ones(len(age_N))
        error = np.where(unknown, 1.0, error)
        gain = error**2 / (error**2 + self._noise**2)
        plain = unknown | ~(off_N <= 3.0 * np.hypot(error, self._noise))
        return np.where(plain, 1.0, gain)

    def _trust(self, trust_N: Floats, off_N: Floats) -> Floats:
        """Half as long after a correction beyond the tolerance, twice as long (at most the whole horizon) after a small one."""
        allowed = self._tolerance + 2.0 * self._noise
        grown = np.where(off_N <= 0.5 * allowed, np.minimum(1.0, 2.0 * trust_N), trust_N)
        return np.where(off_N > allowed, 0.5 * trust_N, grown)


def _check_law(simulator: Simulator, law: Law) -> None:
    wide = [port.name for port in (*simulator.inputs, *simulator.outputs) if port.dims]
    if wide:
        raise InputError(f"Closure: {', '.join(wide)} has dims of its own; expected scalar ports.")
    if [port.name for port in simulator.outputs] != list(law.output_units):
        names = ", ".join(port.name for port in simulator.outputs)
        raise InputError(
            f"Closure: the law gives {', '.join(law.output_units)}, the micro simulator {names}; fit the law to courses of "
            "this simulator."
        )
    inputs = {port.name: port for port in simulator.inputs}
    for name in law.input_units:
        if name not in inputs:
            raise WiringError(
                f"Closure: the law reads {name!r}, the micro simulator has {', '.join(inputs) or 'no input'}."
            )
    units = {port.name: port.units for port in (*simulator.inputs, *simulator.outputs)}
    for name, unit in {**law.input_units, **law.output_units}.items():
        if units[name] != unit:
            raise InputError(
                f"Closure: {name} is in {unit!r} in the law and in {units[name]!r} in the micro simulator; fit the law anew."
            )
    factor(simulator.time_units, law.time_units, where="Closure: clock of the law")
