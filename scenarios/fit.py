"""The fit of a cell's parameters to data: best values, how far data pin each of them, and joint draws of what they leave open.

Both tables are written by `twin fit-uncertainty`. Legend: `M` members, `K` parameters that are drawn, `D` draws in the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenarios.csv_table import CsvTable, Row
from twin.errors import InputError
from twin.rates import standard_scores
from twin.seeds import stream

SCALES = ("log10", "log", "lin")
COLUMNS = ("parameter", "scale", "nominal", "lower", "upper", "prior_sd", "posterior_sd", "drawn_sd", "points")
_LN10 = math.log(10.0)


@dataclass(frozen=True)
class FittedParameter:
    """What a fit says of one parameter.

    Args:
        name: as in the model.
        scale: ``"log10"``, ``"log"`` or ``"lin"``: on which its spread is given.
        nominal, lower, upper: best value and bounds, as the model reads them.
        prior_sd, posterior_sd: standard deviation before and after the data (Laplace approximation), on its scale.
        drawn_sd: standard deviation of its draws; 0 where it is held at its best value.
        points: measured points that bear on it.
    """

    name: str
    scale: str
    nominal: float
    lower: float
    upper: float
    prior_sd: float
    posterior_sd: float
    drawn_sd: float
    points: int

    @property
    def prior_sd_log10(self) -> float:
        """`prior_sd` in decades; a parameter on the linear scale counts as the natural logarithm of a ratio."""
        return self.prior_sd if self.scale == "log10" else self.prior_sd / _LN10

    @property
    def posterior_sd_log10(self) -> float:
        """`posterior_sd` in decades; a parameter on the linear scale counts as the natural logarithm of a ratio."""
        return self.posterior_sd if self.scale == "log10" else self.posterior_sd / _LN10

    def scaled(self, value: float) -> float:
        """A value of the model on the parameter's scale."""
        return value if self.scale == "lin" else math.log10(value) if self.scale == "log10" else math.log(value)

    def values(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values as the model reads them, from values on the parameter's scale; reflected into the bounds."""
        low, high = self.scaled(self.lower), self.scaled(self.upper)
        inside = reflected(scaled, low, high)
        found = inside if self.scale == "lin" else np.exp(inside * (_LN10 if self.scale == "log10" else 1.0))
        return np.clip(found, self.lower, self.upper)  # a bound may move by a rounding of exp


def reflected(
    values: NDArray[np.float64], low: float | NDArray[np.float64], high: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values mirrored at both bounds until they lie within; those that do are not touched."""
    width = np.asarray(high - low)
    folded = np.mod(values - low, 2.0 * width)
    inside = low + np.where(folded > width, 2.0 * width - folded, folded)
    return np.where((values >= low) & (values <= high), values, inside)


@dataclass(frozen=True)
class Fit:
    """A fit and its joint draws.

    Args:
        parameters: every parameter that the fit moved; also those that no measured point bears on.
        drawn: names of those that are drawn `[K]`.
        shifts: distance of each draw from the best values, on the parameters' scales `[D, K]`; None: each parameter is
            drawn on its own, normal with its `posterior_sd`.
    """

    parameters: tuple[FittedParameter, ...]
    drawn: tuple[str, ...]
    shifts: NDArray[np.float64] | None

    @classmethod
    def read(cls, table: str | Path, factors: str | Path | None = None) -> Fit:
        """Read the table of a fit and, with `factors`, of its joint draws.

        Raises:
            InputError: a column, row or name that is missing, a value that is no finite number or outside its bounds.
        """
        found = _read(Path(table), None if factors is None else Path(factors), _stamp(table), _stamp(factors))
        return found

    @property
    def evidence(self) -> tuple[FittedParameter, ...]:
        """What the data say of each parameter that is drawn."""
        return tuple(p for p in self.parameters if p.name in self.drawn)

    def draw(self, seed: int, draws: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Parameters of each member `[M]`, as the model reads them; draw 0 is the best fit.

        Every row of the table of draws is used once before one comes again; the seed gives their order.

        Args:
            seed: the scenario's.
            draws: draw number of each member `[M]`.
        """
        draws = np.asarray(draws, dtype=np.int64)
        by_name = {p.name: p for p in self.parameters}
        found: dict[str, NDArray[np.float64]] = {}
        rows = None if self.shifts is None else _rows(seed, draws, len(self.shifts))
        for column, name in enumerate(self.drawn):
            parameter = by_name[name]
            if self.shifts is None or rows is None:
                shift = parameter.posterior_sd * standard_scores(seed, f"fit: {name}", draws)
            else:
                shift = np.where(draws == 0, 0.0, self.shifts[rows, column])
            values = parameter.values(parameter.scaled(parameter.nominal) + shift)
            found[name] = np.where(draws == 0, parameter.nominal, values)
        return found


def _rows(seed: int, draws: NDArray[np.int64], available: int) -> NDArray[np.int64]:
    """Row of each draw number `[M]`: a new shuffle of all rows for every `available` numbers."""
    rounds = np.maximum(draws - 1, 0) // available
    order = {int(i): stream(seed, "fit", "round", int(i)).permutation(available) for i in np.unique(rounds)}
    places = np.maximum(draws - 1, 0) % available
    return np.array([order[int(i)][int(place)] for i, place in zip(rounds, places, strict=True)], dtype=np.int64)


def _stamp(path: str | Path | None) -> tuple[int, int]:
    """Changes when a file does, so that a table is parsed once and never stale."""
    try:
        stat = Path(path or "").stat()
    except OSError:
        return (0, 0)
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=4)
def _read(table: Path, factors: Path | None, *stamps: tuple[int, int]) -> Fit:
    del stamps
    content = CsvTable.read(table, needed=COLUMNS, known=COLUMNS)
    parameters = tuple(_parameter(row) for row in content.rows)
    by_name = {p.name: p for p in parameters}
    if len(by_name) < len(parameters):
        raise InputError(f"{content.name}: a parameter is listed twice; keep one row of each.")
    if factors is None:
        return Fit(parameters, tuple(p.name for p in parameters if p.drawn_sd > 0), None)
    draws = CsvTable.read(factors, needed=())
    for name in draws.columns:
        if name not in by_name:
            raise InputError(
                f"{draws.name}: column {name!r} is not a parameter of {content.name}; write both tables anew."
            )
    return Fit(
        parameters, draws.columns, np.array([[row.number(name) for name in draws.columns] for row in draws.rows])
    )


def _parameter(row: Row) -> FittedParameter:
    scale = row.text("scale")
    numbers = {column: row.number(column) for column in COLUMNS[2:]}
    if scale not in SCALES:
        raise InputError(f"{row.where}: scale {scale!r}; expected one of {', '.join(SCALES)}.")
    if not numbers["lower"] <= numbers["nominal"] <= numbers["upper"] or numbers["lower"] >= numbers["upper"]:
        raise InputError(
            f"{row.where}: nominal {numbers['nominal']:g} is not within {numbers['lower']:g} … {numbers['upper']:g}."
        )
    if scale != "lin" and numbers["lower"] <= 0:
        raise InputError(f"{row.where}: lower bound {numbers['lower']:g} on the scale {scale}; expected one above 0.")
    for column in ("prior_sd", "posterior_sd", "drawn_sd", "points"):
        if numbers[column] < 0:
            raise InputError(f"{row.where}: {column} is {numbers[column]:g}; expected 0 or more.")
    return FittedParameter(row.text("parameter"), scale, **{**numbers, "points": int(numbers["points"])})  # pyright: ignore[reportArgumentType]
