"""Which features of SBML a model uses, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import libsbml

from simulators.reaction.readout import nodes

_OPERATORS = {
    libsbml.AST_FUNCTION_DELAY: "delay()",
    libsbml.AST_FUNCTION_RATE_OF: "rateOf()",
    libsbml.AST_FUNCTION_PIECEWISE: "piecewise",
    libsbml.AST_NAME_TIME: "time",
}


def features_of(model: Any) -> frozenset[str]:
    """Names of the features that a flattened libSBML model uses."""
    return frozenset(_features(model))


def _features(model: Any) -> Iterator[str]:
    for rule in model.getListOfRules():
        yield "algebraic rule" if rule.isAlgebraic() else "rate rule" if rule.isRate() else "assignment rule"
    if model.getNumInitialAssignments():
        yield "initial assignment"
    for event in model.getListOfEvents():
        yield "event"
        if event.isSetDelay():
            yield "event delay"
        if event.isSetPriority():
            yield "event priority"
    for reaction in model.getListOfReactions():
        if reaction.isSetFast() and reaction.getFast():
            yield "fast reaction"
        for reference in (*reaction.getListOfReactants(), *reaction.getListOfProducts()):
            if reference.isSetStoichiometryMath():
                yield "stoichiometry by mathematics"
    if model.getNumConstraints():
        yield "constraint"
    if model.isSetConversionFactor() or any(s.isSetConversionFactor() for s in model.getListOfSpecies()):
        yield "conversion factor"
    changing = {rule.getVariable() for rule in model.getListOfRules() if not rule.isAlgebraic()}
    if any(c.getId() in changing for c in model.getListOfCompartments()):
        yield "compartment that changes"
    for package in ("fbc", "distrib"):
        if model.getPlugin(package) is not None:
            yield package
    for tree in _formulas(model):
        for node in nodes(tree):
            if node.getType() in _OPERATORS:
                yield _OPERATORS[node.getType()]
            elif libsbml.AST_DISTRIB_FUNCTION_NORMAL <= node.getType() <= libsbml.AST_DISTRIB_FUNCTION_RAYLEIGH:
                yield "random numbers in mathematics"


def _formulas(model: Any) -> Iterator[Any]:
    holders: list[Any] = [*model.getListOfRules(), *model.getListOfInitialAssignments()]
    holders += [r.getKineticLaw() for r in model.getListOfReactions() if r.isSetKineticLaw()]
    for event in model.getListOfEvents():
        holders += [event.getTrigger(), event.getDelay(), event.getPriority(), *event.getListOfEventAssignments()]
    for holder in holders:
        if holder is not None and holder.isSetMath():
            yield holder.getMath()
