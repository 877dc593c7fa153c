"""`ReactionModel` against closed forms, hand-worked events and conserved sums.

Tolerances: runs are made at rtol 1e-8, and errors of a Rosenbrock method add up over a few hundred steps; 1e-6 of the
largest value is what that leaves room for.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from simulators.reaction import ReactionModel
from simulators.reaction.engine import Status
from twin.errors import InputError, UnsupportedFeature

TIMES = np.linspace(0.0, 5.0, 11)
FINE = {"rtol": 1e-8, "atol": 1e-12, "threads": 1}


def test_decay_is_an_exponential_for_every_member():
    k = np.array([0.1, 1.0, 10.0])
    data = ReactionModel.read("S1 -> S2; k*S1; S1 = 2; S2 = 0; k = 1").simulate(TIMES, parameters={"k": k}, **FINE)
    assert data["S1"].dims == ("member", "time")
    np.testing.assert_allclose(data["S1"], 2 * np.exp(-np.outer(k, TIMES)), rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(data["S1"] + data["S2"], 2.0, rtol=1e-12)  # the sum is conserved to rounding
    assert (data["status"] == 0).all()
    assert data.attrs["engine"] == "ensemble"


def test_an_override_beats_the_initial_assignment_and_what_depends_on_it_follows():
    model = ReactionModel.read("a = 1; b := 2*c; c = 3; S1 = a*c; S1 -> ; 0; a = 4*c")
    free = model.simulate([0.0, 1.0], select=["a", "b", "c", "S1"])
    assert [float(free[n][0, 0]) for n in "abc"] == [12.0, 6.0, 3.0]
    given = model.simulate([0.0, 1.0], parameters={"c": [3.0, 5.0]}, select=["a", "b", "S1"])
    np.testing.assert_array_equal(given["a"][:, 0], [12.0, 20.0])
    np.testing.assert_array_equal(given["b"][:, 0], [6.0, 10.0])
    np.testing.assert_array_equal(given["S1"][:, 0], [36.0, 100.0])
    beaten = model.simulate([0.0, 1.0], parameters={"a": 7.0}, select=["a", "S1"])
    assert float(beaten["a"][0, 0]) == 7.0
    assert float(beaten["S1"][0, 0]) == 21.0


def test_initial_follows_quantity():
    model = ReactionModel.read("compartment V = 2; species S1 in V; S1 = 3; S1 -> ; k*S1*V; k = 0")
    assert float(model.simulate([0.0, 1.0], initial={"S1": 5.0})["S1"][0, 0]) == 5.0
    assert float(model.simulate([0.0, 1.0], initial={"S1": 5.0}, quantity="amount")["S1"][0, 0]) == 5.0
    assert (
        float(model.simulate([0.0, 1.0], initial={"S1": 5.0}, select=["S1"], quantity="concentration")["S1"][0, 1])
        == 5.0
    )
    amounts = model.simulate([0.0, 1.0], quantity="amount")
    assert float(amounts["S1"][0, 0]) == 6.0


def test_a_compartment_that_grows_dilutes():
    model = ReactionModel.read("compartment V; V = 1; V' = 0.5; species S1 in V; S1 = 4; S1 -> ; 0")
    data = model.simulate(TIMES, **FINE)
    np.testing.assert_allclose(data["S1"][0], 4 / (1 + 0.5 * TIMES), rtol=1e-8)
    np.testing.assert_allclose(data["V"][0], 1 + 0.5 * TIMES, rtol=1e-8)


def test_an_id_that_is_a_dimension_gets_an_underscore():
    data = ReactionModel.read("member' = 1; member = 2").simulate([0.0, 1.0])
    np.testing.assert_allclose(data["member_"][0], [2.0, 3.0], rtol=1e-9)


def test_an_event_at_an_output_time_has_happened_there():
    model = ReactionModel.read("S1 -> ; k*S1; S1 = 1; k = 0; at time >= 2: S1 = 5; at time > 2: k = 1")
    data = model.simulate(TIMES, select=["S1", "k"], **FINE)
    expected = np.where(TIMES < 2, 1.0, 5 * np.exp(-(TIMES - 2).clip(0)))
    np.testing.assert_allclose(data["S1"][0], expected, rtol=1e-6)


def test_each_member_has_its_own_event():
    # S1 = exp(-k t) falls to 1/2 at ln 2 / k and is set to 1 again: it is 1/2 + … with period ln 2 / k
    k = np.array([0.3, 1.0, 2.7])
    model = ReactionModel.read("S1 -> ; k*S1; S1 = 1; k = 1; at S1 <= 0.5: S1 = 1")
    data = model.simulate(TIMES, parameters={"k": k}, **FINE)
    phase = np.mod(np.outer(k, TIMES), np.log(2))
    np.testing.assert_allclose(data["S1"], np.exp(-phase), rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", [0, 0, 11, 11]),  # triggered at 1, executed at 2 with values from the trigger time: q = 1 + 10
        (", fromTrigger=false", [0, 0, 12, 12]),  # with values at the execution: q = 2 + 10
    ],
)
def test_a_delayed_event_uses_values_of_the_time_that_it_says(more: str, expected: list[float]):
    model = ReactionModel.read(f"q' = 1; q = 0; r = 0; E: at 1 after q >= 1{more}: r = q + 10")
    data = model.simulate([0.0, 1.5, 2.0, 3.0], select=["r"], **FINE)
    np.testing.assert_allclose(data["r"][0], expected, rtol=1e-9)


def test_an_event_that_is_not_persistent_is_forgotten_when_its_trigger_turns_back():
    text = "r = 0; q = 0; E: at 1 after time >= 1 && time < 1.5, persistent={}: r = 1"
    for persistent, last in (("true", 1.0), ("false", 0.0)):
        model = ReactionModel.read(text.format(persistent))
        assert float(model.simulate([0.0, 3.0], select=["r"])["r"][0, 1]) == last


def test_the_start_counts_as_a_turn_only_if_the_trigger_was_false_before():
    for before, value in (("true", 0.0), ("false", 1.0)):
        model = ReactionModel.read(f"r = 0; E: at time >= 0, t0={before}: r = 1")
        assert float(model.simulate([0.0, 1.0], select=["r"])["r"][0, 0]) == value


def test_events_of_one_moment_go_by_priority_and_may_undo_each_other():
    # both trigger at 1; the first to run makes the other's trigger false, and it is not persistent
    text = (
        "r = 0; done = 0; A: at time >= 1 && done < 1, priority={}, persistent=false: r = 1, done = 1;"
        "B: at time >= 1 && done < 1, priority={}, persistent=false: r = 2, done = 1"
    )
    for first, second, value in ((2, 1, 1.0), (1, 2, 2.0)):
        model = ReactionModel.read(text.format(first, second))
        assert float(model.simulate([0.0, 2.0], select=["r"])["r"][0, 1]) == value


def test_events_that_set_each_other_off_for_ever_cost_their_member_alone():
    model = ReactionModel.read(
        "r = 0; on = 0; at time >= 1 && on > 0 && r < 1: r = 1; at r > 0: r = 0; S1 -> ; S1; S1 = 1"
    )
    data = model.simulate([0.0, 2.0], parameters={"on": [0.0, 1.0]}, **FINE)
    assert data["status"].values.tolist() == [Status.FINE, Status.TOO_MANY_STEPS]
    assert np.isfinite(data["S1"][0]).all()
    assert np.isnan(data["S1"][1, 1])


def test_a_member_that_blows_up_is_nan_and_says_why():
    data = ReactionModel.read("x' = k*x^2; x = 1; k = 1").simulate(
        [0.0, 0.5, 2.0], parameters={"k": [0.1, 1.0]}, **FINE
    )
    assert data["status"][0] == 0
    assert data["status"][1] != 0
    np.testing.assert_allclose(data["x"][0], 1 / (1 - 0.1 * np.array([0.0, 0.5, 2.0])), rtol=1e-6)
    np.testing.assert_allclose(data["x"][1, :2], [1.0, 2.0], rtol=1e-6)
    assert np.isnan(data["x"][1, 2])


def test_what_a_time_limit_cuts_off_is_nan_and_says_so():
    model = ReactionModel.read("S1 -> ; k*S1; S1 = 1; k = 1")
    data = model.simulate([0.0, 1.0], members=3, time_limit_s=0.0)
    assert (data["status"] == Status.OUT_OF_TIME).all()
    assert np.isnan(data["S1"]).all()
    assert Status.OUT_OF_TIME.reason == "the time limit of the run came first"


def _sbml(body: str) -> str:
    return (
        '<sbml xmlns="http://www.sbml.org/sbml/level3/version1/core" level="3" version="1"><model id="m">'
        f"{body}</model></sbml>"
    )


def _math(inner: str) -> str:
    return f'<math xmlns="http://www.w3.org/1998/Math/MathML">{inner}</math>'


def _algebraic(rule: str, x_rate: str = "<cn>1</cn>") -> ReactionModel:
    return ReactionModel.read(
        _sbml(
            '<listOfParameters><parameter id="x" value="1" constant="false"/><parameter id="y" value="1" constant="false"/>'
            f'</listOfParameters><listOfRules><rateRule variable="x">{_math(x_rate)}</rateRule>'
            f"<algebraicRule>{_math(rule)}</algebraicRule></listOfRules>"
        )
    )


def test_a_linear_algebraic_rule_is_solved_beforehand():
    model = _algebraic("<apply><minus/><ci>y</ci><apply><times/><cn>3</cn><ci>x</ci></apply></apply>")
    assert [state.name for state in model.network.states] == ["x"]
    np.testing.assert_allclose(model.simulate(TIMES, **FINE)["y"][0], 3 * (1 + TIMES), rtol=1e-9)


def test_a_nonlinear_algebraic_rule_is_integrated_with_the_rest():
    # y + y³ = x with x = 1 + t
    cube = "<apply><power/><ci>y</ci><cn>3</cn></apply>"
    model = _algebraic(f"<apply><minus/><apply><plus/><ci>y</ci>{cube}</apply><ci>x</ci></apply>")
    data = model.simulate(TIMES, **FINE)
    np.testing.assert_allclose(data["y"] + data["y"] ** 3, data["x"], rtol=1e-7)
    np.testing.assert_allclose(data["x"][0], 1 + TIMES, rtol=1e-9)


def test_an_algebraic_rule_without_a_variable_is_refused():
    with pytest.raises(UnsupportedFeature, match="no variable left to determine"):
        ReactionModel.read(
            _sbml(
                '<listOfParameters><parameter id="x" value="1" constant="true"/></listOfParameters>'
                f"<listOfRules><algebraicRule>{_math('<ci>x</ci>')}</algebraicRule></listOfRules>"
            )
        )


def test_a_delay_differential_equation():
    # x' = -x(t - 1), x = 1 before 0: 1 - t up to 1, then 1 - t + (t - 1)²/2 up to 2, … (method of steps)
    delayed = '<csymbol encoding="text" definitionURL="http://www.sbml.org/sbml/symbols/delay">delay</csymbol>'
    rate = f"<apply><minus/><apply>{delayed}<ci>x</ci><cn>1</cn></apply></apply>"
    model = ReactionModel.read(
        _sbml(
            '<listOfParameters><parameter id="x" value="1" constant="false"/></listOfParameters>'
            f'<listOfRules><rateRule variable="x">{_math(rate)}</rateRule></listOfRules>'
        )
    )
    t = np.linspace(0, 3, 13)
    exact = 1 - t + (t - 1).clip(0) ** 2 / 2 - (t - 2).clip(0) ** 3 / 6
    np.testing.assert_allclose(model.simulate(t, **FINE)["x"][0], exact, atol=1e-7)


def test_steady_states_keep_what_is_conserved_and_say_how_they_were_found():
    model = ReactionModel.read("A -> B; k1*A; B -> A; k2*B; A = 3; B = 1; k1 = 1; k2 = 2")
    k1 = np.array([1.0, 2.0, 6.0])
    for method, found_by in (("auto", 1), ("integration", 2)):
        data = model.steady_state(parameters={"k1": k1}, method=method)
        np.testing.assert_allclose(data["A"], 4 * 2 / (k1 + 2), rtol=1e-6)
        np.testing.assert_allclose(data["A"] + data["B"], 4.0, rtol=1e-9)
        assert (data["found_by"] == found_by).all()


def test_a_model_without_a_steady_state_says_so():
    data = ReactionModel.read("-> A; 1; A = 0").steady_state()
    assert data["status"][0] == Status.NOT_SETTLED
    with pytest.raises(UnsupportedFeature, match="has events"):
        ReactionModel.read("A -> ; A; A = 1; at A < 0.5: A = 1").steady_state()


def test_members_do_not_depend_on_threads_or_neighbours():
    model = ReactionModel.read("S1 -> ; k*S1^2; S1 = 1; k = 1; at S1 <= 0.5: S1 = 1")
    k = np.geomspace(0.1, 10, 40)
    whole = model.simulate(TIMES, parameters={"k": k}, threads=1)["S1"].values
    split = model.simulate(TIMES, parameters={"k": k}, threads=2)["S1"].values
    alone = model.simulate(TIMES, parameters={"k": k[37]}, threads=1)["S1"].values
    np.testing.assert_array_equal(whole, split)
    np.testing.assert_array_equal(whole[37:38], alone)


def test_libroadrunner_agrees_and_starts_from_the_same_numbers():
    model = ReactionModel.read(
        "compartment C = 2; species S1 in C, S2 in C; S1 -> S2; k*S1*C; S1 = 1; S2 = 0; at time >= 2: k = 0;"
        "k = 1; d = 0; d = 3*k + 1"
    )
    arguments = {
        "parameters": {"k": [0.5, 1.0]}, "initial": {"S1": [1.0, 2.0]}, "select": ["S1", "S2", "k", "d", "_J0"],
    }  # fmt: skip
    times = [1.0, 1.5, 2.0, 3.7]
    ours = model.simulate(times, **arguments, **FINE)
    theirs = model.simulate(times, engine="reference", **arguments, **FINE)
    assert theirs.attrs["engine"] == "reference"
    for name in arguments["select"]:
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_the_reference_refuses_what_it_does_not_run():
    model = _algebraic("<apply><minus/><ci>y</ci><ci>x</ci></apply>")
    with pytest.raises(UnsupportedFeature, match="does not solve algebraic rules"):
        model.simulate([0.0, 1.0], engine="reference")


def test_a_broken_constraint_is_told():
    body = (
        '<listOfParameters><parameter id="x" value="1" constant="false"/></listOfParameters>'
        f'<listOfRules><rateRule variable="x">{_math("<ci>x</ci>")}</rateRule></listOfRules>'
        f"<listOfConstraints><constraint>{_math('<apply><lt/><ci>x</ci><cn>5</cn></apply>')}</constraint>"
        "</listOfConstraints>"
    )
    data = ReactionModel.read(_sbml(body)).simulate([0.0, 1.0], parameters={"x": [1.0, 2.0]}, **FINE)
    assert data["constraint"].values.tolist() == [0, 1]
    assert data["constraint"].attrs["messages"][1] == "x < 5"


def test_a_combine_archive_is_read(tmp_path: Path):
    sbml = _sbml(
        '<listOfParameters><parameter id="x" value="1" constant="false"/></listOfParameters>'
        f'<listOfRules><rateRule variable="x">{_math("<cn>2</cn>")}</rateRule></listOfRules>'
    )
    manifest = (
        '<omexManifest xmlns="http://identifiers.org/combine.specifications/omex-manifest">'
        '<content location="./in/a.xml" format="http://identifiers.org/combine.specifications/sbml" {}/></omexManifest>'
    )
    path = tmp_path / "model.omex"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("in/a.xml", sbml)
        archive.writestr("manifest.xml", manifest.format('master="true"'))
    np.testing.assert_allclose(ReactionModel.read(path).simulate([0.0, 1.0])["x"][0], [1.0, 3.0], rtol=1e-9)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "nothing")
    with pytest.raises(InputError, match=r"without manifest\.xml"):
        ReactionModel.read(path)


def test_fast_reactions_are_in_equilibrium():
    # A ⇌ B fast with B = 2 A, B → C slow: (A + B)' = -B, B = 2/3 of the sum
    text = _fast("<apply><minus/><apply><times/><cn>2</cn><ci>A</ci></apply><ci>B</ci></apply>", "<ci>B</ci>")
    data = ReactionModel.read(text).simulate(TIMES, **FINE)
    total = 3 * np.exp(-2 * TIMES / 3)
    np.testing.assert_allclose(data["A"][0], total / 3, rtol=1e-6)
    np.testing.assert_allclose(data["B"][0], 2 * total / 3, rtol=1e-6)
    np.testing.assert_allclose(data["A"] + data["B"] + data["C"], 3.0, rtol=1e-9)


def _fast(fast: str, slow: str) -> str:
    species = "".join(
        f'<species id="{name}" compartment="c" initialAmount="{amount}" hasOnlySubstanceUnits="true" '
        'boundaryCondition="false" constant="false"/>'
        for name, amount in (("A", 3), ("B", 0), ("C", 0))
    )

    def reaction(name: str, one: str, other: str, law: str, is_fast: str) -> str:
        reference = '<speciesReference species="{}" stoichiometry="1" constant="true"/>'
        return (
            f'<reaction id="{name}" reversible="true" fast="{is_fast}">'
            f"<listOfReactants>{reference.format(one)}</listOfReactants>"
            f"<listOfProducts>{reference.format(other)}</listOfProducts><kineticLaw>{_math(law)}</kineticLaw></reaction>"
        )

    return _sbml(
        '<listOfCompartments><compartment id="c" size="1" constant="true"/></listOfCompartments>'
        f"<listOfSpecies>{species}</listOfSpecies><listOfReactions>{reaction('f', 'A', 'B', fast, 'true')}"
        f"{reaction('s', 'B', 'C', slow, 'false')}</listOfReactions>"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parameters": {"kk": 1}}, "no 'kk' in this model; did you mean k"),
        ({"parameters": {"r": 1}}, "'r' cannot be set: it is given by a rule"),
        ({"parameters": {"k": [1, 2], "q": [1, 2, 3]}}, "how many members"),
        ({"select": ["S3"]}, "no 'S3' in this model"),
        ({"quantity": "mass"}, 'expected "concentration" or "amount"'),
        ({"engine": "best"}, "expected 'auto', 'ensemble'"),
        ({"parameters": {"k": "fast"}}, r"parameters\['k'\]: 'fast': expected numbers"),
        ({"members": -1}, "members=-1: expected how many"),
        ({"rtol": -1e-6}, "rtol=-1e-06, .*expected a relative tolerance from 0 to below 1"),
        ({"rtol": float("nan")}, "expected a relative tolerance"),
        ({"seed": -1}, "seed=-1: expected a whole number of 0 or more"),
        ({"threads": 0}, "threads=0: expected a whole number of 1 or more"),
        ({"max_steps": 1.5}, "max_steps=1.5: expected a whole number of 1 or more"),
        ({"atol": -1.0}, "an absolute one of 0 or more"),
        ({"rtol": 0, "atol": 0}, "not both 0"),
        ({"rtol": "tight"}, "rtol: 'tight': expected numbers"),
    ],
)
def test_wrong_arguments_are_refused_with_their_cure(arguments: dict, message: str):
    model = ReactionModel.read("S1 -> S2; k*S1; S1 = 1; S2 = 0; k = 1; q = 2; r := 2*k")
    with pytest.raises(InputError, match=message):
        model.simulate([0.0, 1.0], **arguments)


def test_a_file_that_is_called_sbml_is_not_taken_for_antimony(tmp_path: Path):
    """Antimony would read these words as an empty model with a constraint."""
    (tmp_path / "model.xml").write_text("garbage <\n")
    with pytest.raises(InputError, match=r"model\.xml: no XML in this file; expected SBML"):
        ReactionModel.read(tmp_path / "model.xml")


def test_times_must_ascend():
    with pytest.raises(InputError, match="ascending"):
        ReactionModel.read("S1 -> ; S1; S1 = 1").simulate([0.0, 2.0, 1.0])


def test_a_trigger_that_follows_the_time_to_and_fro_is_seen_each_time():
    # sin(7 t) rises through 0.95 once per period 2π/7: 11 times up to t = 10
    data = ReactionModel.read("r = 0; at sin(7*time) > 0.95: r = r + 1").simulate([0.0, 10.0], select=["r"])
    assert float(data["r"][0, 1]) == 11


def test_a_trigger_that_turns_and_turns_back_within_a_step_is_seen():
    # x = sin t is above 1 - d for 2 acos(1 - d) of each period: 0.003 of 6.28 at the narrowest, where a step is about 0.3
    model = ReactionModel.read("x' = y; y' = -x; x = 0; y = 1; c = 0.9; up = 0; down = 0;"
                               "at x > c: up = up + 1; at x < c: down = down + 1")  # fmt: skip
    top = 1.0 - np.array([1e-1, 1e-3, 1e-6, -1e-3])
    for method in ("dormand_prince", "rodas5p", "bdf"):
        # the course itself must be right to less than 1e-6 after 20 periods
        rtol = 1e-9 if method == "bdf" else 1e-7
        data = model.simulate(
            [0.0, 20 * 2 * np.pi], parameters={"c": top}, select=["up", "down"], rtol=rtol, atol=rtol, method=method
        )
        np.testing.assert_array_equal(data["up"].values[:, -1], [20, 20, 20, 0])
        np.testing.assert_array_equal(data["down"].values[:, -1], [20, 20, 20, 0])
