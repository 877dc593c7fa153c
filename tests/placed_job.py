"""One rank of a job with the cells on rank 1: `python placed_job.py SCENARIO OUT PIDS`; each rank notes its process in PIDS."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hpc.launch import announced
from scenarios.cli import main

if __name__ == "__main__":
    scenario, out, pids = sys.argv[1:]
    launched = announced()
    assert launched is not None
    (Path(pids) / str(launched.rank)).write_text(str(os.getpid()))
    sys.exit(main(["run", scenario, "--out", out, "--place", "cell=1"]))
