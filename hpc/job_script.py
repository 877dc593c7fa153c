"""A job script, ready to be submitted: `bash SCRIPT` on a login node submits it, and the scheduler runs the rest on the nodes.

The run stops in time and ends with 75; the script then submits itself again, or lets the next job of a step job go on. It does so
a bounded number of times, and never after another exit code: a refusal or a defect would only come again.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpc.batch_system import BatchSystem, Naming
from hpc.job_request import JobRequest
from hpc.pbs import Pbs
from hpc.pjm import Pjm
from hpc.slurm import Slurm

SYSTEMS: tuple[BatchSystem, ...] = (Slurm(), Pbs(), Pjm())
_RELAUNCHES = 3


@dataclass(frozen=True)
class Program:
    """What the job runs.

    Args:
        command: the program and its arguments, without those that the script adds (`--resume`, `--walltime`).
        seed_options: arguments for a member of an array, in which ``INDEX`` stands for its seed.
        modules: environment modules to load.
        venv: virtual environment to activate; None: as the job finds it.
    """

    command: Sequence[str]
    seed_options: Sequence[str] = ()
    modules: Sequence[str] = ()
    venv: Path | None = None


def text(
    system: BatchSystem, request: JobRequest, naming: Naming, program: Program, *, script: Path, made_by: str
) -> str:
    """The script.

    Args:
        system: the scheduler.
        request: what is asked for.
        naming: names, queue, account.
        program: what runs.
        script: where the script will lie, absolute: schedulers run a copy of it, which does not know.
        made_by: the command that made it, for its head.

    Raises:
        RequestError: the system has no means for it.
    """
    system.check(request)
    parts = [
        ["#!/bin/bash", *system.directives(request, naming)],
        _head(system, request, script, made_by),
        _submission(system, request, script),
        _environment(request, program),
        _asked(request),
        _run(system, request, program),
        _end(system, request),
    ]
    return "\n".join("\n".join(part) + "\n" for part in parts)


def _head(system: BatchSystem, request: JobRequest, script: Path, made_by: str) -> list[str]:
    cores = (
        f"{request.workers} worker{'s'[: request.workers > 1]} x {request.threads} thread{'s'[: request.threads > 1]}"
    )
    array = " for each seed {} … {}".format(*request.array) if request.array else ""
    return [
        f"# Written by: {made_by}",
        f"# {request.nodes} nodes x {request.ranks_per_node} ranks x {cores}, {request.time}, {_times(system, request)}{array}.",
        f"#   bash {shlex.quote(str(script))}        submits it, from a login node",
    ]


def _times(system: BatchSystem, request: JobRequest) -> str:
    """How often it is submitted: PJM's bulk and master-worker jobs cannot be step jobs."""
    once = not system.submits_itself and (request.array is not None or request.master_worker)
    return "once" if once or request.attempts == 1 else f"up to {request.attempts} times"


def _submission(system: BatchSystem, request: JobRequest, script: Path) -> list[str]:
    return [
        "set -u",
        f"script={shlex.quote(str(script))}",
        f'if [ -z "${{{system.job_id()}:-}}" ]; then  # not in a job yet',
        *(f"    {line}" for line in system.submit(request)),
        "fi",
        f'cd "${{{system.work_folder()}:-.}}" || exit 2',
        "SECONDS=0  # Bash counts from here",
        "attempt=${TWIN_ATTEMPT:-1}",
        *([f"index={system.index()}"] if request.array else []),
    ]


def _environment(request: JobRequest, program: Program) -> list[str]:
    threads = ("OMP", "OPENBLAS", "MKL")
    lines = [f"module load {shlex.quote(module)} || exit 2" for module in program.modules]
    if program.venv is not None:
        lines.append(f"source {shlex.quote(str(program.venv / 'bin' / 'activate'))} || exit 2")
    lines.append("export " + " ".join(f"{name}_NUM_THREADS={request.threads}" for name in threads))
    if request.threads > 1:
        lines.append("export OMP_PROC_BIND=close OMP_PLACES=cores")
    return ["# environment", *lines]


