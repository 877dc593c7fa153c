"""`twin bench petab`: how far simulations of PEtab problems are from the stored ones, and from RoadRunner's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.petab import ATOL, PetabProblem
from simulators.reaction.petab_table import PetabTable, Row
from simulators.reaction.simulation import check_tolerances
from twin.errors import InputError

Floats = NDArray[np.float64]
_SAME = ("observableId", "simulationConditionId", "preequilibrationConditionId", "observableParameters")


def lines(folders: Sequence[Path], *, roadrunner: bool, rtol: float) -> Iterator[str]:
    """A line for each problem, once all have been read. A deviation is the greatest of all points, as a share of its observable's greatest value.

    Args:
        folders: PEtab problems; stored simulations are `simulatedData*.tsv` beside them.
        roadrunner: also simulate with RoadRunner, at `rtol` and 1e-2 of it absolute.
        rtol: of the second run of ours, ten times as tight, that tells how exact the first is.

    Raises:
        InputError: a problem that cannot be read.
    """
    check_tolerances(rtol, ATOL)
    ready = [_ready(folder) for folder in folders]
    yield (
        f"{'problem':28}{'points':>7}{'read s':>8}{'run s':>8}{'from stored':>13}{'from tighter':>14}"
        f"{'from RoadRunner':>17}{'chi2':>14}{'log-likelihood':>17}"
    )
    for problem, kept, read in ready:
        begun = time.perf_counter()
        found = problem.evaluate(rtol=rtol)
        ours = found.simulation[0]
        ran = time.perf_counter() - begun
        tighter = deviation(problem, ours, problem.evaluate(rtol=0.1 * rtol).simulation[0])
        theirs = "–"
        if roadrunner:
            reference = problem.evaluate(engine="reference", rtol=rtol, atol=1e-2 * rtol).simulation[0]
            theirs = f"{deviation(problem, reference, ours):.1e}"
        from_stored = "–" if kept is None else f"{deviation(problem, kept, ours):.1e}"
        yield (
            f"{problem.name[:27]:28}{len(ours):7}{read:8.1f}{ran:8.1f}{from_stored:>13}{tighter:14.1e}{theirs:>17}"
            f"{found.chi2[0]:14.7g}{found.log_likelihood[0]:17.9g}"
        )


def _ready(folder: Path) -> tuple[PetabProblem, Floats | None, float]:
    """A problem, what is stored of it, and the seconds that reading took."""
    begun = time.perf_counter()
    problem = PetabProblem.read(folder)
    problem.refuse_unsettled()
    read = time.perf_counter() - begun
    return problem, stored(problem), read


def deviation(problem: PetabProblem, expected: Floats, found: Floats) -> float:
    """Greatest |found - expected| of all points over the greatest |expected| of its observable."""
    names = np.array(problem.points.observables)
    worst = 0.0
    for name in dict.fromkeys(problem.points.observables):
        rows = names == name
        greatest = np.abs(expected[rows]).max() or 1.0
        worst = max(worst, float(np.abs(found[rows] - expected[rows]).max() / greatest))
    return worst


def stored(problem: PetabProblem) -> Floats | None:
    """The simulation stored for each measured point; None where there is none.

    Raises:
        InputError: a point without a stored simulation.
    """
    paths = sorted(problem.path.parent.glob("simulatedData*.tsv"))
    if not paths:
        return None
    kept = {_key(row): float(row["simulation"]) for row in PetabTable.read(paths, ("simulation", "time")).rows}
    for row in problem.table.rows:
        if _key(row) not in kept:
            raise InputError(f"{paths[0]}: no simulation of the point of {row.place}.")
    return np.array([kept[_key(row)] for row in problem.table.rows])


def _key(row: Row) -> tuple[object, ...]:
    """What tells a point from others, apart from its replicates (whose simulations are the same)."""
    return (*(row[name] for name in _SAME), float(row["time"]))
