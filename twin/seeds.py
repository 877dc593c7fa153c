"""Random streams named by what they serve, so that a member is the same cell in every arm and on every rank."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of (seed, names): what a member *is* comes from ``stream(seed, "member", i, quantity)``;
    noise inside a simulator from ``stream(seed, arm, member, simulator)``.

    Streams of different names are independent; names are hashed, so their number and order matter and nothing else does.
    """
    digest = hashlib.sha256(repr((int(seed), *names)).encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest[:16], "little"))))
