"""Flux balance: the suite's fbc cases, dual values against finite differences, and what has no optimum."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from simulators.reaction.flux_balance import InfeasibleFluxes, UnboundedFluxes
from simulators.reaction.model import ReactionModel
from tests.shared_data import shared
from twin.errors import InputError

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<sbml xmlns="http://www.sbml.org/sbml/level3/version1/core" level="3" version="1" fbc:required="false"
 xmlns:fbc="http://www.sbml.org/sbml/level3/version1/fbc/version{v}"><model id="small" {strict}>
<listOfCompartments><compartment id="c" size="1" constant="true"/></listOfCompartments>
<listOfSpecies><species id="A" compartment="c" initialAmount="0" hasOnlySubstanceUnits="true" boundaryCondition="false"
 constant="false"/></listOfSpecies><listOfParameters><parameter id="zero" value="0" constant="true"/>
<parameter id="top" value="{top}" constant="true"/><parameter id="half" value="0.5" constant="true"/>
<parameter id="inf" value="INF" constant="true"/></listOfParameters><listOfReactions>"""
_TAIL = """</listOfReactions><fbc:listOfObjectives fbc:activeObjective="best"><fbc:objective fbc:id="best"
 fbc:type="maximize"><fbc:listOfFluxObjectives><fbc:fluxObjective fbc:reaction="out" fbc:coefficient="3" {kind}/>
</fbc:listOfFluxObjectives></fbc:objective></fbc:listOfObjectives>{more}</model></sbml>"""


def _small(
    *, top: str = "4", version: int = 2, strict: str = 'fbc:strict="false"', out_bounds: bool = True, more=""
) -> str:
    """2 A come in per flux of `in`; `out` takes one."""
    reaction = '<reaction id="{id}" reversible="false" fast="false" {bounds}><listOf{side}><speciesReference species="A" stoichiometry="{n}" constant="true"/></listOf{side}></reaction>'
    bounds = 'fbc:lowerFluxBound="zero" fbc:upperFluxBound="{}"'
    body = reaction.format(id="in", bounds=bounds.format("top"), side="Products", n=2)
    body += reaction.format(id="out", bounds=bounds.format("inf") if out_bounds else "", side="Reactants", n=1)
    kind = 'fbc:variableType="linear"' if version > 2 else ""
    return _HEAD.format(v=version, strict=strict, top=top) + body + _TAIL.format(kind=kind, more=more)


def _cases() -> list[str]:
    table = csv.reader(shared("sbml", "index.tsv").open(), delimiter="\t")
    return [row[1] for row in table if row[2] == "FluxBalanceSteadyState"]


def test_every_case_of_the_suite_gives_its_fluxes():
    cases = _cases()
    assert len(cases) >= 24
    for case in cases:
        header, row = csv.reader(shared("sbml", "semantic", case, "results.csv").open())
        model = ReactionModel.read(shared("sbml", "semantic", case, "model.xml"))
        expected = dict(zip(header, map(float, row), strict=True))
        if np.isnan(list(expected.values())).all():
            with pytest.raises(InfeasibleFluxes, match="infeasible"):
                model.flux_balance()
            continue
        best = model.flux_balance()
        for name, value in expected.items():
            found = best.objective if name == best.objective.attrs["id"] else best.flux.sel(reaction=name)
            assert float(found) == pytest.approx(value, rel=1e-3, abs=1e-3), (case, name)


def test_duals_say_how_the_optimum_moves():
    model = ReactionModel.read(_small())
    best = model.flux_balance()
    assert float(best.objective) == pytest.approx(24.0)  # 3 × 2 × 4
    assert best.objective.attrs == {"id": "best", "sense": "maximize"}
    assert float(best.reduced_cost.sel(reaction="in")) == pytest.approx(6.0)
    wider = model.flux_balance(bounds={"in": (0.0, 4.5)})
    assert float(wider.objective - best.objective) == pytest.approx(0.5 * 6.0)
    assert float(best.shadow_price.sel(species="A")) == pytest.approx(-3.0)  # one more A to be taken away costs 3


def test_what_has_no_optimum_is_named():
    with pytest.raises(UnboundedFluxes, match="unbounded: maximize best has no limit"):
        ReactionModel.read(_small(top="INF")).flux_balance()
    with pytest.raises(InfeasibleFluxes, match="lower bound above upper bound of in"):
        ReactionModel.read(_small(top="-1")).flux_balance()
    with pytest.raises(InfeasibleFluxes, match="keep all 1 species steady"):
        ReactionModel.read(_small()).flux_balance(bounds={"out": (9.0, 10.0)})


def test_wrong_input_is_told():
    model = ReactionModel.read(_small())
    with pytest.raises(InputError, match="objective='worst'; expected one of best"):
        model.flux_balance("worst")
    with pytest.raises(InputError, match="bounds of 'inn': no such reaction"):
        model.flux_balance(bounds={"inn": (0.0, 1.0)})
    with pytest.raises(InputError, match="does not use SBML's fbc package"):
        ReactionModel.read("model m\n A -> B; A; end").flux_balance()
    strict = _small(strict='fbc:strict="true"', out_bounds=False)
    with pytest.raises(InputError, match="reaction out lacks a flux bound"):
        ReactionModel.read(strict).flux_balance()


def test_constraints_of_version_3_hold():
    more = """<fbc:listOfUserDefinedConstraints><fbc:userDefinedConstraint fbc:id="ratio" fbc:lowerBound="zero"
     fbc:upperBound="half"><fbc:listOfUserDefinedConstraintComponents><fbc:userDefinedConstraintComponent
     fbc:variable="out" fbc:coefficient="half" fbc:variableType="linear"/></fbc:listOfUserDefinedConstraintComponents>
     </fbc:userDefinedConstraint></fbc:listOfUserDefinedConstraints>"""
    best = ReactionModel.read(_small(version=3, more=more)).flux_balance()
    assert float(best.flux.sel(reaction="out")) == pytest.approx(1.0)  # half × out ≤ half
