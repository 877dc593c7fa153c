"""`twin bench coupling`: what it measures is there, positive, and written as it is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mpi_launch import needs_mpiexec
from typer.testing import CliRunner

from scenarios.cli import app


@needs_mpiexec
@pytest.mark.slow
def test_everything_is_measured_and_written(tmp_path: Path) -> None:
    path = tmp_path / "coupling.json"
    done = CliRunner().invoke(app, ["bench", "coupling", "--repeats", "1", "--json", str(path)])
    assert done.exit_code == 0, done.output
    found = json.loads(path.read_text())
    assert found["schema"] == 2
    assert found["scalar"]["us_per_bare_step"] > 0
    assert found["batched"]["values_per_s"] > 1e6  # a floor that a busy machine keeps, too
    for row, members in zip(found["remote"], (1, 100, 1000, 6000, 60_000), strict=True):
        assert 8 * members <= row["bytes"] <= 8 * members + 64  # one array there; two come back
        assert 16 * members <= row["bytes_back"] <= 16 * members + 64
    assert all(row["step_us"] > row["here_us"] > 0 and row["bare_us"] > 0 for row in found["remote"])
    assert "µs per exchange beyond a bare step" in done.output


@pytest.mark.parametrize("what", ["coupling", "faults", "scaling"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(what: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(app, ["bench", what, "--json", str(tmp_path / "file" / "found.json")])
    assert done.exit_code == 2
    assert "cannot be written" in done.output
