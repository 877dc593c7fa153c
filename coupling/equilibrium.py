"""A twin that settles before time zero: its simulators run into their steady state while the clock stands still.

Coupled simulators settle one after the other, each under what those before it say in the end. Where conduits run in a ring, that
is done again until what is exchanged stands still: then all are at rest together.

Legend: `M` members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from coupling.scheme import Floats, States, ends, largest
from coupling.stepper import named
from coupling.wiring import Link, Wiring
from twin.errors import ConvergenceError, UnsupportedFeature
from twin.graph import Twin
from twin.simulator import State, Values
from twin.units import factor

_ROUNDS = 100


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


def settle(
    twin: Twin,
    states: States,
    *,
    held: Mapping[str, float] | None = None,
    time: float = 0.0,
    time_units: str = "min",
    tolerance: float = 1e-9,
) -> States:
    """The states of a twin after its simulators have settled together.

    Micro simulators say what they say to the settled; each member is taken for itself.

    Args:
        held: ``"simulator.name"`` → a value that holds only while it settles.
        time: where the twin's clock stands, in `time_units`.
        tolerance: in a ring, relative change of what is exchanged from one round to the next.

    Raises:
        UnsupportedFeature: a macro simulator that cannot settle.
        ConvergenceError: a ring of simulators that does not come to rest.
        SimulationError: a simulator broke.
    """
    for name, simulator in twin.simulators.items():
        if simulator.clock != "micro" and not isinstance(simulator, Settling):
            raise UnsupportedFeature(
                "equilibration",
                f"simulator {name!r} has no `equilibrate`, so it cannot settle before time zero; "
                "start it from a state of your own.",
            )
    rounds = _Rounds(twin, held or {}, time, time_units)
    members = next(iter(states.values())).members
    active = np.arange(len(members))
    after, said = rounds.settled(states, {})
    if not rounds.torn:
        return after
    heard: dict[Link, Floats] = {link: rounds.brought(link, said) for link in rounds.torn}
    moved: dict[Link, Floats] = {}
    for _ in range(_ROUNDS):
        some, said = rounds.settled(
            {name: state.take(active) for name, state in after.items()},
            {link: values[active] for link, values in heard.items()},
        )
        after = {name: _with_rows(after[name], active, state) for name, state in some.items()}
        still = np.ones(len(active), dtype=np.bool_)
        for link in rounds.torn:
            new = rounds.brought(link, said)
            moved[link] = largest(new - heard[link][active])
            still &= ~(moved[link] > tolerance * largest(new))  # a failed member has come to rest, too
            heard[link][active] = new
        active = active[~still]
        if not len(active):
            return after
        moved = {link: change[~still] for link, change in moved.items()}
    worst = max(moved, key=lambda link: moved[link][0] / (largest(heard[link][active])[0] or 1.0))
    raise ConvergenceError(
        f"coupled simulators do not come to rest together: member {members[active[0]]}, conduit {worst}: moves by "
        f"{moved[worst][0]:.3g} {worst.units} in round {_ROUNDS}; start without settling, or settle them without this conduit."
    )


class _Rounds:
    """Simulators in an order, each settling under what was said."""

    def __init__(self, twin: Twin, held: Mapping[str, float], time: float, time_units: str) -> None:
        self._twin, self._held, self._wiring = twin, held, Wiring(twin)
        self._order = self._wiring.order(None, scheme="settle", loops=True)
        place = {name: i for i, name in enumerate(self._order)}
        self.torn = [link for link in self._wiring.links if place[link.source] >= place[link.target]]
        self._times = {
            name: time * factor(time_units, simulator.time_units or time_units, where=f"clock of {name}")
            for name, simulator in twin.simulators.items()
        }

    def settled(self, states: States, heard: Mapping[Link, Floats]) -> tuple[dict[str, State], dict[str, Values]]:
        """Everybody's state and words after one round; a torn link that nobody has heard yet leaves its target as it was."""
        after: dict[str, State] = {}
        said: dict[str, Values] = {}
        for name in self._order:
            inputs = {
                link.into: heard[link] if link in self.torn else self.brought(link, said)
                for link in self._wiring.feeds[name]
                if link in heard or link not in self.torn
            }
            simulator, time = self._twin.simulators[name], self._times[name]
            with named(name, states[name].members, "while it settles"):
                state = states[name]
                if simulator.clock != "micro":
                    own = {
                        path.partition(".")[2]: v for path, v in self._held.items() if path.partition(".")[0] == name
                    }
                    state = cast(Settling, simulator).equilibrate(state, inputs, held=own)
                looked, outputs = (
                    simulator.step(state, inputs, t0=time, t1=time)
                    if simulator.clock == "micro" or self._twin.conduits
                    else (state, dict[str, NDArray[np.float64]]())
                )
            after[name] = looked if simulator.clock == "micro" else state
            said[name] = ends(outputs)
        return after, said

    def brought(self, link: Link, said: Mapping[str, Values]) -> Floats:
        """What a conduit brings of what was said `[M, *dims]`."""
        return np.asarray(link.bridge(said[link.source][link.port]), dtype=np.float64)


def _with_rows(whole: State, rows: NDArray[np.intp], part: State) -> State:
    """A state in which some members have moved on."""
    if len(rows) == len(whole.members):
        return part
    arrays = {name: array.copy() for name, array in whole.arrays.items()}
    for name, array in part.arrays.items():
        arrays[name][rows] = array
    return replace(part, members=whole.members, arrays=arrays)
