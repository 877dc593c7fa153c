"""What coupling costs beyond the simulators themselves: per exchange here, and per round trip to another rank.

Under MPI this module is the program of both ranks: `mpiexec -n 2 python -m scenarios.commands.coupling_overheads`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coupling.answering import Kind
from coupling.remote import placed
from coupling.simulate import advance, start
from hpc import mpiexec
from hpc.line import Line
from hpc.ping import round_trip_s
from hpc.placement import Placement
from twin.graph import Conduit, Twin
from twin.perturbation import Perturbation
from twin.simulator import Simulator, State, Values
from twin.variable import Variable

_SIMULATORS, _WINDOWS = 100, 100
_REMOTE_ROWS = (1, 100, 1000, 6000, 60_000)
_REPEATS, _BLOCKS = 200, 5


class Relay:
    """A simulator that says what it hears: nothing but the exchange costs anything."""

    inputs = (Variable("u"),)
    outputs = (Variable("y"),)
    targets: Mapping[str, Variable] = {}
    clock: Literal["macro", "micro"] = "macro"
    time_units = "min"

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        """Zeros."""
        return State(members=members, arrays={"y": np.zeros(len(members))})

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        """Nothing can be perturbed."""
        return state

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """The input, as output."""
        y = inputs.get("u", state.arrays["y"])
        return State(state.members, {"y": y}, t1), {"y": np.repeat(y[:, None], len(sample) + 1, axis=1)}


class Echo(Relay):
    """A simulator that gives back what it was given: nothing but the way costs anything."""

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        """The state, also as output."""
        return state, {"y": state.arrays["y"][:, None]}


def exchange(members: int, *, repeats: int) -> dict[str, float]:
    """A ring of 100 relays, one exchange per simulator and window, beside the same steps taken without any coupling."""
    names = [f"s{i}" for i in range(_SIMULATORS)]
    ring = Twin(
        {name: Relay() for name in names},
        tuple(Conduit(f"{one}.y", f"{other}.u") for one, other in zip(names, [*names[1:], names[0]], strict=True)),
    )
    begun = start(ring, members=np.arange(members))

    def coupled() -> None:
        advance(ring, begun, t0=0.0, t1=float(_WINDOWS), sample=[], exchange=1.0)

    def alone() -> None:
        states, inputs = dict(begun), {"u": np.zeros(members)}
        for window in range(_WINDOWS):
            for name in names:
                states[name], _ = ring.simulators[name].step(
                    states[name], inputs, t0=float(window), t1=float(window + 1)
                )

    spans = {what: min(_seconds(run) for _ in range(repeats)) for what, run in (("coupled", coupled), ("alone", alone))}
    exchanges = _SIMULATORS * _WINDOWS
    return {
        "us_per_exchange": (spans["coupled"] - spans["alone"]) / exchanges * 1e6,
        "us_per_bare_step": spans["alone"] / exchanges * 1e6,
        "values_per_s": exchanges * members / spans["coupled"],
    }


def remote() -> list[dict[str, float]] | None:
    """Round trips of steps with states of several sizes, beside MPI's own with as many bytes and the same step here, which is
    part of each round trip; None on ranks other than 0.

    Blocks of both follow each other in turn; of each, the block with the least median counts.
    """
    line = Line.world()
    found: list[dict[str, float]] = []
    for rows in _REMOTE_ROWS:
        steps: list[float] = []
        bare: list[float] = []
        there = back = 0
        for _ in range(_BLOCKS):
            with placed(Twin({"one": Echo()}), Placement({"one": (1,)}), line=line) as stage:
                if stage is not None:
                    steps.append(_step_s(stage.simulators["one"], rows))
                    wire = line.wire(1)
                    asked, answered = wire.way(Kind.STEP, 0).lane, wire.received
                    assert asked is not None
                    assert answered is not None
                    there, back = asked.form.bytes, answered.bytes
            there, back = line.communicator.bcast((there, back))
            bare.append(round_trip_s(line.communicator, there, back, repeats=_REPEATS))
        if line.rank == 0:
            step_s, bare_s, here_s = min(steps), min(bare), min(_step_s(Echo(), rows) for _ in range(_BLOCKS))
            sizes = {"bytes": there, "bytes_back": back}
            spans = {"bare_us": bare_s * 1e6, "step_us": step_s * 1e6, "here_us": here_s * 1e6}
            found.append({**sizes, **spans, "ratio": step_s / bare_s})
    return found if line.rank == 0 else None


def _step_s(one: Simulator, rows: int) -> float:
    """Median seconds of a step after a few."""
    state = one.step(State(members=np.arange(rows), arrays={"y": np.zeros(rows)}), {}, t0=0.0, t1=1.0)[0]
    spans: list[float] = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        state, _ = one.step(state, {}, t0=0.0, t1=1.0)
        spans.append(time.perf_counter() - begun)
    return statistics.median(spans[_REPEATS // 10 :])


def measured(*, repeats: int) -> dict[str, Any]:
    """Everything, as it is written to JSON."""
    found: dict[str, Any] = {
        "schema": 2,
        "simulators": _SIMULATORS,
        "scalar": exchange(1, repeats=repeats),
        "batched": {"members": 1000, **exchange(1000, repeats=repeats)},
        "remote": None,
    }
    command = mpiexec.command(2, ["-m", __spec__.name])
    if command is not None:
        done = subprocess.run(command, env=mpiexec.environment(), stdout=subprocess.PIPE, text=True)
        found["remote"] = json.loads(done.stdout) if done.returncode == 0 else None
    return found


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The table."""
    one, many = found["scalar"], found["batched"]
    yield (
        f"{found['simulators']} local simulators, 1 member: {one['us_per_exchange']:.1f} µs per exchange beyond a bare step of "
        f"{one['us_per_bare_step']:.1f} µs"
    )
    yield f"{found['simulators']} local simulators, {many['members']} members: {many['values_per_s']:.3g} values/s"
    if found["remote"] is None:
        yield "another rank: not measured, no MPI job could be started here"
        return
    yield f"{'bytes to another rank, back':>28} {'bare MPI':>11} {'step':>11} {'ratio':>6} {'step here':>11}"
    for row in found["remote"]:
        yield (
            f"{row['bytes']:>16,.0f} {row['bytes_back']:>11,.0f} {row['bare_us']:8.1f} µs {row['step_us']:8.1f} µs "
            f"{row['ratio']:6.2f} {row['here_us']:8.1f} µs"
        )


def _seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    begun = clock()
    run()
    return clock() - begun


if __name__ == "__main__":
    own = remote()
    if own is not None:
        json.dump(own, sys.stdout)
