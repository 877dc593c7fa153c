"""From structures to rates: Brownian dynamics, learned affinities, and the bridge that makes one `RateEstimate` of both.

Legend: `L` compounds, in the order of the scenario; `N` members.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from numpy.typing import NDArray

from coupling.binding_rates import AssayAffinity, CellShift, Efficiency, Encounter, rate_estimate
from coupling.simulate import simulate
from scenarios.compound import Compound
from scenarios.placing import MOLECULAR
from scenarios.stage import HERE, Stage
from twin.errors import ConvergenceError, InputError
from twin.graph import Twin
from twin.rates import RateEstimate

if TYPE_CHECKING:
    from scenarios.cohort import Cohort
    from scenarios.scenario import Scenario
    from simulators.molecular import AssociationReplicas, AssociationSimulator, Ligand

Row = NDArray[np.float64]

_NANOMOLAR = 1e-9
_FEWEST_LEFT_OUT = 4
_LEVEL = 0.95


@dataclass(frozen=True)
class Encounters:
    """How fast each compound meets the receptor `[L]`.

    Args:
        k_D: [1/(M s)].
        sigma_ln: standard error of its logarithm.
        run: which simulation says so; compounds of one charge and size share one.
    """

    k_D: Row  # noqa: N815 - the field's spelling
    sigma_ln: Row
    run: tuple[str, ...]


@dataclass(frozen=True)
class LearnedAffinities:
    """What structures say of Kd `[L]`: left-one-out for measured compounds, predicted for the others.

    Args:
        mean_ln_M, sd_ln: of ln(Kd / M), as a new measurement would give it; NaN where nothing can be said.
        scores: how the model and simple guesses do on compounds that they have not seen.
        limits: what these scores cannot say.
    """

    mean_ln_M: Row  # noqa: N815
    sd_ln: Row
    scores: tuple[Mapping[str, Any], ...] = ()
    limits: str = ""


def ligands(scenario: Scenario) -> tuple[Ligand, ...]:
    """The compounds as charged spheres. Raises `InputError` for a structure that has no shape."""
    from simulators.molecular import Ligand

    return tuple(Ligand.from_smiles(compound.id, compound.smiles) for compound in scenario.candidates)


@dataclass(frozen=True)
class AssociationRunner:
    """Runs Brownian dynamics of one class of charge and size; it is sent to every worker once.

    Args:
        scenario: what was asked.
        ligands: all compounds.
        stage: where the simulator runs.
    """

    scenario: Scenario
    ligands: tuple[Ligand, ...]
    stage: Stage = HERE

    def __reduce__(self) -> tuple[type[AssociationRunner], tuple[Scenario, tuple[Ligand, ...]]]:
        """On other ranks simulators run where they are."""
        return type(self), (self.scenario, self.ligands)

    @cached_property
    def simulator(self) -> AssociationSimulator:
        """All compounds and their receptor."""
        from simulators.molecular import AssociationSimulator, Receptor

        asked = self.scenario.molecular
        assert asked is not None, "compounds without `molecular:` are refused when the scenario is read"
        return AssociationSimulator(
            self.ligands,
            Receptor.named(asked.receptor),
            temperature_K=asked.temperature_K,
            ionic_strength_M=asked.ionic_strength_M,
            sigma_ln=asked.sigma_ln,
            trajectories=asked.trajectories,
        )

    @property
    def tasks(self) -> tuple[tuple[int, ...], ...]:
        """Positions of the compounds of each class."""
        return tuple(self.simulator.classes.values())

    @cached_property
    def replicas(self) -> AssociationReplicas:
        """The runs of their classes, in parts."""
        from simulators.molecular import AssociationReplicas

        assert self.scenario.molecular is not None
        return AssociationReplicas(self.simulator, self.scenario.molecular.replicas or 1)

    def __call__(self, task: tuple[int, ...]) -> dict[str, Row]:
        """k_D [1/(M s)] and the standard error of its logarithm, of the compounds of one class."""
        kind = next(kind for kind, members in self.simulator.classes.items() if members == task)
        with self.stage(_twin, self) as twin:
            counted = simulate(
                twin,
                members=self.replicas.members(kind),
                seed=self.scenario.seed,
                t0=0.0,
                t1=0.0,
                sample=(0.0,),
            )
        said = {port: counted[f"{MOLECULAR}.{port}"].values[:, 0] for port in ("reacted", "trajectories")}
        met = self.replicas.together(kind, said)
        warm = self.simulator.conditions["temperature_K"]
        return {
            "k_D": np.array([self.simulator.k_D(member, met, temperature_K=warm) for member in task]),
            "sigma_ln_k_D": np.full(len(task), met.sigma_ln if met.reacted else np.nan),
        }


def _twin(runner: AssociationRunner) -> Twin:
    return Twin({MOLECULAR: runner.replicas})


def encounters(runner: AssociationRunner, found: Sequence[Mapping[str, Row]]) -> Encounters:
    """What the tasks of a runner found, in the order of the compounds.

    Raises:
        ConvergenceError: no trajectory of a compound reached the receptor.
    """
    size = len(runner.ligands)
    k_d, sigma, run = np.full(size, np.nan), np.full(size, np.nan), [""] * size
    for (kind, members), values in zip(runner.simulator.classes.items(), found, strict=True):
        k_d[list(members)] = values["k_D"]
        sigma[list(members)] = values["sigma_ln_k_D"]
        for member in members:
            run[member] = f"charge {kind.charge:+d}, radius {kind.contact_nm:.3f} nm"
    lost = [runner.ligands[i].id for i in np.flatnonzero(~np.isfinite(k_d))]
    if lost:
        raise ConvergenceError(
            f"Brownian dynamics: no trajectory of {', '.join(lost)} reached the receptor; "
            "raise molecular.trajectories, or check their charges."
        )
    return Encounters(k_d, sigma, tuple(run))


def learned(scenario: Scenario) -> LearnedAffinities:
    """Affinities from structure, learned from the measured compounds."""
    from surrogates.affinity import AffinityModel
    from surrogates.affinity_evaluation import GAUSSIAN_PROCESS, AffinityEvaluation

    assert scenario.compounds is not None
    compounds = scenario.candidates
    error = max(
        scenario.compounds.affinity.assay_error_log10, 1e-3
    )  # a perfect assay would make the process interpolate
    known = [i for i, compound in enumerate(compounds) if compound.measured]
    others = [i for i, compound in enumerate(compounds) if not compound.measured]
    mean, sd = np.full(len(compounds), np.nan), np.full(len(compounds), np.nan)
    smiles = [compounds[i].smiles for i in known]
    values = np.log([compounds[i].ic50_nM * _NANOMOLAR for i in known])
    if others:
        prediction = AffinityModel.fit(smiles, values, assay_error_log10=error).predict(
            [compounds[i].smiles for i in others]
        )
        mean[others], sd[others] = prediction
    if len(known) < _FEWEST_LEFT_OUT:
        return LearnedAffinities(mean, sd, limits=f"{len(known)} measured compounds are too few to judge a model by.")
    judged = AffinityEvaluation.of(smiles, values, assay_error_log10=error)
    mean[known], sd[known] = judged[GAUSSIAN_PROCESS].prediction
    scores = tuple(
        {
            "model": run.predictor,
            "rmse_log10": run.rmse_log10,
            "mae_log10": run.mae_log10,
            "spearman": None if math.isnan(run.spearman) else run.spearman,
            "coverage_95": run.coverage(_LEVEL).inside / run.coverage(_LEVEL).of,
            "n": len(known),
        }
        for run in judged.runs
    )
    return LearnedAffinities(mean, sd, scores, judged.limits)


def rate_estimates(scenario: Scenario, met: Encounters, structure: LearnedAffinities) -> dict[str, RateEstimate]:
    """The bridge: one joint distribution of kon, Kd and koff per compound.

    Raises:
        InputError: a compound without measured IC50 and too few others to learn from.
    """
    asked = scenario.molecular
    assert asked is not None
    assert scenario.compounds is not None
    affinity = scenario.compounds.affinity
    each = [Encounter(float(k), float(s), r) for k, s, r in zip(met.k_D, met.sigma_ln, met.run, strict=True)]
    efficiency = Efficiency.of_series(
        each, median_kon_per_M_s=asked.kon.median_per_M_s, decades=asked.kon.decades, source=asked.kon.source
    )
    conditions = {"temperature": f"{asked.temperature_K:g} K", "ionic strength": f"{asked.ionic_strength_M:g} M"}
    found: dict[str, RateEstimate] = {}
    for position, compound in enumerate(scenario.candidates):
        found[compound.id] = rate_estimate(
            compound.id,
            affinity=_assay(
                compound, structure.mean_ln_M[position], structure.sd_ln[position], affinity.assay_error_log10
            ),
            encounter=each[position],
            efficiency=efficiency,
            shift=CellShift(affinity.cell_shift_log10, affinity.cell_shift_sd_log10),
            conditions=conditions,
        )
    return found


def _assay(compound: Compound, mean_ln_M: float, sd_ln: float, error_log10: float) -> AssayAffinity:
    if compound.measured:
        return AssayAffinity.measured(compound.ic50_nM, error_log10=error_log10)
    if not math.isfinite(mean_ln_M):
        raise InputError(f"{compound.id} has no measured IC50, and there are too few to learn from; measure more.")
    return AssayAffinity.learned(float(mean_ln_M), float(sd_ln))


@dataclass(frozen=True)
class Binding:
    """What is known of the compounds of a scenario.

    Args:
        spheres: as Brownian dynamics sees them `[L]`.
        met: how fast they meet the receptor.
        structure: what their structures say.
        estimates: compound → its rates.
    """

    spheres: tuple[Ligand, ...]
    met: Encounters
    structure: LearnedAffinities
    estimates: Mapping[str, RateEstimate]

    def dataset(self, scenario: Scenario, cohort: Cohort) -> xarray.Dataset:
        """What the result says of the compounds: dims `(candidate, member)`."""
        compounds = scenario.candidates
        drawn = [cohort.rates(compound.id) for compound in compounds]
        kon, kd = np.stack([rates[0] for rates in drawn]), np.stack([rates[1] for rates in drawn])
        half = 1.959963984540054 * self.structure.sd_ln
        one, each = "candidate", ("candidate", "member")

        def learned_nM(ln_M: Row) -> Row:  # noqa: N802 - units in the name
            return np.exp(ln_M) / _NANOMOLAR

        return xarray.Dataset(
            {
                "ic50_nM": (one, [c.ic50_nM for c in compounds], {"units": "nM", "long_name": "measured IC50"}),
                "k_D": (one, self.met.k_D, {"units": "1/(M s)", "long_name": "diffusion-limited association rate"}),
                "sigma_ln_k_D": (one, self.met.sigma_ln, {"units": "1", "long_name": "standard error of ln k_D"}),
                "encounter_run": (one, np.array(self.met.run, dtype=str), {"long_name": "run of Brownian dynamics"}),
                "ligand_charge": (one, [s.charge for s in self.spheres], {"units": "e", "long_name": "net charge"}),
                "ligand_radius_nm": (one, [s.contact_nm for s in self.spheres], {"units": "nm", "long_name": "contact radius"}),
                "Kd_learned": (one, learned_nM(self.structure.mean_ln_M), {"units": "nM", "long_name": "affinity from structure"}),
                "Kd_learned_low": (one, learned_nM(self.structure.mean_ln_M - half), {"units": "nM", "long_name": "its 95 % interval, lower end"}),
                "Kd_learned_high": (one, learned_nM(self.structure.mean_ln_M + half), {"units": "nM", "long_name": "its 95 % interval, upper end"}),
                "kon": (each, kon, {"units": "1/(M s)", "long_name": "association rate constant in the cell"}),
                "Kd": (each, kd / _NANOMOLAR, {"units": "nM", "long_name": "dissociation constant in the cell"}),
                "koff": (each, kon * kd, {"units": "1/s", "long_name": "dissociation rate constant in the cell"}),
            },
            coords={
                "candidate": np.array([c.id for c in compounds], dtype=str),
                "smiles": (one, np.array([c.smiles for c in compounds], dtype=str), {"long_name": "structure"}),
            },
            attrs={"affinity": json.dumps({"leave_one_out": list(self.structure.scores), "limits": self.structure.limits})},
        )  # fmt: skip


def words(scenario: Scenario, structure: LearnedAffinities) -> str:
    """One line on the learned affinities."""
    left = sum(not compound.measured for compound in scenario.candidates)
    measured = len(scenario.candidates) - left
    serves = f"predicts {left} compound{'s' if left != 1 else ''} without IC50" if left else "no compound lacks an IC50"
    if not structure.scores:
        return f"affinity from structure: {serves}; {structure.limits}"
    best = structure.scores[0]
    others = ", ".join(f"{row['rmse_log10']:.2f} {row['model']}" for row in structure.scores[1:])
    return (
        f"affinity from structure: {measured} compounds left out in turn, error {best['rmse_log10']:.2f} decades "
        f"({others}); {serves}"
    )
