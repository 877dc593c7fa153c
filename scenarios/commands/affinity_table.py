"""The table of `twin bench affinity`: the learned affinity of a scenario's compounds, judged leave-one-out."""

from __future__ import annotations

import math
from collections.abc import Iterator

from scenarios.scenario import Scenario
from surrogates.affinity_evaluation import BASELINES, LEVELS, TEMPERATURE_K, AffinityEvaluation, LeaveOneOut
from surrogates.affinity_prediction import ln_molar
from twin.errors import InputError


def lines(name_or_path: str) -> Iterator[str]:
    """The table, line by line.

    Raises:
        InputError: a scenario that cannot be read, without compounds, or with fewer than four measured ones.
    """
    scenario = Scenario.load(name_or_path)
    measured = [compound for compound in scenario.candidates if compound.measured]
    if scenario.compounds is None or not measured:
        raise InputError(f"{name_or_path}: no compound with a measured IC50; give a scenario that has `compounds:`.")
    evaluation = AffinityEvaluation.of(
        [compound.smiles for compound in measured],
        ln_molar([compound.ic50_nM for compound in measured]),
        assay_error_log10=scenario.compounds.affinity.assay_error_log10,
    )
    yield f"{scenario.name}: {len(measured)} measured compounds, each left out in turn; kcal/mol at {TEMPERATURE_K:g} K"
    yield ""
    coverage = "".join(f"{f'in {100 * level:g} %':>10}" for level in LEVELS)
    yield f"{'':18}{'RMSE':>7}{'MAE':>7}{'RMSE':>9}{'MAE':>9}{'Spearman':>10}{coverage}{'GP closer':>12}"
    yield f"{'':18}{'log10':>7}{'log10':>7}{'kcal/mol':>9}{'kcal/mol':>9}{'':10}{'':30}{'(sign test)':>12}"
    for run in evaluation.runs:
        yield _row(run) + _closer(evaluation, run.predictor)
    yield ""
    yield evaluation.limits


def _row(run: LeaveOneOut) -> str:
    spearman = "-" if math.isnan(run.spearman) else f"{run.spearman:.2f}"
    inside = "".join(f"{f'{c.inside}/{c.of}':>10}" for c in map(run.coverage, LEVELS))
    errors = f"{run.rmse_log10:7.2f}{run.mae_log10:7.2f}{run.rmse_kcal_mol:9.2f}{run.mae_kcal_mol:9.2f}"
    return f"{run.predictor:18}{errors}{spearman:>10}{inside}"


def _closer(evaluation: AffinityEvaluation, predictor: str) -> str:
    """For how many compounds the Gaussian process is closer than this baseline."""
    if predictor not in BASELINES:
        return ""
    wins, p = evaluation.closer(predictor)
    return f"{f'{wins} ({p:.3f})':>12}"
