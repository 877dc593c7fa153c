"""PBS Professional and OpenPBS: chunks by `select`, job arrays, and a job that submits itself again until it is done.

Options as in the manual pages qsub(1B) and pbs_resources(7B) of OpenPBS 20; Torque has others.
"""

from __future__ import annotations

from hpc.batch_system import Naming, gpus_by_local_rank, mpiexec
from hpc.errors import RequestError
from hpc.job_request import JobRequest


class Pbs:
    """See `BatchSystem`."""

    name = "pbs"
    submits_itself = True

    def check(self, request: JobRequest) -> None:
        """See `BatchSystem.check`."""
        if request.master_worker:
            raise RequestError(
                "--master-worker is a kind of job that PJM has; PBS has none. Leave it out, or take --system pjm."
            )

    def directives(self, request: JobRequest, naming: Naming) -> list[str]:
        """See `BatchSystem.directives`. A chunk is a node's share; `-J` is given when it is submitted, since a member of an
        array that goes on is a job of its own."""
        chunk = [
            f"select={request.nodes}",
            f"ncpus={request.cores_per_node}",
            f"mpiprocs={request.ranks_per_node}",
            f"ompthreads={request.threads}",
        ]
        if request.gpus:
            chunk.append(f"ngpus={request.gpus}")
        if request.memory_MiB:
            chunk.append(f"mem={request.memory_MiB}mb")
        options = [
            f"-N {naming.job}",
            f"-l {':'.join(chunk)}",
            "-l place=scatter",
            f"-l walltime={request.time}",
            "-j oe",
            "-r n",
        ]
        if naming.queue:
            options.append(f"-q {naming.queue}")
        if naming.account:
            options.append(f"-A {naming.account}")
        return [f"#PBS {option}" for option in (*options, *naming.directives)]

    def job_id(self) -> str:
        """See `BatchSystem.job_id`."""
        return "PBS_JOBID"

    def work_folder(self) -> str:
        """See `BatchSystem.work_folder`."""
        return "PBS_O_WORKDIR"

    def index(self) -> str:
        """See `BatchSystem.index`. A member that goes on is told its seed; a member of the array has it from PBS."""
        return "${TWIN_INDEX:-${PBS_ARRAY_INDEX:?}}"

    def submit(self, request: JobRequest) -> list[str]:
        """See `BatchSystem.submit`."""
        array = "-J {}-{} ".format(*request.array) if request.array else ""
        return [f'exec qsub {array}"$script"']

    def resubmit(self, request: JobRequest) -> list[str]:
        """See `BatchSystem.resubmit`."""
        index = ',TWIN_INDEX="$index"' if request.array else ""
        return [f'qsub -v TWIN_ATTEMPT="$((attempt + 1))"{index} "$script"']

    def launcher(self, request: JobRequest) -> list[str]:
        """See `BatchSystem.launcher`."""
        return [*mpiexec(request), *gpus_by_local_rank(request)]
