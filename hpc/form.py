"""A form of messages between coupled ranks, agreed once: named arrays in three groups, how many numbers, and a few plain facts.

Both ends know a form by its number, so that a message is one block of bytes: number, ticket, the numbers, and the arrays as they
lie in memory, each at a multiple of 16 bytes. Large arrays follow as they are, without a copy. In a coupled run the same few
forms go to and fro.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc import scribe
from hpc.scribe import Array, Group, Read, Write

Buffer = NDArray[np.uint8]
Groups = tuple[Group, Group, Group]
Spec = tuple[str, str, Sequence[int]]  # name, dtype, shape
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
        facts: plain values by name, the same as well.
        groups: for each, names, dtypes and shapes of its arrays.
        count: of numbers.

    Attributes:
        number: by which the other end knows it; 0: it does not.
        key: what makes two forms one.
        said: its facts to the last bit and type.
        head: number, ticket and numbers, as a struct.
        total: bytes of a message without its large arrays; `bytes` with them.
        names: of the arrays, by group.
        dtypes, shapes: of all arrays.
        starts: where each lies in a message; -1: it follows, being large.
        message: all arrays, one by one -> the message of them, without ticket and numbers.

    Raises:
        TypeError: an array of objects or records, which are no plain bytes.
    """

    def __init__(
        self, kind: int, about: int, facts: Mapping[str, Any], groups: Sequence[Sequence[Spec]], count: int
    ) -> None:
        self.number, self.kind, self.about, self.count = 0, int(kind), about, count
        self.facts, self.said = dict(facts), _said(facts)
        self.head = struct.Struct(f"<qq{count}d")
        self._specs = groups
        self.key = (self.kind, about, self.said, repr(groups), count)
        self.names = [[name for name, _, _ in group] for group in groups]
        self.dtypes = [np.dtype(code) for group in groups for _, code, _ in group]
        self.shapes = [tuple(shape) for group in groups for _, _, shape in group]
        self.starts: list[int] = []
        self.total, self.bytes = self.head.size, 0
        for name, dtype, shape in zip(
            (n for names in self.names for n in names), self.dtypes, self.shapes, strict=True
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
        self.large = tuple(i for i, start in enumerate(self.starts) if start < 0)
        self._counts = tuple(map(len, self.names))
        self.message: Read = scribe.reader(self._counts, bool(self.facts))(
            self.names, Message, self.kind, about, self.facts
        )

    @classmethod
    def of(cls, kind: int, about: int, facts: Mapping[str, Any], groups: Groups, count: int) -> Form:
        """The form of a message with these contents."""
        specs = [[(name, array.dtype.str, array.shape) for name, array in group.items()] for group in groups]
        return cls(kind, about, facts, specs, count)

    @classmethod
    def read(cls, text: bytes) -> Form:
        """From its text."""
        number, *contents = pickle.loads(text)
        form = cls(*contents)
        form.number = number
        return form

    def text(self) -> bytes:
        """As the other end reads it."""
        return pickle.dumps((self.number, self.kind, self.about, self.facts, self._specs, self.count), protocol=5)

    def says(self, facts: Mapping[str, Any]) -> bool:
        """Whether a message with these facts may have this form."""
        return not (facts or self.facts) or _said(facts) == self.said

    def views(self, buffer: Buffer) -> list[Array]:
        """The places in a buffer of all arrays but the large ones."""
        places = zip(self.dtypes, self.shapes, self.starts, strict=True)
        return [np.ndarray(shape, dtype, buffer, start) for dtype, shape, start in places if start >= 0]

    def writer(self, buffer: Buffer, go: Callable[[], None]) -> Write:
        """What writes a message into this buffer, once the form has its number, and then lets it go."""
        views = iter(self.views(buffer))
        places = [next(views) if start >= 0 else None for start in self.starts]
        made = scribe.writer(self._counts, self.count, self.large)
        return made(
            self.names, self.count, places, self.dtypes, self.shapes, self.head.pack_into, buffer.data, self.number, go
        )


def _said(facts: Mapping[str, Any]) -> str:
    """Facts to the last bit and type: 1, 1.0, True and -0.0 differ, NaN does not differ from itself."""
    return repr([*facts.items()]) if facts else ""
