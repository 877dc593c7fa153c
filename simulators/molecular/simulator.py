"""Diffusion-limited association rates of many ligands to one receptor, as a micro-clock `Simulator`: member i is ligand i.

Legend: `M` members of this chunk, `T` sample times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from simulators.molecular import water
from simulators.molecular.association import NM3_NS_TO_1_M_S, Association, Settings, associate
from simulators.molecular.encounter import Encounter, ScreenedCoulomb
from simulators.molecular.ligand import Ligand
from simulators.molecular.receptor import Receptor
from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.seeds import stream
from twin.simulator import State, Values, step_times
from twin.variable import Variable

NOTHING_REACTED = 1
"""`status` of a member none of whose trajectories reached the patch: its rate is NaN, below what the budget can resolve."""

_WIDTH = 0.03  # of a class, in ln(contact radius)

_CHECKS: Mapping[str, Callable[..., float]] = {
    "ionic_strength": water.check_ionic_strength,
    "temperature": water.check_temperature,
}


@dataclass(frozen=True, order=True)
class LigandClass:
    """Ligands that one run of Brownian dynamics serves: one charge, and contact radii within 3 %.

    The classes are cells of a fixed grid in ln(radius), so that a ligand's class does not depend on which others are there.
    """

    charge: int
    cell: int

    @classmethod
    def of(cls, ligand: Ligand) -> LigandClass:
        """The class of a ligand."""
        return cls(ligand.charge, math.floor(math.log(ligand.contact_nm) / _WIDTH))

    @property
    def contact_nm(self) -> float:
        """The radius in the middle of the class [nm]."""
        return math.exp((self.cell + 0.5) * _WIDTH)


class Conditions(TypedDict):
    """What Brownian dynamics depends on beside the molecules."""

    temperature_K: float
    ionic_strength_M: float


class AssociationSimulator:
    """A `twin.Simulator` that estimates k_D, the rate at which ligands reach the receptor's patch by diffusion.

    It runs its own nanoseconds in the first step, and again where a perturbation changed the conditions; between, it returns
    what it knows. Outputs: ``k_D`` [1/(M s)] and ``sigma_ln_k_D``, the standard error of ln k_D that was reached.
    Targets: ``ionic_strength`` [M] and ``temperature`` [K] of each member.

    Noise comes from (seed, class): a member's value has the same bits in any block of members. Members of one class that are apart
    each cost its whole run: to share that among ranks, see `AssociationReplicas`.

    Args:
        ligands: one per member.
        receptor: what they bind.
        temperature_K, ionic_strength_M: conditions at the start.
        sigma_ln: wanted standard error of ln k_D.
        trajectories: at most so many per class, in place of a time limit, which would make results depend on the machine.
        settings: numerics of the trajectories.
        time_units: of the twin's clock.

    Raises:
        InputError: no ligand, an id given twice, conditions outside the range of the theory, `sigma_ln` or `trajectories`
            not above 0.
    """

    def __init__(
        self,
        ligands: Sequence[Ligand],
        receptor: Receptor,
        *,
        temperature_K: float = 310.15,
        ionic_strength_M: float = 0.15,
        sigma_ln: float = 0.1,
        trajectories: int = 4000,
        settings: Settings | None = None,
        time_units: str = "min",
    ) -> None:
        self.ligands = tuple(ligands)
        self.receptor = receptor
        ids = [ligand.id for ligand in self.ligands]
        twice = sorted({id for id in ids if ids.count(id) > 1})
        if not ids or twice:
            raise InputError(f"AssociationSimulator: ligands {twice or 'none'}; expected at least one, each id once.")
        if not (math.isfinite(sigma_ln) and sigma_ln > 0) or trajectories < 1:
            raise InputError(
                f"AssociationSimulator: sigma_ln {sigma_ln}, trajectories {trajectories}; expected both above 0."
            )
        self._conditions = {
            "ionic_strength": water.check_ionic_strength(ionic_strength_M),
            "temperature": water.check_temperature(temperature_K),
        }
        self.sigma_ln, self.trajectories = sigma_ln, trajectories
        self.settings = settings or Settings()
        self._time_units = time_units
        self._classes = tuple(LigandClass.of(ligand) for ligand in self.ligands)
        self._targets = {
            "ionic_strength": Variable("ionic_strength", "M", lower=0.0),
            "temperature": Variable("temperature", "K", lower=0.0),
        }

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """None: conditions change by perturbations."""
        return ()

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """``k_D`` and the standard error of its logarithm."""
        return Variable("k_D", "1/(M s)", lower=0.0), Variable("sigma_ln_k_D", lower=0.0)

    @property
    def targets(self) -> Mapping[str, Variable]:
        """Conditions."""
        return self._targets

    @property
    def clock(self) -> Literal["macro", "micro"]:
        """``"micro"``: a step of the twin holds any number of its own nanoseconds."""
        return "micro"

    @property
    def time_units(self) -> str:
        """Units of the twin's clock."""
        return self._time_units

    @property
    def conditions(self) -> Conditions:
        """Those at the start."""
        return {
            "temperature_K": self._conditions["temperature"],
            "ionic_strength_M": self._conditions["ionic_strength"],
        }

    @property
    def classes(self) -> Mapping[LigandClass, tuple[int, ...]]:
        """Members of each class: the blocks that cost one run each, however many members they hold."""
        members: dict[LigandClass, tuple[int, ...]] = {}
        for member, ligand_class in enumerate(self._classes):
            members[ligand_class] = (*members.get(ligand_class, ()), member)
        return {ligand_class: members[ligand_class] for ligand_class in sorted(members)}

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """The start of these members; nothing runs yet.

        Raises:
            InputError: a member without a ligand.
        """
        members = np.asarray(members, dtype=np.int64)
        if len(members) and not 0 <= members.min() <= members.max() < len(self.ligands):
            raise InputError(
                f"AssociationSimulator: members {members.min()}…{members.max()}, but there are {len(self.ligands)} ligands."
            )
        arrays: dict[str, NDArray[Any]] = self.begun(len(members))
        arrays["k_D"] = np.full(len(members), np.nan)
        arrays["sigma_ln_k_D"] = np.full(len(members), np.nan)
        arrays["status"] = np.zeros(len(members), dtype=np.int8)
        return State(members=members, arrays=arrays, note={"seed": int(seed)})

    def begun(self, members: int) -> dict[str, NDArray[Any]]:
        """The conditions at the start, of so many members."""
        return {name: np.full(members, value) for name, value in self._conditions.items()}

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """A new state under other conditions; the rates of changed members are estimated anew in the next step.

        Raises:
            InputError: an unknown target, a wrong number of values, or conditions outside the range of the theory.
        """
        return self.conditioned(state, perturbations, anew=("k_D", "sigma_ln_k_D"))

    def conditioned(self, state: State, perturbations: Sequence[Perturbation], *, anew: Sequence[str]) -> State:
        """See `perturb`; the arrays in `anew` are unknown where conditions have changed."""
        arrays = {name: array.copy() for name, array in state.arrays.items()}
        for change in perturbations:
            change.refuse_unknown(self._targets)
            old = arrays[change.name]
            new = change.applied(old)
            for number in np.unique(new):
                _CHECKS[change.name](float(number), where=f"Perturbation of {change.target}: it")
            changed = new != old
            arrays[change.name] = new
            for name in anew:
                arrays[name][changed] = np.nan
            arrays["status"][changed] = 0
        return replace(state, arrays=arrays)

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """Rates under the present conditions, the same at all times of the step `[M, T + 1]`. See `twin.Simulator.step`.

        Raises:
            InputError: an input (there is none), or times out of order.
        """
        times = step_times(t0, t1, sample)
        if inputs:
            raise InputError(f"AssociationSimulator has no input {next(iter(inputs))!r}; it has none at all.")
        arrays = self._estimated(state)
        outputs = {port.name: np.repeat(arrays[port.name][:, None], len(times) - 1, axis=1) for port in self.outputs}
        return replace(state, arrays=arrays, time=t1), outputs

    def _estimated(self, state: State) -> Mapping[str, NDArray[Any]]:
        """The state's arrays with the rates that were still open."""
        arrays = {name: array.copy() for name, array in state.arrays.items()}
        rows_of: dict[tuple[LigandClass, float, float], list[int]] = {}
        for row in np.flatnonzero(np.isnan(arrays["k_D"]) & (arrays["status"] == 0)):
            ligand_class = self._classes[int(state.members[row])]
            key = (ligand_class, float(arrays["temperature"][row]), float(arrays["ionic_strength"][row]))
            rows_of.setdefault(key, []).append(int(row))
        for (ligand_class, temperature_K, ionic_strength_M), rows in sorted(rows_of.items()):
            found = self.associate(
                ligand_class,
                temperature_K=temperature_K,
                ionic_strength_M=ionic_strength_M,
                seed=int(state.note["seed"]),
            )
            for row in rows:
                arrays["k_D"][row] = self.k_D(int(state.members[row]), found, temperature_K=temperature_K)
                arrays["sigma_ln_k_D"][row] = found.sigma_ln if found.reacted else np.nan
                arrays["status"][row] = 0 if found.reacted else NOTHING_REACTED
        return arrays

    def k_D(self, member: int, found: Association, *, temperature_K: float) -> float:  # noqa: N802 - the field's spelling
        """k_D [1/(M s)] of a member, from the run of its class; NaN where nothing reacted."""
        ligand = self.ligands[member]
        diffusion = ligand.diffusion_nm2_ns(temperature_K) + self.receptor.diffusion_nm2_ns(temperature_K)
        return NM3_NS_TO_1_M_S * diffusion * found.rate_over_D_nm

    def encounter(self, ligand_class: LigandClass, *, temperature_K: float, ionic_strength_M: float) -> Encounter:
        """What Brownian dynamics simulates for a class of ligands.

        Raises:
            InputError: conditions outside the range of the theory.
        """
        bjerrum_nm = water.bjerrum_length_nm(temperature_K)
        kappa_1_nm = water.inverse_debye_length_1_nm(temperature_K, ionic_strength_M)
        receptor, contact_nm = self.receptor, ligand_class.contact_nm
        diffusion = water.diffusion_nm2_ns(contact_nm, temperature_K) + receptor.diffusion_nm2_ns(temperature_K)
        return Encounter(
            contact_nm=receptor.radius_nm + contact_nm,
            patch_half_angle=math.radians(receptor.patch_half_angle_deg),
            energy=ScreenedCoulomb.of_spheres(
                (receptor.charge, ligand_class.charge),
                (receptor.radius_nm, contact_nm),
                bjerrum_nm=bjerrum_nm,
                kappa_1_nm=kappa_1_nm,
            ),
            tumbling_1_nm2=receptor.tumbling_1_ns(temperature_K) / diffusion,
        )

    def associate(
        self,
        ligand_class: LigandClass,
        *,
        temperature_K: float,
        ionic_strength_M: float,
        seed: int = 0,
        generator: np.random.Generator | None = None,
        sigma_ln: float | None = None,
        trajectories: int | None = None,
    ) -> Association:
        """One run of Brownian dynamics; its noise is that of (seed, class), under all conditions alike.

        Args:
            generator: in place of that noise; `sigma_ln` and `trajectories` in place of the simulator's own.
        """
        return associate(
            self.encounter(ligand_class, temperature_K=temperature_K, ionic_strength_M=ionic_strength_M),
            generator or stream(seed, "association", ligand_class.charge, ligand_class.cell),
            sigma_ln=sigma_ln or self.sigma_ln,
            trajectories=trajectories or self.trajectories,
            temperature_K=temperature_K,
            settings=self.settings,
        )
