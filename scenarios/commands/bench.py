"""`twin bench`: measurements behind the numbers in the documentation; each is a command here."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, TypeVar

import typer

T = TypeVar("T", int, float)

app = typer.Typer(help="Measure what the documentation states.", no_args_is_help=True)


def _place(path: Path | None) -> Path | None:
    """Make the folder of a file, and refuse what cannot be written before minutes are spent on what it shall hold."""
    if path is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(
            f"{path} cannot be written ({error.strerror}); give a file in another folder."
        ) from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise typer.BadParameter(f"{path} cannot be written; give a file in a folder where you may write.")
    return path


@app.callback()
def bench() -> None:
    """Measure what the documentation states."""


@app.command()
def startup(repeats: Annotated[int, typer.Option(min=1, help="How often.")] = 5) -> None:
    """How long `twin --help` takes, beside an empty Python."""
    seconds = {"python": ["-c", ""], "twin --help": ["-m", "scenarios.cli", "--help"]}
    for label, arguments in seconds.items():
        taken: list[float] = []
        for _ in range(repeats):
            begun = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            taken.append(time.perf_counter() - begun)
        print(f"{label:12} median {statistics.median(taken):.2f} s, worst {max(taken):.2f} s of {repeats}")


@app.command()
def scaling(
    ranks: Annotated[str, typer.Option(help="Ranks of the measured runs.")] = "1,2,4,8,16,32,64",
    grouped: Annotated[str, typer.Option(help="Ranks of runs that are measured in groups of 8 as well.")] = "32",
    workers: Annotated[str, typer.Option(help="Workers of the simulated runs.")] = "48,768,12288,82944",
    task: Annotated[float, typer.Option(min=0.001, help="Length of a simulated task [s].")] = 10.0,
    per_worker: Annotated[str, typer.Option(help="Simulated tasks for each worker.")] = "10,3",
    slower: Annotated[str, typer.Option(help="How many times slower cores are simulated, too.")] = "1,4",
    json: Annotated[Path | None, typer.Option("--json", callback=_place, help="Write everything here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it, e.g. scaling.svg.")] = None,
) -> None:
    """How the executor scales: measured, oversubscribed up to 64 ranks; a model checked against that; simulated up to 82,944 workers."""
    from scenarios.commands import scaling as measurement

    def numbers(text: str, kind: type[T]) -> tuple[T, ...]:
        try:
            found = tuple(kind(word) for word in text.split(",") if word.strip())
        except ValueError as error:
            raise typer.BadParameter(f"{text!r}: expected numbers with commas between them, e.g. 1,4") from error
        if any(number <= 0 for number in found):
            raise typer.BadParameter(f"{text!r}: expected numbers above 0")
        return found

    wanted = measurement.Wanted(
        ranks=numbers(ranks, int), grouped=numbers(grouped, int), workers=numbers(workers, int), task_s=task,
        per_worker=numbers(per_worker, int), slower=numbers(slower, float),
    )  # fmt: skip
    keep = None if json is None else lambda so_far: measurement.write(json, so_far)
    found = measurement.run(wanted, keep=keep)
    if plot is not None:
        measurement.plot(found, plot)
    print("\n".join(measurement.table(found)))


@app.command()
def executor(
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes or ranks; left out: all granted cores.")
    ] = None,
    tasks: Annotated[int, typer.Option(min=1, help="How many, for each executor.")] = 2000,
    repeats: Annotated[int, typer.Option(min=1, help="How often; the best counts.")] = 3,
) -> None:
    """How many tasks per second each executor hands out, and how fast results come back."""
    from hpc import granted_cores
    from scenarios.commands.executor_rates import lines

    for line in lines(workers or granted_cores(), tasks=tasks, repeats=repeats):
        print(line)


@app.command()
def coupling(
    json: Annotated[
        Path | None, typer.Option("--json", callback=_place, help="Write everything measured here.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often; the best counts.")] = 5,
) -> None:
    """What an exchange costs between 100 local simulators, and a step on another rank beside a bare MPI round trip."""
    from json import dumps

    from scenarios.commands import coupling_overheads

    found = coupling_overheads.measured(repeats=repeats)
    if json is not None:
        json.write_text(dumps(found, indent=2) + "\n", encoding="utf-8")
    for line in coupling_overheads.lines(found):
        print(line)


@app.command()
def schemes(
    figure: Annotated[Path | None, typer.Option(help="Draw error over length of windows into this PNG or SVG.")] = None,
) -> None:
    """How exact each coupling scheme is and what it costs, on twins whose course is known."""
    from scenarios.commands import coupling_schemes

    if figure is not None:
        coupling_schemes.figure(figure)
    for line in coupling_schemes.lines():
        print(line, flush=True)


@app.command()
def affinity(
    scenario: Annotated[
        str, typer.Argument(metavar="NAME_OR_FILE", help="Whose compounds; those without a measured IC50 are left out.")
    ] = "gastric_met_resistance",
) -> None:
    """How well the learned affinity predicts left-out compounds, beside mean, nearest neighbour and charge."""
    from scenarios.commands.affinity_table import lines

    for line in lines(scenario):
        print(line)


@app.command()
def emulator(
    scenario: Annotated[
        str, typer.Argument(metavar="NAME_OR_FILE", help="Whose emulator; its checkpoint holds what is told.")
    ] = "gastric_met_resistance",
) -> None:
    """How far an emulator errs on unseen cells, how many its gate vouches for, and how fast it is, as `twin train` measured."""
    from scenarios.commands.emulator_table import lines

    for line in lines(scenario):
        print(line)


@app.command()
def sbml(
    folder: Annotated[Path, typer.Argument(help="Folder with cases of the SBML Test Suite, at any depth.")],
    json: Annotated[
        Path | None, typer.Option("--json", callback=_place, help="Write outcomes of all cases here.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(callback=_place, help="Write the table of refused cases, in Markdown, here.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="How many cases run at once.")] = len(os.sched_getaffinity(0)),
    limit: Annotated[float, typer.Option(min=1, help="Seconds that one case may take.")] = 300.0,
    memory: Annotated[float, typer.Option(min=1, help="GiB of address space that a process may take.")] = 8.0,
) -> None:
    """Run the cases of the SBML Test Suite: each passes, is refused by name before it runs, or fails."""
    from scenarios.commands import sbml_suite

    begun = time.perf_counter()
    outcomes = sbml_suite.run(folder, processes=processes, limit_s=limit, memory_gib=memory)
    seconds = time.perf_counter() - begun
    if json is not None:
        sbml_suite.write(json, outcomes, seconds)
    if page is not None:
        page.write_text("\n".join(sbml_suite.page(outcomes, seconds)) + "\n", encoding="utf-8")
    for outcome in outcomes:
        if outcome["result"] == "fails":
            print(f"{outcome['suite']} {outcome['case']} fails: {outcome['reason']}")
    for kind, c in sbml_suite.counts(outcomes).items():
        print(f"{kind}: {c['passes']} pass, {c['refused']} refused, {c['fails']} fail")
    print(f"{len(outcomes)} cases in {seconds:.0f} s")
    if any(outcome["result"] == "fails" for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def ensemble(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="SBML files, or PEtab problems: a YAML file or its folder.")
    ],
    json: Annotated[
        Path | None, typer.Option("--json", callback=_place, help="Write everything measured here.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.01, help="What RoadRunner may take per tolerance; sets how many members there are.")
    ] = 5.0,
    sigma: Annotated[float, typer.Option(min=0.0, help="Spread of the logarithms of nominal parameters.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Of the spread.")] = 1,
    until: Annotated[float | None, typer.Option(help="End of the runs, where the model's data should not say.")] = None,
    limit: Annotated[float, typer.Option(min=1, help="Seconds after which one lap is given up.")] = 600.0,
    repeats: Annotated[int, typer.Option(min=1, help="Laps of which the fastest counts.")] = 2,
    peer_members: Annotated[
        int | None, typer.Option(min=1, help="How many members RoadRunner runs; left out: as many as --seconds allows.")
    ] = None,
    peer_rtol: Annotated[
        list[float] | None, typer.Option(help="RoadRunner's tolerances; may be repeated. Left out: 1e-4 … 1e-8.")
    ] = None,
    peer_atol: Annotated[
        float | None,
        typer.Option(
            min=0, help="RoadRunner's absolute tolerance (its default: 1e-12). Left out: 1e-3 of the relative one."
        ),
    ] = None,
) -> None:
    """Members per second and core beside RoadRunner (and bngsim, if installed), at equal or smaller measured error."""
    from dataclasses import replace

    from scenarios.commands import ensemble_race
    from scenarios.commands.race_members import Settings

    settings = Settings(
        sigma=sigma, seed=seed, seconds=seconds, limit_s=limit, repeats=repeats, until=until, peer_members=peer_members,
        peer_atol=peer_atol,
    )  # fmt: skip
    if peer_rtol:
        settings = replace(settings, peer_rtols=tuple(sorted(peer_rtol, reverse=True)))
    found = ensemble_race.run(models, settings, json=json)
    print("\n".join(ensemble_race.table(found)))


@app.command()
def store(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="As those of `twin bench ensemble`.")],
    out: Annotated[Path, typer.Option(help="Where the store is put.")],
    members: Annotated[int, typer.Option(min=1, help="How many.")] = 100_000,
    points: Annotated[int, typer.Option(min=2, help="Output times.")] = 50,
    threads: Annotated[int, typer.Option(min=1, help="How many share the work.")] = len(os.sched_getaffinity(0)),
) -> None:
    """How much memory an ensemble takes that is streamed to Zarr, and how long it runs."""
    from scenarios.commands.store_cost import lines

    for line in lines(model, out, members=members, points=points, threads=threads):
        print(line)


@app.command()
def petab(
    problems: Annotated[
        list[Path], typer.Argument(metavar="PROBLEM...", help="PEtab problems: YAML files or folders.")
    ],
    roadrunner: Annotated[
        bool, typer.Option("--roadrunner", help="Also beside RoadRunner, which may take long.")
    ] = False,
    rtol: Annotated[float, typer.Option(help="Relative tolerance.")] = 1e-8,
) -> None:
    """How far simulated observables of PEtab problems are from the stored ones, from a tighter run, and from RoadRunner's."""
    from scenarios.commands.petab_deviation import lines

    for line in lines(problems, roadrunner=roadrunner, rtol=rtol):
        print(line, flush=True)


