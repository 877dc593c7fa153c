"""Writes a journal again and again, each time killed (SIGKILL) at a random moment; prints the last key that was promised.

    python journal_writer.py JOURNAL KILLS

A program of its own: it forks its writers, since new interpreters would take a minute, and forks only before any thread.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import numpy as np

from hpc import Journal

JOB = {"job": "kill test"}


def content(number: int) -> np.ndarray:
    """What stands under a number: some kilobytes."""
    return np.full((number * 7919) % 4_000, number, dtype=np.float64)


def write(path: str, promises: int) -> None:
    """Append until killed, twenty records at most; each number whose `append` has returned is said to the pipe."""
    # a system may write less than it is asked to; it makes kills fall into the middle of records as well
    whole = os.pwrite
    os.pwrite = lambda file, block, position: whole(file, block[:500], position)
    with Journal(path, JOB) as journal:
        begun = len(journal)
        for number in range(begun, begun + 20):
            journal.append(str(number), {"x": content(number)}, {"number": number})
            os.write(promises, number.to_bytes(4, "little"))
        signal.pause()  # enough: each life reads what all before it have written


def killed(path: str, after_s: float) -> int:
    """The last promise of a writer that was killed so long after its first."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            write(path, writing)
        finally:
            os._exit(9)
    os.close(writing)
    said = os.read(reading, 4)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, f"the writer ended by itself: {status}"
    with os.fdopen(reading, "rb") as pipe:
        said += pipe.read()
    return int.from_bytes(said[-4:], "little")


if __name__ == "__main__":
    choice = random.Random(0)
    print(max(killed(sys.argv[1], choice.uniform(0.0, 0.002)) for _ in range(int(sys.argv[2]))))
