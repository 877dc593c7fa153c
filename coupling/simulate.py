"""The loop of a twin in time: its simulators step, are perturbed from outside, and exchange values.

The clock is cut into windows wherever something happens: at the start and end, at every perturbation, and at every
exchange. In a window (operators named after Borgdorff et al. 2013, J. Parallel Distrib. Comput. 73:465):

1. the perturbations of its first instant are made, so that a sample at that time shows the state *after* the change;
2. a `Scheme` takes all simulators to the window's end (O_i, S): it reads the conduits, feeds the targets and may go back.

`Jacobi` is what happens unless asked otherwise: explicit coupling, in which nobody sees what another does within a window.
The windows are of fixed length or adapt to what is exchanged (`FixedWindows`, `AdaptiveWindows`).

Legend: `M` members, `T` sample times. Times are in `time_units`, the twin's own; each simulator is told its own units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coupling.fixed_windows import FixedWindows, Windows
from coupling.jacobi import Jacobi
from coupling.restart import Progress, Restart
from coupling.scheme import Floats, Loop, Scheme, Standing, States, Taken
from coupling.stepper import SerialStepper, Stepper, named
from coupling.window import Window
from coupling.window import windows as stretches
from coupling.wiring import Wiring
from hpc import stop
from twin.errors import InputError, WiringError
from twin.graph import Twin
from twin.perturbation import Perturbation
from twin.simulator import State, Values

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class Course:
    """What a twin did from one time to another.

    Args:
        states: at the end, from which it can go on.
        times: the sample times `[T]`.
        values: ``"simulator.port"`` → `[M, T, *dims]`.
        standing: at the end, with what scheme and windows remember: a run that goes on from it has the same bits as one
            that did not stop.
        counts: ``"windows"`` taken, ``"rejected"`` tries and ``"iterations"``, those of rejected tries included, `[M]`.
        residuals: per iterated conduit, the largest that was accepted `[M]`, in the units of the target's port.
    """

    states: States
    times: NDArray[np.float64]
    values: Values
    standing: Standing
    counts: Mapping[str, NDArray[np.int64]] = field(default_factory=dict[str, "NDArray[np.int64]"])
    residuals: Mapping[str, Floats] = field(default_factory=dict[str, "Floats"])


def simulate(
    twin: Twin,
    perturbations: Sequence[Perturbation] = (),
    *,
    members: NDArray[np.int64],
    t0: float,
    t1: float,
    sample: Sequence[float],
    seed: int = 0,
    states: States | None = None,
    exchange: float | None = None,
    scheme: Scheme | None = None,
    windows: Windows | None = None,
    restart: Restart | None = None,
    time_units: str = "min",
) -> xarray.Dataset:
    """Run a twin from `t0` to `t1`.

    Args:
        twin: simulators and conduits.
        perturbations: changes from outside within `t0` … `t1`; those of one time in the order given.
        members: global member numbers `[M]`.
        t0, t1: start and end.
        sample: ascending times to look at.
        seed: of the noise inside simulators.
        states: where to start, e.g. equilibrated; None: every simulator's own start.
        exchange: short for ``windows=FixedWindows(exchange)``.
        scheme: how values are exchanged; None: `Jacobi()`.
        windows: how often; None: conduits are read at the start and at perturbations only.
        restart: where the run keeps how far it is, to go on from there when it is started again.
        time_units: of all these times.

    Returns:
        Dims `(member, time, *dims)`, variables ``simulator.port`` with their units; a member that failed is NaN. Where a
        scheme or windows were given, also `coupling_windows`, `coupling_rejected` and `coupling_iterations` `(member)`,
        `coupling_residual` `(member, conduit)` of what was iterated, and attributes that name scheme, order and windows.

    Raises:
        InputError: times out of order or outside, an unknown target.
        WiringError: a perturbation of what a conduit feeds, micro simulators that wait for each other, or a twin that the
            scheme cannot couple.
        UnsupportedFeature: a simulator that would keep the scheme below the order it promises.
        SimulationError: a simulator broke, or an implicit window did not converge; the text names it and the window.
        hpc.HpcError: `restart` is of another run, or the disk refuses.
        hpc.Stopped: with `restart`, after a signal or at the end of the time given: it is kept how far the run is.
    """
    import xarray

    (scheme or Jacobi()).check(Wiring(twin))  # before anything runs
    if states is None:  # a first look ends the start: what is perturbed at t0 is perturbed in time
        states = advance(
            twin, start(twin, members=members, seed=seed), t0=t0, t1=t0, sample=(), time_units=time_units
        ).states
    course = advance(
        twin, states, perturbations, t0=t0, t1=t1, sample=sample, exchange=exchange, scheme=scheme, windows=windows,
        restart=None if restart is None else restart.of(seed=seed), time_units=time_units,
    )  # fmt: skip
    ports = {f"{name}.{port.name}": port for name, simulator in twin.simulators.items() for port in simulator.outputs}
    found = xarray.Dataset(
        {
            name: (("member", "time", *ports[name].dims), values, {"units": ports[name].units})
            for name, values in course.values.items()
        },
        coords={
            "member": np.asarray(members, dtype=np.int64),
            "time": ("time", course.times, {"units": time_units}),
        },
    )
    return found if scheme is None and windows is None else _with_counts(found, course, scheme or Jacobi(), windows)


def start(twin: Twin, *, members: NDArray[np.int64], seed: int = 0) -> States:
    """Every simulator's own start for these members."""
    states: dict[str, State] = {}
    for name, simulator in twin.simulators.items():
        with named(name, members, "at the start"):
            states[name] = simulator.init(members=members, seed=seed)
    return states


