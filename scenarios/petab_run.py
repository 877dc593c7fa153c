"""A PEtab problem run: every condition simulated, beside what was measured under it.

Legend: `R` measured points, `C` curves (points of one observable, condition and filling of its formula), `K` samples of each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scenarios.result import REASONS, flags, versions
from simulators.reaction.petab import PetabProblem
from simulators.reaction.petab_experiment import Experiment, experiment_of
from simulators.reaction.petab_points import PetabPoints
from simulators.reaction.steady_state import FoundBy
from twin.errors import UnsupportedFeature

if TYPE_CHECKING:
    import xarray

_TOGETHER = 16
"""Experiments of a task: one filling of the integrator's lanes."""
_SAMPLES = 61
_FOUND_BY = {FoundBy.NOTHING: "no steady state before it", FoundBy.NEWTON: "newton", FoundBy.INTEGRATION: "integration"}


@dataclass(frozen=True)
class PetabRun:
    """What is asked: a problem at its nominal parameters.

    Args:
        path: of its YAML file, or its folder.
        engine: as `ReactionModel.simulate`.
    """

    path: Path
    engine: str = "auto"

    @classmethod
    def read(cls, path: Path, *, engine: str = "auto") -> PetabRun:
        """Read the problem.

        Raises:
            InputError, UnsupportedFeature: as `PetabProblem.read`; a parameter without a nominal value; a steady
                state of a model that has none.
        """
        run = cls(path, engine)
        run.problem.values()
        run.problem.refuse_unsettled()
        if engine == "stochastic":
            raise UnsupportedFeature(
                "stochastic PEtab", "--engine stochastic: a PEtab problem compares courses, not draws."
            )
        return run

    @cached_property
    def problem(self) -> PetabProblem:
        """What was read."""
        return PetabProblem.read(self.path)

    @property
    def name(self) -> str:
        """Of the result: the problem's file's."""
        return self.problem.name

    @property
    def title(self) -> str:
        """What is done, in a line."""
        problem = self.problem
        return (
            f"{problem.name}: {len(problem.points):,} measured points of {len(set(problem.points.observables))} observables, "
            f"{len(set(zip(problem.points.settled, problem.points.conditions, strict=True)))} conditions"
        )

    def contents(self) -> list[str]:
        """What the problem holds, in lines."""
        problem = self.problem
        estimated = len(problem.estimated)
        settled = len(set(problem.points.settled) - {""})
        lines = [
            f"  {self.title}",
            f"  model {problem.model_file.name}: {len(problem.model.species)} species, "
            f"{len(problem.model.network.reactions)} reactions",
            f"  {len(problem.parameters)} parameters, {estimated} estimated",
        ]
        if settled:
            lines.append(f"  cells settle first under {settled} condition{'s' * (settled != 1)}")
        return lines

    @cached_property
    def _experiments(self) -> list[Experiment]:
        points = self.problem.points
        return [experiment_of(self.problem, *pair) for pair in zip(points.settled, points.conditions, strict=True)]

    @property
    def tasks(self) -> list[tuple[int, ...]]:
        """Points of each task: those of some experiments that can run together."""
        return self._tasks

    @cached_property
    def _tasks(self) -> list[tuple[int, ...]]:
        alike: dict[Any, dict[Experiment, list[int]]] = {}
        for i, experiment in enumerate(self._experiments):
            alike.setdefault(experiment.columns, {}).setdefault(experiment, []).append(i)
        found: list[tuple[int, ...]] = []
        for experiments in alike.values():
            rows = list(experiments.values())
            found += [
                tuple(i for some in rows[a : a + _TOGETHER] for i in some) for a in range(0, len(rows), _TOGETHER)
            ]
        return found

    @property
    def keys(self) -> list[str]:
        """A name for each task."""
        return [f"model {n} {task[0]}x{len(task)}" for n, task in enumerate(self.tasks)]

    @property
    def provenance(self) -> dict[str, str | int]:
        """What the numbers depend on."""
        problem = self.problem
        names = {str(row.place.rsplit(":", 1)[0]) for row in problem.table.rows}
        folder = problem.path.parent
        files = [
            problem.path,
            problem.model_file,
            *sorted(p for p in folder.glob("*.tsv") if "simulated" not in p.name),
        ]
        files += [folder / name for name in sorted(names) if (folder / name).is_file()]
        return {
            "petab": json.dumps({"problem": problem.path.name, "engine": self.engine, "parameters": problem.nominal}),
            "files": json.dumps(
                {p.name: sha256(p.read_bytes()).hexdigest() for p in dict.fromkeys(files)}, sort_keys=True
            ),
            "versions": json.dumps(versions(), sort_keys=True),
            "seed": 0,
        }

    def runner(self) -> PetabRunner:
        """What runs a task."""
        return PetabRunner(self)

    @cached_property
    def curves(self) -> list[tuple[int, ...]]:
        """Points of each curve, in the order of first sight."""
        points = self.problem.points
        found: dict[Any, list[int]] = {}
        for i in range(len(points)):
            key = (points.observables[i], points.settled[i], points.conditions[i], points.fills[i])
            found.setdefault(key, []).append(i)
        return [tuple(rows) for rows in found.values()]

    def dataset(self, found: Sequence[Mapping[str, NDArray[Any]]]) -> xarray.Dataset:
        """Dims `point`, `observable`, and `(curve, sample)`."""
        import xarray

        problem, points = self.problem, self.problem.points
        values = {name: np.full(len(points), np.nan) for name in ("simulation", "noise", "residual", "log_density")}
        codes = {name: np.zeros(len(points), dtype=np.int8) for name in ("status", "found_by")}
        courses, times = (np.full((len(self.curves), _SAMPLES), np.nan) for _ in range(2))
        place = {rows: n for n, rows in enumerate(self.curves)}
        for task, part in zip(self.tasks, found, strict=True):
            for name, column in (values | codes).items():
                column[list(task)] = part[name]
            for n, rows in enumerate(_curves_of(self, task)):
                courses[place[rows]], times[place[rows]] = part["course"][n], part["course_time"][n]
        unit = problem.model.network.time_units or "1"
        stated = {"units": "1", "comment": "PEtab states no units"}
        texts = {
            "point_observable": points.observables, "condition": points.conditions, "preequilibration": points.settled,
            "dataset": points.datasets, "transformation": [problem.observables[n].transformation for n in points.observables],
        }  # fmt: skip
        names = list(dict.fromkeys(points.observables))
        of = np.array([names.index(n) for n in points.observables])
        chi2 = np.array([(values["residual"][of == n] ** 2).sum() for n in range(len(names))])
        first = [rows[0] for rows in self.curves]
        return xarray.Dataset(
            {
                "measurement": ("point", points.measured, {**stated, "long_name": "measured value"}),
                "simulation": ("point", values["simulation"], {**stated, "long_name": "simulated value"}),
                "noise": ("point", values["noise"], {**stated, "long_name": "standard deviation, on the scale of `transformation`"}),
                "residual": ("point", values["residual"], {"units": "1", "long_name": "(simulation - measurement) / noise"}),
                "log_density": ("point", values["log_density"], {"units": "1", "long_name": "logarithm of the measurement's density"}),
                "point_time": ("point", points.times, {"units": unit, "long_name": "when it was measured; inf: steady state"}),
                "status": ("point", codes["status"], flags(REASONS, "why a point has no simulation")),
                "found_by": ("point", codes["found_by"], flags({int(k): v for k, v in _FOUND_BY.items()}, "how the steady state before was found")),
                "chi2_of": ("observable", chi2, {"units": "1", "long_name": "sum of squared residuals"}),
                "points_of": ("observable", np.bincount(of, minlength=len(names)), {"units": "1", "long_name": "measured points"}),
                "log_likelihood_of": ("observable", np.array([values["log_density"][of == n].sum() for n in range(len(names))]), {"units": "1", "long_name": "sum of log densities"}),
                "course": (("curve", "sample"), courses, {**stated, "long_name": "simulated course of an observable"}),
                "course_time": (("curve", "sample"), times, {"units": unit, "long_name": "time of a sample"}),
            },
            coords={
                "observable": ("observable", np.array(names, dtype=str), {"long_name": "id of an observable"}),
                "observable_name": ("observable", np.array([problem.observables[n].name for n in names], dtype=str)),
                **{name: ("point", np.array(words, dtype=str)) for name, words in texts.items()},
                "curve_observable": ("curve", np.array([points.observables[i] for i in first], dtype=str)),
                "curve_condition": ("curve", np.array([points.conditions[i] for i in first], dtype=str)),
                "curve_preequilibration": ("curve", np.array([points.settled[i] for i in first], dtype=str)),
                "point_curve": ("point", np.array(_curve_of_each(self.curves, len(points)), dtype=np.int64)),
            },
            attrs={
                "kind": "petab", "model": problem.model.network.id, "chi2": float(chi2.sum()),
                "log_likelihood": float(values["log_density"].sum()),
            },
        )  # fmt: skip

    def lines(self, dataset: xarray.Dataset) -> list[str]:
        """What is said in the terminal: how well each observable is met."""
        rows = [("observable", "points", "chi2", "chi2 / points")]
        order = np.argsort(-dataset["chi2_of"].values / dataset["points_of"].values, kind="stable")
        for n in order[:20]:
            points, chi2 = int(dataset["points_of"].values[n]), float(dataset["chi2_of"].values[n])
            rows.append((str(dataset["observable"].values[n]), str(points), f"{chi2:.4g}", f"{chi2 / points:.3g}"))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        if len(order) > 20:
            lines.append(f"… and {len(order) - 20} more observables, each nearer to its points; the page has all")
        total = f"chi2 {dataset.attrs['chi2']:.6g} of {dataset.sizes['point']:,} points, log-likelihood {dataset.attrs['log_likelihood']:.8g}"
        ways = [_FOUND_BY[FoundBy(int(code))] for code in np.unique(dataset["found_by"].values) if code]
        settled = [f"steady states found by {' and '.join(ways)}"] if ways else []
        aside = int((dataset["status"].values != 0).sum())
        return [
            *lines,
            "",
            total,
            *settled,
            *([f"{aside} points have no simulation; status in the result says why."] if aside else []),
        ]

    def figure(self, dataset: xarray.Dataset, path: Path) -> None:
        """Not drawn: the page has a figure for every observable."""
        raise UnsupportedFeature("figure of a PEtab problem", "--figure: the page has one for every observable.")

    def forecast(self) -> list[str]:
        """What would be done."""
        return [*self.contents(), f"  {len(set(self._experiments))} different experiments in {len(self.tasks)} tasks"]


