"""The forms of what `twin bench … --json` writes: documented, versioned, and strict enough to notice a broken file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_ensemble_race import problem
from typer.testing import CliRunner

from scenarios.cli import app
from scenarios.commands import ensemble_race, sbml_suite
from simulators.reaction.suite_case import Outcome
from twin.errors import InputError, UnsupportedFeature

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
    {"suite": "stochastic", "case": "00001", "result": "passes", "reason": "deviation of X: 1", "feature": "",
     "engine": "stochastic", "worst": 0.9, "seconds": 2.0, "outside": 1, "points": 100, "repeats": 1000},
]  # fmt: skip


def test_outcomes_of_the_suite_have_their_form(tmp_path: Path) -> None:
    sbml_suite.write(tmp_path / "suite.json", OUTCOMES, 0.03)
    written = strictly((tmp_path / "suite.json").read_text())
    validator("bench_sbml").validate(written)
    assert written["counts"]["semantic"] == {"passes": 0, "refused": 1, "fails": 1}
    assert [case["worst"] for case in written["cases"]] == [0.25, None, None, 0.9]


def test_an_outcome_has_the_fields_of_its_form_and_no_others() -> None:
    known = json.loads((SCHEMAS / "bench_sbml.schema.json").read_text(encoding="utf-8"))["$defs"]["case"]["properties"]
    assert {field.name for field in fields(Outcome)} | {"suite", "case", "type", "tags"} == set(known)


@pytest.fixture(scope="module")
def sensitivities(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("sensitivities")
    (folder / "decay.ant").write_text("A -> B; k*A; A = 3; B = 0; k = 0.7")
    (folder / "still.ant").write_text("$A -> ; k*A; A = 3; k = 0.7")
    paths, out = [str(folder / name) for name in ("decay.ant", "still.ant")], folder / "found.json"
    options = ["--members", "2", "--repeats", "1", "--until", "4", "--json", str(out)]
    answer = CliRunner().invoke(app, ["bench", "sensitivities", *paths, *options])
    assert answer.exit_code == 0, answer.output
    return strictly(out.read_text())


def test_sensitivities_have_their_form_also_where_nothing_can_be_judged(sensitivities: Any) -> None:
    validator("bench_sensitivities").validate(sensitivities)
    decay, still = sensitivities["models"]
    # of k and both starts, B's among them, which is 0; B's start does not move A
    assert [decay[key] for key in ("end", "pairs", "zeros", "false_zeros")] == [4.0, 6, 1, 0]
    assert decay["pairs_judged"] == 5
    assert decay["difference"] < 1e-5
    assert [still[key] for key in ("pairs_judged", "difference", "worst_pair", "zeros")] == [0, None, None, 1]


def test_broken_sensitivities_are_noticed(sensitivities: Any) -> None:
    for key, value, message in (("ratio", "much", "is not of type 'number'"), ("other", 1, "'other' was unexpected")):
        broken = copy.deepcopy(sensitivities)
        broken["models"][0][key] = value
        with pytest.raises(jsonschema.ValidationError, match=message):
            validator("bench_sensitivities").validate(broken)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sensitivities", "DECAY", "missing.xml"], "missing.xml"),
        (["sensitivities", "DECAY", "DELAY"], "not carried through delays"),
        (["sensitivities", "DECAY", "--rtol", "2"], "expected a relative tolerance"),
        (["sensitivities", "DECAY", "--until", "0"], "expected an end after 0"),
        (["sensitivities", "DECAY", "--parameters", "0", "--initial", "0"], "no parameter and no initial value"),
        (["petab", "missing.yaml"], "missing.yaml"),
        (["petab", "missing.yaml", "--rtol", "-1"], "expected a relative tolerance"),
    ],
)
def test_benches_refuse_what_they_are_given_before_they_print_a_table(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "decay.ant").write_text("A -> B; k*A; A = 3; B = 0; k = 0.7")
    (tmp_path / "delay.ant").write_text("x' = -k*delay(x, 1); x = 1; k = 1")
    known = {"DECAY": str(tmp_path / "decay.ant"), "DELAY": str(tmp_path / "delay.ant")}
    answer = CliRunner().invoke(app, ["bench", *(known.get(word, word) for word in arguments)])
    assert answer.exit_code != 0
    assert not answer.stdout
    assert isinstance(answer.exception, InputError | UnsupportedFeature)
    assert message in str(answer.exception)


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


def test_the_pages_on_benches_say_where_the_forms_are() -> None:
    for page, name in (
        ("performance.md", "bench_ensemble"),
        ("sbml_suite.md", "bench_sbml"),
        ("sensitivities.md", "bench_sensitivities"),
    ):
        assert f"schemas/{name}.schema.json" in (SCHEMAS.parent / page).read_text(encoding="utf-8")
