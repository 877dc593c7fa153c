"""A micro simulator that is asked only when its inputs have moved: who is asked, when, and what the error is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from receptor_patch import ReceptorPatch

from coupling.cached import Cached
from coupling.simulate import advance, simulate, start
from simulators.closed_form import OneCompartment
from simulators.reaction import ReactionSimulator
from twin import Conduit, InputError, Perturbation, State, Twin, WiringError

MEMBERS = np.arange(3)
KD = np.array([1.0, 10.0, 100.0])


def fed(cached: Cached, state: State, ligand: object, *, t0: float = 0.0) -> tuple[State, dict[str, np.ndarray]]:
    levels = np.broadcast_to(np.asarray(ligand, dtype=np.float64), (len(state.members),))
    state, outputs = cached.step(state, {"L": levels}, t0=t0, t1=t0 + 1.0, sample=[t0 + 0.5])
    return state, dict(outputs)


def test_a_member_is_asked_again_only_when_its_own_input_has_moved() -> None:
    patch = ReceptorPatch(KD, asked=[])
    cached = Cached(patch, rtol=0.1)
    state = cached.init(members=MEMBERS, seed=1)
    state, first = fed(cached, state, 10.0)
    assert patch.asked == [0, 1, 2]
    state, second = fed(cached, state, [10.9, 11.2, 9.1])
    assert patch.asked == [0, 1, 2, 1]
    assert_array_equal(second["bound"][[0, 2]], first["bound"][[0, 2]])
    assert_allclose(second["bound"][1], 11.2 / (11.2 + 10.0), rtol=1e-15)
    assert_array_equal(second["evaluations"], [[1, 1], [2, 2], [1, 1]])


def test_moving_is_counted_from_the_last_evaluation_and_not_from_the_last_step() -> None:
    """A slow drift is not followed by nobody: 1 % a step makes 10 % after ten."""
    patch = ReceptorPatch(KD[:1], asked=[])
    cached = Cached(patch, rtol=0.1)
    state = cached.init(members=MEMBERS[:1], seed=1)
    for k in range(25):
        state, _ = fed(cached, state, 1.01**k)
    assert len(patch.asked) == 1 + 2  # 1.01^10 and 1.01^20 are the first beyond 10 %


def test_an_absolute_tolerance_serves_inputs_near_0() -> None:
    patch = ReceptorPatch(KD[:1], asked=[])
    cached = Cached(patch, rtol=0.0, atol={"L": 0.5})
    state = cached.init(members=MEMBERS[:1], seed=1)
    for level in (0.0, 0.4, 0.5, 0.6):
        state, _ = fed(cached, state, level)
    assert len(patch.asked) == 2


def test_what_is_held_too_long_or_perturbed_is_asked_again() -> None:
    patch = ReceptorPatch(KD, asked=[])
    cached = Cached(patch, longest=5.0)
    state = cached.init(members=MEMBERS, seed=1)
    for t0 in range(6):
        state, _ = fed(cached, state, 1.0, t0=float(t0))
    assert len(patch.asked) == 6
    state, before = fed(cached, state, 1.0, t0=6.0)
    state = cached.perturb(state, [Perturbation(7.0, "patch.Kd", 5.0)])
    state, after = fed(cached, state, 1.0, t0=7.0)
    assert_allclose(after["bound"], 1.0 / 6.0)
    assert before["bound"][2, 0] < 0.01


def twin(patch: ReceptorPatch, **tolerance: float) -> Twin:
    """A drug that leaves with a half-life of 60 min, receptors it occupies, a signal that they drive."""
    cell = ReactionSimulator(
        "S = 0; bound = 0; J1: -> S; 0.1 * bound; J2: S -> ; 0.05 * S",
        readouts=["S"],
        inputs=["bound"],
        units={"S": "nM", "bound": ""},
        time_units="min",
    )
    drug = OneCompartment(volume=1.0, half_life=60.0, amount_units="nmol", volume_units="L", time_units="min")
    micro = Cached(patch, **tolerance) if tolerance else patch
    return Twin(
        {"drug": drug, "patch": micro, "cell": cell},
        (Conduit("drug.concentration", "patch.L"), Conduit("patch.bound", "cell.bound")),
    )


def test_in_a_twin_it_saves_most_evaluations_within_its_tolerance() -> None:
    """Occupancy moves by less than its relative input: |d ln b / d ln L| ≤ 1, so 5 % in L is at most 5 % in S."""
    runs = {}
    for name, tolerance in (("every", {}), ("cached", {"rtol": 0.05})):
        patch = ReceptorPatch(KD, asked=[])
        runs[name] = simulate(
            twin(patch, **tolerance),
            [Perturbation(0.0, "drug.amount", 50.0, "add")],
            members=MEMBERS,
            t0=0.0,
            t1=240.0,
            sample=np.arange(0.0, 241.0, 20.0).tolist(),
            exchange=1.0,
        )
    count = runs["cached"]["patch.evaluations"].values[:, -1]
    assert count.max() <= 60  # of 241; ln(2)/60 per minute takes 4.2 min for 5 %
    assert_allclose(runs["cached"]["cell.S"], runs["every"]["cell.S"], rtol=0.05, atol=1e-12)
    assert np.abs(runs["cached"]["cell.S"] - runs["every"]["cell.S"]).max() > 0


def test_a_noisy_micro_simulator_gives_the_same_bits_in_any_chunk() -> None:
    patch = ReceptorPatch(KD, asked=[], snapshots=3)
    changes = [Perturbation(0.0, "drug.amount", 50.0, "add")]

    def run(members: list[int]) -> np.ndarray:
        made = twin(patch, rtol=0.05)
        begun = start(made, members=np.array(members), seed=7)
        found = advance(made, begun, changes, t0=0.0, t1=30.0, sample=[10.0, 30.0], exchange=1.0)
        return np.asarray(found.values["cell.S"])

    whole = run([0, 1, 2])
    assert whole[1:2].tobytes() == run([1]).tobytes()
    assert whole[[0, 2]].tobytes() == run([0, 2]).tobytes()


def test_what_cannot_be_left_out_is_refused() -> None:
    with pytest.raises(WiringError, match=r"Cached: OneCompartment has the clock 'macro'.*wrap a micro simulator"):
        Cached(OneCompartment(volume=1.0, half_life=1.0))
    patch = ReceptorPatch(KD, asked=[])
    with pytest.raises(InputError, match=r"rtol names 'M'; the micro simulator's inputs are L"):
        Cached(patch, rtol={"M": 0.1})
    with pytest.raises(InputError, match=r"atol of L is -1"):
        Cached(patch, atol=-1.0)
    with pytest.raises(InputError, match=r"longest 0.*above 0 in min"):
        Cached(patch, longest=0.0)
