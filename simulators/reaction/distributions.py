"""Random numbers of SBML's distrib package: which function draws from which distribution.

Arguments are those of the package (SBML L3 distrib V1 §3.2): `normal(mean, sd)`, `uniform(min, max)`, `bernoulli(p)`,
`binomial(n, p)`, `cauchy(location = 0, scale)`, `chisquare(degrees)`, `exponential(rate)`, `gamma(shape, scale)`,
`laplace(location = 0, scale)`, `lognormal(mean and sd of the logarithm)`, `poisson(rate)`, `rayleigh(scale)`; all but
uniform and bernoulli may be followed by two bounds, between which the number lies then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from simulators.reaction.engine import Floats

_MOST_TRIES = 1_000_000
"""Numbers drawn in search of one between the bounds, after which the bounds are held to exclude everything."""

Sampler = Callable[..., Any]

DISTRIBUTIONS: Final[dict[str, tuple[int, Sampler]]] = {
    "normal": (2, lambda g, n, mean, sd: g.normal(mean, sd, n)),
    "uniform": (2, lambda g, n, low, high: g.uniform(low, high, n)),
    "bernoulli": (1, lambda g, n, p: (g.random(n) < _share(p)) * 1.0),
    "binomial": (2, lambda g, n, count, p: g.binomial(int(count), p, n) * 1.0),
    "cauchy": (2, lambda g, n, location, scale: location + _positive(scale) * g.standard_cauchy(n)),
    "chisquare": (1, lambda g, n, degrees: g.chisquare(degrees, n)),
    "exponential": (1, lambda g, n, rate: g.exponential(1.0 / _positive(rate), n)),
    "gamma": (2, lambda g, n, shape, scale: g.gamma(shape, scale, n)),
    "laplace": (2, lambda g, n, location, scale: g.laplace(location, scale, n)),
    "lognormal": (2, lambda g, n, mean, sd: g.lognormal(mean, sd, n)),
    "poisson": (1, lambda g, n, rate: g.poisson(rate, n) * 1.0),
    "rayleigh": (1, lambda g, n, scale: g.rayleigh(scale, n)),
}
"""Name → number of arguments without bounds, and the sampler (generator, how many, arguments)."""
_CENTRED: Final = frozenset({"cauchy", "laplace"})
"""Distributions whose location may be left out."""


def sample(generator: np.random.Generator, distribution: str, arguments: Sequence[float]) -> float:
    """One number; NaN where the arguments make no distribution, or nothing lies between the bounds."""
    count, sampler = DISTRIBUTIONS[distribution]
    given = [float(a) for a in arguments]
    if distribution in _CENTRED and len(given) in (1, 3):
        given = [0.0, *given]
    plain, bounds = given[:count], given[count:]
    if len(plain) < count or len(bounds) not in (0, 2) or any(math.isnan(a) for a in given):
        return math.nan
    try:
        if not bounds:
            return float(sampler(generator, 1, *plain)[0])
        low, high = bounds
        drawn, tries = 1, 0
        while tries < _MOST_TRIES:
            found: Floats = sampler(generator, drawn, *plain)
            inside = found[(found >= low) & (found <= high)]
            if len(inside):
                return float(inside[0])
            tries += drawn
            drawn = min(10 * drawn, 100_000)
    except (ValueError, OverflowError):  # a negative scale and the like
        pass
    return math.nan


def _positive(value: float) -> float:
    if not value > 0.0:
        raise ValueError(value)
    return value


def _share(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(value)
    return value
