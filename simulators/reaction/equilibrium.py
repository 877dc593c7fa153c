"""The steady state that each member runs into: integration over growing spans, then Newton's method, then a check.

Legend: `M` members, `S` states, `P` settable constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Engine, Floats, Status

_SPANS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the limit: most cells have settled long before it
_NEAR = 1e-3  # Newton's method may move a state by this share of itself; a longer way is left to integration
_NEWTON = 8


@dataclass(frozen=True)
class Equilibrium:
    """Steady states `[M, S]`, NaN where there is none, and a `Status` per member `[M]`."""

    x: Floats
    status: NDArray[np.int8]


def equilibrium(
    engine: Engine,
    x: Floats,
    p: Floats,
    *,
    time: float,
    tolerance: float,
    limit: float,
    rtol: float,
    atol: float,
) -> Equilibrium:
    """Run every member to its steady state while the model's clock stands at `time`.

    A member has settled when one more implicit Euler step of the length `limit` would change no state by more than
    `tolerance` of itself (or by more than `atol`). That step, (1/limit - J) dx = f, is also Newton's step in
    pseudo-transient continuation (Kelley & Keyes 1998, eq. 1.2): it keeps conserved sums, whose directions make J
    singular, and it sees slow states, which a small |dx/dt| alone does not.

    Args:
        x, p: where each member is, `[M, S]` and `[M, P]`.
        tolerance: relative change still allowed.
        limit: longest time to integrate, in the model's units.
    """
    x = x.copy()
    status = np.zeros(len(x), dtype=np.int8)
    reached = 0.0
    moving = np.arange(len(x))
    for share in _SPANS:
        if not len(moving):
            break
        run = engine.run(x[moving], p[moving], (time, time + share * limit - reached), rtol=rtol, atol=atol, held=True)
        reached = share * limit
        status[moving] = np.where(run.status == Status.TOO_MANY_STEPS, Status.NOT_SETTLED, run.status)
        x[moving] = run.x
        moving = moving[run.status == Status.FINE]
        settled, polished = _polished(engine, x[moving], p[moving], time, tolerance, limit, atol)
        x[moving[settled]] = polished[settled]
        moving = moving[~settled]
    status[moving] = Status.NOT_SETTLED
    x[status != Status.FINE] = np.nan
    return Equilibrium(x, status)


def _polished(
    engine: Engine, x: Floats, p: Floats, time: float, tolerance: float, limit: float, atol: float
) -> tuple[NDArray[np.bool_], Floats]:
    """Whether each member is at its steady state, and the state after Newton's last step."""
    floor = np.full_like(x, atol)  # absolute tolerance of amounts [M, S]
    amounts = engine.volumes >= 0
    floor[:, amounts] *= p[:, engine.volumes[amounts]]
    start, x = x, x.copy()
    settled = np.zeros(len(x), dtype=np.bool_)
    trying = np.ones(len(x), dtype=np.bool_)
    for _ in range(_NEWTON):
        rows = np.flatnonzero(trying)
        if not len(rows):
            break
        step = _step(engine, x[rows], p[rows], time, limit)
        x[rows] += step
        away = np.abs(x[rows] - start[rows]) > _NEAR * np.abs(start[rows]) + floor[rows]
        done = (np.abs(step) <= tolerance * np.abs(x[rows]) + floor[rows]).all(axis=1)
        near = np.isfinite(step).all(axis=1) & ~away.any(axis=1)
        settled[rows] = done & near
        trying[rows] = ~done & near
    return settled, x


def _step(engine: Engine, x: Floats, p: Floats, time: float, limit: float) -> Floats:
    """The implicit Euler step of the length `limit` `[M, S]`."""
    states = x.shape[1]
    rates = engine.rates(x, p, time=time)
    jacobian = engine.jacobian(x, p, time=time)
    steps = np.full_like(x, np.nan)
    fine = np.flatnonzero(np.isfinite(jacobian).all(axis=(1, 2)) & np.isfinite(rates).all(axis=1))
    for m in fine:
        try:
            steps[m] = np.linalg.solve(np.eye(states) / limit - jacobian[m], rates[m])
        except np.linalg.LinAlgError:
            continue  # stays NaN: this member is left to integration
    return steps
