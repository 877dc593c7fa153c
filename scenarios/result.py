"""The result: one labelled dataset that holds all that the page shows, and how it is kept on disk (Zarr 3).

Legend: `A` arms, `N` members, `T` sample times [min from the stimulus].
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from numpy.typing import NDArray

import twin
from scenarios.arm import MEASURED_SUFFIX, Arm
from scenarios.cohort import Cohort
from scenarios.coupling_counts import counts_dataset
from scenarios.measurement import Measurement
from scenarios.reserved_names import RESERVED
from scenarios.tasks import BROKE, EMULATOR, LOST, MECHANISM, CellCourses, CellTask
from simulators.reaction import Status
from twin.errors import InputError

if TYPE_CHECKING:
    from scenarios.scenario import Scenario

CONVENTIONS = "CF-1.11"
_PACKAGES = (
    "numpy",
    "scipy",
    "xarray",
    "zarr",
    "libroadrunner",
    "python-libsbml",
    "antimony",
    "openmm",
    "rdkit",
    "torch",
    "torchdiffeq",
)
"""What can move a number of the result."""
REASONS = {
    **{int(status): status.reason for status in Status},
    BROKE: "a simulator broke",
    LOST: "the worker process died with this task again and again",
}
"""Status of a member in an arm → in words."""
ANSWERED_BY = {MECHANISM: "mechanism", EMULATOR: "emulator"}


def versions() -> dict[str, str]:
    """Versions of everything that can move a number of the result."""
    found = {"kakehashi": twin.__version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # not needed by every scenario
    return found


def provenance(scenario: Scenario) -> dict[str, str | int]:
    """What the result was made from: attributes that tell two results apart."""
    return {
        "scenario": scenario.canonical_yaml(),
        "scenario_sha256": scenario.sha256,
        "files": json.dumps(dict(scenario.files), sort_keys=True),
        "versions": json.dumps(versions(), sort_keys=True),
        "seed": scenario.seed,
    }


def fingerprint(scenario: Scenario) -> dict[str, str]:
    """What the numbers depend on, for the journal of an unfinished run."""
    files = {f"file {name}": digest for name, digest in scenario.files.items()}
    packages = {f"version of {name}": version for name, version in versions().items()}
    return {"scenario": scenario.sha256, **files, **packages, "seed": str(scenario.seed)}


def refuse_other(scenario: Scenario, path: Path) -> None:
    """Refuse to take a finished result for the one that was asked for, if it was made from something else.

    Raises:
        InputError: other inputs, versions or seed; the text says which.
    """
    found = read(path).attrs
    differing = [
        f"    {name}: {found.get(name, 'absent')} there, {value} now"
        for name, value in provenance(scenario).items()
        if name != "scenario" and found.get(name) != value
    ]
    if differing:
        raise InputError(
            "\n".join([f"{path} is finished, and was made from something else:", *differing])
            + "\n  Choose another place with --out, or replace it with --overwrite."
        )


def courses_dataset(
    scenario: Scenario,
    arms: Sequence[Arm],
    cohort: Cohort,
    courses: Sequence[tuple[CellTask, CellCourses]],
    drawn: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> xarray.Dataset:
    """Readouts of all arms and members, and who the members are.

    Args:
        arms: all arms `[A]`.
        cohort: its members.
        courses: what each task found.
        drawn: cell line → what differs between its cells, name → `[N]`.

    Returns:
        Dims `(arm, member, time)`; see the file's legend.
    """
    times = np.array(scenario.sample_times)
    shape = (len(arms), cohort.size)
    values = np.full((*shape, len(times), len(scenario.readouts)), np.nan)
    status = np.full(shape, BROKE, dtype=np.int8)
    answered = np.zeros(shape, dtype=np.int8)
    for task, found in courses:
        rows = np.array(task.arms)
        values[rows, task.first : task.last] = found.values
        status[rows, task.first : task.last] = found.status
        answered[rows, task.first : task.last] = found.answered_by
    dims = ("arm", "member", "time")
    dataset = xarray.Dataset(
        {
            name: (dims, values[..., column], {"units": readout.units or "1", "long_name": readout.label})
            for column, (name, readout) in enumerate(scenario.readouts.items())
        },
        coords={**_arm_coordinates(arms), **_member_coordinates(scenario, arms, cohort, drawn)},
    )
    dataset = dataset.assign_coords(
        time=("time", times, {"units": "min", "long_name": "time from the stimulus", "axis": "T"})
    )
    dataset = dataset.assign(
        status=(("arm", "member"), status, flags(REASONS, "why a member has no values")),
        answered_by=(("arm", "member"), answered, flags(ANSWERED_BY, "who answered")),
    )
    return dataset if scenario.coupling is None else joined(dataset, counts_dataset(scenario, shape, courses))


def measured_dataset(scenario: Scenario, arms: Sequence[Arm]) -> xarray.Dataset:
    """Measured points, each with the arm that repeats its experiment: dim `point`."""
    assert scenario.measured is not None
    found = Measurement.read(scenario.path(scenario.measured.table))
    names = {
        (arm.cell_line, arm.treatment.removesuffix(MEASURED_SUFFIX)): arm.name
        for arm in arms
        if arm.protocol == "measured"
    }
    places = zip(found.cell_line, found.treatment, strict=True)
    texts = {
        "measured_arm": [names[line, treatment.removesuffix(MEASURED_SUFFIX)] for line, treatment in places],
        "measured_readout": found.readout,
        "measured_set": found.dataset,
    }
    said = {"long_name": "measured value, in the units of its readout", "comment": " ".join(found.remarks)}
    return xarray.Dataset(
        {
            "measured_value": ("point", found.value, said),
            "measured_sd": ("point", found.sd, {"long_name": "its standard deviation"}),
            "measured_time": ("point", found.time_min, {"units": "min", "long_name": "when it was measured"}),
            **{name: ("point", np.array(words, dtype=str)) for name, words in texts.items()},
        }
    )


def joined(dataset: xarray.Dataset, *others: xarray.Dataset) -> xarray.Dataset:
    """A result with further variables, coordinates and attributes; all must agree on the coordinates they share."""
    merged = xarray.merge([dataset, *others], join="exact", compat="identical", combine_attrs="no_conflicts")
    return merged[[*dataset.data_vars, *(name for other in others for name in other.data_vars)]]


def flags(meanings: Mapping[int, str], label: str) -> dict[str, Any]:
    """CF attributes of a variable of codes."""
    return {
        "long_name": label,
        "flag_values": np.array(list(meanings), dtype=np.int8),
        "flag_meanings": " ".join(
            text.translate({ord(" "): "_", ord(","): None, ord(":"): None}) for text in meanings.values()
        ),
    }


def _arm_coordinates(arms: Sequence[Arm]) -> dict[str, Any]:
    text: dict[str, list[str]] = {
        "arm": [arm.name for arm in arms],
        "cell_line": [arm.cell_line for arm in arms],
        "treatment": [arm.treatment for arm in arms],
        "compound": [arm.compound for arm in arms],
        "protocol": [arm.protocol for arm in arms],
        "role": [arm.role for arm in arms],
    }
    dose = np.array([arm.dose_uM for arm in arms])
    return {
        **{name: ("arm", np.array(values, dtype=str)) for name, values in text.items()},
        "dose_uM": ("arm", dose, {"units": "uM", "long_name": "concentration given"}),
    }


def _member_coordinates(
    scenario: Scenario, arms: Sequence[Arm], cohort: Cohort, drawn: Mapping[str, Mapping[str, NDArray[np.float64]]]
) -> dict[str, Any]:
    """Every drawn parameter, `(member,)`, or `(arm, member)` where it differs between cell lines.

    A parameter called like a readout, e.g. a species whose start is drawn, is ``NAME_drawn``.
    """
    taken = {*scenario.readouts, *RESERVED}
    found: dict[str, Any] = {"member": np.arange(cohort.size, dtype=np.int64)}
    names = dict.fromkeys(name for line in drawn.values() for name in line)
    for name in names:
        attributes = {"units": scenario.units.get(name, "") or "1", "long_name": f"{name}, drawn"}
        rows = [of_line[name] for of_line in drawn.values()]
        label = f"{name}_drawn" if name in taken else name
        if all(np.array_equal(row, rows[0]) for row in rows):
            found[label] = ("member", rows[0], attributes)
        else:
            found[label] = (("arm", "member"), np.stack([drawn[arm.cell_line][name] for arm in arms]), attributes)
    return found


def write(dataset: xarray.Dataset, path: Path) -> None:
    """Write a result as Zarr 3 with consolidated metadata; `path` must not exist."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(Consolidated metadata|Zarr V3 specification|ZarrV3).*")
        dataset.to_zarr(path, mode="w-", zarr_format=3, consolidated=True)


def read(path: Path) -> xarray.Dataset:
    """Read a result whole.

    Raises:
        InputError: no such result, or one that cannot be read.
    """
    if not (path / "zarr.json").is_file():
        raise InputError(f"{path} is not a Zarr result (it holds no zarr.json); expected e.g. results/NAME.zarr.")
    try:
        with xarray.open_zarr(path) as opened:
            lost = [str(name) for name in opened.variables if not (path / str(name) / "zarr.json").is_file()]
            if not lost:
                return opened.load()
    except Exception as error:  # zarr raises many kinds for a damaged store; each means the same to the user
        raise InputError(f"{path} cannot be read ({type(error).__name__}: {error}); run the scenario again.") from error
    raise InputError(f"{path} is damaged: {', '.join(lost[:5])} is no longer in it; run the scenario again.")
