"""What a run outlives, tried for real: ranks and processes killed at random moments, checkpoints cut off, disks that are full.

A run under `mpiexec --with-ft ulfm` is the real command on a small scenario. Its journal is deleted when the result is there;
a second name given to the file keeps what was recorded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpc import mpiexec
from hpc.errors import LaunchError

SCENARIO = """\
name: faults
title: A species that is made and decays
question: What is left of it when ranks die?
seed: 3
members: {members}

cell:
  antimony: |
    A = 0; ksyn = 2; kdeg = 0.1
    J1: -> A; ksyn
    J2: A -> ; kdeg * A
  units: {{A: nM, ksyn: nM/min, kdeg: 1/min}}
  equilibrate: true

cell_lines:
  one: {{}}
  other: {{ksyn: 4 nM/min}}

readouts:
  A: {{label: amount, units: nM}}

time: {{start: -10 min, end: 20 min, samples: [-10 min, 0 min, 20 min]}}

uncertainty:
  cell-to-cell:
    parameters:
      ksyn: {{lognormal: {{cv: 0.3}}, source: assumed}}
      kdeg: {{uniform: [0.05 1/min, 0.15 1/min], source: assumed}}

arms:
  - treatment: none
    role: vehicle
  - treatment: bolus
    doses: [1 nM, 5 nM]
    changes:
      - {{bolus: A, dose: each, at: 0 min}}
"""
RANKS = 4
_LIMIT_S = 300.0


@dataclass
class Kill:
    """One run of which a rank was killed.

    Attributes:
        rank: which; -1: none.
        at_s: when, after all ranks had started MPI.
        resumed_on: ranks on which the run went on, where the job had died with its rank; 0: it went on by itself.
        exit_code: of the launcher.
        same_bits: whether the result is that of the undisturbed run, but for clocks and workers.
        records: in the journal, written twice among them: `twice`; damaged: `damaged`.
        recovery_s: from the kill until who leads has said so and hands out tasks again: the root, or the one that leads in its
            place and has read scenario and journal. None where the job died, or no task was left.
        next_record_s: from the kill to the next record; it holds the time that a task takes.
        seconds: of the whole run.
    """

    rank: int
    at_s: float
    resumed_on: int = 0
    exit_code: int = -1
    same_bits: bool = False
    records: int = 0
    twice: int = 0
    damaged: int = 0
    recovery_s: float | None = None
    next_record_s: float | None = None
    seconds: float = 0.0
    said: str = field(default="", repr=False)

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, recorded twice or changed."""
        return self.exit_code == 0 and self.same_bits and not self.twice and not self.damaged


def write_scenario(folder: Path, members: int) -> Path:
    """The small scenario of these trials."""
    path = folder / "faults.yaml"
    path.write_text(SCENARIO.format(members=members), encoding="utf-8")
    return path


def kills(
    folder: Path,
    *,
    count: int,
    seed: int,
    members: int = 1000,
    ranks: int = RANKS,
    tolerant: bool = True,
    place: Sequence[str] = (),
) -> Iterator[Kill]:
    """Runs of which one rank each is killed: each in turn, at moments drawn evenly over the time of the undisturbed run.

    Args:
        folder: to work in; runs that passed are deleted.
        count: of runs.
        seed: of the moments.
        members: cells per line: how much there is to do.
        ranks: of each run.
        tolerant: whether the launcher is asked for fault tolerance. If not, the job dies with its rank, and the run is resumed on
            2 and on 7 ranks in turn.
        place: simulators on ranks of their own, as ``cell=1-2``; none: ranks take tasks.

    Raises:
        LaunchError: there is no such launcher.
    """
    scenario = write_scenario(folder, members)
    undisturbed = Kill(rank=-1, at_s=float("inf"))
    _run(folder / "undisturbed", scenario, undisturbed, ranks, tolerant=tolerant, place=place)
    if undisturbed.exit_code:
        raise LaunchError(f"the undisturbed run ended with exit code {undisturbed.exit_code}:\n{undisturbed.said}")
    expected = digest(folder / "undisturbed" / "r.zarr")
    draws = np.random.default_rng(seed)
    span_s = undisturbed.seconds
    for number in range(count):
        here = folder / f"kill-{number}"
        while True:
            # how long a run takes varies with kernels to compile and what else the machine does: one that ended before its
            # kill tells how long, and is drawn again
            kill = Kill(rank=number % ranks, at_s=float(draws.uniform(0.0, 0.9 * span_s)))
            _run(here, scenario, kill, ranks, tolerant=tolerant, place=place)
            if kill.exit_code != _TOO_LATE:
                break
            span_s = min(span_s, kill.seconds)
            shutil.rmtree(here)
        if not tolerant and kill.exit_code:
            kill.resumed_on = (2, 7)[number % 2]
            kill.exit_code = _resume(here, scenario, kill.resumed_on)
        kill.same_bits = kill.exit_code == 0 and digest(here / "r.zarr") == expected
        if kill.passed:
            shutil.rmtree(here)
        yield kill


