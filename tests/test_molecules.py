"""Ligands, receptors and water: charges, sizes, diffusion and salt, against known molecules and tabulated values."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from shared_data import shared

from simulators.molecular import Ligand, Receptor
from simulators.molecular.ligand import axial_ratio, perrin_factor
from simulators.molecular.receptor import C_MET_POCKET, radius_of_residues_nm, side_chain_charge
from simulators.molecular.water import (
    bjerrum_length_nm,
    diffusion_nm2_ns,
    inverse_debye_length_1_nm,
    relative_permittivity,
    rotation_1_ns,
    viscosity_Pa_s,
)
from twin import InputError

TEPOTINIB = "C[N@H+]1CC[C@H](COc2cnc(-c3cccc(Cn4nc(-c5cccc(C#N)c5)ccc4=O)c3)nc2)CC1"


# ---- water


@pytest.mark.parametrize(
    ("temperature_K", "mPa_s"), [(293.15, 1.0016), (298.15, 0.8900), (310.15, 0.6913), (363.15, 0.3142)]
)
def test_viscosity_of_water(temperature_K: float, mPa_s: float) -> None:
    """IAPWS 2008 tables (37 °C by interpolation), to 0.3 %."""
    assert 1e3 * viscosity_Pa_s(temperature_K) == pytest.approx(mPa_s, rel=3e-3)


def test_permittivity_and_lengths_of_salt_water() -> None:
    """Textbook values: ε 78.3 and l_B 0.715 nm at 25 °C, Debye length 0.304 nm/√(I/M)."""
    assert relative_permittivity(298.15) == pytest.approx(78.30, abs=0.02)
    assert bjerrum_length_nm(298.15) == pytest.approx(0.715, abs=0.002)
    assert 1 / inverse_debye_length_1_nm(298.15, 1.0) == pytest.approx(0.304, abs=0.001)
    assert 1 / inverse_debye_length_1_nm(298.15, 0.15) == pytest.approx(0.304 / math.sqrt(0.15), rel=5e-3)
    assert inverse_debye_length_1_nm(310.15, 0.0) == 0.0


def test_diffusion_of_a_nanometre_sphere() -> None:
    """kT/(6πη·1 nm) at 25 °C is 0.2454 nm²/ns; D_rot·r²/D is 3/4 for any sphere."""
    assert diffusion_nm2_ns(1.0, 298.15) == pytest.approx(0.2454, rel=2e-3)
    assert rotation_1_ns(1.7, 310.15) * 1.7**2 / diffusion_nm2_ns(1.7, 310.15) == pytest.approx(0.75)


@pytest.mark.parametrize("temperature_K", [37.0, 400.0, math.nan])
def test_water_that_is_not_liquid_is_refused(temperature_K: float) -> None:
    with pytest.raises(InputError, match="kelvin"):
        viscosity_Pa_s(temperature_K)


@pytest.mark.parametrize("ionic_strength_M", [-0.1, 150.0, math.nan])
def test_impossible_salt_is_refused(ionic_strength_M: float) -> None:
    with pytest.raises(InputError, match=r"150 mM is 0\.15 M"):
        inverse_debye_length_1_nm(310.15, ionic_strength_M)


# ---- ligands


@pytest.mark.parametrize(
    ("smiles", "charge", "volume_A3"),
    [("c1ccccc1", 0, 80.3), ("CC(=O)[O-]", -1, 54.0), ("C[NH3+]", 1, 43.0), ("c1ccc2ccccc2c1", 0, 122.0)],
)
def test_charge_and_volume_of_known_molecules(smiles: str, charge: int, volume_A3: float) -> None:
    """Van der Waals volumes as by Bondi's increments or counted grids, within 12 %: sets of atomic radii differ as much."""
    ligand = Ligand.from_smiles("it", smiles)
    assert ligand.charge == charge
    assert 4 / 3 * math.pi * (10 * ligand.contact_nm) ** 3 == pytest.approx(volume_A3, rel=0.12)


@pytest.mark.parametrize(
    ("smiles", "measured_nm2_ns"),
    [
        ("OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@@H]1O", 0.67),  # glucose
        ("OC[C@H]1O[C@@](CO)(O[C@H]2O[C@H](CO)[C@@H](O)[C@H](O)[C@H]2O)[C@@H](O)[C@@H]1O", 0.52),  # sucrose
        ("Cn1c(=O)c2c(ncn2C)n(C)c1=O", 0.76),  # caffeine
    ],
)
def test_diffusion_of_known_molecules(smiles: str, measured_nm2_ns: float) -> None:
    """Measured in water at 25 °C and low concentration. Stokes' law with stick and no hydration is good to a fourth here: high for
    sugars, which carry water along, and a little low for flat caffeine."""
    found = Ligand.from_smiles("it", smiles).diffusion_nm2_ns(298.15)
    assert found == pytest.approx(measured_nm2_ns, rel=0.25)


