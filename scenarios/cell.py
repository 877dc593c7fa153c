"""The cell: its model, its integration, the units of its names, its equilibration, and when it is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from scenarios.part import Id, Part, Target, Word
from scenarios.problem import Fault
from scenarios.quantity import Time, Value, minutes

Tolerance = Annotated[float, Field(strict=True, gt=0.0, le=1e-2)]
MODEL_SUFFIXES = (".xml", ".sbml", ".ant", ".txt", ".antimony")
_MAX_SAMPLES = 20_000


class Network(Part):
    """A reaction network and how it is integrated."""

    model: Word | None = Field(
        None, description="SBML (.xml, .sbml) or Antimony (.ant) file, from the scenario's folder"
    )
    antimony: Annotated[str, Field(strict=True, min_length=1)] | None = Field(
        None, description="instead of a file: a small model written here, in Antimony"
    )
    engine: Literal["auto", "ensemble", "roadrunner"] = Field(
        "auto", description="which engine integrates it: our own for ensembles (auto), or libRoadRunner"
    )
    relative_tolerance: Tolerance = Field(1e-8, description="of the integrator")
    absolute_tolerance: Tolerance = Field(1e-10, description="of the integrator, in the model's units")
    time_units: Literal["s", "min", "h", "day"] = Field("min", description="time unit of the model")
    units: dict[Id, Word] = Field(
        default_factory=dict, description="units of the model's names; a name without one is a plain number"
    )
    parameters: dict[Id, Value] = Field(
        default_factory=dict, description="values for every cell, in place of the model's own"
    )

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.model is None) == (self.antimony is None):
            raise PydanticCustomError(
                "model", "expected either `model: <file>` or `antimony: |` with the model's text; keep one"
            )
        if self.model is not None and Path(self.model).suffix.lower() not in MODEL_SUFFIXES:
            raise PydanticCustomError(
                "model",
                "{text}",
                {"text": f"model {self.model!r}: expected SBML (.xml, .sbml) or Antimony (.ant), by the file's ending"},
            )
        return self


class Cell(Network):
    """The cell: a reaction network, and whether it settles before the start."""

    equilibrate: bool = Field(False, strict=True, description="whether cells settle to a steady state before the start")
    equilibrate_with: dict[Target, Value] = Field(
        default_factory=dict, description="values that hold only while cells settle, e.g. EGF_level: 0 ng/ml"
    )

    @model_validator(mode="after")
    def _settling(self) -> Self:
        if self.equilibrate_with and not self.equilibrate:
            raise PydanticCustomError(
                "model", "`equilibrate_with` without `equilibrate: true`; add it, or drop these values"
            )
        return self


def _labelled(data: Any) -> Any:
    return {"label": data} if isinstance(data, str) else data


class Readout(Part):
    """One quantity of the result: a name of the model, or an expression over its names."""

    label: Word = Field(description="what the page calls it")
    expression: Word | None = Field(
        None,
        description="over the model's names, e.g. 2*pMET_dimer + pMET_pEGFR, or pathways.pAKT; left out: the key itself",
    )
    units: str = Field("", description="unit of the result; left out: a plain number")


AnyReadout = Annotated[Readout, BeforeValidator(_labelled, json_schema_input_type=Readout | str)]


class TimeSpan(Part):
    """When an arm starts and ends, and when it is looked at; all from the stimulus, which is time 0."""

    start: Time = Field(description="e.g. -180 min")
    end: Time = Field(description="e.g. 240 min")
    every: Time | None = Field(None, description="look every so often, e.g. 5 min")
    samples: tuple[Time, ...] = Field((), description="and at these times")

    @property
    def start_min(self) -> float:
        """Start of every arm [min]."""
        return minutes(self.start)

    @property
    def end_min(self) -> float:
        """End of every arm [min]."""
        return minutes(self.end)

    def sample_times(self, extra: tuple[float, ...] = ()) -> tuple[float, ...]:
        """Sorted times [min]: start, the stimulus where it lies within, `every`, `samples`, `extra`, end.

        Raises `Fault` where times are out of order, outside, or too many.
        """
        start, end = self.start_min, self.end_min
        if not start < end:
            raise Fault(f"end {self.end} does not come after start {self.start}; expected a later end.", "end")
        times = {start, end, *extra}
        if start <= 0.0 <= end:
            times.add(0.0)
        if self.every is not None:
            step = minutes(self.every)
            if step <= 0 or (end - start) / step > _MAX_SAMPLES:
                raise Fault(f"{self.every}: expected a step above 0 min and at most {_MAX_SAMPLES} samples.", "every")
            times |= {
                min(float(f"{start + i * step:.12g}"), end) for i in range(int((end - start) / step * (1 + 1e-12)) + 1)
            }
        for position, time in enumerate(self.samples):
            value = minutes(time)
            if not start <= value <= end:
                raise Fault(f"{time} lies outside {self.start} … {self.end}.", "samples", position)
            times.add(value)
        return tuple(sorted(times))
