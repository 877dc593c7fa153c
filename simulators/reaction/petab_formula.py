"""A formula of a PEtab table, read once and evaluated over arrays: observables and noises.

PEtab 1 writes mathematics as SBML's infix does, with `log` and `ln` natural, `log10` and `log2` of their bases, and `^` or
`**` for powers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import libsbml
import numpy as np

from simulators.reaction.engine import Floats
from simulators.reaction.expression import Node
from simulators.reaction.formulas import Formulas
from simulators.reaction.readout import nodes
from twin.errors import InputError


class PetabFormula(Formulas):
    """One formula.

    Args:
        text: as the table has it.

    Raises:
        InputError: not a formula; without its place, which the caller knows.
        UnsupportedFeature: an operator that we do not know.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        settings = libsbml.L3ParserSettings()
        settings.setParseLog(libsbml.L3P_PARSE_LOG_AS_LN)
        settings.setComparisonCaseSensitivity(libsbml.L3P_COMPARE_BUILTINS_CASE_SENSITIVE)
        tree = libsbml.parseL3FormulaWithSettings(text.replace("**", "^"), settings)
        if tree is None:
            fault = " ".join(libsbml.getLastParseL3Error().split())
            raise InputError(f"{text!r} is not a formula: {fault}")
        for node in nodes(tree):
            two = node.getType() == libsbml.AST_FUNCTION_LOG and node.getNumChildren() == 2
            if two and not node.getChild(0).isNumber():
                raise InputError(f"{text!r}: log of two arguments, whose order is not settled; write log(x)/log(base).")
        self._tree = tree

    @cached_property
    def names(self) -> frozenset[str]:
        """Ids that it reads, `time` among them if it does."""
        time = any(node.getType() == libsbml.AST_NAME_TIME for node in nodes(self._tree))
        named = {node.getName() for node in nodes(self._tree) if node.getType() == libsbml.AST_NAME}
        return frozenset(named | ({"time"} if time else set()))

    def id(self, name: str) -> Node:
        """See `Formulas.id`."""
        return self.graph.symbol(name)

    def special(self, tree: Any) -> Node | None:
        """See `Formulas.special`."""
        if tree.getType() != libsbml.AST_FUNCTION:
            return None
        if tree.getName() == "log2" and tree.getNumChildren() == 1:
            two = self.graph.const(2.0)
            return self.graph.div(
                self.graph.apply("ln", self.node(tree.getChild(0))), self.graph.apply("ln", two)
            )  # fmt: skip
        raise InputError(
            f"{self.text!r}: no function {tree.getName()!r} in PEtab; expected one such as log10, exp, sqrt."
        )

    @cached_property
    def _node(self) -> Node:
        return self.node(self._tree)

    def check(self) -> None:
        """Raise as the constructor does, for what only building the formula shows."""
        _ = self._node

    def values(self, symbols: Mapping[str, Any]) -> Floats:
        """Values over arrays that broadcast together, one for every name of `names`."""
        with np.errstate(all="ignore"):
            (found,) = self.graph.evaluate([self._node], symbols)
        return np.asarray(found, dtype=np.float64)
