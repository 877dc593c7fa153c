"""The built-in library of scenarios: what is on the shelf, and where."""

from __future__ import annotations

from pathlib import Path

from scenarios.problem import near, one_of
from twin.errors import InputError

LIBRARY = Path(__file__).resolve().parent / "library"


def names() -> tuple[str, ...]:
    """Names of the built-in scenarios."""
    return tuple(sorted(path.stem for path in LIBRARY.glob("*.yaml")))


def find(name_or_path: str | Path) -> Path:
    """The file of a built-in scenario, or of a path to a YAML file.

    Raises:
        InputError: no such name; the text lists what there is.
    """
    text = str(name_or_path)
    path = Path(text).expanduser()
    if path.suffix.lower() in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    if text in names():
        return LIBRARY / f"{text}.yaml"
    beside = next((Path(f"{text}{ending}") for ending in (".yaml", ".yml") if Path(f"{text}{ending}").is_file()), None)
    hint = f" here lies {beside}: write `{beside}` to use it." if beside else near(text, names())
    raise InputError(
        f"{text!r} is no built-in scenario;{hint} expected one of {one_of(names())}, "
        "or a path that ends in .yaml; `twin new NAME` writes a file to start from."
    )


def title(path: Path) -> str:
    """The `title:` line of a scenario file, read as plain text (a list of the shelf must be quick)."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("title:"):
            return line.removeprefix("title:").strip().strip("\"'")
    return ""
