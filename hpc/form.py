"""A form of messages between coupled ranks, agreed once: named arrays in three groups, how many numbers, and a few plain facts.

Both ends know a form by its number, so that a message is one block of bytes: number, ticket, the numbers, and the arrays as they
lie in memory, each at a multiple of 16 bytes. Large arrays follow as they are, without a copy. In a coupled run the same few
forms go to and fro.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Buffer = NDArray[np.uint8]
Group = Mapping[str, Array]
Groups = tuple[Group, Group, Group]
Spec = tuple[str, str, Sequence[int]]  # name, dtype, shape
Place = tuple[Array | None, np.dtype[Any], tuple[int, ...]]  # in a buffer; None: a large array, which follows
_ALIGNMENT = 16
_LARGE = 32_768  # bytes of an array: from here on a message of its own costs less than a copy on both sides


@dataclass(slots=True)
class Message:
    """What arrived.

    Attributes:
        kind, about: small numbers, for who reads it.
        groups: arrays by name.
        facts: of the form; a dict of its own.
        ticket: a small number as well.
        numbers: that may differ in every message of a form.
    """

    kind: int
    about: int
    groups: tuple[dict[str, Array], dict[str, Array], dict[str, Array]]
    facts: dict[str, Any]
    ticket: int = 0
    numbers: tuple[float, ...] = ()


class Form:
    """A form of messages.

    Args:
        kind, about: small numbers, the same in all messages of this form.
        facts: what JSON can hold, the same as well; NaN and infinities too.
        groups: for each, names, dtypes and shapes of its arrays.
        count: of numbers.

    Attributes:
        number: by which the other end knows it; 0: it does not.
        said: its facts to the last bit and type.
        head: number, ticket and numbers, as a struct.
        total: bytes of a message without its large arrays; `bytes` with them.
        dtypes, shapes: of all arrays.
        starts: where each lies in a message; -1: it follows, being large.

    Raises:
        TypeError: an array of objects or records, which are no plain bytes.
    """

    def __init__(
        self, kind: int, about: int, facts: Mapping[str, Any], groups: Sequence[Sequence[Spec]], count: int
    ) -> None:
        self.number, self.kind, self.about, self.count = 0, kind, about, count
        self.facts, self.said = dict(facts), _said(facts)
        self.head = struct.Struct(f"<qq{count}d")
        self._names = [[name for name, _, _ in group] for group in groups]
        self._edges = (len(self._names[0]), len(self._names[0]) + len(self._names[1]))
        self.dtypes = [np.dtype(code) for group in groups for _, code, _ in group]
        self.shapes = [tuple(shape) for group in groups for _, _, shape in group]
        self.starts: list[int] = []
        self.total, self.bytes = self.head.size, 0
        for name, dtype, shape in zip(
            (n for names in self._names for n in names), self.dtypes, self.shapes, strict=True
        ):
            if dtype.hasobject or dtype.names is not None:
                raise TypeError(f"array {name!r} of {dtype} cannot go to another rank; expected plain numbers.")
            size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            if size >= _LARGE:
                self.starts.append(-1)
                self.bytes += size
                continue
            self.starts.append(-(-self.total // _ALIGNMENT) * _ALIGNMENT)
            self.total = self.starts[-1] + size
        self.bytes += self.total
        self.large = [i for i, start in enumerate(self.starts) if start < 0]

    @classmethod
    def of(cls, kind: int, about: int, facts: Mapping[str, Any], groups: Groups, count: int) -> Form:
        """The form of a message with these contents."""
        specs = [[(name, array.dtype.str, array.shape) for name, array in group.items()] for group in groups]
        return cls(kind, about, facts, specs, count)

    @classmethod
    def read(cls, text: bytes) -> Form:
        """From its text."""
        number, kind, about, facts, groups, count = json.loads(text)
        form = cls(kind, about, facts, groups, count)
        form.number = number
        return form

    def text(self) -> bytes:
        """As the other end reads it."""
        specs = iter([(dtype.str, shape) for dtype, shape in zip(self.dtypes, self.shapes, strict=True)])
        groups = [[(name, *next(specs)) for name in names] for names in self._names]
        return json.dumps([self.number, self.kind, self.about, self.facts, groups, self.count]).encode()

    def says(self, facts: Mapping[str, Any], count: int) -> bool:
        """Whether a message with these facts and so many numbers may have this form."""
        return count == self.count and (not (facts or self.facts) or _said(facts) == self.said)

    def views(self, buffer: Buffer) -> list[Array]:
        """The places in a buffer of all arrays but the large ones."""
        places = zip(self.dtypes, self.shapes, self.starts, strict=True)
        return [np.ndarray(shape, dtype, buffer, start) for dtype, shape, start in places if start >= 0]

    def places(self, buffer: Buffer) -> list[tuple[list[str], list[Place]]]:
        """The places in a buffer of all arrays, group by group with their names."""
        views = iter(self.views(buffer))
        rest = zip(self.dtypes, self.shapes, self.starts, strict=True)
        found = iter([(next(views) if start >= 0 else None, dtype, shape) for dtype, shape, start in rest])
        return [(names, [next(found) for _ in names]) for names in self._names]

    def message(self, arrays: Sequence[Array]) -> Message:
        """A message of these arrays, without ticket and numbers."""
        first, second, third = self._names
        one, two = self._edges
        groups = (
            dict(zip(first, arrays)) if one else {},  # noqa: B905 (the first so many)
            dict(zip(second, arrays[one:two] if one or third else arrays)) if second else {},  # noqa: B905
            dict(zip(third, arrays[two:])) if third else {},  # noqa: B905
        )
        return Message(self.kind, self.about, groups, {**self.facts}, 0, ())


def copied(groups: Groups, places: Sequence[tuple[list[str], list[Place]]]) -> list[Array] | None:
    """Copy arrays to their places; the large ones, or None where names, their order, a dtype or a shape differs."""
    large: list[Array] = []
    for group, (names, own) in zip(groups, places):  # noqa: B905 (three; every microsecond counts)
        if group or names:
            if [*group] != names:
                return None
            for array, (view, dtype, shape) in zip(group.values(), own):  # noqa: B905 (as many as names)
                if array.shape != shape or array.dtype != dtype:
                    return None
                if view is None:
                    large.append(array)
                else:
                    view[...] = array
    return large


def _said(facts: Mapping[str, Any]) -> str:
    """Facts to the last bit and type: 1, 1.0, True and -0.0 differ, NaN does not differ from itself."""
    return repr([*facts.items()]) if facts else ""
