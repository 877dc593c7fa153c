"""What the machine grants this job: cores by affinity, control group and scheduler; memory; and one thread for each process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "OPENMM_CPU_THREADS",
)  # fmt: skip
_SCHEDULERS = ("NCPUS", "NSLOTS", "LSB_DJOB_NUMPROC")  # PBS, Grid Engine, LSF


def granted_cores(
    environment: Mapping[str, str] = os.environ,
    *,
    cgroups: Path = Path("/sys/fs/cgroup"),
    process: Path = Path("/proc/self"),
) -> int:
    """How many processes can compute at once: the least of what affinity, control group and scheduler allow, at least 1.

    A quota of 2.7 cores counts as 2: a third process would only make all three wait.
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(own)]
    for group in _groups(cgroups, process, "cpu"):
        limits.extend(_quota(group))
    limits.extend(_scheduler_limits(environment))
    return max(1, int(min(limits) + 1e-6))


def granted_memory_MiB(  # noqa: N802 - units as they are written
    *,
    cgroups: Path = Path("/sys/fs/cgroup"),
    process: Path = Path("/proc/self"),
    machine: Path = Path("/proc"),
) -> int | None:
    """Memory [MiB] that this job's processes on this node may use together: the least of control groups' and the node's own."""
    sizes: list[float] = []
    for line in _lines(machine / "meminfo"):
        if line.startswith("MemTotal:") and (kib := _positive(line.split()[1])) is not None:
            sizes.append(kib * 1024)
    for group in _groups(cgroups, process, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            sizes.extend(size for line in _lines(group / name)[:1] if (size := _positive(line)) is not None)
    return int(min(sizes) / 2**20) if sizes else None


def one_thread_each() -> None:
    """Ask numerical libraries for one thread: what runs beside each other are processes, and sums keep their order.

    For this process it holds for libraries imported later, and for every worker process in any case. What the user set stays.
    """
    for name in _THREADS:
        os.environ.setdefault(name, "1")


def _scheduler_limits(environment: Mapping[str, str]) -> list[float]:
    """Cores by scheduler. Slurm's cores per task bound a step; a batch script outside any step has its node's share."""
    if "SLURM_JOB_ID" in environment:
        in_step = "SLURM_STEP_ID" in environment
        for name in (
            ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE") if in_step else ("SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK")
        ):
            if (cores := _positive(environment.get(name))) is not None:
                return [cores]
    found = (_positive(environment.get(name)) for name in _SCHEDULERS)
    return [cores for cores in found if cores is not None]


def _groups(root: Path, process: Path, controller: str) -> list[Path]:
    """Folders of this process's control group and of those above it: any of them may be the narrowest."""
    found: list[Path] = []
    for line in _lines(process / "cgroup"):
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0":
            tops = [root, root / "unified"]
        elif controller in controllers.split(","):
            tops = [root / controllers, root / controller]
        else:
            continue
        inner = Path(path.lstrip("/"))
        found += [group for top in tops for group in (top / inner, *(top / parent for parent in inner.parents))]
    return found


def _quota(group: Path) -> list[float]:
    """A control group's CPU quota [cores], if it has one."""
    version_2 = _lines(group / "cpu.max")
    if version_2:
        numbers = version_2[0].split()
    else:
        numbers = [*_lines(group / "cpu.cfs_quota_us")[:1], *_lines(group / "cpu.cfs_period_us")[:1]]
    if len(numbers) != 2:
        return []
    quota, period = _positive(numbers[0]), _positive(numbers[1])
    return [] if quota is None or period is None else [quota / period]


def _positive(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if number > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
