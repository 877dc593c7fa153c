"""Liquid water at 0.1 MPa as the solvent of Brownian dynamics: viscosity, permittivity, and the lengths that follow.

Salt is taken as a 1:1 electrolyte that changes neither viscosity nor permittivity (at 150 mM both move by 1 to 2 %).
"""

from __future__ import annotations

import math

from twin.errors import InputError

BOLTZMANN_J_K = 1.380649e-23
AVOGADRO_1_MOL = 6.02214076e23
ELEMENTARY_CHARGE_C = 1.602176634e-19
VACUUM_PERMITTIVITY_F_M = 8.8541878128e-12

LOWEST_K, HIGHEST_K = 273.15, 373.15


def check_temperature(temperature_K: float, *, where: str = "temperature") -> float:
    """The temperature [K] unchanged.

    Raises:
        InputError: not between 273.15 and 373.15 K, where water is liquid and the correlations hold.
    """
    if not LOWEST_K <= temperature_K <= HIGHEST_K:
        raise InputError(
            f"{where} is {temperature_K:g} K; expected {LOWEST_K:g} to {HIGHEST_K:g} K, where water is liquid. "
            "Give it in kelvin: 37 degC is 310.15 K."
        )
    return temperature_K


def check_ionic_strength(ionic_strength_M: float, *, where: str = "ionic strength") -> float:
    """The ionic strength [M] unchanged.

    Raises:
        InputError: not between 0 and 1 M; Debye–Hückel theory is a fair description to some 0.2 M, and none beyond 1 M.
    """
    if not 0.0 <= ionic_strength_M <= 1.0:
        raise InputError(f"{where} is {ionic_strength_M:g} M; expected 0 to 1 M. Give it in mol/L: 150 mM is 0.15 M.")
    return ionic_strength_M


def viscosity_Pa_s(temperature_K: float) -> float:  # noqa: N802 - units in the name
    """Dynamic viscosity of water [Pa s].

    Source: Pátek et al. 2009, J. Phys. Chem. Ref. Data 38, 21, eq. 8 (IAPWS SR6-08); within 1 % of the standard.

    Raises:
        InputError: a temperature outside 273.15 to 373.15 K.
    """
    reduced = check_temperature(temperature_K) / 300.0
    terms = ((280.68, -1.9), (511.45, -7.7), (61.131, -19.6), (0.45903, -40.0))
    return 1e-6 * sum(factor * reduced**power for factor, power in terms)


def relative_permittivity(temperature_K: float) -> float:
    """Static relative permittivity of water.

    Source: Malmberg & Maryott 1956, J. Res. Natl. Bur. Stand. 56, 1 (0 to 100 °C, within 0.1).

    Raises:
        InputError: a temperature outside 273.15 to 373.15 K.
    """
    celsius = check_temperature(temperature_K) - 273.15
    return 87.740 - 0.40008 * celsius + 9.398e-4 * celsius**2 - 1.410e-6 * celsius**3


def bjerrum_length_nm(temperature_K: float) -> float:
    """Distance [nm] at which two elementary charges in water have the energy kT."""
    energy_J_m = ELEMENTARY_CHARGE_C**2 / (4 * math.pi * VACUUM_PERMITTIVITY_F_M * relative_permittivity(temperature_K))
    return 1e9 * energy_J_m / (BOLTZMANN_J_K * temperature_K)


def inverse_debye_length_1_nm(temperature_K: float, ionic_strength_M: float) -> float:
    """κ [1/nm] of a 1:1 electrolyte: κ² = 8π·l_B·N_A·I; 0 without salt.

    Raises:
        InputError: a temperature or an ionic strength outside its range.
    """
    pairs_1_nm3 = check_ionic_strength(ionic_strength_M) * AVOGADRO_1_MOL * 1e-24
    return math.sqrt(8 * math.pi * bjerrum_length_nm(temperature_K) * pairs_1_nm3)


def diffusion_nm2_ns(hydrodynamic_radius_nm: float, temperature_K: float) -> float:
    """Translational diffusion constant [nm²/ns] of a sphere with stick boundary (Stokes–Einstein): kT/(6πηr)."""
    drag_kg_s = 6 * math.pi * viscosity_Pa_s(temperature_K) * hydrodynamic_radius_nm * 1e-9
    return 1e9 * BOLTZMANN_J_K * temperature_K / drag_kg_s


def rotation_1_ns(hydrodynamic_radius_nm: float, temperature_K: float) -> float:
    """Rotational diffusion constant [1/ns] of a sphere with stick boundary (Stokes–Einstein–Debye): kT/(8πηr³)."""
    drag_J_s = 8 * math.pi * viscosity_Pa_s(temperature_K) * (hydrodynamic_radius_nm * 1e-9) ** 3
    return 1e-9 * BOLTZMANN_J_K * temperature_K / drag_J_s
