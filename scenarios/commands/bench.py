"""`twin bench`: measurements behind the numbers in the documentation; each is a command here."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Annotated

import typer

app = typer.Typer(help="Measure what the documentation states.", no_args_is_help=True)


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
