"""Where the answer's variance comes from: Sobol indices of groups of uncertain quantities, and what is unknown against how cells differ.

Two designs, for the best treatment only. The first mixes the groups' draws (Saltelli et al. 2010, Comput. Phys. Commun.
181:259): blocks A and B of independent rows, and for every group A with that group's draws from B. With f the share
removed and V its variance, Jansen's estimators (1999, Comput. Phys. Commun. 117:35) are

    first order  1 - <(f_B - f_ABg)²> / (2 V)      what this group explains alone
    total order      <(f_A - f_ABg)²> / (2 V)      what would be left if all other groups were known

The second crosses what nobody knows with how cells differ: the same cells under each possible truth. A cell's fate then
says how many cells respond, a truth's how sure that is. Legend: `N` rows, `G` groups, `E` truths, `C` cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from numpy.typing import NDArray

from scenarios.answer import Arms, judged_line, signal_removed
from scenarios.cohort import groups
from scenarios.statistics import ranks, reached, wilson
from twin.errors import InputError
from twin.seeds import stream

if TYPE_CHECKING:
    from scenarios.scenario import Scenario

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FIRST_DRAW = 1_000_000_000
"""Draw numbers of the designs start here, far above those of any cohort (at most ten million members)."""
_BLOCK = 100_000_000
_REPLICATES = 1000
SHARES, RANKS = "S", "ranks of S"
"""What a split is told of: S itself, or its ranks where S has so long a tail that the rows do not split its variance."""
_WIDEST = 0.5  # interval of a total-order index of S
_TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class Design:
    """Who is to be run, and under which arms.

    Attributes:
        sources: the groups, in the order of the result.
        cell_sources: those that differ between cells; all others are unknown, and the same in all cells.
        rows, epistemic, cells: sizes of the blocks, of the truths and of the cells of a truth.
        arms: positions of vehicle, positive control and winner among the scenario's arms.
        draws: source → draw number of each member, blocks A, B, one per source, then truth by truth `[N (G + 2) + E C]`.
    """

    sources: tuple[str, ...]
    cell_sources: tuple[str, ...]
    rows: int
    epistemic: int
    cells: int
    arms: tuple[int, int, int]
    draws: Mapping[str, Rows]

    @classmethod
    def of(cls, scenario: Scenario, result: xarray.Dataset) -> Design | None:
        """The design for the winner of a judged result; None where nothing was asked, won or is uncertain.

        Args:
            result: courses of all arms, joined with `scenarios.answer.judge`; arms as in `scenario.arms()`.

        Raises:
            InputError: as `Arms.of`, or a cell-to-cell source that the scenario does not draw.
        """
        sources, goal = groups(scenario), scenario.answer
        winner = np.flatnonzero(result["rank"].values == 1) if "rank" in result else np.zeros(0, dtype=int)
        if goal is None or not len(winner) or not sources:
            return None
        arms = Arms.of(goal, judged_line(scenario), result)
        asked = scenario.variance
        between = asked.between_cells_of(sources)
        unknown = tuple(name for name in sources if name not in between)
        sizes = (asked.rows, asked.epistemic if unknown else 1, asked.cells if between else 1)
        return cls(
            sources, between, *sizes, (arms.vehicle, arms.control, int(winner[0])), _draws(sources, between, *sizes)
        )

    @property
    def blocks(self) -> int:
        """Members of the blocks; those of the crossed design come after them."""
        return self.rows * (len(self.sources) + 2)

    @property
    def members(self) -> int:
        """All members."""
        return self.blocks + self.epistemic * self.cells

    def independent(self, removed: Floats) -> tuple[dict[str, Rows], Floats]:
        """Blocks A and B, whose rows are independent of each other: draw numbers by source, and S, `[2 N]` each.

        Args:
            removed: S of each member of the design, from `design_removed`.
        """
        both = slice(0, 2 * self.rows)
        return {name: numbers[both] for name, numbers in self.draws.items()}, removed[both]


def _draws(
    sources: tuple[str, ...], between: tuple[str, ...], rows: int, epistemic: int, cells: int
) -> dict[str, Rows]:
    a, b = (FIRST_DRAW + k * rows + np.arange(rows, dtype=np.int64) for k in range(2))
    truths = FIRST_DRAW + _BLOCK + np.arange(epistemic, dtype=np.int64)
    people = FIRST_DRAW + 2 * _BLOCK + np.arange(cells, dtype=np.int64)
    found: dict[str, Rows] = {}
    for name in sources:
        mixed = [b if name == other else a for other in sources]
        crossed = np.tile(people, epistemic) if name in between else np.repeat(truths, cells)
        found[name] = np.concatenate([a, b, *mixed, crossed])
    return found


def design_removed(scenario: Scenario, design: Design, courses: xarray.Dataset) -> Floats:
    """S of the winner for each member of a design; NaN where it is not defined.

    Args:
        courses: dims (arm, member, time), of the design's arms in their order.

    Raises:
        InputError: courses of other members than the design's, or as `signal_removed`.
    """
    if courses.sizes["arm"] != len(design.arms) or courses.sizes["member"] != design.members:
        raise InputError(
            f"courses of {courses.sizes['arm']} arms x {courses.sizes['member']} members; the design has "
            f"{len(design.arms)} x {design.members}: run its own draws."
        )
    return signal_removed(scenario, courses)[0][-1]


def split(scenario: Scenario, design: Design, removed: Floats) -> xarray.Dataset:
    """The variance of the winner's share removed by source, and the goal's probability.

    Args:
        removed: S of each member of the design, from `design_removed`.

    Returns:
        Dims `source`, `epistemic`, `cell`; indices of S and, suffix `_rank`, of its ranks. Attributes `variance_scale`:
        which of them to tell; `goal_met_probability` with `_low`, `_high`; and `crossed_variance_…`, also
        `_rank_…`: shares of what is unknown, of cells, and of both together.
    """
    goal = scenario.answer
    assert goal is not None, "a design exists only where there is a goal"
    a, b, mixed = _blocks(design, removed)
    rng = stream(scenario.seed, "variance split", "bootstrap")
    resampled = rng.integers(0, design.rows, size=(_REPLICATES, design.rows))
    variables: dict[str, Any] = {}
    of_s = {"": (a, b, mixed), "_rank": _ranked(a, b, mixed)}
    for suffix, blocks in of_s.items():
        what = "S" if not suffix else "the rank of S"
        for order, (value, low, high) in _indices(*blocks, resampled).items():
            label = f"{order.replace('_', '-')} share of the variance of {what}"
            variables[f"{order}{suffix}"] = ("source", value, {"units": "1", "long_name": label})
            for end, values in (("low", low), ("high", high)):
                text = f"its 95 % bootstrap interval, {'lower' if end == 'low' else 'upper'} end"
                variables[f"{order}{suffix}_{end}"] = ("source", values, {"units": "1", "long_name": text})
    widths = variables["total_order_high"][1] - variables["total_order_low"][1]
    crossed = removed[design.blocks :].reshape(design.epistemic, design.cells)
    fraction = _fraction(crossed, goal.removed_share)
    variables["crossed_removed"] = (
        ("epistemic", "cell"),
        crossed,
        {"units": "1", "long_name": "S of each cell under each truth"},
    )
    variables["crossed_fraction"] = (
        "epistemic",
        fraction,
        {"units": "1", "long_name": "share of cells that respond, by truth"},
    )
    met, low, high = _goal_met(crossed, goal.removed_share, goal.cell_share, scenario.seed)
    both = np.concatenate((a, b))
    known = both[np.isfinite(both)]
    attrs: dict[str, Any] = {
        "goal_met_probability": met,
        "goal_met_probability_low": low,
        "goal_met_probability_high": high,
        "variance_scale": RANKS if (np.nan_to_num(widths) > _WIDEST).any() else SHARES,
        "variance_sd": float(known.std()) if known.size else float("nan"),
        "variance_rows_lost": int((~np.isfinite(removed[: design.blocks])).sum()),
        "crossed_lost": int((~np.isfinite(crossed)).sum()),
        "between_cells": ", ".join(design.cell_sources),
        **_crossed_shares(crossed, "crossed_variance"),
        **_crossed_shares(_in_ranks(crossed), "crossed_variance_rank"),
    }
    return xarray.Dataset(variables, coords={"source": np.array(design.sources, dtype=str)}, attrs=attrs)


def _blocks(design: Design, removed: Floats) -> tuple[Floats, Floats, Floats]:
    """Blocks A `[N]`, B `[N]` and, for each group, A with that group from B `[G, N]`."""
    blocks = removed[: design.blocks].reshape(len(design.sources) + 2, design.rows)
    return blocks[0], blocks[1], blocks[2:]


def _ranked(a: Floats, b: Floats, mixed: Floats) -> tuple[Floats, Floats, Floats]:
    """The blocks as ranks among all their values: the same question, untouched by where S saturates."""
    ranked = _in_ranks(np.concatenate((a[None], b[None], mixed)))
    return ranked[0], ranked[1], ranked[2:]


def _in_ranks(values: Floats) -> Floats:
    """Values as ranks among each other, 0…1; NaN stays."""
    known = np.isfinite(values)
    ranked = np.full(values.shape, np.nan)
    ranked[known] = ranks(values[known]) / max(int(known.sum()), 1)
    return ranked


def _indices(a: Floats, b: Floats, mixed: Floats, resampled: Rows) -> dict[str, tuple[Floats, Floats, Floats]]:
    """First- and total-order indices with bootstrap intervals over rows; NaN where nothing varies."""
    variance = _variance(a, b)
    moments = {"first_order": (b - mixed) ** 2, "total_order": (a - mixed) ** 2}
    variances = _variance(a[resampled], b[resampled])
    found: dict[str, tuple[Floats, Floats, Floats]] = {}
    for order, squares in moments.items():
        value = _index(order, _mean(squares), variance)
        # [G, replicates]: rows are drawn together for all groups
        repeated = np.stack([_index(order, _mean(row[resampled]), variances) for row in squares])
        low, high = (np.array([_quantile(row, tail) for row in repeated]) for tail in _TAILS)
        found[order] = (value, low, high)
    return found


def _index(order: str, mean_square: Floats, variance: Floats) -> Floats:
    ratio = np.full(np.broadcast_shapes(np.shape(mean_square), np.shape(variance)), np.nan)
    np.divide(mean_square, 2.0 * variance, out=ratio, where=variance > 0)
    return 1.0 - ratio if order == "first_order" else ratio


def _variance(a: Floats, b: Floats) -> Floats:
    """Variance of both blocks together, over the last axis."""
    both = np.concatenate((a, b), axis=-1)
    mean = _mean(both)
    return np.asarray(_mean((both - mean[..., None]) ** 2))


def _mean(values: Floats) -> Floats:
    """Mean over the last axis of what is finite; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def _quantile(values: Floats, q: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, q)) if known.size else float("nan")


