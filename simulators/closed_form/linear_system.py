"""Anything whose equations are linear with constant coefficients: masses and springs, compartments, relaxation.

Legend: `M` members of this chunk, `N` members in all, `S` states, `U` inputs, `Y` outputs, `T` sample times,
`K` coefficients of a signal (degree + 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from simulators.closed_form.closed_form import ClosedForm, Floats
from twin.errors import InputError
from twin.signal import Signal
from twin.simulator import State, Values, step_times
from twin.variable import Variable

_REMEMBERED = 4096
"""Exponentials that are kept: windows of one length ask for the same ones again and again."""


class LinearSystem(ClosedForm):
    """x' = A x + B u and y = C x, exactly, for inputs u that stay or are polynomials in time.

    The state is followed by exp(A t) of the system enlarged by the input and its derivatives, which end with the
    polynomial (Van Loan 1978, IEEE Trans. Automat. Contr. 23:395).

    Args:
        states: name → (units, value at the start, one number or one per member `[N]`).
        rates: state → {state or input: coefficient}: the rows of A and B, in the units of the ports and `time_units`.
        inputs: name → units; an input that nothing feeds keeps its value, 0 at the start.
        outputs: name → (units, {state: coefficient}): the rows of C; None: the states.
        time_units: units of the clock.

    Raises:
        InputError: an unknown name, or a value that is not finite.
        UnitError: an unknown unit.
    """

    def __init__(
        self,
        *,
        states: Mapping[str, tuple[str, NDArray[np.floating[Any]] | float]],
        rates: Mapping[str, Mapping[str, float]],
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, tuple[str, Mapping[str, float]]] | None = None,
        time_units: str = "min",
    ) -> None:
        inputs = inputs or {}
        outputs = {name: (units, {name: 1.0}) for name, (units, _) in states.items()} if outputs is None else outputs
        super().__init__(
            variables=[
                *(Variable(name, units) for name, (units, _) in states.items()),
                *(Variable(name, units) for name, units in inputs.items()),
            ],
            values={**{name: values for name, (_, values) in states.items()}, **dict.fromkeys(inputs, 0.0)},
            outputs=[Variable(name, units) for name, (units, _) in outputs.items()],
            time_units=time_units,
        )
        self._states = tuple(states)
        self._inputs = tuple(Variable(name, units) for name, units in inputs.items())
        names = (*states, *inputs)
        _refuse_unknown("rates", rates, self._states)
        self._a = np.zeros((len(states), len(names)))
        for i, name in enumerate(states):
            _refuse_unknown(f"rate of {name}", rates.get(name, {}), names)
            for other, coefficient in rates.get(name, {}).items():
                self._a[i, names.index(other)] = coefficient
        self._c = np.zeros((len(outputs), len(states)))
        for i, (name, (_, row)) in enumerate(outputs.items()):
            _refuse_unknown(f"output {name}", row, self._states)
            for other, coefficient in row.items():
                self._c[i, self._states.index(other)] = coefficient
        if not (np.isfinite(self._a).all() and np.isfinite(self._c).all()):
            raise InputError("LinearSystem: a coefficient is not a finite number.")
        self._flows: dict[tuple[float, int], Floats] = {}

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """What conduits may feed."""
        return self._inputs

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """See `twin.Simulator.step`.

        Raises:
            InputError: an unknown input, a wrong number of values, or times out of order.
        """
        return self.follow(
            state,
            {name: Signal.constant(t0, t1, np.asarray(values)) for name, values in inputs.items()},
            t0=t0,
            t1=t1,
            sample=sample,
        )

    def follow(
        self, state: State, signals: Mapping[str, Signal], *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """See `twin.Follower.follow`: exact, whatever the degree of the signals."""
        times = step_times(t0, t1, sample)
        known = tuple(port.name for port in self._inputs)
        _refuse_unknown("inputs of a step", signals, known)
        members = len(state.members)
        for name, signal in signals.items():
            if signal.coefficients.shape[::2] != (members,):
                raise InputError(
                    f"Input {name}: shape {signal.coefficients.shape}; expected one value for {members} members."
                )
        degree = max((signal.degree for signal in signals.values()), default=0)
        u_MUK = np.zeros((members, len(known), degree + 1))
        for i, name in enumerate(known):
            if name in signals:
                u_MUK[:, i, : signals[name].degree + 1] = signals[name].derivatives(t0)
            else:
                u_MUK[:, i, 0] = state.arrays[name]
        x_MS = np.stack([state.arrays[name] for name in self._states], axis=1)
        start = np.concatenate([x_MS, u_MUK.transpose(0, 2, 1).reshape(members, -1)], axis=1)
        course = np.stack([_rows(self._flow(time - t0, degree), start) for time in times[1:]], axis=1)
        said = np.stack([_rows(self._c, course[:, i, : len(self._states)]) for i in range(len(times) - 1)], axis=1)
        arrays = dict(state.arrays)
        for i, name in enumerate((*self._states, *known)):
            arrays[name] = course[:, -1, i].copy()
        return (
            replace(state, arrays=arrays, time=t1),
            {port.name: np.ascontiguousarray(said[:, :, i]) for i, port in enumerate(self.outputs)},
        )

    def _course(self, arrays: Mapping[str, Floats], since: Floats) -> tuple[Mapping[str, Floats], Values]:
        raise NotImplementedError  # `follow` is the course, since inputs have a part in it

    def _flow(self, span: float, degree: int) -> Floats:
        """What becomes of states, inputs and the inputs' derivatives after a span of time; rows of S + U · K."""
        S, U = len(self._states), len(self._inputs)
        if (span, degree) in self._flows:
            return self._flows[span, degree]
        if len(self._flows) >= _REMEMBERED:
            self._flows.clear()
        enlarged = np.zeros((S + U * (degree + 1), S + U * (degree + 1)))
        enlarged[:S, : S + U] = self._a
        for k in range(degree):
            first = S + U * k
            enlarged[first : first + U, first + U : first + 2 * U] = np.eye(U)
        found: Floats = np.asarray(expm(enlarged * span), dtype=np.float64)
        self._flows[span, degree] = found
        return found


def _rows(matrix: Floats, vectors: Floats) -> Floats:
    """matrix · vector for each row of `vectors`, summed within the row: bits do not depend on how many rows there are."""
    found: Floats = np.asarray((matrix[None] * vectors[:, None, :]).sum(axis=-1), dtype=np.float64)
    return found


def _refuse_unknown(where: str, names: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"LinearSystem, {where}: no {name!r}; it has {', '.join(known) or 'none'}.")
