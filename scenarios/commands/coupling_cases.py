"""Twins on which coupling is measured: what is known about them without coupling is known to many digits.

- masses and springs: two masses between two walls, cut at the spring between them (closed form)
- tube: a liquid and the wall of an elastic tube (the liquid is as heavy as the wall is soft: explicit coupling explodes)
- split cell: the gastric cell cut into receptors and pathways (the uncut cell)
- captured: a cell whose free receptors change how fast ligands reach it (Berg & Purcell's formula)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupling import FixedWindows, WaveformRelaxation
from coupling.simulate import simulate
from simulators.closed_form import LinearSystem, TubeFlow, TubeWall
from twin import Conduit, Perturbation, State, Twin

Floats = NDArray[np.float64]
ONE = np.arange(1)

SPRING, MIDDLE = 4 * np.pi**2, 16 * np.pi**2
"""Stiffness of the springs to the walls and of that between the masses [N/m], as in the oscillator of the preCICE tutorials."""


def mass(x: Floats | float) -> LinearSystem:
    """A mass of 1 kg at `x` [m], at rest; it is told where the other one is."""
    return LinearSystem(
        states={"x": ("m", x), "v": ("m/s", 0.0)},
        rates={"x": {"v": 1.0}, "v": {"x": -(SPRING + MIDDLE), "other": MIDDLE}},
        inputs={"other": "m"},
        outputs={"x": ("m", {"x": 1.0})},
        time_units="s",
    )


def masses_and_springs(left: Floats | float = 1.0) -> Twin:
    """Two masses; the left one starts at `left`, the right one at 0, both at rest."""
    return Twin(
        {"left": mass(left), "right": mass(0.0)},
        (Conduit("left.x", "right.other"), Conduit("right.x", "left.other")),
    )


def where(times: Floats) -> Floats:
    """Where both masses are `[2, T]` [m]: their sum swings at √(k/m), their difference at √((k + 2 k12)/m)."""
    slow, fast = np.cos(np.sqrt(SPRING) * times), np.cos(np.sqrt(SPRING + 2 * MIDDLE) * times)
    return np.array([slow + fast, slow - fast]) / 2


def swing_error(scheme: Any, windows: Any, looks: Floats) -> tuple[float, Any]:
    """The largest error of both places within 1 s [m], at and between the ends of windows, and the result."""
    found = simulate(
        masses_and_springs(),
        members=ONE,
        t0=0.0,
        t1=1.0,
        sample=list(looks),
        scheme=scheme,
        windows=windows,
        time_units="s",
    )
    return float(np.abs(np.array([found["left.x"][0], found["right.x"][0]]) - where(looks)).max()), found


@dataclass(frozen=True)
class Tube:
    """An elastic tube of 5 cm cut into liquid and wall.

    Args:
        stiffness: κ = speed of waves over that of the liquid.
        step: τ = window × speed of the liquid / length of the tube.
        segments: of the tube.
    """

    stiffness: float = 10.0
    step: float = 0.01
    segments: int = 100

    @property
    def window_s(self) -> float:
        """Length of a window."""
        return self.step * 0.05 / 0.1

    def twin(self) -> Twin:
        """The liquid is told how wide the wall is, the wall how high the pressure is."""
        flow = TubeFlow(segments=self.segments, velocity_m_s=0.1, period_s=10 * self.window_s)
        wall = TubeWall(segments=self.segments, wave_speed_m_s=0.1 * self.stiffness)
        return Twin(
            {"flow": flow, "wall": wall},
            (Conduit("flow.pressure", "wall.pressure"), Conduit("wall.widening", "flow.widening")),
        )

    def run(self, acceleration: Any, *, windows: int = 20, tolerance: float = 1e-5) -> Any:
        """The pressure at the end, and iterations, of `windows` windows."""
        end = windows * self.window_s
        return simulate(
            self.twin(), members=ONE, t0=0.0, t1=end, sample=[end],
            scheme=WaveformRelaxation(tolerance, 500, acceleration, degree=1, order=["flow", "wall"]),
            windows=FixedWindows(self.window_s), time_units="s",
        )  # fmt: skip


_SIGNALLING = r"(?:RAS|MAPK|PI3K|MPI3K|AKT)_(?:on|off)"
_DRIVES = {"RAS_drive": "1/min", "PI3K_drive": "1/min"}
LOOKS_MIN = (0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0)


@dataclass(frozen=True)
class SplitCell:
    """The gastric cell (scenarios/library), whole and cut into receptors and pathways, settled before time 0.

    EGF is given at time 0 and the MET inhibitor after an hour; pAKT and pMAPK are looked at.
    """

    whole: Twin
    settled: Mapping[str, State]
    split: Twin
    settled_split: Mapping[str, State]

    def reference(self) -> Floats:
        """pAKT and pMAPK of the uncut cell `[2, T]`."""
        found = simulate(
            self.whole, _doses("cell"), members=ONE, t0=0.0, t1=240.0, sample=LOOKS_MIN, states=self.settled
        )
        return np.stack([found[f"cell.{name}"].values[0] for name in ("pAKT", "pMAPK")])

    def coupled(self, scheme: Any, windows: Any) -> Any:
        """The cut cell."""
        return simulate(
            self.split, _doses("receptors"), members=ONE, t0=0.0, t1=240.0, sample=LOOKS_MIN, states=self.settled_split,
            scheme=scheme, windows=windows,
        )  # fmt: skip

    def error(self, scheme: Any, windows: Any) -> tuple[float, Any]:
        """The largest relative difference from the uncut cell, and the result."""
        found = self.coupled(scheme, windows)
        seen = np.stack([found[f"pathways.{name}"].values[0] for name in ("pAKT", "pMAPK")])
        return float(np.abs(seen / _reference() - 1.0).max()), found


@cache
def split_cell() -> SplitCell:
    """Cut at the two rates by which receptors drive RAS and PI3K."""
    from simulators.reaction import EnsembleEngine, ReactionSimulator

    text = (files("scenarios") / "library/gastric_met_resistance/cell.ant").read_text(encoding="utf-8")
    receptors = re.sub(rf"^  {_SIGNALLING}:[^\n]*->[^\n]*$", "", text, flags=re.MULTILINE)
    pathways = re.sub(rf"^  (?!{_SIGNALLING}:)\w+:[^\n]*->[^\n]*$", "", text, flags=re.MULTILINE)
    pathways = re.sub(r"^  (\w+)_drive *:=.*$", r"  \1_drive = 0;", pathways, flags=re.MULTILINE)

    def cell(model: str, readouts: Sequence[str], inputs: Sequence[str] = ()) -> ReactionSimulator:
        engine = EnsembleEngine(model, readouts=list(readouts), units=_DRIVES, time_units="min")
        return ReactionSimulator(engine, inputs=inputs, rtol=1e-9, atol=1e-13)

    whole, upper = cell(text, ("pAKT", "pMAPK")), cell(receptors, tuple(_DRIVES))
    lower = cell(pathways, ("pAKT", "pMAPK"), tuple(_DRIVES))
    above = upper.equilibrate(upper.init(members=ONE, seed=0))
    _, drives = upper.step(above, {}, t0=0.0, t1=0.0)
    below = lower.equilibrate(lower.init(members=ONE, seed=0), {name: values[:, -1] for name, values in drives.items()})
    return SplitCell(
        whole=Twin({"cell": whole}),
        settled={"cell": whole.equilibrate(whole.init(members=ONE, seed=0))},
        split=Twin(
            {"receptors": upper, "pathways": lower},
            tuple(Conduit(f"receptors.{name}", f"pathways.{name}") for name in _DRIVES),
        ),
        settled_split={"receptors": above, "pathways": below},
    )


@cache
def _reference() -> Floats:
    return split_cell().reference()


def _doses(simulator: str) -> list[Perturbation]:
    return [Perturbation(0.0, f"{simulator}.EGF_level", 5.0), Perturbation(60.0, f"{simulator}.METinh_uM", 0.1)]


RECEPTORS, ARRIVAL_1_M_S = 5e5, 4.0e-15 * np.pi * 6.02214076e23 * 100.0 * 10.0
"""Free receptors at the start, and Smoluchowski's 4πDa of a ligand of 100 µm²/s and a cell of 10 µm radius [1/(M s)]."""

