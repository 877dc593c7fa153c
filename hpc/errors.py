"""Errors of running: how the job was launched, its workers, the disk it writes to, and what lies there already.

They say what, where, what was expected and the cure, as the engine's own errors do; the command line ends with exit code 2.
"""

from __future__ import annotations


class HpcError(Exception):
    """Any error that this package raises on purpose."""


class LaunchError(HpcError):
    """The launcher and the MPI library do not fit together: mend the modules loaded, or the command that launches."""


class WorkerError(HpcError):
    """Worker processes cannot start, or cannot load what they are to run: it concerns every task, not one."""


class StorageError(HpcError):
    """The disk did not take what was written (full, over quota, failing): all that was written earlier is whole."""


class DamagedError(HpcError):
    """What lies on disk is not what was written there."""


class FingerprintError(HpcError):
    """What lies on disk belongs to another job: other inputs, versions or seed."""


class InUseError(HpcError):
    """Another run writes the same result at this moment."""


class ExistsError(HpcError):
    """A result is there already, and nobody said that it may be replaced."""


class RequestError(HpcError):
    """A job was asked for that no scheduler could grant, or that the scheduler named has no means for."""


class PlacementError(HpcError):
    """Simulators are placed on ranks that the job has not, or a placement names no simulator."""


class RankLostError(HpcError):
    """A rank that others wait for has died.

    Attributes:
        rank: which.
    """

    def __init__(self, rank: int) -> None:
        super().__init__(
            f"rank {rank} has died, and what it did cannot go on here; start again, with --resume or from a checkpoint."
        )
        self.rank = rank


class DeadlyError(HpcError):
    """Ranks died one after the other at the same work, which is set aside."""
