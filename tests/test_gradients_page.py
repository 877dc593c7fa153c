"""docs/gradients.md: its examples run as they stand and print what the page says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from test_readme import blocks

PAGE = Path(__file__).resolve().parents[1] / "docs" / "gradients.md"


def test_examples_print_what_the_page_says() -> None:
    scripts, outputs = blocks(PAGE, "python"), blocks(PAGE, "text")
    assert len(scripts) == len(outputs) > 3
    marked = [f"{script}\nprint('---')\n" for script in scripts]
    done = subprocess.run([sys.executable, "-c", "".join(marked)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("---\n")[:-1] == outputs
