"""A pool of worker processes that knows which task each worker holds: one that dies is replaced, and its task tried again.

Workers are spawned, not forked: the parent may have threads (OpenMM, torch, BLAS), which a fork would leave half-dead.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import selectors
import signal
from collections import deque
from collections.abc import Iterable
from multiprocessing import resource_tracker

from hpc import parcel
from hpc.errors import WorkerError
from hpc.parcel import Kind
from hpc.task_failure import DEATHS_BEFORE_SET_ASIDE, SET_ASIDE, TaskFailure
from hpc.worker import STOP_SIGNALS, work

_DEATHS_BEFORE_GIVING_UP = 3  # of workers that have not yet received a task
_spawn = multiprocessing.get_context("spawn")


class _Worker:
    """A worker as the pool sees it: its process, its stream, and the task that it holds."""

    def __init__(self) -> None:
        self.connection, other = _spawn.Pipe(duplex=True)
        self.process = _spawn.Process(target=work, args=(other, os.getpid()), daemon=True)
        resource_tracker.ensure_running()  # started by the first process otherwise, and it resets the mask
        # the child inherits the mask: Ctrl-C in a terminal must not end it before it ignores signals itself
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        other.close()
        self.loaded: int | None = None  # the round whose function it has
        self.idle = False
        self.task: bytearray | None = None

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.process.close()


class Pool:
    """Worker processes of this machine, at most `size` of them, started when there is something to do.

    Tasks and results are parcels: the pool does not open them. Tasks given ahead wait in the pool: a worker holds one, so that
    its death is blamed on no other.
    """

    def __init__(self, size: int) -> None:
        self.size = self.workers = size
        self.ahead = 0
        self._workers: list[_Worker] = []
        self._events = selectors.DefaultSelector()
        self._waiting: deque[bytearray] = deque()
        self._deaths: dict[int, int] = {}
        self._deaths_at_start = 0
        self._function = bytearray()
        self._round = 0

    @property
    def round(self) -> int:
        """The number of this round."""
        return self._round

    @property
    def room(self) -> int:
        """How many more tasks the pool takes, those ahead included."""
        return self.free + self.size * self.ahead

    @property
    def free(self) -> int:
        """How many more tasks would be worked on at once; below 0: so many wait."""
        return self.size - len(self._waiting) - sum(worker.task is not None for worker in self._workers)

    def begin(self, function: bytearray) -> None:
        """A new round: what its tasks are given to."""
        self.cancel()
        self._function, self._round = function, parcel.label(function).round
        self._deaths.clear()
        self._deaths_at_start = 0

    def submit(self, task: bytearray) -> None:
        """Give a task of this round to the pool."""
        self._waiting.append(task)
        busy = sum(worker.task is not None for worker in self._workers)
        while len(self._workers) < min(self.size, busy + len(self._waiting)):
            self._hire()
        self._distribute()

    def collect(self, timeout_s: float) -> list[bytearray]:
        """Results that are there, waiting at most so long for the first.

        Raises:
            WorkerError: workers cannot start, or cannot load the function.
        """
        results: list[bytearray] = []
        # a selector would round the time up to whole milliseconds
        if timeout_s > 0.0 and not select.select([self._events], [], [], timeout_s)[0]:
            return results
        heard: list[_Worker] = []
        dead: list[_Worker] = []
        for key, _ in self._events.select(0):
            worker, speaks = key.data
            (heard if speaks else dead).append(worker)
        for worker in heard:
            try:
                message = parcel.receive(worker.connection.fileno())
            except EOFError:
                if worker not in dead:
                    dead.append(worker)
                continue
            if worker in dead:  # one that answered and then died has answered; there may be more
                dead.remove(worker)
            results.extend(self._heard(worker, message))
        for worker in dead:
            results.extend(self._died(worker))
        self._distribute()
        return results

    def cancel(self) -> None:
        """Forget the tasks of this round; workers that hold one end with it."""
        self._waiting.clear()
        for worker in [worker for worker in self._workers if worker.task is not None]:
            self._dismiss(worker)

    def close(self) -> None:
        """End all workers."""
        self.cancel()
        for worker in list(self._workers):
            self._dismiss(worker)
        self._events.close()

    def _hire(self) -> None:
        worker = _Worker()
        self._workers.append(worker)
        self._events.register(worker.connection, selectors.EVENT_READ, (worker, True))
        self._events.register(worker.process.sentinel, selectors.EVENT_READ, (worker, False))

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._events.unregister(worker.connection)
        self._events.unregister(worker.process.sentinel)
        worker.end()

    def _heard(self, worker: _Worker, message: bytearray) -> Iterable[bytearray]:
        kind, round_, _ = parcel.label(message)
        worker.idle = True
        if kind is Kind.BROKEN:
            if round_ != self._round:
                return
            raise WorkerError(
                "workers cannot load what they are to run; it must be importable in a new process "
                f"(a script needs `if __name__ == '__main__':`):\n{parcel.unpack(message)}"
            )
        if kind is Kind.LOADED:
            worker.loaded = round_
            self._deaths_at_start = 0
        if kind is Kind.RESULT:
            worker.task = None
            yield message

    def _died(self, worker: _Worker) -> Iterable[bytearray]:
        worker.process.join()
        reason = _reason(worker.process.exitcode)
        task, idle = worker.task, worker.idle
        self._dismiss(worker)
        if task is None and not idle:
            self._deaths_at_start += 1
            if self._deaths_at_start >= _DEATHS_BEFORE_GIVING_UP:
                raise WorkerError(
                    f"worker processes die before they receive a task: {reason}. Look above for what they said; "
                    "a script that maps tasks needs `if __name__ == '__main__':`, and memory must hold the workers."
                )
        if task is not None:
            index = parcel.label(task).task
            self._deaths[index] = self._deaths.get(index, 0) + 1
            if self._deaths[index] < DEATHS_BEFORE_SET_ASIDE:
                self._waiting.appendleft(task)
            else:
                text = f"set aside after {self._deaths[index]} worker processes died with it; the last was {reason}"
                failure = TaskFailure(index, SET_ASIDE, text)
                yield parcel.pack(Kind.RESULT, failure, round=self._round, index=index)
        if self._waiting:
            self._hire()

    def _distribute(self) -> None:
        """Give each idle worker the function, if it has not got it, and then a task."""
        for worker in self._workers:
            if not self._waiting:
                return
            if not worker.idle:
                continue
            try:
                if worker.loaded != self._round:
                    worker.idle = False
                    parcel.send(worker.connection.fileno(), self._function)
                else:
                    worker.idle = False
                    worker.task = self._waiting.popleft()
                    parcel.send(worker.connection.fileno(), worker.task)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it died; the next `collect` sees its end and tries the task again


def _reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = {
            "SIGKILL": ": out of memory?",
            "SIGSEGV": ": a crash in compiled code",
            "SIGABRT": ": compiled code gave up",
        }
        return f"killed by signal {-exit_code} ({name}{hint.get(name, '')})"
    return f"ended with exit code {exit_code}"
