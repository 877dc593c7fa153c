"""What every Simulator promises, as tests, and the list of simulators that are held to it.

To add one: write a function that makes it for `MEMBERS` members, and put a `Case` on the list. Import heavy packages
inside the function.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from twin import Perturbation, Simulator, State, Values

MEMBERS = 5


@dataclass(frozen=True)
class Case:
    """A simulator and what its method promises.

    Args:
        name: shown by pytest.
        make: makes it for at least `MEMBERS` members.
        t0, t1: a step that it takes quickly, in its own time units.
        inputs: values to feed, the same for all members; left out inputs keep the simulator's own.
        start: changes before the step, so that something moves.
        split: largest relative difference between one step and two, or with more samples; None: not promised.
        seeded: whether it draws random numbers, so that another seed gives other values.
        alone: whether a member's bits are the same in any block of members.
    """

    name: str
    make: Callable[[], Simulator]
    t0: float
    t1: float
    inputs: Mapping[str, float] = field(default_factory=dict[str, float])
    start: tuple[Perturbation, ...] = ()
    split: float | None = 0.0
    seeded: bool = False
    alone: bool = True

    def begun(self, simulator: Simulator, *, members: list[int] | None = None, seed: int = 1) -> State:
        """The state of some members (all of them by default), after the changes of `start`."""
        numbers = np.array(range(MEMBERS) if members is None else members, dtype=np.int64)
        return simulator.perturb(simulator.init(members=numbers, seed=seed), self.start)

    def fed(self, state: State) -> Values:
        """The inputs of a step."""
        return {name: np.full(len(state.members), value) for name, value in self.inputs.items()}

    def stepped(
        self, simulator: Simulator, state: State, *, t0: float | None = None, t1: float | None = None, sample: Any = ()
    ) -> tuple[State, Values]:
        """One step, by default the whole."""
        since, until = self.t0 if t0 is None else t0, self.t1 if t1 is None else t1
        return simulator.step(state, self.fed(state), t0=since, t1=until, sample=sample)


def stored(state: State) -> State:
    """The state written as an npz file and JSON, and read again."""
    file = io.BytesIO()
    np.savez(file, members=state.members, **{f"array {name}": array for name, array in state.arrays.items()})
    plain = json.loads(json.dumps({"time": state.time, "note": dict(state.note)}))
    file.seek(0)
    with np.load(file, allow_pickle=False) as read:
        arrays = {name.removeprefix("array "): read[name] for name in read.files if name.startswith("array ")}
        return State(members=read["members"], arrays=arrays, time=plain["time"], note=plain["note"])


def same_bits(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two mappings hold the same names, dtypes, shapes and bits (NaN equals NaN)."""
    return set(one) == set(other) and all(
        one[n].dtype == other[n].dtype and one[n].shape == other[n].shape and one[n].tobytes() == other[n].tobytes()
        for n in one
    )


def _constant() -> Simulator:
    from simulators.closed_form import Constant

    return Constant({"kon": ("1/(uM min)", np.geomspace(1.0, 100.0, MEMBERS)), "Kd": ("nM", 2.0)})


def _one_compartment() -> Simulator:
    from simulators.closed_form import OneCompartment

    return OneCompartment(volume=np.linspace(3.0, 5.0, MEMBERS), half_life=6.0)


def _linear_system() -> Simulator:
    """A mass on a spring that another one pulls."""
    from simulators.closed_form import LinearSystem

    return LinearSystem(
        states={"x": ("m", np.linspace(0.5, 1.0, MEMBERS)), "v": ("m/s", 0.0)},
        rates={"x": {"v": 1.0}, "v": {"x": -2.0, "v": -0.1, "pull": 0.5}},
        inputs={"pull": "m"},
        time_units="s",
    )


def _tube_flow() -> Simulator:
    from simulators.closed_form import TubeFlow

    return TubeFlow(segments=6, velocity_m_s=np.linspace(0.05, 0.2, MEMBERS), longest_s=0.001)


def _tube_wall() -> Simulator:
    from simulators.closed_form import TubeWall

    return TubeWall(segments=6, wave_speed_m_s=np.linspace(1.0, 2.0, MEMBERS))


def _reaction(engine: str) -> Simulator:
    """Receptors that turn over, bind a ligand and pair up; two compartments, an initial assignment and a clock."""
    from simulators.reaction import EnsembleEngine, ReactionSimulator, RoadRunnerEngine

    kind = {"RoadRunner": RoadRunnerEngine, "ensemble": EnsembleEngine}[engine]
    made = kind(
        """
        compartment membrane = 0.5, cytosol = 2
        species R in membrane, RL in membrane, D in membrane, S in cytosol, L in membrane
        R = ksyn / kdeg; RL = 0; D = 0; S = 1
        const L; L = 0
        ksyn = 0.1; kdeg = 0.01; kon = 0.01; koff = 0.1; kdim = 0.02; kund = 0.2; tide = 0.3
        tide' = 0.1 * (1 - tide)
        J_syn: -> R; membrane * ksyn
        J_deg: R -> ; membrane * kdeg * R
        J_on: R -> RL; membrane * (kon * L * R - koff * RL)
        J_dim: 2 RL -> D; membrane * (kdim * RL^2 - kund * D)
        J_sig: -> S; cytosol * (0.1 * D * (1 + 0.1 * sin(0.1 * time)) - 0.05 * S)
        total := R + RL + 2 * D
        """,
        readouts={"S": "S", "R": "R", "bound": "RL + 2*D", "total": "total", "tide": "tide"},
        units={"S": "nM", "R": "nM", "bound": "nM", "kon": "1/(nM min)", "koff": "1/min"},
        time_units="min",
    )
    return ReactionSimulator(
        made,
        inputs=["kon", "koff"],
        member_parameters={"ksyn": np.linspace(0.05, 0.2, MEMBERS), "koff": np.geomspace(0.01, 1.0, MEMBERS)},
    )


