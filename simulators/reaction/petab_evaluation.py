"""A PEtab problem run: every different experiment once, all alike in one ensemble, and what its formulas make of that.

Legend: `M` parameter vectors, `E` experiments, `T` times, `R` points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats
from simulators.reaction.petab_experiment import Experiment, Experiments, Seen, experiment_of
from simulators.reaction.petab_points import Fill, PetabPoints

if TYPE_CHECKING:
    import xarray

    from simulators.reaction.petab import PetabProblem


@dataclass(frozen=True)
class PetabEvaluation:
    """A model beside measured points.

    Attributes:
        problem: what was run.
        points: which points `[R]`.
        simulation, noise: values of the observables, on the linear scale, and of their noise formulas `[M, R]`; NaN where
            the model could not be run, and a noise that is not above 0, for which there is no density.
        status: of the run behind each point, a `Status` `[M, R]`.
        found_by: how the steady state before each point was found, a `FoundBy` `[M, R]`; 0 where there is none.
    """

    problem: PetabProblem
    points: PetabPoints
    simulation: Floats
    noise: Floats
    status: NDArray[np.int8]
    found_by: NDArray[np.int8]

    @cached_property
    def residuals(self) -> Floats:
        """(simulation - measurement) / noise on each observable's scale `[M, R]`."""
        found = np.full_like(self.simulation, np.nan)
        for rows, observable in self._by_observable():
            measured = observable.scaled(self.points.measured[rows])
            with np.errstate(all="ignore"):
                found[:, rows] = (observable.scaled(self.simulation[:, rows]) - measured) / self.noise[:, rows]
        return found

    @cached_property
    def densities(self) -> Floats:
        """Logarithm of each measurement's density `[M, R]`."""
        found = np.full_like(self.simulation, np.nan)
        for rows, observable in self._by_observable():
            found[:, rows] = observable.log_likelihood(
                self.points.measured[rows], self.residuals[:, rows], self.noise[:, rows]
            )  # fmt: skip
        return found

    @property
    def chi2(self) -> Floats:
        """Sums of squared residuals `[M]`."""
        return (self.residuals**2).sum(axis=1)

    @property
    def log_likelihood(self) -> Floats:
        """Sums of `densities` `[M]`."""
        return self.densities.sum(axis=1)

    def _by_observable(self) -> list[tuple[NDArray[np.intp], Any]]:
        return [(rows, self.problem.observables[name]) for name, rows in _rows(self.points.observables).items()]


def asked(problem: PetabProblem, points: PetabPoints) -> tuple[list[Experiment], dict[Experiment, Floats]]:
    """The experiment behind each point `[R]`, and the times that are asked of each, ascending."""
    experiments = [experiment_of(problem, *pair) for pair in zip(points.settled, points.conditions, strict=True)]
    wanted: dict[Experiment, set[float]] = {}
    for experiment, time in zip(experiments, points.times, strict=True):
        wanted.setdefault(experiment, set()).add(float(time))
    return experiments, {experiment: np.array(sorted(times)) for experiment, times in wanted.items()}


def evaluate(
    problem: PetabProblem,
    values: Mapping[str, Floats],
    points: PetabPoints,
    *,
    engine: str,
    rtol: float,
    atol: float,
    threads: int | None,
) -> PetabEvaluation:
    """See `PetabProblem.evaluate`; `values` are those of all parameters `[M]`."""
    experiments, wanted = asked(problem, points)
    names = _read(problem, points)
    runner = Experiments(problem, values, names, engine=engine, rtol=rtol, atol=atol, threads=threads)
    seen = runner.run(wanted)

    M, R = runner.count, len(points)
    column = np.array(
        [np.searchsorted(seen[e].times, t) for e, t in zip(experiments, points.times, strict=True)], dtype=np.intp
    )
    status, found_by = np.zeros((M, R), dtype=np.int8), np.zeros((M, R), dtype=np.int8)
    for experiment, rows in _rows(experiments).items():
        status[:, rows] = seen[experiment].status[:, column[rows]]
        found_by[:, rows] = seen[experiment].found_by[:, column[rows]]
    simulation, noise = np.full((M, R), np.nan), np.full((M, R), np.nan)
    for name, rows in _rows(points.observables).items():
        observable = problem.observables[name]
        symbols: dict[str, Any] = {"time": points.times[rows]}
        symbols |= {n: values[n][:, None] for n in values}
        for n in (observable.formula.names | observable.noise.names) & names:
            symbols[n] = np.stack([seen[experiments[i]].values[n][:, column[i]] for i in rows], axis=1)
        symbols |= _filled(observable.slots, [points.fills[i] for i in rows], values, seen, experiments, rows, column)
        simulation[:, rows] = observable.formula.values(symbols)
        symbols |= _filled(
            observable.noise_slots, [points.noise_fills[i] for i in rows], values, seen, experiments, rows, column
        )
        width = observable.noise.values({**symbols, observable.id: simulation[:, rows]})
        noise[:, rows] = np.where(width > 0.0, width, np.nan)
    return PetabEvaluation(problem, points, simulation, noise, status, found_by)


