"""What an emulator learns from and is judged by: courses of a mechanism, each with what it started from and what was done.

Legend: `N` trajectories, `F` features, `R` readouts, `T` times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError
from twin.perturbation import Perturbation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trajectories:
    """Courses of a mechanism.

    Args:
        features: names of everything that the settled cell holds, parameters and states.
        features_NF: their values, before any change.
        readouts: names.
        initial_NR: readouts before any change.
        arms: what can be done to a cell, changes in time.
        arm_N: which of them was done.
        cell_N: number of the cell; all trajectories of a cell stay on one side of a split.
        t0: when an arm starts.
        times_T: ascending times of the values.
        values_NTR: readouts.

    Raises:
        InputError: shapes that do not belong together, or values that are not finite.
    """

    features: tuple[str, ...]
    features_NF: Floats  # noqa: N815 - the shape
    readouts: tuple[str, ...]
    initial_NR: Floats  # noqa: N815 - the shape
    arms: tuple[tuple[Perturbation, ...], ...]
    arm_N: NDArray[np.int64]  # noqa: N815
    cell_N: NDArray[np.int64]  # noqa: N815
    t0: float
    times_T: Floats  # noqa: N815
    values_NTR: Floats  # noqa: N815 - the shape

    def __post_init__(self) -> None:
        rows = len(self.arm_N)
        expected = {
            "features_NF": (rows, len(self.features)),
            "initial_NR": (rows, len(self.readouts)),
            "cell_N": (rows,),
            "values_NTR": (rows, len(self.times_T), len(self.readouts)),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape or not np.isfinite(array).all():
                raise InputError(f"Trajectories: {name} has shape {array.shape}; expected {shape}, all finite.")
        if (np.diff(self.times_T) < 0).any() or (len(self.times_T) and self.times_T[0] < self.t0):
            raise InputError(f"Trajectories: expected ascending times from {self.t0:g} on.")

    def __len__(self) -> int:
        """N."""
        return len(self.arm_N)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Trajectories:
        """Some of them."""
        return replace(
            self,
            features_NF=self.features_NF[rows],
            initial_NR=self.initial_NR[rows],
            arm_N=self.arm_N[rows],
            cell_N=self.cell_N[rows],
            values_NTR=self.values_NTR[rows],
        )

    def of_cells(self, first: int, last: int) -> Trajectories:
        """Those of cells first … last - 1."""
        return self.take((self.cell_N >= first) & (self.cell_N < last))

    @classmethod
    def joined(cls, parts: Sequence[Trajectories]) -> Trajectories:
        """Several of the same names, arms and times, one behind the other."""
        first = parts[0]
        return replace(
            first,
            features_NF=np.concatenate([part.features_NF for part in parts]),
            initial_NR=np.concatenate([part.initial_NR for part in parts]),
            arm_N=np.concatenate([part.arm_N for part in parts]),
            cell_N=np.concatenate([part.cell_N for part in parts]),
            values_NTR=np.concatenate([part.values_NTR for part in parts]),
        )

    @property
    def feature_values(self) -> dict[str, Floats]:
        """Name → values `[N]`."""
        return {name: self.features_NF[:, column] for column, name in enumerate(self.features)}

    @property
    def initial_values(self) -> dict[str, Floats]:
        """Name → values `[N]`."""
        return {name: self.initial_NR[:, column] for column, name in enumerate(self.readouts)}
