"""A liquid in an elastic tube whose walls somebody else moves: flow by what is displaced, pressure by what that takes.

Legend: `M` members of this chunk, `X` segments, `T` sample times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.closed_form.closed_form import ClosedForm, Floats
from twin.errors import InputError, SimulationError
from twin.signal import Signal
from twin.simulator import State, Values, step_times
from twin.variable import Variable

RAN_AWAY = "coupling has run away: take WaveformRelaxation, or relax more"


class TubeFlow(ClosedForm):
    """Incompressible flow without friction along a tube (Degroote, Bathe & Vierendeels 2009, Comput. Struct. 87:793).

    With area a, flow q and pressure p: ∂a/∂t + ∂q/∂x = 0 and ∂q/∂t + ∂(q²/a)/∂x + (a/ρ) ∂p/∂x = 0, on a staggered grid
    and by backward Euler steps. The velocity at the inlet is given, v(t) = velocity · (1 + pulse · sin²(π t / period)), and
    the pressure at the outlet is 0. Given the areas, flow follows from the inlet on and pressure from the outlet back,
    without a system of equations. Its first-order error in `longest` comes on top of that of coupling.

    Input: ``widening`` `[M, X]`, the area less that at rest. Outputs: ``pressure`` and ``flow`` (into each segment) `[M, X]`.
    Targets: ``velocity``, ``pulse``, ``period``.

    Args:
        segments: X, at least 2.
        length_m, radius_m: of the tube at rest.
        density_kg_m3: of the liquid.
        velocity_m_s, pulse, period_s: of the inlet, one number or one per member `[N]`.
        longest_s: longest Euler step; None: one per step of the simulator.

    Raises:
        InputError: fewer than 2 segments, or a length, radius, density or period that is not above 0.
    """

    def __init__(
        self,
        *,
        segments: int = 100,
        length_m: float = 0.05,
        radius_m: float = 0.005,
        density_kg_m3: float = 1000.0,
        velocity_m_s: NDArray[np.floating[Any]] | float = 0.1,
        pulse: NDArray[np.floating[Any]] | float = 0.1,
        period_s: NDArray[np.floating[Any]] | float = 0.05,
        longest_s: float | None = None,
    ) -> None:
        if segments < 2 or not min(length_m, radius_m, density_kg_m3, longest_s or 1.0, float(np.min(period_s))) > 0.0:
            raise InputError(
                f"TubeFlow: {segments} segments, length {length_m} m, radius {radius_m} m, density {density_kg_m3} kg/m³, "
                f"period {period_s} s, longest step {longest_s} s; expected at least 2 segments and all else above 0."
            )
        super().__init__(
            variables=[Variable("velocity", "m/s"), Variable("pulse"), Variable("period", "s", lower=0.0)],
            values={"velocity": velocity_m_s, "pulse": pulse, "period": period_s},
            outputs=[Variable("pressure", "Pa", ("segment",)), Variable("flow", "m**3/s", ("segment",))],
            time_units="s",
        )
        self._X, self._dx, self._density = segments, length_m / segments, density_kg_m3
        self._area, self._longest = math.pi * radius_m**2, longest_s

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """How much wider each segment is than at rest."""
        return (Variable("widening", "m**2", ("segment",)),)

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """At rest in form, the liquid moving as at time 0. See `ClosedForm.init`."""
        state = super().init(members=members, seed=seed)
        M, X = len(state.members), self._X
        q = np.repeat((self._area * self._inlet(state.arrays, 0.0))[:, None], X + 1, axis=1)
        field = {"area": np.full((M, X), self._area), "flow": q, "pressure": np.zeros((M, X))}
        return replace(state, arrays={**state.arrays, **field})

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """See `twin.Simulator.step`; widenings are those at the end of the step."""
        signals = {name: Signal.constant(t0, t1, np.asarray(values)) for name, values in inputs.items()}
        return self.follow(state, signals, t0=t0, t1=t1, sample=sample)

    def follow(
        self, state: State, signals: Mapping[str, Signal], *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """See `twin.Follower.follow`; between Euler steps, outputs are on straight lines."""
        times = step_times(t0, t1, sample)
        widening = heard(self, state, signals, "widening", self._X)
        count = 0 if t1 == t0 else 1 if self._longest is None else math.ceil((t1 - t0) / self._longest)
        edges = np.linspace(t0, t1, count + 1)
        arrays = dict(state.arrays)
        seen = [(arrays["pressure"], arrays["flow"][:, :-1])]
        for since, until in pairwise(edges):
            a = arrays["area"] if widening is None else self._area + widening.at([until])[:, 0]
            if (a <= 0.0).any():
                raise SimulationError(
                    f"TubeFlow, member {state.members[int(np.flatnonzero((a <= 0.0).any(axis=1))[0])]}, from {since:g} to "
                    f"{until:g}: the tube is shut; {RAN_AWAY}."
                )
            arrays |= self._moved(arrays, a, float(since), float(until))
            seen.append((arrays["pressure"], arrays["flow"][:, :-1]))
        said = {
            name: np.stack([_between(edges, [pair[i] for pair in seen], time) for time in times[1:]], axis=1)
            for i, name in enumerate(("pressure", "flow"))
        }
        return replace(state, arrays=arrays, time=t1), said

    def _moved(self, arrays: Mapping[str, Floats], a: Floats, since: float, until: float) -> dict[str, Floats]:
        """One Euler step to areas `a` `[M, X]`."""
        dt, dx, rho = until - since, self._dx, self._density
        inlet = a[:, :1] * self._inlet(arrays, until)[:, None]
        gained = np.cumsum(a - arrays["area"], axis=1) * (dx / dt)
        q = np.concatenate([inlet, inlet - gained], axis=1)
        middle = (q[:, 1:] + q[:, :-1]) / 2
        carried = np.concatenate([middle**2 / a, q[:, -1:] ** 2 / a[:, -1:]], axis=1)
        wide = np.full(self._X, dx)
        wide[-1] = dx / 2  # the outlet lies half a segment behind the last middle
        edge = np.concatenate([(a[:, 1:] + a[:, :-1]) / 2, a[:, -1:]], axis=1)
        force = (q[:, 1:] - arrays["flow"][:, 1:]) / dt + (carried[:, 1:] - carried[:, :-1]) / wide
        drop = rho * wide * force / edge  # of pressure, from each middle to the next
        pressure = np.cumsum(drop[:, ::-1], axis=1)[:, ::-1]
        return {"area": a.copy(), "flow": q, "pressure": np.ascontiguousarray(pressure)}

    def _inlet(self, arrays: Mapping[str, Floats], time: float) -> Floats:
        """The velocity at the inlet `[M]`."""
        return arrays["velocity"] * (1.0 + arrays["pulse"] * np.sin(np.pi * time / arrays["period"]) ** 2)

    def _course(self, arrays: Mapping[str, Floats], since: Floats) -> tuple[Mapping[str, Floats], Values]:
        raise NotImplementedError  # `follow` is the course, since an input has a part in it


def heard(who: ClosedForm, state: State, signals: Mapping[str, Signal], name: str, segments: int) -> Signal | None:
    """The signal of the only input; raises `InputError` for another one or another shape."""
    for other in signals:
        if other != name:
            raise InputError(f"{type(who).__name__} has no input {other!r}; it has {name}.")
    if name not in signals:
        return None
    shape = signals[name].coefficients.shape
    if (shape[0], *shape[2:]) != (len(state.members), segments):
        raise InputError(
            f"{type(who).__name__}, input {name}: shape {shape}; expected {segments} segments for {len(state.members)} members."
        )
    return signals[name]


def _between(edges: NDArray[np.float64], seen: Sequence[Floats], time: float) -> Floats:
    i = min(max(int(np.searchsorted(edges, time, side="left")) - 1, 0), max(len(edges) - 2, 0))
    if len(edges) == 1:
        return seen[0]
    share = (time - edges[i]) / (edges[i + 1] - edges[i])
    return seen[i + 1] if share == 1.0 else seen[i] + share * (seen[i + 1] - seen[i])
