"""The differentiable solver: gradients through the engine against closed forms, differences and torch's own check."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from shared_data import shared

from simulators.reaction import ReactionModel
from twin.errors import InputError, UnsupportedFeature

ROBERTSON = """A = 1; B = 0; C = 0; k1 = 0.04; k2 = 1e4; k3 = 3e7
    A' = -k1*A + k2*B*C; B' = k1*A - k2*B*C - k3*B^2; C' = k3*B^2"""
FINE = {"rtol": 1e-10, "atol": 1e-13, "threads": 1}


def doubles(*values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_gradient_of_a_decay_is_its_closed_form() -> None:
    """S = S0 e^(-kt): dS/dk = -t S, dS/dS0 = e^(-kt), for every member its own."""
    model = ReactionModel.read("S -> ; k*S; S = 1; k = 1")
    times = [0.0, 0.5, 2.0]
    solve = model.solver(times, wrt=["k"], **FINE)
    assert (solve.parameters, solve.states, solve.readouts) == (("k",), ("S",), ("S",))
    k, s0 = doubles([0.3], [2.0]), doubles([2.0], [5.0])
    t = torch.tensor(times, dtype=torch.float64)
    y = solve(k, s0)
    assert y.shape == (2, 3, 1)
    exact = s0.detach() * torch.exp(-k.detach() * t)
    np.testing.assert_allclose(y.detach()[..., 0], exact, rtol=1e-8)
    weights = torch.tensor([0.7, -1.0, 2.0], dtype=torch.float64)
    by_k, by_s0 = torch.autograd.grad((y[..., 0] * weights).sum(), (k, s0))
    np.testing.assert_allclose(by_k[:, 0], (-t * exact * weights).sum(1), rtol=1e-7)
    np.testing.assert_allclose(by_s0[:, 0], (exact / s0.detach() * weights).sum(1), rtol=1e-7)
    with torch.no_grad():
        np.testing.assert_allclose(solve(k, s0)[..., 0], exact, rtol=1e-8)  # a plain run


def test_gradcheck_on_a_stiff_network() -> None:
    """Robertson's rates span nine decades; taken by their logarithms, differences at 1e-4 are good to some 1e-8."""
    solve = ReactionModel.read(ROBERTSON).solver([0.0, 0.4, 40.0, 4000.0], wrt=["k1", "k2", "k3"], **FINE)
    logs = doubles([math.log(0.04), math.log(1e4), math.log(3e7)])
    scale = torch.tensor([1.0, 1e4, 1.0], dtype=torch.float64)  # B is of the order of 1e-5
    start = doubles([1.0, 0.0, 0.0])
    assert solve.states == ("A", "B", "C")
    assert torch.autograd.gradcheck(lambda p: solve(p.exp()) * scale, (logs,), eps=1e-4, atol=1e-6, rtol=1e-5)
    by_start = (lambda a: solve(logs.detach().exp(), torch.cat((a, start.detach()[:, 1:]), 1)) * scale,)
    assert torch.autograd.gradcheck(by_start[0], (doubles([1.0]),), eps=1e-4, atol=1e-6, rtol=1e-5)


def test_backward_keeps_the_sum_that_the_network_conserves() -> None:
    solve = ReactionModel.read(ROBERTSON).solver([0.0, 40.0], wrt=["k1", "k2", "k3"], **FINE)
    rates = doubles([0.04, 1e4, 3e7])
    (slope,) = torch.autograd.grad(solve(rates).sum(), rates)
    assert (slope * rates.detach()).abs().max() < 1e-9  # A + B + C is 1 whatever the rates


def test_gradients_go_through_events_and_initial_assignments() -> None:
    """S(0) = 2a decays with rate 1 until it falls to 1 at t = ln 2a, then is set to a: S = a e^(-(t - ln 2a)) = 2a² e^(-t)."""
    solve = ReactionModel.read("S' = -S; S = 2*a; a = 1.5; at S < 1: S = a").solver([0.0, 0.5, 1.3], wrt=["a"], **FINE)
    a = doubles([1.5])
    y = solve(a)[0, :, 0]
    expected = torch.stack((2 * a[0], 2 * a[0] * math.exp(-0.5), 2 * a[0] ** 2 * math.exp(-1.3)))[:, 0]
    np.testing.assert_allclose(y.detach(), expected.detach(), rtol=1e-8)
    for found, known in zip(y, expected, strict=True):
        (slope,) = torch.autograd.grad(found, a, retain_graph=True)
        (exact,) = torch.autograd.grad(known, a, retain_graph=True)
        np.testing.assert_allclose(slope, exact, rtol=1e-6)


def test_bachmann_agrees_with_differences() -> None:
    """Central differences at 1e-3 of each logarithm, runs at 1e-10: their own error is some 1e-6 of the greatest slope."""
    model = ReactionModel.read(shared("models", "Bachmann_MSB2011", "model_Bachmann_MSB2011.xml"))
    known = dict(zip(model.network.constant_names, model.network.start({}, members=1, time=0.0)[1][0], strict=True))
    names = ["STAT5ActEpoR", "SOCS3Eqc", "CISInh", "init_STAT5", "EpoRActJAK2"]
    dose = {"Epo": 1.25e-7, "ActD": 1.0, "CISoe": 0.0, "SOCS3oe": 0.0}
    solve = model.solver([0.0, 20.0, 60.0], wrt=names, parameters=dose, select=["pSTAT5", "SOCS3"], **FINE)
    logs = doubles([math.log(known[n]) for n in names])
    y = solve(logs.exp())
    weights = torch.tensor([1.0, 2.0], dtype=torch.float64) / y.detach().abs().amax(dim=(0, 1))
    (slope,) = torch.autograd.grad((y * weights).sum(), logs)
    h = 1e-3
    moved = logs.detach() + h * torch.cat((torch.eye(5), -torch.eye(5))).double()
    values = (solve(moved.exp()) * weights).sum(dim=(1, 2))
    differences = (values[:5] - values[5:]) / (2 * h)
    assert (slope[0].abs() > 1e-2).all()  # no false zeros
    np.testing.assert_allclose(slope[0], differences, atol=2e-6 * float(differences.abs().max()))


def test_members_that_fail_are_nan_in_value_and_gradient_and_the_others_are_untouched() -> None:
    solve = ReactionModel.read("x' = k*x^2; x = 1; k = 1").solver([0.0, 0.5, 2.0], wrt=["k"], **FINE)
    k = doubles([0.1], [1.0], [0.2])  # x = 1/(1 - kt) blows up at 1/k
    y = solve(k)
    assert torch.isnan(y[1, 2, 0])
    assert torch.isfinite(y[[0, 2]]).all()
    fine = torch.isfinite(y).all(dim=(1, 2))
    (slope,) = torch.autograd.grad(y[fine, 2].sum(), k)
    np.testing.assert_allclose(slope[[0, 2], 0], 2 / (1 - 2 * k.detach()[[0, 2], 0]) ** 2, rtol=1e-6)
    assert torch.isnan(slope[1]).all()  # though nothing of this member was used


def test_what_is_broadcast_adds_up_and_types_are_kept() -> None:
    solve = ReactionModel.read("S -> ; k*S; S = 1; k = 1").solver([0.0, 1.0], wrt=["k", "S"], threads=1, rtol=1e-9)
    one = torch.tensor([1.0, 2.0], dtype=torch.float32, requires_grad=True)
    alone, many = solve(one), solve(one.expand(2, 3, 2))
    assert (alone.shape, alone.dtype) == ((2, 1), torch.float32)
    assert many.shape == (2, 3, 2, 1)
    (single,) = torch.autograd.grad(alone.sum(), one)
    (summed,) = torch.autograd.grad(many.sum(), one)
    np.testing.assert_allclose(summed, 6 * single, rtol=1e-6)


def test_a_rate_of_a_stiff_network_is_found_by_its_gradient() -> None:
    """Robertson's C, made with k1 = 0.04; the search begins at 0.1."""
    solve = ReactionModel.read(ROBERTSON).solver([0.0, 1.0, 10.0, 100.0], wrt=["k1"], select=["C"], **FINE)
    data = solve(torch.tensor([[0.04]], dtype=torch.float64))
    log = doubles([math.log(0.1)])
    search = torch.optim.LBFGS([log], max_iter=30, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def misfit() -> torch.Tensor:
        search.zero_grad()
        loss = (solve(log.exp()) - data).square().sum()
        loss.backward()
        return loss

    search.step(misfit)
    assert float(log.detach().exp()) == pytest.approx(0.04, rel=1e-5)


def test_wrong_arguments_are_refused_with_their_cure() -> None:
    model = ReactionModel.read("A -> B; k*A; A = 1; B = 0; k = 1; b := 2*k")
    for arguments, message in (
        ({"wrt": ["q"]}, "no 'q' in this model"),
        ({"wrt": ["b"]}, "'b' cannot be set: it is given by a rule"),
        ({"wrt": "k"}, "expected a list of parameters"),
        ({"wrt": ["k", "k"]}, "k given twice"),
        ({"wrt": ["kk"]}, "wrt: no 'kk' in this model; did you mean k"),
        ({"wrt": []}, r"wrt=\[\]: expected a list .*, at least one"),
        ({"wrt": ["k"], "parameters": {"kk": 2.0}}, "parameters: no 'kk' in this model"),
        ({"wrt": ["k"], "parameters": {"k": 2.0}}, "k given twice"),
        ({"wrt": ["k"], "select": ["C"]}, "select: no 'C'"),
    ):
        with pytest.raises(InputError, match=message):
            model.solver([0.0, 1.0], **arguments)
    solve = model.solver([0.0, 1.0], wrt=["k"], threads=1)
    with pytest.raises(InputError, match=r"p has shape \(3, 2\): expected 1 columns, one for each of k"):
        solve(torch.ones(3, 2))
    with pytest.raises(InputError, match=r"x0 has shape \(1,\): expected 2 columns, one for each of A, B"):
        solve(torch.ones(3, 1), torch.ones(1))
    with pytest.raises(InputError, match=r"p is a list: expected a torch tensor .* torch.as_tensor\(p, dtype"):
        solve([[0.1]])  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"x0 is a tensor of torch.int64: expected a torch tensor of real numbers"):
        solve(torch.ones(3, 1), torch.ones(2, dtype=torch.int64))
    delayed = ReactionModel.read("S' = -k*delay(S, 1); S = 1; k = 1").solver([0.0, 1.0], wrt=["k"], threads=1)
    with pytest.raises(UnsupportedFeature, match="delay"):
        delayed(torch.ones(1, 1, requires_grad=True))
