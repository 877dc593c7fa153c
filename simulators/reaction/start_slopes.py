"""How what members start with depends on parameters and initial values: initial expressions, differentiated.

A column stands for a quantity that is given from outside: its own symbol moves with it (an amount by the size, if it is
a concentration), and so does whatever the model computes from that symbol at the start.

Legend: `M` members, `S` states, `P` constants, `C` columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulators.reaction.engine import Floats
from simulators.reaction.expression import Node
from simulators.reaction.network import Network, symbol_name


@dataclass(frozen=True)
class Column:
    """What sensitivities are taken to.

    Attributes:
        name: as the user knows it.
        symbol: name of the state or constant that is moved.
        size: of a species given as a concentration, the node that makes it an amount; else None.
        units: where known.
    """

    name: str
    symbol: str
    size: Node | None
    units: str = ""


@dataclass(frozen=True)
class StartSlopes:
    """Derivatives at the start: of states `[M, S, C]` and of constants `[M, P, C]`, and the columns' values `[M, C]`."""

    x: Floats
    p: Floats
    values: Floats


def start_slopes(
    network: Network, given: Mapping[str, Any], columns: Sequence[Column], *, members: int, time: float, seed: int = 0
) -> StartSlopes:
    """Differentiate what `Network.start` computes.

    Args:
        given: as of `Network.start`.
    """
    graph = network.graph
    known, initial = network.start_values(given, members=members, time=time, seed=seed)
    C = len(columns)
    rows: dict[Node, Floats] = {}  # by symbol; nothing stands for zeros
    by_symbol: dict[str, list[int]] = {}
    for c, column in enumerate(columns):
        by_symbol.setdefault(column.symbol, []).append(c)

    def value(node: Node) -> Floats:
        return np.broadcast_to(graph.evaluate([node], known)[0], (members,))

    def slope(node: Node) -> Floats:
        found = np.zeros((members, C))
        for symbol in graph.reads(node) & rows.keys():
            # what is 0 by itself stays so, whatever it is multiplied with
            row = rows[symbol]
            found += np.where(row != 0.0, value(graph.derivative(node, symbol))[:, None] * row, 0.0)
        return found

    values = np.zeros((members, C))
    for name, node in initial.items():
        row = slope(node)
        symbol = graph.symbol(symbol_name(name))
        for c in by_symbol.get(name, ()):
            size = columns[c].size
            row[:, c] = 1.0 if size is None else value(size)
            values[:, c] = known[str(graph.payload[symbol])] / row[:, c]
        if row.any():
            rows[symbol] = row
    nothing = np.zeros((members, C))

    def table(names: Sequence[str]) -> Floats:
        found = [rows.get(graph.symbol(symbol_name(name)), nothing) for name in names]
        return np.array(found, dtype=np.float64).reshape(len(names), members, C).transpose(1, 0, 2).copy()

    return StartSlopes(table(network.state_names), table(network.constant_names), values)
