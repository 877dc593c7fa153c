"""The experiments behind a PEtab problem's points: what conditions do, run for many parameter vectors, all alike at once.

Legend: `M` parameter vectors, `E` experiments, `T` times.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats, Status
from simulators.reaction.model import ReactionModel
from simulators.reaction.network import CLOCK
from simulators.reaction.steady_state import refuse_restless

if TYPE_CHECKING:
    import xarray

    from simulators.reaction.petab import Content, PetabProblem

_DIMENSIONS = ("member", "time")
_FAR = 100.0
"""Of the last measured time: how long cells settle before anybody asks whether they have."""


@dataclass(frozen=True)
class Experiment:
    """What conditions do: those that set the same things are one experiment."""

    settle: Content | None
    treat: Content

    @property
    def columns(self) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """Which ids are set; experiments that set the same ones can be members of one ensemble."""
        return None if self.settle is None else tuple(n for n, _ in self.settle), tuple(n for n, _ in self.treat)


@dataclass(frozen=True)
class Seen:
    """Of one experiment: values as the model reads them, id → `[M, T]`; `times` `[T]`; status and found_by `[M, T]`."""

    times: Floats
    values: Mapping[str, Floats]
    status: NDArray[np.int8]
    found_by: NDArray[np.int8]


def experiment_of(problem: PetabProblem, settled: str, condition: str) -> Experiment:
    """The experiment behind a point."""
    return Experiment(problem.conditions[settled] if settled else None, problem.conditions[condition])


def refuse_unsettled(problem: PetabProblem, wanted: Mapping[Experiment, Floats]) -> None:
    """Refuse steady states of a model that has none, before anything runs.

    Args:
        wanted: experiment → its times; infinite: the steady state.

    Raises:
        UnsupportedFeature: the model has events, `delay()`, algebraic rules or fast reactions; or, where it shall come to
            rest under a condition while its clock goes on, rates that read the time.
    """
    if any(experiment.settle is not None for experiment in wanted):
        refuse_restless(
            held(problem.model).network, where=f"{problem.path}: pre-equilibration",
            cure="leave preequilibrationConditionId out, and let the model start where it shall",
        )  # fmt: skip
    if any(np.isinf(times).any() for times in wanted.values()):
        refuse_restless(
            problem.model.network, where=f"{problem.path}: measured at time inf", cure="give these points a late time"
        )


def held(model: ReactionModel) -> ReactionModel:
    """A model whose clock stands at 0: cells settle before anything in it begins."""
    graph = model.network.graph
    if all(graph.symbol(CLOCK) not in graph.reads(state.rate) for state in model.network.states):
        return model
    return replace(model, network=model.network.replaced({graph.symbol(CLOCK): graph.const(0.0)}))


class Experiments:
    """Runs experiments of one problem for some parameter vectors."""

    def __init__(
        self, problem: PetabProblem, values: Mapping[str, Floats], names: Collection[str], *, engine: str, rtol: float,
        atol: float, threads: int | None,
    ) -> None:  # fmt: skip
        self.problem, self.values = problem, values
        self.model = problem.model
        self.network = self.model.network
        self.count = len(next(iter(values.values()), np.zeros(1)))
        self.engine = engine
        self.how: dict[str, Any] = {"engine": engine, "rtol": rtol, "atol": atol, "threads": threads}
        sizes = {o.value: o.id for o in self.network.observables.values() if o.kind == "compartment"}
        self.size_of = {  # species whose id means an amount → its compartment
            name: sizes[node] for name, (whole, node) in self.network.initials.items() if whole and node in sizes
        }
        self.names = tuple(dict.fromkeys(names))
        self.settable = {*self.network.state_names, *self.network.constant_names, *self.network.starts} & set(
            self.network.observables
        )

    def run(self, wanted: Mapping[Experiment, Floats]) -> dict[Experiment, Seen]:
        """All experiments, each at its times (ascending; infinite: the steady state)."""
        refuse_unsettled(self.problem, wanted)
        groups: dict[Any, list[Experiment]] = {}
        for experiment in wanted:
            groups.setdefault(experiment.columns, []).append(experiment)
        found: dict[Experiment, Seen] = {}
        for group in groups.values():
            found |= self._together(group, wanted)
        return found

    def _together(self, group: Sequence[Experiment], wanted: Mapping[Experiment, Floats]) -> dict[Experiment, Seen]:
        M, E = self.count, len(group)
        treated = self._joined([self._given(experiment.treat) for experiment in group])
        settled, before, found_by = self._settled(group, {name for name, _ in group[0].treat})
        every = np.unique(np.concatenate([wanted[experiment] for experiment in group]))
        finite = every[np.isfinite(every)]
        reads = [*self.names, *dict.fromkeys(self.size_of[n] for n in self.names if n in self.size_of)]
        how = {"parameters": treated, "initial": settled, "select": reads, "members": M * E}
        values = {n: np.full((M * E, len(every)), np.nan) for n in self.names}
        status = np.repeat(before[:, None], len(every), axis=1)
        by = np.repeat(found_by[:, None], len(every), axis=1)
        if len(finite):
            times = finite if finite[0] == 0.0 else np.concatenate(([0.0], finite))
            data = self.model.simulate(times, **how, **self.how)
            for n in self.names:
                values[n][:, : len(finite)] = self._as_read(data, n)[:, -len(finite) :]
            ended = np.asarray(data["status"].values, dtype=np.int8)
            status[:, : len(finite)] = np.where(before != Status.FINE, before, ended)[:, None]
        if len(finite) < len(every):
            threads = self.how["threads"]
            data = self.model.steady_state(**how, method="integration", atol=self.how["atol"], threads=threads)
            for n in self.names:
                values[n][:, -1] = self._as_read(data, n)
            status[:, -1] = np.where(before != Status.FINE, before, data["status"].values)
            by[:, -1] = data["found_by"].values
        found: dict[Experiment, Seen] = {}
        for i, experiment in enumerate(group):
            rows, own = slice(i * M, (i + 1) * M), np.searchsorted(every, wanted[experiment])
            seen = {n: v[rows][:, own] for n, v in values.items()}
            found[experiment] = Seen(wanted[experiment], seen, status[rows][:, own], by[rows][:, own])
        return found

    def _settled(
        self, group: Sequence[Experiment], set_anew: set[str]
    ) -> tuple[dict[str, Floats], NDArray[np.int8], NDArray[np.int8]]:
        """States before time 0 that the condition does not set, id → `[E * M]`; status and how they were found."""
        M, E = self.count, len(group)
        nothing = np.zeros(M * E, dtype=np.int8)
        if group[0].settle is None:
            return {}, nothing, nothing
        different = list(dict.fromkeys(experiment.settle for experiment in group))
        states = [n for n in self.network.state_names if n in self.network.observables]
        given = self._joined([self._given(content or ()) for content in different])
        reads = [*states, *dict.fromkeys(self.size_of[n] for n in states if n in self.size_of)]
        data = self._held.steady_state(
            parameters=given, initial=self._far(given, states, reads, M * len(different)), select=reads, members=M * len(different), method="integration", atol=self.how["atol"],
            threads=self.how["threads"],
        )  # fmt: skip
        place = [different.index(experiment.settle) for experiment in group]
        rows = np.concatenate([np.arange(i * M, (i + 1) * M) for i in place])
        found = {n: self._as_read(data, n)[rows] for n in states if n not in set_anew}
        status = np.asarray(data["status"].values, dtype=np.int8)[rows]
        return found, status, np.asarray(data["found_by"].values, dtype=np.int8)[rows]

    def _far(
        self, given: Mapping[str, Floats], states: Sequence[str], reads: Sequence[str], members: int
    ) -> dict[str, Floats]:
        """States a long way on: there all members get together, much faster than one by one in search of a steady state."""
        end = _FAR * max(self.problem.ends.values(), default=0.0)
        if not end > 0.0 or not states:
            return {}
        data = self._held.simulate(
            [0.0, end], parameters=given, select=reads, members=members, rtol=1e-6, atol=self.how["atol"],
            threads=self.how["threads"],
        )  # fmt: skip
        found = {n: self._as_read(data, n)[:, -1] for n in states}
        return found if all(np.isfinite(values).all() for values in found.values()) else {}

    @cached_property
    def _held(self) -> ReactionModel:
        return held(self.model)

    def _given(self, content: Content) -> dict[str, Floats]:
        """What the model starts with under a condition, id → `[M]`."""
        found = {n: v for n, v in self.values.items() if n in self.settable}
        for name, cell in content:
            if not isinstance(cell, str):
                found[name] = np.full(self.count, cell)
            elif cell in self.values:
                found[name] = self.values[cell]
            else:
                found[name] = self._of_model(cell)
        return found

    def _of_model(self, name: str) -> Floats:
        """A value that the model itself gives at the start `[M]`."""
        given = {n: v for n, v in self.values.items() if n in self.settable}
        reads = [name, *([self.size_of[name]] if name in self.size_of else [])]
        data = self.model.simulate([0.0], parameters=given, select=reads, members=self.count)
        return self._as_read(data, name)[:, 0]

    def _joined(self, given: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
        return {name: np.concatenate([one[name] for one in given]) for name in given[0]}

    def _as_read(self, data: xarray.Dataset, name: str) -> Floats:
        """Values of an id as mathematics reads it: an amount where the species has only substance units."""
        found = np.asarray(data[_key(name)].values, dtype=np.float64)
        if name in self.size_of:
            found = found * np.asarray(data[_key(self.size_of[name])].values)
        return found


def _key(name: str) -> str:
    return f"{name}_" if name in _DIMENSIONS else name
