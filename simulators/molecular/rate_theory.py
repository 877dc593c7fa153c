"""Association rates in closed form, and by series where no closed form exists: what Brownian dynamics is held against.

All are lengths, k/D [nm]: times the relative diffusion constant they are rates per pair [nm³/ns].
"""

from __future__ import annotations

import math

import numpy as np

from simulators.molecular.encounter import Encounter, Floats, ScreenedCoulomb
from simulators.molecular.exterior import log_slopes, smoluchowski_integral_1_nm


def smoluchowski_nm(contact_nm: float) -> float:
    """Two spheres without forces, reactive everywhere: 4πR (Smoluchowski 1917, Z. Phys. Chem. 92, 129)."""
    return 4 * math.pi * contact_nm


def debye_nm(contact_nm: float, strength_nm: float) -> float:
    """Two ions without salt: 4π·s/(exp(s/R) − 1), where s is z₁z₂ times the Bjerrum length (Debye 1942, eq. 19)."""
    return 4 * math.pi * strength_nm / math.expm1(strength_nm / contact_nm)


def debye_integral_nm(contact_nm: float, energy: ScreenedCoulomb) -> float:
    """Any central energy: 4π over ∫_R^∞ exp(U/kT)/s² ds, by quadrature (Debye 1942, Trans. Electrochem. Soc. 82, 265)."""
    return 4 * math.pi / smoluchowski_integral_1_nm(energy, contact_nm)


def disc_nm(radius_nm: float) -> float:
    """A reactive disc on an inert plane: 4a (Hill 1975, PNAS 72, 4918; Berg & Purcell 1977), the limit of a small patch."""
    return 4 * radius_nm


def patch_nm(encounter: Encounter, *, orders: int = 2000, shapes: int = 8) -> float:
    """A sphere with a reactive cap, with energy and tumbling, by Galerkin's method on the flux through the cap.

    The flux is (x − x₀)^(−1/2), its known singularity at the rim, times `shapes` even polynomials in √(x − x₀), x = cos θ; the
    reaction probability is a Legendre series of `orders` terms, whose tail falls as 1/orders and is extrapolated. Relative
    error about 1e-4. (The problem: Solc & Stockmayer 1973, Int. J. Chem. Kinet. 5, 733; the approximation of a constant
    flux: Shoup, Lipari & Szabo 1981, Biophys. J. 36, 697, here `shapes` = 0.)
    """
    if encounter.isotropic:
        return debye_integral_nm(encounter.contact_nm, encounter.energy)
    length_L = -encounter.contact_nm / _log_slopes_at_contact(encounter, orders)
    moment_JL = _flux_moments(math.cos(encounter.patch_half_angle), orders, shapes)
    half, full = (_solve(moment_JL[:, :n], length_L[:n]) for n in (orders // 2, orders))
    depletion = math.exp(-float(encounter.energy.energy_kT(encounter.contact_nm)))
    return 2 * math.pi * encounter.contact_nm**2 * depletion / (2 / full - 1 / half)


def _solve(moment_JL: Floats, length_L: Floats) -> float:
    """∫ flux dx of the flux whose reaction probability is 1 on the cap."""
    weight_L = (np.arange(len(length_L)) + 0.5) * length_L
    matrix = (moment_JL * weight_L) @ moment_JL.T
    return float(moment_JL[:, 0] @ np.linalg.solve(matrix, moment_JL[:, 0]))


def _flux_moments(rim: float, orders: int, shapes: int) -> Floats:
    """∫ over the cap of each flux shape times P_l, `[J, L]`."""
    node, share = np.polynomial.legendre.leggauss(24)
    panels = 2 + math.ceil(orders * math.acos(rim) / 20)  # at most some three waves of P_l in each
    phi = (np.arange(panels)[:, None] + (node + 1) / 2).ravel() * (math.pi / 2 / panels)
    t = np.sin(phi)  # t = √((x − rim)/(1 − rim)); in φ the waves are even
    weight = np.tile(share * (math.pi / 4 / panels), panels) * np.cos(phi)
    x = rim + (1 - rim) * t**2
    if shapes:
        even = np.polynomial.legendre.legvander(t, 2 * shapes - 2)[:, ::2].T
        shape_J = even * weight * 2 * math.sqrt(1 - rim)
    else:
        shape_J = (weight * 2 * (1 - rim) * t)[None]
    moments = np.empty((len(shape_J), orders))
    below, legendre = np.zeros_like(x), np.ones_like(x)
    for order in range(orders):
        moments[:, order] = shape_J @ legendre
        below, legendre = legendre, ((2 * order + 1) * x * legendre - order * below) / (order + 1)
    return moments


def _log_slopes_at_contact(encounter: Encounter, orders: int, *, exact: int = 96) -> Floats:
    """R·h_l′/h_l at contact, `[L]`; beyond order `exact` from the equation with its slow second derivative left out."""
    order_L = np.arange(orders, dtype=np.float64)
    r = encounter.contact_nm
    half_drift = (1 - r * float(encounter.energy.slope_kT_nm(r))) / 2
    spread_L = order_L * (order_L + 1) * (1 + encounter.tumbling_1_nm2 * r**2)
    slopes_L = -(half_drift + np.sqrt(half_drift**2 + spread_L))
    slopes_L[:exact] = log_slopes(encounter, np.array([r]), min(exact, orders))[0]
    return slopes_L
