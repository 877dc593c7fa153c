"""A system with a closed form for the tests of emulators: a receptor that a ligand occupies.

Occupancy x of a receptor at ligand level L relaxes to L kon / (L kon + koff) at rate L kon + koff; the signal is A x.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from surrogates.domain import Domain
from surrogates.emulator import Emulator
from surrogates.emulator_report import EmulatorReport
from surrogates.neural_ode import NeuralODE
from surrogates.shape import Shape
from surrogates.trajectories import Trajectories
from surrogates.trust_gate import TrustGate
from twin import Perturbation

TIMES = np.array([-10.0, -5.0, 0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0])
ARMS = (
    (),
    *((Perturbation(0.0, "cell.L", dose),) for dose in (0.3, 1.0, 3.0)),
    *((Perturbation(-10.0, "cell.L", dose), Perturbation(20.0, "cell.L", 0.0)) for dose in (0.3, 1.0, 3.0)),
)
READOUTS = ("bound", "signal")


def cells(first: int, count: int, *, spread: float = 1.0) -> dict[str, NDArray[np.float64]]:
    """Parameters of cells first, first + 1, …"""
    scores = np.stack([np.random.default_rng([7, cell]).standard_normal(3) for cell in range(first, first + count)])
    return {
        "kon": 0.1 * np.exp(0.4 * spread * scores[:, 0]),
        "koff": 0.1 * np.exp(0.4 * spread * scores[:, 1]),
        "A": 2.0 * np.exp(0.25 * spread * scores[:, 2]),
        "T": np.full(count, 310.0),
        "L": np.zeros(count),
    }


def course(parameters: dict[str, NDArray[np.float64]], arm: tuple[Perturbation, ...]) -> NDArray[np.float64]:
    """bound and signal `[N, T, R]`."""
    bound = np.empty((len(parameters["kon"]), len(TIMES)))
    stops = [-10.0, *(change.time for change in arm), np.inf]
    levels = [0.0, *(float(change.value) for change in arm)]
    x = np.zeros(len(bound))
    for since, until, level in zip(stops, stops[1:], levels, strict=False):
        rate = level * parameters["kon"] + parameters["koff"]
        rest = level * parameters["kon"] / rate
        inside = (since <= TIMES) & (until > TIMES)
        bound[:, inside] = rest[:, None] + (x - rest)[:, None] * np.exp(-rate[:, None] * (TIMES[inside] - since))
        x = rest + (x - rest) * np.exp(-rate * min(until - since, 1e6))
    return np.stack([bound, parameters["A"][:, None] * bound], axis=-1)


def trajectories(first: int, count: int, *, arms_per_cell: int = 1, spread: float = 1.0) -> Trajectories:
    """Courses of cells, each in some arms that are drawn for it."""
    cell = np.repeat(np.arange(first, first + count), arms_per_cell)
    arm = np.concatenate(
        [
            np.random.default_rng([11, c]).choice(len(ARMS), size=arms_per_cell, replace=False)
            for c in range(first, first + count)
        ]
    )
    parameters = {n: np.repeat(v, arms_per_cell) for n, v in cells(first, count, spread=spread).items()}
    values = np.empty((len(cell), len(TIMES), 2))
    for number, changes in enumerate(ARMS):
        rows = np.flatnonzero(arm == number)
        values[rows] = course({n: v[rows] for n, v in parameters.items()}, changes)
    return Trajectories(
        features=tuple(parameters),
        features_NF=np.stack(list(parameters.values()), axis=1),
        readouts=READOUTS,
        initial_NR=np.zeros((len(cell), 2)),
        arms=ARMS,
        arm_N=arm.astype(np.int64),
        cell_N=cell.astype(np.int64),
        t0=-10.0,
        times_T=TIMES,
        values_NTR=values,
    )


def untrained(*, mechanism: str = "occupancy", threshold: float = 10.0) -> Emulator:
    """An emulator with weights by chance, and a gate that lets every score up to a threshold pass."""
    domain = Domain.of(
        trajectories(0, 60, arms_per_cell=4),
        levels=["L"],
        units={"L": "nM", "signal": "nM"},
        time_units="min",
        mechanism=mechanism,
    )
    sizes = (len(domain.features), len(domain.levels), len(READOUTS))
    shape = Shape(*sizes, networks=3, latent=4, context=6, hidden=12, step=0.4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = NeuralODE(shape, bounded=[True, True]).eval()
    gate = TrustGate(np.array([1.0, 0, 0, 0, 0]), (threshold,), np.full(100, -3.0), np.full(100, 0.01), tolerance=0.05)
    report = EmulatorReport((-3.0,), (0.01,), {"mean": (0.2,)}, {"training": 60}, 1.0, 0.1, 1.0, 1000, {})
    return Emulator(network, domain, gate, report.at(gate))
