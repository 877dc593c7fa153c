"""The loop of a twin in time: its simulators step side by side, are perturbed from outside, and exchange values.

The clock is cut into windows wherever something happens: at the start and end, at every perturbation, and at every
exchange. In a window (operators named after Borgdorff et al. 2013, J. Parallel Distrib. Comput. 73:465):

1. the perturbations of its first instant are made, so that a sample at that time shows the state *after* the change;
2. every conduit is read: what its source says now passes its bridge and becomes the input of its target (O_i);
3. micro simulators run their own short time, and their averages are read as they come (F_init … O_f);
4. macro simulators step to the end of the window under inputs that stay as they are (S).

So coupling is explicit: nobody sees what another does within a window, and the error of that falls with its length
(`exchange`). What never changes in a window, such as drawn binding rates, is coupled without any error.

Legend: `M` members, `T` sample times. Times are in `time_units`, the twin's own; each simulator is told its own units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coupling.window import Window, windows
from twin.errors import InputError, KakehashiError, SimulationError, WiringError
from twin.graph import Conduit, Twin
from twin.perturbation import Perturbation
from twin.simulator import Simulator, State, Values
from twin.units import factor

if TYPE_CHECKING:
    import xarray

States = Mapping[str, State]
"""The state of every simulator of a twin, by the simulator's name."""


@dataclass(frozen=True)
class Course:
    """What a twin did from one time to another.

    Args:
        states: at the end, from which it can go on.
        times: the sample times `[T]`.
        values: ``"simulator.port"`` → `[M, T, *dims]`.
    """

    states: States
    times: NDArray[np.float64]
    values: Values


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
        exchange: longest time between two exchanges; None: conduits are read at the start and at perturbations only.
        time_units: of all these times.

    Returns:
        Dims `(member, time, *dims)`, variables ``simulator.port`` with their units; a member that failed is NaN.

    Raises:
        InputError: times out of order or outside, an unknown target.
        WiringError: a perturbation of what a conduit feeds, or micro simulators that wait for each other.
        SimulationError: a simulator broke; the text names it, its members and the window.
    """
    import xarray

    if states is None:  # a first look ends the start: what is perturbed at t0 is perturbed in time
        states = advance(
            twin, start(twin, members=members, seed=seed), t0=t0, t1=t0, sample=(), time_units=time_units
        ).states
    course = advance(twin, states, perturbations, t0=t0, t1=t1, sample=sample, exchange=exchange, time_units=time_units)
    ports = {f"{name}.{port.name}": port for name, simulator in twin.simulators.items() for port in simulator.outputs}
    return xarray.Dataset(
        {
            name: (("member", "time", *ports[name].dims), values, {"units": ports[name].units})
            for name, values in course.values.items()
        },
        coords={
            "member": np.asarray(members, dtype=np.int64),
            "time": ("time", course.times, {"units": time_units}),
        },
    )


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
    states: States,
    perturbations: Sequence[Perturbation] = (),
    *,
    t0: float,
    t1: float,
    sample: Sequence[float],
    exchange: float | None = None,
    time_units: str = "min",
) -> Course:
    """Run a twin from `t0` to `t1` and keep where it ended, to go on from there. See `simulate`."""
    _check_targets(twin, perturbations)
    clocks = {
        name: factor(time_units, simulator.time_units or time_units, where=f"clock of {name}")
        for name, simulator in twin.simulators.items()
    }
    order = _order(twin)
    now: dict[str, Values] = {}  # what sources said at the end of the last window, while it still holds
    found: list[dict[str, NDArray[Any]]] = []
    for window in windows(perturbations, t0=t0, t1=t1, sample=sample, exchange=exchange):
        if window.perturbations:
            states = perturb(twin, states, window.perturbations)
            now = {}
        heard = _sources(twin, states, window, clocks, now)
        after: dict[str, State] = {}
        said: dict[str, NDArray[Any]] = {}
        for name in order:
            inputs = _inputs(twin, name, heard)
            after[name], outputs = _step(name, twin.simulators[name], states[name], inputs, window, clocks[name])
            now[name] = {port: values[:, -1] for port, values in outputs.items()}
            if twin.simulators[name].clock == "micro":
                heard[name] = now[name]
            said |= {f"{name}.{port}": values[:, :-1] for port, values in outputs.items()}
        states = after
        found.append(said)
    return Course(
        states=states,
        times=np.asarray(sample, dtype=np.float64),
        values={name: np.concatenate([said[name] for said in found], axis=1) for name in found[0]},
    )


def _order(twin: Twin) -> tuple[str, ...]:
    """Micro simulators first, each after those that feed it; macro simulators only see each other's past."""
    micro = {name: set[str]() for name, simulator in twin.simulators.items() if simulator.clock == "micro"}
    for source, target in (_ends(conduit) for conduit in twin.conduits):
        if source[0] in micro and target[0] in micro:
            micro[target[0]].add(source[0])
    try:
        first = tuple(TopologicalSorter(micro).static_order())
    except CycleError as error:
        raise WiringError(
            f"Micro simulators {', '.join(dict.fromkeys(error.args[1]))} wait for each other's averages; "
            "make one of them a macro simulator, or one simulator of both."
        ) from error
    return (*first, *(name for name in twin.simulators if name not in micro))


def _ends(conduit: Conduit) -> tuple[tuple[str, str], tuple[str, str]]:
    """(simulator, port) of the source and of the target."""
    source, target = conduit.source.partition("."), conduit.target.partition(".")
    return (source[0], source[2]), (target[0], target[2])


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


def _sources(
    twin: Twin, states: States, window: Window, clocks: Mapping[str, float], now: Mapping[str, Values]
) -> dict[str, Values]:
    """What macro sources say at the start of the window: remembered, or looked at by a step without length."""
    heard: dict[str, Values] = {}
    for (source, _), _ in (_ends(conduit) for conduit in twin.conduits):
        simulator = twin.simulators[source]
        if source in heard or simulator.clock == "micro":
            continue
        if source in now:
            heard[source] = now[source]
            continue
        look = Window(window.t0, window.t0)
        _, outputs = _step(source, simulator, states[source], {}, look, clocks[source])
        heard[source] = {port: values[:, -1] for port, values in outputs.items()}
    return heard


def _inputs(twin: Twin, name: str, heard: Mapping[str, Values]) -> Values:
    """What conduits bring to a simulator."""
    found: dict[str, NDArray[Any]] = {}
    for conduit in twin.conduits:
        (source, port), (target, into) = _ends(conduit)
        if target == name:
            found[into] = twin.bridge_of(conduit)(heard[source][port])
    return found


def _step(
    name: str, simulator: Simulator, state: State, inputs: Values, window: Window, clock: float
) -> tuple[State, Values]:
    """One step, told in the simulator's own units of time."""
    with named(name, state.members, f"from {window.t0:g} to {window.t1:g}"):
        return simulator.step(
            state,
            inputs,
            t0=window.t0 * clock,
            t1=window.t1 * clock,
            sample=[time * clock for time in window.sample],
        )


@contextmanager
def named(name: str, members: NDArray[np.int64], when: str) -> Iterator[None]:
    """What breaks inside is told with the simulator's name, its members and the time.

    Raises:
        SimulationError: in place of anything that is not our own error already.
    """
    try:
        yield
    except KakehashiError:
        raise
    except Exception as error:
        whom = f"member {members[0]}" if len(members) == 1 else f"members {members.min()} … {members.max()}"
        raise SimulationError(f"simulator {name!r}, {whom}, {when}: {type(error).__name__}: {error}") from error
