"""`twin bench store`: what an ensemble costs that is streamed to Zarr, the interpreter included.

Legend: `M` members, `T` times.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scenarios.commands.race_members import Settings, course


def peak_gib() -> float:
    """Most memory that this process ever had [GiB]."""
    status = Path("/proc/self/status")
    if status.is_file():  # of this program alone; getrusage also counts what ran in the process before it
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**30 if sys.platform == "darwin" else 2**20)


def lines(path: Path, out: Path, *, members: int, points: int, threads: int) -> Iterator[str]:
    """Run the members of `twin bench ensemble` into a store, and tell what that took.

    Args:
        out: of the store; what is there is replaced if it is a store.
        points: output times, evenly from 0 to the condition's end.
    """
    track = course(path, Settings())
    given, _, _ = track.start(members, Settings())
    times = np.linspace(0.0, track.end, points)
    few = {name: values[:64] for name, values in given.items()}
    track.model.simulate(times, parameters=few, threads=threads)  # imports, kernels
    yield f"before: {peak_gib():.2f} GiB"
    begun, cpu = time.perf_counter(), time.process_time()
    data = track.model.simulate(times, parameters=given, threads=threads, store=out, overwrite=True)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    numbers = sum(v.size for v in data.data_vars.values())
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    failed = int((data["status"].values != 0).sum())
    yield (
        f"{members} members, {len(data.data_vars)} variables, {points} times: {8 * numbers / 2**30:.2f} GiB of values, "
        f"{size / 2**30:.2f} GiB on disk, {failed} members failed"
    )
    yield (
        f"peak {peak_gib():.2f} GiB; {seconds:.1f} s, {cpu:.1f} s of CPU, {threads} threads; "
        f"load average {os.getloadavg()[0]:.1f}"
    )
