"""What exchanges values with the cell within a run: further simulators, the conduits between all, and how and how often."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from scenarios.cell import Network
from scenarios.part import Id, Part, Symbol
from scenarios.problem import Fault, near
from scenarios.quantity import Count, Fraction, Time, checked, fraction, minutes, read

if TYPE_CHECKING:
    from coupling.fixed_windows import Windows
    from coupling.scheme import Scheme

CAPTURE_UNITS = {"free": "", "kon": "1/(M s)", "diffusion": "um**2/s", "radius": "um"}
"""What may be set in a capture simulator, and in which units."""
_SMALLEST = 1e-6  # min, of a window whose length adapts
_ARROW = re.compile(r"\s*([^\s.]+)\.([^\s.]+)\s*->\s*([^\s.]+)\.([^\s.]+)\s*")


def _in(units: str, example: str) -> tuple[BeforeValidator, WithJsonSchema]:
    return BeforeValidator(lambda value: checked(value, units)), WithJsonSchema(
        {"type": "string", "examples": [example]}
    )


Length = Annotated[str | float, *_in("um", "10 um")]
Diffusion = Annotated[str | float, *_in("um**2/s", "100 um^2/s")]
Rate = Annotated[str | float, *_in("1/(M s)", "1e7 1/(M s)")]


class Reaction(Network):
    """Another reaction network: a part of the cell, or what the cell lives in."""

    kind: Literal["reaction"] = Field("reaction", description="a reaction network, from `model` or `antimony`")


class Capture(Part):
    """Receptors of a cell that compete for its ligand, by Brownian dynamics (`simulators.molecular.CaptureSimulator`)."""

    kind: Literal["capture"] = Field(description="how free receptors compete for a ligand that diffuses")
    kon: Rate = Field(description="of a receptor whose ligand is beside it, e.g. 1e7 1/(M s)")
    radius: Length = Field("10 um", description="of the cell")
    diffusion: Diffusion = Field("100 um^2/s", description="of the ligand")
    free: Annotated[float, Field(strict=True, ge=0.0)] = Field(
        0.0, description="free receptors, where no conduit tells"
    )
    trajectories: Count = Field(4096, description="Brownian paths")
    cached: Fraction | None = Field(
        None, description="ask it again only when an input has moved by this share, e.g. 5 %; left out: in every window"
    )

    @property
    def values(self) -> dict[str, float]:
        """What each target starts with, in `CAPTURE_UNITS`."""
        given = {"free": self.free, "kon": self.kon, "diffusion": self.diffusion, "radius": self.radius}
        return {name: read(value, CAPTURE_UNITS[name]) for name, value in given.items()}

    @property
    def cached_share(self) -> float | None:
        """The share by which an input may move."""
        return None if self.cached is None else fraction(self.cached)


_KINDS = ("reaction", "capture")


def _kind(data: Any) -> str:
    kind = data.get("kind", "reaction") if isinstance(data, dict) else getattr(data, "kind", "reaction")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return str(kind)  # pyright: ignore[reportUnknownArgumentType]


def _known(data: Any) -> Any:
    if _kind(data) not in _KINDS:
        hint = near(_kind(data), _KINDS)
        raise PydanticCustomError(
            "kind",
            "{text}",
            {"text": f"kind {_kind(data)!r} is none that we know;{hint} expected {' or '.join(_KINDS)}"},
        )
    return data


AnySimulator = Annotated[
    Annotated[
        Annotated[Reaction, Tag("<reaction>")] | Annotated[Capture, Tag("<capture>")],
        Discriminator(lambda data: f"<{_kind(data)}>"),
    ],
    BeforeValidator(_known),
]

Kind = Literal["jacobi", "gauss-seidel", "strang", "waveform"]


class SchemeChoice(Part):
    """How values are exchanged over a window."""

    kind: Kind = Field(description="jacobi or gauss-seidel (first order), strang (second), waveform (iterated)")
    order: tuple[Id, ...] | None = Field(None, description="all simulators, in the order in which they step")
    degree: Annotated[int, Field(strict=True, ge=1, le=5)] | None = Field(
        None,
        description="of waveform: of the exchanged polynomials; 3, or 1 where a fed simulator only takes constants",
    )
    tolerance: Fraction | None = Field(None, description="of waveform: when an exchanged signal stands still; 1e-8")
    iterations: Count | None = Field(None, description="of waveform: at most so many in a window; 50")
    acceleration: Literal["constant", "aitken", "quasi-newton"] | None = Field(
        None, description="of waveform: how it is iterated; quasi-newton"
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        wrong = [] if self.kind == "waveform" else [
            key for key in ("degree", "tolerance", "iterations", "acceleration") if getattr(self, key) is not None
        ]  # fmt: skip
        if self.kind == "jacobi" and self.order is not None:
            wrong.append("order")
        if wrong:
            raise PydanticCustomError(
                "scheme",
                "{text}",
                {"text": f"{self.kind} takes no {' and no '.join(f'`{key}`' for key in wrong)}; leave it out"},
            )
        return self

    def lowered(self, *, degree: int) -> Scheme:
        """The scheme. Raises `Fault` for a value outside its range.

        Args:
            degree: of the signals of a waveform, where the file names none.
        """
        from coupling import Aitken, Constant, GaussSeidel, Jacobi, QuasiNewton, Strang, WaveformRelaxation

        if self.kind == "jacobi":
            return Jacobi()
        if self.kind != "waveform":
            return (GaussSeidel if self.kind == "gauss-seidel" else Strang)(self.order)
        tolerance = 1e-8 if self.tolerance is None else fraction(self.tolerance)
        if not 0.0 < tolerance < 1.0:
            raise Fault(f"{self.tolerance!r}: expected a share above 0 and below 1, e.g. 1e-8.", "tolerance")
        named = {"constant": Constant, "aitken": Aitken, "quasi-newton": QuasiNewton}
        return WaveformRelaxation(
            tolerance,
            self.iterations or 50,
            named[self.acceleration or "quasi-newton"](),
            degree=self.degree or degree,
            order=self.order,
        )


class WindowsChoice(Part):
    """How long windows are: all of one length, or as the exchanged values allow."""

    every: Time | None = Field(None, description="length of every window, e.g. 5 min")
    tolerance: Fraction | None = Field(
        None,
        description="instead of `every`: windows of each member's own; what is heard misses what is said by this share at most",
    )
    smallest: Time | None = Field(None, description="with `tolerance`: shortest window, e.g. 1 s")
    largest: Time | None = Field(None, description="with `tolerance`: longest window, e.g. 30 min")

    @model_validator(mode="after")
    def _one(self) -> Self:
        bounds = self.smallest is not None or self.largest is not None
        if (self.every is None) == (self.tolerance is None) or (bounds and self.tolerance is None):
            raise PydanticCustomError(
                "windows",
                "expected `windows: 5 min`, or `windows: {tolerance: 0.1 %}` with `smallest` and `largest` if need be",
            )
        return self

    @property
    def words(self) -> str:
        """How long they are."""
        if self.every is not None:
            return f"of {self.every}"
        return f"in which what is heard misses what is said by {self.tolerance} at most, each member's own"

    def lowered(self) -> Windows:
        """The windows, on the twin's clock [min]. Raises `Fault` for what does not advance."""
        from coupling import AdaptiveWindows, FixedWindows

        if self.every is not None:
            if not minutes(self.every) > 0:
                raise Fault(
                    f"{self.every}: a window of this length does not advance; expected one above 0, e.g. 5 min."
                )
            return FixedWindows(minutes(self.every))
        assert self.tolerance is not None
        tolerance = fraction(self.tolerance)
        if not 0 < tolerance < 1:
            raise Fault(f"{self.tolerance}: expected a share above 0 % and below 100 %, e.g. 0.1 %.", "tolerance")
        for key, length in (("smallest", self.smallest), ("largest", self.largest)):
            if length is not None and not minutes(length) > 0:
                raise Fault(f"{length}: a window of this length does not advance; expected one above 0, e.g. 1 s.", key)
        smallest = _SMALLEST if self.smallest is None else minutes(self.smallest)
        if self.largest is not None and minutes(self.largest) < smallest:
            said = (
                f"`smallest: {self.smallest}`" if self.smallest is not None else f"the smallest, {60 * _SMALLEST:g} s"
            )
            raise Fault(
                f"{self.largest} is less than {said}; expected the longest window to be the longer one.", "largest"
            )
        return AdaptiveWindows(
            tolerance, smallest=smallest, largest=None if self.largest is None else minutes(self.largest)
        )


