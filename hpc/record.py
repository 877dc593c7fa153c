"""Record: named arrays and a note in one checksummed block of a file, of which journals and checkpoints are made.

A block is a header (marker, length of the payload, CRC-32 of the payload, CRC-32 of the header itself), then the payload: length of a
JSON text, the text (key, note, names, types and shapes of the arrays), the arrays as they lie in memory. Nothing is pickled.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpc.errors import FingerprintError, StorageError

_HEADER = struct.Struct("<4sQII")  # marker, payload length, CRC of the payload, CRC of what stands before
_MARKER = b"rec\n"
_TEXT = struct.Struct("<I")

HEADER_BYTES = _HEADER.size


@dataclass(frozen=True)
class Record:
    """One finished piece of work, or one part of a checkpoint.

    Attributes:
        key: which.
        arrays: its numbers, by name.
        note: anything else, as JSON can say it.
    """

    key: str
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    note: Any = None


def block(record: Record) -> list[bytes | memoryview]:
    """The block of a record, in parts that follow each other; the arrays are not copied.

    Raises:
        TypeError: an array of Python objects, or a note that JSON cannot say.
    """
    payload = _encoded(record)
    crc = 0
    for part in payload:
        crc = zlib.crc32(part, crc)
    head = _HEADER.pack(_MARKER, sum(len(part) for part in payload), crc, 0)[:-4]
    return [head + struct.pack("<I", zlib.crc32(head)), *payload]


def walk(file: int, start: int) -> Iterator[tuple[int, int, bytearray | None]]:
    """Where each block's payload begins, how long it is, and the payload; None where its bytes have changed.

    It ends before a block that was cut off.
    """
    size, position = os.fstat(file).st_size, start
    while position + _HEADER.size <= size:
        head = bytes(read(file, position, _HEADER.size))
        marker, length, crc, head_crc = _HEADER.unpack(head)
        position += _HEADER.size
        if marker != _MARKER or head_crc != zlib.crc32(head[:-4]) or position + length > size:
            return  # written when the run was killed, or not at all
        payload = read(file, position, length)
        yield position, length, payload if zlib.crc32(payload) == crc else None
        position += length


def decoded(payload: bytearray) -> Record:
    """The record of a payload."""
    (length,) = _TEXT.unpack_from(payload)
    position = _TEXT.size + length
    content = json.loads(payload[_TEXT.size : position].decode())
    arrays: dict[str, np.ndarray] = {}
    for name, type_, shape in content["arrays"]:
        dtype = np.dtype(type_)
        count = int(np.prod(shape, dtype=np.int64))
        if not count * dtype.itemsize:
            arrays[name] = np.empty(shape, dtype)
            continue
        # copied: what lies in the middle of a file is not aligned, and the arrays shall not hold the whole payload in memory
        arrays[name] = np.frombuffer(payload, dtype, count, position).reshape(shape).copy()
        position += count * dtype.itemsize
    return Record(content["key"], arrays, content["note"])


def read(file: int, start: int, length: int) -> bytearray:
    """Bytes of a file."""
    content = bytearray(length)
    view, done = memoryview(content), 0
    while done < length:
        count = os.preadv(file, [view[done : done + (1 << 30)]], start + done)
        if count == 0:
            raise OSError(errno.EIO, "the file has become shorter")
        done += count
    return content


def compare(path: Path, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Refuse what was written of something else.

    Raises:
        FingerprintError: names what differs.
    """
    if found == expected:
        return
    differing = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
    lines = "\n".join(
        f"    {name}: {found.get(name, 'absent')} there, {expected.get(name, 'absent')} now" for name in differing
    )
    raise FingerprintError(
        f"{path} belongs to a run on something else:\n{lines}\n"
        "  Restore what it was begun with to resume it, or start anew with --overwrite."
    )


def storage_error(path: Path, error: OSError) -> StorageError:
    """What the disk refused, with its cure."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    cure = (
        "Free some space (or raise the quota or `ulimit -f`), then go on with --resume."
        if full
        else "Check the disk and the permissions of its folder, or choose another place with --out."
    )
    return StorageError(f"{path}: {error.strerror or error}. What was written before is whole. {cure}")


def _encoded(record: Record) -> list[bytes | memoryview]:
    described: list[list[Any]] = []
    blocks: list[bytes | memoryview] = []
    for name, given in record.arrays.items():
        array = np.asarray(given, order="C")
        if array.dtype.hasobject or array.dtype.names:
            raise TypeError(
                f"array {name!r} of record {record.key!r} has dtype {array.dtype}; numbers or text of fixed length are needed."
            )
        described.append([name, array.dtype.str, array.shape])
        blocks.append(array.reshape(-1).view(np.uint8).data if array.nbytes else b"")
    text = json.dumps({"key": record.key, "note": record.note, "arrays": described}, ensure_ascii=False).encode()
    return [_TEXT.pack(len(text)) + text, *blocks]
