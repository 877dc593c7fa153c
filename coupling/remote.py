"""A simulator that runs on other ranks of an MPI job, and looks like any other simulator to the twin.

Every rank builds the same twin. The ranks named in a `Placement` answer for their simulators, rank 0 runs the loop with a
`RemoteSimulator` in place of each:

    with placed(twin, placement) as stage:      # None on the ranks that answer; they are done when rank 0 is
        if stage is not None:
            result = simulate(stage, …)

State goes out and comes back with every step, so those ranks keep nothing: a step is one message and its answer. On
several ranks the members are shared out in contiguous parts, of which each rank gets the same in every step.

Legend: `M` members, `T` sample times.
"""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

import twin.errors
from coupling.equilibrium import Settling
from coupling.wrapper import Wrapper
from hpc import message
from hpc.line import Line
from hpc.message import Message
from hpc.placement import Placement
from twin.errors import KakehashiError, SimulationError, UnsupportedFeature
from twin.graph import Twin
from twin.perturbation import Perturbation
from twin.signal import Signal
from twin.simulator import Follower, Simulator, State, Values

Answer = Callable[[], tuple[State, Values]]


class Kind(IntEnum):
    """What a message asks for, or that it is an answer."""

    INIT = 1
    PERTURB = 2
    STEP = 3
    LEAVE = 4
    DONE = 5
    FAILED = 6
    SETTLE = 7


@contextmanager
def placed(twin: Twin, placement: Placement, *, line: Line | None = None) -> Iterator[Twin | None]:
    """The twin with its simulators where the placement puts them, on rank 0; on other ranks None, after all is answered.

    Args:
        twin: the same on every rank.
        placement: who runs where; what it does not name runs on rank 0.
        line: between the ranks; None: all ranks of this job.

    Raises:
        PlacementError: no such simulator, or a rank that the job has not: on every rank, before anything runs.
        LaunchError: no MPI.
    """
    if not any(ranks != (0,) for ranks in placement.ranks.values()):
        placement.check(list(twin.simulators), size=1)
        yield twin
        return
    line = line or Line.world()
    placement.check(list(twin.simulators), size=line.size)
    numbers = {name: number for number, name in enumerate(twin.simulators)}
    if line.rank != 0:
        answer(line, dict(zip(numbers.values(), twin.simulators.values(), strict=True)))
        yield None
        return
    desk = _Desk(line)
    remote: dict[str, Simulator] = {}
    for name, ranks in placement.ranks.items():
        if ranks != (0,):
            local = twin.simulators[name]
            kind = _KINDS[isinstance(local, Follower), isinstance(local, Settling)]
            remote[name] = kind(local, name=name, number=numbers[name], ranks=ranks, desk=desk)
    try:
        yield Twin({**twin.simulators, **remote}, twin.conduits)
    finally:
        for rank in range(1, line.size):
            line.send(message.pack(Kind.LEAVE, {}), rank)
        line.flush()


def answer(line: Line, simulators: Mapping[int, Simulator]) -> None:
    """Answer for these simulators until rank 0 leaves. What breaks is told to rank 0, which decides."""
    while True:
        _, buffer = line.receive()
        asked = message.unpack(buffer)
        if asked.kind == Kind.LEAVE:
            return
        try:
            reply = _answered(simulators[int(asked.facts["simulator"])], asked)
        except Exception as error:
            facts = {"type": type(error).__name__, "text": str(error), "traceback": traceback.format_exc()}
            reply = message.pack(Kind.FAILED, {}, facts, ticket=asked.ticket)
        line.send(reply, 0)


