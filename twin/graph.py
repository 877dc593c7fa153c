"""The wiring of a twin: simulators joined by conduits, frozen and checked at construction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from twin.bridge import Bridge, UnitBridge
from twin.errors import UnitError, WiringError
from twin.simulator import Simulator
from twin.units import factor
from twin.variable import Variable


@dataclass(frozen=True)
class Conduit:
    """One arrow of the wiring: an output of one simulator feeds an input of another.

    Args:
        source, target: ``"simulator.port"``.
        bridge: maps the values; without one the ports must have units of one dimension.
    """

    source: str
    target: str
    bridge: Bridge | None = None


@dataclass(frozen=True)
class Twin:
    """A digital twin: named simulators and the conduits between them.

    Raises:
        WiringError: an unknown simulator or port, or two conduits into one input.
        UnitError: units that do not fit and no bridge; the text names the cure.
    """

    simulators: Mapping[str, Simulator]
    conduits: tuple[Conduit, ...] = ()

    def __post_init__(self) -> None:
        if not self.simulators:
            raise WiringError("A Twin needs at least one simulator.")
        object.__setattr__(self, "simulators", MappingProxyType(dict(self.simulators)))
        object.__setattr__(self, "conduits", tuple(self.conduits))
        fed: set[str] = set()
        for conduit in self.conduits:
            source = self._port(conduit.source, side="output")
            target = self._port(conduit.target, side="input")
            if conduit.target in fed:
                raise WiringError(f"{conduit.target} is fed twice; keep one Conduit, or sum the sources in a Bridge.")
            fed.add(conduit.target)
            _check_units(conduit, source, target)

    def _port(self, path: str, *, side: str) -> Variable:
        name, dot, port = path.partition(".")
        if not dot or name not in self.simulators:
            raise WiringError(f"{path}: no simulator {name!r}; this twin has {', '.join(self.simulators)}.")
        simulator = self.simulators[name]
        ports = simulator.outputs if side == "output" else simulator.inputs
        for variable in ports:
            if variable.name == port:
                return variable
        known = ", ".join(v.name for v in ports) or "none"
        raise WiringError(f"{path}: {name!r} has no {side} {port!r}; it has {known}.")

    def bridge_of(self, conduit: Conduit) -> Bridge:
        """The conduit's own bridge, or the unit bridge between its ports."""
        if conduit.bridge is not None:
            return conduit.bridge
        return UnitBridge.between(self._port(conduit.source, side="output"), self._port(conduit.target, side="input"))


def _check_units(conduit: Conduit, source: Variable, target: Variable) -> None:
    """Both ends of the bridge must match the ports; without a bridge the ports must match each other."""
    where = f"{conduit.source} [{source.units}] cannot feed {conduit.target} [{target.units}]"
    try:
        if conduit.bridge is None:
            factor(source.units, target.units)
        else:
            factor(source.units, conduit.bridge.source_units)
            factor(conduit.bridge.target_units, target.units)
    except UnitError as error:
        raise UnitError(f"{where}; put a Bridge on this Conduit that maps one to the other.") from error
    if conduit.bridge is None and source.dims != target.dims:
        raise WiringError(f"{where}: dims {source.dims} against {target.dims}; put a Bridge on this Conduit.")
