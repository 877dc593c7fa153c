"""What a user wants to see of a model: ids, or expressions over ids such as `2*pMET_dimer + pMET_pEGFR`."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import libsbml

from twin.errors import InputError

Readouts = Mapping[str, str] | Sequence[str] | None


def named(readouts: Readouts, default: Sequence[str]) -> dict[str, str]:
    """Readouts as name → expression; `None` means the names of `default`.

    Raises:
        InputError: a name given twice.
    """
    if readouts is None:
        return {name: name for name in default}
    if isinstance(readouts, Mapping):
        return dict(readouts)
    if isinstance(readouts, str):
        raise InputError(f"readouts={readouts!r}: expected a list of names, or a mapping of names to expressions.")
    twice = sorted({name for name in readouts if readouts.count(name) > 1})
    if twice:
        raise InputError(f"readouts: {', '.join(twice)} given twice; keep one of each.")
    return {name: name for name in readouts}


def parsed(expression: str, known: Collection[str], *, where: str, model: Any = None) -> Any:
    """The libSBML tree of an expression over the model's names. `ln` is natural, `log10` is decadic, `log` is refused.

    Args:
        expression: in the infix of libSBML (SBML Level 3).
        known: names that it may read.
        where: for messages.
        model: the libSBML model, whose names come before built-in ones such as `time` or `avogadro`.

    Raises:
        InputError: not a formula, or an unknown name; near matches are named.
    """
    settings = libsbml.L3ParserSettings()
    if model is not None:
        settings.setModel(model)
    settings.setParseLog(libsbml.L3P_PARSE_LOG_AS_ERROR)
    tree = libsbml.parseL3FormulaWithSettings(expression, settings)
    if tree is None:
        fault = " ".join(libsbml.getLastParseL3Error().split())
        raise InputError(f"{where}: {expression!r} is not a formula: {fault}")
    for node in nodes(tree):
        if node.getType() == libsbml.AST_FUNCTION:
            raise InputError(
                f"{where}: {expression!r}: unknown function {node.getName()!r}; expected one of SBML's own."
            )
        if node.getType() == libsbml.AST_NAME and node.getName() not in known:
            raise InputError(f"{where}: {unknown(node.getName(), known)}")
    return tree


def unknown(name: str, known: Collection[str]) -> str:
    """The sentence that names an unknown name and its neighbours."""
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    near = near or difflib.get_close_matches(name.lower(), sorted({k for k in known if k.lower() == name.lower()}), n=3)
    cure = f"did you mean {' or '.join(near)}?" if near else f"the model has {', '.join(sorted(known)[:12])} …"
    return f"the model has no {name!r}; {cure}"


def nodes(tree: Any) -> Iterator[Any]:
    """Every node of a libSBML tree."""
    yield tree
    for i in range(tree.getNumChildren()):
        yield from nodes(tree.getChild(i))


def names(tree: Any) -> set[str]:
    """Ids that a libSBML tree reads."""
    return {node.getName() for node in nodes(tree) if node.getType() == libsbml.AST_NAME}