def _association() -> Simulator:
    """Two classes of ligands and a wide patch, few trajectories; split steps agree because a rate is estimated once."""
    from simulators.molecular import AssociationSimulator, Ligand, Receptor, Settings

    ligands = [Ligand(f"L{i}", "", i % 2, 0.45, 0.5 + 0.05 * i) for i in range(MEMBERS)]
    receptor = Receptor("site", radius_nm=2.0, charge=-5.0, patch_half_angle_deg=90.0)
    return AssociationSimulator(ligands, receptor, trajectories=64, settings=Settings(slots=64, batch=64))


def _replicas() -> Simulator:
    """Of one class, as many as members."""
    from simulators.molecular import AssociationReplicas, AssociationSimulator

    association = _association()
    assert isinstance(association, AssociationSimulator)
    return AssociationReplicas(association, MEMBERS)


def _cached() -> Simulator:
    """Receptors behind a tolerance: the last averages hold within a step, whatever is looked at."""
    from receptor_patch import ReceptorPatch

    from coupling.cached import Cached

    return Cached(ReceptorPatch(np.geomspace(1.0, 100.0, MEMBERS), asked=[], snapshots=3))


def _closure() -> Simulator:
    """Receptors and the law that nothing moves: the contract does not ask that it is right."""
    from receptor_patch import ReceptorPatch

    from coupling.closure import Closure
    from coupling.closure_baseline import LinearLaw
    from coupling.horizon import Horizon
    from coupling.micro_courses import MicroCourses

    patch = ReceptorPatch(np.geomspace(1.0, 100.0, MEMBERS), asked=[], snapshots=3)
    levels = np.linspace(1.0, 50.0, 4) * np.ones((MEMBERS, 1))
    courses = MicroCourses.of(patch, {"L": levels}, times=[0.0, 20.0, 40.0, 60.0], members=np.arange(MEMBERS), seed=2)
    horizon = Horizon(courses.times, np.zeros(4), courses.spans, 0.05, 100)
    return Closure(patch, law=LinearLaw.hold(courses), horizon=horizon)


def _capture() -> Simulator:
    """Few trajectories: the contract does not ask how exact it is."""
    from simulators.molecular import CaptureSimulator

    return CaptureSimulator(radius_um=np.linspace(5.0, 15.0, MEMBERS), free=1e5, trajectories=256)


def _emulator() -> Simulator:
    """The latent neural ODE of an emulator, untrained: the contract does not ask that it is right."""
    import occupancy

    return occupancy.untrained().of(
        features=occupancy.cells(500, MEMBERS),
        initial=dict.fromkeys(occupancy.READOUTS, np.linspace(0.1, 0.5, MEMBERS)),
    )


CASES: list[Case] = [
    Case("constant", _constant, t0=-10.0, t1=30.0),
    Case(
        "one compartment",
        _one_compartment,
        t0=0.0,
        t1=24.0,
        start=(Perturbation(0.0, "x.amount", 10.0, "add"), Perturbation(0.0, "x.infusion", 2.0)),
        split=1e-13,  # rounding
    ),
    Case("linear system", _linear_system, t0=1.0, t1=4.0, inputs={"pull": 0.3}, split=1e-13),  # rounding
    Case("flow in a tube", _tube_flow, t0=0.0, t1=0.01, split=None),  # Euler steps: of first order
    Case("wall of a tube", _tube_wall, t0=0.0, t1=0.01, start=(Perturbation(0.0, "x.outside", -50.0),)),
    *(
        Case(
            f"reaction network, {engine}",
            partial(_reaction, engine),
            t0=-20.0,
            t1=60.0,
            inputs={"kon": 0.02},
            start=(Perturbation(-20.0, "x.L", 20.0), Perturbation(-20.0, "x.S", 0.5, "add")),
            split=1e-6,  # each step starts anew; the global error at rtol 1e-8 is some 10 to 100 times that
        )
        for engine in ("RoadRunner", "ensemble")
    ),
    Case("association, Brownian dynamics", _association, t0=0.0, t1=10.0, seeded=True),
    Case("association in replicas", _replicas, t0=0.0, t1=10.0, seeded=True),
    Case("capture by a cell, Brownian dynamics", _capture, t0=0.0, t1=10.0, inputs={"free": 5e5}, seeded=True),
    Case("receptors, cached", _cached, t0=-10.0, t1=10.0, inputs={"L": 10.0}, seeded=True),
    Case("receptors, closure", _closure, t0=-10.0, t1=10.0, inputs={"L": 10.0}, seeded=True),
    Case(
        "emulator",
        _emulator,
        t0=-10.0,
        t1=60.0,
        start=(Perturbation(-10.0, "x.L", 1.0),),
        split=1e-3,  # samples are read between the integrator's nodes, and a step's end is one more node; float32
        alone=False,  # a row's bits are those of its place in a block
    ),
]
