"""The association simulator: classes, conditions, what a member's value depends on, and the 18 MET inhibitors."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from shared_data import shared

from simulators.molecular import AssociationSimulator, Ligand, Receptor, Settings
from simulators.molecular.association import NM3_NS_TO_1_M_S
from simulators.molecular.rate_theory import patch_nm
from simulators.molecular.simulator import NOTHING_REACTED, LigandClass
from twin import InputError, Perturbation, State

QUICK = Settings(slots=64, batch=64)
SITE = Receptor("site", radius_nm=2.0, charge=-8.0, patch_half_angle_deg=60.0)


def sphere(name: str, *, charge: int = 0, radius_nm: float = 0.45) -> Ligand:
    return Ligand(name, "", charge, radius_nm, radius_nm)


def rates(
    simulator: AssociationSimulator, *, members: list[int] | None = None, changes: list[Perturbation] | None = None
):
    numbers = list(range(len(simulator.ligands))) if members is None else members
    state = simulator.perturb(simulator.init(members=np.array(numbers), seed=1), changes or [])
    end, values = simulator.step(state, {}, t0=0.0, t1=1.0)
    return end, values["k_D"][:, 0], values["sigma_ln_k_D"][:, 0]


def test_classes_hold_one_charge_and_radii_within_three_percent() -> None:
    ligands = [sphere(f"{z} {r}", charge=z, radius_nm=r) for z in (0, 1) for r in np.linspace(0.40, 0.50, 60)]
    simulator = AssociationSimulator(ligands, SITE)
    assert sorted(m for members in simulator.classes.values() for m in members) == list(range(120))
    for kind, members in simulator.classes.items():
        radii = [ligands[m].contact_nm for m in members]
        assert {ligands[m].charge for m in members} == {kind.charge}
        assert max(radii) / min(radii) <= math.exp(0.03)
        assert kind.contact_nm == pytest.approx(float(np.mean(radii)), rel=0.015)


def test_within_a_class_the_rate_is_the_diffusion_constant_times_one_run() -> None:
    slow = Ligand("slow", "", 0, 0.45, 0.9)
    simulator = AssociationSimulator([sphere("quick"), slow], SITE, sigma_ln=0.3, settings=QUICK)
    assert len(simulator.classes) == 1
    _, k, sigma = rates(simulator)
    d = [ligand.diffusion_nm2_ns(310.15) + SITE.diffusion_nm2_ns(310.15) for ligand in simulator.ligands]
    assert k[0] / k[1] == pytest.approx(d[0] / d[1], rel=1e-12)
    assert sigma[0] == sigma[1] <= 0.3


def test_rate_is_that_of_theory_in_molar_units() -> None:
    """Charges of opposite sign attract: above the neutral ligand; both within 3 σ of the patch's series."""
    simulator = AssociationSimulator(
        [sphere("neutral"), sphere("cation", charge=1)], SITE, sigma_ln=0.04, trajectories=9999
    )
    _, k, sigma = rates(simulator)
    assert k[1] > k[0]
    for member, kind in enumerate(LigandClass.of(ligand) for ligand in simulator.ligands):
        encounter = simulator.encounter(kind, temperature_K=310.15, ionic_strength_M=0.15)
        d = simulator.ligands[member].diffusion_nm2_ns(310.15) + SITE.diffusion_nm2_ns(310.15)
        expected = patch_nm(encounter) * d * NM3_NS_TO_1_M_S
        assert abs(math.log(k[member] / expected)) < 3 * sigma[member]
        assert 1e8 < k[member] < 1e11


def test_a_members_value_does_not_depend_on_the_other_ligands() -> None:
    a, b, c = sphere("a"), sphere("b", charge=1), sphere("c", radius_nm=0.52)
    three = AssociationSimulator([a, b, c], SITE, sigma_ln=0.5, settings=QUICK)
    alone = AssociationSimulator([c], SITE, sigma_ln=0.5, settings=QUICK)
    assert rates(three)[1][2] == rates(alone)[1][0] == rates(three, members=[2, 0])[1][0]


