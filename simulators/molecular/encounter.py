"""Two spheres that meet: contact, reactive patch, screened electrostatics and tumbling, free of any time scale.

Energies are in kT and lengths in nm; with the relative diffusion constant D as a factor, the association rate of such an
encounter is D times a length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScreenedCoulomb:
    """The energy of two charged spheres in salt water: U(r)/kT = strength · exp(−κr)/r.

    Args:
        strength_nm: z₁z₂·l_B times what finite size adds; positive repels.
        kappa_1_nm: inverse Debye length κ; 0 is Coulomb's law.

    Raises:
        InputError: a number that is not finite, or a negative κ.
    """

    strength_nm: float = 0.0
    kappa_1_nm: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength_nm) and math.isfinite(self.kappa_1_nm) and self.kappa_1_nm >= 0):
            raise InputError(
                f"ScreenedCoulomb: strength {self.strength_nm} nm, κ {self.kappa_1_nm} 1/nm; expected finite, κ ≥ 0."
            )

    @classmethod
    def of_spheres(
        cls, charges: tuple[float, float], radii_nm: tuple[float, float], *, bjerrum_nm: float, kappa_1_nm: float
    ) -> ScreenedCoulomb:
        """Debye–Hückel spheres that keep salt out: z₁z₂·l_B · Π exp(κaᵢ)/(1 + κaᵢ) · exp(−κr)/r.

        Source: Verwey & Overbeek 1948, Theory of the Stability of Lyophobic Colloids (linear superposition).
        """
        size = math.prod(math.exp(kappa_1_nm * radius) / (1 + kappa_1_nm * radius) for radius in radii_nm)
        return cls(charges[0] * charges[1] * bjerrum_nm * size, kappa_1_nm)

    def energy_kT(self, r_nm: Floats | float) -> Floats:  # noqa: N802 - units in the name
        """U/kT at distances `r_nm`, of any shape."""
        return self.strength_nm * np.exp(-self.kappa_1_nm * np.asarray(r_nm)) / r_nm

    def slope_kT_nm(self, r_nm: Floats | float) -> Floats:  # noqa: N802 - units in the name
        """d(U/kT)/dr [1/nm] at distances `r_nm`, of any shape."""
        return -self.energy_kT(r_nm) * (self.kappa_1_nm + 1 / np.asarray(r_nm))


@dataclass(frozen=True)
class Encounter:
    """A ligand diffuses about a receptor at the origin; it reacts where it touches the receptor's patch, about +z.

    Args:
        contact_nm: distance of the centres at contact.
        patch_half_angle: half-angle of the reactive cap [rad]; π makes the whole sphere reactive.
        energy: of the two at distance r.
        tumbling_1_nm2: the receptor's rotational diffusion constant over the relative translational one, D_rot/D; seen
            from the receptor, the ligand moves so much faster along the sphere.

    Raises:
        InputError: a contact distance that is not above 0, a half-angle outside (0, π], negative tumbling.
    """

    contact_nm: float
    patch_half_angle: float = math.pi
    energy: ScreenedCoulomb = ScreenedCoulomb()
    tumbling_1_nm2: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.contact_nm) and self.contact_nm > 0):
            raise InputError(f"Encounter: contact at {self.contact_nm} nm; expected a distance above 0.")
        if not 0 < self.patch_half_angle <= math.pi:
            raise InputError(f"Encounter: patch half-angle {self.patch_half_angle} rad; expected above 0, at most π.")
        if not (math.isfinite(self.tumbling_1_nm2) and self.tumbling_1_nm2 >= 0):
            raise InputError(f"Encounter: tumbling {self.tumbling_1_nm2} 1/nm²; expected 0 or more.")

    @property
    def isotropic(self) -> bool:
        """Whether the whole sphere is reactive."""
        return self.patch_half_angle >= math.pi
