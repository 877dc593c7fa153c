"""Engines side by side: ours, libRoadRunner and bngsim run the same members of the same model, each in its own process.

A contender integrates an `Ensemble` on one core and says how many seconds of that core it took, so that other work on
the machine counts little. A process that ends by itself is a crash, one that takes too long is ended: both are answers.

Legend: `M` members, `T` times, `S` species, `P` parameters.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from simulators.reaction.engine import Floats, Status


@dataclass(frozen=True)
class Ensemble:
    """Members of a model.

    Attributes:
        model: path of an SBML file.
        times: `[T]`, the first is the start.
        given: parameter or species → values `[M]`, what ours gets.
        parameters, parameter_values: every parameter that has no assignment rule, and its values `[M, P]` once initial
            assignments are done.
        species, amounts, concentrations: every species, and what it starts with `[M, S]`.
        ruled: species that an assignment rule gives.
    """

    model: Path
    times: Floats
    given: Mapping[str, Floats]
    parameters: Sequence[str]
    parameter_values: Floats
    species: Sequence[str]
    amounts: Floats
    concentrations: Floats
    ruled: frozenset[str]

    @property
    def members(self) -> int:
        """How many."""
        return len(self.amounts)


@dataclass(frozen=True)
class Lap:
    """What a contender answers.

    Attributes:
        seconds: of one core.
        values: concentrations `[M, T, S]` of the ensemble's species; NaN for members that failed.
        failed: which members did `[M]`.
    """

    seconds: float
    values: Floats
    failed: np.ndarray


class Contender(Protocol):
    """Integrates an ensemble's first members."""

    def run(self, members: int, rtol: float, atol: float) -> Lap:
        """The first `members` of the ensemble."""
        ...


class Ours:
    """`ReactionModel.simulate` on one thread."""

    def __init__(self, ensemble: Ensemble) -> None:
        from simulators.reaction.model import ReactionModel
        from twin import __version__

        first = ReactionModel.read("S1 -> S2; k*S1; S1 = 1; S2 = 0; k = 1")
        for method in ("rodas5p", "bdf", "dormand_prince"):  # imports, kernels
            first.simulate([0.0, 1.0], threads=1, method=method)
        begun = time.process_time()
        self._ensemble, self._model = ensemble, ReactionModel.read(ensemble.model)
        self._model.simulate(ensemble.times[:1], select=ensemble.species, threads=1)
        self.preparation_s, self.version = time.process_time() - begun, __version__

    def run(self, members: int, rtol: float, atol: float) -> Lap:
        """See `Contender.run`."""
        e = self._ensemble
        parameters = {name: values[:members] for name, values in e.given.items()}
        begun = time.process_time()
        data = self._model.simulate(
            e.times, parameters=parameters, select=e.species, members=members, rtol=rtol, atol=atol, threads=1
        )
        seconds = time.process_time() - begun
        values = np.stack([data[f"{n}_" if n in data.dims else n].values for n in e.species], axis=2)
        return Lap(seconds, values, np.asarray(data["status"].values != Status.FINE))


