"""The wall of an elastic tube: how wide each segment is under the pressure inside.

Legend: `M` members of this chunk, `X` segments, `T` sample times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.closed_form.closed_form import ClosedForm, Floats
from simulators.closed_form.tube_flow import RAN_AWAY, heard
from twin.errors import InputError, SimulationError
from twin.signal import Signal
from twin.simulator import State, Values, step_times
from twin.variable import Variable


class TubeWall(ClosedForm):
    """A thin wall without mass under hoop stress, after Hooke: a = a₀ / (1 - p / 2ρc²)², p above the pressure outside.

    c is the Moens–Korteweg speed of small waves, c² = E h / 2ρr₀ (Degroote, Bathe & Vierendeels 2009, Comput. Struct.
    87:793, there as ((p₀ - 2c²)/(p - 2c²))²).

    Input: ``pressure`` `[M, X]`. Output: ``widening`` `[M, X]`, the area less that at rest. Targets: ``wave_speed``, and ``outside``, the pressure around the tube.

    Args:
        segments: X.
        radius_m: at rest.
        density_kg_m3: of the liquid.
        wave_speed_m_s: c, one number or one per member `[N]`.

    Raises:
        InputError: a number that is not above 0.
    """

    def __init__(
        self,
        *,
        segments: int = 100,
        radius_m: float = 0.005,
        density_kg_m3: float = 1000.0,
        wave_speed_m_s: NDArray[np.floating[Any]] | float = 1.0,
    ) -> None:
        if segments < 1 or not min(radius_m, density_kg_m3, float(np.min(wave_speed_m_s))) > 0.0:
            raise InputError(
                f"TubeWall: {segments} segments, radius {radius_m} m, density {density_kg_m3} kg/m³, wave speed "
                f"{wave_speed_m_s} m/s; expected all above 0."
            )
        super().__init__(
            variables=[Variable("wave_speed", "m/s", lower=0.0), Variable("outside", "Pa")],
            values={"wave_speed": wave_speed_m_s, "outside": 0.0},
            outputs=[Variable("widening", "m**2", ("segment",))],
            time_units="s",
        )
        self._X, self._density, self._area = segments, density_kg_m3, math.pi * radius_m**2

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """The pressure in each segment."""
        return (Variable("pressure", "Pa", ("segment",)),)

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """Without pressure. See `ClosedForm.init`."""
        state = super().init(members=members, seed=seed)
        return replace(state, arrays={**state.arrays, "pressure": np.zeros((len(state.members), self._X))})

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """See `twin.Simulator.step`."""
        signals = {name: Signal.constant(t0, t1, np.asarray(values)) for name, values in inputs.items()}
        return self.follow(state, signals, t0=t0, t1=t1, sample=sample)

    def follow(
        self, state: State, signals: Mapping[str, Signal], *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """See `twin.Follower.follow`: the wall has no inertia, so that it is exact.

        Raises:
            SimulationError: a pressure that no such wall withstands, 2ρc² or more.
        """
        times = step_times(t0, t1, sample)
        signal = heard(self, state, signals, "pressure", self._X)
        own = state.arrays["pressure"]
        p = np.repeat(own[:, None], len(times) - 1, axis=1) if signal is None else signal.at(times[1:])
        most = 2.0 * self._density * state.arrays["wave_speed"] ** 2
        left = 1.0 - (p - state.arrays["outside"][:, None, None]) / most[:, None, None]
        if (left <= 0.0).any():
            member = int(np.flatnonzero((left <= 0.0).any(axis=(1, 2)))[0])
            raise SimulationError(
                f"TubeWall, member {state.members[member]}, from {t0:g} to {t1:g}: a pressure of {p[member].max():.3g} Pa, but "
                f"the wall withstands less than {most[member]:.3g} Pa (2ρc²); {RAN_AWAY}."
            )
        arrays = {**state.arrays, "pressure": p[:, -1].copy()}
        return replace(state, arrays=arrays, time=t1), {"widening": self._area * (1.0 - left**2) / left**2}

    def _course(self, arrays: Mapping[str, Floats], since: Floats) -> tuple[Mapping[str, Floats], Values]:
        raise NotImplementedError  # `follow` is the course, since an input has a part in it
