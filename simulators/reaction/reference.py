"""libRoadRunner in one piece: the whole run of a model by an independent program, for comparison.

Legend: `M` members, `T` times, `R` readouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import libsbml
import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats, Status
from simulators.reaction.halt import deadline, past
from simulators.reaction.network import Network, Observable
from simulators.reaction.roadrunner import roadrunner, separate, silent, status_of
from simulators.reaction.source import document
from twin.errors import UnsupportedFeature

_REFUSED = {
    "algebraic rule": "it does not solve algebraic rules",
    "delay()": "it knows no delay()",
    "fast reaction": "it does not solve for the equilibrium of fast reactions",
    "random numbers in mathematics": "they would be drawn anew at every evaluation",
    "fbc": "it does not solve flux balance models",
}


def run_reference(
    source: str | Path,
    network: Network,
    given: Mapping[str, tuple[Floats, bool]],
    times: Floats,
    shown: Sequence[Observable],
    *,
    amounts: bool,
    members: int,
    rtol: float,
    atol: float,
    max_steps: int,
    time_limit_s: float | None = None,
) -> tuple[Floats, NDArray[np.int8]]:
    """Values `[M, T, R]` and a `Status` `[M]`.

    Args:
        given: id → (values, a number or `[M]`; whether they are amounts); they replace initial assignments.
        amounts: whether species are returned as amounts.
        time_limit_s: seconds after which no member is begun; its status is then `OUT_OF_TIME`.

    Raises:
        UnsupportedFeature: what libRoadRunner does not run.
    """
    for feature, why in _REFUSED.items():
        if feature in network.features:
            raise UnsupportedFeature(f"{feature} in engine reference", f"engine='reference' (libRoadRunner): {why}.")
    file = document(source)
    for name in given:
        file.getModel().removeInitialAssignment(name)
    selections = [_selection(o, amounts) for o in shown]
    values = np.full((members, len(times), len(shown)), np.nan)
    status = np.zeros(members, dtype=np.int8)
    runner: Any = None
    end = deadline(time_limit_s)
    for m in range(members):
        if past(end):
            status[m:] = Status.OUT_OF_TIME
            break
        if runner is None or given:
            _set(file.getModel(), {name: (np.broadcast_to(v, members)[m], whole) for name, (v, whole) in given.items()})
            with separate():
                runner = roadrunner.RoadRunner(str(libsbml.writeSBMLToString(file)))
            runner.timeCourseSelections = selections
            integrator = runner.getIntegrator()
            integrator.setValue("relative_tolerance", rtol)
            integrator.setValue("absolute_tolerance", atol)
            integrator.setValue("maximum_num_steps", max_steps)
        else:
            runner.resetAll()
        with silent():
            try:
                found = np.array(runner.simulate(times=[float(t) for t in times]))
            except RuntimeError as error:
                status[m] = status_of(error)
                continue
        values[m] = found.reshape(len(times), len(shown))
    return values, status


def _selection(o: Observable, amounts: bool) -> str:
    return f"[{o.id}]" if o.kind == "species" and not amounts else o.id


def _set(model: Any, values: Mapping[str, tuple[float, bool]]) -> None:
    for name, (value, whole) in values.items():
        species, compartment, parameter = model.getSpecies(name), model.getCompartment(name), model.getParameter(name)
        if species is not None and whole:
            species.unsetInitialConcentration()
            species.setInitialAmount(float(value))
        elif species is not None:
            species.unsetInitialAmount()
            species.setInitialConcentration(float(value))
        elif compartment is not None:
            compartment.setSize(float(value))
        elif parameter is not None:
            parameter.setValue(float(value))
        else:
            raise UnsupportedFeature(
                "setting a stoichiometry in engine reference", f"engine='reference': {name} cannot be set from outside."
            )
