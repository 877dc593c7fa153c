"""Tasks on rank 0, one after the other, whose simulators run on the other ranks: those answer for them and take no tasks.

Every rank computes in its own process here, so that a crash in compiled code ends the job; what is in the journal stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from hpc.company import Company
from hpc.errors import PlacementError
from hpc.line import Line
from hpc.placement import Placement, shown
from hpc.serial import SerialExecutor
from hpc.understudy import Understudy


class PlacedExecutor(SerialExecutor):
    """The executor of one rank of a job whose ranks answer for simulators.

    Args:
        company: all ranks.
        placement: who runs where.
    """

    kind: Literal["serial", "processes", "mpi", "futures"] = "mpi"

    def __init__(self, company: Company, placement: Placement) -> None:
        super().__init__()
        self.company, self.placement = company, placement
        self.is_root = company.leads
        self.ranks = company.line.size

    @property
    def cast(self) -> str:
        """Who runs where, in words."""
        idle = self.placement.idle(self.ranks)
        rest = f"; nothing for {shown(idle)} to do" if idle else ""
        return f"{self.ranks} MPI ranks, {self.placement}, all else on 0{rest}"

    def serve(self, understudy: Understudy[Any] | None = None) -> None:
        """Answer for simulators until rank 0 has done its tasks; on rank 0, do nothing."""
        self.company.follow()

    def leave(self) -> None:
        """Rank 0 lets the others go; these do not go before."""
        self.company.follow()
        self.company.dismiss()


def placed_executor(
    world: Any, asked: Callable[[], Placement | None], *, tolerant: bool = False
) -> PlacedExecutor | None:
    """The executor of this rank, if rank 0 asks for a placement on other ranks; None on every rank where it does not.

    Args:
        world: communicator of all ranks.
        asked: on rank 0, what is asked for; what it raises is raised there, after the others know that there is none.
        tolerant: whether the job shall outlive its ranks.

    Raises:
        PlacementError: ranks that the job has not, or a job that would outlive ranks which simulators need.
    """
    if tolerant:  # no message of all ranks here: rank 0 alone looks whether there is something to refuse
        found = asked() if world.rank == 0 else None
        if found is not None and found.elsewhere:
            raise PlacementError(
                f"placement {found}: a job that goes on without ranks that died cannot do without those that answer for a "
                "simulator; launch without fault tolerance (--with-ft), and go on with --resume if a rank dies."
            )
        return None
    company = Company(Line(world))

    def words() -> list[str]:
        found = asked()
        if found is None or not found.elsewhere:
            return []
        found.check_size(company.line.size)
        return str(found).split()

    agreed = company.agreed(words)
    return PlacedExecutor(company, Placement.parse(agreed)) if agreed else None
