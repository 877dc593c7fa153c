"""A reaction network as a Simulator: closed forms, initial assignments, the clock, failures, refusals."""

from __future__ import annotations

import csv
import math
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import libsbml
import numpy as np
import pytest
import roadrunner
from shared_data import shared

from simulators.reaction import Engine, ReactionSimulator, RoadRunnerEngine, Status
from twin import InputError, Perturbation, State, UnitError, UnsupportedFeature

DECAY = "compartment c = 2; species A in c, B in c; A = 3; B = 1; k = 0.1; J: A -> B; c * k * A"


def run(
    simulator: ReactionSimulator, *, t0: float, times: list[float], members: int = 1, changes: Any = ()
) -> tuple[State, dict[str, Any]]:
    state = simulator.perturb(simulator.init(members=np.arange(members), seed=1), changes)
    end, values = simulator.step(state, {}, t0=t0, t1=times[-1], sample=times[:-1])
    return end, dict(values)


# ---- closed forms; tolerances are 100 times the integrator's 1e-8, its global error


def test_decay_of_members_at_their_own_rates() -> None:
    k = np.geomspace(0.01, 10.0, 7)
    simulator = ReactionSimulator(DECAY, member_parameters={"k": k})
    times = [-3.0, -1.0, 0.5, 7.0]
    _, values = run(simulator, t0=-3.0, times=times, members=7)
    expected = 3.0 * np.exp(-k[:, None] * (np.array(times) + 3.0))
    np.testing.assert_allclose(values["A"], expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(values["A"] + values["B"], 4.0, rtol=1e-12)  # a linear invariant: CVODE keeps it


def test_binding_under_excess_ligand_follows_its_closed_form() -> None:
    kon, kd, ligand = np.array([0.01, 1.0, 100.0]), 2.0, 5.0
    simulator = ReactionSimulator(
        "species R, C; R = 1; C = 0; L = 5; kon = 1; koff = 1; J: R -> C; kon * L * R - koff * C; share := C / (R + C)",
        readouts=["share"],
        member_parameters={"kon": kon, "koff": kon * kd},
    )
    times = [0.01, 0.3, 2.0]
    _, values = run(simulator, t0=0.0, times=times, members=3)
    rate = kon[:, None] * (ligand + kd)
    np.testing.assert_allclose(
        values["share"], ligand / (ligand + kd) * -np.expm1(-rate * np.array(times)), rtol=1e-6, atol=1e-8
    )
    settled = simulator.equilibrate(simulator.init(members=np.arange(3), seed=1))
    _, values = simulator.step(settled, {}, t0=0.0, t1=0.0)
    np.testing.assert_allclose(values["share"], ligand / (ligand + kd), rtol=1e-9)  # any kon


def test_dimerisation_settles_where_mass_action_says_and_keeps_the_total() -> None:
    total, kd = 10.0, np.geomspace(0.01, 1e3, 6)
    simulator = ReactionSimulator(
        "species R, D; R = 10; D = 0; kdim = 0.5; kund = 1; J: 2 R -> D; kdim * R^2 - kund * D",
        member_parameters={"kund": 0.5 * kd},
    )
    settled = simulator.equilibrate(simulator.init(members=np.arange(6), seed=1))
    free = kd * (np.sqrt(1 + 8 * total / kd) - 1) / 4  # R + 2 R²/Kd = total
    x = dict(zip(simulator.engine.states, settled.arrays["x"].T, strict=True))
    np.testing.assert_allclose(x["R"], free, rtol=1e-9)
    np.testing.assert_allclose(x["R"] + 2 * x["D"], total, rtol=1e-11)


def test_slow_turnover_settles_to_nine_digits() -> None:
    """A small |dx/dt| alone would stop here at once: the state moves by 1e-9 of itself in a minute."""
    simulator = ReactionSimulator("species R; R = 1.01; ksyn = 1e-7; kdeg = 1e-7; J1: -> R; ksyn; J2: R -> ; kdeg * R")
    state = simulator.init(members=np.arange(1), seed=1)
    settled = simulator.equilibrate(state, limit=1e9)
    np.testing.assert_allclose(settled.arrays["x"], 1.0, rtol=1e-9)


def test_rate_rules_on_parameters_and_species_are_states() -> None:
    simulator = ReactionSimulator("compartment c = 2; species $S in c; S = 1; S' = -0.5 * S; q = 0; q' = S")
    _, values = run(simulator, t0=0.0, times=[2.0], changes=[Perturbation(0.0, "x.S", 3.0, "scale")])
    np.testing.assert_allclose(values["S"][0, 0], 3 * math.exp(-1.0), rtol=1e-6)
    np.testing.assert_allclose(values["q"][0, 0], 6 * (1 - math.exp(-1.0)), rtol=1e-6)


def test_amounts_concentrations_and_compartment_sizes() -> None:
    text = """
    compartment c = 4; species A in c, B in c; substanceOnly species N in c; A = 3; B = 1; N = 8; k = 0.1
    J1: A -> B; k * A * c; J2: N -> ; 2 * k * N
    """
    simulator = ReactionSimulator(
        text, readouts={"A": "A", "amount": "A * c", "N": "N"}, member_parameters={"c": [2, 5]}
    )
    state, values = run(simulator, t0=0.0, times=[0.0, 1.0], members=2)
    np.testing.assert_allclose(values["A"][:, 0], 3.0)
    np.testing.assert_allclose(values["amount"][:, 0], [6.0, 15.0])
    np.testing.assert_allclose(values["A"][:, 1], 3.0 * math.exp(-0.1), rtol=1e-6)
    np.testing.assert_allclose(values["N"][:, 1], 8.0 * math.exp(-0.2), rtol=1e-6)
    later = simulator.perturb(state, [Perturbation(1.0, "x.c", 2.0, "scale"), Perturbation(1.0, "x.A", 1.0, "add")])
    _, values = simulator.step(later, {}, t0=1.0, t1=1.0)
    np.testing.assert_allclose(values["A"][:, 0], 1.5 * math.exp(-0.1) + 1.0, rtol=1e-6)  # amounts were kept


def test_absolute_tolerance_is_one_of_concentrations_whatever_the_size_and_the_neighbours() -> None:
    simulator = ReactionSimulator(DECAY, member_parameters={"c": np.array([1e-9, 1.0, 1e9])})
    _, values = run(simulator, t0=0.0, times=[5.0, 30.0], members=3)
    np.testing.assert_allclose(values["A"], np.tile(3.0 * np.exp([-0.5, -3.0]), (3, 1)), rtol=1e-6)


# ---- the clock


def test_time_is_the_models_own_and_may_start_below_zero() -> None:
    simulator = ReactionSimulator("D = 0; species D; J: -> D; piecewise(0, time < 0, 1); clock := time")
    state, values = run(simulator, t0=-180.0, times=[-180.0, -0.5, 0.0, 2.0, 240.0])
    np.testing.assert_allclose(values["D"][0], [0, 0, 0, 2, 240], atol=1e-5)
    np.testing.assert_allclose(values["clock"][0], [-180, -0.5, 0, 2, 240], rtol=1e-12)
    assert state.time == 240.0


def test_equilibration_holds_the_clock() -> None:
    simulator = ReactionSimulator(
        "species R; R = 5; ksyn := piecewise(1, time < 0, 9); J1: -> R; ksyn; J2: R -> ; 0.1 * R", start=-180.0
    )
    state = simulator.equilibrate(simulator.init(members=np.arange(1), seed=1))
    assert math.isnan(state.time)
    state, values = simulator.step(state, {}, t0=-180.0, t1=10.0, sample=[-180.0, 0.0])
    np.testing.assert_allclose(values["R"][0, :2], 10.0, rtol=1e-7)
    np.testing.assert_allclose(values["R"][0, 2], 90.0 - 80.0 * math.exp(-1.0), rtol=1e-6)
    np.testing.assert_allclose(simulator.equilibrate(state).arrays["x"], 90.0, rtol=1e-9)


def test_changed_inputs_and_parameters_act_from_their_step_on() -> None:
    simulator = ReactionSimulator(DECAY, inputs=["k"], readouts=["A"])
    state = simulator.init(members=np.arange(2), seed=1)
    state, _ = simulator.step(state, {"k": np.array([0.1, 0.2])}, t0=0.0, t1=1.0)
    state, _ = simulator.step(state, {}, t0=1.0, t1=2.0)  # unfed: keeps its value
    state, values = simulator.step(state, {"k": np.array([0.0, 1.0])}, t0=2.0, t1=3.0)
    np.testing.assert_allclose(values["A"][:, 0], 3.0 * np.exp([-0.2, -1.4]), rtol=1e-6)


# ---- initial assignments

NESTED = """
compartment c = 2; species A in c; half := A0 / 2
A0 = 6; twice = 2 * half2; half2 = half; A = twice + 1; began = time
J: A -> ; 0 * A
"""


def test_initial_assignments_follow_members_and_one_another() -> None:
    simulator = ReactionSimulator(
        NESTED, readouts=["A", "twice", "began"], member_parameters={"A0": np.array([6.0, 10.0])}, start=-180.0
    )
    _, values = run(simulator, t0=-180.0, times=[-180.0], members=2)
    np.testing.assert_allclose(values["twice"][:, 0], [6.0, 10.0])
    np.testing.assert_allclose(values["A"][:, 0], [7.0, 11.0])
    np.testing.assert_allclose(values["began"][:, 0], -180.0)


def test_given_value_beats_initial_assignment_and_what_depends_on_it_follows() -> None:
    simulator = ReactionSimulator(NESTED, readouts=["A", "twice"], parameters={"half2": 20.0})
    _, values = run(simulator, t0=0.0, times=[0.0])
    assert (values["twice"][0, 0], values["A"][0, 0]) == (40.0, 41.0)
    simulator = ReactionSimulator(NESTED, readouts=["A", "twice"], parameters={"A": 2.5})
    assert run(simulator, t0=0.0, times=[0.0])[1]["A"][0, 0] == 2.5


def test_change_of_a_fresh_state_is_a_change_of_the_start_and_later_changes_are_not() -> None:
    simulator = ReactionSimulator(NESTED, readouts=["A"])
    change = [Perturbation(0.0, "x.A0", 2.0, "scale")]
    state, values = run(simulator, t0=0.0, times=[0.0], changes=change)
    assert values["A"][0, 0] == 13.0
    later = simulator.perturb(state, change)
    _, values = simulator.step(later, {}, t0=0.0, t1=1.0)
    np.testing.assert_allclose(values["A"][0, 0], 13.0, rtol=1e-9)
    both = [Perturbation(0.0, "x.A", 1.0), *change]  # what was set stays set
    assert run(simulator, t0=0.0, times=[0.0], changes=both)[1]["A"][0, 0] == 1.0


def test_size_by_initial_assignment_divides_initial_amounts() -> None:
    simulator = ReactionSimulator(
        "compartment c = 2 * v; v = 3; species A in c = 12 / c; species $B in c = 5; J: A ->; 0"
    )
    _, values = run(simulator, t0=0.0, times=[0.0], changes=[Perturbation(0.0, "x.v", 2.0)])
    assert values["A"][0, 0] == 3.0


def test_circle_of_initial_assignments_is_refused() -> None:
    document = libsbml.SBMLDocument(3, 1)
    model = document.createModel()
    for name, formula in (("a", "b + 1"), ("b", "a + 1")):
        parameter = model.createParameter()
        parameter.setId(name)
        parameter.setConstant(True)
        assignment = model.createInitialAssignment()
        assignment.setSymbol(name)
        assignment.setMath(libsbml.parseL3Formula(formula))
    with pytest.raises(InputError, match=r"(circle: . -> . -> .|not valid SBML.*ordering)"):  # libSBML may see it first
        ReactionSimulator(str(libsbml.writeSBMLToString(document)))


def test_name_without_a_value_is_refused_when_members_start() -> None:
    simulator = ReactionSimulator("species A; A = 1; J: A -> ; kmissing * A")
    with pytest.raises(InputError, match="No value at the start for kmissing; give one"):
        simulator.init(members=np.arange(2), seed=1)
    given = ReactionSimulator("species A; A = 1; J: A -> ; kmissing * A", parameters={"kmissing": 1.0})
    np.testing.assert_allclose(run(given, t0=0.0, times=[1.0])[1]["A"], math.exp(-1), rtol=1e-6)


# ---- failures cost their member only


def test_member_that_blows_up_is_nan_from_there_and_the_others_keep_their_bits() -> None:
    text = "species A, B; A = 1; B = 1; k = 1; J1: -> A; k * A^2; J2: B -> ; 0.5 * B"
    k = np.array([0.01, 1.0, 0.02, 0.05])
    simulator = ReactionSimulator(text, member_parameters={"k": k})
    state, values = run(simulator, t0=0.0, times=[0.5, 5.0], members=4)
    assert state.arrays["status"].tolist() == [0, Status.NOT_CONVERGED, 0, 0]
    np.testing.assert_allclose(values["A"][:, 0], 1 / (1 - k * 0.5), rtol=1e-6)  # before 1/k, even where it fails later
    assert np.isnan(values["A"][1, 1])
    assert np.isnan(values["B"][1, 1])
    fine = [0, 2, 3]
    np.testing.assert_allclose(values["A"][fine, 1], 1 / (1 - k[fine] * 5.0), rtol=1e-6)
    alone = ReactionSimulator(text, member_parameters={"k": k[fine]})
    alone_state, alone_values = run(alone, t0=0.0, times=[0.5, 5.0], members=3)
    assert alone_values["A"].tobytes() == values["A"][fine].tobytes()
    assert alone_state.arrays["x"].tobytes() == state.arrays["x"][fine].tobytes()
    later, values = simulator.step(state, {}, t0=5.0, t1=6.0, sample=[5.0])
    assert np.isnan(values["A"][1]).all()
    assert later.arrays["status"].tolist() == state.arrays["status"].tolist()
    assert np.isfinite(values["A"][fine]).all()
    assert Status(int(later.arrays["status"][1])).reason == "the integrator could not go on: steps became too small"


def test_too_many_steps_and_numbers_that_are_not_finite_have_their_own_status() -> None:
    few = ReactionSimulator(RoadRunnerEngine(DECAY, max_steps=3))
    assert run(few, t0=0.0, times=[50.0])[0].arrays["status"].tolist() == [Status.TOO_MANY_STEPS]
    simulator = ReactionSimulator(DECAY, inputs=["k"])
    state = simulator.init(members=np.arange(2), seed=1)
    state, values = simulator.step(state, {"k": np.array([np.nan, 0.1])}, t0=0.0, t1=1.0)
    assert state.arrays["status"].tolist() == [Status.NOT_FINITE, 0]
    assert np.isnan(values["A"][0, 0])
    np.testing.assert_allclose(values["A"][1, 0], 3 * math.exp(-0.1), rtol=1e-6)


def test_oscillator_and_growth_do_not_settle() -> None:
    """The Brusselator (Prigogine & Lefever 1968) oscillates for b > 1 + a², settles at (a, b/a) below."""
    simulator = ReactionSimulator(
        "species X, Y; X = 1.2; Y = 1; a = 1; b = 3; J1: -> X; a; J2: X -> Y; b * X; J3: 2 X + Y -> 3 X; X^2 * Y; J4: X ->; X",
        member_parameters={"b": np.array([3.0, 1.5])},
    )
    state = simulator.equilibrate(simulator.init(members=np.arange(2), seed=1), limit=1e4)
    assert state.arrays["status"].tolist() == [Status.NOT_SETTLED, 0]
    assert np.isnan(state.arrays["x"][0]).all()
    np.testing.assert_allclose(state.arrays["x"][1], [1.0, 1.5], rtol=1e-9)
    growth = ReactionSimulator("species A; A = 1; J: -> A; 0.01")
    assert growth.equilibrate(growth.init(members=np.arange(1), seed=1)).arrays["status"].tolist() == [4]


def test_equilibration_has_the_same_bits_in_any_block() -> None:
    text = "species R, D; R = 10; D = 0; kdim = 0.5; kund = 1; J: 2 R -> D; kdim * R^2 - kund * D"
    simulator = ReactionSimulator(text, member_parameters={"kund": np.geomspace(0.1, 100.0, 9)})
    whole = simulator.equilibrate(simulator.init(members=np.arange(9), seed=1)).arrays["x"]
    part = simulator.equilibrate(simulator.init(members=np.array([7, 2]), seed=1)).arrays["x"]
    assert part.tobytes() == whole[[7, 2]].tobytes()


# ---- readouts


def test_readouts_are_names_or_expressions() -> None:
    readouts = {
        "A": "A",
        "share": "100 * A / (A + B)",
        "flux": "J",
        "rule": "max(A, B) + ln(exponentiale)",
        "t": "time",
    }
    simulator = ReactionSimulator(DECAY, readouts=readouts, units={"share": "percent"})
    _, values = run(simulator, t0=0.0, times=[2.0])
    a = 3 * math.exp(-0.2)
    np.testing.assert_allclose(
        [values[name][0, 0] for name in readouts], [a, 100 * a / 4, 2 * 0.1 * a, max(a, 4 - a) + 1, 2.0], rtol=1e-6
    )
    assert [port.units for port in simulator.outputs] == ["", "percent", "", "", ""]


@pytest.mark.parametrize(
    ("readouts", "message"),
    [
        (["Aa"], r"readout Aa: the model has no 'Aa'; did you mean A\?"),
        ({"x": "2 * pMMET"}, r"readout x: the model has no 'pMMET'; the model has A, B, J, c, k"),
        ({"x": "2 * * A"}, r"readout x: '2 \* \* A' is not a formula"),
        ({"x": "log(A)"}, r"readout x: 'log\(A\)' is not a formula"),
        ({"x": "square_of(A)"}, r"unknown function 'square_of'"),
        (["A", "A"], r"readouts: A given twice"),
        ("A", r"expected a list of names"),
    ],
)
def test_wrong_readouts_are_refused(readouts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReactionSimulator(DECAY, readouts=readouts)


# ---- targets, values, units


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Perturbation(0.0, "x.kk", 1.0), r"Perturbation of x.kk: the model has no 'kk'; did you mean k\?"),
        (Perturbation(0.0, "x.A", -1.0), r"Perturbation of x.A at 0.0: set -1.0 takes it below 0 in member 0"),
        (Perturbation(0.0, "x.A", -4.0, "add"), r"add -4.0 takes it below 0"),
        (Perturbation(0.0, "x.k", np.ones(3)), r"\(3,\) values for 1 members"),
    ],
)
def test_wrong_perturbations_are_refused(change: Perturbation, message: str) -> None:
    simulator = ReactionSimulator(DECAY)
    with pytest.raises(InputError, match=message):
        simulator.perturb(simulator.init(members=np.arange(1), seed=1), [change])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": ["A"]}, "inputs: the model has no 'A'"),  # a state cannot be held by a conduit
        ({"parameters": {"kdeg": 1.0}}, "parameters: the model has no 'kdeg'"),
        ({"parameters": {"k": math.nan}}, "parameters: k is nan; expected a finite number"),
        ({"member_parameters": {"k": [1.0, 2.0], "A": [1.0]}}, r"shapes \{'k': \(2,\), 'A': \(1,\)\}"),
        ({"member_parameters": {"k": [1.0, math.inf]}}, "k is inf in member 1"),
        ({"rtol": 0.0}, "rtol is 0.0"),
        ({"units": {"kdeg": "1/min"}}, "units: the model has no 'kdeg'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    arguments = {
        key: {n: np.array(v) for n, v in value.items()} if key == "member_parameters" else value
        for key, value in arguments.items()
    }
    with pytest.raises(InputError, match=message):
        ReactionSimulator(DECAY, **arguments)


