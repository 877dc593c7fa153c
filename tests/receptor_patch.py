"""A micro simulator for tests: receptors of one cell, each bound or free by chance, seen at independent moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twin import InputError, Perturbation, State, Values, Variable
from twin.seeds import stream


@dataclass(frozen=True)
class ReceptorPatch:
    """Mean occupancy L / (L + Kd) of `receptors`, from `snapshots` binomial draws; without snapshots, the exact mean.

    Args:
        kd_nM: of each member `[N]`.
        asked: members that were asked, in order, for the test to read.
    """

    kd_nM: NDArray[np.float64]  # noqa: N815
    asked: list[int]
    receptors: int = 400
    snapshots: int = 0
    inputs: tuple[Variable, ...] = (Variable("L", "nM", lower=0.0),)
    outputs: tuple[Variable, ...] = (Variable("bound", lower=0.0),)
    targets: Mapping[str, Variable] = field(default_factory=lambda: {"Kd": Variable("Kd", "nM", lower=0.0)})
    clock: Literal["macro", "micro"] = "micro"
    time_units: str = "min"

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        if len(members) and not 0 <= members.min() <= members.max() < len(self.kd_nM):
            raise InputError(f"ReceptorPatch: members {members.min()}…{members.max()}, but {len(self.kd_nM)} rows.")
        arrays: dict[str, NDArray[Any]] = {"Kd": self.kd_nM[members], "draws": np.zeros(len(members), dtype=np.int64)}
        return State(members=members, arrays=arrays, note={"seed": seed})

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        kd = state.arrays["Kd"]
        for change in perturbations:
            change.refuse_unknown(self.targets)
            kd = change.applied(kd)
        return replace(state, arrays={**state.arrays, "Kd": kd})

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        self.asked.extend(state.members.tolist())
        share = inputs["L"] / (inputs["L"] + state.arrays["Kd"])
        if self.snapshots:
            seed, draws = int(state.note["seed"]), state.arrays["draws"]
            chance = [stream(seed, "patch", int(m), int(k)) for m, k in zip(state.members, draws, strict=True)]
            trials = self.receptors * self.snapshots
            share = np.array([c.binomial(trials, p) / trials for c, p in zip(chance, share, strict=True)])
        after = replace(state, arrays={**state.arrays, "draws": state.arrays["draws"] + 1}, time=t1)
        return after, {"bound": np.repeat(share[:, None], len(sample) + 1, axis=1)}
