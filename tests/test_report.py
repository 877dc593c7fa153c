"""The page of a result: what it shows, that it fetches nothing, that names cannot break it, and that it opens in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import report_data
import xarray as xr
from rich.console import Console

from scenarios import report
from scenarios.report import number
from scenarios.report.contents import Contents
from scenarios.report.figure import as_json, log_axis
from scenarios.report.markup import Markup, element
from scenarios.report.quantile import quantiles
from scenarios.terminal_table import show
from twin.errors import InputError

SECTIONS = (
    "answer", "ranking", "dose-response", "washout", "time-courses", "molecules", "variance", "evidence", "trust", "provenance",
)  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:.*Zarr V3 specification", "ignore:Consolidated metadata")
FETCHING = {"src", "href", "data", "action", "poster", "srcset", "background", "xlink:href", "formaction"}
NASTY = '</script><script>alert("1")</script><img src=x onerror=alert(1)> & "quoted" \'it\' [red]x[/red] @blue %{x}'


class Page(HTMLParser):
    """What a page is made of: tags with their attributes, texts of scripts, texts of everything else."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        # Plotly's own 5 MB say nothing here, and take seconds to parse
        self.feed(re.sub(r"<script>.*?</script>", "<script></script>", text, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.words.append(data)

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.tags if "id" in attributes]

    @property
    def specs(self) -> list[dict]:
        return [json.loads(text) for text in self.scripts if text.startswith('{"panels"')]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    return report_data.result()


@pytest.fixture(scope="module")
def text(result: xr.Dataset) -> str:
    return report.html(result)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_a_full_result_has_every_section_in_order(page: Page) -> None:
    assert [id for id in page.ids if id in SECTIONS] == list(SECTIONS)


def test_the_limits_of_what_was_learned_are_told(page: Page) -> None:
    assert "3 compounds cannot certify coverage." in page.text
    assert "Inside the 95 % interval" in page.text


def test_trust_tells_error_coverage_and_speed_beside_simpler_rules(page: Page) -> None:
    text = page.text.replace(number.SPACE, " ")
    for told in (
        "Tolerance 5.0 %",
        "vouches for 97 %",
        "mechanism 3.2 ms",
        "mechanism 1.1×",
        "vouches 0.40 % 1.0 % 3.1 %",
    ):
        assert told in text
    assert "nearest training cell 9.0 % 30 % –" in text


def test_who_escapes_names_only_what_is_beyond_chance(page: Page, result: xr.Dataset) -> None:
    assert "5 of 24 cells miss the goal" in page.text
    assert "What sets them apart: high Kd; low ksyn_MET." in page.text
    nobody = result.assign(evidence_escape=result["evidence_escape"] * np.nan).assign_attrs(evidence_escaped=0)
    assert "No cell misses the goal" in Page(report.html(nobody)).text


def test_doses_beyond_the_tested_ones_are_told_as_such(page: Page) -> None:
    text = page.text
    assert "above the highest tested" in text
    assert "none tested" in text
    assert "pMAPK 17" in text


def test_the_split_leads_with_the_scale_that_the_answer_relies_on(page: Page, result: xr.Dataset) -> None:
    assert "the variance of the signal removed comes most from affinity (62" in page.text
    ranked = Page(report.html(result.assign_attrs(variance_scale="ranks of S")))
    assert "the variance of the cells' ranks by signal removed comes most from affinity (65" in ranked.text


def test_ids_are_unique(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))


def test_the_answer_comes_first_and_its_caveats_follow(page: Page, result: xr.Dataset) -> None:
    words = page.text
    places = [
        words.index(part)
        for part in (
            result.attrs["answer"],
            "How sure, and what it rests on",
            "Kd in the cell is assumed",
            "Ranking of",
        )
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("gone", "section"),
    [
        (("responder_fraction", "rank", "removed"), "ranking"),
        (("removed_at_washout",), "washout"),
        (("k_D", "Kd_learned", "smiles"), "molecules"),
        (("total_order", "crossed_removed"), "variance"),
        (("evidence_verdict", "evidence_escape"), "evidence"),
        (("pAKT", "pMAPK", "pMET"), "time-courses"),
    ],
)
def test_a_section_is_left_out_with_what_it_shows(result: xr.Dataset, gone: tuple[str, ...], section: str) -> None:
    ids = Page(report.html(result.drop_vars(gone))).ids
    assert section not in ids
    assert "provenance" in ids


