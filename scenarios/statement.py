"""The answer in words: one sentence with its uncertainty, and what it rests on, all of it read from the result.

The first sentence says so where the answer rests on quantities that no data constrain.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from numpy.typing import NDArray

from scenarios import answer
from scenarios.evidence import ASSUMED, CITED, CONSTRAINED, WEAK
from scenarios.potency import SPAN_FOR_HALF
from scenarios.report import number
from scenarios.statistics import reached
from scenarios.variance_split import RANKS

if TYPE_CHECKING:
    from scenarios.goal import Goal
    from scenarios.scenario import Scenario

Floats = NDArray[np.float64]

MATTERS = 0.05
"""A quantity is named where it holds this share of a variance, and more than noise would give it."""
TOGETHER = 0.1
"""The share that many weak quantities must hold together to be mentioned in the first sentence."""
_NAMED = 5  # compounds, quantities or sources in one sentence
_SURE = 0.05  # p-value, adjusted


def statement(scenario: Scenario, result: xarray.Dataset) -> xarray.Dataset:
    """The answer in words.

    Args:
        result: joined with `answer.judge` and, where there are such, `variance_split.split` and `evidence.evidence`.

    Returns:
        No variables; attributes `answer` (text) and `answer_details` (JSON list of sentences). Empty where the scenario
        asks for no answer.
    """
    if scenario.answer is None or "rank" not in result:
        return xarray.Dataset()
    said = _Statement(scenario, scenario.answer, result)
    return xarray.Dataset(attrs={"answer": said.answer, "answer_details": json.dumps(said.details, ensure_ascii=False)})


class _Statement:
    """Sentences about one result."""

    def __init__(self, scenario: Scenario, goal: Goal, result: xarray.Dataset) -> None:
        self.scenario, self.goal, self.result = scenario, goal, result
        self.line = answer.judged_line(scenario)
        ranks = result["rank"].values
        self.ranked = sorted(np.flatnonzero(ranks > 0).tolist(), key=lambda n: ranks[n])
        self.share = result["responder_fraction"].values
        self.low, self.high = (result[f"responder_fraction_{end}"].values for end in ("low", "high"))
        self.met = [n for n in self.ranked if result["goal_met"].values[n]]

    @property
    def answer(self) -> str:
        """Whether and how the goal is reached, how sure that is, and the lowest dose that reaches it."""
        if not self.ranked:
            return (
                f"No treatment of {self.line} can be ranked: {self._undefined() or 'none of its arms is a treatment.'}"
            )
        best = self.ranked[0]
        prefix = self._rests_on()
        wanted = f"{_third(self.effect)} in at least {_percent(self.goal.cell_share)} of {self.line} cells"
        reach = f"in {_percent(self.share[best])} of the virtual cells (95 % interval {_interval(self.low[best], self.high[best])})"
        label = self._label(best)
        if self.met:
            text = f"the best treatment is {label}: it {_third(self.effect)} {reach}"
        else:
            text = f"no treatment {wanted}; the best, {label}, does so {reach}"
        text += self._how_sure() + "."
        text = prefix + text if prefix else text[0].upper() + text[1:]
        first = self._first_dose()
        if first is not None and first != best:
            text += (
                f" The lowest dose that reaches the goal is {self._label(first, whole=False)}, with "
                f"{_percent(self.share[first])} of cells ({_interval(self.low[first], self.high[first])})."
            )
        return text

    @property
    def details(self) -> list[str]:
        """What else there is to know, most important first."""
        return [
            *self._who_reaches(),
            *self._sure_or_many(),
            *self._by_source(),
            *self._assumed(),
            *self._escape(),
            *self._spans(),
            *self._washout(),
            *self._binding(),
            *([text] if (text := self._undefined()) and self.ranked else []),
            *self.goal.caveats,
        ]

    @property
    def effect(self) -> str:
        """What a cell is to show."""
        return f"remove at least {_percent(self.goal.removed_share)} of the {self.goal.readout} signal"

    def _rests_on(self) -> str:
        """The beginning of a sentence where the answer moves with what no data constrain, else nothing."""
        names = [name for name, *_ in self._moving(verdicts=(ASSUMED,))]
        together = max(self._together(question).get(ASSUMED, 0.0) for question in ("", "_dose"))
        if names:
            listed, more = _listed(names, most=3)
            return f"Resting on what no data constrain ({listed}{more}), "
        if together >= TOGETHER:
            count = int((self.result["evidence_verdict"].values.astype(str) == ASSUMED).sum())
            return f"Resting on {count} quantities that no data constrain, none of which stands out, "
        return ""

    def _together(self, question: str) -> dict[str, float]:
        """Share of all quantities of each verdict together, of the variance of S (``""``) or of the dose needed (``"_dose"``)."""
        return json.loads(self.result.attrs.get(f"evidence_by_verdict{question}", "{}"))

    def _moving(self, *, verdicts: Sequence[str]) -> list[tuple[str, float, float]]:
        """Quantities with one of these verdicts that move the answer: name, share of S, share of the dose needed."""
        if "evidence_influence" not in self.result:
            return []
        columns = [
            self.result[f"evidence_{name}"].values
            for name in ("influence", "influence_floor", "influence_dose", "influence_dose_floor", "verdict")
        ]
        found: list[tuple[str, float, float]] = []
        for name, share, floor, dose, dose_floor, verdict in zip(
            self.result["parameter"].values.astype(str), *columns, strict=True
        ):
            moves = [
                value if value > max(MATTERS, limit) else 0.0 for value, limit in ((share, floor), (dose, dose_floor))
            ]
            if str(verdict) in verdicts and max(moves) > 0:
                found.append((str(name), moves[0], moves[1]))
        return sorted(found, key=lambda one: (-max(one[1:]), one[0]))

    def _how_sure(self) -> str:
        met = self._number("goal_met_probability")
        if not math.isfinite(met):
            return ""
        low, high = self._number("goal_met_probability_low"), self._number("goal_met_probability_high")
        return (
            f", and the probability that at least {_percent(self.goal.cell_share)} of cells respond is {_percent(met)} "
            f"({_interval(low, high)}) over all that is unknown"
        )

    def _first_dose(self) -> int | None:
        """The arm with the lowest dose of all that reach the goal, at this and every higher dose of its compound."""
        if "lowest_dose_uM" not in self.result:
            return None
        place = {str(name): n for n, name in enumerate(self.result["candidate"].values)}
        lowest, dose = self.result["lowest_dose_uM"].values, self.result["dose_uM"].values
        compound, treatment = (self.result[name].values.astype(str) for name in ("compound", "treatment"))
        found = [
            n
            for n in self.met
            if compound[n] in place
            and dose[n] == lowest[place[compound[n]]]
            and treatment[n] == treatment[self.ranked[0]]
        ]
        return min(found, key=lambda n: (dose[n], self.result["rank"].values[n])) if found else None

    def _who_reaches(self) -> list[str]:
        if not self.ranked:
            return []
        sure = [n for n in self.met if reached(self.low[n : n + 1], self.goal.cell_share)[0]]
        text = (
            f"{len(self.met)} of {_count(len(self.ranked), 'treatment')} {self.effect} in at least "
            f"{_percent(self.goal.cell_share)} of cells; for {len(sure)} of them the whole 95 % interval lies there."
        )
        found = [text]
        best = self.ranked[0]
        alike = [n for n in self.ranked[1:] if self.high[n] >= self.low[best]]
        if alike:
            found.append(
                f"{_count(len(alike), 'other treatment')} cannot be told apart from the best by these cells: the intervals overlap, "
                "and ties are broken by the lower dose."
            )
        if "lowest_dose_uM" in self.result:
            lowest = self.result["lowest_dose_uM"].values
            names = self.result["candidate"].values.astype(str)
            order = [n for n in np.argsort(lowest, kind="stable") if np.isfinite(lowest[n])]
            never = int((~np.isfinite(lowest)).sum())
            if order:
                doses, more = _listed([f"{names[n]} {_dose(lowest[n])}" for n in order])
                rest = f"; {_count(never, 'compound')} never at the tested doses" if never else ""
                found.append(f"Lowest tested dose from which on the goal is reached: {doses}{more}{rest}.")
        return found

    def _sure_or_many(self) -> list[str]:
        if "crossed_fraction" not in self.result:
            return []
        fraction = self.result["crossed_fraction"].values
        known = fraction[np.isfinite(fraction)]
        truths, cells = self.result["crossed_removed"].shape
        if truths < 2 or not known.size:
            return []
        low, middle, high = (float(np.quantile(known, q)) for q in (0.05, 0.5, 0.95))
        text = (
            f"How sure, and how many: under {truths} draws of what is unknown, with {_count(cells, 'cell')} each, the share of cells that "
            f"respond to the best treatment is {_percent(middle)} in the median and spans {_interval(low, high)} (5 to 95 % of draws)."
        )
        suffix = "_rank" if self._in_ranks else ""
        parts = [self._number(f"crossed_variance{suffix}_{name}") for name in ("unknown", "cells", "joint")]
        if all(math.isfinite(part) for part in parts):
            unknown, between, joint = (_percent(part) for part in parts)
            text += f" Of the variance of {self._split} {unknown} is what is unknown, {between} how cells differ, and {joint} both together."
        return [text]

    @property
    def _in_ranks(self) -> bool:
        """Whether the variance is told of the ranks of S."""
        return str(self.result.attrs.get("variance_scale", "")) == RANKS

    @property
    def _split(self) -> str:
        return "the ranks of S" if self._in_ranks else "S"

    def _by_source(self) -> list[str]:
        if "total_order" not in self.result:
            return []
        suffix = "_rank" if self._in_ranks else ""
        total, low, high = (self.result[f"total_order{suffix}{end}"].values for end in ("", "_low", "_high"))
        if not np.isfinite(total).any():
            return ["The share removed does not vary under the best treatment, so there is no variance to split."]
        names = self.result["source"].values.astype(str)
        order = np.argsort(-np.nan_to_num(total), kind="stable")
        parts = [f"{names[n]} {_percent(max(total[n], 0.0))} ({_interval(max(low[n], 0.0), high[n])})" for n in order]
        spread = number.significant(self._number("variance_sd"), 2)
        text = f"Variance of {self._split} under the best treatment by source, total order: {_joined(parts)}; the standard deviation of S is {spread}."
        if self._in_ranks:
            text += " Few cells carry most of the variance of S itself: to split it takes more rows (`variance: rows`)."
        return [text]

    def _assumed(self) -> list[str]:
        if "evidence_verdict" not in self.result:
            return []
        verdicts = self.result["evidence_verdict"].values.astype(str)
        names = [name for name in (ASSUMED, WEAK, CONSTRAINED, CITED) if (verdicts == name).any()]
        counts = _joined([f"{int((verdicts == name).sum())} {name}" for name in names])
        found = [
            f"Of {_count(len(verdicts), 'uncertain quantity', 'uncertain quantities')} behind the best treatment: {counts}."
        ]
        for question, what in (("", "S"), ("_dose", "the dose that a cell needs")):
            together = self._together(question)
            if together:
                parts = [f"{name} ones hold {_percent(together[name])}" for name in names if name in together]
                rest = max(0.0, 1.0 - sum(together.values()))
                found.append(
                    f"Of the variance of {what}, by ranks, {_joined(parts)}; {_percent(rest)} cannot be assigned."
                )
        for verdict in names:
            moving = self._moving(verdicts=(verdict,))
            if moving:
                parts, more = _listed([self._moves(*one) for one in moving])
                found.append(f"{verdict[0].upper()}{verdict[1:]}, and moving the answer: {parts}{more}.")
        return found

    def _moves(self, name: str, share: float, dose: float) -> str:
        texts = [f"{_percent(share)} of the variance of S"] if share else []
        texts += [f"{_percent(dose)} of that of the dose needed"] if dose else []
        return f"{name} ({_joined(texts)})"

    def _escape(self) -> list[str]:
        escaped, cells = (int(self._number(f"evidence_{name}", 0)) for name in ("escaped", "cells"))
        if "evidence_escape" not in self.result or not cells:
            return []
        if not escaped:
            return [f"Under the best treatment none of {cells} cells escapes."]
        chance, p = self.result["evidence_escape"].values, self.result["evidence_escape_p"].values
        names = self.result["parameter"].values.astype(str)
        order = np.argsort(-np.abs(np.nan_to_num(chance, nan=0.5) - 0.5), kind="stable")
        told = [
            f"{'high' if chance[n] > 0.5 else 'low'} {names[n]} (tells {_percent(max(chance[n], 1 - chance[n]))} of pairs apart)"
            for n in order
            if p[n] <= _SURE
        ]
        who = f"Under the best treatment {escaped} of {cells} cells escape"
        if not told:
            return [f"{who}; no quantity tells them from the others more often than chance would."]
        parts, more = _listed(told, most=4)
        return [f"{who}. Against those that respond they have {parts}{more}."]

    def _spans(self) -> list[str]:
        found: list[str] = []
        names, spans = self.result["judged_readout"].values.astype(str), self.result["span"].values
        for name, span in zip(names, spans, strict=True):
            if not math.isfinite(span):
                found.append(f"{name}: the vehicle shows none of it, so nothing can be said of it.")
            elif span < SPAN_FOR_HALF:
                found.append(
                    f"{name}: vehicle and positive control differ by {_percent(span)} of the vehicle only (median cell); "
                    "no IC50 is given."
                )
        return found

    def _washout(self) -> list[str]:
        compounds = int(self._number("washout_compounds", 0))
        if compounds < 3 or self.goal.washout_min is None:
            return []
        residence, affinity = (self._number(f"washout_spearman_{name}") for name in ("compounds", "affinity"))
        within = self.result["washout_spearman"].values
        known = within[np.isfinite(within)]
        text = (
            f"After wash-out, at {self.goal.washout_min:g} min, the share still removed goes with residence time 1/koff "
            f"(rank correlation {residence:.2f} over {compounds} compounds) and with affinity 1/Kd ({affinity:.2f})"
        )
        if known.size:
            text += f"; among cells of one compound and equal Kd with residence time {float(np.median(known)):.2f} (median compound)"
        return [f"{text.replace(' -', ' −').replace('(-', '(−')}."]

    def _binding(self) -> list[str]:
        found: list[str] = []
        compounds, candidates = self.scenario.compounds, self.scenario.candidates
        if compounds is not None and candidates:
            spread = compounds.affinity
            found.append(
                f"Kd in the cell is taken as IC50 × 10^({spread.cell_shift_log10:g} ± {spread.cell_shift_sd_log10:g}), without the "
                f"correction of Cheng and Prusoff; the shift is assumed, and one for all compounds: it moves doses, not the order of compounds."
            )
            measured = sum(compound.measured for compound in candidates)
            if 0 < measured < 100:
                found.append(
                    f"{_count(measured, 'compound')} with a measured affinity cannot certify how often the intervals of the learned affinity are right."
                )
        if candidates and "protocol" in self.result.coords:
            measured_arms = self.result["protocol"].values.astype(str) == "measured"
            compound = self.result["compound"].values.astype(str)
            if measured_arms.any() and not (compound[measured_arms] != "").any():
                found.append(
                    "No measured treatment contains any of the compounds: all that is said of them is predicted."
                )
        return found

    def _undefined(self) -> str:
        """How many cells have no S, and why."""
        reason = self.result["removed_reason"].values
        judged = reason[(reason != answer.NOT_JUDGED).any(axis=1)]
        counts = {
            text: int((judged == code).sum())
            for code, text in answer.REASONS.items()
            if code not in (answer.DEFINED, answer.NOT_JUDGED)
        }
        parts = [f"{count} ({text})" for text, count in counts.items() if count]
        return f"S is not defined in {_joined(parts)} of {judged.size} pairs of arm and cell." if parts else ""

    def _label(self, arm: int, *, whole: bool = True) -> str:
        """Compound and dose, with the treatment."""
        compound, treatment, dose = (self.result[name].values[arm] for name in ("compound", "treatment", "dose_uM"))
        at = f" at {_dose(float(dose))}" if math.isfinite(dose) else ""
        if not compound:
            return f"{treatment}{at}"
        return f"{compound}{at} ({treatment})" if whole else f"{compound}{at}"

    def _number(self, attribute: str, default: float = math.nan) -> float:
        return float(self.result.attrs.get(attribute, default))


def _percent(share: Any) -> str:
    return number.percent(float(share)).replace(number.SPACE, " ")


def _interval(low: Any, high: Any) -> str:
    return number.percent_range(float(low), float(high)).replace(number.SPACE, " ")


def _dose(micromolar: Any) -> str:
    return number.dose(float(micromolar)).replace(number.SPACE, " ")


def _count(value: int, one: str, many: str = "") -> str:
    return f"{value} {one if value == 1 else many or one + 's'}"


def _third(effect: str) -> str:
    return effect.replace("remove", "removes", 1)


def _joined(parts: Iterable[str]) -> str:
    """``a, b and c``."""
    texts = list(parts)
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}" if texts else ""


def _listed(parts: Sequence[str], *, most: int = _NAMED) -> tuple[str, str]:
    """The first ones, and how many more there are."""
    rest = len(parts) - most
    return (_joined(parts), "") if rest <= 0 else (", ".join(parts[:most]), f" and {rest} more")
