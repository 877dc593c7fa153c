"""One coupled MPI job of the tests: `python remote_job.py WHAT PLACEMENT…` on every rank."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from receptor_patch import ReceptorPatch

from coupling.cached import Cached
from coupling.remote import placed
from coupling.simulate import advance, simulate, start
from hpc.errors import HpcError
from hpc.launch import announced
from hpc.placement import Placement
from simulators.closed_form import Constant, LinearSystem, OneCompartment
from simulators.reaction import ReactionSimulator
from twin import Conduit, KakehashiError, Perturbation, State, Twin, Values, Variable

MEMBERS = np.arange(5)


class Waiting:
    """A simulator that takes its time: one second a step, and says when it began and ended."""

    inputs: tuple[Variable, ...] = ()
    outputs = (Variable("done"),)
    targets: Mapping[str, Variable] = {}
    clock: Literal["macro", "micro"] = "macro"
    time_units = "min"

    def init(self, *, members: NDArray[np.int64], seed: int) -> State:
        return State(members=members, arrays={"n": np.zeros(len(members))})

    def perturb(self, state: State, perturbations: Sequence[Perturbation]) -> State:
        return state

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        time.sleep(1.0)
        n = state.arrays["n"] + 1
        return State(state.members, {"n": n}, t1), {"done": np.repeat(n[:, None], len(sample) + 1, axis=1)}


class Breaking(Waiting):
    """A simulator that breaks in its first step."""

    def step(self, state: State, inputs: Values, **times: Any) -> tuple[State, Values]:
        raise ZeroDivisionError("nothing to divide by")


def coupled() -> Twin:
    """A drug, noisy receptors that it occupies, and a cell that they drive."""
    cell = ReactionSimulator(
        "S = 0; bound = 0; J1: -> S; 0.1 * bound; J2: S -> ; 0.05 * S",
        readouts=["S"],
        inputs=["bound"],
        units={"S": "nM", "bound": ""},
        time_units="min",
    )
    patch = Cached(ReceptorPatch(np.geomspace(1.0, 100.0, 5), asked=[], snapshots=2), rtol=0.02)
    return Twin(
        {
            "drug": OneCompartment(volume=1.0, half_life=60.0, amount_units="nmol", time_units="min"),
            "patch": patch,
            "cell": cell,
        },
        (Conduit("drug.concentration", "patch.L"), Conduit("patch.bound", "cell.bound")),
    )


def bits(placement: Placement) -> None:
    """A coupled run; prints a digest of all bits."""
    changes = [Perturbation(0.0, "drug.amount", 50.0, "add"), Perturbation(5.0, "patch.Kd", 2.0, "scale")]
    with placed(coupled(), placement) as stage:
        if stage is None:
            return
        found = simulate(stage, changes, members=MEMBERS, t0=0.0, t1=10.0, sample=[2.5, 10.0], seed=4, exchange=1.0)
    digest = hashlib.sha256(b"".join(found[name].values.tobytes() for name in sorted(found.data_vars)))
    print(digest.hexdigest())


def mortal(placement: Placement) -> None:
    """The same, while each rank in VICTIMS kills itself in its second step."""
    launched = announced()
    assert launched is not None
    steps = [0]

    def dying(simulator: type[Any]) -> None:
        real = simulator.step

        def step(self: Any, *arguments: Any, **times: Any) -> Any:
            steps[0] += 1
            if steps[0] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, *arguments, **times)

        simulator.step = step

    if str(launched.rank) in os.environ["VICTIMS"]:
        dying(ReceptorPatch)
        dying(OneCompartment)
    bits(placement)


def overlap(placement: Placement) -> None:
    """Two simulators of a second each; prints the seconds of a step."""
    with placed(Twin({"one": Waiting(), "two": Waiting()}), placement) as stage:
        if stage is None:
            return
        begun = time.perf_counter()
        advance(stage, start(stage, members=MEMBERS), t0=0.0, t1=2.0, sample=[2.0], exchange=1.0)
        print((time.perf_counter() - begun) / 2)


def breaks(placement: Placement) -> None:
    """A simulator that breaks on another rank."""
    with placed(Twin({"one": Breaking(), "rate": Constant({"k": ("1/h", 1.0)})}), placement) as stage:
        if stage is None:
            return
        simulate(stage, members=MEMBERS, t0=0.0, t1=1.0, sample=[1.0])


class Changing(Waiting):
    """A simulator whose state, outputs and note change their form; numbers tell the step and the member."""

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        k = int(t1)
        n = state.members * 1000.0 + k
        size = (3, 700, 9000)[k % 3]  # less than a buffer's first size, more, and what travels by itself
        arrays = {"n": n, f"a{k % 5}": np.repeat(n[:, None], size, axis=1).astype((float, np.float32)[k % 2])}
        heard = {"heard": inputs["u"][:, None]} if "u" in inputs else {}
        return State(state.members, arrays, t1, {"k": k // 7, "half": np.float64(0.5) if k % 2 else 0.5}), {
            "done": n[:, None],
            **heard,
        }


def kept(placement: Placement) -> None:
    """States and outputs of many steps are kept while others come: none may change, whatever form they have."""
    with placed(Twin({"one": Changing(), "two": Changing()}), placement) as stage:
        if stage is None:
            return
        here, states = Changing(), {name: Changing().init(members=MEMBERS, seed=0) for name in ("one", "two")}
        seen: list[tuple[int, State, Values]] = []
        for k in range(1, 90):
            inputs = {"u": np.full(len(MEMBERS), float(k))} if k % 4 else {}
            waits = {
                name: stage.simulators[name].begin(state, inputs, t0=k - 1.0, t1=float(k))  # pyright: ignore
                for name, state in states.items()
            }
            for name in reversed(list(waits)):  # in another order than asked
                states[name], outputs = waits[name]()
                if k % 3 or k % 2:
                    seen.append((k, states[name], outputs))
        for k, state, outputs in seen:
            inputs = {"u": np.full(len(MEMBERS), float(k))} if k % 4 else {}
            expected, said = here.step(state, inputs, t0=k - 1.0, t1=float(k))
            assert (state.time, dict(state.note)) == (expected.time, dict(expected.note))
            for found, right in (
                (state.arrays, expected.arrays),
                (outputs, said),
                ({"m": state.members}, {"m": MEMBERS}),
            ):
                assert list(found) == list(right)
                for name, array in found.items():
                    np.testing.assert_array_equal(array, right[name], strict=True)
        print(len(seen), "kept")


def held(placement: Placement) -> None:
    """Small states and outputs are held while steps come one by one, in forms of as many arrays that take turns."""

    def decay() -> LinearSystem:
        return LinearSystem(
            states={"x": ("m", 1.0)},
            rates={"x": {"x": -1.0}},
            inputs={},
            outputs={"x": ("m", {"x": 1.0})},
            time_units="s",
        )

    with placed(Twin({"one": decay(), "two": decay()}), placement) as stage:
        if stage is None:
            return
        states = {name: simulator.init(members=MEMBERS, seed=0) for name, simulator in stage.simulators.items()}
        seen: list[tuple[State, Values, float]] = []
        for k in range(40):
            for name, simulator in stage.simulators.items():
                sample = (k + 0.5,) if k % 2 else ()
                states[name], outputs = simulator.step(states[name], {}, t0=float(k), t1=k + 1.0, sample=sample)
                seen.append((states[name], outputs, float(states[name].arrays["x"][0])))
        for state, outputs, x in seen:
            np.testing.assert_array_equal(state.arrays["x"], x)
            np.testing.assert_array_equal(outputs["x"][:, -1], x)
        print(len(seen), "held")


class Telling(Waiting):
    """A simulator that tells the times of a step."""

    def step(
        self, state: State, inputs: Values, *, t0: float, t1: float, sample: Sequence[float] = ()
    ) -> tuple[State, Values]:
        times = np.array([*sample, t1])
        return State(state.members, {"n": state.arrays["n"] + t1}, t1), {
            "done": np.tile(times, (len(state.members), 1))
        }


def forms(placement: Placement) -> None:
    """Steps of more forms than the other rank is told of, some of them again when they have been forgotten."""
    with placed(Twin({"one": Telling()}), placement) as stage:
        if stage is None:
            return
        one, here = stage.simulators["one"], Telling()
        state = expected = one.init(members=MEMBERS, seed=0)
        counts = [*range(1100), *range(20)]
        for k, count in enumerate(counts):
            times = {"t0": float(k), "t1": k + 1.0, "sample": tuple(np.linspace(k, k + 1.0, count))}
            (state, outputs), (expected, said) = one.step(state, {}, **times), here.step(expected, {}, **times)
            np.testing.assert_array_equal(outputs["done"], said["done"], strict=True)
            np.testing.assert_array_equal(state.arrays["n"], expected.arrays["n"], strict=True)
        print(len(counts), "forms")


def main() -> int:
    what, *words = sys.argv[1:]
    try:
        jobs = {
            "bits": bits,
            "mortal": mortal,
            "overlap": overlap,
            "breaks": breaks,
            "kept": kept,
            "held": held,
            "forms": forms,
        }
        jobs[what](Placement.parse(words))
    except (HpcError, KakehashiError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
