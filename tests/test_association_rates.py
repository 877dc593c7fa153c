"""Brownian dynamics against theory: Smoluchowski, Debye, a patch; its forces, its outer solution, its random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulators.molecular import Association, Encounter, ScreenedCoulomb, Settings, associate
from simulators.molecular.association import NM3_NS_TO_1_M_S
from simulators.molecular.brownian import BrownianDynamics
from simulators.molecular.exterior import Exterior, log_slopes, smoluchowski_integral_1_nm
from simulators.molecular.rate_theory import debye_integral_nm, debye_nm, disc_nm, patch_nm, smoluchowski_nm
from twin import InputError
from twin.seeds import stream
from twin.units import factor

CONTACT_NM = 2.6
BJERRUM_NM = 0.73  # of water at 310 K
ATTRACTION_NM, REPULSION_NM = -4 * BJERRUM_NM, 3 * BJERRUM_NM  # no salt; -1.1 and +0.8 kT at contact
STEPS = {"finest": 0.02, "coarsest": 0.25, "reach": 0.35}
SALT_NM = 0.78  # Debye length at 150 mM

FREE = Encounter(CONTACT_NM)
ATTRACTED = Encounter(CONTACT_NM, energy=ScreenedCoulomb(ATTRACTION_NM))
REPELLED = Encounter(CONTACT_NM, energy=ScreenedCoulomb(REPULSION_NM))
SCREENED = Encounter(CONTACT_NM, energy=ScreenedCoulomb(-30.0, 1 / SALT_NM))
KINASE = Encounter(
    CONTACT_NM, patch_half_angle=math.radians(27), energy=ScreenedCoulomb(20.0, 1 / SALT_NM), tumbling_1_nm2=0.02
)

KNOWN = [
    pytest.param(FREE, smoluchowski_nm(CONTACT_NM), id="Smoluchowski"),
    pytest.param(ATTRACTED, debye_nm(CONTACT_NM, ATTRACTION_NM), id="Debye, attraction"),
    pytest.param(REPELLED, debye_nm(CONTACT_NM, REPULSION_NM), id="Debye, repulsion"),
    pytest.param(SCREENED, debye_integral_nm(CONTACT_NM, SCREENED.energy), id="Debye, attraction in salt"),
    pytest.param(KINASE, patch_nm(KINASE), id="tumbling sphere with a patch, repulsion in salt"),
]


def estimate(
    encounter: Encounter, *, sigma_ln: float, trajectories: int = 10**6, seed: int = 1, slots: int = 256
) -> Association:
    settings = Settings(slots=slots)
    return associate(encounter, stream(seed, "test"), sigma_ln=sigma_ln, trajectories=trajectories, settings=settings)


# ---- rates


@pytest.mark.parametrize(("encounter", "expected_nm"), KNOWN)
def test_rate_is_within_three_sigma_of_theory(encounter: Encounter, expected_nm: float) -> None:
    found = estimate(encounter, sigma_ln=0.03)
    assert found.sigma_ln <= 0.03
    assert abs(math.log(found.rate_over_D_nm / expected_nm)) < 3 * found.sigma_ln


@pytest.mark.slow
@pytest.mark.parametrize(("encounter", "expected_nm"), KNOWN)
def test_rate_is_within_three_percent_of_theory_at_one_percent_error(encounter: Encounter, expected_nm: float) -> None:
    found = estimate(encounter, sigma_ln=0.0099, seed=2, slots=1024)
    assert found.sigma_ln < 0.01
    assert found.rate_over_D_nm == pytest.approx(expected_nm, rel=0.03)


def test_where_the_spheres_b_and_q_lie_does_not_matter() -> None:
    """Within 3 σ of the difference: what happens beyond q is solved with the patch's angle kept, not averaged over it."""
    tight = associate(KINASE, stream(3, "tight"), sigma_ln=0.04, settings=Settings(b=1.1, q=1.4))
    wide = associate(KINASE, stream(3, "wide"), sigma_ln=0.04, settings=Settings(b=2.0, q=3.5), trajectories=20000)
    assert tight.steps / tight.trajectories < wide.steps / wide.trajectories
    sigma = math.hypot(tight.sigma_ln, wide.sigma_ln)
    assert abs(math.log(tight.rate_over_D_nm / wide.rate_over_D_nm)) < 3 * sigma


