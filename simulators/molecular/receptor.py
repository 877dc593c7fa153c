"""A receptor as a charged sphere with a reactive patch: from a table by name, or from its structure by mdtraj."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from simulators.molecular import water
from twin.errors import InputError

SIDE_CHAIN_PKA: Mapping[str, tuple[float, int]] = MappingProxyType(
    {"ASP": (3.5, -1), "GLU": (4.2, -1), "TYR": (10.3, -1), "HIS": (6.6, +1), "LYS": (10.5, +1), "ARG": (12.3, +1)}
)
"""pKa of side chains and charge of their charged form: means over folded proteins (Pace, Grimsley & Scholtz 2009, J. Biol.
Chem. 284, 13285); arginine is charged at any pH of life. Cysteine is left neutral: a kinase domain's are mostly buried."""

_SAME_RESIDUE = {  # names of protonation states in structure files
    **dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"), "HIS"),
    **{"ASH": "ASP", "GLH": "GLU", "LYN": "LYS"},
}

C_MET_POCKET = (1084, 1092, 1108, 1140, *range(1157, 1165), 1167, 1208, 1209, 1211, 1221, 1222, 1226, 1230, 1231)
"""Residues of c-MET (PDB 4R1Y) with an atom within 0.45 nm of tepotinib as placed there."""


@dataclass(frozen=True)
class Receptor:
    """A protein as Brownian dynamics sees it: one sphere for contact, friction and salt.

    Args:
        name: as in messages.
        radius_nm: of the sphere.
        charge: net charge [e], in its middle.
        patch_half_angle_deg: half-angle of the reactive cap, seen from the middle; 180 makes the whole sphere reactive.
        source: where the numbers come from.

    Raises:
        InputError: a radius not above 0, a charge that is not finite, a half-angle outside (0, 180].
    """

    name: str
    radius_nm: float
    charge: float
    patch_half_angle_deg: float
    source: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.radius_nm) and self.radius_nm > 0):
            raise InputError(f"Receptor {self.name}: radius {self.radius_nm} nm; expected a length above 0.")
        if not math.isfinite(self.charge):
            raise InputError(f"Receptor {self.name}: charge {self.charge}; expected a finite number of charges.")
        if not 0 < self.patch_half_angle_deg <= 180:
            raise InputError(
                f"Receptor {self.name}: half-angle {self.patch_half_angle_deg}°; expected above 0, at most 180."
            )

    @classmethod
    def named(cls, name: str) -> Receptor:
        """The receptor of this name in `RECEPTORS`.

        Raises:
            InputError: no such name; near ones are given.
        """
        if name not in RECEPTORS:
            near = difflib.get_close_matches(name, RECEPTORS, n=3, cutoff=0.4)
            cure = f"did you mean {' or '.join(near)}?" if near else f"there is {', '.join(RECEPTORS)}."
            raise InputError(f"receptor {name!r} is not known; {cure} Or build one with Receptor.from_structure.")
        return RECEPTORS[name]

    @classmethod
    def from_structure(cls, path: str | Path, *, pocket: Collection[int], pH: float = 7.2) -> Receptor:
        """Radius, charge and patch of a protein from its coordinates (PDB, mmCIF, ...; the first model is used).

        - radius: of the even sphere with the same radius of gyration, √(5/3)·Rg;
        - charge: sum over side chains by Henderson–Hasselbalch with `SIDE_CHAIN_PKA`; chain ends count as bonded on;
        - patch: the cap's share of the sphere is the share of the solvent-accessible surface (Shrake & Rupley 1973, probe
          0.14 nm) that belongs to the residues `pocket`, by residue number.

        Raises:
            InputError: the file cannot be read, holds no protein, or lacks a residue of the pocket.
        """
        import mdtraj

        try:
            frame = mdtraj.load(str(path))[0]
        except Exception as error:
            raise InputError(
                f"structure {path}: {error}; expected a file that mdtraj reads, e.g. a PDB file."
            ) from error
        protein = frame.topology.select("protein")
        if len(protein) == 0:
            raise InputError(f"structure {path} holds no protein; expected residues with the usual three-letter names.")
        frame = frame.atom_slice(protein)
        residues = list(frame.topology.residues)
        row = {residue.resSeq: index for index, residue in enumerate(residues)}
        absent = sorted(set(pocket) - set(row))
        if absent or not pocket:
            span = f"{min(row)} to {max(row)}"
            raise InputError(f"structure {path}: pocket residues {absent or 'none'}; expected some of its own, {span}.")
        area = np.asarray(mdtraj.shrake_rupley(frame, mode="residue")[0], dtype=np.float64)
        share = float(area[[row[number] for number in sorted(set(pocket))]].sum() / area.sum())
        gyration_nm = float(mdtraj.compute_rg(frame)[0])
        return cls(
            name=Path(path).stem,
            radius_nm=math.sqrt(5 / 3) * gyration_nm,
            charge=side_chain_charge([residue.name for residue in residues], pH=pH),
            patch_half_angle_deg=math.degrees(math.acos(1 - 2 * share)),
            source=f"{Path(path).name}, pH {pH:g}, pocket of {len(set(pocket))} residues",
        )

    def diffusion_nm2_ns(self, temperature_K: float) -> float:
        """Translational diffusion constant in water [nm²/ns] (Stokes–Einstein)."""
        return water.diffusion_nm2_ns(self.radius_nm, temperature_K)

    def tumbling_1_ns(self, temperature_K: float) -> float:
        """Rotational diffusion constant in water [1/ns] (Stokes–Einstein–Debye)."""
        return water.rotation_1_ns(self.radius_nm, temperature_K)


def side_chain_charge(names: Collection[str], *, pH: float) -> float:
    """Net charge [e] of side chains, by three-letter residue name."""
    total = 0.0
    for name in names:
        pka, charge = SIDE_CHAIN_PKA.get(_SAME_RESIDUE.get(name, name), (0.0, 0))
        total += charge / (1 + 10 ** (charge * (pH - pka)))
    return total


def radius_of_residues_nm(residues: int) -> float:
    """Hydrodynamic radius [nm] of a folded protein of so many residues: 0.475·N^0.29 (Wilkins et al. 1999, Biochemistry 38,
    16424, eq. 1).
    """
    return 0.475 * residues**0.29


RECEPTORS: Mapping[str, Receptor] = MappingProxyType(
    {
        "c-MET kinase": Receptor(
            name="c-MET kinase",
            radius_nm=2.51,
            charge=7.2,
            patch_half_angle_deg=27.0,
            source="kinase domain of c-MET, residues 1062-1346, not phosphorylated, pH 7.2, from PDB 4R1Y",
        ),
    }
)
"""Receptors by the name that a scenario gives; docs/decisions/0002 says how each number was made."""
