"""One worker process: it loads a function once per round, applies it to one task at a time, and ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from hpc import launch, parcel
from hpc.parcel import Kind, Work
from hpc.task_failure import TaskFailure, attempt

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def work(connection: Connection, parent: int) -> None:
    """Serve the pool at the other end of the connection until it closes."""
    # a signal meant for the job is the parent's to obey: it decides whether this task still counts
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    _end_with(parent)
    stream = connection.fileno()
    try:
        parcel.send(stream, parcel.pack(Kind.READY))
        _serve(stream)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the pool closed, or its process is gone


def _serve(stream: int) -> None:
    function: Callable[[Any], Any] | None = None
    launched = launch.announced()  # the rank's environment is its workers' as well
    rank = launched.rank if launched is not None else 0
    while True:
        message = parcel.receive(stream)
        kind, round_, index = parcel.label(message)
        if kind is Kind.FUNCTION:
            try:
                function = parcel.unpack(message)
                answer = parcel.pack(Kind.LOADED, round=round_)
            except BaseException:
                answer = parcel.pack(Kind.BROKEN, traceback.format_exc(), round=round_)
        else:
            assert function is not None, "a task came before its function"
            began_ns, ticks_ns = time.time_ns(), time.perf_counter_ns()
            answer = _answer(function, message, round_, index)
            parcel.stamp(answer, Work(began_ns, time.perf_counter_ns() - ticks_ns, rank, os.getpid()))
        del message
        parcel.send(stream, answer)
        sys.stdout.flush()


def _answer(function: Callable[[Any], Any], message: bytearray, round_: int, index: int) -> bytearray:
    result = attempt(lambda packed: function(parcel.unpack(packed)), index, message)
    try:
        return parcel.pack(Kind.RESULT, result, round=round_, index=index)
    except Exception as error:  # the result cannot be pickled: that is the task's failure as well
        return parcel.pack(Kind.RESULT, TaskFailure.of(index, error), round=round_, index=index)


def _end_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent dies: a worker deep in a simulation would not notice its pipe closing."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