class RoadRunner:
    """libRoadRunner as a whole: every member gets its parameters in one call and its species in another, then runs."""

    def __init__(self, ensemble: Ensemble) -> None:
        for name in ("SUNLOGGER_ERROR_FILENAME", "SUNLOGGER_WARNING_FILENAME"):
            os.environ[name] = os.devnull  # SUNDIALS writes what RoadRunner raises too; this process is ours alone
        import roadrunner as untyped

        roadrunner: Any = untyped
        roadrunner.Config.setValue(roadrunner.Config.ROADRUNNER_DISABLE_PYTHON_DYNAMIC_PROPERTIES, True)
        roadrunner.Logger.setLevel(roadrunner.Logger.LOG_FATAL)
        self.version = str(roadrunner.__version__)
        e = self._ensemble = ensemble
        begun = time.process_time()
        self._runner = roadrunner.RoadRunner(str(e.model))
        self.preparation_s = time.process_time() - begun
        model = self._model = self._runner.model
        row = {name: i for i, name in enumerate(e.parameters)}
        ids = list(model.getGlobalParameterIds())
        own = [i for i, name in enumerate(ids) if name in row]
        self._indices = np.array(own, dtype=np.int32)
        self._values = np.ascontiguousarray(e.parameter_values[:, [row[ids[i]] for i in own]])
        species = {name: i for i, name in enumerate(e.species)}
        floating, boundary = list(model.getFloatingSpeciesIds()), list(model.getBoundarySpeciesIds())
        free = [i for i, name in enumerate(floating) if name not in e.ruled]
        self._free = np.array(free, dtype=np.int32)
        self._amounts = np.ascontiguousarray(e.amounts[:, [species[floating[i]] for i in free]])
        boundary = [name for name in boundary if name not in e.ruled]
        fixed = e.concentrations[:, [species[name] for name in boundary]]
        every = list(model.getBoundarySpeciesIds())
        self._boundary = np.array([every.index(name) for name in boundary], dtype=np.int32)
        self._fixed = np.ascontiguousarray(fixed)
        self._columns = [species[name] for name in floating]
        self._runner.timeCourseSelections = [f"[{name}]" for name in floating]
        self._events = model.getNumEvents() > 0
        self._integrator: Any = self._runner.getIntegrator()

    def run(self, members: int, rtol: float, atol: float) -> Lap:
        """See `Contender.run`."""
        e, model, simulate = self._ensemble, self._model, self._runner.simulate
        self._integrator.setValue("relative_tolerance", rtol)
        self._integrator.setValue("absolute_tolerance", atol)
        values = np.full((members, len(e.times), len(e.species)), np.nan)
        failed = np.zeros(members, dtype=bool)
        even = np.allclose(np.diff(e.times), e.times[1] - e.times[0], rtol=1e-9)
        start, end, points = float(e.times[0]), float(e.times[-1]), len(e.times)
        columns, seconds = self._columns, 0.0
        for m in range(members):
            begun = time.process_time()
            try:
                if self._events:
                    self._runner.reset()  # else events would remember the last member
                model.setTime(start)
                model.setGlobalParameterValues(self._indices, self._values[m])
                if len(self._boundary):
                    model.setBoundarySpeciesConcentrations(self._boundary, self._fixed[m])
                model.setFloatingSpeciesAmounts(self._free, self._amounts[m])
                found = simulate(start, end, points) if even else simulate(times=e.times)
            except RuntimeError:
                failed[m] = True
                seconds += time.process_time() - begun
                continue
            seconds += time.process_time() - begun
            values[m][:, columns] = found
            failed[m] = not np.isfinite(found).all()
        values[failed] = np.nan
        return Lap(seconds, values, failed)


class Bngsim:
    """bngsim's CVODE: every member gets its parameters and its species in one call each, then runs."""

    def __init__(self, ensemble: Ensemble) -> None:
        import importlib

        bngsim: Any = importlib.import_module("bngsim")
        self.version = str(getattr(bngsim, "__version__", "?"))
        e = self._ensemble = ensemble
        begun = time.process_time()
        self._model = bngsim.Model.from_sbml(str(e.model))
        self._simulator = bngsim.Simulator(self._model, method="ode")
        self.preparation_s = time.process_time() - begun
        known = set(self._model.primary_param_names)
        self._names = [(name, i) for i, name in enumerate(e.parameters) if name in known]
        row = {name: i for i, name in enumerate(e.species)}
        self._species = list(self._model.species_names)
        self._columns = [row.get(name, -1) for name in self._species]

    def run(self, members: int, rtol: float, atol: float) -> Lap:
        """See `Contender.run`."""
        e, model = self._ensemble, self._model
        values = np.full((members, len(e.times), len(e.species)), np.nan)
        failed = np.zeros(members, dtype=bool)
        span, seconds = (float(e.times[0]), float(e.times[-1])), 0.0
        mine = [i for i, column in enumerate(self._columns) if column >= 0]
        theirs = [self._columns[i] for i in mine]
        for m in range(members):
            given = {name: float(e.parameter_values[m, i]) for name, i in self._names}
            begun = time.process_time()
            try:
                model.reset()
                model.set_params(given)
                state = model.get_state()
                state[mine] = e.concentrations[m, theirs]
                model.set_state(state)
                found = np.asarray(self._simulator.run(span, len(e.times), rtol=rtol, atol=atol).species)
            except Exception:  # its errors have no common class; whatever it is, the member has failed
                failed[m] = True
                seconds += time.process_time() - begun
                continue
            seconds += time.process_time() - begun
            values[m][:, theirs] = found[:, mine]
            failed[m] = not np.isfinite(found).all()
        values[failed] = np.nan
        return Lap(seconds, values, failed)


