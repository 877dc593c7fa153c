"""Coupling on an elastic tube and on a cell cut in two, against physics and against the uncut cell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coupling import AdaptiveWindows, Aitken, FixedWindows, GaussSeidel, Jacobi, QuasiNewton, WaveformRelaxation
from coupling.simulate import simulate
from scenarios.commands.coupling_cases import ONE, Tube, split_cell
from simulators.closed_form import TubeFlow, TubeWall
from twin import Conduit, InputError, SimulationError, Twin


def test_quasi_newton_needs_a_third_of_aitkens_iterations_on_the_tube() -> None:
    """Degroote et al. 2009 in their harder setting, κ 10 and τ 0.01; both end at the same pressure."""
    tube = Tube(stiffness=10.0, step=0.01)
    aitken, newton = tube.run(Aitken(0.01)), tube.run(QuasiNewton(reuse=4, relaxation=0.01, filter=1e-2))
    assert int(newton["coupling_iterations"][0]) <= int(aitken["coupling_iterations"][0]) / 3
    scale = np.abs(aitken["flow.pressure"].values).max()
    np.testing.assert_allclose(newton["flow.pressure"], aitken["flow.pressure"], atol=1e-3 * scale)


@pytest.mark.parametrize("scheme", [Jacobi(), GaussSeidel(["flow", "wall"])])
def test_explicit_coupling_of_the_tube_explodes(scheme: object) -> None:
    """Added mass: no window is short enough (Causin, Gerbeau & Nobile 2005, Comput. Methods Appl. Mech. Eng. 194:4506)."""
    tube = Tube(segments=20)
    for length in (tube.window_s, tube.window_s / 10):
        with pytest.raises(SimulationError, match=r"coupling has run away: take WaveformRelaxation"):
            simulate(
                tube.twin(), members=ONE, t0=0.0, t1=100 * length, sample=[], scheme=scheme, windows=FixedWindows(length),
                time_units="s",
            )  # fmt: skip


def test_the_coupled_tube_equals_its_linear_equations_solved_at_once() -> None:
    """A weak pulse: liquid and wall in one linear system a step, ρc²-stiff wall, no convection (of the order u/c = 1e-3)."""
    segments, c, dt, steps, rest = 20, 1.0, 1 / 1024, 40, math.pi * 0.005**2
    dx, rho = 0.05 / segments, 1000.0
    flow = TubeFlow(segments=segments, length_m=0.05, velocity_m_s=1e-5, pulse=100.0, period_s=0.02)
    twin = Twin(
        {"flow": flow, "wall": TubeWall(segments=segments, wave_speed_m_s=c)},
        (Conduit("flow.pressure", "wall.pressure"), Conduit("wall.widening", "flow.widening")),
    )
    found = simulate(
        twin, members=ONE, t0=0.0, t1=steps * dt, sample=[steps * dt],
        scheme=WaveformRelaxation(1e-6, 100, QuasiNewton(relaxation=1e-3), degree=1, order=["flow", "wall"]),
        windows=FixedWindows(dt), time_units="s",
    )  # fmt: skip
    wide = np.full(segments, dx)
    wide[-1] /= 2
    matrix = np.zeros((2 * segments, 2 * segments))  # flow out of each segment, then pressure in it
    for j in range(segments):
        matrix[j, j] = 1.0  # continuity: what is gained, plus what leaves, is what enters
        matrix[j, segments + j] = rest / (rho * c**2) * dx / dt
        if j:
            matrix[j, j - 1] = -1.0
        matrix[segments + j, j] = 1.0 / dt  # momentum between this middle and the next, or the outlet
        matrix[segments + j, segments + j] = -rest / rho / wide[j]
        if j + 1 < segments:
            matrix[segments + j, segments + j + 1] = rest / rho / wide[j]
    q, p = np.full(segments, rest * 1e-5), np.zeros(segments)
    for step in range(1, steps + 1):
        inlet = rest * 1e-5 * (1.0 + 100.0 * math.sin(math.pi * step * dt / 0.02) ** 2)
        entered = np.zeros(segments)
        entered[0] = inlet
        right = np.concatenate([rest / (rho * c**2) * dx / dt * p + entered, q / dt])
        q, p = np.split(np.linalg.solve(matrix, right), 2)
    np.testing.assert_allclose(found["flow.pressure"][0, 0], p, atol=5e-3 * np.abs(p).max())


def test_the_cell_cut_in_two_equals_the_whole_and_adaptive_windows_save_two_thirds() -> None:
    """At the error of fixed windows of 1.25 min or below it, and below 1e-4; tries thrown away are counted as windows."""
    cell = split_cell()
    fixed_error, fixed = cell.error(WaveformRelaxation(), FixedWindows(1.25))
    adaptive_error, adaptive = cell.error(WaveformRelaxation(), AdaptiveWindows(1e-2, first=0.1))
    assert adaptive_error <= min(fixed_error, 1e-4)
    tries = int(adaptive["coupling_windows"][0]) + int(adaptive["coupling_rejected"][0])
    assert 3 * tries <= int(fixed["coupling_windows"][0])
    explicit_error, _ = cell.error(Jacobi(), FixedWindows(1.25))
    assert explicit_error > 100 * adaptive_error


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TubeFlow(segments=1), "at least 2 segments"),
        (lambda: TubeFlow(length_m=-1.0), "all else above 0"),
        (lambda: TubeWall(wave_speed_m_s=0.0), "expected all above 0"),
    ],
)
def test_a_tube_that_is_none_is_refused(make: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()  # pyright: ignore[reportCallIssue]


def test_the_wall_is_as_wide_as_hooke_says() -> None:
    """In thin-walled tubes p r = σ h and σ = E (r - r₀)/r₀: here with c² = E h / 2ρr₀."""
    wall, r0, c, rho, p = TubeWall(segments=3, wave_speed_m_s=2.0), 0.005, 2.0, 1000.0, 900.0
    state = wall.init(members=ONE, seed=0)
    _, said = wall.step(state, {"pressure": np.full((1, 3), p)}, t0=0.0, t1=1.0)
    r = math.sqrt((said["widening"][0, -1, 0] + math.pi * r0**2) / math.pi)
    assert 2 * rho * c**2 * r0 * (r - r0) / r0 == pytest.approx(p * r, rel=1e-12)
