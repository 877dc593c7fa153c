"""The reference of the gastric cell: Raimúndez et al. 2020 as SBML and PEtab tables, run by RoadRunner alone."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

import libsbml
import numpy as np
import roadrunner
from shared_data import shared

SPECIES = (
    "EGFR", "EGFR_CET", "EGFR_EGF", "EGFR_EGF_2", "pEGFR_EGF_2", "pEGFR_EGF_2_i", "MMET", "MMET_2", "pMMET_2",
    "pMMET_2_i", "MMET_EGFR", "pMMET_pEGFR", "pMMET_pEGFR_i", "RAS_GTP", "pMAPK", "pPI3K", "pMPI3K", "pAKT",
)  # fmt: skip
INHIBITED = ("MMET_METinh", "MMET_MMET_METinh", "MMET_METinh_2", "EGFR_MMET_METinh")
TIMES = (0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 240.0, 480.0, 1320.0, 4320.0)
"""Every time [min] at which one of the 627 points was measured, and 120."""
FLAGS = ("HS746T", "MKN1", "full_medium", "hunger_medium", "relative_ksyn_EGFR")
LEVELS = ("EGF_level", "CET_level", "METinh_level")


def table(kind: str) -> list[dict[str, str]]:
    path = shared("gastric", "cell_model", f"{kind}_Raimundez_PCB2020.tsv")
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


@dataclass(frozen=True)
class Experiment:
    """What one or several of the 170 conditions do: settle untreated, then both drugs at time 0."""

    settled: tuple[float, ...]  # values of FLAGS and LEVELS
    treated: tuple[float, ...]


@cache
def experiments() -> dict[Experiment, list[str]]:
    """The different experiments among the 170 conditions, each with its conditions."""
    values = {r["conditionId"]: tuple(float(r[n]) for n in (*FLAGS, *LEVELS)) for r in table("experimentalCondition")}
    pairs = {(r["simulationConditionId"], r["preequilibrationConditionId"]) for r in table("measurementData")}
    assert len(pairs) == len({condition for condition, _ in pairs}) == 170
    found: dict[Experiment, list[str]] = {}
    for condition, settling in sorted(pairs):
        found.setdefault(Experiment(values[settling], values[condition]), []).append(condition)
    return found


@cache
def reference(metinh_level: float | None = None) -> np.ndarray:
    """Species of each experiment over TIMES `[experiment, time, species]`, with all inhibited forms at the end.

    Args:
        metinh_level: the inhibitor, from time 0, in place of the tables' 0.
    """
    document = libsbml.readSBMLFromFile(str(shared("gastric", "cell_model", "model_Raimundez_PCB2020.xml")))
    for parameter in document.getModel().getListOfParameters():
        parameter.setConstant(False)  # RoadRunner may then change it between two runs
    runner = roadrunner.RoadRunner(libsbml.writeSBMLToString(document))
    runner.integrator.relative_tolerance, runner.integrator.absolute_tolerance = 1e-10, 1e-13
    runner.integrator.maximum_num_steps = 100_000
    runner.timeCourseSelections = [f"[{name}]" for name in (*SPECIES, *INHIBITED)]
    settled: dict[tuple[float, ...], np.ndarray] = {}
    found: list[np.ndarray] = []
    for experiment in experiments():
        if experiment.settled not in settled:
            runner.resetAll()
            for name, value in zip((*FLAGS, *LEVELS), experiment.settled, strict=True):
                runner.setValue(name, value)
            runner.simulate(0.0, 1e6, 2)  # 1,200 times the slowest time constant, 1/kdeg_membran
            settled[experiment.settled] = np.array(runner.model.getFloatingSpeciesAmounts())
        runner.resetAll()
        for name, value in zip((*FLAGS, *LEVELS), experiment.treated, strict=True):
            runner.setValue(name, value)
        if metinh_level is not None:
            runner.setValue("METinh_level", metinh_level)
        runner.model.setFloatingSpeciesAmounts(settled[experiment.settled])
        found.append(np.array(runner.simulate(times=list(TIMES))))
    return np.array(found)
