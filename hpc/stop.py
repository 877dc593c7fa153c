"""A job is stopped from outside: Ctrl-C (SIGINT) or the scheduler (SIGTERM) end it cleanly, and it can be resumed.

    with stop.listening():
        ...                       # a signal raises Stopped here, between two Python instructions
        with stop.deferred():
            ...                   # here it waits, so that what is written stays whole

The first signal stops cleanly; a second Ctrl-C ends the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAID = {signal.SIGINT: "interrupted (Ctrl-C)", signal.SIGTERM: "told to end (SIGTERM)"}


class Stopped(BaseException):
    """The job was told to stop. Like KeyboardInterrupt no Exception, so that no `except Exception` takes it for a failure.

    Attributes:
        exit_code: what the process shall end with: 130 after SIGINT, 143 after SIGTERM.
    """

    def __init__(self, signal_number: int, message: str | None = None) -> None:
        super().__init__(message or f"{_SAID.get(signal.Signals(signal_number), 'stopped by a signal')}.")
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type[Stopped], tuple[int, str]]:
        return type(self), (self.signal_number, str(self))


class _Listener:
    """What this process was told; signals belong to the process, so there is one."""

    depth = 0
    deferrals = 0
    received: int | None = None
    raised = False

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
    """Turn SIGINT and SIGTERM into `Stopped` within the block. May be nested; does nothing outside the main thread."""
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
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if _listener.depth == 0:
            _listener.received, _listener.raised = None, False


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