_TOO_LATE = -1000


def _run(here: Path, scenario: Path, kill: Kill, ranks: int, *, tolerant: bool, place: Sequence[str]) -> None:
    """A run in a folder of its own, with one rank killed; fills in what came of it."""
    here.mkdir()
    journal, kept = here / ".r.zarr.journal", here / "journal"
    noticed = "this one leads now" if kill.rank == 0 else "has died"
    with (here / "said").open("w+") as said:
        command = _command(here, scenario, ranks, tolerant=tolerant, place=place)
        job = subprocess.Popen(command, env=mpiexec.environment(), stdout=said, stderr=subprocess.STDOUT)
        pids: dict[int, int] = {}
        begun: float | None = None
        killed: float | None = None
        size = 0
        try:
            deadline = time.monotonic() + _LIMIT_S
            while job.poll() is None and time.monotonic() < deadline:
                now = time.monotonic()
                if not kept.exists() and journal.exists():
                    os.link(journal, kept)
                if begun is None:
                    pids = started(job.pid)
                    begun = now if len(pids) == ranks else None
                elif killed is None and now - begun >= kill.at_s:
                    with contextlib.suppress(ProcessLookupError):  # a rank may have ended before its launcher has
                        os.kill(pids[kill.rank], signal.SIGKILL)
                        killed = now
                    size = kept.stat().st_size if kept.exists() else 0
                elif killed is not None:
                    if kill.next_record_s is None and kept.exists() and kept.stat().st_size > size:
                        kill.next_record_s = now - killed
                    if kill.recovery_s is None and noticed in (here / "said").read_text():
                        kill.recovery_s = now - killed
                time.sleep(0.005)
            kill.exit_code = job.wait(1) if job.poll() is not None else -1
            if killed is None and kill.rank >= 0:
                kill.exit_code = _TOO_LATE
        finally:
            if job.poll() is None:
                job.kill()
        kill.seconds = time.monotonic() - (begun or time.monotonic())
        said.seek(0)
        kill.said = said.read()
    if kept.exists():
        kill.records, kill.twice, kill.damaged = records(kept)


def _resume(here: Path, scenario: Path, ranks: int) -> int:
    """Go on with a run whose job has died; the exit code."""
    command = [*_command(here, scenario, ranks, tolerant=False), "--resume"]
    return subprocess.run(
        command, env=mpiexec.environment(), capture_output=True, timeout=_LIMIT_S, check=False
    ).returncode


def _command(here: Path, scenario: Path, ranks: int, *, tolerant: bool, place: Sequence[str] = ()) -> list[str]:
    twin = ["-m", "scenarios.cli", "run", str(scenario), "--out", str(here / "r.zarr")]
    twin += ["--place", *place] if place else []
    return _launched(ranks, twin, tolerant=tolerant)


