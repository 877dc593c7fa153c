"""Numbers with units: what is written is what is read, in any units of the same dimension."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.quantity import fraction, minutes, read, split, text_of
from twin.errors import UnitError

FAMILIES = [
    ["nM", "uM", "mM", "M", "pM"],
    ["ng/ml", "ug/ml", "mg/l", "g/l"],
    ["s", "min", "h", "day"],
    ["1/(M s)", "1/(uM min)", "1/(nM h)"],
    ["1/min", "1/s", "1/h"],
    ["%", "ppm"],
]
NUMBERS = st.floats(min_value=1e-12, max_value=1e12)
SAME_DIMENSION = st.sampled_from(FAMILIES).flatmap(
    lambda units: st.tuples(st.sampled_from(units), st.sampled_from(units))
)


@given(NUMBERS, SAME_DIMENSION)
def test_there_and_back_gives_the_same_number(number: float, units: tuple[str, str]) -> None:
    """To other units and back, within the fifteen digits that a read keeps, twice."""
    one, other = units
    there = read(text_of(number, one), other)
    assert read(text_of(there, other), one) == pytest.approx(number, rel=3e-15 * 2)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([u for f in FAMILIES for u in f]))
def test_own_units_keep_every_bit(number: float, units: str) -> None:
    assert read(text_of(number, units), units) == number


@given(st.sampled_from(FAMILIES), st.sampled_from(FAMILIES), NUMBERS)
def test_other_dimensions_are_refused(one: list[str], other: list[str], number: float) -> None:
    if one is other:
        return
    with pytest.raises(UnitError, match=r"cannot become|has no unit"):
        read(text_of(number, one[0]), other[0])


@pytest.mark.parametrize(
    ("text", "units", "value"),
    [
        ("10 ug/ml", "ug/ml", 10.0),
        ("10 µg/ml", "ug/ml", 10.0),
        ("-180 min", "min", -180.0),
        ("−3 h", "min", -180.0),
        ("0.1 nM", "uM", 0.0001),
        ("1e5 1/(M s)", "1/(uM min)", 6.0),  # 1e5 * 1e-6 * 60
        ("6 /min", "1/s", 0.1),
        ("80 %", "", 0.8),
        ("37 degC", "K", 310.15),
        ("2.5e-9 M", "nM", 2.5),
        (" 5nM ", "nM", 5.0),
    ],
)
def test_known_values(text: str, units: str, value: float) -> None:
    assert read(text, units) == value


def test_times_and_shares() -> None:
    assert minutes("4 h") == 240.0
    assert fraction("90 %") == fraction(0.9) == 0.9
    assert split("10 1/min") == (10.0, "1/min")


@pytest.mark.parametrize(
    "text", ["", "nM", "ten nM", "1,5 nM", "5 nM 3", "0x10 nM", "1_000 nM", "nan nM", "inf nM", "1e400 nM", "5 n M"]
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(UnitError, match="expected a number with a unit that fits nM"):
        read(text, "nM")


@pytest.mark.parametrize("value", [True, None, [5], float("nan"), float("inf")])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(UnitError, match="expected a plain number"):
        read(value, "")  # pyright: ignore[reportArgumentType]
