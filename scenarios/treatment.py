"""A treatment, one entry under `arms`: what is done, to which cell lines, with which compounds and doses.

One entry makes one arm per cell line, and per compound and dose where it has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from scenarios.arm import MEASURED_SUFFIX, Arm, Protocol, Role
from scenarios.change import COMPOUND, EACH, Reading
from scenarios.dose import AnyChange, Dose
from scenarios.part import Id, Part, Target, Word
from scenarios.problem import Fault, Problem
from scenarios.quantity import Value, read, text_of
from twin.errors import UnitError
from twin.perturbation import Perturbation


class DoseRange(Part):
    """Doses from `from` to `to`, evenly spaced in their logarithm."""

    lowest: Value = Field(alias="from", description="lowest dose, above 0")
    highest: Value = Field(alias="to", description="highest dose")
    points: Annotated[int, Field(strict=True, ge=2, le=1000)] = Field(description="how many doses in all")

    def values(self, units: str) -> tuple[float, ...]:
        """The doses in `units`."""
        low, high = _dose(self.lowest, units, "from"), _dose(self.highest, units, "to")
        if not 0 < low < high:
            raise Fault(f"from {self.lowest} to {self.highest} in {self.points} points: expected 0 < from < to.")
        steps = [
            math.log10(low) + i * (math.log10(high) - math.log10(low)) / (self.points - 1) for i in range(self.points)
        ]
        return (low, *(float(f"{10.0**step:.6g}") for step in steps[1:-1]), high)


def _dose(value: float | str, units: str, *keys: str | int) -> float:
    try:
        dose = read(value, units)
    except UnitError as error:
        raise Fault(str(error), *keys) from error
    if dose < 0:
        raise Fault(f"{value!r} is negative; a dose is 0 or more.", *keys)
    return dose


def _listed(data: Any) -> Any:
    return [data] if isinstance(data, str) else data


def _doses(data: Any) -> Any:
    if isinstance(data, (list, tuple, dict, DoseRange)):
        return data  # pyright: ignore[reportUnknownVariableType]
    raise PydanticCustomError(
        "doses", "expected a list such as [1 nM, 10 nM], or {from: 0.1 nM, to: 30 uM, points: 12}"
    )


Doses = Annotated[
    Annotated[
        Annotated[DoseRange, Tag("<range>")] | Annotated[tuple[Value, ...], Tag("<list>")],
        Discriminator(lambda data: "<range>" if isinstance(data, (dict, DoseRange)) else "<list>"),
    ],
    BeforeValidator(_doses),
]
CellLines = Annotated[
    tuple[Word, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Chosen = Annotated[
    tuple[Id, ...] | Literal["all"],
    BeforeValidator(lambda data: data if data == "all" else _listed(data)),
    WithJsonSchema({"anyOf": [{"const": "all"}, {"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


@dataclass(frozen=True)
class GivenDose:
    """One of an entry's doses: its value in the target's units, and how it is written."""

    value: float
    units: str
    text: str

    @property
    def exact(self) -> float | str:
        """The dose with all its digits, as a scenario would write it."""
        return text_of(self.value, self.units) if self.units else self.value

    @property
    def micromolar(self) -> float:
        """The dose in uM; NaN where it is no concentration."""
        try:
            return read(self.exact, "uM")
        except UnitError:
            return math.nan


@dataclass(frozen=True)
class Panel:
    """What the treatments of a scenario choose from.

    Args:
        cell_lines, compounds: their names, in the order of the file.
        reading: how changes become numbers.
        dose_parameter: the model's name of a compound's concentration.
    """

    cell_lines: Sequence[str]
    compounds: Sequence[str]
    reading: Reading
    dose_parameter: str | None = None

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the model's names."""
        return self.reading.units


