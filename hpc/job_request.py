"""What a batch job asks for: nodes, ranks, workers, threads, GPUs, memory and time; impossible wishes are refused at construction.

One rank has `workers` worker processes, each with `threads` threads; a rank itself only passes messages on and needs no core.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hpc.errors import RequestError

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d{1,4}):(?P<minutes>[0-5]\d):(?P<seconds>[0-5]\d)")
_MEMORY = re.compile(r"(?P<number>\d+)\s*(?P<unit>[KMGT])(?:i?B)?", re.IGNORECASE)
_ARRAY = re.compile(r"(?P<first>\d+)-(?P<last>\d+)")
_MEBIBYTES = {"K": 2**-10, "M": 1, "G": 2**10, "T": 2**20}
_MOST_ATTEMPTS = 100
_SHORTEST_S = 60


@dataclass(frozen=True)
class NodeKind:
    """What one node of a machine has, to refuse what it cannot grant; None: not known.

    Args:
        name: how messages call it.
        cores, memory_MiB, gpus: of one node.
        most_nodes: in one job.
    """

    name: str
    cores: int | None = None
    memory_MiB: int | None = None  # noqa: N815 - units as they are written
    gpus: int | None = None
    most_nodes: int | None = None


FUGAKU = NodeKind("a node of Fugaku", cores=48, memory_MiB=32 * 1024, gpus=0, most_nodes=82_944)
"""158,976 nodes of one A64FX each; the largest job has 82,944 (RIKEN R-CCS, Supercomputer Fugaku user guide 1.49, 3.2)."""


@dataclass(frozen=True)
class JobRequest:
    """One job, or an array of jobs of one size.

    Args:
        nodes: how many.
        time_s: wall time of one job [s].
        ranks_per_node: MPI ranks on each node.
        workers: worker processes of each rank.
        threads: threads of each worker.
        gpus: per node.
        memory_MiB: per node; None: the scheduler's default.
        array: first and last seed of runs that differ in nothing else, one job each; None: one job.
        attempts: how often a job may be submitted until it is done, the first included.
        master_worker: a PJM job that goes on when a node is lost.
        node: what a node has.

    Raises:
        RequestError: no node could grant it; the text says which wish, and what is possible.
    """

    nodes: int
    time_s: int
    ranks_per_node: int = 1
    workers: int = 1
    threads: int = 1
    gpus: int = 0
    memory_MiB: int | None = None  # noqa: N815
    array: tuple[int, int] | None = None
    attempts: int = 10
    master_worker: bool = False
    node: NodeKind = field(default=NodeKind("a node"))

    def __post_init__(self) -> None:
        for name in ("nodes", "ranks_per_node", "workers", "threads", "attempts"):
            if getattr(self, name) < 1:
                raise RequestError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected 1 or more.")
        if self.attempts > _MOST_ATTEMPTS:
            raise RequestError(f"--attempts {self.attempts}: at most {_MOST_ATTEMPTS}; ask for more --time instead.")
        if self.time_s < _SHORTEST_S:
            raise RequestError(f"--time: {self.time_s} s are no time to start in; expected 00:01:00 or more.")
        if self.gpus < 0:
            raise RequestError(f"--gpus {self.gpus}: expected 0 or more.")
        self._fits()
        self._gpus_divide()

    @property
    def ranks(self) -> int:
        """MPI ranks of one job."""
        return self.nodes * self.ranks_per_node

    @property
    def cores_per_rank(self) -> int:
        """Cores that a rank's workers compute on."""
        return self.workers * self.threads

    @property
    def cores_per_node(self) -> int:
        """Cores used on each node."""
        return self.ranks_per_node * self.cores_per_rank

    @property
    def gpus_per_rank(self) -> int:
        """GPUs that each rank sees: its own, or one that it shares."""
        return max(1, self.gpus // self.ranks_per_node) if self.gpus else 0

    @property
    def time(self) -> str:
        """The wall time as HH:MM:SS; hours beyond a day count on."""
        return f"{self.time_s // 3600:02d}:{self.time_s // 60 % 60:02d}:{self.time_s % 60:02d}"

    @property
    def margin_s(self) -> int:
        """How long before its time is up a job stops: for the launcher to end and the script to submit itself again."""
        return min(120, self.time_s // 10)

    def _fits(self) -> None:
        kind = self.node
        asked = f"--ranks-per-node {self.ranks_per_node} x --workers {self.workers} x --threads {self.threads}"
        if kind.cores is not None and self.cores_per_node > kind.cores:
            raise RequestError(
                f"{asked} = {self.cores_per_node} cores, and {kind.name} has {kind.cores}: ask for fewer."
            )
        if kind.gpus is not None and self.gpus > kind.gpus:
            none = "no GPU" if kind.gpus == 0 else f"{kind.gpus} GPU{'s'[: kind.gpus > 1]}"
            raise RequestError(f"--gpus {self.gpus}: {kind.name} has {none}; --node tells what yours has.")
        if kind.memory_MiB is not None and (self.memory_MiB or 0) > kind.memory_MiB:
            raise RequestError(
                f"--memory: {self.memory_MiB} MiB per node, and {kind.name} has {kind.memory_MiB} MiB; --node tells what yours has."
            )
        if kind.most_nodes is not None and self.nodes > kind.most_nodes:
            raise RequestError(f"--nodes {self.nodes}: the largest job has {kind.most_nodes:,} nodes.")

    def _gpus_divide(self) -> None:
        if self.gpus == 0:
            return
        if self.gpus > self.ranks_per_node * self.workers:
            raise RequestError(
                f"--gpus {self.gpus}: there are only {self.ranks_per_node * self.workers} workers on a node, and a GPU without "
                "a worker would never be used; raise --workers or --ranks-per-node."
            )
        if self.gpus % self.ranks_per_node and self.ranks_per_node % self.gpus:
            raise RequestError(
                f"--gpus {self.gpus} on {self.ranks_per_node} ranks per node: give each rank as many GPUs as the others, or each "
                "GPU as many ranks, so that one number divides the other."
            )


def seconds_of(text: str) -> int:
    """The seconds of a wall time: ``HH:MM:SS`` or ``D-HH:MM:SS``.

    Raises:
        RequestError: another form. Schedulers read ``90`` and ``1:30`` as different things, so neither is taken.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise RequestError(f"--time {text}: expected HH:MM:SS or D-HH:MM:SS, e.g. 01:30:00 or 1-12:00:00.")
    days, hours, minutes, seconds = (int(found[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
    if found["days"] is not None and hours > 23:
        raise RequestError(f"--time {text}: {hours} hours beside days; expected at most 23.")
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def mebibytes_of(text: str, option: str = "--memory") -> int:
    """The MiB of a size such as ``24GiB``, ``24G`` or ``500MB``; G, GB and GiB are all 2³⁰ bytes, as schedulers count.

    Raises:
        RequestError: another form, or no memory at all.
    """
    found = _MEMORY.fullmatch(text.strip())
    size = int(int(found["number"]) * _MEBIBYTES[found["unit"].upper()]) if found else 0
    if size < 1:
        raise RequestError(f"{option} {text}: expected a whole number with its unit, e.g. 24GiB.")
    return size


def seeds_of(text: str) -> tuple[int, int]:
    """First and last seed of an array such as ``0-9``.

    Raises:
        RequestError: another form, or fewer than two.
    """
    found = _ARRAY.fullmatch(text.strip())
    if found is None or int(found["first"]) >= int(found["last"]) or int(found["last"]) > 999_999:
        raise RequestError(
            f"--array {text}: expected the first and the last seed, FIRST-LAST, e.g. 0-9, below 1,000,000."
        )
    return int(found["first"]), int(found["last"])


def node_of(text: str) -> NodeKind:
    """What a node has, such as ``cores=48,memory=32GiB,gpus=0``; each part may be left out.

    Raises:
        RequestError: another part, or no whole number.
    """
    cores: int | None = None
    gpus: int | None = None
    memory: int | None = None
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name == "memory":
            memory = mebibytes_of(value, "--node memory")
        elif name in ("cores", "gpus") and value.isdigit():
            cores, gpus = (int(value), gpus) if name == "cores" else (cores, int(value))
        else:
            raise RequestError(f"--node {text}: {part!r} is none of cores=48, memory=32GiB, gpus=4.")
    return NodeKind("a node as told by --node", cores=cores, memory_MiB=memory, gpus=gpus)
