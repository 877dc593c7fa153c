"""An understudy: what the rank next in line makes ready beside its work, so that it leads at once if the one that leads dies."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Understudy(Generic[T]):
    """Makes something once, in a thread of its own, as far as it is asked to, or when it is needed.

    Args:
        make: what is made ready, such as what reads the input. Where it raises in the thread, nobody hears of it: whoever
            takes it makes it again, and then hears.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Make it ready in the background, if that has not begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._try, name="understudy", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Until it is ready, if it was begun: for who has work of its own that would disturb it."""
        if self._thread is not None:
            self._thread.join()

    def take(self) -> T:
        """What is made, now if it was not before."""
        self.wait()
        return self._made[0] if self._made else self._make()

    def _try(self) -> None:
        with contextlib.suppress(Exception):
            self._made.append(self._make())
