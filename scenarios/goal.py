"""What is asked of the result: the goal, who judges it, and how its variance is split."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scenarios.part import Id, Part, Word
from scenarios.quantity import Count, Fraction, Time, fraction, minutes


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
