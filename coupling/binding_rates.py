"""The bridge from molecules to a cell's rates: a diffusion limit and an affinity become one `RateEstimate`.

Two lines hold everything (koff follows, so that detailed balance cannot be broken):

    ln Kd  = ln IC50 + ln(shift from assay to cell)      IC50 measured, or learned from the structure
    ln kon = ln k_D + ln κ                               k_D from Brownian dynamics, κ <= 1 the efficiency of an encounter
    ln koff = ln kon + ln Kd

Kd stands for IC50 without the correction of Cheng and Prusoff (1973, Biochem. Pharmacol. 22:3099): it needs the assay's
ATP, which is unknown. What that leaves out is part of the shift. Decades (log10) are what people state, natural logarithms
what is added; M and s are the units in here, and `cell_rates` turns them into those of a cell's model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError
from twin.rates import RateComponent, RateEstimate
from twin.units import factor

AFFINITY, KINETICS = "affinity", "kinetics"
"""The sources of uncertainty that a variance split tells apart."""

KON_UNITS, KOFF_UNITS, KD_UNITS = "1/(M s)", "1/s", "M"
"""What a `RateEstimate` is drawn in."""

_LN_10 = math.log(10.0)


@dataclass(frozen=True)
class AssayAffinity:
    """How tightly a compound binds in the assay, and how well that is known.

    Args:
        ln_IC50: median of ln(IC50 / M).
        sd_ln: standard deviation of it; each compound has its own draw.
        known_from: name of that spread, e.g. ``"assay error"``.
        source: where the value comes from.

    Raises:
        InputError: a value that is not finite, or a negative spread.
    """

    ln_IC50: float  # noqa: N815 - the field's spelling
    sd_ln: float
    known_from: str
    source: str

    def __post_init__(self) -> None:
        _finite("affinity", ln_IC50=self.ln_IC50)
        _spread("affinity", sd_ln=self.sd_ln)

    @classmethod
    def measured(cls, ic50_nM: float, *, error_log10: float = 0.2, source: str = "measured IC50") -> Self:
        """From a measured IC50 [nM] with the assay's error, a standard deviation in decades."""
        _positive("affinity", ic50_nM=ic50_nM)
        _spread("affinity", error_log10=error_log10)
        return cls(math.log(ic50_nM * factor("nM", KD_UNITS)), error_log10 * _LN_10, "assay error", source)

    @classmethod
    def learned(cls, mean_ln_M: float, sd_ln: float, *, source: str = "learned from the structure") -> Self:
        """From a model's prediction of ln(IC50 / M); its spread, of a new measurement, holds the assay's error already."""
        return cls(mean_ln_M, sd_ln, "error of the learned affinity", source)


@dataclass(frozen=True)
class CellShift:
    """From IC50 in the assay to Kd in the cell: one factor for all compounds, uncertain itself.

    Args:
        log10: median of log10(Kd in the cell / IC50 in the assay).
        sd_log10: standard deviation of it, in decades.
        source: where both come from.

    Raises:
        InputError: a value that is not finite, or a negative spread.
    """

    log10: float = 0.8
    sd_log10: float = 0.4
    source: str = "assumed"

    def __post_init__(self) -> None:
        _finite("cell shift", log10=self.log10)
        _spread("cell shift", sd_log10=self.sd_log10)


@dataclass(frozen=True)
class Encounter:
    """How often a compound meets its receptor.

    Args:
        k_D_per_M_s: rate of diffusion-limited association [1/(M s)]: an upper limit of kon.
        sigma_ln: statistical error of ln k_D.
        run: names the simulation; compounds that share one share its error. Left empty, the error is the compound's own.

    Raises:
        InputError: a rate that is not finite or not above 0, or a negative error.
    """

    k_D_per_M_s: float  # noqa: N815
    sigma_ln: float = 0.0
    run: str = ""

    def __post_init__(self) -> None:
        _positive("encounter", k_D_per_M_s=self.k_D_per_M_s)
        _spread("encounter", sigma_ln=self.sigma_ln)


