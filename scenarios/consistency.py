"""Whether the parts of a scenario fit together: names, units, times and files. Whether they fit its model: `model_consistency`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scenarios import placing
from scenarios.cohort import groups
from scenarios.coupling_consistency import coupling_problems, readout_problems
from scenarios.fit import Fit
from scenarios.measurement import Measurement
from scenarios.placing import CELL
from scenarios.problem import Fault, Problem, near, one_of
from scenarios.problem import Path as KeyPath
from scenarios.quantity import read
from scenarios.reserved_names import RESERVED
from twin.errors import InputError, UnitError
from twin.units import check_unit

if TYPE_CHECKING:
    from scenarios.scenario import Scenario

_SIMULATORS = ("coupling", "simulators")
_SAFETENSORS_HEADER = 100_000_000  # the format's own limit of its header


def problems(scenario: Scenario) -> list[Problem]:
    """Everything that is wrong between the parts; empty where all fits."""
    basic = [*_units(scenario), *_times(scenario)]
    found = [*basic, *_files(scenario), *placing.problems(scenario)]
    found += [*coupling_problems(scenario), *readout_problems(scenario)]
    if basic:
        return found  # every dose and time would complain of the same unit or span again
    found += _values(scenario)
    found += _uncertainty(scenario)
    found += _arms(scenario)
    found += _answer(scenario)
    if not found:
        found += _tables(scenario)
    return found


def _units(scenario: Scenario) -> Iterator[Problem]:
    for name, units in scenario.cell.units.items():
        try:
            check_unit(units)
        except UnitError:
            yield Problem(
                ("cell", "units", name), f"{units!r} is not a unit; write for example nM, ug/ml, 1/min, 1/(uM min)."
            )
    for name, readout in scenario.readouts.items():
        if name in RESERVED:
            yield Problem(
                ("readouts", name),
                f"{name!r} is a name of the result itself; call the readout otherwise, with `expression: {name}`.",
            )
        try:
            check_unit(readout.units)
        except UnitError:
            yield Problem(("readouts", name, "units"), f"{readout.units!r} is not a unit; write for example nM.")


def _files(scenario: Scenario) -> Iterator[Problem]:
    places: list[tuple[KeyPath, str | None]] = [
        *(
            (("cell", "model") if n == CELL else (*_SIMULATORS, n, "model"), one.model)
            for n, one in scenario.networks.items()
        ),
        (("compounds", "table"), scenario.compounds and scenario.compounds.table),
        (("measured", "table"), scenario.measured and scenario.measured.table),
    ]
    for name, group in scenario.uncertainty.items():
        places += [(("uncertainty", name, "table"), group.table), (("uncertainty", name, "factors"), group.factors)]
    for place, name in places:
        if name is not None:
            yield from _text_file(place, scenario.folder, name)
    if scenario.emulator is not None:
        name = scenario.emulator.checkpoint
        fault = _checkpoint_fault(scenario.path(name))
        if fault:
            yield Problem(("emulator", "checkpoint"), f"{name}: {fault}")
        if not 0 < scenario.emulator.tolerance_share < 1:
            yield Problem(
                ("emulator", "tolerance"),
                f"{scenario.emulator.tolerance!r}: expected a share above 0 and below 1, e.g. 5 %.",
            )


def _text_file(place: KeyPath, folder: Path, name: str) -> Iterator[Problem]:
    path = folder / name
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
        yield Problem(
            place,
            f"there is no file {name!r} in {folder};{near(path.name, beside)} paths start from the scenario's folder.",
        )
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        yield Problem(place, f"{name!r} is not a text file; expected a model or a table. Check the path.")
        return
    if not text.strip():
        yield Problem(place, f"{name!r} is empty; expected a model or a table.")


def _checkpoint_fault(path: Path) -> str:
    """Why a file cannot be a checkpoint, or nothing. Its weights are checked against the network where it is loaded."""
    cure = "`twin train` writes one; leave `emulator:` out to run mechanism alone."
    if not path.is_file():
        return f"there is no such file; {cure}"
    with path.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
        header = handle.read(size) if 2 <= size <= min(_SAFETENSORS_HEADER, path.stat().st_size) else b""
    try:
        tensors = json.loads(header)
    except ValueError:
        tensors = None
    if not isinstance(tensors, dict):
        return f"this is not a checkpoint in safetensors format; {cure}"
    ends: list[int] = [
        int(entry["data_offsets"][1])
        for name, entry in tensors.items()  # pyright: ignore[reportUnknownVariableType]
        if name != "__metadata__" and isinstance(entry, dict) and "data_offsets" in entry
    ]
    if not ends or 8 + size + max(ends) != path.stat().st_size:
        return f"the checkpoint is cut short or damaged; {cure}"
    return ""


def _values(scenario: Scenario) -> Iterator[Problem]:
    cell = scenario.cell
    places: list[tuple[KeyPath, Mapping[str, float | str]]] = [
        (("cell", "parameters"), cell.parameters),
        (("cell", "equilibrate_with"), cell.equilibrate_with),
        *((("cell_lines", line), values) for line, values in scenario.cell_lines.items()),
    ]
    reading = scenario.panel.reading
    own = [(place, "", values) for place, values in places]
    own += [
        ((*_SIMULATORS, n, "parameters"), f"{n}.", one.parameters) for n, one in scenario.networks.items() if n != CELL
    ]
    for place, prefix, values in own:
        for name, value in values.items():
            try:
                reading.amount(prefix + name, value, key=name)
            except Fault as fault:
                yield fault.under(*place)
    if scenario.molecular is not None:
        for key, value in (
            ("temperature", scenario.molecular.temperature_K),
            ("ionic_strength", scenario.molecular.ionic_strength_M),
        ):
            if value < 0 or (key == "temperature" and value == 0):
                yield Problem(("molecular", key), f"{value:g} is negative; expected a positive value.")
        if scenario.molecular.kon.median_per_M_s <= 0:
            yield Problem(("molecular", "kon", "median"), "expected a rate above 0, e.g. 1e5 1/(M s).")


def _times(scenario: Scenario) -> Iterator[Problem]:
    try:
        scenario.time.sample_times()
    except Fault as fault:
        yield fault.under("time")


def _uncertainty(scenario: Scenario) -> Iterator[Problem]:
    owner: dict[str, str] = {}
    for name, group in scenario.uncertainty.items():
        place = ("uncertainty", name)
        for parameter, distribution in group.parameters.items():
            try:
                distribution.check(scenario.units.get(parameter, ""))
            except Fault as fault:
                yield fault.under(*place, "parameters", parameter)
            if not distribution.relative:
                if parameter in owner:
                    yield Problem(
                        (*place, "parameters", parameter),
                        f"{parameter!r} is drawn by group {owner[parameter]!r} too; keep one, or let this one spread "
                        "around it with `lognormal: {cv: …}`.",
                    )
                owner[parameter] = name
        try:
            group.factor()
        except Fault as fault:
            yield fault.under(*place)


def _arms(scenario: Scenario) -> Iterator[Problem]:
    compounds = scenario.compounds
    known: tuple[str, ...] = ()
    listed = True  # whether all compounds could be read, so that an unknown one is truly unknown
    if compounds is not None:
        read_compounds, found = compounds.read(scenario.folder)
        known = tuple(compound.id for compound in read_compounds)
        listed = not found and (compounds.table is None or scenario.path(compounds.table).is_file())
        for problem in found:
            yield Problem(("compounds", *problem.path), problem.text, problem.source)
        for key, dimension in (("dose", "uM"), ("kon", "1/(uM min)"), ("koff", "1/min")):
            name = str(getattr(compounds, key))
            try:
                read(f"1 {scenario.cell.units[name]}", dimension)
            except KeyError:
                yield Problem(
                    ("compounds", key), f"{name!r} needs a unit under cell.units, e.g. `{name}: {dimension}`."
                )
            except UnitError:
                yield Problem(
                    ("compounds", key), f"{name!r} is in {scenario.cell.units[name]}; expected a unit like {dimension}."
                )
    panel = scenario.panel
    makers: dict[str, int] = {}
    whole = True
    for position, treatment in enumerate(scenario.treatments):
        place = ("arms", position)
        wrong = [
            Problem((*place, *problem.path), problem.text, problem.source) for problem in treatment.problems(panel)
        ]
        for line in treatment.cell_line or ():
            if line not in panel.cell_lines:
                wrong.append(
                    Problem((*place, "cell_line"), _unknown("cell line", line, panel.cell_lines, "cell_lines"))
                )
        if compounds is not None and treatment.compounds is not None and treatment.compounds != "all":
            wrong += [
                Problem((*place, "compounds", i), _unknown("compound", name, known, "compounds"))
                for i, name in enumerate(treatment.compounds)
                if name not in known and listed
            ]
        yield from wrong
        whole = whole and not wrong
    if not whole:
        return
    for position, treatment in enumerate(scenario.treatments):
        for arm in treatment.arms(panel):
            other = makers.setdefault(arm.name, position)
            if other != position:
                text = f"makes an arm {arm.name!r}, and so does arms[{other}]; give one another `treatment` or `name`."
                yield Problem(("arms", position), text)
                break
        made = [arm.name for arm in treatment.arms(panel)]
        twice = next((name for name in made if made.count(name) > 1), None) if len(set(made)) < len(made) else None
        if twice is not None:
            text = f"makes the arm {twice!r} twice; list each cell line, compound and dose once."
            yield Problem(("arms", position), text)


def _tables(scenario: Scenario) -> Iterator[Problem]:
    """Fits and measured points, read to the last row."""
    for name, group in scenario.uncertainty.items():
        if group.table is not None:
            try:
                fit = Fit.read(scenario.path(group.table), group.factors and scenario.path(group.factors))
            except InputError as error:
                yield Problem(("uncertainty", name, "table"), str(error))
                continue
            for parameter in group.parameters:
                if parameter in fit.drawn and not group.parameters[parameter].relative:
                    text = f"{parameter!r} is drawn by {group.table} too; keep one, or let it spread with `lognormal: {{cv: …}}`."
                    yield Problem(("uncertainty", name, "parameters", parameter), text)
    if scenario.measured is not None:
        arms = {
            (line, t.treatment)
            for t in scenario.treatments
            if t.protocol == "measured"
            for line in t.cell_line or scenario.lines
        }
        try:
            Measurement.read(scenario.path(scenario.measured.table)).check(
                arms=arms,
                readouts=scenario.readouts,
                start_min=scenario.time.start_min,
                end_min=scenario.time.end_min,
            )
        except InputError as error:
            yield Problem(("measured", "table"), str(error))


def _answer(scenario: Scenario) -> Iterator[Problem]:
    goal = scenario.answer
    if goal is None:
        return
    asked = [
        (("answer", "readout"), goal.readout),
        *((("answer", "shown", i), name) for i, name in enumerate(goal.shown)),
    ]
    if goal.engagement is not None:
        asked.append((("answer", "engagement"), goal.engagement))
    for place, name in asked:
        if name not in scenario.readouts:
            yield Problem(place, _unknown("readout", name, scenario.readouts, "readouts"))
    if goal.cell_line is None and len(scenario.lines) > 1:
        yield Problem(("answer",), f"add `cell_line:`, whose arms are ranked; the lines are {one_of(scenario.lines)}.")
    elif goal.cell_line is not None and goal.cell_line not in scenario.lines:
        yield Problem(("answer", "cell_line"), _unknown("cell line", goal.cell_line, scenario.lines, "cell_lines"))
    line = goal.cell_line or next(iter(scenario.lines))
    labels = [t.label for t in scenario.treatments if line in (t.cell_line or scenario.lines)]
    series = [t.label for t in scenario.treatments if t.compounds is not None or t.doses is not None]
    for key, label in (("vehicle", goal.vehicle), ("positive_control", goal.positive_control)):
        if label not in labels:
            yield Problem(("answer", key), _unknown(f"treatment of {line}", label, labels, "arms"))
        elif labels.count(label) > 1 or label in series:
            yield Problem(("answer", key), f"{label!r} makes several arms of {line}; name a treatment that makes one.")
    if goal.vehicle == goal.positive_control:
        yield Problem(("answer", "positive_control"), "is the vehicle too; name the treatment without any signal.")
    start, end = scenario.time.start_min, scenario.time.end_min
    low, high = goal.window_min
    if not start <= low < high <= end:
        yield Problem(
            ("answer", "window"),
            f"{goal.window[0]} … {goal.window[1]}: expected two times in order within {start:g} … {end:g} min.",
        )
    if goal.washout_min is not None and not start <= goal.washout_min <= end:
        yield Problem(("answer", "washout_at"), f"{goal.washout_at} lies outside {start:g} … {end:g} min.")
    try:
        scenario.variance.between_cells_of(groups(scenario))
    except InputError as error:
        yield Problem(("variance", "between_cells"), str(error))
    for key, share in (("removed", goal.removed_share), ("in_cells", goal.cell_share)):
        if not 0 < share <= 1:
            yield Problem(("answer", key), f"{share:g}: expected a share above 0 % and up to 100 %.")


def _unknown(kind: str, name: str, known: Collection[str], key: str) -> str:
    return f"unknown {kind} {name!r};{near(name, known)} expected one of those under `{key}`: {one_of(known)}."
