"""Answering for simulators on this rank, step by step, until rank 0 has no more to ask.

Messages either way hold three groups of arrays: members (left out where they are those of the message before), the state, and
what flows. Their numbers are times, their facts the state's note.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from coupling.equilibrium import Settling
from hpc.form import Message
from hpc.line import Line
from twin.perturbation import Perturbation
from twin.signal import Signal
from twin.simulator import Follower, Simulator, State, Values


class Kind(IntEnum):
    """What a message asks for, or that it is an answer."""

    INIT = 1
    PERTURB = 2
    STEP = 3
    FOLLOW = 4
    LEAVE = 5
    DONE = 6
    FAILED = 7
    SETTLE = 8


SAME_MEMBERS: dict[str, NDArray[Any]] = {}
"""In place of members that are known already."""
NOBODY = -1
"""Whom a message is about that tells to leave."""
NOTHING = ({}, {}, {})
"""The arrays of a message that has none."""

_DONE, _STEP = int(Kind.DONE), int(Kind.STEP)
_NOT_YET = float("nan")  # a time that is not known


def answer(line: Line, simulators: Mapping[int, Simulator]) -> None:
    """Answer for these simulators until the rank that leads does so no more. What breaks is told to it: it decides."""
    wire = line.wire(line.leader)
    members = wire.kept
    replies = {about: wire.way(_DONE, about) for about in simulators}
    while True:
        ready, made = wire.expect(), None
        if ready is not None and ready.kind == _STEP and not ready.groups[0]:  # while the rank that leads is at work
            about = ready.about
            same = members[about]
            state = State.known(same, ready.groups[1], _NOT_YET, ready.facts)
            made = simulators[about].step, state, ready.groups[2], same, replies[about]
        asked = wire.receive()
        try:
            if asked is ready and made is not None:
                (step, state, inputs, same, reply), numbers = made, asked.numbers
                state, outputs = step(
                    state.clocked(numbers[0]), inputs, t0=numbers[1], t1=numbers[2], sample=numbers[3:]
                )
            else:
                about = asked.about
                if about == NOBODY:
                    return
                if asked.groups[0]:
                    members[about] = asked.groups[0]["members"].copy()  # a part of a buffer would keep all of it
                same, reply = members[about], replies[about]
                state, outputs = answered(simulators[about], asked, same)
            whose = SAME_MEMBERS if state.members is same else {"members": state.members}
            reply.send(whose, state.arrays, outputs, (state.time,), state.note, asked.ticket)
        except Exception as error:
            facts = {"type": type(error).__name__, "text": str(error), "traceback": traceback.format_exc()}
            wire.send(Kind.FAILED, asked.about, NOTHING, facts=facts, ticket=asked.ticket)


def answered(simulator: Simulator, asked: Message, members: NDArray[np.int64]) -> tuple[State, Values]:
    """What a simulator answers to a message, whose members are these."""
    kind, numbers = asked.kind, asked.numbers
    if kind == _STEP:
        state = State.known(members, asked.groups[1], numbers[0], asked.facts)
        return simulator.step(state, asked.groups[2], t0=numbers[1], t1=numbers[2], sample=numbers[3:])
    if kind == Kind.INIT:
        return simulator.init(members=members, seed=int(asked.facts["seed"])), {}
    arrays, inputs = asked.groups[1:]
    if kind == Kind.PERTURB:
        state = State.known(members, arrays, numbers[0], asked.facts["note"])
        return simulator.perturb(state, _changes(asked.facts["changes"], numbers[1:], inputs)), {}
    if kind == Kind.SETTLE:
        state = State.known(members, arrays, numbers[0], asked.facts["note"])
        return cast(Settling, simulator).equilibrate(state, inputs, held=asked.facts["held"]), {}
    state = State.known(members, arrays, numbers[0], asked.facts)
    spans = numbers[len(numbers) - 2 * len(inputs) :]
    signals = {
        name: Signal(spans[2 * i], spans[2 * i + 1], coefficients)
        for i, (name, coefficients) in enumerate(inputs.items())
    }
    sample = numbers[3 : len(numbers) - len(spans)]
    return cast(Follower, simulator).follow(state, signals, t0=numbers[1], t1=numbers[2], sample=sample)


def _changes(
    what: Sequence[tuple[str, str]], when: Sequence[float], values: Mapping[str, NDArray[Any]]
) -> list[Perturbation]:
    return [
        Perturbation(
            time, target, value if value.ndim else float(value), cast(Literal["set", "scale", "add"], operation)
        )
        for (target, operation), time, value in zip(what, when, values.values(), strict=True)
    ]
