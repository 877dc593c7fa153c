"""What a caller may give a network, by id: values of parameters, and values at the start.

Legend: `M` members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from simulators.reaction.engine import Floats
from simulators.reaction.network import Network
from simulators.reaction.selection import unknown
from simulators.reaction.simulation import Quantity, checked_numbers
from twin.errors import InputError


@dataclass(frozen=True)
class Settable:
    """The ids of a network that a caller may give values, and what stands in the network for what is given."""

    network: Network

    @cached_property
    def names(self) -> frozenset[str]:
        """The ids."""
        network = self.network
        every = (*network.state_names, *network.constant_names, *network.starts)
        return frozenset(name for name in every if name in network.observables)

    @property
    def symbols(self) -> dict[str, str]:
        """Id → the symbol that a value for it replaces."""
        return {name: self.network.starts.get(name, name) for name in self.names}

    def check(self, what: str, name: str) -> None:
        """Refuse, as `what`, an id that cannot be set.

        Raises:
            InputError: it is unknown, or given by the model.
        """
        if name not in self.names:
            raise InputError(f"{what}: {self._refusal(name)}")

    def given(
        self, parameters: Mapping[str, Any], initial: Mapping[str, Any], quantity: Quantity, members: int | None
    ) -> tuple[dict[str, Any], int]:
        """Values by symbol, and how many members there are.

        Args:
            parameters, initial, quantity, members: as `ReactionModel.simulate`.

        Raises:
            InputError: an id that cannot be set; values that are no numbers, or of different lengths.
        """
        network = self.network
        found: dict[str, Any] = {}
        if members is not None and members < 0:
            raise InputError(f"members={members}: expected how many, 0 or more.")
        sizes = {} if members is None else {"members": members}
        for what, table in (("parameters", parameters), ("initial", initial)):
            for name, value in table.items():
                self.check(what, name)
                values = checked_numbers(f"{what}[{name!r}]", value)
                if values.ndim > 1:
                    raise InputError(
                        f"{what}[{name!r}]: expected a number or one per member, not {values.ndim} dimensions."
                    )
                if values.ndim == 1:
                    sizes[f"{what}[{name!r}]"] = len(values)
                _, whole = self.as_given(name, value, quantity)
                symbol = network.starts.get(name, name)
                found[symbol] = values if whole else (values, network.initials[name][1])
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise InputError(f"how many members? {told}; give each name one value per member, or a single number.")
        return found, next(iter(sizes.values()), 1)

    def as_given(self, name: str, values: Any, quantity: Quantity) -> tuple[Floats, bool]:
        """Values, a number or `[M]`, and whether they are what the symbol holds (an amount if it is a species)."""
        whole, _ = self.network.initials.get(name, (True, 0))
        return np.asarray(values, dtype=np.float64), whole or quantity == "amount"

    def _refusal(self, name: str) -> str:
        known = self.network.observables.get(name)
        if known is None:
            return unknown(name, self.names)
        what = "a reaction's rate" if known.kind == "reaction" else "given by a rule of the model"
        return f"{name!r} cannot be set: it is {what}; set what it is computed from."
