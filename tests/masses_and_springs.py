"""Two masses between two walls, joined by a spring and cut in two there: each is told where the other is.

With equal masses m, springs k to the walls and k12 between, started at (1, 0) at rest, the sum of the two swings at
ω₁² = k/m and the difference at ω₂² = (k + 2 k12)/m. The numbers are those of the oscillator of the preCICE tutorials.
"""

from __future__ import annotations

import numpy as np

from simulators.closed_form import LinearSystem
from twin import Conduit, Twin

K, K12 = 4 * np.pi**2, 16 * np.pi**2  # N/m, masses of 1 kg


def mass(x: float | np.ndarray) -> LinearSystem:
    """A mass of 1 kg at `x`, at rest."""
    return LinearSystem(
        states={"x": ("m", x), "v": ("m/s", 0.0)},
        rates={"x": {"v": 1.0}, "v": {"x": -(K + K12), "other": K12}},
        inputs={"other": "m"},
        outputs={"x": ("m", {"x": 1.0})},
        time_units="s",
    )


def cut_in_two(left: float | np.ndarray = 1.0) -> Twin:
    """The twin of both masses."""
    return Twin(
        {"left": mass(left), "right": mass(0.0)},
        (Conduit("left.x", "right.other"), Conduit("right.x", "left.other")),
    )


def exact(times: np.ndarray) -> np.ndarray:
    """Where both are `[2, T]`, in m."""
    slow, fast = np.cos(np.sqrt(K) * times), np.cos(np.sqrt(K + 2 * K12) * times)
    return np.array([slow + fast, slow - fast]) / 2
