"""Which simulators of a twin run on which ranks: `molecular=1-3 cell=0`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

from hpc.errors import PlacementError

_HIGHEST = 10_000_000
_WORD = re.compile(r"([^=\s]+)=(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)")


@dataclass(frozen=True)
class Placement:
    """Ranks of each placed simulator. Rank 0 leads, and runs what nobody placed elsewhere.

    Args:
        ranks: simulator → its ranks, ascending. On several, its members are shared out among them.

    Raises:
        PlacementError: no rank, or rank 0 together with others: who leads cannot wait for its own share.
    """

    ranks: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranks", MappingProxyType({n: tuple(sorted(set(r))) for n, r in self.ranks.items()}))
        for name, ranks in self.ranks.items():
            if not ranks:
                raise PlacementError(f"placement of {name}: no rank; write e.g. {name}=1-3.")
            if 0 in ranks and len(ranks) > 1:
                raise PlacementError(
                    f"placement {name}={shown(ranks)}: rank 0 leads the others and cannot share one simulator with them; "
                    f"write {name}=0, or {name}={shown(ranks[1:])}."
                )

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """From words such as ``molecular=1-3`` and ``cell=0``.

        Raises:
            PlacementError: a word that is no placement, ranks that descend, or a simulator placed twice.
        """
        ranks: dict[str, tuple[int, ...]] = {}
        for word in words:
            match = _WORD.fullmatch(word)
            if match is None:
                raise PlacementError(f"placement {word!r}: expected SIMULATOR=RANKS, e.g. molecular=1-3 or cell=0,4.")
            name, numbers = match.groups()
            if name in ranks:
                raise PlacementError(f"placement {word!r}: {name} is placed twice; name all of its ranks in one word.")
            ranks[name] = tuple(rank for part in numbers.split(",") for rank in _range(part, word))
            twice = next((rank for rank in ranks[name] if ranks[name].count(rank) > 1), None)
            if twice is not None:
                raise PlacementError(f"placement {word!r}: rank {twice} is named twice; name each rank of {name} once.")
        if not ranks:
            raise PlacementError("a placement is empty; write e.g. cell=1-3, or leave it out.")
        return cls(ranks)

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, tuple[int, ...]]]]:
        return type(self), (dict(self.ranks),)

    @property
    def elsewhere(self) -> bool:
        """Whether anything runs on another rank than rank 0."""
        return any(ranks != (0,) for ranks in self.ranks.values())

    def only(self, simulators: Collection[str]) -> Placement:
        """The part of it that is about these simulators."""
        return Placement({name: ranks for name, ranks in self.ranks.items() if name in simulators})

    def without(self, lost: Collection[int], *, size: int, leader: int = 0) -> Placement:
        """What becomes of it where ranks have died. A simulator goes on with those of its ranks that are left; one that has lost
        all goes to the rank with the fewest simulators, and to the one that leads where there is no other.

        Args:
            lost: ranks that have died.
            size: ranks of the job.
            leader: who leads, in place of rank 0 if that has died; it shares no simulator.
        """
        gone = {*lost, leader}
        left = {name: tuple(rank for rank in ranks if rank not in gone) for name, ranks in self.ranks.items()}
        workers = [rank for rank in range(size) if rank not in gone]
        for name, ranks in self.ranks.items():
            if ranks == (0,) or (not left[name] and not workers):
                left[name] = (leader,)
            elif not left[name]:
                held = {rank: sum(rank in one for one in left.values()) for rank in workers}
                left[name] = (min(workers, key=lambda rank: (held[rank], rank)),)
        return Placement(left)

    def idle(self, size: int) -> tuple[int, ...]:
        """Ranks of a job to which nothing is left to do; rank 0 leads."""
        busy = {0, *(rank for ranks in self.ranks.values() for rank in ranks)}
        return tuple(rank for rank in range(size) if rank not in busy)

    def check_names(self, simulators: Sequence[str], *, where: str = "the twin") -> None:
        """Refuse a name that is no simulator's.

        Raises:
            PlacementError: says near names, and which ones there are.
        """
        for name, ranks in self.ranks.items():
            if name not in simulators:
                near = difflib.get_close_matches(name, simulators, n=1)
                cure = f"did you mean {near[0]}? It has" if near else "it has"
                raise PlacementError(
                    f"placement {name}={shown(ranks)}: {where} has no simulator {name!r}; {cure} {', '.join(simulators)}."
                )

    def check(self, simulators: Sequence[str], *, size: int) -> None:
        """Refuse what does not fit a twin and a job.

        Args:
            simulators: of the twin.
            size: ranks of the job.

        Raises:
            PlacementError: no such simulator, or a rank that the job has not.
        """
        self.check_names(simulators)
        self.check_size(size)

    def check_size(self, size: int) -> None:
        """Refuse ranks that a job of this size has not. Raises `PlacementError`."""
        for name, ranks in self.ranks.items():
            if ranks[-1] >= size:
                one = "1 rank, 0" if size == 1 else f"{size} ranks, 0-{size - 1}"
                raise PlacementError(
                    f"placement {name}={shown(ranks)}: the job has {one}; launch more (mpiexec -n {ranks[-1] + 1} …), or "
                    "place on fewer."
                )

    def on(self, rank: int) -> tuple[str, ...]:
        """What runs on a rank."""
        return tuple(name for name, ranks in self.ranks.items() if rank in ranks)

    def __str__(self) -> str:
        return " ".join(f"{name}={shown(ranks)}" for name, ranks in self.ranks.items())


def _range(part: str, word: str) -> range:
    first, _, last = part.partition("-")
    if last and int(last) < int(first):
        raise PlacementError(f"placement {word!r}: ranks {part} descend; write {last}-{first}.")
    if int(last or first) > _HIGHEST:
        raise PlacementError(f"placement {word!r}: rank {last or first}; no job has so many ranks.")
    return range(int(first), int(last or first) + 1)


def shown(ranks: Sequence[int]) -> str:
    """Ranks as they are written: ``1-3,5``."""
    parts: list[str] = []
    start = 0
    for i in range(1, len(ranks) + 1):
        if i == len(ranks) or ranks[i] != ranks[i - 1] + 1:
            parts.append(f"{ranks[start]}" if i - start == 1 else f"{ranks[start]}-{ranks[i - 1]}")
            start = i
    return ",".join(parts)
