"""What a learned closure must beat: averages that stay as they are, and a ridge regression of their changes.

Legend: `M` rows, `N` courses, `K` times, `I` inputs, `O` outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from coupling.micro_courses import MicroCourses

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearLaw:
    """Δy = W [Δt, Δu, y Δt, u Δt] for every output; with zero weights, averages that stay as they are.

    Args:
        weights: `[1 + I + O + I, O]`.
        input_units, output_units, time_units: see `coupling.closure.Law`.
        low, high: range of the inputs of the lesson.
    """

    weights: Floats
    input_units: Mapping[str, str]
    output_units: Mapping[str, str]
    time_units: str
    low: Floats
    high: Floats

    @classmethod
    def hold(cls, courses: MicroCourses) -> Self:
        """The law that nothing moves."""
        features = _features(courses.outputs[:, 0], courses.inputs[:, 0], courses.inputs[:, 0], np.zeros(len(courses)))
        return cls._of(np.zeros((features.shape[1], courses.outputs.shape[2])), courses)

    @classmethod
    def fit(cls, courses: MicroCourses, *, ridge: float = 1e-6) -> Self:
        """Least squares over all single exchanges, columns scaled to 1, with a small ridge."""
        said, u = courses.outputs, courses.inputs
        spans = np.broadcast_to(np.diff(courses.times), (len(courses), len(courses.times) - 1)).ravel()
        x = _features(_flat(said[:, :-1]), _flat(u[:, :-1]), _flat(u[:, 1:]), spans)
        change = _flat(np.diff(said, axis=1))
        scale = np.sqrt((x**2).mean(axis=0))
        scale = np.where(scale > 0, scale, 1.0)
        scaled = x / scale
        normal = scaled.T @ scaled + ridge * len(x) * np.eye(x.shape[1])
        return cls._of(np.linalg.solve(normal, scaled.T @ change) / scale[:, None], courses)

    @classmethod
    def _of(cls, weights: Floats, courses: MicroCourses) -> Self:
        u = courses.inputs
        return cls(
            weights,
            courses.input_units,
            courses.output_units,
            courses.time_units,
            u.min(axis=(0, 1)),
            u.max(axis=(0, 1)),
        )

    def advance(self, said_MO: Floats, *, heard_MI: Floats, hears_MI: Floats, span_M: Floats) -> Floats:
        """See `coupling.closure.Law`."""
        features = _features(said_MO, heard_MI, hears_MI, span_M)
        # row by row: no bits from the rows around
        return said_MO + (features[:, :, None] * self.weights).sum(axis=1)

    def knows(self, said_MO: Floats, hears_MI: Floats) -> NDArray[np.bool_]:
        """Inputs within the range of the lesson."""
        del said_MO
        return np.asarray(((hears_MI >= self.low) & (hears_MI <= self.high)).all(axis=1), dtype=np.bool_)


def _features(said_MO: Floats, heard_MI: Floats, hears_MI: Floats, span_M: Floats) -> Floats:
    span = np.asarray(span_M)[:, None]
    return np.concatenate([span, hears_MI - heard_MI, said_MO * span, heard_MI * span], axis=1)


def _flat(array: Floats) -> Floats:
    return array.reshape(-1, array.shape[-1])
