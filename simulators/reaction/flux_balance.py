"""Flux balance analysis: the steady fluxes that make an objective of SBML's fbc package (versions 1–3) best.

A linear program over the fluxes v [extent/time]: best c·v where N v = 0 for every species that reactions change,
lower ≤ v ≤ upper, and the constraints of fbc version 3 hold. HiGHS solves it (doi:10.1007/s12532-017-0130-5, by scipy).

Legend: `R` fluxes (then free parameters of constraints), `S` species, `C` constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import libsbml
import numpy as np

from simulators.reaction.engine import Floats
from simulators.reaction.expression import Node
from simulators.reaction.network import Network
from twin.errors import ConvergenceError, InputError, SimulationError, UnsupportedFeature

if TYPE_CHECKING:
    import xarray

_NO_START = 0.0  # fbc has no clock: values are those at the model's start


class InfeasibleFluxes(SimulationError):  # noqa: N818 - named as what is the case
    """No fluxes keep every species steady within all bounds."""


class UnboundedFluxes(SimulationError):  # noqa: N818 - named as what is the case
    """The objective can be made as good as one likes: a bound is missing."""


@dataclass(frozen=True)
class Objective:
    """What is made best: Σ coefficient × flux, `maximize` or `minimize`."""

    id: str
    sense: Literal["maximize", "minimize"]
    coefficients: Mapping[str, float]


@dataclass(frozen=True)
class FluxProblem:
    """The linear program of a model.

    Attributes:
        reactions, species: ids `[R]`, `[S]`; `free` are parameters that only constraints of version 3 read.
        stoichiometry: `[S, R]`.
        lower, upper: of the fluxes and free parameters `[R]`.
        objectives: by id; `active` is the one the model names, empty if none.
        rows, row_lower, row_upper: further constraints `[C, R]`, `[C]`, `[C]`.
    """

    id: str
    reactions: tuple[str, ...]
    free: tuple[str, ...]
    species: tuple[str, ...]
    stoichiometry: Floats
    lower: Floats
    upper: Floats
    objectives: Mapping[str, Objective]
    active: str
    rows: Floats
    row_lower: Floats
    row_upper: Floats

    def solve(
        self, objective: str | None = None, bounds: Mapping[str, tuple[float, float]] | None = None
    ) -> xarray.Dataset:
        """The best fluxes.

        Args:
            objective: id of an objective of the model; None: the active one.
            bounds: reaction → (lower, upper), in place of the model's.

        Returns:
            `flux(reaction)`, `lower(reaction)`, `upper(reaction)`, `reduced_cost(reaction)` (d best / d bound that
            holds the flux), `shadow_price(species)` (d best / d rate at which the species is to pile up), and the scalar
            `objective`; its id and sense are in attributes. Where several optima are equal, fluxes are one of them.

        Raises:
            InfeasibleFluxes, UnboundedFluxes: there is no optimum.
            InputError: no such objective or reaction, a bound above the other.
            ConvergenceError: the solver stopped early.
        """
        chosen = self._objective(objective)
        lower, upper = self._bounds(bounds or {})
        names = (*self.reactions, *self.free)
        return self._dataset(chosen, lower, upper, *self._optimum(chosen, names, lower, upper))

    def _objective(self, name: str | None) -> Objective:
        if not self.objectives:
            raise InputError(f"{self.id}: no objective in this model; add fbc:listOfObjectives.")
        if name is None:
            name = self.active or (next(iter(self.objectives)) if len(self.objectives) == 1 else "")
        if name not in self.objectives:
            told = f"objective={name!r}" if name else "the model names no active objective"
            raise InputError(f"{self.id}: {told}; expected one of {', '.join(self.objectives)}.")
        return self.objectives[name]

    def _bounds(self, given: Mapping[str, tuple[float, float]]) -> tuple[Floats, Floats]:
        lower, upper = self.lower.copy(), self.upper.copy()
        for name, (low, high) in given.items():
            if name not in self.reactions:
                raise InputError(f"{self.id}: bounds of {name!r}: no such reaction.")
            lower[self.reactions.index(name)], upper[self.reactions.index(name)] = low, high
        for i, name in enumerate(self.reactions):
            if np.isnan(lower[i]) or np.isnan(upper[i]):
                raise InputError(f"{self.id}: reaction {name}: a flux bound has no value; give it a number.")
        return lower, upper

    def _optimum(self, chosen: Objective, names: Sequence[str], lower: Floats, upper: Floats) -> Any:
        from scipy.optimize import linprog
        from scipy.sparse import csr_array

        crossed = [name for name, low, high in zip(names, lower, upper, strict=True) if low > high]
        if crossed:
            raise InfeasibleFluxes(f"{self.id}: infeasible: lower bound above upper bound of {', '.join(crossed)}.")
        sign = -1.0 if chosen.sense == "maximize" else 1.0
        cost = sign * np.array([chosen.coefficients.get(name, 0.0) for name in names])
        steady = csr_array(np.hstack([self.stoichiometry, np.zeros((len(self.species), len(self.free)))]))
        has_upper, has_lower = np.isfinite(self.row_upper), np.isfinite(self.row_lower)
        rows = np.vstack([self.rows[has_upper], -self.rows[has_lower]])
        limits = np.concatenate([self.row_upper[has_upper], -self.row_lower[has_lower]])
        S = len(self.species)
        feasible: dict[str, Any] = {"bounds": np.column_stack([lower, upper]), "method": "highs"}
        if S:
            feasible |= {"A_eq": steady, "b_eq": np.zeros(S)}
        if len(rows):
            feasible |= {"A_ub": csr_array(rows), "b_ub": limits}
        found = linprog(cost, **feasible)
        if found.status in (2, 3) or (found.status == 4 and "infeasible" in found.message.lower()):
            # presolve may not tell which; without an objective only infeasibility is left
            if linprog(np.zeros_like(cost), **feasible).status == 0:
                raise UnboundedFluxes(
                    f"{self.id}: unbounded: {chosen.sense} {chosen.id} has no limit; bound the fluxes that feed it."
                )
            raise InfeasibleFluxes(
                f"{self.id}: infeasible: no fluxes within the bounds keep all {S} species steady; loosen a bound."
            )
        if found.status != 0:
            raise ConvergenceError(f"{self.id}: the linear program was not solved: {found.message}")
        prices = found.eqlin.marginals if S else np.zeros(0)
        return sign * found.fun, found.x, sign * prices, sign * (found.lower.marginals + found.upper.marginals)

    def _dataset(
        self, chosen: Objective, lower: Floats, upper: Floats, best: float, x: Floats, prices: Floats, costs: Floats
    ) -> xarray.Dataset:
        import xarray

        R = len(self.reactions)
        return xarray.Dataset(
            {
                "flux": ("reaction", x[:R], {"long_name": "flux", "units": "model's extent / time"}),
                "lower": ("reaction", lower[:R], {"long_name": "lower bound"}),
                "upper": ("reaction", upper[:R], {"long_name": "upper bound"}),
                "reduced_cost": ("reaction", costs[:R], {"long_name": "d objective / d active bound"}),
                "shadow_price": (
                    "species",
                    prices,
                    {"long_name": "d objective / d rate at which the species piles up"},
                ),
                "objective": ((), best, {"id": chosen.id, "sense": chosen.sense}),
            },
            coords={"reaction": list(self.reactions), "species": list(self.species)},
            attrs={"model": self.id, "solver": "HiGHS"},
        )


def flux_problem(sbml: Any, network: Network) -> FluxProblem:
    """The linear program of a flattened libSBML model with fbc; `network` is the same model as equations.

    Raises:
        InputError: not an fbc model; a bound that is nothing; a strict model that is not.
        UnsupportedFeature: quadratic objectives or constraints.
    """
    plugin = sbml.getPlugin("fbc")
    if plugin is None:
        raise InputError(f"{network.id}: no flux balance: the model does not use SBML's fbc package.")
    return _Reader(sbml, plugin, network).read()


class _Reader:
    def __init__(self, sbml: Any, plugin: Any, network: Network) -> None:
        self.sbml, self.plugin, self.network = sbml, plugin, network
        self.x, self.p = network.start({}, members=1, time=_NO_START)
        self.reactions = tuple(r.getId() for r in sbml.getListOfReactions())
        self.free: list[str] = []

    def read(self) -> FluxProblem:
        network = self.network
        species = tuple(sorted({s for r in network.reactions for s in r.changes}))
        row, column = ({name: i for i, name in enumerate(names)} for names in (species, self.reactions))
        entries = [(row[s], column[r.id], node) for r in network.reactions for s, node in r.changes.items()]
        stoichiometry = np.zeros((len(species), len(self.reactions)))
        for (i, j, _), value in zip(entries, self._values([node for _, _, node in entries]), strict=True):
            if not np.isfinite(value):
                raise InputError(
                    f"{network.id}: reaction {self.reactions[j]}: the stoichiometry of {species[i]} has no value."
                )
            stoichiometry[i, j] = value
        lower, upper = self._bounds()
        objectives = {o.getId(): self._objective(o) for o in self.plugin.getListOfObjectives()}
        rows, row_lower, row_upper = self._constraints()
        free = np.full(len(self.free), np.inf)
        return FluxProblem(
            id=network.id, reactions=self.reactions, free=tuple(self.free), species=species,
            stoichiometry=stoichiometry, lower=np.append(lower, -free), upper=np.append(upper, free),
            objectives=objectives, active=self.plugin.getActiveObjectiveId(),
            rows=rows, row_lower=row_lower, row_upper=row_upper,
        )  # fmt: skip

    def _values(self, nodes: Sequence[Node]) -> Floats:
        return self.network.evaluate(nodes, self.x, self.p, _NO_START)[0]

    def _value(self, name: str, where: str) -> float:
        if name not in self.network.observables:
            raise InputError(f"{self.network.id}: {where}: no parameter {name!r} in this model.")
        return float(self._values([self.network.observables[name].value])[0])

    def _bounds(self) -> tuple[Floats, Floats]:
        lower = np.full(len(self.reactions), -np.inf)
        upper = np.full(len(self.reactions), np.inf)
        places = {name: i for i, name in enumerate(self.reactions)}
        for bound in self.plugin.getListOfFluxBounds():  # version 1; several bounds of a flux all hold
            if bound.getReaction() not in places:
                raise InputError(f"{self.network.id}: flux bound of {bound.getReaction()!r}: no such reaction.")
            i, value, operation = places[bound.getReaction()], bound.getValue(), bound.getOperation()
            if operation in ("greaterEqual", "greater", "equal"):
                lower[i] = max(lower[i], value)
            if operation in ("lessEqual", "less", "equal"):
                upper[i] = min(upper[i], value)
        strict = bool(self.plugin.isSetStrict() and self.plugin.getStrict())
        for i, reaction in enumerate(self.sbml.getListOfReactions()):
            own = reaction.getPlugin("fbc")
            if own is None or self.plugin.getPackageVersion() < 2:
                continue
            for side, given, name in (
                (lower, own.isSetLowerFluxBound(), own.getLowerFluxBound()),
                (upper, own.isSetUpperFluxBound(), own.getUpperFluxBound()),
            ):
                if given:
                    side[i] = self._value(name, f"flux bound of reaction {reaction.getId()}")
                elif strict:
                    raise InputError(
                        f"{self.network.id}: reaction {reaction.getId()} lacks a flux bound, but the model says "
                        'fbc:strict="true"; give both bounds.'
                    )
        return lower, upper

    def _objective(self, objective: Any) -> Objective:
        found: dict[str, float] = {}
        for term in objective.getListOfFluxObjectives():
            _linear(term, f"objective {objective.getId()}")
            if term.getReaction() not in self.reactions:
                raise InputError(
                    f"{self.network.id}: objective {objective.getId()}: no reaction {term.getReaction()!r} in this model."
                )
            found[term.getReaction()] = found.get(term.getReaction(), 0.0) + term.getCoefficient()
        return Objective(objective.getId(), "minimize" if objective.getType() == "minimize" else "maximize", found)

    def _constraints(self) -> tuple[Floats, Floats, Floats]:
        """Those of version 3: lower ≤ Σ coefficient × (flux or parameter that may vary) ≤ upper, all parameters."""
        if self.plugin.getPackageVersion() < 3:
            return np.zeros((0, len(self.reactions))), np.zeros(0), np.zeros(0)
        every = list(self.plugin.getListOfUserDefinedConstraints())
        terms = [(c, term) for c in every for term in c.getListOfUserDefinedConstraintComponents()]
        for _, term in terms:
            if term.getVariable() not in (*self.reactions, *self.free):
                self.free.append(term.getVariable())
        columns = {name: i for i, name in enumerate((*self.reactions, *self.free))}
        rows, lower, upper = np.zeros((len(every), len(columns))), np.zeros(len(every)), np.zeros(len(every))
        for i, constraint in enumerate(every):
            where = f"constraint {constraint.getId()}"
            lower[i] = self._value(constraint.getLowerBound(), where)
            upper[i] = self._value(constraint.getUpperBound(), where)
            for term in constraint.getListOfUserDefinedConstraintComponents():
                _linear(term, where)
                rows[i, columns[term.getVariable()]] += self._value(term.getCoefficient(), where)
        return rows, lower, upper


def _linear(term: Any, where: str) -> None:
    kind = term.getVariableType()
    two = getattr(term, "getVariable2", None)
    if kind == libsbml.FBC_VARIABLE_TYPE_QUADRATIC or (two is not None and two()):
        raise UnsupportedFeature("quadratic flux balance", f"{where}: quadratic terms; only linear ones are solved.")
