"""One evaluation of a micro simulator that stands behind a wrapper, and what the wrapper remembers of it.

A wrapper's `State` holds the micro simulator's own arrays under ``inner:``, what it last said under ``held:``, what it heard
then under ``heard:``, when that was (``since``), how often it was asked (``evaluations``) and who must be asked next
(``stale``); all per member, so that members are asked or left out each for itself.

Legend: `M` members of this chunk, `T` sample times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError, WiringError
from twin.simulator import Simulator, State, Values, step_times
from twin.variable import Variable

EVALUATIONS: Final = "evaluations"
"""Output port: how often the micro simulator was asked for a member so far."""
COUNT: Final = Variable(EVALUATIONS, lower=0.0)
INNER, HELD, HEARD = "inner:", "held:", "heard:"
STALE, SINCE = "stale", "since"
_CLOCK = "inner clock"


def require_micro(simulator: Simulator, who: str) -> None:
    """Refuse what cannot be left out for a while.

    Raises:
        WiringError: a macro simulator.
        InputError: an output port with the name of the count.
    """
    if simulator.clock != "micro":
        raise WiringError(
            f"{who}: {type(simulator).__name__} has the clock 'macro': its state moves on with the twin's time and cannot "
            "be left out for a while; wrap a micro simulator, or couple this one by a scheme."
        )
    if any(port.name == EVALUATIONS for port in simulator.outputs):
        raise InputError(f"{who}: {type(simulator).__name__} has an output {EVALUATIONS!r} of its own; rename it.")


def check_step(
    simulator: Simulator, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float]
) -> None:
    """Refuse a step before anything is held or asked.

    Raises:
        InputError: times out of order or outside, an unknown input, or another number of values than members.
    """
    step_times(t0, t1, sample)
    known = [port.name for port in simulator.inputs]
    for name, values in inputs.items():
        if name not in known:
            raise InputError(f"{type(simulator).__name__} has no input {name!r}; it has {', '.join(known) or 'none'}.")
        if np.shape(values)[:1] != state.members.shape:
            raise InputError(
                f"Input {name}: shape {np.shape(values)} for {len(state.members)} members; expected one value per member."
            )


def wrapped(inner: State) -> State:
    """The state of a wrapper round the start of its micro simulator."""
    count = len(inner.members)
    blank = State(
        members=inner.members,
        arrays={
            "status": np.zeros(count, dtype=np.int8),
            EVALUATIONS: np.zeros(count, dtype=np.int64),
            STALE: np.ones(count, dtype=np.bool_),
            SINCE: np.full(count, np.nan),
        },
    )
    return rewrapped(blank, inner, stale=True)


def unwrapped(state: State) -> State:
    """The micro simulator's own state."""
    note = dict(state.note)
    clock = float(note.pop(_CLOCK))
    return State(
        members=state.members,
        arrays={name.removeprefix(INNER): a for name, a in state.arrays.items() if name.startswith(INNER)},
        time=clock,
        note={name.removeprefix(INNER): value for name, value in note.items() if name.startswith(INNER)},
    )


def rewrapped(state: State, inner: State, *, stale: bool | None = None) -> State:
    """The wrapper's state with another state of its micro simulator inside."""
    arrays = {name: a for name, a in state.arrays.items() if not name.startswith(INNER)}
    arrays |= {INNER + name: a for name, a in inner.arrays.items()}
    if "status" in inner.arrays:
        arrays["status"] = inner.arrays["status"]
    if stale is not None:
        arrays[STALE] = np.full(len(state.members), stale)
    note = {name: value for name, value in state.note.items() if not name.startswith(INNER) and name != _CLOCK}
    note |= {INNER + name: value for name, value in inner.note.items()}
    return replace(state, arrays=arrays, note={**note, _CLOCK: inner.time})


def evaluated(
    simulator: Simulator, state: State, inputs: Values, rows: NDArray[np.intp], *, t0: float, t1: float
) -> State:
    """The wrapper's state after its micro simulator ran for some members, by position; its clock stands at `t1`."""
    if len(rows) == 0 and len(state.members) > 0:
        return replace(state, time=t1)
    whole = len(rows) == len(state.members)
    before = unwrapped(state)
    asked = before if whole else before.take(rows)
    after, outputs = simulator.step(asked, inputs if whole else {n: v[rows] for n, v in inputs.items()}, t0=t0, t1=t1)
    arrays = dict(state.arrays)
    said = {HELD + name: values[:, -1] for name, values in outputs.items()}
    heard = {HEARD + name: np.asarray(values)[rows] for name, values in inputs.items()}
    inner = {INNER + name: values for name, values in after.arrays.items()}
    for name in [n for n in arrays if n.startswith(HEARD) and n not in heard]:
        del arrays[name]  # no longer fed
    for name, values in (said | heard | inner).items():
        old = arrays.get(name)
        new = np.array(values) if old is None else old.copy()
        if old is not None:
            new[rows] = values
        arrays[name] = new
    if "status" in after.arrays:
        arrays["status"] = arrays[INNER + "status"]
    for name, value in ((EVALUATIONS, arrays[EVALUATIONS][rows] + 1), (STALE, False), (SINCE, t0)):
        arrays[name] = arrays[name].copy()
        arrays[name][rows] = value
    note = {**state.note, **{INNER + name: value for name, value in after.note.items()}, _CLOCK: after.time}
    return replace(state, arrays=arrays, note=note, time=t1)


def held(state: State, simulator: Simulator) -> Values:
    """What the micro simulator last said `[M, *dims]`."""
    return {port.name: state.arrays[HELD + port.name] for port in simulator.outputs}


def repeated(said: Values, state: State, *, times: int) -> Values:
    """Values that hold over a step `[M, T + 1, *dims]`, and the count of evaluations."""
    said = {**said, EVALUATIONS: state.arrays[EVALUATIONS].astype(np.float64)}
    return {name: np.repeat(values[:, None], times, axis=1) for name, values in said.items()}
