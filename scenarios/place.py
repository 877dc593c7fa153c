"""Where a run keeps what it makes: the result, its page and its log side by side, and a journal while it is under way."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twin.errors import InputError

if TYPE_CHECKING:
    from scenarios.scenario import Scenario

FOLDER = Path("results")


@dataclass(frozen=True)
class Place:
    """Paths of one run.

    Args:
        result: the Zarr store.
    """

    result: Path

    @classmethod
    def of(cls, scenario: Scenario, out: Path | None) -> Place:
        """``results/NAME.zarr`` in the current folder, or `out` as it stands."""
        return cls(FOLDER / f"{scenario.name}.zarr" if out is None else out.expanduser())

    @property
    def page(self) -> Path:
        """The report, one HTML file."""
        return self._beside(".html")

    @property
    def log(self) -> Path:
        """What was said, with times."""
        return self._beside(".log")

    @property
    def journal(self) -> Path:
        """Finished work of a run that is not finished."""
        return self.result.with_name(f".{self.result.name}.journal")

    @property
    def under_way(self) -> bool:
        """Whether a run was begun here and not finished."""
        return self.journal.exists()

    def _beside(self, ending: str) -> Path:
        stem = self.result.name.removesuffix(".zarr")
        return self.result.with_name(f"{stem}{ending}")

    def check(self, *, overwrite: bool) -> None:
        """Refuse a place that cannot be written to, or that holds what nobody said may be replaced.

        Raises:
            InputError: says which, and the cure.
        """
        if self.result.name in ("", ".", "..") or self.result.suffix in (".html", ".log", ".yaml", ".yml"):
            raise InputError(f"--out {self.result}: expected the name of a result, e.g. results/mine.zarr.")
        folder = next(
            parent for parent in (self.result.parent, *self.result.parent.resolve().parents) if parent.exists()
        )
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"{self.result}: {folder} is no folder that can be written to; choose another with --out.")
        if self.result.exists() and not (self.result / "zarr.json").is_file():
            raise InputError(
                f"{self.result} is there already, and is no result of `twin run`; it stays as it is. "
                "Choose another name with --out, e.g. --out results/mine.zarr."
            )
        if overwrite:
            return
        for path in (self.result, self.page):
            if path.exists():
                raise InputError(
                    f"{path} is there already. Replace it with --overwrite, or choose another place with --out."
                )
        if self.under_way:
            raise InputError(
                f"a run that was begun at {self.result} is not finished (its work is in {self.journal}). "
                "Go on with --resume, or start anew with --overwrite."
            )

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            InputError: the system refuses: a file system that is mounted read-only, say, grants it to nobody.
        """
        try:
            self.result.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.result}: its folder cannot be made ({error.strerror}); choose another place with --out."
            ) from error
