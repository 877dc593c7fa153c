"""A bare MPI round trip between ranks 0 and 1: what nobody can be faster than."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np


def round_trip_s(communicator: Any, there: int, back: int, *, repeats: int) -> float:
    """Median seconds of so many bytes there and so many back, over blocking sends and receives; NaN on ranks beyond 1.

    What came is in the buffer that is sent back: bytes that are as new as those of a simulator's state. From buffers that nobody
    writes to, MPI is faster on one machine, since both cores then have them in their caches.
    """
    from mpi4py import MPI

    buffer, spans = np.zeros(max(there, back), dtype=np.uint8), [float("nan")]
    out, home = [buffer[:there], MPI.BYTE], [buffer[:back], MPI.BYTE]
    for _ in range(repeats if communicator.rank < 2 else 0):
        begun = time.perf_counter()
        if communicator.rank == 0:
            communicator.Send(out, 1)
            communicator.Recv(home, 1)
        else:
            communicator.Recv(out, 0)
            communicator.Send(home, 0)
        spans.append(time.perf_counter() - begun)
    return statistics.median(spans[1:] or spans)
