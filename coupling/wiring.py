"""Who feeds whom: the conduits of a twin, read as links between ports, and the orders in which simulators can step.

Legend: `M` members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.bridge import Bridge
from twin.errors import WiringError
from twin.graph import Twin
from twin.simulator import Values
from twin.units import factor
from twin.variable import Variable

Group = tuple[str, ...]
"""Simulators that do not wait for each other."""


@dataclass(frozen=True)
class Link:
    """One conduit, taken apart.

    Args:
        source, port: where it starts.
        target, into: where it ends.
        bridge: maps the values.
        units: of what arrives.
        lower: what arrives is never below; None is unbounded.
    """

    source: str
    port: str
    target: str
    into: str
    bridge: Bridge
    units: str = ""
    lower: float | None = None

    def __str__(self) -> str:
        return f"{self.source}.{self.port} -> {self.target}.{self.into}"


@dataclass(frozen=True)
class Wiring:
    """The links of a twin.

    Raises:
        WiringError: micro simulators that wait for each other.
    """

    twin: Twin

    def __post_init__(self) -> None:
        _ = self.micro_groups

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """One per conduit, in their order."""
        found: list[Link] = []
        for conduit in self.twin.conduits:
            source, _, port = conduit.source.partition(".")
            target, _, into = conduit.target.partition(".")
            said = _port(self.twin.simulators[source].outputs, port)
            heard = _port(self.twin.simulators[target].inputs, into)
            lower = heard.lower
            if lower is None and conduit.bridge is None and said.lower is not None:
                lower = said.lower * factor(said.units, heard.units)
            found.append(Link(source, port, target, into, self.twin.bridge_of(conduit), heard.units, lower))
        return tuple(found)

    @cached_property
    def feeds(self) -> dict[str, tuple[Link, ...]]:
        """The links into each simulator."""
        return {name: tuple(link for link in self.links if link.target == name) for name in self.twin.simulators}

    @cached_property
    def macro_sources(self) -> Group:
        """The macro simulators that feed another."""
        return tuple(dict.fromkeys(link.source for link in self.links if link.source not in self.micro))

    @cached_property
    def micro(self) -> frozenset[str]:
        """The simulators that run their own short time and return averages."""
        return frozenset(name for name, simulator in self.twin.simulators.items() if simulator.clock == "micro")

    @cached_property
    def macro(self) -> Group:
        """The simulators that share the twin's clock."""
        return tuple(name for name in self.twin.simulators if name not in self.micro)

    @cached_property
    def micro_groups(self) -> tuple[Group, ...]:
        """Micro simulators, each after those that feed it.

        Raises:
            WiringError: they wait for each other.
        """
        waits = {name: set[str]() for name in self.twin.simulators if name in self.micro}
        for link in self.links:
            if link.source in self.micro and link.target in self.micro:
                waits[link.target].add(link.source)
        try:
            return _groups(waits)
        except CycleError as error:
            raise WiringError(
                f"Micro simulators {', '.join(dict.fromkeys(error.args[1]))} wait for each other's averages; "
                "make one of them a macro simulator, or one simulator of both."
            ) from error

    @cached_property
    def cycle(self) -> Group | None:
        """Simulators that feed each other in a ring, if there are any."""
        waits = {name: {link.source for link in self.links if link.target == name} for name in self.twin.simulators}
        try:
            _groups(waits)
        except CycleError as error:
            return tuple(dict.fromkeys(error.args[1]))
        return None

    def order(self, asked: Sequence[str] | None, *, scheme: str, loops: bool) -> Group:
        """The order in which simulators step, one hearing what those before it have said.

        Args:
            asked: by the user; None: sources first where there is no ring; else micro before macro, as listed.
            scheme: name of the scheme, for messages.
            loops: whether a ring may be put in order without being asked.

        Raises:
            WiringError: names that are missing, unknown or repeated, a micro simulator behind one that it feeds, or a
                ring and no order.
        """
        names = tuple(self.twin.simulators)
        if asked is None and self.cycle is None:
            waits = {name: {link.source for link in self.links if link.target == name} for name in names}
            return tuple(name for group in _groups(waits) for name in group)
        if asked is None and not loops:
            ring = " -> ".join((*(self.cycle or ()), (self.cycle or ("",))[0]))
            raise WiringError(
                f"{scheme}: {ring} feed each other in a ring, so that no order is the natural one; "
                f"say who steps first, as in {scheme}(order={list(names)}), or couple them by Jacobi() or "
                "WaveformRelaxation()."
            )
        order = tuple(asked) if asked is not None else (*(n for g in self.micro_groups for n in g), *self.macro)
        if sorted(order) != sorted(names):
            wrong = [name for name in order if name not in names] or [name for name in names if name not in order]
            raise WiringError(
                f"{scheme}: order {list(order)} must hold every simulator of the twin once; look at {wrong or 'repeats'}; "
                f"the twin has {', '.join(names)}."
            )
        for link in self.links:
            if link.source in self.micro and order.index(link.source) >= order.index(link.target):
                raise WiringError(
                    f"{scheme}: order {list(order)} has no start: {link.target} waits for the average that the micro "
                    f"simulator {link.source} gives in the same window; put {link.source} before {link.target}."
                )
        return order

    def groups(self, order: Sequence[str], *, both: bool = False) -> tuple[Group, ...]:
        """The order cut into groups: who is fed by one before it (with `both`: or feeds it) is in a later group."""
        level: dict[str, int] = {}
        for name in order:
            near = [link.source for link in self.links if link.target == name]
            near += [link.target for link in self.links if link.source == name] if both else []
            level[name] = 1 + max((level[other] for other in near if other in level), default=-1)
        return tuple(
            tuple(name for name in order if level[name] == i) for i in range(max(level.values(), default=-1) + 1)
        )

    def inputs(self, name: str, heard: Mapping[str, Values]) -> dict[str, NDArray[Any]]:
        """What conduits bring to a simulator, from what sources said `[M, *dims]`."""
        return {
            link.into: link.bridge(heard[link.source][link.port]) for link in self.feeds[name]
        }  # not bounded: these are a source's own words

    def bounded(self, link: Link, values: NDArray[Any]) -> NDArray[Any]:
        """Values that were made up between what a source said, put back above the bound of their port."""
        return values if link.lower is None else np.maximum(values, link.lower)


def _port(ports: Sequence[Variable], name: str) -> Variable:
    return next(port for port in ports if port.name == name)


def _groups(waits: Mapping[str, set[str]]) -> tuple[Group, ...]:
    """Names by level; those of a level in the order given. Raises `CycleError`."""
    sorter = TopologicalSorter(waits)
    sorter.prepare()
    found: list[Group] = []
    while sorter.is_active():
        ready = sorter.get_ready()
        found.append(tuple(ready))
        sorter.done(*ready)
    return tuple(found)
