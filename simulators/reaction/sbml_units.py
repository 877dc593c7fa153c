"""Units that an SBML file states, spelled as pint reads them; nothing where the file leaves them to SBML's defaults.

SBML Level 2 gives every model moles, litres and seconds unless it says otherwise. Most authors never meant them, so
only units written in the file count as given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import libsbml

from twin.errors import UnitError
from twin.units import check_unit, factor

_KINDS = {
    "mole": "mol",
    "litre": "L",
    "liter": "L",
    "second": "s",
    "metre": "m",
    "meter": "m",
    "gram": "g",
    "item": "count",
}
_PREFIXES = {-18: "a", -15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
_TIMES = {60.0: "min", 3600.0: "h", 86400.0: "day"}


def units_of(model: Any) -> Mapping[str, str]:
    """Units of every parameter, species and compartment for which the file states them."""
    found: dict[str, str | None] = {}
    for parameter in model.getListOfParameters():
        if parameter.isSetUnits():
            found[parameter.getId()] = _text(parameter.getDerivedUnitDefinition())
    for compartment in model.getListOfCompartments():
        if _volume_stated(model, compartment):
            found[compartment.getId()] = _text(compartment.getDerivedUnitDefinition())
    for species in model.getListOfSpecies():
        substance = species.isSetSubstanceUnits() or model.isSetSubstanceUnits() or _redefined(model, "substance")
        compartment = model.getCompartment(species.getCompartment())
        amount = species.getHasOnlySubstanceUnits()
        if substance and (amount or compartment is None or _volume_stated(model, compartment)):
            found[species.getId()] = _text(species.getDerivedUnitDefinition())
    return {name: units for name, units in found.items() if units is not None}


def time_units_of(model: Any) -> str:
    """Units of the model's clock; empty where the file does not say."""
    if model.isSetTimeUnits():
        definition = model.getUnitDefinition(model.getTimeUnits())
        if definition is None:
            return "s" if model.getTimeUnits() == "second" else ""
        return _text(definition) or ""
    return (_text(model.getUnitDefinition("time")) or "") if _redefined(model, "time") else ""


def joined(stated: Mapping[str, str], declared: Mapping[str, str]) -> dict[str, str]:
    """Units of the file and of the caller together.

    Raises:
        UnitError: an unknown unit, or the two differ for one name: values would be read wrongly.
    """
    for name, units in declared.items():
        check_unit(units, where=name)
        if name in stated and not _same(stated[name], units):
            raise UnitError(
                f"{name}: declared in {units or 'no unit'!r}, but the model's file says {stated[name]!r}; "
                "declare the file's unit, or mend the file."
            )
    return {**stated, **declared}


def _same(one: str, other: str) -> bool:
    try:
        return math.isclose(factor(one, other), 1.0, rel_tol=1e-9)
    except UnitError:
        return False


def _redefined(model: Any, name: str) -> bool:
    return model.getLevel() < 3 and model.getUnitDefinition(name) is not None


def _volume_stated(model: Any, compartment: Any) -> bool:
    return bool(compartment.isSetUnits() or model.isSetVolumeUnits() or _redefined(model, "volume"))


def _text(definition: Any) -> str | None:
    """`nmol / L` and the like; None where a factor has no prefix, so that no unit is given rather than a wrong one."""
    over: list[str] = []
    under: list[str] = []
    if definition is None:
        return None
    for i in range(definition.getNumUnits()):
        unit = definition.getUnit(i)
        kind, exponent = libsbml.UnitKind_toString(unit.getKind()), unit.getExponentAsDouble()
        size = unit.getMultiplier() * 10.0 ** unit.getScale()
        if (kind == "dimensionless" and size == 1.0) or exponent == 0:
            continue
        word = _word(kind, size)
        if word is None:
            return None
        power = "" if abs(exponent) == 1 else f"**{abs(exponent):g}"
        (over if exponent > 0 else under).append(word + power)
    text = " * ".join(over) + ("".join(f" / {word}" for word in under))
    text = text if over or not under else "1" + text
    try:
        return check_unit(text)
    except UnitError:
        return None


def _word(kind: str, size: float) -> str | None:
    if kind == "second" and size in _TIMES:
        return _TIMES[size]
    exponent = round(math.log10(size)) if size > 0 else None
    if exponent not in _PREFIXES or not math.isclose(size, 10.0**exponent, rel_tol=1e-12):
        return None
    if kind == "kilogram":
        return "kg" if exponent == 0 else None
    return _PREFIXES[exponent] + _KINDS.get(kind, kind)
