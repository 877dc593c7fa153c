"""A YAML file read with the line of every key, so that an error can say where it is.

Plain words mean what they look like (YAML 1.2's core schema): only ``true`` and ``false`` are booleans, so that a gene
called ``NO`` or a key ``on`` stays text; ``1e-8`` is a number. A key given twice is an error, not a silent overwrite.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from twin.errors import InputError

_MAX_BYTES = 4_000_000
_MAX_VALUES = 200_000  # aliases can multiply: a small file must not become a large one
_MAX_DEPTH = 60
_INT = re.compile(r"[-+]?[0-9]+$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_SPECIAL = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
_STRING_TAG = "tag:yaml.org,2002:str"
_MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class YamlFile:
    """The data of one YAML file, and where each value stands.

    Args:
        name: the path as the user wrote it.
        folder: where paths in the file start from.
        data: the top mapping.
        lines: 1-based line of every key path.
    """

    name: str
    folder: Path
    data: Mapping[str, Any]
    lines: Mapping[tuple[str | int, ...], int]

    @classmethod
    def read(cls, path: str | Path) -> YamlFile:
        """Read a file.

        Raises:
            InputError: no such file, not text, not YAML, not a mapping, a key given twice; with the line.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"{path}: there is no such file; check the path, or write one with `twin new NAME`.")
        if not path.is_file():
            raise InputError(f"{path} is a folder; expected a scenario file, e.g. {path / 'my_scenario.yaml'}.")
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
        if len(raw) > _MAX_BYTES:
            raise InputError(
                f"{path} has {len(raw)} bytes; a scenario file has at most {_MAX_BYTES}. Is it another file?"
            )
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            raise InputError(
                f"{path}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8 text; "
                "expected a scenario in YAML. Save the file as UTF-8."
            ) from error
        return cls.parse(text, name=str(path), folder=path.resolve().parent)

    @classmethod
    def parse(cls, text: str, *, name: str, folder: Path) -> YamlFile:
        """Read text; `name` is how errors call it. Raises `InputError` as `read` does."""
        loader = None
        try:
            loader = yaml.SafeLoader(text)
            top = loader.get_single_node()
        except yaml.YAMLError as error:
            raise InputError(_not_yaml(error, name)) from error
        except RecursionError as error:
            raise InputError(f"{name}: nested too deeply to be a scenario file.") from error
        finally:
            if loader is not None:
                loader.dispose()
        if top is None:
            raise InputError(
                f"{name}: the file is empty; expected a scenario. `twin new NAME` writes one to start from."
            )
        if not isinstance(top, MappingNode):
            raise InputError(
                f"{name}:{top.start_mark.line + 1}: not a scenario: expected keys such as `name: …` and `cell: …` "
                "at the top, found something else. `twin new NAME` writes one to start from."
            )
        reading = _Reading(name)
        data = reading.mapping(top, (), 0)
        if reading.faults:
            count = len(reading.faults)
            raise InputError("\n  ".join([f"{count} problem{'s' if count > 1 else ''} in {name}", *reading.faults]))
        return cls(name=name, folder=folder, data=data, lines=reading.lines)

    def line(self, path: tuple[str | int, ...]) -> int:
        """The line of the longest part of `path` that stands in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 1


class _Reading:
    """One pass over the nodes of a document: values, their lines, and faults with their lines."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[tuple[str | int, ...], int] = {}
        self.faults: list[str] = []
        self.count = 0

    def value(self, node: Node, path: tuple[str | int, ...], depth: int) -> Any:
        self.count += 1
        if self.count > _MAX_VALUES or depth > _MAX_DEPTH:
            raise InputError(
                f"{self.name}:{node.start_mark.line + 1}: more than {_MAX_VALUES} values or {_MAX_DEPTH} levels "
                "(an alias that holds itself?); expected a scenario file."
            )
        if isinstance(node, MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            items: list[Any] = []
            for position, item in enumerate(node.value):
                self.lines[(*path, position)] = item.start_mark.line + 1
                items.append(self.value(item, (*path, position), depth + 1))
            return items
        return self.scalar(node)

    def mapping(self, node: MappingNode, path: tuple[str | int, ...], depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE_TAG:
                parts = value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                for part in parts:
                    if not isinstance(part, MappingNode):
                        self.faults.append(f"{self.name}:{line}: `<<` takes keys from a mapping; found something else.")
                        continue
                    for key, value in self.mapping(part, path, depth + 1).items():
                        merged.setdefault(key, value)
                continue
            if not isinstance(key_node, ScalarNode):
                self.faults.append(f"{self.name}:{line}: a key must be a word; found a list or a mapping as key.")
                continue
            key = str(key_node.value)
            if key in data:
                self.faults.append(
                    f"{self.name}:{line}: key {key!r} is given twice (first on line {self.lines[(*path, key)]}); "
                    "keep one of them."
                )
                continue
            self.lines[(*path, key)] = line
            data[key] = self.value(value_node, (*path, key), depth + 1)
        return {**merged, **data}

    def scalar(self, node: Node) -> Any:
        text = str(node.value)
        if not isinstance(node, ScalarNode) or node.style in ("'", '"', "|", ">"):
            return text
        line = node.start_mark.line + 1
        if node.tag.startswith("!") or (node.tag.startswith("tag:yaml.org,2002:python")):
            self.faults.append(f"{self.name}:{line}: tag {node.tag!r} is not allowed; write a plain value.")
            return text
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
            return text.lower() == "true"
        if text.lower() in _SPECIAL:
            return _SPECIAL[text.lower()]
        if _INT.match(text) and len(text) < 400:
            return int(text)
        if _FLOAT.match(text):
            return float(text)
        return text


def _not_yaml(error: yaml.YAMLError, name: str) -> str:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    context = getattr(error, "context", None)
    place = f"{name}:{mark.line + 1}" if mark is not None else name
    if "expected a single document" in str(error):
        return f"{place}: the file holds several YAML documents (a second `---`); keep one scenario per file."
    hint = "use spaces, not tabs, and quote text that holds `: ` or starts with a sign such as [ {{ @ % & *"
    if "\\t" in str(what):
        hint = "indent with spaces, not tabs"
    return f"{place}: this is not YAML: {f'{context}, ' if context else ''}{what}; {hint}.".replace("{{", "{")
