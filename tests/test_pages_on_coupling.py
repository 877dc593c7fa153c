"""docs/coupling.md, closures.md and faults.md: every program on them runs as it stands, and does what the page says of it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import mpi_launch
import numpy as np
import pytest
from mpi_launch import ROOT, needs_mpiexec
from test_readme import blocks

from coupling.neural import Lesson, NeuralLaw

COUPLING, CLOSURES, FAULTS = (ROOT / "docs" / name for name in ("coupling.md", "closures.md", "faults.md"))
PATCH, CACHED, CLOSURE, PLACED = range(4)  # programs of closures.md, in its order


@pytest.fixture(autouse=True)
def _beside_patch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with `patch.py`, as the page of closures has it."""
    (tmp_path / "patch.py").write_text(blocks(CLOSURES, "python")[PATCH], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def run(program: str) -> dict[str, Any]:
    """A program's names when it is done."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(program, "page", "exec"), names)
    return names


def test_every_program_has_its_test() -> None:
    assert [len(blocks(page, "python")) for page in (COUPLING, CLOSURES, FAULTS)] == [1, 4, 1]


def test_the_page_of_coupling() -> None:
    """Two masses and springs: x = (cos ω₁t + cos ω₂t) / 2, with ω₁² = 197 - 158 and ω₂² = 197 + 158; 1e-3 is the windows' tolerance."""
    (program,) = blocks(COUPLING, "python")
    found = run(program)["found"]
    times = np.array([0.25, 0.5, 1.0])
    exact = (np.cos(np.sqrt(39.0) * times) + np.cos(np.sqrt(355.0) * times)) / 2
    np.testing.assert_allclose(found["left.x"].values[0], exact, atol=1e-3)
    assert found["coupling_residual"].dims == ("member", "conduit")
    assert found["coupling_windows"].dims == ("member",)


def test_the_page_of_closures_asks_seldom() -> None:
    evaluations = run(blocks(CLOSURES, "python")[CACHED])["found"]["patch.evaluations"].values
    assert (evaluations[:, -1] < 120 / 3).all()
    assert (evaluations[:, -1] > 10).all()


@pytest.mark.slow
def test_the_page_of_closures_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's program, but that its lesson has 2 epochs in place of 200."""
    taught = NeuralLaw.fit
    monkeypatch.setattr(NeuralLaw, "fit", lambda courses, seed: taught(courses, seed=seed, lesson=Lesson(epochs=2)))
    names = run(blocks(CLOSURES, "python")[CLOSURE])
    assert names["micro"].clock == "micro"
    assert np.isfinite(names["horizon"].errors).all()


@needs_mpiexec
@pytest.mark.slow
def test_the_page_of_closures_on_ranks(tmp_path: Path) -> None:
    """On three ranks, and where nothing is placed elsewhere, on one: the same digits."""
    program = blocks(CLOSURES, "python")[PLACED]
    (tmp_path / "placed.py").write_text(program, encoding="utf-8")
    paths = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    done = mpi_launch.run(3, str(tmp_path / "placed.py"), **paths)
    assert done.returncode == 0, done.stderr
    alone = run(program.replace('["patch=1-2", "drug=0"]', '["drug=0"]'))["found"]["patch.bound"].values[:, -1]
    assert done.stdout == f"{alone}\n"


def test_the_page_of_faults_leaves_nothing_when_it_is_done(tmp_path: Path) -> None:
    (program,) = blocks(FAULTS, "python")
    found = run(program)["found"]
    times = np.array([0.5, 1.0])
    exact = (np.cos(np.sqrt(39.0) * times) + np.cos(np.sqrt(355.0) * times)) / 2
    np.testing.assert_allclose(found["left.x"].values[0], exact, atol=1e-5)
    assert not list(tmp_path.glob("masses.checkpoint*"))


def test_programs_import_only_what_users_have() -> None:
    """No module of the tests."""
    for page in (COUPLING, CLOSURES, FAULTS):
        for program in blocks(page, "python"):
            for node in ast.walk(ast.parse(program)):
                if isinstance(node, ast.ImportFrom) and node.module is not None:
                    own = {"coupling", "hpc", "simulators", "twin", "patch", "dataclasses"}
                    assert node.module.partition(".")[0] in own, node.module
