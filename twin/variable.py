"""A port of a simulator: what flows, in which units, with which extra dims, above which bound."""

from __future__ import annotations

from dataclasses import dataclass

from twin.errors import InputError
from twin.units import check_unit


@dataclass(frozen=True)
class Variable:
    """What flows through a port.

    Args:
        name: as in the model, unique among a simulator's ports.
        units: a pint unit; ``""`` is dimensionless.
        dims: names of the dims behind ``member`` (and ``time``).
        lower: no value may fall below; ``None`` is unbounded.

    Raises:
        InputError: empty name or repeated dims.
        UnitError: unknown unit.
    """

    name: str
    units: str = ""
    dims: tuple[str, ...] = ()
    lower: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("A Variable needs a name; give the id that the model uses.")
        if len(set(self.dims)) != len(self.dims) or {"member", "time"} & set(self.dims):
            raise InputError(f"{self.name}: dims {self.dims} must be distinct and leave out 'member' and 'time'.")
        check_unit(self.units, where=f"Variable {self.name}")
