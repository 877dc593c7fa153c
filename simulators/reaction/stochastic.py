"""Exact stochastic simulation of a network for many members: molecules are counted, reactions fire one by one.

Every kinetic law is taken as a propensity: the chance per time that its reaction fires, given the amounts there are.
Between two reactions nothing may move, so laws that read the time and rate rules are refused. Events are executed at
their exact times.

Legend: `M` members, `S` states, `P` constants, `T` times, `R` readouts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulators.reaction import direct_method
from simulators.reaction.engine import Floats, Run, Status
from simulators.reaction.events import EventQueue, watched
from simulators.reaction.expression import RELATIONS, STEPPED, Node
from simulators.reaction.halt import Halt, deadline, shared_out
from simulators.reaction.network import CLOCK, Network, Reaction, symbol_name
from simulators.reaction.tape import Registers, instructions
from twin.errors import UnsupportedFeature

_WHOLE = 1e-9
"""How far an amount may be from a whole number, as a share of it: what units and volumes leave of rounding."""


class StochasticCourse:
    """A network and what is read of it, ready to be simulated for any members.

    Args:
        readouts: nodes of the network's graph `[R]`.

    Raises:
        UnsupportedFeature: something moves between reactions, or a stoichiometry changes.
    """

    def __init__(self, network: Network, readouts: Sequence[Node]) -> None:
        _refuse_motion(network)
        self.network = network
        graph = network.graph
        symbols = {name: graph.symbol(symbol_name(name)) for name in network.state_names}
        self._reactions = [r for r in network.reactions if r.changes]
        self._counted = sorted({network.state_names.index(name) for r in self._reactions for name in r.changes})
        self._stoichiometry = [node for r in self._reactions for node in r.changes.values()]
        moved = {symbols[name] for r in self._reactions for name in r.changes}
        _refuse_stoichiometry(network, self._reactions, moved)
        crossings = _crossings(network, moved)
        nodes = [*watched(network), *(node for pair in crossings for node in pair)]
        self._first_crossing = len(nodes) - 2 * len(crossings)
        self._program = self._compiled(readouts, nodes)

    def _compiled(self, readouts: Sequence[Node], nodes: Sequence[Node]) -> direct_method.Program:
        network, reactions = self.network, self._reactions
        graph, S, P, J = network.graph, len(network.states), len(network.constants), len(reactions)
        file = Registers()
        time, x, p = file.block(1), file.block(S), file.block(P)
        rates, out, seen = file.block(J), file.block(len(readouts)), file.block(len(nodes))
        place = {graph.symbol(CLOCK): time}
        place |= {graph.symbol(symbol_name(name)): x + i for i, name in enumerate(network.state_names)}
        place |= {graph.symbol(symbol_name(name)): p + i for i, name in enumerate(network.constant_names)}
        codes = [instructions(graph, [(r.rate, rates + j)], place, file) for j, r in enumerate(reactions)]
        changed = [[network.state_names.index(name) for name in r.changes] for r in reactions]
        by_state: dict[int, list[int]] = {}
        for j, r in enumerate(reactions):
            for symbol in graph.reads(r.rate):
                by_state.setdefault(place[symbol] - x, []).append(j)
        needed = [sorted({j for s in states for j in by_state.get(s, [])}) for states in changed]
        triggers = nodes[: len(network.events)]
        read = {place[symbol] - x for node in triggers for symbol in graph.reads(node)}
        targets = [(node, seen + i) for i, node in enumerate(nodes)]
        read_code = instructions(graph, [(node, out + i) for i, node in enumerate(readouts)], place, file)
        watch_code = instructions(graph, targets, place, file)
        turn_code = instructions(graph, targets[: len(triggers)], place, file)
        image = np.zeros(file.count)
        for register, value in file.constants.items():
            image[register] = value
        return direct_method.Program(
            time=time, x=x, p=p, rates=rates, out=out, seen=seen, states=S, constants=P, reactions=J,
            readouts=len(readouts), watched=len(nodes), triggers=len(triggers),
            rate_code=np.concatenate([*codes, np.zeros((0, 5), dtype=np.int32)]),
            rate_start=_starts([len(code) for code in codes]),
            needed=_flat(needed), needed_start=_starts([len(n) for n in needed]),
            changed=_flat(changed), changed_start=_starts([len(c) for c in changed]),
            read_code=read_code, watch_code=watch_code, turn_code=turn_code,
            turns=np.array([not read.isdisjoint(states) for states in changed], dtype=np.bool_), image=image,
        )  # fmt: skip

    def run(
        self,
        x: Floats,
        p: Floats,
        times: Floats,
        *,
        seed: int = 0,
        first_member: int = 0,
        max_steps: int = 10_000_000,
        threads: int = 1,
        time_limit_s: float | None = None,
    ) -> Run:
        """Simulate from `times[0]`, where amounts are `x` and constants `p`, to the last time.

        Args:
            x, p: `[M, S]`, `[M, P]`; not changed.
            times: ascending and distinct `[T]`.
            seed, first_member: member i draws from (seed, first_member + i) and nothing else.
            max_steps: most reactions that a member may fire.
            threads: how many share the members; the bits do not depend on it.
            time_limit_s: seconds after which members that are not done end: NaN, with status `OUT_OF_TIME`.

        Raises:
            UnsupportedFeature: an amount that reactions change, or a stoichiometry, is not a whole number.
        """
        end, halt = deadline(time_limit_s), Halt()
        M = len(x)
        x, p = np.array(x, dtype=np.float64), np.array(p, dtype=np.float64)
        fine = np.asarray(np.isfinite(x).all(axis=1))
        self._refuse_fractions(x[fine])
        x[:, self._counted] = np.rint(x[:, self._counted])
        members = direct_method.Members(
            x=x, p=p, changes=self._changes(x, p, times[0], fine), t=np.full(M, times[0]), stop=np.full(M, np.inf),
            point=np.zeros(M, dtype=np.int64), steps=np.zeros(M, dtype=np.int64),
            status=np.where(fine, Status.FINE, Status.NOT_FINITE).astype(np.int8),
            random=_generators(seed, first_member, M), halt=halt.flag,
        )  # fmt: skip
        values = np.full((M, len(times), self._program.readouts), np.nan)
        queue = EventQueue(self.network, x, p, times, seed=seed, first_member=first_member)

        def part(going: NDArray[np.int64]) -> None:
            while len(going):
                if halt.called:
                    members.status[going] = Status.OUT_OF_TIME
                    return
                self._settle(members, queue, going)
                going = going[members.status[going] == Status.FINE]
                direct_method.simulate(self._program, members, going, times, max_steps, values)
                going = going[members.status[going] == direct_method.PAUSED]
                members.status[going] = Status.FINE

        rows = np.flatnonzero(fine).astype(np.int64)
        shared_out(part, np.array_split(rows, max(1, min(threads, len(rows)))), threads=threads, halt=halt, end=end)
        members.x[members.status != Status.FINE] = np.nan
        values[members.status == Status.OUT_OF_TIME] = np.nan
        return Run(values=values, x=members.x, status=members.status)

    def _settle(self, members: direct_method.Members, queue: EventQueue, rows: NDArray[np.int64]) -> None:
        """Execute events that are due, and find when each member must stop next."""
        if not self.network.events:
            return
        changed, restless = queue.settle(rows, members.t, lambda some: self._watch(members, some))
        members.status[restless] = Status.TOO_MANY_STEPS
        counts = members.x[changed][:, self._counted]
        members.status[changed[(counts != np.rint(counts)).any(axis=1)]] = Status.NOT_WHOLE
        seen = self._watch(members, rows)[:, self._first_crossing :]
        for m, due, values in zip(rows, queue.next(rows), seen, strict=True):
            t = float(members.t[m])
            crossed = [_crossed(t, d, slope) for d, slope in zip(values[::2], values[1::2], strict=True)]
            members.stop[m] = min([due, *crossed])

    def _watch(self, members: direct_method.Members, rows: NDArray[np.int64]) -> Floats:
        found = np.empty((len(rows), self._program.watched))
        direct_method.watch(self._program, members, rows, found)
        return found

    def _refuse_fractions(self, x: Floats) -> None:
        for i in self._counted:
            off = np.abs(x[:, i] - np.rint(x[:, i])) > _WHOLE * np.maximum(1.0, np.abs(x[:, i]))
            if off.any():
                name, m = self.network.state_names[i], int(np.flatnonzero(off)[0])
                raise UnsupportedFeature(
                    "amount that is not a whole number",
                    f"{name} starts at {x[m, i]:g}: exact simulation counts molecules; give a whole number.",
                )

    def _changes(self, x: Floats, p: Floats, time: float, fine: NDArray[np.bool_]) -> Floats:
        found = self.network.evaluate(self._stoichiometry, x, p, time)
        off = ~(found == np.rint(found)) & fine[:, None]
        if off.any():
            names = [(r.id, name) for r in self._reactions for name in r.changes]
            m, c = (int(i) for i in np.argwhere(off)[0])
            raise UnsupportedFeature(
                "stoichiometry that is not a whole number",
                f"reaction {names[c][0]} changes {names[c][1]} by {found[m, c]:g}: exact simulation counts molecules.",
            )
        return np.ascontiguousarray(found)


def _refuse_motion(network: Network) -> None:
    """Refuse whatever moves between two reactions."""
    clock = network.graph.symbol(CLOCK)
    moved = {name for r in network.reactions for name in r.changes}
    for state in network.states:
        if state.mass != 1.0:
            raise UnsupportedFeature(
                "algebraic rule or fast reaction in exact simulation",
                f"{state.name} is held by an algebraic rule or a fast reaction; exact simulation does not know these.",
            )
        if state.name not in moved and network.graph.value(state.rate) != 0.0:
            raise UnsupportedFeature(
                "rate rule in exact simulation", f"{state.name} has a rate rule: it moves between reactions."
            )
    if network.delayed:
        raise UnsupportedFeature("delay() in exact simulation", "the model reads delayed values.")
    if "rateOf()" in network.features:
        raise UnsupportedFeature("rateOf() in exact simulation", "amounts that jump have no rate of change.")
    for reaction in network.reactions:
        if clock in network.graph.reads(reaction.rate):
            raise UnsupportedFeature(
                "rate that reads the time in exact simulation",
                f"reaction {reaction.id}: its rate reads the time, so it changes between reactions.",
            )


def _refuse_stoichiometry(network: Network, reactions: Sequence[Reaction], moved: set[Node]) -> None:
    graph = network.graph
    assigned = {graph.symbol(symbol_name(a.target)) for e in network.events for a in e.assignments}
    varying = moved | assigned | {graph.symbol(CLOCK)}
    for reaction in reactions:
        for name, node in reaction.changes.items():
            if not graph.reads(node).isdisjoint(varying):
                raise UnsupportedFeature(
                    "stoichiometry that changes in exact simulation",
                    f"reaction {reaction.id} changes {name} by what is not constant.",
                )


def _crossings(network: Network, moved: set[Node]) -> list[tuple[Node, Node]]:
    """(difference of both sides, its slope in time) of every relation in a trigger that reads the time."""
    graph = network.graph
    clock = graph.symbol(CLOCK)
    found: dict[Node, tuple[Node, Node]] = {}
    for event in network.events:
        for node in graph.order([event.trigger]):
            if graph.op[node] not in STEPPED or clock not in graph.reads(node) or node in found:
                continue
            if graph.op[node] in RELATIONS:
                difference = graph.sub(*graph.args[node])
                slope = graph.derivative(difference, clock)
                if clock not in graph.reads(slope) and graph.reads(difference).isdisjoint(moved):
                    found[node] = difference, slope
                    continue
            raise UnsupportedFeature(
                "trigger that is not linear in time in exact simulation",
                f"event {event.id or 'without id'}: its trigger compares the time with amounts, or not linearly.",
            )
    return list(found.values())


def _crossed(t: float, difference: float, slope: float) -> float:
    """The next time after `t` at which a relation may turn."""
    if slope == 0.0 or np.isnan(slope) or np.isnan(difference) or difference * slope > 0.0:
        return np.inf
    after = float(np.nextafter(t, np.inf))
    return after if difference == 0.0 else max(t - difference / slope, after)


def _generators(seed: int, first_member: int, members: int) -> NDArray[np.uint64]:
    """State of each member's generator `[M, 4]`: a hash of what it serves, as `twin.seeds` makes streams."""
    state = b"".join(
        hashlib.sha256(repr((int(seed), "reactions", first_member + m)).encode()).digest() for m in range(members)
    )
    return np.frombuffer(state, dtype="<u8").astype(np.uint64).reshape(members, 4).copy()


def _starts(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _flat(lists: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.array([i for part in lists for i in part], dtype=np.int64)
