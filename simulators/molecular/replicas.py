"""Brownian dynamics of classes of ligands in replicas, each a member of its own: what ranks can share.

Legend: `M` members of this chunk, `R` replicas of a class, `T` sample times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulators.molecular.association import Association, pooled
from simulators.molecular.simulator import AssociationSimulator, Conditions, LigandClass
from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.seeds import stream
from twin.simulator import State, Values, step_times
from twin.variable import Variable

_COUNTS = ("reacted", "trajectories")


class AssociationReplicas:
    """A micro `twin.Simulator` whose members are replicas: member c R + r is replica r of the class at position c.

    The trajectories of a class are cut into R parts with noise of their own, (seed, class, replica), so that any number of ranks
    that share the members gets the same bits. Each part goes on until its own ln k_D is known to `sigma_ln` √R, or its share of
    the trajectories is used up; `together` is the run of all parts. One replica is the run of `AssociationSimulator`, bit by bit.

    Outputs: ``reacted`` and ``trajectories``, how many were counted. Targets: the conditions, as of `AssociationSimulator`.

    Args:
        of: whose classes, conditions and numerics.
        replicas: R.

    Raises:
        InputError: less than one replica, or more than there are trajectories.
    """

    def __init__(self, of: AssociationSimulator, replicas: int = 1) -> None:
        if not 1 <= replicas <= of.trajectories:
            raise InputError(
                f"{replicas} replicas of {of.trajectories} trajectories; expected at least 1, and no more than trajectories."
            )
        self.of, self.replicas = of, replicas
        self._classes = tuple(of.classes)

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """None."""
        return ()

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """How many trajectories reacted, and of how many."""
        return tuple(Variable(name, lower=0.0) for name in _COUNTS)

    @property
    def targets(self) -> Mapping[str, Variable]:
        """Conditions."""
        return self.of.targets

    @property
    def clock(self) -> Literal["macro", "micro"]:
        """``"micro"``: a step of the twin holds any number of its own nanoseconds."""
        return "micro"

    @property
    def time_units(self) -> str:
        """Units of the twin's clock."""
        return self.of.time_units

    def members(self, ligand_class: LigandClass) -> NDArray[np.int64]:
        """The replicas of a class `[R]`."""
        first = self._classes.index(ligand_class) * self.replicas
        return np.arange(first, first + self.replicas, dtype=np.int64)

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """The start of these replicas; nothing runs yet.

        Raises:
            InputError: a member that is no replica.
        """
        members = np.asarray(members, dtype=np.int64)
        end = len(self._classes) * self.replicas
        if len(members) and not 0 <= members.min() <= members.max() < end:
            raise InputError(f"replicas {members.min()}…{members.max()}, but there are {end}, from 0.")
        arrays = self.of.begun(len(members)) | {name: np.full(len(members), np.nan) for name in _COUNTS}
        arrays["status"] = np.zeros(len(members), dtype=np.int8)
        return State(members=members, arrays=arrays, note={"seed": int(seed)})

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """A new state under other conditions; changed replicas run anew in the next step. See `AssociationSimulator.perturb`."""
        return self.of.conditioned(state, perturbations, anew=_COUNTS)

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """What was counted, the same at all times of the step `[M, T + 1]`; the first step runs what has not run.

        Raises:
            InputError: an input (there is none), or times out of order.
        """
        times = step_times(t0, t1, sample)
        if inputs:
            raise InputError(f"AssociationReplicas has no input {next(iter(inputs))!r}; it has none at all.")
        arrays: dict[str, NDArray[Any]] = {name: array.copy() for name, array in state.arrays.items()}
        for row in np.flatnonzero(np.isnan(arrays["trajectories"])):
            conditions: Conditions = {
                "temperature_K": float(arrays["temperature"][row]),
                "ionic_strength_M": float(arrays["ionic_strength"][row]),
            }
            found = self._run(int(state.members[row]), conditions, seed=int(state.note["seed"]))
            arrays["reacted"][row], arrays["trajectories"][row] = found.reacted, found.trajectories
        outputs = {name: np.repeat(arrays[name][:, None], len(times) - 1, axis=1) for name in _COUNTS}
        return replace(state, arrays=arrays, time=t1), outputs

    def together(self, ligand_class: LigandClass, outputs: Mapping[str, NDArray[Any]]) -> Association:
        """The run of all replicas of a class under the conditions at the start, of which these were counted `[R]`."""
        reacted, counted = (int(outputs[name].sum()) for name in _COUNTS)
        return pooled(
            self.of.encounter(ligand_class, **self.of.conditions), reacted, counted, settings=self.of.settings
        )

    def _run(self, member: int, conditions: Conditions, *, seed: int) -> Association:
        ligand_class, replica = self._classes[member // self.replicas], member % self.replicas
        if self.replicas == 1:
            return self.of.associate(ligand_class, **conditions, seed=seed)
        return self.of.associate(
            ligand_class,
            **conditions,
            generator=stream(seed, "association", ligand_class.charge, ligand_class.cell, "replica", replica),
            sigma_ln=self.of.sigma_ln * math.sqrt(self.replicas),
            trajectories=math.ceil(self.of.trajectories / self.replicas),
        )
