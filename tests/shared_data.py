"""Where the shared reference data lie: `KAKEHASHI_SHARED`, else `../shared` beside the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared(*parts: str) -> Path:
    """The path of shared data; skips the test, with a reason, where it is absent."""
    root = Path(os.environ.get("KAKEHASHI_SHARED") or Path(__file__).resolve().parents[1].parent / "shared")
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared data {'/'.join(parts)} is not here; set KAKEHASHI_SHARED to its folder")
    return path
