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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hpc import TaskFailure, granted_cores, open_executor
from hpc.crew import teams
from hpc.errors import LaunchError
from scenarios.commands import scaling_costs
from scenarios.commands.scaling_crowd import simulate_crowd
from scenarios.commands.scaling_model import Costs, shortest_task_s, simulate

_LIMIT_S = 900.0
_SLEEPS_S = (0.05, 0.2, 1.0)
"""Lengths of the tasks whose makespans are compared."""
_WAVES = 4  # tasks for each worker
_REPEATS = 3
_ROOT_RANKS = 1024
_LAYOUTS: dict[str, int | None] = {"flat": 1, "groups": None}

Found = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What is measured and simulated.

    Args:
        ranks: of the measured runs.
        grouped: ranks of the runs that are measured with groups of 8 as well.
        workers: of the simulated runs.
        task_s: length of their tasks [s].
        per_worker: tasks for each worker there, in runs of their own.
        share: efficiency at which tasks are called too short.
        slower: how many times slower cores than these are simulated as well.
        repeats: of what costs are measured by; the least counts, since others compute here as well.
    """

    ranks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    grouped: tuple[int, ...] = (32,)
    workers: tuple[int, ...] = (48, 768, 12_288, 82_944)
    task_s: float = 10.0
    per_worker: tuple[int, ...] = (10, 3)
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
            rows = compare(costs, launcher, environment, ranks, group, how["oversleep_s"])
            found["measured"] += rows
            found["largest_error"] = max(row["error"] for row in found["measured"])
            say("\n".join(map(_measured_line, rows)))
            if keep is not None:
                keep(found)

    def told(row: Found) -> None:
        found["simulated"].append(row)
        say(f"simulated: {_simulated_line(row)}")
        if keep is not None:
            keep(found)

    found["simulated"] = _beyond(costs, wanted, told)
    if keep is not None:
        keep(found)
    return found


def measured_costs(launcher: Sequence[str], environment: Mapping[str, str], repeats: int) -> tuple[Costs, Found]:
    """The models' figures, from this machine, and how they came about."""
    message = _least(
        [scaling_costs.messages([*launcher, "-n", "2", sys.executable], environment) for _ in range(repeats)]
    )
    root = _least([scaling_costs.root_cpu_s(_ROOT_RANKS)._asdict() for _ in range(repeats)])
    nap_s, tasks, cpu_ranks = 0.02, 200, 4
    # tasks that rest: caches are cold for each, as in the runs that are compared; and maps of one task for each worker
    told = [_ranks(launcher, environment, cpu_ranks, [(nap_s, tasks, 1, True), (nap_s, cpu_ranks, 40, True)])["maps"]
            for _ in range(repeats)]  # fmt: skip
    many, ones = _least([maps[0] for maps in told]), _least([maps[1] for maps in told])
    found = Costs(
        **root,
        send_s=message["send_s"],
        receive_s=message["receive_s"],
        look_s=message["look_s"],
        member_s=0.0,
        worker_s=many["worker_cpu_per_task_s"],
        load_s=max(0.0, ones["worker_cpu_per_task_s"] - many["worker_cpu_per_task_s"]),
        latency_s=message["latency_s"],
    )
    # what a rank's CPU time exceeds the looks and messages that the model counts in the same run is the task's passing through
    same = simulate_crowd(found, ranks=cpu_ranks, tasks=tasks, task_s=nap_s, cores=granted_cores())
    counted_s = sum(same.rank_cpu_s[1:]) / (tasks * (cpu_ranks - 1) / cpu_ranks)
    measured_s = many["member_cpu_per_task_s"]
    found = replace(found, member_s=max(0.0, measured_s - counted_s))
    return found, {"rank_per_task_s": measured_s, "oversleep_s": many["oversleep_s"]}


