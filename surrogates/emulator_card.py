"""All that a checkpoint says of an emulator, checked to the last weight, without torch: who only asks whether an emulator
may answer need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from surrogates.checkpoint import Checkpoint
from surrogates.domain import Domain
from surrogates.emulator_report import EmulatorReport
from surrogates.shape import Shape
from surrogates.trust_gate import TrustGate
from twin.errors import InputError

_GATE = "gate."


@dataclass(frozen=True, eq=False)
class EmulatorCard:
    """What a checkpoint holds.

    Args:
        domain: what the emulator was trained on.
        gate: when to trust it.
        report: how well it does, measured when it was trained.
        shape: its architecture.
        weights: every array of `shape.weights`.
    """

    domain: Domain
    gate: TrustGate
    report: EmulatorReport
    shape: Shape
    weights: Mapping[str, NDArray[Any]]

    @classmethod
    def load(cls, path: str | Path, *, tolerance: float | None = None) -> Self:
        """Read a checkpoint.

        Args:
            path: a file that `save` wrote.
            tolerance: error up to which the gate may vouch, a share of a readout's span; None: that of training.

        Raises:
            InputError: no such file, damaged, of another format, or weights that do not fit; the text names the cure.
        """
        path = Path(path)
        checkpoint = Checkpoint.read(path)
        facts, arrays = checkpoint.facts, checkpoint.arrays
        try:
            domain = Domain.from_facts(facts["domain"])
            gate = TrustGate.from_facts(facts["gate"], arrays)
            shape = Shape(**facts["shape"])
            report = EmulatorReport.from_facts(facts["report"])
            expected = shape.weights
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path}: the facts about this checkpoint are incomplete ({type(error).__name__}: {error}); "
                "train it again with `twin train`."
            ) from error
        sizes = (len(domain.features), len(domain.levels), len(domain.readouts))
        if sizes != (shape.features, shape.levels, shape.readouts):
            raise InputError(
                f"{path}: {sizes} features, levels and readouts are named, but the network has "
                f"{(shape.features, shape.levels, shape.readouts)}; train it again with `twin train`."
            )
        weights = {name: array for name, array in arrays.items() if not name.startswith(_GATE)}
        _refuse_misfits(weights, expected, path)
        card = cls(domain, gate, report, shape, weights)
        return card.with_tolerance(gate.tolerance if tolerance is None else tolerance)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint, whole or not at all. Raises `InputError` where it cannot be written."""
        facts = {
            "domain": self.domain.facts(),
            "shape": self.shape.facts(),
            "gate": self.gate.facts(),
            "report": self.report.facts(),
        }
        Checkpoint(facts, {**self.weights, **self.gate.arrays()}).write(Path(path))

    def with_tolerance(self, tolerance: float) -> Self:
        """The same emulator, trusted at another tolerance; what the report says of trust follows."""
        gate = self.gate.with_tolerance(tolerance)
        return replace(self, gate=gate, report=self.report.at(gate))


def _refuse_misfits(weights: Mapping[str, NDArray[Any]], expected: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Every weight must be there, in its shape, and no other."""
    told = [
        *(f"{name} is missing" for name in expected if name not in weights),
        *(f"{name} belongs to no part of the network" for name in weights if name not in expected),
        *(
            f"{name} has shape {weights[name].shape}, expected {shape}"
            for name, shape in expected.items()
            if name in weights and weights[name].shape != shape
        ),
    ]
    if told:
        raise InputError(f"{path}: {'; '.join(told[:4])}; train it again with `twin train`.")