def test_member_out_of_range_is_refused() -> None:
    simulator = ReactionSimulator(DECAY, member_parameters={"k": np.ones(3)})
    with pytest.raises(InputError, match=r"members 2…5, but k has 3 rows"):
        simulator.init(members=np.array([2, 5]), seed=1)


def test_units_come_from_the_file_or_the_caller_and_must_agree() -> None:
    text = """
    unit uM = 1e-6 mole / litre; unit minute = 60 second; unit per_min = 1 / minute; unit fancy = 7 second
    unit substance = 1e-6 mole; unit volume = litre; unit time_unit = minute
    k = 0.1; k has per_min; A = 1; species A; A has uM; f = 1; f has fancy; J: A -> ; k * A
    """
    simulator = ReactionSimulator(text, units={"A": "umol / L", "f": "s"})
    assert simulator.targets["k"].units in ("1 / min", "1/min", "1 / minute")
    assert simulator.targets["A"].lower == 0.0
    with pytest.raises(UnitError, match=r"k: declared in 'min', but the model's file says '1 / min'"):
        ReactionSimulator(text, units={"k": "min"})
    with pytest.raises(UnitError, match="banana"):
        ReactionSimulator(DECAY, units={"k": "banana"})
    assert ReactionSimulator(DECAY, time_units="min").time_units == "min"
    assert ReactionSimulator(DECAY).time_units == ""


