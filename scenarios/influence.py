"""How much each uncertain quantity moves an answer: shares of the variance of its ranks.

Inputs may be correlated (draws of a fit are), so squared correlations would count the same variance twice. Relative
weights (Johnson 2000, Multivariate Behav. Res. 35:1) share out R² instead: with R the correlations of the inputs among
each other and r those with the answer,

    weight_k = sum_j (R^½)_kj² (R^-½ r)_j²

which is r_k² for independent inputs, and sums to R² always. What noise alone would give is told by permutations. Those
that judge one input shuffle whole draws of its source: where a source has few draws, each shared by many cells, any
input of it seems to matter, and only they show it. Legend: `K` inputs, `N` cells, `P` permutations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from scenarios.statistics import ranks, standardised
from twin.seeds import stream

Floats = NDArray[np.float64]

FEWEST_CELLS = 8
_PERMUTATIONS = 1000
_RIDGE = 1e-3  # pulls correlations toward 0, so that inputs that repeat each other share their weight
_ITERATIONS = 60
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Influence:
    """Shares of the variance of an answer's ranks.

    Attributes:
        share: of each input, with what noise alone would give taken off, so that it scatters around 0 where there is no
            influence; NaN where cells are too few `[K]`.
        floor: what the largest share of the inputs of the same source stays under in 95 % of permutations `[K]`.
        explained: by all inputs together, adjusted for their number; NaN where each is taken alone.
        jointly: whether inputs were taken together; with too few cells for their number each is taken alone, and
            correlated inputs count the same variance twice.
    """

    share: Floats
    floor: Floats
    explained: float
    jointly: bool


def influence(inputs: Floats, answer: Floats, *, sources: Sequence[str], seed: int, name: str) -> Influence:
    """How much each input moves an answer.

    Args:
        inputs: `[K, N]`.
        answer: `[N]`; cells where it is NaN are left out. It may be infinite: only its order counts.
        sources: of each input `[K]`; inputs of one source are drawn together.
        seed, name: of the permutations that tell noise.
    """
    known = ~np.isnan(answer)
    size = int(known.sum())
    unknown = np.full(len(inputs), np.nan)
    y = standardised(ranks(answer[known])) if size >= FEWEST_CELLS else np.zeros(0)
    if not len(inputs) or not y.any():
        return Influence(unknown, unknown, float("nan"), jointly=False)
    x = standardised(ranks(inputs[:, known]))
    rng = stream(seed, "influence", name)
    shuffled = np.concatenate((y[None], rng.permuted(np.tile(y, (_PERMUTATIONS, 1)), axis=1)))
    # einsum and not BLAS: the same bits whatever the number of threads
    correlated = np.einsum("kn,pn->pk", x, shuffled) / size
    jointly = size > 2 * sum(min(len(rows), draws) for rows, draws in _sources(x, sources)) + 2
    weigh = _Weights.of(x) if jointly else np.square
    weights = weigh(correlated)
    real, noise = weights[0], weights[1:].mean(axis=0)
    # as in the adjusted R² (Ezekiel 1930): the more is explained, the less is left for noise to mimic
    fitted, mimicked = (float(real.sum()), float(noise.sum())) if jointly else (real, noise)
    taken = noise * np.maximum(1.0 - fitted, 0.0) / np.maximum(1.0 - mimicked, 1e-9)
    share = real - taken
    floor = unknown.copy()
    for rows, permuted in _permuted(x, y, sources, rng):
        mixed = np.repeat(correlated[:1], len(permuted), axis=0)
        mixed[:, rows] = permuted
        floor[rows] = np.quantile(weigh(mixed)[:, rows].max(axis=1), _CONFIDENCE)
    explained = min(max(float(share.sum()), 0.0), 1.0) if jointly else float("nan")
    return Influence(share, floor, explained, jointly)


def telling_apart(
    inputs: Floats, chosen: NDArray[np.bool_], *, sources: Sequence[str], seed: int, name: str
) -> tuple[Floats, Floats]:
    """Which inputs tell chosen cells from the others.

    Args:
        inputs, sources, seed, name: as of `influence`.
        chosen: cells `[N]`.

    Returns:
        Chance that a chosen cell has the higher value than another (Mann and Whitney 1947), 1/2 for an input that says
        nothing, and its p-value by permutations, adjusted for the number of inputs `[K]`; NaN where all or none are chosen.
    """
    inside, outside = int(chosen.sum()), int((~chosen).sum())
    if not inside or not outside or not len(inputs):
        return np.full(len(inputs), np.nan), np.full(len(inputs), np.nan)
    ranked = ranks(inputs)
    chance = (ranked[:, chosen].sum(axis=1) - inside * (inside + 1) / 2) / (inside * outside)
    x, y = standardised(ranked), standardised(chosen.astype(np.float64))
    real = np.abs(np.einsum("kn,n->k", x, y) / len(y))
    p = np.ones(len(inputs))
    for rows, permuted in _permuted(x, y, sources, stream(seed, "telling apart", name)):
        largest = np.abs(permuted).max(axis=1)
        beaten = (largest[:, None] >= real[rows] - 1e-12).sum(axis=0)
        p[rows] = (1 + beaten) / (len(permuted) + 1)
    return chance, np.minimum(p * len(set(sources)), 1.0)


def _sources(x: Floats, sources: Sequence[str]) -> list[tuple[NDArray[np.intp], int]]:
    """Inputs of each source, and how many different draws of it there are."""
    names = np.array(sources)
    found = [np.flatnonzero(names == name) for name in dict.fromkeys(sources)]
    return [(rows, np.unique(x[rows], axis=1).shape[1]) for rows in found]


def _permuted(x: Floats, y: Floats, sources: Sequence[str], rng: Generator) -> list[tuple[NDArray[np.intp], Floats]]:
    """Correlations of the inputs of each source with the answer when the source's draws change places `[P, K]`."""
    found: list[tuple[NDArray[np.intp], Floats]] = []
    for rows, _ in _sources(x, sources):
        draws, label = np.unique(x[rows], axis=1, return_inverse=True)
        sums = np.bincount(label.ravel(), weights=y, minlength=draws.shape[1])
        shuffled = rng.permuted(np.tile(sums, (_PERMUTATIONS, 1)), axis=1)
        found.append((rows, np.einsum("ku,pu->pk", draws, shuffled) / len(y)))
    return found


