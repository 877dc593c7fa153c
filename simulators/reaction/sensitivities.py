"""Sensitivities of a model's time courses to parameters and initial values, labelled.

Legend: `M` members, `T` times, `C` columns (what sensitivities are taken to), `R` readouts, `S` states, `P` constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simulators.reaction.engine import Floats
from simulators.reaction.network import Network, Observable
from simulators.reaction.sensitive_course import SensitiveCourse, SensitiveRun, refuse
from simulators.reaction.simulation import floors
from simulators.reaction.start_slopes import Column, StartSlopes, start_slopes
from twin.errors import InputError

if TYPE_CHECKING:
    import xarray

PREFIX = "d "
"""Before an id, the name of its sensitivities; no id of SBML holds a space."""


def columns_of(network: Network, wrt: Sequence[str], settable: Mapping[str, str], quantity: str) -> list[Column]:
    """What names stand for.

    Args:
        wrt: parameters, compartments, species (their initial values).
        settable: name → symbol of all that may be set; a missing one is explained by the caller.
        quantity: what a species is given in.

    Raises:
        InputError: no name, or a name given twice.
    """
    if isinstance(wrt, str) or not len(wrt):
        raise InputError(f"wrt={wrt!r}: expected a list of parameters, compartments or species, at least one.")
    twice = sorted({name for name in wrt if list(wrt).count(name) > 1})
    if twice:
        raise InputError(f"wrt: {', '.join(twice)} given twice; keep one of each.")
    found: list[Column] = []
    for name in wrt:
        o = network.observables[name]
        whole, size = network.initials.get(name, (True, None))
        amount = quantity == "amount" and o.kind == "species"
        units = o.amount_units if amount else o.concentration_units if o.kind == "species" and not whole else o.units
        found.append(Column(name, settable[name], None if whole or quantity == "amount" else size, units))
    return found


def run(
    network: Network,
    courses: dict[Any, SensitiveCourse],
    readouts: Sequence[int],
    columns: Sequence[Column],
    given: Mapping[str, Any],
    times: Floats,
    *,
    members: int,
    rtol: float,
    atol: float,
    max_steps: int,
    threads: int,
    seed: int,
    time_limit_s: float | None,
) -> SensitiveRun:
    """Integrate; arguments as of `ReactionModel.sensitivities`.

    Args:
        courses: what was prepared before; read and written.
        given: as of `Network.start`.
    """
    refuse(network)
    start = float(times[0])
    x, p = network.start(given, members=members, time=start, seed=seed)
    slopes = start_slopes(network, given, columns, members=members, time=start, seed=seed)
    reach = (slopes.p != 0.0).any(axis=0)
    key = (tuple(readouts), reach.shape, reach.tobytes())
    if key not in courses:
        courses[key] = SensitiveCourse(network, readouts, reach)
    return courses[key].run_columns(
        x, p, slopes.x, slopes.p, times, rtol=rtol, atol=floors(network, x, p, start, atol), scale=_scale(slopes), max_steps=max_steps, threads=threads, seed=seed, time_limit_s=time_limit_s,
    )  # fmt: skip


def _scale(slopes: StartSlopes) -> Floats:
    """Reciprocals of the sizes of what sensitivities are taken to `[M, C]`: size × sensitivity is held to the state's own
    absolute tolerances. 0 where the size is: such a column is measured by itself."""
    sizes = np.abs(slopes.values)
    measured = (sizes > 0.0) & np.isfinite(sizes)
    return np.where(measured, 1.0 / np.where(measured, sizes, 1.0), 0.0)


def beside(
    data: xarray.Dataset, shown: Sequence[Observable], columns: Sequence[Column], slopes: Floats
) -> xarray.Dataset:
    """A time course's dataset with sensitivities beside: `d <name>` (member, time, wrt).

    Args:
        slopes: `[R, M, T, C]`.
    """
    names = [str(name) for name in data.data_vars][: len(shown)]
    beside_each: dict[str, Any] = {}  # put beside at once: one by one, xarray copies all that is there each time
    found = data.assign_coords(
        wrt=np.array([column.name for column in columns]), wrt_units=("wrt", [column.units for column in columns])
    )
    found["wrt"].attrs["long_name"] = "parameter, compartment or initial value that sensitivities are taken to"
    for i, name in enumerate(names):
        own = data[name].attrs.get("units", "")
        attrs = {
            "units": f"{own or '1'} / wrt_units",
            "units_by_wrt": [_quotient(own, column.units) for column in columns],
            "long_name": f"sensitivity of {name}",
        }
        beside_each[f"{PREFIX}{name}"] = (("member", "time", "wrt"), slopes[i], attrs)
    return found.assign(beside_each)


def _quotient(above: str, below: str) -> str:
    if not below or below == "dimensionless":
        return above
    return f"({above or '1'}) / ({below})"
