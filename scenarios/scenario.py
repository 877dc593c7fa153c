"""A scenario: the validated content of one scenario file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from scenarios import shelf
from scenarios.arm import Arm
from scenarios.binding import Binding
from scenarios.cell import AnyReadout, Cell, Network, TimeSpan
from scenarios.change import Reading
from scenarios.compound import Compound, Compounds
from scenarios.consistency import problems
from scenarios.coupling import Coupling
from scenarios.explanation import explain
from scenarios.goal import EmulatorChoice, Goal, Measured, VarianceSplit
from scenarios.part import Id, Part, Symbol, Target, Word
from scenarios.placing import CELL, Ranks
from scenarios.problem import key_path, refusal
from scenarios.quantity import Count, Value, read
from scenarios.treatment import Panel, Treatment
from scenarios.uncertainty import Group
from scenarios.yaml_file import YamlFile
from twin.errors import InputError

ONE_LINE = "cell"
"""Name of the cell line where a scenario names none."""


class Scenario(Part):
    """What a person asks: a cell, what is done to it, what is uncertain, and what is to be answered.

    All times are minutes from the stimulus; all values are in the units under `cell.units`.
    """

    name: str = Field(
        strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$", description="short name; results are called after it"
    )
    title: Word = Field(description="one line")
    question: str = Field("", description="the question in plain words")
    seed: int = Field(1, strict=True, ge=0, lt=2**63, description="of all random draws")
    members: Count = Field(200, description="virtual cells per line; member 0 is the unperturbed cell")
    cell: Cell = Field(description="the cell's model")
    coupling: Coupling | None = Field(
        None, description="further simulators that exchange values with the cell within a run"
    )
    cell_lines: dict[Word, dict[Target, Value]] = Field(
        default_factory=dict, description="cell line → its parameter values"
    )
    readouts: dict[Symbol, AnyReadout] = Field(
        min_length=1, description="name in the result → label, or {label, expression, units}"
    )
    time: TimeSpan = Field(description="start, end and samples")
    uncertainty: dict[Word, Group] = Field(default_factory=dict, description="source of uncertainty → what it draws")
    compounds: Compounds | None = Field(None, description="the compounds and how they reach the cell")
    molecular: Binding | None = Field(None, description="how fast compounds bind")
    treatments: tuple[Treatment, ...] = Field(alias="arms", min_length=1, description="what is done to the cells")
    answer: Goal | None = Field(None, description="what is asked of the result")
    variance: VarianceSplit = Field(default_factory=VarianceSplit, description="size of the variance split")  # pyright: ignore[reportArgumentType]
    emulator: EmulatorChoice | None = Field(None, description="a learned stand-in for the cell")
    measured: Measured | None = Field(None, description="measured points to show")
    place: dict[Id, Ranks] = Field(
        default_factory=dict, description="simulator → ranks of an MPI job that run it; no part of what is asked"
    )

    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _source: YamlFile | None = PrivateAttr(default=None)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Scenario:
        """Read a built-in scenario by name, or a scenario file.

        Raises:
            InputError: anything wrong, all of it at once, each with its line, key path, what was expected and the cure.
        """
        return cls.from_file(YamlFile.read(shelf.find(name_or_path)))

    @classmethod
    def from_file(cls, file: YamlFile) -> Scenario:
        """Validate the content of a YAML file. Raises `InputError` as `load` does."""
        context: dict[str, Any] = {"folder": file.folder, "parts": {}}
        try:
            scenario = cls.model_validate(file.data, context=context)
        except ValidationError as error:
            raise refusal(explain(error, file.data, context["parts"]), file) from error
        scenario._source = file
        return scenario

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        if isinstance(info.context, dict) and "folder" in info.context:
            self._folder = Path(info.context["folder"])
        found = problems(self)
        if found:
            text = "; ".join(f"{key_path(p.path)}: {p.text}" for p in found)
            raise PydanticCustomError("scenario", "{text}", {"text": text, "problems": tuple(found)})
        return self

    @property
    def folder(self) -> Path:
        """Where the scenario's paths start from."""
        return self._folder

    @property
    def source(self) -> YamlFile | None:
        """The file it was read from, with its lines."""
        return self._source

    def path(self, name: str) -> Path:
        """A file that the scenario names."""
        return self._folder / name

    @property
    def lines(self) -> tuple[str, ...]:
        """Names of the cell lines; `cell` where the scenario names none."""
        return tuple(self.cell_lines) or (ONE_LINE,)

    @property
    def model_text(self) -> str:
        """The text of the cell's model, SBML or Antimony."""
        return self.text_of(self.cell)

    def text_of(self, network: Network) -> str:
        """The text of a model, SBML or Antimony."""
        if network.model is None:
            return network.antimony or ""
        return self.path(network.model).read_text(encoding="utf-8")

    @property
    def networks(self) -> Mapping[str, Network]:
        """The reaction networks, by the simulator's name; the cell first."""
        return {CELL: self.cell, **({} if self.coupling is None else self.coupling.networks)}

    @property
    def units(self) -> Mapping[str, str]:
        """Units of all names: those of the cell as they are, others with their simulator."""
        return {**self.cell.units, **({} if self.coupling is None else self.coupling.units)}

    def value(self, name: str, value: float | str) -> float:
        """A value in the units of the model's name."""
        return read(value, self.units.get(name, ""))

    def parameters(self, cell_line: str) -> dict[str, float]:
        """What stands in place of the models' own values in a cell line, in their units; see `units` for the names."""
        others = {f"{n}.{key}": v for n, one in self.networks.items() if n != CELL for key, v in one.parameters.items()}
        given = {**self.cell.parameters, **others, **self.cell_lines.get(cell_line, {})}
        return {name: self.value(name, value) for name, value in given.items()}

    @property
    def equilibration(self) -> dict[str, float]:
        """Values that hold only while cells settle, in the model's units."""
        return {name: self.value(name, value) for name, value in self.cell.equilibrate_with.items()}

    @property
    def sample_times(self) -> tuple[float, ...]:
        """When results are kept [min]: those of `time`, and the answer's window and wash-out time."""
        extra: tuple[float, ...] = ()
        if self.answer is not None:
            extra = self.answer.window_min
            if self.answer.washout_min is not None:
                extra += (self.answer.washout_min,)
        return self.time.sample_times(extra)

    @cached_property
    def candidates(self) -> tuple[Compound, ...]:
        """The compounds, in the order of the file."""
        return () if self.compounds is None else self.compounds.read(self._folder)[0]

    @property
    def panel(self) -> Panel:
        """What treatments choose from."""
        reading = Reading(self.units, self.time.start_min, self.time.end_min, self.cell.equilibrate)
        return Panel(
            cell_lines=self.lines,
            compounds=tuple(compound.id for compound in self.candidates),
            reading=reading,
            dose_parameter=None if self.compounds is None else self.compounds.dose,
        )

    def arms(self) -> tuple[Arm, ...]:
        """All arms, in the order of the file."""
        panel = self.panel
        return tuple(arm for treatment in self.treatments for arm in treatment.arms(panel))

    @cached_property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of every file that the scenario names, by its name in the scenario."""
        return {name: hashlib.sha256(self.path(name).read_bytes()).hexdigest() for name in self.file_names}

    @property
    def file_names(self) -> tuple[str, ...]:
        """Every file that the scenario names."""
        groups = self.uncertainty.values()
        named = (
            *(network.model for network in self.networks.values()),
            self.compounds and self.compounds.table,
            *(group.table for group in groups),
            *(group.factors for group in groups),
            self.measured and self.measured.table,
            self.emulator and self.emulator.checkpoint,
        )
        return tuple(dict.fromkeys(name for name in named if name))

    def canonical_yaml(self) -> str:
        """The scenario as YAML without comments, every default written out; reading it gives the same `sha256`.

        Where it runs (`place`) is left out: no bit of the result depends on it.
        """
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"place"})
        return yaml.dump(data, Dumper=_Canonical, sort_keys=False, allow_unicode=True, width=1000)

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical YAML; the files it names have theirs in `files`."""
        return hashlib.sha256(self.canonical_yaml().encode()).hexdigest()

    def with_changes(self, *, members: int | None = None, seed: int | None = None) -> Scenario:
        """The same scenario with another number of members or another seed.

        Raises:
            InputError: members below 1, or a negative seed.
        """
        if members is not None and not 1 <= members <= 10_000_000:
            raise InputError(f"members {members}: expected a whole number from 1 to 10 000 000.")
        if seed is not None and not 0 <= seed < 2**63:
            raise InputError(f"seed {seed}: expected a whole number from 0 to 2^63 - 1.")
        update = {"members": members, "seed": seed}
        return self.model_copy(update={name: value for name, value in update.items() if value is not None})


class _Canonical(yaml.SafeDumper):
    """Writes text so that `YamlFile` reads it back as text: its rules for numbers and booleans are not PyYAML's."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = (
        "|"
        if "\n" in text
        else '"'
        if text[:1] in "-+.0123456789~" or text.lower() in ("", "true", "false", "null")
        else None
    )
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Canonical.add_representer(str, _write_text)