def test_a_users_own_model_gets_time_courses_and_provenance_alone() -> None:
    page = Page(report.html(report_data.plain_result()))
    assert [id for id in page.ids if id in SECTIONS] == ["time-courses", "provenance"]
    assert "pEpoR [nM]" in json.dumps(page.specs)


def test_doses_that_no_goal_ranks_are_shown_as_series(result: xr.Dataset) -> None:
    unranked = result.drop_vars(["rank", "removed", "responder_fraction", "removed_at_washout"])
    page = Page(report.html(unranked.assign_attrs(answer="", winner="")))
    assert "dose-series" in page.ids
    (spec,) = [spec for spec in page.specs if len(spec["views"]) == 3]
    median = spec["views"][0]["traces"][1][-1]  # CPD01, pAKT: the second readout of the scenario
    assert median["x"] == report_data.DOSES
    assert median["y"][0] > 5 * median["y"][-1], "the inhibitor lowers the mean level"


def test_an_empty_result_still_gives_a_page() -> None:
    assert Page(report.html(xr.Dataset(attrs={"title": "nothing"}))).ids


def test_nothing_is_fetched(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in FETCHING & set(attributes):
            assert (attributes[name] or "").startswith("#"), f"<{tag} {name}={attributes[name]}> leaves the page"
        assert tag not in ("link", "iframe", "img", "object", "embed")
    (policy,) = [a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_the_style_fetches_nothing(text: str) -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style


def test_only_our_scripts_may_run_and_names_stay_text() -> None:
    data = report_data.result()
    renamed = [NASTY if name == "CPD01" else name for name in Contents(data).texts("compound")]
    arms = [f"{name} {NASTY}" for name in Contents(data).texts("arm")]
    points = [arms[list(data["arm"].values).index(name)] for name in data["measured_arm"].values]
    candidates = [NASTY if name == "CPD01" else name for name in Contents(data).texts("candidate")]
    data = data.assign_coords(compound=("arm", renamed), arm=arms, candidate=candidates)
    data = data.assign_coords(parameter=[f"{NASTY}{n}" for n in range(data.sizes["parameter"])])
    data["measured_arm"] = ("point", points)
    data.attrs |= {"title": NASTY, "question": NASTY, "answer": NASTY, "answer_details": json.dumps([NASTY])}
    page = Page(report.html(data))
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    running = [one for one in scripts if one.get("type") != "application/json"]
    assert len(running) == 2, "Plotly and the page's own script, nothing else"
    assert not [1 for tag, a in page.tags if tag == "img" or any(name.startswith("on") for name in a)]
    assert NASTY in page.text
    # what Plotly reads as markup is escaped once more in labels
    shown = json.dumps(page.specs, ensure_ascii=False)
    assert "<img" not in shown
    assert "&lt;img" in shown
    assert "@blue %{x}" not in shown


def test_labels_of_plots_hold_no_markup_of_users(page: Page) -> None:
    """Hover templates are ours and may hold <b>; every other text of a figure is a user's and may not."""
    allowed = re.compile(r"<br>|</?b>|<extra></extra>")
    for value in _texts(page.specs):
        assert "<" not in allowed.sub("", value)


def _texts(data: object) -> list[str]:
    if isinstance(data, str):
        return [data]
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else []
    return [text for part in parts for text in _texts(part)]


def test_the_same_result_gives_the_same_bytes(result: xr.Dataset, text: str, tmp_path: Path) -> None:
    stored = tmp_path / "again.zarr"
    result.to_zarr(stored, zarr_format=3, consolidated=False)
    with xr.open_zarr(stored, consolidated=False) as opened:
        again = opened.load()
    report.write(again, tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_every_figure_is_one_that_plotly_knows(page: Page) -> None:
    """Plotly's own checks of every trace and layout, with colours as the reader's scheme would give them."""
    import plotly.graph_objects as go

    for spec in page.specs:
        views = spec["views"] or [{"traces": [[]] * len(spec["panels"]), "layouts": []}]
        for view in views:
            for n, panel in enumerate(spec["panels"]):
                layout = panel["layout"] | (view["layouts"][n] if view["layouts"] else {})
                go.Figure(data=_painted([*panel["traces"], *view["traces"][n]]), layout=_painted(layout))


def _painted(data):
    if isinstance(data, dict):
        return {key: _painted(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_painted(value) for value in data]
    return re.sub(r"^@[a-z0-9]+(/[0-9.]+)?$", "#123456", data) if isinstance(data, str) else data


def test_every_axis_says_what_it_shows_and_doses_are_logarithmic(page: Page) -> None:
    logs = 0
    for spec in page.specs:
        for panel in spec["panels"]:
            for name in ("xaxis", "yaxis"):
                axis = panel["layout"][name]
                assert axis.get("type") == "category" or axis["title"]["text"]
                logs += axis.get("type") == "log"
    assert logs >= 5


def test_every_figure_has_words_for_those_who_do_not_see_it(page: Page) -> None:
    plots = [attributes for _, attributes in page.tags if attributes.get("class") == "plot"]
    assert plots
    assert all(len(one["aria-label"] or "") > 20 and one["role"] == "img" for one in plots)


def test_tables_have_captions_and_headers(page: Page) -> None:
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables == sum(tag == "caption" for tag, _ in page.tags) > 0
    headers = [attributes for tag, attributes in page.tags if tag == "th"]
    assert headers
    assert all(one.get("scope") in ("col", "row") for one in headers)


def test_measured_points_are_drawn_over_the_measured_protocol_only(result: xr.Dataset) -> None:
    moved = result.copy()
    moved["measured_arm"] = (
        "point",
        [str(result["arm"].values[0])] * result.sizes["point"],
    )  # the vehicle, not measured
    page = Page(report.html(moved))
    assert "measured %{text}" not in json.dumps(page.specs)
    assert "5 of 5 points belong to no arm of this result and are not drawn" in page.text
    assert json.dumps(Page(report.html(result)).specs).count("measured %{text}") == 2  # two sets of one arm


def test_cells_set_aside_are_told_and_enter_no_number(result: xr.Dataset) -> None:
    broken = result.copy(deep=True)
    winner = Contents(broken).winner
    assert winner is not None
    broken["status"][winner.index, 0] = 1
    broken["removed"][winner.index, 0] = 1e6
    page = Page(report.html(broken))
    assert "1 of 960 simulations were set aside (1 × simulator failed)" in page.text
    assert "1e+06" not in json.dumps(page.specs)


def test_many_cells_are_thinned_aloud() -> None:
    data = report_data.result(compounds=2, members=1000)
    text = report.html(data)
    assert "400 of 1000, evenly spaced by number" in text
    assert len(text.encode()) < 8e6


def test_a_full_sized_page_is_below_eight_megabytes() -> None:
    assert len(report.html(report_data.result(compounds=18, members=200, rows=40)).encode()) < 8e6


def test_a_result_whose_details_are_not_json_is_refused(result: xr.Dataset) -> None:
    with pytest.raises(InputError, match=r"attribute 'answer_details' is not JSON .* run the scenario again"):
        report.html(result.assign_attrs(answer_details="[oops"))


def test_the_command_rebuilds_the_page_from_the_result_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scenarios.cli import main

    report_data.result().to_zarr(tmp_path / "mine.zarr", zarr_format=3, consolidated=True)
    assert main(["report", str(tmp_path / "mine.zarr")]) == 0
    assert f"wrote {tmp_path / 'mine.html'}" in capsys.readouterr().out
    assert "dose-response" in Page((tmp_path / "mine.html").read_text(encoding="utf-8")).ids


# --- the smallest pieces


def test_quantiles_equal_those_of_numpy_and_pass_over_gaps() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(5, 7, 41))
    values[rng.random(values.shape) < 0.3] = np.nan
    values[0, 0] = np.nan
    found = quantiles(values, (0.05, 0.5, 0.95), axis=1)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning) if np.isnan(values).all(axis=1).any() else _nothing():
        expected = np.nanquantile(values, (0.05, 0.5, 0.95), axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)
    assert np.isnan(quantiles(np.full((2, 3), np.nan))).all()
    assert quantiles(np.zeros((2, 0))).shape == (5, 2)


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "0.1 nM"), (0.001, "1 nM"), (0.3, "300 nM"), (1, "1 µM"), (30, "30 µM"), (2e-7, "0.2 pM"), (np.nan, "–")],
)
def test_doses_read_as_the_field_writes_them(value: float, text: str) -> None:
    assert number.dose(value).replace(number.SPACE, " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 %"), (0.001, "< 1 %"), (0.666, "67 %"), (0.999, "> 99 %"), (1, "100 %"), (-0.2, "−20 %"), (np.nan, "–")],
)
def test_shares_never_round_to_none_or_all(value: float, text: str) -> None:
    assert number.percent(value).replace(number.SPACE, " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0602, "0.060"), (1660.4, "1700"), (36219, "36 000"), (3.1e9, "3.1·10⁹"), (-2.04e-5, "−2·10⁻⁵"), (0.9999, "1.0"), (0, "0")],
)  # fmt: skip
def test_numbers_keep_their_significant_digits(value: float, text: str) -> None:
    assert number.significant(value, 2).replace(number.SPACE, " ") == text


