"""What the clocks of a run saw: stages of the root and tasks of the workers, as a timeline and as shares of time at work.

Clocks differ from run to run, so all of it goes into attributes `run_…` and into files of their own, never into what a result says.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpc import chrome_trace
from hpc.chrome_trace import Bar
from hpc.timeline import Span
from twin.errors import InputError

_BINS = 60
_MOST_RANKS = 64
"""Ranks told one by one in a result's attributes; of more, the quantiles."""


class Clocks:
    """Bars of a run, gathered as it goes."""

    def __init__(self) -> None:
        self.begun_s = time.time()
        self._stages: list[Bar] = []
        self._tasks: list[Bar] = []

    def stage(self, name: str, what: str, began_s: float, took_s: float) -> None:
        """A scale was at work on the root, or waited there for the workers."""
        self._stages.append(Bar(name, name, 0, 0, began_s, took_s, {"what": what}))

    def tasks(self, keys: Sequence[str], spans: Sequence[Span]) -> None:
        """Tasks of one map, by the names that they have in the journal."""
        self._tasks += [
            Bar(key, key.split()[0], span.rank, span.worker, span.began_s, span.took_s, {"task": span.task})
            for key, span in ((keys[span.task], span) for span in spans)
        ]

    def write(self, path: Path, *, about: Mapping[str, Any]) -> None:
        """The timeline, for Perfetto."""
        chrome_trace.write(path, [*self._stages, *self._tasks], about=about)

    def attributes(self, workers: int) -> dict[str, str | float]:
        """`run_busy`, the share of the workers' time that went into tasks, and `run_utilisation`: that share through the run and by rank.

        `run_utilisation` is JSON: `bin_s`, `busy` (shares of all workers, one a bin), `stages` (name, begin and end [s] since
        the run began), `ranks` (share of each rank's workers while tasks ran) or, beyond 64 ranks, `rank_quantiles`
        (0, 0.05, 0.5, 0.95, 1). Nothing where no task ran, as after a resume that found all of them.
        """
        if not self._tasks:
            return {}
        began = np.array([bar.began_s for bar in self._tasks]) - self.begun_s
        ended = began + [bar.took_s for bar in self._tasks]
        end_s = max(
            float(ended.max()), max((b.began_s + b.took_s for b in self._stages), default=self.begun_s) - self.begun_s
        )
        bin_s = end_s / _BINS
        edges = np.arange(_BINS + 1) * bin_s
        busy_s = np.diff(_worked_before(edges, began, ended))
        first_s, last_s = float(began.min()), float(ended.max())
        busy = float((ended - began).sum() / ((last_s - first_s) * workers)) if last_s > first_s else 1.0
        found = {
            "bin_s": round(bin_s, 6),
            "busy": [round(float(share), 4) for share in busy_s / (bin_s * workers)],
            "stages": [
                [bar.name, round(bar.began_s - self.begun_s, 3), round(bar.began_s + bar.took_s - self.begun_s, 3)]
                for bar in self._stages
            ],
            **self._by_rank(last_s - first_s),
        }
        return {"run_busy": round(busy, 4), "run_utilisation": json.dumps(found)}

    def _by_rank(self, seconds: float) -> dict[str, Any]:
        worked: dict[int, float] = {}
        workers: dict[int, set[int]] = {}
        for bar in self._tasks:
            worked[bar.rank] = worked.get(bar.rank, 0.0) + bar.took_s
            workers.setdefault(bar.rank, set()).add(bar.worker)
        shares = {rank: worked[rank] / (seconds * len(workers[rank])) for rank in sorted(worked) if seconds > 0}
        if len(shares) <= _MOST_RANKS:
            return {"ranks": {str(rank): round(share, 4) for rank, share in shares.items()}}
        levels = np.quantile(list(shares.values()), (0.0, 0.05, 0.5, 0.95, 1.0))
        return {"rank_quantiles": [round(float(level), 4) for level in levels]}


def _worked_before(edges: np.ndarray, began: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """Seconds of work of all tasks before each edge: sums of min(edge, ended) - min(edge, began), by sorted sums."""
    total = np.zeros(len(edges))
    for times, sign in ((np.sort(ended), 1.0), (np.sort(began), -1.0)):
        before = np.searchsorted(times, edges)
        sums = np.concatenate([[0.0], np.cumsum(times)])
        total += sign * (sums[before] + edges * (len(times) - before))
    return total


def check_timeline(path: Path, *, replace: bool) -> None:
    """Refuse a place for the timeline before anything runs.

    Raises:
        InputError: no such folder, one that cannot be written to, or a file is there and nobody said that it may be replaced.
    """
    if not path.parent.is_dir():
        raise InputError(f"--timeline {path}: there is no folder {path.parent}; make it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"--timeline {path}: {path.parent} cannot be written to; choose another folder.")
    if path.is_dir():
        raise InputError(f"--timeline {path} is a folder; give the name of a file, e.g. trace.json.")
    if path.exists() and not replace:
        raise InputError(f"--timeline {path} is there already. Replace it with --overwrite, or choose another name.")