def _fraction(crossed: Floats, threshold: float) -> Floats:
    """Share of cells that respond under each truth, of those whose S is defined."""
    known = np.isfinite(crossed)
    hits = reached(crossed, threshold).sum(axis=-1)
    count = known.sum(axis=-1)
    return np.divide(hits, count, out=np.full(np.shape(hits), np.nan), where=count > 0)


def _goal_met(crossed: Floats, threshold: float, share: float, seed: int) -> tuple[float, float, float]:
    """Share of truths under which enough cells respond, with a 95 % interval.

    The interval is the wider of Wilson's over truths, and of a bootstrap that draws truths and cells anew (pigeonhole,
    Owen 2007, Ann. Appl. Stat. 1:386): the first holds where all truths agree, the second where few cells decide.
    """
    fraction = _fraction(crossed, threshold)
    known = np.isfinite(fraction)
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    met = int(reached(fraction[known], share).sum())
    low, high = (float(bound) for bound in wilson(met, int(known.sum())))
    rng = stream(seed, "variance split", "crossed")
    truths, cells = crossed.shape
    repeated: list[float] = []
    for _ in range(_REPLICATES):
        drawn = crossed[rng.integers(0, truths, truths)][:, rng.integers(0, cells, cells)]
        of = _fraction(drawn, threshold)
        seen = np.isfinite(of)
        if seen.any():
            repeated.append(float(reached(of[seen], share).mean()))
    tails = [float(np.quantile(repeated, tail)) for tail in _TAILS] if repeated else [low, high]
    return met / int(known.sum()), min(low, tails[0]), max(high, tails[1])


