"""Arms × members cut into tasks, and one task run: cells settle once, and every arm starts from that shared state.

A task is one equilibration group (a cell line, and what it settles with) × one block of members. The cut depends on the
scenario alone, never on how many workers there are. Legend: `A` arms of a group, `M` members of a block, `N` members,
`T` sample times, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coupling.equilibrium import settle
from coupling.simulate import States, advance, perturb, start
from hpc import TaskFailure
from hpc.task_failure import SET_ASIDE
from scenarios.arm import Arm
from scenarios.build import BINDING, CELL, Build, build
from twin.errors import KakehashiError
from twin.graph import Twin

if TYPE_CHECKING:
    from scenarios.cohort import Cohort
    from scenarios.scenario import Scenario

Row = NDArray[np.float64]

BROKE, LOST = 100, 101
"""Statuses of the result beside those of the integrator (`simulators.reaction.Status`): a simulator broke; the worker
process died again and again. Stored in results: never renumber them."""
MECHANISM, EMULATOR = 0, 1
"""Who answered."""
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
    """

    values: Row
    status: NDArray[np.int8]
    answered_by: NDArray[np.int8]
    broken: tuple[str, ...] = ()

    def record(self) -> tuple[dict[str, NDArray[Any]], list[str]]:
        """Arrays and note for a journal."""
        return {"values": self.values, "status": self.status, "answered_by": self.answered_by}, list(self.broken)

    @classmethod
    def from_record(cls, arrays: Mapping[str, NDArray[Any]], note: Sequence[str]) -> CellCourses:
        """What `record` gave."""
        return cls(arrays["values"], arrays["status"], arrays["answered_by"], tuple(note))


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


@dataclass(frozen=True)
class CellRunner:
    """Runs a `CellTask`; it is sent to every worker once.

    Args:
        scenario: what was asked.
        arms: all of them.
        drawn: cell line → what differs between its cells, name → `[N]`.
        rates: compound → kon [1/(M s)] and Kd [M] of each cell, `[N]` each.
    """

    scenario: Scenario
    arms: tuple[Arm, ...]
    drawn: Mapping[str, Mapping[str, Row]]
    rates: Mapping[str, tuple[Row, Row]] = field(default_factory=dict[str, tuple[Row, Row]])

    @classmethod
    def of(cls, scenario: Scenario, arms: Sequence[Arm], cohort: Cohort) -> CellRunner:
        """The runner of these arms for the members of a cohort."""
        lines = dict.fromkeys(arm.cell_line for arm in arms)
        compounds = dict.fromkeys(arm.compound for arm in arms if arm.compound)
        return cls(
            scenario,
            tuple(arms),
            {line: cohort.parameters(line) for line in lines},
            {compound: cohort.rates(compound) for compound in compounds},
        )

    def __call__(self, task: CellTask) -> CellCourses:
        """Every arm of the group for the block's members; what breaks in one member's arm costs no more than that."""
        members = np.arange(task.first, task.last, dtype=np.int64)
        try:
            return self._block(task, members, isolated=False)
        except KakehashiError:
            return _joined([self._block(task, member, isolated=True) for member in members[:, None]])

    @cached_property
    def _built(self) -> Build:
        """Compiled where the task runs, once."""
        return build(self.scenario)

    def _block(self, task: CellTask, members: NDArray[np.int64], *, isolated: bool) -> CellCourses:
        """The group's arms for some members; `isolated`: an error is written down, and the rest goes on."""
        scenario, arms = self.scenario, [self.arms[position] for position in task.arms]
        built = self._built
        cell = built.cell(arms[0].cell_line, self.drawn[arms[0].cell_line])
        t0, t1 = scenario.time.start_min, scenario.time.end_min
        times, readouts = scenario.sample_times, tuple(scenario.readouts)
        values = np.full((len(arms), len(members), len(times), len(readouts)), np.nan)
        status = np.full((len(arms), len(members)), BROKE, dtype=np.int8)
        broken: list[str] = []
        whom = f"{arms[0].cell_line}, member {members[0]}"
        try:
            settled = self._settled(built.twin(cell), arms[0], members)
        except KakehashiError as error:
            if not isolated:
                raise
            return CellCourses(
                values, status, np.zeros_like(status), (f"{whom}, before the start of any arm: {error}",)
            )
        for row, arm in enumerate(arms):
            kon, kd = self.rates.get(arm.compound, (None, None))
            twin = built.twin(cell, kon=kon, koff=None if kon is None or kd is None else kon * kd)
            states = dict(settled)
            if BINDING in twin.simulators:
                states[BINDING] = twin.simulators[BINDING].init(members=members, seed=scenario.seed)
            try:
                course = advance(twin, states, arm.perturbations, t0=t0, t1=t1, sample=times)
            except KakehashiError as error:
                if not isolated:
                    raise
                broken.append(f"arm {arm.name!r}, member {members[0]}: {error}")
                continue
            values[row] = np.stack([course.values[f"{CELL}.{name}"] for name in readouts], axis=-1)
            status[row] = course.states[CELL].arrays["status"]
        broken += _not_fine(arms, members, status)
        return CellCourses(values, status, np.zeros_like(status), tuple(broken))

    def _settled(self, twin: Twin, arm: Arm, members: NDArray[np.int64]) -> States:
        """The cells as every arm of the group finds them."""
        states = perturb(twin, start(twin, members=members, seed=self.scenario.seed), arm.before_equilibration)
        if not self.scenario.cell.equilibrate:
            t0 = self.scenario.time.start_min  # a first look ends the start: what comes is a change in time
            return advance(twin, states, t0=t0, t1=t0, sample=()).states
        return settle(twin, states, held={f"{CELL}.{n}": v for n, v in self.scenario.equilibration.items()})


