"""What the answer rests on: for every uncertain quantity whether data constrain it, and how much it moves the answer.

Influence is told for two questions: the share removed by the best treatment, and the dose that a cell needs of its
compound. Legend: `K` quantities, `N` cells.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from numpy.typing import NDArray

from scenarios.fit import Fit
from scenarios.influence import Influence, influence, telling_apart
from scenarios.potency import ABOVE, BELOW
from scenarios.statistics import reached
from twin.rates import RateComponent, RateEstimate, standard_scores

if TYPE_CHECKING:
    from scenarios.cohort import Cohort
    from scenarios.scenario import Scenario
    from scenarios.uncertainty import Distribution

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

CONSTRAINED, WEAK, CITED, ASSUMED = "constrained", "weakly constrained", "cited", "assumed"
"""Verdicts: data halve the width at least; they narrow it; the scenario names a source that nothing here checks; nothing does."""
_HALVED, _NARROWED = 0.5, 0.95  # posterior over prior width
_LN10 = math.log(10.0)
_QUADRATURE = 2001


@dataclass(frozen=True)
class Quantity:
    """One uncertain quantity.

    Args:
        name: unique in the result.
        group: its source of uncertainty.
        values: of each cell, or anything that rises with them `[N]`.
        points: measured points that bear on it; NaN where only its source knows.
        prior_sd_log10, posterior_sd_log10: width without and with data, in decades; NaN where it is no positive number.
        source: where it comes from.
        cited: whether that is a source other than an assumption.
    """

    name: str
    group: str
    values: Floats
    points: float
    prior_sd_log10: float
    posterior_sd_log10: float
    source: str
    cited: bool = False

    @property
    def verdict(self) -> str:
        """Whether data constrain it."""
        if self.cited:
            return CITED
        if not self.points > 0:
            return ASSUMED
        ratio = self.posterior_sd_log10 / self.prior_sd_log10 if self.prior_sd_log10 > 0 else math.nan
        return CONSTRAINED if ratio <= _HALVED else WEAK if ratio <= _NARROWED else ASSUMED


def quantities(scenario: Scenario, estimate: RateEstimate | None, draws: Mapping[str, Rows]) -> list[Quantity]:
    """Everything that is drawn, for these cells.

    Args:
        estimate: of the compound in question; None where there is none.
        draws: source → draw number of each cell `[N]`.
    """
    found = [*_binding(scenario, estimate, draws), *_drawn(scenario, draws)]
    names = [quantity.name for quantity in found]
    return [
        quantity
        if names.count(quantity.name) == 1
        else Quantity(**{**quantity.__dict__, "name": f"{quantity.name} ({quantity.group})"})
        for quantity in found
    ]


def evidence(
    scenario: Scenario,
    result: xarray.Dataset,
    cohort: Cohort,
    *,
    more: tuple[Mapping[str, Rows], Floats] | None = None,
) -> xarray.Dataset:
    """What the answer rests on.

    Args:
        result: judged by `scenarios.answer.judge`; its members are the cohort's.
        cohort: the result's ordinary cohort.
        more: further independent cells under the best treatment, as `Design.independent` gives them: draw numbers by
            source, and their S `[N]`.

    Returns:
        Dim `parameter`: `evidence_…`. Empty where nothing was ranked or nothing is uncertain.
    """
    winner = np.flatnonzero(result["rank"].values == 1) if "rank" in result else np.zeros(0, dtype=int)
    if scenario.answer is None or not len(winner):
        return xarray.Dataset()
    compound = str(result["compound"].values[winner[0]])
    estimate = cohort.estimates.get(compound)
    removed = result["removed"].values[winner[0]]
    own = quantities(scenario, estimate, cohort.draws)
    if not own:
        return xarray.Dataset()
    values = np.stack([quantity.values for quantity in own])
    cells, answers = values[:, 1:], removed[1:]  # member 0 is the median of everything, not a draw
    if more is not None:
        further = quantities(scenario, estimate, more[0])
        cells = np.concatenate((cells, np.stack([quantity.values for quantity in further])), axis=1)
        answers = np.concatenate((answers, more[1]))
    sources, seed = [quantity.group for quantity in own], scenario.seed
    of_share = influence(cells, answers, sources=sources, seed=seed, name="share removed")
    needed = _dose_needed(result, compound)[1:]
    of_dose = influence(values[:, 1:], needed, sources=sources, seed=seed, name="dose needed")
    known = np.isfinite(answers)
    escaped = ~reached(answers[known], scenario.answer.removed_share)
    escape, p = telling_apart(cells[:, known], escaped, sources=sources, seed=seed, name="escape")
    one = "parameter"

    def column(label: str, numbers: Any, units: str = "1") -> tuple[str, Floats, dict[str, str]]:
        return one, np.asarray(numbers, dtype=np.float64), {"units": units, "long_name": label}

    def words(label: str, texts: list[str]) -> tuple[str, NDArray[np.str_], dict[str, str]]:
        return one, np.array(texts, dtype=str), {"long_name": label}

    return xarray.Dataset(
        {
            "evidence_points": column("measured points that bear on it", [q.points for q in own]),
            "evidence_prior_sd_log10": column("width without data, SD of log10", [q.prior_sd_log10 for q in own]),
            "evidence_posterior_sd_log10": column("width with data, SD of log10", [q.posterior_sd_log10 for q in own]),
            "evidence_influence": column("share of the variance of the signal removed, by ranks", np.clip(of_share.share, 0.0, 1.0)),
            "evidence_influence_dose": column("share of the variance of the dose that a cell needs, by ranks", np.clip(of_dose.share, 0.0, 1.0)),
            "evidence_escape": column("chance that a cell that escapes has the higher value than one that responds", escape),
            "evidence_escape_p": column("its p-value, adjusted for the number of quantities", p),
            "evidence_influence_floor": column("share removed that noise alone gives the best of a source", of_share.floor),
            "evidence_influence_dose_floor": column("dose needed: what noise alone gives the best of a source", of_dose.floor),
            "evidence_verdict": words("whether data constrain it", [q.verdict for q in own]),
            "evidence_source": words("where it comes from", [q.source for q in own]),
            "evidence_group": words("source of uncertainty", [q.group for q in own]),
        },
        coords={"parameter": np.array([quantity.name for quantity in own], dtype=str)},
        attrs={
            "evidence_cells": int(known.sum()),
            "evidence_escaped": int(escaped.sum()),
            "evidence_by_verdict": json.dumps(_by_verdict(own, of_share)),
            "evidence_by_verdict_dose": json.dumps(_by_verdict(own, of_dose)),
        },
    )  # fmt: skip


def _by_verdict(own: Sequence[Quantity], moved: Influence) -> dict[str, float]:
    """Share of all quantities of each verdict together; empty where they were not taken together.

    Few of many weak quantities stand out alone; their sum does.
    """
    if not moved.jointly:
        return {}
    verdicts = np.array([quantity.verdict for quantity in own])
    return {
        name: round(float(np.clip(moved.share[verdicts == name].sum(), 0.0, 1.0)), 6)
        for name in dict.fromkeys(verdicts.tolist())
    }


def _dose_needed(result: xarray.Dataset, compound: str) -> Floats:
    """What each cell needs of a compound `[N]`: 0 below the lowest tested dose, infinite above the highest, NaN if unknown."""
    names = result["candidate"].values.astype(str).tolist() if "candidate" in result.coords else []
    if "needed_dose_uM" not in result or compound not in names:
        return np.full(result.sizes["member"], np.nan)
    row = names.index(compound)
    dose, reason = result["needed_dose_uM"].values[row], result["needed_dose_reason"].values[row]
    return np.where(reason == BELOW, 0.0, np.where(reason == ABOVE, np.inf, dose))


def _binding(scenario: Scenario, estimate: RateEstimate | None, draws: Mapping[str, Rows]) -> Iterator[Quantity]:
    """The components of a compound's rates."""
    if estimate is None:
        return
    measured = [compound.ic50_nM for compound in scenario.candidates if compound.measured]
    series_sd = float(np.std(np.log10(measured), ddof=1)) if len(measured) > 1 else math.nan
    own = next(compound for compound in scenario.candidates if compound.id == estimate.ligand)
    for component in estimate.components:
        width = math.hypot(component.d_ln_kon, component.d_ln_Kd) / _LN10
        owner = "all ligands" if component.shared else estimate.ligand
        scores = standard_scores(scenario.seed, f"{component.name} of {owner}", draws[component.group])
        sign = -1.0 if component.d_ln_kon + component.d_ln_Kd < 0 else 1.0
        name = component.name if component.shared else f"{component.name} of {estimate.ligand}"
        if _is_affinity_of_compound(component):
            points = 1.0 if own.measured else float(len(measured))
            source = estimate.provenance.get("IC50", "")
            # without its own measurement a compound is any of its series
            yield Quantity(name, component.group, sign * scores, points, max(series_sd, width), width, source)
        else:
            source = _origin(component, estimate.provenance)
            yield Quantity(name, component.group, sign * scores, 0.0, width, width, source)