def set_aside(folder: Path, *, ranks: int | None = None) -> dict[str, Any]:
    """One task of twelve kills its process each time: it is tried three times, and the others complete.

    Args:
        folder: to work in.
        ranks: of an MPI job; None: two worker processes.

    Raises:
        AssertionError: it was not so.
    """
    program = ["-m", __spec__.name, str(folder), "" if ranks is not None else "2"]
    command = [sys.executable, *program] if ranks is None else _launched(ranks, program, tolerant=False)
    done = subprocess.run(
        command, env=mpiexec.environment(), capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["results"] == [task for task in range(12) if task != _LETHAL], found
    assert found["error_type"] == "WorkerDied", found
    assert found["index"] == _LETHAL, found
    return {"ranks": ranks, "tries": len(list(folder.glob("tried-*"))), "said": found["said"]}


_LETHAL = 5


@dataclass(frozen=True)
class Lethal:
    """A task that kills its process."""

    folder: Path

    def __call__(self, task: int) -> int:
        """The task, unless it is the fifth."""
        if task == _LETHAL:
            (self.folder / f"tried-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task


def main(folder: str, processes: str) -> None:
    """The program of `set_aside`."""
    from hpc import TaskFailure, open_executor

    with open_executor(int(processes) if processes else None) as executor:
        executor.serve()
        if executor.is_root:
            found = executor.map(Lethal(Path(folder)), range(12))
            lost = next(one for one in found if isinstance(one, TaskFailure))
            fine = [one for one in found if not isinstance(one, TaskFailure)]
            said = {"results": fine, "error_type": lost.error_type, "index": lost.index, "said": str(lost)}
            print(json.dumps(said))


def records(path: Path) -> tuple[int, int, int]:
    """How many records a journal holds, how many of them have a key that was written before, and how many are damaged."""
    from hpc.journal import keys

    found = list(keys(path))
    whole = [key for key in found if key is not None]
    return len(whole), len(whole) - len(set(whole)), len(found) - len(whole)


def digest(result: Path) -> str:
    """Of all numbers and attributes of a result but clocks and workers."""
    import xarray

    found = hashlib.sha256()
    with xarray.open_zarr(result) as dataset:
        for name in sorted(map(str, dataset.variables)):
            values = np.ascontiguousarray(dataset[name].values)
            found.update(f"{name} {values.dtype} {values.shape} {sorted(dataset[name].attrs.items())}".encode())
            found.update(values.tobytes() if values.dtype != object else str(values.tolist()).encode())
        kept = {key: str(value) for key, value in dataset.attrs.items() if not str(key).startswith("run_")}
        found.update(json.dumps(kept, sort_keys=True).encode())
    return found.hexdigest()


def _launched(ranks: int, program: list[str], *, tolerant: bool) -> list[str]:
    """The command that starts a program on so many ranks.

    Raises:
        LaunchError: there is no launcher, or none that lets jobs outlive their ranks.
    """
    command = mpiexec.command(ranks, program)
    cure = "install the extra `mpi` (Open MPI 5 as a wheel), or load a module of Open MPI 5."
    if command is None:
        raise LaunchError(f"no mpiexec: {cure}")
    if not tolerant:
        return command
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=False).stdout
    if "(Open MPI) 5" not in version:
        raise LaunchError(f"{command[0]} does not let jobs outlive their ranks ({version.splitlines()[0]}): {cure}")
    return [command[0], "--with-ft", "ulfm", *command[1:]]


def started(launcher: int) -> dict[int, int]:
    """Pids of the ranks that have started MPI, by rank."""
    found: dict[int, int] = {}
    level = _children(launcher)
    for _ in range(3):  # MPICH's launcher starts a proxy that starts the ranks; below them are their workers
        for pid in level:
            variables = _read(pid, "environ").split("\0")
            names = ("OMPI_COMM_WORLD_RANK", "PMI_RANK")
            rank = next((text for text in variables if text.partition("=")[0] in names), None)
            watched = any(
                "-I\0-S\0-c" in _read(child, "cmdline") for child in _children(pid)
            )  # see `hpc.launch.watched`
            if rank is not None and "libmpi.so" in _read(pid, "maps") and not watched:
                found.setdefault(int(rank.partition("=")[2]), pid)
        level = [child for pid in level for child in _children(pid)]
    return found


def _children(pid: int) -> list[int]:
    return [int(word) for word in _read(pid, f"task/{pid}/children").split()]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
