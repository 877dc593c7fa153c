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


def refuse_restless(
    network: Network, *, where: str = "steady_state", cure: str = "use simulate to a late time instead"
) -> None:
    """Raise `UnsupportedFeature` for networks that have no steady state to look for.

    Args:
        where, cure: of the message.
    """
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
                f"{where}: this model has {what}; {cure}.",
            )


Laws = tuple[Floats, NDArray[np.intp]]
"""Weights `[L, S]` and the states whose rates they replace `[L]`."""


def conserved(
    network: Network,
    x: Floats,
    p: Floats,
    time: float,
    speed: Floats | None = None,
    known: dict[tuple[bytes, bytes], Laws] | None = None,
) -> Laws:
    """Weights `[L, S]` of sums that no reaction changes, and for each a state whose rate it replaces `[L]`.

    Args:
        speed: how fast each state is `[S]`: rates of the fastest are replaced, since rounding in them would hide what slow
            reactions do; None: any.
        known: laws found before, of members with the same stoichiometry; read and written.
    """
    S = len(network.states)
    place = {name: i for i, name in enumerate(network.state_names)}
    graph = network.graph
    fixed = {network.symbols[name] for name in network.constant_names}
    columns: list[Floats] = []
    moved: set[int] = set()
    order = np.arange(S) if speed is None else np.argsort(speed, kind="stable")
    nodes = sorted({node for reaction in network.reactions for node in reaction.changes.values()})
    numbers = network.evaluate(nodes, x[:1], p[:1], time)[0]
    known, key = {} if known is None else known, (numbers.tobytes(), order.tobytes())
    if key in known:
        return known[key]
    values = dict(zip(nodes, numbers, strict=True))
    for reaction in network.reactions:
        column = np.zeros(S)
        for name, node in reaction.changes.items():
            if name not in place:
                continue
            moved.add(place[name])
            if not graph.reads(node) <= fixed:
                return known.setdefault(key, (np.zeros((0, S)), np.zeros(0, dtype=np.intp)))
            column[place[name]] = values[node]
        columns.append(column)
    unit = np.eye(S)
    zero = graph.const(0.0)
    for i, state in enumerate(network.states):
        if i not in moved and state.rate != zero:
            columns.append(unit[i])  # moved by a rate rule: never part of a sum
    rows = np.unique(np.array(columns).reshape(len(columns), S), axis=0)
    laws, replaced = _left_null(rows[:, order])
    found = np.zeros_like(laws)
    found[:, order] = laws
    return known.setdefault(key, (found, order[replaced]))


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
        others = np.flatnonzero(work[:, column])  # few: reactions know few species
        others = others[others != r]
        places = np.flatnonzero(work[r])
        work[np.ix_(others, places)] -= np.outer(work[others, column], work[r, places])
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
    M = len(x)
    found = np.full_like(x, np.nan)
    by, status = np.zeros(M, dtype=np.int8), np.full(M, Status.NOT_SETTLED, dtype=np.int8)
    known: dict[tuple[bytes, bytes], Laws] = {}
    for m in range(M):
        some = slice(m, m + 1)
        if not np.isfinite(x[m]).all():
            status[m] = Status.NOT_FINITE
            continue
        newton = _Newton(course, x[some], p[some], time, floor[m], known)
        if method != "integration":
            settled = newton.run(x[some])
            if settled is not None:
                found[m], by[m], status[m] = settled, FoundBy.NEWTON, Status.FINE
                continue
        if method != "newton":
            settled, status[m] = _integrate(course, newton, x[some], p[some], time, max_steps, threads)
            if status[m] == Status.FINE:
                found[m], by[m] = settled, FoundBy.INTEGRATION
    return Steady(found, by, status)


