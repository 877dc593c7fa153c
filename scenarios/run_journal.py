"""The journal of a run: what it holds is read, the rest runs now and is written there as it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from numpy.typing import NDArray

from hpc import Journal, TaskFailure
from hpc.publication import tidy
from scenarios.place import Place
from twin.errors import InputError, UnsupportedFeature

R = TypeVar("R")

Arrays = Mapping[str, NDArray[Any]]
Told = Callable[[int, Any], None]
"""Told as each task ends: its index, and its result or a `TaskFailure`; see `Executor.map`."""
LAST_BREATH_S = 5.0
"""What holds the journal of a rank that died is gone a moment after its connections are."""


@contextmanager
def open_run_journal(
    place: Place, fingerprint: Mapping[str, str], *, fresh: bool, patience_s: float = 0.0
) -> Iterator[Journal]:
    """The journal at a place, whose folder is made and cleared of what killed runs left.

    A run that is refused within the block, with nothing worth keeping, leaves neither journal nor log behind.

    Args:
        place: of the run.
        fingerprint, fresh, patience_s: as `Journal`.
    """
    place.prepare()
    tidy(place.result)
    with Journal(place.journal, fingerprint, fresh=fresh, patience_s=patience_s) as journal:
        try:
            yield journal
        except (InputError, UnsupportedFeature):
            if not len(journal):
                journal.remove()
                place.log.unlink(missing_ok=True)
            raise


def journaled(
    journal: Journal,
    keys: Sequence[str],
    run: Callable[[Sequence[int], Told], None],
    *,
    record: Callable[[R], tuple[Arrays, Any]],
    recorded: Callable[[Arrays, Any], R],
    lost: Callable[[int, TaskFailure], R],
    done: Callable[[int, R], None],
) -> list[R]:
    """Results of all tasks in their order: from the journal, or run now and written there as each ends.

    Args:
        journal: of the run.
        keys: of the tasks in the journal.
        run: runs the tasks at these positions, all that the journal lacks, and tells of each as it ends.
        record, recorded: a result as arrays and note, and back.
        lost: what stands for a task that failed; it is not written, so that `--resume` tries it again.
        done: told of each result, in no order.
    """
    found: dict[int, R] = {}
    for position, key in enumerate(keys):
        if key in journal:
            kept = journal.read(key)
            found[position] = recorded(kept.arrays, kept.note)
            done(position, found[position])
    todo = [position for position in range(len(keys)) if position not in found]

    def ended(index: int, outcome: R | TaskFailure) -> None:
        position = todo[index]
        if isinstance(outcome, TaskFailure):
            found[position] = lost(position, outcome)
        else:
            journal.append(keys[position], *record(outcome))
            found[position] = outcome
        done(position, found[position])

    run(todo, ended)
    return [found[position] for position in range(len(keys))]
