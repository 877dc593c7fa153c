"""A ligand as a charged sphere: its charge, size and diffusion from a SMILES, by RDKit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdMolDescriptors

from simulators.molecular import water
from simulators.molecular.encounter import Floats
from twin.errors import InputError

_CONFORMERS = 4
_SEED = 20201117


@dataclass(frozen=True)
class Ligand:
    """A small molecule as Brownian dynamics sees it.

    Args:
        id: of the compound.
        smiles: canonical form.
        charge: net formal charge [e], in the protonation state of the SMILES as written.
        contact_nm: radius of the sphere of its van der Waals volume.
        hydrodynamic_nm: radius of the sphere that diffuses as fast.

    Raises:
        InputError: radii that are not above 0.
    """

    id: str
    smiles: str
    charge: int
    contact_nm: float
    hydrodynamic_nm: float

    def __post_init__(self) -> None:
        for name, radius in (("contact", self.contact_nm), ("hydrodynamic", self.hydrodynamic_nm)):
            if not (math.isfinite(radius) and radius > 0):
                raise InputError(f"Ligand {self.id}: {name} radius {radius} nm; expected a length above 0.")

    @classmethod
    def from_smiles(cls, id: str, smiles: str) -> Ligand:
        """Charge and radii of one molecule.

        The volume is that of van der Waals spheres, the friction that of a prolate ellipsoid of that volume and of the
        gyration tensor's axes (Perrin 1936, J. Phys. Radium 7, 1), both averaged over four conformers (ETKDGv3) with a
        fixed seed. The molecule is brought into canonical form first, so that two ways to write it give one ligand.

        Raises:
            InputError: not a SMILES, no atom or several molecules in it, a wildcard atom, or no conformer can be made.
        """
        molecule = _parsed(id, smiles)
        canonical = Chem.MolToSmiles(molecule)
        volumes, frictions = zip(*_shapes(id, canonical), strict=True)
        contact_nm = 0.1 * (3 * float(np.mean(volumes)) / (4 * math.pi)) ** (1 / 3)
        return cls(
            id=id,
            smiles=canonical,
            charge=Chem.GetFormalCharge(molecule),
            contact_nm=contact_nm,
            hydrodynamic_nm=contact_nm * float(np.mean(frictions)),
        )

    def diffusion_nm2_ns(self, temperature_K: float) -> float:
        """Diffusion constant in water [nm²/ns] (Stokes–Einstein).

        Raises:
            InputError: a temperature at which water is not liquid.
        """
        return water.diffusion_nm2_ns(self.hydrodynamic_nm, temperature_K)


def _parsed(id: str, smiles: str) -> Chem.Mol:
    where = f"compound {id}: SMILES {smiles!r}"
    with rdBase.BlockLogs():  # RDKit would print its own message too
        molecule = Chem.MolFromSmiles(smiles, sanitize=False)
        if molecule is None:
            raise InputError(f"{where} cannot be read; check brackets, ring numbers and atom symbols, and quote it.")
        try:
            Chem.SanitizeMol(molecule)
            Chem.AssignStereochemistry(molecule, cleanIt=True)
        except ValueError as error:
            raise InputError(
                f"{where} is not a molecule: {error}. Mend the valence, the charge or the ring."
            ) from error
    if molecule.GetNumAtoms() == 0:
        raise InputError(f"{where} has no atom; give a structure.")
    fragments = len(Chem.GetMolFrags(molecule))
    if fragments > 1:
        raise InputError(
            f"{where} holds {fragments} molecules; expected one. Leave out counter-ions and solvent, and keep the charge of "
            "the drug itself, e.g. 'C[NH3+]' for its hydrochloride 'C[NH3+].[Cl-]'."
        )
    if any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
        raise InputError(f"{where} has a wildcard atom (*); expected a complete structure.")
    return molecule


def _shapes(id: str, smiles: str) -> list[tuple[float, float]]:
    """Van der Waals volume [Å³] and Perrin's friction factor of each conformer."""
    with rdBase.BlockLogs():  # it asks for explicit hydrogens: they follow, and four fifths of the time are saved
        molecule = Chem.MolFromSmiles(smiles)
        settings = rdDistGeom.ETKDGv3()
        settings.randomSeed = _SEED
        found = list(rdDistGeom.EmbedMultipleConfs(molecule, _CONFORMERS, settings))
        if not found:
            settings.useRandomCoords = True
            found = list(rdDistGeom.EmbedMultipleConfs(molecule, _CONFORMERS, settings))
        if not found:
            raise InputError(
                f"compound {id}: RDKit finds no three-dimensional shape of {smiles!r}; check its stereo marks and rings."
            )
        molecule = Chem.AddHs(molecule, addCoords=True)
        return [
            (
                rdMolDescriptors.DoubleCubicLatticeVolume(molecule, confId=conformer).GetVDWVolume(),  # pyright: ignore[reportCallIssue] - stub lacks self
                perrin_factor(axial_ratio(molecule.GetConformer(conformer).GetPositions())),
            )
            for conformer in found
        ]


def axial_ratio(places: Floats) -> float:
    """Long axis over the mean of the short ones of the ellipsoid with the gyration tensor of points `[n, 3]`, at most 10."""
    centred = places - places.mean(axis=0)
    short, middle, long = np.linalg.eigvalsh(centred.T @ centred / len(places))
    return 1.0 if long <= 0 else min(10.0, math.sqrt(long / max((short + middle) / 2, 0.01 * long)))


def perrin_factor(ratio: float) -> float:
    """Friction of a prolate ellipsoid over that of the sphere of its volume, from its axial ratio ≥ 1 (Perrin 1936)."""
    if ratio < 1 + 1e-6:
        return 1.0
    root = math.sqrt(ratio**2 - 1)
    return root / (ratio ** (1 / 3) * math.log(ratio + root))
