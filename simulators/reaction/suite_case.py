"""One case of the SBML Test Suite: its model, its settings, and whether our answer is within its tolerances.

A case is a folder with `settings.txt`, `results.csv` and `model.xml`, or with the suite's own names
(`00001-settings.txt`, `00001-results.csv`, `00001-sbml-l3v2.xml`; of several levels the highest is run).
"""

from __future__ import annotations

import csv
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from simulators.reaction.engine import Floats, Status
from simulators.reaction.flux_balance import InfeasibleFluxes
from simulators.reaction.model import Quantity, ReactionModel
from simulators.reaction.suite_statistics import judged
from twin.errors import InputError, KakehashiError, UnsupportedFeature

Kind = Literal["time course", "flux balance", "stochastic"]
RTOL, ATOL = 1e-8, 1e-12
"""Tolerances of our runs; the suite's are 1e-4 at most of the cases, and errors add up over events."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        result: `passes`; `refused`: an `UnsupportedFeature` before anything ran; or `fails`.
        reason: of a refusal or failure, in words; of a random answer that passes with points outside their range, where
            most of them are.
        feature: the feature that is not supported.
        engine: which engine answered.
        worst: largest |x − reference| / (absolute + relative |reference|); at most 1 in a case that passes.
        seconds: reading, preparing and running together.
        outside, points, repeats: of random answers: how many points are outside the range of their case, of how many,
            and how many members were run.
    """

    result: Literal["passes", "refused", "fails"]
    reason: str = ""
    feature: str = ""
    engine: str = ""
    worst: float = float("nan")
    seconds: float = 0.0
    outside: int = 0
    points: int = 0
    repeats: int = 0


