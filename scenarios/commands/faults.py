"""What a run outlives, tried for real: ranks and processes killed at random moments, checkpoints cut off, disks that are full.

A run under `mpiexec --with-ft ulfm` is the real command on a small scenario. Its journal is deleted when the result is there;
a second name given to the file keeps what was recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

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
        rank: which.
        at_s: when, after all ranks had started MPI.
        exit_code: of the launcher.
        same_bits: whether the result is that of the undisturbed run, but for clocks and workers.
        records: in the journal, written twice among them: `twice`; damaged: `damaged`.
        recovery_s: from the kill to the next record, if the root was killed; to the next of a survivor otherwise. None where
            nothing was left to record.
        seconds: of the whole run.
    """

    rank: int
    at_s: float
    exit_code: int = -1
    same_bits: bool = False
    records: int = 0
    twice: int = 0
    damaged: int = 0
    recovery_s: float | None = None
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


def kills(folder: Path, *, count: int, seed: int, members: int = 1000, ranks: int = RANKS) -> Iterator[Kill]:
    """Runs of which one rank each is killed: each in turn, at moments drawn evenly over the time of the undisturbed run.

    Raises:
        LaunchError: there is no launcher that lets jobs outlive their ranks.
    """
    scenario = write_scenario(folder, members)
    undisturbed = Kill(rank=-1, at_s=float("inf"))
    _run(folder / "undisturbed", scenario, undisturbed, ranks)
    if undisturbed.exit_code:
        raise LaunchError(f"the undisturbed run ended with exit code {undisturbed.exit_code}:\n{undisturbed.said}")
    expected = digest(folder / "undisturbed" / "r.zarr")
    draws = np.random.default_rng(seed)
    for number in range(count):
        # how long a run takes varies with what else the machine does: some come too late, and are drawn again
        while True:
            kill = Kill(rank=number % ranks, at_s=float(draws.uniform(0.0, 0.9 * undisturbed.seconds)))
            place = folder / f"kill-{number}"
            _run(place, scenario, kill, ranks)
            if kill.exit_code != _TOO_LATE:
                break
            shutil.rmtree(place)
        kill.same_bits = kill.exit_code == 0 and digest(place / "r.zarr") == expected
        if kill.passed:
            shutil.rmtree(place)
        yield kill


_TOO_LATE = -1000


def _run(place: Path, scenario: Path, kill: Kill, ranks: int) -> None:
    """A run in a folder of its own, with one rank killed; fills in what came of it."""
    place.mkdir()
    out = place / "r.zarr"
    journal, kept = place / ".r.zarr.journal", place / "journal"
    with (place / "said").open("w+") as said:
        job = subprocess.Popen(
            [*_launcher(), "-n", str(ranks), sys.executable, "-m", "scenarios.cli", "run", str(scenario), "--out", str(out)],
            env=environment(), stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
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
                    pids = started(job.pid, ranks)
                    begun = now if len(pids) == ranks else None
                elif killed is None and now - begun >= kill.at_s:
                    killed = now
                    os.kill(pids[kill.rank], signal.SIGKILL)
                    size = kept.stat().st_size if kept.exists() else 0
                elif killed is not None and kill.recovery_s is None and kept.exists() and kept.stat().st_size > size:
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


def environment() -> dict[str, str]:
    """That of a job on this machine: more ranks than cores, and root as in a container."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("OMPI_", "PMI", "PRTE_"))}
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"} if os.geteuid() == 0 else {}
    return {**inherited, **allowed, "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}


def _launcher() -> list[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    mpiexec = shutil.which("mpiexec", path=path)
    if mpiexec is None:
        raise LaunchError(
            "no mpiexec: install the extra `mpi` (Open MPI 5 as a wheel), or load a module of Open MPI 5."
        )
    return [mpiexec, "--with-ft", "ulfm"]


def started(launcher: int, ranks: int) -> dict[int, int]:
    """Pids of the ranks that have started MPI, by rank."""
    found: dict[int, int] = {}
    for pid in _children(launcher):
        variables = _read(pid, "environ").split("\0")
        rank = next((text for text in variables if text.startswith("OMPI_COMM_WORLD_RANK=")), None)
        watched = any("-I\0-S\0-c" in _read(child, "cmdline") for child in _children(pid))  # see `hpc.launch.watched`
        if rank is not None and "libmpi.so" in _read(pid, "maps") and not watched:
            found[int(rank.partition("=")[2])] = pid
    return found


def _children(pid: int) -> list[int]:
    return [int(word) for word in _read(pid, f"task/{pid}/children").split()]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return ""
