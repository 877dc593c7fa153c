"""Coupling: which simulators exchanged what within a run, in how many windows, and how often micro simulators were asked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scenarios.report.contents import Contents
from scenarios.report.number import NONE, count, percent, significant
from scenarios.report.section import Section, definitions, paragraph
from scenarios.report.table import Cell, Column, table

KINDS = {"reaction": "reaction network", "capture": "Brownian dynamics of capture"}
SCHEMES = {
    "jacobi": "all side by side, under what was said before (Jacobi)",
    "gauss-seidel": "in turn, under what was just said (Gauss–Seidel)",
    "strang": "symmetric splitting (Strang)",
    "waveform": "iterated until signals stand still (waveform relaxation)",
}


def section(contents: Contents) -> Section | None:
    """Coupling; None where nothing was coupled."""
    told = contents.data("coupling")
    if not isinstance(told, dict):
        return None
    parts = [
        paragraph(
            "Within a run, ", _listed([f"{name} ({KINDS.get(kind, kind)})" for name, kind in told["simulators"].items()]),
            " exchange values.", lead=True,
        ),
        definitions(
            {
                "Exchange": f"{SCHEMES.get(told['scheme'], told['scheme'])}, order {told['order']}",
                "Windows": f"{told['windows']}; {count(told['taken']['windows'])} taken, {count(told['taken']['rejected'])} thrown away",
                "Crossings of a window": count(told["taken"]["iterations"]),
                **{f"{name} asked anew": _asked(one) for name, one in told["evaluations"].items()},
            }
        ),
        table(
            [Column("conduit"), Column("largest residual", "last iteration, in its target's units", numeric=True)],
            [[name, _residual(contents, place)] for place, name in enumerate(told["conduits"])],
            caption="What flows; a residual is given where a conduit is iterated.",
            id="conduits",
        ),
    ]  # fmt: skip
    return Section("coupling", "Coupled simulators", "Coupling", tuple(parts))


def _asked(one: dict[str, Any]) -> str:
    """In how many windows a micro simulator was asked, and for how many its last averages held."""
    share = one["asked"] / one["windows"] if one["windows"] else 0.0
    return f"in {count(one['asked'])} of {count(one['windows'])} windows ({percent(share)}); its last averages held in the others"


def _residual(contents: Contents, place: int) -> Cell:
    values = contents.numbers("coupling_residual")[..., place]
    largest = float(np.nanmax(values)) if np.isfinite(values).any() else math.nan
    return Cell(significant(largest, 2) if math.isfinite(largest) else NONE, largest)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
