"""A reaction network after reading: what is constant, what moves, and the events, over one expression graph.

This is what every engine of ours runs. `sbml.py` makes one from SBML; nothing here knows SBML.

Symbols of the graph are the clock (`CLOCK`), one per constant, one per state and one per `Delayed` value; every other
id (assignment rules, reaction rates, concentrations) is a node over them, found in `observables`. A species is held as
an **amount** wherever it stands as a symbol, whatever its id means in mathematics; the node of its id divides by the
size of its compartment where SBML says so.

Legend: `M` members, `S` states, `P` constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, Literal

import numpy as np

from simulators.reaction.distributions import sample
from simulators.reaction.engine import Floats
from simulators.reaction.expression import Graph, Node
from twin.errors import InputError, UnsupportedFeature
from twin.seeds import stream

CLOCK: Final = "time"
"""Name of the clock's symbol."""

Kind = Literal["species", "compartment", "parameter", "reaction", "reference"]


@dataclass(frozen=True)
class Constant:
    """A value that no equation moves. Events may assign it; between events it is fixed.

    Attributes:
        name: of its symbol: the id in the model (an amount if it is a species).
        initial: its value at the start, over the clock and the symbols of other constants and states. A value given
            from outside replaces it, and whatever depends on it follows.
    """

    name: str
    initial: Node


@dataclass(frozen=True)
class State:
    """A value that moves continuously; events may assign it too.

    Attributes:
        name, initial: as those of `Constant`.
        rate: what `mass` × d state / dt is; with mass 0, a residual that is 0 at all times (`initial` is a first guess).
        mass: 1; 0 if the state is algebraic; between them if fast reactions hold it near the zero of `balance`.
        balance: of a state with another mass than 1: what is 0 when the state is in its place.
    """

    name: str
    initial: Node
    rate: Node
    mass: float = 1.0
    balance: Node | None = None


@dataclass(frozen=True)
class Assignment:
    """What an event sets: the symbol `target` becomes `value` × `scale`.

    `value` is taken when the event says (trigger or execution); `scale`, the size of the compartment that turns a
    concentration into an amount, is always that just before the event is executed.
    """

    target: str
    value: Node
    scale: Node | None = None


@dataclass(frozen=True)
class Event:
    """Assignments made when `trigger` (0 or 1) goes from 0 to 1 (SBML L3V2 §4.11).

    Attributes:
        delay, priority: nodes; None where the event has none.
        initially: the trigger's value before the start: if False, an event whose trigger holds at the start fires then.
        persistent: whether it is executed though the trigger has become false in between.
        values_from_trigger_time: whether values are taken when the trigger turns, not when the event is executed.
    """

    id: str
    trigger: Node
    assignments: tuple[Assignment, ...]
    delay: Node | None = None
    priority: Node | None = None
    initially: bool = True
    persistent: bool = True
    values_from_trigger_time: bool = True


@dataclass(frozen=True)
class Delayed:
    """The symbol `name` stands for the value that `value` had `delay` ago.

    `past` is what `value` was at a time before the start: rules and initial assignments hold there too, with the time
    that they read; nothing moves, and every rate of change is 0.
    """

    name: str
    value: Node
    delay: Node
    past: Node


@dataclass(frozen=True)
class Draw:
    """The constant `name` is a random number: drawn when its member starts, and anew when an event that reads it needs it.

    Attributes:
        distribution, arguments: as `distributions.sample` takes them.
    """

    name: str
    distribution: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Reaction:
    """One reaction: `rate` [extent/time], and what one extent adds to each symbol of `changes` (states or constants).

    `changes` already holds stoichiometry × conversion factor, as nodes; boundary and constant species are left out.
    """

    id: str
    rate: Node
    changes: Mapping[str, Node]
    fast: bool = False


@dataclass(frozen=True)
class Observable:
    """Anything with an id that a user may select.

    Attributes:
        value: as the id is read in mathematics.
        amount, concentration: of a species; equal to `value` for everything else.
        moves: whether it may change during a run.
        units, amount_units, concentration_units: where the model states them.
    """

    id: str
    kind: Kind
    value: Node
    amount: Node
    concentration: Node
    moves: bool
    units: str = ""
    amount_units: str = ""
    concentration_units: str = ""