def test_salt_screens_and_heat_speeds_up_and_only_changed_members_run_anew() -> None:
    ligands = [sphere("a", charge=1), sphere("b", charge=1)]
    simulator = AssociationSimulator(ligands, SITE, sigma_ln=0.05, trajectories=20000)
    start, k, _ = rates(simulator)
    assert k[0] == k[1]
    changed = simulator.perturb(start, [Perturbation(1.0, "x.ionic_strength", np.array([0.15, 0.01]))])
    assert math.isnan(changed.arrays["k_D"][1])
    assert changed.arrays["k_D"][0] == k[0]
    _, values = simulator.step(changed, {}, t0=1.0, t1=2.0)
    assert values["k_D"][0, 0] == k[0]
    assert values["k_D"][1, 0] > 1.2 * k[1]  # less salt, more attraction
    _, warm, _ = rates(simulator, changes=[Perturbation(0.0, "x.temperature", 20.0, "add")])
    assert warm[0] > 1.2 * k[0]  # viscosity falls by a third
    same = simulator.perturb(start, [Perturbation(1.0, "x.temperature", 310.15)])
    np.testing.assert_array_equal(same.arrays["k_D"], k)


def test_what_did_not_reach_its_error_says_so() -> None:
    simulator = AssociationSimulator([sphere("a")], SITE, sigma_ln=0.001, trajectories=64, settings=QUICK)
    end, k, sigma = rates(simulator)
    assert math.isfinite(k[0])
    assert sigma[0] > 0.001
    assert end.arrays["status"][0] == 0
    needle = Receptor("needle", radius_nm=2.0, charge=0.0, patch_half_angle_deg=0.001)
    end, k, sigma = rates(AssociationSimulator([sphere("a")], needle, trajectories=64, settings=QUICK))
    assert math.isnan(k[0])
    assert math.isnan(sigma[0])
    assert end.arrays["status"][0] == NOTHING_REACTED


def test_a_member_that_failed_is_not_run_again() -> None:
    needle = Receptor("needle", radius_nm=2.0, charge=0.0, patch_half_angle_deg=0.001)
    simulator = AssociationSimulator([sphere("a")], needle, trajectories=64, settings=QUICK)
    end, _, _ = rates(simulator)
    again, values = simulator.step(end, {}, t0=1.0, t1=2.0)
    assert math.isnan(values["k_D"][0, 0])
    assert isinstance(again, State)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"ligands": []}, "at least one"),
        ({"ligands": [sphere("a"), sphere("a")]}, "each id once"),
        ({"sigma_ln": 0.0}, "above 0"),
        ({"trajectories": 0}, "above 0"),
        ({"temperature_K": 37.0}, "kelvin"),
        ({"ionic_strength_M": 150.0}, "0.15 M"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], match: str) -> None:
    ligands = wrong.pop("ligands", [sphere("a")])
    with pytest.raises(InputError, match=match):
        AssociationSimulator(ligands, SITE, **wrong)  # pyright: ignore


def test_conditions_out_of_range_are_refused_by_name() -> None:
    simulator = AssociationSimulator([sphere("a")], SITE)
    state = simulator.init(members=np.array([0]), seed=1)
    with pytest.raises(InputError, match=r"x\.temperature"):
        simulator.perturb(state, [Perturbation(0.0, "x.temperature", 37.0)])
    with pytest.raises(InputError, match=r"x\.ionic_strength"):
        simulator.perturb(state, [Perturbation(0.0, "x.ionic_strength", 150.0)])


@pytest.mark.slow
def test_the_18_met_inhibitors_reach_their_error_and_spheres_hardly_tell_them_apart() -> None:
    """Each within 4 σ of the patch's series; in theory the whole series lies within a factor of 1.5."""
    with shared("gastric", "met_inhibitors", "inhibitors.tsv").open(encoding="utf-8") as file:
        ligands = [Ligand.from_smiles(row["compound"], row["smiles"]) for row in csv.DictReader(file, delimiter="\t")]
    receptor = Receptor.named("c-MET kinase")
    simulator = AssociationSimulator(ligands, receptor)
    _, k, sigma = rates(simulator)
    assert (sigma <= 0.1).all()
    expected = []
    for ligand in ligands:
        encounter = simulator.encounter(LigandClass.of(ligand), temperature_K=310.15, ionic_strength_M=0.15)
        d = ligand.diffusion_nm2_ns(310.15) + receptor.diffusion_nm2_ns(310.15)
        expected.append(NM3_NS_TO_1_M_S * d * patch_nm(encounter))
    assert (np.abs(np.log(k / expected)) < 4 * sigma).all()
    assert max(expected) / min(expected) < 1.5
    assert 1e9 < k.min() < k.max() < 1e10
