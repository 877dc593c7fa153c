"""What columns need that are taken through a step by collocation: J and F at its nodes, and factors for all nodes at once.

The system of `collocation`, over the nodes' values of all states, is sparse: J at each node, and the nodes of one state
coupled. It is factored once per step over lanes, and every column is one pair of substitutions with these factors. That is
a fourth to a half of what differentiating Rodas5P asks of a column, and of order 7; but factoring takes up to 64 times as
many operations as the state's own step needs, so it pays where factors are sparse.

Legend: `S` states, `n` entries of J.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.collocation import STAGES
from simulators.reaction.lanes import LANES
from simulators.reaction.operation import Instructions
from simulators.reaction.rodas5p_tableau import STAGES as STATE_STAGES
from simulators.reaction.sparse_lu import SparseLU, sparse_lu
from simulators.reaction.substitution import placed, substitutions
from simulators.reaction.tape import Registers

_MOST: Final = 60_000
"""Operations of factoring: beyond, preparing them would take longer than a tenth of a second."""
_STEPS: Final = 1.4
"""How many times as many steps the derivative of Rodas5P asks for as collocation does: 1.3 to 1.5."""


class Nodes(NamedTuple):
    """Instructions and sparse rows of collocation; tables and terms are those of `columns.gather`.

    Attributes:
        used: whether columns are taken through a step this way; if not, everything else is empty.
        entries: registers of J where `Columns.stage_code` leaves them, and where those of the first node are kept `[n, 2]`;
            those of the next node are kept n registers on.
        coupling: the first of the registers of -(A⁻¹)_ab / h.
        diagonal, source: registers of the diagonal of what is factored, and of J there `[nodes * S]`.
        factor: instructions. factors, pivots: as of `Columns`.
        solve, solve_terms: substitutions. scalars: how many factors and pivots.
    """

    used: bool
    entries: NDArray[np.int64]
    coupling: int
    diagonal: NDArray[np.int64]
    source: NDArray[np.int64]
    factor: Instructions
    factors: NDArray[np.int64]
    pivots: NDArray[np.int64]
    solve: NDArray[np.int64]
    solve_terms: NDArray[np.int32]
    scalars: int


def pays(lu: SparseLU, states: int, entries: int, bends: int, tiles: int) -> bool:
    """Whether collocation takes less time than the derivative of Rodas5P; both in products with a tile of columns.

    Args:
        lu: of the state's own step. entries, bends: how many entries J and its derivatives have.
    """
    operations, pairs = lu.operations
    factoring = STAGES**3 * operations
    collocated = tiles * ((STAGES**2 + 1) * pairs + entries + (2 * STAGES + 2) * states) + factoring / LANES
    combined = STATE_STAGES * (STATE_STAGES - 1) * states
    derived = tiles * (STATE_STAGES * (pairs + entries + bends) + combined)
    return factoring <= _MOST and collocated < _STEPS * derived


def collocated(
    states: int,
    jacobian: Mapping[tuple[int, int], int],
    file: Registers,
    nothing: int,
) -> Nodes:
    """Instructions and rows, their registers being added to the file.

    Args:
        jacobian: entry → register, after `Columns.stage_code`.
        nothing: a register that holds 0.
    """
    S, n = states, len(jacobian)
    kept = file.block(STAGES * n)
    place = {entry: kept + i for i, entry in enumerate(jacobian)}
    coupling = file.block(STAGES * STAGES)
    source: dict[tuple[int, int], int] = {}
    for a in range(STAGES):
        source |= {(a * S + i, a * S + k): at + a * n for (i, k), at in place.items() if i != k}
        source |= {(a * S + q, b * S + q): coupling + a * STAGES + b for b in range(STAGES) if a != b for q in range(S)}
    rhs = 0  # it is solved over columns alone
    lu = sparse_lu(STAGES * S, source, first=file.count, rhs=rhs, zero=nothing)
    file.block(lu.registers)
    factors, pivots, solve, solve_terms = substitutions(lu.solve, rhs)
    return Nodes(
        used=True, entries=placed(list(jacobian.values()), list(place.values())), coupling=coupling,
        diagonal=np.array(lu.diagonal, dtype=np.int64),
        source=np.array(
            [place[q, q] + a * n if (q, q) in place else nothing for a in range(STAGES) for q in range(S)], dtype=np.int64
        ),
        factor=lu.factor, factors=factors, pivots=pivots, solve=solve, solve_terms=solve_terms,
        scalars=len(factors) + len(pivots),
    )  # fmt: skip


def unused() -> Nodes:
    """Of columns that are not taken through a step this way."""
    numbers, pairs, rows = np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.zeros((0, 4), np.int64)
    return Nodes(
        used=False, entries=pairs, coupling=0, diagonal=numbers, source=numbers, factor=np.zeros((0, 5), np.int32),
        factors=numbers, pivots=numbers, solve=rows, solve_terms=np.zeros(0, np.int32), scalars=0,
    )  # fmt: skip
