"""A scenario that runs in a moment, in several tasks, whose courses have closed forms."""

from __future__ import annotations

from pathlib import Path

TEXT = """\
name: small
title: A species that is made and decays
question: What does a bolus do?
seed: 3
members: 150                  # three blocks

cell:
  antimony: |
    A = 0; ksyn = 2; kdeg = 0.1; grow = 0
    J1: -> A; ksyn
    J2: A -> ; kdeg * A
    J3: -> A; grow * A^2      // blows up in finite time
  units: {A: nM, ksyn: nM/min, kdeg: 1/min}
  equilibrate: true

cell_lines:
  one: {}
  other: {ksyn: 4 nM/min}

readouts:
  A: {label: amount, units: nM}

time: {start: -10 min, end: 20 min, samples: [-10 min, 0 min, 20 min]}

uncertainty:
  cell-to-cell:
    parameters:
      ksyn: {lognormal: {cv: 0.3}, source: assumed}
      kdeg: {uniform: [0.05 1/min, 0.15 1/min], source: assumed}

arms:
  - treatment: none
    role: vehicle
  - treatment: bolus
    doses: [1 nM, 5 nM]
    changes:
      - {bolus: A, dose: each, at: 0 min}
  - treatment: knock-out
    role: positive control
    changes:
      - {knock-out: ksyn, before: equilibration}
"""


def write(folder: Path, *, name: str = "small", **replaced: str) -> Path:
    """The scenario in a folder; words of it may be replaced by others: `members="members: 2"`."""
    text = TEXT.replace("name: small", f"name: {name}")
    for old, new in replaced.items():
        lines = [line for line in text.splitlines() if line.strip().startswith(f"{old}:")]
        assert len(lines) == 1, f"{old}: {len(lines)} lines"
        text = text.replace(lines[0], f"{lines[0][: len(lines[0]) - len(lines[0].lstrip())]}{new}")
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path
