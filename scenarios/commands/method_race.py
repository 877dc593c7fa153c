"""`twin bench methods`: what each method of the ensemble engine takes for the members of a model, and how wrong it is.

Members and errors are those of `twin bench ensemble`; the reference is `rodas5p` at `REFERENCE`.

Legend: `M` members, `T` times, `S` species.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scenarios.commands.ensemble_race import FLOOR
from scenarios.commands.race_members import POINTS, Course, Settings, course
from simulators.reaction.engine import Floats
from simulators.reaction.method import Method
from twin.errors import UnsupportedFeature

if TYPE_CHECKING:
    import xarray

REFERENCE: Final = 1e-11
_ALL: Final[tuple[Method, ...]] = ("rodas5p", "bdf", "dormand_prince")
_PATIENCE: Final = 20.0
"""Times as long as the fastest a method may take before it is given up."""


@dataclass(frozen=True)
class _Members:
    """Who is integrated: a model's members, their values, and output times `[T]`."""

    track: Course
    given: Mapping[str, Any]
    count: int
    times: Floats

    def run(self, method: Method, rtol: float, limit_s: float | None = None) -> tuple[float, xarray.Dataset]:
        """Seconds of one core, and what came of it."""
        begun = time.process_time()
        data = self.track.model.simulate(
            self.times, parameters=self.given, members=self.count, rtol=rtol, atol=FLOOR * rtol, method=method, threads=1,
            select=self.track.model.species, time_limit_s=limit_s,
        )  # fmt: skip
        return time.process_time() - begun, data

    def values(self, data: xarray.Dataset) -> Floats:
        """`[M, T, S]`."""
        names = self.track.model.species
        return np.stack([data[f"{name}_" if name in ("member", "time") else name].values for name in names], axis=2)


def compare(
    paths: Sequence[Path], members: int, rtols: Sequence[float], say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Measure every method on every model at every tolerance, a line each; milliseconds of one core per member."""
    found: list[dict[str, Any]] = []
    for path in paths:
        settings = Settings()
        track = course(path, settings)
        times = np.linspace(0.0, track.end, POINTS)
        everyone = _Members(track, dict(track.members(members, settings).given), members, times)
        reference = everyone.values(everyone.run("rodas5p", REFERENCE)[1])
        scale = np.nanmax(np.abs(reference), axis=1, keepdims=True) + FLOOR
        for rtol in rtols:
            auto = str(everyone.run("auto", rtol)[1].attrs["method"])
            fastest = np.inf
            for method in _ALL:
                entry: dict[str, Any] = {
                    "model": track.path.stem.removeprefix("model_"), "rtol": rtol, "method": method, "chosen": method == auto,
                }  # fmt: skip
                found.append(entry)
                label = f"{entry['model']:28} {rtol:7.0e} {method:16}"
                try:
                    limit = None if fastest == np.inf else max(1.0, _PATIENCE * fastest)
                    laps = [everyone.run(method, rtol, limit) for _ in range(2)]
                except UnsupportedFeature as error:
                    entry["refused"] = str(error)
                    say(f"{label} {error}")
                    continue
                seconds, data = min(laps, key=lambda lap: lap[0])
                errors = np.abs(everyone.values(data) - reference) / scale
                done = data["status"].values == 0
                failed = int((~done).sum())
                worst = float(np.nanmax(errors[done])) if done.any() else None
                entry |= {"ms": 1e3 * seconds / members, "failed": failed, "error": worst}
                fastest = fastest if failed else min(fastest, seconds)
                say(
                    f"{label} {entry['ms']:9.4f} ms  error {'-' if worst is None else f'{worst:.1e}'}"
                    f"{f'  {failed} not done' if failed else ''}{'  <- auto' if entry['chosen'] else ''}"
                )
    return found