def test_local_parameters_boundary_species_and_functions_can_be_set() -> None:
    text = """
    function mm(v, s, km) v * s / (km + s) end
    species A, $E; A = 10; E = 2; Km = 1e-9; J: A + E -> E; E * mm(v, A, Km); v = 1
    """
    simulator = ReactionSimulator(text, inputs=["E"])
    state = simulator.init(members=np.arange(2), seed=1)
    _, values = simulator.step(state, {"E": np.array([1.0, 2.0])}, t0=0.0, t1=3.0)
    np.testing.assert_allclose(values["A"][:, 0], [7.0, 4.0], rtol=1e-6)


# ---- refusals

REFUSED = {
    "event": "species A; A = 1; J: A -> ; A; at A < 0.5: A = 1",
    "algebraic rule": None,
    "compartment that changes": "compartment c; c = 1; c' = 1; species A in c; A = 1; J: A -> ; A",
    "delay()": "species A; A = 1; J: A -> ; delay(A, 1)",
    "reaction without kinetic law": "species A; A = 1; J: A -> ;",
    "floor() of what moves": "species A; A = 1; J: A -> ; floor(time / 24) * A",
    "fast reaction": None,
}


@pytest.mark.parametrize("feature", REFUSED)
def test_what_cannot_be_stepped_is_refused_by_name(feature: str) -> None:
    text = REFUSED[feature] or _sbml_with(feature)
    with pytest.raises(UnsupportedFeature, match=re.escape(feature)) as caught:
        ReactionSimulator(text)
    assert caught.value.feature == feature


