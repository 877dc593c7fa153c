"""What handing out tasks costs, measured on the executor's own code: CPU of a root with many ranks, and of messages over MPI.

- `root_cpu_s(ranks)`: per task, of `hpc.round` and `hpc.crew` with that many ranks, which a stand-in for MPI answers at once.
- `messages(...)`: per message, sending and receiving, and how long one is under way, between two real ranks.

As a program this is the one of those two ranks: `mpiexec -n 2 python -m scenarios.commands.scaling_costs`.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence

from hpc import parcel
from hpc.crew import Crew, teams
from hpc.parcel import Kind, Work
from hpc.post import Post
from hpc.round import carry_out
from hpc.timeline import Timeline

_MESSAGES = 4000
_PINGS = 400


class Answering:
    """A post whose ranks answer each task at once: what remains is the root's own work."""

    def __init__(self, ranks: int) -> None:
        self.rank, self.size, self.tolerant = 0, ranks, False
        self.lost: set[int] = set()
        self._mail: list[tuple[int, bytearray]] = []

    def send(self, message: bytearray, rank: int) -> None:
        """Put the answer to a task into the mail."""
        kind, round_, index = parcel.label(message)
        if kind is Kind.TASK:
            answer = parcel.pack(Kind.RESULT, (index, index, 0.0, 0.0), round=round_, index=index)
            self._mail.append((rank, parcel.stamp(answer, Work(1, 1, rank, 1))))

    def receive(self) -> list[tuple[int, bytearray]]:
        """All answers."""
        mail, self._mail = self._mail, []
        return mail

    def dispatch(self) -> None:
        """Nothing waits for company."""

    def busy(self) -> bool:
        """Nothing is ever on its way."""
        return False

    def roll_call(self) -> set[int]:
        """Nobody dies."""
        return set()


def identity(task: float) -> float:
    """A task that does nothing."""
    return task


def root_cpu_s(ranks: int, *, group: int | None = None, tasks: int = 20_000) -> float:
    """CPU [s] per task of a root that leads so many ranks, without MPI; the answers' making is measured apart and taken off."""
    post = Answering(ranks)
    crew = Crew(post, workers=1)  # pyright: ignore[reportArgumentType]
    try:
        crew.lead(teams(range(1, ranks), group))
        carry_out(
            crew, identity, [0.0] * 2 * ranks, number=1, patience_s=0.0, timeline=Timeline(), on_result=None
        )  # the own worker is there and has loaded
        begun = time.process_time()
        carry_out(crew, identity, [0.0] * tasks, number=2, patience_s=0.0, timeline=Timeline(), on_result=None)
        whole = time.process_time() - begun
    finally:
        crew.close()
    message = parcel.pack(Kind.TASK, 0.0, round=2, index=0)
    begun = time.process_time()
    for rank in range(tasks):
        post.send(message, rank)
    return max(0.0, whole - (time.process_time() - begun)) / tasks


def messages(mpiexec: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """CPU [s] of sending and of receiving a parcel, and how long one is under way [s], between two ranks of this machine."""
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
    message = parcel.pack(Kind.RESULT, (1, 1, 0.0, 0.0))
    if post.rank == 0:
        taken = _take(post, _MESSAGES)
        begun = time.perf_counter()
        for _ in range(_PINGS):
            post.send(message, 1)
            post.dispatch()
            _take(post, 1)
        latency_s = (time.perf_counter() - begun) / _PINGS / 2
        post.send(message, 1)  # asks for what the other measured
        post.dispatch()
        sending_s = float(json.loads(bytes(parcel.unpack(post_one(post)))))
        print(json.dumps({"receive_s": taken, "send_s": sending_s, "latency_s": latency_s}))
    else:
        begun = time.process_time()
        for number in range(_MESSAGES):
            post.send(message, 0)
            post.dispatch()
            if number % 50 == 0:
                post.busy()
        post.flush()
        sending_s = (time.process_time() - begun) / _MESSAGES
        for _ in range(_PINGS):
            _take(post, 1)
            post.send(message, 0)
            post.dispatch()
        _take(post, 1)
        post.send(parcel.pack(Kind.RESULT, json.dumps(sending_s).encode()), 0)
    post.flush()


def post_one(post: Post) -> bytearray:
    """The next message."""
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
