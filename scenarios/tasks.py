"""Arms × members cut into tasks, the same whatever the number of workers, and what comes back of one.

A task is one equilibration group (a cell line, and what it settles with) × one block of members: cells settle once, and all
arms of the group start from that shared state. Legend: `A` arms of a group, `M` members of a block, `T` sample times,
`R` readouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpc import TaskFailure
from hpc.task_failure import SET_ASIDE
from scenarios.arm import Arm

if TYPE_CHECKING:
    from scenarios.scenario import Scenario

Row = NDArray[np.float64]

BROKE, LOST = 100, 101
"""Statuses of the result beside those of the integrator (`simulators.reaction.Status`): a simulator broke; the worker
process died again and again. Stored in results: never renumber them."""
MECHANISM, EMULATOR = 0, 1
"""Who answered."""
COUNT = "coupling "  # before names of counts in a record
_TRAJECTORIES = 1000  # of a task: a second or two, so that a stopped run loses little and ranks end together
_MOST_MEMBERS = 64


@dataclass(frozen=True)
class CellTask:
    """One piece of work.

    Args:
        arms: positions of the group's arms in the scenario's list `[A]`; they settle alike.
        first, last: members first … last - 1.
    """

    arms: tuple[int, ...]
    first: int
    last: int

    @property
    def key(self) -> str:
        """Unique in a run."""
        return f"{self.arms[0]}x{len(self.arms)}:{self.first}-{self.last}"

    @property
    def trajectories(self) -> int:
        """How many courses of how many cells."""
        return len(self.arms) * (self.last - self.first)


@dataclass(frozen=True)
class CellCourses:
    """What a task found.

    Args:
        values: readouts `[A, M, T, R]`; NaN where a member failed.
        status: why `[A, M]`; 0 is fine.
        answered_by: `MECHANISM` or `EMULATOR` `[A, M]`.
        broken: what broke, each with arm, member and simulator.
        counts: what coupling took, name → `[A, M, …]` (`scenarios.coupling_counts`); empty where nothing is coupled.
    """

    values: Row
    status: NDArray[np.int8]
    answered_by: NDArray[np.int8]
    broken: tuple[str, ...] = ()
    counts: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])

    def record(self) -> tuple[dict[str, NDArray[Any]], list[str]]:
        """Arrays and note for a journal."""
        counts = {COUNT + name: array for name, array in self.counts.items()}
        return {"values": self.values, "status": self.status, "answered_by": self.answered_by, **counts}, list(
            self.broken
        )

    @classmethod
    def from_record(cls, arrays: Mapping[str, NDArray[Any]], note: Sequence[str]) -> CellCourses:
        """What `record` gave."""
        counts = {name.removeprefix(COUNT): array for name, array in arrays.items() if name.startswith(COUNT)}
        return cls(arrays["values"], arrays["status"], arrays["answered_by"], tuple(note), counts)


def cut(arms: Sequence[Arm], *, members: int) -> tuple[CellTask, ...]:
    """All tasks, in the order of arms and members."""
    alike: dict[Any, list[int]] = {}
    for position, arm in enumerate(arms):
        settles = tuple((p.target, p.operation, float(p.value)) for p in arm.before_equilibration)
        alike.setdefault((arm.cell_line, settles), []).append(position)
    tasks: list[CellTask] = []
    for positions in alike.values():
        block = min(_MOST_MEMBERS, max(1, _TRAJECTORIES // len(positions)))
        tasks += [CellTask(tuple(positions), first, min(first + block, members)) for first in range(0, members, block)]
    return tuple(tasks)


def lost(task: CellTask, scenario: Scenario, failure: TaskFailure, arms: Sequence[Arm]) -> CellCourses:
    """The courses of a task that has none: its worker died with it, or it broke outside any simulator."""
    shape = (len(task.arms), task.last - task.first)
    status = np.full(shape, LOST if failure.error_type == SET_ASIDE else BROKE, dtype=np.int8)
    values = np.full((*shape, len(scenario.sample_times), len(scenario.readouts)), np.nan)
    named = f"arm {arms[task.arms[0]].name!r}" + (f" and {len(task.arms) - 1} more" if len(task.arms) > 1 else "")
    text = f"{named}, members {task.first} … {task.last - 1} drawn from seed {scenario.seed}: {failure}"
    return CellCourses(values, status, np.zeros_like(status), (text,))