def _sbml_with(feature: str) -> str:
    document = libsbml.SBMLDocument(3, 1)
    model = document.createModel()
    compartment = model.createCompartment()
    compartment.setId("c")
    compartment.setSize(1.0)
    compartment.setConstant(True)
    compartment.setSpatialDimensions(3)
    species = model.createSpecies()
    species.setId("A")
    species.setCompartment("c")
    species.setInitialConcentration(1.0)
    species.setHasOnlySubstanceUnits(False)
    species.setBoundaryCondition(False)
    species.setConstant(False)
    if feature == "algebraic rule":
        model.createAlgebraicRule().setMath(libsbml.parseL3Formula("A - 1"))
    else:
        reaction = model.createReaction()
        reaction.setId("J")
        reaction.setReversible(False)
        reaction.setFast(True)
        reactant = reaction.createReactant()
        reactant.setSpecies("A")
        reactant.setStoichiometry(1.0)
        reactant.setConstant(True)
        reaction.createKineticLaw().setMath(libsbml.parseL3Formula("A"))
    return str(libsbml.writeSBMLToString(document))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nowhere.xml", "nowhere.xml: no such file; expected SBML"),
        ("A -> B; k1 * * A", "not SBML, and as Antimony"),
        ("<sbml>\n</sbml>", "not valid SBML"),
        ("<html>\n<p>hello</html>", "not valid SBML"),
    ],
)
def test_what_is_no_model_is_refused(model: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReactionSimulator(model)


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.xml"
    file.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="not a text file"):
        ReactionSimulator(file)


