"""Where a scenario's cells and its emulator meet: what a settled cell shows to an emulator, and which emulator may answer.

Legend: `M` rows.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scenarios import shelf
from twin.simulator import State

if TYPE_CHECKING:
    from scenarios.build import Build
    from scenarios.scenario import Scenario
    from simulators.reaction import ReactionSimulator
    from surrogates.emulator import Emulator
    from surrogates.emulator_card import EmulatorCard

Row = NDArray[np.float64]

_DUST = 100.0  # times the integrator's absolute tolerance: amounts below are rounding, not information


def cell_features(
    cell: ReactionSimulator, state: State, fed: Mapping[str, Row] | None = None
) -> tuple[dict[str, Row], dict[str, Row]]:
    """What an emulator is told of cells before any change in time.

    Args:
        cell: the mechanism.
        state: of the settled cells, `[M]` rows.
        fed: what conduits will feed, in the model's units, e.g. rates of binding: name → `[M]`.

    Returns:
        Everything that the state holds, name → `[M]`; and the readouts, name → `[M]`.
    """
    x, p = state.arrays["x"], state.arrays["p"]
    x = np.where(np.abs(x) < _DUST * cell.atol, 0.0, x)
    found = {name: p[:, column].copy() for column, name in enumerate(cell.engine.parameters)}
    found |= {name: x[:, column] for column, name in enumerate(cell.engine.states)}
    _, seen = cell.step(state, {}, t0=0.0, t1=0.0)
    return {**found, **(fed or {})}, {name: values[:, -1] for name, values in seen.items()}


def mechanism_fingerprint(scenario: Scenario) -> str:
    """SHA-256 of what makes a course besides the cell's own numbers and the arm: model, readouts, how cells settle."""
    content = [
        scenario.model_text,
        {name: readout.expression or name for name, readout in scenario.readouts.items()},
        scenario.cell.equilibrate,
        scenario.equilibration,
        scenario.cell.time_units,
        scenario.time.start_min,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def emulator_card(built: Build) -> EmulatorCard | None:
    """What the scenario's checkpoint holds, at the scenario's tolerance, checked without torch; None where it names none.

    Raises:
        InputError: a checkpoint that is damaged, or another scenario's.
    """
    scenario = built.scenario
    if scenario.emulator is None:
        return None
    from surrogates.emulator_card import EmulatorCard

    path = scenario.path(scenario.emulator.checkpoint)
    card = EmulatorCard.load(path, tolerance=scenario.emulator.tolerance_share)
    card.domain.refuse_other(
        mechanism=mechanism_fingerprint(scenario),
        readouts=tuple(scenario.readouts),
        names=(*built.engine.parameters, *built.engine.states),
        until=scenario.sample_times[-1],
        where=scenario.emulator.checkpoint,
        model=scenario.cell.model or "the model",
        command=f"twin train {_asked_as(scenario)}",
    )
    return card


def _asked_as(scenario: Scenario) -> str:
    """What the user calls the scenario on the command line."""
    source = scenario.source
    if source is None or Path(source.name) == shelf.LIBRARY / f"{scenario.name}.yaml":
        return scenario.name
    return shlex.quote(source.name)


def emulator_of(built: Build) -> Emulator | None:
    """The scenario's emulator, ready to answer; None where it names none. Raises as `emulator_card`."""
    card = emulator_card(built)
    if card is None:
        return None
    from surrogates.emulator import Emulator

    return Emulator.from_card(card)


def answers(built: Build, emulator: Emulator | EmulatorCard | None) -> bool:
    """Whether the emulator is asked at all: as the scenario says, or for `auto` as measured when it was trained."""
    if emulator is None or built.scenario.emulator is None:
        return False
    use = built.scenario.emulator.use
    return use == "emulator" or (use == "auto" and emulator.report.choice == "emulator")
