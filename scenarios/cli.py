"""The `twin` command: what users type, and how each end of it is told (0 done, 2 refused, 3 some tasks set aside,
4 internal error, 75 the time given is over, 130 and 143 stopped by a signal).

Nothing heavy is imported here: each command imports what it needs, so that `twin --help` answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import twin
from hpc.errors import HpcError
from hpc.grant import one_thread_each
from hpc.launch import announced
from hpc.stop import Stopped
from hpc.walltime import seconds_of
from scenarios.command_line import one_word_each
from scenarios.commands import bench
from twin.errors import InputError, KakehashiError, SimulationError

REFUSED, INTERNAL_ERROR, INTERRUPTED = 2, 4, 130

app = typer.Typer(
    name="twin",
    help="Digital twins in life science: molecules, cells and learned models in one run.",
    epilog="Start with `twin run gastric_met_resistance`, or write a scenario of your own with `twin new NAME`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bench.app, name="bench")

ScenarioOrModel = Annotated[
    str,
    typer.Argument(
        metavar="NAME_OR_FILE",
        help="A built-in scenario (`twin list`), a path to a YAML file, a PEtab problem, or a model "
        "(SBML, Antimony, COMBINE archive).",
    ),
]
ScenarioArgument = Annotated[
    str, typer.Argument(metavar="NAME_OR_FILE", help="A built-in scenario (`twin list`), or a path to a YAML file.")
]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"twin {twin.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Options of `twin` itself."""


@app.command()
def run(
    scenario: ScenarioOrModel,
    out: Annotated[
        Path | None, typer.Option(help="Where the result goes, e.g. results/mine.zarr; the page lies beside it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a result that is there already.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell tasks, time and disk; run nothing.")] = False,
    members: Annotated[int | None, typer.Option(min=1, help="Virtual cells per line, in place of the file's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of all random draws, in place of the file's.")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; left out: all granted cores, or one per MPI rank.")
    ] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Write when each task ran on which rank, for ui.perfetto.dev, e.g. trace.json.")
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RANKS …", help="Which simulators run on which MPI ranks, e.g. molecular=1-3 cell=0."
        ),
    ] = None,
    walltime: Annotated[
        str | None,
        typer.Option(
            metavar="[D-]HH:MM:SS", help="Stop in time before this has passed, with exit code 75; --resume goes on."
        ),
    ] = None,
    scan: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES", help="Of a model: values to run through, FROM:TO:COUNT[:log] or VALUE,VALUE,…"
        ),
    ] = None,
    times: Annotated[
        str | None, typer.Option(metavar="FROM:TO:COUNT", help="Of a model: when to look; or TIME,TIME,…")
    ] = None,
    select: Annotated[str | None, typer.Option(metavar="ID,ID,…", help="Of a model: what to keep.")] = None,
    spread: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]SIGMA", help="Of a model: spread of the logarithm of constants between --members."
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Of a model or PEtab problem: auto, ensemble, reference (RoadRunner) or stochastic.")
    ] = "auto",
    figure: Annotated[
        Path | None, typer.Option(help="Of a model: also draw the result into this .png or .svg.")
    ] = None,
) -> int:
    """Run a scenario, a PEtab problem or a bare model: result as Zarr, report as one HTML page, answer in the terminal."""
    if overwrite and resume:
        raise InputError("--overwrite starts anew and --resume goes on: give one of them.")
    given: dict[str, object] = {
        "--out": out, "--members": members, "--seed": seed, "--processes": processes, "--timeline": timeline, "--walltime": walltime,
        "--place": place, "--scan": scan, "--times": times, "--select": select, "--spread": spread,
        "--engine": engine if engine != "auto" else None, "--figure": figure,
    }  # fmt: skip
    try:
        from scenarios import bare

        kind = bare.kind_of(scenario)
        if kind != "scenario":
            how = {"out": out, "overwrite": overwrite, "resume": resume, "dry_run": dry_run, "processes": processes,
                   "walltime_s": None if walltime is None else seconds_of(walltime)}  # fmt: skip
            return bare.run(kind, scenario, given, **how)
        bare.refuse_options(scenario, kind, given)
        return _run_scenario(scenario, given, overwrite=overwrite, resume=resume, dry_run=dry_run)
    except Stopped as stopped:
        words = [(name, part) for name, value in given.items() if value is not None
                 for part in (value if isinstance(value, list) else [value])]  # fmt: skip
        options = [str(word) for pair in words for word in pair]
        again = shlex.join(["twin", "run", scenario, *options, "--resume"])
        raise Stopped(stopped.signal_number, f"{stopped} What is finished is kept; to go on:\n  {again}") from stopped


