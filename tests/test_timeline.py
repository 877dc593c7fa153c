"""The timeline of a run: true times of every task on every rank, in the format that Perfetto reads, and never in the bits of a result."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import hpc_tasks as work
import jsonschema
import mpi_launch
import numpy as np
import pytest
import small_scenario
from mpi_launch import needs_mpiexec
from same_result import opened, same_result

from hpc import open_executor
from hpc.chrome_trace import Bar, events
from hpc.parcel import Kind, Work, label, pack, stamp, unpack
from hpc.parcel import work as worked
from scenarios import report
from scenarios.cli import main
from scenarios.clocks import Clocks
from scenarios.progress import Progress

# the Trace Event Format's own words: which fields each phase must have, and of what kind they are
FORMAT = {
    "type": "object",
    "required": ["traceEvents"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
        "traceEvents": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "ph", "pid", "tid"],
                "properties": {
                    "name": {"type": "string"},
                    "cat": {"type": "string"},
                    "pid": {"type": "integer", "minimum": 1, "maximum": 2**32 - 1},
                    "tid": {"type": "integer", "minimum": 1, "maximum": 2**32 - 1},
                    "args": {"type": "object"},
                },
                "oneOf": [
                    {
                        "properties": {
                            "ph": {"const": "X"},
                            "ts": {"type": "number", "minimum": 0},
                            "dur": {"type": "number", "minimum": 0},
                        },
                        "required": ["ts", "dur"],
                    },
                    {
                        "properties": {
                            "ph": {"const": "M"},
                            "name": {
                                "enum": ["process_name", "process_sort_index", "thread_name", "thread_sort_index"]
                            },
                        },
                        "required": ["args"],
                    },
                    {
                        "properties": {
                            "ph": {"const": "C"},
                            "args": {"type": "object", "additionalProperties": {"type": "number"}},
                        },
                        "required": ["ts", "args"],
                    },
                ],
            },
        },
    },
}


def checked(text: str) -> list[dict[str, Any]]:
    """A trace's events; fails where it breaks the format, or where bars of a row overlap, which Perfetto drops."""
    trace = json.loads(text)
    jsonschema.validate(trace, FORMAT)
    free: dict[tuple[int, int], float] = {}
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            row = event["pid"], event["tid"]
            assert event["ts"] >= free.get(row, 0.0) - 1e-6, "bars of a row overlap"
            free[row] = event["ts"] + event["dur"]
    return trace["traceEvents"]


def test_a_parcel_carries_when_it_was_worked_out() -> None:
    content = {"x": np.arange(5.0), "name": "µ"}
    parcel = pack(Kind.RESULT, content, round=3, index=7)
    assert worked(parcel) is None
    said = Work(1_700_000_000_123_456_789, 42, 5, 4321)
    assert worked(stamp(parcel, said)) == said
    assert label(parcel) == (Kind.RESULT, 3, 7)
    np.testing.assert_array_equal(unpack(parcel)["x"], content["x"])


@pytest.mark.parametrize("processes", [1, 3])
def test_tasks_are_timed_where_they_run(processes: int) -> None:
    """Sleeps have a known length; they lie between begin and end of the map by the same clock."""
    seconds = [0.02, 0.05, 0.01, 0.03, 0.04, 0.02]
    with open_executor(processes) as executor:
        executor.map(work.square, [1])
        executor.timeline.take()
        began = time.time()
        executor.map(work.nap, seconds)
        ended = time.time()
        spans = executor.timeline.take()
    assert sorted(span.task for span in spans) == list(range(len(seconds)))
    for span in spans:
        assert seconds[span.task] <= span.took_s < seconds[span.task] + 0.5
        assert began - 0.01 <= span.began_s
        assert span.began_s + span.took_s <= ended + 0.01
    by_worker: dict[int, list[tuple[float, float]]] = {}
    for span in sorted(spans, key=lambda span: span.began_s):
        by_worker.setdefault(span.worker, []).append((span.began_s, span.began_s + span.took_s))
    assert len(by_worker) <= processes
    for rows in by_worker.values():
        assert all(one[1] <= other[0] + 1e-3 for one, other in itertools.pairwise(rows))


def test_events_follow_the_format() -> None:
    bars = [
        Bar("cells", "cells", 0, 0, 100.0, 4.0),
        Bar("b", "cells", 3, 9, 101.0, 2.0),
        Bar("a", "cells", 0, 9, 100.5, 1.0),
    ]
    # a clock that was set back: the bar would lie on the one before
    bars.append(Bar("late", "cells", 3, 9, 102.5, 1.0))
    found = checked(json.dumps({"traceEvents": events(bars)}))
    shown = {event["name"]: (event["pid"], event["ts"], event["dur"]) for event in found if event["ph"] == "X"}
    assert shown == {"cells": (1, 0, 4e6), "a": (1, 5e5, 1e6), "b": (4, 1e6, 2e6), "late": (4, 3e6, 5e5)}
    names = {event["pid"]: event["args"]["name"] for event in found if event["name"] == "process_name"}
    assert names == {1: "rank 0", 4: "rank 3"}
    assert len({event["tid"] for event in found if event["ph"] == "X"}) == 3  # rows are unique in the file
    busy = [(event["ts"], event["args"]["busy"]) for event in found if event["ph"] == "C"]
    assert busy == [(5e5, 1), (1e6, 2), (1.5e6, 1), (3e6, 1), (3.5e6, 0)]


