"""libRoadRunner as an engine: one member after the other by CVODE, every member from plain numbers.

Legend: `M` members, `S` states, `P` settable constants, `T` times, `R` readouts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import roadrunner as _roadrunner
from numpy.typing import NDArray

from simulators.reaction.engine import Floats, Run, Status
from simulators.reaction.lowering import CLOCK, HOISTED, INITIAL
from simulators.reaction.readout import Readouts
from simulators.reaction.start import columns, start
from simulators.reaction.stepped_model import SteppedModel

roadrunner: Any = _roadrunner  # has no types


class RoadRunnerEngine:
    """Integrates an SBML or Antimony model with libRoadRunner (Somogyi et al. 2015; CVODE, BDF with a dense Jacobian).

    Args:
        model: a path, or the text of SBML or Antimony.
        readouts: what `run` returns: ids, or name → expression over ids; None: all species and everything with a rule.
        units: units of names and readouts where the file gives none.
        time_units: units of the model's clock where the file gives none.
        max_steps: most steps of CVODE between two times.
        moving, degree: parameters that are polynomials of the time; see `following`.

    Raises:
        InputError: not a model, an unknown name (near ones are named), a malformed expression.
        UnitError: units that contradict the file.
        UnsupportedFeature: the model has events, algebraic rules, delays, fast reactions, compartments or stoichiometry
            that change, or random numbers.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        readouts: Readouts = None,
        units: Mapping[str, str] | None = None,
        time_units: str | None = None,
        max_steps: int = 20_000,
        moving: Sequence[str] = (),
        degree: int = 0,
    ) -> None:
        self._arguments: dict[str, Any] = {
            "model": model,
            "readouts": readouts,
            "units": units,
            "time_units": time_units,
            "max_steps": max_steps,
            "moving": tuple(moving),
            "degree": degree,
        }
        self.model = SteppedModel.read(
            model, readouts=readouts, units=units, time_units=time_units, moving=moving, degree=degree
        )
        self.parameters: tuple[str, ...] = self.model.parameters
        self.readouts: tuple[str, ...] = tuple(self.model.readouts)
        self.units: Mapping[str, str] = self.model.units
        self.time_units: str = self.model.time_units
        self.nonnegative: frozenset[str] = self.model.compartments | self.model.substances | set(self.model.species)
        self._runner = _Runner(self.model.sbml, self.model, max_steps)
        held = self.model.held_sbml
        self._held = self._runner if held is None else _Runner(held, self.model, max_steps)
        self.states: tuple[str, ...] = self._runner.states
        column = {name: i for i, name in enumerate(self.parameters)}
        self.volumes: NDArray[np.intp] = np.array(
            [column.get(self.model.species.get(name) or "", -1) for name in self.states], dtype=np.intp
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process as its arguments; the model is compiled again there."""
        return _again, (self._arguments,)

    def following(self, names: Sequence[str], degree: int) -> RoadRunnerEngine:
        """See `Engine.following`."""
        asked = self._arguments["readouts"]
        readouts = asked if isinstance(asked, Mapping) else list(self.readouts)
        arguments = {**self._arguments, "readouts": readouts, "moving": tuple(names), "degree": degree}
        return _again(arguments)

    def start(self, given: Mapping[str, Floats], *, members: int, time: float) -> tuple[Floats, Floats]:
        """See `Engine.start`."""

        def assigned(name: str, free: Mapping[str, Floats]) -> Floats:
            x, p = columns(free, self.parameters, self.states, self.volumes, members)
            return self._runner.read(x, p, time=time, selection=INITIAL + name)

        return start(self.model, given, states=self.states, volumes=self.volumes, members=members, assigned=assigned)

    def run(self, x: Floats, p: Floats, times: Sequence[float], *, rtol: float, atol: float, held: bool = False) -> Run:
        """See `Engine.run`. `atol` is CVODE's for each concentration (for the amount where an id means an amount)."""
        return (self._held if held else self._runner).run(x, p, [float(time) for time in times], rtol=rtol, atol=atol)

    def rates(self, x: Floats, p: Floats, *, time: float) -> Floats:
        """See `Engine.rates`."""
        return self._runner.rates(x, p, time=time)

    def jacobian(self, x: Floats, p: Floats, *, time: float) -> Floats:
        """See `Engine.jacobian`: forward differences, whose step is the root of the rounding of each state."""
        rates = self.rates(x, p, time=time)
        found = np.empty((*x.shape, x.shape[1]))
        tiny = 1e-10 * np.abs(x).max(axis=1, initial=1e-30)
        for s in range(x.shape[1]):
            moved = x.copy()
            moved[:, s] += np.sqrt(np.finfo(float).eps) * np.maximum(np.abs(x[:, s]), tiny)
            found[:, :, s] = (self.rates(moved, p, time=time) - rates) / (moved[:, s] - x[:, s])[:, None]
        return found


def _again(arguments: dict[str, Any]) -> RoadRunnerEngine:
    rest = dict(arguments)
    return RoadRunnerEngine(rest.pop("model"), **rest)


class _Runner:
    """One compiled model, and where its numbers lie."""

    def __init__(self, sbml: str, model: SteppedModel, max_steps: int) -> None:
        with separate():
            self.rr = roadrunner.RoadRunner(sbml)
            self.integrator: Any = self.rr.getIntegratorByName("cvode")
            self.integrator.setValue("stiff", True)
            self.integrator.setValue("maximum_num_steps", max_steps)
        self.executable: Any = self.rr.model
        self.rr.timeCourseSelections = list(model.readouts.values())
        species = list(self.executable.getFloatingSpeciesIds())
        self.states = (*model.rated, *species)
        ids = list(self.executable.getGlobalParameterIds())
        free = [name for name in model.parameters if name not in model.compartments]
        sizes = list(self.executable.getCompartmentIds())
        self._parameters = np.array([ids.index(name) for name in (*free, *model.rated)], dtype=np.int32)
        self._columns = np.array([model.parameters.index(name) for name in free], dtype=np.intp)
        self._sizes = np.array([sizes.index(c) for c in sizes], dtype=np.int32)
        self._size_columns = np.array([model.parameters.index(c) for c in sizes], dtype=np.intp)
        self._hoisted = np.array([ids.index(name) for name in model.hoisted], dtype=np.int32)
        self._computed = np.array([ids.index(HOISTED + name) for name in model.hoisted], dtype=np.int32)
        self._clock = np.array([ids.index(CLOCK)], dtype=np.int32) if CLOCK in ids else None
        self._rated = len(model.rated)
        order = [self.executable.getStateVectorId(i) for i in range(len(self.states))]
        self._order = np.array([order.index(name) for name in self.states], dtype=np.intp)
        self._present: Floats | None = None  # sizes now set, so that they are set again only when they change
        self._tolerances = (0.0, 0.0)

    def run(self, x: Floats, p: Floats, times: Sequence[float], *, rtol: float, atol: float) -> Run:
        """See `Engine.run`."""
        values = np.full((len(x), len(times), len(self.rr.timeCourseSelections)), np.nan)
        end = np.full_like(x, np.nan)
        status = np.zeros(len(x), dtype=np.int8)
        spans = [(k, times[k - 1], times[k] - times[k - 1]) for k in range(1, len(times))]
        integrate, read = self.integrator.integrate, self.rr.getSelectedValues
        self._tolerances = (rtol, atol)
        self._present = None
        with silent():
            for m in range(len(x)):
                if not np.isfinite(x[m]).all():
                    status[m] = Status.NOT_FINITE
                    continue
                row, k = values[m], 0
                try:
                    self._set(x[m], p[m], times[0])
                    self.integrator.restart(times[0])
                    row[0] = read()
                    for k, since, span in spans:
                        if span > 0:
                            integrate(since, span)
                        row[k] = read()
                    end[m] = self._state()
                except RuntimeError as error:
                    row[k:] = np.nan
                    status[m] = status_of(error) if np.isfinite(p[m]).all() else Status.NOT_FINITE
                    continue
                if not np.isfinite(end[m]).all():
                    end[m], status[m] = np.nan, Status.NOT_FINITE
        return Run(values=values, x=end, status=status)

    def rates(self, x: Floats, p: Floats, *, time: float) -> Floats:
        """d`x`/dt `[M, S]`; NaN where it cannot be evaluated."""
        found = np.full_like(x, np.nan)
        self._present = None
        with silent():
            for m in range(len(x)):
                self._set(x[m], p[m], time)
                self.executable.setTime(time)
                found[m] = np.asarray(self.rr.getRatesOfChange())[self._order]
        return found

    def read(self, x: Floats, p: Floats, *, time: float, selection: str) -> Floats:
        """The value `[M]` of one selection; `x` and `p` may hold NaN in what the selection does not read."""
        found = np.full(len(x), np.nan)
        self._present = None
        for m in range(len(x)):
            self._set(x[m], p[m], time)
            self.executable.setTime(time)
            found[m] = self.rr.getValue(selection)
        return found

    def _set(self, x_S: Floats, p_P: Floats, time: float) -> None:
        sizes = p_P[self._size_columns]
        if self._present is None or not np.array_equal(sizes, self._present):
            self.executable.setCompartmentVolumes(self._sizes, sizes)
            self._present = sizes
            self.integrator.setValue("relative_tolerance", self._tolerances[0] or 1e-6)
            self.integrator.setValue("absolute_tolerance", self._tolerances[1] or 1e-9)  # scaled by the sizes when set
        self.executable.setGlobalParameterValues(
            self._parameters, np.concatenate((p_P[self._columns], x_S[: self._rated]))
        )
        if len(self._hoisted):
            computed = self.executable.getGlobalParameterValues(self._computed)
            self.executable.setGlobalParameterValues(self._hoisted, computed)
        if self._clock is not None:
            self.executable.setGlobalParameterValues(self._clock, np.array([time]))
        self.executable.setFloatingSpeciesAmounts(x_S[self._rated :])

    def _state(self) -> Floats:
        species = self.executable.getFloatingSpeciesAmounts()
        if not self._rated:
            return np.asarray(species)
        return np.concatenate((self.executable.getGlobalParameterValues(self._parameters[-self._rated :]), species))


def status_of(error: RuntimeError) -> Status:
    """What CVODE's failure means."""
    return Status.TOO_MANY_STEPS if "TOO_MUCH_WORK" in str(error) else Status.NOT_CONVERGED


@contextmanager
def separate() -> Iterator[None]:
    """While a model is loaded: its ids do not become attributes of the class (an id such as `reset` would break every
    later RoadRunner of the process), and SUNDIALS, which reports failures by exception too, opens no console."""
    config, key = roadrunner.Config, roadrunner.Config.ROADRUNNER_DISABLE_PYTHON_DYNAMIC_PROPERTIES
    before = config.getValue(key)
    names = ("SUNLOGGER_ERROR_FILENAME", "SUNLOGGER_WARNING_FILENAME")
    environment = {name: os.environ.get(name) for name in names}
    config.setValue(key, True)
    os.environ.update({name: os.devnull for name in names if environment[name] is None})
    try:
        with silent():
            yield
    finally:
        config.setValue(key, before)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)


@contextmanager
def silent() -> Iterator[None]:
    """RoadRunner prints what it also raises; only what it raises is wanted."""
    level = roadrunner.Logger.getLevel()
    roadrunner.Logger.setLevel(roadrunner.Logger.LOG_FATAL)
    try:
        yield
    finally:
        roadrunner.Logger.setLevel(level)
