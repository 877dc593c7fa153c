"""Errors of the engine, sorted by their cure: mend the input, the wiring, the feature asked for, the method or the machine."""

from __future__ import annotations


class KakehashiError(Exception):
    """Any error that we raise on purpose. Its text says what, where, what was expected, and the cure."""


class InputError(KakehashiError):
    """The user's input is wrong: mend the file, the option or the value."""


class UnitError(InputError):
    """A unit is missing, unknown, or of the wrong dimension."""


class WiringError(KakehashiError):
    """Ports do not fit together: mend the conduits of the twin."""


class UnsupportedFeature(KakehashiError):  # noqa: N818 - the name users meet, as in "refused: UnsupportedFeature"
    """What was asked for is well defined, and we do not do it. Raised before anything runs, never approximated.

    Attributes:
        feature: short name of the feature, e.g. ``"delay in event priority"``.
    """

    def __init__(self, feature: str, message: str | None = None) -> None:
        super().__init__(message or f"unsupported feature: {feature}")
        self.feature = feature


class ConvergenceError(KakehashiError):
    """A numerical method did not reach its tolerance: loosen it, refine the step, or look at the model."""


class ResourceError(KakehashiError):
    """The machine does not give what the run needs: cores, memory, disk, or an MPI runtime."""


class SimulationError(KakehashiError):
    """A simulator failed on its members; the text names arm, members and simulator. It costs that task only."""
