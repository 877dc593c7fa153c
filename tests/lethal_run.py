"""A run of which one task kills its process each time: `python lethal_run.py OPTIONS`, as `twin run OPTIONS`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from scenarios.cell_runner import CellRunner
from scenarios.cli import main
from scenarios.tasks import CellTask

_real = CellRunner.__call__


def _lethal(self: CellRunner, task: CellTask) -> Any:
    if task.first == 64 and task.arms[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return _real(self, task)


CellRunner.__call__ = _lethal  # type: ignore[method-assign]  # workers import this file as well

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
