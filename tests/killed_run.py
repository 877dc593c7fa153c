"""A run that kills itself with SIGKILL at a chosen moment: `python killed_run.py SCENARIO OUT MOMENT`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import hpc.journal
from scenarios import job, report, result, run_publication
from scenarios.scenario import Scenario

MOMENTS = ("journal 0", "journal 1", "journal 4", "write", "publish", "page")


def die_before(owner: Any, name: str, *, calls: int = 0) -> None:
    """Let this function be called so often, and no more."""
    real, left = getattr(owner, name), [calls]

    def mortal(*arguments: Any, **options: Any) -> Any:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return real(*arguments, **options)

    setattr(owner, name, mortal)


def main(scenario: str, out: str, moment: str) -> None:
    what, _, number = moment.partition(" ")
    if what == "journal":
        die_before(hpc.journal.Journal, "append", calls=int(number))
    elif what == "write":
        die_before(result, "write")
    elif what == "publish":
        die_before(run_publication, "publish")
    else:
        die_before(report, "write")
    job.run(Scenario.load(scenario), out=Path(out), processes=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
