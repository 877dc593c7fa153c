"""What several test files share: runs that are made once for the whole session."""

from __future__ import annotations

from pathlib import Path

import gastric_run
import pytest


@pytest.fixture(scope="session")
def gastric(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the small gastric twin, run in this process."""
    from scenarios import job
    from scenarios.scenario import Scenario

    folder = tmp_path_factory.mktemp("gastric")
    assert job.run(Scenario.load(gastric_run.write(folder)), out=folder / "gastric.zarr", processes=1) == job.DONE
    return folder / "gastric.zarr"