def perturb(twin: Twin, states: States, perturbations: Sequence[Perturbation]) -> States:
    """The states after changes from outside, made in the order given; times are not looked at.

    Raises:
        InputError: no such simulator, or no such target in it.
        WiringError: a target that a conduit feeds: the next exchange would undo the change.
    """
    _check_targets(twin, perturbations)
    after = dict(states)
    for name, simulator in twin.simulators.items():
        own = [change for change in perturbations if change.simulator == name]
        if own:
            with named(name, states[name].members, f"at {own[0].time:g}"):
                after[name] = simulator.perturb(states[name], own)
    return after


def advance(
    twin: Twin,
    states: States | Standing,
    perturbations: Sequence[Perturbation] = (),
    *,
    t0: float,
    t1: float,
    sample: Sequence[float],
    exchange: float | None = None,
    scheme: Scheme | None = None,
    windows: Windows | None = None,
    stepper: Stepper | None = None,
    restart: Restart | None = None,
    time_units: str = "min",
) -> Course:
    """Run a twin from `t0` to `t1` and keep where it ended, to go on from there. See `simulate`.

    Args:
        states: where to start: states, or the `standing` of an earlier course.
        stepper: what takes the steps; None: one after the other, here.
    """
    _check_targets(twin, perturbations)
    scheme = scheme or Jacobi()
    if windows is not None and exchange is not None:
        raise InputError(f"exchange={exchange} and windows={windows}: expected one of them; leave out exchange.")
    if windows is None:
        cut = stretches(perturbations, t0=t0, t1=t1, sample=sample, exchange=exchange)
        windows = FixedWindows()
    else:
        cut = stretches(perturbations, t0=t0, t1=t1, sample=sample, exchange=windows.dt)
    wiring = Wiring(twin)
    scheme.check(wiring)
    loop = Loop(wiring, stepper or SerialStepper(twin, time_units=time_units))
    at = states if isinstance(states, Standing) else Standing(states)
    members = next(iter(at.states.values())).members
    if windows.alone and len(members) > 1:
        return _joined([
            advance(
                twin, _row(at, row), [_of_row(change, row) for change in perturbations], t0=t0, t1=t1, sample=sample,
                scheme=scheme, windows=windows, stepper=stepper, time_units=time_units,
                restart=None if restart is None else restart.alone(int(members[row])),
            )
            for row in range(len(members))
        ])  # fmt: skip
    kept = None
    if restart is not None:
        restart = restart.of_run(at, perturbations, t0, t1, sample, exchange, scheme, windows, time_units)
        kept = restart.begun()
    with nullcontext() if restart is None else stop.deferred():
        return _crossed(twin, loop, scheme, windows, list(cut), at, restart, kept, sample)


