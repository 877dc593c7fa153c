"""A learned stand-in for a simulator: a latent neural ODE, the domain it was trained on, and the gate that says when to trust it.

An emulator alone knows no members. `of` gives it cells, and it is a `twin.Simulator`: its levels can be perturbed, a step
moves the latent point. `answer` runs whole arms that way and says which rows the gate vouches for.

Rows run in blocks of `BLOCK`, filled up with zeros, on one thread: a row's bits depend on its place in its block, never on
what the other rows hold or how many they are. Legend: `M` rows, `N` members in all, `E` networks, `H` latent, `C` context, `L` levels, `R` readouts, `T` times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.domain import Domain
from surrogates.dosing import changed, dose_windows
from surrogates.emulator_card import EmulatorCard
from surrogates.emulator_report import EmulatorReport
from surrogates.neural_ode import NeuralODE
from surrogates.trust_gate import TrustGate
from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.simulator import State, Values, step_times
from twin.variable import Variable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLOCK = 64
"""Rows that run together."""
NOT_FINITE = 3
"""Status of a member whose features or start are not finite; the number is that of `simulators.reaction.Status`."""
_LEAST_SPREAD = 1e-6  # of a span: below it, disagreement is rounding
_SINCE = "since"  # in a state's note: when the last change was made


@dataclass(frozen=True)
class Answer:
    """What an emulator says of some rows.

    Args:
        values: readout → `[M, T]`.
        scores: foretold log10 of the error `[M]`; infinite outside the domain.
        vouched: whether the gate lets the answer stand `[M]`.
        signs: what the scores were made of `[M, J]`.
    """

    values: Mapping[str, Floats]
    scores: Floats
    vouched: Bools
    signs: Floats


@dataclass(frozen=True)
class _Rows:
    """The cells of a bound emulator: scaled features `[N, F]`, readouts at the start in spans `[N, R]`, levels `[N, L]`."""

    features: Floats
    initial: Floats
    levels: Floats


@dataclass(frozen=True, eq=False)
class Emulator:
    """A trained emulator.

    Args:
        network: the ensemble.
        domain: what it was trained on.
        gate: when to trust it.
        report: how well it does, measured when it was trained.
        rows: its members, given by `of`.
    """

    network: NeuralODE
    domain: Domain
    gate: TrustGate
    report: EmulatorReport
    rows: _Rows | None = None

    @classmethod
    def load(cls, path: str | Path, *, tolerance: float | None = None) -> Self:
        """Read a checkpoint.

        Args:
            path: a file that `save` wrote.
            tolerance: error up to which the gate may vouch, a share of a readout's span; None: that of training.

        Raises:
            InputError: no such file, damaged, of another format, or weights that do not fit; the text names the cure.
        """
        return cls.from_card(EmulatorCard.load(path, tolerance=tolerance))

    @classmethod
    def from_card(cls, card: EmulatorCard) -> Self:
        """The emulator of a checkpoint that was read."""
        network = NeuralODE(card.shape, bounded=[port.lower is not None for port in card.domain.readouts])
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in card.weights.items()})
        return cls(network.eval(), card.domain, card.gate, card.report)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint, whole or not at all. Raises `InputError` where it cannot be written."""
        weights = {name: tensor.detach().numpy() for name, tensor in self.network.state_dict().items()}
        EmulatorCard(self.domain, self.gate, self.report, self.network.shape, weights).save(path)

    def with_tolerance(self, tolerance: float) -> Self:
        """The same emulator, trusted at another tolerance; what the report says of trust follows."""
        gate = self.gate.with_tolerance(tolerance)
        return replace(self, gate=gate, report=self.report.at(gate))

    @property
    def readouts(self) -> tuple[str, ...]:
        """Names of what it answers."""
        return tuple(port.name for port in self.domain.readouts)

    @property
    def features(self) -> tuple[str, ...]:
        """Every name that a cell must bring: what its settled state holds, parameters and states."""
        return self.domain.needed

    def answer(
        self,
        *,
        features: Mapping[str, Floats],
        initial: Mapping[str, Floats],
        perturbations: Sequence[Perturbation],
        times: Sequence[float],
    ) -> Answer:
        """Run one arm for some cells.

        Args:
            features: what each cell's settled state holds, name → `[M]`; names that it does not need are left aside.
            initial: readout → its value before any change `[M]`.
            perturbations: the arm's changes in time.
            times: ascending, from the domain's `t0` on.

        Returns:
            Values, scores and decisions; cells whose numbers are not finite are NaN and never vouched for.

        Raises:
            InputError: a missing name, or an arm that changes what is no level (ask `domain.knows` first).
        """
        cells = self.of(features=features, initial=initial)
        assert cells.rows is not None
        state = cells.init(members=np.arange(len(cells.rows.features), dtype=np.int64), seed=0)
        when = np.asarray(times, dtype=np.float64)
        found = np.full((len(state.members), self.network.shape.networks, len(when), len(self.readouts)), np.nan)
        known = self.domain.familiar(features) & (state.arrays["status"] == 0)
        known &= self.domain.knows(perturbations)
        end = float(when[-1]) if len(when) else self.domain.t0
        for window in dose_windows(perturbations, t0=self.domain.t0, t1=end):
            if window.changes:
                state = cells.perturb(state, window.changes)
            known &= self.domain.familiar_levels(state.arrays["levels"])
            looks = window.holds(when)
            state, values = cells.courses(state, t0=window.t0, t1=window.t1, times=when[looks].tolist())
            found[:, :, looks] = values
        signs = self.signs(found, cells.rows.features)
        scores = np.where(known, self.gate.score(signs), np.inf)
        spans = np.array(self.domain.spans)
        mean = found.mean(axis=1) * spans
        return Answer(
            values={name: mean[:, :, column] for column, name in enumerate(self.readouts)},
            scores=scores,
            vouched=self.gate.vouch(scores),
            signs=signs,
        )

    def run(
        self,
        *,
        features: Mapping[str, Floats],
        initial: Mapping[str, Floats],
        perturbations: Sequence[Perturbation],
        times: Sequence[float],
    ) -> Mapping[str, Floats]:
        """Values alone, trusted or not: readout → `[M, T]`. See `answer`."""
        return self.answer(features=features, initial=initial, perturbations=perturbations, times=times).values

    def of(self, *, features: Mapping[str, Floats], initial: Mapping[str, Floats]) -> Self:
        """The emulator with members: a `twin.Simulator`.

        Args:
            features: name → values `[N]`, a row per member; `initial`: readout → values before any change `[N]`.

        Raises:
            InputError: a missing name.
        """
        missing = [name for name in self.readouts if name not in initial]
        if missing:
            raise InputError(f"The emulator needs {', '.join(missing)} of every cell before any change.")
        start = np.stack([np.asarray(initial[name], dtype=np.float64) for name in self.readouts], axis=1)
        rows = _Rows(self.domain.features_of(features), start / self.domain.spans, self.domain.levels_of(features))
        return replace(self, rows=rows)

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """None: what a cell is comes with its features."""
        return ()

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """The readouts."""
        return self.domain.readouts

    @property
    def targets(self) -> Mapping[str, Variable]:
        """The levels, e.g. doses."""
        return {
            axis.name: Variable(axis.name, units, lower=0.0 if axis.log else None)
            for axis, units in zip(self.domain.levels, self.domain.level_units, strict=True)
        }

    @property
    def clock(self) -> Literal["macro", "micro"]:
        """``"macro"``."""
        return "macro"

    @property
    def time_units(self) -> str:
        """Units of the clock."""
        return self.domain.time_units

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """The start of these members; nothing is drawn, `seed` is not used.

        Raises:
            InputError: an emulator without members, or a member without a row.
        """
        del seed
        rows = self._bound()
        members = np.asarray(members, dtype=np.int64)
        if len(members) and not 0 <= members.min() <= members.max() < len(rows.features):
            raise InputError(
                f"init: members {members.min()}…{members.max()}, but this emulator has {len(rows.features)} cells."
            )
        features, initial, levels = rows.features[members], rows.initial[members], rows.levels[members]
        fine = np.atleast_1d(np.isfinite(np.concatenate([features, initial, levels], axis=1)).all(axis=1))
        features, initial, levels = (np.where(fine[:, None], array, 0.0) for array in (features, initial, levels))

        def encoded(features: Tensor, initial: Tensor) -> tuple[Tensor, ...]:
            return tuple(tensor.transpose(0, 1) for tensor in self.network.encode(features, initial))

        point, context, anchor = _in_blocks(encoded, features, initial)
        return State(
            members=members,
            arrays={
                "point": point,
                "context": context,
                "anchor": anchor,
                "levels": levels,
                "status": np.where(fine, 0, NOT_FINITE).astype(np.int8),
            },
        )

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """A new state with the levels changed, in the order given; the latent clock starts anew.

        Raises:
            InputError: a target that is no level, a wrong number of values, or a level below its bound.
        """
        if not perturbations:
            return state
        levels = changed(state.arrays["levels"], self.domain.level_names, perturbations)
        for column, axis in enumerate(self.domain.levels):
            lowest = 0.0 if axis.log else -math.inf
            bad = np.flatnonzero(~np.isfinite(levels[:, column]) | (levels[:, column] < lowest))
            if len(bad):
                raise InputError(
                    f"Perturbation at {perturbations[-1].time:g}: {axis.name} is {levels[bad[0], column]} in member "
                    f"{state.members[bad[0]]}; expected a finite number{' of at least 0' if axis.log else ''}."
                )
        note = {**state.note, _SINCE: max(float(change.time) for change in perturbations)}
        return replace(state, arrays={**state.arrays, "levels": levels}, note=note)

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """Move the latent point from `t0` to `t1`. See `twin.Simulator.step`.

        Raises:
            InputError: an input (there is none), or times out of order.
        """
        if inputs:
            raise InputError(f"Emulator has no input {next(iter(inputs))!r}; what a cell is comes with its features.")
        times = step_times(t0, t1, sample)
        state, found = self.courses(state, t0=times[0], t1=times[-1], times=times[1:])
        mean = found.mean(axis=1) * self.domain.spans
        return state, {name: np.ascontiguousarray(mean[:, :, column]) for column, name in enumerate(self.readouts)}

    def courses(self, state: State, *, t0: float, t1: float, times: Sequence[float]) -> tuple[State, Floats]:
        """The state at `t1`, and what each network says at `times`: readouts in units of their spans `[M, E, T, R]`."""
        since = float(state.note.get(_SINCE, t0))

        def moved(point: Tensor, context: Tensor, anchor: Tensor, levels: Tensor) -> tuple[Tensor, ...]:
            point, context, anchor = (tensor.transpose(0, 1).contiguous() for tensor in (point, context, anchor))
            drive = self.network.drive(context, levels)
            end, seen = self.network.advance(drive, point, since=since, t0=t0, t1=t1, times=times)
            return end.transpose(0, 1), self.network.read(seen, context, anchor).transpose(0, 1)

        arrays = state.arrays
        levels = self.domain.scaled_levels(arrays["levels"])
        point, values = _in_blocks(moved, arrays["point"], arrays["context"], arrays["anchor"], levels)
        values = values.astype(np.float64)
        values[arrays["status"] != 0] = np.nan
        note = {**state.note, _SINCE: since}
        return replace(state, arrays={**arrays, "point": point}, time=float(t1), note=note), values

    def signs(self, found: Floats, features_MF: Floats) -> Floats:
        """What the gate's score is made of `[M, J]`: disagreement of the networks, and distance from the training cells.

        Args:
            found: what each network says `[M, E, T, R]`.
            features_MF: scaled features.
        """
        spread = found.std(axis=1)
        off = np.abs(features_MF) if features_MF.shape[1] else np.zeros((len(features_MF), 1))
        with np.errstate(divide="ignore"):
            return np.stack(
                [
                    np.log10(spread.max(axis=(1, 2)) + _LEAST_SPREAD),
                    np.log10(spread.mean(axis=(1, 2)) + _LEAST_SPREAD),
                    np.sqrt((off**2).mean(axis=1)),
                    off.max(axis=1),
                ],
                axis=1,
            )

    def _bound(self) -> _Rows:
        if self.rows is None:
            raise InputError("This emulator has no members; give it cells: `emulator.of(features=…, initial=…)`.")
        return self.rows


def _in_blocks(function: Callable[..., tuple[Tensor, ...]], *arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """`function` of float32 tensors `[BLOCK, …]`, filled up with zeros; what it gives `[BLOCK, …]`, joined to M rows."""
    rows = len(arrays[0])
    parts: list[tuple[NDArray[Any], ...]] = []
    with _one_thread(), torch.inference_mode():
        for first in range(0, max(rows, 1), BLOCK):
            given: list[Tensor] = []
            for array in arrays:
                block = np.zeros((BLOCK, *array.shape[1:]), dtype=np.float32)
                block[: len(array[first : first + BLOCK])] = array[first : first + BLOCK]
                given.append(torch.from_numpy(block))
            count = min(BLOCK, rows - first)
            parts.append(tuple(np.ascontiguousarray(tensor.numpy()[:count]) for tensor in function(*given)))
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over threads would add in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
