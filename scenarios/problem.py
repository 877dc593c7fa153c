"""What is wrong with a scenario, where, and the refusal that tells all of it at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twin.errors import InputError

if TYPE_CHECKING:
    from scenarios.yaml_file import YamlFile

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        path: keys and positions from the top of the file, e.g. ``("arms", 3, "changes", 0, "dose")``.
        text: what, what was expected, and the cure.
        source: the file, where it is not the scenario file itself (``"compounds.csv:5"``).
    """

    path: Path
    text: str
    source: str = ""


class Fault(InputError):  # noqa: N818 - a fault becomes a Problem, and is caught before users meet it
    """Raised by a part of a scenario that cannot be lowered; `keys` say where inside the part."""

    def __init__(self, text: str, *keys: str | int, source: str = "") -> None:
        super().__init__(text)
        self.keys = keys
        self.source = source

    def under(self, *path: str | int) -> Problem:
        """The problem that this fault is, seen from the part's place in the file."""
        return Problem((*path, *self.keys), str(self), self.source)


def key_path(path: Path) -> str:
    """``("arms", 3, "changes", 0, "dose")`` as people write it: ``arms[3].changes[0].dose``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def near(name: str, known: Iterable[str]) -> str:
    """`` did you mean 'x'?`` for the names closest to `name` (case aside), or nothing."""
    by_lower: dict[str, str] = {}
    for candidate in known:
        by_lower.setdefault(candidate.lower(), candidate)
    found = difflib.get_close_matches(name.lower(), by_lower, n=2, cutoff=0.6)
    return f" did you mean {' or '.join(repr(by_lower[f]) for f in found)}?" if found else ""


def one_of(known: Iterable[str], *, limit: int = 12) -> str:
    """The first names of a list, for a message: ``a, b, c … (20 in all)``."""
    names = list(known)
    shown = ", ".join(names[:limit]) or "none"
    return shown if len(names) <= limit else f"{shown} … ({len(names)} in all)"


def refusal(problems: Iterable[Problem], file: YamlFile) -> InputError:
    """One `InputError` that tells every problem with its line and key path, in the order of the file."""
    found = sorted(set(problems), key=lambda p: (p.source != "", file.line(p.path), key_path(p.path)))
    lines = [f"{len(found)} problem{'s' if len(found) > 1 else ''} in {file.name}"]
    for problem in found:
        where = problem.source or f"{file.name}:{file.line(problem.path)}"
        path = key_path(problem.path)
        lines.append(f"  {where}: {path + ': ' if path else ''}{problem.text}")
    return InputError("\n".join(lines))
