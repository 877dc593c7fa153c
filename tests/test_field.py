"""The differentiable field: equal to the engines' rates, its slopes exact, and integrable.

Rates are sums whose terms the engine and the field add in different orders; 1e-12 of each rate leaves room for some
thousand roundings.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from mass_action import networks
from shared_data import shared
from torchdiffeq import odeint

from simulators.reaction import EnsembleEngine, ReactionModel, RoadRunnerEngine
from twin.errors import InputError, UnsupportedFeature
from twin.seeds import stream

MODELS = {
    name: ("models", name, f"model_{name}.xml")
    for name in (
        "Bachmann_MSB2011", "Boehm_JProteomeRes2014", "Chen_MSB2009", "Lang_PLOSComputBiol2024",
        "Lucarelli_CellSystems2018", "SalazarCavazos_MBoC2020", "Smith_BMCSystBiol2013",
    )
}  # fmt: skip
MODELS |= {
    "SPARCED": ("models", "SPARCED", "SPARCED.xml"),
    "Raimundez_PCB2020": ("gastric", "cell_model", "model_Raimundez_PCB2020.xml"),
}


def somewhere(model: ReactionModel, members: int) -> tuple[np.ndarray, np.ndarray]:
    """States and constants around the model's own, all states above 0."""
    x, p = model.network.start({}, members=members, time=0.0)
    x = (x + 0.01 * x.max()) * np.exp(0.3 * stream(1, "x").standard_normal(x.shape))
    return x, p * np.exp(0.3 * stream(1, "p").standard_normal(p.shape))


def by_name(names: tuple[str, ...], table: np.ndarray, wanted: tuple[str, ...]) -> np.ndarray:
    return table[:, [names.index(name) for name in wanted]]


@pytest.mark.parametrize("name", MODELS)
def test_field_is_the_engines_rates_and_its_slope_the_engines_jacobian(name: str) -> None:
    model = ReactionModel.read(shared(*MODELS[name]))
    field = model.field()
    x, p = somewhere(model, 3)
    rates, jacobian = model._course(()).rates(x, p, 0.7)
    found = field(0.7, torch.tensor(x), torch.tensor(p))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, rates, rtol=1e-12, atol=1e-12 * 1e-12 * np.abs(rates).max())
    slope = torch.func.jacrev(lambda row: field(0.7, row, torch.tensor(p[1])))(torch.tensor(x[1]))
    np.testing.assert_allclose(slope, jacobian[1], rtol=1e-10, atol=1e-14 * np.abs(jacobian[1]).max())


@pytest.mark.parametrize("name", ["Bachmann_MSB2011", "Lucarelli_CellSystems2018", "Raimundez_PCB2020"])
def test_field_is_the_rates_of_the_stepped_engine(name: str) -> None:
    """`EnsembleEngine` reads the model by other code, into a graph of its own."""
    path = shared(*MODELS[name])
    engine, field = EnsembleEngine(path), ReactionModel.read(path).field()
    x, p = engine.start({}, members=2, time=0.0)
    x = (x + 0.01 * x.max()) * np.exp(0.3 * stream(1, "x").standard_normal(x.shape))
    own = dict(zip(engine.parameters, p.T, strict=True))
    _, constants = field.start(members=2)
    for i, known in enumerate(field.parameters):
        if known in own:
            constants[:, i] = torch.tensor(own[known])
    states = torch.tensor(by_name(engine.states, x, field.states))
    found = field(0.0, states, constants).numpy()
    expected = by_name(engine.states, engine.rates(x, p, time=0.0), field.states)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * 1e-12 * np.abs(expected).max())


