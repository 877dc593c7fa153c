"""Brownian dynamics in OpenMM: many independent copies of one encounter in one System, absorbed inside the integrator.

Legend: `S` slots, i.e. copies that move at the same time.

Each copy takes steps of its own length (Ermak & McCammon 1978, J. Chem. Phys. 69, 1352, eq. 2, with one diffusing sphere):

    r ← r + (σ²/2)·F/kT + σ·(ξ + √(D_rot/D)·ξ′×r),   σ² = 2D·Δt,

small near the patch and where the energy is steep, large elsewhere; D itself drops out. Between the two ends of a step the
path may have touched the sphere: it has with probability exp(−2·d₀·d₁/σ²) if both ends lie outside at distances d₀ and d₁
(Lamm & Schulten 1983, J. Chem. Phys. 78, 2713, for a plane). Where it touches the patch it is absorbed, elsewhere it is reflected.
"""

from __future__ import annotations

import math

import numpy as np
import openmm
from openmm.unit import md_unit_system

from simulators.molecular.encounter import Encounter, Floats

GAS_CONSTANT_KJ_MOL_K = 8.31446261815324e-3

_DOWNHILL_KT = 0.3  # most that the energy changes along one σ, so that the force at its start serves for the whole step
_TURN = 0.1  # most that D_rot/D·r·σ may be: its square is the error of a step along the chord, relative to what curvature does
_PARKED = 0.01  # an absorbed copy waits here times its place: well inside the sphere, where nothing moves


class BrownianDynamics:
    """Copies of one encounter, moved together.

    The random numbers of OpenMM's Reference platform belong to the process: between `BrownianDynamics(...)` and the last
    `advance` no other OpenMM context may be made in it, or the copies go on with other noise (equally right, but other bits).

    Args:
        encounter: what meets.
        places_nm: where the copies start `[S, 3]`, outside contact and inside `outer_nm`.
        outer_nm: a copy beyond it rests until it is placed anew.
        seed: of the noise, 1 to 2³¹ − 1.
        temperature_K: only turns kT into kJ/mol, the unit of OpenMM's forces.
        finest, coarsest: bounds of σ, as parts of the contact distance.
        reach: σ near the patch as a part of the distance to it.
    """

    def __init__(
        self,
        encounter: Encounter,
        places_nm: Floats,
        *,
        outer_nm: float,
        seed: int,
        temperature_K: float = 298.15,
        finest: float,
        coarsest: float,
        reach: float,
    ) -> None:
        self.encounter = encounter
        self._kT = GAS_CONSTANT_KJ_MOL_K * temperature_K
        system = openmm.System()
        for _ in places_nm:
            system.addParticle(1.0)  # never used: there are no velocities
        force = screened_coulomb_force(encounter, self._kT)
        for copy in range(len(places_nm)):
            force.addParticle(copy, [])
        system.addForce(force)
        self._integrator = _integrator(
            encounter,
            outer_nm=outer_nm,
            finest_nm=finest * encounter.contact_nm,
            coarsest_nm=coarsest * encounter.contact_nm,
            reach=reach,
        )
        self._integrator.setRandomNumberSeed(seed)
        self._context = openmm.Context(system, self._integrator, openmm.Platform.getPlatformByName("Reference"))
        self.place(places_nm)

    @property
    def places_nm(self) -> Floats:
        """Where the copies are, `[S, 3]`; an absorbed one lies within half the contact distance of the origin."""
        positions = self._context.getState(positions=True).getPositions(asNumpy=True)
        return np.array(positions.value_in_unit_system(md_unit_system), dtype=np.float64)

    def place(self, places_nm: Floats) -> None:
        """Put all copies somewhere, `[S, 3]`."""
        self._context.setPositions(places_nm)
        self._integrator.setGlobalVariableByName("placed", 1.0)

    def advance(self, steps: int) -> None:
        """Move every copy by `steps` steps; one that is absorbed or beyond `outer_nm` rests."""
        self._integrator.step(steps)

    def forces_kJ_mol_nm(self) -> tuple[float, Floats]:  # noqa: N802 - units in the name
        """Energy of all copies together [kJ/mol] and the force on each `[S, 3]` [kJ/(mol nm)]."""
        state = self._context.getState(energy=True, forces=True)
        energy = state.getPotentialEnergy().value_in_unit_system(md_unit_system)
        return energy, np.array(state.getForces(asNumpy=True).value_in_unit_system(md_unit_system))


def screened_coulomb_force(encounter: Encounter, kT: float) -> openmm.CustomExternalForce:
    """The receptor's field as an OpenMM force, still without particles; `kT` in kJ/mol."""
    force = openmm.CustomExternalForce("kT*strength*exp(-kappa*distance)/distance; distance=sqrt(x*x+y*y+z*z)")
    force.addGlobalParameter("kT", kT)
    force.addGlobalParameter("strength", encounter.energy.strength_nm)
    force.addGlobalParameter("kappa", encounter.energy.kappa_1_nm)
    return force


