"""Journal: finished work on disk, one record after the other, so that a run killed at any moment goes on where it was.

File: a magic line, then records (`hpc.record`). The first is the fingerprint: what the results depend on (inputs, versions, seed).

What a crash leaves: SIGKILL costs nothing that `append` returned from, a crash of the machine at most the last second. A
torn last record is cut off; a damaged one in the middle is skipped, since its header still says where the next begins.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hpc.errors import FingerprintError, InUseError
from hpc.record import HEADER_BYTES, Record, block, compare, decoded, read, storage_error, walk

_MAGIC = b"kakehashi journal 1\n"
_SYNC_EVERY_S = 1.0
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


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
            raise storage_error(self.path, error) from error

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
            record = decoded(read(self._file, start, length))
        except OSError as error:
            raise storage_error(self.path, error) from error
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
            raise storage_error(self.path, error) from error

    def close(self) -> None:
        """Make everything durable and let go of the file."""
        if self._file < 0:
            return
        try:
            self._sync()
        except OSError as error:
            raise storage_error(self.path, error) from error
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
        start = read(self._file, 0, min(size, len(_MAGIC)))
        if start != _MAGIC[: len(start)]:
            raise FingerprintError(
                f"{self.path} is not a journal of this version of kakehashi. Start anew with --overwrite, or choose another place with --out."
            )
        if size <= len(_MAGIC):
            return 0
        first, end = True, len(_MAGIC)
        for position, length, payload in walk(self._file, len(_MAGIC)):
            if first:
                if payload is None:
                    raise FingerprintError(
                        f"{self.path}: what this journal belongs to can no longer be read (damaged on disk). "
                        "Start anew with --overwrite."
                    )
                compare(self.path, decoded(payload).note, fingerprint)
                first = False
            elif payload is not None:
                self._found[decoded(payload).key] = (position, length)
            else:
                self.damaged += 1
            end = position + length
        return 0 if first else end

    def _write_record(self, record: Record) -> tuple[int, int]:
        """Append a record; returns where its payload begins and how long it is."""
        parts = block(record)
        start, length = self._end + HEADER_BYTES, sum(len(part) for part in parts[1:])
        self._write(parts)
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
        records = walk(file.fileno(), len(_MAGIC))
        next(records, None)  # the fingerprint
        for _, _, payload in records:
            yield None if payload is None else decoded(payload).key


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
