"""The emulator against a closed form, its gate against its promise, its checkpoint against damage."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import occupancy
import pytest
import torch
from safetensors.numpy import load, save

from surrogates.axis import Axis
from surrogates.checkpoint import FORMAT
from surrogates.domain import Domain
from surrogates.dosing import dose_windows, merged
from surrogates.emulator import BLOCK, Emulator
from surrogates.emulator_training import Split, Training, errors_of, judged, train_emulator
from surrogates.trust_gate import TrustGate, upper_limit
from surrogates.trusted import Trusted
from twin import InputError, Perturbation

ARM = occupancy.ARMS[5]
TIMES = occupancy.TIMES.tolist()


def _start(count: int) -> dict[str, np.ndarray]:
    return dict.fromkeys(occupancy.READOUTS, np.zeros(count))


# -- learning a closed form


@pytest.fixture(scope="module")
def trained() -> Emulator:
    """Seconds of training on an empty machine."""
    split = Split(
        occupancy.trajectories(0, 300, arms_per_cell=5),
        occupancy.trajectories(300, 150, arms_per_cell=2),
        occupancy.trajectories(500, 400),
        occupancy.trajectories(900, 200),
    )
    return train_emulator(
        split,
        levels=["L"],
        units={"L": "nM", "signal": "nM"},
        time_units="min",
        mechanism="occupancy",
        mechanism_ms=2.0,
        trajectories=100_000,
        tolerance=0.08,
        seed=1,
        training=Training(epochs=40, batch=128, rate=1.5e-2, networks=2, latent=4, context=10, hidden=20),
    )


@pytest.mark.slow
def test_learns_a_closed_form_better_than_simple_rules_and_keeps_its_promise_on_fresh_cells(trained: Emulator) -> None:
    fresh = occupancy.trajectories(5000, 400)
    signs, errors, known = judged(trained, fresh)
    assert np.median(errors) < 0.05
    report = trained.report
    for name in ("mean of the arm", "ridge regression"):
        assert np.median(errors) < 0.7 * np.median(report.baselines[name]), name
    vouched = trained.gate.vouch(np.where(known, trained.gate.score(signs), np.inf))
    assert vouched.mean() > 0.3
    # the promise is at most 10 % wrong with 95 % confidence; a sample of it strays by at most 3 standard errors
    allowed = 0.1 + 3 * np.sqrt(0.09 / vouched.sum())
    assert (errors[vouched] > trained.gate.tolerance).mean() < allowed
    assert abs(vouched.mean() - report.coverage) < 0.15


@pytest.mark.slow
def test_gate_refuses_what_training_never_saw(trained: Emulator) -> None:
    cells = occupancy.cells(7000, 8)
    cells["kon"] = cells["kon"] * 100.0
    answer = trained.answer(features=cells, initial=_start(8), perturbations=ARM, times=TIMES)
    assert np.isinf(answer.scores).all()
    assert not answer.vouched.any()


@pytest.mark.slow
def test_report_tells_errors_coverage_speed_and_a_choice_in_words(trained: Emulator, tmp_path: Path) -> None:
    summary = trained.report.summary()
    json.dumps(summary, allow_nan=False)
    assert summary["error"]["q50"] < summary["error"]["q90"] <= summary["error"]["q99"]
    assert summary["share_wrong_limit"] >= summary["share_wrong"]
    assert summary["cells"] == {"training": 300, "validation": 150, "calibration": 400, "test": 200}
    assert summary["choice"] in ("mechanism", "emulator")
    assert summary["decision"].endswith(".")
    trained.save(tmp_path / "e.safetensors")
    again = Emulator.load(tmp_path / "e.safetensors")
    assert again.report.summary()["decision"] == summary["decision"]
    strict = Emulator.load(tmp_path / "e.safetensors", tolerance=1e-4)
    assert strict.report.coverage == 0.0
    assert "vouches for no cell" in strict.report.sentence
    assert strict.report.choice == "mechanism"


def test_same_seed_gives_the_same_weights() -> None:
    lesson = occupancy.trajectories(0, 20, arms_per_cell=2)
    domain = Domain.of(lesson, levels=["L"], units={}, time_units="min", mechanism="m")
    short = Training(epochs=2, batch=16, networks=2, latent=3, context=4, hidden=8)

    from surrogates.emulator_training import fitted

    one, other = (fitted(lesson, domain, short, seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    different = fitted(lesson, domain, short, seed=6).state_dict()
    assert not all(torch.equal(one[name], different[name]) for name in one)


# -- the network


def test_before_any_change_readouts_are_what_the_cell_started_with() -> None:
    start = {"bound": np.linspace(0.0, 0.9, 7), "signal": np.linspace(2.0, 0.0, 7)}
    found = occupancy.untrained().run(
        features=occupancy.cells(0, 7), initial=start, perturbations=occupancy.ARMS[1], times=[-10.0]
    )
    for name, values in start.items():
        np.testing.assert_allclose(found[name][:, 0], values, rtol=1e-5, atol=1e-6)  # float32


def test_readouts_that_were_never_negative_stay_so() -> None:
    found = occupancy.untrained().run(
        features=occupancy.cells(0, 50), initial=_start(50), perturbations=ARM, times=np.linspace(-10, 60, 50).tolist()
    )
    assert all((values >= 0).all() for values in found.values())


def test_shape_names_every_weight() -> None:
    network = occupancy.untrained().network
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == network.shape.weights


def test_a_card_is_read_without_torch(checkpoint: Path) -> None:
    code = (
        "import sys; from surrogates.emulator_card import EmulatorCard; "
        f"print(EmulatorCard.load({str(checkpoint)!r}).report.choice, 'torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert told.split() == ["mechanism", "False"]


def test_course_converges_in_the_integrators_step_at_fourth_order() -> None:
    emulator = occupancy.untrained()
    run: dict[str, Any] = {
        "features": occupancy.cells(0, 9),
        "initial": dict.fromkeys(occupancy.READOUTS, np.full(9, 0.4)),
        "perturbations": ARM,
        "times": TIMES,
    }
    found = []
    for step in (0.4, 0.2, 0.05):
        emulator.network.shape = replace(emulator.network.shape, step=step)
        found.append(emulator.run(**run))
    for name in occupancy.READOUTS:  # fourth order: half the step, a sixteenth of the error, down to float32
        coarse, middle = (np.abs(some[name] - found[-1][name]).max() for some in found[:2])
        assert coarse < 1e-3 * np.abs(found[-1][name]).max()
        assert middle < max(coarse / 8, 2e-6)


# -- bits


def test_a_rows_bits_depend_on_its_place_in_its_block_alone() -> None:
    emulator = occupancy.untrained()
    count = BLOCK + 9
    cells, start = occupancy.cells(0, count), _start(count)
    whole = emulator.answer(features=cells, initial=start, perturbations=ARM, times=TIMES)
    for rows in (np.arange(1), np.arange(3), np.arange(BLOCK), np.arange(BLOCK, count)):
        part = emulator.answer(
            features={name: values[rows] for name, values in cells.items()},
            initial={name: values[rows] for name, values in start.items()},
            perturbations=ARM,
            times=TIMES,
        )
        for name, values in whole.values.items():
            assert part.values[name].tobytes() == values[rows].tobytes()
        assert part.scores.tobytes() == whole.scores[rows].tobytes()
    others = {name: np.where(np.arange(count) == 5, values, values[::-1]) for name, values in cells.items()}
    again = emulator.answer(features=others, initial=start, perturbations=ARM, times=TIMES)
    assert again.values["signal"][5].tobytes() == whole.values["signal"][5].tobytes()


def test_threads_do_not_change_bits() -> None:
    emulator = occupancy.untrained()
    run: dict[str, Any] = {
        "features": occupancy.cells(0, 70),
        "initial": _start(70),
        "perturbations": ARM,
        "times": TIMES,
    }
    threads = torch.get_num_threads()
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(emulator.run(**run)["signal"].tobytes())
        assert torch.get_num_threads() == count
    torch.set_num_threads(threads)
    assert found[0] == found[1]


def test_arms_of_one_kind_in_one_run_are_the_arms_run_alone() -> None:
    emulator = occupancy.untrained()
    arm_M = np.array([1, 2, 3, 1, 0])
    cells = occupancy.cells(0, 5)
    groups = list(merged(occupancy.ARMS, arm_M))
    assert [rows.tolist() for rows, _ in groups] == [[0, 1, 2, 3], [4]]
    rows, changes = groups[0]
    some = {name: values[rows] for name, values in cells.items()}
    together = emulator.run(features=some, initial=_start(4), perturbations=changes, times=TIMES)
    for position, row in enumerate(rows.tolist()):
        own = {name: values[[row]] for name, values in cells.items()}
        alone = emulator.run(features=own, initial=_start(1), perturbations=occupancy.ARMS[arm_M[row]], times=TIMES)
        np.testing.assert_allclose(alone["signal"][0], together["signal"][position], rtol=1e-5, atol=1e-6)  # float32


# -- the gate


def test_upper_limit_is_clopper_and_pearsons() -> None:
    """With 0 wrong of n the limit p solves (1 - p)^n = 1 - confidence; 3 of 20 at 95 %: 0.3437 (their table)."""
    assert upper_limit(0, 29, confidence=0.95) == pytest.approx(1 - 0.05 ** (1 / 29), rel=1e-12)
    assert upper_limit(3, 20, confidence=0.95) == pytest.approx(0.3437, abs=1e-4)
    assert upper_limit(0, 0, confidence=0.95) == 1.0


def test_gate_promises_no_more_than_it_keeps() -> None:
    """Scores uniform on 0…1, wrong with probability p = s²/2: the share wrong up to t is t²/6, within 10 % for t < 0.775."""
    candidates = tuple(np.linspace(0.1, 1.0, 10))
    beyond = 0
    thresholds: list[float] = []
    trials = 400
    for trial in range(trials):
        chance = np.random.default_rng([2026, trial])
        scores = chance.random(300)
        errors = np.where(chance.random(300) < scores**2 / 2, 1.0, 0.0)
        gate = TrustGate(np.zeros(2), candidates, scores, errors, tolerance=0.5, risk=0.1, confidence=0.95)
        thresholds.append(gate.threshold)
        beyond += gate.threshold**2 / 6 > 0.1 if np.isfinite(gate.threshold) else 0
    assert beyond / trials < 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    assert np.median(thresholds) >= 0.4  # and it is of use


def test_gate_vouches_for_nobody_where_it_can_promise_nothing() -> None:
    gate = TrustGate(np.zeros(2), (0.5, 1.0), np.zeros(200), np.ones(200), tolerance=0.5)
    assert gate.threshold == -np.inf
    assert not gate.vouch(np.array([-100.0, 0.0])).any()
    few = TrustGate(np.zeros(2), (0.5, 1.0), np.zeros(10), np.zeros(10), tolerance=0.5)
    assert few.threshold == -np.inf  # ten right answers say little: the limit is 1 - 0.025^(1/10) = 31 %


def test_gate_learns_a_score_that_orders_errors() -> None:
    chance = np.random.default_rng(1)
    signs = chance.standard_normal((400, 3))
    errors = 10 ** (0.5 * signs[:, 0] - 2 + 0.1 * chance.standard_normal(400))
    gate = TrustGate.learn(signs[:200], errors[:200], tolerance=0.05)
    assert np.corrcoef(gate.score(signs[200:]), np.log10(errors[200:]))[0, 1] > 0.95
    assert list(gate.candidates) == sorted(gate.candidates)
    assert gate.score(np.array([[np.nan, 0.0, 0.0]]))[0] == np.inf


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_tolerance_outside_a_share_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="tolerance"):
        occupancy.untrained().with_tolerance(share)


# -- what training has seen


def _vouched(emulator: Emulator, cells: dict[str, np.ndarray], arm: tuple[Perturbation, ...] = ARM) -> np.ndarray:
    return emulator.answer(features=cells, initial=_start(len(cells["L"])), perturbations=arm, times=TIMES).vouched


def test_everything_outside_the_training_set_is_refused_whatever_the_score() -> None:
    emulator = occupancy.untrained(threshold=1e6)
    cells = occupancy.cells(0, 3)
    assert _vouched(emulator, cells).all()
    for change in ({"kon": np.array([1e3, 0.1, 0.1])}, {"T": np.array([300.0, 310, 310])}):
        assert _vouched(emulator, {**cells, **change}).tolist() == [False, True, True]
    assert not _vouched(emulator, cells, (Perturbation(0.0, "cell.L", 30.0),)).any()  # a dose beyond those trained
    assert _vouched(emulator, cells, (Perturbation(0.0, "cell.L", 2.0),)).all()  # between two near ones
    assert not _vouched(emulator, cells, (Perturbation(1.0, "cell.L", 1.0),)).any()  # a time never trained


def test_numbers_that_are_not_finite_are_nan_and_never_vouched_for() -> None:
    emulator = occupancy.untrained(threshold=1e6)
    cells = occupancy.cells(0, 3)
    cells["koff"][1] = np.nan
    answer = emulator.answer(features=cells, initial=_start(3), perturbations=ARM, times=TIMES)
    assert answer.vouched.tolist() == [True, False, True]
    assert np.isnan(answer.values["signal"][1]).all()
    assert np.isfinite(answer.values["signal"][[0, 2]]).all()


def test_missing_features_and_unlearned_targets_are_refused_by_name() -> None:
    emulator = occupancy.untrained()
    cells = occupancy.cells(0, 2)
    del cells["koff"]
    with pytest.raises(InputError, match="koff"):
        emulator.of(features=cells, initial=_start(2))
    with pytest.raises(InputError, match="signal"):
        emulator.of(features=occupancy.cells(0, 2), initial={"bound": np.zeros(2)})
    with pytest.raises(InputError, match="no members"):
        emulator.init(members=np.arange(2), seed=1)
    assert not emulator.domain.knows((Perturbation(0.0, "cell.kon", 1.0),))
    with pytest.raises(InputError, match=r"kon.*knows L"):
        emulator.run(
            features=occupancy.cells(0, 2),
            initial=_start(2),
            perturbations=(Perturbation(0.0, "cell.kon", 1.0),),
            times=TIMES,
        )


def test_axis_knows_ranges_settings_and_zero() -> None:
    chance = np.random.default_rng(0)
    spread = Axis.of("k", np.exp(chance.standard_normal(500)))
    assert spread.familiar(np.array([1.0, 0.0, 1e4, -1.0, np.nan])).tolist() == [True, False, False, False, False]
    knocked = Axis.of("k", np.append(np.exp(chance.standard_normal(500)), 0.0))
    assert knocked.familiar(np.array([0.0, 1e-4, 1.0])).tolist() == [True, False, True]
    assert np.isfinite(knocked.scaled(np.array([0.0, 1.0]))).all()
    doses = Axis.of("L", np.array([0.0, 1.0, 3.0, 100.0]))
    assert doses.familiar(np.array([0.0, 1.0, 2.0, 10.0, 100.0, 101.0])).tolist() == [
        True,
        True,
        True,
        False,
        True,
        False,
    ]
    flag = Axis.of("F", np.array([0.0, 1.0]))
    assert flag.familiar(np.array([0.0, 0.5, 1.0, 2.0])).tolist() == [True, False, True, False]
    signed = Axis.of("v", np.linspace(-1.0, 1.0, 100))
    assert signed.familiar(np.array([-1.0, 0.0, 5.0])).tolist() == [True, True, False]
    assert Axis.from_facts(json.loads(json.dumps(doses.facts()))) == doses


def test_times_asked_for_do_not_change_what_is_found_at_others() -> None:
    emulator = occupancy.untrained()
    run: dict[str, Any] = {"features": occupancy.cells(0, 5), "initial": _start(5), "perturbations": ARM}
    whole, one = emulator.run(times=TIMES, **run), emulator.run(times=[60.0], **run)
    for name, values in whole.items():
        np.testing.assert_allclose(one[name][:, 0], values[:, -1], rtol=1e-5, atol=1e-6)  # float32


def test_dose_windows_hold_every_time_once() -> None:
    arm = (Perturbation(0.0, "c.L", 1.0), Perturbation(60.0, "c.L", 0.0))
    windows = dose_windows(arm, t0=-10.0, t1=60.0)
    held = [window.holds(occupancy.TIMES).tolist() for window in windows]
    assert [(w.t0, w.t1) for w in windows] == [(-10.0, 0.0), (0.0, 60.0), (60.0, 60.0)]
    assert [position for part in held for position in part] == list(range(len(TIMES)))
    with pytest.raises(InputError, match="starts at 5"):
        dose_windows(arm, t0=5.0, t1=60.0)


# -- emulator and mechanism together


def test_trusted_asks_mechanism_for_the_rest_and_tells_who_answered() -> None:
    emulator = occupancy.untrained(threshold=1e6)
    cells = occupancy.cells(0, 4)
    cells["T"][2] = 300.0
    asked: list[list[int]] = []

    def mechanism(rows: np.ndarray) -> dict[str, np.ndarray]:
        asked.append(rows.tolist())
        course = occupancy.course({name: values[rows] for name, values in cells.items()}, ARM)
        return {"bound": course[:, :, 0], "signal": course[:, :, 1], "status": np.full(len(rows), 7, dtype=np.int8)}

    run: dict[str, Any] = {"features": cells, "initial": _start(4), "times": TIMES}
    found = Trusted(emulator).run(mechanism, perturbations=ARM, **run)
    assert asked == [[2]]
    assert found.emulated.tolist() == [True, True, False, True]
    assert found.values["status"].tolist() == [0, 0, 7, 0]
    alone = emulator.run(perturbations=ARM, **run)
    np.testing.assert_array_equal(found.values["signal"][[0, 1, 3]], alone["signal"][[0, 1, 3]])
    np.testing.assert_array_equal(found.values["signal"][2], occupancy.course(cells, ARM)[2, :, 1])
    unknown = (Perturbation(1.0, "cell.kon", 1.0),)
    assert not Trusted(emulator).run(mechanism, perturbations=unknown, **run).emulated.any()
    assert asked[-1] == [0, 1, 2, 3]


def test_parts_of_a_split_share_no_cell_and_judge_each_cell_once() -> None:
    one, other = occupancy.trajectories(0, 5), occupancy.trajectories(5, 5)
    with pytest.raises(InputError, match="two parts"):
        Split(one, other, other, occupancy.trajectories(10, 5))
    with pytest.raises(InputError, match="calibration has several arms"):
        Split(one, other, occupancy.trajectories(10, 5, arms_per_cell=2), occupancy.trajectories(20, 5))


def test_error_is_the_largest_difference_in_spans() -> None:
    domain = occupancy.untrained().domain
    truth = np.zeros((1, len(TIMES), 2))
    found = truth.copy()
    found[0, 3, 1] = 0.5 * domain.spans[1]
    found[0, 4, 0] = -0.25 * domain.spans[0]
    assert errors_of(found, truth, domain)[0] == pytest.approx(0.5, rel=1e-12)


# -- checkpoints


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "emulator.safetensors"
    occupancy.untrained().save(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    return path


def test_checkpoint_gives_the_same_bits_back(checkpoint: Path) -> None:
    run: dict[str, Any] = {
        "features": occupancy.cells(0, 5),
        "initial": _start(5),
        "perturbations": ARM,
        "times": TIMES,
    }
    one, other = occupancy.untrained().answer(**run), Emulator.load(checkpoint).answer(**run)
    assert one.scores.tobytes() == other.scores.tobytes()
    for name, values in one.values.items():
        assert values.tobytes() == other.values[name].tobytes()


def _facts(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Damage to the facts of a checkpoint."""

    def damage(path: Path) -> None:
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        labels = json.loads(content[8 : 8 + size])["__metadata__"]
        facts = json.loads(labels["facts"])
        change(facts)
        path.write_bytes(save(load(content), metadata={"format": labels["format"], "facts": json.dumps(facts)}))

    return damage