def reflection_bend_1_nm(encounter: Encounter) -> float:
    """How a curved mirror differs from a flat one: depth y inside becomes height y + bend·y² outside.

    A reaction probability h that solves the backward equation with h′(R) = 0 has h‴(R) = −a·h″(R), with
    a = 2/R + 2/(R(1 + R²D_rot/D)) − U′(R). Its mean over a step that ends inside is that of its smooth continuation there,
    which the height y + (a/3)·y² repeats up to y⁴; the flat mirror errs by y³, and made rates of small patches 2 to 3 % high.
    """
    r = encounter.contact_nm
    turning = 2 / (r * (1 + r * r * encounter.tumbling_1_nm2))
    return (2 / r + turning - float(encounter.energy.slope_kT_nm(r))) / 3


def _integrator(
    encounter: Encounter,
    *,
    outer_nm: float,
    finest_nm: float,
    coarsest_nm: float,
    reach: float,
) -> openmm.CustomIntegrator:
    """One step of all copies. Vector functions cost ten times a plain expression, so each is called once and kept.

    Besides its own variables it reads the parameters of the force: kT, strength, kappa.
    """
    integrator = openmm.CustomIntegrator(1.0)  # no clock: every copy has its own step
    patch_cosine = -2.0 if encounter.isotropic else math.cos(encounter.patch_half_angle)
    constants = {
        "placed": 1.0,  # whether distance and cosine must be read from the positions anew
        "contact": encounter.contact_nm,
        "outer": outer_nm,
        "finest": finest_nm,
        "coarsest": coarsest_nm,
        "reach": reach,
        "patch_cosine": patch_cosine,
        "patch_sine": 0.0 if encounter.isotropic else math.sin(encounter.patch_half_angle),
        "tumbling": encounter.tumbling_1_nm2,
        "parked": _PARKED,
        "bend": reflection_bend_1_nm(encounter),
    }
    for name, value in constants.items():
        integrator.addGlobalVariable(name, value)
    for name in ("distance", "cosine", "sigma", "swing", "chance", "after", "cosine_after", "hit"):
        integrator.addPerDofVariable(name, 0.0)

    integrator.addUpdateContextState()
    integrator.beginIfBlock("placed > 0")
    integrator.addComputePerDof("distance", "sqrt(dot(x, x))")
    integrator.addComputePerDof("cosine", "_z(x)/distance")
    integrator.addComputeGlobal("placed", "0")
    integrator.endBlock()

    rim = "sqrt(max(0, distance^2+contact^2-2*distance*contact*(cosine*patch_cosine+sine*patch_sine)))"
    gap = "distance-contact" if encounter.isotropic else f"select(step(cosine-patch_cosine), distance-contact, {rim})"
    tumbles = encounter.tumbling_1_nm2 > 0 and not encounter.isotropic
    bounds = ["coarsest", "max(finest, reach*gap)"]
    if encounter.energy.strength_nm:
        bounds.append(f"{_DOWNHILL_KT}/abs(strength*exp(-kappa*distance)/distance*(kappa+1/distance))")
    if tumbles:
        bounds.append(f"{_TURN}/(tumbling*distance)")
    sigma = bounds.pop()
    while bounds:
        sigma = f"min({bounds.pop()}, {sigma})"
    integrator.addComputePerDof(
        "sigma",
        f"step(distance-0.5*contact)*step(outer-distance)*{sigma}; gap={gap}; sine=sqrt(max(0, 1-cosine^2))",
    )
    drift = "0.5*sigma^2/kT*f"
    if tumbles:
        # turning about the origin moves along a chord: the drift −(D_rot)·2Δt·r brings it back onto the sphere (Itô)
        integrator.addComputePerDof("swing", "cross(gaussian, x)")
        integrator.addComputePerDof("x", f"x*(1-tumbling*sigma^2)+sigma*(gaussian+sqrt(tumbling)*swing)+{drift}")
    else:
        integrator.addComputePerDof("x", f"x+sigma*gaussian+{drift}")
    integrator.addComputePerDof("chance", "_x(uniform)")
    integrator.addComputePerDof("after", "dot(x, x)")
    integrator.addComputePerDof("cosine_after", "_z(x)")
    integrator.addComputePerDof("after", "sqrt(after)")
    integrator.addComputePerDof("cosine_after", "cosine_after/after")
    # 0 free, 1 absorbed, 2 reflected; at rest (σ = 0) always free
    integrator.addComputePerDof(
        "hit",
        "select(sigma, touched*select(step(cosine_there-patch_cosine), 1, 2*step(contact-after)), 0);"
        "cosine_there=cosine+(cosine_after-cosine)*before/(before+abs(after-contact)+1e-9*contact);"
        "touched=max(step(contact-after), step(exp(-2*before*(after-contact)/sigma^2)-chance));"
        "before=max(distance-contact, 0)",
    )
    integrator.addComputePerDof(
        "distance",
        "select(hit, select(hit-1, contact+depth+bend*depth^2, parked*after), after); depth=contact-after",
    )
    integrator.addComputePerDof("x", "x*select(hit, distance/after, 1)")
    integrator.addComputePerDof("cosine", "cosine_after")
    return integrator
