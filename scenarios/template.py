"""The commented scenario that `twin new NAME` writes: valid as it stands, and ready to be changed."""

from __future__ import annotations

import re
from pathlib import Path

from twin.errors import InputError

STARTER = """\
# A scenario: a cell, what is done to it, what is uncertain, and what is asked.
# Check it with `twin check {file}`, run it with `twin run {file}`. All keys: `twin schema`.
name: {name}
title: How long does a receptor stay active?      # one line; it heads the page
question: A ligand binds its receptor for an hour. How long does the signal last, and what does half the receptor do?
seed: 1                       # the same seed gives the same cells
members: 20                   # virtual cells per cell line; cell 0 is the unperturbed one

cell:
  # model: my_model.xml       # your own SBML (.xml) or Antimony (.ant) file beside this one; then drop `antimony:`
  antimony: |
    // L: ligand in the medium, R: receptor, C: receptor with ligand, P: signal [nM]; time in minutes
    L = 0
    R = 10; C = 0; P = 0
    kon = 0.01; koff = 0.05; kact = 0.5; kinact = 0.1; ksyn = 0.1; kdeg = 0.01
    J_syn: -> R; ksyn
    J_deg: R -> ; kdeg * R
    J_degC: C -> ; kdeg * C
    J_bind: R -> C; kon * L * R - koff * C
    J_act: -> P; kact * C
    J_inact: P -> ; kinact * P
  time_units: min             # the model's own: s, min, h or day
  units: {{L: nM, ksyn: nM/min, koff: 1/min}}   # of the model's names; a name that is not listed is a plain number
  equilibrate: true           # cells settle before the start

# coupling:                   # other models that exchange values with the cell within a run: docs/scenario.md

cell_lines:                   # parameter values that make a line; leave the key out for one line as the model has it
  wild type: {{ksyn: 0.1 nM/min}}
  half the receptor: {{ksyn: 0.05 nM/min}}

readouts:                     # names of the model, or expressions over them
  P: {{label: signal, units: nM}}
  occupancy: {{label: receptors with ligand, expression: C / (R + C)}}

time: {{start: -30 min, end: 4 h, every: 10 min}}   # time 0 is the stimulus

uncertainty:                  # groups, so that the answer's variance can be split between them
  cell-to-cell:
    parameters:
      ksyn: {{lognormal: {{cv: 30 %}}, source: assumed}}
  module:
    parameters:
      koff: {{loguniform: [0.01 1/min, 0.2 1/min], source: assumed}}

arms:                         # what is done; an arm is made for each cell line
  - treatment: no ligand
    role: control
  - treatment: ligand
    role: vehicle
    changes:
      - {{hold: L, dose: 10 nM, at: 0 min, until: 60 min}}
  - treatment: ligand, dose series
    doses: [1 nM, 10 nM, 100 nM]              # or {{from: 1 nM, to: 1 uM, points: 7}}
    changes:
      - {{hold: L, dose: each, at: 0 min, until: 60 min}}
  - treatment: ligand + receptor knock-down
    changes:
      - {{knock-down: ksyn, by: 80 %, before: equilibration}}
      - {{hold: L, dose: 10 nM, at: 0 min, until: 60 min}}
  # other changes:
  #   - {{set: kdeg, to: 0.02, at: 0 min}}            - {{scale: kdeg, by: 0.5, before: equilibration}}
  #   - {{knock-out: ksyn, before: equilibration}}    - {{overexpress: ksyn, fold: 10, before: equilibration}}
  #   - {{bolus: L, dose: 5 nM, at: 0 min, every: 60 min, times: 3}}    - {{wash-out: L, at: 60 min}}
  #   - {{hold: L, dose: 5 nM, at: 0 min, lasting: 10 min, every: 60 min, times: 3}}
"""


def write(name: str) -> Path:
    """Write ``NAME.yaml`` with the starter.

    Raises:
        InputError: a name that is no name, a folder that is not there, or a file that is.
    """
    path = Path(name)
    if path.suffix.lower() not in (".yaml", ".yml"):
        path = path.with_name(f"{path.name}.yaml")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}", path.stem):
        raise InputError(f"{name!r}: expected a short name of letters, digits, `_` and `-`, e.g. `twin new my_twin`.")
    try:
        with path.open("x", encoding="utf-8") as handle:
            handle.write(STARTER.format(name=path.stem, file=path))
    except FileExistsError as error:
        raise InputError(
            f"{path} is there already and stays as it is; choose another name, or move it away."
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); choose a folder that exists and is yours."
        ) from error
    return path