class _Newton:
    """Newton's method for one member: rates are 0, and sums that reactions conserve are what the start gave."""

    def __init__(
        self, course: Course, x: Floats, p: Floats, time: float, floor: Floats, known: dict[tuple[bytes, bytes], Laws]
    ) -> None:
        self._course, self._p, self._time, self.floor = course, p, time, floor
        _, jacobian = course.rates(x, p, time)
        speed = np.abs(np.diagonal(jacobian[0]))
        with np.errstate(divide="ignore"):  # decades are enough: members then share their order, and their laws
            decade = np.floor(np.log10(np.where(np.isfinite(speed), speed, np.inf)))
        self._laws, self._replaced = conserved(course.network, x, p, time, decade, known)
        self._sums = x[0] @ self._laws.T

    def run(self, start: Floats) -> Floats | None:
        """A stable steady state `[S]` without negative amounts, from a state `[1, S]` on; None: not found."""
        row = start
        if not row.size:
            return row[0]
        f, jacobian = self.rates(row)
        for _ in range(_ITERATIONS):
            step = self._step(row[0], f, jacobian)
            if step is None:
                return None
            share = 1.0
            down = (step > 0) & (row[0] > self.floor) & (row[0] - step < 0)
            if down.any():  # what is more than nothing goes down to a tenth at most
                share = float(min(1.0, np.min(0.9 * row[0][down] / step[down])))
            row = row - share * step
            f, jacobian = self.rates(row)
            if not np.isfinite(f).all():
                return None
            if share == 1.0 and np.all(np.abs(step) <= 1e-9 * np.abs(row[0]) + 1e-3 * self.floor):
                fine = bool((row[0] >= -1e3 * self.floor).all()) and _stable(jacobian, self._laws)
                return row[0] if fine else None
        return None

    def rates(self, x: Floats) -> tuple[Floats, Floats]:
        """dx/dt `[S]` and its Jacobian `[S, S]` at a state `[1, S]`."""
        f, jacobian = self._course.rates(x, self._p, self._time)
        return f[0], jacobian[0]

    def _step(self, x: Floats, f: Floats, jacobian: Floats) -> Floats | None:
        """How far the state is from where the linearized rates vanish `[S]`; None: they do not say."""
        r, a = f.copy(), jacobian.copy()
        still = _still(f, jacobian)
        r[self._replaced], a[self._replaced] = self._laws @ x - self._sums, self._laws
        r[still], a[still] = 0.0, 0.0
        a[still, still] = 1.0
        return _solve(a, r)


def _still(f: Floats, jacobian: Floats) -> NDArray[np.intp]:
    """States that nothing moves, and that would not move if the others did: their reactions wait for what is absent."""
    still = (f == 0.0) & ~jacobian.any(axis=1)
    while True:
        more = (f == 0.0) & ~jacobian[:, ~still].any(axis=1)
        if (more == still).all():
            return np.flatnonzero(still)
        still = more


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
    course: Course, newton: _Newton, x: Floats, p: Floats, time: float, max_steps: int, threads: int
) -> tuple[Floats, int]:
    """The state `[S]` that a member runs into, and a `Status`.

    Spans grow tenfold. It has arrived where Newton's method finds a stable steady state close by: a small rate alone does
    not tell, for what is slow has hardly moved yet. Where Newton's method cannot tell (the Jacobian is singular), it has
    arrived when a span ten times as long as the slowest state takes has changed nothing, and what is left of the rates is
    nothing or rounding.
    """
    floor = newton.floor
    f, jacobian = newton.rates(x)
    with np.errstate(all="ignore"):
        fast = float(np.nanmax(np.abs(f) / (np.abs(x[0]) + floor), initial=0.0))
    state, span = x, 1.0 / fast if fast > 0 else 1.0
    for _ in range(_DECADES + 12):
        span *= 10.0
        run = course.run(
            state, p, np.array([time, time + span]), rtol=1e-8, atol=floor[None] * 1e-3, max_steps=max_steps,
            threads=threads,
        )  # fmt: skip
        if run.status[0] != Status.FINE:
            return x[0], int(run.status[0])
        moved, state = np.abs(run.x[0] - state[0]), run.x
        size = np.abs(state[0])
        if not (moved <= 1e-3 * size + 1e3 * floor).all():
            continue  # far from it: no need to ask
        near = newton.run(state)
        if near is not None:
            if (np.abs(near - state[0]) <= 1e-3 * size + 1e3 * floor).all():
                return near, Status.FINE
            continue
        f, jacobian = newton.rates(state)
        own = np.abs(np.diagonal(jacobian))
        slowest = own[own > 1e-10 * own.max(initial=0.0)].min(initial=np.inf)  # what is slower is rounding, or at rest
        rounding = 1e-14 * (np.abs(jacobian) @ size)
        if (
            span * slowest >= 10.0
            and (moved <= 1e-6 * size + floor).all()
            and (np.abs(f) <= np.maximum((1e-8 * size + floor) / span, rounding)).all()
        ):
            return state[0], Status.FINE
    return x[0], Status.NOT_SETTLED
