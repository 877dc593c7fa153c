"""`twin bench ensemble`: what it measures, on models small enough to know the answer."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tellurium
from typer.testing import CliRunner

from scenarios.cli import app
from scenarios.commands import ensemble_race, race_members
from scenarios.commands.race_members import Settings
from simulators.reaction import contender
from simulators.reaction.contender import Ensemble, Fault, Lane, Lap
from simulators.reaction.operation import OPCODES, dot, signed_sum
from simulators.reaction.step_cost import operations

DECAY = "model decay\ncompartment c = 2; species A in c, B in c; A = 3; B = 0; k = 0.5; A -> B; k*A*c\nend"


def problem(folder: Path) -> Path:
    """A PEtab problem: under `still` nothing moves, under `moving` both species do."""
    (folder / "model.xml").write_text(str(tellurium.antimonyToSBML(DECAY)))
    (folder / "problem.yaml").write_text(
        "format_version: 1\nparameter_file: p.tsv\nproblems:\n- sbml_files: [model.xml]\n  condition_files: [c.tsv]\n"
        "  measurement_files: [m.tsv]\n  observable_files: [o.tsv]\n"
    )
    (folder / "p.tsv").write_text(
        "parameterId\tparameterScale\tnominalValue\testimate\nk\tlog10\t0.25\t1\nA0\tlog10\t4\t1\nscale\tlog10\t2\t1\n"
    )
    (folder / "c.tsv").write_text("conditionId\tconditionName\tA\nstill\tnone\t0\nmoving\tsome\tA0\n")
    (folder / "m.tsv").write_text(
        "observableId\tsimulationConditionId\tmeasurement\ttime\no\tstill\t1\t90\no\tmoving\t1\t6\no\tmoving\t1\tinf\n"
    )
    (folder / "o.tsv").write_text("observableId\tobservableFormula\tnoiseFormula\no\tscale * B\t0.1\n")
    return folder / "problem.yaml"


def test_members_of_a_petab_problem_follow_its_liveliest_condition(tmp_path: Path) -> None:
    problem(tmp_path)
    course = race_members.course(tmp_path, Settings())
    assert (course.condition, course.end) == ("moving", 6.0)
    assert course.nominal == {"k": 0.25, "A0": 4.0}  # `scale` bears on nothing that is simulated
    few, many = course.members(3, Settings()), course.members(2000, Settings())
    np.testing.assert_array_equal(few.amounts, many.amounts[:3])
    spread = np.log(many.given["A"] / 4.0)
    assert abs(spread.std() - 0.3) < 0.02
    assert abs(spread.mean()) < 0.03
    np.testing.assert_allclose(many.amounts[:, many.species.index("A")], 2.0 * many.given["A"])


def test_contenders_give_the_closed_form(tmp_path: Path) -> None:
    ensemble = race_members.course(problem(tmp_path), Settings()).members(20, Settings())
    a, b = ensemble.species.index("A"), ensemble.species.index("B")
    expected = ensemble.given["A"][:, None] * np.exp(-ensemble.given["k"][:, None] * ensemble.times)
    for engine in (contender.Ours, contender.RoadRunner):
        lap = engine(ensemble).run(20, 1e-9, 1e-12)
        assert not lap.failed.any()
        assert lap.seconds > 0
        np.testing.assert_allclose(lap.values[:, :, a], expected, rtol=1e-6)
        np.testing.assert_allclose(lap.values[:, :, b], ensemble.given["A"][:, None] - expected, rtol=1e-6, atol=1e-8)


class Ends:
    """A contender whose process ends while it runs."""

    preparation_s, version = 0.0, "1"

    def __init__(self, ensemble: Ensemble) -> None:
        pass

    def run(self, members: int, rtol: float, atol: float) -> Lap:
        os._exit(3)


def test_a_crash_and_a_slow_lap_are_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = race_members.course(problem(tmp_path), Settings()).members(2, Settings())
    lane = Lane("roadrunner", ensemble)
    try:
        assert lane.prepare(60.0) is None
        lane._process.kill()
        answer = lane.run(2, 1e-6, 1e-9, 60.0)
        assert isinstance(answer, Fault)
        assert answer.kind == "crash"
        assert "ended" in answer.words
        assert lane.run(2, 1e-6, 1e-9, 60.0) is answer  # and there will be no other
    finally:
        lane.close()
    slow = Lane("roadrunner", ensemble)
    try:
        answer = slow.prepare(0.0)
        assert isinstance(answer, Fault)
        assert answer.kind == "time"
    finally:
        slow.close()


def lap(rtol: float, rate: float, error: float, failed: float = 0.0) -> dict[str, float]:
    return {"rtol": rtol, "members_per_second": rate, "error": error, "failed_share": failed}


def test_ratio_is_of_our_fastest_lap_with_no_greater_error() -> None:
    ours = {"laps": [lap(1e-2, 900, 2e-3), lap(1e-3, 700, 1e-4, 0.02), lap(1e-4, 600, 5e-5), lap(1e-5, 500, 1e-6)]}
    peer = {"laps": [lap(1e-5, 120, 1e-3), lap(1e-6, 100, 1e-4, 0.01), lap(1e-8, 50, 1e-9)]}
    found = ensemble_race.compare(ours, peer)
    assert found["ratio"] == 7.0  # stated at the peer's 1e-6
    assert found["failures_allowed"]  # 2 % against twice 1 % and a half
    assert [r["rtol"] for r in found["ratios"]] == [1e-5, 1e-6]  # ours reached no error of 1e-9
    crashed = {"laps": [lap(1e-2, 900, 2e-3), {"rtol": 1e-3, "fault": "crash", "reason": "-9"}]}
    assert ensemble_race.compare(crashed, peer)["ratio"] == 0.1


def test_bench_writes_everything_measured(tmp_path: Path) -> None:
    path = problem(tmp_path)
    out = tmp_path / "deep" / "race.json"
    answer = CliRunner().invoke(
        app, ["bench", "ensemble", str(path), "--seconds", "0.02", "--repeats", "1", "--json", str(out)]
    )
    assert answer.exit_code == 0, answer.output
    found = json.loads(out.read_text())
    assert set(found) == {
        "schema", "machine", "models", "geometric_mean", "load_average_after", "seconds",
    }  # fmt: skip
    assert found["machine"]["cores"] >= 1
    assert "libroadrunner" in found["machine"]["versions"]
    (model,) = found["models"]
    assert model["condition"] == "moving"
    assert model["reference_rtol"] == 1e-11
    assert 32 <= model["members"] <= 4096
    assert model["species"] == 2
    for engine in model["engines"].values():
        assert engine["preparation_s"] > 0
        assert engine["version"]
        for entry in engine["laps"]:
            assert entry["members_per_second"] == pytest.approx(entry["members"] / entry["seconds"])
            assert entry["failed_share"] == 0.0
            assert entry["error_median"] <= entry["error"]
    assert found["geometric_mean"]["roadrunner"]["ratio"] == pytest.approx(model["engines"]["roadrunner"]["ratio"])
    assert "geometric mean over 1 of 1 models" in answer.output


def test_operations_of_a_step_are_counted() -> None:
    rows = [*dot(5, 1, [(1, 2), (3, 4)], 0), *signed_sum(6, [1], [2, 3], [(1, 2)], []), (OPCODES["madd"], 7, 1, 2, 3)]
    rows.append((OPCODES["copy"], 8, 7, 7, 7))
    assert (
        operations(np.array(rows, dtype=np.int32)) == 5 + 5 + 2
    )  # a scaled dot of two; three terms, one product; madd
