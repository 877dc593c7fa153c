"""How fast and how tightly a ligand binds: the joint distribution of ln kon, ln Kd and, following from them, ln koff.

kon, koff and Kd treated as independent break detailed balance; here koff = kon * Kd always. The spread is a sum of named
Gaussian components, each owned by one source of uncertainty, so that an answer's variance can be split by source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError
from twin.seeds import stream


@dataclass(frozen=True)
class RateComponent:
    """One independent standard-normal source of uncertainty and what one σ of it does.

    Args:
        name: e.g. ``"assay error"``.
        group: the source it counts to in a variance split, e.g. ``"affinity"``, ``"kinetics"``.
        d_ln_kon, d_ln_Kd: change of ln kon and ln Kd for one σ.
        shared: True where all ligands of a scenario carry the same draw (a shift from assay to cell).
    """

    name: str
    group: str
    d_ln_kon: float = 0.0
    d_ln_Kd: float = 0.0  # noqa: N815 - Kd is the field's spelling
    shared: bool = False


@dataclass(frozen=True)
class RateEstimate:
    """Joint distribution of ln kon and ln Kd of one ligand for one target.

    Args:
        ligand: id of the compound.
        ln_kon: median of ln(kon / (1/(M s))).
        ln_Kd: median of ln(Kd / M).
        components: sources of spread; none means a certain value.
        ln_kon_max: upper limit of ln kon (diffusion); draws above it are reflected below it, which keeps the
            distribution continuous.
        conditions, provenance: temperature, ionic strength, sources: what the numbers hold for and rest on.

    Raises:
        InputError: a value that is not finite, or a median above its upper limit.
    """

    ligand: str
    ln_kon: float
    ln_Kd: float  # noqa: N815
    components: tuple[RateComponent, ...] = ()
    ln_kon_max: float = math.inf
    conditions: Mapping[str, str] = field(default_factory=dict[str, str])
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ln_kon) and math.isfinite(self.ln_Kd)):
            raise InputError(f"{self.ligand}: ln kon {self.ln_kon}, ln Kd {self.ln_Kd}; expected finite numbers.")
        if self.ln_kon > self.ln_kon_max:
            raise InputError(
                f"{self.ligand}: the median ln kon {self.ln_kon:.2f} lies above its diffusion limit {self.ln_kon_max:.2f}; "
                "lower κ or check the units of kon (1/(M s))."
            )

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance of (ln kon, ln Kd) before the upper limit acts, `[2, 2]`."""
        steps = np.array([[c.d_ln_kon, c.d_ln_Kd] for c in self.components], dtype=np.float64).reshape(-1, 2)
        return steps.T @ steps

    @property
    def ln_koff(self) -> float:
        """Median of ln(koff / (1/s)): ln kon + ln Kd."""
        return self.ln_kon + self.ln_Kd

    def variance_shares(self, quantity: Literal["ln_kon", "ln_Kd", "ln_koff"]) -> dict[str, float]:
        """Each component's share of the variance of one logarithm, before the upper limit acts; none where it is certain.

        Raises:
            InputError: another quantity.
        """
        weights = {"ln_kon": (1.0, 0.0), "ln_Kd": (0.0, 1.0), "ln_koff": (1.0, 1.0)}
        if quantity not in weights:
            raise InputError(f"{self.ligand}: no variance of {quantity!r}; ask for one of {', '.join(weights)}.")
        kon, kd = weights[quantity]
        variances = {c.name: (kon * c.d_ln_kon + kd * c.d_ln_Kd) ** 2 for c in self.components}
        total = math.fsum(variances.values())
        return {name: variance / total for name, variance in variances.items()} if total > 0 else {}

    def sample(
        self, seed: int, draws: Mapping[str, NDArray[np.int64]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw (ln kon, ln Kd), each `[M]`.

        Args:
            seed: the scenario's seed.
            draws: per group, the draw number of each member `[M]`; draw 0 is the median.
        """
        sizes = {len(numbers) for numbers in draws.values()}
        if len(sizes) != 1:
            raise InputError(f"{self.ligand}: groups { ({g: len(n) for g, n in draws.items()}) } must have one length.")
        ln_kon = np.full(sizes.pop(), self.ln_kon)
        ln_kd = np.full(len(ln_kon), self.ln_Kd)
        for component in self.components:
            if component.group not in draws:
                raise InputError(f"{self.ligand}: no draws for group {component.group!r}; give one of {sorted(draws)}.")
            owner = "all ligands" if component.shared else self.ligand
            scores = standard_scores(seed, f"{component.name} of {owner}", draws[component.group])
            ln_kon = ln_kon + component.d_ln_kon * scores
            ln_kd = ln_kd + component.d_ln_Kd * scores
        above = ln_kon > self.ln_kon_max
        ln_kon[above] = 2 * self.ln_kon_max - ln_kon[above]
        return ln_kon, ln_kd


def standard_scores(seed: int, quantity: str, draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standard normal scores `[M]` of a quantity: one stream per (seed, draw, quantity); draw 0 is the median, 0."""
    unique, where = np.unique(np.asarray(draws, dtype=np.int64), return_inverse=True)
    scores = np.array([0.0 if i == 0 else stream(seed, "member", int(i), quantity).standard_normal() for i in unique])
    return scores[where]
