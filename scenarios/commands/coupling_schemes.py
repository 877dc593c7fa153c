"""What `twin bench schemes` prints: how exact each coupling scheme is, and what it costs, on twins whose course is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from coupling import AdaptiveWindows, Aitken, FixedWindows, GaussSeidel, Jacobi, QuasiNewton, Strang, WaveformRelaxation
from scenarios.commands.coupling_cases import (
    ARRIVAL_1_M_S,
    KON_1_M_S,
    ONE,
    RECEPTORS,
    Tube,
    capture,
    captured,
    split_cell,
    swing_error,
)


def lines() -> Iterator[str]:
    """The tables, as lines of text."""
    yield from _orders()
    yield ""
    yield from _tube()
    yield ""
    yield from _split()
    yield ""
    yield from _capture()


def _schemes() -> tuple[tuple[str, Any, float], ...]:
    """Name, scheme, and the longest windows [s] in which masses and springs are coupled by it."""
    return (
        ("Jacobi", Jacobi(), 1 / 128),
        ("Gauss-Seidel", GaussSeidel(["left", "right"]), 1 / 128),
        ("Strang", Strang(), 1 / 64),
        ("waveform, degree 1", WaveformRelaxation(1e-11, degree=1), 1 / 64),
        ("waveform, degree 3", WaveformRelaxation(1e-11), 1 / 16),
    )


_LOOKS = np.linspace(0.0, 1.0, 17)


def _orders() -> Iterator[str]:
    yield "Two masses and springs, cut in two: largest error within 1 s [m] at three lengths of windows, and observed order"
    for name, scheme, length in _schemes():
        found = [swing_error(scheme, FixedWindows(length / 2**i), _LOOKS) for i in range(3)]
        errors = [error for error, _ in found]
        per_window = int(found[1][1]["coupling_iterations"][0]) / int(found[1][1]["coupling_windows"][0])
        yield (
            f"  {name:20} windows of 1/{1 / length:.0f} s and shorter: "
            + ", ".join(f"{error:.2e}" for error in errors)
            + f"  order {np.log2(errors[1] / errors[2]):.2f}  {per_window:.1f} iterations a window"
        )


def figure(path: Path) -> None:
    """Draw the errors of masses and springs over the length of windows, for all schemes."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = drawn.subplots()
    for name, scheme, length in _schemes():
        lengths = [length / 2**i for i in range(4)]
        axes.loglog(lengths, [swing_error(scheme, FixedWindows(dt), _LOOKS)[0] for dt in lengths], "o-", label=name)
    axes.set(
        xlabel="length of windows [s]",
        ylabel="largest error within 1 s [m]",
        title="Two masses and springs, cut in two",
    )
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    drawn.savefig(path, dpi=120)


def _tube() -> Iterator[str]:
    yield "Elastic tube, liquid and wall: iterations a window at a residual of 1e-5 (100 segments, 20 windows)"
    for stiffness, step in ((10.0, 0.1), (10.0, 0.01), (100.0, 0.01), (100.0, 0.001)):
        tube, said = Tube(stiffness, step), list[str]()
        first = 0.0
        for name, acceleration in (
            ("Aitken", Aitken(0.01)),
            ("IQN-ILS", QuasiNewton(relaxation=0.01)),
            ("reuse of 4 windows", QuasiNewton(reuse=4, relaxation=0.01, filter=1e-2)),
            ("of 8", QuasiNewton(reuse=8, relaxation=0.01)),
        ):
            found = tube.run(acceleration)
            each = int(found["coupling_iterations"][0]) / int(found["coupling_windows"][0])
            first = first or each
            said.append(f"{name} {each:.1f}" + ("" if each == first else f" ({each / first:.2f})"))
        yield f"  κ {stiffness:g}, τ {step:g}: " + ", ".join(said)


def _split() -> Iterator[str]:
    yield "Gastric cell cut into receptors and pathways: largest relative difference from the uncut cell in 240 min"
    for scheme, windows in (
        (Jacobi(), FixedWindows(1.0)),
        (Strang(), FixedWindows(1.0)),
        (WaveformRelaxation(), FixedWindows(5.0)),
        (WaveformRelaxation(), FixedWindows(2.5)),
        (WaveformRelaxation(), FixedWindows(1.25)),
        (WaveformRelaxation(), AdaptiveWindows(1e-2, first=0.1)),
        (WaveformRelaxation(), AdaptiveWindows(1e-4, first=0.1)),
    ):
        error, found = split_cell().error(scheme, windows)
        yield (
            f"  {type(scheme).__name__:18} {_said(windows):28} {error:.1e}  windows {int(found['coupling_windows'][0])}, "
            f"tries thrown away {int(found['coupling_rejected'][0])}"
        )


def _capture() -> Iterator[str]:
    yield "Cell coupled to Brownian dynamics (OpenMM): 5e5 receptors of 1e7 1/(M s), ligand 1 nM, against Berg & Purcell's formula"
    for scheme, windows in (
        (Jacobi(), FixedWindows(1.0)),
        (WaveformRelaxation(1e-6, degree=1), FixedWindows(1.0)),
        (WaveformRelaxation(1e-6, degree=1), FixedWindows(0.25)),
    ):
        found, exact = capture(scheme, windows)
        error = float(np.abs(found["cell.RL"].values[0] / exact - 1.0).max())
        yield f"  {type(scheme).__name__:18} {_said(windows):12} bound receptors off by at most {100 * error:.2f} %"
    surface = captured().simulators["surface"]
    _, said = surface.step(surface.init(members=ONE, seed=1), {"free": np.array([RECEPTORS])}, t0=0.0, t1=0.0)
    formula = 1.0 / (1.0 + RECEPTORS * KON_1_M_S / ARRIVAL_1_M_S)
    yield (
        f"  effective kon of 5e5 free receptors: {said['kon_eff'][0, 0] / KON_1_M_S:.4f} of kon, escape "
        f"{said['escape'][0, 0]:.4f} ± {said['sigma_escape'][0, 0]:.4f}; the formula says {formula:.4f}"
    )


def _said(windows: FixedWindows | AdaptiveWindows) -> str:
    return (
        f"of {windows.dt:g} min" if isinstance(windows, FixedWindows) else f"adaptive, tolerance {windows.tolerance:g}"
    )
