"""`twin bench ensemble`: members per second and core of our engine and others, at equal or smaller measured error.

The error of a member is the greatest |x - reference| / (max over time of |reference| + 1e-3) of all species and times;
that of an engine at some tolerance is its worst member's. The reference is the tightest tolerance of `REFERENCES` that
RoadRunner finishes for all members. Every engine is run at several tolerances; to each point of a peer belongs the
fastest of ours whose error is not greater.

Legend: `M` members, `T` times, `S` species.
"""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from json import dumps
from pathlib import Path
from typing import Any, Final

import numpy as np

from scenarios.commands.race_members import POINTS, Settings, course
from simulators.reaction.contender import Fault, Lane, Lap

FLOOR: Final = 1e-3
"""What is added to a species' greatest reference value; also absolute tolerance / relative tolerance, unless `Settings.peer_atol` says otherwise."""
REFERENCES: Final = (1e-11, 1e-10, 1e-9, 1e-8)
REFERENCE_ATOL: Final = 1e-8
"""Absolute tolerance of a reference that RoadRunner does not finish at 1e-3 of the relative one (amounts of 1e9 and more)."""
OUR_RTOLS: Final = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 3e-8, 1e-8, 1e-9)
STATED: Final = 1e-6
"""The peer's tolerance at which the ratio is stated: RoadRunner's default."""
CRASHED: Final = 0.1
"""What a crash of ours counts."""


def race(
    path: Path,
    settings: Settings,
    found: dict[str, Any],
    *,
    report: Any = print,
    keep: Callable[[], None] = lambda: None,
) -> None:
    """Measure everything on one model.

    Args:
        found: what is filled in, lap by lap, as JSON.
        keep: called after every lap, to save what is there.
    """
    track = course(path, settings)
    label = track.path.stem.removeprefix("model_")
    found |= {
        "model": label, "file": track.path.name, "condition": track.condition, "end": track.end, "points": POINTS,
        "species": len(track.model.species), "states": len(track.model.network.states),
        "parameters_spread": len(track.nominal), "sigma": settings.sigma, "seed": settings.seed,
    }  # fmt: skip
    most = track.members(settings.most, settings)
    peers = [n for n in settings.peers if n == "roadrunner" or importlib.util.find_spec(n) is not None]
    lanes: dict[str, Lane] = {name: Lane(name, most) for name in ("kakehashi", *peers)}
    try:
        _measure(lanes, settings, found, report, keep)
    finally:
        for lane in lanes.values():
            lane.close()


def _measure(
    lanes: Mapping[str, Lane], settings: Settings, found: dict[str, Any], report: Any, keep: Callable[[], None]
) -> None:
    found["engines"] = {}
    for name, lane in lanes.items():
        problem = lane.prepare(settings.limit_s)
        found["engines"][name] = {"preparation_s": lane.preparation_s, "version": lane.version, "laps": []}
        if problem is not None:
            found["engines"][name] |= {"fault": problem.kind, "reason": problem.words}
            report(f"  {name:10} cannot be made ready: {problem.words}")
    ours, peer = lanes["kakehashi"], lanes["roadrunner"]
    peer_members = settings.peer_members or _affordable(peer, settings)
    members = max(settings.least, peer_members)
    checked = min(peer_members, 64)
    found |= {"members": members, "peer_members": peer_members, "checked_members": checked}
    reference, fine = None, np.zeros(checked, dtype=bool)
    tried = [(rtol, atol) for rtol in REFERENCES for atol in (rtol * FLOOR, REFERENCE_ATOL)]
    for rtol, atol in tried:
        lap = peer.run(1, rtol, atol, settings.limit_s)  # one member tells soon whether there is hope
        if checked > 1 and not isinstance(lap, Fault) and not lap.failed.all():
            lap = peer.run(checked, rtol, atol, settings.limit_s)
        if isinstance(lap, Fault):
            found["reference_fault"] = lap.words
            report(f"  reference  rtol {rtol:.0e}: {lap.words}")
            continue
        if not lap.failed.any() or ((rtol, atol) == tried[-1] and len(lap.failed) == checked):
            reference, fine = lap.values, ~lap.failed
            found |= {
                "reference_rtol": rtol, "reference_atol": atol, "reference_seconds_per_member": lap.seconds / checked
            }  # fmt: skip
            report(f"  reference  rtol {rtol:.0e} atol {atol:.0e}: {lap.seconds / checked:.3g} s per member")
            break
        report(f"  reference  rtol {rtol:.0e} atol {atol:.0e}: RoadRunner does not finish")
        keep()
    found["reference_members"] = int(fine.sum())

    def laps(lane: Lane, rtols: Sequence[float], count: int) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = found["engines"][lane.name]["laps"]
        for rtol in rtols:
            keep()
            best: Lap | None = None
            atol = rtol * FLOOR if lane is ours or settings.peer_atol is None else settings.peer_atol
            for _ in range(settings.repeats):
                lap = lane.run(count, rtol, atol, settings.limit_s)
                if isinstance(lap, Fault):
                    entries.append({"rtol": rtol, "fault": lap.kind, "reason": lap.words})
                    report(f"  {lane.name:10} rtol {rtol:.0e}: {lap.words}")
                    best = None
                    break
                best = lap if best is None or lap.seconds < best.seconds else best
                if lap.seconds > 3 * settings.seconds:
                    break
            if best is None:
                if lane.fault is not None:
                    break
                continue
            entry = {
                "rtol": rtol, "atol": atol, "members": count, "seconds": best.seconds,
                "members_per_second": count / best.seconds, "failed_share": float(best.failed.mean()),
            }  # fmt: skip
            entry |= _error(best.values[:checked], best.failed[:checked], reference, fine)
            entries.append(entry)
            report(f"  {lane.name:10} rtol {rtol:.0e}: {1e3 * best.seconds / count:9.4f} ms per member, "
                   f"error {entry.get('error', math.nan):.1e}, failed {100 * entry['failed_share']:.1f} %")  # fmt: skip
            goal = least.get("error")
            if lane is ours and goal is not None and entry.get("error", math.inf) <= goal:
                break
        return entries

    least: dict[str, float] = {}
    for lane in lanes.values():
        if lane is ours:
            continue
        entries = laps(lane, settings.peer_rtols, peer_members)
        errors = [e["error"] for e in entries if e.get("error") is not None]
        if errors:
            least["error"] = min(least.get("error", math.inf), *errors)
    laps(ours, OUR_RTOLS, members)
    for name in lanes:
        if name != "kakehashi":
            found["engines"][name] |= compare(found["engines"]["kakehashi"], found["engines"][name])
    keep()


