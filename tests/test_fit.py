"""Tables of a fit and of measured points: what is drawn, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scenarios.fit import Fit, reflected
from scenarios.measurement import Measurement
from twin.errors import InputError

TABLE = """# a remark
parameter,scale,nominal,lower,upper,prior_sd,posterior_sd,drawn_sd,points
k,log10,0.1,0.001,10,1.15,0.2,0.2,12
d,lin,-0.5,-3,3,1.7,0.4,0.4,3
free,log10,1,0.001,1000,1.7,1.7,0,0
"""
DRAWS = "k,d\n0.1,0.2\n-0.1,0.1\n3.0,-4.0\n0.0,0.5\n"
POINTS = """# source
cell_line,treatment,readout,time_min,value,sd,dataset
A,drug,P,5,0.7,0.1,blot 1
B,drug,P,10,0.2,0.1,blot 2
"""


def fit(folder: Path, table: str = TABLE, draws: str | None = DRAWS) -> Fit:
    (folder / "fit.csv").write_text(table)
    if draws is None:
        return Fit.read(folder / "fit.csv")
    (folder / "draws.csv").write_text(draws)
    return Fit.read(folder / "fit.csv", folder / "draws.csv")


def test_draw_0_is_the_best_fit_and_every_row_comes_once_a_round(tmp_path: Path) -> None:
    drawn = fit(tmp_path).draw(3, np.arange(9))
    assert set(drawn) == {"k", "d"}
    assert (drawn["k"][0], drawn["d"][0]) == (0.1, -0.5)
    # rows as they must come out: 10^(-1 + shift); 100 lies above the bound 10 by a decade, so 1; -4.5 mirrored at -3: -1.5
    rows = sorted(zip([10**-0.9, 10**-1.1, 1.0, 0.1], [-0.3, -0.4, -1.5, 0.0], strict=True))
    for turn in (slice(1, 5), slice(5, 9)):
        found = sorted(zip(drawn["k"][turn], drawn["d"][turn], strict=True))
        assert np.array(found) == pytest.approx(np.array(rows), abs=1e-12)


def test_draws_depend_on_seed_and_number_alone(tmp_path: Path) -> None:
    shipped = fit(tmp_path)
    numbers = np.array([7, 0, 3, 3])
    some, all_ = shipped.draw(3, numbers)["k"], shipped.draw(3, np.arange(9))["k"]
    assert (some == all_[numbers]).all()
    assert any((shipped.draw(seed, np.arange(9))["k"] != all_).any() for seed in (4, 5))


def test_without_draws_each_parameter_spreads_on_its_own(tmp_path: Path) -> None:
    drawn = fit(tmp_path, draws=None).draw(3, np.arange(4000))
    assert set(drawn) == {"k", "d"}
    assert np.log10(drawn["k"]).std() == pytest.approx(0.2, rel=0.05)  # 4000 draws: 1.1 %
    assert abs(np.corrcoef(np.log10(drawn["k"]), drawn["d"])[0, 1]) < 0.05
    assert drawn["k"].max() <= 10 and drawn["d"].min() >= -3  # noqa: PT018


def test_changed_tables_are_read_again(tmp_path: Path) -> None:
    assert fit(tmp_path).parameters[0].points == 12
    assert fit(tmp_path, TABLE.replace(",12\n", ",1234\n")).parameters[0].points == 1234


def test_evidence_tells_decades(tmp_path: Path) -> None:
    k, d = fit(tmp_path).evidence
    assert (k.prior_sd_log10, k.posterior_sd_log10, k.points) == (1.15, 0.2, 12)
    assert d.posterior_sd_log10 == pytest.approx(0.4 / np.log(10))


def test_reflection_keeps_what_lies_within_and_mirrors_the_rest() -> None:
    values = np.array([-1.0, 0.0, 0.3, 1.0, 1.2, 2.5, -4.1])
    assert reflected(values, 0.0, 1.0) == pytest.approx([1.0, 0.0, 0.3, 1.0, 0.8, 0.5, 0.1])


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("nominal", "nominale", r"fit\.csv:2: no column 'nominal'.*did you mean 'nominale'"),
        ("k,log10,0.1", "k,log10,abc", r"fit\.csv:3: nominal is 'abc'; expected a finite number"),
        ("k,log10,0.1", "k,log10,nan", r"fit\.csv:3: nominal is 'nan'"),
        ("k,log10,0.1", "k,log10,20", r"fit\.csv:3: nominal 20 is not within 0\.001 … 10"),
        ("k,log10", "k,cubic", r"fit\.csv:3: scale 'cubic'; expected one of log10, log, lin"),
        ("d,lin", "d,log", r"fit\.csv:4: lower bound -3 on the scale log"),
        ("d,lin", "k,lin", r"fit\.csv: a parameter is listed twice"),
        ("0.4,0.4,3", "0.4,3", r"fit\.csv:4: 8 cells in a table of 9 columns"),
        ("1.15,", "-1.15,", r"fit\.csv:3: prior_sd is -1\.15; expected 0 or more"),
    ],
)
def test_wrong_fits_are_refused(tmp_path: Path, old: str, new: str, text: str) -> None:
    assert old in TABLE
    with pytest.raises(InputError, match=text):
        fit(tmp_path, TABLE.replace(old, new, 1))


def test_draws_of_another_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"column 'q' is not a parameter of fit\.csv"):
        fit(tmp_path, draws="k,q\n0,0\n")
    with pytest.raises(InputError, match=r"draws\.csv:2: d is ''; expected a finite number"):
        fit(tmp_path, draws="k,d\n0,\n")
    with pytest.raises(InputError, match=r"draws\.csv: no rows below the header"):
        fit(tmp_path, draws="k,d\n")
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read"):
        Fit.read(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("value,sd", "value,SD", r"points\.csv:2: no column 'sd'.*did you mean 'SD'"),
        ("0.7,0.1", "0.7,0", r"points\.csv:3: sd is 0; expected a standard deviation above 0"),
        ("0.7", "seven", r"points\.csv:3: value is 'seven'"),
        ("B,drug", "B,", r"points\.csv:4: treatment is empty"),
        ("blot 2", "blot 2,more", r"points\.csv:4: 8 cells in a table of 7 columns"),
        ("dataset", "dataset,dataset", r"points\.csv:2: column 'dataset' is unknown or given twice"),
    ],
)
def test_wrong_points_are_refused(tmp_path: Path, old: str, new: str, text: str) -> None:
    assert old in POINTS
    (tmp_path / "points.csv").write_text(POINTS.replace(old, new, 1))
    with pytest.raises(InputError, match=text):
        Measurement.read(tmp_path / "points.csv")


def test_points_must_have_their_place_in_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(POINTS)
    points = Measurement.read(tmp_path / "points.csv")
    assert points.remarks == ("source",)
    place = {"arms": {("A", "drug"), ("B", "drug")}, "readouts": ["P"], "start_min": 0.0, "end_min": 60.0}
    points.check(**place)
    with pytest.raises(InputError, match=r"points\.csv:4: no arm with `protocol: measured` is B \| drug"):
        points.check(**{**place, "arms": {("A", "drug")}})
    with pytest.raises(InputError, match=r"points\.csv:3: no readout 'P'"):
        points.check(**{**place, "readouts": ["Q"]})
    with pytest.raises(InputError, match=r"points\.csv:4: 10 min lies outside 0 … 7 min"):
        points.check(**{**place, "end_min": 7.0})
