"""Courses of a small scenario, built by hand: constant levels in time, so that areas and shares can be worked out in the head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray
from numpy.typing import ArrayLike

from scenarios.scenario import Scenario
from scenarios.yaml_file import YamlFile

TIMES = [-10.0, 0.0, 60.0, 120.0]
SCENARIO = """
name: judged
title: A drug against a signal
seed: 5
members: {members}
cell:
  time_units: min
  equilibrate: true
  units: {{D: uM, on: 1/(uM min), off: 1/min}}
  antimony: |
    D = 0; on = 1; off = 1; S = 1; k = 1; T = 1; W = 1
cell_lines: {{A: {{k: 1}}, B: {{k: 2}}}}
readouts: {{S: signal, T: target, W: weak}}
time: {{start: -10 min, end: 120 min, samples: [-10 min, 0 min, 60 min, 120 min]}}
uncertainty:
  cell-to-cell:
    parameters: {{k: {{lognormal: {{cv: 0.3}}, source: assumed}}}}
  module:
    parameters: {{S: {{loguniform: [0.1, 10], source: assumed here}}, T: {{normal: {{sd: 0.1}}, source: "Ito 2001, Fig. 2"}}}}
compounds:
  list: [{{id: X, smiles: CCO, ic50: 1 nM}}, {{id: Y, smiles: CCC, ic50: 10 nM}}, {{id: Z, smiles: CCN, ic50: 100 nM}}]
  dose: D
  kon: on
  koff: off
molecular: {{receptor: c-MET kinase, kon: {{median: 1e5 1/(M s), decades: 1.0, source: assumed}}}}
arms:
  - {{treatment: vehicle, role: vehicle}}
  - {{treatment: knock-out, role: positive control, changes: [{{knock-out: k, before: equilibration}}]}}
  - {{treatment: drug, cell_line: A, compounds: all, doses: [1 nM, 10 nM, 100 nM], changes: [{{hold: compound, dose: each, at: 0 min}}]}}
  - treatment: washed
    cell_line: A
    role: washout
    compounds: all
    doses: [100 nM]
    changes: [{{hold: compound, dose: each, at: -10 min, until: 0 min}}]
  - {{treatment: vehicle, protocol: measured, role: measured, cell_line: A}}
answer:
  readout: S
  window: [0 min, 120 min]
  cell_line: A
  vehicle: vehicle
  positive_control: knock-out
  removed: 90 %
  in_cells: 50 %
  engagement: T
  shown: [W]
  washout_at: 60 min
  caveats: [The weak readout was never measured.]
{extra}
"""


def scenario(*, members: int = 4, extra: str = "", replace: tuple[str, str] = ("", "")) -> Scenario:
    """The scenario, with changes to its text."""
    text = SCENARIO.format(members=members, extra=extra)
    return Scenario.from_file(
        YamlFile.parse(text.replace(*replace) if replace[0] else text, name="judged.yaml", folder=Path())
    )


def courses(asked: Scenario, levels: dict[str, ArrayLike], *, members: int | None = None) -> xarray.Dataset:
    """Courses where S of the arms of line A that `levels` names by ``treatment`` or ``treatment compound dose_nM`` is
    constant at a level per cell; others at 1. T is half of S, W is 1 but for the knock-out, where it is 0.84."""
    arms = asked.arms()
    size = members or asked.members
    values = {name: np.ones((len(arms), size, len(TIMES))) for name in asked.readouts}
    for n, arm in enumerate(arms):
        dosed = f"{arm.treatment} {arm.compound} {arm.dose_uM * 1e3:g}"
        level = levels.get(dosed, levels.get(arm.treatment, 1.0)) if arm.cell_line == "A" else 1.0
        values["S"][n] = np.broadcast_to(np.asarray(level, dtype=float), (size,))[:, None]
        values["T"][n] = 0.5 * values["S"][n]
        if arm.treatment == "knock-out":
            values["W"][n] = 0.84
    text = {
        "arm": "name",
        "cell_line": "cell_line",
        "treatment": "treatment",
        "compound": "compound",
        "protocol": "protocol",
        "role": "role",
    }
    return xarray.Dataset(
        {
            **{name: (("arm", "member", "time"), of) for name, of in values.items()},
            "status": (("arm", "member"), np.zeros((len(arms), size), np.int8)),
        },
        coords={
            **{name: ("arm", np.array([getattr(arm, of) for arm in arms])) for name, of in text.items()},
            "dose_uM": ("arm", [arm.dose_uM for arm in arms]),
            "member": np.arange(size),
            "time": TIMES,
        },
    )


def arm(dataset: xarray.Dataset, treatment: str, compound: str = "", dose_nM: float = np.nan, line: str = "A") -> int:
    """Position of an arm."""
    dose = dataset["dose_uM"].values * 1e3
    fits = np.isnan(dose) if np.isnan(dose_nM) else np.isclose(dose, dose_nM)
    found = (dataset["treatment"].values == treatment) & (dataset["compound"].values == compound) & fits
    return int(np.flatnonzero(found & (dataset["cell_line"].values == line))[0])
