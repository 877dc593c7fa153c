"""What a result holds: its arms, its goal, and numbers and texts by name."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from scenarios.goal import Goal
from scenarios.report import number
from scenarios.yaml_file import YamlFile
from twin.errors import InputError


@dataclass(frozen=True)
class Treated:
    """One arm of the result; `index` is its place along the arm dimension."""

    index: int
    name: str
    cell_line: str
    treatment: str
    compound: str
    dose_uM: float  # noqa: N815 - the field's spelling of micromolar
    protocol: str
    role: str

    @property
    def label(self) -> str:
        """Compound and dose, else the treatment."""
        dosed = f" {number.dose(self.dose_uM)}" if math.isfinite(self.dose_uM) else ""
        return f"{self.compound}{dosed}" if self.compound else self.treatment + dosed

    @property
    def measured(self) -> bool:
        """Whether the arm repeats an experiment."""
        return self.protocol == "measured"


class Contents:
    """A result as the page reads it.

    Args:
        dataset: dims (arm, member, time), with the variables that `scenarios/result.py` and the answer give it.
    """

    def __init__(self, dataset: xarray.Dataset) -> None:
        self.dataset = dataset

    def has(self, *names: str) -> bool:
        """Whether the result holds all these variables or coordinates."""
        return all(name in self.dataset.variables for name in names)

    def numbers(self, name: str) -> np.ndarray:
        """Values of a variable as floats, in its own dims; NaN where the cell was set aside."""
        variable = self.dataset[name]
        values = np.asarray(variable.values, dtype=float)
        if variable.dims[:2] == ("arm", "member") and "status" in self.dataset and name != "status":
            aside = np.asarray(self.dataset["status"].values) != 0
            values = np.where(aside.reshape(aside.shape + (1,) * (values.ndim - 2)), np.nan, values)
        return values

    def texts(self, name: str) -> list[str]:
        """Values of a variable as texts."""
        return [str(value) for value in np.asarray(self.dataset[name].values).ravel().tolist()]

    def text(self, attribute: str) -> str:
        """An attribute of the result as text; empty where it is absent."""
        return str(self.dataset.attrs.get(attribute, ""))

    def data(self, attribute: str) -> Any:
        """An attribute that holds JSON; None where it is absent.

        Raises:
            InputError: the attribute is not JSON.
        """
        value = self.dataset.attrs.get(attribute)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise InputError(
                f"the result's attribute {attribute!r} is not JSON ({error}); run the scenario again."
            ) from error

    def share(self, attribute: str) -> float:
        """A number among the attributes; NaN where it is absent."""
        value = self.dataset.attrs.get(attribute)
        return float(value) if isinstance(value, (int, float, np.number)) else math.nan

    def units(self, name: str) -> str:
        """Units of a variable, empty where it is a plain number."""
        units = str(self.dataset[name].attrs.get("units", ""))
        return "" if units in ("1", "dimensionless", "none") else units.replace("uM", "µM").replace("ug", "µg")

    def long_name(self, name: str) -> str:
        """What a variable is in words; its name where it has none."""
        return str(self.dataset[name].attrs.get("long_name", "")) or name

    def axis(self, name: str) -> str:
        """A variable as the title of an axis, with its units; a dash stands for a plain number."""
        return f"{name} [{self.units(name) or '–'}]"

    def named(self, name: str) -> str:
        """A variable as the title of a panel: in words, with its name."""
        words = self.long_name(name)
        return words if name in words else f"{words} ({name})"

    @cached_property
    def asked(self) -> dict[str, Any]:
        """The scenario as it was run. Raises `InputError` where it cannot be read."""
        text = self.text("scenario")
        data = YamlFile.parse(text, name="the result's scenario", folder=Path()).data if text else {}
        return dict(data) if isinstance(data, dict) else {}

    @cached_property
    def goal(self) -> Goal | None:
        """What was asked of the result. Raises `InputError` where the result's scenario cannot be read."""
        asked = self.asked.get("answer")
        return None if asked is None else Goal.model_validate(asked)

    @cached_property
    def members(self) -> int:
        """Cells per arm."""
        return int(self.dataset.sizes.get("member", 0))

    @cached_property
    def times(self) -> np.ndarray:
        """Times of the samples [min from the stimulus]."""
        return np.asarray(self.dataset["time"].values, dtype=float)

    @cached_property
    def arms(self) -> tuple[Treated, ...]:
        """All arms, in the order of the result."""
        if "arm" not in self.dataset.dims:
            return ()
        size = self.dataset.sizes["arm"]
        names = self.texts("arm") if self.has("arm") else [f"arm {n}" for n in range(size)]

        def texts(name: str) -> Sequence[str]:
            return self.texts(name) if self.has(name) else [""] * size

        doses = np.asarray(self.dataset["dose_uM"].values, float) if self.has("dose_uM") else np.full(size, np.nan)
        columns = (
            names,
            texts("cell_line"),
            texts("treatment"),
            texts("compound"),
            doses,
            texts("protocol"),
            texts("role"),
        )
        return tuple(
            Treated(n, name, line, treatment or name, compound, float(dose), protocol or "twin", role or "treatment")
            for n, (name, line, treatment, compound, dose, protocol, role) in enumerate(zip(*columns, strict=True))
        )

    @cached_property
    def readouts(self) -> tuple[str, ...]:
        """Names of the readouts, in the order of the scenario: a store gives variables back in an order of its own."""
        found = {str(name) for name, v in self.dataset.data_vars.items() if v.dims == ("arm", "member", "time")}
        asked = [name for name in self.asked.get("readouts") or {} if name in found]
        return (*asked, *sorted(found.difference(asked)))

    @cached_property
    def ranked(self) -> tuple[Treated, ...]:
        """The arms that the answer ranks, best first."""
        if not self.has("rank"):
            return ()
        ranks = np.asarray(self.dataset["rank"].values)
        return tuple(sorted((arm for arm in self.arms if ranks[arm.index] > 0), key=lambda arm: ranks[arm.index]))

    @cached_property
    def winner(self) -> Treated | None:
        """The best treatment's arm."""
        named = self.text("winner")
        found = next((arm for arm in self.arms if arm.name == named), None)
        return found or (self.ranked[0] if self.ranked else None)

    def references(self, cell_line: str) -> tuple[Treated, ...]:
        """Vehicle and positive control of a cell line, as far as it has them."""
        if self.goal is None:
            return ()
        asked = (self.goal.vehicle, self.goal.positive_control)
        ours = [arm for arm in self.arms if arm.cell_line == cell_line and not arm.measured]
        found = (next((arm for arm in ours if arm.treatment == treatment), None) for treatment in asked)
        return tuple(arm for arm in found if arm is not None)

    @cached_property
    def judged_line(self) -> str:
        """The cell line that is judged."""
        if self.goal is not None and self.goal.cell_line:
            return str(self.goal.cell_line)
        return self.arms[0].cell_line if self.arms else ""

    @property
    def variance_suffix(self) -> str:
        """Which indices the answer itself relies on: `_rank` where a few cells carry most of the variance of S."""
        ranked = self.text("variance_scale").startswith("ranks") and self.has("total_order_rank")
        return "_rank" if ranked else ""

    @property
    def goal_words(self) -> str:
        """The goal of one cell, e.g. `≥ 90 % of pAKT removed`; empty where nothing was asked."""
        if self.goal is None:
            return ""
        return f"≥{number.SPACE}{number.percent(self.goal.removed_share)} of the {self.goal.readout} signal removed"