def _crossed(
    twin: Twin,
    loop: Loop,
    scheme: Scheme,
    windows: Windows,
    cut: Sequence[Window],
    at: Standing,
    restart: Restart | None,
    kept: Progress | None,
    sample: Sequence[float],
) -> Course:
    """The course over all stretches, from the first or from what was kept."""
    members = next(iter(at.states.values())).members
    found: list[Mapping[str, NDArray[Any]]] = []
    counts = {what: np.zeros(len(members), dtype=np.int64) for what in ("windows", "rejected", "iterations")}
    residuals: dict[str, Floats] = {}
    if kept is not None:
        at, found, counts, residuals = kept.at, [kept.values], dict(kept.counts), dict(kept.residuals)
    end = [0.0]

    def take(at: Standing, window: Window) -> Taken:
        end[0] = window.t1
        return scheme.take(loop, at, window)

    def progress(stretches: int, looks: int) -> Progress:
        return Progress(stretches, end[0], looks, at, _joined_in_time(found), counts, residuals)

    for number, stretch in enumerate(cut):
        looks = 0
        if kept is not None and number < kept.stretches:
            continue
        if kept is not None and number == kept.stretches and kept.time > stretch.t0:
            looks = kept.looks
            stretch = Window(kept.time, stretch.t1, sample=stretch.sample[looks:])
        elif stretch.perturbations:
            at = replace(at, states=perturb(twin, at.states, stretch.perturbations), now={})
        for crossed in windows.cross(take, at, stretch, scheme):
            taken, at = crossed.taken, crossed.taken.standing
            looked = next(v for said in taken.said.values() for v in said.values()).shape[1]
            if looked or not found:  # most windows are not looked into
                found.append({f"{name}.{port}": v for name, said in taken.said.items() for port, v in said.items()})
            looks += looked
            counts["windows"] = counts["windows"] + 1
            counts["rejected"] = counts["rejected"] + crossed.rejected
            counts["iterations"] = counts["iterations"] + taken.iterations + crossed.wasted
            for conduit, residual in taken.residuals.items():
                residuals[conduit] = np.maximum(residuals.get(conduit, residual), residual)
            if restart is not None and restart.due():
                restart.save(progress(number, looks) if end[0] < stretch.t1 else progress(number + 1, 0))
    if restart is not None and (kept is None or kept.stretches < len(cut)):
        restart.save(progress(len(cut), 0), last=True)
    return Course(
        states=at.states,
        times=np.asarray(sample, dtype=np.float64),
        values=_joined_in_time(found),
        standing=at,
        counts=counts,
        residuals=residuals,
    )


def _joined_in_time(found: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Samples of windows that follow each other."""
    return {name: np.concatenate([said[name] for said in found], axis=1) for name in found[0]}


def _row(at: Standing, row: int) -> Standing:
    """Where one member stands."""
    rows = np.array([row])
    return Standing(
        {name: state.take(rows) for name, state in at.states.items()},
        {name: {port: v[rows] for port, v in values.items()} for name, values in at.now.items()},
        {name: array[rows] for name, array in at.memory.items()},
    )


def _of_row(change: Perturbation, row: int) -> Perturbation:
    """The change as one member sees it."""
    return change if np.ndim(change.value) == 0 else replace(change, value=np.asarray(change.value)[[row]])


def _joined(courses: Sequence[Course]) -> Course:
    """Courses of single members, put together."""
    one = courses[0]

    def rows(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        return {name: _stacked([part[name] for part in parts]) for name in parts[0]}

    states = {
        name: replace(
            state,
            members=np.concatenate([course.states[name].members for course in courses]),
            arrays=rows([course.states[name].arrays for course in courses]),
        )
        for name, state in one.states.items()
    }
    now = {name: rows([course.standing.now[name] for course in courses]) for name in one.standing.now}
    return Course(
        states=states,
        times=one.times,
        values=rows([course.values for course in courses]),
        standing=Standing(states, now, rows([course.standing.memory for course in courses])),
        counts=rows([course.counts for course in courses]),
        residuals=rows([course.residuals for course in courses]),
    )


def _stacked(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows of members; where one remembers fewer columns than another, the rest is empty (-1 for whole numbers)."""
    width = max((part.shape[1] for part in parts if part.ndim > 1), default=0)
    filled = [
        part
        if part.ndim == 1 or part.shape[1] == width
        else np.concatenate(
            [
                part,
                np.full(
                    (1, width - part.shape[1], *part.shape[2:]), -1 if part.dtype.kind == "i" else 0, dtype=part.dtype
                ),
            ],
            axis=1,
        )
        for part in parts
    ]
    return np.concatenate(filled)


def _with_counts(found: xarray.Dataset, course: Course, scheme: Scheme, windows: Windows | None) -> xarray.Dataset:
    """The result with what coupling took, and how it was done."""
    named_counts = {f"coupling_{what}": ("member", count) for what, count in course.counts.items()}
    found = found.assign_coords(named_counts)
    if course.residuals:
        residual = np.stack(list(course.residuals.values()), axis=1)
        found = found.assign_coords(
            conduit=("conduit", list(course.residuals)), coupling_residual=(("member", "conduit"), residual)
        )
    return found.assign_attrs(
        coupling_scheme=repr(scheme), coupling_order=scheme.order, coupling_windows=repr(windows or FixedWindows())
    )


def _check_targets(twin: Twin, perturbations: Sequence[Perturbation]) -> None:
    fed = {conduit.target: conduit.source for conduit in twin.conduits}
    for change in perturbations:
        if change.simulator not in twin.simulators:
            raise InputError(
                f"Perturbation of {change.target}: no simulator {change.simulator!r}; "
                f"this twin has {', '.join(twin.simulators)}."
            )
        if change.target in fed:
            raise WiringError(
                f"Perturbation of {change.target}: {fed[change.target]} feeds it and would undo the change at once; "
                f"perturb {fed[change.target]}, or leave out the Conduit."
            )
