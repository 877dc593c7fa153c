"""docs/gradients.md and docs/steady_states.md: their examples run as they stand and print what the pages say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_readme import blocks

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize(("page", "examples"), [("gradients.md", 4), ("steady_states.md", 1)])
def test_examples_print_what_the_page_says(page: str, examples: int) -> None:
    scripts, outputs = blocks(DOCS / page, "python"), blocks(DOCS / page, "text")
    assert len(scripts) == len(outputs) == examples
    marked = [f"{script}\nprint('---')\n" for script in scripts]
    done = subprocess.run([sys.executable, "-c", "".join(marked)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("---\n")[:-1] == outputs