def test_shares_of_time_at_work() -> None:
    """Two workers of two ranks: one works all 6 s, the other the first 3 s; the root's last stage takes 4 s more."""
    from hpc.timeline import Span

    clocks = Clocks()
    t0 = clocks.begun_s
    clocks.stage("cells", "", t0, 6.0)
    clocks.stage("report", "", t0 + 6.0, 4.0)
    clocks.tasks(["cells a", "cells b"], [Span(0, 0, 11, t0, 6.0), Span(1, 1, 12, t0, 3.0)])
    said = clocks.attributes(2)
    found = json.loads(str(said["run_utilisation"]))
    assert said["run_busy"] == pytest.approx(0.75, abs=1e-4)
    assert found["bin_s"] == pytest.approx(10 / 60, abs=1e-5)
    np.testing.assert_allclose(found["busy"], [1.0] * 18 + [0.5] * 18 + [0.0] * 24, atol=2e-3)
    assert found["ranks"] == {"0": 1.0, "1": pytest.approx(0.5, abs=1e-4)}
    many = Clocks()
    many.tasks(["cells x"] * 100, [Span(i, i, 1, t0, 1.0 + i / 100) for i in range(100)])
    assert len(json.loads(str(many.attributes(100)["run_utilisation"]))["rank_quantiles"]) == 5


def test_progress_tells_pace_workers_and_time_left() -> None:
    """10 of 100 came from the journal; of the 90 others 45 are done in 9 s by tasks of 15 s in sum: 9 s are left."""
    stream = io.StringIO()
    progress = Progress(stream=stream, workers=(4, "ranks"))
    with progress.stage("cells", "courses", 100) as stage:
        stage.advance(10)
        assert stage.pace == ""
        stage._begun = stage._said = time.monotonic() - 9.0
        for _ in range(9):
            stage.worked(15 / 9)
            stage.advance(5)
        assert stage.pace == "1 tasks/s, 1.7 of 4 ranks busy, 9 s left"
        stage._said -= 10.0
        stage.advance(0)
    assert "cells     55 of 100 (55%), 1 tasks/s, 1.7 of 4 ranks busy, 9 s left" in stream.getvalue()


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small scenario with a timeline, by two workers; and without one, by one."""
    folder = tmp_path_factory.mktemp("timed")
    scenario = str(small_scenario.write(folder))
    with_it = ["--out", str(folder / "two.zarr"), "--processes", "2", "--timeline", str(folder / "trace.json")]
    assert main(["run", scenario, *with_it]) == 0
    assert main(["run", scenario, "--out", str(folder / "one.zarr"), "--processes", "1"]) == 0
    return folder


def test_a_run_writes_its_timeline_and_the_result_has_the_same_bits(timed: Path) -> None:
    same_result(timed / "one.zarr", timed / "two.zarr")
    found = checked((timed / "trace.json").read_text(encoding="utf-8"))
    bars = [event for event in found if event["ph"] == "X"]
    assert {event["name"] for event in bars} >= {"cells", "report", "cells 0x3:0-64"}
    stages = {event["name"]: event for event in bars if event["name"] in ("cells", "report")}
    tasks = [event for event in bars if event["name"].startswith("cells ")]
    assert len(tasks) == len({event["name"] for event in tasks}) == 12
    inside = stages["cells"]["ts"] - 2e3, stages["cells"]["ts"] + stages["cells"]["dur"] + 2e3
    assert all(inside[0] <= event["ts"] and event["ts"] + event["dur"] <= inside[1] for event in tasks)
    about = json.loads((timed / "trace.json").read_text(encoding="utf-8"))["otherData"]
    assert (about["run_executor"], about["run_workers"]) == ("processes", 2)


def test_the_page_shows_how_busy_the_workers_were(timed: Path) -> None:
    dataset = opened(timed / "two.zarr")
    assert 0 < dataset.attrs["run_busy"] <= 1
    page = report.html(dataset)
    assert 'id="run-utilisation"' in page
    assert "time went into tasks, from the first task" in page
    assert "bin_s" not in page


@pytest.mark.parametrize(
    ("name", "says"),
    [("nowhere/trace.json", "there is no folder"), ("there.json", "is there already"), (".", "is a folder")],
)
def test_a_timeline_that_cannot_be_written_is_refused_before_anything_runs(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path)
    Path("there.json").write_text("mine")
    assert main(["run", "small.yaml", "--processes", "1", "--timeline", name]) == 2
    assert says in capsys.readouterr().err
    assert not Path("results").exists()
    assert Path("there.json").read_text() == "mine"


def test_a_disk_that_does_not_take_the_timeline_does_not_change_how_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Job scripts go by the exit code. The name fits, but not with what is added to it while it is written."""
    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path)
    assert main(["run", "small.yaml", "--processes", "1", "--timeline", "t" * 255]) == 0
    said = capsys.readouterr()
    assert "could not be written (File name too long)" in said.out + said.err
    assert Path("results").is_dir()


@needs_mpiexec
def test_every_rank_has_its_rows(tmp_path: Path) -> None:
    scenario, trace = str(small_scenario.write(tmp_path)), tmp_path / "trace.json"
    arguments = ["-m", "scenarios.cli", "run", scenario, "--out", str(tmp_path / "r.zarr"), "--timeline", str(trace)]
    done: subprocess.CompletedProcess[str] = mpi_launch.run(2, *arguments, timeout_s=240)
    assert done.returncode == 0, done.stdout + done.stderr
    found = checked(trace.read_text(encoding="utf-8"))
    by_rank = {event["args"]["rank"] for event in found if event["ph"] == "X" and event["name"].startswith("cells ")}
    assert by_rank == {0, 1}
    assert {e["args"]["name"] for e in found if e["name"] == "process_name"} == {"rank 0", "rank 1"}