def _asked(request: JobRequest) -> list[str]:
    """What the program compares with what it was granted; see `hpc/asked.py`."""
    asked = {
        "RANKS": request.ranks,
        "CORES_PER_RANK": request.cores_per_rank,
        "GPUS_PER_RANK": request.gpus_per_rank or None,
        "MEMORY_MIB_PER_NODE": request.memory_MiB,
    }
    return [
        "# what was asked for: twin says so where it is not granted",
        "export " + " ".join(f"TWIN_ASKED_{name}={value}" for name, value in asked.items() if value is not None),
    ]


def _run(system: BatchSystem, request: JobRequest, program: Program) -> list[str]:
    command = [*program.command, "--processes", str(request.workers), "--resume"]
    words = " ".join(map(shlex.quote, command))
    if request.array:
        words += "".join(f" {_with_index(option)}" for option in program.seed_options)
    alone = request.ranks == 1
    lines = ["launcher=()"] if alone else system.launcher(request)
    left = f"left=$(({request.time_s - request.margin_s} - SECONDS))  # seconds for the run; the rest is to end in"
    limit = '--walltime "$(printf %02d:%02d:%02d $((left / 3600)) $((left / 60 % 60)) $((left % 60)))"'
    # an array's expansion is empty, and no error under `set -u`, only in this form (Bash 4.3)
    run = f'${{launcher[@]+"${{launcher[@]}}"}} {words} {limit} &'
    waiting = [
        run,
        "run=$!",
        "wait $run",
        "code=$?",
        "while kill -0 $run 2>/dev/null; do wait $run; code=$?; done",
        # launchers do not all pass on how their ranks ended (Open MPI: 1)
        'case "${told:-}$code" in told0 | told3 | told75) ;; told*) code=143 ;; esac',
    ]
    # a scheduler's SIGTERM reaches the script alone (Slurm: B:TERM): it is passed on, and the run ends by itself
    trap = "trap 'told=told; kill -TERM $run 2>/dev/null' TERM"
    if not request.master_worker:
        return ["# run", *lines, left, trap, *waiting]
    return [
        "# run; where ranks were lost with their node, what is left goes on, and finished work is not done again",
        f"for ((launch = 0; launch <= {_RELAUNCHES}; launch++)); do",
        *(f"    {line}" for line in lines),
        # afterwards nobody says how many nodes are left: mpiexec starts what there is room for
        "    [ $launch -eq 0 ] || { launcher=(mpiexec); unset TWIN_ASKED_RANKS; }",
        f"    {left}",
        "    [ $left -gt 0 ] || { code=75; break; }",
        f"    {trap}",
        *(f"    {line}" for line in waiting),
        "    case $code in 0 | 2 | 3 | 4 | 75 | 143) break ;; esac",
        '    echo "ended with $code, as after the loss of a node: launched again"',
        "done",
    ]


def _with_index(option: str) -> str:
    return (
        '"$index"'
        if option == "INDEX"
        else '"$index"'.join(shlex.quote(part) if part else "" for part in option.split("INDEX"))
    )


def _end(system: BatchSystem, request: JobRequest) -> list[str]:
    return [
        "case $code in",
        "    0) exit 0 ;;",
        '    3) echo "done; some tasks were set aside, see above"; exit 3 ;;',
        "    75) ;;  # stopped in time: there is more to do",
        f"    143) if [ $SECONDS -lt {request.time_s - request.margin_s} ]; then",
        '            echo "told to end before its time, perhaps cancelled: not submitted again; to go on: bash $script"',
        "            exit 143",
        "        fi ;;  # the scheduler's own warning",
        '    *) echo "ended with exit code $code: not submitted again, since it would come again"; exit $code ;;',
        "esac",
        *(
            [
                f'if [ "$attempt" -ge {request.attempts} ]; then',
                f'    echo "not done after {request.attempts} attempts; to go on: bash $script"',
                "    exit 75",
                "fi",
            ]
            if system.submits_itself
            else []
        ),
        *system.resubmit(request),
        *(
            ['[ $? -eq 0 ] || echo "could not be submitted again; to go on: bash $script"']
            if system.submits_itself
            else []
        ),
        "exit 75",
    ]
