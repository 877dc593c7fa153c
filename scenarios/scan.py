"""A scan: one model run over a grid of parameters and start values, as one ensemble.

Legend: `G` points of the grid, `N` members at each, `T` times, `V` variables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scenarios.problem import near, one_of
from scenarios.result import REASONS, flags, versions
from scenarios.scan_axis import ScanAxis, values_of
from simulators.reaction.model import ReactionModel
from twin.errors import InputError
from twin.seeds import stream

if TYPE_CHECKING:
    import xarray

Floats = NDArray[np.float64]
_BLOCK = 64  # courses of a task: four fillings of the integrator's lanes
_MOST_BYTES = 2 * 1024**3
_TAKEN = ("time", "member", "status")


@dataclass(frozen=True)
class Scan:
    """What is asked.

    Args:
        file: of the model: SBML, Antimony or a COMBINE archive.
        axes: what is scanned; none: one course.
        times: ascending `[T]`, in the model's units; the first is the start.
        select: ids to keep; none: all species, and what else changes.
        members: at each point of the grid; member 0 has the model's own values.
        spread: constants → standard deviation of their logarithm between members; ``""`` stands for all positive ones.
        seed: of the spread, and of stochastic runs.
        engine, rtol, atol: as `ReactionModel.simulate`.

    Raises:
        InputError: an id that the model does not have or that cannot be set, twice the same, too much for memory.
    """

    file: Path
    axes: tuple[ScanAxis, ...]
    times: tuple[float, ...]
    select: tuple[str, ...] = ()
    members: int = 1
    spread: Mapping[str, float] | None = None
    seed: int = 0
    engine: str = "auto"
    rtol: float = 1e-6
    atol: float = 1e-9

    def __post_init__(self) -> None:
        names = [axis.name for axis in self.axes]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"--scan {name}: given twice; give all its values in one option.")
            self._refuse_unsettable(name, "--scan")
        known = self.model.network.observables
        for name in self.select:
            if name not in known:
                raise InputError(f"--select {name}: nothing in the model;{near(name, known)} it has {one_of(known)}.")
        if not self.shown:
            raise InputError(
                f"{self.name}: nothing to show: no species in this model, and no parameter that moves. "
                "Is it the right file? Else name what to keep with --select."
            )
        for name in self.spread or {}:
            if name:
                self._refuse_unsettable(name, "--spread")
            if name in names:
                raise InputError(f"--spread {name}: it is scanned already; spread other constants.")
        if self.members == 1 and self.spread:
            raise InputError("--spread needs --members, e.g. --members 100; member 0 has the model's own values.")
        if self.members > 1 and not self.spread and self.engine != "stochastic" and not self.model.network.draws:
            raise InputError(
                f"--members {self.members}: all members would be the same; say what differs with --spread, e.g. --spread 0.3, "
                "or run --engine stochastic."
            )
        if self._bytes > _MOST_BYTES:
            raise InputError(
                f"{self.courses:,} courses x {len(self.times)} times x {len(self.shown)} variables take "
                f"{self._bytes / 2**30:.1f} GiB; at most 2: keep fewer variables with --select, fewer --times, or a coarser --scan."
            )
        self.model.simulate(self.times[:1], select=self.shown, engine=self.engine)  # refuses what cannot be run
        _ = self.drawn

    def _refuse_unsettable(self, name: str, option: str) -> None:
        network = self.model.network
        names = (*network.state_names, *network.constant_names, *network.starts)
        settable = [n for n in names if n in network.observables]
        if name in settable:
            return
        if name in network.observables:
            raise InputError(
                f"{option} {name}: the model computes it by a rule or as a rate; set what it is computed from."
            )
        raise InputError(f"{option} {name}: nothing in the model;{near(name, settable)} it has {one_of(settable)}.")

    @cached_property
    def model(self) -> ReactionModel:
        """The model."""
        return ReactionModel.read(self.file)

    @property
    def name(self) -> str:
        """Of the result: the file's."""
        return self.file.name.removesuffix(self.file.suffix)

    @property
    def title(self) -> str:
        """What is done, in a line."""
        over = " x ".join(f"{len(axis.values)} values of {axis.name}" for axis in self.axes) or "one course"
        members = f" x {self.members} members" if self.members > 1 else ""
        return f"{self.model.network.id or self.name}: {over}{members}"

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """Ids that are kept `[V]`."""
        if self.select:
            return tuple(dict.fromkeys(self.select))
        moving = ("compartment", "parameter")
        known = self.model.network.observables
        return tuple(n for n, o in known.items() if o.kind == "species" or (o.kind in moving and o.moves))

    @property
    def courses(self) -> int:
        """How many `G * N`."""
        return math.prod(len(axis.values) for axis in self.axes) * self.members

    @property
    def _bytes(self) -> int:
        return self.courses * len(self.times) * len(self.shown) * 8

    @property
    def tasks(self) -> list[tuple[int, int]]:
        """First and last course of each block."""
        return [(first, min(first + _BLOCK, self.courses)) for first in range(0, self.courses, _BLOCK)]

    @property
    def keys(self) -> list[str]:
        """A name for each task."""
        return [f"model {first}-{last}" for first, last in self.tasks]

    @property
    def provenance(self) -> dict[str, str | int]:
        """What the numbers depend on."""
        asked = {
            "scan": {axis.name: list(axis.values) for axis in self.axes}, "times": list(self.times),
            "select": list(self.shown), "members": self.members, "spread": dict(self.spread or {}), "engine": self.engine,
            "relative_tolerance": self.rtol, "absolute_tolerance": self.atol,
        }  # fmt: skip
        return {
            "scan": json.dumps(asked, sort_keys=True),
            "files": json.dumps({self.file.name: sha256(self.file.read_bytes()).hexdigest()}),
            "versions": json.dumps(versions(), sort_keys=True),
            "seed": self.seed,
        }

    @cached_property
    def drawn(self) -> dict[str, Floats]:
        """Constants that differ between members `[N]`; member 0 has the model's own values."""
        spread = dict(self.spread or {})
        if not spread:
            return {}
        network, scanned = self.model.network, {axis.name for axis in self.axes}
        known = network.observables
        constants = [n for n in network.constant_names if n in known and known[n].kind == "parameter"]
        asked = [*(constants if "" in spread else []), *(name for name in spread if name)]
        names = [name for name in dict.fromkeys(asked) if name not in scanned]
        data = self.model.simulate(self.times[:1], select=names)
        found: dict[str, Floats] = {}
        for name in names:
            own = float(data[_key(name)].values[0, 0])
            if not own > 0.0:
                if name in spread:
                    raise InputError(f"--spread {name}: its value is {own:g}; a log-normal spread needs one above 0.")
                continue  # a switch that is 0, or a sign: left alone
            scores = stream(self.seed, "spread", name).standard_normal(self.members)
            scores[0] = 0.0
            found[name] = own * np.exp(spread.get(name, spread.get("", 0.0)) * scores)
        return found

    def runner(self) -> ScanRunner:
        """What runs a block."""
        return ScanRunner(self)

    def given(self, first: int, last: int) -> dict[str, Floats]:
        """What courses first … last - 1 start with, in the order of the axes, members last."""
        shape = (*(len(axis.values) for axis in self.axes), self.members)
        places = np.unravel_index(np.arange(first, last), shape)
        scanned = {axis.name: np.array(axis.values)[place] for axis, place in zip(self.axes, places[:-1], strict=True)}
        return scanned | {name: values[places[-1]] for name, values in self.drawn.items()}

    def dataset(self, found: Sequence[Mapping[str, NDArray[Any]]]) -> xarray.Dataset:
        """Dims: every scanned name (`NAME_start` if it is a state), `member` where there are several, `time`."""
        import xarray

        network = self.model.network
        known = network.observables
        dims: list[str] = []
        coords: dict[str, Any] = {}
        for axis in self.axes:
            moves = axis.name in network.state_names
            dim = f"{axis.name}_start" if moves or axis.name in _TAKEN else axis.name
            what = f"{axis.name} at the start" if moves else axis.name
            spacing = "logarithmic" if axis.logarithmic else "linear"
            attrs = {"units": known[axis.name].units or "1", "long_name": f"{what}, scanned", "spacing": spacing}
            coords[dim] = (dim, np.array(axis.values), attrs)
            dims.append(dim)
        shape = [len(axis.values) for axis in self.axes]
        if self.members > 1:
            dims.append("member")
            shape.append(self.members)
            coords["member"] = ("member", np.arange(self.members), {})
            for name, values in self.drawn.items():
                if name not in self.shown:
                    coords[name] = (
                        "member",
                        values,
                        {"units": known[name].units or "1", "long_name": f"{name}, drawn"},
                    )
        coords["time"] = ("time", np.array(self.times), {"units": network.time_units or "1", "axis": "T"})
        values = np.concatenate([part["values"] for part in found]).reshape(*shape, len(self.times), len(self.shown))
        status = np.concatenate([part["status"] for part in found]).reshape(shape)
        engine = str(self.model.simulate(self.times[:1], select=self.shown, engine=self.engine).attrs["engine"])
        solved = () if engine == "stochastic" else network.state_names  # molecules are counted, not solved for
        data: dict[str, Any] = {}
        for i, name in enumerate(self.shown):
            if name in coords:  # a scanned constant, or a drawn one: its coordinate says all
                continue
            o = known[name]
            units = (o.concentration_units if o.kind == "species" else o.units) or "1"
            attrs = {"units": units, "long_name": name, "kind": o.kind}
            if name in solved:
                attrs |= {"relative_tolerance": self.rtol, "absolute_tolerance": self.atol}
            data[_key(name)] = ((*dims, "time"), values[..., i], attrs)
        data["status"] = (dims, status, flags(REASONS, "why a course has no values"))
        return xarray.Dataset(data, coords, {"kind": "scan", "model": network.id, "engine": engine})

    def lines(self, dataset: xarray.Dataset) -> list[str]:
        """What is said in the terminal: the end of each variable over the scan."""
        from scenarios.scan_view import lines

        return lines(dataset)

    def figure(self, dataset: xarray.Dataset, path: Path) -> None:
        """Draw courses and ends into an image file."""
        from scenarios.scan_figure import draw

        draw(dataset, path)

    def forecast(self) -> list[str]:
        """What would be done."""
        return [
            self.title,
            f"  model     {self.courses:,} courses in {len(self.tasks):,} tasks, {len(self.times)} times, {len(self.shown)} variables",
            f"  disk      up to {self._bytes / 1e6:.2g} MB, and as much for the journal until the run ends",
        ]


