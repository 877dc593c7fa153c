"""How the executor scales: measured on this machine, by a model that is checked against what was measured, and simulated beyond.

Everything of the model is labelled `simulated`. See `docs/scaling.md`.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hpc import granted_cores
from hpc.crew import teams
from hpc.errors import LaunchError
from scenarios.commands import scaling_costs
from scenarios.commands.scaling_model import Costs, Outcome, shortest_task_s, simulate

_LIMIT_S = 900.0
_SLEEPS_S = (0.05, 0.2, 1.0)
"""Lengths of the tasks whose makespans are compared."""
_WAVES = 4  # tasks for each worker

Found = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What is measured and simulated.

    Args:
        ranks: of the measured runs.
        grouped: ranks of the runs that are measured with groups of 8 as well.
        workers: of the simulated runs.
        task_s: length of their tasks [s].
        per_worker: tasks of each worker there.
        share: efficiency at which tasks are called too short.
        slower: how many times slower cores than these are simulated as well.
        repeats: of what costs are measured by; the least counts, since others compute here as well.
    """

    ranks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    grouped: tuple[int, ...] = (32,)
    workers: tuple[int, ...] = (48, 768, 12_288, 82_944)
    task_s: float = 10.0
    per_worker: int = 10
    share: float = 0.9
    slower: tuple[float, ...] = (1.0, 4.0)
    repeats: int = 3


def run(wanted: Wanted, *, say: Any = print, keep: Any = None) -> Found:
    """Measure, check the model, simulate.

    Args:
        wanted: what is measured and simulated.
        say: told what is done, line by line.
        keep: given all that was found, each time that there is more of it.

    Raises:
        LaunchError: no mpiexec is there.
    """
    launcher, environment = _mpiexec()
    say("costs: messages between two ranks, and the root's own work")
    costs, how = measured_costs(launcher, environment, wanted.repeats)
    found: Found = {
        "machine": {
            "processor": _processor(),
            "cores": granted_cores(),
            "load": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
        },
        "costs": {**asdict(costs), **how},
        "measured": [],
        "largest_error": None,
        "simulated": [],
    }
    for ranks in wanted.ranks:
        for group in (None, 8) if ranks in wanted.grouped else (None,):
            rows = compare(costs, launcher, environment, ranks, group)
            found["measured"] += rows
            found["largest_error"] = max(row["error"] for row in found["measured"])
            say("\n".join(map(_measured_line, rows)))
            if keep is not None:
                keep(found)
    for factor in wanted.slower:
        for row in _beyond(costs, wanted, factor):
            found["simulated"].append(row)
            say(f"simulated: {_simulated_line(row)}")
            if keep is not None:
                keep(found)
    return found


def measured_costs(launcher: Sequence[str], environment: Mapping[str, str], repeats: int) -> tuple[Costs, Found]:
    """The model's figures, from this machine, and how they came about."""
    message = _least(
        [scaling_costs.messages([*launcher, "-n", "2", sys.executable], environment) for _ in range(repeats)]
    )
    root_s = min(scaling_costs.root_cpu_s(1024, group=1) for _ in range(repeats))
    both = message["send_s"] + message["receive_s"]
    maps = _ranks(launcher, environment, 4, [(0.0, 1000), (0.0, 1000), (1.0, 8)])["maps"]
    quick, slow = maps[:2], maps[2]
    look_s, idle = 0.0005, slow["task_s"]
    # while all compute, the root looks and finds nothing
    looks = slow["makespan_s"] / (look_s + 1e-5)
    found = Costs(
        root_s=root_s + both,
        loop_s=slow["root_cpu_s"] / looks,
        head_s=root_s + 2 * both,
        member_s=min(row["member_cpu_per_task_s"] for row in quick),
        worker_s=min(row["worker_cpu_per_task_s"] for row in quick),
        look_s=look_s,
        latency_s=message["latency_s"],
        poll_share=max(0.0, slow["member_cpu_per_task_s"] - min(row["member_cpu_per_task_s"] for row in quick)) / idle,
    )
    return found, {"send_s": message["send_s"], "receive_s": message["receive_s"], "root_without_mpi_s": root_s}


def compare(
    costs: Costs, launcher: Sequence[str], environment: Mapping[str, str], ranks: int, group: int | None
) -> list[Found]:
    """Maps on so many ranks of this machine, each beside what the model says of it."""
    maps = [(task_s, _WAVES * ranks) for task_s in _SLEEPS_S]
    told = dict(environment) | ({"TWIN_MPI_GROUP": str(group)} if group else {})
    found = _ranks(launcher, told, ranks, [one for one in maps for _ in range(2)])["maps"]
    rows: list[Found] = []
    for number, (task_s, tasks) in enumerate(maps):
        best = min(found[2 * number : 2 * number + 2], key=lambda row: row["makespan_s"])
        model = simulate(costs, workers=ranks, tasks=tasks, task_s=task_s, group=group, cores=granted_cores())
        rows.append(
            {
                "ranks": ranks,
                "group": group,
                "task_s": task_s,
                "tasks": tasks,
                "makespan_s": best["makespan_s"],
                "efficiency": tasks * task_s / (ranks * best["makespan_s"]),
                "simulated_makespan_s": model.makespan_s,
                "error": abs(model.makespan_s / best["makespan_s"] - 1.0),
            }
        )
    return rows


