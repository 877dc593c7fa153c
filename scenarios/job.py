"""One run from scenario to published result: validate, then scale by scale, each finished piece in the journal.

Nothing is written before all that can be refused has been refused. Whatever is finished is in the journal at once, and
`--resume` reads it from there; all that depends on it is computed again from the same numbers, so that the bits of the
result do not tell whether, how often and where a run was stopped. See `docs/decisions/0006-tasks-and-resume.md`.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent import futures
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

import twin
from hpc import Executor, FingerprintError, Journal, Stopped, TaskFailure, open_executor
from hpc.granted import Asked
from hpc.placed import PlacedExecutor
from hpc.placement import Placement
from hpc.understudy import Understudy
from scenarios import answer, binding_stage, placing, result, terminal_table
from scenarios.arm import Arm
from scenarios.binding_stage import AssociationRunner, Binding
from scenarios.build import Build, build
from scenarios.cell_runner import CellRunner
from scenarios.clocks import Clocks, check_timeline
from scenarios.cohort import Cohort
from scenarios.emulation import answers, emulator_card
from scenarios.evidence import evidence
from scenarios.exit_code import DONE, SET_ASIDE
from scenarios.place import Place
from scenarios.progress import Progress
from scenarios.run_attributes import granted_less, run_attributes
from scenarios.run_journal import LAST_BREATH_S, Arrays, Told, journaled, open_run_journal
from scenarios.run_publication import published
from scenarios.scenario import Scenario
from scenarios.stage import stage_of
from scenarios.statement import statement
from scenarios.tasks import EMULATOR, CellCourses, CellTask, cut, lost
from scenarios.variance_split import Design, design_removed, split
from twin.errors import InputError, SimulationError

if TYPE_CHECKING:
    import xarray

    from surrogates.emulator_card import EmulatorCard

T = TypeVar("T")
R = TypeVar("R")

_WORKERS = {"serial": "process", "processes": "processes", "mpi": "MPI ranks", "futures": "workers of another pool"}
_MOST_TOLD = 200  # of what was set aside, in the result; the log has all


def run(
    scenario: Scenario | Callable[[], Scenario],
    *,
    out: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    processes: int | None = None,
    walltime_s: float | None = None,
    pool: futures.Executor | None = None,
    timeline: Path | None = None,
    place_words: Sequence[str] | None = None,
) -> int:
    """Run a scenario; returns the exit code: 0 done, 3 done but some tasks set aside.

    Args:
        scenario: what was asked, or what reads it: then the root alone does, and not every rank.
        out: the result's path; None: ``results/NAME.zarr``.
        overwrite: a result that is there may be replaced.
        resume: go on with a run that was stopped.
        dry_run: tell tasks, time and disk; write nothing.
        processes: worker processes; None: all granted cores, or one per MPI rank.
        walltime_s: stop in time for this process to end so many seconds after it started.
        pool: any executor of `concurrent.futures` (Dask, Parsl) to run the tasks.
        timeline: where the timeline of all ranks goes, for Perfetto; written of a run that was stopped or failed, too.
        place_words: which simulators run on which ranks, e.g. ``["molecular=1-3", "cell=0"]``, in place of the scenario's own.

    Raises:
        InputError, UnsupportedFeature, hpc.HpcError: refused; nothing was written.
        hpc.Stopped: stopped by a signal or the end of its time; what was finished is kept.
        SimulationError: every task failed.
    """
    asked = cache(
        lambda: scenario if isinstance(scenario, Scenario) else scenario()
    )  # by the root, and who may come to lead

    def placement() -> Placement | None:
        found = placing.asked(asked(), place_words)
        placing.refuse_processes(found, processes)
        return found

    understudy = Understudy(lambda: build(asked()))
    with open_executor(processes, walltime_s=walltime_s, pool=pool, placement=placement) as executor:
        executor.serve(understudy)
        if not executor.is_root:
            return DONE
        built = understudy.take() if executor.took_over else None
        given = asked() if built is None else built.scenario
        place = Place.of(given, out)
        if executor.took_over and _begun(given, place):
            overwrite, resume = False, True
        if resume and not place.under_way and place.result.exists():
            result.refuse_other(given, place.result)
            print(f"{place.result} is finished: nothing to resume.")
            return DONE
        if dry_run:
            from scenarios.dry_run import forecast

            print(forecast(build(given), executor.workers, place))
            return DONE
        place.check(overwrite=overwrite or (resume and place.under_way))
        if timeline is not None:
            check_timeline(timeline, replace=overwrite or resume)
        built = built or build(given)
        emulator = emulator_card(built)
        with open_run_journal(place, result.fingerprint(given), fresh=overwrite) as journal:
            return _Run(built, emulator, executor, journal, place, timeline).lead()


def _begun(scenario: Scenario, place: Place) -> bool:
    """Whether the rank that led before it died has begun this run, or even ended it, rather than found there what lay there."""
    try:
        if place.under_way:
            Journal(place.journal, result.fingerprint(scenario), patience_s=LAST_BREATH_S).close()
            return True
        if place.result.exists():
            result.refuse_other(scenario, place.result)
            return True
    except (FingerprintError, InputError):
        pass
    return False


class _Run:
    """A run under way on the root."""

    def __init__(
        self,
        built: Build,
        emulator: EmulatorCard | None,
        executor: Executor,
        journal: Journal,
        place: Place,
        timeline: Path | None = None,
    ) -> None:
        self.built, self.emulator = built, emulator
        self.executor, self.journal, self.place = executor, journal, place
        self.scenario = built.scenario
        self.timeline, self.clocks = timeline, Clocks()
        workers = (executor.workers, "ranks" if executor.kind == "mpi" else "workers")
        self.progress = Progress(place.log, plain=executor.kind == "mpi", workers=workers, clocks=self.clocks)
        self.begun = time.monotonic()
        self.asked = Asked.read()
        self.stage = stage_of(executor, say=self.progress.say)
        self.set_aside: list[str] = []

    def lead(self) -> int:
        """All scales, then the result; how it ended goes into the log as well."""
        try:
            return self._lead()
        except BaseException as error:
            self.progress.say(f"ended by {type(error).__name__}: {error}", aloud=False)
            if not isinstance(error, Stopped):
                self.progress.say(traceback.format_exc(), aloud=False)
            raise
        finally:
            if self.timeline is not None:
                about = {"title": self.scenario.title, "kakehashi": twin.__version__, **self._run_attributes()}
                try:
                    self.clocks.write(self.timeline, about={k: v for k, v in about.items() if k != "run_utilisation"})
                except OSError as error:  # how the run ended counts, a job script goes by that
                    self.progress.say(f"timeline  {self.timeline} could not be written ({error.strerror})")

    def _lead(self) -> int:
        scenario, arms = self.scenario, self.scenario.arms()
        self._greet(len(arms))
        binding = self._bind() if scenario.candidates else None
        self.emulated = self._choose()
        cohort = Cohort.ordinary(self.built, binding.estimates if binding is not None else {})
        dataset = self._simulate("cells", arms, cohort, f"{len(arms)} arms x {cohort.size} cells")
        if binding is not None:
            dataset = result.joined(dataset, binding.dataset(scenario, cohort))
        if scenario.measured is not None:
            dataset = result.joined(dataset, result.measured_dataset(scenario, arms))
        self._publish(self._answered(dataset, arms, cohort).assign_attrs(self._trust(dataset)))
        return self._end()

    def _answered(self, dataset: xarray.Dataset, arms: Sequence[Arm], cohort: Cohort) -> xarray.Dataset:
        """The answer, where its variance comes from, what it rests on, and all of that in words."""
        scenario, more = self.scenario, None
        dataset = result.joined(dataset, answer.judge(scenario, dataset))
        design = Design.of(scenario, dataset)
        if design is not None:
            removed = self._removed(design, arms, cohort)
            dataset = result.joined(dataset, split(scenario, design, removed))
            more = design.independent(removed)
        dataset = result.joined(dataset, evidence(scenario, dataset, cohort, more=more))
        return result.joined(dataset, statement(scenario, dataset))

    def _removed(self, design: Design, arms: Sequence[Arm], cohort: Cohort) -> NDArray[np.float64]:
        """The best treatment's S in a second cohort, in the three arms that make it, for the split of its variance."""
        chosen = [arms[position] for position in design.arms]
        what = f"{design.members:,} cells x {len(chosen)} arms for {chosen[-1].name}"
        courses = self._simulate("variance", chosen, cohort.with_draws(design.draws), what)
        return design_removed(self.scenario, design, courses)

    def _choose(self) -> bool:
        """Whether the emulator answers where its gate vouches: as measured when it was trained, never by a clock now."""
        if self.emulator is None:
            return False
        with self.progress.stage("emulator", "mechanism or emulator") as stage:
            stage.found = self.emulator.report.sentence
        return answers(self.built, self.emulator)

    def _trust(self, dataset: xarray.Dataset) -> dict[str, str]:
        """What the result says of the emulator."""
        if self.emulator is None:
            return {}
        share = float((dataset["answered_by"].values == EMULATOR).mean())
        return {"trust": json.dumps({**self.emulator.report.summary(), "share_answered": share}, sort_keys=True)}

    def _simulate(self, name: str, arms: Sequence[Arm], cohort: Cohort, what: str) -> xarray.Dataset:
        """Courses of all arms for all members of a cohort."""
        runner = CellRunner.of(self.scenario, arms, cohort, emulated=self.emulated, stage=self.stage)
        tasks = cut(arms, members=cohort.size)
        courses = self._courses(name, runner, tasks, what)
        return result.courses_dataset(self.scenario, arms, cohort, list(zip(tasks, courses, strict=True)), runner.drawn)

    def _bind(self) -> Binding:
        """Molecule by mechanism, molecule learned, and the bridge between both and the cell."""
        scenario = self.scenario
        spheres = binding_stage.ligands(scenario)
        runner = AssociationRunner(scenario, spheres, self.stage)
        with self.progress.stage(
            "molecule", f"Brownian dynamics of {len(spheres)} compounds", len(runner.tasks)
        ) as stage:
            found = self._mapped(
                runner,
                runner.tasks,
                keys=[f"molecule {scenario.candidates[task[0]].id}" for task in runner.tasks],
                record=lambda rates: (rates, None),
                recorded=lambda arrays, _: dict(arrays),
                lost=_no_substitute,
                done=lambda *_: stage.advance(),
                worked=stage.worked,
            )
            met = binding_stage.encounters(runner, found)
            stage.found = (
                f"k_D of {len(spheres)} compounds by {len(runner.tasks)} runs of Brownian dynamics, "
                f"{met.k_D.min():.2g} to {met.k_D.max():.2g} 1/(M s)"
            )
        with self.progress.stage("learned", "affinity from structure") as stage:
            structure = binding_stage.learned(scenario)
            stage.found = binding_stage.words(scenario, structure)
        with self.progress.stage("bridge", "rates of binding") as stage:
            estimates = binding_stage.rate_estimates(scenario, met, structure)
            stage.found = f"kon, Kd and koff of {len(estimates)} compounds, jointly distributed"
        return Binding(spheres, met, structure, estimates)

    def _courses(self, name: str, runner: CellRunner, tasks: Sequence[CellTask], what: str) -> list[CellCourses]:
        """Every task's courses, from the journal or run now."""
        with self.progress.stage(name, what, sum(task.trajectories for task in tasks)) as stage:

            def done(position: int, courses: CellCourses) -> None:
                for text in courses.broken:
                    self.progress.say(f"set aside: {text}")
                stage.advance(tasks[position].trajectories)

            courses = self._mapped(
                runner,
                tasks,
                keys=[f"{name} {task.key}" for task in tasks],
                record=CellCourses.record,
                recorded=CellCourses.from_record,
                lost=lambda position, failure: lost(tasks[position], self.scenario, failure, runner.arms),
                done=done,
                worked=stage.worked,
            )
            stage.found = what
        self.set_aside += [text for one in courses for text in one.broken]
        return courses

    def _mapped(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        keys: Sequence[str],
        record: Callable[[R], tuple[Arrays, Any]],
        recorded: Callable[[Arrays, Any], R],
        lost: Callable[[int, TaskFailure], R],
        done: Callable[[int, R], None],
        worked: Callable[[float], None],
    ) -> list[R]:
        """Results of all tasks in their order; see `journaled` for what is not said here.

        Args:
            lost: what stands for a task that failed.
            worked: told how long a task ran [s], where it ran now, before `done` is told of it.

        Raises:
            SimulationError: every task failed.
        """
        failures: list[TaskFailure] = []

        def failed(position: int, failure: TaskFailure) -> R:
            failures.append(failure)
            self.progress.say(failure.traceback, aloud=False)
            return lost(position, failure)

        def run(positions: Sequence[int], ended: Told) -> None:
            def told(index: int, outcome: R | TaskFailure) -> None:
                if (span := self.executor.timeline.last) is not None and span.task == index:
                    worked(span.took_s)
                ended(index, outcome)

            try:
                self.executor.map(function, [tasks[position] for position in positions], on_result=told)
            finally:
                self.clocks.tasks([keys[position] for position in positions], self.executor.timeline.take())

        found = journaled(self.journal, keys, run, record=record, recorded=recorded, lost=failed, done=done)
        if failures and len(failures) == len(tasks):
            raise SimulationError(f"every task failed; the first: {failures[0]}")
        return found

    def _greet(self, arms: int) -> None:
        scenario = self.scenario
        if self.executor.took_over:
            self.progress.say("the rank that led has died; this one leads now")
        resumed = (
            f", going on after {len(self.journal)} finished piece{'s'[: len(self.journal) > 1]}"
            if len(self.journal)
            else ""
        )
        self.progress.say(f"{scenario.title}\n{arms} arms x {scenario.members} cells, {self._workers()}{resumed}")
        for text in granted_less(self.executor, self.asked):
            self.progress.say(f"granted less than asked: {text}")

    def _workers(self) -> str:
        if isinstance(self.executor, PlacedExecutor):
            return self.executor.cast
        return f"{self.executor.workers} {_WORKERS[self.executor.kind]}"

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
                **({"set_aside": json.dumps(self.set_aside[:_MOST_TOLD])} if self.set_aside else {}),
            }
        )
        with self.progress.stage("report", "result and page") as stage:
            self.result = published(dataset, self.place)
            stage.found = f"{self.place.result} and {self.place.page.name}"
        self.journal.remove()

    def _run_attributes(self) -> dict[str, str | int | float]:
        """What differs from run to run of the same scenario: clocks and workers."""
        return {
            **run_attributes(self.executor, self.begun, self.asked),
            **{f"run_seconds_{name}": round(seconds, 2) for name, seconds in self.progress.seconds.items()},
            **self.clocks.attributes(self.executor.workers),
        }

    def _end(self) -> int:
        terminal_table.show(self.result, result=self.place.result, page=self.place.page)
        print(f"log     {self.place.log}")
        if not self.set_aside:
            return DONE
        count = len(self.set_aside)
        self.progress.say(
            f"{count} piece{'s' if count > 1 else ''} of work set aside (status in the result says why); "
            f"the first: {self.set_aside[0]}"
        )
        return SET_ASIDE


def _no_substitute(position: int, failure: TaskFailure) -> NoReturn:
    """Without its rates nothing can be said of a compound."""
    raise SimulationError(f"Brownian dynamics, task {position}: {failure}")
