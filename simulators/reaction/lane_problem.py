"""What an integrator over lanes is given: a model's instructions, where its quantities lie, and members.

Legend: `M` members, `S` states, `P` constants, `L` lanes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

FINE, NOT_CONVERGED, TOO_MANY_STEPS, NOT_FINITE, OUT_OF_TIME = 0, 1, 2, 3, 7
PAUSED: Final = 100
"""Status of a member that waits for its event: a switch of an event has turned, or its stop time has come."""

HANDED: Final = 101
"""Status of a member that another method must take further."""


class Layout(NamedTuple):
    """Where a model's quantities lie in the register file (numbers of first registers), and how many there are.

    `x`, `time` and `switches` are what rates and Jacobian read; `out_x`, `out_time` what readouts and the turning of
    switches read. A switch is a relation (0 or 1) that stays as it is within a step; the first `stopping` of them belong
    to events. `gaps`: differences of both sides of those that read states, which `gap_count` says.
    """

    time: int
    x: int
    p: int
    f: int
    ft: int
    rhs: int
    out_time: int
    out_x: int
    out: int
    states: int
    constants: int
    readouts: int
    switches: int
    out_switches: int
    switch_count: int
    stopping: int
    gaps: int
    gap_count: int


class Program(NamedTuple):
    """A model's instructions.

    Attributes:
        hoist: what depends on constants alone, run once per member.
        rates: f. start: f, J and ∂f/∂t. factor, solve: of W. read: readouts. turn: relations behind the switches. gap: differences of their sides.
        diagonal: registers of the diagonal of what is factored `[S]`.
        source: registers of the diagonal of J `[S]`.
        factors: registers that `solve` reads besides the right-hand side: entries of the factors, and of J.
        image: the register file as it starts, constants set `[registers * L]`.
        autonomous: whether f does not read the time.
        mass: 1 for a state that f moves, 0 where f is a residual that stays 0 `[S]`.
    """

    hoist: np.ndarray
    rates: np.ndarray
    start: np.ndarray
    factor: np.ndarray
    solve: np.ndarray
    read: np.ndarray
    turn: np.ndarray
    gap: np.ndarray
    diagonal: np.ndarray
    source: np.ndarray
    factors: np.ndarray
    image: np.ndarray
    autonomous: bool
    mass: np.ndarray


class Members(NamedTuple):
    """Who is integrated, from where, and what comes of it. Everything but `p` and `floor` is read and written.

    Attributes:
        x: states `[M, S]`: at the start, then at the end; NaN where a member failed.
        p, floor: constants `[M, P]`; absolute tolerance of each state `[M, S]`.
        t, h: time and next step `[M]`; a step of 0 is chosen anew.
        stop: a time at which to pause `[M]`; infinite if none.
        point: the next output time `[M]`.
        status, steps: why a member ended, and how many steps it took in all `[M]`.
        halt: one number; as soon as it is not 0, whoever is not done ends as out of time.
    """

    x: np.ndarray
    p: np.ndarray
    floor: np.ndarray
    t: np.ndarray
    h: np.ndarray
    stop: np.ndarray
    point: np.ndarray
    status: np.ndarray
    steps: np.ndarray
    halt: np.ndarray = np.zeros(1, dtype=np.uint8)
