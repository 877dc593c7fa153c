"""Bad input: each is refused with what, where, what was expected and the cure; never with a traceback."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios import job
from scenarios.build import build
from scenarios.model_consistency import Known, model_problems
from scenarios.problem import refusal
from scenarios.scenario import Scenario
from scenarios.template import STARTER
from scenarios.yaml_file import YamlFile
from twin.errors import InputError

TEXT = STARTER.format(name="demo", file="demo.yaml")
DOSE = "dose: 10 nM, at: 0 min, until: 60 min"  # first on line 50, in arms[1].changes[0]


def read(text: str, folder: Path = Path()) -> Scenario:
    return Scenario.from_file(YamlFile.parse(text, name="demo.yaml", folder=folder))


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


CASES: dict[str, tuple[str, str, str]] = {
    # name: (what stands in the starter, what is written instead, what the refusal says)
    "unknown key": ("members: 20", "membrs: 20", r"membrs: unknown key 'membrs'; did you mean 'members'\?"),
    "unknown key inside": ("  equilibrate:", "  equlibrate:", r"cell\.equlibrate: unknown key .* did you mean 'equilibrate'"),
    "unknown kind of spread": ("{lognormal: {", "{lognorm: {", r"parameters\.ksyn\.lognorm: unknown key .* did you mean 'lognormal'"),
    "unit of another dimension": (DOSE, DOSE.replace("nM", "ml"), r"arms\[1\]\.changes\[0\]\.dose: L: '10 ml': 'ml' cannot become nM; expected .* '5 nM'"),
    "unit missing": (DOSE, DOSE.replace(" nM", ""), r"arms\[1\]\.changes\[0\]\.dose: L: 10 has no unit; expected a number with a unit that fits nM"),
    "unit unknown": (DOSE, DOSE.replace("nM", "nanomol_s"), r"\.dose: L: '10 nanomol_s': 'nanomol_s' is not a unit that we know"),
    "unit where none is": ("{set: kdeg", "{set: kdeg", ""),
    "time without unit": (DOSE, DOSE.replace("0 min,", "0,"), r"changes\[0\]\.at: 0 has no unit; expected a number with a unit that fits min"),
    "time in other units": (DOSE, DOSE.replace("0 min,", "0 nM,"), r"changes\[0\]\.at: '0 nM': 'nM' cannot become min"),
    "time outside the arm": (DOSE, DOSE.replace("60 min", "600 min"), r"\.until: 600 min lies outside the arm, which runs from -30 to 240 min"),
    "end before dose": (DOSE, DOSE.replace("until: 60 min", "until: -5 min"), r"\.until: -5 min is not after the dose at 0 min"),
    "negative dose": (DOSE, DOSE.replace("10 nM", "-10 nM"), r"changes\[0\]\.dose: '-10 nM' is negative; a dose is 0 or more"),
    "negative dose in a series": ("[1 nM, 10", "[-1 nM, 10", r"arms\[2\]\.doses\[0\]: '-1 nM' is negative"),
    "NaN": ("{ksyn: 0.1 nM/min}", "{ksyn: .nan}", r"cell_lines\.wild type\.ksyn: nan is not a finite number"),
    "NaN with a unit": ("{ksyn: 0.1 nM/min}", "{ksyn: nan nM/min}", r"'nan nM/min' is not a number with a unit"),
    "infinite": ("cv: 30 %", "cv: .inf", r"lognormal\.cv: inf is not a finite number"),
    "infinite by overflow": (DOSE, DOSE.replace("10 nM", "1e999 nM"), r"'1e999 nM' is not a finite number"),
    "unit that is a programme": (DOSE, DOSE.replace("10 nM", "9**9**9**9 nM"), r"'9\*\*9\*\*9\*\*9 nM' is not a number with a unit"),
    "unit to a huge power": (DOSE, DOSE.replace("10 nM", "10 nM**99999"), r"is not a number with a unit"),
    "text for a number": ("members: 20", "members: many", r"members: found 'many'; expected a whole number"),
    "quoted number": ("members: 20", 'members: "20"', r"members: found '20'; expected a whole number"),
    "fraction of a member": ("members: 20", "members: 20.5", r"members: found 20.5; expected a whole number"),
    "no members": ("members: 20", "members: 0", r"members: found 0; expected greater than or equal to 1"),
    "nothing": ("members: 20", "members:", r"members: nothing stands here; expected virtual cells per line"),
    "yes for true": ("equilibrate: true", "equilibrate: yes", r"cell\.equilibrate: found 'yes'; expected true or false"),
    "number for a name": ("treatment: no ligand", "treatment: 5", r"arms\[0\]\.treatment: found 5; expected text\. Put it in quotes"),
    "name with a space": ("name: demo", "name: my demo", r"name: found 'my demo'; expected a short word"),
    "unknown role": ("role: vehicle", "role: vehicel", r"arms\[1\]\.role: found 'vehicel'; did you mean 'vehicle'\?"),
    "missing key": ("end: 4 h, ", "", r"time\.end: this key is missing; add `end: …` \(e\.g\. 240 min\)"),
    "times out of order": ("end: 4 h", "end: -40 min", r"time\.end: end -40 min does not come after start -30 min"),
    "step of nothing": ("every: 10 min}", "every: 0 min}", r"time\.every: 0 min: expected a step above 0 min"),
    "sample outside": ("every: 10 min}", "samples: [5 h]}", r"time\.samples\[0\]: 5 h lies outside -30 min … 4 h"),
    "model twice": ("  antimony: |", "  model: no.xml\n  antimony: |", r"cell: expected either `model: <file>` or `antimony: \|`"),
    "a value for a list": ("changes:\n      - {hold: L, dose: 10", "changes: hold\n    #- {hold: L, dose: 10", r"arms\[1\]\.changes: found 'hold'; expected a list"),
    "unknown change": ("- {knock-down: ksyn", "- {knock_down: ksyn", r"arms\[3\]\.changes\[0\]: not a change that we know; expected one of the keys set, scale, .*'knock_down': did you mean 'knock-down'"),
    "two changes in one": ("- {knock-down: ksyn", "- {knock-out: ksyn, knock-down: ksyn", r"two changes in one entry \(knock-out, knock-down\)"),
    "neither at nor before": ("by: 80 %, before: equilibration", "by: 80 %", r"arms\[3\]\.changes\[0\]: expected either `at: <time>`.* or `before: equilibration`"),
    "before what is not done": ("equilibrate: true ", "equilibrate: false ", r"\.before: nothing is equilibrated here \(cell\.equilibrate is false\)"),
    "knock-down by 8000 %": ("by: 80 %", "by: 80", r"\.by: 80\.?0?: expected the share removed, above 0 % and up to 100 %"),
    "overexpressed down": ("knock-down: ksyn, by: 80 %", "overexpress: ksyn, fold: 0.5", r"\.fold: 0\.5: expected 1 or more; for less write `knock-down:`"),
    "scaled below nothing": ("knock-down: ksyn, by: 80 %", "scale: ksyn, by: -1", r"\.by: -1\.?0? is negative; expected a factor of 0 or more"),
    "repeat without times": (DOSE, f"{DOSE}, every: 10 min", r"a repeated dose needs both `every: <time>` and `times: <number>`"),
    "repeated hold without length": (DOSE, "dose: 1 nM, at: 0 min, every: 10 min, times: 3", r"a repeated hold needs `lasting: <time>`"),
    "too many doses": (DOSE, "dose: 1 nM, at: 0 min, every: 1 h, times: 30, lasting: 1 min", r"\.times: the last of 30 doses comes at 1740 min, after the end"),
    "range without points": ("[1 nM, 10 nM, 100 nM]", "{from: 1 nM, to: 1 uM}", r"arms\[2\]\.doses\.points: this key is missing"),
    "range from nothing": ("[1 nM, 10 nM, 100 nM]", "{from: 0 nM, to: 1 uM, points: 3}", r"arms\[2\]\.doses: .*expected 0 < from < to"),
    "one dose for a list": ("[1 nM, 10 nM, 100 nM]", "1 nM", r"arms\[2\]\.doses: expected a list such as \[1 nM, 10 nM\]"),
    "doses that nobody gives": ("dose: each", "dose: 5 nM", r"arms\[2\]\.doses: no change uses them; write `dose: each`"),
    "a dose of no series": (DOSE, DOSE.replace("10 nM", "each"), r"changes\[0\]\.dose: 'each' stands for the doses of an arm with `doses:`"),
    "compound of no list": (DOSE, f"{DOSE}}}\n      - {{hold: compound, dose: 1 nM, at: 0 min", r"changes\[1\]\.hold: 'compound' stands for the compound of an arm"),
    "compounds of no list": ("doses: [1 nM", "compounds: all\n    doses: [1 nM", r"arms\[2\]\.compounds: the scenario lists no compounds"),
    "bounds out of order": ("[0.01 1/min, 0.2 1/min]", "[0.2 1/min, 0.01 1/min]", r"koff\.loguniform: .*expected low < high"),
    "two spreads": ("{cv: 30 %}", "{cv: 30 %, decades: 1}", r"ksyn\.lognormal: expected one spread of 0 or more"),
    "correlation of a stranger": ("  module:\n", "    correlate: [[ksyn, kdeg, 0.4]]\n  module:\n", r"uncertainty\.cell-to-cell\.correlate\[0\]\[1\]: 'kdeg' is not drawn in this group"),
    "unknown cell line": ("role: control", "role: control\n    cell_line: wild-type", r"arms\[0\]\.cell_line: unknown cell line 'wild-type'; did you mean 'wild type'\?"),
    "dose twice": ("[1 nM, 10 nM, 100 nM]", "[1 nM, 1 nM]", r"arms\[2\]: makes the arm 'wild type \| ligand, dose series, 1 nM' twice"),
    "endless range": ("[1 nM, 10 nM, 100 nM]", "{from: 1 nM, to: 1 uM, points: 100000000}", r"arms\[2\]\.doses\.points: found 100000000; expected less than or equal to 1000"),
    "name of the result": ("  P: {label: signal", "  time: {label: signal", r"readouts\.time: 'time' is a name of the result itself"),
    "name that is no variable": ("  P: {label: signal", "  P/Q: {label: signal", r"readouts\.P/Q: found 'P/Q'; expected a short word"),
    "arm twice": ("treatment: ligand + receptor knock-down", "treatment: ligand", r"arms\[3\]: makes an arm 'wild type \| ligand', and so does arms\[1\]"),
    "unit of a readout": ("label: signal, units: nM", "label: signal, units: nMM", r"readouts\.P\.units: 'nMM' is not a unit"),
    "unit of a name": ("{L: nM,", "{L: nMM,", r"cell\.units\.L: 'nMM' is not a unit"),
    "missing model file": ("  antimony: |\n", "  model: cel.ant\n  x: |\n", r"cell\.x: unknown key"),
    "key twice": ("seed: 1 ", "name: x\nseed: 1 ", r"demo\.yaml:6: key 'name' is given twice \(first on line 3\)"),
    "tab": ("members: 20", "\tmembers: 20", r"demo\.yaml:7: this is not YAML: .*indent with spaces, not tabs"),
    "open bracket": ("title: How", "title: [How", r"this is not YAML"),
    "python tag": ("members: 20", "members: !!python/object:os.system 20", r"demo\.yaml:7: tag .* is not allowed"),
    "two documents": ("members: 20", "members: 20\n---\nx: 1", r"holds several YAML documents"),
    "unknown alias": ("members: 20", "members: *many", r"undefined alias 'many'"),
}  # fmt: skip
CASES.pop("unit where none is")


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused(case: str) -> None:
    old, new, says = CASES[case]
    assert old in TEXT
    with pytest.raises(InputError, match=says):
        read(TEXT.replace(old, new, 1))


def test_line_and_key_path_are_those_of_the_mistake() -> None:
    with pytest.raises(InputError) as refused:
        read(TEXT.replace(DOSE, DOSE.replace("nM", "ml"), 1))
    assert f"demo.yaml:{line_of(TEXT, DOSE)}: arms[1].changes[0].dose: " in str(refused.value)


def test_several_mistakes_are_told_together_in_the_order_of_the_file() -> None:
    text = (
        TEXT.replace("members: 20", "membrs: 20")
        .replace("role: vehicle", "role: vehicel")
        .replace("seed: 1 ", "seed: x ")
    )
    with pytest.raises(InputError) as refused:
        read(text)
    lines = str(refused.value).splitlines()
    assert lines[0] == "3 problems in demo.yaml"
    assert [line.split(":")[2].strip() for line in lines[1:]] == ["seed", "membrs", "arms[1].role"]


def test_mistakes_between_parts_are_told_together() -> None:
    text = TEXT.replace(DOSE, DOSE.replace("10 nM", "-10 nM"), 1).replace("by: 80 %", "by: 120 %")
    with pytest.raises(InputError, match=r"(?s)2 problems.*arms\[1\].*negative.*arms\[3\].*120 %"):
        read(text)


def test_value_with_a_unit_for_a_name_without_says_where_units_go() -> None:
    text = TEXT.replace("{knock-down: ksyn, by: 80 %", "{set: kdeg, to: 0.1 1/min")
    with pytest.raises(
        InputError, match=r"\.to: kdeg: '0\.1 1/min': .* give it one under cell\.units, e\.g\. `kdeg: uM`"
    ):
        read(text)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty; expected a scenario"),
        (b"# only a remark\n", "the file is empty"),
        (b"- a\n- b\n", "not a scenario: expected keys such as"),
        (b"just words\n", "not a scenario: expected keys such as"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "is not UTF-8 text"),
        (b"name: \xff\n", r"bad\.yaml:1: byte 0xff is not UTF-8"),
        (b"a: &a [*a]\n", "an alias that holds itself"),
        (b"{}\n", "name: this key is missing"),
        (("a: " + "[" * 5000).encode(), "not YAML|too deeply|levels"),
    ],
)
def test_files_that_are_no_scenario(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        Scenario.load(path)


def test_aliases_that_multiply_are_refused() -> None:
    """Nine levels of ten: a billion values from a few lines."""
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    with pytest.raises(InputError, match="more than 200000 values"):
        read(text)


def test_missing_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"mine\.yaml: there is no such file; .*`twin new NAME`"):
        Scenario.load("mine.yaml")
    with pytest.raises(
        InputError, match=r"'receptor_dimerization' is no built-in scenario; did you mean 'receptor_dimerisation'\?"
    ):
        Scenario.load("receptor_dimerization")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(InputError, match="is a folder; expected a scenario file"):
        Scenario.load("folder.yaml")
    (tmp_path / "mine.yaml").write_text(TEXT)
    with pytest.raises(InputError, match=r"here lies mine\.yaml: write `mine\.yaml` to use it"):
        Scenario.load("mine")


FILES = """\
name: s
title: t
cell: {model: cell.ant, units: {L: uM, kon: 1/(uM min), koff: 1/min}}
readouts: {R: r}
time: {start: 0 min, end: 10 min}
compounds: {table: ligands.csv, dose: L, kon: kon, koff: koff}
arms:
  - treatment: t
    compounds: all
    doses: [1 nM]
    changes: [{hold: compound, dose: each, at: 0 min}]
