"""Gillespie's direct method (doi:10.1021/j100540a008) as a kernel: reactions fire one at a time, at exactly the times
and in exactly the proportions that their propensities say.

Each member is run by itself from its own random numbers (xoshiro256++, Blackman and Vigna, doi:10.1145/3460772), so
its bits do not depend on the members around it. A reaction that would take more molecules than there are does not
fire, whatever its kinetic law says: that is the same as a propensity of 0.

Legend: `M` members, `S` states, `P` constants, `T` times, `R` readouts, `J` reactions, `C` entries of changes.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats, Status
from simulators.reaction.operation import OPCODES, Instructions, one

PAUSED: Final = 100
"""Status of a member that waits for its events."""
_MUL: Final = OPCODES["mul"]
_SUB: Final = OPCODES["sub"]
_DIV: Final = OPCODES["div"]
_FINE: Final = int(Status.FINE)
_TOO_MANY_STEPS: Final = int(Status.TOO_MANY_STEPS)
_NOT_FINITE: Final = int(Status.NOT_FINITE)
_NEGATIVE_RATE: Final = int(Status.NEGATIVE_RATE)
_OUT_OF_TIME: Final = int(Status.OUT_OF_TIME)


class Program(NamedTuple):
    """A network as instructions over plain registers.

    Attributes:
        time, x, p, rates, out, seen: first register of the clock, states, constants, propensities, readouts, watched.
        rate_code, rate_start: instructions of all propensities, and where each begins `[J + 1]`.
        needed, needed_start: propensities to be computed anew when a reaction has fired: CSR over reactions.
        changed, changed_start: states that a reaction changes: CSR over reactions.
        read_code, watch_code, turn_code: of readouts, watched nodes, and triggers, which are the first of the watched.
        triggers: how many.
        turns: whether a reaction changes what a trigger reads `[J]`.
        image: registers before anything is computed.
    """

    time: int
    x: int
    p: int
    rates: int
    out: int
    seen: int
    states: int
    constants: int
    reactions: int
    readouts: int
    watched: int
    triggers: int
    rate_code: Instructions
    rate_start: NDArray[np.int64]
    needed: NDArray[np.int64]
    needed_start: NDArray[np.int64]
    changed: NDArray[np.int64]
    changed_start: NDArray[np.int64]
    read_code: Instructions
    watch_code: Instructions
    turn_code: Instructions
    turns: NDArray[np.bool_]
    image: Floats


class Members(NamedTuple):
    """Where members stand; the kernel changes it in place.

    Attributes:
        x, p: states `[M, S]`, constants `[M, P]`.
        changes: what a reaction adds to what it changes, whole numbers `[M, C]`.
        t, stop: clock, and when the member must pause `[M]`.
        point: next output time; steps: reactions fired so far; status `[M]`.
        random: state of the generators `[M, 4]`.
        halt: one number; as soon as it is not 0, whoever is not done ends as out of time.
    """

    x: Floats
    p: Floats
    changes: Floats
    t: Floats
    stop: Floats
    point: NDArray[np.int64]
    steps: NDArray[np.int64]
    status: NDArray[np.int8]
    random: NDArray[np.uint64]
    halt: NDArray[np.uint8]


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _turned(x: Any, by: int) -> Any:
    return (x << np.uint64(by)) | (x >> np.uint64(64 - by))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def uniform(s: Any) -> float:
    """The next number of a generator `[4]`, in [0, 1)."""
    found = _turned(s[0] + s[3], 23) + s[0]
    shifted = s[1] << np.uint64(17)
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= shifted
    s[3] = _turned(s[3], 45)
    return float(found >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _execute(code: Any, first: int, last: int, registers: Any) -> None:
    for i in range(first, last):
        op, a, b = code[i, 0], registers[code[i, 2]], registers[code[i, 3]]
        if op == _MUL:  # what kinetic laws are made of, without a call
            registers[code[i, 1]] = a * b
        elif op == _SUB:
            registers[code[i, 1]] = a - b
        elif op == _DIV:
            registers[code[i, 1]] = a / b
        else:
            registers[code[i, 1]] = one(op, a, b, registers[code[i, 4]])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _load(program: Any, members: Any, m: int, registers: Any) -> None:
    registers[:] = program.image
    registers[program.time] = members.t[m]
    for i in range(program.states):
        registers[program.x + i] = members.x[m, i]
    for i in range(program.constants):
        registers[program.p + i] = members.p[m, i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def watch(program: Any, members: Any, rows: Any, found: Any) -> None:
    """Watched nodes of some members `[rows, N]`."""
    registers = program.image.copy()
    for i in range(len(rows)):
        _load(program, members, rows[i], registers)
        _execute(program.watch_code, 0, len(program.watch_code), registers)
        for n in range(program.watched):
            found[i, n] = registers[program.seen + n]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def simulate(program: Any, members: Any, rows: Any, times: Any, max_steps: int, values: Any) -> None:
    """Run members `rows` until their last output time, their stop, or until a trigger turns; readouts go to `values`
    `[M, T, R]`."""
    registers = program.image.copy()
    held = np.empty(program.triggers)
    # one loop over plain local arrays: passing the program around costs more than a reaction does
    rate_code, rate_start, turns = program.rate_code, program.rate_start, program.turns
    needed, needed_start = program.needed, program.needed_start
    changed, changed_start = program.changed, program.changed_start
    x, rates, reactions = program.x, program.rates, program.reactions
    for i in range(len(rows)):
        m = rows[i]
        _load(program, members, m, registers)
        _execute(rate_code, 0, len(rate_code), registers)
        _execute(program.turn_code, 0, len(program.turn_code), registers)
        for e in range(program.triggers):
            held[e] = registers[program.seen + e]
        now, k, steps, status = members.t[m], members.point[m], members.steps[m], _FINE
        stop, random, changes = members.stop[m], members.random[m], members.changes[m]
        while True:
            if members.halt[0] != 0:
                status = _OUT_OF_TIME
                break
            total, least = 0.0, 0.0
            for j in range(reactions):
                rate = registers[rates + j]
                total += rate
                least = min(least, rate)
            if not total < math.inf or least < 0.0:
                status = _NEGATIVE_RATE if least < 0.0 else _NOT_FINITE
                break
            then = now - math.log(1.0 - uniform(random)) / total if total > 0.0 else math.inf
            until = min(then, stop)
            while k < len(times) and times[k] < until:
                registers[program.time] = times[k]
                _execute(program.read_code, 0, len(program.read_code), registers)
                for r in range(program.readouts):
                    values[m, k, r] = registers[program.out + r]
                k += 1
            if k == len(times):
                break
            if then >= stop:  # what was drawn is forgotten: waiting times have no memory
                now, status = stop, PAUSED
                break
            now = then
            if steps >= max_steps:
                status = _TOO_MANY_STEPS
                break
            steps += 1
            mark, fired = uniform(random) * total, 0
            for j in range(reactions):
                rate = registers[rates + j]
                if rate > 0.0:
                    fired = j  # the last one, should the sum have been rounded
                    mark -= rate
                    if mark < 0.0:
                        break
            enough = True
            for c in range(changed_start[fired], changed_start[fired + 1]):
                if changes[c] < 0.0 and registers[x + changed[c]] + changes[c] < 0.0:
                    enough = False
            if not enough:
                continue
            for c in range(changed_start[fired], changed_start[fired + 1]):
                registers[x + changed[c]] += changes[c]
            for n in range(needed_start[fired], needed_start[fired + 1]):
                _execute(rate_code, rate_start[needed[n]], rate_start[needed[n] + 1], registers)
            if turns[fired]:
                registers[program.time] = now
                _execute(program.turn_code, 0, len(program.turn_code), registers)
                for e in range(program.triggers):
                    if registers[program.seen + e] != held[e]:
                        status = PAUSED
                if status == PAUSED:
                    break
        members.t[m], members.point[m], members.steps[m], members.status[m] = now, k, steps, status
        for s in range(program.states):
            members.x[m, s] = registers[x + s]
