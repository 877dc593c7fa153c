"""Slurm, PBS and PJM as far as a job script meets them: `sbatch`, `srun`, `qsub` and `pjsub` as programs that take only what the
manuals list, a queue on disk, and nodes that are this machine.

Options and their values: sbatch(1) and srun(1) of Slurm 23.02, qsub(1B) and pbs_resources(7B) of OpenPBS 20, and the options of
pjsub in RIKEN R-CCS, Supercomputer Fugaku user guide 1.49, 5.3, 5.4, 5.7 and 5.9. What is not listed here is refused, as is a
value of another form, so that a slip in a directive is an error and no comment that nobody reads.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

COUNT = r"[1-9]\d*"
WORD = r"[\w.@:+/-]+"

SBATCH: dict[str, str | None] = {
    "job-name": r".{1,200}", "nodes": rf"{COUNT}(-{COUNT})?", "ntasks": COUNT, "ntasks-per-node": COUNT, "cpus-per-task": COUNT,
    # minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes, days-hours:minutes:seconds
    "time": r"\d+|\d+:[0-5]\d|\d+:[0-5]\d:[0-5]\d|\d+-\d+(:[0-5]\d(:[0-5]\d)?)?",
    "output": r"([^%]|%\d*[AaJjNnstux%])+", "error": r"([^%]|%\d*[AaJjNnstux%])+",
    "signal": r"([RB]{1,2}:)?(SIG)?(\d+|TERM|USR1|USR2|INT|HUP)(@\d{1,5})?",
    "no-requeue": None, "requeue": None, "exclusive": None, "no-kill": None,
    "array": r"\d+(-\d+(:\d+)?)?(,\d+(-\d+(:\d+)?)?)*(%\d+)?",
    "gpus-per-node": rf"(\w+:)?{COUNT}", "gres": r"gpu(:\w+)?(:\d+)?", "mem": r"\d+[KMGT]?", "partition": WORD, "account": WORD,
    "constraint": r"[\w&|*\[\]()-]+", "qos": WORD, "hint": r"compute_bound|memory_bound|(no)?multithread",
    "export": r"(ALL|NONE|NIL|(ALL,)?\w+(=[^,]*)?(,\w+(=[^,]*)?)*)",
}  # fmt: skip
SRUN: dict[str, str | None] = {
    "ntasks": COUNT, "ntasks-per-node": COUNT, "cpus-per-task": COUNT,
    "cpu-bind": r"(quiet,|verbose,)?(none|cores|threads|sockets|ldoms|rank|map_cpu:.+|mask_cpu:.+)",
    "gpus-per-task": rf"(\w+:)?{COUNT}", "gpu-bind": rf"(verbose,)?(closest|none|single:{COUNT}|per_task:{COUNT}|map:.+|mask:.+)",
    "mpi": r"pmix|pmi2|none",
}  # fmt: skip
QSUB: dict[str, str | None] = {
    "N": r"[A-Za-z][\w+-]{0,229}", "l": r".+", "j": r"oe|eo|n", "r": r"y|n", "q": WORD, "A": r"\S+", "P": r"\S+", "o": r".+",
    "e": r".+", "v": r"\w+(=[^,]*)?(,\w+(=[^,]*)?)*", "V": None, "J": r"\d+-\d+(:\d+)?(%\d+)?", "W": r".+", "S": r".+",
}  # fmt: skip
PBS_CHUNK = {
    "ncpus": COUNT,
    "mpiprocs": COUNT,
    "ompthreads": COUNT,
    "ngpus": r"\d+",
    "mem": r"\d+([kmgtp]?[bw])?",
    "host": WORD,
}
PBS_JOB = {
    "place": r"(free|pack|scatter|vscatter)(:(excl|exclhost|shared))?(:group=\w+)?",
    "walltime": r"\d+|\d+:[0-5]\d(:[0-5]\d)?",
}
PJSUB: dict[str, str | None] = {
    "name": r"[^\d\s][^\s]{0,62}", "N": r"[^\d\s][^\s]{0,62}", "L": r".+", "mpi": r".+", "g": WORD, "gname": WORD, "j": None,
    "S": None, "s": None, "o": r".+", "e": r".+", "x": r"\w+(=[^,]*)?(,\w+(=[^,]*)?)*", "llio": r".+", "bulk": None, "step": None,
    "mswk": None, "sparam": r".+", "z": r"jid", "no-check-directory": None,
}  # fmt: skip
PJM_RESOURCE = {
    "node": rf"{COUNT}(x{COUNT}){{0,2}}(:(noncont|mesh|torus))?(:strict(-io)?)?", "elapse": r"\d+:[0-5]\d:[0-5]\d|\d+:[0-5]\d|\d+",
    "rscgrp": WORD, "rscunit": WORD, "node-mem": r"unlimited|\d+([KMGTP]i?)?", "freq": r"2000|2200", "eco_state": r"[0-2]",
    "retention_state": r"[01]", "jobenv": WORD, "gpu": COUNT,
}  # fmt: skip
PJM_MPI = {
    "proc": COUNT,
    "max-proc-per-node": COUNT,
    "rank-map-bynode": r"\S*",
    "rank-map-bychip": r"\S*",
    "shape": r"[\dx]+",
}


class RefusedError(Exception):
    """The scheduler does not take it."""


def options(words: list[str], known: dict[str, str | None], *, long: bool) -> tuple[dict[str, list[str]], list[str]]:
    """Options as the program's own parser reads them, and what stands after them.

    Args:
        words: of a command line or a directive.
        known: option → form of its value; None: it has none.
        long: whether a value follows a long option after `=` only, as Slurm's do here.
    """
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if name not in known or (word.startswith("--") != (len(name) > 1)):
            raise RefusedError(f"unrecognized option '{word}'")
        form = known[name]
        if form is None:
            if equals:
                raise RefusedError(f"option '{name}' takes no value")
            found.setdefault(name, []).append("")
            continue
        if not equals:
            if long or not rest:
                raise RefusedError(f"option '{word}' requires a value")
            value = rest.pop(0)
        if not re.fullmatch(form, value):
            raise RefusedError(f"invalid value '{value}' of option '{name}'")
        found.setdefault(name, []).append(value)
    return found, rest


def directives(script: Path, prefix: str) -> list[list[str]]:
    """Words of each directive: those before the first line that is neither empty nor a comment."""
    lines = script.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0].startswith("#!/"):
        raise RefusedError("this does not look like a batch script: its first line must start with #!")
    found: list[list[str]] = []
    for line in lines[1:]:
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith(prefix + " "):
            found.append(shlex.split(line[len(prefix) :]))
    return found


def resources(texts: list[str], known: dict[str, str]) -> dict[str, str]:
    """`name=value[,…]` of several options."""
    found: dict[str, str] = {}
    for text in texts:
        for part in text.split(","):
            name, _, value = part.partition("=")
            if name not in known or not re.fullmatch(known[name], value):
                raise RefusedError(f"invalid resource '{part}'")
            found[name] = value
    return found


# --- the programs ---


def sbatch(words: list[str]) -> str:
    given, rest = options(words, SBATCH, long=True)
    script = _script(rest)
    found: dict[str, list[str]] = {}
    for line in directives(script, "#SBATCH"):
        more, left = options(line, SBATCH, long=True)
        if left:
            raise RefusedError(f"unexpected '{left[0]}' in a directive")
        found |= more
    found |= given  # the command line wins
    if "nodes" not in found or "time" not in found:
        raise RefusedError("this site wants --nodes and --time")
    asked = {name: values[-1] for name, values in found.items()}
    members = range(0)
    if "array" in asked:
        first, _, last = asked["array"].partition("-")
        members = range(int(first), int(last or first) + 1)
    export = asked.get("export", "ALL")
    extra = dict(part.split("=", 1) for part in export.split(",") if "=" in part)
    number = submit("slurm", script, asked, extra, members)
    return f"Submitted batch job {number}"


def qsub(words: list[str]) -> str:
    given, rest = options(words, QSUB, long=False)
    script = _script(rest)
    found: dict[str, list[str]] = {}
    for line in directives(script, "#PBS"):
        more, left = options(line, QSUB, long=False)
        if left:
            raise RefusedError(f"unexpected '{left[0]}' in a directive")
        for name, values in more.items():
            found.setdefault(name, []).extend(values)
    for name, values in given.items():
        found[name] = values
    asked = {name: values[-1] for name, values in found.items() if name != "l"}
    for text in found.get("l", []):
        name, _, value = text.partition("=")
        if name == "select":
            count, *parts = value.split(":")
            if not re.fullmatch(COUNT, count):
                raise RefusedError(f"illegal -l value: select={value}")
            for part in parts:
                resource, _, amount = part.partition("=")
                if resource not in PBS_CHUNK or not re.fullmatch(PBS_CHUNK[resource], amount):
                    raise RefusedError(f"unknown resource in a chunk: {part}")
                asked[resource] = amount
            asked["select"] = count
        elif name in PBS_JOB and re.fullmatch(PBS_JOB[name], value):
            asked[name] = value
        else:
            raise RefusedError(f"illegal -l value: {text}")
    members = range(0)
    if "J" in asked:
        first, last = (int(n) for n in asked["J"].split("-"))
        if first >= last:
            raise RefusedError("illegal -J value")
        members = range(first, last + 1)
    extra = dict(part.split("=", 1) for part in asked.get("v", "").split(",") if "=" in part)
    number = submit("pbs", script, asked, extra, members)
    return f"{number}[].pbs" if members else f"{number}.pbs"


def pjsub(words: list[str]) -> str:
    given, rest = options(words, PJSUB, long=False)
    script = _script(rest)
    found: dict[str, list[str]] = {}
    for line in directives(script, "#PJM"):
        more, left = options(line, PJSUB, long=False)
        if left:
            raise RefusedError(f"unexpected '{left[0]}' in a directive")
        for name, values in more.items():
            found.setdefault(name, []).extend(values)
    for name, values in given.items():
        found.setdefault(name, []).extend(values)
    kinds = [kind for kind in ("bulk", "step", "mswk") if kind in found]
    if len(kinds) > 1:
        raise RefusedError(f"invalid combination of options: --{' --'.join(kinds)}")
    asked = {name: values[-1] for name, values in found.items() if name not in ("L", "mpi")}
    asked |= resources(found.get("L", []), PJM_RESOURCE) | resources(found.get("mpi", []), PJM_MPI)
    if "node" not in asked or "elapse" not in asked:
        raise RefusedError("this site wants -L node and elapse")
    if "sparam" in asked and not {"bulk", "step"} & set(kinds):
        raise RefusedError("--sparam without --bulk or --step")
    if "bulk" in kinds:
        if not (parts := re.fullmatch(r"(\d{1,6})-(\d{1,6})", asked.get("sparam", ""))):
            raise RefusedError("--bulk wants --sparam FIRST-LAST")
        number = submit("pjm", script, asked, {}, range(int(parts[1]), int(parts[2]) + 1))
        return f"[INFO.] PJM 0000 pjsub Job {number} submitted."
    if "step" in kinds:
        return _step(script, asked)
    return f"[INFO.] PJM 0000 pjsub Job {submit('pjm', script, asked, {}, range(0))} submitted."


def _step(script: Path, asked: dict[str, str]) -> str:
    """A sub job of a step job: the first, or one more of a job that still has some."""
    forms = {
        "jid": COUNT,
        "jnam": WORD,
        "sn": r"\d+",
        "sd": r"(NONE|(ec|pc)(==|!=|>=|<=|>|<)\d+(:(one|after|all)(:\d+)*)?)",
    }
    step = resources([asked["sparam"]] if "sparam" in asked else [], forms)
    jobs = _read("queue")
    if "jid" in step:
        mine = [job for job in jobs if job["number"] == int(step["jid"])]
        if not any(job["state"] in ("queued", "running") for job in mine):
            raise RefusedError("[ERR.] PJM 0071 pjsub The step job has already finished")
        if step.get("sn") in [job["step"]["sn"] for job in mine]:
            raise RefusedError("[ERR.] the step number is taken")
    step.setdefault("sn", "0")
    number = submit("pjm", script, asked, {}, range(0), step=step, number=int(step["jid"]) if "jid" in step else None)
    return f"[INFO.] PJM 0000 pjsub Job {number}_{step['sn']} submitted."


def srun(words: list[str]) -> NoReturn:
    """The program on so many ranks of this machine, by its own mpiexec."""
    given, rest = options(words, SRUN, long=True)
    here = os.environ.get("FAKE_MPIEXEC", "")
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith("SLURM_")
    }  # Open MPI would use srun
    command = [here, "--oversubscribe", "-n", given["ntasks"][-1], *rest] if here else rest
    os.execvpe(command[0], command, clean)


def _script(rest: list[str]) -> Path:
    if len(rest) != 1:
        raise RefusedError(f"expected one script, got {rest}")
    path = Path(rest[0])
    if not path.is_file():
        raise RefusedError(f"unable to open file {path}")
    return path


def submit(
    system: str, script: Path, asked: dict[str, str], extra: dict[str, str], members: range, *, step: dict[str, str] | None = None,
    number: int | None = None,
) -> int:  # fmt: skip
    """Keep a copy of the script, as schedulers do, and put it into the queue."""
    jobs = _read("queue")
    number = number or 64856 + len(jobs)
    copy = _spool() / f"job-{len(jobs)}.sh"
    copy.write_bytes(script.read_bytes())
    jobs += [
        {
            "system": system, "number": number, "script": str(copy), "asked": asked, "extra": extra, "member": member,
            "folder": str(Path.cwd()), "state": "queued", "step": step, "code": None,
        }
        for member in (members or [None])
    ]  # fmt: skip
    (_spool() / "queue").write_text(json.dumps(jobs))
    return number


def _spool() -> Path:
    return Path(os.environ["FAKE_SPOOL"])


def _read(name: str) -> list[dict[str, Any]]:
    path = _spool() / name
    return json.loads(path.read_text()) if path.exists() else []


# --- the nodes ---


@dataclass
class Cluster:
    """A cluster of one machine, whose queue is worked off when the test says so.

    Args:
        folder: for its programs and its queue.
        path: what else is on the path of jobs.
        mpiexec: by which `srun` starts ranks.
    """

    folder: Path
    path: str
    mpiexec: str = ""

    def __post_init__(self) -> None:
        programs = self.folder / "bin"
        programs.mkdir(parents=True)
        for name in ("sbatch", "srun", "qsub", "pjsub"):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {Path(__file__)} {name} "$@"\n')
            program.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """On a login node."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM_", "PBS_", "PJM_", "TWIN_"))
        }
        return {
            **inherited,
            "PATH": f"{self.folder / 'bin'}:{self.path}",
            "FAKE_SPOOL": str(self.folder),
            "FAKE_MPIEXEC": self.mpiexec,
        }

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """All that were ever submitted."""
        path = self.folder / "queue"
        return json.loads(path.read_text()) if path.exists() else []

    def login(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """A command on a login node."""
        return subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def work_off(self, *, during: Callable[[subprocess.Popen[str]], None] | None = None) -> list[str]:
        """Run all jobs in their order, those included that jobs submit; returns what they said.

        Args:
            during: called once the first job runs, as an operator who interferes.
        """
        said: list[str] = []
        while (place := next((n for n, job in enumerate(self.jobs) if job["state"] == "queued"), None)) is not None:
            job = self.jobs[place]
            if job["step"] and not self._goes_on(job):
                self._mark(place, "deleted")
                continue
            self._mark(place, "running")
            process = subprocess.Popen(
                ["bash", job["script"]], cwd=Path.home(), env={**self.environment, **_inside(job)}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            if during is not None:
                during(process)
                during = None
            try:
                output, _ = process.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            said.append(output)
            self._mark(place, "ended", process.returncode)
        return said

    def _goes_on(self, job: dict[str, Any]) -> bool:
        """Whether a sub job of a step job runs: by its `sd`, and if none that it follows deleted it with itself."""
        mine = [other for other in self.jobs if other["number"] == job["number"] and other["step"]]
        before = [other for other in mine if int(other["step"]["sn"]) < int(job["step"]["sn"])]
        if any(other["state"] == "deleted" and ":after" in other["step"].get("sd", "") for other in before):
            return False
        found = re.fullmatch(r"ec(==|!=)(\d+):\w+:(\d+)", job["step"].get("sd", "NONE"))
        if found is None:
            return True
        code = next(other["code"] for other in mine if other["step"]["sn"] == found[3])
        deletes = (code == int(found[2])) == (found[1] == "==")
        return not deletes

    def _mark(self, place: int, state: str, code: int | None = None) -> None:
        jobs = self.jobs
        jobs[place] |= {"state": state, "code": code}
        (self.folder / "queue").write_text(json.dumps(jobs))


def _inside(job: dict[str, Any]) -> dict[str, str]:
    """What the scheduler tells a job."""
    number, member, asked = str(job["number"]), job["member"], job["asked"]
    if job["system"] == "slurm":
        told = {
            "SLURM_JOB_ID": number, "SLURM_SUBMIT_DIR": job["folder"], "SLURM_CPUS_PER_TASK": asked.get("cpus-per-task", "1"),
            "SLURM_NTASKS_PER_NODE": asked.get("ntasks-per-node", "1"),
        }  # fmt: skip
        told |= {} if member is None else {"SLURM_ARRAY_TASK_ID": str(member)}
    elif job["system"] == "pbs":
        told = {
            "PBS_JOBID": f"{number}.pbs",
            "PBS_O_WORKDIR": job["folder"],
            "OMP_NUM_THREADS": asked.get("ompthreads", "1"),
        }
        told |= {} if member is None else {"PBS_ARRAY_INDEX": str(member)}
    else:
        told = {"PJM_JOBID": number, "PJM_O_WORKDIR": job["folder"], "PJM_NODE": asked["node"]}
        told |= {} if member is None else {"PJM_BULKNUM": str(member)}
    return {**told, **job["extra"]}


def wait_for(there: Callable[[], bool], seconds: float = 60.0) -> None:
    """Until it is so; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


if __name__ == "__main__":
    program = {"sbatch": sbatch, "qsub": qsub, "pjsub": pjsub, "srun": srun}[sys.argv[1]]
    try:
        print(program(sys.argv[2:]))
    except RefusedError as refused:
        sys.exit(f"{sys.argv[1]}: error: {refused}")
