"""What travels between processes and ranks: a pickled object with its arrays beside, in one buffer that is passed on unread.

A parcel is a bytearray: a label (kind, round, index), for results when and where they were worked out, the sizes of its parts,
the pickle (protocol 5), and the arrays as they lie in memory (out-of-band buffers), each at a multiple of 64 bytes. A rank
hands on a worker's parcel without opening it, and the arrays that come out of a parcel are views of it: writable and not copied.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

_LABEL = struct.Struct("<qqqq")  # kind, round, index, number of parts
_WORK = struct.Struct("<qqqq")  # of a result: see `Work`
_HEAD = _LABEL.size + _WORK.size
_SIZE = struct.Struct("<q")
_ALIGNMENT = 64
_ALONE = 128  # where the pickle begins in a parcel without arrays
_ALONE_LABEL = struct.Struct("<qqqq32xq")  # label, no work, and the one size
_AT_MOST_AT_ONCE = 1 << 30  # read(2) and write(2) transfer less than 2 GiB at a time


class Kind(IntEnum):
    """What a parcel is."""

    READY = 1  # a worker has started
    FUNCTION = 2  # what to apply to the tasks of this round
    LOADED = 3  # a worker has unpickled the function
    TASK = 4
    RESULT = 5
    BROKEN = 6  # a worker cannot start, or cannot load the function: a text
    CANCEL = 7  # the round is over before its end
    SIGNAL = 8  # a rank received this signal (its number as index)
    LEAVE = 9  # no more rounds; sent back by a rank that leaves
    TEAM = 10  # the ranks that answer to the receiver in this round
    ORPHAN = 11  # whoever led this rank in this round has died, and nobody else has told it anything since
    BUNDLE = 12  # several parcels
    PLACED = 13  # ranks answer for simulators and take no tasks: who does for which


_KINDS = (None, *Kind)  # Kind(number) takes ten times longer


class Label(NamedTuple):
    """What stands on a parcel."""

    kind: Kind
    round: int
    task: int


class Work(NamedTuple):
    """When and where a result was worked out, as its worker measured.

    Attributes:
        began_ns: Unix time [ns] by the clock of the worker's node.
        took_ns: duration [ns].
        rank: MPI rank of the worker; 0 without MPI.
        worker: its process id.
    """

    began_ns: int
    took_ns: int
    rank: int
    worker: int


def pack(kind: Kind, content: Any = None, *, round: int = 0, index: int = 0) -> bytearray:
    """A labelled parcel with this content.

    Raises whatever pickling raises for content that cannot be pickled.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
    if not buffers:
        parcel = bytearray(_ALONE)
        _ALONE_LABEL.pack_into(parcel, 0, kind, round, index, 1, len(head))
        parcel += head
        return parcel
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    sizes = [part.nbytes for part in parts]
    starts, total = _starts(sizes)
    parcel = bytearray(total)
    _LABEL.pack_into(parcel, 0, kind, round, index, len(parts))
    struct.pack_into(f"<{len(sizes)}q", parcel, _HEAD, *sizes)
    view = memoryview(parcel)
    for start, part in zip(starts, parts, strict=True):
        view[start : start + part.nbytes] = part
    return parcel


def label(parcel: bytearray) -> Label:
    """What stands on it; the content stays packed."""
    kind, round_, index, _ = _LABEL.unpack_from(parcel)
    return Label(_KINDS[kind], round_, index)  # pyright: ignore[reportArgumentType]


def stamp(parcel: bytearray, work: Work) -> bytearray:
    """The same parcel, with when and where it was worked out."""
    _WORK.pack_into(parcel, _LABEL.size, *work)
    return parcel


def work(parcel: bytearray) -> Work | None:
    """What `stamp` wrote; None on a parcel that no worker stamped."""
    found = Work(*_WORK.unpack_from(parcel, _LABEL.size))
    return found if found.worker else None


def unpack(parcel: bytearray) -> Any:
    """The content; its arrays are views of the parcel."""
    count = _LABEL.unpack_from(parcel)[3]
    if count == 1:
        return pickle.loads(memoryview(parcel)[_ALONE:])
    sizes = struct.unpack_from(f"<{count}q", parcel, _HEAD)
    starts, _ = _starts(sizes)
    view = memoryview(parcel)
    head, *buffers = (view[start : start + size] for start, size in zip(starts, sizes, strict=True))
    return pickle.loads(head, buffers=buffers)


def bundle(parcels: Sequence[bytearray]) -> bytearray:
    """Parcels in one, to be sent as one message."""
    parcel = bytearray(_HEAD + _SIZE.size * len(parcels))
    _LABEL.pack_into(parcel, 0, Kind.BUNDLE, 0, 0, len(parcels))
    struct.pack_into(f"<{len(parcels)}q", parcel, _HEAD, *map(len, parcels))
    for one in parcels:
        parcel += one
    return parcel


def unbundle(parcel: bytearray) -> list[bytearray]:
    """The parcels of a bundle, in their order; of any other parcel, itself."""
    kind, _, _, count = _LABEL.unpack_from(parcel)
    if kind != Kind.BUNDLE:
        return [parcel]
    start, parcels = _HEAD + _SIZE.size * count, list[bytearray]()
    for size in struct.unpack_from(f"<{count}q", parcel, _HEAD):
        parcels.append(parcel[start : start + size])
        start += size
    return parcels


def send(descriptor: int, parcel: bytearray) -> None:
    """Write a parcel to a stream.

    Raises:
        BrokenPipeError, ConnectionResetError: the other end is gone.
    """
    size, rest = memoryview(_SIZE.pack(len(parcel))), memoryview(parcel)
    while len(size) or len(rest):  # both in one call: the reader is woken once
        done = os.writev(descriptor, (size, rest[:_AT_MOST_AT_ONCE]))
        size, rest = size[done:], rest[max(0, done - len(size)) :]


def receive(descriptor: int) -> bytearray:
    """Read a parcel from a stream.

    Raises:
        EOFError: the other end is gone, perhaps in the middle of a parcel.
    """
    size = bytearray(_SIZE.size)
    _fill(descriptor, size)
    parcel = bytearray(_SIZE.unpack(size)[0])
    _fill(descriptor, parcel)
    return parcel


def _fill(descriptor: int, target: bytearray) -> None:
    view = memoryview(target)
    done = 0
    while done < len(target):
        try:
            count = os.readv(descriptor, [view[done : done + _AT_MOST_AT_ONCE]])
        except ConnectionResetError:
            count = 0
        if count == 0:
            raise EOFError
        done += count


def _starts(sizes: list[int] | tuple[int, ...]) -> tuple[list[int], int]:
    """Where each part begins, and the length of the whole."""
    position = _HEAD + _SIZE.size * len(sizes)
    starts: list[int] = []
    for size in sizes:
        position = -(-position // _ALIGNMENT) * _ALIGNMENT
        starts.append(position)
        position += size
    return starts, position
