"""A reaction network as a `Simulator`: the cell of a twin, stepped by an engine for many members at once.

Legend: `M` members of this chunk, `N` members in all, `S` states, `P` settable constants, `T` sample times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import PACE, SINCE, Engine, Floats, Status, coefficient
from simulators.reaction.equilibrium import equilibrium
from simulators.reaction.readout import Readouts, unknown
from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.signal import Signal
from twin.simulator import State, Values, step_times
from twin.variable import Variable

_GIVEN = "given"  # in a state that has not moved yet: names whose start the caller set, so that no assignment undoes it


class ReactionSimulator:
    """A `twin.Simulator` over an SBML or Antimony model.

    The state holds `x` `[M, S]` (what moves, species as amounts), `p` `[M, P]` (settable constants) and `status` `[M]`
    (`Status`; a member that is not fine stays NaN). Until it first moves, a state is *fresh*: a change made to it is a
    change of the start, and initial assignments that depend on it follow. Afterwards they have had their say.

    Args:
        model: an engine, or a path or text of SBML or Antimony, for which a `RoadRunnerEngine` is made.
        readouts: outputs: names of the model, or name → expression over its names, e.g.
            ``{"pMET": "2*pMMET_2 + pMMET_pEGFR"}``. None: all species and everything moved by a rule. With an engine:
            some of the engine's readouts.
        inputs: parameters that conduits may feed.
        member_parameters: per name, values `[N]` of all members; `init` takes the rows of its members.
        parameters: values for all members, in place of the model's.
        rtol, atol: tolerances of the integrator, `atol` in the units of the species.
        units: of names and readouts, where the model gives none.
        time_units: of the model's clock, where the model gives none.
        start: the model's time at which initial assignments are evaluated.

    Raises:
        InputError: an unknown name (near ones are named), member values of different lengths, a value not finite.
        UnitError: units that contradict the model's.
        UnsupportedFeature: the engine cannot step the model.
    """

    def __init__(
        self,
        model: Engine | str | Path,
        *,
        readouts: Readouts = None,
        inputs: Sequence[str] = (),
        member_parameters: Mapping[str, NDArray[np.floating[Any]]] | None = None,
        parameters: Mapping[str, float] | None = None,
        rtol: float = 1e-8,
        atol: float = 1e-10,
        units: Mapping[str, str] | None = None,
        time_units: str | None = None,
        start: float = 0.0,
    ) -> None:
        self.engine = _engine(model, readouts, units, time_units)
        self.rtol, self.atol, self._start = _positive("rtol", rtol), _positive("atol", atol), start
        self._engines: dict[tuple[tuple[str, ...], int], Engine] = {}
        self._column = {name: i for i, name in enumerate(self.engine.parameters)}
        self._row = {name: i for i, name in enumerate(self.engine.states)}
        chosen = self.engine.readouts if readouts is None else tuple(readouts)
        _refuse_unknown("readouts", chosen, self.engine.readouts)
        _refuse_unknown("inputs", inputs, self.engine.parameters)
        self._chosen = np.array([self.engine.readouts.index(name) for name in chosen], dtype=np.intp)
        of = self.engine.units
        self._targets = {
            name: Variable(name, of.get(name, ""), lower=0.0 if name in self.engine.nonnegative else None)
            for name in (*self.engine.states, *self.engine.parameters)
        }
        self._inputs = tuple(self._targets[name] for name in inputs)
        self._outputs = tuple(
            Variable(name, of.get(name, ""), lower=0.0 if name in self.engine.nonnegative else None) for name in chosen
        )
        self._parameters = self._checked_parameters(parameters or {})
        self._members = self._checked_members(member_parameters or {})

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """Parameters that conduits may feed."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """The readouts."""
        return self._outputs

    @property
    def targets(self) -> Mapping[str, Variable]:
        """Everything that can be set: species, compartment sizes, parameters without a rule."""
        return self._targets

    @property
    def clock(self) -> Literal["macro", "micro"]:
        """``"macro"``: the model's time is the twin's."""
        return "macro"

    @property
    def time_units(self) -> str:
        """Units of the model's clock; empty where nobody gave them."""
        return self.engine.time_units

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """The start of these members. Nothing is drawn here: `seed` is not used.

        Raises:
            InputError: a member without a row in `member_parameters`, or a name without any value.
        """
        del seed  # deterministic: what a member is comes with `member_parameters`
        members = np.asarray(members, dtype=np.int64)
        given = {name: np.full(len(members), value) for name, value in self._parameters.items()}
        for name, values in self._members.items():
            if len(members) and not 0 <= members.min() <= members.max() < len(values):
                raise InputError(f"init: members {members.min()}…{members.max()}, but {name} has {len(values)} rows.")
            given[name] = values[members]
        return self._fresh(members, given)

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """A new state with the changes made, in the order given. A species changes as its id is read; a changed compartment keeps the amounts in it.

        Raises:
            InputError: an unknown target (near ones are named), a wrong number of values, or a species below 0.
        """
        for change in perturbations:
            name = change.name
            if name not in self._targets:
                raise InputError(f"Perturbation of {change.target}: {unknown(name, self._targets)}")
            new = change.applied(self._value(state, name))
            self._refuse_negative(state, change, name, new)
            state = self._with(state, {name: new})
        return state

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """Integrate from `t0` to `t1`. See `twin.Simulator.step`.

        Raises:
            InputError: an unknown input, or times out of order.
        """
        state = self._fed(state, inputs)
        return self._integrated(self.engine, state, state.arrays["p"], step_times(t0, t1, sample))

    def follow(
        self, state: State, signals: Mapping[str, Signal], *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """Integrate while inputs move. See `twin.Follower.follow`: to the tolerances of `step`.

        The engine of `step` holds inputs constant; here another one of the same model runs, in which they are polynomials.

        Raises:
            InputError: an unknown input, or times out of order.
            UnsupportedFeature: an input that cannot move, such as a compartment.
        """
        moving = tuple(name for name, signal in signals.items() if signal.degree and t1 > t0)
        begun = self._fed(state, {name: signal.at([t0])[:, 0] for name, signal in signals.items()})
        if not moving:
            return self.step(begun, {}, t0=t0, t1=t1, sample=sample)
        degree = max(signals[name].degree for name in moving)
        engine = self._following(moving, degree)
        p = np.zeros((len(begun.members), len(engine.parameters)))
        place = {name: i for i, name in enumerate(engine.parameters)}
        for name, i in self._column.items():
            if name in place:
                p[:, place[name]] = begun.arrays["p"][:, i]
        p[:, place[SINCE]], p[:, place[PACE]] = t0, 1.0 / (t1 - t0)
        for name in moving:
            slopes = signals[name].derivatives(t0)
            for k in range(slopes.shape[1]):
                p[:, place[coefficient(name, k)]] = slopes[:, k] * ((t1 - t0) ** k / math.factorial(k))
        end, values = self._integrated(engine, begun, p, step_times(t0, t1, sample))
        return self._with(end, {name: signals[name].at([t1])[:, 0] for name in moving}), values

    def equilibrate(
        self,
        state: State,
        inputs: Values | None = None,
        *,
        held: Mapping[str, float] | None = None,
        tolerance: float = 1e-9,
        limit: float = 1e6,
    ) -> State:
        """Run every member to its steady state while the model's clock stands still.

        `time`, wherever the model reads it, stays at the state's own time (`start` for a state that never stepped), so
        a switch on time does not go off while cells settle. Members that do not settle become NaN, with
        `Status.NOT_SETTLED`.

        Args:
            inputs: as in `step`.
            held: values that hold only while cells settle; what reactions or rate rules move only starts there.
            tolerance: relative change still allowed; see `equilibrium`.
            limit: longest time to integrate, in the model's units.

        Raises:
            InputError: an unknown input, or an unknown name in `held`.
        """
        state = self._fed(state, inputs or {})
        held = held or {}
        _refuse_unknown("held", tuple(held), tuple(self._targets))
        settling = self._with(replace(state, note={}), {n: np.full(len(state.members), v) for n, v in held.items()})
        status = state.arrays["status"].copy()
        x = np.full_like(state.arrays["x"], np.nan)
        fine = np.flatnonzero(status == Status.FINE)
        found = equilibrium(
            self.engine,
            settling.arrays["x"][fine],
            settling.arrays["p"][fine],
            time=self._start if math.isnan(state.time) else state.time,
            tolerance=tolerance,
            limit=limit,
            rtol=self.rtol,
            atol=self.atol,
        )
        x[fine], status[fine] = found.x, found.status
        return self._moved(state, x, status, time=state.time)

    def _integrated(self, engine: Engine, state: State, p: Floats, times: Sequence[float]) -> tuple[State, Values]:
        """The state at the last time and the outputs, by an engine whose constants are `p`."""
        status = state.arrays["status"].copy()
        x = np.full_like(state.arrays["x"], np.nan)
        values = np.full((len(status), len(times), len(self.engine.readouts)), np.nan)
        fine = np.flatnonzero(status == Status.FINE)
        run = engine.run(state.arrays["x"][fine], p[fine], times, rtol=self.rtol, atol=self.atol)
        x[fine], values[fine], status[fine] = run.x, run.values, run.status
        moved = self._moved(state, x, status, time=times[-1])
        return moved, {
            variable.name: np.ascontiguousarray(values[:, 1:, readout])
            for variable, readout in zip(self._outputs, self._chosen, strict=True)
        }

    def _following(self, names: tuple[str, ...], degree: int) -> Engine:
        """The engine in which these inputs move, made once."""
        if (names, degree) not in self._engines:
            self._engines[names, degree] = self.engine.following(names, degree)
        return self._engines[names, degree]

    def _fresh(self, members: NDArray[np.int64], given: Mapping[str, Floats]) -> State:
        x, p = self.engine.start(given, members=len(members), time=self._start)
        arrays = {"x": x, "p": p, "status": np.zeros(len(members), dtype=np.int8)}
        return State(members=members, arrays=arrays, note={_GIVEN: " ".join(given)})

    def _moved(self, state: State, x: Floats, status: NDArray[np.int8], *, time: float) -> State:
        note = {key: value for key, value in state.note.items() if key != _GIVEN}
        return replace(state, arrays={**state.arrays, "x": x, "status": status}, time=time, note=note)

    def _value(self, state: State, name: str) -> Floats:
        """What `name` is now, as the model reads it `[M]`."""
        if name in self._column:
            return state.arrays["p"][:, self._column[name]]
        row = self._row[name]
        volume = self.engine.volumes[row]
        amount = state.arrays["x"][:, row]
        return amount if volume < 0 else amount / state.arrays["p"][:, volume]

    def _with(self, state: State, changes: Mapping[str, Floats]) -> State:
        """The state with these values `[M]`, as the model reads them."""
        if _GIVEN in state.note:
            names = str(state.note[_GIVEN]).split()
            return self._fresh(state.members, {**{n: self._value(state, n) for n in names}, **changes})
        x, p = state.arrays["x"].copy(), state.arrays["p"].copy()
        for name, values in changes.items():
            if name in self._column:
                p[:, self._column[name]] = values
            else:
                volume = self.engine.volumes[self._row[name]]
                x[:, self._row[name]] = values if volume < 0 else values * p[:, volume]
        return replace(state, arrays={**state.arrays, "x": x, "p": p})

    def _fed(self, state: State, inputs: Values) -> State:
        known = [variable.name for variable in self._inputs]
        _refuse_unknown("inputs of a step", tuple(inputs), known)
        changes = {name: np.asarray(values, dtype=np.float64) for name, values in inputs.items()}
        for name, values in changes.items():
            if values.shape != state.members.shape:
                raise InputError(
                    f"Input {name}: shape {values.shape}; expected one value for {len(state.members)} members."
                )
        return self._with(state, changes) if changes else state

    def _refuse_negative(self, state: State, change: Perturbation, name: str, new: Floats) -> None:
        below = state.members[new < 0.0]
        if self._targets[name].lower == 0.0 and len(below):
            raise InputError(
                f"Perturbation of {change.target} at {change.time}: {change.operation} {change.value} takes it below 0 "
                f"in member {below[0]}; expected a value of at least 0."
            )

    def _checked_parameters(self, parameters: Mapping[str, float]) -> dict[str, float]:
        _refuse_unknown("parameters", tuple(parameters), tuple(self._targets))
        for name, value in parameters.items():
            if not math.isfinite(value):
                raise InputError(f"parameters: {name} is {value}; expected a finite number.")
        return dict(parameters)

    def _checked_members(self, members: Mapping[str, NDArray[np.floating[Any]]]) -> dict[str, Floats]:
        _refuse_unknown("member_parameters", tuple(members), tuple(self._targets))
        checked = {name: np.array(values, dtype=np.float64) for name, values in members.items()}
        if len({values.shape for values in checked.values()}) > 1 or any(v.ndim != 1 for v in checked.values()):
            shapes = {name: values.shape for name, values in checked.items()}
            raise InputError(f"member_parameters: shapes {shapes}; expected one value for each of N members, N alike.")
        for name, values in checked.items():
            if not np.isfinite(values).all():
                bad = int(np.flatnonzero(~np.isfinite(values))[0])
                raise InputError(
                    f"member_parameters: {name} is {values[bad]} in member {bad}; expected finite numbers."
                )
        return checked


def _engine(
    model: Engine | str | Path, readouts: Readouts, units: Mapping[str, str] | None, time_units: str | None
) -> Engine:
    if isinstance(model, (str, Path)):
        from simulators.reaction.roadrunner import RoadRunnerEngine  # 0.5 s to import: only where it is used

        return RoadRunnerEngine(model, readouts=readouts, units=units, time_units=time_units)
    if isinstance(readouts, Mapping):
        raise InputError("An engine has its own readouts; give it the expressions, and the simulator their names.")
    if units or time_units:
        raise InputError("An engine has its own units; give `units` and `time_units` to the engine.")
    return model


def _refuse_unknown(where: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"{where}: {unknown(name, known)}")


def _positive(name: str, value: float) -> float:
    if not 0.0 < value < 1.0:
        raise InputError(f"{name} is {value}; expected a number between 0 and 1, such as 1e-8.")
    return value
