"""Where work runs: executors, journal, atomic results, and what the machine grants.

- `open_executor`, `Executor`: an ordered map over tasks, in one process, many, or MPI ranks
- `TaskFailure`: a task that failed, as a value
- `Journal`, `Record`: finished work on disk, to resume from
- `Checkpoint`: where a computation stands, to go on from there bit by bit
- `draft`, `publish`, `tidy`: a result appears whole, or not at all
- `stop`, `Stopped`: a job told to end
- `granted_cores`, `one_thread_each`: what the machine grants
- errors: `HpcError`, `LaunchError`, `WorkerError`, `StorageError`, `DamagedError`, `FingerprintError`, `InUseError`, `ExistsError`,
  `RequestError`
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpc.checkpoint import Checkpoint
    from hpc.errors import (
        DamagedError,
        ExistsError,
        FingerprintError,
        HpcError,
        InUseError,
        LaunchError,
        RequestError,
        StorageError,
        WorkerError,
    )
    from hpc.executor import Executor, open_executor
    from hpc.grant import granted_cores, one_thread_each
    from hpc.journal import Journal
    from hpc.publication import draft, publish, tidy
    from hpc.record import Record
    from hpc.stop import Stopped
    from hpc.task_failure import TaskFailure

_HOME = {
    "Executor": "executor", "open_executor": "executor", "TaskFailure": "task_failure", "Journal": "journal",
    "Record": "record", "Checkpoint": "checkpoint", "DamagedError": "errors", "Stopped": "stop", "granted_cores": "grant", "one_thread_each": "grant", "HpcError": "errors",
    "LaunchError": "errors", "WorkerError": "errors", "StorageError": "errors", "FingerprintError": "errors",
    "InUseError": "errors", "ExistsError": "errors", "RequestError": "errors", "draft": "publication", "publish": "publication", "tidy": "publication",
}  # fmt: skip

__all__ = [
    "Checkpoint",
    "DamagedError",
    "Executor",
    "ExistsError",
    "FingerprintError",
    "HpcError",
    "InUseError",
    "Journal",
    "LaunchError",
    "Record",
    "RequestError",
    "Stopped",
    "StorageError",
    "TaskFailure",
    "WorkerError",
    "draft",
    "granted_cores",
    "one_thread_each",
    "open_executor",
    "publish",
    "tidy",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line needs the errors, not numpy."""
    if name not in _HOME:
        raise AttributeError(f"module 'hpc' has no attribute {name!r}")
    return getattr(import_module(f"hpc.{_HOME[name]}"), name)