@dataclass(frozen=True)
class _Weights:
    """Relative weights from correlations with an answer: the roots R^½ and R^-½ `[K, K]` of the inputs' correlations."""

    root: Floats
    inverse: Floats

    @classmethod
    def of(cls, x: Floats) -> _Weights:
        """For standardised inputs `[K, N]`."""
        among = np.einsum("kn,jn->kj", x, x) / x.shape[1]
        np.fill_diagonal(among, 1.0)  # an input that does not vary stands alone, and has no weight
        return cls(*_roots((1.0 - _RIDGE) * among + _RIDGE * np.eye(len(among))))

    def __call__(self, correlated: Floats) -> Floats:
        """Weights for correlations `[P, K]`."""
        beta = np.einsum("kj,pj->pk", self.inverse, correlated)
        return np.einsum("kj,pj->pk", self.root**2, beta**2)


def _roots(matrix: Floats) -> tuple[Floats, Floats]:
    """R^½ and R^-½ of a positive definite matrix, by the coupled Newton-Schulz iteration (Higham 2008, eq. 6.35)."""
    scale = float(np.sqrt((matrix**2).sum()))
    identity = np.eye(len(matrix))
    y, z = matrix / scale, identity
    for _ in range(_ITERATIONS):
        step = 1.5 * identity - 0.5 * np.einsum("ij,jk->ik", z, y)
        y, z = np.einsum("ij,jk->ik", y, step), np.einsum("ij,jk->ik", step, z)
        if np.abs(step - identity).max() < 1e-12:
            break
    return y * np.sqrt(scale), z / np.sqrt(scale)