def _affordable(peer: Lane, settings: Settings) -> int:
    """How many members a peer runs at the stated tolerance in the seconds that it may take: a power of two."""
    per_member = math.inf
    for count in (1, 4):
        lap = peer.run(count, STATED, settings.peer_atol or STATED * FLOOR, settings.limit_s)
        if isinstance(lap, Fault):
            break
        per_member = lap.seconds / count
        if per_member * 4 > settings.seconds:
            break
    can = settings.seconds / per_member if per_member > 0 else settings.most
    return int(2 ** math.floor(math.log2(min(max(can, 2.0), settings.most))))


def _error(values: Any, failed: Any, reference: Any, fine: Any) -> dict[str, float]:
    """Worst, median and 95 % of the members' errors."""
    if reference is None:
        return {}
    both = fine & ~failed
    if not both.any():
        return {}
    seen = np.isfinite(reference[both]).all(axis=(0, 1))  # what RoadRunner does not report is not compared
    x, ref = values[both][:, :, seen], reference[both][:, :, seen]
    errors = (np.abs(x - ref) / (np.abs(ref).max(axis=1, keepdims=True) + FLOOR)).max(axis=(1, 2))
    return {
        "error": float(errors.max()),
        "error_median": float(np.median(errors)),
        "error_95": float(np.quantile(errors, 0.95)),
    }


def compare(ours: Mapping[str, Any], peer: Mapping[str, Any]) -> dict[str, Any]:
    """For every lap of a peer, our fastest whose error is not greater; `ratio` is that at the stated tolerance."""
    if any(lap.get("fault") == "crash" for lap in ours["laps"]) or ours.get("fault") == "crash":
        return {"ratio": CRASHED, "ratios": [], "failures_allowed": False}
    ratios: list[dict[str, Any]] = []
    for theirs in peer["laps"]:
        if theirs.get("error") is None:
            continue
        able = [lap for lap in ours["laps"] if lap.get("error") is not None and lap["error"] <= theirs["error"]]
        if able:
            mine = max(able, key=lambda lap: lap["members_per_second"])
            ratios.append({
                "rtol": theirs["rtol"], "error": theirs["error"], "our_rtol": mine["rtol"], "our_error": mine["error"],
                "ratio": mine["members_per_second"] / theirs["members_per_second"],
                "failures_allowed": mine["failed_share"] <= 2 * theirs["failed_share"] + 0.005,
                "our_members_per_second": mine["members_per_second"], "members_per_second": theirs["members_per_second"],
            })  # fmt: skip
    if not ratios:
        return {"ratio": None, "ratios": []}
    stated = min(ratios, key=lambda r: abs(math.log(r["rtol"] / STATED)))
    return {
        "ratio": stated["ratio"],
        "failures_allowed": stated["failures_allowed"],
        "stated": stated,
        "ratios": ratios,
    }


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu = ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        pass
    names = ("kakehashi", "numpy", "numba", "llvmlite", "libroadrunner", "python-libsbml")
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "platform": platform.platform(), "cpu": cpu or platform.processor(), "cores": cores, "versions": versions,
        "load_average": os.getloadavg(),
    }  # fmt: skip