class PetabRunner:
    """Runs tasks of a problem in whichever process it wakes up."""

    def __init__(self, run: PetabRun) -> None:
        self.run = run

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.run.path, "engine": self.run.engine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.run = PetabRun(**state)

    def __call__(self, task: tuple[int, ...]) -> dict[str, NDArray[Any]]:
        """Of the task's points and curves."""
        problem = self.run.problem
        own = problem.points.only(task)
        curves = _curves_of(self.run, task)
        sampled = [_sampled(problem.points, rows) for rows in curves]
        found = problem.evaluate(points=own, engine=self.run.engine, threads=1)
        course = np.zeros((0, _SAMPLES))
        if sampled:
            every = _joined(sampled)
            course = (
                problem.evaluate(points=every, engine=self.run.engine, threads=1).simulation[0].reshape(-1, _SAMPLES)
            )
        return {
            "simulation": found.simulation[0], "noise": found.noise[0], "residual": found.residuals[0],
            "log_density": found.densities[0], "status": found.status[0], "found_by": found.found_by[0],
            "course": course, "course_time": np.array([points.times for points in sampled]).reshape(-1, _SAMPLES),
        }  # fmt: skip


def _curves_of(run: PetabRun, task: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Curves whose points are the task's."""
    inside = set(task)
    return [rows for rows in run.curves if rows[0] in inside]


def _sampled(points: PetabPoints, rows: tuple[int, ...]) -> PetabPoints:
    """`_SAMPLES` points in place of a curve's, from 0 to its last."""
    times = points.times[list(rows)]
    finite = times[np.isfinite(times)]
    one = points.only([rows[0]] * _SAMPLES)
    end = float(finite.max()) if finite.size and finite.max() > 0.0 else 1.0
    return PetabPoints(
        one.observables, one.conditions, one.settled, np.linspace(0.0, end, _SAMPLES), one.measured, one.fills, one.noise_fills,
        one.datasets,
    )  # fmt: skip


def _joined(parts: Sequence[PetabPoints]) -> PetabPoints:
    def texts(name: str) -> Any:
        return tuple(item for part in parts for item in getattr(part, name))

    return PetabPoints(
        texts("observables"), texts("conditions"), texts("settled"), np.concatenate([part.times for part in parts]),
        np.concatenate([part.measured for part in parts]), texts("fills"), texts("noise_fills"), texts("datasets"),
    )  # fmt: skip


def _curve_of_each(curves: Sequence[tuple[int, ...]], count: int) -> list[int]:
    found = [0] * count
    for n, rows in enumerate(curves):
        for i in rows:
            found[i] = n
    return found
