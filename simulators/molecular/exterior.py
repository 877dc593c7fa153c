"""Diffusion outside a sphere, solved instead of simulated: who returns from afar, and where.

Legend: `L` Legendre orders, `K` radii of the table, `U` points of a distribution, `n` particles.

A ligand at distance r reaches the sphere of radius b < r with probability h₀(r)/h₀(b), and arrives at the angle θ from
where it left with density Σ (2l+1)/2 · h_l(r)/h_l(b) · P_l(cos θ), where h_l decays at infinity and solves the backward
equation h″ + (2/r − U′)h′ − l(l+1)(1/r² + D_rot/D)h = 0. So no excursion beyond the outer sphere has to be simulated,
at no cost in accuracy (for the idea: Luty, McCammon & Zhou 1992, J. Chem. Phys. 97, 5682, who tabulate it by simulation).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import quad

from simulators.molecular.encounter import Encounter, Floats, ScreenedCoulomb


def smoluchowski_integral_1_nm(energy: ScreenedCoulomb, r_nm: float) -> float:
    """∫_r^∞ exp(U(s)/kT)/s² ds [1/nm], to 1e-10: the rate of arrival at r is 4πD over it (Debye 1942)."""
    if energy.strength_nm == 0.0:
        return 1 / r_nm
    if energy.kappa_1_nm == 0.0:
        return math.expm1(energy.strength_nm / r_nm) / energy.strength_nm

    def integrand(inverse_nm: float) -> float:
        if inverse_nm == 0.0:
            return 1.0
        return math.exp(energy.strength_nm * inverse_nm * math.exp(-energy.kappa_1_nm / inverse_nm))

    value, _ = quad(integrand, 0.0, 1 / r_nm, epsabs=0.0, epsrel=1e-10, limit=200)
    return value


def log_slopes(encounter: Encounter, r_nm: Floats, orders: int, *, far: float = 6.0) -> Floats:
    """r·h_l′/h_l at ascending radii `r_nm` `[K]`, for l = 0 … orders − 1: `[K, L]`.

    Riccati's equation, integrated inward from `far` times the outermost radius (a stable direction: what was wrong there
    fades as (r/far)^(2l+1)), where h_l is the modified spherical Bessel function of free diffusion.
    """
    l_L = np.arange(orders, dtype=np.float64)
    eigen_L = l_L * (l_L + 1)
    outer = far * r_nm[-1]
    w_L = _free_log_slope(orders, outer * np.sqrt(eigen_L * encounter.tumbling_1_nm2))
    result = np.empty((len(r_nm), orders))

    def slope(s: float, w_L: Floats) -> Floats:
        r = math.exp(s)
        drift = 1 - r * encounter.energy.slope_kT_nm(r)
        return -(w_L**2) - drift * w_L + eigen_L * (1 + encounter.tumbling_1_nm2 * r * r)

    position = math.log(outer)
    for k in range(len(r_nm) - 1, -1, -1):
        target = math.log(r_nm[k])
        while position > target:
            stiffness = orders * math.sqrt(1 + encounter.tumbling_1_nm2 * math.exp(2 * position)) + 10
            step = max(target - position, -0.7 / stiffness)
            k1 = slope(position, w_L)
            k2 = slope(position + step / 2, w_L + step / 2 * k1)
            k3 = slope(position + step / 2, w_L + step / 2 * k2)
            k4 = slope(position + step, w_L + step * k3)
            w_L = w_L + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            position = target if step == target - position else position + step
        result[k] = w_L
    for k, r in enumerate(r_nm):  # order 0 has a closed form, also where Coulomb's law reaches beyond `far`
        arrival = smoluchowski_integral_1_nm(encounter.energy, float(r))
        result[k, 0] = -math.exp(float(encounter.energy.energy_kT(float(r)))) / (r * arrival)
    return result


def _free_log_slope(orders: int, x_L: Floats) -> Floats:
    """x·k_l′(x)/k_l(x) of the modified spherical Bessel functions k_l, at one x per order."""
    values = np.empty(orders)
    for order, x in enumerate(x_L):
        if x == 0.0:
            values[order] = -(order + 1.0)
            continue
        ratio = 1.0  # K_{l−1/2}/K_{l+1/2}, by the upward recurrence, which is stable for K
        for lower in range(order):
            ratio = 1 / (ratio + (2 * lower + 1) / x)
        values[order] = -x * ratio - (order + 1)
    return values


class Exterior:
    """Where a ligand that has left goes next: it escapes, or it arrives at the sphere of radius b.

    Args:
        encounter: forces and tumbling.
        b_nm, q_nm: radii of the inner sphere and of the outer one, beyond which trajectories are handed over.
        beyond_nm: how far beyond q they may be when they are.
    """

    ORDERS = 48  # (b/q)^48 is below 1e-8 for q = 1.5 b
    RADII = 17
    POINTS = 1025

    def __init__(self, encounter: Encounter, *, b_nm: float, q_nm: float, beyond_nm: float) -> None:
        self.b_nm, self.q_nm = b_nm, q_nm
        self._r_K = np.linspace(q_nm, q_nm + beyond_nm, self.RADII)
        arrival_b = smoluchowski_integral_1_nm(encounter.energy, b_nm)
        self._return_K = np.array(
            [smoluchowski_integral_1_nm(encounter.energy, float(r)) / arrival_b for r in self._r_K]
        )
        transfer_KL = self._transfers(encounter)
        self._cosine_KU, self._fraction_KU = self._distributions(transfer_KL)

    def _transfers(self, encounter: Encounter) -> Floats:
        """h_l(r)/h_l(b) over h₀(r)/h₀(b), `[K, L]`: ln h_l is the integral of its slope over ln r (Simpson's rule)."""
        stops = np.log(np.concatenate([[self.b_nm], self._r_K]))
        panels = [160] + [4] * (self.RADII - 1)
        pieces = [np.linspace(a, b, n + 1) for a, b, n in zip(stops, stops[1:], panels, strict=False)]
        w = log_slopes(encounter, np.exp(np.concatenate([pieces[0], *(s[1:] for s in pieces[1:])])), self.ORDERS)
        ln_KL, first = [], 0
        for s, n in zip(pieces, panels, strict=True):
            w_piece = w[first : first + n + 1]
            first += n
            ln_KL.append(
                (s[1] - s[0]) / 3 * (w_piece[0] + w_piece[-1] + 4 * w_piece[1:-1:2].sum(0) + 2 * w_piece[2:-1:2].sum(0))
            )
        ln = np.cumsum(ln_KL, axis=0)
        return np.exp(ln - ln[:, :1])

    def _distributions(self, transfer_KL: Floats) -> tuple[Floats, Floats]:
        """Cosines and the fraction that arrives below each, `[K, U]`."""
        u = np.linspace(0.0, 1.0, self.POINTS)
        cosine_KU = np.empty((self.RADII, self.POINTS))
        fraction_KU = np.empty((self.RADII, self.POINTS))
        for k, r in enumerate(self._r_K):
            near, wide = r - self.b_nm, r + self.b_nm  # free diffusion places the points where they are needed
            chord = 1 / (1 / wide + u * (1 / near - 1 / wide))
            cosine = np.clip((r * r + self.b_nm**2 - chord**2) / (2 * r * self.b_nm), -1.0, 1.0)
            below, legendre = np.ones_like(cosine), cosine.copy()
            fraction = (1 + cosine) / 2
            for order in range(1, self.ORDERS):
                above = ((2 * order + 1) * cosine * legendre - order * below) / (order + 1)
                fraction = fraction + transfer_KL[k, order] / 2 * (above - below)
                below, legendre = legendre, above
            cosine_KU[k], fraction_KU[k] = cosine, np.maximum.accumulate(np.clip(fraction, 0.0, 1.0))
            fraction_KU[k, -1] = 1.0
        return cosine_KU, fraction_KU

    def return_probability(self, r_nm: Floats) -> Floats:
        """Probability `[n]` of ever arriving at b from distances `r_nm` `[n]`."""
        return np.interp(r_nm, self._r_K, self._return_K)

    def arrival_cosine(self, r_nm: Floats, u: Floats) -> Floats:
        """Cosine `[n]` of the angle between the place left and the place of arrival, from uniform numbers `u` `[n]`."""
        place = np.clip((r_nm - self._r_K[0]) / (self._r_K[1] - self._r_K[0]), 0.0, self.RADII - 1.0)
        lower = np.minimum(place.astype(np.intp), self.RADII - 2)
        weight = place - lower
        cosine = np.zeros_like(r_nm)
        for k in np.unique(np.concatenate([lower, lower + 1])):
            share = np.where(lower == k, 1 - weight, np.where(lower + 1 == k, weight, 0.0))
            cosine += share * np.interp(u, self._fraction_KU[k], self._cosine_KU[k])
        return cosine
