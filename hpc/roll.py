"""The roll of the ranks of a job that outlives them: which have died.

Where the launcher was asked for it (Open MPI 5: `mpiexec --with-ft ulfm`), the death of a rank is an error of the calls that
concern it, and everything else goes on. Without, MPI ends the job by itself, and nobody is ever missing here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_EVERY_S = 0.02  # asking MPI who has died takes microseconds, at no rank's cost
_ERRORS = ("ERR_PROC_FAILED", "ERR_PROC_FAILED_PENDING", "ERR_REVOKED")


def tolerates_faults(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the launcher lets a job go on without ranks that died: it tells each rank so before MPI starts."""
    return environment.get("OMPI_MCA_mpi_ft_enable", "").lower() in ("1", "t", "true", "enabled", "yes", "y")


class Roll:
    """Who of a communicator has died.

    Args:
        communicator: of the ranks.
        mpi: the module `mpi4py.MPI`.
        tolerant: whether the job goes on without ranks that died.

    Attributes:
        tolerant: the same.
        lost: ranks that are known to be dead.
    """

    def __init__(self, communicator: Any, mpi: Any, *, tolerant: bool) -> None:
        self.tolerant = tolerant
        self.lost: set[int] = set()
        self._communicator, self._mpi = communicator, mpi
        self._called = 0.0
        self._deadly = {getattr(mpi, name) for name in _ERRORS if hasattr(mpi, name)}

    def call(self, *, now: bool = False) -> set[int]:
        """Ranks that died since the last call; asked of MPI 50 times a second at most, unless it shall be `now`."""
        if not self.tolerant or (not now and time.monotonic() - self._called < _EVERY_S):
            return set()
        self._called = time.monotonic()
        failed = self._communicator.Get_failed()
        count = failed.Get_size()
        if count == len(self.lost):
            failed.Free()
            return set()
        own = self._communicator.Get_group()
        found = set(self._mpi.Group.Translate_ranks(failed, list(range(count)), own))
        own.Free()
        failed.Free()
        self._communicator.Ack_failed(count)  # else every look into the mail would be an error
        fresh, self.lost = found - self.lost, self.lost | found
        return fresh

    def is_death(self, error: Exception) -> bool:
        """Whether an error says that a rank has died, and the job goes on without it."""
        return self.tolerant and isinstance(error, self._mpi.Exception) and error.Get_error_class() in self._deadly  # pyright: ignore[reportAttributeAccessIssue]

    @contextmanager
    def surviving(self) -> Iterator[None]:
        """The death of a rank is no error of this one: the next call tells of it."""
        try:
            yield
        except self._mpi.Exception as error:
            if not self.is_death(error):
                raise
            self._called = 0.0
            failed = self._communicator.Get_failed()
            self._communicator.Ack_failed(failed.Get_size())
            failed.Free()
