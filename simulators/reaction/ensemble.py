"""Our own engine: many members at once, one per lane of the CPU's vectors, each with its own time and step.

The model becomes instructions over lanes (`tape`), its Jacobian symbolic and sparse, its LU factors a fixed list of
operations (`sparse_lu`), its integration Rodas5P (`rodas5p`). Nothing is compiled per model.

Legend: `M` members, `S` states, `P` settable constants, `T` times, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.reaction import rodas5p
from simulators.reaction.engine import Floats, Run, Status
from simulators.reaction.halt import Halt, shared_out
from simulators.reaction.lane_problem import Members
from simulators.reaction.lane_program import LaneProgram
from simulators.reaction.lanes import LANES
from simulators.reaction.lowering import INITIAL
from simulators.reaction.mathematics import equations_of
from simulators.reaction.readout import Readouts
from simulators.reaction.start import start
from simulators.reaction.stepped_model import SteppedModel


class EnsembleEngine:
    """Integrates an SBML or Antimony model for many members at once (see `Engine`).

    Args:
        model, readouts, units, time_units: as `RoadRunnerEngine`.
        max_steps: most steps of a member in one run.
        threads: how many threads share the members; the bits do not depend on it. With one, the caller's own does the
            work, and Ctrl-C is heard once it is done; more of them end within a step of it.
        moving, degree: as `RoadRunnerEngine`.

    Raises:
        InputError, UnitError, UnsupportedFeature: as `RoadRunnerEngine`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        readouts: Readouts = None,
        units: Mapping[str, str] | None = None,
        time_units: str | None = None,
        max_steps: int = 100_000,
        threads: int = 1,
        moving: Sequence[str] = (),
        degree: int = 0,
    ) -> None:
        self._arguments: dict[str, Any] = {
            "model": model, "readouts": readouts, "units": units, "time_units": time_units, "max_steps": max_steps,
            "threads": threads, "moving": tuple(moving), "degree": degree,
        }  # fmt: skip
        self.model = SteppedModel.read(
            model, readouts=readouts, units=units, time_units=time_units, moving=moving, degree=degree
        )
        self.parameters: tuple[str, ...] = self.model.parameters
        self.readouts: tuple[str, ...] = tuple(self.model.readouts)
        self.units: Mapping[str, str] = self.model.units
        self.time_units: str = self.model.time_units
        self.nonnegative: frozenset[str] = self.model.compartments | self.model.substances | set(self.model.species)
        self._max_steps, self._threads = max_steps, threads
        self.equations = equations_of(self.model)
        self.states: tuple[str, ...] = self.equations.states
        column = {name: i for i, name in enumerate(self.parameters)}
        self.volumes: NDArray[np.intp] = np.array(
            [column.get(self.model.species.get(name) or "", -1) for name in self.states], dtype=np.intp
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process as its arguments."""
        return _again, (self._arguments,)

    @cached_property
    def _program(self) -> LaneProgram:
        return LaneProgram(self.equations.system(self.parameters))

    def following(self, names: Sequence[str], degree: int) -> EnsembleEngine:
        """See `Engine.following`."""
        asked = self._arguments["readouts"]
        readouts = asked if isinstance(asked, Mapping) else list(self.readouts)
        arguments = {**self._arguments, "readouts": readouts, "moving": tuple(names), "degree": degree}
        return _again(arguments)

    def start(self, given: Mapping[str, Floats], *, members: int, time: float) -> tuple[Floats, Floats]:
        """See `Engine.start`."""
        return start(
            self.model,
            given,
            states=self.states,
            volumes=self.volumes,
            members=members,
            assigned=lambda name, free: self.equations.assigned(INITIAL + name, free, time, members),
        )

    def run(self, x: Floats, p: Floats, times: Sequence[float], *, rtol: float, atol: float, held: bool = False) -> Run:
        """See `Engine.run`."""
        when, which = np.unique(np.array(times, dtype=np.float64), return_inverse=True)
        floor = np.full_like(x, atol)  # of amounts
        amounts = self.volumes >= 0
        floor[:, amounts] *= p[:, self.volumes[amounts]]
        fine = np.asarray(np.isfinite(x).all(axis=1) & np.isfinite(p).all(axis=1))
        halt, program = Halt(), self._program
        members = Members(
            x=np.where(fine[:, None], x, np.nan),
            p=np.ascontiguousarray(p),
            floor=floor,
            t=np.full(len(x), when[0]),
            h=np.zeros(len(x)),
            stop=np.full(len(x), np.inf),
            point=np.zeros(len(x), dtype=np.int64),
            status=np.where(fine, Status.FINE, Status.NOT_FINITE).astype(np.int8),
            steps=np.zeros(len(x), dtype=np.int64),
            halt=halt.flag,
        )
        values = np.full((len(x), len(when), len(self.readouts)), np.nan)
        rows = np.flatnonzero(fine)

        def part(chosen: NDArray[np.int64]) -> None:
            rodas5p.integrate(program.layout, program.code, members, chosen, when, rtol, held, self._max_steps, values)

        if self._threads > 1 and len(rows) > LANES:
            shared_out(part, np.array_split(rows, self._threads), threads=self._threads, halt=halt)
        else:
            part(rows)  # a thread takes as long to begin and end as a coupled step of few members
        return Run(values=values[:, which], x=members.x, status=members.status)

    def rates(self, x: Floats, p: Floats, *, time: float) -> Floats:
        """See `Engine.rates`."""
        return self._program.rates(x, p, time)[0]

    def jacobian(self, x: Floats, p: Floats, *, time: float) -> Floats:
        """∂(dx/dt)/∂x `[M, S, S]`, exact."""
        return self._program.rates(x, p, time)[1]


def _again(arguments: dict[str, Any]) -> EnsembleEngine:
    rest = dict(arguments)
    return EnsembleEngine(rest.pop("model"), **rest)
