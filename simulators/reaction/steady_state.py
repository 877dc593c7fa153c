"""Steady states of a network: by Newton's method where it converges to a stable one, else by integration.

Sums of species that no reaction changes make the Jacobian singular. One rate of each is replaced by the sum itself
(Reder, J. Theor. Biol. 135, 175, 1988), which keeps what the start gave.

Legend: `M` members, `S` states, `P` constants, `L` conserved sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.course import Course
from simulators.reaction.engine import Floats, Status
from simulators.reaction.network import CLOCK, Network
from twin.errors import UnsupportedFeature

_ITERATIONS, _DECADES = 100, 12


class FoundBy(IntEnum):
    """How a member's steady state was found."""

    NOTHING = 0
    NEWTON = 1
    INTEGRATION = 2


@dataclass(frozen=True)
class Steady:
    """States `[M, S]`, how they were found `[M]`, and a `Status` `[M]`."""

    x: Floats
    found_by: NDArray[np.int8]
    status: NDArray[np.int8]


def refuse_restless(network: Network) -> None:
    """Raise `UnsupportedFeature` for networks that have no steady state to look for."""
    graph = network.graph
    clock = graph.symbol(CLOCK)
    for what, present in (
        ("events", bool(network.events)),
        ("delay()", bool(network.delayed)),
        ("rates that read the time", any(clock in graph.reads(state.rate) for state in network.states)),
        ("algebraic rules or fast reactions", any(state.mass != 1.0 for state in network.states)),
    ):
        if present:
            raise UnsupportedFeature(
                f"steady state with {what}",
                f"steady_state: this model has {what}; use simulate to a late time instead.",
            )


def conserved(network: Network, x: Floats, p: Floats, time: float) -> tuple[Floats, NDArray[np.intp]]:
    """Weights `[L, S]` of sums that no reaction changes, and for each a state whose rate it replaces `[L]`."""
    S = len(network.states)
    place = {name: i for i, name in enumerate(network.state_names)}
    graph = network.graph
    fixed = {network.symbols[name] for name in network.constant_names}
    columns: list[Floats] = []
    moved: set[int] = set()
    nodes = list({node for reaction in network.reactions for node in reaction.changes.values()})
    values = dict(zip(nodes, network.evaluate(nodes, x[:1], p[:1], time)[0], strict=True))
    for reaction in network.reactions:
        column = np.zeros(S)
        for name, node in reaction.changes.items():
            if name not in place:
                continue
            moved.add(place[name])
            if not graph.reads(node) <= fixed:
                return np.zeros((0, S)), np.zeros(0, dtype=np.intp)
            column[place[name]] = values[node]
        columns.append(column)
    unit = np.eye(S)
    zero = graph.const(0.0)
    for i, state in enumerate(network.states):
        if i not in moved and state.rate != zero:
            columns.append(unit[i])  # moved by a rate rule: never part of a sum
    return _left_null(np.array(columns).reshape(len(columns), S))


