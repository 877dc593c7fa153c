"""A slot: a buffer with its persistent request of MPI, made once, to send from or to receive into again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc.form import Buffer, Form, Message
from hpc.scribe import Array, Group, Write

if TYPE_CHECKING:
    from hpc.compiled_scribe import CompiledScribe

CAPACITY = 1024
"""Bytes of the first buffers to receive into."""
_SHARE = 8  # an array so many times smaller than its buffer is copied from it: it would keep all of it

Head = tuple[int, tuple[float, ...]] | tuple[()]
"""Of what came: ticket and numbers; nothing where its form is another than was foreseen."""
Look = Callable[[int], Head | None]
"""Looks so many times whether something came; None: nothing did."""


class Outgoing:
    """A slot to send messages of one form from.

    Args:
        form: which has its number.
        request: makes a persistent request of ``[buffer, datatype]``.
        datatype: of MPI, of a byte.
        compiled: writes, where it can.

    Attributes:
        write: writes a message and sends it off; None, too, while the last one has not left.
        write_patiently: when it has left, tells whether a message has another form.
    """

    def __init__(
        self, form: Form, request: Callable[[list[Any]], Any], datatype: Any, compiled: CompiledScribe | None
    ) -> None:
        self.form = form
        self.buffer: Buffer = np.empty(form.total, dtype=np.uint8)
        self.request = request([self.buffer, datatype])
        self.test: Callable[[], bool] = self.request.Test
        self.write_patiently = form.writer(self.buffer, self.request.Start)
        quick = None if compiled is None else compiled.writer(form, self.buffer, self.request)
        self.write: Write = quick or self._write

    def _write(
        self, one: Group, two: Group, three: Group, ticket: int, numbers: Sequence[float]
    ) -> tuple[Array, ...] | None:
        return self.write_patiently(one, two, three, ticket, numbers) if self.test() else None


class Incoming:
    """A slot to receive messages into.

    Args:
        size: of the buffer [bytes].
        request, datatype, compiled: see `Outgoing`.

    Attributes:
        block: all of the buffer.
        begin: start the request, if nobody holds any of what was lent; tells whether that is so.
        look: has a message come?
        form: of which the next message is foreseen to be.
        message: made ready for it, where all of it will lie here.
        views: places of the form's arrays.
        least: bytes up to which an array is copied from here.
    """

    def __init__(
        self, size: int, request: Callable[[list[Any]], Any], datatype: Any, compiled: CompiledScribe | None
    ) -> None:
        self.buffer: Buffer = np.empty(size, dtype=np.uint8)
        self.block = self.buffer.data
        self.request = request([self.buffer, datatype])
        self.look: Look = self._look if compiled is None else compiled.looker(self.buffer, self.request)
        self.least = size // _SHARE if size > CAPACITY else -1
        self.form: Form | None = None
        self.message: Message | None = None
        self.views: list[Array] = []
        self._compiled = compiled
        self._plain = False
        self.begin: Callable[[], bool] = self._begin
        self._bare = self._alone = getrefcount(self.buffer)  # counted of it by itself; of all, while nobody holds any

    def foresee(self, form: Form) -> None:
        """Make ready for a message of this form."""
        if form is not self.form:
            self.form, self.views, self.message = form, form.views(self.buffer), None
            self._plain = not form.large and all(view.nbytes > self.least for view in self.views)
            # not what is counted now: a part of a message of another form may still be held. A view counts as one of the buffer's
            self._alone = self._bare + len(self.views) + sum(map(getrefcount, self.views))
            if self._compiled is not None:
                self._compiled.foresee(self.look, form)
                lent = [id(self.buffer), *map(id, self.views)]
                self.begin = self._compiled.beginner(self.request, lent, self._held() - self._alone)
        if self._plain:
            self.message = form.message(*self.views)

    def _begin(self) -> bool:
        if self._held() != self._alone:
            return False
        self.request.Start()
        return True

    def _held(self) -> int:
        """How often all that can be lent is held. Who holds a view of a view holds the buffer."""
        return getrefcount(self.buffer) + sum(map(getrefcount, self.views))

    def _look(self, times: int) -> Head | None:
        test, form = self.request.Test, self.form
        for _ in range(times):
            if test():
                if form is None:
                    return ()
                number, ticket, *numbers = form.head.unpack_from(self.block)
                return (ticket, tuple(numbers)) if number == form.number else ()
        return None
