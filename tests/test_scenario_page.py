"""docs/scenario.md says what the code does: every key is on it, and its changes are changes."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import TypeAdapter

from scenarios.build import build
from scenarios.change import Reading
from scenarios.dose import KINDS, AnyChange
from scenarios.scenario import Scenario
from scenarios.schema import schema
from scenarios.yaml_file import YamlFile

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "scenario.md").read_text(encoding="utf-8")


def test_every_key_is_on_the_page() -> None:
    words = set(re.findall(r"[A-Za-z0-9_-]+", PAGE))
    known = schema()
    keys = set(known["properties"]) | {key for part in known["$defs"].values() for key in part.get("properties", {})}
    assert keys - words == set()


def test_the_changes_of_the_page_are_changes_of_every_kind() -> None:
    block, _ = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    data = YamlFile.parse(f"changes:\n{block}", name="page", folder=Path()).data
    changes = TypeAdapter(tuple[AnyChange, ...]).validate_python(data["changes"])
    assert {change.verb for change in changes} == set(KINDS)
    reading = Reading(units={"L": "nM"}, start=-10.0, end=240.0)
    assert all(change.perturbations(reading) for change in changes)


def test_the_coupled_scenario_of_the_page_fits_its_models() -> None:
    _, text = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    built = build(Scenario.from_file(YamlFile.parse(text, name="page", folder=Path())))
    assert built.cast is not None
    assert list(built.cast.simulators("cell", {})) == ["surface"]
