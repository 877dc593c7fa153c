"""Small coupled scenarios: a cell with Brownian dynamics of capture, and two species that make each other."""

from __future__ import annotations

from pathlib import Path

CAPTURE = """\
name: capture
title: Do free receptors on a cell get in each other's way?
question: Half a million receptors meet 1 nM of their ligand. How many are bound, and how much slower than one alone?
seed: 1
members: 3

cell:
  antimony: |
    // R: free receptors of a cell, RL: with ligand, L: ligand in the medium
    R = 5e5; RL = 0; L = 0; kon = 0.6; koff = 0.1; escape = 1
    binds: R -> RL; kon * L * R - koff * escape * RL
  units: {kon: 1/(nM min), koff: 1/min, L: nM}

coupling:
  simulators:
    surface: {kind: capture, kon: 1e7 1/(M s), radius: 10 um, diffusion: 100 um^2/s, cached: 2 %}
  conduits:
    - cell.R -> surface.free
    - surface.kon_eff -> cell.kon
    - surface.escape -> cell.escape
  scheme: jacobi
  windows: 15 s

readouts:
  RL: receptors with ligand
  kon_eff: {label: how fast a receptor binds, expression: surface.kon_eff, units: 1/(M s)}

time: {start: -1 min, end: 16 min, samples: [1 min, 2 min, 4 min, 8 min]}

uncertainty:
  cell-to-cell:
    parameters:
      R: {lognormal: {cv: 30 %}, source: assumed}

arms:
  - treatment: no ligand
    role: control
  - treatment: ligand
    role: vehicle
    changes: [{hold: L, dose: 1 nM, at: 0 min}]
  - treatment: ligand that diffuses slowly
    changes:
      - {set: surface.diffusion, to: 10 um^2/s, at: 0 min}
      - {hold: L, dose: 1 nM, at: 0 min}
"""

RING = """\
name: ring
title: Two species that make each other
seed: 1
members: 4
cell:
  antimony: |
    A = 0; b = 0; k = 1
    made: -> A; k + 0.5 * b
    lost: A -> ; A
  equilibrate: true
coupling:
  simulators:
    other:
      antimony: |
        B = 0; a = 0; half = 0.5
        made: -> B; half * a
        lost: B -> ; B
  conduits: [cell.A -> other.a, other.B -> cell.b]
  windows: 30 s
readouts:
  A: first
  B: {label: second, expression: other.B}
time: {start: -10 min, end: 10 min, samples: [-5 min, 1 min, 2 min, 5 min]}
uncertainty:
  cell-to-cell:
    parameters:
      k: {lognormal: {cv: 0.3}, source: assumed}
      other.half: {uniform: [0.2, 0.8], source: assumed}
arms:
  - treatment: nothing
    role: vehicle
  - treatment: a bolus of the second
    changes: [{bolus: other.B, dose: 1, at: 0 min}]
  - treatment: the second is made no more
    changes: [{knock-out: other.half, before: equilibration}]
"""


def write(folder: Path, text: str, *replaced: tuple[str, str]) -> Path:
    """A scenario in a folder, with some of its words replaced by others."""
    for old, new in replaced:
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    path = folder / f"{text.split()[1]}.yaml"
    path.write_text(text, encoding="utf-8")
    return path
