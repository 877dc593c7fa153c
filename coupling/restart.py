"""Restart: a long run of a twin keeps where it stands, and goes on from there as if it had not been stopped, bit by bit.

    restart = Restart("tube.checkpoint", {"model": sha256, "seed": "1"})
    with stop.listening():
        found = simulate(twin, ..., restart=restart)       # killed, told to stop, or out of time: run the same again
    restart.remove()

What is kept are the states of all simulators, what they said last, what schemes and windows remember, and the samples so far. When
depends on the clock on the wall, what is found does not. A signal, or the end of the time given, waits for the end of a window.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupling.scheme import Standing
from hpc import Checkpoint, Record, stop
from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.simulator import State

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Progress:
    """How far a run is, between two windows.

    Args:
        stretches: between changes from outside or exchanges, that are behind it.
        time: where it stands, within the next one.
        looks: samples of that one that have been taken.
        at: what all need to go on.
        values: samples so far, ``"simulator.port"`` → `[M, T so far, *dims]`.
        counts, residuals: see `Course`.
    """

    stretches: int
    time: float
    looks: int
    at: Standing
    values: Arrays
    counts: Arrays = field(default_factory=dict[str, "NDArray[Any]"])
    residuals: Arrays = field(default_factory=dict[str, "NDArray[Any]"])


class Restart:
    """Checkpoints of one run.

    Args:
        path: of the checkpoint; members that have windows of their own have one each beside it.
        fingerprint: what the run depends on beside what `simulate` is given: models and their versions. Seed, times, members,
            changes, scheme and windows are added.
        every_s: seconds between two checkpoints; 0: after each window.

    Raises:
        InputError: seconds below 0.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: Mapping[str, str], *, every_s: float = 30.0) -> None:
        if not every_s >= 0:
            raise InputError(f"Restart: every_s {every_s}; expected seconds, 0 or more.")
        self.path, self.every_s = Path(path), every_s
        self.fingerprint = dict(fingerprint)
        self._saved = self._looked = time.monotonic()
        self._checkpoint = Checkpoint(self.path, self.fingerprint)

    def of(self, **more: Any) -> Restart:
        """The same of a run about which more is known."""
        known = {name: value if isinstance(value, str) else _digest(value) for name, value in more.items()}
        return Restart(self.path, {**self.fingerprint, **known}, every_s=self.every_s)

    def of_run(
        self,
        at: Standing,
        perturbations: Sequence[Perturbation],
        *about: Any,
    ) -> Restart:
        """The same of a run that starts there: its members, states and changes, and what else it is about."""
        states = [
            (name, state.members, state.time, sorted(state.note.items()), sorted(state.arrays.items()))
            for name, state in at.states.items()
        ]
        changes = [(one.time, one.target, one.operation, one.value) for one in perturbations]
        return self.of(start=states, changes=changes, times_and_scheme=about)

    def alone(self, member: int) -> Restart:
        """That of one member with windows of its own."""
        path = self.path.with_name(f"{self.path.name}.member-{member}")
        return Restart(path, {**self.fingerprint, "member": str(member)}, every_s=self.every_s)

    def begun(self) -> Progress | None:
        """How far the run was; None at its start.

        Raises:
            FingerprintError, DamagedError, StorageError: see `Checkpoint.load`.
        """
        parts = self._checkpoint.load()
        if parts is None:
            return None
        states: dict[str, State] = {}
        now: dict[str, Arrays] = {}
        for key, part in parts.items():
            kind, _, name = key.partition(" ")
            if kind == "state":
                arrays = {what: array for what, array in part.arrays.items() if what != _MEMBERS}
                states[name] = State(part.arrays[_MEMBERS], arrays, part.note["time"], part.note["note"])
            elif kind == "now":
                now[name] = part.arrays
        return Progress(
            **parts["progress"].note,
            at=Standing(states, now, parts["memory"].arrays),
            values=parts["values"].arrays,
            counts=parts["counts"].arrays,
            residuals=parts["residuals"].arrays,
        )

    def due(self) -> bool:
        """Whether it is time to save: a window has ended."""
        now = time.monotonic()
        stop.took(now - self._looked)
        self._looked = now
        return now - self._saved >= self.every_s or stop.requested() is not None or not stop.time_for_another()

    def save(self, progress: Progress, *, last: bool = False) -> None:
        """Keep this. Then obey what was deferred: the end of the time given, or a signal, unless the run is over.

        Raises:
            Stopped: the run is to end; it goes on from here.
            StorageError: the disk is full or failing; the last checkpoint stands.
        """
        parts = [
            Record("progress", note={name: getattr(progress, name) for name in ("stretches", "time", "looks")}),
            *(_state_record(name, state) for name, state in progress.at.states.items()),
            *(Record(f"now {name}", said) for name, said in progress.at.now.items()),
            Record("memory", progress.at.memory),
            Record("values", progress.values),
            Record("counts", progress.counts),
            Record("residuals", progress.residuals),
        ]
        self._checkpoint.save(parts)
        self._saved = self._looked = time.monotonic()
        if not last:
            stop.check()
            if not stop.time_for_another():
                stop.out_of_time()

    def remove(self) -> None:
        """Delete the checkpoints: the run is done."""
        self._checkpoint.remove()
        for path in self.path.parent.glob(f"{self.path.name}.member-*"):
            path.unlink(missing_ok=True)


_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_MEMBERS = "members of the chunk"  # among arrays of a state, whose names have no spaces


def _state_record(name: str, state: State) -> Record:
    note = {"time": float(state.time), "note": dict(state.note)}
    return Record(f"state {name}", {_MEMBERS: state.members, **state.arrays}, note)


def _digest(value: Any) -> str:
    found = hashlib.sha256()

    def add(one: Any) -> None:
        if isinstance(one, list | tuple):
            found.update(f"{len(one)}(".encode())
            for part in one:
                add(part)
        elif isinstance(one, np.ndarray):
            found.update(f"{one.dtype.str}{one.shape}".encode() + np.ascontiguousarray(one).tobytes())
        else:
            found.update(_ADDRESS.sub("", repr(one)).encode() + b",")

    add(value)
    return found.hexdigest()[:16]
