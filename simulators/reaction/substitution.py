"""Sparse rows for `columns.gather`: products with a matrix, and the substitutions of factors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.operation import OPCODES, Instructions


def table(rows: int, terms: Sequence[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Table and terms of `columns.gather` from (row, vector), ordered by row: the order of their scalars."""
    found = np.array(terms, dtype=np.int64).reshape(-1, 2)
    ends = np.searchsorted(found[:, 0], range(rows + 1))
    return (
        np.column_stack((np.arange(rows), ends[:-1], ends[1:], np.full(rows, -1))).astype(np.int64),
        found[:, 1].astype(np.int32),
    )


def substitutions(
    solve: Instructions, rhs: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Factors, pivots, and the rows and terms of forward and backward substitution, read from their instructions.

    A term's factor has its number; the pivots follow the factors. Registers of both are repeated up to a multiple of four.
    """
    numbers, i = solve.reshape(-1).tolist(), 0
    found: list[tuple[int, list[int], int]] = []  # row, registers and rows of its terms, register of its pivot
    while i < len(solve):
        op, target, a, b, c = numbers[5 * i : 5 * i + 5]
        i += 1
        assert a == target
        if op == OPCODES["dot"]:
            found.append((target - rhs, numbers[5 * i : 5 * i + 2 * c], b))
            i += (2 * c + 4) // 5
        else:  # a product: with the pivot alone
            found.append((target - rhs, [], b))
    count = sum(len(pairs) // 2 for _, pairs, _ in found)
    factors: list[int] = []
    pivots: list[int] = []
    rows: list[tuple[int, int, int, int]] = []
    terms: list[int] = []
    for row, pairs, pivot in found:
        first = len(terms)
        for register, vector in zip(pairs[::2], pairs[1::2], strict=True):
            terms.append(vector - rhs)
            factors.append(register)
        if pivot >= 0:
            pivots.append(pivot)
        rows.append((row, first, len(terms), count + len(pivots) - 1 if pivot >= 0 else -1))
    return (
        _whole(factors),
        _whole(pivots),
        np.array(rows, dtype=np.int64).reshape(-1, 4),
        np.array(terms, dtype=np.int32),
    )


def _whole(registers: list[int]) -> NDArray[np.int64]:
    return np.array([*registers, *registers[:1] * (-len(registers) % 4)], dtype=np.int64)


def placed(registers: Sequence[int], places: Sequence[int]) -> NDArray[np.int64]:
    """Registers and places, side by side `[n, 2]`."""
    return np.array(list(zip(registers, places, strict=True)), dtype=np.int64).reshape(-1, 2)