class Treatment(Part):
    """One entry under `arms`."""

    treatment: Word = Field(description="what is done, as the answer and the page call it, e.g. EGF + cetuximab")
    name: Word | None = Field(
        None, description="name of the arm; left out: made of cell line, treatment, compound and dose"
    )
    note: Word | None = Field(None, description="a remark that becomes part of the arms' names, in brackets")
    cell_line: CellLines | None = Field(None, description="one cell line or a list; left out: all of them")
    role: Role = Field("treatment", description="what the arm is for")
    protocol: Protocol = Field(
        "twin", description="`measured` repeats an experiment, and alone is drawn over its points"
    )
    parameters: dict[Target, Value] = Field(
        default_factory=dict, description="changes of the cell line's parameters in this arm, from before equilibration"
    )
    compounds: Chosen | None = Field(None, description="`all`, or ids: one arm per compound")
    doses: Doses | None = Field(None, description="one arm per dose: a list, or {from, to, points} spaced by logarithm")
    changes: tuple[AnyChange, ...] = Field((), description="what is changed from outside, and when")

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if self.name is not None and (self.compounds is not None or self.doses is not None or self._many_lines):
            raise PydanticCustomError(
                "arm_name",
                "`name` fits one arm, and this entry makes several; leave `name` out, they get names of their own",
            )
        if self.compounds is not None and self.doses is None:
            raise PydanticCustomError(
                "arm_doses", "`compounds` without `doses`; add e.g. `doses: [10 nM, 100 nM, 1 uM]`"
            )
        return self

    @property
    def _many_lines(self) -> bool:
        return self.cell_line is not None and len(self.cell_line) > 1

    @property
    def label(self) -> str:
        """The treatment's name in the result; on the measured protocol it says so, and stays unique."""
        measured = self.protocol == "measured" and not self.treatment.endswith(MEASURED_SUFFIX)
        return self.treatment + (MEASURED_SUFFIX if measured else "")

    def arms(self, panel: Panel) -> Iterator[Arm]:
        """The arms of this entry. Raises `Fault` at the first thing that cannot be read."""
        lines = self.cell_line or tuple(panel.cell_lines)
        chosen = panel.compounds if self.compounds == "all" else self.compounds or ("",)
        for line in lines:
            for compound in chosen:
                for dose in self._doses_read(panel):
                    yield self._arm(panel, line, compound, dose)

    def problems(self, panel: Panel) -> Iterator[Problem]:
        """What is wrong in this entry, each at its place under it."""
        reading = self._reading(panel, None)
        if self.compounds is not None and panel.dose_parameter is None:
            yield Problem(("compounds",), "the scenario lists no compounds; add `compounds:` at the top.")
            return
        for position, change in enumerate(self.changes):
            if change.target == COMPOUND and self.compounds is None:
                try:
                    reading.target(COMPOUND, key=change.verb)
                except Fault as fault:
                    yield fault.under("changes", position)
                return
        if self.doses is not None and not any(isinstance(c, Dose) and c.dose == EACH for c in self.changes):
            yield Problem(("doses",), f"no change uses them; write `dose: {EACH}` in the change that gives them.")
            return
        try:
            doses = self._doses_read(panel)
            reading = self._reading(panel, doses[0].exact if doses[0] is not None else None)
        except Fault as fault:
            yield fault.under()
            return  # the same fault would come again from every `dose: each`
        for name, value in self.parameters.items():
            try:
                reading.amount(name, value, key=name)
            except Fault as fault:
                yield fault.under("parameters")
        for position, change in enumerate(self.changes):
            try:
                change.perturbations(reading)
            except Fault as fault:
                yield fault.under("changes", position)
        targets = {change.target for change in self.changes}
        if self.compounds is not None and COMPOUND not in targets:
            yield Problem(
                ("changes",) if self.changes else (),
                "the arm has `compounds` and never gives one; add a change such as "
                f"`{{hold: {COMPOUND}, dose: {EACH}, at: 0 min}}`.",
            )

    def _reading(self, panel: Panel, dose: float | str | None) -> Reading:
        return replace(
            panel.reading, dose=dose, dose_parameter=panel.dose_parameter if self.compounds is not None else None
        )

    def _dosed(self, panel: Panel) -> str:
        """The model's name of what `doses` measures."""
        for change in self.changes:
            if isinstance(change, Dose) and change.dose == EACH:
                return panel.dose_parameter or "" if change.target == COMPOUND else change.target
        return panel.dose_parameter or ""

    def _doses_read(self, panel: Panel) -> tuple[GivenDose | None, ...]:
        """The doses in the target's units; one None where the entry has no doses."""
        if self.doses is None:
            return (None,)
        units = panel.units.get(self._dosed(panel), "")
        try:
            if isinstance(self.doses, DoseRange):
                given = tuple(
                    GivenDose(value, units, f"{value:g} {units}".strip()) for value in self.doses.values(units)
                )
            else:
                given = tuple(GivenDose(_dose(d, units, i), units, str(d)) for i, d in enumerate(self.doses))
        except Fault as fault:
            raise Fault(str(fault), "doses", *fault.keys) from fault
        if not given:
            raise Fault("the list is empty; give at least one dose, e.g. [100 nM].", "doses")
        return given

    def _arm(self, panel: Panel, line: str, compound: str, dose: GivenDose | None) -> Arm:
        reading = self._reading(panel, None if dose is None else dose.exact)
        before: list[Perturbation] = [
            Perturbation(reading.start, reading.path(name), reading.amount(name, value, key=name), "set")
            for name, value in self.parameters.items()
        ]
        later: list[Perturbation] = []
        for change in self.changes:
            (before if change.before_equilibration else later).extend(change.perturbations(reading))
        given = " ".join(filter(None, (compound, "" if dose is None else dose.text)))
        name = self.name or f"{line} | " + ", ".join(filter(None, (self.label, given)))
        if self.note is not None:
            name += f" ({self.note})"
        if self.name is not None and self.protocol == "measured" and not self.name.endswith(MEASURED_SUFFIX):
            name += MEASURED_SUFFIX
        return Arm(
            name=name,
            cell_line=line,
            treatment=self.label,
            compound=compound,
            dose_uM=math.nan if dose is None else dose.micromolar,
            protocol=self.protocol,
            role=self.role,
            before_equilibration=tuple(before),
            perturbations=tuple(sorted(later, key=lambda p: p.time)),
        )