def test_one_nm3_per_ns_in_molar_units() -> None:
    assert factor("nm^3/ns * avogadro_constant", "1/(M s)") == pytest.approx(NM3_NS_TO_1_M_S, rel=1e-12)


# ---- stop


def test_stops_at_the_wanted_error_in_whole_batches_and_says_what_it_reached() -> None:
    found = estimate(KINASE, sigma_ln=0.2)
    assert found.trajectories % 256 == 0
    assert found.sigma_ln <= 0.2
    share = found.reacted / found.trajectories
    assert found.sigma_ln == pytest.approx(math.sqrt((1 - share) / found.reacted))
    cut = estimate(KINASE, sigma_ln=0.01, trajectories=300)
    assert cut.trajectories == 512  # whole batches
    assert cut.sigma_ln > 0.01


def test_trajectories_are_counted_in_the_order_of_launch_so_that_slots_do_not_matter() -> None:
    """A batch that took the first to finish would favour the quick, i.e. those that escape: more so the more slots."""
    few, many = (
        associate(
            FREE, stream(4, "slots"), sigma_ln=1e-9, trajectories=4096, settings=Settings(slots=slots, batch=4096)
        )
        for slots in (64, 2048)
    )
    assert abs(math.log(few.rate_over_D_nm / many.rate_over_D_nm)) < 3 * math.hypot(few.sigma_ln, many.sigma_ln)


def test_a_patch_that_nothing_finds_is_no_number() -> None:
    found = estimate(Encounter(CONTACT_NM, patch_half_angle=1e-4), sigma_ln=0.5, trajectories=256)
    assert found.reacted == 0
    assert math.isnan(found.rate_over_D_nm)
    assert math.isinf(found.sigma_ln)


@pytest.mark.parametrize("wrong", [{"sigma_ln": 0.0}, {"trajectories": 0}, {"sigma_ln": math.nan}])
def test_impossible_stop_rules_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="above 0"):
        associate(FREE, stream(1, "x"), **wrong)  # pyright: ignore[reportArgumentType]


# ---- random numbers


def test_same_generator_gives_the_same_bits_whatever_ran_before() -> None:
    first = estimate(KINASE, sigma_ln=0.3)
    estimate(REPELLED, sigma_ln=0.3, seed=9)
    assert estimate(KINASE, sigma_ln=0.3) == first
    assert estimate(KINASE, sigma_ln=0.3, seed=2) != first


def test_copies_move_by_the_same_bits() -> None:
    places = np.tile([0.0, 0.0, 1.5 * CONTACT_NM], (8, 1))

    def moved(seed: int) -> np.ndarray:
        dynamics = BrownianDynamics(KINASE, places, outer_nm=3 * CONTACT_NM, seed=seed, **STEPS)
        dynamics.advance(20)
        return dynamics.places_nm

    assert moved(5).tobytes() == moved(5).tobytes()
    assert moved(5).tobytes() != moved(6).tobytes()
    assert len(np.unique(moved(5)[:, 0])) == 8  # independent of each other


# ---- forces and steps


@pytest.mark.parametrize("encounter", [ATTRACTED, REPELLED, SCREENED, KINASE])
def test_force_is_minus_the_gradient_of_the_energy(encounter: Encounter) -> None:
    """Central differences; at h = 1e-4 nm their error is of the order (h/r)² = 1e-8 of the force, and rounding 1e-9."""
    places = np.random.default_rng(1).normal(size=(3, 3))
    places *= np.array([[1.02], [1.3], [2.5]]) * CONTACT_NM / np.linalg.norm(places, axis=1, keepdims=True)
    dynamics = BrownianDynamics(encounter, places, outer_nm=9.0, seed=1, **STEPS)
    energy, forces = dynamics.forces_kJ_mol_nm()
    kt = 8.31446261815324e-3 * 298.15
    assert energy == pytest.approx(kt * float(encounter.energy.energy_kT(np.linalg.norm(places, axis=1)).sum()))
    h = 1e-4
    for copy in range(3):
        for axis in range(3):
            shifted = []
            for sign in (1, -1):
                moved = places.copy()
                moved[copy, axis] += sign * h
                dynamics.place(moved)
                shifted.append(dynamics.forces_kJ_mol_nm()[0])
            gradient = (shifted[0] - shifted[1]) / (2 * h)
            assert forces[copy, axis] == pytest.approx(-gradient, rel=1e-5, abs=1e-6)


