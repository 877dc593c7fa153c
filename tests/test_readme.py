"""The README's commands, run as a reader would type them, one after the other in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README, JAPANESE = (ROOT / name for name in ("README.md", "README.ja.md"))


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of one language, in the page's order."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def commands(page: Path) -> list[str]:
    """Every line of the console blocks."""
    return [line for block in blocks(page, "console") for line in block.splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_commands_of_the_readme_run_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}  # Open MPI asks root twice

    def typed(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **root}, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    for command in commands(README):
        if "mpiexec" in command and not (Path(sys.prefix) / "bin" / "mpiexec").exists():
            continue  # the system's own MPI is not called this way
        typed(*command.split())
    for script in blocks(README, "python"):
        low, middle, high = (float(word) for word in typed(sys.executable, "-c", script).strip(" []\n").split())
        assert low < middle < high
    for result in ("gastric_met_resistance", "my_twin", "receptor_dimerisation"):
        assert (tmp_path / "results" / f"{result}.zarr" / "zarr.json").is_file()
        assert (tmp_path / "results" / f"{result}.html").is_file()


def test_both_languages_give_the_same_commands() -> None:
    assert set(commands(JAPANESE)) <= set(commands(README))


@pytest.mark.parametrize("page", [README, JAPANESE], ids=["English", "Japanese"])
def test_links_of_the_readme_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_yaml_of_the_readme_is_in_the_starter() -> None:
    """The README's example is what `twin new` writes, word for word."""
    from scenarios.template import STARTER

    (example,) = blocks(README, "yaml")
    starter = STARTER.replace("{{", "{").replace("}}", "}")
    assert example.rstrip() in starter