CONTENDERS = {"kakehashi": Ours, "roadrunner": RoadRunner, "bngsim": Bngsim}


_PATIENCE = 20.0
"""How much longer than its limit of CPU time a lap may take on the wall's clock."""


@dataclass(frozen=True)
class Fault:
    """Why there is no answer: `crash` (its process ended), `time` (it took too long) or `error`, with words."""

    kind: str
    words: str


class Lane:
    """A contender in a process of its own.

    Attributes:
        preparation_s: seconds of one core from the file to a model ready to run; imports are left out.
        version: of the engine.
    """

    def __init__(self, name: str, ensemble: Ensemble) -> None:
        self.name, self._ensemble = name, ensemble
        self.preparation_s, self.version = float("nan"), ""
        self.fault: Fault | None = None
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, ensemble, other), daemon=True)
        self._process.start()
        other.close()

    def prepare(self, limit_s: float) -> Fault | None:
        """Wait until the model is ready."""
        answer = self._answer(limit_s)
        if isinstance(answer, Fault):
            self.fault = answer
            return answer
        self.preparation_s, self.version = answer
        return None

    def run(self, members: int, rtol: float, atol: float, limit_s: float) -> Lap | Fault:
        """One lap, or why there is none; after a crash or a time-out there will be no more."""
        if self.fault is not None:
            return self.fault
        self._pipe.send((members, rtol, atol))
        answer = self._answer(limit_s)
        if isinstance(answer, Fault) and answer.kind != "error":
            self.fault = answer
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _answer(self, limit_s: float) -> Any:
        import psutil

        try:
            process = psutil.Process(self._process.pid)
            begun, since = sum(process.cpu_times()[:2]), time.monotonic()
            while not self._pipe.poll(min(1.0, limit_s)):
                # its own time counts: where others share the machine, the clock on the wall says little
                used = sum(process.cpu_times()[:2]) - begun
                if used >= limit_s or time.monotonic() - since >= _PATIENCE * limit_s:
                    self._process.kill()
                    return Fault("time", f"not done within {limit_s:.0f} s of CPU time")
            return self._pipe.recv()
        except psutil.NoSuchProcess:
            self._process.join(5.0)
            return Fault("crash", f"its process ended with code {self._process.exitcode}")
        except (EOFError, OSError):
            self._process.join(5.0)
            return Fault("crash", f"its process ended with code {self._process.exitcode}")


def _serve(name: str, ensemble: Ensemble, pipe: Connection) -> None:
    try:
        contender: Any = CONTENDERS[name](ensemble)
        pipe.send((contender.preparation_s, contender.version))
    except Exception as error:
        pipe.send(Fault("error", f"{type(error).__name__}: {error}"))
        return
    while True:
        try:
            members, rtol, atol = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(contender.run(members, rtol, atol))
        except Exception as error:
            pipe.send(Fault("error", f"{type(error).__name__}: {error}"))