def test_two_ways_to_write_a_molecule_are_one_ligand() -> None:
    one, other = Ligand.from_smiles("it", "CCOC(=O)c1ccccc1"), Ligand.from_smiles("it", "c1cc(C(OCC)=O)ccc1")
    assert one == other
    assert Ligand.from_smiles("it", TEPOTINIB) == Ligand.from_smiles("it", TEPOTINIB)


def test_perrin_factor_of_ellipsoids() -> None:
    """The limits of Perrin's formula: 1 + 4(p − 1)²/45 near a sphere, p^(2/3)/ln(2p) for a long rod."""
    assert perrin_factor(1.0) == 1.0
    assert perrin_factor(1.01) - 1 == pytest.approx(4 * 0.01**2 / 45, rel=0.02)
    assert perrin_factor(1e4) == pytest.approx(1e4 ** (2 / 3) / math.log(2e4), rel=1e-6)
    rod = np.outer(np.linspace(-1, 1, 21), [0.0, 0.0, 1.0])
    assert axial_ratio(rod) == 10.0  # bounded
    assert axial_ratio(np.zeros((1, 3))) == 1.0  # one atom
    cube = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    assert axial_ratio(cube) == pytest.approx(1.0)


def test_one_atom_is_a_ligand() -> None:
    ion = Ligand.from_smiles("chloride", "[Cl-]")
    assert ion.charge == -1
    assert ion.hydrodynamic_nm == ion.contact_nm
    assert 0.15 < ion.contact_nm < 0.2


@pytest.mark.parametrize(
    ("smiles", "match"),
    [
        ("C1CC", "cannot be read"),
        ("not a smiles", "cannot be read"),
        ("C(C)(C)(C)(C)C", "not a molecule"),
        ("c1cccc1", "not a molecule"),
        ("", "no atom"),
        ("C[NH3+].[Cl-]", "Leave out counter-ions"),
        ("*CC", "wildcard"),
    ],
)
def test_what_is_not_one_molecule_is_refused(smiles: str, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        Ligand.from_smiles("CHEMBL1", smiles)
    assert "CHEMBL1" in str(caught.value)


def test_the_met_inhibitors_are_charged_as_written_and_alike_in_size() -> None:
    with shared("gastric", "met_inhibitors", "inhibitors.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    ligands = [Ligand.from_smiles(row["compound"], row["smiles"]) for row in rows]
    assert [ligand.charge for ligand in ligands] == [row["smiles"].count("+]") for row in rows]
    radii = [ligand.contact_nm for ligand in ligands]
    assert max(radii) / min(radii) < 1.2
    diffusion = [ligand.diffusion_nm2_ns(310.15) for ligand in ligands]
    assert max(diffusion) / min(diffusion) < 1.3


# ---- receptors


def test_side_chain_charges_by_henderson_hasselbalch() -> None:
    assert side_chain_charge(["LYS", "ARG", "ASP", "GLU", "ALA"], pH=7.0) == pytest.approx(0.0, abs=2e-3)
    assert side_chain_charge(["HIS"], pH=6.6) == pytest.approx(0.5)
    assert side_chain_charge(["HIE", "HIP"], pH=6.6) == pytest.approx(1.0)
    assert side_chain_charge(["ASP"], pH=3.5) == pytest.approx(-0.5)


def test_the_c_met_kinase_is_that_of_its_structure() -> None:
    """Radius and half-angle as rounded in the table; the radius also within 3 % of that of a folded chain of 285 residues."""
    named = Receptor.named("c-MET kinase")
    read = Receptor.from_structure(
        shared("gastric", "met_inhibitors", "receptor_4r1y.pdb"), pocket=C_MET_POCKET, pH=7.2
    )
    assert named.radius_nm == pytest.approx(read.radius_nm, abs=0.005)
    assert named.charge == pytest.approx(read.charge, abs=0.05)
    assert named.patch_half_angle_deg == pytest.approx(read.patch_half_angle_deg, abs=0.2)
    assert named.radius_nm == pytest.approx(radius_of_residues_nm(285), rel=0.03)


def test_unknown_receptors_and_structures_are_refused(tmp_path: object) -> None:
    with pytest.raises(InputError, match="did you mean c-MET kinase"):
        Receptor.named("c-MET kinsae")
    with pytest.raises(InputError, match="there is c-MET kinase"):
        Receptor.named("zzz")
    with pytest.raises(InputError, match="nowhere"):
        Receptor.from_structure("nowhere.pdb", pocket=[1])
    structure = shared("gastric", "met_inhibitors", "receptor_4r1y.pdb")
    for pocket in ([1, 1160], []):
        with pytest.raises(InputError, match="1062 to 1346"):
            Receptor.from_structure(structure, pocket=pocket)
    for wrong in ({"radius_nm": 0.0}, {"charge": math.nan}, {"patch_half_angle_deg": 181.0}):
        with pytest.raises(InputError, match="Receptor it"):
            Receptor(**{"name": "it", "radius_nm": 1.0, "charge": 0.0, "patch_half_angle_deg": 9.0} | wrong)  # pyright: ignore