def _run_scenario(scenario: str, given: dict[str, Any], *, overwrite: bool, resume: bool, dry_run: bool) -> int:
    from scenarios.scenario import Scenario

    walltime_s = None if given["--walltime"] is None else seconds_of(given["--walltime"])

    from scenarios import job

    def asked() -> Scenario:
        return Scenario.load(scenario).with_changes(members=given["--members"], seed=given["--seed"])

    return job.run(
        asked, out=given["--out"], overwrite=overwrite, resume=resume, dry_run=dry_run, processes=given["--processes"],
        timeline=given["--timeline"], walltime_s=walltime_s, place_words=given["--place"] or None,
    )  # fmt: skip


@app.command()
def check(scenario: ScenarioOrModel) -> None:
    """Check a scenario, a PEtab problem or a model without running it: keys, values, units, names in the model, wiring."""
    from scenarios.commands.check import checked

    print("\n".join(checked(scenario)))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the scenario; NAME.yaml is written.")],
) -> None:
    """Write a commented scenario to start from; it is valid as it stands."""
    from scenarios.template import write

    path = write(name)
    print(f"wrote {path}\n  check it:  twin check {path}\n  run it:    twin run {path}")


@app.command(name="list")
def show_list() -> None:
    """List the built-in scenarios."""
    from scenarios import shelf

    for name in shelf.names():
        print(f"{name:28} {shelf.title(shelf.LIBRARY / f'{name}.yaml')}")


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="Write it to this file; left out: to the terminal.")] = None,
) -> None:
    """Give the JSON Schema of scenario files, for editors."""
    from scenarios.schema import text

    if out is None:
        print(text(), end="")
        return
    try:
        out.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be written ({error.strerror}); give a file in a folder that exists."
        ) from error
    print(f"wrote {out}")


@app.command()
def report(
    result: Annotated[Path, typer.Argument(metavar="FILE.zarr", help="A result of `twin run`.")],
    out: Annotated[Path | None, typer.Option(help="Where the page goes; left out: beside the result.")] = None,
) -> None:
    """Rebuild the HTML page of a result, from the result alone."""
    from scenarios.commands.report import rebuild

    print(f"wrote {rebuild(result, out=out)}")


@app.command()
def train(
    scenario: ScenarioArgument,
    out: Annotated[Path | None, typer.Option(help="Where the checkpoint goes; left out: the scenario's own.")] = None,
) -> None:
    """Train the emulator of a scenario on the trajectories of its own mechanism."""
    from scenarios.training import train_file

    print(f"wrote {train_file(scenario, out)}")


@app.command()
def jobscript(
    scenario: ScenarioArgument,
    system: Annotated[str, typer.Option(help="slurm, pbs (PBS Professional, OpenPBS) or pjm (Fugaku).")],
    nodes: Annotated[int, typer.Option(help="Nodes of the job.")],
    time: Annotated[str, typer.Option(metavar="[D-]HH:MM:SS", help="Wall time of one job.")] = "01:00:00",
    ranks_per_node: Annotated[int, typer.Option(help="MPI ranks on each node.")] = 1,
    workers: Annotated[int, typer.Option(help="Worker processes of each rank.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of each worker.")] = 1,
    gpus: Annotated[int, typer.Option(help="GPUs of each node.")] = 0,
    memory: Annotated[
        str | None, typer.Option(help="Of each node, e.g. 24GiB; left out: the scheduler's default.")
    ] = None,
    array: Annotated[
        str | None, typer.Option(metavar="FIRST-LAST", help="An array (PJM: bulk job): one run for each seed.")
    ] = None,
    attempts: Annotated[int, typer.Option(help="How often it may be submitted until it is done.")] = 10,
    master_worker: Annotated[
        bool, typer.Option("--master-worker", help="PJM: a job that outlives a lost node.")
    ] = False,
    node: Annotated[
        str | None,
        typer.Option(metavar="cores=48,memory=32GiB,gpus=0", help="What a node has, to refuse the impossible."),
    ] = None,
    queue: Annotated[str, typer.Option(help="Partition, queue or resource group.")] = "",
    account: Annotated[str, typer.Option(help="Account, project or group that is charged.")] = "",
    directive: Annotated[
        list[str] | None, typer.Option(help="A further option of the scheduler, as it stands.")
    ] = None,
    module: Annotated[list[str] | None, typer.Option(help="Environment module to load.")] = None,
    venv: Annotated[Path | None, typer.Option(help="Virtual environment; left out: the one that runs now.")] = None,
    members: Annotated[int | None, typer.Option(min=1, help="Virtual cells per line, in place of the file's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the result goes; left out: results/NAME.zarr.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where the script goes; left out: NAME.SYSTEM.sh.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a script that is there already.")] = False,
) -> None:
    """Write a batch job for Slurm, PBS or PJM, which submits itself again until the run is done."""
    from hpc.job_request import FUGAKU, JobRequest, NodeKind, mebibytes_of, node_of, seconds_of, seeds_of
    from scenarios.commands.jobscript import write

    kind = node_of(node) if node is not None else FUGAKU if system == "pjm" else NodeKind("a node")
    request = JobRequest(
        nodes=nodes,
        time_s=seconds_of(time),
        ranks_per_node=ranks_per_node,
        workers=workers,
        threads=threads,
        gpus=gpus,
        memory_MiB=None if memory is None else mebibytes_of(memory),
        array=None if array is None else seeds_of(array),
        attempts=attempts,
        master_worker=master_worker,
        node=kind,
    )
    site = {"queue": queue, "account": account, "directives": directive or (), "modules": module or (), "venv": venv}
    script = write(
        scenario, system=system, request=request, **site, members=members, out=out, output=output, overwrite=overwrite
    )
    print(f"wrote {script}\n  submit it, from a login node:  bash {script}")


