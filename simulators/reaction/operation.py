"""Operations by number, as rows of instructions and on plain numbers.

An instruction is five integers: what to do, where the result goes, and up to three arguments, all by register number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

Instructions = NDArray[np.int32]
"""`[I, 5]`: operation, result, three arguments."""

OPCODES: Final[dict[str, int]] = {
    name: code
    for code, name in enumerate(
        [
            "mul",
            "madd",
            "nmadd",
            "add",
            "sub",
            "div",
            "copy",
            "neg",
            "recip",
            "sqrt",
            "msub",
            "ln",
            "exp",
            "pow",
            "abs",
            "lt",
            "le",
            "gt",
            "ge",
            "eq",
            "ne",
            "and",
            "or",
            "xor",
            "not",
            "where",
            "min",
            "max",
            "floor",
            "ceil",
            "rem",
            "quotient",
            "factorial",
            "sin",
            "cos",
            "tan",
            "asin",
            "acos",
            "atan",
            "sinh",
            "cosh",
            "tanh",
            "asinh",
            "acosh",
            "atanh",
            "mul3",
            "dot",
            "sum",
        ]
    )
}
"""Name → code. `madd` is a*b + c, `msub` a*b - c, `nmadd` c - a*b, `mul3` (a*b)*c.

Two are longer than one row, for what is added up then stays in the CPU's registers; only `lanes` knows them.
`dot` (result, c, scale, n): (c - Σ a_k*b_k) * scale, where a scale below 0 is none; n pairs (a, b) follow.
`sum` (result, plus, minus, products added): Σ a - Σ b + Σ c*d - Σ e*f; the number of products that are subtracted
follows, then the registers of all four parts. What follows is packed five to a row.
"""

_DOT, _SUM = OPCODES["dot"], OPCODES["sum"]


def dot(result: int, c: int, pairs: Sequence[tuple[int, int]], scale: int = -1) -> list[tuple[int, ...]]:
    """Rows of a `dot`."""
    return _rows([_DOT, result, c, scale, len(pairs)], [place for pair in pairs for place in pair])


def signed_sum(
    result: int,
    plus: Sequence[int],
    minus: Sequence[int],
    added: Sequence[tuple[int, int]],
    subtracted: Sequence[tuple[int, int]],
) -> list[tuple[int, ...]]:
    """Rows of a `sum`."""
    products = [place for pair in (*added, *subtracted) for place in pair]
    return _rows([_SUM, result, len(plus), len(minus), len(added)], [len(subtracted), *plus, *minus, *products])


def _rows(head: list[int], more: list[int]) -> list[tuple[int, ...]]:
    numbers = head + more + [0] * (-len(more) % 5)
    return [tuple(numbers[i : i + 5]) for i in range(0, len(numbers), 5)]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def one(op: int, a: float, b: float, c: float) -> float:
    """One operation on plain numbers; what the vector instructions do, lane by lane."""
    if op == 0:
        return a * b
    if op == 1:
        return a * b + c
    if op == 2:
        return c - a * b
    if op == 3:
        return a + b
    if op == 4:
        return a - b
    if op == 5:
        return a / b
    if op == 6:
        return a
    if op == 7:
        return -a
    if op == 8:
        return 1.0 / a
    if op == 9:
        return math.sqrt(a) if a >= 0.0 else math.nan
    if op == 10:
        return a * b - c
    if op == 11:
        return np.log(a)
    if op == 12:
        return np.exp(a)
    if op == 13:
        return np.power(a, b)
    if op == 14:
        return abs(a)
    if op == 15:
        return 1.0 if a < b else 0.0
    if op == 16:
        return 1.0 if a <= b else 0.0
    if op == 17:
        return 1.0 if a > b else 0.0
    if op == 18:
        return 1.0 if a >= b else 0.0
    if op == 19:
        return 1.0 if a == b else 0.0
    if op == 20:
        return 1.0 if a != b else 0.0
    if op == 21:
        return 1.0 if a != 0.0 and b != 0.0 else 0.0
    if op == 22:
        return 1.0 if a != 0.0 or b != 0.0 else 0.0
    if op == 23:
        return 1.0 if (a != 0.0) != (b != 0.0) else 0.0
    if op == 24:
        return 1.0 if a == 0.0 else 0.0
    if op == 25:
        return b if a != 0.0 else c
    if op == 26:
        return np.minimum(a, b)
    if op == 27:
        return np.maximum(a, b)
    if op == 28:
        return np.floor(a)
    if op == 29:
        return np.ceil(a)
    if op == 30:
        return np.fmod(a, b)
    if op == 31:
        return np.trunc(a / b)
    if op == 32:
        return math.gamma(a + 1.0)
    if op == 33:
        return np.sin(a)
    if op == 34:
        return np.cos(a)
    if op == 35:
        return np.tan(a)
    if op == 36:
        return np.arcsin(a)
    if op == 37:
        return np.arccos(a)
    if op == 38:
        return np.arctan(a)
    if op == 39:
        return np.sinh(a)
    if op == 40:
        return np.cosh(a)
    if op == 41:
        return np.tanh(a)
    if op == 42:
        return np.arcsinh(a)
    if op == 43:
        return np.arccosh(a)
    if op == 44:
        return np.arctanh(a)
    return (a * b) * c  # mul3
