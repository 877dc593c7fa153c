"""How large the errors of a closure's law are at each age since its last correction, measured on courses it has not seen.

Split conformal prediction (Vovk, Gammerman & Shafer 2005; Lei et al. 2018, J. Am. Stat. Assoc. 113:1094): of N independent
courses the ⌈(N + 1)(1 - risk)⌉-th smallest error bounds the error of one more such course with probability 1 - risk. A
course's error at an age is the largest up to that age from *any* start in the course, so that the bound holds for a run
with all its corrections. With too few courses the bound is infinite. It is a promise for courses *like these*, that hear as
these did; what leaves their range is left to the law's `knows`.

Legend: `N` courses, `K` times, `O` outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from coupling.micro_courses import MicroCourses
from twin.errors import InputError

if TYPE_CHECKING:
    from coupling.closure import Law

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Horizon:
    """Calibrated errors of a law.

    Args:
        ages: since the last correction, ascending from 0, in the courses' time units.
        errors: bound of the largest error up to that age, a share of an output's span; infinite where unknown.
        spans: of the outputs, in which errors are counted.
        risk: share of courses that may be worse.
        courses: how many the bound rests on.
    """

    ages: Floats
    errors: Floats
    spans: Floats
    risk: float
    courses: int

    @classmethod
    def measured(cls, law: Law, unseen: MicroCourses, *, spans: Floats, risk: float = 0.05) -> Self:
        """Let a law carry each unseen course from each of its answers to its end, and note how far it strays.

        Raises:
            InputError: a risk outside 0 … 1, or times that are not evenly spaced.
        """
        if not 0 < risk < 1:
            raise InputError(f"Horizon: risk {risk}; expected a share above 0 and below 1.")
        errors_NK = carried_errors(law, unseen, spans=spans)
        worst_NK = np.maximum.accumulate(errors_NK, axis=1)
        place = math.ceil((len(unseen) + 1) * (1 - risk))
        bound = np.full(len(unseen.times), np.inf)
        if place <= len(unseen):
            bound = np.sort(worst_NK, axis=0)[place - 1]
        return cls(unseen.times - unseen.times[0], bound, np.asarray(spans, dtype=np.float64), risk, len(unseen))

    def error(self, age_M: Floats) -> Floats:
        """Bound at an age `[M]`: that of the next calibrated age, infinite beyond the last."""
        place = np.searchsorted(self.ages, np.asarray(age_M) * (1 - 1e-12))
        return np.append(self.errors, np.inf)[np.where(np.isnan(age_M), len(self.errors), place)]

    def longest(self, tolerance: float) -> float:
        """The greatest age at which the bound is within a tolerance; negative if none is."""
        fine = self.ages[self.errors <= tolerance]
        fine = fine[fine > 0]
        return float(fine.max()) if len(fine) else -1.0


def carried_errors(law: Law, courses: MicroCourses, *, spans: Floats) -> Floats:
    """Errors `[N, K]` of a law at each age since a correction, in spans: the worst of outputs and of all starts in a course."""
    times, last = courses.times, len(courses.times) - 1
    if not np.allclose(np.diff(times), times[1] - times[0], rtol=1e-9):
        raise InputError(
            f"Horizon: times {times.tolist()}; expected equal spans, so that every start has the same ages."
        )
    errors = np.zeros((len(courses), last + 1))
    said = courses.outputs[:, :-1]  # carried from every start at once: [N, starts, O]
    for age in range(1, last + 1):
        starts = last + 1 - age
        heard, hears = courses.inputs[:, age - 1 : last], courses.inputs[:, age:]
        said = law.advance(
            said[:, :starts].reshape(-1, said.shape[-1]),
            heard_MI=heard.reshape(-1, heard.shape[-1]),
            hears_MI=hears.reshape(-1, hears.shape[-1]),
            span_M=np.full(len(courses) * starts, times[1] - times[0]),
        ).reshape(len(courses), starts, -1)
        errors[:, age] = (np.abs(said - courses.outputs[:, age:]) / spans).max(axis=(1, 2))
    return np.where(np.isnan(errors), np.inf, errors)