KON_1_M_S = 1e7

_BINDING = """
R = 5e5; RL = 0; L = 1; koff = 0.1; kon = 0.6; escape = 1
binds: R -> RL; kon*L*R - koff*escape*RL
"""
_UNITS = {"kon": "1/(nM min)", "koff": "1/min", "L": "nM"}


@cache
def captured() -> Twin:
    """A cell in 1 nM of ligand: its free receptors go to Brownian dynamics, which returns how fast they bind and let go."""
    from simulators.molecular import CaptureSimulator
    from simulators.reaction import EnsembleEngine, ReactionSimulator

    cell = EnsembleEngine(_BINDING, readouts=["R", "RL"], units=_UNITS, time_units="min")
    return Twin(
        {
            "surface": CaptureSimulator(radius_um=10.0, diffusion_um2_s=100.0, kon_1_M_s=KON_1_M_S),
            "cell": ReactionSimulator(cell, inputs=["kon", "escape"]),
        },
        (
            Conduit("cell.R", "surface.free"),
            Conduit("surface.kon_eff", "cell.kon"),
            Conduit("surface.escape", "cell.escape"),
        ),
    )


def captured_by_formula() -> Twin:
    """The same cell with the formula of Berg & Purcell 1977 in its rates."""
    from simulators.reaction import EnsembleEngine, ReactionSimulator

    left = f"1/(1 + R*{KON_1_M_S!r}/{ARRIVAL_1_M_S!r})"
    model = _BINDING.replace("kon = 0.6; escape = 1", f"kon := 0.6*{left}; escape := {left}")
    return Twin(
        {"cell": ReactionSimulator(EnsembleEngine(model, readouts=["R", "RL"], units=_UNITS, time_units="min"))}
    )


CAPTURE_LOOKS_MIN = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def capture(scheme: Any, windows: Any) -> tuple[Any, Floats]:
    """The cell coupled to Brownian dynamics, and bound receptors by the formula `[T]`."""
    run: dict[str, Any] = {"members": ONE, "t0": 0.0, "t1": 16.0, "sample": CAPTURE_LOOKS_MIN, "seed": 1}
    exact = simulate(captured_by_formula(), **run)["cell.RL"].values[0]
    return simulate(captured(), **run, scheme=scheme, windows=windows), exact
