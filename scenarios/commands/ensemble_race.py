"""`twin bench ensemble`: members per second and core of our engine and others, at equal or smaller measured error.

The error of a member is the greatest |x - reference| / (max over time of |reference| + 1e-3) of all species and times;
that of an engine at some tolerance is its worst member's. The reference is the tightest tolerance of `REFERENCES` that
RoadRunner finishes for all members. Every engine is run at several tolerances; to each point of a peer belongs the
fastest of ours whose error is not greater.

Legend: `M` members, `T` times, `S` species.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

from simulators.reaction.contender import Ensemble, Fault, Lane, Lap
from simulators.reaction.model import ReactionModel
from simulators.reaction.petab import PetabProblem
from twin.errors import InputError
from twin.seeds import stream

FLOOR: Final = 1e-3
"""What is added to a species' greatest reference value; also absolute tolerance / relative tolerance of all engines."""
REFERENCES: Final = (1e-11, 1e-10, 1e-9, 1e-8)
REFERENCE_ATOL: Final = 1e-8
"""Absolute tolerance of a reference that RoadRunner does not finish at 1e-3 of the relative one (amounts of 1e9 and more)."""
PEER_RTOLS: Final = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
OUR_RTOLS: Final = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 3e-8, 1e-8, 1e-9)
STATED: Final = 1e-6
"""The peer's tolerance at which the ratio is stated: RoadRunner's default."""
POINTS: Final = 51
CRASHED: Final = 0.1
"""What a crash of ours counts."""


