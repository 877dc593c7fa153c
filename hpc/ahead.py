"""How many tasks a worker is given ahead of the one that it works on: as many as it ends while it would wait for another.

A worker that has nothing ahead waits from its result until the next task is there, and the longer, the more workers there are whose
results come together. Tasks ahead lie where they cannot be shared any more, though: none are given where tasks are long beside
that wait, where it is not known yet how long they are (unless the wait is), and at the end, where little is left to share.
"""

from __future__ import annotations

import math
from collections import deque

_WAIT_S = 1e-3  # for the looks of two ranks
_WAIT_PER_WORKER_S = 5e-5  # what the root needs for each, where all end together
_WORTH = 0.01  # a wait that is less than this share of a task is let be
_MOST = 32
_MANY_S = 0.1  # a wait that is worth an unknown task ahead: there are thousands of workers
_LATEST = 32  # tasks by which others are judged


class Ahead:
    """How far ahead the workers of one round are given tasks.

    Args:
        workers: how many there are.
    """

    def __init__(self, workers: int) -> None:
        self._workers = max(1, workers)
        self._wait_s = _WAIT_S + _WAIT_PER_WORKER_S * self._workers
        self._latest: deque[float] = deque(maxlen=_LATEST)
        self._depth, self._results = 0, 0

    @property
    def unknown_s(self) -> float:
        """When tasks are given ahead though none has ended yet [s since the round began]; never with few workers."""
        return self._wait_s if self._wait_s > _MANY_S else math.inf

    def note(self, took_s: float) -> None:
        """A task took its worker so long [s]."""
        self._latest.append(took_s)
        self._results -= 1

    def depth(self, left: int, since_s: float) -> int:
        """Tasks ahead of each worker, a power of two or none; no more than a fair share of what is left.

        Args:
            left: tasks that nobody has been given.
            since_s: time since the round began [s]; before the first result tasks are as long at least.
        """
        if not self._latest:
            self._depth = int(self.unknown_s <= since_s < self._wait_s / _WORTH)
        if self._results <= 0 and self._latest:  # once for each wave: who has room is counted anew at every change
            self._results = self._workers
            mean_s = sum(self._latest) / len(self._latest)
            if mean_s * _WORTH > self._wait_s:
                self._depth = 0
            else:
                self._depth = _power_of_two(min(_MOST, max(1, int(self._wait_s / max(mean_s, 1e-6)))))
        return min(self._depth, _power_of_two(left // self._workers))


def _power_of_two(number: int) -> int:
    """The largest that is not above it; 0 of 0."""
    return 1 << number.bit_length() - 1 if number > 0 else 0
