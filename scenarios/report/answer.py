"""The top of the page: the answer in a sentence, what it rests on, and four figures that carry it."""

from __future__ import annotations

import math

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.markup import Markup, element
from scenarios.report.number import SPACE, percent, percent_range
from scenarios.report.quantile import quantiles
from scenarios.report.section import Section


def section(contents: Contents) -> Section | None:
    """The answer; None where the scenario asks for none."""
    sentence = contents.text("answer")
    if not sentence:
        return None
    details = contents.data("answer_details") or []
    body: list[object] = [element("p", sentence, class_="answer"), _tiles(contents)]
    if details:
        body.append(element("h3", "How sure, and what it rests on"))
        body.append(element("ul", *(element("li", str(detail)) for detail in details), class_="details"))
    return Section("answer", "Answer", "Answer", tuple(body))


def _tiles(contents: Contents) -> Markup:
    goal, winner, tiles = contents.goal, contents.winner, []
    probability = contents.share("goal_met_probability")
    if math.isfinite(probability) and goal is not None:
        words = f"that {contents.goal_words} in ≥{SPACE}{percent(goal.cell_share)} of cells, over all that is unknown"
        low, high = contents.share("goal_met_probability_low"), contents.share("goal_met_probability_high")
        interval = f"{percent_range(low, high)} (95{SPACE}%)" if math.isfinite(low) and math.isfinite(high) else ""
        tiles.append(_tile("Probability of the goal", percent(probability), words, interval))
    if winner is not None:
        rest = winner.label.removeprefix(winner.compound).strip() if winner.compound else ""
        tiles.append(
            _tile("Best treatment", winner.compound or winner.label, f"{rest} · {winner.treatment}".strip(" ·"))
        )
        if contents.has("responder_fraction"):
            share = float(contents.numbers("responder_fraction")[winner.index])
            interval = ""
            if contents.has("responder_fraction_low", "responder_fraction_high"):
                low, high = (
                    float(contents.numbers(f"responder_fraction_{end}")[winner.index]) for end in ("low", "high")
                )
                interval = f"{percent_range(low, high)} (95{SPACE}%, Wilson)"
            tiles.append(
                _tile("Cells that reach it", percent(share), f"{contents.goal_words}, of virtual cells", interval)
            )
        if contents.has("removed"):
            low, _, median, _, high = quantiles(contents.numbers("removed")[winner.index])
            if np.isfinite(median):
                words = f"in the median cell; 5–95{SPACE}% of cells: {percent_range(float(low), float(high))}"
                tiles.append(_tile("Signal removed", percent(float(median)), words))
    return element("div", *tiles, class_="tiles") if tiles else Markup("")


def _tile(name: str, value: str, words: str, interval: str = "") -> Markup:
    return element(
        "div",
        element("h3", name),
        element("p", value, class_="value" if len(value) < 9 else "value long"),
        element("p", words),
        element("p", interval, class_="interval") if interval else "",
        class_="tile",
    )