def _arrays(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    """Damage to the arrays of a checkpoint."""

    def damage(path: Path) -> None:
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        arrays = load(content)
        change(arrays)
        path.write_bytes(save(arrays, metadata=json.loads(content[8 : 8 + size])["__metadata__"]))

    return damage


def _other_format(path: Path) -> None:
    path.write_bytes(save(load(path.read_bytes()), metadata={"format": "another", "facts": "{}"}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, "no such checkpoint"),
    "empty": (lambda p: p.write_bytes(b""), "damaged"),
    "no safetensors": (lambda p: p.write_text("weights: all of them"), "damaged"),
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:-100]), "damaged"),
    "without labels": (lambda p: p.write_bytes(save(load(p.read_bytes()))), "format None"),
    "another format": (_other_format, FORMAT),
    "facts gone": (_facts(lambda facts: facts.pop("domain")), "incomplete"),
    "facts of another kind": (_facts(lambda facts: facts["shape"].update(depth=3)), "incomplete"),
    "a feature too few": (_facts(lambda facts: facts["domain"]["features"].pop()), "features, levels and readouts"),
    "weights gone": (_arrays(lambda arrays: arrays.pop("begin.weight")), "begin.weight is missing"),
    "weights too many": (_arrays(lambda arrays: arrays.update(extra=np.zeros(3, np.float32))), "extra belongs to no"),
    "weights of another shape": (
        _arrays(lambda arrays: arrays.update({"begin.weight": np.zeros((3, 6, 5), np.float32)})),
        r"begin.weight has shape \(3, 6, 5\), expected \(3, 6, 4\)",
    ),
    "weights not finite": (_arrays(lambda arrays: arrays["begin.weight"].__setitem__((0, 0, 0), np.nan)), "finite"),
    "gate gone": (_arrays(lambda arrays: arrays.pop("gate.scores")), "incomplete"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_refused_with_its_cure(checkpoint: Path, damage: str) -> None:
    harm, says = DAMAGES[damage]
    harm(checkpoint)
    with pytest.raises(InputError, match=says) as refused:
        Emulator.load(checkpoint)
    assert "twin train" in str(refused.value)
    assert checkpoint.name in str(refused.value)


def test_emulator_of_something_else_is_refused(checkpoint: Path) -> None:
    domain = Emulator.load(checkpoint).domain
    fits: dict[str, Any] = {
        "mechanism": "occupancy",
        "readouts": occupancy.READOUTS,
        "names": (*occupancy.cells(0, 1), "more"),
        "until": 60.0,
        "where": "emulator.safetensors",
        "model": "occupancy.ant",
        "command": "twin train occupancy",
    }
    domain.refuse_other(**fits)
    for change, says in (
        ({"mechanism": "another"}, r"another mechanism.* occupancy\.ant was edited.* `twin train occupancy`, or leave"),
        ({"readouts": ("bound",)}, "it emulates bound, signal; expected bound"),
        ({"names": ("kon", "A", "T", "L")}, "needs koff"),
        ({"until": 61.0}, "trained until 60"),
    ):
        with pytest.raises(InputError, match=says):
            domain.refuse_other(**{**fits, **change})


def test_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        occupancy.untrained().save(tmp_path / "file" / "emulator.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
