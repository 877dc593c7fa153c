"""Timeline: when each task ran and on which rank, measured by the worker that ran it and carried home on its result.

    executor.map(function, tasks)
    spans = executor.timeline.take()         # of the map that has just ended

Clocks are those of the nodes: within a node spans lie where they were, between nodes as far as NTP holds them together.
"""

from __future__ import annotations

from typing import NamedTuple

from hpc.parcel import Work


class Span(NamedTuple):
    """One task at work.

    Attributes:
        task: its position in the sequence that was mapped.
        rank: MPI rank; 0 without MPI.
        worker: process id of the worker.
        began_s: Unix time [s].
        took_s: duration [s].
    """

    task: int
    rank: int
    worker: int
    began_s: float
    took_s: float


class Timeline:
    """Spans of an executor's tasks, in the order in which their results came."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def last(self) -> Span | None:
        """The latest; None before the first."""
        return self._spans[-1] if self._spans else None

    def note(self, index: int, work: Work | None) -> None:
        """Keep what a result says of its own making; a task that was set aside says nothing."""
        if work is not None:
            self._spans.append(Span(index, work.rank, work.worker, work.began_ns * 1e-9, work.took_ns * 1e-9))

    def take(self) -> list[Span]:
        """All spans since the last `take`."""
        spans, self._spans = self._spans, []
        return spans