def _not_fine(arms: Sequence[Arm], members: NDArray[np.int64], status: NDArray[np.int8]) -> list[str]:
    """Members that the integrator gave up, in words; once for all arms where they were lost before the first."""
    from simulators.reaction import Status

    texts: list[str] = []
    for column, member in enumerate(members):
        reasons = status[:, column]
        if (reasons == Status.NOT_SETTLED).all():
            texts.append(
                f"all {len(arms)} arms of {arms[0].cell_line} that settle alike, member {member}, "
                f"simulator {CELL!r}: {Status.NOT_SETTLED.reason}"
            )
            continue
        for row in np.flatnonzero((reasons != Status.FINE) & (reasons != BROKE)).tolist():
            texts.append(f"arm {arms[row].name!r}, member {member}, simulator {CELL!r}: {Status(reasons[row]).reason}")
    return texts


def lost(task: CellTask, scenario: Scenario, failure: TaskFailure, arms: Sequence[Arm]) -> CellCourses:
    """The courses of a task that has none: its worker died with it, or it broke outside any simulator."""
    shape = (len(task.arms), task.last - task.first)
    status = np.full(shape, LOST if failure.error_type == SET_ASIDE else BROKE, dtype=np.int8)
    values = np.full((*shape, len(scenario.sample_times), len(scenario.readouts)), np.nan)
    named = f"arm {arms[task.arms[0]].name!r}" + (f" and {len(task.arms) - 1} more" if len(task.arms) > 1 else "")
    text = f"{named}, members {task.first} … {task.last - 1}: {failure}"
    return CellCourses(values, status, np.zeros_like(status), (text,))


def _joined(blocks: Sequence[CellCourses]) -> CellCourses:
    """Blocks of members, one behind the other."""
    return CellCourses(
        values=np.concatenate([block.values for block in blocks], axis=1),
        status=np.concatenate([block.status for block in blocks], axis=1),
        answered_by=np.concatenate([block.answered_by for block in blocks], axis=1),
        broken=tuple(text for block in blocks for text in block.broken),
    )
