"""PJM, the scheduler of Fujitsu's Technical Computing Suite (Fugaku): step, bulk and master-worker jobs.

A job on Fugaku is submitted from a login node, so it cannot submit the next. All attempts are submitted at the beginning as one
step job, each deleted unless the one before ended with exit code 75: stopped in time, go on.

Options as in RIKEN R-CCS, Supercomputer Fugaku user guide 1.49, chapter 5: 5.3 step jobs, 5.4 bulk jobs, 5.7 master-worker
jobs, 5.9 options of pjsub.
"""

from __future__ import annotations

from hpc.batch_system import Naming
from hpc.errors import RequestError
from hpc.job_request import JobRequest


class Pjm:
    """See `BatchSystem`."""

    name = "pjm"
    submits_itself = False

    def check(self, request: JobRequest) -> None:
        """See `BatchSystem.check`."""
        if request.gpus:
            raise RequestError(
                f"--gpus {request.gpus}: Fugaku has none, and PJM asks for GPUs in another way on each machine that has them; "
                "leave --gpus out and give your site's option, e.g. --directive '-L \"gpu=4\"'."
            )
        if request.array and request.master_worker:
            raise RequestError("--array with --master-worker: PJM refuses --bulk with --mswk; choose one.")

    def directives(self, request: JobRequest, naming: Naming) -> list[str]:
        """See `BatchSystem.directives`. `--bulk` and `--step` are given when it is submitted."""
        options = [
            f'--name "{naming.job}"',
            f'-L "node={request.nodes}"',
            f'-L "elapse={request.time}"',
            f'--mpi "max-proc-per-node={request.ranks_per_node}"',
            "-j",
            "-S",
        ]
        if naming.queue:
            options.append(f'-L "rscgrp={naming.queue}"')
        if naming.account:
            options.append(f"-g {naming.account}")
        if request.memory_MiB:
            options.append(f'-L "node-mem={request.memory_MiB}Mi"')
        if request.master_worker:
            options.append("--mswk")
        return [f"#PJM {option}" for option in (*options, *naming.directives)]

    def job_id(self) -> str:
        """See `BatchSystem.job_id`."""
        return "PJM_JOBID"

    def work_folder(self) -> str:
        """See `BatchSystem.work_folder`."""
        return "PJM_O_WORKDIR"

    def index(self) -> str:
        """See `BatchSystem.index`."""
        return "${PJM_BULKNUM:?}"

    def submit(self, request: JobRequest) -> list[str]:
        """See `BatchSystem.submit`. A bulk or master-worker job cannot be a step job (PJM refuses it): it is one attempt."""
        if request.array:
            return ['exec pjsub --bulk --sparam "{}-{}" "$script"'.format(*request.array)]
        if request.master_worker or request.attempts == 1:
            return ['exec pjsub "$script"']
        return [
            'answer=$(pjsub --step --sparam "sn=1" "$script") || exit',
            'echo "$answer"',
            "# [INFO.] PJM 0000 pjsub Job 64856_1 submitted.",
            '[[ $answer =~ Job\\ ([0-9]+)_[0-9]+\\ submitted ]] || { echo "pjsub did not tell the job\'s id" >&2; exit 1; }',
            f"for ((step = 2; step <= {request.attempts}; step++)); do",
            "    # deleted, with all after it, unless the one before ended with 75",
            '    pjsub --step --sparam "jid=${BASH_REMATCH[1]},sn=$step,sd=ec!=75:after:$((step - 1))" "$script" || exit',
            "done",
            "exit",
        ]

    def resubmit(self, request: JobRequest) -> list[str]:
        """See `BatchSystem.resubmit`."""
        if request.array or request.master_worker:
            return ['echo "not done yet: submit it again with: bash $script"']
        return ['echo "the step job\'s next job goes on"']

    def launcher(self, request: JobRequest) -> list[str]:
        """See `BatchSystem.launcher`. Fujitsu's mpiexec places and binds ranks by what `--mpi` asked for."""
        return [f"launcher=(mpiexec -n {request.ranks})"]
