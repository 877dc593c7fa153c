"""What a result says of the run that made it, and what differs from run to run of the same work: its clock, its workers."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from hpc import Executor
from hpc.granted import Asked, attributes, shortfalls
from hpc.placed import PlacedExecutor


def run_attributes(executor: Executor, begun_s: float, asked: Asked | None = None) -> dict[str, str | int | float]:
    """When, where and how long, as attributes `run_…`.

    Args:
        executor: where the work ran.
        begun_s: when, by `time.monotonic`.
        asked: of the scheduler: then what was granted is told too, and where that is less.
    """
    return {
        "run_date": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_executor": executor.kind,
        "run_workers": executor.workers,
        **(_placed(executor) if isinstance(executor, PlacedExecutor) else {}),
        **(_granted(executor, asked) if asked is not None else {}),
        "run_seconds": round(time.monotonic() - begun_s, 2),
    }


def _placed(executor: PlacedExecutor) -> dict[str, str]:
    """Who was to run where, and who has died and what was placed where instead."""
    said = {"run_placement": str(executor.placement)}
    return said | ({"run_lost": "; ".join(executor.losses)} if executor.losses else {})


def granted_less(executor: Executor, asked: Asked) -> list[str]:
    """What is less than was asked for or than the workers need, in words."""
    workers_per_rank = executor.workers // max(1, len(executor.granted))
    return shortfalls(asked, executor.granted, workers_per_rank=workers_per_rank)


def _granted(executor: Executor, asked: Asked) -> dict[str, str]:
    if not executor.granted:
        return {}
    less = granted_less(executor, asked)
    said = {f"run_{name}": json.dumps(found) for name, found in attributes(asked, executor.granted).items()}
    return said | ({"run_granted_less": "; ".join(less)} if less else {})