@app.command(name="fit-uncertainty")
def fit_uncertainty(
    petab: Annotated[
        Path, typer.Argument(metavar="PETAB.yaml", help="A fit: a parameter estimation problem in PEtab 1.")
    ],
    out: Annotated[Path, typer.Option(help="Where the table of parameters goes, e.g. fit.csv.")],
    factors: Annotated[Path, typer.Option(help="Where the table of joint draws goes, e.g. fit_factor.csv.")],
    draws: Annotated[int, typer.Option(min=10, max=100_000, help="How many draws.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 1,
    model_values: Annotated[
        bool, typer.Option("--model-values", help="Take best values from the model's file, not from the table.")
    ] = False,
) -> None:
    """Find what measured points leave open of a fit's parameters, as tables that a scenario draws from."""
    from scenarios.commands.fit_uncertainty import write

    write(petab, out=out, factors=factors, draws=draws, seed=seed, model_values=model_values)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, and never shows a traceback unless TWIN_DEBUG=1 asks for it."""
    one_thread_each()  # before anything numerical is imported: the same bits here as in worker processes
    try:
        given = one_word_each(sys.argv[1:] if arguments is None else arguments)
        code = app(given or ["--help"], prog_name="twin", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # Typer turns Ctrl-C into this code without a word
            _say("stopped", "interrupted.")
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        _say("refused", f"{error.format_message()}\n  `twin --help` and `twin COMMAND --help` tell what there is.")
        return REFUSED
    except (KeyboardInterrupt, typer.Abort):
        _say("stopped", "interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        # the reader left (`twin list | head -1`): nothing is wrong, and nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SimulationError as error:
        return _internal(error)
    except Stopped as stopped:
        _say("stopped", str(stopped))
        return stopped.exit_code
    except (KakehashiError, HpcError) as error:
        _say("refused", str(error))
        if _debugging():
            traceback.print_exc()
        return REFUSED
    except Exception as error:
        return _internal(error)


def _internal(error: Exception) -> int:
    """Say shortly that something of ours broke, and where its traceback lies."""
    if _debugging():
        traceback.print_exc()
        return INTERNAL_ERROR
    text = f"{type(error).__name__}: {error}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="twin-error-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(f"twin {twin.__version__}\narguments: {sys.argv[1:]}\n{traceback.format_exc()}")
        text += f"\n  This is our fault, not yours. The traceback is in {log.name}; TWIN_DEBUG=1 shows it here."
    except OSError:
        text += "\n  This is our fault, not yours. TWIN_DEBUG=1 shows the traceback."
    _say("internal error", text, every_rank=True)
    return INTERNAL_ERROR


def _debugging() -> bool:
    return os.environ.get("TWIN_DEBUG", "") not in ("", "0")


def _say(what: str, text: str, *, every_rank: bool = False) -> None:
    """One message on stderr, lines as they are (paths and SMILES must stay whole to be copied); one rank speaks."""
    launched = announced()
    if not every_rank and launched is not None and launched.rank != 0:
        time.sleep(1.0)  # launchers end the job at the first rank that fails: rank 0 shall have spoken
        return
    head = f"\x1b[1;31m{what}:\x1b[0m" if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else f"{what}:"
    print(f"{head} {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
