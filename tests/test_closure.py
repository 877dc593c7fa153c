"""A learned law between the evaluations of a micro simulator: how well it is carried, when it is corrected, who vouches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from receptor_patch import ReceptorPatch

from coupling.closure import Closure
from coupling.closure_baseline import LinearLaw
from coupling.horizon import Horizon, carried_errors
from coupling.micro_courses import MicroCourses
from coupling.neural import Lesson, NeuralLaw
from coupling.simulate import simulate
from simulators.closed_form import OneCompartment
from twin import Conduit, InputError, Perturbation, Twin, WiringError
from twin.seeds import stream

CELLS = 240
TIMES = np.arange(0.0, 120.0, 5.0)


def affinities() -> NDArray[np.float64]:
    """One Kd per cell, which no law is told: 5 … 20 nM."""
    return np.array([5.0 * 4.0 ** stream(1, "Kd", i).random() for i in range(CELLS)])


def exposures(members: NDArray[np.int64]) -> NDArray[np.float64]:
    """A drug given once or twice, of a half-life of 20 … 90 min: `[N, K]`, nM."""
    levels = np.empty((len(members), len(TIMES)))
    for row, member in enumerate(members):
        chance = stream(2, "exposure", int(member))
        dose, again, half_life = 40.0 * chance.random() + 10.0, 60.0 * chance.random(), 20.0 + 70.0 * chance.random()
        rate = np.log(2) / half_life
        late = np.where(again <= TIMES, np.exp(-rate * np.maximum(TIMES - again, 0.0)), 0.0)
        levels[row] = dose * (np.exp(-rate * TIMES) + late) + 0.1
    return levels


@pytest.fixture(scope="module")
def courses() -> MicroCourses:
    patch = ReceptorPatch(affinities(), asked=[], snapshots=500)
    members = np.arange(CELLS)
    return MicroCourses.of(patch, {"L": exposures(members)}, times=TIMES.tolist(), members=members, seed=3)


@pytest.fixture(scope="module")
def law(courses: MicroCourses) -> NeuralLaw:
    return NeuralLaw.fit(courses.take(np.arange(120)), seed=5, lesson=Lesson(epochs=60))


@pytest.fixture(scope="module")
def horizon(courses: MicroCourses, law: NeuralLaw) -> Horizon:
    return Horizon.measured(law, courses.take(np.arange(120, 180)), spans=courses.spans)


@pytest.mark.slow
def test_the_law_beats_its_baselines_on_cells_that_it_has_not_seen(courses: MicroCourses, law: NeuralLaw) -> None:
    """Cells of their own, whose affinity no law is told; carried up to two hours from any correction."""
    lesson, unseen = courses.take(np.arange(120)), courses.take(np.arange(180, 240))
    medians = {
        name: float(np.median(carried_errors(other, unseen, spans=courses.spans).max(axis=1)))
        for name, other in (("neural", law), ("hold", LinearLaw.hold(lesson)), ("ridge", LinearLaw.fit(lesson)))
    }
    assert medians["neural"] < 0.3 * medians["ridge"]
    assert medians["ridge"] < medians["hold"]
    assert medians["neural"] < 0.05


@pytest.mark.slow
def test_the_calibrated_bound_holds_on_fresh_cells(courses: MicroCourses, law: NeuralLaw, horizon: Horizon) -> None:
    """At each age 5 % of cells are expected worse; of 60 calibrated and 60 fresh ones, 9 or more come once in 50 times."""
    unseen = courses.take(np.arange(180, 240))
    errors = np.maximum.accumulate(carried_errors(law, unseen, spans=courses.spans), axis=1)
    assert ((errors > horizon.errors).sum(axis=0) <= 8).all()
    assert horizon.longest(0.1) >= 60.0
    assert horizon.longest(1e-6) < 0


@pytest.mark.slow
def test_in_a_twin_the_micro_simulator_is_seldom_asked_and_the_answer_stays_within_the_tolerance(
    law: NeuralLaw, horizon: Horizon
) -> None:
    members = np.arange(180, 240)
    runs = {}
    for name in ("every", "closure"):
        patch = ReceptorPatch(affinities(), asked=[])
        micro = Closure(patch, law=law, horizon=horizon, tolerance=0.05) if name == "closure" else patch
        drug = OneCompartment(volume=1.0, half_life=45.0, amount_units="nmol", time_units="min")
        runs[name] = simulate(
            Twin({"drug": drug, "patch": micro}, (Conduit("drug.concentration", "patch.L"),)),
            [Perturbation(0.0, "drug.amount", 40.0, "add"), Perturbation(50.0, "drug.amount", 20.0, "add")],
            members=members,
            t0=0.0,
            t1=120.0,
            sample=np.arange(2.5, 120.0, 5.0).tolist(),
            exchange=5.0,
        )
    off = np.abs(runs["closure"]["patch.bound"] - runs["every"]["patch.bound"]).values / horizon.spans
    asked = runs["closure"]["patch.evaluations"].values[:, -1]
    assert asked.mean() < 24 / 3  # a third of the 24 exchanges
    assert (off.max(axis=1) > 0.05).mean() <= 0.15
    worst = runs["closure"]["patch.correction"].values[:, -1]
    assert (worst[asked > 1] > 0).all()


def test_without_enough_unseen_courses_nobody_vouches_and_mechanism_answers(courses: MicroCourses) -> None:
    hold = LinearLaw.hold(courses)
    horizon = Horizon.measured(hold, courses.take(np.arange(10)), spans=courses.spans)
    assert np.isinf(horizon.errors).all()
    patch = ReceptorPatch(affinities(), asked=[])
    closure = Closure(patch, law=hold, horizon=horizon, tolerance=0.5)
    state = closure.init(members=np.arange(2), seed=1)
    for t0 in range(4):
        state, outputs = closure.step(state, {"L": np.full(2, 10.0)}, t0=float(t0), t1=t0 + 1.0)
    assert patch.asked == [0, 1] * 4
    assert_allclose(outputs["bound"][:, 0], 10.0 / (10.0 + affinities()[:2]), rtol=1e-15)


def test_what_leaves_the_lesson_is_asked_and_a_large_correction_shortens_the_leash(courses: MicroCourses) -> None:
    hold = LinearLaw.hold(courses)
    calm = Horizon(TIMES, np.zeros(len(TIMES)), courses.spans, 0.05, 100)  # as if it had been right so far
    patch = ReceptorPatch(np.full(1, 10.0), asked=[])
    closure = Closure(patch, law=hold, horizon=calm, tolerance=0.1)
    state = closure.init(members=np.zeros(1, dtype=np.int64), seed=1)

    def hear(level: float, t0: float) -> int:
        nonlocal state
        before = len(patch.asked)
        state, _ = closure.step(state, {"L": np.array([level])}, t0=t0, t1=t0 + 1.0)
        return len(patch.asked) - before

    assert hear(10.0, 0.0) == 1
    assert hear(30.0, 1.0) == 0  # held, and wrong by a lot
    assert hear(1e4, 2.0) == 1  # not in the lesson
    assert float(state.arrays["correction"][0]) > 0.1
    assert float(state.arrays["trust"][0]) == 0.5
    assert hear(10.0, 2.0 + 0.6 * 115.0) == 1  # half of the horizon of 115 min, and no longer


def test_a_noisy_answer_and_a_good_law_are_weighed(courses: MicroCourses) -> None:
    """Equal errors: the mean of both, sqrt(2) better than either."""
    hold = LinearLaw.hold(courses)
    known = Horizon(TIMES, np.full(len(TIMES), 0.05), courses.spans, 0.05, 100)
    kd, span = np.full(200, 10.0), float(courses.spans[0])
    receptors = round(0.25 / (0.05 * span) ** 2)
    patch = ReceptorPatch(kd, asked=[], receptors=receptors, snapshots=1)
    closure = Closure(patch, law=hold, horizon=known, tolerance=0.01, noise=0.05)
    state = closure.init(members=np.arange(200), seed=1)
    spread = []
    for t0 in range(2):
        state, outputs = closure.step(state, {"L": np.full(200, 10.0)}, t0=float(t0), t1=t0 + 1.0)
        spread.append(outputs["bound"][:, 0].std() / span)
    assert_allclose(spread[0], 0.05, rtol=0.15)  # of 200 draws, ±5 % at one standard error
    assert_allclose(spread[1], 0.05 / np.sqrt(2), rtol=0.15)


@pytest.mark.slow
def test_a_law_is_stored_whole_and_read_strictly(law: NeuralLaw, courses: MicroCourses, tmp_path: Path) -> None:
    path = tmp_path / "patch.safetensors"
    law.save(path)
    read = NeuralLaw.load(path)
    given = {"heard_MI": np.full((3, 1), 5.0), "hears_MI": np.full((3, 1), 6.0), "span_M": np.ones(3)}
    said = np.full((3, 1), 0.4)
    assert_array_equal(read.advance(said, **given), law.advance(said, **given))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"not a law, cut short or damaged"):
        NeuralLaw.load(path)
    with pytest.raises(InputError, match=r"there is no such law; `NeuralLaw\.fit"):
        NeuralLaw.load(tmp_path / "none.safetensors")


def test_a_law_of_other_ports_or_units_is_refused(courses: MicroCourses) -> None:
    patch = ReceptorPatch(affinities(), asked=[])
    hold = LinearLaw.hold(courses)
    horizon = Horizon.measured(hold, courses, spans=courses.spans)
    with pytest.raises(WiringError, match=r"Closure: OneCompartment has the clock 'macro'"):
        Closure(OneCompartment(volume=1.0, half_life=1.0), law=hold, horizon=horizon)
    with pytest.raises(
        InputError, match=r"L is in 'uM' in the law and in 'nM' in the micro simulator; fit the law anew"
    ):
        Closure(patch, law=replace(hold, input_units={"L": "uM"}), horizon=horizon)
    with pytest.raises(InputError, match=r"the law gives free, the micro simulator bound"):
        Closure(patch, law=replace(hold, output_units={"free": ""}), horizon=horizon)
    closure = Closure(patch, law=hold, horizon=horizon)
    begun = closure.init(members=np.arange(2), seed=1)
    with pytest.raises(InputError, match=r"nothing feeds 'L', which its law reads; put a Conduit"):
        closure.step(begun, {}, t0=0.0, t1=1.0)
