"""A section of the page: a heading, a sentence of what it shows, and the content."""

from __future__ import annotations

from dataclasses import dataclass

from scenarios.report.markup import Markup, element, join


@dataclass(frozen=True)
class Section:
    """One section; `short` is its name in the page's navigation."""

    id: str
    title: str
    short: str
    body: tuple[object, ...]

    def html(self) -> Markup:
        """The section as it stands on the page."""
        heading = element("h2", self.title, id=f"{self.id}-heading")
        return element("section", heading, join(self.body), id=self.id, aria_labelledby=f"{self.id}-heading")


def paragraph(*parts: object, lead: bool = False) -> Markup:
    """A paragraph; the lead of a section says what it shows."""
    return element("p", *parts, class_="lead" if lead else None)


def folded(summary: str, *content: object) -> Markup:
    """Content that the reader may unfold; it is printed."""
    return element("details", element("summary", summary), *content)


def definitions(pairs: dict[str, object]) -> Markup:
    """Names and values, one pair a line."""
    return element(
        "dl",
        *(
            join((element("dt", name), element("dd", value)))
            for name, value in pairs.items()
            if value not in ("", None)
        ),
    )
