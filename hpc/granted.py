"""Whether a job was granted what it asked for: each rank looks at its cores, memory and GPUs, and the root compares.

Schedulers and launchers give less without a word: `--ntasks-per-core=1` left one core of 48 to all ranks of a node
(multiscale/muscle3#318), Open MPI binds a rank to one core, and its workers with it. What was asked is what `twin jobscript`
wrote into the job (`TWIN_ASKED_…`), else what Slurm says itself.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpc import grant
from hpc.errors import LaunchError

_SPARE = 0.95
"""Share of the memory asked for that must be there: the kernel keeps some of a node's."""


@dataclass(frozen=True)
class Asked:
    """What was asked for; None: not said.

    Args:
        ranks: of the job.
        cores_per_rank, gpus_per_rank: for each.
        memory_MiB_per_node: for each node.
        by: who says so, for messages.
    """

    ranks: int | None = None
    cores_per_rank: int | None = None
    gpus_per_rank: int | None = None
    memory_MiB_per_node: int | None = None  # noqa: N815
    by: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Asked:
        """From the job script's variables, else from those of Slurm.

        What a scheduler says of ranks is left out: to start fewer is a thing that users do on purpose.
        """
        found = {
            name: _count(environment.get(f"TWIN_ASKED_{name.upper()}"))
            for name in ("ranks", "cores_per_rank", "gpus_per_rank", "memory_MiB_per_node")
        }
        if any(value is not None for value in found.values()):
            return cls(**found, by="the job script")
        if "SLURM_JOB_ID" in environment:
            gpus = _count(environment.get("SLURM_GPUS_PER_TASK"))
            cores, memory = (
                _count(environment.get("SLURM_CPUS_PER_TASK")),
                _count(environment.get("SLURM_MEM_PER_NODE")),
            )
            return cls(None, cores, gpus, memory or None, by="Slurm")
        return cls()  # PBS and PJM tell a node's cores, which its ranks share


@dataclass(frozen=True)
class Granted:
    """What one rank finds where it runs.

    Args:
        rank: which.
        host: its node.
        cores: numbers of the cores that it may use.
        quota: of CPU time, in cores, that its control group gives to all ranks of the node together; at most as many as `cores`.
        memory_MiB: that its node's share of the job may use.
        gpus: that it sees.
    """

    rank: int
    host: str
    cores: frozenset[int]
    quota: int
    memory_MiB: int | None  # noqa: N815
    gpus: int

    @classmethod
    def look(
        cls,
        rank: int = 0,
        environment: Mapping[str, str] = os.environ,
        *,
        cgroups: Path = Path("/sys/fs/cgroup"),
        process: Path = Path("/proc/self"),
        machine: Path = Path("/proc"),
    ) -> Granted:
        """What this process was granted."""
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        return cls(
            rank,
            socket.gethostname(),
            frozenset(cores),
            grant.granted_cores({}, cgroups=cgroups, process=process),
            grant.granted_memory_MiB(cgroups=cgroups, process=process, machine=machine),
            _visible_gpus(environment, machine),
        )


def gather(world: Any) -> tuple[Granted, ...]:
    """What every rank of an MPI communicator finds, on its rank 0; nothing on the others, or where a rank died meanwhile."""
    try:
        found = world.gather(Granted.look(world.rank), root=0)
    except Exception:  # of MPI, which has a class of its own: to look is no reason to end
        return ()
    return tuple(found or ())


def check_ranks(asked: Asked, ranks: int) -> None:
    """Refuse to start with fewer ranks than were asked for.

    Raises:
        LaunchError: ranks are missing: the launcher was given another number, or the job fewer nodes.
    """
    if asked.ranks is not None and ranks < asked.ranks:
        raise LaunchError(
            f"{asked.by} asked for {asked.ranks} ranks, and {ranks} started: the run would take {asked.ranks / ranks:.3g} times "
            "as long. Look at what the scheduler granted and how many ranks the launcher starts; to run with fewer, unset "
            "TWIN_ASKED_RANKS."
        )


