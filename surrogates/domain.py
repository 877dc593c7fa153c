"""What an emulator was trained on: its inputs and outputs, and whether a cell and an arm lie within what it has seen.

Legend: `M` rows, `F` features, `L` levels, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from surrogates.axis import Axis
from surrogates.dosing import changed, dose_windows
from surrogates.trajectories import Trajectories
from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.variable import Variable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Schedule = tuple[tuple[float, str], ...]

_SAME = 1e-9  # relative difference between two values of what never varied in training


@dataclass(frozen=True)
class Domain:
    """The ground on which an emulator stands.

    Args:
        features: what differs between cells: parameters, and states at the start.
        levels: what arms change in time, e.g. doses.
        level_units: of each level, where known.
        fixed: everything else that the cell holds → its one value.
        readouts: the outputs, with units.
        spans: of each readout in training, from its 0.5 % to its 99.5 % quantile: the measure of an error.
        schedules: times and names of the changes of each arm that was trained.
        t0: when arms start.
        times: when readouts were compared.
        time_units: of the clock.
        mechanism: fingerprint of what it stands in for; an emulator of another mechanism is refused.
    """

    features: tuple[Axis, ...]
    levels: tuple[Axis, ...]
    level_units: tuple[str, ...]
    fixed: Mapping[str, float]
    readouts: tuple[Variable, ...]
    spans: tuple[float, ...]
    schedules: frozenset[Schedule]
    t0: float
    times: tuple[float, ...]
    time_units: str
    mechanism: str

    @classmethod
    def of(
        cls,
        lesson: Trajectories,
        *,
        levels: Sequence[str],
        units: Mapping[str, str],
        time_units: str,
        mechanism: str,
    ) -> Self:
        """The domain of training trajectories.

        Raises:
            InputError: no readout that moves, or an arm that changes what is no level.
        """
        values = lesson.feature_values
        levels = [name for name in levels if name in values]
        level_axes: list[Axis] = []
        in_time = levels_in_time(lesson, levels)
        for column, name in enumerate(levels):
            found = np.concatenate([in_time[:, :, column].ravel(), values[name]])
            if np.ptp(found) > 0:
                level_axes.append(Axis.of(name, found))
        moving = {axis.name for axis in level_axes}
        varying = [name for name in lesson.features if name not in moving and _varies(values[name])]
        low, high = np.quantile(lesson.values_NTR, [0.005, 0.995], axis=(0, 1))
        spans = high - low
        if not (spans > 0).all():
            still = [name for name, span in zip(lesson.readouts, spans, strict=True) if not span > 0]
            raise InputError(
                f"Readout {', '.join(still)} never moves in the training trajectories: there is nothing to learn; "
                "leave it out, or let an arm move it."
            )
        positive = (lesson.values_NTR >= 0).all(axis=(0, 1)) & (lesson.initial_NR >= 0).all(axis=0)
        return cls(
            features=tuple(Axis.of(name, values[name]) for name in varying),
            levels=tuple(level_axes),
            level_units=tuple(units.get(axis.name, "") for axis in level_axes),
            fixed={
                name: float(values[name][0])
                for name in lesson.features
                if name not in moving and name not in set(varying)
            },
            readouts=tuple(
                Variable(name, units.get(name, ""), lower=0.0 if bounded else None)
                for name, bounded in zip(lesson.readouts, np.atleast_1d(positive), strict=True)
            ),
            spans=tuple(float(span) for span in spans),
            schedules=frozenset(schedule(arm) for arm in lesson.arms),
            t0=lesson.t0,
            times=tuple(lesson.times_T.tolist()),
            time_units=time_units,
            mechanism=mechanism,
        )

    @property
    def needed(self) -> tuple[str, ...]:
        """Every name whose value a cell must bring."""
        return (*(axis.name for axis in self.features), *(axis.name for axis in self.levels), *self.fixed)

    @property
    def level_names(self) -> tuple[str, ...]:
        """Names of the levels, in the order of the columns."""
        return tuple(axis.name for axis in self.levels)

    def features_of(self, values: Mapping[str, Floats]) -> Floats:
        """Scaled features `[M, F]`; a value that has no logarithm is NaN.

        Raises:
            InputError: a name without a value.
        """
        self._refuse_missing(values)
        return _columns(
            [axis.scaled(np.asarray(values[axis.name], dtype=np.float64)) for axis in self.features], values
        )

    def levels_of(self, values: Mapping[str, Floats]) -> Floats:
        """Levels `[M, L]` before any change, as the model reads them.

        Raises:
            InputError: a name without a value.
        """
        self._refuse_missing(values)
        return _columns([np.asarray(values[axis.name], dtype=np.float64) for axis in self.levels], values)

    def scaled_levels(self, levels_ML: Floats) -> Floats:
        """What the network is given `[M, L]`."""
        return _columns([axis.scaled(levels_ML[:, column]) for column, axis in enumerate(self.levels)], levels_ML)

    def familiar(self, values: Mapping[str, Floats]) -> Bools:
        """Whether training has seen such cells `[M]`: every feature in range, and what never varied unchanged.

        Raises:
            InputError: a name without a value.
        """
        self._refuse_missing(values)
        rows = len(np.asarray(values[self.needed[0]]))
        known = np.ones(rows, dtype=np.bool_)
        for axis in self.features:
            known &= axis.familiar(np.asarray(values[axis.name], dtype=np.float64))
        for name, value in self.fixed.items():
            known &= np.isclose(values[name], value, rtol=_SAME, atol=_SAME * abs(value))
        return known

    def knows(self, perturbations: Sequence[Perturbation]) -> bool:
        """Whether training has changed these things at these times."""
        return schedule(perturbations) in self.schedules

    def familiar_levels(self, levels_ML: Floats) -> Bools:
        """Whether training has seen such levels `[M]`."""
        known = np.ones(len(levels_ML), dtype=np.bool_)
        for column, axis in enumerate(self.levels):
            known &= axis.familiar(levels_ML[:, column])
        return known

    def refuse_other(
        self,
        *,
        mechanism: str,
        readouts: Sequence[str],
        names: Sequence[str],
        until: float,
        where: str,
        model: str,
        command: str,
    ) -> None:
        """Refuse an emulator of something else.

        Args:
            mechanism: fingerprint of what shall be emulated.
            readouts: what shall be answered.
            names: everything that a cell can bring.
            until: last time that is looked at.
            where, model, command: the checkpoint, the model's file and what trains it again, for the message.

        Raises:
            InputError: other readouts, another mechanism, features that cells do not have, or a later time than any trained.
        """
        own = [port.name for port in self.readouts]
        cure = f"train it again with `{command}`, or leave `emulator:` out."
        if set(readouts) != set(own):
            raise InputError(f"{where}: it emulates {', '.join(own)}; expected {', '.join(readouts)}; {cure}")
        unknown = [name for name in self.needed if name not in set(names)]
        if unknown:
            raise InputError(f"{where}: it needs {', '.join(unknown[:5])}, which this model does not have; {cure}")
        if mechanism != self.mechanism:
            raise InputError(
                f"{where}: it emulates another mechanism (fingerprint {self.mechanism[:12]}…, expected "
                f"{mechanism[:12]}…): since it was trained, {model} was edited (a comment counts too), or a readout's "
                f"expression, how cells settle or the start; {cure}"
            )
        if until > self.times[-1]:
            raise InputError(f"{where}: it was trained until {self.times[-1]:g}; {until:g} is asked for; {cure}")

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "features": [axis.facts() for axis in self.features],
            "levels": [axis.facts() for axis in self.levels],
            "level_units": list(self.level_units),
            "fixed": dict(self.fixed),
            "readouts": [{"name": r.name, "units": r.units, "lower": r.lower} for r in self.readouts],
            "spans": list(self.spans),
            "schedules": sorted([list(change) for change in changes] for changes in self.schedules),
            "t0": self.t0,
            "times": list(self.times),
            "time_units": self.time_units,
            "mechanism": self.mechanism,
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """From plain data; raises `TypeError`, `KeyError` or `ValueError` where it is no domain."""
        return cls(
            features=tuple(Axis.from_facts(axis) for axis in facts["features"]),
            levels=tuple(Axis.from_facts(axis) for axis in facts["levels"]),
            level_units=tuple(str(units) for units in facts["level_units"]),
            fixed={str(name): float(value) for name, value in facts["fixed"].items()},
            readouts=tuple(Variable(r["name"], r["units"], lower=r["lower"]) for r in facts["readouts"]),
            spans=tuple(float(span) for span in facts["spans"]),
            schedules=frozenset(tuple((float(t), str(n)) for t, n in changes) for changes in facts["schedules"]),
            t0=float(facts["t0"]),
            times=tuple(float(time) for time in facts["times"]),
            time_units=str(facts["time_units"]),
            mechanism=str(facts["mechanism"]),
        )

    def _refuse_missing(self, values: Mapping[str, Floats]) -> None:
        missing = [name for name in self.needed if name not in values]
        if missing:
            raise InputError(
                f"The emulator needs {', '.join(missing)} of every cell; give everything that its settled state holds."
            )


def schedule(perturbations: Sequence[Perturbation]) -> Schedule:
    """Times and names of changes."""
    return tuple(sorted((float(change.time), change.name) for change in perturbations))


def levels_in_time(lesson: Trajectories, levels: Sequence[str]) -> Floats:
    """Levels `[N, W, L]` in each window of each trajectory; W is that of the arm with most, the last repeated.

    Raises:
        InputError: an arm that changes what is no level.
    """
    most = max(len(_windows(lesson, arm)) for arm in range(len(lesson.arms)))
    found = np.zeros((len(lesson), most, len(levels)))
    start = np.stack([lesson.feature_values[name] for name in levels], axis=1) if levels else np.zeros((len(lesson), 0))
    for arm in np.unique(lesson.arm_N).tolist():
        rows = np.flatnonzero(lesson.arm_N == arm)
        now = start[rows]
        windows = _windows(lesson, arm)
        for position in range(most):
            if position < len(windows):
                now = changed(now, levels, windows[position].changes)
            found[rows, position] = now
    return found


def _windows(lesson: Trajectories, arm: int) -> tuple[Any, ...]:
    return dose_windows(lesson.arms[arm], t0=lesson.t0, t1=float(lesson.times_T[-1]))


def _varies(values: Floats) -> bool:
    return bool(np.ptp(values) > _SAME * np.abs(values).max())


def _columns(columns: Sequence[Floats], like: Mapping[str, Floats] | Floats) -> Floats:
    if columns:
        return np.stack(columns, axis=1)
    rows = len(like) if isinstance(like, np.ndarray) else len(next(iter(like.values())))
    return np.zeros((rows, 0))
