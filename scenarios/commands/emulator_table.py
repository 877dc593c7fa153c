"""`twin bench emulator`: what a scenario's checkpoint states of its emulator, at several tolerances, beside simple rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scenarios.build import build
from scenarios.emulation import emulator_card
from scenarios.scenario import Scenario
from twin.errors import InputError

_TOLERANCES = (0.02, 0.03, 0.05, 0.075, 0.1, 0.15)


def lines(scenario: str | Path) -> Iterator[str]:
    """The lines of the table.

    Raises:
        InputError: the scenario names no emulator, or one that is damaged or another scenario's.
    """
    asked = Scenario.load(scenario)
    emulator = emulator_card(build(asked))
    if emulator is None:
        raise InputError(f"{scenario} names no emulator; train one with `twin train {scenario} --out …`.")
    report = emulator.report
    yield f"{asked.name}: errors in spans of a readout, largest over times and readouts; {dict(report.cells)} cells"
    yield f"{'':22} {'median':>8} {'90 %':>8} {'99 %':>8} {'within ' + format(report.tolerance, '.0%'):>12}"
    summary = report.summary()
    rows = {"emulator": {**summary["error"], "within": summary["within"]}, **summary["baselines"]}
    for name, row in rows.items():
        yield f"{name:22} {row['q50']:8.3f} {row['q90']:8.3f} {row['q99']:8.3f} {row['within']:12.0%}"
    yield f"one course: mechanism {report.mechanism_ms:.2g} ms, emulator {report.emulator_ms:.2g} ms"
    yield f"{'tolerance':>9} {'vouched':>8} {'wrong':>7} {'at most':>8} {'speed-up':>9}"
    for tolerance in _TOLERANCES:
        told = emulator.with_tolerance(tolerance).report
        at_most = f"{told.calibration_limit:.1%}" if told.coverage else "-"
        yield f"{tolerance:9.1%} {told.coverage:8.0%} {told.share_wrong:7.1%} {at_most:>8} {told.speed_up:9.2f}"
    yield report.sentence
