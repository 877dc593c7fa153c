"""A task that failed, as a value: one task is lost, the others go on."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpc.errors import DeadlyError

SET_ASIDE = "WorkerDied"
DEATHS_BEFORE_SET_ASIDE = 3
"""Processes that may die with a task before nobody else is given it."""


@dataclass(frozen=True)
class TaskFailure:
    """Why a task has no result.

    Attributes:
        index: position of the task in the sequence that was mapped.
        error_type: name of the exception's class, or "WorkerDied" where processes died with the task again and again.
        message: what the exception said.
        traceback: where, for the log.
    """

    index: int
    error_type: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, index: int, error: BaseException) -> TaskFailure:
        """The failure that this exception is."""
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        if isinstance(error, DeadlyError):
            name = SET_ASIDE
        return cls(index, name, str(error), "".join(traceback.format_exception(error)))

    def __str__(self) -> str:
        return f"{self.error_type}: {self.message}"


def attempt(function: Callable[[Any], Any], index: int, task: Any) -> Any:
    """The function's result for this task, or the `TaskFailure`. Only `Stopped` and Ctrl-C pass through."""
    try:
        return function(task)
    except (Exception, SystemExit) as error:
        return TaskFailure.of(index, error)
