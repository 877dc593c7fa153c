"""Changes from outside, as a scenario file writes them: set, scale, knock-out, knock-down, overexpress.

Each names its target by its verb (``knock-out: ksyn_MET``) and lowers itself to `twin.Perturbation`. Doses, which last
or repeat, are in `dose.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from scenarios.part import Part, Target
from scenarios.problem import Fault, near
from scenarios.quantity import Fraction, Time, Value, checked, fraction, minutes, read
from twin.errors import UnitError
from twin.perturbation import Operation, Perturbation

COMPOUND = "compound"
"""Target that stands for the compound of a generated arm: its dose parameter in the model."""
EACH = "each"
"""Dose that stands for the dose of a generated arm."""

Amount = Annotated[
    float | str,
    BeforeValidator(lambda value: value if value == EACH else checked(value, None)),
    WithJsonSchema({"type": ["string", "number"], "examples": ["10 ug/ml", "0.3 uM", 1.0, EACH]}),
]
"""A `Value`, or `EACH`."""


@dataclass(frozen=True)
class Reading:
    """What a change needs to know to become numbers.

    Args:
        units: of the model's names; a name that is absent has none.
        start, end: of the arm [min].
        equilibrate: whether the cell is equilibrated before `start`.
        dose_parameter: what `COMPOUND` stands for; None where the arm has no compounds.
        dose: what `EACH` stands for; None where the arm has no doses.
        simulator: name of the simulator in the twin whose targets these are.
    """

    units: Mapping[str, str]
    start: float
    end: float
    equilibrate: bool = True
    dose_parameter: str | None = None
    dose: float | str | None = None
    simulator: str = "cell"

    def target(self, name: str, *, key: str) -> str:
        """The model's name for a target."""
        if name != COMPOUND:
            return name
        if self.dose_parameter is None:
            raise Fault(
                f"{COMPOUND!r} stands for the compound of an arm with `compounds:`, and this arm has none; "
                "add `compounds: all`, or name the model's own parameter.",
                key,
            )
        return self.dose_parameter

    def path(self, target: str) -> str:
        """The target as the twin knows it; one with its simulator stays as it is."""
        return target if "." in target else f"{self.simulator}.{target}"

    def amount(self, target: str, value: float | str, *, key: str) -> float:
        """A value in the target's units."""
        if value == EACH:
            if self.dose is None:
                raise Fault(
                    f"{EACH!r} stands for the doses of an arm with `doses:`; add them, or write the dose here.", key
                )
            value = self.dose
        units = self.units.get(target, "")
        try:
            return read(value, units)
        except UnitError as error:
            hint = near(target, self.units)
            cure = (
                ""
                if units
                else f" {target} has no unit here;{hint} {_units_key(target)}, e.g. `{target.rpartition('.')[2]}: uM`."
            )
            raise Fault(f"{target}: {error}{cure if isinstance(value, str) else ''}", key) from error

    def time(self, time: Time, *, key: str) -> float:
        """A time [min] that lies within the arm."""
        value = minutes(time)
        if not self.start <= value <= self.end:
            raise Fault(
                f"{time} lies outside the arm, which runs from {self.start:g} to {self.end:g} min; "
                "change it, or `time.start` and `time.end`.",
                key,
            )
        return value


def _units_key(target: str) -> str:
    """Where the file gives a name its unit."""
    simulator, dot, _ = target.partition(".")
    if not dot:
        return "if the model has it, give it one under cell.units"
    return f"if {simulator} is a model that has it, give it one under coupling.simulators.{simulator}.units"


class Change(Part):
    """One entry under `changes`: what it does to its target, as perturbations of the twin."""

    target: Target

    @property
    def verb(self) -> str:
        """The key that names the target."""
        return str(type(self).model_fields["target"].alias)

    @property
    def before_equilibration(self) -> bool:
        """Whether the change is made before the cell is equilibrated."""
        return False

    def perturbations(self, reading: Reading) -> tuple[Perturbation, ...]:
        """The change on the twin's clock [min]. Raises `Fault` for what cannot be read."""
        raise NotImplementedError


