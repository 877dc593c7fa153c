"""Stopping: Ctrl-C and SIGTERM end a job where that does no harm, with their exit codes, and nothing finished is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mpi_launch import environment

from hpc import Journal, LaunchError, Stopped, stop
from hpc.walltime import seconds_of

JOB = """
import os, sys, time
import hpc_tasks
from hpc import Journal, Stopped, open_executor

if __name__ == "__main__":
    seconds, path, processes = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    try:
        walltime_s = float(os.environ.get("WALLTIME", 0)) or None
        with open_executor(processes, walltime_s=walltime_s) as executor, Journal(path, {"job": "stop test"}) as journal:
            def keep(index, result):
                journal.append(str(index))
                print(index, flush=True)
            print("ready", flush=True)
            executor.map(hpc_tasks.nap, [seconds] * 1000, on_result=keep)
    except Stopped as stopped:
        print("stopped", stopped, file=sys.stderr)
        sys.exit(stopped.exit_code)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_raised_at_once_in_the_main_flow(number: int, code: int) -> None:
    def main_flow() -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)

    with stop.listening(), pytest.raises(Stopped) as caught:
        main_flow()
    assert caught.value.exit_code == code
    assert not isinstance(caught.value, Exception)  # `except Exception` must not swallow it


def test_deferred_until_the_block_ends() -> None:
    done: list[str] = []

    def main_flow() -> None:
        with stop.deferred():
            with stop.deferred():
                os.kill(os.getpid(), signal.SIGTERM)
                assert stop.requested() == signal.SIGTERM
                done.append("inner")
            done.append("outer")
        done.append("after")

    with stop.listening():
        with pytest.raises(Stopped, match="told to end"):
            main_flow()
        assert done == ["inner", "outer"]
        stop.check()  # obeyed already: not raised again by cleaning up
    with stop.listening():
        assert stop.requested() is None


def test_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop.listening():
        with stop.listening():
            pass
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_compiled_code_that_waits_is_ended_by_the_first_signal() -> None:
    code = (
        "import ctypes\nfrom hpc import stop\n"
        "with stop.listening(), stop.immediate():\n"
        "    print('ready', flush=True)\n"
        "    ctypes.PyDLL(None).sleep(60)\n"  # holds the interpreter's lock, as MPI does while it starts
    )
    job = subprocess.Popen([sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, text=True)
    _line(job)
    time.sleep(0.2)
    job.send_signal(signal.SIGTERM)
    assert job.wait(10) == -signal.SIGTERM


def test_outside_the_main_thread_nothing_is_touched() -> None:
    def inside() -> None:
        with stop.listening():
            assert signal.getsignal(signal.SIGINT) == before

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_map_stops_soon_and_keeps_what_was_finished(number: int, code: int, processes: int, tmp_path: Path) -> None:
    job = _job(tmp_path, "0.02", str(processes))
    assert _line(job) == "ready"
    lines = [_line(job) for _ in range(5)]
    sent = time.monotonic()
    job.send_signal(number)
    assert job.stdout is not None
    assert job.stderr is not None
    out, err = job.stdout.read(), job.stderr.read()  # `communicate` would lose what `readline` has read ahead
    job.wait(20)
    taken = time.monotonic() - sent
    assert job.returncode == code
    assert err.startswith("stopped ")
    assert "Traceback" not in err
    said = [*lines, *out.split()]
    with Journal(tmp_path / "journal", {"job": "stop test"}) as journal:
        assert sorted(journal, key=int) == sorted(said, key=int)
        assert len(journal) < 1000
    # 0.05 s until it is noticed; the rest is Python's own end on a busy machine
    assert taken < 5.0


@pytest.mark.parametrize(
    "after_s", [0.05, 0.1, 0.2, 1.5]
)  # while workers start, and when they are asleep in their tasks
def test_long_tasks_do_not_hold_it_up_and_workers_ignore_the_terminal(after_s: float, tmp_path: Path) -> None:
    job = _job(tmp_path, "60", "2", start_new_session=True)
    assert _line(job) == "ready"
    time.sleep(after_s)
    os.killpg(job.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    _, err = job.communicate(timeout=20)
    assert job.returncode == 130
    assert err == "stopped interrupted (Ctrl-C).\n"


@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_stops_before_its_time_is_over(processes: int, tmp_path: Path) -> None:
    """Tasks of 0.7 s in 4 s, a tenth of them in reserve: none is begun that could not end, so none is cut off."""
    begun = time.monotonic()
    job = _job(tmp_path, "0.7", str(processes), WALLTIME="4")
    out, err = job.communicate(timeout=30)
    assert job.returncode == 75, err
    assert err == "stopped the time given (--walltime) is over.\n"
    assert time.monotonic() - begun < 4.0 + 2.0  # counted from when Python has started; the rest is for a busy machine
    with Journal(tmp_path / "journal", {"job": "stop test"}) as journal:
        assert 1 <= len(journal) <= 5 * processes
        assert sorted(journal, key=int) == sorted(out.split()[1:], key=int)


def test_a_task_longer_than_the_time_left_is_cut_off_in_time(tmp_path: Path) -> None:
    job = _job(tmp_path, "60", "2", WALLTIME="3")
    _, err = job.communicate(timeout=20)
    assert job.returncode == 75, err


@pytest.mark.parametrize(("text", "seconds"), [("00:55:00", 3300), ("1-12:00:30", 129630), ("100:00:00", 360000)])
def test_walltimes(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["55", "00:61:00", "1h", "00:00:00", "-1:00:00", ""])
def test_what_is_no_walltime_names_the_form(text: str) -> None:
    with pytest.raises(LaunchError, match=r"--walltime .*00:55:00"):
        seconds_of(text)


def test_a_second_ctrl_c_ends_at_once() -> None:
    code = (
        "import time\nfrom hpc import stop\n"
        "with stop.listening(), stop.deferred():\n"
        "    print('ready', flush=True)\n"
        "    for _ in range(600): time.sleep(0.1)\n"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _line(job)
    job.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert job.poll() is None  # deferred
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=10)
    assert job.returncode == 130
    assert "stopped at once" in err


def _job(folder: Path, *arguments: str, start_new_session: bool = False, **more: str) -> subprocess.Popen[str]:
    script = folder / "job.py"
    script.write_text(JOB)
    seconds, processes = arguments
    return subprocess.Popen(
        [sys.executable, script, seconds, folder / "journal", processes],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )


def _line(job: subprocess.Popen[str]) -> str:
    assert job.stdout is not None
    return job.stdout.readline().strip()
