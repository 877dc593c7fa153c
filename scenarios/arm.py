"""One arm: a cell line, what is done to it, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from twin.perturbation import Perturbation

Role = Literal["vehicle", "positive control", "treatment", "washout", "control", "measured"]
Protocol = Literal["twin", "measured"]
MEASURED_SUFFIX = " (measured protocol)"


@dataclass(frozen=True)
class Arm:
    """What happens to every virtual cell of one line.

    Args:
        name: unique among the arms of a scenario.
        cell_line: whose parameters the cells carry.
        treatment: as the answer calls it; arms of one treatment differ in compound and dose only.
        compound: id of the inhibitor, `""` if none; its kon and koff reach the cell by conduits.
        dose_uM: its concentration [uM], NaN if none or if it is no concentration.
        protocol: ``"measured"`` for arms that repeat an experiment.
        role: what the arm is for.
        before_equilibration: changes with which the cell settles.
        perturbations: changes on the twin's clock [min from the stimulus], sorted by time (file order among equals).
    """

    name: str
    cell_line: str
    treatment: str
    compound: str = ""
    dose_uM: float = math.nan  # noqa: N815 - the field's spelling of micromolar
    protocol: Protocol = "twin"
    role: Role = "treatment"
    before_equilibration: tuple[Perturbation, ...] = ()
    perturbations: tuple[Perturbation, ...] = ()
