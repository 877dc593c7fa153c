"""Named arrays and a few plain facts as one buffer, without pickling: what coupled simulators on different ranks exchange.

A message is: kind, ticket and the length of the layout; the layout (JSON: names, dtypes and shapes of the arrays, facts);
the arrays as they lie in memory, each at a multiple of 64 bytes. In a coupled run the same layouts go to and fro, so both
sides keep them: packing and unpacking then cost a copy, and a microsecond or two.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Fact = str | int | float | bool | None
Buffer = NDArray[np.uint8]
_HEAD = struct.Struct("<qqq")
_ALIGNMENT = 64
_KEPT: Final = 512  # layouts; a run has a handful


class Message(NamedTuple):
    """What arrived; its arrays are views of the buffer."""

    kind: int
    ticket: int
    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


class _Layout(NamedTuple):
    text: bytes
    facts: dict[str, Any]
    places: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int], ...]  # name, dtype, shape, start
    total: int


_by_key: dict[Any, _Layout] = {}
_by_text: dict[bytes, _Layout] = {}


def pack(
    kind: int, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Fact] | None = None, *, ticket: int = 0
) -> Buffer:
    """A message.

    Args:
        kind, ticket: small numbers, for who reads it.
        arrays: any plain dtype; they are copied.
        facts: what JSON can hold; NaN and infinities too.
    """
    key = (tuple((n, a.dtype, a.shape) for n, a in arrays.items()), tuple(facts.items()) if facts else ())
    layout = _by_key.get(key)
    if layout is None:
        specs = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
        layout = _kept(_by_key, key, _layout(json.dumps([specs, dict(facts or {})]).encode()))
    buffer = np.empty(layout.total, dtype=np.uint8)  # not cleared: everything but the gaps is written
    view = buffer.data
    _HEAD.pack_into(view, 0, kind, ticket, len(layout.text))
    view[_HEAD.size : _HEAD.size + len(layout.text)] = layout.text
    for (_, dtype, shape, start), array in zip(layout.places, arrays.values(), strict=True):
        np.ndarray(shape, dtype, view, start)[...] = array
    return buffer


def unpack(buffer: Buffer) -> Message:
    """What is in it; the arrays are writable views."""
    view = buffer.data
    kind, ticket, length = _HEAD.unpack_from(view)
    text = bytes(view[_HEAD.size : _HEAD.size + length])
    layout = _by_text.get(text)
    if layout is None:
        layout = _kept(_by_text, text, _layout(text))
    arrays = {name: np.ndarray(shape, dtype, view, start) for name, dtype, shape, start in layout.places}
    return Message(kind, ticket, arrays, layout.facts)


def _layout(text: bytes) -> _Layout:
    specs, facts = json.loads(text)
    places: list[tuple[str, np.dtype[Any], tuple[int, ...], int]] = []
    at = _HEAD.size + len(text)
    for name, code, shape in specs:
        dtype = np.dtype(code)
        at = -(-at // _ALIGNMENT) * _ALIGNMENT
        places.append((name, dtype, tuple(shape), at))
        at += dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    return _Layout(text, facts, tuple(places), at)


def _kept(store: dict[Any, _Layout], key: Any, layout: _Layout) -> _Layout:
    if len(store) >= _KEPT:
        store.clear()
    store[key] = layout
    return layout
