"""Vacancies: how many more tasks each rank of a crew takes, and whose turn it is; each step costs the same for any number of ranks."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping


class Vacancies:
    """Ranks that have room take turns: whoever is given a task goes to the end of the line.

    Args:
        free: room of each rank.
    """

    def __init__(self, free: Mapping[int, int]) -> None:
        self._free: dict[int, int] = {}
        self._line: deque[int] = deque()
        self._in_line: set[int] = set()
        self.total = 0
        """Room of all ranks together."""
        for rank, room in free.items():
            self.put(rank, room)

    def of(self, rank: int) -> int:
        """Room of a rank; 0 where it is not known."""
        return max(0, self._free.get(rank, 0))

    def put(self, rank: int, room: int) -> None:
        """A rank has this much room now."""
        self.total += max(0, room) - self.of(rank)
        self._free[rank] = room
        if room > 0 and rank not in self._in_line:
            self._in_line.add(rank)
            self._line.append(rank)

    def next(self) -> int | None:
        """Whose turn it is; None where nobody has room."""
        while self._line and self.of(self._line[0]) == 0:
            self._in_line.discard(self._line.popleft())
        return self._line[0] if self._line else None

    def take(self, rank: int) -> None:
        """A rank is given a task."""
        if self._line and self._line[0] == rank:
            self._line.rotate(-1)
        self.put(rank, self._free[rank] - 1)
