"""The forms of what `twin bench … --json` writes: documented, versioned, and strict enough to notice a broken file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_ensemble_race import problem
from typer.testing import CliRunner

from scenarios.cli import app
from scenarios.commands import ensemble_race, sbml_suite

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def strictly(text: str) -> Any:
    """JSON as other programs read it: no NaN, no Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("race")
    out = folder / "race.json"
    arguments = ["bench", "ensemble", str(problem(folder)), "--seconds", "0.02", "--repeats", "1", "--json", str(out)]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    return strictly(out.read_text())


def test_a_race_has_its_form(race: Any) -> None:
    validator("bench_ensemble").validate(race)
    assert race["models"][0]["engines"]["roadrunner"]["stated"]["ratio"] > 0


def test_a_race_in_which_engines_fail_has_the_same_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, race: Any
) -> None:
    """One engine cannot be made ready in time: its preparation is unknown, and the file is still JSON."""
    settings = ensemble_race.Settings(seconds=0.02, repeats=1, limit_s=0.0)
    found = ensemble_race.run([problem(tmp_path)], settings, report=lambda _: None)
    ensemble_race.write(tmp_path / "race.json", found)
    written = strictly((tmp_path / "race.json").read_text())
    validator("bench_ensemble").validate(written)
    engine = written["models"][0]["engines"]["roadrunner"]
    assert (engine["fault"], engine["preparation_s"]) == ("time", None)
    assert written["geometric_mean"] == {}


OUTCOMES = [
    {"suite": "semantic", "case": "00001", "type": "TimeCourse", "tags": ["Compartment"], "result": "passes",
     "reason": "", "feature": "", "engine": "ensemble", "worst": 0.25, "seconds": 0.01},
    {"suite": "semantic", "case": "00002", "result": "refused", "reason": "delay of a delay: …", "feature": "delay",
     "engine": "", "worst": float("nan"), "seconds": 0.01},
    {"suite": "semantic", "case": "00003", "result": "fails", "reason": "S1 is off", "feature": "",
     "engine": "ensemble", "worst": float("inf"), "seconds": 0.01},
]  # fmt: skip


def test_outcomes_of_the_suite_have_their_form(tmp_path: Path) -> None:
    sbml_suite.write(tmp_path / "suite.json", OUTCOMES, 0.03)
    written = strictly((tmp_path / "suite.json").read_text())
    validator("bench_sbml").validate(written)
    assert written["counts"]["semantic"] == {"passes": 0, "refused": 1, "fails": 1}
    assert [case["worst"] for case in written["cases"]] == [0.25, None, None]


def _without(key: str) -> Callable[[Any], None]:
    return lambda found: found.pop(key)


BROKEN: list[tuple[str, Callable[[Any], Any], str]] = [
    ("no version", _without("schema"), "'schema' is a required property"),
    ("another version", lambda f: f.update(schema=2), "1 was expected"),
    ("no models", _without("models"), "'models' is a required property"),
    ("a speed in words", lambda f: f["models"][0]["engines"]["kakehashi"]["laps"][0].update(members_per_second="fast"),
     "is not valid under any of the given schemas"),
    ("an unknown engine", lambda f: f["models"][0]["engines"].update(other=f["models"][0]["engines"]["kakehashi"]),
     "'other' is not one of"),
    ("no peer", lambda f: f["models"][0]["engines"].pop("roadrunner"), "'roadrunner' is a required property"),
]  # fmt: skip


@pytest.mark.parametrize(("_", "breaks", "message"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_what_is_broken_is_noticed(race: Any, _: str, breaks: Callable[[Any], Any], message: str) -> None:
    broken = copy.deepcopy(race)
    breaks(broken)
    with pytest.raises(jsonschema.ValidationError, match=message):
        validator("bench_ensemble").validate(broken)


def test_a_refusal_needs_its_feature() -> None:
    broken = sbml_suite.report(OUTCOMES, 0.03)
    broken["cases"][1]["feature"] = ""
    with pytest.raises(jsonschema.ValidationError, match=r"'' (is too short|should be non-empty)"):
        validator("bench_sbml").validate(broken)


def test_the_page_on_performance_and_that_on_the_suite_say_where_the_forms_are() -> None:
    for page, name in (("performance.md", "bench_ensemble"), ("sbml_suite.md", "bench_sbml")):
        assert f"schemas/{name}.schema.json" in (SCHEMAS.parent / page).read_text(encoding="utf-8")
