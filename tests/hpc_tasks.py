"""What worker processes do in tests: functions that a new process can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc import Executor


def square(x: Any) -> Any:
    return x * x


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def thread_limits(_: object) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def process(_: object) -> tuple[int, int]:
    time.sleep(0.01)
    return os.getpid(), os.getppid()


def started(executor: Executor) -> set[int]:
    """Pids of all workers, once all are there: on a busy machine the first may do the work before the last has started."""
    deadline = time.monotonic() + 30
    pids: set[int] = set()
    while len(pids) < executor.workers and time.monotonic() < deadline:
        pids |= {pid for pid, _ in executor.map(process, range(4 * executor.workers))}
    return pids


def arrays(n: int) -> dict[str, Any]:
    """All sorts of arrays, of a few megabytes for large n."""
    x = np.random.default_rng(n).normal(size=(n, 3))
    return {
        "x": x,
        "fortran": np.asfortranarray(x),
        "strided": x[::2, 1],
        "scalar": np.float32(n),
        "whole": np.arange(n, dtype=np.int16),
        "empty": np.empty((0, 4)),
        "text": np.array(["pAKT", "µM"]),
        "flag": True,
    }


def slow_arrays(n: int) -> dict[str, Any]:
    time.sleep(0.02)
    return arrays(n)


def unpicklable(_: object) -> Any:
    return lambda: None


def leave(_: object) -> None:
    raise SystemExit(3)


class Odd(Exception):  # noqa: N818 - a name like any other
    """An exception whose pickle cannot be undone: only its words may travel."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"odd {a} {b}")


def odd(x: int) -> int:
    if x % 2:
        raise Odd(x, x)
    return x


@dataclass(frozen=True)
class Notch:
    """Leaves a mark for each attempt at a task, and may die there."""

    folder: Path
    dies: dict[int, int]  # task: at how many attempts
    by: int = signal.SIGKILL
    seconds: float = 0.0

    def __call__(self, task: int) -> int:
        earlier = len(list(self.folder.glob(f"{task}.*")))
        (self.folder / f"{task}.{earlier}").touch(exist_ok=False)
        time.sleep(self.seconds)
        if earlier < self.dies.get(task, 0):
            os.kill(os.getpid(), self.by)
        return task


@dataclass(frozen=True)
class Unequal:
    """Tasks of log-normal duration; each leaves one mark."""

    folder: Path
    seconds: tuple[float, ...]

    def __call__(self, task: int) -> int:
        (self.folder / f"{task}-{os.getpid()}").touch(exist_ok=False)
        time.sleep(self.seconds[task])
        return -task


class DiesOnArrival:
    """Ends the worker that unpickles it."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return os._exit, (5,)

    def __call__(self, task: int) -> int:
        return task


class OnlyHere:
    """Cannot be unpickled in another process."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _refuse, (str(os.getpid()),)

    def __call__(self, task: int) -> int:
        return task


def _refuse(owner: str) -> OnlyHere:
    raise ImportError(f"no module named 'only_in_process_{owner}'")


@dataclass(frozen=True)
class Plus:
    """Adds an array to an array."""

    x: np.ndarray

    def __call__(self, task: np.ndarray) -> np.ndarray:
        return task + self.x
