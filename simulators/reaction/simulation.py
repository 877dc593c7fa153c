"""A simulation: one call of `ReactionModel.simulate`, checked, which answers for any range of its members.

What a member becomes depends on its number alone, so ranges can be computed one after the other and give the same bits.

Legend: `M` members, `T` times, `R` readouts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simulators.reaction.course import Course
from simulators.reaction.engine import Floats, Status
from simulators.reaction.method import Method
from simulators.reaction.network import Network, Observable
from twin.errors import InputError

if TYPE_CHECKING:
    import xarray

    from simulators.reaction.stochastic import StochasticCourse

Quantity = Literal["concentration", "amount"]
DIMENSIONS = ("member", "time")


def checked_numbers(what: str, values: Any) -> Floats:
    """Values as numbers; refused, as `what`, where they are none."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: {values!r}: expected numbers.") from error


def checked_times(times: Any) -> Floats:
    """Output times `[T]`; refused where they do not ascend."""
    when = checked_numbers("times", times)
    if when.ndim != 1 or not len(when) or not np.isfinite(when).all() or (np.diff(when) <= 0).any():
        raise InputError("times: expected ascending, distinct, finite numbers, the first of which is the start.")
    return when


def check_tolerances(rtol: Any, atol: Any) -> None:
    """Refuse tolerances that promise nothing, or that no step can keep."""
    relative, absolute = float(checked_numbers("rtol", rtol)), float(checked_numbers("atol", atol))
    if not 0.0 <= relative < 1.0 or not 0.0 <= absolute < np.inf or relative == absolute == 0.0:
        raise InputError(
            f"rtol={rtol}, atol={atol}: expected a relative tolerance from 0 to below 1 and an absolute one of 0 or more, "
            "not both 0; e.g. rtol=1e-6, atol=1e-9."
        )


def check_counts(*, seed: Any = None, threads: Any = None, max_steps: Any = None) -> None:
    """Refuse what is no whole number (None: left out), a seed below 0, or less than one thread or step."""
    for name, value, least in (("seed", seed, 0), ("threads", threads, 1), ("max_steps", max_steps, 1)):
        if value is not None and (not isinstance(value, int | np.integer) or value < least):
            raise InputError(f"{name}={value!r}: expected a whole number of {least} or more.")


@dataclass(frozen=True)
class Simulation:
    """What is run, and how.

    Attributes:
        network, source: of the model.
        times: output times `[T]`; the first is the start.
        shown: what is returned `[R]`.
        quantity: what species are returned in.
        given: symbol → values, a number or `[M]`; or a pair (concentrations, node of the size that multiplies them).
        by_id: the same for libRoadRunner: id → (values, whether they are amounts).
        engine, reason: which one runs, and why.
        rtol, atol: tolerances; `atol` is of concentrations.
        seed, threads, max_steps: as `ReactionModel.simulate`.
        method: what integrates, if ours does.
        apart: whether each variable gets memory of its own, to be written from; else all are views of one array.
    """

    network: Network
    source: str | Path
    times: Floats
    shown: Sequence[Observable]
    quantity: Quantity
    given: Mapping[str, Any]
    by_id: Mapping[str, tuple[Floats, bool]]
    engine: str
    reason: str
    rtol: float
    atol: float
    seed: int
    threads: int
    max_steps: int
    apart: bool = False
    method: Method = "auto"

    def run(
        self, course: Course | StochasticCourse | None, first: int, last: int, *, time_limit_s: float | None = None
    ) -> xarray.Dataset:
        """Members first … last - 1; see `ReactionModel.simulate` for what is returned.

        Args:
            course: reads `shown`, then the model's constraints; None for engine `reference`.
        """
        network, times = self.network, self.times
        if course is None:
            from simulators.reaction.reference import run_reference

            by_id = {name: (_some(values, first, last), whole) for name, (values, whole) in self.by_id.items()}
            values, status = run_reference(
                self.source, network, by_id, times, self.shown, amounts=self.quantity == "amount",
                members=last - first, rtol=self.rtol, atol=self.atol, max_steps=self.max_steps, time_limit_s=time_limit_s,
            )  # fmt: skip
            return self._dataset(values, status, first)
        given = {
            name: (_some(value[0], first, last), value[1]) if isinstance(value, tuple) else _some(value, first, last)
            for name, value in self.given.items()
        }
        start = float(times[0])
        x, p = network.start(given, members=last - first, time=start, seed=self.seed, first_member=first)
        if not isinstance(course, Course):
            run = course.run(
                x, p, times, seed=self.seed, first_member=first, max_steps=100 * self.max_steps, threads=self.threads,
                time_limit_s=time_limit_s,
            )  # fmt: skip
            return self._dataset(run.values, run.status, first)
        run = course.run(
            x, p, times, rtol=self.rtol, atol=floors(network, x, p, start, self.atol), max_steps=self.max_steps,
            threads=self.threads, seed=self.seed, first_member=first, time_limit_s=time_limit_s, method=self.method,
        )  # fmt: skip
        data = self._dataset(run.values, run.status, first)
        data.attrs["method"] = course.method(self.method, self.rtol)
        if network.constraints:
            broken = (run.values[:, :, len(self.shown) :] == 0.0).any(axis=1)
            number = np.where(broken.any(axis=1), broken.argmax(axis=1) + 1, 0).astype(np.int16)
            data["constraint"] = ("member", number, _constraint_flags([words for _, words in network.constraints]))
        return data

    def _dataset(self, values: Floats, status: Any, first: int) -> xarray.Dataset:
        columns = _readouts_first(values) if self.apart else np.moveaxis(values, 2, 0)
        return labelled(
            self.network, self.times, self.shown, self.quantity, columns, status, self.engine, self.reason, first=first
        )


