"""What integrates a reaction network for a batch of members: the seam between the simulator and its engines.

Legend: `M` members, `S` states, `P` settable constants, `T` times, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Status(IntEnum):
    """Why a member is NaN; 0 is fine. The values are stored in results: never renumber them."""

    FINE = 0
    NOT_CONVERGED = 1
    TOO_MANY_STEPS = 2
    NOT_FINITE = 3
    NOT_SETTLED = 4
    NOT_WHOLE = 5
    NEGATIVE_RATE = 6
    OUT_OF_TIME = 7
    NOT_DIFFERENTIABLE = 8

    @property
    def reason(self) -> str:
        """The status in words."""
        return _REASONS[self]


_REASONS = {
    Status.FINE: "fine",
    Status.NOT_CONVERGED: "the integrator could not go on: steps became too small",
    Status.TOO_MANY_STEPS: "the integrator needed too many steps",
    Status.NOT_FINITE: "a parameter, a state or a rate is not a finite number",
    Status.NOT_SETTLED: "no steady state was reached within the limits of time and steps",
    Status.NOT_WHOLE: "an event set an amount that reactions change to what is not a whole number of molecules",
    Status.NEGATIVE_RATE: "a reaction's rate became negative: write forward and backward reactions apart",
    Status.OUT_OF_TIME: "the time limit of the run came first",
    Status.NOT_DIFFERENTIABLE: "an event or a switch was touched, not crossed: when it turns has no derivative",
}


@dataclass(frozen=True)
class Run:
    """What an engine returns.

    Args:
        values: readouts `[M, T, R]` at the times asked for; NaN from where a member failed.
        x: states at the last time `[M, S]`; NaN for members that failed.
        status: a `Status` per member `[M]`, int8.
    """

    values: Floats
    x: Floats
    status: NDArray[np.int8]


@runtime_checkable
class Engine(Protocol):
    """Integrates one model for many members. Nothing is remembered between calls, and a member's bits do not depend
    on the members around it.

    Attributes:
        parameters: names of what is constant during a run, the columns of `p` (parameters, compartment sizes, species
            that are not changed by reactions).
        states: names of what moves, the columns of `x`; species are held as amounts.
        readouts: names of what `run` returns.
        volumes: per state, the column of `p` that divides the amount to give the value its id has in the model;
            -1 where the value is held as it is read.
        units: units of names, where known.
        time_units: units of the model's clock; empty where unknown.
        nonnegative: names of species and compartment sizes, which nobody may set below 0.
    """

    @property
    def parameters(self) -> tuple[str, ...]: ...
    @property
    def states(self) -> tuple[str, ...]: ...
    @property
    def readouts(self) -> tuple[str, ...]: ...
    @property
    def volumes(self) -> NDArray[np.intp]: ...
    @property
    def units(self) -> Mapping[str, str]: ...
    @property
    def time_units(self) -> str: ...
    @property
    def nonnegative(self) -> frozenset[str]: ...

    def start(self, given: Mapping[str, Floats], *, members: int, time: float) -> tuple[Floats, Floats]:
        """States `[M, S]` and constants `[M, P]` at the start of the model.

        Args:
            given: values `[M]` by name, as the model reads them; they replace the model's own and its initial
                assignments, and initial assignments that depend on them follow.
            members: how many.
            time: when, on the model's clock.

        Raises:
            InputError: a name without any value.
        """
        ...

    def run(self, x: Floats, p: Floats, times: Sequence[float], *, rtol: float, atol: float, held: bool = False) -> Run:
        """Integrate from `times[0]`, where the states are `x`, to `times[-1]`.

        Args:
            x, p: states `[M, S]` and constants `[M, P]`.
            times: ascending `[T]`, `T` ≥ 1.
            rtol, atol: tolerances of the integrator, `atol` in the units in which a species' id is read.
            held: the model's `time` stays at `times[0]` in its rates and rules while the states move on.
        """
        ...

    def rates(self, x: Floats, p: Floats, *, time: float) -> Floats:
        """d`x`/dt `[M, S]`."""
        ...

    def jacobian(self, x: Floats, p: Floats, *, time: float) -> Floats:
        """∂(d`x`/dt)/∂`x` `[M, S, S]`, exact or by differences."""
        ...

    def following(self, names: Sequence[str], degree: int) -> Engine:
        """The same model, with parameters that move within a run: polynomials of the time since its start.

        In place of each name, `parameters` of the new engine hold its coefficients `coefficient(name, k)`, k = 0 … degree,
        and `SINCE` and `PACE`: name = Σ coefficient_k · s^k with s = (time - SINCE) · PACE. `states` and `readouts` stay.

        Raises:
            UnsupportedFeature: a name that cannot move.
        """
        ...


SINCE, PACE = "moving__since", "moving__pace"
"""Parameters of an engine that follows: when s is 0, and how fast it grows."""


def coefficient(name: str, k: int) -> str:
    """The parameter that holds a coefficient of what moves."""
    return f"moving__{name}__{k}"
