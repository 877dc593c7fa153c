"""What members start with: values given by the caller, the model's own, and initial assignments that follow from both.

Legend: `M` members, `S` states, `P` settable constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.engine import Floats
from simulators.reaction.readout import unknown
from simulators.reaction.stepped_model import SteppedModel
from twin.errors import InputError


def start(
    model: SteppedModel,
    given: Mapping[str, Floats],
    *,
    states: Sequence[str],
    volumes: NDArray[np.intp],
    members: int,
    assigned: Callable[[str, Mapping[str, Floats]], Floats],
) -> tuple[Floats, Floats]:
    """States as amounts `[M, S]` and constants `[M, P]`; see `Engine.start`.

    Args:
        given: values `[M]` by name, as the model reads them.
        states, volumes: as `Engine.states` and `Engine.volumes`.
        assigned: evaluates the initial assignment of a name, `[M]`, from values as the model reads them.

    Raises:
        InputError: an unknown name, or a name without any value.
    """
    settable = {*model.parameters, *states}
    for name in given:
        if name not in settable:
            raise InputError(unknown(name, settable))
    # `free`: as the model reads it; amounts wait until the sizes of their compartments are known
    free = {name: np.full(members, start.value) for name, start in model.initial.items()}
    free |= {name: np.array(values, dtype=np.float64) for name, values in given.items()}
    amounts = {n: s.compartment for n, s in model.initial.items() if s.compartment is not None and n not in given}
    for name, compartment in amounts.items():
        if compartment not in model.assigned or compartment in given:
            free[name] = free[name] / free[compartment]
    for name in model.assigned:
        if name not in given:
            free[name] = assigned(name, free)
        for species, compartment in amounts.items():
            if compartment == name and name not in given and species not in model.assigned:
                free[species] = free[species] / free[name]
    missing = {name for name in settable - {*given, *model.assigned} if np.isnan(model.initial[name].value)}
    if missing:
        raise InputError(
            f"No value at the start for {', '.join(sorted(missing))}; give one in the model or in `parameters`."
        )
    return columns(free, model.parameters, states, volumes, members)


def columns(
    values: Mapping[str, Floats],
    parameters: Sequence[str],
    states: Sequence[str],
    volumes: NDArray[np.intp],
    members: int,
) -> tuple[Floats, Floats]:
    """Values as the model reads them, as states in amounts `[M, S]` and constants `[M, P]`."""
    p = np.array([values[name] for name in parameters]).reshape(len(parameters), members).T.copy()
    x = np.array([values[name] for name in states]).reshape(len(states), members).T.copy()
    held = volumes >= 0
    x[:, held] *= p[:, volumes[held]]
    return x, p
