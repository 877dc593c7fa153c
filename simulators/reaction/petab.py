"""A PEtab problem's model, conditions and nominal parameters, as far as simulating it needs them.

PEtab version 1: Schmiester et al. 2021, doi 10.1371/journal.pcbi.1008646. Observables, noise, priors and
pre-equilibration are not read here.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from twin.errors import InputError


@dataclass(frozen=True)
class PetabProblem:
    """What a PEtab problem says about its model.

    Attributes:
        model: path of the SBML file.
        nominal: parameter of the table → its nominal value on the linear scale.
        estimated: those of `nominal` that a fit moves.
        conditions: condition → id in the model → a number, or the name of a parameter of `nominal`. An empty cell, which
            means what the model says, is left out.
        ends: condition → the last finite time at which something was measured under it.
    """

    model: Path
    nominal: Mapping[str, float]
    estimated: frozenset[str]
    conditions: Mapping[str, Mapping[str, float | str]]
    ends: Mapping[str, float]

    @classmethod
    def read(cls, path: str | Path) -> PetabProblem:
        """Read the YAML file, or the only one of a folder, and the tables that it names.

        Raises:
            InputError: a file or column is missing, or a value is no number and no parameter.
        """
        path = Path(path)
        if path.is_dir():
            found = sorted(path.glob("*.yaml"))
            if len(found) != 1:
                raise InputError(
                    f"{path}: expected one PEtab file (*.yaml) in the folder, found {len(found)}; name it."
                )
            path = found[0]
        try:
            head = yaml.safe_load(path.read_text(encoding="utf-8"))
            (problem,) = head["problems"]
            (model,) = problem["sbml_files"]
            tables = {key: problem[f"{key}_files"] for key in ("condition", "measurement")}
            parameters = _rows([path.parent / head["parameter_file"]], "parameterId", "nominalValue")
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: not a PEtab problem that can be read ({error}); expected `parameter_file` and one of `problems` "
                "with one `sbml_files`, `condition_files` and `measurement_files`."
            ) from error
        nominal = {row["parameterId"]: _number(row, "nominalValue") for row in parameters}
        conditions = {
            row["conditionId"]: {
                name: _value(row, name, nominal)
                for name, cell in row.items()
                if name not in ("conditionId", "conditionName") and cell
            }
            for row in _rows([path.parent / name for name in tables["condition"]], "conditionId")
        }
        ends: dict[str, float] = {}
        for row in _rows([path.parent / name for name in tables["measurement"]], "simulationConditionId", "time"):
            time, condition = float(row["time"]), row["simulationConditionId"]
            if math.isfinite(time):
                ends[condition] = max(ends.get(condition, 0.0), time)
        estimated = frozenset(row["parameterId"] for row in parameters if row.get("estimate", "1") == "1")
        return cls(path.parent / model, nominal, estimated, conditions, ends)


def _rows(paths: Sequence[Path], *needed: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for path in paths:
        try:
            with path.open(newline="", encoding="utf-8-sig") as handle:
                rows = [
                    {k: (v or "").strip() for k, v in row.items() if k}
                    for row in csv.DictReader(handle, delimiter="\t")
                ]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: cannot be read ({error}); expected a table, as the YAML file names it."
            ) from error
        for column in needed:
            if not rows or column not in rows[0]:
                raise InputError(
                    f"{path.name}: no column {column!r}; found {', '.join(rows[0]) if rows else 'no rows'}."
                )
        found += rows
    return found


def _number(row: Mapping[str, str], column: str) -> float:
    try:
        return float(row[column])
    except ValueError as error:
        who = next(iter(row.values()))
        raise InputError(f"{column} of {who} is {row[column]!r}; expected a number.") from error


def _value(row: Mapping[str, str], name: str, nominal: Mapping[str, float]) -> float | str:
    cell = row[name]
    if cell in nominal:
        return cell
    try:
        return float(cell)
    except ValueError as error:
        raise InputError(
            f"condition {row['conditionId']}: {name} is {cell!r}; expected a number or a parameter of the table."
        ) from error
