"""A reaction model: read once, simulated in many ways.

Legend: `M` members, `T` times, `S` states, `P` constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simulators.reaction.course import Course
from simulators.reaction.engine import Floats, Status
from simulators.reaction.method import Method, check_method
from simulators.reaction.network import Network, Observable
from simulators.reaction.sbml import read_network
from simulators.reaction.selection import selected
from simulators.reaction.settable import Settable
from simulators.reaction.simulation import (
    Quantity,
    Simulation,
    check_counts,
    check_tolerances,
    checked_times,
    floors,
    granted,
    labelled,
)
from simulators.reaction.steady_state import FoundBy, refuse_restless, steady
from simulators.reaction.store import Progress, refuse_taken, streamed
from twin.errors import InputError

if TYPE_CHECKING:
    import xarray

    from simulators.reaction.field import Field
    from simulators.reaction.flux_balance import FluxProblem
    from simulators.reaction.solver import Solver
    from simulators.reaction.stochastic import StochasticCourse


@dataclass(frozen=True)
class ReactionModel:
    """One SBML or Antimony model.

    Attributes:
        network: its equations.
        source: what it was read from.
    """

    network: Network
    source: str | Path

    @classmethod
    def read(cls, model: str | Path) -> ReactionModel:
        """Read SBML (L1–L3), Antimony, a COMBINE archive or a PEtab problem (its model, at the nominal parameters; see
        `PetabProblem` for all else of it): a path, or text.

        Raises:
            InputError: no such file, or not a model.
            UnsupportedFeature: a feature that no engine of ours runs.
        """
        return cls(read_network(model), model)

    @property
    def species(self) -> tuple[str, ...]:
        """Ids of the species."""
        return self._of_kind("species")

    @property
    def parameters(self) -> tuple[str, ...]:
        """Ids that `parameters` of `simulate` may set: parameters and compartments that no assignment rule gives."""
        settable = {*self.network.state_names, *self.network.constant_names}
        return tuple(name for name in (*self._of_kind("parameter"), *self._of_kind("compartment")) if name in settable)

    @property
    def features(self) -> frozenset[str]:
        """The features of SBML that the model uses."""
        return self.network.features

    @cached_property
    def _settable(self) -> Settable:
        return Settable(self.network)

    def _of_kind(self, kind: str) -> tuple[str, ...]:
        return tuple(name for name, o in self.network.observables.items() if o.kind == kind)

    def simulate(
        self,
        times: Sequence[float] | Floats,
        *,
        parameters: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
        select: Sequence[str] | None = None,
        quantity: Quantity = "concentration",
        engine: str = "auto",
        rtol: float = 1e-6,
        atol: float = 1e-9,
        members: int | None = None,
        seed: int | None = None,
        threads: int | None = None,
        store: str | Path | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
        max_steps: int = 100_000,
        time_limit_s: float | None = None,
        method: Method = "auto",
    ) -> xarray.Dataset:
        """Time courses of all members.

        Args:
            times: ascending `[T]`, in the model's units; the first is the start time of the model's clock.
            parameters: parameter or compartment → a number or values `[M]`. They replace the model's value and its
                initial assignment; whatever depends on them at the start follows.
            initial: species → amounts or concentrations at the start, as `quantity` says; amounts for species with
                hasOnlySubstanceUnits. Names moved by rate rules may be given too.
            select: ids to return (any: constants, reactions, species references); None: all species, and every
                parameter and compartment that changes.
            quantity: what species are given and returned in.
            engine: `ensemble` (ours), `reference` (libRoadRunner), `stochastic` (exact), or `auto`: ours, which runs every
                feature that a model can be read with and is the fastest at every size that we measured. A stochastic run
                means something else than a course of amounts, so it is only made where it is asked for.
            rtol, atol: tolerances; `atol` in the units of `quantity` concentration.
            members: how many, where no values say so.
            seed: of a stochastic run, of random numbers in the model, and of the order of simultaneous events; None: 0.
                Member i draws from (seed, i) and nothing else.
            threads: how many share the members; None: all cores granted to this process.
            store: a path: members are written to a Zarr store there while they are computed, some at a time, and memory
                stays bounded however many there are. It appears when it is whole.
            overwrite: whether a store that is there may be replaced.
            progress: told of a store (members done, members in all) after each of its blocks.
            max_steps: most steps of one member, which are shorter with `bdf` and `dormand_prince`; in a stochastic run most reactions that fire, 100 times as many.
            time_limit_s: members that are not done then are NaN, and their status says so (`reference` ends between two).
            method: what integrates in `ensemble`: `dormand_prince` (explicit, for what is not stiff; stiff members are handed
                over), `rodas5p` (one-step, order 5), `bdf` (multistep, each member with an order of its own, 1 to 5), or `auto`:
                by how stiff the model is at its own values, what its steps cost, and `rtol`. The answer says which.

        Returns:
            Dims `(member, time)`, one variable per id (`time` and `member` get a trailing `_`), `units` in
            attributes, and `status(member)`: 0, or why the member is NaN. What the model's own mathematics makes infinite
            (1/S where S is 0) is told as infinite, as the SBML Test Suite wants it (00950, 01810, 01811). Of a model with constraints also
            `constraint(member)`: 0, or the number of the first one that is broken at an output time. Of a store, values
            are read when they are asked for.

        Raises:
            InputError: an unknown id, values of different lengths, times that do not ascend, a place that is taken.
            UnsupportedFeature: what the engine asked for does not run; nothing has run then.
        """
        if quantity not in ("concentration", "amount"):
            raise InputError(f'quantity={quantity!r}: expected "concentration" or "amount".')
        when = checked_times(times)
        check_tolerances(rtol, atol)
        check_counts(seed=seed, threads=threads, max_steps=max_steps)
        chosen, why = self._engine(engine)
        check_method(method, chosen)
        shown = selected(self.network, select)
        given, count = self._settable.given(parameters or {}, initial or {}, quantity, members)
        by_id = {**(parameters or {}), **(initial or {})}
        simulation = Simulation(
            network=self.network, source=self.source, times=when, shown=shown, quantity=quantity, given=given,
            by_id={name: self._settable.as_given(name, values, quantity) for name, values in by_id.items()},
            engine=chosen, reason=why, rtol=rtol, atol=atol, seed=seed or 0, threads=threads or granted(),
            max_steps=max_steps, apart=store is not None, method=method,
        )  # fmt: skip
        if store is not None:
            refuse_taken(Path(store), overwrite=overwrite)
        end = None if time_limit_s is None else monotonic() + time_limit_s
        course = self._reader(chosen, shown, quantity)

        def part(first: int, last: int) -> xarray.Dataset:
            return simulation.run(course, first, last, time_limit_s=None if end is None else end - monotonic())

        if store is None:
            return part(0, count)
        return streamed(
            part, members=count, values_per_member=len(when) * len(shown), path=Path(store), overwrite=overwrite,
            progress=progress,
        )  # fmt: skip

    def _reader(self, engine: str, shown: Sequence[Observable], quantity: Quantity) -> Course | StochasticCourse | None:
        """What integrates and reads `shown`, then (engine `ensemble`) the constraints; None: libRoadRunner does."""
        if engine == "reference":
            return None
        nodes = tuple(o.amount if quantity == "amount" else o.concentration for o in shown)
        if engine == "stochastic":
            return self._stochastic_course(nodes)
        return self._course((*nodes, *(node for node, _ in self.network.constraints)))

    def sensitivities(
        self,
        times: Sequence[float] | Floats,
        *,
        wrt: Sequence[str],
        parameters: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
        select: Sequence[str] | None = None,
        quantity: Quantity = "concentration",
        rtol: float = 1e-6,
        atol: float = 1e-9,
        members: int | None = None,
        seed: int | None = None,
        threads: int | None = None,
        max_steps: int = 100_000,
        time_limit_s: float | None = None,
    ) -> xarray.Dataset:
        """Time courses of all members and their exact forward sensitivities, through events and switches.

        Every step of the integrator is differentiated exactly; tolerances hold for each sensitivity too, `atol` divided
        by the size of what it is taken to. Initial assignments, and all that follows from what is given, are
        differentiated as `parameters` and `initial` of `simulate` would act.

        Args:
            wrt: parameters and compartments, and species (for their initial values, in `quantity`) `[C]`.
            times, parameters, initial, select, quantity, rtol, atol, members, seed, threads, max_steps, time_limit_s: as
                `simulate`.

        Returns:
            What `simulate` returns, and for every variable `X` of it sensitivities `d X` with dims `(member, time, wrt)`;
            units are those of `X` divided by those in the coordinate `wrt_units`. A member whose event or switch is
            touched without being crossed has no derivative: NaN, and its status says so.

        Raises:
            InputError: as `simulate`; a name in `wrt` that cannot be set, or stands there twice.
            UnsupportedFeature: delays, fast reactions, random numbers; nothing has run then.
        """
        from simulators.reaction import sensitivities

        if quantity not in ("concentration", "amount"):
            raise InputError(f'quantity={quantity!r}: expected "concentration" or "amount".')
        when, shown = checked_times(times), selected(self.network, select)
        check_tolerances(rtol, atol)
        check_counts(seed=seed, threads=threads, max_steps=max_steps)
        given, count = self._settable.given(parameters or {}, initial or {}, quantity, members)
        for name in () if isinstance(wrt, str) else wrt:
            self._settable.check("wrt", name)
        columns = sensitivities.columns_of(self.network, wrt, self._settable.symbols, quantity)
        readouts = [o.amount if quantity == "amount" else o.concentration for o in shown]
        run = sensitivities.run(
            self.network, self._sensitive_courses, readouts, columns, given, when, members=count, rtol=rtol,
            atol=atol, max_steps=max_steps, threads=threads or granted(), seed=seed or 0, time_limit_s=time_limit_s,
        )  # fmt: skip
        data = labelled(
            self.network, when, shown, quantity, np.moveaxis(run.values, 2, 0), run.status, "ensemble",
            "the one with sensitivities",
        )  # fmt: skip
        return sensitivities.beside(data, shown, columns, run.slopes)

    @cached_property
    def _sensitive_courses(self) -> dict[Any, Any]:
        return {}

    def steady_state(
        self,
        *,
        parameters: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
        select: Sequence[str] | None = None,
        quantity: Quantity = "concentration",
        method: Literal["auto", "newton", "integration"] = "auto",
        time: float = 0.0,
        atol: float = 1e-9,
        members: int | None = None,
        threads: int | None = None,
        max_steps: int = 100_000,
    ) -> xarray.Dataset:
        """States in which nothing moves any more, one per member.

        Newton's method starts from the initial state and keeps all sums that reactions conserve; its result counts if
        it is stable and nowhere negative. Of several such states it may find another one than the start runs into:
        `method="integration"` gives that one.

        Args:
            parameters, initial, select, quantity, members, threads: as `simulate`.
            method: `newton` or `integration`; `auto`: Newton, and integration where it fails.
            time: of the model's clock at the start.
            atol: what counts as nothing, in units of concentration.

        Returns:
            Dim `member`: one variable per id, `status`, and `found_by` (0 nothing, 1 Newton, 2 integration).

        Raises:
            InputError: as `simulate`.
            UnsupportedFeature: events, delays, rates that read the time, algebraic rules.
        """
        import xarray

        if method not in ("auto", "newton", "integration"):
            raise InputError(f"method={method!r}: expected 'auto', 'newton' or 'integration'.")
        check_counts(threads=threads, max_steps=max_steps)
        refuse_restless(self.network)
        shown = selected(self.network, select)
        given, count = self._settable.given(parameters or {}, initial or {}, quantity, members)
        course = self._course(tuple(o.amount if quantity == "amount" else o.concentration for o in shown))
        x, p = self.network.start(given, members=count, time=time)
        found = steady(
            course, x, p, time=time, floor=floors(self.network, x, p, time, atol), method=method, max_steps=max_steps,
            threads=threads or granted(),
        )  # fmt: skip
        values = course.read(np.where(np.isfinite(found.x), found.x, 0.0), p, time)
        values[found.status != Status.FINE] = np.nan
        found.status[np.isinf(values).any(axis=1)] = Status.NOT_FINITE  # such as a ratio to what has vanished
        values[np.isinf(values)] = np.nan
        data = labelled(
            self.network, np.array([time]), shown, quantity, values.T[:, :, None], found.status, "steady state",
            f"method {method}",
        ).isel(time=0, drop=True)  # fmt: skip
        flags = {"flag_values": [int(b) for b in FoundBy], "flag_meanings": " ".join(b.name.lower() for b in FoundBy)}
        data["found_by"] = xarray.DataArray(found.found_by, dims="member", attrs=flags)
        return data

    def field(self) -> Field:
        """The rates of change as a torch function `f(t, x_MS, p_MP) -> dx_MS` that can be differentiated; see `Field`."""
        from simulators.reaction.field import Field

        return Field(self)

    def solver(self, times: Sequence[float] | Floats, *, wrt: Sequence[str], **options: Any) -> Solver:
        """Time courses as a torch function `solve(p_MP[, x0_MS]) -> y_MTR` that can be differentiated; see `Solver`.

        Args:
            times: as `simulate`.
            wrt: parameters, compartments, and species (for their start values): what the columns of p are.
            options: as `sensitivities`: `parameters` and `initial` that stay as they are, `select`, `quantity`, `rtol`,
                `atol`, `seed`, `threads`, `max_steps`.

        Raises:
            InputError, UnsupportedFeature: as `sensitivities`.
        """
        from simulators.reaction.solver import Solver

        return Solver(self, times, wrt=wrt, **options)

    @cached_property
    def _stochastic_courses(self) -> dict[tuple[int, ...], StochasticCourse]:
        return {}

    def _stochastic_course(self, readouts: tuple[int, ...]) -> StochasticCourse:
        from simulators.reaction.stochastic import StochasticCourse

        if readouts not in self._stochastic_courses:
            self._stochastic_courses[readouts] = StochasticCourse(self.network, readouts)
        return self._stochastic_courses[readouts]

    def flux_balance(
        self, objective: str | None = None, *, bounds: Mapping[str, tuple[float, float]] | None = None
    ) -> xarray.Dataset:
        """The steady fluxes that make an objective of an fbc model best; see `FluxProblem.solve`.

        Args:
            objective: id of one of the model's objectives; None: the active one.
            bounds: reaction → (lower, upper) flux, in place of the model's.
        """
        return self._flux_problem.solve(objective, bounds)

    @cached_property
    def _flux_problem(self) -> FluxProblem:
        from simulators.reaction.flux_balance import flux_problem
        from simulators.reaction.source import document

        return flux_problem(document(self.source).getModel(), self.network)

    @cached_property
    def _courses(self) -> dict[tuple[int, ...], Course]:
        return {}

    def _course(self, readouts: tuple[int, ...]) -> Course:
        if readouts not in self._courses:
            self._courses[readouts] = Course(self.network, readouts)
        return self._courses[readouts]

    def _engine(self, engine: str) -> tuple[str, str]:
        if engine == "auto":
            return "ensemble", "our integrator runs every feature that this model uses"
        if engine not in ("ensemble", "reference", "stochastic"):
            raise InputError(f"engine={engine!r}: expected 'auto', 'ensemble', 'reference' or 'stochastic'.")
        return engine, "asked for"