@pytest.mark.parametrize(("value", "text"), [(0.05, "3.0 s"), (30, "30 min"), (180, "3.0 h"), (10000, "6.9 d")])
def test_times_read_in_their_best_unit(value: float, text: str) -> None:
    assert number.minutes(value).replace(number.SPACE, " ") == text


def test_elements_escape_all_but_markup() -> None:
    assert (
        element("p", "<b>", Markup("<i>x</i>"), class_="a", title='"')
        == '<p class="a" title="&quot;">&lt;b&gt;<i>x</i></p>'
    )


def test_json_cannot_end_its_script() -> None:
    text = as_json({"a": "</script>&\u2028"})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script>&\u2028"}


def test_ticks_of_a_logarithmic_axis_are_decades() -> None:
    axis = log_axis("rate", np.array([1e3, 5e9, np.nan, 0.0]))
    assert axis["ticktext"][0] == "1000"
    assert axis["ticktext"][-1] == "10⁹"


# --- in the terminal


def printed(data: xr.Dataset, width: int) -> str:
    out = StringIO()
    show(
        data, result=Path("results/a very long name " * 6), page=Path("p.html"), console=Console(file=out, width=width)
    )
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_the_terminal_table_keeps_its_width_and_paths_stay_whole(result: xr.Dataset, width: int) -> None:
    text = printed(result, width)
    lines = [line for line in text.splitlines() if not line.startswith("result  ")]
    assert max(map(len, lines)) <= min(width, 100)
    assert f"result  {Path('results/a very long name ' * 6)}" in text
    assert not re.search(r"[\u2500-\u257f\x1b]", text), "no box drawing and no colour where there is no terminal"
    assert "10 µM" in text or "30 µM" in text


