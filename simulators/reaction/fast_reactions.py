"""Fast reactions: at their equilibrium at all times (SBML L2V4 §4.13, L3V1 §4.11.1).

Fast reactions leave some sums of species alone. With `r` independent fast reactions, `r` species are chosen that they
move; every other species that they touch is such a sum minus shares of those:

    x_i = y_i + Σ_a G_ia x_a,      y_i' = slow parts,      ε x_a' = ε (slow part) + (fast reactions' change of a)

ε is the mass of x_a, so small that x_a is in equilibrium, and not 0, so that the equations hold too while a fast
reaction's rate is 0 altogether.

Legend: `r` independent fast reactions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from simulators.reaction.expression import Graph, Node
from simulators.reaction.network import Assignment, Constant, Event, Network, State, symbol_name
from twin.errors import UnsupportedFeature

_MASS = 1e-12


def relaxed(network: Network) -> Network:
    """The network with its fast reactions in equilibrium; itself if it has none.

    Raises:
        UnsupportedFeature: fast reactions whose stoichiometry changes, or events that would part their species.
    """
    fast = [reaction for reaction in network.reactions if reaction.fast and reaction.changes]
    if not fast:
        return network
    graph = network.graph
    symbols = {name: graph.symbol(symbol_name(name)) for name in network.state_names}
    touched = [name for name in network.state_names if any(name in r.changes for r in fast)]
    changing = {*symbols.values(), graph.symbol("time")}
    changing |= {graph.symbol(symbol_name(a.target)) for e in network.events for a in e.assignments}
    for reaction in fast:
        for node in reaction.changes.values():
            if not graph.reads(node).isdisjoint(changing):
                raise UnsupportedFeature(
                    "fast reaction whose stoichiometry changes",
                    f"fast reaction {reaction.id}: its stoichiometry changes during the run.",
                )
    zero = graph.const(0.0)
    rows = {name: [r.changes.get(name, zero) for r in fast] for name in touched}
    chosen, shares = _shares(graph, rows)
    fast_part = {
        name: graph.total(graph.mul(c, r.rate) for c, r in zip(rows[name], fast, strict=True)) for name in touched
    }
    slow = {
        name: graph.total(
            graph.mul(r.changes[name], r.rate) for r in network.reactions if not r.fast and name in r.changes
        )
        for name in touched
    }
    total = {name: f" total {name}" for name in touched if name not in chosen}
    start = {name: f" start {name}" for name in touched}
    whole = {
        symbols[name]: graph.add(
            graph.symbol(total[name]), graph.total(graph.mul(g, symbols[a]) for a, g in shares[name].items())
        )
        for name in total
    }
    states: list[State] = []
    for state in network.states:
        name = state.name
        if name in total:
            rate = graph.sub(slow[name], graph.total(graph.mul(g, slow[a]) for a, g in shares[name].items()))
            first = graph.sub(
                graph.symbol(start[name]),
                graph.total(graph.mul(g, graph.symbol(start[a])) for a, g in shares[name].items()),
            )
            states.append(State(total[name], first, rate))
        elif name in chosen:
            rate = graph.add(graph.mul(graph.const(_MASS), slow[name]), fast_part[name])
            states.append(State(name, graph.symbol(start[name]), rate, _MASS, fast_part[name]))
        else:
            states.append(state)
    starts = tuple(Constant(start[s.name], s.initial) for s in network.states if s.name in start)
    found = replace(
        network,
        states=tuple(states),
        constants=(*network.constants, *starts),
        events=tuple(_parted(network, event, total, shares, symbols) for event in network.events),
        starts={**network.starts, **start},
    )
    return found.replaced(whole)


def _shares(graph: Graph, rows: Mapping[str, Sequence[Node]]) -> tuple[list[str], dict[str, dict[str, Node]]]:
    """Chosen species, and for every other one the share of each chosen one, by elimination over the rows."""
    chosen: list[str] = []
    # each reduced row is a combination of chosen species' rows: (row, pivot column, combination)
    basis: list[tuple[list[Node], int, dict[str, Node]]] = []
    shares: dict[str, dict[str, Node]] = {}
    zero, one = graph.const(0.0), graph.const(1.0)
    for name, given in rows.items():
        row, parts = list(given), dict[str, Node]()
        for reduced, pivot, combination in basis:
            factor = row[pivot]
            if factor == zero:
                continue
            row = [graph.sub(a, graph.mul(factor, b)) for a, b in zip(row, reduced, strict=True)]
            for other, part in combination.items():
                parts[other] = graph.add(parts.get(other, zero), graph.mul(factor, part))
        pivot = next((i for i, node in enumerate(row) if not _vanishes(graph, node)), None)
        if pivot is None:
            shares[name] = parts
            continue
        chosen.append(name)
        scale = graph.div(one, row[pivot])
        combination = {other: graph.apply("neg", graph.mul(scale, part)) for other, part in parts.items()}
        combination[name] = scale
        basis.append(([graph.mul(scale, node) for node in row], pivot, combination))
    return chosen, shares


def _vanishes(graph: Graph, node: Node) -> bool:
    """Whether a node over constants is 0 for whatever values they have (tried at two places)."""
    for offset in (0.37, 1.71):
        values = {str(graph.payload[s]): offset + 0.618 * (1 + i % 7) for i, s in enumerate(sorted(graph.reads(node)))}
        (value,) = graph.evaluate([node], values)
        if abs(float(value)) > 1e-9:
            return False
    return True


def _parted(
    network: Network,
    event: Event,
    total: Mapping[str, str],
    shares: Mapping[str, Mapping[str, Node]],
    symbols: Mapping[str, Node],
) -> Event:
    """An event whose assignments to species of fast reactions are made to the sums instead."""
    graph = network.graph
    touched = {*total, *(a for parts in shares.values() for a in parts)}
    set_ = {a.target: a for a in event.assignments if a.target in touched}
    if not set_:
        return event
    if event.delay is not None and event.values_from_trigger_time:
        raise UnsupportedFeature(
            "delayed event that assigns a species of a fast reaction",
            f"event {event.id or 'without id'} sets {', '.join(set_)} to values taken before its delay.",
        )

    def after(name: str) -> Node:
        if name not in set_:
            return symbols[name]
        scale = set_[name].scale
        return set_[name].value if scale is None else graph.mul(set_[name].value, scale)

    assignments = [a for a in event.assignments if a.target not in touched]
    for name, parts in shares.items():
        if name in set_ or any(a in set_ for a in parts):
            value = graph.sub(after(name), graph.total(graph.mul(g, after(a)) for a, g in parts.items()))
            assignments.append(Assignment(total[name], value))
    assignments += [Assignment(a, after(a)) for a in set_ if a not in total]
    return replace(event, assignments=tuple(assignments))
