"""A simulator that runs on other ranks of an MPI job, and looks like any other simulator to the twin.

Every rank builds the same twin. The ranks named in a `Placement` answer for their simulators, rank 0 runs the loop with a
`RemoteSimulator` in place of each:

    with placed(twin, placement) as stage:      # None on the ranks that answer; they are done when rank 0 is
        if stage is not None:
            result = simulate(stage, …)

State goes out and comes back with every step, so those ranks keep nothing: a step is one message and its answer. On
several ranks the members are shared out in contiguous parts, of which each rank gets the same in every step.

So a rank that dies, where the job outlives it (`hpc.roll`), takes nothing with it: what it was asked is asked of another, in the same
bits, and nothing else is done again (`Placement.without` says of whom).

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
from coupling.answering import NOBODY, NOTHING, SAME_MEMBERS, Kind, answer, answered
from coupling.desk import Desk
from coupling.equilibrium import Settling
from coupling.wrapper import Wrapper
from hpc.errors import DeadlyError, RankLostError
from hpc.form import Message
from hpc.line import Line
from hpc.placement import Placement
from hpc.task_failure import DEATHS_BEFORE_SET_ASIDE
from twin.errors import KakehashiError, SimulationError, UnsupportedFeature
from twin.graph import Twin
from twin.perturbation import Perturbation
from twin.signal import Signal
from twin.simulator import Follower, Simulator, State, Values

_Request = tuple[int, State, Values, Sequence[float], Mapping[str, Any], int]
Answer = Callable[[], tuple[State, Values]]
_STEP, _DONE = int(Kind.STEP), int(Kind.DONE)  # every microsecond counts in a step
_NOT_YET = float("nan")  # a time that is not known


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
        RankLostError: on other ranks, where the one that leads has died.
        DeadlyError: ranks died one after the other at the same step.
    """
    if not any(ranks != (0,) for ranks in placement.ranks.values()):
        placement.check(list(twin.simulators), size=1)
        yield twin
        return
    own, line = line is None, line or Line.world()
    placement.check(list(twin.simulators), size=line.size)
    numbers = {name: number for number, name in enumerate(twin.simulators)}
    if line.rank != line.leader:
        try:
            answer(line, dict(zip(numbers.values(), twin.simulators.values(), strict=True)))
        except Exception as error:
            if not line.died(line.leader, error):
                raise
            raise RankLostError(line.leader) from None
        yield None
        return
    desk = Desk(line, placement)
    remote: dict[str, Simulator] = {}
    for name, ranks in placement.ranks.items():
        if ranks != (0,):
            local = twin.simulators[name]
            kind = _KINDS[isinstance(local, Follower), isinstance(local, Settling)]
            remote[name] = kind(local, name=name, number=numbers[name], desk=desk)
    try:
        yield Twin({**twin.simulators, **remote}, twin.conduits)
    finally:
        for rank in line.others:
            try:
                line.wire(rank).send(Kind.LEAVE, NOBODY, NOTHING)
            except Exception as error:
                if not line.died(rank, error):
                    raise
        if own:
            line.close()
        else:
            line.flush()


