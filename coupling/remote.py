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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import twin.errors
from coupling.answering import NOBODY, NOTHING, SAME_MEMBERS, Kind, answer
from coupling.equilibrium import Settling
from coupling.wrapper import Wrapper
from hpc.form import Groups, Message
from hpc.line import Line
from hpc.placement import Placement
from twin.errors import KakehashiError, SimulationError, UnsupportedFeature
from twin.graph import Twin
from twin.perturbation import Perturbation
from twin.signal import Signal
from twin.simulator import Follower, Simulator, State, Values

Answer = Callable[[], tuple[State, Values]]
_STEP, _DONE = int(Kind.STEP), int(Kind.DONE)  # every microsecond counts in a step


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
    own, line = line is None, line or Line.world()
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
            line.wire(rank).send(Kind.LEAVE, NOBODY, NOTHING)
        if own:
            line.close()
        else:
            line.flush()


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
        self._told: NDArray[np.int64] | None = None  # members of the last message: the ranks know them
        self._only = self._ranks[0] if len(self._ranks) == 1 else None

    @property
    def ranks(self) -> tuple[int, ...]:
        """Where it runs."""
        return self._ranks

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """See `twin.Simulator.init`."""
        return self._asked(Kind.INIT, State(members, {}), {}, (), {"seed": seed})()[0]

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """See `twin.Simulator.perturb`."""
        values = {f"{i}": np.asarray(change.value, dtype=np.float64) for i, change in enumerate(perturbations)}
        times = (state.time, *(change.time for change in perturbations))
        changes = [(change.target, change.operation) for change in perturbations]
        facts = {"note": dict(state.note), "changes": changes}
        return self._asked(Kind.PERTURB, state, values, times, facts)()[0]

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """See `twin.Simulator.step`."""
        return self._asked(_STEP, state, inputs, (state.time, t0, t1, *sample), state.note)()

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
        if signals is None:
            return self._asked(_STEP, state, inputs, (state.time, t0, t1, *sample), state.note)
        spans = [time for signal in signals.values() for time in (signal.t0, signal.t1)]
        moving = {name: signal.coefficients for name, signal in signals.items()}
        return self._asked(Kind.FOLLOW, state, moving, (state.time, t0, t1, *sample, *spans), state.note)

    def _asked(
        self, kind: int, state: State, values: Values, numbers: Sequence[float], facts: Mapping[str, Any]
    ) -> Answer:
        """Send a request to all ranks that share the members; what is returned waits for the answers."""
        members, desk = state.members, self._desk
        known = members is self._told
        if self._only is not None:
            groups = (SAME_MEMBERS if known else {"members": members}, state.arrays, values)
            line, wire = desk.line, desk.wires[self._only]
            line.ticket = ticket = line.ticket + 1
            wire.send(kind, self._number, groups, numbers, facts, ticket)
            ready = wire.expect()
            self._told = members
            # while the other rank is at work
            made = None if ready is None or ready.kind != _DONE else _state(ready, members)
            return partial(self._alone, ticket, members, ready, made)
        shares = self._shares(len(members))
        tickets: list[int] = []
        for rank, rows in zip(self._ranks, shares, strict=False):
            whose = SAME_MEMBERS if known else {"members": members[rows]}
            each = kind != Kind.PERTURB  # a change may be one value for all
            part = {n: v[rows] if each or v.shape == members.shape else v for n, v in values.items()}
            groups = (whose, {n: array[rows] for n, array in state.arrays.items()}, part)
            tickets.append(desk.send(rank, kind, self._number, groups, numbers, facts))
        self._told = members

        def wait() -> tuple[State, Values]:
            replies = [desk.collect(rank, ticket) for rank, ticket in zip(self._ranks, tickets, strict=False)]
            for reply, rank in zip(replies, self._ranks, strict=False):  # all have come, also behind a failure
                if reply.kind == Kind.FAILED:
                    raise _error(self._name, rank, reply.facts)
            states = [_state(reply, members[rows]) for reply, rows in zip(replies, shares, strict=True)]
            outputs = {n: np.concatenate([reply.groups[2][n] for reply in replies]) for n in replies[0].groups[2]}
            return _joined_states(states, members), outputs

        return wait

    def _alone(
        self, ticket: int, members: NDArray[np.int64], ready: Message | None, made: State | None
    ) -> tuple[State, Values]:
        """The answer of the one rank; `made` is the state of the answer that was made ready."""
        assert self._only is not None
        reply = self._desk.collect(self._only, ticket)
        if reply is ready and made is not None:
            return made.clocked(reply.numbers[0]), reply.groups[2]
        if reply.kind == Kind.FAILED:
            raise _error(self._name, self._only, reply.facts)
        return _state(reply, members), reply.groups[2]

    def _shares(self, members: int) -> list[slice]:
        """Rows of each rank; where there are fewer members than ranks, the last ranks get none."""
        parts = max(1, min(len(self._ranks), members))
        edges = [members * part // parts for part in range(parts + 1)]
        return [slice(first, last) for first, last in pairwise(edges)]


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
        facts = {"note": dict(state.note), "held": {name: float(value) for name, value in (held or {}).items()}}
        return self._asked(Kind.SETTLE, state, inputs or {}, (state.time,), facts)()[0]


class _RemoteSettlingFollower(RemoteSettler, RemoteFollower):
    """Both."""


_KINDS: Mapping[tuple[bool, bool], type[RemoteSimulator]] = {
    (False, False): RemoteSimulator,
    (True, False): RemoteFollower,
    (False, True): RemoteSettler,
    (True, True): _RemoteSettlingFollower,
}


class _Desk:
    """Takes requests of all remote simulators and keeps answers until they are asked for."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.wires = {rank: line.wire(rank) for rank in range(1, line.size)}
        self._there: dict[int, Message] = {}

    def send(
        self, rank: int, kind: int, about: int, groups: Groups, numbers: Sequence[float], facts: Mapping[str, Any]
    ) -> int:
        """Send a request; returns its ticket."""
        wire, line = self.wires[rank], self.line
        line.ticket += 1
        wire.send(kind, about, groups, numbers, facts, line.ticket)
        wire.expect()
        return line.ticket

    def collect(self, rank: int, ticket: int) -> Message:
        """The answer to a request, from the rank that got it."""
        if self._there and ticket in self._there:
            return self._there.pop(ticket)
        while True:
            reply = self.wires[rank].receive()
            if reply.ticket == ticket:
                return reply
            self._there[reply.ticket] = reply


def _state(reply: Message, members: NDArray[np.int64]) -> State:
    whose, arrays, _ = reply.groups
    return State.known(
        whose["members"] if whose else members, arrays, reply.numbers[0] if reply.numbers else float("nan"), reply.facts
    )


def _joined_states(states: Sequence[State], members: NDArray[np.int64]) -> State:
    """The members of all ranks as one chunk; where they are the members asked, these.

    Raises:
        SimulationError: what is the same for all members differs between ranks.
    """
    first = states[0]
    for other in states[1:]:
        if dict(other.note) != dict(first.note):
            raise SimulationError(
                f"ranks disagree in the note of a state: {dict(first.note)} and {dict(other.note)}; what differs between "
                "members belongs into its arrays."
            )
    found = np.concatenate([state.members for state in states])
    return State(
        members=members if np.array_equal(found, members) else found,
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
