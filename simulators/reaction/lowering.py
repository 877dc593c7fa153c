"""SBML rewritten, in place, so that RoadRunner can be stopped, perturbed and restarted: one function per rewriting.

An engine that is restarted must find all of a model's memory in plain numbers. So initial assignments become rules that
are read when a run starts, species that no reaction changes become parameters, readouts become assignment rules, and
features whose memory RoadRunner keeps to itself are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import libsbml

from simulators.reaction.engine import PACE, SINCE, coefficient
from simulators.reaction.readout import names, nodes, parsed
from twin.errors import InputError, UnsupportedFeature

INITIAL, HOISTED, READOUT, CLOCK = "initial__", "hoisted__", "readout__", "clock__"
_PLACE = "moving__s"
_CURE = "run it in one piece with ReactionModel.simulate, or take it out of the model"
_OPERATORS = {
    libsbml.AST_FUNCTION_DELAY: "delay()",
    libsbml.AST_FUNCTION_RATE_OF: "rateOf()",
}
_STEPS = {
    libsbml.AST_FUNCTION_FLOOR: "floor()",
    libsbml.AST_FUNCTION_CEILING: "ceil()",
    libsbml.AST_FUNCTION_QUOTIENT: "quotient()",
    libsbml.AST_FUNCTION_REM: "rem()",
}


def refuse_unsupported(model: Any) -> None:
    """Raise `UnsupportedFeature` for what cannot be stopped and restarted from plain numbers, or is not run at all."""
    found = next(_unsupported(model), None)
    if found is not None:
        feature, where, why = found
        raise UnsupportedFeature(
            feature, f"{feature} ({where}): {why}; RoadRunner cannot step such a model from state to state; {_CURE}."
        )


def _unsupported(model: Any) -> Iterator[tuple[str, str, str]]:
    for event in model.getListOfEvents():
        cure = "a dose or a switch at a known time is a Perturbation"
        yield "event", event.getId() or "without id", f"whether it has fired is not part of the state ({cure})"
    compartments = {c.getId() for c in model.getListOfCompartments()}
    parameters = {p.getId() for p in model.getListOfParameters()} | {s.getId() for s in model.getListOfSpecies()}
    for rule in model.getListOfRules():
        if rule.isAlgebraic():
            yield "algebraic rule", rule.getId() or "without id", "its unknowns are not integrated"
        elif rule.getVariable() in compartments:
            yield "compartment that changes", rule.getVariable(), "amounts and concentrations part ways"
        elif rule.getVariable() not in parameters:
            yield "stoichiometry that changes", rule.getVariable(), "it is not part of the state"
    for assignment in model.getListOfInitialAssignments():
        if assignment.getSymbol() not in compartments | parameters:
            yield "stoichiometry by initial assignment", assignment.getSymbol(), "it is not part of the state"
    for reaction in model.getListOfReactions():
        if reaction.isSetFast() and reaction.getFast():
            yield "fast reaction", reaction.getId(), "its equilibrium is not solved"
        if not reaction.isSetKineticLaw() or reaction.getKineticLaw().getMath() is None:
            yield "reaction without kinetic law", reaction.getId(), "it has no rate"
        for reference in [*reaction.getListOfReactants(), *reaction.getListOfProducts()]:
            if reference.isSetStoichiometryMath():
                yield "stoichiometry by mathematics", reaction.getId(), "it is not part of the state"
    for where, tree in formulas(model):
        for node in nodes(tree):
            if node.getType() in _OPERATORS:
                yield _OPERATORS[node.getType()], where, "it reads more than the present state"
            elif libsbml.AST_DISTRIB_FUNCTION_NORMAL <= node.getType() <= libsbml.AST_DISTRIB_FUNCTION_RAYLEIGH:
                yield "random numbers in mathematics", where, "they are drawn from outside, per member"
    yield from _jumps(model)


def _jumps(model: Any) -> Iterator[tuple[str, str, str]]:
    """Steps that no root finder watches: CVODE may pass over them unseen, at an error far above its tolerance."""
    moves = _moves(model)
    for where, tree in formulas(model):
        if where.startswith("initial"):
            continue
        for node in nodes(tree):
            if node.getType() in _STEPS and moves(node):
                cure = "write it as piecewise(), or as a Perturbation if its time is known"
                yield f"{_STEPS[node.getType()]} of what moves", where, f"its steps are not found in time ({cure})"


def _moves(model: Any) -> Callable[[Any], bool]:
    """Whether a formula reads the time, a reaction, or anything that moves, through rules too."""
    moving = {r.getVariable() for r in model.getListOfRules() if r.isRate()}
    moving |= {s.getId() for s in model.getListOfSpecies() if not (s.getBoundaryCondition() or s.getConstant())}
    moving |= {r.getId() for r in model.getListOfReactions()}
    rules = {r.getVariable(): r.getMath() for r in model.getListOfRules() if r.isAssignment() and r.isSetMath()}

    def moves(tree: Any) -> bool:
        if any(node.getType() == libsbml.AST_NAME_TIME for node in nodes(tree)):
            return True
        return any(name in moving or (name in rules and moves(rules[name])) for name in names(tree))

    return moves


def formulas(model: Any) -> Iterator[tuple[str, Any]]:
    """(what, tree) of every formula: rules, initial assignments, kinetic laws. Those without mathematics say nothing."""
    return ((what, tree) for what, tree in _every_formula(model) if tree is not None)


def _every_formula(model: Any) -> Iterator[tuple[str, Any]]:
    for rule in model.getListOfRules():
        yield f"rule of {rule.getVariable()}", rule.getMath()
    for assignment in model.getListOfInitialAssignments():
        yield f"initial assignment of {assignment.getSymbol()}", assignment.getMath()
    for reaction in model.getListOfReactions():
        if reaction.isSetKineticLaw():
            yield f"rate of {reaction.getId()}", reaction.getKineticLaw().getMath()


def drop_empty(model: Any) -> None:
    """Take out rules and initial assignments without mathematics: they mean nothing (SBML L3V2 §4.8, §4.9)."""
    for rule in [rule for rule in model.getListOfRules() if not rule.isSetMath() and not rule.isAlgebraic()]:
        model.removeRuleByVariable(rule.getVariable())
    for assignment in [a for a in model.getListOfInitialAssignments() if not a.isSetMath()]:
        model.removeInitialAssignment(assignment.getSymbol())


def lower_unreacted_species(model: Any) -> dict[str, tuple[str, bool]]:
    """Species that reactions do not change become parameters of the same meaning: then all of them can be set at once.

    Returns id → (compartment, whether the parameter's value is an amount that its size must still divide).
    """
    rules = {rule.getVariable() for rule in model.getListOfRules()}
    found: dict[str, tuple[str, bool]] = {}
    for species in list(model.getListOfSpecies()):
        name = species.getId()
        if not (species.getBoundaryCondition() or species.getConstant() or name in rules):
            continue
        amount, whole = species.isSetInitialAmount(), species.getHasOnlySubstanceUnits()
        value = species.getInitialAmount() if amount else species.getInitialConcentration()
        stated = amount or species.isSetInitialConcentration()
        if whole and not amount:
            value *= model.getCompartment(species.getCompartment()).getSize()
        found[name] = (species.getCompartment(), amount and not whole)
        for reaction in model.getListOfReactions():
            for references in (
                reaction.getListOfReactants(),
                reaction.getListOfProducts(),
                reaction.getListOfModifiers(),
            ):
                for i in reversed(range(references.size())):
                    if references.get(i).getSpecies() == name:
                        references.remove(i)
        model.removeSpecies(name)
        _add_parameter(model, name, value if stated else None)
    return found


def lower_initial_assignments(model: Any, compartment_of: Mapping[str, str | None]) -> tuple[str, ...]:
    """Initial assignments become assignment rules of `initial__name`; their targets, each after what it needs.

    Raises:
        InputError: assignments that need each other in a circle.
    """
    rules = {rule.getVariable(): rule.getMath() for rule in model.getListOfRules() if rule.isAssignment()}
    assignments = {a.getSymbol(): a.getMath().deepCopy() for a in model.getListOfInitialAssignments()}

    def needs(tree: Any, seen: set[str]) -> set[str]:
        for name in names(tree) - seen:
            seen.add(name)
            seen.update({compartment_of.get(name) or name})
            if name in rules:
                needs(rules[name], seen)
        return seen

    graph = {name: (needs(tree, set()) & set(assignments)) - {name} for name, tree in assignments.items()}
    for name in graph:
        graph[name] |= {c for c in (compartment_of.get(name),) if c is not None and c in assignments}
    try:
        order = tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise InputError(f"Initial assignments need each other in a circle: {' -> '.join(error.args[1])}.") from error
    for name, tree in assignments.items():
        model.removeInitialAssignment(name)
        _add_rule(model, INITIAL + name, tree)
    return order


def lower_readouts(
    model: Any, asked: Mapping[str, str], species: Mapping[str, str | None], readable: Collection[str]
) -> dict[str, str]:
    """Readouts that are expressions become assignment rules; readout → what RoadRunner selects for it."""
    selected: dict[str, str] = {}
    for number, (name, expression) in enumerate(asked.items()):
        tree = parsed(expression, readable, where=f"readout {name}", model=model)
        if tree.getType() == libsbml.AST_NAME and tree.getName() != "time":  # RoadRunner would select its clock
            id_ = tree.getName()
            selected[name] = f"[{id_}]" if species.get(id_) is not None else id_
        else:
            selected[name] = f"{READOUT}{number}"
            _add_rule(model, selected[name], tree)
    return selected


def hoist_constant_rules(model: Any) -> tuple[str, ...]:
    """Rules over constants alone become parameters, which are set once per run from a rule read as `hoisted__name`.

    RoadRunner evaluates a rule wherever it is read, in every call of the right-hand side.
    """
    moves = _moves(model)
    constant = [r for r in model.getListOfRules() if r.isAssignment() and not moves(r.getMath())]
    found = {rule.getVariable(): rule.getMath().deepCopy() for rule in constant}
    for name, tree in found.items():
        model.removeRuleByVariable(name)
        for node in nodes(tree):
            if node.getType() == libsbml.AST_NAME and node.getName() in found:
                node.setName(HOISTED + node.getName())
        _add_rule(model, HOISTED + name, tree)
    return tuple(found)


def lower_moving(model: Any, names_: Sequence[str], degree: int) -> None:
    """Parameters that are to move within a run become polynomials of the time since its start,
    see `Engine.following`.

    Raises:
        InputError: no such free parameter.
        UnsupportedFeature: a compartment, or a parameter under floor() and its like.
    """
    if not names_:
        return
    ruled = {rule.getVariable() for rule in model.getListOfRules()}
    for parameter in (SINCE, PACE):
        _add_parameter(model, parameter, 0.0)
    _add_rule(model, _PLACE, _formula(f"(time - {SINCE}) * {PACE}"))
    for name in names_:
        if model.getCompartment(name) is not None:
            raise UnsupportedFeature(
                "compartment that changes",
                f"{name}: a compartment as an input that moves within a step; feed a parameter.",
            )
        if model.getParameter(name) is None or name in ruled:
            raise InputError(f"{name!r} cannot move within a run: it is no free parameter of the model.")
        terms = [coefficient(name, k) for k in range(degree + 1)]
        for term in terms:
            _add_parameter(model, term, 0.0)
        horner = terms[-1]
        for term in reversed(terms[:-1]):
            horner = f"{term} + {_PLACE} * ({horner})"
        model.getParameter(name).setConstant(False)
        rule = model.createAssignmentRule()
        rule.setVariable(name)
        rule.setMath(_formula(horner))
    for feature, where, why in _jumps(model):
        if not where.startswith(f"rule of {INITIAL}"):
            raise UnsupportedFeature(
                feature, f"{feature} ({where}): {why}, once {', '.join(names_)} move within a step."
            )


def _formula(text: str) -> Any:
    return libsbml.parseL3Formula(text)


def fill_unset(model: Any) -> None:
    """RoadRunner refuses parameters without a value; who starts a run has given them one."""
    for parameter in model.getListOfParameters():
        if not parameter.isSetValue():
            parameter.setValue(0.0)


def hold_clock(model: Any) -> bool:
    """Replace the model's time by the parameter `clock__`; False where nothing reads it."""
    found = False
    for _, tree in formulas(model):
        for node in nodes(tree):
            if node.getType() == libsbml.AST_NAME_TIME:
                node.setType(libsbml.AST_NAME)
                node.setName(CLOCK)
                found = True
    if found:
        _add_parameter(model, CLOCK, 0.0)
    return found


def _add_parameter(model: Any, name: str, value: float | None) -> None:
    if model.getElementBySId(name) is not None:
        raise InputError(f"The model uses the name {name!r}, which is ours; rename it in the model.")
    parameter = model.createParameter()
    parameter.setId(name)
    parameter.setConstant(False)
    if value is not None:
        parameter.setValue(value)


def _add_rule(model: Any, name: str, tree: Any) -> None:
    _add_parameter(model, name, None)
    rule = model.createAssignmentRule()
    rule.setVariable(name)
    rule.setMath(tree)