class RemoteSimulator(Wrapper):
    """A `twin.Simulator` on other ranks.

    Args:
        local: the same simulator here, of which only the ports are read.
        name, number: in the twin.
        ranks: where it runs.
        desk: takes messages and hands out answers.
    """

    def __init__(self, local: Simulator, *, name: str, number: int, ranks: Sequence[int], desk: _Desk) -> None:
        super().__init__(local)
        self._name, self._number, self._ranks, self._desk = name, number, tuple(ranks), desk

    @property
    def ranks(self) -> tuple[int, ...]:
        """Where it runs."""
        return self._ranks

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """See `twin.Simulator.init`."""
        facts = {"simulator": self._number, "seed": seed}
        parts = [({"members": members[rows]}, facts) for rows in self._shares(len(members))]
        return _joined_states([_state(reply) for reply in self._ask(Kind.INIT, parts)()])

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """See `twin.Simulator.perturb`."""
        parts: list[tuple[dict[str, NDArray[Any]], dict[str, Any]]] = []
        for rows in self._shares(len(state.members)):
            arrays, facts = _packed(state, rows)
            for number, change in enumerate(perturbations):
                value = np.asarray(change.value, dtype=np.float64)
                arrays[f"value:{number}"] = value[rows] if value.shape == state.members.shape else value
            facts["changes"] = " ".join(f"{change.target}|{change.operation}" for change in perturbations)
            arrays["when"] = np.array([change.time for change in perturbations])
            parts.append((arrays, {**facts, "simulator": self._number}))
        return _joined_states([_state(reply) for reply in self._ask(Kind.PERTURB, parts)()])

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """See `twin.Simulator.step`."""
        return self.begin(state, inputs, t0=t0, t1=t1, sample=sample)()

    def begin(
        self,
        state: State,
        inputs: Values,
        *,
        t0: float,
        t1: float,
        sample: Sequence[float] = (),
        signals: Mapping[str, Signal] | None = None,
    ) -> Answer:
        """Send a step off; who calls what is returned waits for it. Steps that do not wait for each other so overlap."""
        parts: list[tuple[dict[str, NDArray[Any]], dict[str, Any]]] = []
        times = np.array([state.time, t0, t1, *sample])
        for rows in self._shares(len(state.members)):
            arrays, facts = _packed(state, rows)
            arrays["times"] = times
            for name, values in inputs.items():
                arrays["in:" + name] = np.asarray(values)[rows]
            for name, signal in (signals or {}).items():
                arrays["signal:" + name] = signal.coefficients[rows]
                arrays["span:" + name] = np.array([signal.t0, signal.t1])
            parts.append((arrays, {**facts, "simulator": self._number, "follow": signals is not None}))
        replies = self._ask(Kind.STEP, parts)

        def wait() -> tuple[State, Values]:
            found = replies()
            states, outputs = [_state(reply) for reply in found], [_prefixed(reply.arrays, "out:") for reply in found]
            if len(found) == 1:
                return states[0], outputs[0]
            return _joined_states(states), {
                name: np.concatenate([values[name] for values in outputs]) for name in outputs[0]
            }

        return wait

    def _shares(self, members: int) -> list[slice]:
        """Rows of each rank; where there are fewer members than ranks, the last ranks get none."""
        parts = max(1, min(len(self._ranks), members))
        edges = [members * part // parts for part in range(parts + 1)]
        return [slice(first, last) for first, last in pairwise(edges)]

    def _ask(
        self, kind: Kind, parts: Sequence[tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]]
    ) -> Callable[[], list[Message]]:
        tickets = [
            self._desk.send(kind, arrays, facts, rank)
            for (arrays, facts), rank in zip(parts, self._ranks, strict=False)
        ]

        def wait() -> list[Message]:
            found = [self._desk.collect(ticket) for ticket in tickets]  # all of them, also behind a failure
            for reply, rank in zip(found, self._ranks, strict=False):
                if reply.kind == Kind.FAILED:
                    raise _error(self._name, rank, reply.facts)
            return found

        return wait


class RemoteFollower(RemoteSimulator):
    """A `twin.Follower` on other ranks."""

    def follow(
        self, state: State, signals: Mapping[str, Signal], *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """See `twin.Follower.follow`."""
        return self.begin(state, {}, t0=t0, t1=t1, sample=sample, signals=signals)()


class RemoteSettler(RemoteSimulator):
    """A simulator on other ranks that knows its steady state (`coupling.equilibrium.Settling`)."""

    def equilibrate(
        self, state: State, inputs: Values | None = None, *, held: Mapping[str, float] | None = None
    ) -> State:
        """See `Settling.equilibrate`."""
        parts: list[tuple[dict[str, NDArray[Any]], dict[str, Any]]] = []
        for rows in self._shares(len(state.members)):
            arrays, facts = _packed(state, rows)
            arrays |= {"in:" + name: np.asarray(values)[rows] for name, values in (inputs or {}).items()}
            arrays |= {"held:" + name: np.array(value, dtype=np.float64) for name, value in (held or {}).items()}
            parts.append((arrays, {**facts, "simulator": self._number}))
        return _joined_states([_state(reply) for reply in self._ask(Kind.SETTLE, parts)()])


class _RemoteSettlingFollower(RemoteSettler, RemoteFollower):
    """Both."""


_KINDS: Mapping[tuple[bool, bool], type[RemoteSimulator]] = {
    (False, False): RemoteSimulator,
    (True, False): RemoteFollower,
    (False, True): RemoteSettler,
    (True, True): _RemoteSettlingFollower,
}


class _Desk:
    """Takes messages of all remote simulators and keeps answers until they are asked for."""

    def __init__(self, line: Line) -> None:
        self._line, self._next = line, 0
        self._there: dict[int, Message] = {}

    def send(self, kind: Kind, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any], rank: int) -> int:
        self._next += 1
        self._line.send(message.pack(kind, arrays, facts, ticket=self._next), rank)
        return self._next

    def collect(self, ticket: int) -> Message:
        while ticket not in self._there:
            _, buffer = self._line.receive()
            reply = message.unpack(buffer)
            self._there[reply.ticket] = reply
        return self._there.pop(ticket)


