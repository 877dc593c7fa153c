"""One run from scenario to published result: validate, then scale by scale, each finished piece in the journal.

Nothing is written before all that can be refused has been refused. Whatever is finished is in the journal at once, and
`--resume` reads it from there; all that depends on it is computed again from the same numbers, so that the bits of the
result do not tell whether, how often and where a run was stopped. See `docs/decisions/0006-tasks-and-resume.md`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import twin
from hpc import Executor, Journal, TaskFailure, open_executor
from hpc.publication import draft, publish, tidy
from scenarios import result
from scenarios.build import Build, build
from scenarios.cohort import Cohort
from scenarios.place import Place
from scenarios.progress import Progress
from scenarios.tasks import CellCourses, CellRunner, CellTask, cut, lost
from twin.errors import SimulationError

if TYPE_CHECKING:
    import xarray

    from scenarios.scenario import Scenario

DONE, SET_ASIDE = 0, 3


def run(
    scenario: Scenario,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    processes: int | None = None,
) -> int:
    """Run a scenario; returns the exit code: 0 done, 3 done but some tasks set aside.

    Args:
        scenario: what was asked.
        out: the result's path; None: ``results/NAME.zarr``.
        overwrite: a result that is there may be replaced.
        resume: go on with a run that was stopped.
        dry_run: tell tasks, time and disk; write nothing.
        processes: worker processes; None: all granted cores, or one per MPI rank.

    Raises:
        InputError, UnsupportedFeature, hpc.HpcError: refused; nothing was written.
        hpc.Stopped: stopped by a signal; what was finished is kept.
        SimulationError: every task failed.
    """
    with open_executor(processes) as executor:
        if not executor.is_root:
            executor.serve()
            return DONE
        place = Place.of(scenario, out)
        if resume and not place.under_way and place.result.exists():
            result.refuse_other(scenario, place.result)
            print(f"{place.result} is finished: nothing to resume.")
            return DONE
        place.check(overwrite=overwrite or (resume and place.under_way))
        built = build(scenario)
        if dry_run:
            from scenarios.dry_run import forecast

            print(forecast(built, executor.workers, place))
            return DONE
        place.prepare()
        tidy(place.result)
        with Journal(place.journal, result.fingerprint(scenario), fresh=overwrite) as journal:
            return _Run(built, executor, journal, place).lead()


class _Run:
    """A run under way on the root."""

    def __init__(self, built: Build, executor: Executor, journal: Journal, place: Place) -> None:
        self.built, self.executor, self.journal, self.place = built, executor, journal, place
        self.scenario = built.scenario
        self.progress = Progress(place.log, plain=executor.kind == "mpi")
        self.begun = time.monotonic()
        self.set_aside: list[str] = []

    def lead(self) -> int:
        """All scales, then the result."""
        scenario, arms = self.scenario, self.scenario.arms()
        self._greet(len(arms))
        cohort = Cohort.ordinary(self.built, {})
        drawn = {line: cohort.parameters(line) for line in scenario.lines}
        runner = CellRunner(scenario, arms, drawn, {})
        tasks = cut(arms, members=cohort.size)
        courses = self._courses("cells", runner, tasks, f"{len(arms)} arms × {cohort.size} cells")
        dataset = result.courses_dataset(scenario, arms, cohort, list(zip(tasks, courses, strict=True)), drawn)
        self._publish(dataset)
        return self._end()

    def _courses(self, name: str, runner: CellRunner, tasks: Sequence[CellTask], what: str) -> list[CellCourses]:
        """Every task's courses, from the journal or run now."""
        found: dict[int, CellCourses] = {}
        todo: list[int] = []
        for position, task in enumerate(tasks):
            key = f"{name} {task.key}"
            if key in self.journal:
                record = self.journal.read(key)
                found[position] = CellCourses.from_record(record.arrays, record.note)
            else:
                todo.append(position)
        failures: list[TaskFailure] = []
        with self.progress.stage(name, what, sum(task.trajectories for task in tasks)) as stage:
            stage.advance(sum(tasks[position].trajectories for position in found))

            def finished(index: int, courses: CellCourses | TaskFailure) -> None:
                task = tasks[todo[index]]
                if isinstance(courses, TaskFailure):
                    failures.append(courses)
                    found[todo[index]] = lost(task, self.scenario, courses, runner.arms)
                else:
                    self.journal.append(f"{name} {task.key}", *courses.record())
                    found[todo[index]] = courses
                for text in found[todo[index]].broken:
                    self.progress.say(f"set aside: {text}")
                stage.advance(task.trajectories)

            self.executor.map(runner, [tasks[position] for position in todo], on_result=finished)
            stage.found = what
        if failures and len(failures) == len(tasks):
            raise SimulationError(f"every task failed; the first: {failures[0]}\n{failures[0].traceback}")
        courses = [found[position] for position in range(len(tasks))]
        self.set_aside += [text for one in courses for text in one.broken]
        return courses

    def _greet(self, arms: int) -> None:
        scenario = self.scenario
        resumed = f", going on after {len(self.journal)} finished pieces" if len(self.journal) else ""
        self.progress.say(f"{scenario.title}\n{arms} arms x {scenario.members} cells, {self._workers()}{resumed}")

    def _workers(self) -> str:
        count = self.executor.workers
        kind = {"serial": "process", "processes": "processes", "mpi": "MPI ranks"}[self.executor.kind]
        return f"{count} {kind}"

    def _publish(self, dataset: xarray.Dataset) -> None:
        """The result appears, then its page; then the journal has served."""
        dataset = dataset.assign_attrs(
            {
                "title": self.scenario.title,
                "question": self.scenario.question,
                "Conventions": result.CONVENTIONS,
                "kakehashi_version": twin.__version__,
                **result.provenance(self.scenario),
                **self._run_attributes(),
            }
        )
        written = draft(self.place.result)
        result.write(dataset, written)
        publish(written, self.place.result, overwrite=True)
        self.journal.remove()

    def _run_attributes(self) -> dict[str, str | int | float]:
        """What differs from run to run of the same scenario: clocks and workers."""
        return {
            "run_date": datetime.now(UTC).isoformat(timespec="seconds"),
            "run_executor": self.executor.kind,
            "run_workers": self.executor.workers,
            "run_seconds": round(time.monotonic() - self.begun, 2),
            **{f"run_seconds_{name}": round(seconds, 2) for name, seconds in self.progress.seconds.items()},
        }

    def _end(self) -> int:
        self.progress.say(f"result    {self.place.result}\nlog       {self.place.log}")
        if not self.set_aside:
            return DONE
        count = len(self.set_aside)
        self.progress.say(
            f"{count} piece{'s' if count > 1 else ''} of work set aside (status in the result says why); "
            f"the first: {self.set_aside[0]}"
        )
        return SET_ASIDE