def _left_null(rows: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Reduced vectors `v` with `rows @ v = 0`, and the pivot of each, by elimination with full pivoting of columns."""
    work = rows.copy()
    S = rows.shape[1]
    bound: list[int] = []
    r = 0
    for column in range(S):
        if r == len(work):
            break
        k = r + int(np.argmax(np.abs(work[r:, column])))
        if abs(work[k, column]) < 1e-10:
            continue
        work[[r, k]] = work[[k, r]]
        work[r] /= work[r, column]
        others = np.arange(len(work)) != r
        work[others] -= np.outer(work[others, column], work[r])
        bound.append(column)
        r += 1
    free = [column for column in range(S) if column not in bound]
    laws = np.zeros((len(free), S))
    for i, column in enumerate(free):
        laws[i, column] = 1.0
        laws[i, bound] = -work[: len(bound), column]
    return laws, np.array(free, dtype=np.intp)


def steady(
    course: Course, x: Floats, p: Floats, *, time: float, floor: Floats, method: str, max_steps: int, threads: int
) -> Steady:
    """Steady states from starts `x`; `floor` `[M, S]` is what counts as nothing of a state."""
    network = course.network
    laws, replaced = conserved(network, x, p, time)
    M = len(x)
    found = np.full_like(x, np.nan)
    by, status = np.zeros(M, dtype=np.int8), np.full(M, Status.NOT_SETTLED, dtype=np.int8)
    if method != "integration":
        settled, fine = _newton(course, x, p, time, floor, laws, replaced, x @ laws.T)
        found[fine], by[fine], status[fine] = settled[fine], FoundBy.NEWTON, Status.FINE
    if method != "newton":
        rows = np.flatnonzero(by == FoundBy.NOTHING)
        if len(rows):
            settled, ended = _integrate(course, x[rows], p[rows], time, floor[rows], max_steps, threads)
            fine = ended == Status.FINE
            polished, better = _newton(
                course, settled[fine], p[rows][fine], time, floor[rows][fine], laws, replaced, x[rows][fine] @ laws.T
            )
            near = np.abs(polished - settled[fine]) <= 1e-3 * np.abs(settled[fine]) + 1e3 * floor[rows][fine]
            better &= near.all(axis=1)
            settled[np.flatnonzero(fine)[better]] = polished[better]
            found[rows], status[rows] = settled, ended
            by[rows[fine]] = FoundBy.INTEGRATION
    return Steady(found, by, status)


def _newton(
    course: Course,
    x: Floats,
    p: Floats,
    time: float,
    floor: Floats,
    laws: Floats,
    replaced: NDArray[np.intp],
    sums: Floats,
) -> tuple[Floats, NDArray[np.bool_]]:
    x, fine = x.copy(), np.zeros(len(x), dtype=bool)
    for m in range(len(x)):
        if not len(x[m]):
            fine[m] = True
            continue
        row = x[m : m + 1]

        def residual(at: Floats, m: int = m) -> tuple[Floats, Floats, Floats]:
            f, j = course.rates(at, p[m : m + 1], time)
            r, a = f[0].copy(), j[0].copy()
            r[replaced], a[replaced] = laws @ at[0] - sums[m], laws
            return r, a, j[0]

        r, a, jacobian = residual(row)
        for _ in range(_ITERATIONS):
            step = _solve(a, r)
            if step is None:
                break
            share = 1.0
            down = (step > 0) & (row[0] > 0) & (row[0] - step < 0)
            if down.any():  # an amount goes down to a tenth at most
                share = float(min(1.0, np.min(0.9 * row[0][down] / step[down])))
            trial = row - share * step
            r, a, jacobian = residual(trial)
            if not np.isfinite(r).all():
                break
            row = trial
            if share == 1.0 and np.all(np.abs(step) <= 1e-9 * np.abs(row[0]) + 1e-3 * floor[m]):
                fine[m] = bool((row[0] >= -1e3 * floor[m]).all()) and _stable(jacobian, laws)
                break
        x[m] = row[0]
    return x, fine


def _stable(jacobian: Floats, laws: Floats) -> bool:
    """Whether small departures that keep the sums die out."""
    if len(laws):
        _, _, basis = np.linalg.svd(laws)
        inside = basis[len(laws) :]
        jacobian = inside @ jacobian @ inside.T
    if not jacobian.size:
        return True
    values = np.linalg.eigvals(jacobian)
    return bool((values.real <= 1e-9 * np.abs(values).max()).all())


def _solve(a: Floats, r: Floats) -> Floats | None:
    scale = np.abs(a).max(axis=1)
    scale[scale == 0.0] = 1.0
    try:
        step = np.linalg.solve(a / scale[:, None], r / scale)
    except np.linalg.LinAlgError:
        return None
    return step if np.isfinite(step).all() else None


def _integrate(
    course: Course, x: Floats, p: Floats, time: float, floor: Floats, max_steps: int, threads: int
) -> tuple[Floats, NDArray[np.int8]]:
    """States when what a tenfold longer time changes is nothing."""
    f, _ = course.rates(x, p, time)
    with np.errstate(all="ignore"):
        fast = np.nanmax(np.abs(f) / (np.abs(x) + floor), axis=1, initial=0.0)
    status = np.full(len(x), Status.NOT_SETTLED, dtype=np.int8)
    found = np.full_like(x, np.nan)
    length = np.where(fast > 0, 1.0 / np.maximum(fast, 1e-300), 1.0)
    for m in range(len(x)):
        state, span = x[m : m + 1], float(length[m])
        for _ in range(_DECADES + 12):
            span *= 10.0
            run = course.run(
                state, p[m : m + 1], np.array([time, time + span]), rtol=1e-8, atol=floor[m : m + 1] * 1e-3,
                max_steps=max_steps, threads=threads,
            )  # fmt: skip
            if run.status[0] != Status.FINE:
                status[m] = run.status[0]
                break
            moved = np.abs(run.x - state)
            state = run.x
            f, _ = course.rates(state, p[m : m + 1], time)
            # what is left to move, were the last span's rate to last
            if np.all(np.abs(f) * span <= 1e-8 * np.abs(state) + floor[m]) and np.all(
                moved <= 1e-6 * np.abs(state) + floor[m]
            ):
                found[m], status[m] = state[0], Status.FINE
                break
    return found, status
