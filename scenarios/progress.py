"""How far a run is, all ranks together: a bar per scale on a terminal, plain lines elsewhere, and a log beside the result."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from scenarios.clocks import Clocks

_QUIET_S = 10.0  # between two plain lines of one stage


class Stage:
    """One scale at work."""

    def __init__(self, progress: Progress, name: str, what: str, total: int) -> None:
        self._progress, self.name, self.what, self.total = progress, name, what, total
        self.done = 0
        self.found = ""
        """What is said when it ends."""
        self.tasks = 0
        self.worked_s = 0.0
        self._resumed = 0
        self._begun = self._said = time.monotonic()
        self._bar: Any = None

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._begun

    def advance(self, amount: int = 1) -> None:
        """So much more is done."""
        self.done += amount
        self._progress.moved(self)

    def worked(self, seconds: float) -> None:
        """A worker ended a task that took so long; `advance` follows."""
        if not self.tasks:
            self._resumed = self.done  # from the journal, at no cost: no measure of what is left
        self.tasks += 1
        self.worked_s += seconds

    @property
    def pace(self) -> str:
        """Tasks a second, how many workers compute, and how long it will take; empty before the first task has ended."""
        passed = self.seconds
        if not self.tasks or passed <= 0.0:
            return ""
        said = [f"{self.tasks / passed:,.3g} tasks/s"]
        workers, noun = self._progress.workers
        if workers > 1:
            said.append(f"{min(self.worked_s / passed, workers):.1f} of {workers:,} {noun} busy")
        if self._resumed < self.done < self.total:
            said.append(f"{_duration(passed * (self.total - self.done) / (self.done - self._resumed))} left")
        return ", ".join(said)

    def quiet(self) -> bool:
        """Whether a plain line was said a moment ago; if not, one is said now."""
        now = time.monotonic()
        if now - self._said < _QUIET_S or self.done >= self.total:
            return True
        self._said = now
        return False


class Progress:
    """Says how far a run is, and remembers how long each scale took.

    Args:
        log: file that keeps what is said, with times; None: kept nowhere.
        stream: where to say it; standard output by default.
        plain: lines even on a terminal: `mpiexec` shows one to its ranks, and passes on what they write as it comes.
        workers: how many compute, and what they are called.
        clocks: told of each stage when it ends.
    """

    def __init__(
        self,
        log: Path | None = None,
        stream: TextIO | None = None,
        *,
        plain: bool = False,
        workers: tuple[int, str] = (1, "workers"),
        clocks: Clocks | None = None,
    ) -> None:
        self._log = log
        self._stream = stream or sys.stdout
        self._moving = self._stream.isatty() and not plain
        self.workers, self._clocks = workers, clocks
        self.seconds: dict[str, float] = {}
        self._bars: Any = None

    def say(self, text: str, *, aloud: bool = True) -> None:
        """One line to the user and the log, or to the log alone."""
        if aloud:
            if self._bars is not None:
                self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, file=self._stream, flush=True)
        if self._log is not None:
            stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
            with self._log.open("a", encoding="utf-8") as handle:
                handle.write("".join(f"{stamp} {line}\n" for line in text.splitlines()))

    @contextmanager
    def stage(self, name: str, what: str, total: int = 1) -> Iterator[Stage]:
        """A scale at work, from its first to its last line.

        Args:
            name: the scale: molecule, learned, bridge, cells, emulator, variance, report.
            what: what is done, as users say it.
            total: how many steps.
        """
        stage, began_s = Stage(self, name, what, total), time.time()
        if self._moving and total > 1:
            with self._bar(stage):
                yield stage
        else:
            if total > 1:
                self.say(f"{name:9} {what} …")
            yield stage
        self.seconds[name] = self.seconds.get(name, 0.0) + stage.seconds
        if self._clocks is not None:
            self._clocks.stage(name, what, began_s, stage.seconds)
        self.say(f"{name:9} {stage.found or what} ({stage.seconds:.1f} s)")

    def moved(self, stage: Stage) -> None:
        """A stage went on."""
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[-1], completed=stage.done, pace=stage.pace)
        elif not stage.quiet():
            pace = f", {stage.pace}" if stage.pace else ""
            self.say(f"{stage.name:9} {stage.done:,} of {stage.total:,} ({stage.done / stage.total:.0%}){pace}")

    @contextmanager
    def _bar(self, stage: Stage) -> Iterator[None]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
        )
        with Bars(*columns, console=Console(file=self._stream), transient=True) as bars:
            self._bars = bars
            bars.add_task(f"{stage.name:9} {stage.what}", total=stage.total, pace="")
            try:
                yield
            finally:
                self._bars = None


def _duration(seconds: float) -> str:
    """A time ahead, no more exact than it is known."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes // 60:.0f} h {minutes % 60:02.0f} min"
