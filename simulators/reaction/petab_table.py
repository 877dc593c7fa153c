"""One table of a PEtab problem: tab-separated rows, each with its place in the file, so that an error can say where it is."""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twin.errors import InputError

_MOST_FAULTS = 20


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        cells: column → text, without spaces around it; empty where the row is short.
        place: ``file:line``.
    """

    cells: Mapping[str, str]
    place: str

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


@dataclass(frozen=True)
class PetabTable:
    """The rows of one or several files of a kind.

    Attributes:
        columns: in the order of the first file.
        rows: in the order of the files.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, paths: Sequence[Path], needed: Sequence[str]) -> PetabTable:
        """Read the files.

        Raises:
            InputError: a file that cannot be read, has no rows, or lacks a column of `needed`.
        """
        columns: dict[str, None] = {}
        rows: list[Row] = []
        for path in paths:
            try:
                with path.open(newline="", encoding="utf-8-sig") as handle:
                    reader = csv.DictReader(handle, delimiter="\t")
                    found = [
                        Row({k.strip(): (v or "").strip() for k, v in cells.items() if k}, f"{path.name}:{reader.line_num}")
                        for cells in reader
                        if any((v or "").strip() for k, v in cells.items() if k)
                    ]  # fmt: skip
                    here = [name.strip() for name in reader.fieldnames or () if name]
            except (OSError, UnicodeDecodeError, csv.Error) as error:
                raise InputError(
                    f"{path}: cannot be read ({error}); expected a tab-separated table, as the YAML file names it."
                ) from error
            for column in needed:
                if column not in here:
                    spaced = " Are its columns separated by tabs?" if len(here) == 1 else ""
                    raise InputError(
                        f"{path.name}:1: no column {column!r};{near(column, here)} "
                        f"found {', '.join(here) or 'nothing'}.{spaced}"
                    )
            columns |= dict.fromkeys(here)
            rows += found
        return cls(tuple(columns), tuple(rows))


def number(row: Row, column: str, faults: list[str], *, what: str = "a number") -> float:
    """The cell as a number; NaN, and a fault, where it is none."""
    try:
        return float(row[column])
    except ValueError:
        faults.append(f"{row.place}: {column} is {row[column]!r}; expected {what}.")
        return math.nan


def near(name: str, known: Iterable[str]) -> str:
    """`` did you mean 'x'?`` for the names closest to `name`, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f" did you mean {' or '.join(map(repr, found))}?" if found else ""


def refuse(faults: Sequence[str], name: str) -> None:
    """Raise `InputError` that tells all faults, if there are any."""
    if not faults:
        return
    count = len(faults)
    more = [f"… and {count - _MOST_FAULTS} more"] if count > _MOST_FAULTS else []
    raise InputError("\n  ".join([f"{count} problem{'s' * (count > 1)} in {name}", *faults[:_MOST_FAULTS], *more]))