@dataclass(frozen=True)
class Efficiency:
    """κ, the part of the encounters that end bound: log-normal, each compound with its own draw.

    Args:
        ln_median: median of ln κ, at most 0.
        sd_ln: standard deviation of ln κ.
        source: where both come from.

    Raises:
        InputError: a value that is not finite, a median above 1, or a negative spread.
    """

    ln_median: float
    sd_ln: float
    source: str

    def __post_init__(self) -> None:
        _finite("efficiency κ", ln_median=self.ln_median)
        _spread("efficiency κ", sd_ln=self.sd_ln)
        if self.ln_median > 0:
            raise InputError(
                f"efficiency κ: its median {math.exp(self.ln_median):.3g} is above 1: more would bind than meet. "
                "Lower the median of kon, or check the units of k_D (1/(M s))."
            )

    @classmethod
    def of_series(
        cls, encounters: Sequence[Encounter], *, median_kon_per_M_s: float, decades: float, source: str
    ) -> Self:
        """κ of a series of compounds, such that the median over the series, κ times the geometric mean of k_D, is kon.

        One κ for the series keeps what Brownian dynamics says of one compound against another.

        Args:
            encounters: of all compounds of the series.
            median_kon_per_M_s: median kon of such compounds [1/(M s)].
            decades: standard deviation of log10 κ.
            source: where both come from.
        """
        _positive("efficiency κ", median_kon_per_M_s=median_kon_per_M_s)
        _spread("efficiency κ", decades=decades)
        if not encounters:
            raise InputError("efficiency κ: no compound; give the encounter of at least one.")
        mean_ln_k_d = math.fsum(math.log(met.k_D_per_M_s) for met in encounters) / len(encounters)
        return cls(math.log(median_kon_per_M_s) - mean_ln_k_d, decades * _LN_10, source)


def rate_estimate(
    ligand: str,
    *,
    affinity: AssayAffinity,
    encounter: Encounter,
    efficiency: Efficiency,
    shift: CellShift | None = None,
    conditions: Mapping[str, str] | None = None,
) -> RateEstimate:
    """What is known of a compound's rates in the cell: one joint distribution of ln kon, ln Kd and, following, ln koff.

    Groups: ``"affinity"`` is the shift to the cell (one draw for all compounds) and the compound's own error of IC50;
    ``"kinetics"`` the statistical error of k_D and κ. Draws above k_D are reflected below it; the limit stays at the
    estimate of k_D, whose own error is small beside κ.

    Args:
        ligand: id of the compound.
        affinity: in the assay.
        encounter: with the receptor.
        efficiency: κ.
        shift: from the assay to the cell; left out, 10^N(0.8, 0.4).
        conditions: what k_D was computed for, e.g. temperature and ionic strength.

    Raises:
        InputError: a median kon above k_D, i.e. κ above 1.
    """
    shift = shift or CellShift()
    ln_k_d = math.log(encounter.k_D_per_M_s)
    run = f" of {encounter.run}" if encounter.run else ""
    return RateEstimate(
        ligand=ligand,
        ln_kon=ln_k_d + efficiency.ln_median,
        ln_Kd=affinity.ln_IC50 + shift.log10 * _LN_10,
        ln_kon_max=ln_k_d,
        components=(
            RateComponent("shift from assay to cell", AFFINITY, d_ln_Kd=shift.sd_log10 * _LN_10, shared=True),
            RateComponent(affinity.known_from, AFFINITY, d_ln_Kd=affinity.sd_ln),
            RateComponent(
                f"statistical error of k_D{run}", KINETICS, d_ln_kon=encounter.sigma_ln, shared=bool(encounter.run)
            ),
            RateComponent("efficiency κ", KINETICS, d_ln_kon=efficiency.sd_ln),
        ),
        conditions=dict(conditions or {}),
        provenance={
            "IC50": affinity.source,
            "Kd": f"IC50 times 10^N({shift.log10:g}, {shift.sd_log10:g}) ({shift.source}); "
            "no Cheng-Prusoff correction: the assay's ATP is unknown",
            "k_D": "Brownian dynamics, an upper limit of kon" + (f"; run {encounter.run}" if encounter.run else ""),
            "κ": efficiency.source,
            "koff": "kon times Kd (detailed balance)",
        },
    )


def cell_rates(
    kon_per_M_s: NDArray[np.floating[Any]],
    Kd_M: NDArray[np.floating[Any]],
    *,
    kon_units: str,
    koff_units: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """kon and koff = kon Kd in the units of a cell's model, `[M]` each.

    Args:
        kon_per_M_s: association rate constants [1/(M s)], `[M]`.
        Kd_M: dissociation constants [M], `[M]`.
        kon_units, koff_units: of the model, e.g. ``"1/(uM min)"`` and ``"1/min"``.

    Raises:
        UnitError: units of another dimension.
    """
    kon = np.asarray(kon_per_M_s, dtype=np.float64)
    koff = kon * np.asarray(Kd_M, dtype=np.float64)
    return (
        kon * factor(KON_UNITS, kon_units, where="kon"),
        koff * factor(KOFF_UNITS, koff_units, where="koff"),
    )


def _finite(what: str, **values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise InputError(f"{what}: {name} is {value}; expected a finite number.")


def _positive(what: str, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{what}: {name} is {value}; expected a finite number above 0; check its units.")


def _spread(what: str, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{what}: {name} is {value}; expected a standard deviation, 0 or above.")
