"""Where a reaction model comes from: an SBML or Antimony file, or its text, turned into one libSBML document."""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import antimony as _antimony
import libsbml

from simulators.reaction.petab_files import PetabFiles, is_petab
from simulators.reaction.readout import names
from twin.errors import InputError

antimony: Any = _antimony  # has no types
_SUFFIXES = "SBML (.xml, .sbml), Antimony (.ant, .txt) or a COMBINE archive (.omex)"


def document(model: str | Path) -> Any:
    """The libSBML document of a model; hierarchical models are flattened, functions expanded, and local parameters become
    `reaction_name`.

    Args:
        model: a path to SBML, Antimony, a COMBINE archive with one SBML model, or a PEtab problem, whose model gets the nominal
            parameters of its table; or the text of SBML or Antimony (a `str` with a line break, a `<`, a `;` or a `->` is
            text).

    Raises:
        InputError: no such file, or text that is neither; with the reader's own words and the line.
    """
    if not _is_text(model) and is_petab(Path(model)):
        return _nominal(PetabFiles.read(model))
    if not _is_text(model) and zipfile.is_zipfile(model):
        with _unpacked(Path(model)) as inside:
            return document(inside)
    name, sbml = _sbml(model)
    read = libsbml.readSBMLFromString(sbml)
    if not _is_text(model):
        read.setLocationURI(Path(model).resolve().as_uri())  # where other files of a hierarchical model are looked for
    _refuse_errors(read, name)
    if read.getModel() is None:
        raise InputError(f"{name}: no model in this SBML; expected a <model> element.")
    if read.getPlugin("comp") is not None:
        _convert(read, name, "flatten comp", "performValidation")
    if read.getLevel() == 1:
        read.setLevelAndVersion(2, 4, False)
        _free_what_algebraic_rules_give(read.getModel())
    _convert(read, name, "promoteLocalParameters")
    _convert(read, name, "expandFunctionDefinitions")
    return read


def _free_what_algebraic_rules_give(model: Any) -> None:
    """Level 1 says of nothing that it is constant, libSBML then of every parameter and size that no other rule gives: those
    which are all that is left for an algebraic rule to determine are not."""
    rules = list(model.getListOfRules())
    given = {rule.getVariable() for rule in rules if not rule.isAlgebraic()}
    for reaction in model.getListOfReactions():
        for reference in (*reaction.getListOfReactants(), *reaction.getListOfProducts()):
            if not model.getSpecies(reference.getSpecies()).getBoundaryCondition():
                given.add(reference.getSpecies())
    waiting = [names(rule.getMath()) for rule in rules if rule.isAlgebraic()]
    while alone := next((read - given for read in waiting if len(read - given) == 1), None):
        (name,) = alone
        given.add(name)
        found = model.getParameter(name) or model.getCompartment(name)
        if found is not None:
            found.setConstant(False)


def _nominal(files: PetabFiles) -> Any:
    """The model of a PEtab problem, with the nominal values of its parameters in place of its own."""
    read = document(files.model)
    model = read.getModel()
    for row in files.parameters().rows:
        name, value = row["parameterId"], row["nominalValue"]
        parameter, compartment = model.getParameter(name), model.getCompartment(name)
        if not value or (parameter is None and compartment is None):
            continue
        try:
            number = float(value)
        except ValueError as error:
            raise InputError(f"{row.place}: nominalValue is {value!r}; expected a number.") from error
        if parameter is not None:
            parameter.setValue(number)
        else:
            compartment.setSize(number)
        model.removeInitialAssignment(name)
    return read


@contextmanager
def _unpacked(archive: Path) -> Iterator[Path]:
    """The SBML file that a COMBINE archive names, with all that lies beside it (Bergmann et al., 2014)."""
    with zipfile.ZipFile(archive) as packed, tempfile.TemporaryDirectory() as folder:
        names = packed.namelist()
        for name in names:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise InputError(f"{archive.name}: {name!r} points out of the archive; it is not opened.")
        if "manifest.xml" not in names:
            raise InputError(f"{archive.name}: a zip file without manifest.xml; expected a COMBINE archive (.omex).")
        try:
            manifest = ElementTree.fromstring(packed.read("manifest.xml"))
        except ElementTree.ParseError as error:
            raise InputError(f"{archive.name}: manifest.xml is not XML: {error}.") from error
        models = [
            (item.get("master") == "true", item.get("location", "").removeprefix("./"))
            for item in manifest
            if "sbml" in item.get("format", "").lower()
        ]
        chosen = [name for master, name in models if master] or [name for _, name in models]
        if len(chosen) != 1:
            told = ", ".join(chosen) or "none"
            raise InputError(f"{archive.name}: expected one SBML model, or one marked as master; found {told}.")
        if chosen[0] not in names:
            raise InputError(f"{archive.name}: its manifest names {chosen[0]}, which is not in it.")
        packed.extractall(folder)
        yield Path(folder) / chosen[0]


def _is_text(model: str | Path) -> bool:
    return isinstance(model, str) and any(mark in model for mark in ("\n", "<", ";", "->"))


def _sbml(model: str | Path) -> tuple[str, str]:
    """(name for messages, SBML text)."""
    if isinstance(model, str) and _is_text(model):
        name, text, folder = "the model's text", model, None
    else:
        path = Path(model)
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected {_SUFFIXES}.")
        try:
            name, text, folder = path.name, path.read_text(encoding="utf-8"), path.parent
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not a text file ({error.reason}); expected {_SUFFIXES}.") from error
    if text.lstrip("\ufeff \t\r\n").startswith("<"):
        return name, text
    if name.endswith((".xml", ".sbml")):  # Antimony makes an empty model of almost anything
        raise InputError(f"{name}: no XML in this file; expected SBML. Name it .ant if it is Antimony.")
    return name, _from_antimony(text, name, folder)


def _from_antimony(text: str, name: str, folder: Path | None) -> str:
    antimony.clearPreviousLoads()
    antimony.clearDirectories()
    if folder is not None:
        antimony.addDirectory(str(folder.resolve()))  # where `import "other.ant"` looks
    if antimony.loadAntimonyString(text) < 0:
        raise InputError(f"{name}: not SBML, and as Antimony: {antimony.getLastError().strip()}")
    return str(antimony.getSBMLString(antimony.getMainModuleName()))


def _refuse_errors(read: Any, name: str) -> None:
    """libSBML goes on after errors with half a model; we do not."""
    faults = [read.getError(i) for i in range(read.getNumErrors())]
    faults = [fault for fault in faults if fault.getSeverity() >= libsbml.LIBSBML_SEV_ERROR]
    if faults:
        first = " ".join(faults[0].getMessage().split())
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InputError(f"{name}, line {faults[0].getLine()}: not valid SBML: {first}{more}")


def _convert(read: Any, name: str, conversion: str, *off: str) -> None:
    properties = libsbml.ConversionProperties()
    properties.addOption(conversion, True)
    for option in off:
        properties.addOption(option, False)
    if read.convert(properties) != libsbml.LIBSBML_OPERATION_SUCCESS:
        fault = read.getErrorLog().getError(read.getNumErrors() - 1) if read.getNumErrors() else None
        raise InputError(
            f"{name}: libSBML could not {conversion}: {fault.getMessage().strip() if fault else 'no reason given'}"
        )