@dataclass(frozen=True)
class Network:
    """One flat model.

    Attributes:
        initials: species → (whether a number given for it is an amount even where concentrations are meant
            [hasOnlySubstanceUnits], node of its compartment's size); other names are given as they are read.
        starts: id → name of the constant that holds its start value, where no symbol bears the id any more.
        constraints: (node that must stay 1, message).
        time_units: of the clock; empty where unknown.
        features: which features of SBML the model uses, in words.
    """

    id: str
    graph: Graph
    constants: tuple[Constant, ...]
    states: tuple[State, ...]
    observables: Mapping[str, Observable]
    events: tuple[Event, ...] = ()
    delayed: tuple[Delayed, ...] = ()
    draws: tuple[Draw, ...] = ()
    reactions: tuple[Reaction, ...] = ()
    initials: Mapping[str, tuple[bool, Node]] = field(default_factory=dict[str, tuple[bool, Node]])
    starts: Mapping[str, str] = field(default_factory=dict[str, str])
    constraints: tuple[tuple[Node, str], ...] = ()
    time_units: str = ""
    features: frozenset[str] = frozenset()

    @cached_property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states `[S]`."""
        return tuple(state.name for state in self.states)

    @cached_property
    def constant_names(self) -> tuple[str, ...]:
        """Names of the constants `[P]`."""
        return tuple(constant.name for constant in self.constants)

    @cached_property
    def symbols(self) -> Mapping[str, Node]:
        """Name → symbol of every state and constant."""
        return {name: self.graph.symbol(symbol_name(name)) for name in (*self.state_names, *self.constant_names)}

    def start(
        self, given: Mapping[str, Any], *, members: int, time: float, seed: int = 0, first_member: int = 0
    ) -> tuple[Floats, Floats]:
        """States `[M, S]` and constants `[M, P]` at the start.

        Args:
            given: name of a symbol → values `[M]` (amounts for species), which replace what the model says; or a
                pair (values, node of a scale): concentrations and the size that multiplies them.
            seed, first_member: of random numbers; member i draws from (seed, first_member + i) and nothing else.

        Raises:
            InputError: initial assignments that need each other.
        """
        known, _ = self.start_values(given, members=members, time=time, seed=seed, first_member=first_member)
        x = _columns([known[symbol_name(name)] for name in self.state_names], members)
        return x, _columns([known[symbol_name(name)] for name in self.constant_names], members)

    def start_values(
        self, given: Mapping[str, Any], *, members: int, time: float, seed: int = 0, first_member: int = 0
    ) -> tuple[dict[str, Any], dict[str, Node]]:
        """Values of all symbols at the start, and the nodes that give them by name, in the order of their needs.

        A value from outside is the symbol ` given <name>`; arguments and errors are those of `start`.
        """
        graph = self.graph
        names = {graph.symbol(symbol_name(name)): name for name in (*self.state_names, *self.constant_names)}
        known: dict[str, Any] = {CLOCK: np.full(members, float(time))}
        initial: dict[str, Node] = {}
        for item in (*self.states, *self.constants):
            initial[item.name] = item.initial
            if item.name in given:
                value = given[item.name]
                values, scale = value if isinstance(value, tuple) else (value, None)
                known[f" given {item.name}"] = np.broadcast_to(np.asarray(values, dtype=np.float64), (members,))
                symbol = graph.symbol(f" given {item.name}")
                initial[item.name] = symbol if scale is None else graph.mul(symbol, scale)
        for item in self.delayed:  # before the start, a value is what it is at the start
            initial[item.name] = item.value
            names[graph.symbol(item.name)] = item.name
        draws = {draw.name: draw for draw in self.draws}
        needs = {
            name: {names[s] for a in (draws[name].arguments if name in draws else (node,)) for s in graph.reads(a) if s in names}
            for name, node in initial.items()
        }  # fmt: skip
        try:
            order = list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            raise InputError(
                f"{self.id}: initial values that need each other: {' → '.join(error.args[1])}; give one of them a number."
            ) from error
        for name in order:
            if name in draws:
                given_to = graph.evaluate(draws[name].arguments, known)
                known[name] = _drawn(draws[name], given_to, members, seed, first_member)
                continue
            (value,) = graph.evaluate([initial[name]], known)
            known[symbol_name(name) if not name.startswith(" ") else name] = np.broadcast_to(value, (members,))
        return known, {name: initial[name] for name in order}

    def evaluate(self, nodes: Sequence[Node], x: Floats, p: Floats, time: float | Floats, **more: Any) -> Floats:
        """Values of nodes `[M, N]` by numpy, for states `[M, S]`, constants `[M, P]` and a time (or times `[M]`)."""
        known: dict[str, Any] = {CLOCK: np.broadcast_to(np.asarray(time, dtype=np.float64), (len(x),)), **more}
        known |= {symbol_name(name): x[:, i] for i, name in enumerate(self.state_names)}
        known |= {symbol_name(name): p[:, i] for i, name in enumerate(self.constant_names)}
        return _columns([np.broadcast_to(v, (len(x),)) for v in self.graph.evaluate(nodes, known)], len(x))

    def slope(self, node: Node) -> Node:
        """d node / dt along the solution, as a node.

        Raises:
            UnsupportedFeature: it reads a state that algebraic rules or fast reactions hold, whose rate is not known.
        """
        graph = self.graph
        found = graph.derivative(node, graph.symbol(CLOCK))
        for state in self.states:
            symbol = self.symbols[state.name]
            if symbol not in graph.reads(node):
                continue
            if state.mass != 1.0:
                raise UnsupportedFeature(
                    "rate of what is not integrated",
                    f"the rate of change of {state.name} is asked for, but an algebraic rule or a fast reaction holds it.",
                )
            found = graph.add(found, graph.mul(graph.derivative(node, symbol), state.rate))
        return found

    def replaced(self, nodes: Mapping[Node, Node]) -> Network:
        """The network with symbols replaced everywhere, and `moves` of its observables found anew."""
        graph, network = self.graph, self
        moving = {graph.symbol(symbol_name(s.name)) for s in network.states}
        moving |= {graph.symbol(symbol_name(a.target)) for e in network.events for a in e.assignments}
        moving |= {graph.symbol(d.name) for d in network.delayed} | {graph.symbol(CLOCK)}

        found = dict(nodes)  # what has been replaced, shared by all that follows

        def over(node: Node) -> Node:
            if not nodes:
                return node
            if node not in found:
                for inner in graph.order([node], stop=found):
                    if inner not in found:
                        args = graph.args[inner]
                        found[inner] = graph.apply(graph.op[inner], *(found[a] for a in args)) if args else inner
            return found[node]

        def maybe(node: Node | None) -> Node | None:
            return None if node is None else over(node)

        def observable(o: Observable) -> Observable:
            value, amount, concentration = over(o.value), over(o.amount), over(o.concentration)
            moves = any(not graph.reads(node).isdisjoint(moving) for node in (value, amount))
            return replace(o, value=value, amount=amount, concentration=concentration, moves=moves)

        def event(e: Event) -> Event:
            assignments = tuple(Assignment(a.target, over(a.value), maybe(a.scale)) for a in e.assignments)
            return replace(
                e, trigger=over(e.trigger), assignments=assignments, delay=maybe(e.delay), priority=maybe(e.priority)
            )

        return replace(
            self,
            constants=tuple(replace(c, initial=over(c.initial)) for c in network.constants),
            states=tuple(
                replace(s, initial=over(s.initial), rate=over(s.rate), balance=maybe(s.balance)) for s in network.states
            ),
            observables={name: observable(o) for name, o in network.observables.items()},
            events=tuple(event(e) for e in network.events),
            delayed=tuple(
                replace(d, value=over(d.value), delay=over(d.delay), past=over(d.past)) for d in network.delayed
            ),
            draws=tuple(replace(d, arguments=tuple(over(a) for a in d.arguments)) for d in network.draws),
            reactions=tuple(
                replace(r, rate=over(r.rate), changes={n: over(c) for n, c in r.changes.items()})
                for r in network.reactions
            ),
            initials={name: (whole, over(size)) for name, (whole, size) in network.initials.items()},
            constraints=tuple((over(node), message) for node, message in network.constraints),
        )


def refuse_drawn_motion(network: Network) -> None:
    """Random numbers may stand where a value is taken once: in initial assignments, and in what events set and their
    delays. Anywhere else they would be a noise in time, which nobody has defined."""
    graph = network.graph
    random = {graph.symbol(draw.name) for draw in network.draws}
    if not random:
        return
    elsewhere: list[tuple[str, Node | None]] = [(f"the rate of {s.name}", s.rate) for s in network.states]
    elsewhere += [(f"{o.id}", node) for o in network.observables.values() for node in (o.value, o.amount)]
    elsewhere += [(f"reaction {r.id}", node) for r in network.reactions for node in (r.rate, *r.changes.values())]
    elsewhere += [(f"event {e.id}", node) for e in network.events for node in (e.trigger, e.priority)]
    elsewhere += [("a delay", node) for d in network.delayed for node in (d.value, d.delay)]
    elsewhere += [("a constraint", node) for node, _ in network.constraints]
    for what, node in elsewhere:
        if node is not None and not graph.reads(node).isdisjoint(random):
            raise UnsupportedFeature(
                "random numbers in what is read at all times",
                f"{what} draws random numbers at every moment; draw in an initial assignment or an event.",
            )


def _drawn(draw: Draw, arguments: Sequence[Any], members: int, seed: int, first_member: int) -> Floats:
    table = [np.broadcast_to(a, (members,)) for a in arguments]
    return np.array(
        [
            sample(stream(seed, "start", draw.name, first_member + m), draw.distribution, [float(a[m]) for a in table])
            for m in range(members)
        ]
    )


def symbol_name(id: str) -> str:
    """Name of the symbol of an id: the id itself, unless it is the clock's."""
    return f" {CLOCK}" if id == CLOCK else id


def _columns(values: Sequence[Any], members: int) -> Floats:
    return np.array(values, dtype=np.float64).reshape(len(values), members).T.copy()
