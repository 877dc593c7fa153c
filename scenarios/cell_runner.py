"""One task run: cells settle once, and arms that are treated alike but for doses run as one batch of (arm, member) rows.

Legend: `A` arms of a group, `B` arms of a batch, `M` members of a block, `N` members, `T` sample times, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coupling.equilibrium import settle
from coupling.scheme import States
from coupling.simulate import Course, advance, perturb, start
from scenarios.arm import Arm
from scenarios.build import Build, wire
from scenarios.cast import readout_ports
from scenarios.coupling_counts import blank, counted
from scenarios.emulation import cell_features, emulator_of
from scenarios.placing import BINDING, CELL
from scenarios.stage import HERE, Stage
from scenarios.tasks import BROKE, COUNT, EMULATOR, MECHANISM, CellCourses, CellTask
from twin.errors import KakehashiError
from twin.graph import Twin
from twin.perturbation import Perturbation
from twin.simulator import Simulator

if TYPE_CHECKING:
    from scenarios.cohort import Cohort
    from scenarios.scenario import Scenario
    from simulators.reaction import ReactionSimulator
    from surrogates.trusted import Trusted

Row = NDArray[np.float64]
Rows = NDArray[np.int64]

_STATUS, _CULPRIT = "status of the integrator", "failed simulator"  # among readouts, whose names have no spaces


@dataclass(frozen=True)
class CellRunner:
    """Runs a `CellTask`; it is sent to every worker once.

    Args:
        scenario: what was asked.
        arms: all of them.
        drawn: cell line → what differs between its cells, name → `[N]`.
        rates: compound → kon [1/(M s)] and Kd [M] of each cell, `[N]` each.
        emulated: whether the scenario's emulator answers where its gate vouches.
        stage: where simulators run.
    """

    scenario: Scenario
    arms: tuple[Arm, ...]
    drawn: Mapping[str, Mapping[str, Row]]
    rates: Mapping[str, tuple[Row, Row]] = field(default_factory=dict[str, tuple[Row, Row]])
    emulated: bool = False
    stage: Stage = HERE

    def __reduce__(self) -> tuple[type[CellRunner], tuple[Any, ...]]:
        """Without the stage: on other ranks and in other processes simulators run where they are."""
        return type(self), (self.scenario, self.arms, self.drawn, self.rates, self.emulated)

    @classmethod
    def of(
        cls, scenario: Scenario, arms: Sequence[Arm], cohort: Cohort, *, emulated: bool = False, stage: Stage = HERE
    ) -> CellRunner:
        """The runner of these arms for the members of a cohort."""
        lines = dict.fromkeys(arm.cell_line for arm in arms)
        compounds = dict.fromkeys(arm.compound for arm in arms if arm.compound)
        return cls(
            scenario,
            tuple(arms),
            {line: cohort.parameters(line) for line in lines},
            {compound: cohort.rates(compound) for compound in compounds},
            emulated,
            stage,
        )

    def __call__(self, task: CellTask) -> CellCourses:
        """Every arm of the group for the block's members; what breaks in one member's arm costs no more than that."""
        arms = [self.arms[position] for position in task.arms]
        return _Block(self, arms, np.arange(task.first, task.last, dtype=np.int64)).run()

    @cached_property
    def built(self) -> Build:
        """Made where the task runs, once."""
        return wire(self.scenario)

    def cell(self, cell_line: str) -> ReactionSimulator:
        """The cells of a line; made once."""
        if cell_line not in self._cells:
            self._cells[cell_line] = self.built.cell(cell_line, self.drawn[cell_line])
        return self._cells[cell_line]

    def others(self, cell_line: str) -> Mapping[str, Simulator]:
        """The simulators beside the cells of a line; made once."""
        if cell_line not in self._others and self.built.cast is not None:
            self._others[cell_line] = self.built.cast.simulators(cell_line, self.drawn[cell_line])
        return self._others.get(cell_line, {})

    @cached_property
    def _cells(self) -> dict[str, ReactionSimulator]:
        return {}

    @cached_property
    def _others(self) -> dict[str, Mapping[str, Simulator]]:
        return {}

    @cached_property
    def trusted(self) -> Trusted | None:
        """The emulator behind its gate, loaded where the task runs, once; None where mechanism answers all."""
        emulator = emulator_of(self.built) if self.emulated else None
        if emulator is None:
            return None
        from surrogates.trusted import Trusted

        return Trusted(emulator)


def _twin(runner: CellRunner, cell_line: str, *rates: Row) -> Twin:
    """The twin of some arms; see `Build.twin`."""
    return runner.built.twin(runner.cell(cell_line), *rates, others=runner.others(cell_line))


class _Block:
    """A group's arms and a block of members under way."""

    def __init__(self, runner: CellRunner, arms: Sequence[Arm], members: Rows) -> None:
        self.runner = runner
        self.scenario, self.rates, self.built, self.trusted = (
            runner.scenario,
            runner.rates,
            runner.built,
            runner.trusted,
        )
        self.arms, self.members = arms, members
        self.cell = runner.cell(arms[0].cell_line)
        self.t0, self.t1 = self.scenario.time.start_min, self.scenario.time.end_min
        self.times, self.readouts = self.scenario.sample_times, tuple(self.scenario.readouts)
        self.values = np.full((len(arms), len(members), len(self.times), len(self.readouts)), np.nan)
        self.status = np.full((len(arms), len(members)), BROKE, dtype=np.int8)
        self.answered_by = np.full((len(arms), len(members)), MECHANISM, dtype=np.int8)
        self.culprit = np.full((len(arms), len(members)), CELL, dtype=object)
        self.counts = blank(self.scenario.coupling, (len(arms), len(members)))
        self.ports = readout_ports(self.scenario)
        self.broken: list[str] = []

    def run(self) -> CellCourses:
        """Settle, then run batch by batch."""
        self._settle(np.arange(len(self.members)))
        self.broken += _not_fine(self.arms, self.members, self.status, self.culprit)
        return CellCourses(self.values, self.status, self.answered_by, tuple(self.broken), self.counts)

    def _settle(self, rows: Rows) -> None:
        """Settle these members and run their arms; where something breaks, halves are tried until it is found."""
        try:
            settled = self._settled(self.members[rows])
        except KakehashiError as error:
            if len(rows) == 1:
                whom = f"{self.arms[0].cell_line}, member {self.members[rows[0]]}"
                self.broken.append(f"{whom}, before all {len(self.arms)} arms that settle alike: {error}")
                return
            for half in np.array_split(rows, 2):
                self._settle(half)
            return
        for batch in _alike(self.arms):
            self._run(batch, rows, settled)

    def _settled(self, members: Rows) -> States:
        """The cells, and what is coupled with them, as every arm of the group finds them."""
        with self.runner.stage(_twin, self.runner, self.arms[0].cell_line) as twin:
            states = start(twin, members=members, seed=self.scenario.seed)
            states = perturb(twin, states, self.arms[0].before_equilibration)
            if self.scenario.cell.equilibrate:
                given = self.scenario.equilibration.items()
                held = {name if "." in name else f"{CELL}.{name}": value for name, value in given}
                return settle(twin, states, held=held, time=self.t0)
            # a first look ends the start: what comes now is a change in time
            return advance(twin, states, t0=self.t0, t1=self.t0, sample=()).states

    def _run(self, batch: Rows, rows: Rows, settled: States) -> None:
        """Run the arms of a batch for the members at `rows`, who are in `settled`."""
        try:
            found, emulated = self._answer([self.arms[position] for position in batch], settled)
        except KakehashiError as error:
            if len(batch) > 1:
                for half in np.array_split(batch, 2):
                    self._run(half, rows, settled)
            elif len(rows) > 1:
                for half in np.array_split(np.arange(len(rows)), 2):
                    self._run(batch, rows[half], _taken(settled, half))
            else:
                self.broken.append(f"arm {self.arms[batch[0]].name!r}, member {self.members[rows[0]]}: {error}")
            return
        place, shape = np.ix_(batch, rows), (len(batch), len(rows))
        values = np.stack([found[name] for name in self.readouts], axis=-1)
        self.values[place] = values.reshape(*shape, len(self.times), len(self.readouts))
        counts = {COUNT + name: all_ for name, all_ in self.counts.items()}
        for what, all_ in {_STATUS: self.status, _CULPRIT: self.culprit, **counts}.items():
            if what in found:  # nothing is known where the emulator answered
                all_[place] = found[what].reshape(*shape, *all_.shape[2:])
        self.answered_by[place] = np.where(emulated, EMULATOR, MECHANISM).reshape(shape)

    def _answer(self, arms: Sequence[Arm], settled: States) -> tuple[Mapping[str, NDArray[Any]], NDArray[np.bool_]]:
        """All (arm, member) rows together, arms one behind the other, each with all members: readouts `[B M, T]`, why
        members failed and what coupling took `[B M, …]`; and whether the emulator answered `[B M]`."""
        members = settled[CELL].members
        states = _taken(settled, np.tile(np.arange(len(members)), len(arms)))
        rates = self._rates(arms, members)
        changes = [
            (same[0], np.repeat(np.array([float(change.value) for change in same]), len(members)))
            for same in zip(*(arm.perturbations for arm in arms), strict=True)
        ]

        def mechanism(rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
            begun = _taken(states, rows)
            course = self._course(begun, tuple(rate[rows] for rate in rates), _of(changes, rows))
            found = {name: course.values[port] for name, port in self.ports.items()}
            status, culprit = _failed(course.states, len(rows))
            counts = {COUNT + name: values for name, values in counted(self.scenario.coupling, course, begun).items()}
            return found | {_STATUS: status} | ({_CULPRIT: culprit} if len(begun) > 1 else {}) | counts

        all_rows = np.arange(len(states[CELL].members))
        if self.trusted is None:
            return mechanism(all_rows), np.zeros(len(all_rows), dtype=np.bool_)
        features, initial = cell_features(self.cell, states[CELL], self.built.rates_in_model_units(*rates))
        answer = self.trusted.run(
            mechanism, features=features, initial=initial, perturbations=_of(changes, all_rows), times=self.times
        )
        return {_STATUS: np.zeros(len(all_rows)), **answer.values}, answer.emulated

    def _course(self, begun: States, rates: tuple[Row, ...], changes: Sequence[Perturbation]) -> Course:
        """Some rows by mechanism."""
        with self.runner.stage(_twin, self.runner, self.arms[0].cell_line, *rates) as twin:
            states = dict(begun)
            if BINDING in twin.simulators:
                rows = np.arange(len(states[CELL].members))
                states[BINDING] = twin.simulators[BINDING].init(members=rows, seed=self.scenario.seed)
            cast = self.built.cast
            how: dict[str, Any] = {} if cast is None else {"scheme": cast.scheme, "windows": cast.windows}
            return advance(twin, states, changes, t0=self.t0, t1=self.t1, sample=self.times, **how)

    def _rates(self, arms: Sequence[Arm], members: Rows) -> tuple[Row, ...]:
        """kon [1/(M s)] and koff [1/s] of each (arm, member) row; nothing where the arms have no compound."""
        if arms[0].compound not in self.rates:
            return ()
        kon = np.concatenate([self.rates[arm.compound][0][members] for arm in arms])
        kd = np.concatenate([self.rates[arm.compound][1][members] for arm in arms])
        return kon, kon * kd


def _taken(states: States, rows: NDArray[np.intp]) -> States:
    """The states of some rows."""
    return {name: state.take(rows) for name, state in states.items()}


def _failed(states: States, rows: int) -> tuple[NDArray[np.int8], NDArray[np.object_]]:
    """Why each row failed, 0 where it did not, and in which simulator."""
    status, culprit = np.zeros(rows, dtype=np.int8), np.full(rows, CELL, dtype=object)
    for name, state in states.items():
        own = np.asarray(state.arrays.get("status", 0), dtype=np.int8)
        first = (own != 0) & (status == 0)
        status, culprit = np.where(first, own, status), np.where(first, name, culprit)
    return status, culprit


def _of(changes: Sequence[tuple[Perturbation, Row]], rows: NDArray[np.intp]) -> list[Perturbation]:
    """The changes of some rows."""
    return [Perturbation(one.time, one.target, values[rows], one.operation) for one, values in changes]


def _alike(arms: Sequence[Arm]) -> list[Rows]:
    """Positions of arms whose changes differ in their values only: they run as one batch."""
    batches: dict[object, list[int]] = {}
    for position, arm in enumerate(arms):
        changes = tuple((change.time, change.target, change.operation) for change in arm.perturbations)
        batches.setdefault((changes, bool(arm.compound)), []).append(position)
    return [np.array(positions, dtype=np.int64) for positions in batches.values()]


def _not_fine(
    arms: Sequence[Arm], members: NDArray[np.int64], status: NDArray[np.int8], culprit: NDArray[np.object_]
) -> list[str]:
    """Members that the integrator gave up, in words; once for all arms where they were lost before the first."""
    from simulators.reaction import Status

    texts: list[str] = []
    for column, member in enumerate(members):
        reasons = status[:, column]
        if (reasons == Status.NOT_SETTLED).all():
            texts.append(
                f"all {len(arms)} arms of {arms[0].cell_line} that settle alike, member {member}, "
                f"simulator {culprit[0, column]!r}: {Status.NOT_SETTLED.reason}"
            )
            continue
        for row in np.flatnonzero((reasons != Status.FINE) & (reasons != BROKE)).tolist():
            texts.append(
                f"arm {arms[row].name!r}, member {member}, simulator {culprit[row, column]!r}: {Status(reasons[row]).reason}"
            )
    return texts
