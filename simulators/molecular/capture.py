"""How fast a cell with many receptors catches its ligand, and how often a ligand set free is caught again.

Legend: `M` members of this chunk, `N` trajectories, `T` sample times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.seeds import stream
from twin.simulator import State, Values, step_times
from twin.variable import Variable

Floats = NDArray[np.float64]

PER_M_S = 4.0e-15 * math.pi * 6.02214076e23
"""4π · Avogadro's number, from µm · µm²/s to 1/(M s): a litre is 1e15 µm³."""


class CaptureSimulator:
    """A micro `twin.Simulator`: ligands that diffuse about a cell whose free receptors compete for them.

    With the radius a, the ligand's diffusion constant D, and N free receptors that bind a ligand beside them at `kon`, the
    surface reacts at κ = kon N / 4πa² and catches a ligand that touches it with probability 1 - γ, γ = ⟨exp(-κℓ/D)⟩ over
    paths of Brownian dynamics (`surface_times`). Ligands arrive at Smoluchowski's 4πDa, so that each receptor binds at
    4πDa (1 - γ)/N, and a ligand set free escapes with probability γ. In the limit of many paths both are the formula of Berg
    & Purcell 1977 (Biophys. J. 20:193) and Shoup & Szabo 1982 (Biophys. J. 40:33): γ = 1/(1 + N kon/4πDa).

    Input: ``free`` receptors of a cell. Outputs: ``kon_eff`` [1/(M s)], ``escape`` (γ) and ``sigma_escape``, its standard
    error. Targets: ``free``, ``kon`` [1/(M s)], ``diffusion`` [µm²/s] and ``radius`` [µm].

    Paths come from the seed alone: members, steps and numbers of receptors are compared on the same ones.

    Args:
        radius_um, diffusion_um2_s, kon_1_M_s, free: one number for all members, or one per member.
        trajectories: N.
        time_units: of the twin's clock.

    Raises:
        InputError: a number that is not above 0 (`free`: below 0), or lengths that differ.
    """

    def __init__(
        self,
        *,
        radius_um: Floats | float = 10.0,
        diffusion_um2_s: Floats | float = 100.0,
        kon_1_M_s: Floats | float = 1e7,
        free: Floats | float = 0.0,
        trajectories: int = 4096,
        time_units: str = "min",
    ) -> None:
        self._values = {
            name: np.asarray(value, dtype=np.float64)
            for name, value in {
                "free": free,
                "kon": kon_1_M_s,
                "diffusion": diffusion_um2_s,
                "radius": radius_um,
            }.items()
        }
        if len({v.shape for v in self._values.values() if v.ndim}) > 1 or any(
            v.ndim > 1 for v in self._values.values()
        ):
            shapes = {name: v.shape for name, v in self._values.items()}
            raise InputError(f"CaptureSimulator: shapes {shapes}; expected numbers, or one per member, alike.")
        if trajectories < 2:
            raise InputError(f"CaptureSimulator: {trajectories} trajectories; expected at least 2.")
        self._targets = {
            "free": Variable("free", lower=0.0),
            "kon": Variable("kon", "1/(M s)", lower=0.0),
            "diffusion": Variable("diffusion", "um**2/s", lower=0.0),
            "radius": Variable("radius", "um", lower=0.0),
        }
        for name, values in self._values.items():
            _check(name, values, where="CaptureSimulator")
        self._trajectories, self._time_units = trajectories, time_units
        self._times: dict[int, Floats] = {}

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """The number of free receptors."""
        return (self._targets["free"],)

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Effective rate constant, probability to escape, and its standard error."""
        return (
            Variable("kon_eff", "1/(M s)", lower=0.0),
            Variable("escape", lower=0.0),
            Variable("sigma_escape", lower=0.0),
        )

    @property
    def targets(self) -> Mapping[str, Variable]:
        """Everything that the formula of Berg and Purcell holds."""
        return self._targets

    @property
    def clock(self) -> Literal["macro", "micro"]:
        """``"micro"``: a ligand comes and goes within a step of the twin."""
        return "micro"

    @property
    def time_units(self) -> str:
        """Units of the twin's clock."""
        return self._time_units

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """The start of these members; nothing runs yet.

        Raises:
            InputError: a member without a row.
        """
        members = np.asarray(members, dtype=np.int64)
        arrays: dict[str, NDArray[Any]] = {"status": np.zeros(len(members), dtype=np.int8)}
        for name, values in self._values.items():
            if values.ndim and len(members) and not 0 <= members.min() <= members.max() < len(values):
                raise InputError(
                    f"CaptureSimulator: members {members.min()}…{members.max()}, but {name} has {len(values)} rows."
                )
            arrays[name] = values[members] if values.ndim else np.full(len(members), float(values))
        return State(members=members, arrays=arrays, note={"seed": int(seed)})

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """A new state with the changes made, in the order given.

        Raises:
            InputError: an unknown target, a wrong number of values, or a value out of range.
        """
        arrays = dict(state.arrays)
        for change in perturbations:
            change.refuse_unknown(self._targets)
            arrays[change.name] = change.applied(arrays[change.name])
            _check(change.name, arrays[change.name], where=f"Perturbation of {change.target} at {change.time}")
        return replace(state, arrays=arrays)

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """What the cell catches with the receptors that are free now, the same at all times of the step `[M, T + 1]`.

        Raises:
            InputError: an unknown input, a wrong number of values, or times out of order.
        """
        times = step_times(t0, t1, sample)
        arrays = dict(state.arrays)
        for name, values in inputs.items():
            if name != "free":
                raise InputError(f"CaptureSimulator has no input {name!r}; it has free.")
            if np.shape(values) != state.members.shape:
                raise InputError(
                    f"Input free: shape {np.shape(values)}; expected one for {len(state.members)} members."
                )
            arrays["free"] = np.array(values, dtype=np.float64)
        kon, arrival = arrays["kon"], PER_M_S * arrays["diffusion"] * arrays["radius"]
        greed = np.maximum(arrays["free"], 0.0) * kon / arrival  # κa/D, at most a rounding below 0
        said = {name: np.empty(len(greed)) for name in ("kon_eff", "escape", "sigma_escape")}
        paths = self._paths(int(state.note["seed"]))
        for m, each in enumerate(greed):
            left = np.exp(-each * paths)
            caught = float(-np.expm1(-each * paths).mean())
            said["escape"][m] = left.mean()
            said["sigma_escape"][m] = left.std(ddof=1) / math.sqrt(len(paths))
            said["kon_eff"][m] = kon[m] * (caught / each if each > 0.0 else paths.mean())
        outputs = {name: np.repeat(values[:, None], len(times) - 1, axis=1) for name, values in said.items()}
        return replace(state, arrays=arrays, time=t1), outputs

    def _paths(self, seed: int) -> Floats:
        """Local times `[N]`; drawn when they are first asked for, the same ones always."""
        if seed not in self._times:
            from simulators.molecular.surface_time import surface_times

            self._times[seed] = surface_times(stream(seed, "surface times"), trajectories=self._trajectories)
        return self._times[seed]


def _check(name: str, values: Floats, *, where: str) -> None:
    wrong = ~np.isfinite(values) | ((values < 0.0) if name == "free" else (values <= 0.0))
    if wrong.any():
        bound = "of at least 0" if name == "free" else "above 0"
        raise InputError(
            f"{where}: {name} is {np.atleast_1d(values)[np.atleast_1d(wrong)][0]}; expected a number {bound}."
        )
