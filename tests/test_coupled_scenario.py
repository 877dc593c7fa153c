"""Scenarios whose simulators exchange values within a run: against closed forms and the uncut cell, on ranks, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import coupled_scenario
import jsonschema
import mpi_launch
import numpy as np
import pytest
import xarray
from coupled_scenario import CAPTURE, RING
from hypothesis import given, settings
from hypothesis import strategies as st
from mpi_launch import needs_mpiexec
from numpy.testing import assert_allclose, assert_array_equal
from same_result import opened, same_result

from scenarios import job, report, result, shelf
from scenarios.build import build
from scenarios.cell_runner import CellRunner
from scenarios.cli import main
from scenarios.cohort import Cohort
from scenarios.commands.coupling_cases import ARRIVAL_1_M_S, KON_1_M_S
from scenarios.scenario import Scenario
from scenarios.schema import schema
from scenarios.tasks import CellCourses, cut
from scenarios.yaml_file import YamlFile
from twin.errors import InputError

LIBRARY = shelf.LIBRARY


def ran(folder: Path, text: str, *replaced: tuple[str, str], code: int = 0) -> xarray.Dataset:
    """The result of a scenario."""
    path = coupled_scenario.write(folder, text, *replaced)
    assert job.run(Scenario.load(path), out=folder / "found.zarr", processes=1, overwrite=True) == code
    return opened(folder / "found.zarr")


def courses(folder: Path, text: str, *replaced: tuple[str, str]) -> xarray.Dataset:
    """What a scenario's tasks find, without a page and what is stored."""
    asked = Scenario.load(coupled_scenario.write(folder, text, *replaced))
    cohort, arms = Cohort.ordinary(build(asked), {}), asked.arms()
    runner = CellRunner.of(asked, arms, cohort)
    tasks = cut(arms, members=cohort.size)
    found = [(task, CellCourses.from_record(*runner(task).record())) for task in tasks]
    return result.courses_dataset(asked, arms, cohort, found, runner.drawn)


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a cell coupled to Brownian dynamics."""
    folder = tmp_path_factory.mktemp("captured")
    ran(folder, CAPTURE)
    return folder / "found.zarr"


def test_receptors_and_pathways_in_two_models_are_the_whole_cell(tmp_path: Path) -> None:
    """The library's scenario beside one of the uncut model; both integrate to 1e-9, so that 1e-4 is the coupling's."""
    text = (LIBRARY / "gastric_in_two.yaml").read_text(encoding="utf-8")
    text = text.replace("gastric_in_two/", f"{LIBRARY}/gastric_in_two/")
    text = re.sub(r"^ +pathways\.AKTtotal.*\n", "", text, flags=re.MULTILINE)  # a name of its own is drawn on its own
    two = courses(tmp_path, text)
    whole = re.sub(r"^coupling:\n(?:  .*\n)+", "", text, flags=re.MULTILINE)
    whole = whole.replace(f"{LIBRARY}/gastric_in_two/receptors.ant", f"{LIBRARY}/gastric_met_resistance/cell.ant")
    whole = re.sub(r"{HS746T: 1, .*}", "{HS746T: 1, MKN1: 0}", whole)
    one = courses(tmp_path, whole.replace("pathways.", ""))
    for name in ("pAKT", "pMAPK", "pMET"):
        assert_allclose(two[name], one[name], rtol=1e-4)
    assert float(np.ptp(one["pAKT"].values)) > 0.1
    assert json.loads(two.attrs["coupling"])["order"] == 4
    assert (two["coupling_windows"] <= 80).all()


def test_the_two_models_are_the_cell_word_for_word() -> None:
    cell = (LIBRARY / "gastric_met_resistance" / "cell.ant").read_text(encoding="utf-8")

    def lines(text: str) -> set[str]:
        bare = [" ".join(line.split("//")[0].split()) for line in text.splitlines()]
        return {line for line in bare if ("->" in line or ":=" in line) and line}

    parts = [
        lines((LIBRARY / "gastric_in_two" / f"{name}.ant").read_text(encoding="utf-8"))
        for name in ("receptors", "pathways")
    ]
    assert parts[0] | parts[1] <= lines(cell)
    reactions = [{line for line in part if "->" in line} for part in parts]
    assert not reactions[0] & reactions[1]
    assert reactions[0] | reactions[1] == {line for line in lines(cell) if "->" in line}


def test_a_cell_with_brownian_dynamics_follows_berg_and_purcell(captured: Path) -> None:
    """4096 paths come out 0.6 % short of the formula, windows of 15 s hold what is exchanged, and so does the cache (2 %)."""
    found = opened(captured)
    arm = found.sel(arm=found["treatment"] == "ligand").squeeze("arm")
    bound = arm["RL"].values[:, 1:]
    for member, start in enumerate(found["R"].values):
        times, exact = found["time"].values[1:], [0.0]
        t = bound_now = 0.0
        for until in times[1:]:
            steps = round((until - t) * 400)
            for _ in range(steps):  # midpoint rule: 1e-6 here

                def slope(x: float, start: float = start) -> float:
                    left = 1.0 / (1.0 + (start - x) * KON_1_M_S / ARRIVAL_1_M_S)
                    return left * (0.6 * (start - x) - 0.1 * x)

                dt = (until - t) / steps
                bound_now += dt * slope(bound_now + dt / 2 * slope(bound_now))
            t = until
            exact.append(bound_now)
        assert_allclose(bound[member], exact, rtol=0.05, atol=1.0)
        assert_allclose(bound[member][-1], exact[-1], rtol=0.005)  # at rest nothing lags
    assert_allclose(arm["kon_eff"].values[0, 1] / KON_1_M_S, 1 / (1 + 5e5 * KON_1_M_S / ARRIVAL_1_M_S), rtol=0.01)


def test_changes_reach_the_simulator_that_they_name(captured: Path) -> None:
    """A ligand that diffuses ten times slower meets receptors that are ten times greedier."""
    found = opened(captured).sel(time=0.0, member=0)
    slow = found["kon_eff"].sel(arm=found["treatment"] == "ligand that diffuses slowly").item()
    assert_allclose(slow / KON_1_M_S, 1 / (1 + 10 * 5e5 * KON_1_M_S / ARRIVAL_1_M_S), rtol=0.01)


def test_the_result_counts_windows_and_evaluations(captured: Path) -> None:
    found = opened(captured)
    assert found["coupling_evaluations"].dims == ("arm", "member", "micro")
    assert found["micro"].values.tolist() == ["surface"]
    assert (found["coupling_windows"] == 68).all()  # 17 min in 15 s each
    asked = found["coupling_evaluations"].isel(micro=0)
    assert (asked.sel(arm=found["treatment"] == "no ligand") == 0).all()  # nothing moved since the start
    assert (
        (asked.sel(arm=found["treatment"] == "ligand") > 10) & (asked.sel(arm=found["treatment"] == "ligand") < 50)
    ).all()
    told = json.loads(found.attrs["coupling"])
    assert told["evaluations"] == {"surface": {"asked": int(asked.sum()), "windows": 9 * 68}}
    assert found["conduit"].values.tolist() == told["conduits"]
    page = report.html(found)
    assert f"in {int(asked.sum())} of 612 windows" in re.sub(r"\s", " ", page).replace(" ", " ")
    assert "surface (Brownian dynamics of capture)" in page


@needs_mpiexec
def test_on_two_ranks_the_bits_are_those_of_one(captured: Path, tmp_path: Path) -> None:
    path = coupled_scenario.write(tmp_path, CAPTURE)
    done = mpi_launch.run(
        2,
        "-m",
        "scenarios.cli",
        "run",
        str(path),
        "--out",
        str(tmp_path / "placed.zarr"),
        "--place",
        "surface=1",
        timeout_s=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    same_result(captured, tmp_path / "placed.zarr")
    assert opened(tmp_path / "placed.zarr").attrs["run_placement"] == "surface=1"


def test_a_ring_settles_and_stays_at_rest_and_a_bolus_decays_as_it_must(tmp_path: Path) -> None:
    """A' = k + b/2 - A, B' = h a - B: at rest A = k/(1 - h/2); a bolus of B moves both along the eigenvectors, exp(-(1 ∓ √(h/2)) t)."""
    found = courses(tmp_path, RING)
    k, h = found["k"].values[:, None], found["other.half"].values[:, None]
    rest = k / (1 - h / 2)
    quiet = found.sel(arm=found["treatment"] == "nothing").squeeze("arm")
    assert_allclose(quiet["A"], np.broadcast_to(rest, quiet["A"].shape), rtol=1e-7)
    assert_allclose(quiet["B"], np.broadcast_to(h * rest, quiet["B"].shape), rtol=1e-7)
    alone = found.sel(arm=found["treatment"] == "the second is made no more").squeeze("arm")
    assert_allclose(alone["A"], np.broadcast_to(k, alone["A"].shape), rtol=1e-7)
    given = found.sel(arm=found["treatment"] == "a bolus of the second").squeeze("arm")
    t = np.maximum(given["time"].values, 0.0)[None]
    after = (given["time"].values >= 0)[None]
    root = np.sqrt(h / 2)
    slow, fast = np.exp(-(1 - root) * t), np.exp(-(1 + root) * t)
    assert_allclose(given["A"] - rest, after * (slow - fast) / (4 * root), atol=2e-6)
    assert_allclose(given["B"] - h * rest, after * (slow + fast) / 2, atol=2e-6)
    assert float(given["coupling_residual"].max()) < 1e-6
    few = courses(tmp_path, RING, ("members: 4", "members: 2"))
    assert_array_equal(few["B"], found["B"].isel(member=slice(0, 2)))  # no member depends on others


def test_members_that_do_not_come_to_rest_are_set_aside(tmp_path: Path) -> None:
    """A ring whose gain is above 1 has no rest: told with the conduit; the arm in which it is cut does."""
    found = ran(
        tmp_path,
        RING,
        ("half = 0.5", "half = 3"),
        ("      other.half: {uniform: [0.2, 0.8], source: assumed}\n", ""),
        code=3,
    )
    cut = found["treatment"] == "the second is made no more"
    assert (found["status"].sel(arm=cut) == 0).all()
    assert (found["status"].sel(arm=~cut) != 0).all()
    assert "do not come to rest together: member 0, conduit other.B -> cell.b: moves by" in found.attrs["set_aside"]


@pytest.mark.parametrize(
    ("scheme", "within"),
    [("scheme: jacobi", 5e-2), ("scheme: {kind: gauss-seidel, order: [cell, other]}", 5e-2), ("scheme: strang", 3e-3),
     ("scheme: {kind: waveform, acceleration: aitken, tolerance: 1e-9, iterations: 30}", 1e-6)],
)  # fmt: skip
def test_every_scheme_gives_the_closed_form_to_its_order(scheme: str, within: float, tmp_path: Path) -> None:
    found = courses(tmp_path, RING, ("windows: 30 s", f"windows: 6 s\n  {scheme}"), ("members: 4", "members: 1"))
    given = found.sel(arm=found["treatment"] == "a bolus of the second", time=1.0).squeeze()
    exact = (np.exp(-0.5) - np.exp(-1.5)) / 2
    assert abs(float(given["A"]) - 4 / 3 - exact) < within


def test_the_schema_knows_coupled_scenarios(tmp_path: Path) -> None:
    for text in (CAPTURE, RING, (LIBRARY / "gastric_in_two.yaml").read_text(encoding="utf-8")):
        jsonschema.validate(YamlFile.parse(text, name="x", folder=tmp_path).data, schema())
    asked = Scenario.load(coupled_scenario.write(tmp_path, CAPTURE))
    again = Scenario.from_file(YamlFile.parse(asked.canonical_yaml(), name="x", folder=tmp_path))
    assert again.sha256 == asked.sha256


def test_check_shows_what_flows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(coupled_scenario.write(tmp_path, CAPTURE))]) == 0
    said = capsys.readouterr().out
    assert "coupled by jacobi (order 1), windows of 15 s:\n    cell.R -> surface.free\n" in said
    assert "surface.kon_eff -> cell.kon [1/(nM min)]" in said
    assert "surface is asked again when an input has moved by 2 %" in said
    assert "simulators cell, surface; all on rank 0" in said


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["5 %", "cell", "1 min", "a.b -> c.d"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["kind", "order", "every", "kon", "antimony"]), inner, max_size=3)),
    max_leaves=5,
)  # fmt: skip
Change = tuple[str, str]
REFUSED: list[tuple[str, Change, str]] = [
    (CAPTURE, ("cell.R -> surface.free", "cell.R - surface.free"), "coupling.conduits[0]: 'cell.R - surface.free' is no conduit; expected SIMULATOR.NAME -> SIMULATOR.NAME"),
    (CAPTURE, ("cell.R -> surface.free", "cell.R -> surfac.free"), "coupling.conduits[0]: no simulator 'surfac'; did you mean 'surface'? there is cell, surface."),
    (CAPTURE, ("cell.R -> surface.free", "cell.Rx -> surface.free"), "coupling.conduits[0]: cell has no 'Rx'"),
    (CAPTURE, ("cell.R -> surface.free", "cell.R -> surface.bound"), "surface takes `free`, the number of free receptors, and not 'bound'"),
    (CAPTURE, ("surface.escape -> cell.escape", "surface.escap -> cell.escape"), "surface does not say 'escap'; did you mean 'escape'?"),
    (CAPTURE, ("surface.escape -> cell.escape", "surface.escape -> cell.escapes"), "coupling.conduits[2]: cell has no parameter 'escapes'; did you mean 'escape'?"),
    (CAPTURE, ("surface.escape -> cell.escape", "surface.escape -> cell.kon"), "cell.kon is fed by coupling.conduits[1] too; keep one"),
    (CAPTURE, ("surface.escape -> cell.escape", "surface.escape -> cell.koff"), "coupling.conduits[2]: surface.escape [] cannot feed cell.koff [1/min]; give both names units of one dimension"),
    (CAPTURE, ("surface.escape -> cell.escape", "cell.R -> cell.escape"), "cell feeds itself; write that into its model"),
    (CAPTURE, ("kind: capture", "kind: captur"), "kind 'captur' is none that we know; did you mean 'capture'? expected reaction or capture"),
    (CAPTURE, ("kon: 1e7 1/(M s), ", ""), "coupling.simulators.surface.kon: this key is missing"),
    (CAPTURE, ("radius: 10 um", "radius: 10"), "coupling.simulators.surface.radius"),
    (CAPTURE, ("cached: 2 %", "cached: 200 %"), "coupling.simulators.surface.cached: '200 %': expected a share above 0 % and below 100 %"),
    (CAPTURE, ("scheme: jacobi", "scheme: jacoby"), "coupling.scheme: found 'jacoby'; did you mean 'jacobi'?"),
    (CAPTURE, ("scheme: jacobi", "scheme: strang"), "strang: cell.R -> surface.free feeds a micro simulator"),
    (CAPTURE, ("scheme: jacobi", "scheme: {kind: waveform, degree: 3}"), "coupling.scheme: waveform of degree 3: 'surface' only takes inputs that stay constant"),
    (CAPTURE, ("scheme: jacobi", "scheme: {kind: strang, tolerance: 1e-3}"), "strang takes no `tolerance`; leave it out"),
    (CAPTURE, ("windows: 15 s", "windows: 0 s"), "coupling.windows: 0 s: a window of this length does not advance; expected one above 0, e.g. 5 min."),
    (CAPTURE, ("windows: 15 s", "windows: 1e-9 s"), "coupling.windows: 1e+12 windows of 1e-9 s from -1 min to 16 min; expected 10,000,000 at most"),
    (RING, ("other.B -> cell.b]", "other.B -> cell.A]"), "coupling.conduits[1]: cell moves 'A' by itself, so it cannot be fed; a conduit feeds a parameter"),
    (CAPTURE, ("windows: 15 s", "windows: {tolerance: 1 %, every: 15 s}"), "coupling.windows: expected `windows: 5 min`, or `windows: {tolerance: 0.1 %}`"),
    (CAPTURE, ("  windows: 15 s\n", ""), "coupling.windows: this key is missing"),
    (CAPTURE, ("expression: surface.kon_eff", "expression: 2 * surface.kon_eff"), "'2 * kon_eff' is not said by surface; did you mean 'kon_eff'? expected one of kon_eff, escape, sigma_escape, evaluations, without arithmetic"),
    (CAPTURE, ("expression: surface.kon_eff", "expression: R + surface.kon_eff"), "mixes names of surface and cell; a readout is of one simulator"),
    (CAPTURE, ("expression: surface.kon_eff", "expression: surfaces.kon_eff"), "no simulator 'surfaces'; did you mean 'surface'?"),
    (CAPTURE, ("set: surface.diffusion, to: 10 um^2/s", "set: surface.speed, to: 10"), "surface has no parameter or species 'speed'; it has free, kon, diffusion, radius"),
    (CAPTURE, ("set: surface.diffusion", "set: surfaces.diffusion"), "arms[2].changes[0].to: surfaces.diffusion: '10 um^2/s'"),
    (CAPTURE, ("hold: L, dose: 1 nM, at: 0 min}]", "set: kon, to: 1 1/(nM min), at: 0 min}]"), "arms[1].changes[0].set: kon is fed by surface.kon_eff, which would undo this at once"),
    (CAPTURE, ("      R: {", "      escape: {"), "uncertainty.cell-to-cell.parameters.escape: escape is fed by surface.escape"),
    (RING, ("[cell.A -> other.a, other.B -> cell.b]", "[cell.A -> other.made]"), "coupling.conduits[0]: 'made' is computed by other (by a rule) and cannot be fed"),
    (RING, ("    other:\n", "    cell:\n"), "coupling.simulators.cell: 'cell' is the name of a simulator that every scenario may have"),
    (RING, ("windows: 30 s", "windows: {every: -1 s}"), "coupling.windows: -1 s: a window of this length does not advance"),
    (RING, ("windows: 30 s", "windows: {tolerance: 0 %}"), "coupling.windows.tolerance: 0 %: expected a share above 0 % and below 100 %, e.g. 0.1 %."),
    (RING, ("windows: 30 s", "windows: {tolerance: 1 %, smallest: 0 s}"), "coupling.windows.smallest: 0 s: a window of this length does not advance"),
    (RING, ("windows: 30 s", "windows: {tolerance: 1 %, smallest: 1 min, largest: 1 s}"), "coupling.windows.largest: 1 s is less than `smallest: 1 min`"),
    (RING, ("windows: 30 s", "windows: {tolerance: 1 %, largest: 1e-9 s}"), "coupling.windows.largest: 1e-9 s is less than the smallest, 6e-05 s"),
    (RING, ("windows: 30 s", "windows: 30 s\n  scheme: gauss-seidel"), "coupling.scheme: gauss-seidel: cell -> other -> cell feed each other in a ring, so that no order is the natural one; say who steps first, as in `scheme: {kind: gauss-seidel, order: [cell, other]}`, or couple them by `scheme: jacobi` or `scheme: waveform`."),
    (RING, ("windows: 30 s", "windows: 30 s\n  scheme: {kind: gauss-seidel, order: [cell]}"), "coupling.scheme: gauss-seidel: order [cell] must hold every simulator of the twin once; look at [other]; the twin has cell, other."),
    (RING, ("windows: 30 s", "windows: 30 s\n  scheme: {kind: strang, order: [cell, others]}"), "coupling.scheme.order: no simulator 'others'; did you mean 'other'?"),
    (RING, ("other.B -> cell.b]", "other.B -> cell.k]"), "k is fed by other.B, which would undo this at once"),
    (RING, ("        B = 0; a = 0", "        B = 0; a = = 0"), "coupling.simulators.other.antimony"),
    (RING, ("    other:\n      antimony: |\n", "    other:\n      cached: 5 %\n      antimony: |\n"), "unknown key 'cached'"),
    (RING, ("cell:\n  antimony", "emulator: {checkpoint: x.safetensors}\ncell:\n  antimony"), "emulator: a learned stand-in knows the cell alone"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "change", "says"), REFUSED, ids=lambda value: value[1][:40] if isinstance(value, tuple) else ""
)
def test_what_cannot_be_coupled_is_refused_with_its_place(text: str, change: Change, says: str, tmp_path: Path) -> None:
    path = coupled_scenario.write(tmp_path, text, change)
    with pytest.raises(InputError) as refused:
        build(Scenario.load(path))
    assert says in str(refused.value)
    assert not re.search(
        r"\b[A-Z][a-z]+[A-Z]\w*\(|\bJacobi|\bGaussSeidel|\bStrang\b", str(refused.value)
    )  # words of Python
    assert re.search(rf"{path.name}:\d+: ", str(refused.value))


def test_a_name_of_a_simulator_that_is_not_there(tmp_path: Path) -> None:
    alone: dict[str, Any] = {"text": re.sub(r"^coupling:\n(?:  .*\n)+", "", RING, flags=re.MULTILINE)}
    path = coupled_scenario.write(tmp_path, alone["text"].replace("expression: other.B", "expression: A"))
    with pytest.raises(InputError, match=r"no simulator 'other' beside the cell"):
        build(Scenario.load(path))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_value_in_any_place_of_a_coupling_is_a_refusal_or_a_scenario(data: st.DataObject) -> None:
    """Any kind of value under `coupling:` gives a scenario or an InputError, never another exception."""
    file = YamlFile.parse(data.draw(st.sampled_from([CAPTURE, RING])), name="demo.yaml", folder=Path())
    tree = json.loads(json.dumps(file.data))
    place = data.draw(st.sampled_from(sorted((p for p in file.lines if p[:1] == ("coupling",)), key=str)))
    part = tree
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = data.draw(VALUES)
    try:
        Scenario.from_file(YamlFile(name="demo.yaml", folder=Path(), data=tree, lines=file.lines))
    except InputError as error:
        assert str(error).strip()