def compare(
    costs: Costs, launcher: Sequence[str], environment: Mapping[str, str], ranks: int, group: int | None,
    oversleep_s: float,
) -> list[Found]:  # fmt: skip
    """Maps on so many ranks of this machine, each beside what the model says of it."""
    tasks = _WAVES * ranks
    told = dict(environment) | ({"TWIN_MPI_GROUP": str(group)} if group else {})
    maps = _ranks(launcher, told, ranks, [(task_s, tasks, _REPEATS, False) for task_s in _SLEEPS_S])["maps"]
    rows: list[Found] = []
    for row in maps:
        task_s, makespan_s = row["task_s"], row["makespan_s"]
        # the pauses that ranks are in when a map begins are not known: the quickest of as many draws
        model_s = min(
            simulate_crowd(
                costs,
                ranks=ranks,
                tasks=tasks,
                task_s=task_s + oversleep_s,
                cores=granted_cores(),
                group=group,
                seed=seed,
            ).makespan_s
            for seed in range(_REPEATS)
        )
        rows.append(
            {
                "ranks": ranks,
                "group": group,
                "task_s": task_s,
                "tasks": tasks,
                "makespan_s": makespan_s,
                "efficiency": tasks * task_s / (ranks * makespan_s),
                "simulated_makespan_s": model_s,
                "error": abs(model_s / makespan_s - 1.0),
            }
        )
    return rows


@dataclass(frozen=True)
class _Case:
    """One simulated run, or the search for the shortest tasks that workers may have."""

    costs: Costs
    workers: int
    layout: str
    slower: float
    per_worker: int
    task_s: float
    share: float | None

    def __call__(self) -> Found:
        group = _LAYOUTS[self.layout]
        row: Found = {
            "simulated": True, "workers": self.workers, "layout": self.layout, "slower": self.slower,
            "task_s": self.task_s, "tasks_per_worker": self.per_worker,
        }  # fmt: skip
        if self.share is not None:
            shortest_s = shortest_task_s(
                self.costs, workers=self.workers, share=self.share, group=group, per_worker=self.per_worker
            )
            return row | {"task_s": None, "share": self.share, "shortest_task_s": shortest_s}
        tasks = self.per_worker * self.workers
        found = simulate(self.costs, workers=self.workers, tasks=tasks, task_s=self.task_s, group=group)
        return row | {name: None if math.isnan(v) else v for name, v in asdict(found).items()}


def carried_out(case: _Case) -> Found:
    """What a case finds; a worker's function."""
    return case()


def _beyond(costs: Costs, wanted: Wanted, told: Callable[[Found], None]) -> list[Found]:
    """Simulated runs on cores as these and slower, and the task length below which they are too short, on all cores of this machine."""
    cases: list[_Case] = []
    for factor in wanted.slower:
        slow = replace(costs, **{name: v * factor for name, v in asdict(costs).items() if name != "latency_s"})
        for workers in wanted.workers:
            for layout in _LAYOUTS:
                if layout == "groups" and not any(teams(range(1, workers)).values()):
                    continue
                cases += [_Case(slow, workers, layout, factor, many, wanted.task_s, None) for many in wanted.per_worker]
        most = max(wanted.workers)
        layout = "groups" if any(teams(range(1, most)).values()) else "flat"
        cases += [_Case(slow, most, layout, factor, many, wanted.task_s, wanted.share) for many in wanted.per_worker]
    longest_first = sorted(cases, key=lambda case: -case.workers * case.per_worker * (1 if case.share is None else 9))

    def heard(_: int, row: Found | TaskFailure) -> None:
        if isinstance(row, TaskFailure):
            raise RuntimeError(f"a simulation failed: {row}\n{row.traceback}")
        told(row)

    with open_executor() as executor:
        rows = executor.map(carried_out, longest_first, on_result=heard)
    order = {id(case): position for position, case in enumerate(cases)}
    pairs = sorted(zip(longest_first, rows, strict=True), key=lambda pair: order[id(pair[0])])
    return [row for _, row in pairs if not isinstance(row, TaskFailure)]


