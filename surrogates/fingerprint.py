"""Fingerprints of molecules: counts of circular atom environments, and how similar two molecules are by them.

Environments after Morgan (1965, J. Chem. Doc. 5:107) as extended by Rogers and Hahn (2010, J. Chem. Inf. Model. 50:742),
counted and not folded, so that two environments never share a number by chance other than their hash.
Legend: `N`, `Q` molecules, `F` environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator
from scipy.spatial.distance import cdist

from twin.errors import InputError

RADIUS = 2
"""Bonds from an environment's centre to its rim: the usual choice (ECFP4), made before any fit."""

_REMEMBERED = 65536  # molecules; leaving each out in turn asks for the same ones again and again

Fingerprint = Mapping[int, int]
"""Environment → how often it occurs in the molecule."""


def molecule(smiles: str) -> Any:
    """The RDKit molecule of a SMILES.

    Raises:
        InputError: malformed, empty, or more than one fragment; the text says which.
    """
    with rdBase.BlockLogs():
        parameters = Chem.SmilesParserParams()
        parameters.sanitize = False
        raw = Chem.MolFromSmiles(smiles, parameters)
        reason = "it cannot be parsed; check brackets, ring numbers and quotes"
        if raw is not None:
            faults = Chem.DetectChemistryProblems(raw)
            if not faults and raw.GetNumAtoms():
                whole = Chem.MolFromSmiles(smiles)
                fragments = len(Chem.GetMolFrags(whole))
                if fragments == 1:
                    return whole
                raise InputError(
                    f"SMILES {smiles!r} holds {fragments} fragments; give the compound alone, without salt or solvent."
                )
            reason = "; ".join(fault.Message() for fault in faults) or "it holds no atom"
    raise InputError(f"SMILES {smiles!r} is malformed: {reason}. Write e.g. 'CC(=O)Oc1ccccc1C(=O)O'.")


@lru_cache(_REMEMBERED)
def canonical(smiles: str) -> str:
    """The one SMILES by which RDKit writes this molecule; same text, same molecule. Raises as `molecule`."""
    return Chem.MolToSmiles(molecule(smiles))


@lru_cache(_REMEMBERED)
def formal_charge(smiles: str) -> int:
    """Sum of formal charges, as written. Raises as `molecule`."""
    return Chem.GetFormalCharge(molecule(smiles))


@lru_cache(_REMEMBERED)
def fingerprint(smiles: str) -> Fingerprint:
    """Counts of the circular environments of a molecule, charges and hydrogens included, chirality not.

    Mirror images therefore have one fingerprint. Raises as `molecule`.
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, includeChirality=False)
    return generator.GetSparseCountFingerprint(molecule(smiles)).GetNonzeroElements()


def similarity(first: Sequence[Fingerprint], second: Sequence[Fingerprint]) -> NDArray[np.float64]:
    """Similarity of each molecule to each, `[N, Q]`: Σ min / Σ max of the counts, from 0 (nothing shared) to 1.

    Tanimoto's index for counts, also called MinMax; positive semi-definite, hence a kernel (Ralaivola et al. 2005,
    Neural Netw. 18:1093).
    """
    environments = sorted({key for one in (*first, *second) for key in one})
    column = {key: position for position, key in enumerate(environments)}
    first_NF, second_QF = _counts(first, column), _counts(second, column)
    total_NQ = first_NF.sum(axis=1)[:, None] + second_QF.sum(axis=1)[None, :]
    differ_NQ = cdist(first_NF, second_QF, metric="cityblock")
    # min = (a + b - |a - b|) / 2 and max = (a + b + |a - b|) / 2: sums of whole numbers, exact
    return (total_NQ - differ_NQ) / (total_NQ + differ_NQ)


def _counts(molecules: Sequence[Fingerprint], column: Mapping[int, int]) -> NDArray[np.float64]:
    counts = np.zeros((len(molecules), len(column)))
    for row, one in enumerate(molecules):
        for key, count in one.items():
            counts[row, column[key]] = count
    return counts
