"""A job is stopped from outside: Ctrl-C (SIGINT), the scheduler (SIGTERM) or the end of the time that it was given end it cleanly,
and it can be resumed.

    with stop.listening():
        ...                       # a signal raises Stopped here, between two Python instructions
        with stop.deferred():
            ...                   # here it waits, so that what is written stays whole

The first signal stops cleanly; a second Ctrl-C ends the process at once.

The time given (`twin run --walltime`) ends a few seconds early by an alarm, so that what is finished is on disk in time; and no task
is begun any more that would take, as the longest so far did, beyond it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
_SAID = {
    signal.SIGINT: "interrupted (Ctrl-C)",
    signal.SIGTERM: "told to end (SIGTERM)",
    signal.SIGALRM: "the time given (--walltime) is over",
}
TIME_IS_OVER = 75  # EX_TEMPFAIL of sysexits(3): try again later
_BEGUN = time.monotonic()  # this process: the command line imports this first of all
_RESERVE_S = 5.0  # to end workers and ranks and to have files on disk; less of a short time
_MOST_RESERVE = 0.1


class Stopped(BaseException):
    """The job was told to stop. Like KeyboardInterrupt no Exception, so that no `except Exception` takes it for a failure.

    Attributes:
        exit_code: what the process shall end with: 130 after SIGINT, 143 after SIGTERM, 75 where the time given is over.
    """

    def __init__(self, signal_number: int, message: str | None = None) -> None:
        super().__init__(message or f"{_SAID.get(signal.Signals(signal_number), 'stopped by a signal')}.")
        self.signal_number = signal_number
        self.exit_code = TIME_IS_OVER if signal_number == signal.SIGALRM else 128 + signal_number

    def __reduce__(self) -> tuple[type[Stopped], tuple[int, str]]:
        return type(self), (self.signal_number, str(self))


class _Listener:
    """What this process was told; signals belong to the process, so there is one."""

    depth = 0
    deferrals = 0
    received: int | None = None
    raised = False
    ends: float | None = None  # when this job stops by itself, by the monotonic clock
    longest_s = 0.0  # task so far

    def hear(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            if number == signal.SIGINT:
                os.write(2, b"\nstopped at once: interrupted a second time.\n")
                os._exit(128 + number)
            return  # schedulers repeat SIGTERM; the first is being obeyed
        self.received = number
        if not self.deferrals:
            self.raised = True
            raise Stopped(number)


_listener = _Listener()


@contextmanager
def listening() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGALRM into `Stopped` within the block. May be nested; does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS} if _listener.depth == 0 else {}
    _listener.depth += 1
    try:
        for number in before:
            signal.signal(number, _listener.hear)
        yield
    finally:
        _listener.depth -= 1
        if _listener.depth == 0:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            _listener.received, _listener.raised = None, False
            _listener.ends, _listener.longest_s = None, 0.0
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def immediate() -> Iterator[None]:
    """Let a signal end the process at once: for compiled code that may wait for ever, where Python's handlers never run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def deferred() -> Iterator[None]:
    """Let a signal wait until the outermost such block ends; `check` inside raises it where it does no harm."""
    _listener.deferrals += 1
    try:
        yield
    finally:
        _listener.deferrals -= 1
    if not _listener.deferrals:
        check()


def requested() -> int | None:
    """The signal that waits to be obeyed, if there is one."""
    return None if _listener.raised else _listener.received


def check() -> None:
    """Raise `Stopped` if a signal waits."""
    number = requested()
    if number is not None:
        _listener.raised = True
        raise Stopped(number)


def forget() -> None:
    """Take no further notice of the signal: whoever decides has been told."""
    _listener.received, _listener.raised = None, False


def request(signal_number: int) -> None:
    """Behave as if this signal had come and waited: another rank received it, or shall be told of it."""
    _listener.received, _listener.raised = signal_number, False


def at_age(walltime_s: float) -> None:
    """Stop this job so that it has ended when this process is so old [s]; holds until `listening` ends."""
    left_s = walltime_s - min(_RESERVE_S, _MOST_RESERVE * walltime_s) - (time.monotonic() - _BEGUN)
    _listener.ends = time.monotonic() + left_s
    if threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, max(left_s, 1e-3))


def took(seconds: float) -> None:
    """A task took so long: what is to be expected of others."""
    _listener.longest_s = max(_listener.longest_s, seconds)


def time_for_another(turns: int = 1) -> bool:
    """Whether a task that takes as long as the longest so far would end in time; the last of so many that wait for each other."""
    return _listener.ends is None or time.monotonic() + turns * _listener.longest_s < _listener.ends


def out_of_time() -> None:
    """Stop now: what is left to do would not end in time."""
    request(signal.SIGALRM)
    check()
