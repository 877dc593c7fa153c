"""mpiexec for tests: found beside Python or on the path, told that tests may run as root and on fewer cores than ranks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
TOLERANT = MPIEXEC is not None and "Open MPI) 5" in subprocess.run(
    [MPIEXEC, "--version"], capture_output=True, text=True, check=False
).stdout  # fmt: skip
needs_ulfm = pytest.mark.skipif(not TOLERANT, reason="no Open MPI 5, whose launcher lets jobs outlive their ranks")
needs_mpiexec = pytest.mark.skipif(
    MPIEXEC is None, reason="no mpiexec: install the extra `mpi`, or an MPI of the system"
)


def environment(**more: str) -> dict[str, str]:
    """The environment of a job: packages from this checkout and test modules importable, containers' root allowed."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PMI", "SLURM_", "PRTE_"))
    }
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        **more,
    }


def mpiexec(ranks: int, *arguments: str, tolerant: bool = False) -> list[str]:
    """The command line of a job of Python on so many ranks."""
    assert MPIEXEC is not None
    return [MPIEXEC, *(("--with-ft", "ulfm") if tolerant else ()), "-n", str(ranks), sys.executable, *arguments]


def run(
    ranks: int, *arguments: str, timeout_s: float = 60, tolerant: bool = False, **more: str
) -> subprocess.CompletedProcess[str]:
    """A job, run to its end."""
    return subprocess.run(
        mpiexec(ranks, *arguments, tolerant=tolerant),
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
