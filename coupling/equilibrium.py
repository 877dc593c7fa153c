"""A twin that settles before time zero: its simulators run into their steady state while the clock stands still."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from coupling.scheme import States
from coupling.stepper import named
from twin.errors import UnsupportedFeature
from twin.graph import Twin
from twin.simulator import State, Values


@runtime_checkable
class Settling(Protocol):
    """A simulator that knows how to reach its steady state."""

    def equilibrate(
        self, state: State, inputs: Values | None = None, *, held: Mapping[str, float] | None = None
    ) -> State:
        """Every member at its steady state; one without any is NaN, its reason in the array ``"status"``.

        Args:
            inputs: as in `Simulator.step`.
            held: values that hold only while it settles.
        """
        ...


def settle(twin: Twin, states: States, *, held: Mapping[str, float] | None = None) -> States:
    """The states of a twin without conduits after each simulator has settled.

    Args:
        held: ``"simulator.name"`` → a value that holds only while it settles.

    Raises:
        UnsupportedFeature: a simulator that cannot settle, or simulators that are coupled.
        SimulationError: a simulator broke.
    """
    if twin.conduits:
        raise UnsupportedFeature(
            "equilibration of coupled simulators",
            "a twin with conduits has no steady state of one simulator after the other; settle them without conduits.",
        )
    after: dict[str, State] = {}
    for name, simulator in twin.simulators.items():
        if not isinstance(simulator, Settling):
            raise UnsupportedFeature(
                "equilibration",
                f"simulator {name!r} has no `equilibrate`, so it cannot settle before time zero; "
                "start it from a state of your own.",
            )
        own = {path.partition(".")[2]: v for path, v in (held or {}).items() if path.partition(".")[0] == name}
        with named(name, states[name].members, "while it settles"):
            after[name] = simulator.equilibrate(states[name], held=own)
    return after
