"""One row of a PEtab problem's table of observables: what is measured, and how far a measurement scatters."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from simulators.reaction.engine import Floats
from simulators.reaction.petab_formula import PetabFormula
from simulators.reaction.petab_table import Row
from twin.errors import InputError, UnsupportedFeature

TRANSFORMATIONS = ("lin", "log", "log10")
DISTRIBUTIONS = ("normal", "laplace")


@dataclass(frozen=True)
class PetabObservable:
    """One observable.

    Attributes:
        id, name: name is for people.
        formula, noise: values and their standard deviations (Laplace: widths), the latter on the scale of `transformation`.
        transformation: ``"lin"``, ``"log"`` or ``"log10"``: on which measurements scatter.
        distribution: ``"normal"`` or ``"laplace"``.
        slots, noise_slots: placeholders of the formulas that each measurement fills, in their order.
    """

    id: str
    name: str
    formula: PetabFormula
    noise: PetabFormula
    transformation: str
    distribution: str
    slots: tuple[str, ...]
    noise_slots: tuple[str, ...]

    @classmethod
    def of(cls, row: Row, faults: list[str]) -> PetabObservable | None:
        """What a row says; None, and the reason in `faults`, if it cannot be read."""
        own, before = row["observableId"], len(faults)
        transformation = row["observableTransformation"] or "lin"
        distribution = row["noiseDistribution"] or "normal"
        for column, found, known in (
            ("observableTransformation", transformation, TRANSFORMATIONS),
            ("noiseDistribution", distribution, DISTRIBUTIONS),
        ):
            if found not in known:
                faults.append(f"{row.place}: {column} is {found!r}; expected {', '.join(known)}.")
        formulas: list[PetabFormula] = []
        for column in ("observableFormula", "noiseFormula"):
            try:
                if not row[column]:
                    raise InputError("is empty; expected a formula or a number.")
                formulas.append(PetabFormula(row[column]))
                formulas[-1].check()
            except (InputError, UnsupportedFeature) as error:
                faults.append(f"{row.place}: {column}: {error}")
        if len(faults) > before:
            return None
        slots = [_slots(kind, own, formula) for kind, formula in zip(("observable", "noise"), formulas, strict=True)]
        for kind, found in zip(("observable", "noise"), slots, strict=True):
            missing = [n for n in range(1, len(found) + 1) if f"{kind}Parameter{n}_{own}" not in found]
            if missing:
                faults.append(
                    f"{row.place}: {kind}Parameter{missing[0]}_{own} is not in its formula, but a later one is; "
                    "number them from 1."
                )
                return None
        formula, noise = formulas
        return cls(own, row["observableName"] or own, formula, noise, transformation, distribution, slots[0], slots[1])

    def scaled(self, values: Floats) -> Floats:
        """Values on the scale on which measurements scatter."""
        with np.errstate(all="ignore"):
            return {"log": np.log, "log10": np.log10}.get(self.transformation, np.asarray)(values)

    def log_likelihood(self, measured: Floats, residual: Floats, noise: Floats) -> Floats:
        """Log-density of measurements; `residual` is (scaled simulation - scaled measurement) / noise.

        The density is that of the measurement itself: on a logarithmic scale it holds the derivative of the logarithm.
        """
        slope = np.zeros_like(measured)
        if self.transformation != "lin":
            with np.errstate(all="ignore"):
                slope = np.log(measured) + (math.log(math.log(10.0)) if self.transformation == "log10" else 0.0)
        with np.errstate(all="ignore"):
            if self.distribution == "laplace":
                return -np.log(2.0 * noise) - slope - np.abs(residual)
            return -0.5 * np.log(2.0 * math.pi * noise**2) - slope - 0.5 * residual**2


def _slots(kind: str, own: str, formula: PetabFormula) -> tuple[str, ...]:
    pattern = re.compile(rf"{kind}Parameter(\d+)_{re.escape(own)}$")
    found = {int(match[1]): name for name in formula.names if (match := pattern.match(name))}
    return tuple(found[n] for n in sorted(found))
