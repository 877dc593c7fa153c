"""A parameter estimation problem in PEtab: the model, what was measured on it, and what a fit may move.

Read is PEtab version 1 (Schmiester et al. 2021, doi 10.1371/journal.pcbi.1008646) as far as blots with unknown scales
need it; anything else is refused, never approximated. Legend: `M` parameter vectors, `P` estimated parameters of the
model, `R` measured points, `G` unknown scales.
"""

from __future__ import annotations

import ast
import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from scenarios.problem import near
from simulators.reaction.simulator import ReactionSimulator
from simulators.reaction.stepped_model import SteppedModel
from twin.errors import InputError, UnsupportedFeature
from twin.perturbation import Perturbation
from twin.simulator import State

Floats = NDArray[np.float64]
_LN10 = math.log(10.0)
_PRIORS = ("uniform", "parameterScaleUniform", "normal", "parameterScaleNormal", "laplace", "parameterScaleLaplace")
_RTOL, _ATOL = 1e-9, 1e-12  # differences of trajectories are taken: the integrator must be far better than they are


@dataclass(frozen=True)
class Parameter:
    """One parameter that the fit moves.

    Args:
        name: as in the model.
        scale: ``"log10"``, ``"log"`` or ``"lin"``: on which bounds, prior and spread are Gaussian or flat.
        nominal, lower, upper: best value and bounds, as the model reads them.
        published_sd: standard deviation of its prior on its scale; infinite where there is none. A Laplace prior of
            width b counts as the normal one of the same variance, sd = sqrt(2)*b.
        published_mean: centre of that prior on its scale.
    """

    name: str
    scale: str
    nominal: float
    lower: float
    upper: float
    published_sd: float = math.inf
    published_mean: float = 0.0

    def scaled(self, value: float) -> float:
        """A value of the model on the parameter's scale."""
        return {"log10": math.log10, "log": math.log}[self.scale](value) if self.scale != "lin" else value

    def values(self, scaled: Floats) -> Floats:
        """Values as the model reads them."""
        return {"log10": np.exp(_LN10 * scaled), "log": np.exp(scaled)}.get(self.scale, scaled)

    @property
    def best(self) -> float:
        """The nominal value on its scale."""
        return self.scaled(self.nominal)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound on its scale."""
        return self.scaled(self.lower), self.scaled(self.upper)

    @property
    def prior_sd(self) -> float:
        """What is known without data, on its scale: the published prior, and the bounds as a box (sd = width/sqrt(12))."""
        box = (self.bounds[1] - self.bounds[0]) / math.sqrt(12.0)
        return 1.0 / math.sqrt(1.0 / box**2 + 1.0 / self.published_sd**2)


@dataclass(frozen=True)
class _Experiment:
    """One treatment of one cell: values while it settles (None: it does not), values from time 0 on, and when to look."""

    settle: tuple[tuple[str, float], ...] | None
    treat: tuple[tuple[str, float], ...]
    times: tuple[float, ...]


class PetabProblem:
    """A model and its measured points; gives the model's value of each point for any parameters.

    Attributes:
        parameters: what the fit moves in the model `[P]`.
        scales: names of the unknown scales `[G]`; their nominal values are `nominal_scales` `[G]`.
        measured, noise: value and standard deviation of each point `[R]`.
        scale_of: per point, its scale `[R]`; -1 where it has none.
        datasets, observables, conditions, times: of each point `[R]`.
    """

    def __init__(
        self,
        model: Path,
        *,
        parameters: Sequence[Parameter],
        fixed: Mapping[str, float],
        scales: Mapping[str, float],
        points: Sequence[Mapping[str, str]],
        observables: Mapping[str, tuple[str, bool]],
        conditions: Mapping[str, Mapping[str, float]],
    ) -> None:
        self.parameters = tuple(parameters)
        self.scales = tuple(scales)
        self.nominal_scales = np.array(list(scales.values()), dtype=np.float64)
        self.measured = np.array([_number(p, "measurement") for p in points])
        self.noise = np.array([_number(p, "noiseParameters") for p in points])
        self.times = np.array([_number(p, "time") for p in points])
        self.observables = tuple(p["observableId"] for p in points)
        self.conditions = tuple(p["simulationConditionId"] for p in points)
        self.datasets = tuple(p.get("datasetId") or p["observableId"] for p in points)
        self.scale_of = np.array([_scale(p, observables, self.scales) for p in points], dtype=np.intp)
        if not (self.noise > 0).all():
            raise InputError("measurements: a noise of 0 or less; every point needs a standard deviation above 0.")

        forms = list(dict.fromkeys(observables[name][0] for name in self.observables))
        self._readout_of = np.array([forms.index(observables[name][0]) for name in self.observables], dtype=np.intp)
        times: dict[tuple[tuple[tuple[str, float], ...] | None, tuple[tuple[str, float], ...]], set[float]] = {}
        keys = [_treatment(p, conditions) for p in points]
        for key, time in zip(keys, self.times, strict=True):
            times.setdefault(key, set()).add(float(time))
        self._experiments = [_Experiment(*key, tuple(sorted(seen))) for key, seen in times.items()]
        number = {key: i for i, key in enumerate(times)}
        self._experiment_of = np.array([number[key] for key in keys], dtype=np.intp)
        self._simulator = ReactionSimulator(
            model,
            readouts={f"readout_{i}": form for i, form in enumerate(forms)},
            parameters=fixed,
            rtol=_RTOL,
            atol=_ATOL,
        )

    @classmethod
    def read(cls, path: str | Path, *, model_values: bool = False) -> PetabProblem:
        """Read a PEtab YAML file and the tables that it names.

        Args:
            model_values: take best values from the model's file, where the table of parameters only rounds them.

        Raises:
            InputError: a file or column that is missing, a name that nothing defines, a value that is no number.
            UnsupportedFeature: what the module does not read; see its first lines.
        """
        path = Path(path)
        try:
            head = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{path}: cannot be read as YAML ({error}); expected a PEtab problem.") from error
        if not isinstance(head, dict) or not {"parameter_file", "problems"} <= set(head):
            raise InputError(f"{path}: not a PEtab problem: it needs the keys `parameter_file` and `problems`.")
        if str(head.get("format_version", "1")) not in ("1", "1.0.0"):
            raise UnsupportedFeature("PEtab version", f"{path}: PEtab {head['format_version']}; we read version 1.")
        if len(head["problems"]) != 1 or any(
            len(files) != 1 for k, files in head["problems"][0].items() if "vis" not in k
        ):
            raise UnsupportedFeature("several PEtab files", f"{path}: expected one problem with one file of each kind.")
        problem = {key: path.parent / files[0] for key, files in head["problems"][0].items()}
        for key in ("sbml_files", "condition_files", "measurement_files", "observable_files"):
            if key not in problem:
                raise InputError(f"{path}: no `{key}:` in its problem; expected one file of each kind.")
        rows = {
            kind: _table(problem[f"{kind}_files"], needed)
            for kind, needed in (
                ("condition", ("conditionId",)),
                ("measurement", ("observableId", "simulationConditionId", "measurement", "time", "noiseParameters")),
                ("observable", ("observableId", "observableFormula")),
            )
        }
        listed = _table(
            path.parent / head["parameter_file"], ("parameterId", "parameterScale", "nominalValue", "estimate")
        )
        observables = {row["observableId"]: _form(row) for row in rows["observable"]}
        conditions = {
            row["conditionId"]: {k: _number(row, k) for k in row if k not in ("conditionId", "conditionName")}
            for row in rows["condition"]
        }
        scales = {row.get("observableParameters", "") for row in rows["measurement"]} - {""}
        own = SteppedModel.read(problem["sbml_files"]).initial if model_values else {}
        listed = [
            {**r, "nominalValue": str(own[r["parameterId"]].value)} if r["parameterId"] in own else r for r in listed
        ]
        return cls(
            problem["sbml_files"],
            parameters=[
                _parameter(row) for row in listed if row["estimate"] == "1" and row["parameterId"] not in scales
            ],
            fixed={r["parameterId"]: _number(r, "nominalValue") for r in listed if r["estimate"] != "1"},
            scales={r["parameterId"]: _number(r, "nominalValue") for r in listed if r["parameterId"] in scales},
            points=rows["measurement"],
            observables=observables,
            conditions=conditions,
        )

    def simulate(self, scaled: Floats) -> Floats:
        """What the model says at every point, before the point's scale, `[M, R]`; NaN for vectors that cannot be run.

        Args:
            scaled: parameter vectors `[M, P]`, each parameter on its scale.
        """
        given = {p.name: p.values(scaled[:, column]) for column, p in enumerate(self.parameters)}
        members = np.arange(len(scaled), dtype=np.int64)
        fresh = self._simulator.init(members=members, seed=0)
        fresh = self._simulator.perturb(fresh, [Perturbation(0.0, f"cell.{n}", v) for n, v in given.items()])
        settled: dict[tuple[tuple[str, float], ...], State] = {}
        found = np.full((len(scaled), len(self.measured)), np.nan)
        for number, experiment in enumerate(self._experiments):
            start = fresh
            if experiment.settle is not None:
                if experiment.settle not in settled:
                    state = self._set(fresh, experiment.settle)
                    settled[experiment.settle] = self._simulator.equilibrate(state, limit=1e7)
                start = settled[experiment.settle]
            times = experiment.times
            _, values = self._simulator.step(self._set(start, experiment.treat), {}, t0=0.0, t1=times[-1], sample=times)
            for point in np.flatnonzero(self._experiment_of == number):
                name = f"readout_{self._readout_of[point]}"
                found[:, point] = values[name][:, times.index(self.times[point])]
        return found

    def _set(self, state: State, values: Sequence[tuple[str, float]]) -> State:
        return self._simulator.perturb(state, [Perturbation(0.0, f"cell.{name}", value) for name, value in values])


def _table(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = [
                {k: (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(handle, delimiter="\t")
            ]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); expected a PEtab table, as the YAML file names it."
        ) from error
    for column in needed:
        if not rows or column not in rows[0]:
            have = list(rows[0]) if rows else []
            raise InputError(
                f"{path.name}: no column {column!r};{near(column, have)} found {', '.join(have) or 'no rows'}."
            )
    return rows


def _number(row: Mapping[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        who = next(iter(row.values()))
        raise UnsupportedFeature("PEtab value", f"{column} of {who} is {row[column]!r}; we read finite numbers only.")
    return value


def _parameter(row: Mapping[str, str]) -> Parameter:
    name, scale, kind = row["parameterId"], row["parameterScale"], row.get("objectivePriorType", "")
    if scale not in ("lin", "log", "log10") or (kind and kind not in _PRIORS):
        raise UnsupportedFeature(
            "PEtab prior", f"{name}: scale {scale!r}, prior {kind!r}; we read {', '.join(_PRIORS)}."
        )
    sd, mean = math.inf, 0.0
    if kind and "niform" not in kind:
        if scale != "lin" and not kind.startswith("parameterScale"):
            raise UnsupportedFeature("PEtab prior", f"{name}: {kind} prior of a parameter on scale {scale}.")
        mean, sd = (float(part) for part in row["objectivePriorParameters"].split(";"))
        sd *= math.sqrt(2.0) if "aplace" in kind else 1.0
    return Parameter(
        name, scale, _number(row, "nominalValue"), _number(row, "lowerBound"), _number(row, "upperBound"), sd, mean
    )


def _form(row: Mapping[str, str]) -> tuple[str, bool]:
    """(the model's part of an observable, whether an unknown scale multiplies it)."""
    name, formula = row["observableId"], row["observableFormula"]
    if row.get("observableTransformation", "lin") not in ("", "lin") or row.get("noiseDistribution", "normal") not in (
        "",
        "normal",
    ):
        raise UnsupportedFeature("PEtab noise", f"{name}: we read normal noise on the linear scale only.")
    noise = row.get("noiseFormula", "")
    if noise != f"noiseParameter1_{name}":
        raise UnsupportedFeature("PEtab noise", f"{name}: noise {noise!r}; we read noiseParameter1_{name} only.")
    scale = f"observableParameter1_{name}"
    if "observableParameter" not in formula:
        return formula, False
    node = ast.parse(formula.replace("^", "**"), mode="eval").body
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for factor, rest in ((node.left, node.right), (node.right, node.left)):
            text = ast.unparse(rest).replace("**", "^")
            if isinstance(factor, ast.Name) and factor.id == scale and "observableParameter" not in text:
                return re.sub(r"\s+", " ", text), True
    raise UnsupportedFeature("PEtab observable", f"{name}: {formula}; we read one scale that multiplies the whole.")


def _scale(point: Mapping[str, str], observables: Mapping[str, tuple[str, bool]], scales: Sequence[str]) -> int:
    name, given = point["observableId"], point.get("observableParameters", "")
    if name not in observables:
        raise InputError(f"measurements: no observable {name!r};{near(name, observables)} mend the name.")
    if observables[name][1] != bool(given) or (given and given not in scales):
        raise InputError(f"measurements: {name} is scaled by {given!r}; expected the id of one listed parameter.")
    return scales.index(given) if given else -1


def _treatment(
    point: Mapping[str, str], conditions: Mapping[str, Mapping[str, float]]
) -> tuple[tuple[tuple[str, float], ...] | None, tuple[tuple[str, float], ...]]:
    settle, treat = point.get("preequilibrationConditionId", ""), point["simulationConditionId"]
    for name in filter(None, (settle, treat)):
        if name not in conditions:
            raise InputError(f"measurements: no condition {name!r};{near(name, conditions)} mend the name.")
    return tuple(conditions[settle].items()) if settle else None, tuple(conditions[treat].items())