def table(found: Found) -> list[str]:
    """What was found, for the terminal."""
    lines = [f"{'ranks':>6} {'groups':>7} {'task':>7} {'makespan':>10} {'efficiency':>10} {'model':>10} {'error':>6}"]
    lines += [_measured_line(row) for row in found["measured"]]
    lines += ["", "simulated, not measured:"]
    lines.append(
        f"{'workers':>8} {'layout':>7} {'slower':>7} {'tasks':>6} {'length':>7} {'efficiency':>10} {'steady':>8} {'root busy':>9}"
    )
    return lines + [_simulated_line(row) for row in found["simulated"]]


def _measured_line(row: Found) -> str:
    return (
        f"{row['ranks']:6} {row['group'] or '-':>7} {row['task_s']:5g} s {row['makespan_s']:8.2f} s {row['efficiency']:10.1%} "
        f"{row['simulated_makespan_s']:8.2f} s {row['error']:6.1%}"
    )


def _simulated_line(row: Found) -> str:
    who = f"{row['workers']:8,} {row['layout']:>7} {row['slower']:6g}x {row['tasks_per_worker']:6}"
    if "shortest_task_s" in row:
        return f"{who} {row['share']:.0%} from tasks of {row['shortest_task_s']:.2f} s"
    steady = "-" if row["steady"] is None else f"{row['steady']:.1%}"
    return f"{who} {row['task_s']:5g} s {row['efficiency']:10.1%} {steady:>8} {row['root_busy']:9.1%}"


def plot(found: Found, path: Path) -> None:
    """Measured and modelled efficiency by ranks, and simulated by workers; the format follows the file's ending."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    flat = [row for row in found["measured"] if row["group"] is None]
    for number, task_s in enumerate(sorted({row["task_s"] for row in flat})):
        rows = [row for row in flat if row["task_s"] == task_s]
        ranks, color = [row["ranks"] for row in rows], f"C{number}"
        model = [row["efficiency"] * row["makespan_s"] / row["simulated_makespan_s"] for row in rows]
        left.semilogx(ranks, [row["efficiency"] for row in rows], "o", color=color, label=f"tasks of {task_s:g} s")
        left.semilogx(ranks, model, "-", color=color)
        left.fill_between(ranks, [e / 1.15 for e in model], [e * 1.15 for e in model], color=color, alpha=0.1)
    cores = found["machine"]["cores"]
    left.set(
        xlabel=f"ranks on {cores} cores",
        ylabel="efficiency",
        ylim=(0.5, 1.05),
        title="Measured; lines: the model ± 15 %",
    )
    left.set_xticks(sorted({row["ranks"] for row in flat}), labels=sorted({row["ranks"] for row in flat}))
    left.minorticks_off()
    left.legend(loc="lower left")
    runs = [row for row in found["simulated"] if "shortest_task_s" not in row]
    grouped = {row["workers"] for row in runs if row["layout"] == "groups"}
    runs = [
        row for row in runs if (row["layout"] == "groups") == (row["workers"] in grouped)
    ]  # as the executor cuts them
    for number, (factor, many) in enumerate(sorted({(row["slower"], -row["tasks_per_worker"]) for row in runs})):
        rows = [row for row in runs if (row["slower"], -row["tasks_per_worker"]) == (factor, many)]
        slower = "" if factor == 1 else f", cores {factor:g} times slower"
        right.semilogx(
            [row["workers"] for row in rows],
            [row["efficiency"] for row in rows],
            "os^v"[number % 4] + "-",
            label=f"{-many} tasks for each worker{slower}",
        )
    right.axhline(0.9, color="black", linewidth=0.8, linestyle=":")
    length = runs[0]["task_s"] if runs else float("nan")
    right.set(xlabel="workers", ylabel="efficiency", ylim=(0.5, 1.05), title=f"Simulated, tasks of {length:g} s")
    right.legend(loc="lower left")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def write(path: Path, found: Found) -> None:
    """All that was found, as JSON."""
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _ranks(
    launcher: Sequence[str], environment: Mapping[str, str], ranks: int, maps: Sequence[tuple[float, int, int, bool]]
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