class TimedChange(Change):
    """A change made once, at a time or before equilibration."""

    at: Time | None = Field(None, description="when, from the stimulus, e.g. -180 min")
    before: Literal["equilibration"] | None = Field(
        None, description="`equilibration`: the cell settles with the change"
    )

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if (self.at is None) == (self.before is None):
            raise PydanticCustomError(
                "change_time",
                "expected either `at: <time>`, e.g. `at: 0 min`, or `before: equilibration`; keep one of them",
            )
        return self

    @property
    def before_equilibration(self) -> bool:
        return self.before is not None

    def effect(self, reading: Reading, target: str) -> tuple[Operation, float]:
        """The operation and its value in the target's units."""
        raise NotImplementedError

    def perturbations(self, reading: Reading) -> tuple[Perturbation, ...]:
        if self.before is not None and not reading.equilibrate:
            raise Fault(
                f"nothing is equilibrated here (cell.equilibrate is false); write `at: {reading.start:g} min`, "
                "or set `cell.equilibrate: true`.",
                "before",
            )
        time = reading.start if self.at is None else reading.time(self.at, key="at")
        target = reading.target(self.target, key=self.verb)
        operation, value = self.effect(reading, target)
        return (Perturbation(time, reading.path(target), value, operation),)


class Set(TimedChange):
    """``set: EGF_level`` ``to: 5 ng/ml`` ``at: 0 min``."""

    target: Target = Field(alias="set", description="parameter or species to set")
    to: Value = Field(description="its new value, with its unit")

    def effect(self, reading: Reading, target: str) -> tuple[Operation, float]:
        return "set", reading.amount(target, self.to, key="to")


class Scale(TimedChange):
    """``scale: kdeg`` ``by: 0.5`` ``at: 0 min``."""

    target: Target = Field(alias="scale", description="parameter or species to multiply")
    by: Fraction = Field(description="the factor, e.g. 0.5 or 50 %")

    def effect(self, reading: Reading, target: str) -> tuple[Operation, float]:
        factor = fraction(self.by)
        if factor < 0:
            raise Fault(f"{self.by!r} is negative; expected a factor of 0 or more, e.g. 0.5.", "by")
        return "scale", factor


class KnockOut(TimedChange):
    """``knock-out: ksyn_MET`` ``before: equilibration``: set to 0. Knock out what makes a protein, or it comes back."""

    target: Target = Field(
        alias="knock-out", description="parameter or species to set to 0; name the synthesis of a protein"
    )

    def effect(self, reading: Reading, target: str) -> tuple[Operation, float]:
        return "set", 0.0


class KnockDown(TimedChange):
    """``knock-down: ksyn_MET`` ``by: 80 %``: a fifth is left."""

    target: Target = Field(alias="knock-down", description="parameter or species to lower")
    by: Fraction = Field(description="the share removed, e.g. 80 %")

    def effect(self, reading: Reading, target: str) -> tuple[Operation, float]:
        removed = fraction(self.by)
        if not 0 < removed <= 1:
            raise Fault(f"{self.by!r}: expected the share removed, above 0 % and up to 100 %, e.g. 80 %.", "by")
        return "scale", float(f"{1.0 - removed:.15g}")


class Overexpress(TimedChange):
    """``overexpress: ksyn_MET`` ``fold: 10``."""

    target: Target = Field(alias="overexpress", description="parameter or species to raise")
    fold: Fraction = Field(description="how many times as much, e.g. 10")

    def effect(self, reading: Reading, target: str) -> tuple[Operation, float]:
        fold = fraction(self.fold)
        if fold < 1:
            raise Fault(f"{self.fold!r}: expected 1 or more; for less write `knock-down:` with `by: 80 %`.", "fold")
        return "scale", fold
