"""Checkpoint: where a computation stands, in one file that is whole or not there, from which it goes on bit by bit as if undisturbed.

    checkpoint = Checkpoint(path, fingerprint)
    parts = checkpoint.load()                # None: there is nothing to go on from
    ...
    checkpoint.save([Record("cell", arrays, note), ...])

A part is a `Record`: named arrays and a note that JSON can say. The states of simulators and generators are such, and what only
exists as bytes (of torch, of OpenMM) is an array of them: `np.frombuffer(state, np.uint8)`.

File: a magic line with the version of this format, a record that names the fingerprint and all parts, then the parts, each block with
its checksums (`hpc.record`). A new one is written beside the old one, made durable, and takes its name in one step. The one before
stays as `PATH.previous`: a disk that flips bits costs one step more, not the run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpc.errors import DamagedError, FingerprintError
from hpc.publication import draft, publish, tidy
from hpc.record import Record, block, compare, decoded, read, storage_error, walk

_MAGIC = b"kakehashi checkpoint 1\n"
_KIND = b"kakehashi checkpoint "


class Checkpoint:
    """The checkpoint at a path.

    Args:
        path: the file; its folder is there.
        fingerprint: what the computation depends on: inputs, versions, seed.

    Attributes:
        older: whether the last `load` had to take the one before, since the last one is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: Mapping[str, str]) -> None:
        self.path = Path(path)
        self.previous = self.path.with_name(f"{self.path.name}.previous")
        self.older = False
        self._fingerprint = dict(fingerprint)

    def save(self, parts: Sequence[Record]) -> None:
        """Write a checkpoint; when this returns it outlives any crash, and until then the last one stands.

        Raises:
            StorageError: the disk is full or failing; the last checkpoint is whole.
            TypeError: an array of Python objects, or a note that JSON cannot say.
            ValueError: two parts of one name, or one without.
        """
        names = [part.key for part in parts]
        if len(set(names)) < len(names) or not all(names):
            raise ValueError(f"parts of a checkpoint need names of their own: {', '.join(map(repr, names))}.")
        head = Record("", note={"fingerprint": self._fingerprint, "parts": names})
        blocks = [piece for part in (head, *parts) for piece in block(part)]
        tidy(self.path)
        written = draft(self.path)
        try:
            with written.open("xb") as file:
                file.writelines([_MAGIC, *blocks])
            self._keep()
        except OSError as error:
            written.unlink(missing_ok=True)
            raise storage_error(self.path, error) from error
        try:
            publish(written, self.path, overwrite=True)
        finally:
            written.unlink(missing_ok=True)

    def load(self) -> dict[str, Record] | None:
        """The parts of the last checkpoint by name, or of the one before where that is damaged; None where there is none.

        Raises:
            FingerprintError: it is of something else, or of another version of kakehashi.
            DamagedError: both are damaged.
            StorageError: it cannot be read.
        """
        self.older = False
        damage: DamagedError | None = None
        for path in (self.path, self.previous):
            try:
                parts = self._read(path)
            except FileNotFoundError:
                continue
            except DamagedError as error:
                damage = damage or error
                continue
            except OSError as error:
                raise storage_error(path, error) from error
            self.older = path is self.previous
            return parts
        if damage is not None:
            raise damage
        return None

    def remove(self) -> None:
        """Delete it: what it was for is done."""
        self.path.unlink(missing_ok=True)
        self.previous.unlink(missing_ok=True)
        tidy(self.path)

    def _keep(self) -> None:
        """Give the last checkpoint its second name, under which it stays when the new one takes the first."""
        beside = draft(self.previous)
        try:
            os.link(self.path, beside)
        except FileNotFoundError:
            return
        except OSError:  # no hard links on this disk: one generation only
            return
        beside.replace(self.previous)

    def _read(self, path: Path) -> dict[str, Record]:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(file).st_size
            start = bytes(read(file, 0, min(size, len(_MAGIC))))
            if start != _MAGIC:
                raise self._other(path, start)
            end = len(_MAGIC)
            found: dict[str, Record] = {}
            for position, length, payload in walk(file, end):
                if payload is None:
                    raise self._damaged(path, "its bytes have changed")
                record = decoded(payload)
                found[record.key] = record
                end = position + length
        finally:
            os.close(file)
        if "" not in found:
            raise self._damaged(path, "its beginning is missing")
        head = found.pop("").note
        compare(path, head["fingerprint"], self._fingerprint)
        if end != size or list(found) != head["parts"]:
            raise self._damaged(path, f"it holds {len(found)} of {len(head['parts'])} parts and {size} bytes")
        return found

    def _other(self, path: Path, start: bytes) -> DamagedError | FingerprintError:
        if start.startswith(_KIND):
            return FingerprintError(
                f"{path} was written by another version of kakehashi. Go on with that version, or start anew with --overwrite."
            )
        return self._damaged(path, "it does not begin as a checkpoint does")

    @staticmethod
    def _damaged(path: Path, what: str) -> DamagedError:
        return DamagedError(
            f"{path} is damaged: {what}. Copy it back from where it was saved, or delete it to begin anew; check the disk."
        )
