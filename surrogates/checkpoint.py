"""A checkpoint: named arrays and plain facts in one safetensors file, written whole or not at all, read strictly."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError

FORMAT = "kakehashi-emulator-1"
_CURE = "`twin train` writes a checkpoint; leave `emulator:` out of the scenario to run mechanism alone."


@dataclass(frozen=True)
class Checkpoint:
    """What a learned model is made of.

    Args:
        facts: plain data (JSON): names, scalings, architecture, calibration, report.
        arrays: weights by name.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    def write(self, path: Path) -> None:
        """Write the file beside its place, then put it there in one stroke: a reader sees the old one or the new one.

        Raises:
            InputError: the place cannot be written.
        """
        from safetensors.numpy import save

        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        facts = json.dumps(self.facts, sort_keys=True, allow_nan=False)
        content = save(arrays, metadata={"format": FORMAT, "facts": facts})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).chmod(0o644)
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise InputError(
                f"{path}: the checkpoint cannot be written ({error.strerror}); give --out a place where you may write."
            ) from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that `write` made.

        Raises:
            InputError: no such file, another format, damaged, or arrays with values that are not finite.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                labels = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except FileNotFoundError as error:
            raise InputError(f"{path}: there is no such checkpoint; {_CURE}") from error
        except (SafetensorError, OSError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a checkpoint, cut short or damaged ({error}); {_CURE}") from error
        if labels.get("format") != FORMAT:
            raise InputError(
                f"{path}: format {labels.get('format')!r}; expected {FORMAT!r}, an emulator of this version. {_CURE}"
            )
        try:
            facts = json.loads(labels["facts"])
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: the facts about this checkpoint are missing or damaged; {_CURE}") from error
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise InputError(f"{path}: {name} holds values that are not finite; {_CURE}")
        return cls(facts, arrays)
