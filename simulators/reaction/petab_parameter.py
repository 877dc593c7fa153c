"""One row of a PEtab problem's table of parameters: its value, and what is known of it before the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulators.reaction.engine import Floats
from simulators.reaction.petab_table import Row, number
from twin.errors import UnsupportedFeature

SCALES = ("lin", "log", "log10")
_LN10 = math.log(10.0)
_PRIORS = ("uniform", "parameterScaleUniform", "normal", "parameterScaleNormal", "laplace", "parameterScaleLaplace")


@dataclass(frozen=True)
class PetabParameter:
    """One parameter.

    Args:
        name: as in the model, or as formulas and conditions name it.
        scale: ``"log10"``, ``"log"`` or ``"lin"``: on which a fit moves it, and bounds, prior and spread are Gaussian or flat.
        nominal, lower, upper: best value and bounds, as the model reads them (on the linear scale); NaN where not given.
        estimated: whether a fit moves it.
        prior: kind of its published prior; empty: none.
        prior_parameters: of that prior, as the table gives them.
    """

    name: str
    scale: str
    nominal: float
    lower: float = math.nan
    upper: float = math.nan
    estimated: bool = True
    prior: str = ""
    prior_parameters: str = ""

    @classmethod
    def of(cls, row: Row, faults: list[str]) -> PetabParameter:
        """What a row says; what is wrong with it goes to `faults`."""
        scale = row["parameterScale"] or "lin"
        if scale not in SCALES:
            faults.append(f"{row.place}: parameterScale is {scale!r}; expected {', '.join(SCALES)}.")
        if row["estimate"] not in ("0", "1"):
            faults.append(f"{row.place}: estimate is {row['estimate']!r}; expected 0 or 1.")
        value, lower, upper = (
            number(row, column, faults) if row[column] else math.nan
            for column in ("nominalValue", "lowerBound", "upperBound")
        )
        if math.isnan(value) and row["estimate"] == "0":
            faults.append(f"{row.place}: {row['parameterId']} is not estimated and has no nominalValue; give it one.")
        return cls(
            row["parameterId"], scale, value, lower, upper, row["estimate"] == "1",
            row["objectivePriorType"], row["objectivePriorParameters"],
        )  # fmt: skip

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
    def published(self) -> tuple[float, float]:
        """Mean and standard deviation of the published prior on the parameter's scale; 0 and infinite where there is none.

        A Laplace prior of width b counts as the normal one of the same variance, sd = sqrt(2)*b.

        Raises:
            UnsupportedFeature: a prior on another scale than the parameter's, or of a kind that we do not read.
        """
        if self.prior and self.prior not in _PRIORS:
            raise UnsupportedFeature(
                "PEtab prior", f"{self.name}: scale {self.scale!r}, prior {self.prior!r}; we read {', '.join(_PRIORS)}."
            )
        if not self.prior or "niform" in self.prior:
            return 0.0, math.inf
        if self.scale != "lin" and not self.prior.startswith("parameterScale"):
            raise UnsupportedFeature(
                "PEtab prior", f"{self.name}: {self.prior} prior of a parameter on scale {self.scale}."
            )
        mean, sd = (float(part) for part in self.prior_parameters.split(";"))
        return mean, sd * (math.sqrt(2.0) if "aplace" in self.prior else 1.0)

    @property
    def prior_sd(self) -> float:
        """What is known without data, on its scale: the published prior, and the bounds as a box (sd = width/sqrt(12))."""
        box = (self.bounds[1] - self.bounds[0]) / math.sqrt(12.0)
        return 1.0 / math.sqrt(1.0 / box**2 + 1.0 / self.published[1] ** 2)
