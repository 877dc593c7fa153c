"""Doses, as a scenario file writes them: hold (from, until), bolus, wash-out, and their repeats."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from scenarios.change import Amount, Change, KnockDown, KnockOut, Overexpress, Reading, Scale, Set
from scenarios.part import Target
from scenarios.problem import Fault, near
from scenarios.quantity import Time, minutes
from twin.perturbation import Perturbation


class Dose(Change):
    """A dose given at a time, once or several times."""

    dose: Amount = Field(description="how much, with its unit, e.g. 10 ug/ml; `each` in an arm with `doses`")
    at: Time = Field(description="when, from the stimulus, e.g. -180 min")
    every: Time | None = Field(None, description="repeat after this time, e.g. 24 h")
    times: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = Field(None, description="how often in all")

    @model_validator(mode="after")
    def _both_repeats(self) -> Self:
        if (self.every is None) != (self.times is None):
            raise PydanticCustomError("repeat", "a repeated dose needs both `every: <time>` and `times: <number>`")
        if self.every is not None and minutes(self.every) <= 0:
            raise PydanticCustomError("repeat", "`every` must be longer than 0 min")
        return self

    def amount(self, reading: Reading, target: str) -> float:
        """The dose in the target's units; never negative."""
        value = reading.amount(target, self.dose, key="dose")
        if value < 0:
            raise Fault(
                f"{self.dose!r} is negative; a dose is 0 or more (to take a substance away write `wash-out:`).", "dose"
            )
        return value

    def starts(self, reading: Reading) -> tuple[float, ...]:
        """When each dose is given [min]."""
        first = reading.time(self.at, key="at")
        step = 0.0 if self.every is None else minutes(self.every)
        starts = tuple(first + number * step for number in range(self.times or 1))
        if starts[-1] > reading.end:
            raise Fault(
                f"the last of {self.times} doses comes at {starts[-1]:g} min, after the end of the arm at "
                f"{reading.end:g} min; give fewer, or move `time.end`.",
                "times",
            )
        return starts


class Hold(Dose):
    """``hold: EGF_level`` ``dose: 5 ng/ml`` ``at: 0 min`` (``until: 60 min``, or ``lasting: 60 min``)."""

    target: Target = Field(
        alias="hold", description="parameter or species to keep at a level; `compound` for an arm's compound"
    )
    until: Time | None = Field(None, description="when it is taken away; left out: it stays")
    lasting: Time | None = Field(None, description="how long each dose stays; left out: it stays")

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.until is not None and self.lasting is not None:
            raise PydanticCustomError("hold_end", "`until` and `lasting` both say when the dose ends; keep one of them")
        if self.times is not None and self.times > 1 and self.lasting is None:
            raise PydanticCustomError("hold_end", "a repeated hold needs `lasting: <time>`, how long each dose stays")
        return self

    def perturbations(self, reading: Reading) -> tuple[Perturbation, ...]:
        target = reading.target(self.target, key="hold")
        amount = self.amount(reading, target)
        path = reading.path(target)
        found: list[Perturbation] = []
        for start in self.starts(reading):
            found.append(Perturbation(start, path, amount, "set"))
            end = self._end(start, reading)
            if end is not None and end <= reading.end:
                found.append(Perturbation(end, path, 0.0, "set"))
        return tuple(found)

    def _end(self, start: float, reading: Reading) -> float | None:
        if self.until is not None:
            end = reading.time(self.until, key="until")
            if end <= start:
                raise Fault(f"{self.until} is not after the dose at {self.at}; expected a later time.", "until")
            return end
        if self.lasting is None:
            return None
        span = minutes(self.lasting)
        if span <= 0 or (self.every is not None and span > minutes(self.every)):
            raise Fault(f"{self.lasting}: expected a span above 0 min, and no longer than `every`.", "lasting")
        return start + span


class Bolus(Dose):
    """``bolus: ligand`` ``dose: 5 nM`` ``at: 0 min``: added to what is there, then left to the model."""

    target: Target = Field(
        alias="bolus", description="species that the dose is added to; `compound` for an arm's compound"
    )

    def perturbations(self, reading: Reading) -> tuple[Perturbation, ...]:
        target = reading.target(self.target, key="bolus")
        amount = self.amount(reading, target)
        path = reading.path(target)
        return tuple(Perturbation(start, path, amount, "add") for start in self.starts(reading))


class WashOut(Change):
    """``wash-out: compound`` ``at: 60 min``: set to 0; what is bound leaves by its own rate."""

    target: Target = Field(alias="wash-out", description="what is taken away; `compound` for an arm's compound")
    at: Time = Field(description="when, from the stimulus, e.g. 60 min")

    def perturbations(self, reading: Reading) -> tuple[Perturbation, ...]:
        time = reading.time(self.at, key="at")
        target = reading.target(self.target, key="wash-out")
        return (Perturbation(time, reading.path(target), 0.0, "set"),)


KINDS: dict[str, type[Change]] = {
    str(kind.model_fields["target"].alias): kind
    for kind in (Set, Scale, KnockOut, KnockDown, Overexpress, Hold, Bolus, WashOut)
}


def _verbs(data: Any) -> list[str]:
    if isinstance(data, Change):
        return [data.verb]
    return [verb for verb in KINDS if verb in data] if isinstance(data, dict) else []


def _one_verb(data: Any) -> Any:
    """Refuse an entry that is no change, or two, in words that say which there are."""
    verbs = _verbs(data)
    if len(verbs) == 1:
        return data
    if len(verbs) > 1:
        text = f"two changes in one entry ({', '.join(verbs)}); give each its own `- `"
    else:
        text = f"not a change that we know; expected one of the keys {', '.join(KINDS)}"
        keys: list[str] = [str(key) for key in data] if isinstance(data, dict) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        for key in keys:
            hint = near(key.replace("_", "-"), KINDS)
            text += f"; {key!r}:{hint}" if hint else ""
    raise PydanticCustomError("change_verb", "{text}", {"text": text})


AnyChange = Annotated[
    Annotated[
        Annotated[Set, Tag("<set>")]
        | Annotated[Scale, Tag("<scale>")]
        | Annotated[KnockOut, Tag("<knock-out>")]
        | Annotated[KnockDown, Tag("<knock-down>")]
        | Annotated[Overexpress, Tag("<overexpress>")]
        | Annotated[Hold, Tag("<hold>")]
        | Annotated[Bolus, Tag("<bolus>")]
        | Annotated[WashOut, Tag("<wash-out>")],
        Discriminator(lambda data: f"<{_verbs(data)[0]}>"),
    ],
    BeforeValidator(_one_verb),
]
"""Any change: its verb is the key that names the target."""