@settings(max_examples=10, deadline=None)
@given(networks())
def test_random_mass_action_networks_agree_three_ways(text: str) -> None:
    """libRoadRunner, the ensemble engine and the torch field: rates to rounding, courses to the sum of their errors."""
    ours, reference, model = EnsembleEngine(text), RoadRunnerEngine(text), ReactionModel.read(text)
    x, p = ours.start({}, members=2, time=0.0)
    x[1] *= 1.7
    field = model.field()
    states, constants = field.start(members=2)
    states[1] *= 1.7
    np.testing.assert_allclose(states, by_name(ours.states, x, field.states), rtol=1e-15)
    for engine in (ours, reference):
        rates = by_name(engine.states, engine.rates(x, p, time=0.0), field.states)
        np.testing.assert_allclose(field(0.0, states, constants), rates, rtol=1e-12, atol=1e-12)
    times = torch.linspace(0.0, 0.5, 4, dtype=torch.float64)
    course = odeint(lambda t, y: field(t, y, constants), states, times, rtol=1e-9, atol=1e-11)
    assert isinstance(course, torch.Tensor)
    for engine in (ours, reference):
        run = engine.run(x, p, times.tolist(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(by_name(engine.states, run.x, field.states), course[-1], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(course.sum(-1), states.sum(-1).expand(4, 2), rtol=1e-9)  # closed: the total is kept


FUNCTIONS = (
    "exp(S)", "ln(S)", "sqrt(S)", "log10(S)", "abs(S - 1)", "S^n", "S^3", "n^S", "sin(S)", "cos(S)", "tan(S/2)",
    "arcsin(S/9)", "arccos(S/9)", "arctan(S)", "sinh(S)", "cosh(S)", "tanh(S)", "arcsinh(S)", "arccosh(S + 1)",
    "arctanh(S/9)", "sec(S)", "csc(S)", "coth(S)", "arccot(S)", "min(S, n, 1)", "max(S, n, 1)", "piecewise(S^2, S < n, n*S)",
    "piecewise(S, S > 1 && time < 2 || n == 3, 2*S, S <= 0.5, n)", "floor(3*S)*S", "ceil(3*S)*S", "factorial(3)*S",
    "rem(S, 0.4)", "quotient(S, 0.3)*S", "S/(n + S)", "exp(-time)*S", "piecewise(1, xor(S > 1, n > 2), not(S > 2), 2, 3)",
)  # fmt: skip


@pytest.mark.parametrize("formula", FUNCTIONS)
def test_every_function_of_the_engine_is_in_the_field(formula: str) -> None:
    """Values against the engine; slopes by state and constant against differences (gradcheck: central, at 1e-6)."""
    model = ReactionModel.read(f"S' = {formula}; S = 0.7; n = 2.2")
    field = model.field()
    x, p = torch.tensor([[0.31], [0.7], [1.9]], dtype=torch.float64), torch.tensor([[2.2]], dtype=torch.float64)
    expected, jacobian = model._course(()).rates(x.numpy(), p.expand(3, 1).numpy(), 0.7)
    np.testing.assert_allclose(field(0.7, x, p), expected, rtol=1e-13)
    slope = torch.func.vmap(torch.func.jacrev(lambda row: field(0.7, row, p[0])))(x)
    np.testing.assert_allclose(slope, jacobian, rtol=1e-11, atol=1e-12)
    time = torch.tensor(0.7, dtype=torch.float64)
    for argument in (time, x, p):
        argument.requires_grad_()
    assert torch.autograd.gradcheck(field, (time, x, p))
    assert torch.autograd.gradgradcheck(field, (time, x, p))


def test_a_branch_that_is_not_taken_does_not_spoil_the_slope() -> None:
    """Backwards, 0 of the branch not taken times an infinite slope in it would be NaN; the slope is that of the other."""
    text = "S' = piecewise(a*ln(S) + sqrt(S) + S^n + 1/S, S > 0, 3*S - a); S = 0; a = 2; n = 0.5"
    field = ReactionModel.read(text).field()
    x, p = field.start()
    x.requires_grad_()
    p.requires_grad_()
    by_x, by_p = torch.autograd.grad(field(0.0, x, p).sum(), (x, p))
    assert by_x.item() == 3.0
    assert by_p[0].tolist() == [-1.0 if name == "a" else 0.0 for name in field.parameters]
    shared_by_both = ReactionModel.read("S' = ln(S)*piecewise(1, S > 5, 2); S = 0").field()
    x = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(shared_by_both(0.0, x, x.new_zeros(1, 0)).sum(), x)
    assert not torch.isfinite(slope).all()  # that of 2 ln(S) at 0 is infinite, and must not be hidden


def test_slope_of_a_power_by_its_exponent_is_zero_at_zero() -> None:
    field = ReactionModel.read("S' = S^n/(K^n + S^n); S = 0; n = 2.5; K = 1").field()
    x, p = field.start()
    p.requires_grad_()
    (slope,) = torch.autograd.grad(field(0.0, x, p).sum(), p)
    assert slope.abs().max() == 0.0


def test_members_may_have_any_number_of_dims_and_share_constants() -> None:
    field = ReactionModel.read("A -> B; k*A; A = 2; B = 0; k = 0.5").field()
    x, p = field.start(initial={"A": [1.0, 2.0, 3.0]}, parameters={"k": [0.1, 0.2, 0.3]})
    whole = field(0.0, x, p)
    assert field.states == ("A", "B")
    assert "k" in field.parameters
    np.testing.assert_allclose(whole[:, 0], [-0.1, -0.4, -0.9], rtol=1e-15)
    assert torch.equal(field(0.0, x[1], p[1]), whole[1])
    assert torch.equal(field(torch.zeros(3), x, p), whole)
    assert torch.equal(field(0.0, x[:, None], p[None]).diagonal().T, whole)
    assert torch.equal(field(0.0, x, p[0]), field(0.0, x, p[:1].expand(3, -1)))
    assert torch.equal(torch.func.vmap(lambda a, b: field(0.0, a, b))(x, p), whole)


def test_float32_and_other_devices() -> None:
    field = ReactionModel.read("A -> B; k*A/(1 + A); A = 2; B = 0; k = 0.5").field()
    x, p = field.start(dtype=torch.float32)
    assert field(0.0, x, p).dtype == torch.float32
    np.testing.assert_allclose(field(0.0, x, p)[0], [-1 / 3, 1 / 3], rtol=1e-6)
    assert field(0.0, x.to("meta"), p.to("meta")).device.type == "meta"  # every operation runs where its arguments are
    if torch.cuda.is_available():
        np.testing.assert_allclose(field(0.0, x.cuda(), p.cuda()).cpu(), field(0.0, x, p), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "dtype"), [("aot_eager", torch.float32), ("inductor", torch.float64)])
def test_field_compiles_whole(backend: str, dtype: torch.dtype) -> None:
    """`fullgraph` refuses to compile where Python would have to step in between. The field is called first from there."""
    if backend == "inductor" and not shutil.which("g++"):
        pytest.skip("torch's compiler for CPUs needs g++")
    if backend == "inductor" and not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        pytest.skip("torch's compiler for CPUs needs the headers of Python (python3-dev)")
    field = ReactionModel.read("A -> B; k*A/(1 + A); B -> A; piecewise(B, B > 1, B^2); A = 2; B = 0.1; k = 0.5").field()
    x, p = field.start(members=4, dtype=dtype)
    compiled = torch.compile(lambda a, b: field(0.0, a, b), fullgraph=True, backend=backend)
    x.requires_grad_()
    (found,) = torch.autograd.grad(compiled(x, p).square().sum(), x)
    (expected,) = torch.autograd.grad(field(0.0, x, p).square().sum(), x)
    np.testing.assert_allclose(found, expected, rtol=100 * torch.finfo(dtype).eps)


def test_start_follows_what_is_given_and_lets_gradients_through() -> None:
    model = ReactionModel.read(
        "compartment V = 2; species S1 in V; a = 4*c; c = 3; b := 2*c; S1 = a*c; S1 -> ; k*S1*V; k = 0.1; species $X in V; X = 5"
    )
    field = model.field()
    c = torch.tensor([3.0, 5.0], dtype=torch.float64, requires_grad=True)
    x, p = field.start(parameters={"c": c})
    of = {name: p[:, i].tolist() for i, name in enumerate(field.parameters)}
    assert of["a"] == [12.0, 20.0]
    assert of["X"] == [10.0, 10.0]  # an amount
    assert x[:, 0].tolist() == [72.0, 200.0]  # 2 · 4c · c
    (slope,) = torch.autograd.grad(x.sum(), c)
    assert slope.tolist() == [48.0, 80.0]
    x, _ = field.start(parameters={"a": 7.0, "V": 3.0})
    assert x.item() == 63.0
    assert field.start(initial={"S1": 5.0})[0].item() == 10.0
    assert field.start(initial={"S1": 5.0}, quantity="amount")[0].item() == 5.0
    for values in ({"c": [3.0, 5.0]}, {"V": 1.5, "k": [1.0, 2.0]}):
        expected = model.network.start({n: np.asarray(v) for n, v in values.items()}, members=2, time=0.0)
        for found, known in zip(field.start(parameters=values), expected, strict=True):
            np.testing.assert_allclose(found, known, rtol=1e-15)
    read = field.readouts(["S1", "b", "k"])
    np.testing.assert_allclose(read(0.0, *field.start()), [[36.0, 6.0, 0.1]], rtol=1e-15)
    assert field.readouts(["S1"], quantity="amount")(0.0, *field.start()).item() == 72.0


def test_units_are_those_that_amounts_and_constants_have_in_results() -> None:
    model = ReactionModel.read(shared(*MODELS["Smith_BMCSystBiol2013"]))
    field = model.field()
    data = model.simulate([0.0, 1e-3], select=list(field.units), quantity="amount")
    assert field.units == {name: data[name].attrs["units"] for name in field.units}
    assert "count" in field.units.values()


def test_random_starts_are_the_engines_and_carry_no_gradient() -> None:
    model = ReactionModel.read(_drawn())
    field = model.field()
    x, _ = field.start(members=3, seed=4)
    np.testing.assert_array_equal(x, model.network.start({}, members=3, time=0.0, seed=4)[0])
    assert len(set(x[:, 0].tolist())) == 3
    with pytest.raises(UnsupportedFeature, match=r"drawn from a distribution that depends on mu"):
        field.start(parameters={"mu": torch.tensor(1.0, dtype=torch.float64, requires_grad=True)})


def _drawn() -> str:
    return """<?xml version="1.0" encoding="UTF-8"?>
<sbml xmlns="http://www.sbml.org/sbml/level3/version2/core" level="3" version="2"
 xmlns:distrib="http://www.sbml.org/sbml/level3/version1/distrib/version1" distrib:required="true"><model id="drawn">
<listOfParameters><parameter id="S" constant="false"/><parameter id="mu" value="2" constant="true"/></listOfParameters>
<listOfInitialAssignments><initialAssignment symbol="S"><math xmlns="http://www.w3.org/1998/Math/MathML"><apply>
<csymbol definitionURL="http://www.sbml.org/sbml/symbols/distrib/normal">normal</csymbol><ci>mu</ci><cn>0.5</cn>
</apply></math></initialAssignment></listOfInitialAssignments>
<listOfRules><rateRule variable="S"><math xmlns="http://www.w3.org/1998/Math/MathML"><apply><minus/><ci>S</ci></apply></math>
</rateRule></listOfRules></model></sbml>"""


def test_what_is_no_function_of_time_states_and_constants_is_refused() -> None:
    for text, feature in (
        ("S' = -delay(S, 1); S = 1", r"delay\(\)"),
        ("x' = y; 0 = y^3 + y - x; var y; x = 1; y = 0", "algebraic rules or fast reactions"),
    ):
        model = ReactionModel.read(text)
        with pytest.raises(UnsupportedFeature, match=f"field: this model has {feature}"):
            model.field()


def test_wrong_shapes_and_types_are_refused_with_their_cure() -> None:
    field = ReactionModel.read("A -> B; k*A; A = 2; B = 0; k = 0.5").field()
    x, p = field.start()
    with pytest.raises(InputError, match=r"states \(1, 1\) .* expected 2 and"):
        field(0.0, x[:, :1], p)
    with pytest.raises(InputError, match=r"expected one floating type on one device; use Tensor\.to"):
        field(0.0, x, p.float())
    with pytest.raises(InputError, match="no 'q' in this model"):
        field.start(parameters={"q": 1.0})
    with pytest.raises(InputError, match="how many members"):
        field.start(parameters={"k": torch.ones(2)}, initial={"A": [1.0, 2.0, 3.0]})


def test_events_are_named_and_not_executed() -> None:
    field = ReactionModel.read("S' = -S; S = 1; E: at time > 1: S = 5").field()
    assert field.events == ("E",)
    assert field(2.0, *field.start()).item() == -1.0


def test_a_parameter_is_found_by_its_gradient() -> None:
    """Data of A → B → ∅ at k = (0.8, 0.3), whose course is known in closed form; started from twice and half of them."""
    field = ReactionModel.read("A -> B; k1*A; B -> ; k2*B; A = 1; B = 0; k1 = 1; k2 = 1").field()
    times = torch.linspace(0.0, 6.0, 13, dtype=torch.float64)
    data = 0.8 / (0.3 - 0.8) * (torch.exp(-0.8 * times) - torch.exp(-0.3 * times))
    logs = torch.tensor([math.log(1.6), math.log(0.15)], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([logs], max_iter=60, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def misfit() -> torch.Tensor:
        search.zero_grad()
        x, p = field.start(parameters={"k1": logs[0].exp(), "k2": logs[1].exp()})
        course = odeint(lambda t, y: field(t, y, p), x, times, rtol=1e-8, atol=1e-10)
        assert isinstance(course, torch.Tensor)
        loss = (course[:, 0, field.states.index("B")] - data).square().sum()
        loss.backward()
        return loss

    search.step(misfit)
    np.testing.assert_allclose(logs.detach().exp(), [0.8, 0.3], rtol=1e-5)


def test_torch_is_loaded_with_the_first_field_and_not_before() -> None:
    script = (
        'import sys; from simulators.reaction import ReactionModel; m = ReactionModel.read("S\' = -S; S = 1");'
        "m.simulate([0.0, 1.0]); import scenarios.cli; assert 'torch' not in sys.modules;"
        "m.field(); assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