def _is_affinity_of_compound(component: RateComponent) -> bool:
    return component.d_ln_Kd != 0 and not component.shared


def _origin(component: RateComponent, provenance: Mapping[str, str]) -> str:
    if component.d_ln_Kd != 0:
        return provenance.get("Kd", "")
    return provenance.get("k_D" if "k_D" in component.name else "κ", "")


def _drawn(scenario: Scenario, draws: Mapping[str, Rows]) -> Iterator[Quantity]:
    """The scenario's own sources."""
    for group_name, group in scenario.uncertainty.items():
        if group.table is not None:
            fit = Fit.read(scenario.path(group.table), scenario.path(group.factors) if group.factors else None)
            drawn = fit.draw(scenario.seed, draws[group_name])
            for parameter in fit.evidence:
                yield Quantity(
                    parameter.name,
                    group_name,
                    drawn[parameter.name],
                    float(parameter.points),
                    parameter.prior_sd_log10,
                    parameter.posterior_sd_log10,
                    f"fit to data, {group.table}",
                )
        units = scenario.units
        # a relative spread rises with its score whatever its centre: 1 stands for the line's own value
        values = group.draw(group_name, seed=scenario.seed, draws=draws[group_name], nominal=_Ones(), units=units)
        for name, spread in group.parameters.items():
            width = spread_log10(spread, units.get(name, ""))
            source = spread.source or "assumed; the scenario names no source"
            cited = not source.lower().startswith("assum")
            points = math.nan if cited else 0.0
            yield Quantity(name, group_name, values[name], points, width, width, source, cited)


class _Ones(dict[str, float]):
    """1 for every name."""

    def get(self, key: str, default: Any = None) -> float:
        return 1.0


def spread_log10(spread: Distribution, units: str) -> float:
    """Standard deviation of log10 of a distribution; NaN where it is not positive, or its centre is not known here."""
    if spread.lognormal is not None:
        return spread.lognormal.sigma / _LN10
    if spread.normal is not None and spread.normal.mean is None:
        return math.nan
    # midpoints of equal shares of probability: the mean over them is the integral over the distribution
    from scipy.special import ndtri

    scores = ndtri((np.arange(_QUADRATURE) + 0.5) / _QUADRATURE)
    values = spread.values(scores, nominal=math.nan, units=units)
    return float(np.log10(values).std()) if (values > 0).all() else math.nan
