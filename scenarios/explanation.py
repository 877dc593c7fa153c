"""Pydantic's errors in the words of a scenario file: what, where, what was expected, and the cure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scenarios.part import Part
from scenarios.problem import Path, Problem, near, one_of

_WANTED = {
    "string": "text",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "dict": "keys and values (`key: value`)",
    "model": "keys and values (`key: value`)",
    "tuple": "a list (`[a, b]`, or lines that start with `- `)",
    "list": "a list (`[a, b]`, or lines that start with `- `)",
}


def explain(error: ValidationError, data: Any, parts: Mapping[int, list[type[Part]]]) -> Iterator[Problem]:
    """The problems behind a validation error.

    Args:
        data: what was validated.
        parts: which part reads which mapping, by `id` (see `Part`).
    """
    for detail in error.errors(include_url=False):
        context = detail.get("ctx", {})
        if "problems" in context:
            yield from context["problems"]
            continue
        path = _path(detail["loc"], data)
        yield Problem(path, _text(detail, path, data, parts))


def _path(loc: tuple[str | int, ...], data: Any) -> Path:
    """The place in the file: pydantic's location without the names of its unions."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(data, (dict, list)):
            if isinstance(part, str) and part.startswith("<") and part.endswith(">"):
                continue
            try:
                data = data[part]  # pyright: ignore[reportUnknownVariableType, reportCallIssue, reportArgumentType]
                path.append(part)
                continue
            except (KeyError, IndexError, TypeError):
                if isinstance(data, dict) and (part == "[key]" or not _is_word(part)):
                    continue
                data = None
        elif part == "[key]" or not _is_word(part) or data is not None:
            continue
        path.append(part)
    return tuple(path)


def _is_word(part: str | int) -> bool:
    return isinstance(part, int) or part.replace("_", "").replace("-", "").isalnum()


def _text(detail: ErrorDetails, path: Path, data: Any, parts: Mapping[int, list[type[Part]]]) -> str:
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    keys = _keys(path[:-1], data, parts)
    key = str(path[-1]) if path else ""
    if kind == "extra_forbidden":
        return f"unknown key {key!r};{near(key, keys)} expected one of: {one_of(keys, limit=20)}."
    if kind == "missing":
        gloss = keys.get(key, "")
        return f"this key is missing; add `{key}: …`{f' ({gloss})' if gloss else ''}."
    if value is None and kind != "quantity":
        gloss = keys.get(key, "")
        return f"nothing stands here; expected {gloss or 'a value'}. Fill it in, or leave the key out."
    found = f"found {_shown(value)}"
    if kind == "literal_error":
        choices = str(context.get("expected", ""))
        names = re.findall(r"'([^']*)'", choices)
        return f"{found};{near(str(value), names)} expected {choices}."
    if kind == "string_pattern_mismatch":
        return f"{found}; expected a short word: letters, digits, `_` and `-`, no spaces, dots or commas."
    if kind.endswith(("_type", "_parsing", "_from_float", "_attributes_type")):
        wanted = _WANTED.get(kind.split("_")[0], "another kind of value")
        quotes = " Put it in quotes." if wanted == "text" and isinstance(value, (int, float, bool)) else ""
        return f"{found}; expected {wanted}.{quotes}"
    if kind == "finite_number":
        return f"{found}; expected a finite number."
    if kind in ("too_short", "string_too_short"):
        return f"it is empty; expected {keys.get(key) or 'at least one entry'}."
    message = detail["msg"]
    if message.startswith("Input should be "):
        return f"{found}; expected {message.removeprefix('Input should be ')}."
    return message if message.endswith(".") else f"{message}."


def _keys(path: Path, data: Any, parts: Mapping[int, list[type[Part]]]) -> dict[str, str]:
    """The keys that the mapping at `path` may have, with their glosses."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return {}
    return {key: gloss for part in parts.get(id(data), []) for key, gloss in part.keys().items()}


def _shown(value: Any) -> str:
    text = repr(value)
    if isinstance(value, dict):
        text = "keys and values"
    elif isinstance(value, (list, tuple)):
        text = f"a list of {len(value)}"  # pyright: ignore[reportUnknownArgumentType]
    return text if len(text) <= 80 else f"{text[:77]}…"
