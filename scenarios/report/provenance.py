"""Run and provenance: how long each scale took, and all that is needed to make the result again."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from scenarios.report import utilisation
from scenarios.report.contents import Contents
from scenarios.report.figure import Figure, Panel, label
from scenarios.report.markup import element
from scenarios.report.number import plain, seconds, significant
from scenarios.report.section import Section, definitions, folded, paragraph
from scenarios.report.table import Column, table

SECONDS = re.compile(r"^seconds(?:_(?P<after>.+))?$|^(?P<before>.+)_(?:seconds|s)$")
"""Names of wall times [s]: `seconds` of the whole run, `seconds_cells` or `cells_seconds` of one scale."""


def section(contents: Contents) -> Section | None:
    """Run times and provenance."""
    parts: list[object] = [*_run(contents), *_made_from(contents)]
    return Section("provenance", "Run and provenance", "Provenance", tuple(parts)) if parts else None


def _run(contents: Contents) -> list[object]:
    """Wall times per scale, and everything else that differs from run to run."""
    times: dict[str, float] = {}
    rest: dict[str, object] = {}
    for key, value in contents.dataset.attrs.items():
        if str(key).startswith("run_") and key not in (utilisation.ATTRIBUTE, "run_busy"):
            _sort(str(key).removeprefix("run_"), contents.data(str(key)) if _is_json(value) else value, times, rest)
    total = [name for name in times if name in ("total", "wall", "all")]
    bars = {name: value for name, value in times.items() if name not in total}
    parts: list[object] = [element("h3", "Run")] if times or rest else []
    if bars:
        names = list(bars)[::-1]
        trace = {
            "type": "bar", "orientation": "h", "x": plain([bars[name] for name in names]), "y": [label(name) for name in names],
            "text": [seconds(bars[name]) for name in names], "textposition": "outside", "cliponaxis": False,
            "marker": {"color": "@blue"}, "hoverinfo": "skip", "showlegend": False, "width": 0.6,
        }  # fmt: skip
        layout = {
            "xaxis": {"title": {"text": "wall time [s]"}, "rangemode": "tozero"},
            "yaxis": {"type": "category", "automargin": True},
            "margin": {"l": 10, "r": 60},
        }
        alt = "Wall time per scale: " + ", ".join(f"{name} {seconds(bars[name])}" for name in bars)
        panel = Panel("Wall time per scale", (trace,), layout, height=90 + 30 * len(names), wide=True)
        parts.append(Figure(id="run-times", alt=alt, panels=(panel,)).html())
    parts += utilisation.parts(contents)
    rest = {**{f"{name} wall time": seconds(times[name]) for name in total}, **rest}
    parts += [definitions(rest)] if rest else []
    return parts


def _is_json(value: Any) -> bool:
    return isinstance(value, str) and value[:1] in "{["


def _sort(name: str, value: Any, times: dict[str, float], rest: dict[str, object]) -> None:
    """Put a run attribute among the wall times [s] or among all else."""
    if isinstance(value, dict):
        is_times = name in ("seconds", "times", "wall_times", "wall_s", "seconds_per_scale")
        for key, one in value.items():
            if is_times and isinstance(one, (int, float)):
                times[str(key)] = float(one)
            else:
                _sort(f"{name} {key}" if not SECONDS.match(str(key)) else str(key), one, times, rest)
        return
    found = SECONDS.match(name)
    if found and isinstance(value, (int, float, np.number)):
        scale = found["after"] or found["before"] or "total"
        times[scale.replace("_", " ")] = float(value)
        return
    shown = ", ".join(map(str, value)) if isinstance(value, list) else value
    if isinstance(shown, (float, np.floating)):
        shown = significant(float(shown), 4)
    rest[name.replace("_", " ")] = str(shown)


def _made_from(contents: Contents) -> list[object]:
    sha = contents.text("scenario_sha256")
    sizes = contents.dataset.sizes
    parts: list[object] = [element("h3", "Made from")]
    shape = f"{sizes.get('arm', 0)} arms × {sizes.get('member', 0)} cells × {sizes.get('time', 0)} times"
    if "arm" not in sizes:
        shape = " × ".join(f"{size} {name}" for name, size in sizes.items())
    parts.append(
        definitions(
            {
                "Kakehashi": contents.text("kakehashi_version"),
                "Seed": contents.text("seed"),
                "Result": shape,
                "Conventions": contents.text("Conventions"),
                "Scenario, SHA-256": element("code", sha) if sha else "",
            }
        )
    )
    files, versions = contents.data("files"), contents.data("versions")
    if isinstance(files, dict) and files:
        rows = [[element("code", str(name)), element("code", str(digest))] for name, digest in files.items()]
        parts.append(
            folded(
                f"Files ({len(files)})",
                table([Column("File"), Column("SHA-256")], rows, caption="Files the scenario names", id="files-table"),
            )
        )
    if isinstance(versions, dict) and versions:
        rows = [[str(name), element("code", str(version))] for name, version in versions.items()]
        parts.append(
            folded(
                f"Versions ({len(versions)})",
                table(
                    [Column("Package"), Column("Version")],
                    rows,
                    caption="Versions it was made with",
                    id="versions-table",
                ),
            )
        )
    yaml = contents.text("scenario")
    if yaml:
        parts.append(folded("Scenario, as it was run", element("pre", element("code", yaml), tabindex="0")))
        parts.append(
            paragraph(
                "Saved to a file beside the files it names, this scenario and this seed give the same result again."
            )
        )
    return parts
