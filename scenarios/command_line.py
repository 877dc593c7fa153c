"""The command line as people type it, made into the one that the parser reads."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLACE = "--place"
_WORD = re.compile(r"[^-=\s/][^=\s/]*=[\d,-]*")


def one_word_each(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``--place`` before each of its words: ``--place molecular=1-3 cell=0`` gives it twice."""
    found: list[str] = []
    expected = more = False  # a word of --place must come; may come
    for position, argument in enumerate(arguments):
        if argument == "--":
            return [*found, *arguments[position:]]
        more = more and _WORD.fullmatch(argument) is not None
        found += [_PLACE, argument] if more else [argument]
        more = more or expected or argument.startswith(f"{_PLACE}=")
        expected = argument == _PLACE
    return found