def test_free_steps_have_the_mean_square_displacement_of_their_length() -> None:
    """Far from contact σ is the coarsest, 0.25 R: after one step ⟨Δx²⟩ = σ² on each axis, here over 60000 numbers."""
    places = np.tile([0.0, 0.0, 5 * CONTACT_NM], (20000, 1))
    dynamics = BrownianDynamics(FREE, places, outer_nm=9 * CONTACT_NM, seed=3, **STEPS)
    dynamics.advance(1)
    jumps = dynamics.places_nm - places
    assert np.mean(jumps**2) == pytest.approx((0.25 * CONTACT_NM) ** 2, rel=0.02)
    assert abs(jumps.mean()) < 0.02 * CONTACT_NM


def test_tumbling_turns_without_moving_in_or_out() -> None:
    """Seen from the receptor the angle spreads by (D/r² + D_rot)·t, while ⟨r²⟩ grows by 6Dt only."""
    turning = Encounter(CONTACT_NM, patch_half_angle=0.3, tumbling_1_nm2=0.5)
    still = Encounter(CONTACT_NM, patch_half_angle=0.3)
    r, sigma = 4 * CONTACT_NM, 0.005 * CONTACT_NM
    places = np.tile([0.0, 0.0, -r], (20000, 1))
    spread, size = {}, {}
    for name, encounter in (("turning", turning), ("still", still)):
        dynamics = BrownianDynamics(encounter, places, outer_nm=9 * r, seed=3, finest=0.02, coarsest=0.005, reach=0.35)
        dynamics.advance(1)
        spread[name] = np.mean(dynamics.places_nm[:, :2] ** 2)
        size[name] = np.mean(np.sum(dynamics.places_nm**2, axis=1))
    assert spread["still"] == pytest.approx(sigma**2, rel=0.03)
    assert spread["turning"] == pytest.approx(sigma**2 * (1 + 0.5 * r**2), rel=0.03)
    assert size["turning"] == pytest.approx(size["still"], rel=0.01)


def test_absorbed_and_escaped_copies_rest() -> None:
    places = np.array([[0.0, 0.0, 0.1], [0.0, 0.0, 4 * CONTACT_NM]])
    dynamics = BrownianDynamics(FREE, places, outer_nm=3 * CONTACT_NM, seed=3, **STEPS)
    dynamics.advance(50)
    np.testing.assert_array_equal(dynamics.places_nm, places)


def test_nothing_enters_the_sphere_beside_its_patch() -> None:
    places = np.random.default_rng(2).normal(size=(500, 3))
    places *= 1.05 * CONTACT_NM / np.linalg.norm(places, axis=1, keepdims=True)
    dynamics = BrownianDynamics(KINASE, places, outer_nm=3 * CONTACT_NM, seed=3, **STEPS)
    for _ in range(20):
        dynamics.advance(5)
        distance = np.linalg.norm(dynamics.places_nm, axis=1)
        assert ((distance >= CONTACT_NM) | (distance < CONTACT_NM / 2)).all()


# ---- the outer solution and the theory itself


def test_free_returns_follow_the_kernel_of_the_exterior_sphere() -> None:
    """Free diffusion: b/r return, and the cosine of the arrival is known in closed form (images); table error below 2e-3."""
    b, r = 1.25 * CONTACT_NM, 2.0 * CONTACT_NM
    exterior = Exterior(FREE, b_nm=b, q_nm=1.9 * CONTACT_NM, beyond_nm=1.5 * CONTACT_NM)
    u = np.linspace(0.0, 1.0, 101)
    chord = 1 / (1 / (r + b) + u * (1 / (r - b) - 1 / (r + b)))
    expected = (r * r + b * b - chord**2) / (2 * r * b)
    np.testing.assert_allclose(exterior.arrival_cosine(np.full(101, r), u), expected, atol=2e-3)
    assert exterior.return_probability(np.array([r]))[0] == pytest.approx(b / r, rel=1e-3)


