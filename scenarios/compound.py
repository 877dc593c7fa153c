"""Compounds: their structures, measured affinities, and how both reach the cell."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from scenarios.part import Id, Part, Word
from scenarios.problem import Fault, Problem, near
from scenarios.quantity import Value, read
from twin.errors import UnitError

_COLUMNS = {"compound": "id", "id": "id", "smiles": "smiles", "SMILES": "smiles", "ic50_nM": "ic50", "ic50": "ic50"}


@dataclass(frozen=True)
class Compound:
    """One ligand.

    Args:
        id: unique in a scenario.
        smiles: structure with its protonation state.
        ic50_nM: measured IC50 [nM]; NaN where there is none, and the learned model estimates Kd.
    """

    id: str
    smiles: str
    ic50_nM: float = math.nan  # noqa: N815 - the field's spelling of nanomolar

    @property
    def measured(self) -> bool:
        """Whether the affinity is measured."""
        return math.isfinite(self.ic50_nM)


class CompoundEntry(Part):
    """A compound written in the scenario itself."""

    id: Id = Field(description="short name, unique")
    smiles: Word = Field(description="structure as SMILES, with its charges; quote it")
    ic50: Value | None = Field(
        None, description="measured IC50 with its unit; left out: estimated by the learned model"
    )

    def read(self) -> Compound:
        """The compound; raises `Fault` for a bad IC50 or SMILES."""
        return _compound(self.id, self.smiles, self.ic50, "")


Spread = Annotated[float, Field(strict=True, ge=0.0, le=10.0)]


class Affinity(Part):
    """From the assay's IC50 to Kd in the cell: Kd = IC50 * shift, no Cheng-Prusoff (the assay's ATP is unknown)."""

    cell_shift_log10: Annotated[float, Field(strict=True, ge=-6.0, le=6.0)] = Field(
        0.8, description="median of log10(Kd in the cell / IC50 in the assay)"
    )
    cell_shift_sd_log10: Spread = Field(0.4, description="standard deviation of that shift, shared by all compounds")
    assay_error_log10: Spread = Field(0.2, description="standard deviation of log10 IC50, each compound its own")


class Compounds(Part):
    """The compounds of a scenario, and the model's names that they act through."""

    table: Word | None = Field(None, description="CSV with the columns compound, smiles, ic50_nM (empty: not measured)")
    entries: tuple[CompoundEntry, ...] = Field((), alias="list", description="compounds written here")
    dose: Id = Field(description="the model's parameter for the compound's concentration")
    kon: Id = Field(description="the model's parameter for the association rate constant")
    koff: Id = Field(description="the model's parameter for the dissociation rate constant")
    affinity: Affinity = Field(default_factory=Affinity, description="from IC50 to Kd in the cell")  # pyright: ignore[reportArgumentType]

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.table is None and not self.entries:
            raise PydanticCustomError("compounds", "no compounds; give a `table:` or a `list:`")
        return self

    def read(self, folder: Path) -> tuple[tuple[Compound, ...], list[Problem]]:
        """All compounds, table first, and what is wrong with them (paths seen from `compounds`)."""
        problems: list[Problem] = []
        found: dict[str, Compound] = {}
        rows = self._table(folder, problems) if self.table is not None else iter(())
        for where, compound in rows:
            if compound.id in found:
                problems.append(Problem(("table",), f"compound {compound.id!r} is listed twice; keep one row.", where))
            found.setdefault(compound.id, compound)
        for position, entry in enumerate(self.entries):
            try:
                compound = entry.read()
            except Fault as fault:
                problems.append(fault.under("list", position))
                continue
            if compound.id in found:
                problems.append(
                    Problem(("list", position, "id"), f"compound {compound.id!r} is listed twice; keep one.")
                )
            found.setdefault(compound.id, compound)
        return tuple(found.values()), problems

    def _table(self, folder: Path, problems: list[Problem]) -> Iterator[tuple[str, Compound]]:
        assert self.table is not None
        try:
            with (folder / self.table).open(newline="", encoding="utf-8-sig") as handle:
                lines = list(handle)
        except (OSError, UnicodeDecodeError):
            return  # a missing or unreadable file is reported with the other files of the scenario
        start = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
        reader = csv.reader(lines[start:])
        header = [name.strip() for name in next(reader, [])]
        place = {_COLUMNS[name]: column for column, name in enumerate(header) if name in _COLUMNS}
        for needed in ("id", "smiles", "ic50"):
            if needed not in place:
                names = [column for column, meaning in _COLUMNS.items() if meaning == needed]
                hint = "".join(near(name, header) for name in names[:1])
                problems.append(
                    Problem(
                        ("table",),
                        f"no column {names[0]!r} (columns: {', '.join(header) or 'none'});{hint} add it.",
                        f"{self.table}:{start + 1}",
                    )
                )
        if len(place) < 3:
            return
        plain_nm = "ic50_nM" in header
        for row in reader:
            where = f"{self.table}:{start + reader.line_num}"
            if not any(cell.strip() for cell in row) or row[0].startswith("#"):
                continue
            if len(row) != len(header):
                problems.append(
                    Problem(("table",), f"{len(row)} cells in a row of {len(header)} columns; mend the row.", where)
                )
                continue
            text = row[place["ic50"]].strip()
            value = (f"{text} nM" if plain_nm else text) if text else None
            try:
                yield where, _compound(row[place["id"]].strip(), row[place["smiles"]].strip(), value, where)
            except Fault as fault:
                problems.append(Problem(("table",), str(fault), where))


def _compound(name: str, smiles: str, ic50: float | str | None, source: str) -> Compound:
    if not name or any(ch in " .,|" for ch in name):
        raise Fault(
            f"compound id {name!r}: expected a short word without spaces, dots, commas or bars.", "id", source=source
        )
    _check_smiles(name, smiles, source)
    if ic50 is None:
        return Compound(name, smiles)
    try:
        value = read(ic50, "nM")
    except UnitError as error:
        raise Fault(f"{name}: IC50 {error}", "ic50", source=source) from error
    if value <= 0:
        raise Fault(
            f"{name}: IC50 {ic50!r} is not above 0; leave it out where it was not measured.", "ic50", source=source
        )
    return Compound(name, smiles, value)


def _check_smiles(name: str, smiles: str, source: str) -> None:
    """Raise `Fault` where RDKit cannot read the structure, with RDKit's reason."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        parameters = Chem.SmilesParserParams()
        parameters.sanitize = False
        molecule = Chem.MolFromSmiles(smiles, parameters)
        reason = "it cannot be parsed; check brackets, ring numbers and quotes"
        if molecule is not None:
            faults = Chem.DetectChemistryProblems(molecule)
            if not faults and molecule.GetNumAtoms():
                return
            reason = "; ".join(fault.Message() for fault in faults) or "it holds no atom"
    raise Fault(
        f"{name}: SMILES {smiles!r} is malformed: {reason}. Write e.g. 'CC(=O)Oc1ccccc1C(=O)O'.",
        "smiles",
        source=source,
    )
