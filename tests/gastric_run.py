"""The library's gastric twin, small: few cells, three doses, a small variance split; all else as it ships."""

from __future__ import annotations

import re
from pathlib import Path

from scenarios import shelf

SHRUNK = (
    (r"^members: \d+", "members: 3"),
    (r"doses: \[0\.1 nM, .*\]", "doses: [10 nM, 1 uM, 30 uM]"),
    (r"^variance: .*", "variance: {rows: 4, epistemic: 2, cells: 3}"),
    (r"gastric_met_resistance/", f"{shelf.LIBRARY / 'gastric_met_resistance'}/"),
)


def write(folder: Path) -> Path:
    """The scenario in a folder."""
    text = (shelf.LIBRARY / "gastric_met_resistance.yaml").read_text(encoding="utf-8")
    for pattern, small in SHRUNK:
        text, count = re.subn(pattern, small, text, flags=re.MULTILINE)
        assert count, pattern
    path = folder / "gastric.yaml"
    path.write_text(text, encoding="utf-8")
    return path
