"""LU factors of a sparse matrix whose pattern is known beforehand: pivots down the diagonal, as instructions.

W = I/(h γ) - J is factored at every step of every member; its pattern never changes. So the order of elimination
(least Markowitz count, Duff, Erisman & Reid 1986, ch. 7) and every single operation are found once per model.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from simulators.reaction.lanes import OPCODES, Instructions


@dataclass(frozen=True)
class SparseLU:
    """Where entries lie and what is done.

    Attributes:
        entries: (row, column) → number of the entry in W, fill-in included; a diagonal entry holds its reciprocal
            after factoring.
        factor: instructions over W alone.
        solve: instructions over W and the right-hand side, in place.
    """

    entries: dict[tuple[int, int], int]
    factor: Instructions
    solve: Instructions


def sparse_lu(size: int, pattern: Collection[tuple[int, int]], *, w: int, rhs: int) -> SparseLU:
    """Instructions for a matrix with entries at `pattern` (the diagonal is added).

    Args:
        w: register of the first entry; entries follow it.
        rhs: register of the first element of the right-hand side.
    """
    rows: list[set[int]] = [{i} for i in range(size)]
    columns: list[set[int]] = [{i} for i in range(size)]
    for i, j in pattern:
        rows[i].add(j)
        columns[j].add(i)
    entries = {(i, j): n for n, (i, j) in enumerate(sorted((i, j) for i in range(size) for j in rows[i]))}
    left = set(range(size))
    order: list[int] = []
    lower: list[list[int]] = []
    upper: list[list[int]] = []
    factor: list[tuple[int, int, int, int, int]] = []
    while left:
        pivot = min(left, key=lambda k: ((len(rows[k]) - 1) * (len(columns[k]) - 1), k))
        left.discard(pivot)
        below = sorted(columns[pivot] - {pivot})
        right = sorted(rows[pivot] - {pivot})
        order.append(pivot)
        lower.append(below)
        upper.append(right)
        p = w + entries[pivot, pivot]
        factor.append((OPCODES["recip"], p, p, p, p))
        for i in below:
            m = w + entries[i, pivot]
            factor.append((OPCODES["mul"], m, m, p, p))
            for j in right:
                if (i, j) not in entries:
                    entries[i, j] = len(entries)
                    rows[i].add(j)
                    columns[j].add(i)
                e = w + entries[i, j]
                factor.append((OPCODES["nmadd"], e, m, w + entries[pivot, j], e))
            rows[i].discard(pivot)
        for j in right:
            columns[j].discard(pivot)
    solve: list[tuple[int, int, int, int, int]] = []
    for pivot, below in zip(order, lower, strict=True):
        for i in below:
            solve.append((OPCODES["nmadd"], rhs + i, w + entries[i, pivot], rhs + pivot, rhs + i))
    for pivot, right in zip(reversed(order), reversed(upper), strict=True):
        for j in right:
            solve.append((OPCODES["nmadd"], rhs + pivot, w + entries[pivot, j], rhs + j, rhs + pivot))
        p = w + entries[pivot, pivot]
        solve.append((OPCODES["mul"], rhs + pivot, rhs + pivot, p, p))
    return SparseLU(
        entries, np.array(factor, dtype=np.int32).reshape(-1, 5), np.array(solve, dtype=np.int32).reshape(-1, 5)
    )
