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
