"""Numbers as people read them: shares, doses, times and rates with their units."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

NONE = "–"
"""Stands where there is no value."""

SPACE = "\u202f"
"""Narrow no-break space: a value and its unit stay on one line."""

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def superscript(power: int) -> str:
    """A whole number as an exponent."""
    return str(power).translate(SUPERSCRIPTS)


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits; powers of ten beyond 10⁶ and below 10⁻³."""
    if not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = math.floor(math.log10(abs(rounded)))
    if -4 < exponent < 6:
        text = f"{rounded:,.{max(digits - 1 - exponent, 0)}f}"
        # four digits read well as they are
        return text.replace(",", SPACE if abs(rounded) >= 10_000 else "").replace("-", "−")
    mantissa = f"{rounded / 10.0**exponent:.{digits - 1}f}".rstrip("0").rstrip(".").replace("-", "−")
    return f"{mantissa}·10{superscript(exponent)}"


def count(value: float) -> str:
    """A whole number, thousands set apart."""
    return f"{value:,.0f}".replace(",", SPACE if abs(value) >= 10_000 else "") if math.isfinite(value) else NONE


def percent(share: float) -> str:
    """A share in percent, whole numbers; what is neither none nor all never reads 0 % or 100 %."""
    if not math.isfinite(share):
        return NONE
    rounded = round(100 * share)
    if rounded >= 100 > 100 * share:
        return f">{SPACE}99{SPACE}%"
    if rounded <= 0 < 100 * share:
        return f"<{SPACE}1{SPACE}%"
    return f"{rounded:d}{SPACE}%".replace("-", "−")


def percent_range(low: float, high: float) -> str:
    """An interval of shares, e.g. `64–77 %`."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return NONE
    return f"{round(100 * low):d} to {round(100 * high):d}{SPACE}%".replace("-", "−")


def dose(micromolar: float) -> str:
    """A concentration in the unit in which it reads best, from [uM]."""
    if not math.isfinite(micromolar):
        return NONE
    for scale, units in ((1e-3, "mM"), (1.0, "µM"), (1e3, "nM"), (1e6, "pM")):
        if micromolar * scale >= 0.9999 or units == "pM":
            # 0.1 nM is how the field writes it, not 100 pM
            if units == "pM" and micromolar * 1e3 >= 0.01:
                return f"{micromolar * 1e3:.3g}{SPACE}nM"
            if units == "mM" and micromolar < 9999:
                continue
            return f"{micromolar * scale:.4g}{SPACE}{units}"
    return NONE


def minutes(value: float) -> str:
    """A time from [min] in the unit in which it reads best."""
    if not math.isfinite(value):
        return NONE
    for length, units in ((1440.0, "d"), (60.0, "h"), (1.0, "min")):
        if abs(value) >= 2 * length:
            return f"{significant(value / length, 2 if value / length < 100 else 3)}{SPACE}{units}"
    return f"{significant(value * 60, 2)}{SPACE}s"


def seconds(value: float) -> str:
    """A wall time from [s]."""
    if not math.isfinite(value):
        return NONE
    if value < 5e-7:
        return f"0{SPACE}s"
    if value < 1e-3:
        return f"{value * 1e6:.0f}{SPACE}µs"
    if value < 1:
        return f"{value * 1e3:.0f}{SPACE}ms"
    if value < 100:
        return f"{value:.1f}{SPACE}s"
    return f"{value / 60:.1f}{SPACE}min" if value < 6000 else f"{value / 3600:.1f}{SPACE}h"


def plain(values: Iterable[float] | np.ndarray) -> list[float | None]:
    """Numbers for a figure: four significant digits, None where there is none."""
    return [float(f"{v:.4g}") if math.isfinite(v) else None for v in np.asarray(values, dtype=float).ravel().tolist()]
