"""Exposure in one well-stirred compartment with first-order elimination: bolus and infusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.closed_form.closed_form import ClosedForm, Floats
from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.simulator import State, Values
from twin.variable import Variable


class OneCompartment(ClosedForm):
    """Concentration of a drug that is given as a bolus or an infusion and leaves in proportion to its amount.

    With k = ln 2 / half-life, amount A and infusion R: A(t) = A(0) exp(-k t) + R (1 - exp(-k t)) / k, and the
    concentration is A / volume (Rowland & Tozer, Clinical Pharmacokinetics, 4th ed., ch. 3 and 5).

    Targets: ``amount`` (a bolus adds to it), ``infusion`` (amount per time; 0 stops it), ``volume``, ``half_life``.
    Output: ``concentration``.

    Args:
        volume: of distribution, one number or `[N]`, above 0.
        half_life: of elimination in `time_units`, one number or `[N]`, above 0.
        amount_units, volume_units, time_units: units of amount, volume and clock.

    Raises:
        InputError: a volume or half-life that is not above 0, or lengths that differ.
        UnitError: an unknown unit.
    """

    def __init__(
        self,
        *,
        volume: NDArray[np.floating[Any]] | float,
        half_life: NDArray[np.floating[Any]] | float,
        amount_units: str = "mg",
        volume_units: str = "L",
        time_units: str = "h",
    ) -> None:
        super().__init__(
            variables=[
                Variable("amount", amount_units, lower=0.0),
                Variable("infusion", f"{amount_units} / {time_units}", lower=0.0),
                Variable("volume", volume_units, lower=0.0),
                Variable("half_life", time_units, lower=0.0),
            ],
            values={"amount": 0.0, "infusion": 0.0, "volume": volume, "half_life": half_life},
            outputs=[Variable("concentration", f"{amount_units} / {volume_units}", lower=0.0)],
            time_units=time_units,
        )
        self._refuse_zero({name: np.atleast_1d(self._values[name]) for name in ("volume", "half_life")})

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """See `ClosedForm.perturb`; a changed volume keeps the amount."""
        changed = super().perturb(state, perturbations)
        self._refuse_zero(changed.arrays)
        return changed

    def _course(self, arrays: Mapping[str, Floats], since: Floats) -> tuple[Mapping[str, Floats], Values]:
        rate = (np.log(2.0) / arrays["half_life"])[:, None]
        left = np.exp(-rate * since)
        amount = arrays["amount"][:, None] * left - arrays["infusion"][:, None] * np.expm1(-rate * since) / rate
        return {"amount": amount[:, -1].copy()}, {"concentration": amount / arrays["volume"][:, None]}

    def _refuse_zero(self, arrays: Mapping[str, Floats]) -> None:
        for name in ("volume", "half_life"):
            if (arrays[name] <= 0.0).any():
                raise InputError(f"OneCompartment: {name} is 0; expected a number above 0.")
