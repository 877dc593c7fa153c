"""Operations over lanes: one instruction acts on the same quantity of `LANES` members at once.

A register is `LANES` numbers that lie side by side. Nothing here knows what is computed.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from simulators.reaction.lane_vector import (
    LANES,
    v_add,
    v_combine,
    v_copy,
    v_div,
    v_madd,
    v_msub,
    v_mul,
    v_mul3,
    v_neg,
    v_nmadd,
    v_products,
    v_recip,
    v_sqrt,
    v_sub,
    v_terms,
)
from simulators.reaction.operation import OPCODES, Instructions, one

_MUL3, _DOT, _SUM = OPCODES["mul3"], OPCODES["dot"], OPCODES["sum"]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def combine(out: Any, first: int, start: Any, vectors: Any, weights: Any, count: int, rows: int) -> None:
    """Rows of `out` from number `first` on = rows of `start` + Σ weight_k × rows of `vectors[k]`, the first `count`.

    Args:
        out, start: numbers, `LANES` to a row.
        vectors: `[K, rows * LANES]`.
    """
    width = LANES * 8
    o, x, v = out.ctypes.data + first * width, start.ctypes.data, vectors.ctypes.data
    w, stride = weights.ctypes.data, vectors.shape[1] * 8
    for row in range(rows):
        v_combine(o + row * width, x + row * width, v + row * width, stride, w, count)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def execute(code: Instructions, registers: Any) -> None:
    """Run instructions `[I, 5]` on all lanes of `registers` `[R * LANES]`."""
    base, rows = registers.ctypes.data, code.ctypes.data
    i, end = 0, code.shape[0]
    while i < end:
        op = code[i, 0]
        d, a, b, c = np.int64(code[i, 1]), np.int64(code[i, 2]), np.int64(code[i, 3]), np.int64(code[i, 4])
        i += 1
        if op == 0:
            v_mul(base, d, a, b, c)
        elif op == 1:
            v_madd(base, d, a, b, c)
        elif op == 2:
            v_nmadd(base, d, a, b, c)
        elif op == 3:
            v_add(base, d, a, b, c)
        elif op == 4:
            v_sub(base, d, a, b, c)
        elif op == 5:
            v_div(base, d, a, b, c)
        elif op == 6:
            v_copy(base, d, a, b, c)
        elif op == 7:
            v_neg(base, d, a, b, c)
        elif op == 8:
            v_recip(base, d, a, b, c)
        elif op == 9:
            v_sqrt(base, d, a, b, c)
        elif op == 10:
            v_msub(base, d, a, b, c)
        elif op == _MUL3:
            v_mul3(base, d, a, b, c)
        elif op == _DOT:
            v_products(base, d, a, rows + 20 * i, c, 0)
            if b >= 0:
                v_mul(base, d, d, b, b)
            i += (2 * c + 4) // 5
        elif op == _SUM:
            subtracted, terms = np.int64(code[i, 0]), rows + 20 * i + 4
            v_terms(base, d, terms, a, b)
            if c > 0:
                v_products(base, d, d, terms + 4 * (a + b), c, 1)
            if subtracted > 0:
                v_products(base, d, d, terms + 4 * (a + b + 2 * c), subtracted, 0)
            i += (1 + a + b + 2 * (c + subtracted) + 4) // 5
        else:
            for lane in range(LANES):
                registers[d * LANES + lane] = one(
                    op, registers[a * LANES + lane], registers[b * LANES + lane], registers[c * LANES + lane]
                )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def execute_lane(code: Instructions, registers: Any, lane: int) -> None:
    """Run instructions on one lane alone: the same bits as `execute` gives in that lane."""
    numbers = code.reshape(-1)
    i, end = 0, code.shape[0]
    while i < end:
        op, d, a, b, c = code[i, 0], code[i, 1], code[i, 2], code[i, 3], code[i, 4]
        i += 1
        if op == _DOT:
            total = _products(registers, lane, numbers, 5 * i, c, registers[a * LANES + lane], True)
            registers[d * LANES + lane] = total * registers[b * LANES + lane] if b >= 0 else total
            i += (2 * c + 4) // 5
        elif op == _SUM:
            first, subtracted, total = 5 * i + 1, numbers[5 * i], 0.0
            for k in range(a):
                total += registers[numbers[first + k] * LANES + lane]
            for k in range(a, a + b):
                total -= registers[numbers[first + k] * LANES + lane]
            first += a + b
            total = _products(registers, lane, numbers, first, c, total, False)
            total = _products(registers, lane, numbers, first + 2 * c, subtracted, total, True)
            registers[d * LANES + lane] = total
            i += (1 + a + b + 2 * (c + subtracted) + 4) // 5
        else:
            registers[d * LANES + lane] = one(
                op, registers[a * LANES + lane], registers[b * LANES + lane], registers[c * LANES + lane]
            )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _products(registers: Any, lane: int, numbers: Any, first: int, count: int, total: float, less: bool) -> float:
    """A total and the products of pairs of registers, whose numbers lie from `first` on; less them, if so."""
    for k in range(first, first + 2 * count, 2):
        product = registers[numbers[k] * LANES + lane] * registers[numbers[k + 1] * LANES + lane]
        total = total - product if less else total + product
    return total
