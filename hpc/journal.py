"""Journal: finished work on disk, one record after the other, so that a run killed at any moment goes on where it was.

File: a magic line, then records. A record is a header (marker, length of the payload, CRC-32 of the payload, CRC-32 of the
header itself), then the payload: length of a JSON text, the text (key, note, names, types and shapes of the arrays), the arrays as they
lie in memory. Nothing is pickled. The first record is the fingerprint: what the results depend on (inputs, versions, seed).

What a crash leaves: SIGKILL costs nothing that `append` returned from, a crash of the machine at most the last second. A
torn last record is cut off; a damaged one in the middle is skipped, since its header still says where the next begins.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hpc.errors import FingerprintError, InUseError, StorageError

_MAGIC = b"kakehashi journal 1\n"
_HEADER = struct.Struct("<4sQII")  # marker, payload length, CRC of the payload, CRC of what stands before
_MARKER = b"rec\n"
_TEXT = struct.Struct("<I")
_SYNC_EVERY_S = 1.0
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Record:
    """One finished piece of work.

    Attributes:
        key: which.
        arrays: its numbers, by name.
        note: anything else, as JSON can say it.
    """

    key: str
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    note: Any = None


class Journal:
    """The journal at a path: opened, locked against other runs, read and appended to.

    Args:
        path: the file; made if it is not there.
        fingerprint: what the results depend on, e.g. `{"scenario": sha256, "seed": "1", "kakehashi": "0.1.0"}`.
        fresh: start anew, whatever lies there.
        patience_s: wait so long for another run that has it open.

    Raises:
        FingerprintError: the file belongs to a run on something else, or is no journal.
        InUseError: another run has it open.
        StorageError: it cannot be read or written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fingerprint: Mapping[str, str],
        *,
        fresh: bool = False,
        patience_s: float = 0.0,
    ) -> None:
        self.path = Path(path)
        self.damaged = 0  # records that were skipped because their bytes have changed
        self._found: dict[str, tuple[int, int]] = {}  # key: where the payload begins, how long it is
        self._synced = time.monotonic()
        try:
            self._file = _open_locked(self.path, patience_s)
            try:
                self._end = 0 if fresh else self._scan(dict(fingerprint))
                if os.fstat(self._file).st_size > self._end:
                    os.ftruncate(self._file, self._end)
                if self._end == 0:
                    self._write([_MAGIC])
                    self._write_record(Record("", note=dict(fingerprint)))
                    self._sync()
                    sync_directory(self.path.parent)
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            raise _storage_error(self.path, error) from error

    def __contains__(self, key: object) -> bool:
        return key in self._found

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[str]:
        """The keys, in the order in which they were first written."""
        return iter(list(self._found))

    def read(self, key: str) -> Record:
        """The record of a key, the last one written.

        Raises:
            KeyError: there is none.
            StorageError: it cannot be read any more, though it could when the journal was opened.
        """
        start, length = self._found[key]
        try:
            record = _decode(_read(self._file, start, length))
        except OSError as error:
            raise _storage_error(self.path, error) from error
        return record

    def append(self, key: str, arrays: Mapping[str, np.ndarray] | None = None, note: Any = None) -> None:
        """Write a record; when this returns, no kill can take it away.

        Raises:
            StorageError: the disk is full or failing; the records before are whole, and the journal can be used on.
            TypeError: an array of Python objects, or a note that JSON cannot say.
            ValueError: an empty key.
        """
        if not key:
            raise ValueError("the key of a journal's record is empty; give it a name")
        try:
            self._found[key] = self._write_record(Record(key, arrays or {}, note))
            if time.monotonic() - self._synced >= _SYNC_EVERY_S:
                self._sync()
        except OSError as error:
            raise _storage_error(self.path, error) from error

    def close(self) -> None:
        """Make everything durable and let go of the file."""
        if self._file < 0:
            return
        try:
            self._sync()
        except OSError as error:
            raise _storage_error(self.path, error) from error
        finally:
            os.close(self._file)
            self._file = -1

    def remove(self) -> None:
        """Delete the file: the result is published, nothing is left to resume."""
        if self._file >= 0:
            # unlinked while still locked: nobody can begin to write into what is about to vanish
            self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _scan(self, fingerprint: dict[str, str]) -> int:
        """Index what is there; returns where the next record goes, 0 for an empty file."""
        size = os.fstat(self._file).st_size
        start = _read(self._file, 0, min(size, len(_MAGIC)))
        if start != _MAGIC[: len(start)]:
            raise FingerprintError(
                f"{self.path} is not a journal of this version of kakehashi. Start anew with --overwrite, or choose another place with --out."
            )
        if size <= len(_MAGIC):
            return 0
        first, end = True, len(_MAGIC)
        for position, length, payload in _walk(self._file):
            if first:
                if payload is None:
                    raise FingerprintError(
                        f"{self.path}: what this journal belongs to can no longer be read (damaged on disk). "
                        "Start anew with --overwrite."
                    )
                _compare(self.path, _decode(payload).note, fingerprint)
                first = False
            elif payload is not None:
                self._found[_decode(payload).key] = (position, length)
            else:
                self.damaged += 1
            end = position + length
        return 0 if first else end

    def _write_record(self, record: Record) -> tuple[int, int]:
        """Append a record; returns where its payload begins and how long it is."""
        payload = _encode(record)
        length = sum(len(part) for part in payload)
        crc = 0
        for part in payload:
            crc = zlib.crc32(part, crc)
        head = _HEADER.pack(_MARKER, length, crc, 0)[:-4]
        start = self._end + _HEADER.size
        self._write([head + struct.pack("<I", zlib.crc32(head)), *payload])
        return start, length

    def _write(self, parts: list[bytes | memoryview]) -> None:
        """Append all of it, or leave the file as it was."""
        position = self._end
        try:
            for part in parts:
                view = memoryview(part)
                while view:
                    count = os.pwrite(self._file, view, position)
                    position += count
                    view = view[count:]
        except BaseException:
            with suppress(OSError):  # what stays is cut off at the next opening, by its CRC
                os.ftruncate(self._file, self._end)
            raise
        self._end = position

    def _sync(self) -> None:
        os.fdatasync(self._file)
        self._synced = time.monotonic()