def _crossed_shares(crossed: Floats, name: str) -> dict[str, float]:
    """Shares of the variance of a crossed design from what is unknown, from how cells differ, and from both together.

    Two-way random effects, by mean squares without replication (Searle, Casella and McCulloch 1992, ch. 4); estimates
    below zero are zero. NaN with fewer than two truths or cells, or where a value is missing in all of a row.
    """
    names = tuple(f"{name}_{part}" for part in ("unknown", "cells", "joint"))
    kept = crossed[:, np.isfinite(crossed).all(axis=0)]
    truths, cells = kept.shape
    if truths < 2 or cells < 2:
        return dict.fromkeys(names, float("nan"))
    mean, rows, columns = kept.mean(), kept.mean(axis=1), kept.mean(axis=0)
    of_rows = cells * ((rows - mean) ** 2).sum() / (truths - 1)
    of_columns = truths * ((columns - mean) ** 2).sum() / (cells - 1)
    rest = ((kept - rows[:, None] - columns + mean) ** 2).sum() / ((truths - 1) * (cells - 1))
    parts = np.maximum([(of_rows - rest) / cells, (of_columns - rest) / truths, rest], 0.0)
    total = parts.sum()
    return {name: float(part / total) if total > 0 else float("nan") for name, part in zip(names, parts, strict=True)}