class ScanRunner:
    """Runs blocks of a scan in whichever process it wakes up."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan

    def __getstate__(self) -> dict[str, Any]:
        return {"scan": {k: v for k, v in self.scan.__dict__.items() if k != "model"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.scan = object.__new__(Scan)
        self.scan.__dict__.update(state["scan"])

    def __call__(self, task: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Values `[block, T, V]` and statuses of a block."""
        scan = self.scan
        first, last = task
        seed = int(stream(scan.seed, "scan", first).integers(2**31))
        data = scan.model.simulate(
            scan.times, parameters=scan.given(first, last), select=scan.shown, engine=scan.engine, rtol=scan.rtol,
            atol=scan.atol, members=last - first, seed=seed, threads=1,
        )  # fmt: skip
        values = np.stack([data[_key(name)].values for name in scan.shown], axis=-1)
        return {"values": values, "status": np.asarray(data["status"].values, dtype=np.int8)}


def times_of(text: str | None, file: Path) -> tuple[float, ...]:
    """Output times of ``FROM:TO:COUNT`` or ``TIME,TIME,…``.

    Raises:
        InputError: missing, of neither form, or not ascending.
    """
    if not text:
        units = ReactionModel.read(file).network.time_units
        told = f" [{units}]" if units else ""
        raise InputError(
            f"{file}: how long shall it run? A model's file does not say; give --times FROM:TO:COUNT{told}, e.g. --times 0:100:101."
        )
    values, _ = (
        values_of(text, f"--times {text}") if text.count(":") != 1 else values_of(f"{text}:101", f"--times {text}")
    )
    if (np.diff(values) <= 0.0).any():
        raise InputError(f"--times {text}: expected ascending times, e.g. --times 0:100:101.")
    return tuple(values.tolist())


def spread_of(texts: Sequence[str]) -> dict[str, float]:
    """``SIGMA`` for all constants, or ``NAME=SIGMA``.

    Raises:
        InputError: of neither form.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, separator, rest = text.rpartition("=")
        try:
            sigma = float(rest)
        except ValueError:
            sigma = math.nan
        if not sigma > 0.0 or not math.isfinite(sigma) or (separator and not name.strip()):
            raise InputError(
                f"--spread {text}: expected SIGMA or NAME=SIGMA, the standard deviation of a logarithm, e.g. 0.3."
            )
        if name.strip() in found:
            raise InputError(f"--spread {text}: given twice; keep one of them.")
        found[name.strip()] = sigma
    return found


def _key(name: str) -> str:
    return f"{name}_" if name in ("member", "time") else name