def keys(path: Path) -> Iterator[str | None]:
    """Keys of all records of a journal in the order of writing, as often as they were written; None for a damaged one."""
    with path.open("rb") as file:
        records = _walk(file.fileno())
        next(records, None)  # the fingerprint
        for _, _, payload in records:
            yield None if payload is None else _decode(payload).key


def _walk(file: int) -> Iterator[tuple[int, int, bytearray | None]]:
    """Where each record's payload begins, how long it is, and the payload; None where its bytes have changed."""
    size, position = os.fstat(file).st_size, len(_MAGIC)
    while position + _HEADER.size <= size:
        head = bytes(_read(file, position, _HEADER.size))
        marker, length, crc, head_crc = _HEADER.unpack(head)
        position += _HEADER.size
        if marker != _MARKER or head_crc != zlib.crc32(head[:-4]) or position + length > size:
            return  # written when the run was killed, or not at all
        payload = _read(file, position, length)
        yield position, length, payload if zlib.crc32(payload) == crc else None
        position += length


def sync_directory(path: Path) -> None:
    """Make names in a directory durable: a new file is, only when its directory is."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems do not know this, and need not
            raise
    finally:
        os.close(descriptor)


def _open_locked(path: Path, patience_s: float) -> int:
    deadline = time.monotonic() + patience_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            if time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            raise InUseError(
                f"{path} is being written by another run (on {socket.gethostname()} or a machine that shares this disk). "
                "Wait until it ends, stop it, or choose another place with --out."
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                os.close(descriptor)
                raise
        try:
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # removed by the run that held it, between our opening and our locking


def _encode(record: Record) -> list[bytes | memoryview]:
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


def _decode(payload: bytearray) -> Record:
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


def _compare(path: Path, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
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


def _read(file: int, start: int, length: int) -> bytearray:
    content = bytearray(length)
    view, done = memoryview(content), 0
    while done < length:
        count = os.preadv(file, [view[done : done + (1 << 30)]], start + done)
        if count == 0:
            raise OSError(errno.EIO, "the file has become shorter")
        done += count
    return content


def _storage_error(path: Path, error: OSError) -> StorageError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    cure = (
        "Free some space (or raise the quota or `ulimit -f`), then go on with --resume."
        if full
        else "Check the disk and the permissions of its folder, or choose another place with --out."
    )
    return StorageError(f"{path}: {error.strerror or error}. What was written before is whole. {cure}")
