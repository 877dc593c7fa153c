"""HTML elements whose text is escaped: only what is already `Markup` passes as it is."""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID = frozenset({"meta", "br", "hr", "rect", "line", "circle"})
"""Elements without content; the SVG ones close themselves."""


class Markup(str):
    """HTML that is safe to put on the page as it is."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Text as HTML; `Markup` stays as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(str(text), quote=True))


def element(tag: str, /, *children: object, **attributes: object) -> Markup:
    """One element. `class_` means `class`, other underscores become hyphens; None and False leave an attribute out."""
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value), quote=True)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in VOID:
        return Markup(f"<{tag}{given}/>")
    return Markup(f"<{tag}{given}>{''.join(escape(child) for child in children)}</{tag}>")


def join(parts: Iterable[object]) -> Markup:
    """Parts one after the other."""
    return Markup("".join(escape(part) for part in parts))
