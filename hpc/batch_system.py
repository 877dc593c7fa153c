"""BatchSystem: what differs between schedulers in a job script: directives, how it is submitted, launched and submitted again.

Every line that a system gives is Bash. The script has set `script` (its own path), `attempt` (which submission this is), and,
where it is an array, `index` (the seed).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Protocol

from hpc.errors import RequestError
from hpc.job_request import JobRequest

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_WORD = re.compile(r"[A-Za-z0-9_.@:+/-]+")


@dataclass(frozen=True)
class Naming:
    """What a job is called, where it waits, who pays, and what the site wants besides.

    Args:
        job: its name, and that of its output.
        queue: partition, queue or resource group; empty: the scheduler's default.
        account: account, project or group that is charged; empty: the scheduler's default.
        directives: further options of the scheduler, as they stand, e.g. ``--constraint=cpu``.

    Raises:
        RequestError: a name that schedulers do not take, or a directive of more than one line.
    """

    job: str
    queue: str = ""
    account: str = ""
    directives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.job):
            raise RequestError(
                f"--name {self.job}: expected a letter, then letters, digits, - and _, at most 63; schedulers take no other name."
            )
        for option, value in (("--queue", self.queue), ("--account", self.account)):
            if value and not _WORD.fullmatch(value):
                raise RequestError(f"{option} {value!r}: expected one word, as your site lists it.")
        for directive in self.directives:
            if not directive.strip() or "\n" in directive:
                raise RequestError(f"--directive {directive!r}: expected one option of the scheduler, on one line.")


class BatchSystem(Protocol):
    """A scheduler.

    Attributes:
        name: as `--system` takes it.
        submits_itself: whether a job may submit the next; otherwise all attempts are submitted at the beginning.
    """

    name: str
    submits_itself: bool

    def check(self, request: JobRequest) -> None:
        """Raises `RequestError` for what the system has no means for."""
        ...

    def directives(self, request: JobRequest, naming: Naming) -> list[str]:
        """Lines at the top."""
        ...

    def job_id(self) -> str:
        """The variable that is set inside a job."""
        ...

    def work_folder(self) -> str:
        """The variable that holds the folder in which it was submitted."""
        ...

    def index(self) -> str:
        """The expression for the seed of an array's member."""
        ...

    def submit(self, request: JobRequest) -> list[str]:
        """Submits the script, from a login node."""
        ...

    def resubmit(self, request: JobRequest) -> list[str]:
        """Submits the next attempt from inside the job; sets no exit code."""
        ...

    def launcher(self, request: JobRequest) -> list[str]:
        """Lines that set the Bash array `launcher`: what stands before `twin` for more than one rank."""
        ...


def mpiexec(request: JobRequest, *, also: str = "") -> list[str]:
    """Bash lines that set `launcher` for the `mpiexec` that is there: each rank bound to cores of its own.

    Open MPI binds a rank to one core unless it is told otherwise, and all its workers with it; Hydra (MPICH, Intel MPI) spreads
    ranks by its own options.
    """
    cores, ranks, per_node = request.cores_per_rank, request.ranks, request.ranks_per_node
    return [
        'case "$(mpiexec --version 2>&1 | head -n 3)" in',
        "    *'Open MPI'* | *OpenRTE* | *PRRTE*)",
        f"        launcher=(mpiexec -n {ranks} --map-by ppr:{per_node}:node:PE={cores} --bind-to core{also}) ;;",
        f"    *) launcher=(mpiexec -n {ranks} -ppn {per_node}{also}) ;;",
        "esac",
    ]


def gpus_by_local_rank(request: JobRequest) -> list[str]:
    """Bash lines that put a step before `twin` which gives each rank its GPUs of those that the node's jobs may see."""
    if not request.gpus or request.ranks_per_node == 1:
        return []
    share, sharers = request.gpus_per_rank, max(1, request.ranks_per_node // request.gpus)
    own = (
        "local_rank=${OMPI_COMM_WORLD_LOCAL_RANK:-${MPI_LOCALRANKID:-${PMI_LOCAL_RANK:-${PALS_LOCAL_RANKID:-}}}}; "
        '[ -n "$local_rank" ] || { echo "this MPI does not say which rank of its node a rank is: GPUs cannot be shared out" >&2; '
        "exit 2; }; "
        f'IFS=, read -r -a there <<< "${{CUDA_VISIBLE_DEVICES:-{",".join(map(str, range(request.gpus)))}}}"; '
        f'own=("${{there[@]:local_rank / {sharers} * {share}:{share}}}"); '
        'export CUDA_VISIBLE_DEVICES=$(IFS=,; echo "${own[*]}"); exec "$@"'
    )
    return ["# each rank sees its own GPUs", f"launcher+=(bash -c {shlex.quote(own)} _)"]