def courses(
    problem: PetabProblem,
    values: Mapping[str, Floats],
    times: Floats,
    select: Sequence[str] | None,
    *,
    engine: str,
    rtol: float,
    atol: float,
) -> xarray.Dataset:
    """See `PetabProblem.courses`."""
    import xarray

    pairs = list(dict.fromkeys(zip(problem.points.settled, problem.points.conditions, strict=True)))
    known = problem.model.network.observables
    moving = (
        n for n, o in known.items() if o.kind == "species" or (o.kind in ("compartment", "parameter") and o.moves)
    )
    shown = list(dict.fromkeys(moving if select is None else select))
    experiments = [experiment_of(problem, *pair) for pair in pairs]
    runner = Experiments(problem, values, frozenset(shown), engine=engine, rtol=rtol, atol=atol, threads=None)
    seen = runner.run(dict.fromkeys(experiments, times))
    dims = ("condition", "time")
    data: dict[str, Any] = {
        f"{n}_" if n in dims else n: (dims, np.stack([seen[e].values[n][0] for e in experiments]), {"units": known[n].units, "kind": known[n].kind})
        for n in shown
    }  # fmt: skip
    data["status"] = ("condition", np.array([seen[e].status[0, -1] for e in experiments]), {})
    return xarray.Dataset(
        data,
        coords={
            "condition": [condition for _, condition in pairs],
            "settled": ("condition", [settled for settled, _ in pairs]),
            "time": ("time", times, {"units": problem.model.network.time_units}),
        },
        attrs={"model": problem.model.network.id, "problem": problem.name, "engine": runner.engine},
    )


def _read(problem: PetabProblem, points: PetabPoints) -> frozenset[str]:
    """Ids of the model that formulas and placeholders read; a condition may set them, so the model's word counts."""
    names: set[str] = set()
    for name in set(points.observables):
        names |= problem.observables[name].formula.names | problem.observables[name].noise.names
    names |= {part for fill in (*points.fills, *points.noise_fills) for part in fill if isinstance(part, str)}
    return frozenset(names & set(problem.model.network.observables))


def _filled(
    slots: Sequence[str],
    fills: Sequence[Fill],
    values: Mapping[str, Floats],
    seen: Mapping[Experiment, Seen],
    experiments: Sequence[Experiment],
    rows: NDArray[np.intp],
    column: NDArray[np.intp],
) -> dict[str, Floats]:
    """Placeholder → `[M or 1, R]`."""
    found: dict[str, Floats] = {}
    for position, slot in enumerate(slots):
        parts: list[Floats] = []
        for fill, i in zip(fills, rows, strict=True):
            part = fill[position]
            known = seen[experiments[i]].values
            if not isinstance(part, str):
                parts.append(np.array([part]))
            else:
                parts.append(known[part][:, column[i]] if part in known else values[part])
        found[slot] = np.stack(np.broadcast_arrays(*parts), axis=1)
    return found


def _rows(keys: Sequence[Any]) -> dict[Any, NDArray[np.intp]]:
    """Key → its positions, in the order of first sight."""
    found: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, []).append(i)
    return {key: np.array(rows, dtype=np.intp) for key, rows in found.items()}
