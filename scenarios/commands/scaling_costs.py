"""What handing out tasks costs, measured on the executor's own code: CPU of a root with many ranks, of messages over MPI, of ranks
and workers that pass a task on, and of looking for mail.

- `root_cpu_s(ranks)`: per task, of `hpc.round`, `hpc.crew` and `hpc.post` with that many ranks, which a stand-in for MPI answers at once.
- `messages(...)`: per message, sending and receiving, how long one is under way, and a look that finds none, between two real ranks.

As a program this is the one of those two ranks: `mpiexec -n 2 python -m scenarios.commands.scaling_costs`.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hpc import parcel
from hpc.crew import Crew, teams
from hpc.parcel import Kind, Work
from hpc.patience import IDLE_S
from hpc.post import Post
from hpc.round import carry_out
from hpc.timeline import Timeline

_MESSAGES = 4000
_PINGS = 400
_LOOKS = 100


class Root(NamedTuple):
    """CPU [s] of the root per task, without MPI: to hand it out, and to take its result in."""

    hand_s: float
    take_s: float


class Echo:
    """A stand-in for MPI and its communicator, whose ranks answer each message of tasks at once by one of results."""

    BYTE = ANY_SOURCE = ANY_TAG = None
    Exception = RuntimeError

    def __init__(self, ranks: int) -> None:
        self.rank, self.size = 0, ranks
        self.answering_s = 0.0
        """CPU [s] that the answers have taken."""
        self.first_look_s: float | None = None
        """When mail was looked for with some there, by the clock of CPU time."""
        self._mail: deque[tuple[int, bytearray]] = deque()
        self._found: tuple[int, bytearray] = (0, bytearray())

    def Status(self) -> Echo:  # noqa: N802 - MPI's names
        """What was found is told by the communicator itself."""
        return self

    def Isend(self, what: Any, rank: int) -> Echo:  # noqa: N802
        """Put the answer into the mail."""
        begun = time.process_time()
        answers: list[bytearray] = []
        for message in parcel.unbundle(what[0]):
            kind, round_, index = parcel.label(message)
            if kind is Kind.TASK:
                answer = parcel.pack(Kind.RESULT, 0.0, round=round_, index=index)
                answers.append(parcel.stamp(answer, Work(1, 1, rank, 1)))
        if answers:
            self._mail.append((rank, answers[0] if len(answers) == 1 else parcel.bundle(answers)))
        self.answering_s += time.process_time() - begun
        return self

    def Test(self) -> bool:  # noqa: N802
        """Messages leave at once."""
        return True

    def Improbe(self, *_: Any) -> Echo | None:  # noqa: N802
        """The next message."""
        if not self._mail:
            return None
        if self.first_look_s is None:
            self.first_look_s = time.process_time()
        self._found = self._mail.popleft()
        return self

    def Get_count(self, _: Any) -> int:  # noqa: N802
        """Bytes of what was found."""
        return len(self._found[1])

    def Get_source(self) -> int:  # noqa: N802
        """Where it comes from."""
        return self._found[0]

    def Recv(self, where: Any) -> None:  # noqa: N802
        """Copy it."""
        where[0][:] = self._found[1]


def identity(task: float) -> float:
    """A task that does nothing."""
    return task


def root_cpu_s(ranks: int, *, group: int | None = None, tasks: int = 20_000) -> Root:
    """CPU of a root that leads so many ranks, without MPI; what the answers take to be made is taken off.

    Args:
        ranks: that it leads, itself among them.
        group: of ranks with one head; None: as the executor cuts them.
        tasks: how many at least.
    """
    echo = Echo(ranks)
    crew = Crew(Post(echo, echo), workers=1)
    hand_s, take_s, done = 0.0, 0.0, 0
    try:
        crew.lead(teams(range(1, ranks), group))
        number = 0
        while done < tasks:  # one task for each rank a map, so that all are out before the first is back
            number += 1
            echo.answering_s, echo.first_look_s = 0.0, None
            begun = time.process_time()
            carry_out(crew, identity, [0.0] * ranks, number=number, patience_s=0.0, timeline=Timeline(), on_result=None)
            ended = time.process_time()
            if number > 1 and echo.first_look_s is not None:  # in the first the own worker starts
                hand_s += echo.first_look_s - begun - echo.answering_s
                take_s += ended - echo.first_look_s
                done += ranks
    finally:
        crew.close()
    return Root(max(0.0, hand_s) / done, max(0.0, take_s) / done)


def messages(mpiexec: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """CPU [s] of sending, of receiving a parcel and of a look that finds none, and how long one is under way [s], between two ranks."""
    done = subprocess.run(
        [*mpiexec, "-m", "scenarios.commands.scaling_costs"], env=dict(environment), stdout=subprocess.PIPE, text=True,
        timeout=600, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def main() -> None:
    """Both ranks; the first tells."""
    from hpc import mpi
    from hpc.launch import announced

    launched = announced()
    if launched is None:
        raise SystemExit("this is a program for two ranks: mpiexec -n 2 python -m scenarios.commands.scaling_costs")
    library = mpi.started(launched, finalize=True)
    post = Post(library.COMM_WORLD, library)
    message = parcel.pack(Kind.RESULT, 0.0)
    if post.rank == 0:
        taken = _take(post, _MESSAGES)
        begun = time.perf_counter()
        for _ in range(_PINGS):
            _send(post, message, 1)
            _take(post, 1)
        latency_s = (time.perf_counter() - begun) / _PINGS / 2
        _send(post, message, 1)  # asks for what the other measured
        sending_s = float(json.loads(bytes(parcel.unpack(_next(post)))))
        look_s = _look_s(post)
        _send(post, message, 1)
        print(json.dumps({"receive_s": taken, "send_s": sending_s, "latency_s": latency_s, "look_s": look_s}))
    else:
        begun = time.process_time()
        for number in range(_MESSAGES):
            _send(post, message, 0)
            if number % 50 == 0:
                post.busy()
        post.flush()
        sending_s = (time.process_time() - begun) / _MESSAGES
        for _ in range(_PINGS):
            _take(post, 1)
            _send(post, message, 0)
        _take(post, 1)
        _send(post, parcel.pack(Kind.RESULT, json.dumps(sending_s).encode()), 0)
        while not post.receive():  # looks of the other are to be its own
            time.sleep(IDLE_S)
    post.flush()


def _look_s(post: Post) -> float:
    """CPU [s] of a look after a sleep: its caches are cold, and the kernel's part of waking up belongs to it."""
    crew = Crew(post, workers=1)
    for _ in range(10):
        crew.collect(IDLE_S)
    begun = time.process_time()
    for _ in range(_LOOKS):
        crew.collect(IDLE_S)
    return (time.process_time() - begun) / _LOOKS


def _send(post: Post, message: bytearray, rank: int) -> None:
    post.send(message, rank)
    post.dispatch()


def _next(post: Post) -> bytearray:
    while not (mail := post.receive()):
        pass
    return mail[0][1]


def _take(post: Post, count: int) -> float:
    """Receive so many; returns the CPU time [s] per message of those looks that found some."""
    found, spent = 0, 0.0
    while found < count:
        begun = time.process_time()
        mail = post.receive()
        if mail:
            spent += time.process_time() - begun
            found += len(mail)
    return spent / count


if __name__ == "__main__":
    main()