@dataclass(frozen=True)
class Settings:
    """How the race is run.

    Attributes:
        sigma: standard deviation of the logarithm of each parameter around its nominal value.
        seconds: what RoadRunner may take for its members at one tolerance; this chooses how many there are.
        limit_s: when a lap is given up.
        repeats: laps of ours and of each peer's fast ones; the fastest counts.
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
        model = ReactionModel.read(problem.model)
        known = {*model.parameters, *model.species}
        for name in {n for cells in problem.conditions.values() for n in cells} - known:
            raise InputError(f"{path}: a condition sets {name!r}, which the model does not have or computes by a rule.")
        values = {n: v for n, v in problem.nominal.items() if v > 0.0 and n in problem.estimated}
        read = {v for cells in problem.conditions.values() for v in cells.values() if isinstance(v, str)}
        end = settings.until or max(problem.ends.values())
        chosen = _liveliest(model, problem, known, end)
        end = settings.until or problem.ends.get(chosen, end)
        overrides: dict[str, float | str] = {n: v for n, v in problem.nominal.items() if n in known and n not in values}
        for name, cell in problem.conditions[chosen].items():
            overrides[name] = problem.nominal[cell] if isinstance(cell, str) and cell not in values else cell
        nominal = {n: v for n, v in values.items() if n in known or n in read}
        return Course(model, problem.model, chosen, end, nominal, overrides)
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
        groups.setdefault(tuple(problem.conditions[name]), []).append(name)
    for columns, some in groups.items():
        tables = {n: np.full(len(some), v) for n, v in base.items()}
        for column in columns:
            cells = [problem.conditions[name][column] for name in some]
            tables[column] = np.array([problem.nominal[c] if isinstance(c, str) else c for c in cells])
        data = model.simulate(np.linspace(0.0, end, 21), parameters=tables, select=model.species, rtol=1e-5, threads=1)
        values = np.stack([data[f"{n}_" if n in data.dims else n].values for n in model.species], axis=2)
        span = values.max(axis=1) - values.min(axis=1)
        counts = (span > 0.01 * np.abs(values).max(axis=1) + 1e-300).sum(axis=1)
        for name, count in zip(some, counts, strict=True):
            if count > moved or (count == moved and names.index(name) < names.index(best)):
                best, moved = name, int(count)
    return best


def race(path: Path, settings: Settings, *, report: Any = print) -> dict[str, Any]:
    """Everything measured on one model, as JSON."""
    track = course(path, settings)
    label = track.path.stem.removeprefix("model_")
    about = {
        "model": label, "file": track.path.name, "condition": track.condition, "end": track.end, "points": POINTS,
        "species": len(track.model.species), "states": len(track.model.network.states),
        "parameters_spread": len(track.nominal), "sigma": settings.sigma, "seed": settings.seed,
    }  # fmt: skip
    most = track.members(settings.most, settings)
    peers = [n for n in settings.peers if n == "roadrunner" or importlib.util.find_spec(n) is not None]
    lanes: dict[str, Lane] = {name: Lane(name, most) for name in ("kakehashi", *peers)}
    try:
        return about | _measured(lanes, settings, report)
    finally:
        for lane in lanes.values():
            lane.close()


def _measured(lanes: Mapping[str, Lane], settings: Settings, report: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"engines": {}}
    for name, lane in lanes.items():
        problem = lane.prepare(settings.limit_s)
        found["engines"][name] = {"preparation_s": lane.preparation_s, "version": lane.version, "laps": []}
        if problem is not None:
            found["engines"][name] |= {"fault": problem.kind, "reason": problem.words}
            report(f"  {name:10} cannot be made ready: {problem.words}")
    ours, peer = lanes["kakehashi"], lanes["roadrunner"]
    # how fast is RoadRunner? one member, then some
    per_member = math.inf
    for count in (1, 4):
        lap = peer.run(count, STATED, STATED * FLOOR, settings.limit_s)
        if isinstance(lap, Fault):
            break
        per_member = lap.seconds / count
        if per_member * 4 > settings.seconds:
            break
    can = settings.seconds / per_member if per_member > 0 else settings.most
    peer_members = int(2 ** math.floor(math.log2(min(max(can, 2.0), settings.most))))
    members = max(settings.least, peer_members)
    checked = min(peer_members, 64)
    found |= {"members": members, "peer_members": peer_members, "checked_members": checked}
    reference, fine = None, np.zeros(checked, dtype=bool)
    tried = [(rtol, atol) for rtol in REFERENCES for atol in (rtol * FLOOR, REFERENCE_ATOL)]
    for rtol, atol in tried:
        alone = peer.run(1, rtol, atol, settings.limit_s)  # one member tells soon whether there is hope
        lap = (
            alone if isinstance(alone, Fault) or alone.failed.all() else peer.run(checked, rtol, atol, settings.limit_s)
        )
        if isinstance(lap, Fault):
            found["reference_fault"] = lap.words
            report(f"  reference  rtol {rtol:.0e}: {lap.words}")
            continue
        if not lap.failed.any() or ((rtol, atol) == tried[-1] and len(lap.failed) == checked):
            reference, fine = lap.values, ~lap.failed
            found |= {
                "reference_rtol": rtol, "reference_atol": atol, "reference_seconds_per_member": lap.seconds / checked
            }  # fmt: skip
            break
        report(f"  reference  rtol {rtol:.0e} atol {atol:.0e}: RoadRunner does not finish")
    found["reference_members"] = int(fine.sum())

    def laps(lane: Lane, rtols: Sequence[float], count: int) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        for rtol in rtols:
            best: Lap | None = None
            for _ in range(settings.repeats):
                lap = lane.run(count, rtol, rtol * FLOOR, settings.limit_s)
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
                "rtol": rtol, "atol": rtol * FLOOR, "members": count, "seconds": best.seconds,
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
    for name, lane in lanes.items():
        if lane is ours:
            continue
        entries = found["engines"][name]["laps"] = laps(lane, PEER_RTOLS, peer_members)
        errors = [e["error"] for e in entries if e.get("error") is not None]
        if errors:
            least["error"] = min(least.get("error", math.inf), *errors)
    found["engines"]["kakehashi"]["laps"] = laps(ours, OUR_RTOLS, members)
    for name in lanes:
        if name != "kakehashi":
            found["engines"][name] |= compare(found["engines"]["kakehashi"], found["engines"][name])
    return found


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


def run(paths: Sequence[Path], settings: Settings, *, report: Any = print) -> dict[str, Any]:
    """All models, one after the other, and geometric means."""
    begun = time.time()
    found: dict[str, Any] = {"schema": 1, "machine": machine(), "models": []}
    for path in paths:
        report(str(path))
        found["models"].append(race(path, settings, report=report))
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
    """Everything measured, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


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