def _answered(simulator: Simulator, asked: Message) -> message.Buffer:
    arrays, ticket = asked.arrays, asked.ticket
    if asked.kind == Kind.INIT:
        state = simulator.init(members=arrays["members"], seed=int(asked.facts["seed"]))
        return _reply(state, {}, ticket)
    state = _state(asked)
    if asked.kind == Kind.PERTURB:
        changes: list[Perturbation] = []
        for number, word in enumerate(str(asked.facts["changes"]).split()):
            target, _, operation = word.partition("|")
            value = arrays[f"value:{number}"]
            changes.append(
                Perturbation(
                    float(arrays["when"][number]),
                    target,
                    value if value.ndim else float(value),
                    cast(Literal["set", "scale", "add"], operation),
                )
            )
        return _reply(simulator.perturb(state, changes), {}, ticket)
    if asked.kind == Kind.SETTLE:
        held = {name: float(value) for name, value in _prefixed(arrays, "held:").items()}
        settling = cast(Settling, simulator)
        return _reply(settling.equilibrate(state, _prefixed(arrays, "in:"), held=held), {}, ticket)
    _, t0, t1, *sample = arrays["times"].tolist()
    if asked.facts["follow"]:
        signals = {
            name: Signal(*_span(arrays["span:" + name]), coefficients)
            for name, coefficients in _prefixed(arrays, "signal:").items()
        }
        state, outputs = cast(Follower, simulator).follow(state, signals, t0=t0, t1=t1, sample=sample)
    else:
        state, outputs = simulator.step(state, _prefixed(arrays, "in:"), t0=t0, t1=t1, sample=sample)
    return _reply(state, outputs, ticket)


def _packed(state: State, rows: slice) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    arrays = {"state:" + name: array[rows] for name, array in state.arrays.items()}
    arrays["members"] = state.members[rows]
    arrays["times"] = np.array([state.time])
    return arrays, {"note:" + name: value for name, value in state.note.items()}


def _reply(state: State, outputs: Values, ticket: int) -> message.Buffer:
    arrays, facts = _packed(state, slice(None))
    for name, values in outputs.items():
        arrays["out:" + name] = np.asarray(values)
    return message.pack(Kind.DONE, arrays, facts, ticket=ticket)


def _span(times: NDArray[Any]) -> tuple[float, float]:
    return float(times[0]), float(times[1])


def _state(found: Message) -> State:
    times = found.arrays.get("times")
    return State(
        members=found.arrays["members"],
        arrays=_prefixed(found.arrays, "state:"),
        time=float("nan") if times is None else float(times[0]),
        note=_prefixed(found.facts, "note:"),
    )


def _prefixed(found: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name[len(prefix) :]: value for name, value in found.items() if name.startswith(prefix)}


def _joined_states(states: Sequence[State]) -> State:
    """The members of all ranks as one chunk.

    Raises:
        SimulationError: what is the same for all members differs between ranks.
    """
    first = states[0]
    if len(states) == 1:
        return first
    for other in states[1:]:
        if dict(other.note) != dict(first.note):
            raise SimulationError(
                f"ranks disagree in the note of a state: {dict(first.note)} and {dict(other.note)}; what differs between "
                "members belongs into its arrays."
            )
    return State(
        members=np.concatenate([state.members for state in states]),
        arrays={name: np.concatenate([state.arrays[name] for state in states]) for name in first.arrays},
        time=first.time,
        note=first.note,
    )


def _error(name: str, rank: int, facts: Mapping[str, Any]) -> Exception:
    """The error that broke a step, as it was where it is our own; any other is told with its traceback."""
    kind = getattr(twin.errors, str(facts["type"]), None)
    if isinstance(kind, type) and issubclass(kind, KakehashiError):
        text = str(facts["text"])
        return kind(text, text) if issubclass(kind, UnsupportedFeature) else kind(text)
    if isinstance(getattr(builtins, str(facts["type"]), None), type):
        return SimulationError(f"simulator {name!r} on rank {rank}: {facts['type']}: {facts['text']}")
    return SimulationError(f"simulator {name!r} on rank {rank}:\n{facts['traceback']}")
