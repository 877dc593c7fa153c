"""One run of a model without a scenario: a scan, or a PEtab problem. Tasks, journal, result and page as for any other run.

Only the root reads the input; whatever is finished is in the journal at once, and `--resume` reads it from there. Work is
cut the same way whatever the number of processes or ranks, so the bits of the result do not depend on it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import twin
from hpc import Executor, Journal, TaskFailure, open_executor
from hpc.understudy import Understudy
from scenarios import result
from scenarios.exit_code import DONE, SET_ASIDE
from scenarios.place import FOLDER, Place
from scenarios.progress import Progress
from scenarios.run_attributes import run_attributes
from scenarios.run_journal import LAST_BREATH_S, Arrays, Told, journaled, open_run_journal
from scenarios.run_publication import published
from twin.errors import InputError, SimulationError, UnsupportedFeature

if TYPE_CHECKING:
    import xarray


class Work(Protocol):
    """What is asked of a model.

    Attributes:
        name: results are called after it.
        title: one line for the page's head.
        tasks, keys: what is to be done, small and picklable, and a name for each.
        provenance: what the numbers depend on, as attributes.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def tasks(self) -> Sequence[Any]: ...
    @property
    def keys(self) -> Sequence[str]: ...
    @property
    def provenance(self) -> Mapping[str, str | int]: ...

    def runner(self) -> Callable[[Any], Arrays]:
        """What does a task, picklable."""
        ...

    def dataset(self, found: Sequence[Arrays]) -> xarray.Dataset:
        """The result of all tasks."""
        ...

    def lines(self, dataset: xarray.Dataset) -> list[str]:
        """What is said in the terminal at the end."""
        ...

    def figure(self, dataset: xarray.Dataset, path: Path) -> None:
        """Draw the result into an image file."""
        ...

    def forecast(self) -> list[str]:
        """What would be done."""
        ...


def run(
    make: Callable[[], Work],
    *,
    out: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    processes: int | None = None,
    walltime_s: float | None = None,
    figure: Path | None = None,
) -> int:
    """Do the work; returns the exit code: 0 done, 3 done but some members set aside.

    Args:
        make: reads the input, on the root alone.
        out: the result's path; None: ``results/NAME.zarr``.
        overwrite, resume, dry_run, processes, walltime_s: as `job.run`.
        figure: also draw the result into this image file (.png, .svg or .pdf).

    Raises:
        InputError, UnsupportedFeature, hpc.HpcError: refused.
        hpc.Stopped: stopped by a signal; what was finished is kept.
        SimulationError: a task failed.
    """
    understudy = Understudy(make)
    with open_executor(processes, walltime_s=walltime_s) as executor:
        executor.serve(understudy)
        if not executor.is_root:
            return DONE
        if figure is not None and (not figure.parent.is_dir() or figure.suffix not in (".png", ".svg", ".pdf")):
            raise InputError(f"--figure {figure}: expected a .png, .svg or .pdf file in a folder that exists.")
        if figure is not None and not os.access(figure.parent, os.W_OK | os.X_OK):
            raise InputError(f"--figure {figure}: {figure.parent} cannot be written to; choose another folder.")
        work = understudy.take()
        place = Place(FOLDER / f"{work.name}.zarr" if out is None else out.expanduser())
        if executor.took_over and place.under_way:  # the root before this one had begun it
            overwrite, resume = False, True
        if dry_run:
            print("\n".join([*work.forecast(), f"  result    {place.result}", "Nothing was written."]))
            return DONE
        if resume and not place.under_way and place.result.exists():
            _refuse_other(work, place.result)
            print(f"{place.result} is finished: nothing to resume.")
            return DONE
        place.check(overwrite=overwrite or (resume and place.under_way))
        patience_s = LAST_BREATH_S if executor.took_over else 0.0
        with open_run_journal(place, _fingerprint(work), fresh=overwrite, patience_s=patience_s) as journal:
            return _lead(work, executor, journal, place, figure)


def _lead(work: Work, executor: Executor, journal: Journal, place: Place, figure: Path | None) -> int:
    begun = time.monotonic()
    progress = Progress(place.log, plain=executor.kind == "mpi")
    resumed = f", going on after {len(journal)} finished tasks" if len(journal) else ""
    progress.say(f"{work.title}{resumed}")
    with progress.stage("model", "simulated", len(work.tasks)) as stage:
        found = _mapped(work, executor, journal, stage.advance)
        stage.found = f"{len(work.tasks)} task{'s' * (len(work.tasks) != 1)} simulated"
    dataset = work.dataset(found).assign_attrs(
        {
            "title": work.title,
            "Conventions": result.CONVENTIONS,
            "kakehashi_version": twin.__version__,
            **work.provenance,
            **run_attributes(executor, begun),
        }
    )
    with progress.stage("report", "result and page") as stage:
        shown = published(dataset, place)
        if figure is not None:
            work.figure(shown, figure)
        stage.found = f"{place.result} and {place.page.name}"
    journal.remove()
    said = ["", *work.lines(shown), "", f"result  {place.result}", f"page    {place.page}", f"log     {place.log}"]
    print("\n".join([*said, f"figure  {figure}"] if figure is not None else said))
    return SET_ASIDE if bool((np.asarray(shown["status"].values) != 0).any()) else DONE


def _mapped(work: Work, executor: Executor, journal: Journal, advance: Callable[[], None]) -> list[Arrays]:
    """Results of all tasks in their order: from the journal, or run now and written there as each ends."""
    failures: list[TaskFailure] = []
    ran = 0

    def lost(_: int, failure: TaskFailure) -> Arrays:
        failures.append(failure)
        return {}

    def run(positions: Sequence[int], ended: Told) -> None:
        nonlocal ran
        ran = len(positions)
        if ran == 1 and executor.kind == "processes":  # other processes would take longer to start than it takes
            ended(0, work.runner()(work.tasks[positions[0]]))
        elif ran:
            executor.map(work.runner(), [work.tasks[position] for position in positions], on_result=ended)

    found = journaled(
        journal, work.keys, run, record=lambda arrays: (arrays, None), recorded=lambda arrays, _: arrays, lost=lost,
        done=lambda *_: advance(),
    )  # fmt: skip
    if failures:
        first = failures[0]
        kind = first.error_type.rpartition(".")[2]
        if kind == "UnsupportedFeature":
            raise UnsupportedFeature("model", first.message)
        if kind == "InputError":
            raise InputError(first.message)
        raise SimulationError(f"{len(failures)} of {ran} tasks failed; the first: {first}")
    return found


def _fingerprint(work: Work) -> dict[str, str]:
    return {name: str(value) for name, value in work.provenance.items()}


def _refuse_other(work: Work, path: Path) -> None:
    there = result.read(path).attrs
    differing = [name for name, value in work.provenance.items() if str(there.get(name)) != str(value)]
    if differing:
        raise InputError(
            f"{path} is finished, and was made from something else ({', '.join(differing)} differ); "
            "choose another place with --out, or replace it with --overwrite."
        )
