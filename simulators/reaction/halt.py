"""Work of many members that can be told to end: by a time limit, by Ctrl-C, or because a part of it failed.

The kernels look at a flag once per step. Whoever asked for the work only waits meanwhile, so that Python hears signals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from time import monotonic
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Part = TypeVar("Part")


class Halt:
    """A flag that kernels can read.

    Attributes:
        flag: one number, not 0 once the work shall end.
    """

    def __init__(self) -> None:
        self.flag: NDArray[np.uint8] = np.zeros(1, dtype=np.uint8)

    def call(self) -> None:
        """Let the work end."""
        self.flag[0] = 1

    @property
    def called(self) -> bool:
        """Whether the work shall end."""
        return bool(self.flag[0])


def deadline(seconds: float | None) -> float | None:
    """When a limit from now on is reached, on the clock of `shared_out`."""
    return None if seconds is None else monotonic() + seconds


def past(end: float | None) -> bool:
    """Whether a deadline has passed."""
    return end is not None and monotonic() >= end


def shared_out(
    work: Callable[[Part], None], parts: Sequence[Part], *, threads: int, halt: Halt, end: float | None = None
) -> None:
    """Do all parts on some threads; the halt is called when `end` has come, after an interruption, or if a part fails.

    Args:
        work: what to do with a part; it looks at the halt, and returns soon once that is called.
        end: on the monotonic clock; None: no limit.
    """
    if past(end):
        halt.call()  # nobody begins
    with ThreadPoolExecutor(max(1, min(threads, len(parts)))) as pool:
        try:  # an interruption may come as soon as the first has begun
            tasks = [pool.submit(work, part) for part in parts]
            left = None if end is None else max(0.0, end - monotonic())
            if wait(tasks, timeout=left, return_when=FIRST_EXCEPTION).not_done:
                halt.call()
            for task in tasks:
                task.result()
        finally:
            halt.call()
