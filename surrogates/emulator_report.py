"""How well an emulator does, measured on cells that it never saw: error, coverage, share wrong, speed, beside baselines.

The answers themselves are kept (one arm per test cell), so that every figure can be told at any tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from surrogates.trust_gate import TrustGate, upper_limit

MECHANISM, EMULATOR = "mechanism", "emulator"
WORTH = 1.5
"""Speed-up from which the emulator is the default: its error is not free, and clocks are noisy."""
_QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class EmulatorReport:
    """Measured when the emulator was trained. An error is the largest difference over times and readouts, in spans.

    Args:
        scores, errors: of the test answers, one arm per cell.
        baselines: name → errors of a simpler rule on the same answers.
        cells: how many cells each part of the split has.
        mechanism_ms, emulator_ms: per trajectory, each in blocks as in a run.
        start_up_s: what the emulator costs a process before its first answer.
        trajectories: of the scenario it was trained for.
        made: command, seed, versions and machine.
        tolerance, threshold, risk, confidence: of the gate that the figures below are told for.
        calibration_limit: upper limit of the share wrong that calibration gives at the threshold.
    """

    scores: tuple[float, ...]
    errors: tuple[float, ...]
    baselines: Mapping[str, tuple[float, ...]]
    cells: Mapping[str, int]
    mechanism_ms: float
    emulator_ms: float
    start_up_s: float
    trajectories: int
    made: Mapping[str, str]
    tolerance: float = math.nan
    threshold: float = -math.inf
    risk: float = math.nan
    confidence: float = math.nan
    calibration_limit: float = 1.0

    def at(self, gate: TrustGate) -> Self:
        """The report of another gate."""
        return replace(
            self,
            tolerance=gate.tolerance,
            threshold=gate.threshold,
            risk=gate.risk,
            confidence=gate.confidence,
            calibration_limit=gate.upper_share_wrong(gate.threshold),
        )

    @property
    def coverage(self) -> float:
        """Share of test answers that the gate vouches for."""
        return float(np.mean(self._vouched)) if self.scores else 0.0

    @property
    def share_wrong(self) -> float:
        """Share of vouched test answers beyond the tolerance; 0 where none is vouched for."""
        return float(np.mean(self._vouched_errors > self.tolerance)) if len(self._vouched_errors) else 0.0

    @property
    def share_wrong_limit(self) -> float:
        """Upper 95 % limit of `share_wrong` (Clopper and Pearson); 1 where none is vouched for."""
        wrong = int((self._vouched_errors > self.tolerance).sum())
        return upper_limit(wrong, len(self._vouched_errors), confidence=0.95)

    @property
    def speed_up(self) -> float:
        """Time of mechanism alone over time with the emulator, which runs for all and leaves the rest to mechanism."""
        return self.mechanism_ms / (self.emulator_ms + (1.0 - self.coverage) * self.mechanism_ms)

    @property
    def choice(self) -> str:
        """Which one answers by default, decided from what was measured at training: never from a clock of the run."""
        saved_s = self.trajectories * self.mechanism_ms * (1 - 1 / self.speed_up) / 1e3
        return EMULATOR if self.speed_up >= WORTH and saved_s > self.start_up_s else MECHANISM

    @property
    def sentence(self) -> str:
        """The choice and its reason, in words."""
        share, wrong = f"{self.coverage:.0%}", f"{self.share_wrong:.1%}"
        if self.coverage == 0.0:
            why = (
                f"at a tolerance of {self.tolerance:.3g} of a readout's span no threshold of the gate holds its promise "
                f"(at most {self.risk:.0%} wrong with {self.confidence:.0%} confidence), so it vouches for no cell"
            )
        else:
            why = (
                f"the gate vouches for {share} of unseen cells, {wrong} of them beyond {self.tolerance:.3g} of a "
                f"readout's span; a course takes {self.emulator_ms:.2g} ms by emulator and {self.mechanism_ms:.2g} ms by "
                f"mechanism, so with mechanism for the rest the whole is {self.speed_up:.2g} times as fast"
            )
        if self.choice == EMULATOR:
            return f"The emulator answers where its gate vouches: {why}."
        if self.coverage > 0.0 and self.speed_up >= WORTH:
            why += f", but starting it costs {self.start_up_s:.2g} s, more than it saves"
        elif self.coverage > 0.0:
            why += f"; below {WORTH:g} times its error is not worth it for a model this small"
        return f"Mechanism answers: {why}."

    def summary(self) -> dict[str, Any]:
        """Everything that a reader of a result needs, as plain data."""
        return {
            "tolerance": self.tolerance,
            "risk": self.risk,
            "confidence": self.confidence,
            "calibration_limit": self.calibration_limit,
            "coverage": self.coverage,
            "share_wrong": self.share_wrong,
            "share_wrong_limit": self.share_wrong_limit,
            "error": _quantiles(self.errors),
            "error_vouched": _quantiles(self._vouched_errors.tolist()),
            "baselines": {
                name: {**_quantiles(errors), "within": float(np.mean(np.array(errors) <= self.tolerance))}
                for name, errors in self.baselines.items()
            },
            "within": float(np.mean(np.array(self.errors) <= self.tolerance)) if self.errors else 0.0,
            "cells": dict(self.cells),
            "mechanism_ms": self.mechanism_ms,
            "emulator_ms": self.emulator_ms,
            "start_up_s": self.start_up_s,
            "speed_up": self.speed_up,
            "choice": self.choice,
            "decision": self.sentence,
            "made": dict(self.made),
        }

    def facts(self) -> dict[str, Any]:
        """What was measured, as plain data; what follows from the gate is told anew by `at`."""
        return {
            "scores": [None if math.isinf(score) else _short(score) for score in self.scores],
            "errors": [_short(error) for error in self.errors],
            "baselines": {name: [_short(error) for error in errors] for name, errors in self.baselines.items()},
            "cells": dict(self.cells),
            "mechanism_ms": self.mechanism_ms,
            "emulator_ms": self.emulator_ms,
            "start_up_s": self.start_up_s,
            "trajectories": self.trajectories,
            "made": dict(self.made),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """From plain data; raises `TypeError`, `KeyError` or `ValueError` where it is no report."""
        return cls(
            scores=tuple(math.inf if score is None else float(score) for score in facts["scores"]),
            errors=tuple(float(error) for error in facts["errors"]),
            baselines={str(n): tuple(float(e) for e in errors) for n, errors in facts["baselines"].items()},
            cells={str(name): int(count) for name, count in facts["cells"].items()},
            mechanism_ms=float(facts["mechanism_ms"]),
            emulator_ms=float(facts["emulator_ms"]),
            start_up_s=float(facts["start_up_s"]),
            trajectories=int(facts["trajectories"]),
            made={str(name): str(value) for name, value in facts["made"].items()},
        )

    @property
    def _vouched(self) -> Any:
        return np.array(self.scores) <= self.threshold

    @property
    def _vouched_errors(self) -> Any:
        return np.array(self.errors)[self._vouched]


def _quantiles(errors: Sequence[float]) -> dict[str, float | None]:
    return {f"q{q * 100:g}": float(np.quantile(errors, q)) if len(errors) else None for q in _QUANTILES}


def _short(value: float) -> float:
    return float(f"{value:.5g}")