def labelled(
    network: Network,
    times: Floats,
    shown: Sequence[Observable],
    quantity: Quantity,
    columns: Floats,
    status: Any,
    engine: str,
    reason: str,
    *,
    first: int = 0,
) -> xarray.Dataset:
    """Values with names, units and flags.

    Args:
        columns: `[R, M, T]`; more than are shown may follow.
        status: `[M]`.
        first: number of the first member.
    """
    import xarray

    variables: dict[str, Any] = {}
    for column, o in zip(columns, shown, strict=False):
        name = f"{o.id}_" if o.id in DIMENSIONS else o.id
        attrs = {"units": o.amount_units if quantity == "amount" else o.concentration_units, "kind": o.kind}
        if o.kind == "species":
            attrs["quantity"] = quantity
        variables[name] = (DIMENSIONS, column, attrs)
    meanings = " ".join(s.name.lower() for s in Status)
    variables["status"] = (
        "member", status,
        {"flag_values": [int(s) for s in Status], "flag_meanings": meanings, "long_name": "why a member is NaN"},
    )  # fmt: skip
    return xarray.Dataset(
        variables,
        coords={
            "member": np.arange(first, first + len(status)),
            "time": ("time", times, {"units": network.time_units}),
        },
        attrs={"model": network.id, "engine": engine, "engine_reason": reason},
    )


def floors(network: Network, x: Floats, p: Floats, time: float, atol: float) -> Floats:
    """Absolute tolerance of each state `[M, S]`: of amounts, that of the concentration times the size."""
    found = np.full_like(x, atol)
    sized = [(i, network.initials[name][1]) for i, name in enumerate(network.state_names) if name in network.initials]
    if sized:
        no_delay = {item.name: np.float64(np.nan) for item in network.delayed}
        sizes = network.evaluate([node for _, node in sized], x, p, time, **no_delay)
        sizes = np.where(np.isfinite(sizes) & (sizes > 0), sizes, 1.0)
        found[:, [i for i, _ in sized]] *= sizes
    return found


def granted() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _readouts_first(values: Floats) -> Floats:
    """`[M, T, R]` → `[R, M, T]`, each readout in one piece; some members at a time, which the caches hold."""
    M, T, R = values.shape
    found = np.empty((R, M, T))
    step = max(1, 65_536 // max(1, T * R))
    for first in range(0, M, step):
        found[:, first : first + step] = values[first : first + step].transpose(2, 0, 1)
    return found


def _some(values: Any, first: int, last: int) -> Any:
    """Values of some members: a number is everybody's."""
    return values[first:last] if np.ndim(values) else values


def _constraint_flags(messages: Sequence[str]) -> dict[str, Any]:
    return {
        "flag_values": list(range(len(messages) + 1)),
        "messages": ["none is broken", *messages],
        "long_name": "the first of the model's constraints that is broken at an output time",
    }