"""
TABLE = "compound,smiles,ic50_nM\nA,CCO,12\nB,c1ccccc1,\n"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (
            TABLE.replace("CCO", "CC(O"),
            r"ligands\.csv:2: compounds\.table: A: SMILES 'CC\(O' is malformed: it cannot be parsed",
        ),
        (TABLE.replace("c1ccccc1", "C(C)(C)(C)(C)C"), r"ligands\.csv:3: .*malformed: .*valence"),
        (TABLE.replace(",12", ",-12"), r"ligands\.csv:2: .*A: IC50 '-12 nM' is not above 0"),
        (TABLE.replace(",12", ",nan"), r"ligands\.csv:2: .*'nan nM' is not a number"),
        (TABLE.replace(",12", ",12,3"), r"ligands\.csv:2: .*4 cells in a row of 3 columns"),
        (TABLE.replace("B,", "A,"), r"ligands\.csv:3: .*compound 'A' is listed twice"),
        (TABLE.replace("smiles", "smile"), r"ligands\.csv:1: .*no column 'smiles' .*did you mean 'smile'\?"),
        ("", r"'ligands\.csv' is empty"),
    ],
)
def test_bad_tables_of_compounds(tmp_path: Path, table: str, says: str) -> None:
    (tmp_path / "cell.ant").write_text("R = 1\n")
    (tmp_path / "ligands.csv").write_text(table)
    (tmp_path / "s.yaml").write_text(FILES)
    with pytest.raises(InputError, match=says):
        Scenario.load(tmp_path / "s.yaml")


def test_bad_compounds_in_the_file_itself_and_missing_files(tmp_path: Path) -> None:
    text = FILES.replace("table: ligands.csv", "list: [{id: A, smiles: 'C1CC', ic50: 3 ml}]")
    with pytest.raises(
        InputError,
        match=r"(?s)2 problems.*cell\.model: there is no file 'cell\.ant'.*compounds\.list\[0\]\.smiles: A: SMILES 'C1CC' is malformed",
    ):
        read(text, tmp_path)
    (tmp_path / "cell.ant").write_text("R = 1\n")
    with pytest.raises(InputError, match=r"compounds\.list\[0\]\.ic50: A: IC50 '3 ml': 'ml' cannot become nM"):
        read(text.replace("C1CC", "CCC"), tmp_path)
    with pytest.raises(
        InputError, match=r"arms\[0\]\.compounds\[0\]: unknown compound 'b'; did you mean 'A'|unknown compound 'b'"
    ):
        read(text.replace("C1CC", "CCC").replace("3 ml", "3 nM").replace("compounds: all", "compounds: [b]"), tmp_path)
    with pytest.raises(InputError, match=r"compounds\.kon: 'kon' is in 1/min; expected a unit like 1/\(uM min\)"):
        read(text.replace("C1CC", "CCC").replace("3 ml", "3 nM").replace("kon: 1/(uM min)", "kon: 1/min"), tmp_path)


def test_answer_must_name_what_there_is() -> None:
    answer = (
        "answer: {readout: Q, window: [0 min, 9 h], cell_line: wild type, vehicle: ligan, positive_control: ligand}\n"
    )
    with pytest.raises(
        InputError,
        match=r"(?s)3 problems.*answer\.readout: unknown readout 'Q'.*answer\.vehicle: unknown treatment .*did you mean 'ligand'.*answer\.window: 0 min … 9 h",
    ):
        read(TEXT + answer)


def test_answer_needs_one_vehicle_and_another_control() -> None:
    answer = "answer: {readout: P, window: [0 min, 4 h], cell_line: wild type, vehicle: V, positive_control: ligand}\n"
    with pytest.raises(InputError, match=r"answer\.vehicle: 'ligand, dose series' makes several arms of wild type"):
        read(TEXT + answer.replace("V", "'ligand, dose series'"))
    with pytest.raises(InputError, match=r"answer\.positive_control: is the vehicle too"):
        read(TEXT + answer.replace("V", "ligand"))


def test_checkpoints_that_are_none(tmp_path: Path) -> None:
    text = TEXT + "emulator: {checkpoint: net.safetensors}\n"
    with pytest.raises(
        InputError, match=r"emulator\.checkpoint: net\.safetensors: there is no such file; `twin train` writes one"
    ):
        read(text, tmp_path)
    net = tmp_path / "net.safetensors"
    net.write_bytes(b"PK\x03\x04 a pickle, or anything else")
    with pytest.raises(InputError, match="this is not a checkpoint in safetensors format"):
        read(text, tmp_path)
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(8)
    net.write_bytes(whole[:-3])
    with pytest.raises(InputError, match="cut short or damaged"):
        read(text, tmp_path)
    net.write_bytes(whole)
    assert read(text, tmp_path).emulator is not None


def test_names_that_the_model_lacks() -> None:
    scenario = read(
        TEXT.replace("P: {label: signal, units: nM}", "Q: {label: signal}")
        .replace("hold: L", "hold: Lig")
        .replace("{L: nM", "{Lig: nM")
    )
    targets = dict.fromkeys(["L", "R", "C", "P", "kon", "koff", "ksyn", "kdeg", "kact", "kinact"], "")
    assert scenario.source is not None
    found = refusal(model_problems(scenario, {"cell": Known(targets, ["J_bind"])}), scenario.source)
    assert re.search(r"arms\[1\]\.changes\[0\]\.hold: the model has no parameter or species 'Lig'", str(found))
    assert re.search(r"readouts\.Q: the model has no 'Q'", str(found))
    scenario = read(TEXT)
    assert model_problems(scenario, {"cell": Known(targets, [])}) == []
    del targets["ksyn"]
    texts = [p.text for p in model_problems(scenario, {"cell": Known(targets, ["ksyn"])})]
    assert any("'ksyn' is computed by the model (by a rule) and cannot be set" in text for text in texts)
    texts = [p.text for p in model_problems(scenario, {"cell": Known({**targets, "ksyn": "", "L": "uM"}, [])})]
    assert texts == ["'nM', but the model states 'uM'; write 'uM' or leave it out."]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_to_a_file_is_a_refusal_or_a_scenario(data: st.DataObject) -> None:
    """Cut, doubled or replaced anywhere, a file gives a scenario or an InputError, never another exception."""
    start = data.draw(st.integers(0, len(TEXT) - 1))
    length = data.draw(st.integers(0, 40))
    new = data.draw(
        st.one_of(
            st.text(max_size=8), st.sampled_from(["[", "{", ": ", "\n", "- ", "null", ".nan", "-1", "&a", "*a", "!!x"])
        )
    )
    try:
        read(TEXT[:start] + new + TEXT[start + length :])
    except InputError as error:
        assert str(error).strip()


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["5 nM", "L", "0 min", "all", "each"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["hold", "dose", "at", "cv", "from", "label"]), inner, max_size=3)),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_value_in_any_place_is_a_refusal_or_a_scenario(data: st.DataObject) -> None:
    """Any kind of value put in any place of the data gives a scenario or an InputError that names a line."""
    file = YamlFile.parse(TEXT, name="demo.yaml", folder=Path())
    place = data.draw(st.sampled_from(sorted(file.lines, key=str)))
    tree = json.loads(json.dumps(file.data))
    parent = tree
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = data.draw(VALUES)
    changed = YamlFile(name="demo.yaml", folder=Path(), data=tree, lines=file.lines)
    try:
        Scenario.from_file(changed)
    except InputError as error:
        assert re.search(r"demo\.yaml:\d+: ", str(error))


@pytest.mark.parametrize(
    ("there", "instead", "says"),
    [
        ("kact = 0.5; ", "", r"cell: No value at the start for kact; give one in the model"),
        ("kact = 0.5", "kact = nan", r"cell: No value at the start for kact"),
        ("J_bind: R -> C;", "J_bind: R -> -> C;", r"cell\.antimony: .*as Antimony: "),
        ("kact = 0.5", "kact = 0", None),
    ],
)
def test_model_without_a_value_or_that_is_none_is_refused_before_anything_runs(
    there: str, instead: str, says: str | None
) -> None:
    assert there in TEXT
    scenario = read(TEXT.replace(there, instead, 1))
    if says is None:
        build(scenario)
        return
    with pytest.raises(InputError, match=says):
        build(scenario)


def test_spread_around_zero_is_none_and_refused() -> None:
    spread = "      ksyn: {lognormal: {cv: 30 %}, source: assumed}\n"
    assert spread in TEXT
    zero = TEXT.replace(spread, spread + "      P: {lognormal: {cv: 30 %}, source: assumed}\n")
    with pytest.raises(InputError, match=r"parameters\.P: P is 0 in every cell line, and a spread around 0 is none"):
        build(read(zero))
    build(read(zero.replace("half the receptor: {", "half the receptor: {P: 1, ")))  # one line has it


def test_run_refused_late_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> int:
        raise InputError("found only now")

    monkeypatch.setattr(job._Run, "_lead", refuse)  # pyright: ignore[reportPrivateUsage]
    out = tmp_path / "late.zarr"
    with pytest.raises(InputError, match="found only now"):
        job.run(read(TEXT), out=out, processes=1)
    assert list(tmp_path.iterdir()) == []
