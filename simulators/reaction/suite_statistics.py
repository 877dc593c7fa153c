"""The SBML Test Suite's rules for random answers: means and deviations of many repeats against the exact ones.

With n repeats, a mean X and a deviation S at one time, and the exact µ and σ of the suite (doi:10.1093/bioinformatics/
btm566), Z = √n (X − µ) / σ and Y = √(n/2) (S²/σ² − 1) must lie in the ranges that a case gives. Of many points some
fall outside by chance alone, as the suite's guide says; so a case passes with no more than `Z_ALLOWED` and `Y_ALLOWED`
points outside per variable, and one with more is judged by a second run of `AGAIN` times as many repeats from another seed, in
which an error of the simulator would stand out twice as far and chance would not.

Where every repeat is 0, its logarithm is not defined and the tables hold 0; such a time is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats, Status
from simulators.reaction.model import ReactionModel
from twin.errors import InputError

REPEATS: Final = 1000
"""The least that the suite asks for."""
AGAIN: Final = 4
Z_ALLOWED: Final = 2
Y_ALLOWED: Final = 3
_DIGITS: Final = 1e-4
"""What the tables' five digits leave open where nothing is random."""


@dataclass(frozen=True)
class Verdict:
    """How far a case's answer is from the exact one.

    Attributes:
        worst: most points outside the range of one quantity, over how many are allowed; at most 1 in a case that passes.
        where: the worst quantity, in words; empty if no point is outside.
        engine: which answered.
        outside, points: how many points are outside, of how many.
        repeats: how many members were run.
    """

    worst: float
    where: str
    engine: str
    outside: int = 0
    points: int = 0
    repeats: int = 0


def judged(model: ReactionModel, settings: Mapping[str, str], header: Sequence[str], reference: Floats) -> Verdict:
    """Run a case of the stochastic suite.

    Args:
        settings: of the case, keys in lower case.
        header, reference: its table: `time`, then `X-mean`, `X-sd`, `ln(X)-mean`, ….
    """
    first = _once(model, settings, header, reference, REPEATS, seed=1)
    return first if first.worst <= 1.0 else _once(model, settings, header, reference, AGAIN * REPEATS, seed=2)


def _once(
    model: ReactionModel, settings: Mapping[str, str], header: Sequence[str], reference: Floats, n: int, *, seed: int
) -> Verdict:
    names = [name.strip() for name in settings["variables"].split(",") if name.strip()]
    engine = "stochastic" if model.network.reactions else "auto"
    data = model.simulate(
        reference[:, 0], select=names, quantity="amount", engine=engine, members=n, seed=seed, threads=1
    )
    failed = int((data["status"] != Status.FINE).sum())
    if failed:
        return Verdict(np.inf, f"{failed} of {n} members failed", str(data.attrs["engine"]))
    z_range, y_range = _range(settings, "meanrange"), _range(settings, "sdrange")
    found: list[tuple[float, str]] = []
    outside = points = 0
    for column, title in enumerate(header):
        name, kind = _split(title)
        if kind is None:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithm = name.startswith("ln(")
            x = data[name[3:-1] if logarithm else name].values
            undefined = np.asarray((x == 0.0).all(axis=0)) & logarithm
            x = np.log(x) if logarithm else x
            expected, sd = reference[:, column], _deviation(header, reference, name)
            score = _z(x, expected, sd) if kind == "mean" else _y(x, expected)
        score = np.where(undefined & (expected == 0.0), 0.0, score)
        allowed, most = (z_range, Z_ALLOWED) if kind == "mean" else (y_range, Y_ALLOWED)
        bad = ~((score > allowed[0]) & (score < allowed[1]))
        found.append(_outside(title, score, bad, allowed, most, reference[:, 0], n))
        outside, points = outside + int(bad.sum()), points + len(bad)
    worst, where = max(found, default=(np.inf, "no column of the table is a mean or a deviation"))
    return Verdict(worst, where, str(data.attrs["engine"]), outside, points, n)


def _z(x: Floats, mean: Floats, sd: Floats | None) -> Floats:
    """Where the table has no deviation, that of the repeats is taken."""
    n = len(x)
    found = x.mean(axis=0)
    scale: Floats = np.asarray(x.std(axis=0, ddof=1)) if sd is None else sd
    fixed = np.where(np.abs(found - mean) <= _DIGITS * (1.0 + np.abs(mean)), 0.0, np.inf)
    return np.where(scale > 0.0, np.sqrt(n) * (found - mean) / np.where(scale > 0.0, scale, 1.0), fixed)


def _y(x: Floats, sd: Floats) -> Floats:
    n = len(x)
    found = x.std(axis=0, ddof=1)
    fixed = np.where(found <= _DIGITS, 0.0, np.inf)
    return np.where(sd > 0.0, np.sqrt(n / 2) * (found**2 / np.where(sd > 0.0, sd, 1.0) ** 2 - 1.0), fixed)


def _outside(
    title: str,
    score: Floats,
    bad: NDArray[np.bool_],
    allowed: tuple[float, float],
    most: int,
    times: Floats,
    n: int,
) -> tuple[float, str]:
    if not bad.any():
        return 0.0, ""
    k = int(np.argmax(np.where(bad, np.where(np.isnan(score), np.inf, np.abs(score)), -1.0)))
    where = f"{title}: {int(bad.sum())} of {len(score)} times outside {allowed}, at {times[k]:g} by {score[k]:.3g} ({n} repeats)"
    return bad.sum() / most, where


def _deviation(header: Sequence[str], reference: Floats, name: str) -> Floats | None:
    return reference[:, list(header).index(f"{name}-sd")] if f"{name}-sd" in header else None


def _split(title: str) -> tuple[str, str | None]:
    for kind in ("mean", "sd"):
        if title.endswith(f"-{kind}"):
            return title[: -len(kind) - 1], kind
    return title, None


def _range(settings: Mapping[str, str], key: str) -> tuple[float, float]:
    found = re.fullmatch(r"\(\s*([-+.\deE]+)\s*,\s*([-+.\deE]+)\s*\)", settings.get(key, ""))
    if found is None:
        raise InputError(f"settings.txt: {key}: expected (low, high), not {settings.get(key)!r}.")
    return float(found[1]), float(found[2])
