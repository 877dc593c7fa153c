"""A run's timeline as a file that Perfetto (ui.perfetto.dev) and chrome://tracing open: one row of tasks per worker of each rank.

The format is Chrome's Trace Event Format (JSON object form): complete events `X` with `ts` and `dur` in microseconds,
metadata `M` that name the rows, and a counter `C` of busy workers. Rows hold no overlapping events, which Perfetto would drop
(google/perfetto#4280). Process ids begin at 1, since Perfetto takes 0 for the kernel's idle process (google/perfetto#394), and
row ids are unique in the whole file: rank r is process r + 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

Event = dict[str, Any]


class Bar(NamedTuple):
    """One bar of the timeline.

    Attributes:
        name: what stands on it.
        kind: the stage that it belongs to.
        rank: MPI rank.
        worker: process id of the worker; 0 is the row of the root's stages.
        began_s: Unix time [s].
        took_s: duration [s].
        arguments: what is shown when it is clicked.
    """

    name: str
    kind: str
    rank: int
    worker: int
    began_s: float
    took_s: float
    arguments: Mapping[str, Any] = {}


def write(path: Path, bars: Iterable[Bar], *, about: Mapping[str, Any]) -> None:
    """Write a trace; it appears whole or not at all.

    Args:
        path: the JSON file.
        bars: in any order.
        about: said of the whole run: title, executor, workers.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"traceEvents": events(bars), "displayTimeUnit": "ms", "otherData": dict(about)}, file)
            file.write("\n")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def events(bars: Iterable[Bar]) -> list[Event]:
    """The trace's events: names of ranks and rows, then bars by time, then how many workers were busy."""
    ordered = sorted(bars, key=lambda bar: (bar.began_s, -bar.took_s))
    if not ordered:
        return []
    start_s = ordered[0].began_s
    rows = {place: row for row, place in enumerate(sorted({(bar.rank, bar.worker) for bar in ordered}), start=1)}
    free_us = dict.fromkeys(rows, 0.0)
    found = _names(rows)
    changes: list[tuple[float, int]] = []
    for bar in ordered:
        place = (bar.rank, bar.worker)
        # clocks are adjusted now and then, and a row must not overlap: what began before its row was free begins there
        begins_us = max((bar.began_s - start_s) * 1e6, free_us[place])
        took_us = max((bar.began_s + bar.took_s - start_s) * 1e6 - begins_us, 0.0)
        begins_us, took_us = round(begins_us, 3), round(took_us, 3)
        free_us[place] = begins_us + took_us
        found.append(
            {
                "name": bar.name, "cat": bar.kind, "ph": "X", "ts": begins_us, "dur": took_us,
                "pid": bar.rank + 1, "tid": rows[place], "args": {"rank": bar.rank, **bar.arguments},
            }
        )  # fmt: skip
        if bar.worker:
            changes += [(begins_us, 1), (begins_us + took_us, -1)]
    return found + _busy(changes)


def _names(rows: Mapping[tuple[int, int], int]) -> list[Event]:
    names: list[Event] = []

    def name(what: str, rank: int, row: int, content: Event) -> None:
        names.append({"name": what, "ph": "M", "pid": rank + 1, "tid": row, "args": content})

    for rank in sorted({rank for rank, _ in rows}):
        first = next(row for place, row in rows.items() if place[0] == rank)
        name("process_name", rank, first, {"name": f"rank {rank}"})
        name("process_sort_index", rank, first, {"sort_index": rank})
    for (rank, worker), row in rows.items():
        name("thread_name", rank, row, {"name": f"worker {worker}" if worker else "stages"})
        name("thread_sort_index", rank, row, {"sort_index": row})
    return names


def _busy(changes: list[tuple[float, int]]) -> list[Event]:
    """Counter events: how many workers compute. At one instant the ends come first, so that hand-overs show no peak."""
    found: list[Event] = []
    busy = 0
    for instant_us, change in sorted(changes):
        busy += change
        if found and found[-1]["ts"] == instant_us:
            found[-1]["args"] = {"busy": busy}
        else:
            found.append({"name": "workers", "ph": "C", "ts": instant_us, "pid": 1, "tid": 1, "args": {"busy": busy}})
    return found
