"""Units of everything that flows, by pint: which there are, and checked conversions.

The concentration units of the field are spelled ``nM``, ``uM``; rate constants ``1/(M s)``, ``1/(uM min)``, ``1/min``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from twin.errors import UnitError


@cache
def registry() -> Any:
    """The one unit registry of a process (built on first use: pint takes 0.3 s to read its definitions)."""
    import pint

    return pint.UnitRegistry()  # pyright: ignore[reportUnknownVariableType] - its magnitudes are generic


def check_unit(units: str, *, where: str = "") -> str:
    """Return `units` unchanged if pint knows it.

    Raises:
        UnitError: unknown unit; the text names `where`.
    """
    try:
        _known(units or "dimensionless")
    except Exception as error:
        raise UnitError(
            f"{where or 'unit'}: {units!r} is not a unit; write for example nM, uM, min, 1/(uM min)."
        ) from error
    return units


@cache
def _known(units: str) -> None:
    """Remembered where pint does not refuse."""
    registry().Unit(units)


def factor(source: str, target: str, *, where: str = "") -> float:
    """The number that turns a value in `source` units into `target` units.

    Raises:
        UnitError: a unit is unknown, the dimensions differ, or the conversion has an offset (use kelvin).
    """
    check_unit(source, where=where)
    check_unit(target, where=where)
    try:
        return _factor(source or "dimensionless", target or "dimensionless")
    except Exception as error:
        raise UnitError(
            f"{where or 'conversion'}: {source or 'dimensionless'!r} cannot become {target or 'dimensionless'!r}: {error}."
        ) from error


@cache
def _factor(source: str, target: str) -> float:
    """Remembered: conduits ask for the same conversion in every window."""
    return float(registry().Quantity(1.0, source).to(target).magnitude)
