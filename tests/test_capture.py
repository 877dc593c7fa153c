"""A cell that catches its ligand, by Brownian dynamics, against Berg & Purcell's formula; alone and coupled to a network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from coupling import FixedWindows, GaussSeidel, WaveformRelaxation
from scenarios.commands.coupling_cases import ARRIVAL_1_M_S, KON_1_M_S, ONE, RECEPTORS, capture, captured
from simulators.molecular import CaptureSimulator, surface_times
from simulators.molecular.capture import PER_M_S
from twin import InputError, Simulator, WiringError, stream
from twin.units import factor

STEP_BIAS = 0.01  # relative; surface times come out low by some 0.1 of the least step of 0.06 radii


@pytest.fixture(scope="module")
def cell() -> Simulator:
    return captured().simulators["surface"]


@pytest.mark.parametrize("free", [0.0, 5e4, RECEPTORS, 5e6])
def test_receptors_compete_as_berg_and_purcell_say(cell: Simulator, free: float) -> None:
    """Half a million receptors at 1e7 1/(M s) leave each of them 0.6 of its rate, and a freed ligand as much of its freedom."""
    _, said = cell.step(cell.init(members=ONE, seed=1), {"free": np.array([free])}, t0=0.0, t1=1.0)
    formula = 1.0 / (1.0 + free * KON_1_M_S / ARRIVAL_1_M_S)
    sigma = float(said["sigma_escape"][0, 0])
    assert abs(said["escape"][0, 0] - formula) < 3 * sigma + STEP_BIAS * formula
    caught = (1.0 - formula) * (STEP_BIAS + 3 / math.sqrt(4096))
    assert abs(said["kon_eff"][0, 0] / KON_1_M_S - formula) < max(caught, formula * (STEP_BIAS + 3 / math.sqrt(4096)))
    if free == RECEPTORS:
        assert said["kon_eff"][0, 0] / KON_1_M_S == pytest.approx(0.6, abs=0.02)


def test_surface_times_are_exponential_with_the_radius_as_their_mean() -> None:
    """Each time a ligand is back, it escapes for good at the same chance: a memoryless time of mean a (in radii: 1)."""
    times = surface_times(stream(5, "x"), trajectories=2048)
    error = 1.0 / math.sqrt(len(times))
    assert abs(times.mean() - 1.0) < 3 * error + STEP_BIAS
    for t in (0.2, 0.7, 2.0):
        assert abs((times > t).mean() - math.exp(-t)) < 3 * error * math.sqrt(math.exp(-t)) + STEP_BIAS


def test_units_of_arrival() -> None:
    assert factor("um**3/s", "L/s") * 4 * math.pi * 6.02214076e23 == pytest.approx(PER_M_S, rel=1e-12)


def test_a_network_coupled_to_brownian_dynamics_follows_the_formula() -> None:
    """Free receptors fall as they fill, so that the rest bind faster: coupled at every window. Less than 2 % off the formula
    (1 % of the step, 1 % of 4096 paths), while the network with its own constant kon would be 25 % off at first."""
    found, exact = capture(WaveformRelaxation(1e-6, degree=1), FixedWindows(0.5))
    assert_allclose(found["cell.RL"][0], exact, rtol=0.02)
    assert float(found["surface.kon_eff"][0, -1]) > 1.05 * float(found["surface.kon_eff"][0, 0])
    half, _ = capture(WaveformRelaxation(1e-6, degree=1), FixedWindows(0.25))
    quarter, _ = capture(WaveformRelaxation(1e-6, degree=1), FixedWindows(0.125))
    apart = [np.abs((one - other)["cell.RL"].values).max() for one, other in ((found, half), (half, quarter))]
    assert 1.7 < np.log2(apart[0] / apart[1]) < 2.3  # a micro simulator is of second order: the midpoint rule


def test_an_order_in_which_the_cell_waits_for_its_surface_is_refused() -> None:
    with pytest.raises(WiringError, match="put surface before cell"):
        capture(GaussSeidel(["cell", "surface"]), FixedWindows(0.5))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"radius_um": 0.0}, "radius is 0.0; expected a number above 0"),
        ({"free": -1.0}, "free is -1.0; expected a number of at least 0"),
        ({"kon_1_M_s": np.ones(2), "free": np.ones(3)}, "one per member, alike"),
        ({"trajectories": 1}, "at least 2"),
    ],
)
def test_a_cell_that_is_none_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        CaptureSimulator(**arguments)
