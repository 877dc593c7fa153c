"""What one `--scan` option asks for: a name of the model and the values that it takes, one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError

_EXAMPLES = "expected NAME=FROM:TO:COUNT, NAME=FROM:TO:COUNT:log or NAME=VALUE,VALUE,…, e.g. k1=0.1:10:25:log"


@dataclass(frozen=True)
class ScanAxis:
    """One scanned quantity.

    Attributes:
        name: of a parameter, a compartment, or a species (its start value), in the model's units.
        values: in the order given.
        logarithmic: whether they are spaced evenly by logarithm.
    """

    name: str
    values: tuple[float, ...]
    logarithmic: bool = False

    @classmethod
    def parse(cls, text: str) -> ScanAxis:
        """Read the option.

        Raises:
            InputError: not of its form.
        """
        name, separator, rest = text.partition("=")
        name = name.strip()
        if not separator or not name or not rest.strip():
            raise InputError(f"--scan {text}: {_EXAMPLES}.")
        values, logarithmic = values_of(rest, f"--scan {text}")
        if len(set(values.tolist())) < len(values):
            raise InputError(f"--scan {text}: a value is given twice; keep one of them.")
        return cls(name, tuple(values.tolist()), logarithmic)


def values_of(text: str, where: str) -> tuple[NDArray[np.float64], bool]:
    """Values of ``FROM:TO:COUNT[:log]`` or ``VALUE,VALUE,…``, and whether they are spaced by logarithm.

    Raises:
        InputError: of neither form; `where` names the option.
    """
    if ":" not in text:
        return np.array([_number(part, where) for part in text.split(",")]), False
    parts = [part.strip() for part in text.split(":")]
    logarithmic = len(parts) == 4 and parts[3] == "log"
    if len(parts) not in (3, 4) or (len(parts) == 4 and parts[3] not in ("log", "lin")):
        raise InputError(f"{where}: {_EXAMPLES}.")
    low, high = _number(parts[0], where), _number(parts[1], where)
    if not parts[2].isdigit() or int(parts[2]) < 2:
        raise InputError(f"{where}: COUNT is {parts[2]!r}; expected a whole number of at least 2.")
    if logarithmic and not (low > 0.0 and high > 0.0):
        raise InputError(f"{where}: from {low:g} to {high:g} by logarithm; expected values above 0.")
    spaced = np.geomspace if logarithmic else np.linspace
    return spaced(low, high, int(parts[2])), logarithmic


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {text.strip()!r} is not a number; {_EXAMPLES}.")
    return value
