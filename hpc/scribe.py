"""A scribe writes and reads messages of one form in straight-line code, made for as many arrays and numbers as the form has.

What loops over names, dtypes, shapes and places would find out anew for each message stands in that code: it compares and copies,
in less than half the time. Only counts are part of it, never a name or a value; forms of as many arrays share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Group = Mapping[str, Array]
Write = Callable[[Group, Group, Group, int, Sequence[float]], "tuple[Array, ...] | None"]
"""Groups, a ticket and numbers: copies them and lets them go. Returns the arrays that are not copied, being large; None, and nothing
has gone, where names, their order, a dtype, a shape or the count of numbers differs. Raises AttributeError for what is no array."""
Read = Callable[..., Any]
"""All arrays, one by one: the message."""


_FEW = 8  # numbers up to which they are handed on one by one


def writer(counts: tuple[int, ...], numbers: int, large: tuple[int, ...]) -> Callable[..., Write]:
    """Makes a `Write`: ``made(names, count, views, dtypes, shapes, pack, block, number, go)``.

    Names are lists by group, `count` is that of numbers, the next three are of all arrays; what is said goes to the block by
    ``pack(block, 0, number, ticket, *numbers)``, and ``go()`` sends it.

    Args:
        counts: of arrays, by group.
        numbers: their count.
        large: which of all arrays are not copied.
    """
    return _writer(counts, numbers if numbers <= _FEW else None, large)


@cache
def _writer(counts: tuple[int, ...], few: int | None, large: tuple[int, ...]) -> Callable[..., Write]:
    body = ["if len(numbers) != count: return None"]
    for g, own in enumerate(_indices(counts)):
        body.append(f"if [*group{g}] != names{g}: return None" if own else f"if group{g}: return None")
        body += [f"{_each('a', own)} = group{g}.values()"] if own else []
    every = range(sum(counts))
    body += [f"if a{i}.shape != shape{i} or a{i}.dtype != dtype{i}: return None" for i in every]
    body += [f"view{i}[...] = a{i}" for i in every if i not in large]
    body += [f"{_each('x', range(few))} = numbers"] if few else []
    body += [f"pack(block, 0, number, ticket, {'*numbers' if few is None else _each('x', range(few))})", "go()"]
    body += [f"return ({_each('a', large)})"]
    return _made(
        "names, count, views, dtypes, shapes, pack, block, number, go",
        [f"{_each('names', range(len(counts)))} = names"]
        + [f"{_each(what, every)} = {what}s" for what in ("view", "dtype", "shape") if every],
        f"{_each('group', range(len(counts)))} ticket, numbers",
        body,
    )


@cache
def reader(counts: tuple[int, ...], facts: bool) -> Callable[..., Read]:
    """Makes a `Read`: ``made(names, message, kind, about, facts)``, which calls ``message(kind, about, groups, facts, 0, ())``.

    Args:
        counts: of arrays, by group.
        facts: whether there are any; each message gets a dict of its own, as it does of each group.
    """
    groups = ["{" + "".join(f"name{i}: a{i}, " for i in own) + "}" for own in _indices(counts)]
    told = "{**facts}" if facts else "{}"
    return _made(
        "names, message, kind, about, facts",
        [f"{_each('name', own)} = names[{g}]" for g, own in enumerate(_indices(counts)) if own],
        _each("a", range(sum(counts))),
        [f"return message(kind, about, ({', '.join(groups)},), {told}, 0, ())"],
    )


def _made(constants: str, before: Iterable[str], arguments: str, body: Iterable[str]) -> Callable[..., Any]:
    """A function of constants that returns a function of arguments."""
    lines = [f"def made({constants}):", *(f"    {line}" for line in before), f"    def own({arguments}):"]
    lines += [*(f"        {line}" for line in body), "    return own"]
    space: dict[str, Any] = {}
    exec(compile("\n".join(lines), f"<{__name__}>", "exec"), space)
    return space["made"]


def _indices(counts: Sequence[int]) -> list[range]:
    """Which of all arrays are those of each group."""
    return [range(first, last) for first, last in pairwise(accumulate(counts, initial=0))]


def _each(what: str, indices: Iterable[int]) -> str:
    """``what0, what1, ``; each with a comma, so that one alone is a tuple."""
    return "".join(f"{what}{i}, " for i in indices)