def test_the_terminal_table_takes_names_as_they_are(result: xr.Dataset) -> None:
    odd = result.assign_coords(
        compound=("arm", ["[red]A[/red]" if c else "" for c in Contents(result).texts("compound")])
    )
    assert "[red]A[/red]" in printed(odd, 100)


def test_the_terminal_tells_where_things_are_without_an_answer() -> None:
    text = printed(report_data.plain_result(), 80)
    assert "page    p.html" in text
    assert "rank" not in text


# --- in a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def opened(page: Path, folder: Path, *more: str) -> tuple[str, str]:
    """The page after its scripts have run, and what the browser's console said; the network leads nowhere."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        "--proxy-server=127.0.0.1:9", f"--user-data-dir={folder}", "--enable-logging=stderr", "--v=0", "--window-size=1280,2000",
        "--virtual-time-budget=20000", "--dump-dom", *more, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return done.stdout, console


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
@pytest.mark.parametrize("which", ["full", "plain", "nasty"])
def test_the_page_opens_in_a_browser(which: str, tmp_path: Path) -> None:
    data = report_data.plain_result() if which == "plain" else report_data.result()
    if which == "nasty":
        data = data.assign_coords(
            compound=("arm", [NASTY if c == "CPD01" else c for c in Contents(data).texts("compound")])
        )
    report.write(data, tmp_path / "page.html")
    dom, console = opened(tmp_path / "page.html", tmp_path / "profile")
    assert console == ""
    source = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    wanted = sum(attributes.get("class") == "plot" for _, attributes in source.tags)
    assert wanted > 0
    assert f'data-drawn="{wanted}"' in dom, "every plot was drawn"
    assert len(re.findall(r'class="plot js-plotly-plot"', dom)) == wanted
    assert dom.count('<svg class="main-svg"') >= wanted
