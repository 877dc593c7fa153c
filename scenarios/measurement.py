"""Measured points: what was seen in a cell line under a treatment, at a time, in the units of the model's readouts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenarios.csv_table import CsvTable
from scenarios.problem import near, one_of
from twin.errors import InputError

_WORDS = ("cell_line", "treatment", "readout", "dataset")
_NUMBERS = ("time_min", "value", "sd")


@dataclass(frozen=True)
class Measurement:
    """The points of one table. Legend: `R` points.

    Attributes:
        cell_line, treatment, readout, dataset: words of each point `[R]`; `treatment` as in the scenario's arms with
            ``protocol: measured``, `dataset` names the experiment.
        time_min: minutes from the stimulus `[R]`.
        value, sd: measured value and its standard deviation `[R]`, in the units of the readout.
        where: file and line of each point.
        remarks: the table's own remarks: source and how values were made comparable.
    """

    cell_line: tuple[str, ...]
    treatment: tuple[str, ...]
    readout: tuple[str, ...]
    dataset: tuple[str, ...]
    time_min: NDArray[np.float64]
    value: NDArray[np.float64]
    sd: NDArray[np.float64]
    where: tuple[str, ...]
    remarks: tuple[str, ...]

    @classmethod
    def read(cls, path: str | Path) -> Measurement:
        """Read a CSV table with the columns cell_line, treatment, readout, time_min, value, sd, dataset.

        Raises:
            InputError: a column or cell that is missing or no finite number, or an sd of 0 or less; with its line.
        """
        table = CsvTable.read(path, needed=_WORDS + _NUMBERS, known=_WORDS + _NUMBERS)
        for row in table.rows:
            if row.number("sd") <= 0:
                raise InputError(f"{row.where}: sd is {row.cells['sd']}; expected a standard deviation above 0.")
        words = {column: tuple(row.text(column) for row in table.rows) for column in _WORDS}
        numbers = {column: np.array([row.number(column) for row in table.rows]) for column in _NUMBERS}
        return cls(
            cell_line=words["cell_line"],
            treatment=words["treatment"],
            readout=words["readout"],
            dataset=words["dataset"],
            time_min=numbers["time_min"],
            value=numbers["value"],
            sd=numbers["sd"],
            where=tuple(row.where for row in table.rows),
            remarks=table.remarks,
        )

    def check(
        self, *, arms: Collection[tuple[str, str]], readouts: Collection[str], start_min: float, end_min: float
    ) -> None:
        """Whether every point has its place in a scenario.

        Args:
            arms: (cell line, treatment) of the arms with ``protocol: measured``.
            readouts: names of the readouts.
            start_min, end_min: when the arms start and end.

        Raises:
            InputError: a point without such an arm or readout, or outside the time; with its line.
        """
        seen = zip(self.where, self.cell_line, self.treatment, self.readout, self.time_min, strict=True)
        for where, line, treatment, readout, time in seen:
            if (line, treatment) not in arms:
                known = [f"{a} | {b}" for a, b in sorted(arms)]
                raise InputError(
                    f"{where}: no arm with `protocol: measured` is {line} | {treatment};{near(f'{line} | {treatment}', known)} "
                    f"expected one of {one_of(known)}."
                )
            if readout not in readouts:
                raise InputError(
                    f"{where}: no readout {readout!r};{near(readout, readouts)} expected {one_of(readouts)}."
                )
            if not start_min <= time <= end_min:
                raise InputError(
                    f"{where}: {time:g} min lies outside {start_min:g} … {end_min:g} min; leave the point out."
                )
