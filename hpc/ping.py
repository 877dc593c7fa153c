"""A bare MPI round trip between ranks 0 and 1: what nobody can be faster than."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np


def round_trip_s(communicator: Any, size: int, *, repeats: int) -> float:
    """Median seconds of `size` bytes there and back, over blocking sends and receives; NaN on ranks beyond 1."""
    from mpi4py import MPI

    buffer, spans = np.zeros(size, dtype=np.uint8), [float("nan")]
    for _ in range(repeats if communicator.rank < 2 else 0):
        begun = time.perf_counter()
        if communicator.rank == 0:
            communicator.Send([buffer, MPI.BYTE], 1)
            communicator.Recv([buffer, MPI.BYTE], 1)
        else:
            communicator.Recv([buffer, MPI.BYTE], 0)
            communicator.Send([buffer, MPI.BYTE], 0)
        spans.append(time.perf_counter() - begun)
    return statistics.median(spans[1:] or spans)
