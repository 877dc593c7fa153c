"""LU factors of a sparse matrix whose pattern is known beforehand: pivots down the diagonal, as instructions.

J - I/(h γ) is factored at every step of every member; its pattern never changes. So the order of elimination
(least Markowitz count, Duff, Erisman & Reid 1986, ch. 7) and every single operation are found once per model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulators.reaction.operation import OPCODES, Instructions, dot


@dataclass(frozen=True)
class SparseLU:
    """Where entries lie and what is done.

    Attributes:
        diagonal: registers of the diagonal `[S]`: before factoring its entries, afterwards their reciprocals.
        registers: how many registers factoring needs from `first` on.
        factor: instructions over entries.
        solve: instructions over entries and the right-hand side, in place.
        operations: multiplications with subtraction in `factor` and in `solve`.
        read: registers that `solve` reads besides the right-hand side.
    """

    diagonal: list[int]
    registers: int
    factor: Instructions
    solve: Instructions
    operations: tuple[int, int]
    read: list[int]


def sparse_lu(size: int, source: Mapping[tuple[int, int], int], *, first: int, rhs: int, zero: int) -> SparseLU:
    """Instructions for a matrix whose entries off the diagonal lie in the registers of `source` (left as they are).

    Every entry is computed at once, by a dot product over the pivots before it (Crout), when its own pivot comes: what
    is summed up stays in the CPU's registers. Entries that nothing is subtracted from are read where they lie.

    Args:
        source: (row, column) → register. The caller puts the diagonal into `SparseLU.diagonal`.
        first: the first of the registers that factoring may use.
        rhs: register of the first element of the right-hand side.
        zero: a register that holds 0.
    """
    rows: list[set[int]] = [{i} for i in range(size)]
    columns: list[set[int]] = [{i} for i in range(size)]
    for i, j in source:
        rows[i].add(j)
        columns[j].add(i)
    count = size
    place: dict[tuple[int, int], int] = {(i, i): first + i for i in range(size)}
    terms: dict[tuple[int, int], list[tuple[int, int]]] = {}
    left = set(range(size))
    order: list[int] = []
    lower: list[list[int]] = []
    upper: list[list[int]] = []
    factor: list[tuple[int, ...]] = []
    operations = 0

    def register(entry: tuple[int, int]) -> int:
        nonlocal count
        if entry not in place:
            place[entry] = first + count
            count += 1
        return place[entry]

    while left:
        pivot = min(left, key=lambda k: ((len(rows[k]) - 1) * (len(columns[k]) - 1), k))
        left.discard(pivot)
        below, right = sorted(columns[pivot] - {pivot}), sorted(rows[pivot] - {pivot})
        order.append(pivot)
        lower.append(below)
        upper.append(right)
        p = place[pivot, pivot]
        if (pivot, pivot) in terms:
            factor += dot(p, p, terms[pivot, pivot])
        factor.append((OPCODES["recip"], p, p, p, p))
        for i in below:
            entry = (i, pivot)
            c = source.get(entry, zero)
            if entry in terms:
                factor += dot(register(entry), c, terms[entry], p)
            else:
                factor.append((OPCODES["mul"], register(entry), c, p, p))
        for j in right:
            entry = (pivot, j)
            if entry in terms:
                factor += dot(register(entry), source.get(entry, zero), terms[entry])
            else:
                place[entry] = source[entry]
        for i in below:
            for j in right:
                terms.setdefault((i, j), []).append((place[i, pivot], place[pivot, j]))
                rows[i].add(j)
                columns[j].add(i)
                operations += 1
            rows[i].discard(pivot)
        for j in right:
            columns[j].discard(pivot)
    solve: list[tuple[int, ...]] = []
    known: dict[int, list[tuple[int, int]]] = {}
    for pivot, below in zip(order, lower, strict=True):
        if pivot in known:
            solve += dot(rhs + pivot, rhs + pivot, known[pivot])
        for i in below:
            known.setdefault(i, []).append((place[i, pivot], rhs + pivot))
    for pivot, right in zip(reversed(order), reversed(upper), strict=True):
        p = place[pivot, pivot]
        if right:
            solve += dot(rhs + pivot, rhs + pivot, [(place[pivot, j], rhs + j) for j in right], p)
        else:
            solve.append((OPCODES["mul"], rhs + pivot, rhs + pivot, p, p))
    substitutions = sum(map(len, lower)) + sum(map(len, upper)) + size
    return SparseLU(
        [place[i, i] for i in range(size)],
        count,
        np.array(factor, dtype=np.int32).reshape(-1, 5),
        np.array(solve, dtype=np.int32).reshape(-1, 5),
        (operations, substitutions),
        sorted(
            {place[i, i] for i in range(size)}
            | {place[i, pivot] for pivot, below in zip(order, lower, strict=True) for i in below}
            | {place[pivot, j] for pivot, right in zip(order, upper, strict=True) for j in right}
        ),
    )
