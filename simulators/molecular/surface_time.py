"""How long ligands stay at the surface of a cell before they escape, by Brownian dynamics in OpenMM.

A ligand at a reflecting sphere of radius a touches it again and again before it leaves for good. What counts is the local
time ℓ of its path at the surface: where receptors are spread evenly and react at the rate κ per area and concentration, the
ligand has escaped them with probability exp(-κℓ/D) (partially reflected Brownian motion: Grebenkov 2006, in Focus on
Probability Theory, ch. 6). So one set of trajectories serves any number of free receptors: they weigh the paths anew.

In a step from distance d₀ to d₁ of the surface, of standard deviation σ per axis, the lowest point that a free path reaches
is m = (d₀ + d₁ - √((d₀ - d₁)² - 2σ² ln U))/2 with U uniform in (0, 1). A path below the surface is pushed up by -m, and -m is
what it adds to ℓ (Skorokhod's reflection; for a sphere too, since bridges of the radius of a Brownian path are those of a line).

Legend: `S` slots, i.e. ligands that move at the same time; `N` trajectories.
"""

from __future__ import annotations

import math

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm.unit import md_unit_system

from twin.errors import InputError

Floats = NDArray[np.float64]

_START, _OUTER = 1.25, 1.9
"""Radii, in those of the cell: who is beyond the outer one escapes or returns to the inner one."""

_FINEST, _COARSEST, _REACH = 0.06, 0.25, 0.35
"""Least and largest σ, in radii, and σ between them as a part of the distance to the surface. Times come out low by some
0.1 of the least σ: 0.6 %."""

_BLOCK = 10
"""Steps between two looks at the ligands."""


def surface_times(generator: np.random.Generator, *, trajectories: int, slots: int = 256) -> Floats:
    """Local times ℓ/a at the surface `[N]` of ligands that start on it, until they have escaped to infinity.

    Every slot takes the same number of trajectories, so that what is counted does not depend on how long each takes.

    Args:
        generator: of all random numbers; the same one gives the same bits.
        trajectories: N, rounded up to a multiple of `slots`.
        slots: S.

    Raises:
        InputError: a number below 1.
    """
    if trajectories < 1 or slots < 1:
        raise InputError(f"surface_times: {trajectories} trajectories in {slots} slots; expected at least 1 of each.")
    rounds = math.ceil(trajectories / slots)
    found = np.zeros((slots, rounds))
    done = np.zeros(slots, dtype=np.int64)
    spent = np.zeros(slots)  # of the trajectory in each slot, when it was placed
    integrator = _integrator()
    integrator.setRandomNumberSeed(1 + int(generator.integers(2**31 - 2)))
    system = openmm.System()
    for _ in range(slots):
        system.addParticle(1.0)  # never used: there are no velocities
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    places = _directions(generator, slots)
    context.setPositions(places)
    while (done < rounds).any():
        integrator.setGlobalVariableByName("placed", 1.0)
        integrator.step(_BLOCK)
        positions = context.getState(positions=True).getPositions(asNumpy=True)
        places = np.array(positions.value_in_unit_system(md_unit_system), dtype=np.float64)
        distance = np.linalg.norm(places, axis=1)
        outside = np.flatnonzero((distance > _OUTER) & (done < rounds))
        back = generator.random(len(outside)) < _START / distance[outside]  # who ever gets from r to b: b/r
        returned, escaped = outside[back], outside[~back]
        places[returned] = _START * _directions(generator, len(returned))
        if len(escaped):
            local = np.array([place[0] for place in integrator.getPerDofVariableByName("local")])
            found[escaped, done[escaped]] = (local - spent)[escaped]
            spent[escaped] = local[escaped]
            done[escaped] += 1
            again = escaped[done[escaped] < rounds]
            places[again] = _directions(generator, len(again))
        context.setPositions(places)
    return found.reshape(-1)


def _integrator() -> openmm.CustomIntegrator:
    """One step of all ligands; the cell is the unit sphere, and every ligand has a step of its own."""
    integrator = openmm.CustomIntegrator(1.0)
    integrator.addGlobalVariable("placed", 1.0)
    for name in ("distance", "sigma", "chance", "after", "push", "local"):
        integrator.addPerDofVariable(name, 0.0)
    integrator.addUpdateContextState()
    integrator.beginIfBlock("placed > 0")
    integrator.addComputePerDof("distance", "sqrt(dot(x, x))")
    integrator.addComputeGlobal("placed", "0")
    integrator.endBlock()
    integrator.addComputePerDof(
        "sigma", f"step({_OUTER}-distance)*min({_COARSEST}, max({_FINEST}, {_REACH}*(distance-1)))"
    )
    integrator.addComputePerDof("x", "x+sigma*gaussian")
    integrator.addComputePerDof("chance", "_x(uniform)")
    integrator.addComputePerDof("after", "sqrt(dot(x, x))")
    integrator.addComputePerDof(
        "push",
        "select(sigma, max(0, -lowest), 0);"
        "lowest=(before+end-sqrt((before-end)^2-2*sigma^2*log(max(chance, 1e-300))))/2;"
        "before=max(distance-1, 0); end=after-1",
    )
    integrator.addComputePerDof("local", "local+push")
    integrator.addComputePerDof("x", "x*(after+push)/after")
    integrator.addComputePerDof("distance", "after+push")
    return integrator


def _directions(generator: np.random.Generator, n: int) -> Floats:
    """Unit vectors in all directions alike `[n, 3]`."""
    vectors = generator.standard_normal((n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
