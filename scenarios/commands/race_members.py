"""Members of a race: whose model, under which condition, until when, and how their parameters are spread.

Legend: `M` members, `T` times, `S` states, `P` constants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from simulators.reaction.contender import Ensemble
from simulators.reaction.model import ReactionModel
from simulators.reaction.petab import PetabProblem
from twin.seeds import stream

POINTS: Final = 51
"""Output times."""


@dataclass(frozen=True)
class Settings:
    """How the race is run.

    Attributes:
        sigma: standard deviation of the logarithm of each parameter around its nominal value.
        seconds: what RoadRunner may take for its members at one tolerance; this chooses how many there are.
        limit_s: when a lap is given up.
        repeats: laps of ours and of each peer's fast ones; the fastest counts.
        peer_rtols: tolerances at which peers run.
        peer_atol: their absolute tolerance; None: as ours, 10⁻³ of the relative one.
        peer_members: how many members peers run; None: as many as `seconds` allows.
    """

    sigma: float = 0.3
    seed: int = 1
    seconds: float = 5.0
    limit_s: float = 600.0
    repeats: int = 2
    until: float | None = None
    least: int = 32
    most: int = 4096
    peers: tuple[str, ...] = ("roadrunner", "bngsim")
    peer_rtols: tuple[float, ...] = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
    peer_atol: float | None = None
    peer_members: int | None = None


@dataclass(frozen=True)
class Course:
    """A model's members.

    Attributes:
        condition: which one, in words.
        end: until when.
        nominal: parameters that are spread → their nominal values. Of PEtab, those that a fit estimates: spreading
            stoichiometric ratios and the like would make members that no cell can be.
        overrides: what is the same for all members: a number, or the name of a parameter of `nominal` to follow.
    """

    model: ReactionModel
    path: Path
    condition: str
    end: float
    nominal: Mapping[str, float]
    overrides: Mapping[str, float | str] = field(default_factory=dict[str, "float | str"])

    def start(self, count: int, settings: Settings) -> tuple[dict[str, Any], Any, Any]:
        """What is given by name, states `[M, S]` and constants `[M, P]` at the start."""
        model, network = self.model, self.model.network
        drawn = {
            name: value * np.exp(settings.sigma * stream(settings.seed, "race", name).standard_normal(count))
            for name, value in self.nominal.items()
        }
        known = {*model.parameters, *model.species}
        given = {name: values for name, values in drawn.items() if name in known}
        for name, value in self.overrides.items():
            given[name] = drawn[value] if isinstance(value, str) else np.full(count, value)
        symbols: dict[str, Any] = {}
        for name, values in given.items():  # species are given as concentrations unless their id means an amount
            whole, size = network.initials.get(name, (True, 0))
            symbols[network.starts.get(name, name)] = values if whole else (values, size)
        x, p = network.start(symbols, members=count, time=0.0)
        return given, x, p

    def members(self, count: int, settings: Settings) -> Ensemble:
        """An ensemble; its first members are those of a smaller one."""
        model, network = self.model, self.model.network
        given, x, p = self.start(count, settings)
        parameters = [n for n in model.parameters if network.observables[n].kind == "parameter"]
        nodes = [[network.observables[n].value for n in parameters]]
        nodes += [[network.observables[n].amount for n in model.species]]
        nodes += [[network.observables[n].concentration for n in model.species]]
        values, amounts, concentrations = (network.evaluate(some, x, p, 0.0) for some in nodes)
        times = np.linspace(0.0, self.end, POINTS)
        ruled = frozenset(model.species) - {*network.state_names, *network.constant_names}
        return Ensemble(self.path, times, given, parameters, values, model.species, amounts, concentrations, ruled)


def course(path: Path, settings: Settings) -> Course:
    """The members of an SBML file (its own values) or a PEtab problem (the condition in which most species move).

    Raises:
        InputError: not a model or a problem that can be read.
    """
    if path.is_dir() or path.suffix in (".yaml", ".yml"):
        problem = PetabProblem.read(path)
        model = problem.model
        known = {*model.parameters, *model.species}
        values = {n: v for n, v in problem.nominal.items() if v > 0.0 and n in problem.estimated}
        read = {v for cells in problem.conditions.values() for _, v in cells if isinstance(v, str)}
        end = settings.until or max(problem.ends.values())
        chosen = _liveliest(model, problem, known, end)
        end = settings.until or problem.ends.get(chosen, end)
        overrides: dict[str, float | str] = {n: v for n, v in problem.nominal.items() if n in known and n not in values}
        for name, cell in problem.conditions[chosen]:
            overrides[name] = problem.nominal[cell] if isinstance(cell, str) and cell not in values else cell
        nominal = {n: v for n, v in values.items() if n in known or n in read}
        return Course(model, problem.model_file, chosen, end, nominal, overrides)
    model = ReactionModel.read(path)
    network = model.network
    x, p = network.start({}, members=1, time=0.0)
    free = [n for n in model.parameters if n in network.constant_names and network.observables[n].kind == "parameter"]
    values = network.evaluate([network.observables[n].value for n in free], x, p, 0.0)[0]
    nominal = {name: float(v) for name, v in zip(free, values, strict=True) if v > 0.0 and math.isfinite(v)}
    hour = {"second": 3600.0, "s": 3600.0, "minute": 60.0, "min": 60.0}.get(network.time_units, 100.0)
    return Course(model, path, "the model's own values", settings.until or hour, nominal)


def _liveliest(model: ReactionModel, problem: PetabProblem, known: set[str], end: float) -> str:
    """The condition under which most species move by more than 1 % of their greatest value; of equal ones the first."""
    names = list(problem.conditions)
    tables: dict[str, np.ndarray] = {}
    base = {n: v for n, v in problem.nominal.items() if n in known}
    # a cell that is empty means the model's own value: conditions that set the same names run together
    best, moved = names[0], -1
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        groups.setdefault(tuple(column for column, _ in problem.conditions[name]), []).append(name)
    for columns, some in groups.items():
        tables = {n: np.full(len(some), v) for n, v in base.items()}
        for column in columns:
            cells = [dict(problem.conditions[name])[column] for name in some]
            tables[column] = np.array([problem.nominal[c] if isinstance(c, str) else c for c in cells])
        data = model.simulate(np.linspace(0.0, end, 21), parameters=tables, select=model.species, rtol=1e-5, threads=1)
        values = np.stack([data[f"{n}_" if n in data.dims else n].values for n in model.species], axis=2)
        span = values.max(axis=1) - values.min(axis=1)
        counts = (span > 0.01 * np.abs(values).max(axis=1) + 1e-300).sum(axis=1)
        for name, count in zip(some, counts, strict=True):
            if count > moved or (count == moved and names.index(name) < names.index(best)):
                best, moved = name, int(count)
    return best
