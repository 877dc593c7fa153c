"""What is asked of the result: the goal, who judges it, and how its variance is split."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field

from scenarios.part import Id, Part, Word
from scenarios.problem import near, one_of
from scenarios.quantity import Count, Fraction, Time, fraction, minutes
from twin.errors import InputError

CELL_TO_CELL = "cell-to-cell"
"""The source of uncertainty that differs between cells, unless a scenario says otherwise."""


class Goal(Part):
    """S = (vehicle - arm) / (vehicle - positive control) of a readout's area over a window, per cell."""

    readout: Id = Field(description="which readout is judged")
    window: tuple[Time, Time] = Field(description="the area under the curve is taken from … to …")
    cell_line: Word | None = Field(None, description="whose arms are ranked; left out where there is one line")
    vehicle: Word = Field(description="treatment without the drug")
    positive_control: Word = Field(description="treatment with all of the signal removed, e.g. the knock-out")
    removed: Fraction = Field("90 %", description="share of the signal to remove")
    in_cells: Fraction = Field("90 %", description="share of cells in which to remove it")
    engagement: Id | None = Field(None, description="readout that shows that the target is hit")
    shown: tuple[Id, ...] = Field((), description="further readouts on the page")
    washout_at: Time | None = Field(None, description="when wash-out arms are judged")
    caveats: tuple[Word, ...] = Field(
        (),
        description="sentences that the answer says with its numbers: what it goes beyond, and what no code can know",
    )

    @property
    def window_min(self) -> tuple[float, float]:
        """The window [min]."""
        return minutes(self.window[0]), minutes(self.window[1])

    @property
    def washout_min(self) -> float | None:
        """When wash-out arms are judged [min]."""
        return None if self.washout_at is None else minutes(self.washout_at)

    @property
    def removed_share(self) -> float:
        """Share of the signal to remove, 0…1."""
        return fraction(self.removed)

    @property
    def cell_share(self) -> float:
        """Share of cells in which to remove it, 0…1."""
        return fraction(self.in_cells)


class VarianceSplit(Part):
    """The crossed design that splits the winner's variance by source of uncertainty."""

    rows: Count = Field(128, description="rows of each Saltelli block")
    epistemic: Count = Field(40, description="draws of what is unknown, in the crossed design")
    cells: Count = Field(50, description="cells per such draw")
    between_cells: tuple[Word, ...] | None = Field(
        None, description="sources that differ between cells; all others are unknown. Left out: `cell-to-cell`"
    )

    def between_cells_of(self, sources: Collection[str]) -> tuple[str, ...]:
        """Those of a scenario's sources that differ between cells.

        Raises:
            InputError: a source is named that the scenario does not draw.
        """
        if self.between_cells is None:
            return tuple(name for name in sources if name == CELL_TO_CELL)
        for name in self.between_cells:
            if name not in sources:
                raise InputError(f"no source of uncertainty {name!r};{near(name, sources)} expected {one_of(sources)}.")
        return tuple(name for name in sources if name in self.between_cells)


class EmulatorChoice(Part):
    """A learned stand-in for the cell, used only for members that its gate vouches for."""

    checkpoint: Word = Field(description="safetensors file, from the scenario's folder; `twin train` writes it")
    tolerance: Fraction = Field("5 %", description="error of the readouts up to which the gate may vouch")
    use: Literal["auto", "mechanism", "emulator"] = Field(
        "auto", description="auto: whichever is faster at this tolerance"
    )

    @property
    def tolerance_share(self) -> float:
        """The tolerance as a number."""
        return fraction(self.tolerance)


class Measured(Part):
    """Measured points, drawn only over arms with `protocol: measured`."""

    table: Word = Field(description="CSV table of measured values, from the scenario's folder")
