"""The rate at which an encounter ends in reaction, by Brownian dynamics after Northrup, Allison and McCammon.

Legend: `S` slots that move at the same time, `N` trajectories, `n` some of them.

Northrup, Allison & McCammon 1984, J. Chem. Phys. 80, 1517: ligands arrive at a sphere of radius b at the rate k_D(b), known in
closed form, and evenly; a trajectory from there reacts with probability β; the rate is k_D(b)·β. A trajectory that gets
beyond the sphere of radius q > b either escapes or returns to b: both are drawn from the exact distribution (`Exterior`), so
that β needs neither a large q nor a correction for the trajectories cut there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.molecular.brownian import BrownianDynamics
from simulators.molecular.encounter import Encounter, Floats
from simulators.molecular.exterior import Exterior, smoluchowski_integral_1_nm
from twin.errors import InputError

NM3_NS_TO_1_M_S = 6.02214076e8  # 1 nm³/ns is 1e-24 L per 1e-9 s, times Avogadro's number per mole


@dataclass(frozen=True)
class Association:
    """What Brownian dynamics says of an encounter.

    Args:
        rate_over_D_nm: association rate over the relative diffusion constant, k/D [nm]; NaN if nothing reacted.
        sigma_ln: standard error of ln k, from the binomial spread of β; infinite if nothing reacted.
        trajectories, reacted: how many were counted, and how many of them reacted.
        steps: steps of all slots together, those at rest included: the work done.
    """

    rate_over_D_nm: float  # noqa: N815 - D is the field's letter
    sigma_ln: float
    trajectories: int
    reacted: int
    steps: int


@dataclass(frozen=True)
class Settings:
    """Numerics of the trajectories; none of them changes what is estimated, beyond the bias of `finest`.

    Args:
        b, q: radii of the starting and the outer sphere, in contact distances.
        finest: smallest step σ, as a part of the patch's radius (of the contact distance, if that is smaller); the rate comes
            out low by about 0.3 of it, because a step is asked only once where on the rim it touched.
        coarsest: largest step σ, in contact distances.
        reach: σ between the two, as a part of the distance to the patch.
        slots: copies that move at the same time.
        batch: trajectories between two looks at the error.
        block: steps between two looks at the copies.
    """

    b: float = 1.25
    q: float = 1.9
    finest: float = 0.025
    coarsest: float = 0.25
    reach: float = 0.35
    slots: int = 256
    batch: int = 256
    block: int = 10


def associate(
    encounter: Encounter,
    generator: np.random.Generator,
    *,
    sigma_ln: float = 0.1,
    trajectories: int = 4000,
    temperature_K: float = 298.15,
    settings: Settings | None = None,
) -> Association:
    """Estimate the association rate of an encounter.

    Trajectories are counted in the order in which they were launched, in whole batches, until the standard error of ln k is
    at most `sigma_ln` or `trajectories` are counted; so what is counted does not depend on how long each of them took.

    Args:
        encounter: what meets.
        generator: of all random numbers; the same one gives the same bits.
        sigma_ln: wanted standard error of ln k.
        trajectories: at most so many, rounded up to whole batches.
        temperature_K: turns kT into OpenMM's kJ/mol.
        settings: numerics.

    Raises:
        InputError: `sigma_ln` or `trajectories` not above 0.
    """
    if not sigma_ln > 0 or trajectories < 1:
        raise InputError(f"associate: sigma_ln {sigma_ln}, trajectories {trajectories}; expected both above 0.")
    numerics = settings or Settings()
    contact = encounter.contact_nm
    b_nm, q_nm = numerics.b * contact, numerics.q * contact
    patch = min(1.0, 2 * math.sin(encounter.patch_half_angle / 2))
    sideways = math.sqrt(1 + encounter.tumbling_1_nm2 * contact**2)  # tumbling adds to steps along the sphere
    exterior = Exterior(encounter, b_nm=b_nm, q_nm=q_nm, beyond_nm=6 * numerics.coarsest * contact)
    batches = math.ceil(trajectories / numerics.batch)
    slots = min(numerics.slots, batches * numerics.batch)
    flight = _Flight(batches * numerics.batch, slots)
    dynamics = BrownianDynamics(
        encounter,
        b_nm * _directions(generator, slots),
        outer_nm=q_nm,
        seed=1 + int(generator.integers(2**31 - 2)),
        temperature_K=temperature_K,
        finest=numerics.finest * patch / sideways,
        coarsest=numerics.coarsest,
        reach=numerics.reach,
    )
    steps, counted, error = 0, 0, math.inf
    while counted < len(flight.outcome_N) and error > sigma_ln:
        dynamics.advance(numerics.block)
        steps += numerics.block * slots
        places = dynamics.places_nm
        distance = np.linalg.norm(places, axis=1)
        absorbed = distance < contact / 2
        outside = np.flatnonzero(distance > q_nm)
        returns = generator.random(len(outside)) < exterior.return_probability(distance[outside])
        back = outside[returns]
        places[back] = _arrivals(generator, exterior, places[back], distance[back])
        launched = flight.end(np.flatnonzero(absorbed), np.sort(outside[~returns]))
        places[launched] = b_nm * _directions(generator, len(launched))
        dynamics.place(places)
        while counted < len(flight.outcome_N) and error > sigma_ln and flight.done(counted + numerics.batch):
            counted += numerics.batch
            error = _error_of_ln(int(flight.outcome_N[:counted].sum()), counted)
    return pooled(encounter, int(flight.outcome_N[:counted].sum()), counted, steps=steps, settings=numerics)


def pooled(
    encounter: Encounter, reacted: int, counted: int, *, steps: int = 0, settings: Settings | None = None
) -> Association:
    """What so many trajectories say that were counted, in one run or several, and of which so many reacted."""
    b_nm = (settings or Settings()).b * encounter.contact_nm
    arrival_nm = 4 * math.pi / smoluchowski_integral_1_nm(encounter.energy, b_nm)
    rate = arrival_nm * reacted / counted if reacted else math.nan
    return Association(rate, _error_of_ln(reacted, counted), counted, reacted, steps)


def _error_of_ln(reacted: int, counted: int) -> float:
    """Standard error of ln β; where all reacted, as if one had not."""
    if reacted == 0:
        return math.inf
    missed = max(counted - reacted, 1)
    return math.sqrt(missed / (counted * reacted))


class _Flight:
    """Which trajectory is in which slot, and how each has ended: −1 not yet, 0 escaped, 1 reacted."""

    def __init__(self, trajectories: int, slots: int) -> None:
        self.outcome_N: NDArray[np.int8] = np.full(trajectories, -1, dtype=np.int8)
        self._number_S = np.arange(slots)
        self._launched = slots

    def end(self, reacted: NDArray[np.intp], escaped: NDArray[np.intp]) -> NDArray[np.intp]:
        """Note how these slots ended; the slots that hold a new trajectory now, the others being left at rest."""
        self.outcome_N[self._number_S[reacted][self._number_S[reacted] >= 0]] = 1
        self.outcome_N[self._number_S[escaped][self._number_S[escaped] >= 0]] = 0
        free = np.sort(np.concatenate([reacted, escaped]))
        free = free[self._number_S[free] >= 0]
        self._number_S[free] = -1
        launched = free[: len(self.outcome_N) - self._launched]
        self._number_S[launched] = self._launched + np.arange(len(launched))
        self._launched += len(launched)
        return launched

    def done(self, trajectories: int) -> bool:
        """Whether so many trajectories, in the order of their launch, have all ended."""
        return bool((self.outcome_N[:trajectories] >= 0).all())


def _directions(generator: np.random.Generator, n: int) -> Floats:
    """Unit vectors in all directions alike, `[n, 3]`."""
    vectors = generator.standard_normal((n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _arrivals(generator: np.random.Generator, exterior: Exterior, places: Floats, distance: Floats) -> Floats:
    """Where ligands that return from `places` `[n, 3]` arrive on the inner sphere, `[n, 3]`."""
    axis = places / distance[:, None]
    cosine = exterior.arrival_cosine(distance, generator.random(len(places)))
    across = np.cross(axis, _directions(generator, len(places)))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    sine = np.sqrt(1 - cosine**2)
    return exterior.b_nm * (cosine[:, None] * axis + sine[:, None] * across)
