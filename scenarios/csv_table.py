"""A CSV table with a header and `#` lines of remarks, read so that an error can say in which line it is."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scenarios.problem import near
from twin.errors import InputError


@dataclass(frozen=True)
class Row:
    """One row: its cells by column, and where it stands (``"points.csv:12"``)."""

    where: str
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """A cell that must not be empty. Raises `InputError` where it is."""
        if not self.cells[column]:
            raise InputError(f"{self.where}: {column} is empty; expected a word.")
        return self.cells[column]

    def number(self, column: str) -> float:
        """A finite number. Raises `InputError` where the cell is none."""
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{self.where}: {column} is {self.cells[column]!r}; expected a finite number.")
        return value


@dataclass(frozen=True)
class CsvTable:
    """Columns in the order of the file, and rows.

    Args:
        name: the file, for messages.
        remarks: the `#` lines, without their sign.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...]

    @classmethod
    def read(cls, path: str | Path, *, needed: Sequence[str], known: Sequence[str] | None = None) -> CsvTable:
        """Read a file.

        Args:
            needed: columns that must be there.
            known: all columns that may be there; None: any.

        Raises:
            InputError: no such file, not text, a column that is missing, unknown or given twice, a row of another length.
        """
        path = Path(path)
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: cannot be read ({error}); expected a CSV table in UTF-8. Check the path."
            ) from error
        content = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
        parsed = list(_cells(content))
        where, header = parsed[0] if parsed else (1, [])
        for column in needed:
            if column not in header:
                hint = near(column, header)
                raise InputError(
                    f"{path.name}:{where}: no column {column!r} ({', '.join(header) or 'empty'});{hint} add it."
                )
        for column in header:
            if header.count(column) > 1 or (known is not None and column not in known):
                raise InputError(
                    f"{path.name}:{where}: column {column!r} is unknown or given twice; expected {', '.join(known or needed)}."
                )
        rows: list[Row] = []
        for number, cells in parsed[1:]:
            if len(cells) != len(header):
                raise InputError(
                    f"{path.name}:{number}: {len(cells)} cells in a table of {len(header)} columns; mend the row."
                )
            rows.append(Row(f"{path.name}:{number}", dict(zip(header, cells, strict=True))))
        if not rows:
            raise InputError(f"{path.name}: no rows below the header; expected at least one.")
        remarks = tuple(line[1:].strip() for line in lines if line.startswith("#"))
        return cls(path.name, tuple(header), tuple(rows), remarks)


def _cells(content: Sequence[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    for number, line in content:  # one record per line: quoted line breaks do not occur in our tables
        yield number, [cell.strip() for cell in next(csv.reader([line]))]