def run(paths: Sequence[Path], settings: Settings, *, report: Any = print, json: Path | None = None) -> dict[str, Any]:
    """All models, one after the other, and geometric means.

    Args:
        json: where everything is written, after every lap: a race that is cut short keeps what it has.
    """
    begun = time.time()
    found: dict[str, Any] = {"schema": 1, "machine": machine(), "models": []}

    def keep() -> None:
        if json is not None:
            write(json, found)

    for path in paths:
        report(str(path))
        found["models"].append({})
        race(path, settings, found["models"][-1], report=report, keep=keep)
    found["geometric_mean"] = {}
    for name in ("roadrunner", "bngsim"):
        ratios = [m["engines"][name].get("ratio") for m in found["models"] if name in m["engines"]]
        known = [r for r in ratios if r]
        if known:
            found["geometric_mean"][name] = {
                "ratio": math.exp(sum(math.log(r) for r in known) / len(known)), "models": len(known), "of": len(ratios),
                "least": min(known),
            }  # fmt: skip
    found["load_average_after"] = os.getloadavg()
    found["seconds"] = time.time() - begun
    keep()
    return found


def table(found: Mapping[str, Any]) -> list[str]:
    """The result in words: one line per model and peer."""
    lines = [
        f"{'model':26}{'states':>7}{'members':>8}{'peer':>12}{'peer ms':>10}{'ours ms':>10}{'peer error':>12}"
        f"{'our error':>11}{'ratio':>8}{'range':>14}{'failed peer/ours':>18}"
    ]
    for m in found["models"]:
        mine = {lap["rtol"]: lap for lap in m["engines"]["kakehashi"]["laps"] if "error" in lap}
        for name, engine in m["engines"].items():
            if name == "kakehashi":
                continue
            head = f"{m['model'][:25]:26}{m['states']:7}{m['members']:8}{name:>12}"
            stated = engine.get("stated")
            if stated is None:
                lines.append(f"{head}  {engine.get('reason') or 'no lap to compare'}")
                continue
            theirs = next(lap for lap in engine["laps"] if lap["rtol"] == stated["rtol"])
            all_ = [r["ratio"] for r in engine["ratios"]]
            lines.append(
                f"{head}{1e3 / stated['members_per_second']:10.3f}{1e3 / stated['our_members_per_second']:10.4f}"
                f"{stated['error']:12.1e}{stated['our_error']:11.1e}{stated['ratio']:8.1f}"
                f"{f'{min(all_):.1f} – {max(all_):.1f}':>14}"
                f"{100 * theirs['failed_share']:9.1f} /{100 * mine[stated['our_rtol']]['failed_share']:5.1f} %"
            )
    for name, mean in found["geometric_mean"].items():
        lines.append(
            f"geometric mean over {mean['models']} of {mean['of']} models: {mean['ratio']:.1f} × {name}, "
            f"least {mean['least']:.1f} ×"
        )
    return lines


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Everything measured, as JSON; its form is docs/schemas/bench_ensemble.schema.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(dumps(_plain(found), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _plain(found: Any) -> Any:
    """JSON knows no NaN and no infinity: what is not known is null."""
    if isinstance(found, Mapping):
        return {key: _plain(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


def steps(paths: Sequence[Path], members: int, rtol: float) -> list[str]:
    """What a step of 16 members costs in each model, a line each."""
    from simulators.reaction.step_cost import step_cost

    lines: list[str] = []
    for path in paths:
        settings = Settings()
        track = course(path, settings)
        _, x, p = track.start(members, settings)
        times = np.linspace(0.0, track.end, POINTS)
        cost = step_cost(track.model, x, p, times, rtol=rtol, atol=rtol * FLOOR)
        if not lines:
            lines.append(f"one operation of 16 lanes: {cost.operation_ns:.2f} ns")
            parts = "".join(f"{name:>9}" for name in cost.operations)
            lines.append(f"{'operations per step':26}{parts}{'limit us':>10}{'tape us':>9}{'step us':>9}{'steps':>7}")
        counts = "".join(f"{count:9}" for count in cost.operations.values())
        label = track.path.stem.removeprefix("model_")[:25]
        lines.append(f"{label:26}{counts}{cost.limit_us:10.1f}{cost.tape_us:9.1f}{cost.step_us:9.1f}{cost.steps:7.0f}")
    return lines
