"""Who the members are: every uncertain quantity of every virtual cell, drawn from (seed, draw number, quantity).

A member carries one draw number per source of uncertainty. In an ordinary cohort member i carries draw i of them all, the
same in every arm, so that treatments are compared cell by cell; a design for a variance split mixes the numbers. Draw 0
is the median of everything: the unperturbed cell. Legend: `N` members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scenarios.fit import Fit
from twin.errors import InputError
from twin.rates import RateEstimate

if TYPE_CHECKING:
    from scenarios.build import Build
    from scenarios.scenario import Scenario

Row = NDArray[np.float64]

AFFINITY, KINETICS = "affinity", "kinetics"
"""Sources of uncertainty that come with compounds: the components of every `RateEstimate`."""


def groups(scenario: Scenario) -> tuple[str, ...]:
    """The sources of uncertainty of a scenario, in the order in which the result names them."""
    return (*((AFFINITY, KINETICS) if scenario.candidates else ()), *scenario.uncertainty)


@dataclass(frozen=True)
class Cohort:
    """The members of a scenario.

    Args:
        scenario: whose uncertainty is drawn.
        nominal: cell line → every settable name of the model → its value in the unperturbed cell.
        estimates: compound → how fast and how tightly it binds.
        draws: source of uncertainty → draw number of each member `[N]`.

    Raises:
        InputError: a source without draw numbers, or numbers of different lengths.
    """

    scenario: Scenario
    nominal: Mapping[str, Mapping[str, float]]
    estimates: Mapping[str, RateEstimate]
    draws: Mapping[str, NDArray[np.int64]]

    def __post_init__(self) -> None:
        missing = [name for name in groups(self.scenario) if name not in self.draws]
        if missing or len({len(numbers) for numbers in self.draws.values()}) > 1:
            lengths = {name: len(numbers) for name, numbers in self.draws.items()}
            raise InputError(
                f"Cohort: draws {lengths}; expected one length, and numbers for {', '.join(groups(self.scenario))}."
            )

    @classmethod
    def ordinary(cls, build: Build, estimates: Mapping[str, RateEstimate]) -> Cohort:
        """As many members as the scenario asks for; member i carries draw i of everything."""
        scenario = build.scenario
        numbers = np.arange(scenario.members, dtype=np.int64)
        return cls(
            scenario=scenario,
            nominal={line: build.nominal(line) for line in scenario.lines},
            estimates=estimates,
            draws=dict.fromkeys(groups(scenario), numbers) or {"": numbers},
        )

    def with_draws(self, draws: Mapping[str, NDArray[np.int64]]) -> Cohort:
        """Other members of the same scenario."""
        return replace(self, draws=draws)

    @property
    def size(self) -> int:
        """N."""
        return len(next(iter(self.draws.values())))

    def parameters(self, cell_line: str) -> dict[str, Row]:
        """What differs between the cells of a line: name → values `[N]`, in the model's units.

        Values drawn on their own (a fit's, or between bounds) come first; then what spreads relative to a name's value
        spreads around what was drawn for it, or around the line's own value. Several relative spreads multiply.
        """
        scenario = self.scenario
        found: dict[str, Row] = {}
        for name, group in scenario.uncertainty.items():
            if group.table is not None:
                fit = Fit.read(scenario.path(group.table), scenario.path(group.factors) if group.factors else None)
                found |= fit.draw(scenario.seed, self.draws[name])
        for relative in (False, True):
            for name, group in scenario.uncertainty.items():
                if not any(spread.relative == relative for spread in group.parameters.values()):
                    continue
                drawn = group.draw(
                    name,
                    seed=scenario.seed,
                    draws=self.draws[name],
                    nominal={**self.nominal[cell_line], **found},
                    units=scenario.units,
                )
                found |= {key: row for key, row in drawn.items() if group.parameters[key].relative == relative}
        return found

    def rates(self, compound: str) -> tuple[Row, Row]:
        """kon [1/(M s)] and Kd [M] of a compound in each cell, `[N]` each; koff = kon * Kd [1/s]."""
        ln_kon, ln_kd = self.estimates[compound].sample(
            self.scenario.seed, {name: self.draws[name] for name in (AFFINITY, KINETICS)}
        )
        return np.exp(ln_kon), np.exp(ln_kd)
