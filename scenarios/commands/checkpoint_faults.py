"""What checkpoints outlive, tried for real: kills while they are written, disks that are full, bytes that are lost or flipped.

This module is also the program that is killed: `python -m scenarios.commands.checkpoint_faults PATH` writes checkpoint after checkpoint.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from hpc import Checkpoint, DamagedError, FingerprintError, Record, StorageError

FINGERPRINT = {"scenario": "what a checkpoint outlives", "seed": "1"}
_NUMBERS = 100_000  # 0.8 MB: long enough in writing to be hit there


def parts(step: int, numbers: int = _NUMBERS) -> list[Record]:
    """What is saved at a step: all of it follows from the number of the step."""
    values = np.random.default_rng(step).normal(size=numbers)
    return [Record("cell", {"y": values}, {"step": step}), Record("molecule", {"x": values[::-1].copy()})]


def same(found: dict[str, Record], step: int, numbers: int = _NUMBERS) -> bool:
    """Whether these are the bits that were saved at that step."""
    expected = parts(step, numbers)
    return list(found) == [part.key for part in expected] and all(
        found[part.key].note == part.note
        and all(found[part.key].arrays[name].tobytes() == array.tobytes() for name, array in part.arrays.items())
        for part in expected
    )


def killed_writes(folder: Path, *, kills: int, seed: int) -> dict[str, Any]:
    """Kill a writer at random moments, and read what is there: each time a whole checkpoint, none older than was told.

    Raises:
        AssertionError: it was not.
    """
    path = folder / "killed"
    draws = np.random.default_rng(seed)
    torn = 0
    for _ in range(kills):
        with subprocess.Popen([sys.executable, "-m", __spec__.name, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            told = int(writer.stdout.readline())
            time.sleep(draws.uniform(0.0, 0.05))
            writer.send_signal(signal.SIGKILL)
            told = max([told, *(int(line) for line in writer.stdout.read().split())])
        torn += any(path.parent.glob(f".{path.name}.partial-*"))
        checkpoint = Checkpoint(path, FINGERPRINT)
        found = checkpoint.load()
        assert found is not None, "no checkpoint is left"
        step = found["cell"].note["step"]
        assert not checkpoint.older, "the last checkpoint cannot be read"
        assert step >= told, f"step {told} was saved, and {step} is there"
        assert same(found, step), f"step {step} has other bits"
    return {"kills": kills, "while_writing": torn, "unreadable": 0}


def full_disk(folder: Path) -> dict[str, Any]:
    """Write a checkpoint that is larger than the process may write (RLIMIT_FSIZE): an error, and the last one stands.

    Raises:
        AssertionError: it did not.
    """
    checkpoint = Checkpoint(folder / "full", FINGERPRINT)
    checkpoint.save(parts(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        checkpoint.save(parts(2))
    except StorageError as error:
        said = str(error)
    else:
        raise AssertionError("a full disk was no error")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    found = checkpoint.load()
    assert found is not None
    assert same(found, 1)
    assert not checkpoint.older
    assert sorted(path.name for path in folder.glob("*full*")) == ["full"]
    return {"said": said}


def damaged(folder: Path, *, flips: int | None = None, seed: int = 1) -> dict[str, Any]:
    """Flip bits and cut bytes off: each is found.

    Args:
        folder: to work in.
        flips: how many bytes, drawn; None: every single one.
        seed: of the draw.

    Raises:
        AssertionError: one was not.
    """
    checkpoint = Checkpoint(folder / "flipped", FINGERPRINT)
    checkpoint.save(parts(1, numbers=20))
    whole = checkpoint.path.read_bytes()
    draws = np.random.default_rng(seed)
    places = range(len(whole)) if flips is None else draws.choice(len(whole), flips, replace=False).tolist()
    for place in places:
        for spoiled in (
            whole[:place] + bytes([whole[place] ^ 1 << int(draws.integers(8))]) + whole[place + 1 :],
            whole[:place],
        ):
            checkpoint.path.write_bytes(spoiled)
            try:
                checkpoint.load()
            except (DamagedError, FingerprintError):
                continue
            raise AssertionError(f"a change at byte {place} was not found")
    return {"flipped": len(places), "cut_off": len(places), "found": 2 * len(places)}


def write(path: Path) -> None:
    """Save step after step, and tell each when it is saved."""
    checkpoint = Checkpoint(path, FINGERPRINT)
    found = checkpoint.load()
    for step in count(1 if found is None else found["cell"].note["step"] + 1):
        checkpoint.save(parts(step))
        print(step, flush=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
