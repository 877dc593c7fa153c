"""Who plays beside the cell in a scenario's twin: further simulators, what flows between all, and how.

Legend: `N` members.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from scenarios.coupling import Capture, Coupling
from scenarios.coupling_consistency import located
from scenarios.placing import CELL
from scenarios.problem import Problem
from twin.errors import InputError, UnitError, UnsupportedFeature, WiringError
from twin.graph import Conduit, Twin
from twin.simulator import Simulator

if TYPE_CHECKING:
    from coupling.fixed_windows import Windows
    from coupling.scheme import Scheme
    from scenarios.scenario import Scenario
    from simulators.reaction import Engine

Row = NDArray[np.float64]
T = TypeVar("T")


def own(values: Mapping[str, T], simulator: str) -> dict[str, T]:
    """Those of a scenario's values that are of one simulator, by its own names."""
    if simulator == CELL:
        return {name: value for name, value in values.items() if "." not in name}
    return {
        name.partition(".")[2]: value
        for name, value in values.items()
        if name.partition(".")[0] == simulator and "." in name
    }


def ports(scenario: Scenario, simulator: str) -> dict[str, str]:
    """What a simulator says: readouts of it, and what conduits take; name → expression over its own names."""
    found: dict[str, str] = {}
    for name, readout in scenario.readouts.items():
        of, expression = located(name, readout.expression)
        if of == simulator:
            found[name] = expression
    coupling = scenario.coupling
    for arrow in () if coupling is None else coupling.arrows:
        if arrow.source == simulator:
            found.setdefault(arrow.port, arrow.port)
    return found


def readout_ports(scenario: Scenario) -> dict[str, str]:
    """Readout → the port of the twin that says it, ``"simulator.port"``."""
    captures = {} if scenario.coupling is None else scenario.coupling.captures
    found: dict[str, str] = {}
    for name, readout in scenario.readouts.items():
        simulator, expression = located(name, readout.expression)
        found[name] = f"{simulator}.{expression if simulator in captures else name}"
    return found


@dataclass(frozen=True)
class Cast:
    """The simulators beside the cell.

    Args:
        scenario: what was asked.
        coupling: its part.
        engines: of the networks, by the simulator's name.
    """

    scenario: Scenario
    coupling: Coupling
    engines: Mapping[str, Engine]

    @property
    def inputs(self) -> tuple[str, ...]:
        """What conduits feed in the cell."""
        return self._fed(CELL)

    @property
    def conduits(self) -> tuple[Conduit, ...]:
        """What flows."""
        return tuple(Conduit(f"{a.source}.{a.port}", f"{a.target}.{a.into}") for a in self.coupling.arrows)

    @cached_property
    def scheme(self) -> Scheme:
        """How values are exchanged."""
        return self.coupling.scheme_lowered()

    @cached_property
    def windows(self) -> Windows:
        """How often."""
        return self.coupling.windows.lowered()

    def simulators(self, cell_line: str, drawn: Mapping[str, Row]) -> dict[str, Simulator]:
        """The simulators of a line.

        Args:
            drawn: what differs between cells, name → values `[N]`.
        """
        given = self.scenario.parameters(cell_line)
        found: dict[str, Simulator] = {}
        for name, part in self.coupling.simulators.items():
            if isinstance(part, Capture):
                found[name] = _capture(part, {**part.values, **own(given, name)}, own(drawn, name))
                continue
            from simulators.reaction import ReactionSimulator

            found[name] = ReactionSimulator(
                self.engines[name],
                inputs=self._fed(name),
                parameters=own(given, name),
                member_parameters=own(drawn, name),
                rtol=part.relative_tolerance,
                atol=part.absolute_tolerance,
            )
        return found

    def nominal(self, cell_line: str) -> dict[str, float]:
        """What the settable names of capture simulators start with."""
        given = self.scenario.parameters(cell_line)
        return {
            f"{name}.{key}": value
            for name, part in self.coupling.captures.items()
            for key, value in {**part.values, **own(given, name)}.items()
        }

    def problems(self, cell: Simulator) -> Iterator[Problem]:
        """What shows only when the simulators meet: units of conduits, and a scheme that cannot couple them."""
        from coupling.wiring import Wiring

        simulators = {CELL: cell, **self.simulators(self.scenario.lines[0], {})}
        fits = True
        for number, conduit in enumerate(self.conduits):
            try:
                Twin(simulators, (conduit,))
            except (UnitError, WiringError) as error:
                fits = False
                yield Problem(("coupling", "conduits", number), _in_words_of_the_file(str(error)))
        if not fits:
            return
        try:
            self.scheme.check(Wiring(Twin(simulators, self.conduits)))
        except (InputError, WiringError, UnsupportedFeature) as error:
            yield Problem(("coupling", "scheme"), _in_words_of_the_file(str(error)))

    def _fed(self, simulator: str) -> tuple[str, ...]:
        return tuple(arrow.into for arrow in self.coupling.arrows if arrow.target == simulator)


def _capture(part: Capture, given: Mapping[str, float], drawn: Mapping[str, Row]) -> Simulator:
    from coupling.cached import Cached
    from simulators.molecular import CaptureSimulator

    values: Mapping[str, Row | float] = {**given, **drawn}
    simulator = CaptureSimulator(
        radius_um=values["radius"],
        diffusion_um2_s=values["diffusion"],
        kon_1_M_s=values["kon"],
        free=values["free"],
        trajectories=part.trajectories,
    )
    return simulator if part.cached_share is None else Cached(simulator, rtol=part.cached_share)


def _in_words_of_the_file(text: str) -> str:
    """A refusal of the coupling package with the cure as a scenario writes it."""
    for ours, theirs in (
        ("GaussSeidel: ", "gauss-seidel: "),
        ("Strang: ", "strang: "),
        ("WaveformRelaxation: ", "waveform: "),
        (" or WaveformRelaxation().", " or `scheme: waveform`."),
        ("take GaussSeidel, or WaveformRelaxation(degree=1)", "take `scheme: gauss-seidel`, or `scheme: {kind: waveform, degree: 1}`"),
        ("WaveformRelaxation(degree=1) or Strang()", "`scheme: {kind: waveform, degree: 1}` or `scheme: strang`"),
        ("WaveformRelaxation(degree=1)", "`scheme: {kind: waveform, degree: 1}`"),
        (", or give ReactionSimulator a method `follow` (twin.Follower)", ""),
        (", or give CaptureSimulator a method `follow` (twin.Follower)", ""),
        (", or give Cached a method `follow` (twin.Follower)", ""),
        ("put a Bridge on this Conduit that maps one to the other.", "give both names units of one dimension, under `units:` of their models."),
        ("couple them by Jacobi()", "couple them by `scheme: jacobi`"),
    ):  # fmt: skip
        text = text.replace(ours, theirs)
    text = re.sub(r"GaussSeidel\(order=\[(.*?)\]\)", r"`scheme: {kind: gauss-seidel, order: [\1]}`", text)
    text = re.sub(r"WaveformRelaxation of order (\d)", lambda found: f"waveform of degree {int(found[1]) - 1}", text)
    return re.sub(r"\['[^\]]*'\]", lambda found: found[0].replace("'", ""), text)
