"""`twin check`: what a scenario, a PEtab problem or a model holds, if nothing is wrong with it; nothing is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scenarios.scenario import Scenario


def checked(given: str) -> list[str]:
    """Lines about a scenario, a PEtab problem or a model.

    Raises:
        InputError, UnsupportedFeature: what is wrong.
    """
    from scenarios import bare

    if (kind := bare.kind_of(given)) != "scenario":
        return bare.checked(kind, given)

    from scenarios.scenario import Scenario

    asked = Scenario.load(given)

    from scenarios.build import build

    build(asked)
    return [f"{given}: fine.", *_contents(asked)]


def _contents(asked: Scenario) -> list[str]:
    from scenarios.placing import simulators

    arms, times = asked.arms(), asked.sample_times
    lines = [
        f"  {asked.name}: {asked.title}",
        f"  {len(arms)} arms x {asked.members} members, {len(times)} times from {times[0]:g} to {times[-1]:g} min",
        f"  cell lines {', '.join(asked.lines)}; readouts {', '.join(asked.readouts)}",
    ]
    if asked.candidates:
        measured = sum(compound.measured for compound in asked.candidates)
        lines.append(f"  {len(asked.candidates)} compounds, {measured} with a measured IC50")
    for group, content in asked.uncertainty.items():
        drawn = ", ".join(filter(None, (content.table or "", *content.parameters)))
        lines.append(f"  uncertain, {group}: {drawn}")
    if asked.coupling is not None:
        kind, order = asked.coupling.scheme.kind, asked.coupling.scheme_lowered().order
        lines.append(f"  coupled by {kind} (order {order}), windows {asked.coupling.windows.words}:")
        for arrow in asked.coupling.arrows:
            units = asked.units.get(arrow.into if arrow.target == "cell" else f"{arrow.target}.{arrow.into}", "")
            lines.append(
                f"    {arrow.source}.{arrow.port} -> {arrow.target}.{arrow.into}{f' [{units}]' if units else ''}"
            )
        for name in asked.coupling.cached:
            lines.append(f"    {name} is asked again when an input has moved by {asked.coupling.captures[name].cached}")
    placed = ", ".join(f"{name} on {ranks}" for name, ranks in asked.place.items()) or "all on rank 0"
    lines.append(f"  simulators {', '.join(simulators(asked))}; {placed}")
    return lines
