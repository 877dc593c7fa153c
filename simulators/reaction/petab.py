"""A parameter estimation problem in PEtab: a model, the conditions it ran under, and what was measured.

Version 1 (Schmiester et al. 2021, doi 10.1371/journal.pcbi.1008646), all of its tables but those for figures. Legend:
`M` parameter vectors, `R` measured points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulators.reaction.engine import Floats
from simulators.reaction.model import ReactionModel
from simulators.reaction.petab_files import PetabFiles
from simulators.reaction.petab_observable import PetabObservable
from simulators.reaction.petab_parameter import PetabParameter
from simulators.reaction.petab_points import PetabPoints
from simulators.reaction.petab_table import PetabTable, Row, near, number, refuse
from simulators.reaction.simulation import checked_numbers
from twin.errors import InputError

if TYPE_CHECKING:
    import pandas
    import xarray

    from simulators.reaction.petab_evaluation import PetabEvaluation

Content = tuple[tuple[str, "float | str"], ...]
"""What a condition sets: id in the model → a number, or the id of a parameter."""
RTOL, ATOL = 1e-8, 1e-12
_NEEDED = {
    "condition": ("conditionId",),
    "measurement": ("observableId", "simulationConditionId", "measurement", "time"),
    "observable": ("observableId", "observableFormula", "noiseFormula"),
}


@dataclass(frozen=True)
class PetabProblem:
    """A model with conditions, parameters and measured points.

    Attributes:
        path: of the YAML file.
        model_file: of the SBML file.
        parameters: id → parameter, in the table's order.
        conditions: id → what it sets; empty cells, which mean what the model says (or the state before), are left out.
        observables: id → observable.
        points: what was measured `[R]`.
        table: those rows as the file has them.
    """

    path: Path
    model_file: Path
    parameters: Mapping[str, PetabParameter]
    conditions: Mapping[str, Content]
    observables: Mapping[str, PetabObservable]
    points: PetabPoints
    table: PetabTable

    @classmethod
    def read(cls, path: str | Path) -> PetabProblem:
        """Read a YAML file, or the only one of a folder, and the tables that it names.

        Raises:
            InputError: a file or column that is missing, an id that nothing defines or that is defined twice, a value that
                is no number: all faults of the tables at once, each with its file and line.
            UnsupportedFeature: another version, or several models.
        """
        files = PetabFiles.read(path)
        path = files.path
        parameters = files.parameters()
        tables = {kind: PetabTable.read(files.tables[kind], needed) for kind, needed in _NEEDED.items()}
        faults: list[str] = []
        _refuse_twice(parameters, "parameterId", faults)
        _refuse_twice(tables["condition"], "conditionId", faults)
        _refuse_twice(tables["observable"], "observableId", faults)
        listed = {row["parameterId"]: PetabParameter.of(row, faults) for row in parameters.rows}
        model = ReactionModel.read(files.model)
        ids = frozenset(model.network.observables)
        settable = frozenset({*model.network.state_names, *model.network.constant_names, *model.network.starts} & ids)
        for row in parameters.rows:
            name = row["parameterId"]
            if name in ids and name not in settable:
                faults.append(
                    f"{row.place}: the model computes {name} by a rule or as a rate; it cannot be a parameter."
                )
        known = ids | frozenset(listed)
        conditions = {
            row["conditionId"]: _content(row, tables["condition"], known, faults) for row in tables["condition"].rows
        }
        _check_columns(tables["condition"], settable, ids, faults)
        observables: dict[str, PetabObservable] = {}
        unread: set[str] = set()
        for row in tables["observable"].rows:
            observable = PetabObservable.of(row, faults)
            if observable is None:
                unread.add(row["observableId"])
                continue
            observables[observable.id] = observable
            _check_names(row, observable, known, faults)
        seen: list[str] = []
        points = PetabPoints.of(tables["measurement"], observables, conditions, known, seen)
        faults += [text for text in seen if not any(f"no observable {name!r}" in text for name in unread)]
        refuse(faults, str(path))
        problem = cls(path, files.model, listed, conditions, observables, points, tables["measurement"])
        problem.__dict__["model"] = model  # what has been read need not be read again
        return problem

    @cached_property
    def model(self) -> ReactionModel:
        """The model, without any condition."""
        return ReactionModel.read(self.model_file)

    @property
    def name(self) -> str:
        """Of the problem: its file's."""
        return self.path.stem

    @property
    def nominal(self) -> dict[str, float]:
        """Parameter → its nominal value, on the linear scale."""
        return {name: parameter.nominal for name, parameter in self.parameters.items()}

    @property
    def estimated(self) -> frozenset[str]:
        """Parameters that a fit moves."""
        return frozenset(name for name, parameter in self.parameters.items() if parameter.estimated)

    @property
    def ends(self) -> dict[str, float]:
        """Condition → the last finite time at which something was measured under it."""
        found: dict[str, float] = {}
        for condition, time in zip(self.points.conditions, self.points.times, strict=True):
            if math.isfinite(time):
                found[condition] = max(found.get(condition, 0.0), float(time))
        return found

    def with_nominal(self, values: Mapping[str, float]) -> PetabProblem:
        """The problem with other nominal values."""
        changed = {
            name: replace(parameter, nominal=float(values[name])) if name in values else parameter
            for name, parameter in self.parameters.items()
        }
        problem = replace(self, parameters=changed)
        problem.__dict__["model"] = self.model
        return problem

    def values(self, parameters: Mapping[str, Any] | None = None) -> dict[str, Floats]:
        """All parameters of the table `[M]`: those given, and nominal values else.

        Raises:
            InputError: an id that the table does not have, values of different lengths, or a parameter without a value.
        """
        given = {
            name: np.atleast_1d(checked_numbers(f"parameters[{name!r}]", value))
            for name, value in (parameters or {}).items()
        }
        for name in given:
            if name not in self.parameters:
                raise InputError(f"parameters: no {name!r} in the problem's table;{near(name, self.parameters)} "
                                 "expected ids of the table of parameters.")  # fmt: skip
        sizes = {len(value) for value in given.values() if len(value) != 1} or {1}
        if len(sizes) > 1 or any(value.ndim != 1 for value in given.values()):
            told = ", ".join(f"{name} {value.shape}" for name, value in given.items())
            raise InputError(f"parameters: {told}; give each one value per vector, or a single number.")
        (count,) = sizes
        missing = [n for n, p in self.parameters.items() if n not in given and math.isnan(p.nominal)]
        if missing:
            raise InputError(
                f"{self.path}: no nominal value of {', '.join(missing[:5])}; give one in the table or as `parameters`."
            )
        nominal = {name: np.full(count, value) for name, value in self.nominal.items()}
        return nominal | {name: np.broadcast_to(value, (count,)) for name, value in given.items()}

    def refuse_unsettled(self) -> None:
        """Refuse, before anything runs, a problem that asks for a steady state of a model that has none.

        Raises:
            UnsupportedFeature: see above.
        """
        from simulators.reaction.petab_evaluation import asked
        from simulators.reaction.petab_experiment import refuse_unsettled

        refuse_unsettled(self, asked(self, self.points)[1])

    def evaluate(
        self,
        parameters: Mapping[str, Any] | None = None,
        *,
        points: PetabPoints | None = None,
        engine: str = "auto",
        rtol: float = RTOL,
        atol: float = ATOL,
        threads: int | None = None,
    ) -> PetabEvaluation:
        """What the model says at every point, with its noise.

        Args:
            parameters: id of the table → a value or values `[M]`, on the linear scale; nominal values else.
            points: other points than the measured ones.
            engine, rtol, atol, threads: as `ReactionModel.simulate`. Cells always settle in our own integrator.

        Raises:
            InputError: see `values`.
            UnsupportedFeature: a steady state is asked of a model that has none.
        """
        from simulators.reaction.petab_evaluation import evaluate

        return evaluate(
            self, self.values(parameters), self.points if points is None else points, engine=engine, rtol=rtol, atol=atol,
            threads=threads,
        )  # fmt: skip

    def simulate(
        self, parameters: Mapping[str, Any] | None = None, *, engine: str = "auto", **how: Any
    ) -> pandas.DataFrame:
        """PEtab's simulation table: the rows of the measurement table with `simulation` in place of `measurement`.

        Args:
            parameters, engine, how: as `evaluate`, for one vector.
        """
        import pandas

        found = self.evaluate(parameters, engine=engine, **how)
        columns = {
            "simulation" if name == "measurement" else name: [row[name] for row in self.table.rows]
            for name in self.table.columns
        }
        return pandas.DataFrame({**columns, "time": self.points.times, "simulation": found.simulation[0]})

    def chi2(self, parameters: Mapping[str, Any] | None = None, **how: Any) -> float:
        """Sum of squared residuals over noise, each on its observable's scale; NaN where the model cannot be run."""
        return float(self.evaluate(parameters, **how).chi2[0])

    def log_likelihood(self, parameters: Mapping[str, Any] | None = None, **how: Any) -> float:
        """Logarithm of the density of all measurements; NaN where the model cannot be run."""
        return float(self.evaluate(parameters, **how).log_likelihood[0])

    def courses(
        self,
        times: Floats | None = None,
        *,
        select: list[str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        engine: str = "auto",
        rtol: float = RTOL,
        atol: float = ATOL,
    ) -> xarray.Dataset:
        """What the model does under every condition that was measured, dims `(condition, time)`.

        Args:
            times: ascending, from 0; None: 101 times until the last measured one.
            select: ids of the model; None: as `ReactionModel.simulate`.
            parameters: for one vector.

        Returns:
            Variables as the model reads them, with units, and coordinates `condition` and `settled` (id of the condition
            before; empty where there is none).
        """
        from simulators.reaction.petab_evaluation import courses

        when = (
            np.linspace(0.0, max(self.ends.values(), default=1.0) or 1.0, 101) if times is None else np.asarray(times)
        )
        return courses(self, self.values(parameters), when, select, engine=engine, rtol=rtol, atol=atol)


def _refuse_twice(table: PetabTable, column: str, faults: list[str]) -> None:
    first: dict[str, str] = {}
    for row in table.rows:
        name = row[column]
        if not name:
            faults.append(f"{row.place}: {column} is empty; give the row an id.")
        elif name in first:
            faults.append(f"{row.place}: {column} {name!r} is there already ({first[name]}); keep one of them.")
        first.setdefault(name, row.place)


def _content(row: Row, table: PetabTable, known: frozenset[str], faults: list[str]) -> Content:
    found: list[tuple[str, float | str]] = []
    for name in table.columns:
        cell = row[name]
        if name in ("conditionId", "conditionName") or not cell:
            continue
        if cell in known:
            found.append((name, cell))
            continue
        value = number(row, name, faults, what=f"a number or an id of a parameter;{near(cell, known)}".rstrip(";"))
        if not math.isnan(value):  # NaN: what the model says, or the state before
            found.append((name, value))
    return tuple(found)


def _check_columns(table: PetabTable, settable: frozenset[str], ids: frozenset[str], faults: list[str]) -> None:
    place = table.rows[0].place.rsplit(":", 1)[0] if table.rows else "conditions"
    for name in table.columns:
        if name in ("conditionId", "conditionName") or name in settable:
            continue
        if name in ids:
            faults.append(
                f"{place}:1: column {name!r}: the model computes it by a rule or as a rate; it cannot be set."
            )
        else:
            faults.append(f"{place}:1: column {name!r} is nothing in the model;{near(name, settable)} expected the id of a "
                          "parameter, a species or a compartment.")  # fmt: skip


def _check_names(row: Row, observable: PetabObservable, known: frozenset[str], faults: list[str]) -> None:
    for column, formula, slots in (
        ("observableFormula", observable.formula, observable.slots),
        ("noiseFormula", observable.noise, (*observable.noise_slots, observable.id)),
    ):
        for name in sorted(formula.names - known - set(slots) - {"time"}):
            faults.append(f"{row.place}: {column} reads {name!r}, which is neither in the model nor a parameter;"
                          f"{near(name, known)} mend the name, or add it to the table of parameters.")  # fmt: skip
