"""Slurm: arrays, GPUs and cores by srun, and a job that submits itself again until it is done.

Options as in the manual pages sbatch(1) and srun(1) of Slurm 23.02.
"""

from __future__ import annotations

from hpc.batch_system import Naming
from hpc.errors import RequestError
from hpc.job_request import JobRequest


class Slurm:
    """See `BatchSystem`."""

    name = "slurm"
    submits_itself = True

    def check(self, request: JobRequest) -> None:
        """See `BatchSystem.check`."""
        if request.master_worker:
            raise RequestError(
                "--master-worker is a kind of job that PJM has; Slurm has none. Leave it out, or take --system pjm."
            )

    def directives(self, request: JobRequest, naming: Naming) -> list[str]:
        """See `BatchSystem.directives`. `--cpus-per-task` holds for all workers of a rank, `--mem` for a node."""
        options = [
            f"--job-name={naming.job}",
            f"--nodes={request.nodes}",
            f"--ntasks-per-node={request.ranks_per_node}",
            f"--cpus-per-task={request.cores_per_rank}",
            f"--time={request.time}",
            f"--output={naming.job}-{'%A_%a' if request.array else '%j'}.out",
            # the script is told in good time, should the clocks of Slurm and `--walltime` disagree
            f"--signal=B:TERM@{max(request.margin_s // 2, 1)}",
            "--no-requeue",
        ]
        if request.array:
            options.append("--array={}-{}".format(*request.array))
        if request.gpus:
            options.append(f"--gpus-per-node={request.gpus}")
        if request.memory_MiB:
            options.append(f"--mem={request.memory_MiB}M")
        if naming.queue:
            options.append(f"--partition={naming.queue}")
        if naming.account:
            options.append(f"--account={naming.account}")
        return [f"#SBATCH {option}" for option in (*options, *naming.directives)]

    def job_id(self) -> str:
        """See `BatchSystem.job_id`."""
        return "SLURM_JOB_ID"

    def work_folder(self) -> str:
        """See `BatchSystem.work_folder`."""
        return "SLURM_SUBMIT_DIR"

    def index(self) -> str:
        """See `BatchSystem.index`."""
        return "${SLURM_ARRAY_TASK_ID:?}"

    def submit(self, request: JobRequest) -> list[str]:
        """See `BatchSystem.submit`."""
        return ['exec sbatch "$script"']

    def resubmit(self, request: JobRequest) -> list[str]:
        """See `BatchSystem.resubmit`. A member of an array submits itself alone."""
        array = ' --array="$index"' if request.array else ""
        return [f'sbatch{array} --export=ALL,TWIN_ATTEMPT="$((attempt + 1))" "$script"']

    def launcher(self, request: JobRequest) -> list[str]:
        """See `BatchSystem.launcher`. Since Slurm 22.05 srun does not take `--cpus-per-task` from sbatch: it is said again."""
        options = [
            "srun",
            f"--ntasks={request.ranks}",
            f"--ntasks-per-node={request.ranks_per_node}",
            f"--cpus-per-task={request.cores_per_rank}",
            "--cpu-bind=cores",
        ]
        if request.gpus:
            shared = request.ranks_per_node // request.gpus
            options.append(f"--gpu-bind=single:{shared}" if shared > 1 else f"--gpus-per-task={request.gpus_per_rank}")
        return [f"launcher=({' '.join(options)})"]