def test_returns_under_forces_and_tumbling_agree_with_brownian_dynamics() -> None:
    """Copies run from q until they touch b or are beyond 2q, whence the outer solution from there on takes over: the share that
    returns and the first moment of its cosine are those of the outer solution from q, within 4 standard errors."""
    b, q, n = 3.0, 4.5, 1000
    forces = Encounter(b, energy=ScreenedCoulomb(12.0, 0.5), tumbling_1_nm2=0.05)
    near = Exterior(forces, b_nm=b, q_nm=q, beyond_nm=1.0)
    far = Exterior(forces, b_nm=b, q_nm=2 * q, beyond_nm=6.0)
    u = (np.arange(500) + 0.5) / 500

    def moment(exterior: Exterior, r: float) -> float:
        share = exterior.return_probability(np.array([r]))[0]
        return float(share * exterior.arrival_cosine(np.full(500, r), u).mean())

    whole = Encounter(
        b, math.pi - 1e-9, forces.energy, forces.tumbling_1_nm2
    )  # a cap, so that tumbling is simulated too
    start = np.tile([0.0, 0.0, q], (n, 1))
    dynamics = BrownianDynamics(whole, start, outer_nm=2 * q, seed=8, finest=0.03, coarsest=0.2, reach=0.35)
    distance = np.full(n, q)
    while ((distance > b / 2) & (distance < 2 * q)).any():
        dynamics.advance(10)
        distance = np.linalg.norm(dynamics.places_nm, axis=1)
    cosine = dynamics.places_nm[:, 2] / distance
    arrived = distance < b / 2
    share = np.where(arrived, 1.0, far.return_probability(distance))
    first = np.where(
        arrived, cosine, cosine * [0.0 if a else moment(far, r) for a, r in zip(arrived, distance, strict=True)]
    )
    expected = near.return_probability(np.array([q]))[0]
    assert share.mean() == pytest.approx(expected, abs=4 * share.std() / math.sqrt(n))
    assert first.mean() == pytest.approx(moment(near, q), abs=4 * first.std() / math.sqrt(n))


def test_log_slopes_of_free_diffusion_are_minus_l_plus_one() -> None:
    np.testing.assert_allclose(
        log_slopes(FREE, np.array([2.6, 5.0]), 12), -np.tile(np.arange(1, 13.0), (2, 1)), rtol=1e-6
    )


def test_debyes_integral_meets_his_closed_form_and_the_limits() -> None:
    for strength in (ATTRACTION_NM, REPULSION_NM):
        nearly = ScreenedCoulomb(strength, 1e-9)
        assert debye_integral_nm(CONTACT_NM, nearly) == pytest.approx(debye_nm(CONTACT_NM, strength), rel=1e-7)
    assert debye_integral_nm(CONTACT_NM, ScreenedCoulomb(5.0, 1e3)) == pytest.approx(smoluchowski_nm(CONTACT_NM))
    assert smoluchowski_integral_1_nm(ScreenedCoulomb(), CONTACT_NM) == 1 / CONTACT_NM


def test_patch_series_meets_the_disc_the_whole_sphere_and_published_bounds() -> None:
    """A small cap is a disc of its radius times 1 + O(angle); a whole one is Smoluchowski's sphere. A constant flux is a
    lower bound (a trial function in a variational principle), some 8 % low (Shoup, Lipari & Szabo 1981)."""
    small = math.radians(2.0)
    disc = disc_nm(CONTACT_NM * math.sin(small))
    assert 1 < patch_nm(Encounter(CONTACT_NM, small), orders=6000) / disc < 1.1
    assert patch_nm(Encounter(CONTACT_NM, math.radians(179.5))) == pytest.approx(smoluchowski_nm(CONTACT_NM), rel=1e-3)
    cap = Encounter(CONTACT_NM, math.radians(20))
    assert patch_nm(cap, orders=1000) == pytest.approx(patch_nm(cap, orders=3000, shapes=12), rel=5e-4)
    assert 0.90 < patch_nm(cap, shapes=0) / patch_nm(cap) < 0.95
    assert patch_nm(Encounter(CONTACT_NM, math.radians(20), tumbling_1_nm2=0.03)) > patch_nm(cap)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"contact_nm": 0.0}, "contact"),
        ({"contact_nm": 1.0, "patch_half_angle": 0.0}, "half-angle"),
        ({"contact_nm": 1.0, "patch_half_angle": 4.0}, "half-angle"),
        ({"contact_nm": 1.0, "tumbling_1_nm2": -1.0}, "tumbling"),
    ],
)
def test_impossible_encounters_are_refused(wrong: dict[str, float], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Encounter(**wrong)
    with pytest.raises(InputError, match="κ"):
        ScreenedCoulomb(1.0, -1.0)
