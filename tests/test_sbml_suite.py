"""The shared cases of the SBML Test Suite, a part of them: every tag of the suite's index at least once.

The whole is run by `twin bench sbml`.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from simulators.reaction.suite_case import SuiteCase, cases
from tests.shared_data import shared
from twin.errors import InputError

_EVERY = 6


def _chosen(root: Path) -> list[Path]:
    """Every sixth time course, and the first of every tag."""
    with (root / "index.tsv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["suite"] == "semantic"]
    seen: set[str] = set()
    found: list[Path] = []
    for i, row in enumerate(rows):
        tags = {t.strip() for k in ("componentTags", "testTags") for t in row[k].split(",")}
        new = not tags <= seen and "RandomEventExecution" not in tags  # those take half a minute each
        if (i % _EVERY == 0 and "RandomEventExecution" not in tags) or new:
            found.append(root / "semantic" / row["case"])
            seen |= tags
    return found


@pytest.mark.slow
def test_every_case_passes_or_is_refused_by_name():
    chosen = _chosen(shared("sbml"))
    outcomes = {case.name: SuiteCase.read(case).run() for case in chosen}
    failing = {name: outcome.reason for name, outcome in outcomes.items() if outcome.result == "fails"}
    assert not failing
    refused = [outcome for outcome in outcomes.values() if outcome.result == "refused"]
    assert all(outcome.feature and outcome.reason for outcome in refused)
    assert len(refused) <= 0.02 * len(chosen) + 3


def test_the_command_writes_every_case(tmp_path: Path):
    root = shared("sbml", "semantic")
    few = tmp_path / "few"
    few.mkdir()
    for name in ("00001", "00026"):
        if (root / name).is_dir():
            (few / name).symlink_to(root / name)
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "scenarios.cli", "bench", "sbml", str(few), "--json", str(out), "--processes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(out.read_text())
    assert set(written) == {"schema", "benchmark", "version", "machine", "seconds", "counts", "cases"}
    assert {case["result"] for case in written["cases"]} == {"passes"}
    assert set(written["cases"][0]) >= {"suite", "case", "result", "reason", "feature", "engine", "worst", "seconds"}


def test_a_folder_without_cases_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no cases of the SBML Test Suite"):
        cases(tmp_path)
