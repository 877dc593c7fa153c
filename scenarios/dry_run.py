"""What a run would be: its tasks, and an estimate of time and disk from a short probe; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scenarios.cell_runner import CellRunner
from scenarios.tasks import CellTask, cut

if TYPE_CHECKING:
    from scenarios.build import Build
    from scenarios.place import Place

_STARTUP_S = 4.0  # workers import and compile the model; in the end the result is written and the page drawn
_PROBED_ARMS = 8
_OVERHEAD = 1.15  # the slowest tasks come last, and a machine at work is slower than a probe alone


def forecast(built: Build, workers: int, place: Place) -> str:
    """Tasks, time and disk of a run, as lines for the terminal."""
    scenario, arms = built.scenario, built.scenario.arms()
    tasks = cut(arms, members=scenario.members)
    courses = sum(task.trajectories for task in tasks)
    settle_s, course_s = _probe(built, tasks)
    settled = sum(task.last - task.first for task in tasks)
    seconds = _STARTUP_S + _OVERHEAD * (settled * settle_s + courses * course_s) / max(1, min(workers, len(tasks)))
    size = courses * len(scenario.sample_times) * len(scenario.readouts) * 8
    return "\n".join(
        [
            f"{scenario.name}: {scenario.title}",
            f"  cells   {len(arms):,} arms x {scenario.members:,} members = {courses:,} courses in {len(tasks):,} tasks",
            f"  time    about {_span(seconds)} with {workers} worker{'s' if workers > 1 else ''}: an estimate from a probe "
            f"now ({course_s * 1e3:.2g} ms per course, {settle_s * 1e3:.2g} ms to settle a cell)",
            f"  disk    up to {_size(size)} in {place.result.parent}, and as much for the journal until the run ends",
            f"  result  {place.result}",
            "Nothing was written.",
        ]
    )


def _probe(built: Build, tasks: Sequence[CellTask]) -> tuple[float, float]:
    """Seconds to settle one cell, and seconds per course, of the unperturbed cell in the largest group of arms."""
    scenario, arms = built.scenario, built.scenario.arms()
    runner = CellRunner(scenario, arms, {line: {} for line in scenario.lines})
    largest = max(tasks, key=lambda task: len(task.arms)).arms
    few = largest[:: max(1, len(largest) // _PROBED_ARMS)][:_PROBED_ARMS]

    def seconds(task: CellTask) -> float:
        runner(task)  # the first time compiles and warms up
        begun = time.perf_counter()
        runner(task)
        return time.perf_counter() - begun

    one, all_ = seconds(CellTask(few[:1], 0, 1)), seconds(CellTask(few, 0, 1))
    course = (all_ - one) / (len(few) - 1) if len(few) > 1 else one / 2
    course = max(course, all_ / (10 * len(few)))
    return max(0.0, one - course), course


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