def _beyond(costs: Costs, wanted: Wanted, factor: float) -> Iterator[Found]:
    """Simulated runs on cores that are so many times slower than these, and the task length below which they are too short."""
    slow = replace(
        costs,
        **{name: getattr(costs, name) * factor for name in ("root_s", "loop_s", "head_s", "member_s", "worker_s")},
    )
    for workers in wanted.workers:
        for layout, group in _layouts(workers):
            found: Outcome = simulate(
                slow, workers=workers, tasks=wanted.per_worker * workers, task_s=wanted.task_s, group=group
            )
            row: Found = {
                "simulated": True, "workers": workers, "layout": layout, "slower": factor, "task_s": wanted.task_s,
                "tasks_per_worker": wanted.per_worker, **asdict(found), "shortest_task_s": None,
            }  # fmt: skip
            if workers == max(wanted.workers):
                row["shortest_task_s"] = shortest_task_s(
                    slow, workers=workers, share=wanted.share, group=group, per_worker=min(5, wanted.per_worker)
                )
            yield {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in row.items()}


def _layouts(workers: int) -> list[tuple[str, int | None]]:
    """Flat, and in groups where the executor makes some."""
    grouped = teams(range(1, workers))
    return [("flat", 1), *([("groups", None)] if any(grouped.values()) else [])]


def table(found: Found) -> list[str]:
    """What was found, for the terminal."""
    lines = [f"{'ranks':>6} {'groups':>7} {'task':>7} {'makespan':>10} {'efficiency':>10} {'model':>10} {'error':>6}"]
    lines += [_measured_line(row) for row in found["measured"]]
    lines += ["", "simulated, not measured:"]
    lines.append(
        f"{'workers':>8} {'layout':>7} {'slower':>7} {'task':>7} {'efficiency':>10} {'steady':>8} {'root busy':>9} {'90% from':>10}"
    )
    return lines + [_simulated_line(row) for row in found["simulated"]]


def _measured_line(row: Found) -> str:
    return (
        f"{row['ranks']:6} {row['group'] or '-':>7} {row['task_s']:5g} s {row['makespan_s']:8.2f} s {row['efficiency']:10.1%} "
        f"{row['simulated_makespan_s']:8.2f} s {row['error']:6.1%}"
    )


def _simulated_line(row: Found) -> str:
    steady = "-" if row["steady"] is None else f"{row['steady']:.1%}"
    shortest = "" if row["shortest_task_s"] is None else f"{row['shortest_task_s']:8.2f} s"
    return (
        f"{row['workers']:8,} {row['layout']:>7} {row['slower']:6g}x {row['task_s']:5g} s {row['efficiency']:10.1%} {steady:>8} "
        f"{row['root_busy']:9.1%} {shortest:>10}"
    )


def plot(found: Found, path: Path) -> None:
    """Measured against simulated makespans, and simulated efficiency by workers; the format follows the file's ending."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for task_s in sorted({row["task_s"] for row in found["measured"]}):
        rows = [row for row in found["measured"] if row["task_s"] == task_s]
        left.loglog(
            [r["makespan_s"] for r in rows],
            [r["simulated_makespan_s"] for r in rows],
            "o",
            label=f"tasks of {task_s:g} s",
        )
    low, high = left.get_xlim()
    left.plot([low, high], [low, high], color="black", linewidth=1)
    left.fill_between(
        [low, high], [low / 1.15, high / 1.15], [low * 1.15, high * 1.15], color="black", alpha=0.1, label="± 15 %"
    )
    left.set(xlabel="measured makespan [s]", ylabel="simulated makespan [s]", title="The model beside real runs")
    left.legend()
    for layout, factor in sorted({(row["layout"], row["slower"]) for row in found["simulated"]}):
        rows = [row for row in found["simulated"] if (row["layout"], row["slower"]) == (layout, factor)]
        slower = "" if factor == 1 else f", cores {factor:g}x slower"
        right.semilogx(
            [r["workers"] for r in rows],
            [r["efficiency"] for r in rows],
            "o-" if layout == "flat" else "s--",
            label=layout + slower,
        )
    right.axhline(0.9, color="black", linewidth=0.8, linestyle=":")
    length = found["simulated"][0]["task_s"] if found["simulated"] else float("nan")
    right.set(xlabel="workers", ylabel="efficiency", title=f"Simulated, tasks of {length:g} s", ylim=(0, 1.05))
    right.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def write(path: Path, found: Found) -> None:
    """All that was found, as JSON."""
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _ranks(
    launcher: Sequence[str], environment: Mapping[str, str], ranks: int, maps: Sequence[tuple[float, int]]
) -> Found:
    """Maps on so many ranks, as `scaling_ranks` measures them."""
    done = subprocess.run(
        [*launcher, "-n", str(ranks), sys.executable, "-m", "scenarios.commands.scaling_ranks", json.dumps(maps)],
        env=dict(environment), stdout=subprocess.PIPE, text=True, timeout=_LIMIT_S, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def _least(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: min(row[name] for row in rows) for name in rows[0]}


def _mpiexec() -> tuple[list[str], dict[str, str]]:
    found = shutil.which(
        "mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    )
    if found is None:
        raise LaunchError("no mpiexec here: install the extra `mpi`, or load an MPI of the system.")
    environment = {**os.environ, "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    if os.geteuid() == 0:  # a container: Open MPI wants to be told twice
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return [found], environment


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
