"""What several test files share: runs that are made once for the whole session."""

from __future__ import annotations

from pathlib import Path

import gastric_run
import libsedml  # noqa: F401 - before libSBML, as in simulators.reaction
import pytest
from hypothesis import settings

# a first call may build the unit registry, and machines are shared: how long one example takes is no property of the code
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def gastric(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the small gastric twin, run in this process."""
    from scenarios import job
    from scenarios.scenario import Scenario

    folder = tmp_path_factory.mktemp("gastric")
    assert job.run(Scenario.load(gastric_run.write(folder)), out=folder / "gastric.zarr", processes=1) == job.DONE
    return folder / "gastric.zarr"