# ---- the process it lives in


def test_model_id_like_a_method_leaves_roadrunner_whole() -> None:
    """An id such as `reset` becomes a property of the class RoadRunner unless that is switched off."""
    runner: Any = roadrunner
    key = runner.Config.ROADRUNNER_DISABLE_PYTHON_DYNAMIC_PROPERTIES
    before = runner.Config.getValue(key)
    text = "species reset, simulate; reset = 3; simulate = 0; k = 0.1; integrator = 1; J: reset -> simulate; k * reset * integrator"
    _, values = run(ReactionSimulator(text), t0=0.0, times=[1.0])
    np.testing.assert_allclose(values["reset"], 3 * math.exp(-0.1), rtol=1e-6)
    assert callable(runner.RoadRunner.reset)
    assert callable(runner.RoadRunner.simulate)
    assert runner.Config.getValue(key) is before  # as the user had it


def test_failure_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    simulator = ReactionSimulator("species A; A = 1; J: -> A; A^2")
    assert run(simulator, t0=0.0, times=[5.0])[0].arrays["status"].tolist() == [Status.NOT_CONVERGED]
    assert capfd.readouterr() == ("", "")


def test_engine_is_an_engine_and_travels_to_another_process() -> None:
    engine = RoadRunnerEngine(DECAY, readouts={"twice": "2 * A"}, time_units="min")
    assert isinstance(engine, Engine)
    there = pickle.loads(pickle.dumps(engine))
    x, p = engine.start({}, members=1, time=0.0)
    one = engine.run(x, p, [0.0, 1.0], rtol=1e-8, atol=1e-10)
    other = there.run(x, p, [0.0, 1.0], rtol=1e-8, atol=1e-10)
    assert one.values.tobytes() == other.values.tobytes()
    assert ReactionSimulator(there, readouts=["twice"]).time_units == "min"
    with pytest.raises(InputError, match="engine has its own readouts"):
        ReactionSimulator(there, readouts={"x": "2 * A"})


