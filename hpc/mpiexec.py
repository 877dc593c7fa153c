"""The launcher of this machine's MPI, for commands that start a small job of their own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def command(ranks: int, program: Sequence[str]) -> list[str] | None:
    """What launches a Python program on so many ranks of this machine; None where there is no `mpiexec`.

    The one beside this Python comes first: a wheel's MPI brings its own.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    mpiexec = shutil.which("mpiexec", path=path)
    return None if mpiexec is None else [mpiexec, "-n", str(ranks), sys.executable, *program]


def environment() -> dict[str, str]:
    """The environment in which Open MPI starts more ranks than cores, and in a container too."""
    found = {**os.environ, "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    if os.geteuid() == 0:  # a container: Open MPI wants to be told twice
        found |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return found
