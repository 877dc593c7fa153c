"""The files of a PEtab problem, version 1: what its YAML file names, all of it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from simulators.reaction.petab_table import PetabTable, near
from twin.errors import InputError, UnsupportedFeature


@dataclass(frozen=True)
class PetabFiles:
    """Paths.

    Attributes:
        path: of the YAML file.
        model: of the SBML file.
        tables: kind (parameter, condition, measurement, observable) → its files.
    """

    path: Path
    model: Path
    tables: Mapping[str, list[Path]]

    @classmethod
    def read(cls, path: str | Path) -> PetabFiles:
        """Read a YAML file, or the only one of a folder.

        Raises:
            InputError: no PEtab problem, or a file that it names and that is not there.
            UnsupportedFeature: another version, or several models.
        """
        path = _yaml_file(Path(path))
        files = _files(path)
        (model,) = files.pop("sbml")
        return cls(path, model, files)

    def parameters(self) -> PetabTable:
        """The table of parameters."""
        return PetabTable.read(self.tables["parameter"], ("parameterId", "parameterScale", "estimate"))


def is_petab(path: Path) -> bool:
    """Whether a YAML file looks like a PEtab problem, or a folder holds one; never raises."""
    if path.is_dir():
        return any(is_petab(found) for found in (*path.glob("*.yaml"), *path.glob("*.yml")))
    if path.suffix.lower() not in (".yaml", ".yml") or not path.is_file():
        return False
    try:
        head = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(head, dict) and "problems" in head and bool({"format_version", "parameter_file"} & set(head))


def _yaml_file(path: Path) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; expected a PEtab problem, its YAML file or the folder that holds it."
            )
        return path
    found = sorted((*path.glob("*.yaml"), *path.glob("*.yml")))
    found = [p for p in found if is_petab(p)] or found
    if len(found) != 1:
        raise InputError(f"{path}: expected one PEtab file (*.yaml) in the folder, found {len(found)}; name it.")
    return found[0]


def _files(path: Path) -> dict[str, list[Path]]:
    """Kind → files, all of them there."""
    try:
        head = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({error}); expected a PEtab problem.") from error
    if not isinstance(head, dict) or not {"parameter_file", "problems"} <= set(head):
        raise InputError(f"{path}: not a PEtab problem: it needs the keys `parameter_file` and `problems`.")
    version = str(head.get("format_version", "1"))
    if version.removeprefix("v") not in ("1", "1.0", "1.0.0"):
        raise UnsupportedFeature("PEtab version", f"{path}: PEtab {version}; we read version 1.")
    problems = head["problems"]
    if not isinstance(problems, list) or len(problems) != 1 or not isinstance(problems[0], dict):
        count = len(problems) if isinstance(problems, list) else 0
        raise UnsupportedFeature("several PEtab problems", f"{path}: {count} problems; expected one, with its files.")
    given = {"parameter_file": head["parameter_file"], **problems[0]}
    found: dict[str, list[Path]] = {}
    for kind in ("parameter", "sbml", "condition", "measurement", "observable"):
        key = "parameter_file" if kind == "parameter" else f"{kind}_files"
        names = given.get(key)
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not names:
            raise InputError(f"{path}: no `{key}:` in its problem;{near(key, given)} expected at least one file.")
        found[kind] = [path.parent / str(name) for name in names]
        for file in found[kind]:
            if not file.is_file():
                raise InputError(f"{path}: {key} names {file.name}, which is not there ({file}); mend the name.")
    if len(found["sbml"]) != 1:
        raise UnsupportedFeature("several PEtab models", f"{path}: {len(found['sbml'])} SBML files; expected one.")
    return found
