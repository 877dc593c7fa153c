"""A number with its unit as people write it (``10 ug/ml``, ``-180 min``, ``80 %``), read into the units of a target.

A missing unit is an error, not a guess. The text stays as written in the scenario; it is read where its target's units
are known. `Value`, `Time` and `Fraction` are the field types of scenario parts.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from twin.errors import UnitError
from twin.units import registry

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*([A-Za-z%°Ωµ/(1][A-Za-z0-9_%°Ωµ/()*^ .\-]*)?\s*$")
_UNIT_LENGTH = 60  # a unit is a few words; pint's own evaluator must not be given a programme to run
TIME_UNITS = "min"


def split(text: str) -> tuple[float, str]:
    """``"10 ug/ml"`` to ``(10.0, "ug/ml")``; no unit is ``""``.

    Raises:
        UnitError: the text is not a number with an optional unit.
    """
    plain = text.replace("μ", "u").replace("µ", "u").replace("−", "-").replace("·", "*").strip()
    match = _QUANTITY.match(plain)
    if match is None or len(match[2] or "") > _UNIT_LENGTH or re.search(r"(\^|\*\*)\s*-?\d{2,}", match[2] or ""):
        raise UnitError(f"{text!r} is not a number with a unit")
    unit = (match[2] or "").strip()
    return float(match[1]), f"1{unit}" if unit.startswith("/") else unit


def read(value: float | str, units: str) -> float:
    """The number that `value` is in `units` (``""``: dimensionless).

    Raises:
        UnitError: not a number, not finite, a unit that is missing, unknown or of another dimension.
    """
    expected = (
        f"expected a number with a unit that fits {units}, e.g. '5 {units}'" if units else "expected a plain number"
    )
    if isinstance(value, bool) or value is None or not isinstance(value, (int, float, str)):  # pyright: ignore[reportUnnecessaryIsInstance, reportUnnecessaryComparison]
        raise UnitError(f"{value!r} is not a quantity; {expected}.")
    return _read(value, units, expected)


@lru_cache(maxsize=100_000)
def _read(value: float | str, units: str, expected: str) -> float:
    """Remembered: pint takes a millisecond, and a screen reads the same doses for every compound."""
    if not isinstance(value, str):
        number, unit = float(value), ""
    else:
        try:
            number, unit = split(value)
        except UnitError as error:
            raise UnitError(f"{error}; {expected}.") from error
    if not math.isfinite(number):
        raise UnitError(f"{value!r} is not a finite number; {expected}.")
    if not unit and not units:
        return number
    if not unit:
        raise UnitError(f"{value if isinstance(value, str) else format(value, 'g')} has no unit; {expected}.")
    pint_units = registry()
    try:
        pint_units.Unit(unit)
    except Exception as error:
        raise UnitError(f"{value!r}: {unit!r} is not a unit that we know; {expected}.") from error
    try:
        result = float(pint_units.Quantity(number, unit).to(units or "dimensionless").magnitude)
    except Exception as error:
        raise UnitError(f"{value!r}: {unit!r} cannot become {units or 'a plain number'}; {expected}.") from error
    if not math.isfinite(result):
        raise UnitError(f"{value!r} is not finite in {units}; {expected}.")
    # 0.1 nM is 0.0001 uM, not 0.00010000000000000002: sixteen digits hold the round-off of the factor, fifteen do not.
    return result if result == number else float(f"{result:.15g}")


def text_of(value: float, units: str) -> str:
    """A value as it is written in a scenario: ``text_of(5, "uM") == "5 uM"``; `read` gives it back."""
    return f"{value!r} {units}".strip()


def checked(value: Any, units: str | None) -> float | str:
    """`value` if it can be read; into `units` where they are known already."""
    try:
        if units is not None:
            read(value, units)
        elif isinstance(value, str):
            number, _ = split(value)
            if not math.isfinite(number):
                raise UnitError(f"{value!r} is not a finite number")
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise UnitError(f"{value!r} is not a finite number; expected a number, with its unit where it has one")
    except UnitError as error:
        text = str(error)
        if units is None and "expected" not in text:
            text += "; expected for example 10 ug/ml, 0.5 uM, or a plain number"
        raise PydanticCustomError("quantity", "{text}", {"text": text.rstrip(".")}) from error
    return value


def _of_units(units: str | None) -> BeforeValidator:
    return BeforeValidator(lambda value: checked(value, units))


_EITHER = {"type": ["string", "number"]}
Value = Annotated[
    float | str,
    _of_units(None),
    WithJsonSchema({**_EITHER, "description": "a number with its unit", "examples": ["10 ug/ml", "0.3 uM", 1.0]}),
]
"""A number with a unit, or a plain number where the target has no unit."""

Time = Annotated[
    str | float,
    _of_units(TIME_UNITS),
    WithJsonSchema(
        {"type": "string", "description": "a time from the stimulus, with its unit", "examples": ["-180 min", "4 h"]}
    ),
]
"""A time or a span of time, with its unit."""

Fraction = Annotated[
    float | str,
    _of_units(""),
    WithJsonSchema({**_EITHER, "description": "a fraction", "examples": ["90 %", 0.9]}),
]
"""A share: ``90 %`` or ``0.9``."""

Count = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
"""A whole number from 1 on."""


def minutes(time: str | float) -> float:
    """A `Time` in minutes."""
    return read(time, TIME_UNITS)


def fraction(share: str | float) -> float:
    """A `Fraction` as a number."""
    return read(share, "")
