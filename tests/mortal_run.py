"""One rank of `twin`, which kills itself with SIGKILL at its moment: `python mortal_run.py "2 step 3; 0 journal 1" ARGUMENTS…`.

Moments: `step N`, within the N-th step of any simulator on that rank; `journal N`, before the N-th record; `members N`, within any
step of members that begin with number N.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import hpc.journal
from hpc.launch import announced
from scenarios.cli import main
from simulators.reaction import ReactionSimulator


def die() -> None:
    """As a rank dies that the system kills."""
    os.kill(os.getpid(), signal.SIGKILL)


def mortal(moment: str, number: int) -> None:
    """Let this process die at its moment."""
    calls = [0]

    def watched(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def called(self: Any, *arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            begun = moment == "members" and arguments[0].members[0] == number
            if begun or (moment != "members" and calls[0] == number):
                die()
            return real(self, *arguments, **options)

        setattr(owner, name, called)

    if moment == "journal":
        watched(hpc.journal.Journal, "append")
    else:
        watched(ReactionSimulator, "step")
        watched(ReactionSimulator, "follow")


if __name__ == "__main__":
    launched = announced()
    assert launched is not None
    for each in sys.argv[1].split(";"):
        rank, what, when = each.split()
        if int(rank) == launched.rank:
            mortal(what, int(when))
    sys.exit(main(sys.argv[2:]))
