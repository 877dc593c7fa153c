"""What is uncertain, in groups whose shares of the answer's variance are told apart.

Each quantity is a map of standard normal scores, one per draw number; score 0, draw 0, is the median, so that member 0
is the unperturbed cell. Legend: `M` members.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from scenarios.part import Part, Target, Word
from scenarios.problem import Fault
from scenarios.quantity import Fraction, Value, fraction, read
from twin.errors import UnitError
from twin.rates import standard_scores

Row = NDArray[np.float64]


def _in_units(value: float | str, units: str, *keys: str | int) -> float:
    try:
        return read(value, units)
    except UnitError as error:
        raise Fault(str(error), *keys) from error


class LogNormal(Part):
    """Log-normal around the nominal value, or around `median`; spread as `cv`, `sigma_ln` or `decades`."""

    cv: Fraction | None = Field(
        None, description="coefficient of variation, e.g. 0.25 or 25 %: sigma_ln = sqrt(ln(1 + cv²))"
    )
    sigma_ln: Fraction | None = Field(None, description="standard deviation of the natural logarithm")
    decades: Fraction | None = Field(None, description="standard deviation of log10")
    median: Value | None = Field(None, description="left out: the cell line's own value")

    @model_validator(mode="after")
    def _one_spread(self) -> Self:
        given = [s for s in (self.cv, self.sigma_ln, self.decades) if s is not None]
        if len(given) != 1 or fraction(given[0]) < 0:
            raise PydanticCustomError(
                "spread", "expected one spread of 0 or more: `cv: 0.25`, `sigma_ln: 0.3` or `decades: 1`"
            )
        return self

    @property
    def sigma(self) -> float:
        """Standard deviation of the natural logarithm."""
        if self.cv is not None:
            return math.sqrt(math.log1p(fraction(self.cv) ** 2))
        if self.sigma_ln is not None:
            return fraction(self.sigma_ln)
        assert self.decades is not None
        return fraction(self.decades) * math.log(10.0)


class Normal(Part):
    """Normal around the nominal value, or around `mean`."""

    sd: Value = Field(description="standard deviation, in the parameter's unit")
    mean: Value | None = Field(None, description="left out: the cell line's own value")


Bounds = Annotated[tuple[Value, Value], Field(description="lowest and highest value")]


class Distribution(Part):
    """How one parameter is drawn: exactly one of `lognormal`, `normal`, `loguniform`, `uniform`."""

    lognormal: LogNormal | None = Field(None, description="e.g. {cv: 0.25}")
    normal: Normal | None = Field(None, description="e.g. {sd: 0.1 nM}")
    loguniform: Bounds | None = Field(None, description="e.g. [0.1 1/min, 10 1/min]")
    uniform: Bounds | None = Field(None, description="e.g. [0, 1]")
    source: Word | None = Field(None, description="where the spread comes from; the page shows it")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len([k for k in (self.lognormal, self.normal, self.loguniform, self.uniform) if k is not None]) != 1:
            raise PydanticCustomError(
                "distribution",
                "expected exactly one of `lognormal: {cv: …}`, `normal: {sd: …}`, `loguniform: [low, high]` "
                "or `uniform: [low, high]`",
            )
        return self

    @property
    def relative(self) -> bool:
        """Whether it spreads around the cell's own value, so that another group may draw that value."""
        return (self.lognormal is not None and self.lognormal.median is None) or (
            self.normal is not None and self.normal.mean is None
        )

    def check(self, units: str) -> None:
        """Raise `Fault` where a number cannot be read in the parameter's units, or bounds are out of order."""
        self.values(np.zeros(1), nominal=np.ones(1), units=units)

    def values(self, scores: Row, *, nominal: Row | float, units: str) -> Row:
        """The parameter of each member `[M]`, in `units`, from normal scores `[M]` and its nominal value(s)."""
        if self.lognormal is not None:
            centre = (
                nominal
                if self.lognormal.median is None
                else _in_units(self.lognormal.median, units, "lognormal", "median")
            )
            if self.lognormal.median is not None and centre <= 0:
                raise Fault(f"{self.lognormal.median!r}: a log-normal median lies above 0.", "lognormal", "median")
            return np.asarray(centre * np.exp(self.lognormal.sigma * scores), dtype=np.float64)
        if self.normal is not None:
            centre = nominal if self.normal.mean is None else _in_units(self.normal.mean, units, "normal", "mean")
            deviation = _in_units(self.normal.sd, units, "normal", "sd")
            if deviation < 0:
                raise Fault(f"{self.normal.sd!r} is negative; a standard deviation is 0 or more.", "normal", "sd")
            return np.asarray(centre + deviation * scores, dtype=np.float64)
        share = np.array([NormalDist().cdf(float(score)) for score in scores])
        kind = "loguniform" if self.loguniform is not None else "uniform"
        bounds = self.loguniform or self.uniform
        assert bounds is not None
        low, high = (_in_units(bound, units, kind, position) for position, bound in enumerate(bounds))
        if not (low < high and (kind == "uniform" or low > 0)):
            raise Fault(
                f"[{bounds[0]}, {bounds[1]}]: expected low < high{', both above 0' if kind == 'loguniform' else ''}.",
                kind,
            )
        if kind == "uniform":
            return low + (high - low) * share
        return np.exp(math.log(low) + (math.log(high) - math.log(low)) * share)