# ---- published models


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_bachmann_2011_gives_its_stored_simulations_with_conditions_as_members() -> None:
    """JAK2/STAT5 (doi 10.1038/msb.2011.50): every condition is a member, every observable an expression over the
    model's own names, at the fitted parameters."""
    folder = shared("models", "Bachmann_MSB2011")
    nominal = {r["parameterId"]: float(r["nominalValue"]) for r in _table(folder / "parameters_Bachmann_MSB2011.tsv")}
    conditions = _table(folder / "experimentalCondition_Bachmann_MSB2011.tsv")
    formulas = {r["observableId"]: r["observableFormula"] for r in _table(folder / "observables_Bachmann_MSB2011.tsv")}
    points = _table(folder / "simulatedData_Bachmann_MSB2011.tsv")
    readouts: dict[str, str] = {}
    for point in points:
        formula = formulas[point["observableId"]]
        for number, value in enumerate(filter(None, point["observableParameters"].split(";")), start=1):
            formula = formula.replace(f"observableParameter{number}_{point['observableId']}", value)
        readouts[f"{point['observableId']} {point['observableParameters']}"] = re.sub(
            r"\b[A-Za-z_]\w*\b",
            lambda m: repr(nominal[m[0]]) if m[0].startswith(("scale", "offset")) else m[0],
            formula,
        )
    own = ReactionSimulator(folder / "model_Bachmann_MSB2011.xml")
    columns = [name for name in conditions[0] if name not in ("conditionId", "conditionName")]
    values = {
        name: np.array([float(nominal.get(row[name], row[name] or "nan")) for row in conditions]) for name in columns
    }
    simulator = ReactionSimulator(
        folder / "model_Bachmann_MSB2011.xml",
        readouts=readouts,
        parameters={name: value for name, value in nominal.items() if name in own.targets},
        member_parameters=values,
    )
    assert simulator.time_units == "min"
    times = sorted({float(point["time"]) for point in points})
    state, found = run(simulator, t0=0.0, times=times, members=len(conditions))
    assert not state.arrays["status"].any()
    row = {condition["conditionId"]: i for i, condition in enumerate(conditions)}
    ours = [
        found[f"{p['observableId']} {p['observableParameters']}"][
            row[p["simulationConditionId"]], times.index(float(p["time"]))
        ]
        for p in points
    ]
    np.testing.assert_allclose(ours, [float(p["simulation"]) for p in points], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_time_courses_of_the_sbml_suite_pass_or_are_refused_by_name() -> None:
    """Each case within its own tolerances, one member, one step; what RoadRunner cannot step is refused."""
    passed = refused = 0
    for folder in sorted(shared("sbml", "semantic").iterdir()):
        lines = (line.partition(":") for line in (folder / "settings.txt").read_text().splitlines())
        settings = {key.strip(): value.strip() for key, _, value in lines}
        if not settings.get("steps"):
            continue  # flux balance
        names = [name.strip() for name in settings["variables"].split(",")]
        amounts = [name.strip() for name in settings.get("amount", "").split(",")]
        concentrations = [name.strip() for name in settings.get("concentration", "").split(",")]
        model = libsbml.readSBMLFromFile(str(folder / "model.xml")).getModel()
        expressions = {f"the {name}": _as_asked(model, name, amounts, concentrations) for name in names}
        rows = list(csv.reader((folder / "results.csv").read_text().splitlines()))
        head, expected = [cell.strip() for cell in rows[0]], np.array(rows[1:], dtype=np.float64)
        try:
            simulator = ReactionSimulator(
                folder / "model.xml", readouts=expressions, start=float(settings["start"]), rtol=1e-8, atol=1e-12
            )
        except UnsupportedFeature:
            refused += 1
            continue
        _, values = run(simulator, t0=float(settings["start"]), times=[float(time) for time in expected[:, 0]])
        for column, name in enumerate(head[1:], start=1):
            np.testing.assert_allclose(
                values[f"the {name}"][0],
                expected[:, column],
                rtol=float(settings["relative"]),
                atol=float(settings["absolute"]),
                err_msg=f"case {folder.name}, {name}",
            )
        passed += 1
    assert passed > 0.95 * 589
    assert refused < 1.05 * 601


def _as_asked(model: Any, name: str, amounts: list[str], concentrations: list[str]) -> str:
    """The expression of a species' amount or concentration; of anything else its id."""
    species = model.getSpecies(name)
    if species is None:
        return name
    compartment = model.getCompartment(species.getCompartment())
    whole = species.getHasOnlySubstanceUnits() or compartment.getSpatialDimensions() == 0
    if name in amounts and not whole:
        return f"{name} * {compartment.getId()}"
    return f"{name} / {compartment.getId()}" if name in concentrations and whole else name


def test_tellurium_may_be_imported_at_any_time() -> None:
    """It loads libSEDML, which must not take libSBML's types from us: in a process of its own, in every order."""
    ours = "from simulators.reaction import EnsembleEngine; EnsembleEngine('S -> ; k*S; S = 1; k = 1')"
    for script in (
        f"{ours}; import tellurium; {ours}", f"import tellurium; {ours}", f"import libsbml; {ours}; import tellurium; {ours}",
        f"import libsbml, tellurium; {ours}",
    ):  # fmt: skip
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
