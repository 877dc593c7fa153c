"""What coupling took: windows, tries thrown away, iterations, what conduits still changed, and how often micro simulators were asked.

Legend: `A` arms, `M` members of a task, `N` members, `C` conduits, `K` micro simulators that are asked only when something moved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from numpy.typing import NDArray

from coupling.evaluation import EVALUATIONS
from coupling.simulate import Course
from scenarios.tasks import CellCourses, CellTask
from twin.simulator import State

if TYPE_CHECKING:
    from scenarios.coupling import Coupling
    from scenarios.scenario import Scenario

Counts = Mapping[str, NDArray[Any]]

_LABELS = {
    "windows": "windows in which simulators exchanged values",
    "rejected": "windows that were thrown away and taken again, shorter",
    "iterations": "how often simulators crossed a window, all tries together",
}


def blank(coupling: Coupling | None, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Counts of arms and members that have not run `[A, M]`; empty where nothing is coupled."""
    if coupling is None:
        return {}
    found: dict[str, NDArray[Any]] = {name: np.zeros(shape, dtype=np.int64) for name in _LABELS}
    found["residual"] = np.full((*shape, len(coupling.conduits)), np.nan)
    found[EVALUATIONS] = np.zeros((*shape, len(coupling.cached)), dtype=np.int64)
    return found


def counted(coupling: Coupling | None, course: Course, begun: Mapping[str, State]) -> dict[str, NDArray[Any]]:
    """Counts of one course, rows first.

    Args:
        begun: states at its start: what was asked before does not count.
    """
    if coupling is None:
        return {}
    rows = len(next(iter(begun.values())).members)
    found: dict[str, NDArray[Any]] = {name: course.counts[name] for name in _LABELS}
    none = np.full(rows, np.nan)
    names = [f"{a.source}.{a.port} -> {a.target}.{a.into}" for a in coupling.arrows]
    found["residual"] = np.stack([course.residuals.get(name, none) for name in names], axis=1)
    asked = [course.states[name].arrays[EVALUATIONS] - begun[name].arrays[EVALUATIONS] for name in coupling.cached]
    found[EVALUATIONS] = np.stack(asked, axis=1) if asked else np.zeros((rows, 0), dtype=np.int64)
    return found


def counts_dataset(
    scenario: Scenario, shape: tuple[int, int], courses: Sequence[tuple[CellTask, CellCourses]]
) -> xarray.Dataset:
    """What the result says of coupling: dims `(arm, member)`, and `conduit` or `micro`; empty where nothing is coupled.

    Args:
        shape: arms and members, `A`, `N`.
        courses: what each task found.
    """
    coupling = scenario.coupling
    if coupling is None:
        return xarray.Dataset()
    all_ = blank(coupling, shape)
    for task, found in courses:
        for name, values in found.counts.items():
            all_[name][np.array(task.arms), task.first : task.last] = values
    each = ("arm", "member")
    dataset = xarray.Dataset(
        {f"coupling_{name}": (each, all_[name], {"units": "1", "long_name": label}) for name, label in _LABELS.items()}
    )
    said = {"long_name": "largest change of what the conduit carries in a last iteration, in the units of its target"}
    dataset["coupling_residual"] = ((*each, "conduit"), all_["residual"], said)
    dataset = dataset.assign_coords(conduit=("conduit", np.array(coupling.conduits, dtype=str)))
    if coupling.cached:
        said = {"units": "1", "long_name": "windows in which the micro simulator was asked anew"}
        dataset["coupling_evaluations"] = ((*each, "micro"), all_[EVALUATIONS], said)
        dataset = dataset.assign_coords(micro=("micro", np.array(coupling.cached, dtype=str)))
    return dataset.assign_attrs(coupling=json.dumps(_summary(coupling, all_), sort_keys=True))


def _summary(coupling: Coupling, counts: Counts) -> dict[str, Any]:
    windows = int(counts["windows"].sum())
    scheme = coupling.scheme_lowered()
    return {
        "simulators": {"cell": "reaction", **{name: one.kind for name, one in coupling.simulators.items()}},
        "conduits": list(coupling.conduits),
        "scheme": coupling.scheme.kind,
        "order": scheme.order,
        "windows": coupling.windows.words,
        "taken": {name: int(counts[name].sum()) for name in _LABELS},
        "evaluations": {
            name: {"asked": int(counts[EVALUATIONS][..., k].sum()), "windows": windows}
            for k, name in enumerate(coupling.cached)
        },
    }
