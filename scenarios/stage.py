"""Where the simulators of a twin run: all in this process, or as a placement says on ranks of the job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from coupling.remote import placed
from hpc.company import Company
from hpc.executor import Executor
from hpc.line import Line
from hpc.placed import PlacedExecutor
from hpc.placement import Placement
from twin.graph import Twin


class Stage(Protocol):
    """Where simulators run."""

    def __call__(self, make: Callable[..., Twin], about: Any, *more: Any) -> AbstractContextManager[Twin]:
        """The twin ``make(about, *more)`` with its simulators where they run, until the block ends.

        Args:
            make: a function of a module; the other ranks call it as well.
            about: sent to them once as long as it stays the same object.
            more: what differs from call to call.
        """
        ...


class Here:
    """Every simulator in this process."""

    @contextmanager
    def __call__(self, make: Callable[..., Twin], about: Any, *more: Any) -> Iterator[Twin]:
        """See `Stage`."""
        yield make(about, *more)


HERE = Here()


class OnRanks:
    """Simulators where a placement says, the others here. Those of a rank that has died are elsewhere (`Placement.without`).

    Args:
        company: all ranks of the job.
        placement: who runs where.
    """

    def __init__(self, company: Company, placement: Placement) -> None:
        self._company, self._placement = company, placement

    @contextmanager
    def __call__(self, make: Callable[..., Twin], about: Any, *more: Any) -> Iterator[Twin]:
        """See `Stage`."""
        twin = make(about, *more)
        placement = self._placement.only(twin.simulators)
        if not placement.elsewhere:
            yield twin
            return
        with (
            self._company.acting(_answer, about, make, more, placement),
            placed(twin, placement, line=self._company.line) as stage,
        ):
            assert stage is not None, "rank 0 leads"
            yield stage


def stage_of(executor: Executor, *, say: Callable[[str], None]) -> Stage:
    """Where the simulators of an executor's tasks run; `say` is told of ranks that die, and where their simulators go."""
    if isinstance(executor, PlacedExecutor):
        executor.say = say
        return OnRanks(executor.company, executor.placement)
    return HERE


def _answer(line: Line, about: Any, make: Callable[..., Twin], more: tuple[Any, ...], placement: Placement) -> None:
    """Answer for the simulators that are placed on this rank."""
    with placed(make(about, *more), placement, line=line):
        pass
