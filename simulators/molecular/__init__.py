"""Molecules: how fast a ligand finds its receptor, by Brownian dynamics in OpenMM.

- `AssociationSimulator`: diffusion-limited association rates of many ligands, as a micro-clock simulator of the twin
- `AssociationReplicas`: its runs in parts that ranks can share
- `CaptureSimulator`, `surface_times`: how free receptors of a cell compete for ligands, and how often these are caught again
- `Ligand`, `Receptor`: charged spheres, from a SMILES and from a named table or a structure
- `Encounter`, `ScreenedCoulomb`: the two of them about to meet, free of any time scale
- `associate`, `Association`, `Settings`: Brownian dynamics of one encounter, and what it says
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulators.molecular.association import Association, Settings, associate
    from simulators.molecular.capture import CaptureSimulator
    from simulators.molecular.encounter import Encounter, ScreenedCoulomb
    from simulators.molecular.ligand import Ligand
    from simulators.molecular.receptor import Receptor
    from simulators.molecular.replicas import AssociationReplicas
    from simulators.molecular.simulator import AssociationSimulator
    from simulators.molecular.surface_time import surface_times

_HOME = {
    "Association": "association",
    "AssociationReplicas": "replicas",
    "AssociationSimulator": "simulator",
    "CaptureSimulator": "capture",
    "Encounter": "encounter",
    "Ligand": "ligand",
    "Receptor": "receptor",
    "ScreenedCoulomb": "encounter",
    "Settings": "association",
    "associate": "association",
    "surface_times": "surface_time",
}

__all__ = [
    "Association",
    "AssociationReplicas",
    "AssociationSimulator",
    "CaptureSimulator",
    "Encounter",
    "Ligand",
    "Receptor",
    "ScreenedCoulomb",
    "Settings",
    "associate",
    "surface_times",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: OpenMM and RDKit take most of a second."""
    if name not in _HOME:
        raise AttributeError(f"module 'simulators.molecular' has no attribute {name!r}")
    return getattr(import_module(f"simulators.molecular.{_HOME[name]}"), name)