class RemoteSimulator(Wrapper):
    """A `twin.Simulator` on other ranks.

    Args:
        local: the same simulator here, of which only the ports are read as long as a rank for it is alive.
        name, number: in the twin.
        desk: takes messages and hands out answers, and says where it runs.
    """

    def __init__(self, local: Simulator, *, name: str, number: int, desk: Desk) -> None:
        super().__init__(local)
        self._name, self._number, self._desk, self._line = name, number, desk, desk.line
        self.settle_in()
        desk.remote.append(self)

    def settle_in(self) -> None:
        """Be where the desk says, of whose ranks some may have died."""
        self._ranks = self._desk.ranks(self._name)
        self._told: NDArray[np.int64] | None = None  # members of the last message: the ranks know them
        self._only = self._ranks[0] if len(self._ranks) == 1 and not self._here else None
        if self._only is not None:
            self._wire = self._desk.wires[self._only]
            self._steps = self._wire.way(_STEP, self._number)

    @property
    def _here(self) -> bool:
        return self._ranks == (self._desk.line.leader,)

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
        numbers = (state.time, t0, t1, *sample) if len(sample) else (state.time, t0, t1)
        if self._only is None:
            return self._asked(_STEP, state, inputs, numbers, state.note)()
        return self._alone(*self._sent(self._only, (_STEP, state, inputs, numbers, state.note, 0)))

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
        self,
        kind: int,
        state: State,
        values: Values,
        numbers: Sequence[float],
        facts: Mapping[str, Any],
        deaths: int = 0,
    ) -> Answer:
        """Send a request to all ranks that share the members; what is returned waits for the answers. So many died at it before."""
        again = (kind, state, values, numbers, facts, deaths)
        if self._only is not None:
            return partial(self._alone, *self._sent(self._only, again))
        if self._here:
            return partial(self._taken_here, *again)
        return self._shared(*again, known=state.members is self._told)

    def _sent(self, rank: int, request: _Request) -> tuple[int, int, _Request, Message | None, State | None]:
        """Send a request to the one rank: what `_alone` waits for."""
        kind, state, values, numbers, facts, _ = request
        members, line, sent, ready, made = state.members, self._line, False, None, None
        whose = SAME_MEMBERS if members is self._told else {"members": members}
        line.ticket = ticket = line.ticket + 1
        way = self._steps if kind == _STEP else self._wire.way(kind, self._number)
        try:
            way.send(whose, state.arrays, values, numbers, facts, ticket)
            sent = True
            ready = self._wire.expect()
        except Exception as error:
            self._desk.lose(rank, error, ticket if sent else None)
        else:
            self._told = members
            if ready is not None and ready.kind == _DONE:  # while the other rank is at work
                made = State.known(ready.groups[0].get("members", members), ready.groups[1], _NOT_YET, ready.facts)
        return rank, ticket, request, ready, made

    def _shared(
        self,
        kind: int,
        state: State,
        values: Values,
        numbers: Sequence[float],
        facts: Mapping[str, Any],
        deaths: int,
        *,
        known: bool,
    ) -> Answer:
        """The same, of several ranks, each with a part of the members."""
        members, desk, ranks = state.members, self._desk, self._ranks
        shares = self._shares(len(members))
        asked: list[tuple[int, int, _Request]] = []
        for rank, rows in zip(ranks, shares, strict=False):
            each = kind != Kind.PERTURB  # a change may be one value for all
            part = {n: v[rows] if each or v.shape == members.shape else v for n, v in values.items()}
            own = State.known(members[rows], {n: a[rows] for n, a in state.arrays.items()}, state.time, state.note)
            groups = (SAME_MEMBERS if known else {"members": own.members}, own.arrays, part)
            ticket = desk.send(rank, kind, self._number, groups, numbers, facts)
            asked.append((rank, ticket, (kind, own, part, numbers, facts, deaths)))
        self._told = None if desk.line.lost.intersection(ranks) else members

        def wait() -> tuple[State, Values]:
            replies = [desk.collect(rank, ticket) for rank, ticket, _ in asked]  # all have come, also behind a failure
            for reply, (rank, _, _) in zip(replies, asked, strict=True):
                if reply is not None and reply.kind == Kind.FAILED:
                    raise _error(self._name, rank, reply.facts)
            found = [
                self._anew(one, rank, ticket) if reply is None else (_state(reply, one[1].members), reply.groups[2])
                for reply, (rank, ticket, one) in zip(replies, asked, strict=True)
            ]
            outputs = {name: np.concatenate([said[name] for _, said in found]) for name in found[0][1]}
            return _joined_states([part for part, _ in found], members), outputs

        return wait

    def _alone(
        self, rank: int, ticket: int, again: _Request, ready: Message | None, made: State | None
    ) -> tuple[State, Values]:
        """The answer of the one rank; `made` is the state of the answer that was made ready."""
        reply = self._desk.collect(rank, ticket)
        if reply is None:
            return self._anew(again, rank, ticket)
        if reply is ready and made is not None:
            return made.clocked(reply.numbers[0]), reply.groups[2]
        if reply.kind == Kind.FAILED:
            raise _error(self._name, rank, reply.facts)
        return _state(reply, again[1].members), reply.groups[2]

    def _anew(self, again: _Request, rank: int, ticket: int) -> tuple[State, Values]:
        """What a rank was asked that has died, of those that are left. Its death is blamed on what it was asked first.

        Raises:
            DeadlyError: it may well be this request that they die of.
        """
        kind, state, values, numbers, facts, deaths = again
        deaths += ticket in self._desk.fatal
        # nobody leads a run any more if the one that leads dies of it, too
        if deaths >= DEATHS_BEFORE_SET_ASIDE - self._here:
            raise DeadlyError(
                f"simulator {self._name!r}: set aside after {deaths} ranks died at the same step; the last was rank {rank}"
            )
        return self._asked(kind, state, values, numbers, facts, deaths)()

    def _taken_here(
        self, kind: int, state: State, values: Values, numbers: Sequence[float], facts: Mapping[str, Any], _: int
    ) -> tuple[State, Values]:
        """The answer of the simulator here: no rank is left for it."""
        asked = Message(kind, self._number, ({}, {**state.arrays}, {**values}), {**facts}, 0, tuple(numbers))
        try:
            return answered(self._inside, asked, state.members)
        except KakehashiError:
            raise
        except Exception as error:
            raise SimulationError(f"simulator {self._name!r}: {type(error).__name__}: {error}") from error

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


def _state(reply: Message, members: NDArray[np.int64]) -> State:
    whose, arrays, _ = reply.groups
    time = reply.numbers[0] if reply.numbers else _NOT_YET
    return State.known(whose["members"] if whose else members, arrays, time, reply.facts)


def _joined_states(states: Sequence[State], members: NDArray[np.int64]) -> State:
    """The members of all ranks as one chunk; where they are the members asked, these.

    Raises:
        SimulationError: what is the same for all members differs between ranks.
    """
    first = states[0]
    for other in states[1:]:
        if repr(sorted(other.note.items())) != repr(sorted(first.note.items())):  # NaN does not differ from itself
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