@app.command()
def step(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="As those of `twin bench ensemble`.")],
    members: Annotated[int, typer.Option(min=16, help="How many members are integrated.")] = 64,
    rtol: Annotated[float, typer.Option(help="Relative tolerance.")] = 1e-5,
) -> None:
    """What a step costs: operations counted times the machine's measured rate, beside the time that it takes."""
    from scenarios.commands import ensemble_race

    print("\n".join(ensemble_race.steps(models, members, rtol)))


@app.command()
def methods(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="As those of `twin bench ensemble`.")],
    members: Annotated[int, typer.Option(min=1, help="How many members are integrated.")] = 256,
    rtol: Annotated[list[float] | None, typer.Option(help="May be repeated. [default: 1e-4 1e-6 1e-8]")] = None,
    json: Annotated[
        Path | None, typer.Option("--json", callback=_place, help="Write everything measured here.")
    ] = None,
) -> None:
    """Time and error of every method of the ensemble engine, and which one is chosen."""
    from scenarios.commands import method_race

    found = method_race.compare(models, members, rtol or (1e-4, 1e-6, 1e-8))
    if json is not None:
        from json import dumps

        json.write_text(dumps({"members": members, "laps": found}, indent=2) + "\n", encoding="utf-8")


@app.command()
def faults(
    kills: Annotated[int, typer.Option(min=1, help="How many runs lose a rank, each rank in turn.")] = 50,
    writes: Annotated[int, typer.Option(min=1, help="How often a process is killed that writes checkpoints.")] = 100,
    members: Annotated[int, typer.Option(min=1, help="Cells per line of those runs: how long they take.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 1,
    json: Annotated[
        Path | None, typer.Option("--json", callback=_place, help="Write everything measured here.")
    ] = None,
) -> None:
    """What a run outlives: killed ranks (rank 0 as well), kills while a checkpoint is written, full disks, flipped bits."""
    from scenarios.commands import fault_table

    found = fault_table.run(kills=kills, writes=writes, members=members, seed=seed, say=print)
    if json is not None:
        fault_table.write(json, found)
    if not found["passed"]:
        raise typer.Exit(1)


@app.command()
def sensitivities(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="As those of `twin bench ensemble`.")],
    json: Annotated[
        Path | None, typer.Option("--json", callback=_place, help="Write everything measured here.")
    ] = None,
    members: Annotated[int, typer.Option(min=1, help="How many are integrated.")] = 64,
    rtol: Annotated[float, typer.Option(help="Relative tolerance; the absolute one is 1e-3 of it.")] = 1e-6,
    most: Annotated[int, typer.Option("--parameters", min=0, help="Most parameters.")] = 1000,
    initial: Annotated[int, typer.Option(min=0, help="Most initial values.")] = 13,
    until: Annotated[float | None, typer.Option(help="End of the runs, where the model's data should not say.")] = None,
    check: Annotated[bool, typer.Option(help="Compare with tighter runs and with differences.")] = True,
    repeats: Annotated[int, typer.Option(min=1, help="Laps of which the fastest counts.")] = 3,
) -> None:
    """What all sensitivities cost beside plain simulations at equal tolerance, and whether differences agree."""
    from scenarios.commands import ensemble_race, sensitivity_cost

    found = sensitivity_cost.run(
        models, members=members, rtol=rtol, until=until, most=most, initial=initial, check=check, repeats=repeats
    )
    if json is not None:
        ensemble_race.write(json, found)