@dataclass(frozen=True)
class SuiteCase:
    """A case, read."""

    name: str
    kind: Kind
    model: Path
    settings: dict[str, str]
    header: tuple[str, ...]
    reference: Floats  # [T, columns]

    @classmethod
    def read(cls, folder: Path) -> SuiteCase:
        """Read a case's folder.

        Raises:
            InputError: a file is missing or cannot be understood.
        """
        settings: dict[str, str] = {}
        for line in _file(folder, "settings.txt").read_text(encoding="utf-8").splitlines():
            key, colon, value = line.partition(":")
            if colon:
                settings[key.strip().lower()] = value.strip()
        with _file(folder, "results.csv").open(encoding="utf-8", newline="") as table:
            rows = [row for row in csv.reader(table) if any(cell.strip() for cell in row)]
        header = tuple(cell.strip() for cell in rows[0])
        reference = np.array([[_number(cell) for cell in row[: len(header)]] for row in rows[1:]])
        kind: Kind = (
            "stochastic" if "output" in settings else "time course" if settings.get("steps") else "flux balance"
        )
        return cls(folder.name, kind, _model(folder), settings, header, reference)

    def run(self) -> Outcome:
        """Run the case by our engines and judge the answer."""
        begun = time.perf_counter()

        def taken() -> float:
            return time.perf_counter() - begun

        outside = points = repeats = 0
        try:
            if self.kind == "stochastic":
                verdict = judged(ReactionModel.read(self.model), self.settings, self.header, self.reference)
                worst, where, engine = verdict.worst, verdict.where, verdict.engine
                outside, points, repeats = verdict.outside, verdict.points, verdict.repeats
            else:
                worst, where, engine = self._answer()
        except UnsupportedFeature as error:
            return Outcome("refused", str(error), feature=error.feature, seconds=taken())
        except KakehashiError as error:
            return Outcome("fails", f"{type(error).__name__}: {error}", seconds=taken())
        if worst <= 1.0:
            why = where if self.kind == "stochastic" else ""
            return Outcome("passes", why, "", engine, worst, taken(), outside, points, repeats)
        return Outcome("fails", where, "", engine, worst, taken(), outside, points, repeats)

    def _answer(self) -> tuple[float, str, str]:
        """(worst error in tolerances, where, engine)."""
        model = ReactionModel.read(self.model)
        if self.kind == "flux balance":
            return self._flux_balance(model)
        found: dict[str, Floats] = {}
        status, engine = 0, ""
        for quantity in ("amount", "concentration"):
            names = [name for name in self._names() if self._quantity(name) == quantity]
            if names:
                data = model.simulate(
                    self.reference[:, 0], select=names, quantity=quantity, rtol=RTOL, atol=ATOL, threads=1
                )
                engine, status = str(data.attrs["engine"]), max(status, int(data["status"][0]))
                found |= {name: data[f"{name}_" if name in data.dims else name].values[0] for name in names}
        return self._compared(found, f" ({Status(status).reason})" if status else "", engine)

    def _flux_balance(self, model: ReactionModel) -> tuple[float, str, str]:
        try:
            answer = model.flux_balance()
        except InfeasibleFluxes:
            return self._compared({name: np.array([np.nan]) for name in self.header}, "", "flux balance")
        best = answer["objective"]
        fluxes = {
            name: np.array([float(best if name == best.attrs["id"] else answer["flux"].sel(reaction=name))])
            for name in self.header
        }
        return self._compared(fluxes, "", "flux balance")

    def _compared(self, found: dict[str, Floats], remark: str, engine: str) -> tuple[float, str, str]:
        worst, where = 0.0, ""
        for column, name in enumerate(self.header):
            clock = column == 0 and self.kind == "time course"
            if clock or name not in found:
                continue
            error = self._error(found[name], self.reference[:, column])
            k = int(np.argmax(error))
            if error[k] > worst:
                at = f" at {self.reference[k, 0]:g}" if self.kind == "time course" else ""
                worst = float(error[k])
                where = f"{name}{at}: {found[name][k]:.9g}, expected {self.reference[k, column]:.9g}{remark}"
        return worst, where, engine

    def _error(self, x: Floats, reference: Floats) -> Floats:
        """In units of what is allowed; infinite where one is not finite and the other not the same."""
        allowed = float(self.settings["absolute"]) + float(self.settings["relative"]) * np.abs(reference)
        with np.errstate(invalid="ignore"):
            error = np.abs(x - reference) / allowed
        same = (x == reference) | (np.isnan(x) & np.isnan(reference))
        return np.where(same, 0.0, np.where(np.isfinite(error), error, np.inf))

    def _names(self) -> list[str]:
        return _listed(self.settings.get("variables", ""))

    def _quantity(self, name: str) -> Quantity:
        return "concentration" if name in _listed(self.settings.get("concentration", "")) else "amount"


def cases(folder: Path) -> list[Path]:
    """Folders of cases below a folder, by name.

    Raises:
        InputError: there are none.
    """
    walked = os.walk(folder, followlinks=True)
    found = sorted(Path(place) for place, _, files in walked if any(f.endswith("settings.txt") for f in files))
    if not found:
        raise InputError(f"{folder}: no cases of the SBML Test Suite below it (folders with settings.txt).")
    return found


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _number(cell: str) -> float:
    text = cell.strip().lower()
    try:
        return float(text) if text else float("nan")
    except ValueError as error:
        raise InputError(f"results.csv: {cell!r} is not a number.") from error


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{folder.name}-{name}"):
        if path.is_file():
            return path
    raise InputError(f"{folder}: no {name} here.")


def _model(folder: Path) -> Path:
    if (folder / "model.xml").is_file():
        return folder / "model.xml"
    levels = {
        (int(level), int(version)): path
        for path in folder.glob(f"{folder.name}-sbml-l*v*.xml")
        for level, version in re.findall(r"-l(\d)v(\d)\.xml$", path.name)
    }
    if not levels:
        raise InputError(f"{folder}: no model.xml, and no {folder.name}-sbml-l…v….xml.")
    return levels[max(levels)]
