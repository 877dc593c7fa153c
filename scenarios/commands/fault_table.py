"""The long form of what a run outlives, as a table and as JSON."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpc.errors import LaunchError
from scenarios.commands import checkpoint_faults
from scenarios.commands.faults import RANKS, Kill, kills, set_aside


def run(*, kills: int, writes: int, members: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All trials, each told as it ends.

    Args:
        kills: runs of which a rank is killed; a fifth as many with simulators placed on ranks, and without fault tolerance, which are
            resumed.
        writes: kills while a checkpoint is written.
        members: cells per line.
        seed: of the moments.
        say: told a line per trial.
    """
    found: dict[str, Any] = {"seed": seed, "members": members, "ranks": RANKS, "cores": os.cpu_count()}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="twin-faults-") as name:
        folder = Path(name)
        for kind, what, count in (
            ("tolerant", "a rank is killed, the run goes on", kills),
            ("placed", "a rank is killed, simulators are placed on ranks, the run goes on", -(-kills // 5)),
            ("plain", "a rank is killed, the job dies, --resume on 2 or 7 ranks", -(-kills // 5)),
        ):
            (folder / kind).mkdir()
            try:
                tried = _killed(folder / kind, what, count, seed, members, kind=kind, say=say)
            except LaunchError as error:
                say(f"left out: {what}: {error}")
                found[kind] = {"left_out": str(error)}
                continue
            found[kind] = _summary(tried)
            say(_sentence(what, found[kind]))
        trials: dict[str, Callable[[], dict[str, Any]]] = {
            "writes": lambda: checkpoint_faults.killed_writes(folder, kills=writes, seed=seed),
            "full_disk": lambda: checkpoint_faults.full_disk(folder),
            "damaged": lambda: checkpoint_faults.damaged(folder),
            "set_aside_processes": lambda: set_aside(_made(folder / "processes")),
            "set_aside_ranks": lambda: set_aside(_made(folder / "ranks"), ranks=RANKS),
        }
        for trial, attempt in trials.items():
            try:
                found[trial] = {"passed": True, **attempt()}
            except (AssertionError, LaunchError) as error:
                found[trial] = {"passed": False, "said": str(error)}
            say(f"{trial}: " + ", ".join(f"{key} {value}" for key, value in found[trial].items()))
    found["seconds"] = time.monotonic() - begun
    found["passed"] = all(part.get("passed", True) for part in found.values() if isinstance(part, dict))
    return found


def write(path: Path, found: dict[str, Any]) -> None:
    """All that was measured, as JSON."""
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _killed(
    folder: Path, what: str, count: int, seed: int, members: int, *, kind: str, say: Callable[[str], None]
) -> list[Kill]:
    tried: list[Kill] = []
    tolerant, place = kind != "plain", ("cell=1-2",) if kind == "placed" else ()
    for kill in kills(folder, count=count, seed=seed, members=members, tolerant=tolerant, place=place):
        tried.append(kill)
        recovery = "" if kill.recovery_s is None or not tolerant else f", recovered after {kill.recovery_s:.2f} s"
        say(
            f"{what}: rank {kill.rank} after {kill.at_s:.2f} s: {'same bits' if kill.passed else 'FAILED'}, "
            f"{kill.records} records, {kill.twice} twice{recovery}"
        )
        if not kill.passed:
            say(kill.said)
    return tried


def _summary(tried: Sequence[Kill]) -> dict[str, Any]:
    recovery = [kill.recovery_s for kill in tried if kill.recovery_s is not None and not kill.resumed_on]
    root = [kill.recovery_s for kill in tried if kill.recovery_s is not None and not kill.resumed_on and kill.rank == 0]
    record = [kill.next_record_s for kill in tried if kill.next_record_s is not None and not kill.resumed_on]
    return {
        "runs": len(tried),
        "passed": all(kill.passed for kill in tried),
        "same_bits": sum(kill.same_bits for kill in tried),
        "records_twice": sum(kill.twice for kill in tried),
        "recovery_s": _spread(recovery),
        "recovery_of_the_root_s": _spread(root),
        "next_record_s": _spread(record),
        "trials": [{key: value for key, value in asdict(kill).items() if key != "said"} for kill in tried],
    }


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    return {"min": min(seconds), "median": statistics.median(seconds), "max": max(seconds), "count": len(seconds)}


def _sentence(what: str, summary: dict[str, Any]) -> str:
    told = f"{what}: {summary['same_bits']} of {summary['runs']} runs end in the same bits, {summary['records_twice']} records twice"
    for name, words in (("recovery_s", "recovered"), ("recovery_of_the_root_s", "from the loss of rank 0")):
        if (spread := summary[name]) is not None:
            told += f"; {words} after {spread['min']:.2f}, {spread['median']:.2f}, {spread['max']:.2f} s (least, median, most)"
    return told


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
