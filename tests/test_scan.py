"""`twin run` of a bare model: closed forms over a scan, dims and units of the result, and errors that name the cure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hpc import Journal
from scenarios.cli import main
from scenarios.report.scan import ScanView
from scenarios.result import read
from scenarios.scan import Scan, spread_of
from scenarios.scan_axis import ScanAxis
from twin.errors import InputError

DECAY = """model decay
  compartment c = 1; species A in c, B in c; A = 2; B = 0; k = 0.5; off = 0; total := A + B
  A -> B; k*A*c
end
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "decay.ant"
    path.write_text(DECAY)
    return path


def test_scan_of_two_gives_the_closed_form(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--scan", "k=0.1:10:7:log", "--scan", "A=1,2.5", "--times", "0:4:9", "--figure", "scan.png"]
    assert main(["run", str(model), *options]) == 0
    said = capsys.readouterr().out
    data = read(Path("results/decay.zarr"))
    assert data["A"].dims == ("k", "A_start", "time")
    assert data["k"].values == pytest.approx(np.geomspace(0.1, 10, 7))
    expected = data["A_start"] * np.exp(-data["k"] * data["time"])
    expected = expected.transpose("k", "A_start", "time").values
    np.testing.assert_allclose(data["A"].values, expected, rtol=1e-4, atol=1e-7)  # integrated at 1e-6 a step
    assert {"units", "long_name"} <= set(data["A"].attrs) & set(data["k"].attrs)
    assert data.attrs["Conventions"].startswith("CF-")
    assert json.loads(data.attrs["scan"])["scan"]["A"] == [1.0, 2.5]
    assert "decay: 7 values of k x 2 values of A" in said
    assert "(k 0.1, A_start 2.5)" in said
    page = Path("results/decay.html").read_text()
    assert "heatmap" in page
    assert Path("scan.png").read_bytes().startswith(b"\x89PNG")
    assert main(["report", "results/decay.zarr", "--out", "again.html"]) == 0
    assert Path("again.html").read_text() == page


ROWS = ("A ", "B ", "T ", "y ", "N ")
"""How the terminal's lines of variables begin."""


def test_rounding_is_told_as_zero_and_small_numbers_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A is gone at the end (2 exp(-60) at the slowest), which the solver knows to 1e-9; T never was more than 1e-12, and
    y = exp(-3 t) is computed, not solved for."""
    monkeypatch.chdir(tmp_path)
    Path("gone.ant").write_text(
        "A -> B; k*A; A = 2; B = 0; k = 6; T -> ; 0.1*T; T = 1e-12; y := exp(-3*time); N = 0; N -> ; N"
    )
    scan = ["--scan", "k=6,8,11", "--times", "0:10:11", "--select", "A,B,T,y,N", "--figure", "gone.svg"]
    assert main(["run", "gone.ant", *scan]) == 0
    said = {line.split()[0]: line.split()[2:] for line in capsys.readouterr().out.splitlines() if line[:2] in ROWS}
    data = read(Path("results/gone.zarr"))
    left = data["A"].values[:, -1]
    assert (np.abs(left) < 1e-9).all()
    assert (left != 0.0).any()  # the result keeps it
    assert said["A"] == ["0", "±", "1e-09", "0", "±", "1e-09"]  # and no place: neither is lower
    assert said["B"][:1] == ["2"]
    assert float(said["T"][0]) == pytest.approx(1e-12 * np.exp(-1.0), rel=1e-3)
    assert float(said["y"][0]) == pytest.approx(np.exp(-30.0), rel=1e-3)
    assert said["N"] == ["0", "0"]  # exactly
    view = ScanView(data)
    assert (view.bands("A")[..., -1] == 0.0).all()
    assert (view.bands("A")[..., 0] == 2.0).all()
    assert view.variables[-1] == "N"  # which does not change
    assert "does not know from 0, within 1·10⁻⁹, is drawn as 0" in Path("results/gone.html").read_text()


def test_members_are_the_same_at_every_point_and_the_first_is_the_model_itself(model: Path) -> None:
    options = ["--scan", "A=1,2", "--times", "0:4:3", "--members", "40", "--spread", "0.3", "--select", "A,total"]
    assert main(["run", str(model), *options, "--seed", "3", "--processes", "1"]) == 0
    data = read(Path("results/decay.zarr"))
    assert data["A"].dims == ("A_start", "member", "time")
    assert set(data["k"].dims) == {"member"}
    assert "off" not in data.variables  # 0 has no logarithm
    assert data["k"].values[0] == 0.5
    assert np.log(data["k"].values[1:] / 0.5).std() == pytest.approx(0.3, rel=0.4)  # 39 draws: 11 %
    expected = (data["A_start"] * np.exp(-data["k"] * data["time"])).transpose("A_start", "member", "time").values
    np.testing.assert_allclose(data["A"].values, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(
        data["total"].values, np.broadcast_to(data["A_start"].values[:, None, None], expected.shape)
    )


def test_processes_do_not_change_the_bits(model: Path) -> None:
    options = ["--scan", "k=0.1:10:90:log", "--times", "0:4:3"]  # two blocks
    for count in ("1", "2"):
        assert main(["run", str(model), *options, "--processes", count, "--out", f"by{count}.zarr"]) == 0
    one, two = (read(Path(f"by{count}.zarr")) for count in ("1", "2"))
    assert one.identical(two.assign_attrs(one.attrs))
    differing = {n for n in one.attrs if one.attrs[n] != two.attrs[n]}
    assert all(name.startswith("run_") for name in differing)


def test_stochastic_members_count_molecules(model: Path) -> None:
    assert (
        main(
            ["run", str(model), "--times", "0:1:2", "--engine", "stochastic", "--members", "200", "--scan", "A=50,100"]
        )
        == 0
    )
    data = read(Path("results/decay.zarr"))
    left = data["A"].isel(time=-1)
    p = np.exp(-0.5)
    sd = np.sqrt(np.array([50, 100]) * p * (1 - p))  # binomial
    mean = left.mean("member").values
    assert (np.abs(mean - np.array([50, 100]) * p) < 4 * sd / np.sqrt(200)).all()
    assert left.std("member").values == pytest.approx(sd, rel=0.25)


def test_finished_results_are_kept(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [str(model), "--scan", "k=1,2", "--times", "0,1"]
    assert main(["run", *options, "--dry-run"]) == 0
    assert "2 courses in 1 tasks, 2 times, 3 variables" in capsys.readouterr().out.replace("total", "")
    assert main(["run", *options]) == 0
    assert main(["run", *options]) == 2
    assert "is there already. Replace it with --overwrite" in capsys.readouterr().err
    assert main(["run", *options, "--resume"]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert main(["run", str(model), "--scan", "k=1,3", "--times", "0,1", "--resume"]) == 2
    assert "was made from something else (scan differ)" in capsys.readouterr().err
    assert main(["run", *options, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--scan", "k=1:2:3"], "how long shall it run.* --times FROM:TO:COUNT"),
        (["--scan", "kk=1,2", "--times", "0:1"], "--scan kk: nothing in the model; did you mean 'k'"),
        (["--scan", "total=1,2", "--times", "0:1"], "--scan total: the model computes it by a rule"),
        (["--scan", "k", "--times", "0:1"], "--scan k: expected NAME=FROM:TO:COUNT"),
        (["--scan", "k=1:2", "--times", "0:1"], "--scan k=1:2: expected NAME=FROM:TO:COUNT"),
        (["--scan", "k=0:2:5:log", "--times", "0:1"], "from 0 to 2 by logarithm; expected values above 0"),
        (["--scan", "k=1,1", "--times", "0:1"], "a value is given twice"),
        (["--scan", "k=1,2", "--scan", "k=3", "--times", "0:1"], "--scan k: given twice; give all its values"),
        (["--times", "0:1", "--select", "AA"], "--select AA: nothing in the model; did you mean 'A'"),
        (["--times", "3,1"], "--times 3,1: expected ascending times"),
        (["--times", "0:1", "--members", "5"], "all members would be the same; say what differs with --spread"),
        (["--times", "0:1", "--spread", "k=x", "--members", "5"], "--spread k=x: expected SIGMA or NAME=SIGMA"),
        (["--times", "0:1", "--spread", "off=0.2", "--members", "5"], "--spread off: its value is 0"),
        (["--times", "0:1", "--engine", "fast"], "engine='fast': expected"),
        (["--times", "0:1:100000", "--scan", "k=1:2:100000"], "GiB; at most 2: keep fewer variables"),
        (["--times", "0:1", "--timeline", "t.json"], "--timeline: not for .*decay.ant, which is a model"),
        (["--times", "0:1", "--figure", "no/scan.png"], "--figure no/scan.png: expected a .png, .svg or .pdf file"),
    ],
)  # fmt: skip
def test_refusals_name_the_cure(model: Path, capsys: pytest.CaptureFixture[str], options: list[str], text: str) -> None:
    assert main(["run", str(model), *options]) == 2
    said = capsys.readouterr().err
    assert re.search(text, said), said
    assert not Path("results/decay.zarr").exists()


def test_a_model_in_which_nothing_moves_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "still.ant").write_text("k = 1\n")
    assert main(["run", str(tmp_path / "still.ant"), "--times", "0:1", "--out", str(tmp_path / "still.zarr")]) == 2
    assert "nothing to show: no species in this model" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(model), "--times", "0:1", "--out", "/proc/folder/decay.zarr"]) == 2
    assert "its folder cannot be made" in capsys.readouterr().err


def test_check_tells_what_a_model_holds(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(model)]) == 0
    assert "decay: 2 species, 1 reactions" in capsys.readouterr().out
    assert main(["run", "receptor_dimerisation", "--scan", "k=1,2"]) == 2
    assert "--scan: not for receptor_dimerisation, which is a scenario" in capsys.readouterr().err


def test_options_are_parsed() -> None:
    assert ScanAxis.parse("k=1:100:3:log").values == pytest.approx((1.0, 10.0, 100.0))
    assert ScanAxis.parse("k=3").values == (3.0,)
    assert spread_of(["0.3", "k=0.1"]) == {"": 0.3, "k": 0.1}
    with pytest.raises(InputError, match="given twice"):
        spread_of(["0.3", "0.2"])


def test_members_do_not_depend_on_how_many_there_are(model: Path) -> None:
    few, many = (
        Scan(model, (), (0.0, 1.0), members=n, spread={"": 0.3}, seed=5).drawn["k"] for n in (3, 9)
    )  # fmt: skip
    np.testing.assert_array_equal(few, many[:3])


PAGE = Path(__file__).resolve().parents[1] / "docs" / "scan.md"


@pytest.mark.slow
def test_commands_of_the_page_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    blocks = {kind: re.findall(rf"```{kind}\n(.*?)```", text, flags=re.S) for kind in ("antimony", "console", "python")}
    Path("switch.ant").write_text(blocks["antimony"][0])
    for command in blocks["console"]:
        assert main(command.split()[1:]) == 0
    assert Path("scan.png").is_file()
    capsys.readouterr()
    exec(compile(blocks["python"][0], str(PAGE), "exec"), {})
    assert 6.5 < float(capsys.readouterr().out) < 8.5  # "Between 7 and 8 nM"
    data = read(Path("results/switch.zarr"))
    assert data["R"].attrs["units"] == "nmol / L"
    assert data["time"].attrs["units"] == "min"
    jump = data["S"].values[np.diff(data["R"].isel(time=-1).values).argmax() + np.array([0, 1])]
    assert 6.9 < jump[0] < jump[1] < 8.2


def test_resumed_scan_takes_what_is_finished(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As if a run had been stopped after its first block: its journal holds that block."""
    options = [str(model), "--scan", "k=0.1:10:90:log", "--times", "0:4:3", "--processes", "1"]
    assert main(["run", *options, "--out", "whole.zarr"]) == 0
    scan = Scan(model, (ScanAxis.parse("k=0.1:10:90:log"),), (0.0, 2.0, 4.0))
    Path("results").mkdir()
    with Journal(Path("results/.decay.zarr.journal"), {k: str(v) for k, v in scan.provenance.items()}) as journal:
        journal.append(scan.keys[0], scan.runner()(scan.tasks[0]))
    assert main(["run", *options]) == 2
    assert "is not finished" in capsys.readouterr().err
    assert main(["run", *options, "--resume"]) == 0
    assert "going on after 1 finished task" in capsys.readouterr().out
    whole, resumed = read(Path("whole.zarr")), read(Path("results/decay.zarr"))
    assert whole.identical(resumed.assign_attrs(whole.attrs))