def _triple(data: Any) -> Any:
    if isinstance(data, (list, tuple)) and len(data) == 3:  # pyright: ignore[reportUnknownArgumentType]
        return data  # pyright: ignore[reportUnknownVariableType]
    raise PydanticCustomError(
        "correlation", "expected [one parameter, another, correlation], e.g. [ksyn_EGFR, ksyn_MET, 0.4]"
    )


class Group(Part):
    """One source of uncertainty: a fitted table, or parameters with their distributions."""

    table: Word | None = Field(None, description="CSV table of fitted parameters (`twin fit-uncertainty` writes it)")
    factors: Word | None = Field(None, description="CSV table of the fit's joint spread, beside `table`")
    parameters: dict[Target, Distribution] = Field(default_factory=dict, description="parameter → its distribution")
    correlate: tuple[Annotated[tuple[Target, Target, float], BeforeValidator(_triple)], ...] = Field(
        (), description="pairs of parameters of this group and the correlation of their normal scores"
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.table is None and not self.parameters:
            raise PydanticCustomError("group", "the group draws nothing; give it `parameters:` or a `table:`")
        if self.factors is not None and self.table is None:
            raise PydanticCustomError("group", "`factors` needs the `table` that it belongs to")
        return self

    def factor(self) -> NDArray[np.float64]:
        """Cholesky factor of the correlation of the scores, `[P, P]` in the order of `parameters`.

        Raises `Fault` for an unknown parameter, a value outside -1…1, or correlations that contradict each other.
        """
        names = list(self.parameters)
        matrix = np.eye(len(names))
        for position, (one, other, value) in enumerate(self.correlate):
            for place, name in enumerate((one, other)):
                if name not in names:
                    raise Fault(
                        f"{name!r} is not drawn in this group; it draws {', '.join(names)}.",
                        "correlate",
                        position,
                        place,
                    )
            if one == other or not -1.0 < value < 1.0:
                raise Fault(
                    f"{value} between {one} and {other}: expected two parameters and a number between -1 and 1.",
                    "correlate",
                    position,
                )
            matrix[names.index(one), names.index(other)] = matrix[names.index(other), names.index(one)] = value
        try:
            return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
        except np.linalg.LinAlgError as error:
            raise Fault(
                "these correlations contradict each other (no joint distribution has them); lower one.", "correlate"
            ) from error

    def draw(
        self,
        group: str,
        *,
        seed: int,
        draws: NDArray[np.int64],
        nominal: Mapping[str, Row | float],
        units: Mapping[str, str],
    ) -> dict[str, Row]:
        """The group's parameters of each member, `[M]` each; the table's are drawn by `scenarios.fit`.

        Args:
            group: its name; part of the random stream's name.
            draws: draw number of each member `[M]`; draw 0 is the nominal cell.
            nominal: value(s) around which relative distributions spread: the cell line's, or drawn by another group.
            units: of the model's names.
        """
        names = list(self.parameters)
        if not names:
            return {}
        scores = np.stack([standard_scores(seed, f"{group}: {name}", draws) for name in names])
        mixed = np.einsum("pq,qm->pm", self.factor(), scores)
        return {
            name: self.parameters[name].values(
                mixed[row], nominal=nominal.get(name, math.nan), units=units.get(name, "")
            )
            for row, name in enumerate(names)
        }
