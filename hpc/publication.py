"""Publication: a result appears whole under its name, or not at all, whenever the run is killed.

    place = draft(final)               # a hidden sibling, on the same disk
    ...                                # write a directory or a file there
    publish(place, final, overwrite=True)

A new name takes one rename. Replacing takes one exchange of names where the system can do that (Linux, most local disks); else
the old one steps aside, the new one takes its name, and the old one is deleted: if the run is killed in between,
`tidy` at the next start brings the old one back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hpc import stop
from hpc.errors import ExistsError, StorageError
from hpc.journal import sync_directory

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_AT_WORKING_DIRECTORY = -100
_FOREIGN_REMAINS_S = 24 * 3600.0


def draft(final: Path) -> Path:
    """A free path beside the final one to write to: it tells whose it is, so that remains can be cleared away."""
    return final.with_name(f".{final.name}.partial-{os.getpid()}-{secrets.token_hex(3)}-{socket.gethostname()}")


def publish(written: Path, final: Path, *, overwrite: bool = False) -> None:
    """Give what was written its final name, durably.

    Raises:
        ExistsError: something bears that name, and `overwrite` is not given.
        StorageError: the disk refuses; what bore the name before still does.
    """
    try:
        _sync(written)
        with stop.deferred():
            if not overwrite:
                _rename_to_free_name(written, final)
            elif os.path.lexists(final):
                _replace(written, final)
            else:
                written.rename(final)
            sync_directory(final.parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(
            f"{final}: {error.strerror or error}. The result could not be put there; what was there is as it was. "
            "Free some space or check permissions, then go on with --resume."
        ) from error


def tidy(final: Path) -> None:
    """Bring back or clear away what killed runs left beside this name.

    Remains of running processes of this machine stay, and those of another machine younger than a day.
    """
    for remains in sorted(final.parent.glob(f".{_escaped(final.name)}.replaced-*")):
        if os.path.lexists(final):
            _delete(remains)
        else:
            remains.rename(final)
    for remains in final.parent.glob(f".{_escaped(final.name)}.partial-*"):
        if _abandoned(remains):
            _delete(remains)


def _rename_to_free_name(written: Path, final: Path) -> None:
    refusal = ExistsError(f"{final} is there already. Replace it with --overwrite, or choose another place with --out.")
    if os.path.lexists(final):
        raise refusal
    if written.is_dir():
        try:
            written.rename(final)  # would fail on a directory that is not empty; an empty one is no loss
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise refusal from error
            raise
        return
    try:
        os.link(written, final)  # unlike rename, refuses a name that has been taken meanwhile
    except FileExistsError as error:
        raise refusal from error
    except OSError:  # no hard links on this disk
        written.rename(final)
    else:
        written.unlink()


def _replace(written: Path, final: Path) -> None:
    if not written.is_dir() and not final.is_dir():
        written.replace(final)
        return
    if _exchange(written, final):
        _delete(written)
        return
    aside = final.with_name(f".{final.name}.replaced-{secrets.token_hex(3)}")
    final.rename(aside)
    try:
        written.rename(final)
    except BaseException:
        aside.rename(final)
        raise
    _delete(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names at once; False where the system or the disk cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done = renameat2(
        _AT_WORKING_DIRECTORY, os.fsencode(one), _AT_WORKING_DIRECTORY, os.fsencode(other), ctypes.c_uint(_EXCHANGE)
    )
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _sync(path: Path) -> None:
    """Make a file, or everything below a directory, durable."""
    if not path.is_dir():
        _sync_file(path)
        return
    folders, files = [], []
    for folder, _, names in os.walk(path):
        folders.append(Path(folder))
        files.extend(Path(folder, name) for name in names)
    with ThreadPoolExecutor(8) as threads:  # each waits for the disk, which serves several together
        list(threads.map(_sync_file, files))
        list(threads.map(sync_directory, folders))


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _abandoned(remains: Path) -> bool:
    _, _, owner = remains.name.rpartition(".partial-")
    pid, _, rest = owner.partition("-")
    _, _, host = rest.partition("-")
    if host != socket.gethostname():
        try:
            return time.time() - remains.lstat().st_mtime > _FOREIGN_REMAINS_S
        except FileNotFoundError:
            return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return True
    except PermissionError:
        return False
    return int(pid) == os.getpid()


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
