"""How an emulator is made: an ensemble fitted to courses of a mechanism, a gate learned and calibrated, a report measured.

Each step has cells of its own: training cells for the weights, validation cells for the gate's score, calibration cells
for its threshold, test cells for the report. Lightning runs the loop. Legend as in `surrogates.neural_ode`; `N`
trajectories, `W` windows.
"""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from surrogates.domain import Domain, levels_in_time
from surrogates.dosing import DoseWindow, dose_windows, merged
from surrogates.emulator import BLOCK, Emulator
from surrogates.emulator_report import EmulatorReport
from surrogates.neural_ode import NeuralODE
from surrogates.shape import Shape
from surrogates.trajectories import Trajectories
from surrogates.trajectory_baseline import linear_map, mean_of_arm, nearest_neighbour
from surrogates.trust_gate import TrustGate
from twin.errors import InputError
from twin.quiet import quiet

Floats = NDArray[np.float64]
Batch = tuple[int, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Training:
    """How long and how large.

    Args:
        epochs, batch: passes over the training trajectories, and how many of them go together.
        rate: highest learning rate of the one-cycle schedule (Smith and Topin 2019, arXiv 1708.07120).
        decay: of weights.
        networks, latent, context, hidden, step: see `surrogates.shape.Shape`.
        progress: whether to show a bar.
    """

    epochs: int = 50
    batch: int = 128
    rate: float = 1e-2
    decay: float = 1e-4
    networks: int = 3
    latent: int = 10
    context: int = 24
    hidden: int = 48
    step: float = 1.2
    progress: bool = False


@dataclass(frozen=True)
class Split:
    """Courses of cells that no two parts share.

    Args:
        training: for the weights; as many arms of a cell as there are.
        validation: for the score of the gate.
        calibration, test: for its threshold, and for the report: one arm of each cell, so that answers are independent.

    Raises:
        InputError: a cell in two parts, or several arms of a cell where there must be one.
    """

    training: Trajectories
    validation: Trajectories
    calibration: Trajectories
    test: Trajectories

    def __post_init__(self) -> None:
        parts = [self.training, self.validation, self.calibration, self.test]
        cells = [set(part.cell_N.tolist()) for part in parts]
        if sum(map(len, cells)) != len(set().union(*cells)):
            raise InputError("Split: a cell is in two parts; give each part cells of its own.")
        for name, part in (("calibration", self.calibration), ("test", self.test)):
            if len(np.unique(part.cell_N)) != len(part):
                raise InputError(f"Split: {name} has several arms of one cell; the gate's promise needs one of each.")


def train_emulator(
    split: Split,
    *,
    levels: Sequence[str],
    units: Mapping[str, str],
    time_units: str,
    mechanism: str,
    mechanism_ms: float,
    trajectories: int,
    tolerance: float,
    seed: int,
    made: Mapping[str, str] | None = None,
    training: Training | None = None,
) -> Emulator:
    """Fit, calibrate and judge an emulator.

    Args:
        split: courses of the mechanism.
        levels: names that arms may change in time.
        units: of readouts and levels, where known.
        time_units: of the clock.
        mechanism: fingerprint of what is emulated.
        mechanism_ms: time of one trajectory by mechanism, in blocks as in a run.
        trajectories: how many the scenario asks for.
        tolerance: error up to which the gate may vouch, a share of a readout's span.
        seed: of weights and batches.
        made: command and settings, for the report.
        training: how long and how large.

    Raises:
        InputError: nothing to learn, or parts that share cells.
    """
    training = training or Training()
    domain = Domain.of(split.training, levels=levels, units=units, time_units=time_units, mechanism=mechanism)
    network = fitted(split.training, domain, training, seed=seed)
    made = {
        **(made or {}),
        "torch": torch.__version__.partition("+")[0],
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, one thread",
    }
    blank = EmulatorReport((), (), {}, {}, mechanism_ms, 0.0, 0.0, trajectories, made)
    untrusted = TrustGate(np.zeros(5), (), np.zeros(0), np.zeros(0), tolerance)
    emulator = Emulator(network, domain, untrusted, blank)
    signs, errors, _ = judged(emulator, split.validation)
    gate = TrustGate.learn(signs, errors, tolerance=tolerance)
    signs, errors, known = judged(emulator, split.calibration)
    gate = gate.calibrated(np.where(known, gate.score(signs), np.inf), errors)
    return Emulator(network, domain, gate, _report(emulator, split, gate, blank).at(gate))


def fitted(lesson: Trajectories, domain: Domain, training: Training, *, seed: int) -> NeuralODE:
    """The ensemble after training on one thread; the same seed gives the same weights on the same machine."""
    shape = Shape(
        features=len(domain.features),
        levels=len(domain.levels),
        readouts=len(domain.readouts),
        networks=training.networks,
        latent=training.latent,
        context=training.context,
        hidden=training.hidden,
        step=training.step,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), quiet("lightning.pytorch", "lightning.fabric"):
            torch.manual_seed(seed % 2**63)
            network = NeuralODE(shape, bounded=[port.lower is not None for port in domain.readouts])
            groups = _groups(lesson, domain)
            batches = _Batches(groups, training.batch, seed)
            pupil = _Pupil(network, [group.windows for group in groups], lesson.times_T, training, batches.per_epoch)
            trainer = lightning.Trainer(
                max_epochs=training.epochs,
                accelerator="cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=training.progress,
                gradient_clip_val=1.0,
            )
            trainer.fit(pupil, DataLoader(batches, batch_size=None))
    finally:
        torch.set_num_threads(threads)
    return network.eval()


def judged(emulator: Emulator, data: Trajectories) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Signs `[N, J]`, errors `[N]` and whether the domain knows them `[N]`, of courses whose truth is known."""
    signs, errors, known = None, np.empty(len(data)), np.zeros(len(data), dtype=np.bool_)
    for rows, changes in merged(data.arms, data.arm_N):
        part = data.take(rows)
        answer = emulator.answer(
            features=part.feature_values,
            initial=part.initial_values,
            perturbations=changes,
            times=part.times_T.tolist(),
        )
        if signs is None:
            signs = np.empty((len(data), answer.signs.shape[1]))
        signs[rows], known[rows] = answer.signs, np.isfinite(answer.scores)
        values = np.stack([answer.values[name] for name in data.readouts], axis=-1)
        errors[rows] = errors_of(values, part.values_NTR, emulator.domain)
    assert signs is not None
    return signs, errors, known


def errors_of(values_NTR: Floats, truth_NTR: Floats, domain: Domain) -> Floats:
    """Largest difference over times and readouts `[N]`, in spans of the readouts."""
    return (np.abs(values_NTR - truth_NTR) / np.array(domain.spans)).max(axis=(1, 2))


def _report(emulator: Emulator, split: Split, gate: TrustGate, blank: EmulatorReport) -> EmulatorReport:
    signs, errors, known = judged(emulator, split.test)
    domain, training, test = emulator.domain, split.training, split.test
    courses = {
        "mean of the arm": mean_of_arm(training, test),
        "nearest neighbour": nearest_neighbour(training, test, domain),
        "ridge regression": linear_map(training, test, domain),
    }
    parts = {name: getattr(split, name) for name in ("training", "validation", "calibration", "test")}
    return EmulatorReport(
        scores=tuple(np.where(known, gate.score(signs), np.inf).tolist()),
        errors=tuple(errors.tolist()),
        baselines={
            name: tuple(errors_of(values, test.values_NTR, domain).tolist()) for name, values in courses.items()
        },
        cells={name: len(np.unique(part.cell_N)) for name, part in parts.items()},
        mechanism_ms=blank.mechanism_ms,
        emulator_ms=_emulator_ms(emulator, split.training),
        start_up_s=_start_up_s(),
        trajectories=blank.trajectories,
        made=blank.made,
    )


def _emulator_ms(emulator: Emulator, data: Trajectories) -> float:
    """Shortest processor time of a course over some repeats, in whole blocks of the most frequent arm's kind."""
    rows, _ = max(merged(data.arms, data.arm_N), key=lambda group: len(group[0]))
    part = data.take(np.resize(rows, 4 * BLOCK))
    ((_, changes),) = merged(part.arms, part.arm_N)
    spans: list[float] = []
    for _ in range(5):
        begun = time.process_time()
        emulator.answer(
            features=part.feature_values,
            initial=part.initial_values,
            perturbations=changes,
            times=part.times_T.tolist(),
        )
        spans.append(time.process_time() - begun)
    return min(spans) / len(part) * 1e3


def _start_up_s() -> float:
    """Processor time that a process pays before the first answer, for importing torch; the least of two fresh ones."""

    def children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    spans: list[float] = []
    for _ in range(2):
        begun = children()
        subprocess.run([sys.executable, "-c", "import surrogates.emulator"], check=True, capture_output=True)
        spans.append(children() - begun)
    return min(spans)


@dataclass(frozen=True)
class _Group:
    """Trajectories whose changes fall on the same times, as tensors."""

    windows: tuple[DoseWindow, ...]
    features: Tensor
    initial: Tensor
    levels: Tensor
    values: Tensor


def _groups(lesson: Trajectories, domain: Domain) -> list[_Group]:
    features = domain.features_of(lesson.feature_values)
    initial = lesson.initial_NR / np.array(domain.spans)
    raw = levels_in_time(lesson, domain.level_names)
    levels = np.stack([domain.scaled_levels(raw[:, window]) for window in range(raw.shape[1])], axis=1)
    values = lesson.values_NTR / np.array(domain.spans)
    end = float(lesson.times_T[-1])
    alike: dict[tuple[float, ...], list[int]] = {}
    for row, arm in enumerate(lesson.arm_N.tolist()):
        alike.setdefault(tuple(sorted({change.time for change in lesson.arms[arm]})), []).append(row)
    return [
        _Group(
            dose_windows(lesson.arms[lesson.arm_N[rows[0]]], t0=lesson.t0, t1=end),
            *(torch.tensor(array[rows], dtype=torch.float32) for array in (features, initial, levels, values)),
        )
        for rows in alike.values()
    ]


class _Batches(IterableDataset[Batch]):
    """Batches of one schedule each, in an order drawn anew for every epoch."""

    def __init__(self, groups: Sequence[_Group], size: int, seed: int) -> None:
        self._groups, self._size, self._seed, self._epoch = groups, size, seed, 0
        self.per_epoch = sum(-(-len(group.values) // size) for group in groups)

    def __len__(self) -> int:
        return self.per_epoch

    def __iter__(self) -> Iterator[Batch]:
        chance = np.random.default_rng([self._seed, self._epoch])
        self._epoch += 1
        plan: list[tuple[int, Any]] = []
        for number, group in enumerate(self._groups):
            order = chance.permutation(len(group.values))
            plan += [(number, order[i : i + self._size]) for i in range(0, len(order), self._size)]
        for position in chance.permutation(len(plan)).tolist():
            number, rows = plan[position]
            group = self._groups[number]
            yield number, group.features[rows], group.initial[rows], group.levels[rows], group.values[rows]


class _Pupil(lightning.LightningModule):
    """The ensemble in training: mean squared difference of readouts in spans, every network for itself."""

    def __init__(
        self,
        network: NeuralODE,
        windows: Sequence[tuple[DoseWindow, ...]],
        times_T: Floats,
        training: Training,
        batches: int,
    ) -> None:
        super().__init__()
        self.network, self._windows, self._times = network, windows, times_T
        self._training, self._steps = training, training.epochs * batches

    def training_step(self, batch: Batch) -> Tensor:
        number, features, initial, levels, values = batch
        point, context, anchor = self.network.encode(features, initial)
        seen: list[Tensor] = []
        since = self._windows[number][0].t0
        for position, window in enumerate(self._windows[number]):
            since = window.t0 if window.changes else since
            times = self._times[window.holds(self._times)].tolist()
            drive = self.network.drive(context, levels[:, position])
            point, points = self.network.advance(drive, point, since=since, t0=window.t0, t1=window.t1, times=times)
            seen.append(points)
        found = self.network.read(torch.cat(seen), context, anchor)
        loss = ((found - values) ** 2).mean()
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(values))
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self._training.rate, weight_decay=self._training.decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self._training.rate, total_steps=self._steps, pct_start=0.15, final_div_factor=1e3
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
