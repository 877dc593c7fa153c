"""What a run would be: its tasks, and an estimate of time and disk from a short probe; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scenarios.cell_runner import CellRunner
from scenarios.cohort import groups
from scenarios.tasks import CellTask, cut

if TYPE_CHECKING:
    from scenarios.build import Build
    from scenarios.place import Place
    from scenarios.scenario import Scenario

_STARTUP_S = 8.0  # workers start and load their libraries; in the end the result is judged, written and drawn
_PROBED_ARMS, _PROBED_MEMBERS = 8, 16
_OVERHEAD = 1.15  # the slowest tasks come last, and a machine at work is slower than a probe alone


def forecast(built: Build, workers: int, place: Place) -> str:
    """Tasks, time and disk of a run, as lines for the terminal."""
    scenario, arms = built.scenario, built.scenario.arms()
    tasks = cut(arms, members=scenario.members)
    settle_s, course_s = _probe(built, tasks)
    lines = [f"{scenario.name}: {scenario.title}"]
    if scenario.candidates:
        lines.append(f"  molecule  {len(scenario.candidates)} compounds, by Brownian dynamics and from their structure")
    lines.append(
        f"  cells     {len(arms):,} arms x {scenario.members:,} members = {_courses(tasks):,} courses in {len(tasks):,} tasks"
    )
    cells_s = _seconds(tasks, settle_s, course_s, workers)
    cells, size = second_cohort(scenario), _courses(tasks) * len(scenario.sample_times) * len(scenario.readouts) * 8
    if cells:
        split = [CellTask((0, 1), 0, cells), CellTask((2,), 0, cells)]  # vehicle and winner settle alike
        lines.append(f"  variance  {cells:,} cells x 3 arms = {_courses(split):,} courses")
        cells_s += _seconds(split, settle_s, course_s, workers)
    lines += [
        f"  time      about {_span(_STARTUP_S + cells_s)} with {workers} worker{'s' if workers > 1 else ''}: an estimate from a "
        f"probe now ({course_s * 1e3:.2g} ms per course, {settle_s * 1e3:.2g} ms to settle a cell)",
        f"  disk      up to {_size(size)} in {place.result.parent}, and as much for the journal until the run ends",
        f"  result    {place.result}",
        "Nothing was written.",
    ]
    return "\n".join(lines)


def second_cohort(scenario: Scenario) -> int:
    """Cells of the variance split, where there is an answer and something is uncertain."""
    sources, asked = groups(scenario), scenario.variance
    if scenario.answer is None or not sources:
        return 0
    between = asked.between_cells_of(sources)
    truths = asked.epistemic if len(between) < len(sources) else 1
    return asked.rows * (len(sources) + 2) + truths * (asked.cells if between else 1)


def _courses(tasks: Sequence[CellTask]) -> int:
    return sum(task.trajectories for task in tasks)


def _seconds(tasks: Sequence[CellTask], settle_s: float, course_s: float, workers: int) -> float:
    settled = sum(task.last - task.first for task in tasks)
    return _OVERHEAD * (settled * settle_s + _courses(tasks) * course_s) / max(1, workers)


def _probe(built: Build, tasks: Sequence[CellTask]) -> tuple[float, float]:
    """Seconds to settle one cell, and seconds per course, of the unperturbed cell in the largest group of arms."""
    scenario, arms = built.scenario, built.scenario.arms()
    runner = CellRunner(scenario, arms, {line: {} for line in scenario.lines})
    largest = max(tasks, key=lambda task: len(task.arms)).arms
    few = largest[:: max(1, len(largest) // _PROBED_ARMS)][:_PROBED_ARMS]

    def seconds(task: CellTask) -> float:
        runner(task)  # the first time loads and warms up
        begun = time.perf_counter()
        runner(task)
        return time.perf_counter() - begun

    members = min(_PROBED_MEMBERS, scenario.members)
    one, all_ = (seconds(CellTask(some, 0, members)) / members for some in (few[:1], few))
    course = (all_ - one) / (len(few) - 1) if len(few) > 1 else one / 2
    course = max(course, all_ / (10 * len(few)))  # a probe this short is noisy
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
