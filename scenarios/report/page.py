"""The whole page: sections in their order, styles and scripts inside it, and a rule that nothing may be fetched."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import xarray

from scenarios.report import (
    answer,
    coupling,
    dose_response,
    dose_series,
    evidence,
    molecule,
    petab_fit,
    provenance,
    ranking,
    scan,
    time_course,
    trust,
    variance,
    washout,
)
from scenarios.report.contents import Contents
from scenarios.report.markup import Markup, element, join

ORDER = (
    answer,
    petab_fit,
    scan,
    ranking,
    dose_response,
    dose_series,
    washout,
    time_course,
    molecule,
    variance,
    evidence,
    coupling,
    trust,
    provenance,
)
"""What matters first comes first; a section that has nothing to show is left out."""


def html(dataset: xarray.Dataset) -> str:
    """The page as text.

    Args:
        dataset: a result, dims (arm, member, time).

    Raises:
        InputError: the scenario in the result's attributes cannot be read.
    """
    contents = Contents(dataset)
    sections = [found for module in ORDER if (found := module.section(contents)) is not None]
    title = contents.text("title") or contents.text("name") or "Result"
    notice = trust.set_aside(contents)
    body = join(
        (
            element("a", "Skip to the content", href="#content", class_="skip"),
            _header(title, contents.text("question")),
            element("nav", *(element("a", part.short, href=f"#{part.id}") for part in sections), aria_label="Sections"),
            element("main", notice or "", *(part.html() for part in sections), id="content"),
            element(
                "footer",
                f"Made by Kakehashi {contents.text('kakehashi_version')}. This page is complete in itself and fetches nothing.",
            ),
        )
    )
    return _document(title, body)


def _header(title: str, question: str) -> Markup:
    sign = element("p", "Kakehashi · digital twin", class_="sign")
    return element("header", sign, element("h1", title), element("p", question, class_="question") if question else "")


def _document(title: str, body: Markup) -> str:
    # Plotly is loaded here and not above: it is slow to import
    from plotly.offline import get_plotlyjs

    here = files("scenarios.report")
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    scripts = (get_plotlyjs(), script)
    # only these two scripts may run, and nothing may be fetched: a name that slipped through could do no harm
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Markup(style)),
    )
    nothing = element("noscript", element("p", "The figures need JavaScript; text and tables do not.", class_="notice"))
    ends = join(element("script", Markup(text)) for text in scripts)
    page = element("html", head, element("body", nothing, body, ends), lang="en")
    return f"<!doctype html>\n{page}\n"