def shortfalls(asked: Asked, granted: Sequence[Granted], *, workers_per_rank: int, threads: int = 1) -> list[str]:
    """What is less than was asked for or than the workers need, in words; nothing where all is there.

    Args:
        asked: what was asked for.
        granted: of every rank.
        workers_per_rank: worker processes of each.
        threads: of each worker.
    """
    if not granted:
        return []
    texts: list[str] = []
    nodes: dict[str, list[Granted]] = {}
    for one in granted:
        nodes.setdefault(one.host, []).append(one)
    needed = asked.cores_per_rank or workers_per_rank * threads
    said = f"{asked.by} asked for" if asked.cores_per_rank else "its workers need"
    narrow = [one for one in granted if min(len(one.cores), one.quota) < needed]
    if narrow:
        least = min(narrow, key=lambda one: min(len(one.cores), one.quota))
        texts.append(
            f"{_ranks(narrow, granted)}: {_cores(min(len(least.cores), least.quota))}, and {said} {needed} for each. Look at how "
            "the launcher binds ranks (srun --cpus-per-task and --cpu-bind, mpiexec --map-by …:PE=N) and at the scheduler's options."
        )
    crowded: dict[str, tuple[int, int]] = {}
    for host, there in nodes.items():
        if len(there) > 1:
            together = len(frozenset[int]().union(*(one.cores for one in there)))
            if all(
                one.quota < len(one.cores) for one in there
            ):  # a control group's, which holds for all of them together
                together = min(together, max(one.quota for one in there))
            if together < len(there) * needed:
                crowded[host] = (together, len(there))
    if crowded and len(narrow) < len(granted):
        host, (together, ranks) = next(iter(crowded.items()))
        others = f" and {len(crowded) - 1} more nodes" if len(crowded) > 1 else ""
        texts.append(
            f"node {host}{others}: its {ranks} ranks share {_cores(together)}, and {said} {ranks * needed}: they wait for each other."
        )
    if asked.gpus_per_rank:
        blind = [one for one in granted if one.gpus < asked.gpus_per_rank]
        if blind:
            seen = min(one.gpus for one in blind)
            gpus = "no GPU" if seen == 0 else f"{seen} GPU{'s'[: seen > 1]}"
            texts.append(f"{_ranks(blind, granted)}: {gpus}, and {asked.by} asked for {asked.gpus_per_rank} for each.")
    if asked.memory_MiB_per_node:
        small = {
            one.host: one.memory_MiB
            for one in granted
            if (one.memory_MiB or 2**62) < _SPARE * asked.memory_MiB_per_node
        }
        if small:
            host, memory = next(iter(small.items()))
            texts.append(
                f"node {host}: {memory:,} MiB of memory, and {asked.by} asked for {asked.memory_MiB_per_node:,} MiB per node."
            )
    return texts


def summary(granted: Sequence[Granted]) -> dict[str, int | None]:
    """What all ranks have together, for a result's attributes: nodes, ranks, cores, GPUs seen, least memory of a node [MiB]."""
    nodes: dict[str, set[int]] = {}
    for one in granted:
        nodes.setdefault(one.host, set()).update(one.cores)
    memory = [one.memory_MiB for one in granted if one.memory_MiB is not None]
    return {
        "nodes": len(nodes),
        "ranks": len(granted),
        "cores": sum(map(len, nodes.values())),
        "gpus_per_rank": min(one.gpus for one in granted),
        "memory_MiB_per_node": min(memory, default=None),
    }


def attributes(asked: Asked, granted: Sequence[Granted]) -> dict[str, dict[str, Any]]:
    """What was `asked` for, where somebody said so, and what was `granted`, for a result's attributes."""
    said = {name: value for name, value in asdict(asked).items() if value not in (None, "")}
    there: dict[str, Any] = {name: value for name, value in summary(granted).items() if value is not None}
    return {"granted": there} | ({"asked": said} if said else {})


def _ranks(some: Sequence[Granted], everyone: Sequence[Granted]) -> str:
    if len(everyone) == 1:
        return "this process"
    if len(some) == len(everyone):
        return f"each of {len(everyone)} ranks"
    return f"rank {some[0].rank} on {some[0].host}" + (f" and {len(some) - 1} more" if len(some) > 1 else "")


def _cores(count: int) -> str:
    return "one core" if count == 1 else f"{count} cores"


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdigit() else None


def _visible_gpus(environment: Mapping[str, str], machine: Path) -> int:
    """GPUs that programs of this process would see: those that are listed, else NVIDIA's of the node."""
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"):
        if name in environment:
            listed = [word.strip() for word in environment[name].split(",")]
            # CUDA takes no device after one that is none: -1, NoDevFiles
            known = listed[
                : next((n for n, word in enumerate(listed) if word in ("", "-1", "NoDevFiles")), len(listed))
            ]
            return len(known)
    try:
        return sum(1 for _ in (machine / "driver" / "nvidia" / "gpus").iterdir())
    except OSError:
        return 0