def _one_key(key: str) -> Callable[[Any], Any]:
    """Turns a plain word into the part whose key it is."""
    return lambda data: {key: data} if isinstance(data, (str, int, float)) and not isinstance(data, bool) else data


AnyWindows = Annotated[WindowsChoice, BeforeValidator(_one_key("every"), json_schema_input_type=WindowsChoice | str)]
AnyScheme = Annotated[SchemeChoice, BeforeValidator(_one_key("kind"), json_schema_input_type=SchemeChoice | Kind)]


@dataclass(frozen=True)
class Arrow:
    """A conduit as the file writes it, ``cell.RAS_drive -> pathways.RAS_drive``."""

    source: str
    port: str
    target: str
    into: str

    @classmethod
    def parse(cls, text: str) -> Arrow:
        """Raises `Fault` for text that is none."""
        match = _ARROW.fullmatch(text)
        if match is None:
            raise Fault(
                f"{text!r} is no conduit; expected SIMULATOR.NAME -> SIMULATOR.NAME, e.g. cell.drive -> pathways.drive."
            )
        return cls(*match.groups())


class Coupling(Part):
    """Simulators beside the cell, and how all of them exchange values within a run."""

    simulators: dict[Symbol, AnySimulator] = Field(min_length=1, description="name → a simulator beside the cell")
    conduits: tuple[Annotated[str, Field(strict=True)], ...] = Field(
        min_length=1, description="what flows, e.g. - cell.drive -> pathways.drive"
    )
    windows: AnyWindows = Field(description="how often: 5 min, or {tolerance: 0.1 %}")
    scheme: AnyScheme = Field(
        default_factory=lambda: SchemeChoice.model_validate({"kind": "waveform"}),
        description="how: jacobi, gauss-seidel, strang or waveform; or {kind: waveform, degree: 1, …}",
    )

    @property
    def networks(self) -> Mapping[str, Reaction]:
        """The reaction networks among the simulators."""
        return {name: one for name, one in self.simulators.items() if isinstance(one, Reaction)}

    @property
    def captures(self) -> Mapping[str, Capture]:
        """The capture simulators."""
        return {name: one for name, one in self.simulators.items() if isinstance(one, Capture)}

    @property
    def cached(self) -> tuple[str, ...]:
        """Names of the micro simulators that are asked only when something moved."""
        return tuple(name for name, one in self.captures.items() if one.cached is not None)

    @property
    def arrows(self) -> tuple[Arrow, ...]:
        """The conduits, read. Raises `Fault`."""
        return tuple(Arrow.parse(text) for text in self.conduits)

    def scheme_lowered(self) -> Scheme:
        """The scheme; a waveform is of third degree, or of first where a micro simulator is fed. Raises `Fault`."""
        return self.scheme.lowered(degree=1 if any(arrow.target in self.captures for arrow in self.arrows) else 3)

    @property
    def units(self) -> dict[str, str]:
        """Units of the names of all simulators beside the cell, written with the simulator: ``pathways.kdeg``."""
        own = {name: one.units for name, one in self.networks.items()} | dict.fromkeys(self.captures, CAPTURE_UNITS)
        return {f"{name}.{key}": units for name, one in own.items() for key, units in one.items()}
