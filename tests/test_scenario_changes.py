"""What each kind of change does to a cell, run in the plainest way and compared with closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from plain_run import names_of, trajectory

from scenarios.model_consistency import Known, model_problems
from scenarios.scenario import Scenario
from scenarios.yaml_file import YamlFile
from twin.perturbation import Perturbation

TURNOVER = """\
name: turnover
title: made at a constant rate, lost by first order
cell:
  antimony: |
    S = 0; D = 0; k = 0.1; ksyn = 2; level = 0
    J1: -> S; ksyn
    J2: S -> ; k * S
    J3: D -> ; k * D
    held := 3 * level
  units: {D: nM, level: nM, ksyn: nM/min}
  equilibrate: true
readouts: {S: substance, D: drug, held: held}
time: {start: -10 min, end: 60 min}
arms:
"""


def only_arm(changes: str) -> tuple[Scenario, tuple[Perturbation, ...], tuple[Perturbation, ...]]:
    text = f"{TURNOVER}  - treatment: t\n    changes:\n{changes}"
    scenario = Scenario.from_file(YamlFile.parse(text, name="t.yaml", folder=Path()))
    (arm,) = scenario.arms()
    return scenario, arm.before_equilibration, arm.perturbations


def course(changes: str, readout: str, times: list[float]) -> np.ndarray:
    scenario, _, _ = only_arm(changes)
    return trajectory(scenario, scenario.arms()[0], readout, times)


def test_equilibrated_cell_stands_at_synthesis_over_loss() -> None:
    assert course("      - {set: level, to: 0 nM, at: 0 min}\n", "S", [-10, 0, 60]) == pytest.approx(
        [20, 20, 20], rel=1e-8
    )


def test_knock_out_before_equilibration_leaves_nothing() -> None:
    assert course("      - {knock-out: ksyn, before: equilibration}\n", "S", [0, 60]) == pytest.approx(
        [0, 0], abs=1e-12
    )


def test_knock_down_and_overexpression_scale_the_level() -> None:
    down = course("      - {knock-down: ksyn, by: 80 %, before: equilibration}\n", "S", [0, 60])
    over = course("      - {overexpress: ksyn, fold: 10, before: equilibration}\n", "S", [0, 60])
    assert down == pytest.approx([4, 4], rel=1e-8)
    assert over == pytest.approx([200, 200], rel=1e-8)


def test_knock_out_at_a_time_decays_from_there() -> None:
    times = [0.0, 10.0, 30.0]
    assert course("      - {knock-out: ksyn, at: 0 min}\n", "S", times) == pytest.approx(
        [20 * math.exp(-0.1 * t) for t in times], rel=1e-7
    )


def test_scale_of_a_rate() -> None:
    """S relaxes from ksyn/k to ksyn/(2k) with 2k."""
    got = course("      - {scale: k, by: 2, at: 0 min}\n", "S", [0, 5, 60])
    assert got == pytest.approx([10 + 10 * math.exp(-0.2 * t) for t in (0, 5, 60)], rel=1e-7)


def test_repeated_bolus_adds_up() -> None:
    """Three boluses of 5 nM, 20 min apart, each lost with k: their decays add up."""
    got = course("      - {bolus: D, dose: 5 nM, at: 0 min, every: 20 min, times: 3}\n", "D", [-10, 0, 19, 20, 40, 60])
    expected = [sum(5 * math.exp(-0.1 * (t - s)) for s in (0, 20, 40) if s <= t) for t in (-10, 0, 19, 20, 40, 60)]
    assert got == pytest.approx(expected, rel=1e-7)


def test_hold_until_and_in_pulses() -> None:
    until = course("      - {hold: level, dose: 2 nM, at: -5 min, until: 30 min}\n", "held", [-10, -5, 0, 29, 30, 60])
    assert until.tolist() == [0, 6, 6, 6, 0, 0]
    pulses = "      - {hold: level, dose: 2 nM, at: 0 min, lasting: 5 min, every: 10 min, times: 3}\n"
    assert course(pulses, "held", [0, 4, 5, 9, 10, 15, 20, 25, 30]).tolist() == [6, 6, 0, 0, 6, 0, 6, 0, 0]


def test_pulses_without_gap_are_one() -> None:
    """Where one pulse ends the next begins: the end must not win."""
    pulses = "      - {hold: level, dose: 2 nM, at: 0 min, lasting: 10 min, every: 10 min, times: 3}\n"
    assert course(pulses, "held", [0, 10, 20, 29, 30]).tolist() == [6, 6, 6, 6, 0]


def test_wash_out_ends_a_hold() -> None:
    changes = "      - {hold: level, dose: 2 uM, at: 0 h}\n      - {wash-out: level, at: 0.5 h}\n"
    assert course(changes, "held", [0, 29, 30, 60]).tolist() == [6000, 6000, 0, 0]


def test_parameters_of_an_arm_come_before_equilibration() -> None:
    text = f"{TURNOVER}  - treatment: t\n    parameters: {{ksyn: 4 nM/min}}\n"
    scenario = Scenario.from_file(YamlFile.parse(text, name="t.yaml", folder=Path()))
    (arm,) = scenario.arms()
    assert arm.before_equilibration == (Perturbation(-10.0, "cell.ksyn", 4.0, "set"),)
    assert trajectory(scenario, arm, "S", [0]) == pytest.approx([40], rel=1e-8)


def test_perturbations_are_sorted_and_keep_the_order_of_the_file_at_one_time() -> None:
    _, before, later = only_arm(
        "      - {set: level, to: 1 nM, at: 10 min}\n      - {set: level, to: 2 nM, at: 0 min}\n"
        "      - {scale: level, by: 3, at: 10 min}\n      - {knock-out: ksyn, before: equilibration}\n"
    )
    assert [p.target for p in before] == ["cell.ksyn"]
    assert [(p.time, p.operation) for p in later] == [(0.0, "set"), (10.0, "set"), (10.0, "scale")]


@pytest.mark.parametrize("name", ["receptor_dimerisation"])
def test_names_of_a_library_scenario_are_in_its_model(name: str) -> None:
    scenario = Scenario.load(name)
    targets, readable = names_of(scenario)
    assert model_problems(scenario, {"cell": Known(targets, readable)}) == []


def test_dimerisation_example_keeps_its_receptors() -> None:
    """All receptors, free or not, are made with ksyn and lost with kdeg: ksyn / kdeg of them in every arm, always."""
    scenario = Scenario.load("receptor_dimerisation")
    for arm in scenario.arms():
        share = 0.2 if "knock-down" in arm.treatment else 0.0 if "knock-out" in arm.treatment else 1.0
        total = share * (10.0 if arm.cell_line == "normal" else 100.0)
        assert trajectory(scenario, arm, "total", [-60, 30, 240]) == pytest.approx([total] * 3, rel=1e-6, abs=1e-9)
