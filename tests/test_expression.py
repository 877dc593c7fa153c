"""The expression graph: derivatives against complex steps, identities, and the same numbers from tape and numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.reaction.expression import ARITY, Graph
from simulators.reaction.lanes import LANES, execute, execute_lane
from simulators.reaction.tape import Registers, instructions

SMOOTH = ["exp", "ln", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "atanh"]


@pytest.mark.parametrize("function", SMOOTH)
def test_derivative_of_a_function_is_its_complex_step(function: str) -> None:
    """The complex step has no difference in it, so it is exact to rounding (Squire & Trapp 1998)."""
    graph = Graph()
    x = graph.symbol("x")
    node = graph.apply(function, graph.mul(x, graph.const(0.7)))
    slope = graph.derivative(node, x)
    at, step = np.array([0.1, 0.5, 1.2]), 1e-30
    (moved,) = graph.evaluate([node], {"x": at + 1j * step})
    (found,) = graph.evaluate([slope], {"x": at})
    np.testing.assert_allclose(found, moved.imag / step, rtol=1e-13)


def test_derivative_of_arcosh() -> None:
    graph = Graph()
    x = graph.symbol("x")
    (found,) = graph.evaluate([graph.derivative(graph.apply("acosh", x), x)], {"x": 2.0})
    assert found == pytest.approx(1 / np.sqrt(3.0), rel=1e-14)


def test_power_rule_is_exact_at_zero_and_for_moving_exponents() -> None:
    graph = Graph()
    x, n = graph.symbol("x"), graph.symbol("n")
    hill = graph.div(graph.apply("pow", x, n), graph.add(graph.const(1.0), graph.apply("pow", x, n)))
    by_x, by_n = graph.evaluate([graph.derivative(hill, x), graph.derivative(hill, n)], {"x": 0.0, "n": 2.5})
    assert (by_x, by_n) == (0.0, 0.0)
    by_x, by_n = graph.evaluate([graph.derivative(hill, x), graph.derivative(hill, n)], {"x": 2.0, "n": 3.0})
    assert by_x == pytest.approx(3 * 4 / 81, rel=1e-14)
    assert by_n == pytest.approx(8 * np.log(2.0) / 81, rel=1e-14)


def test_equal_expressions_are_one_node_and_zeros_stay_zeros() -> None:
    graph = Graph()
    x, y = graph.symbol("x"), graph.symbol("y")
    assert graph.add(x, y) == graph.add(y, x)
    assert graph.mul(graph.const(0.0), x) == graph.const(0.0)
    assert graph.derivative(graph.mul(x, y), graph.symbol("z")) == graph.const(0.0)
    assert graph.apply("pow", x, graph.const(3.0)) == graph.mul(x, graph.mul(x, x))


@st.composite
def formulas(draw: st.DrawFn) -> tuple[Graph, list[int]]:
    """A random graph over three symbols, and some of its nodes."""
    graph = Graph()
    nodes = [graph.symbol(name) for name in "xyz"] + [graph.const(v) for v in (0.0, 1.0, -1.0, 0.5, 3.0)]
    for _ in range(draw(st.integers(1, 40))):
        operator, arity = draw(
            st.sampled_from(
                [
                    (op, ARITY[op])
                    for op in ["add", "sub", "mul", "div", "neg", "exp", "lt", "where", "sqrt", "min", "pow", "tanh"]
                ]
            )
        )
        nodes.append(graph.apply(operator, *(draw(st.sampled_from(nodes)) for _ in range(arity))))
    return graph, draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=6))


@st.composite
def sums(draw: st.DrawFn) -> tuple[Graph, list[int]]:
    graph = Graph()
    nodes = [graph.symbol(name) for name in "xyz"] + [graph.const(v) for v in (1.0, -1.0, 2.0)]
    for _ in range(draw(st.integers(1, 30))):
        operator = draw(st.sampled_from(["add", "sub", "add", "sub", "neg", "mul"]))
        recent = nodes[-6:]
        node = graph.apply(operator, *(draw(st.sampled_from(recent)) for _ in range(ARITY[operator])))
        if node not in nodes:
            nodes.append(node)
    return graph, draw(st.lists(st.sampled_from(nodes), min_size=2, max_size=6))


@settings(max_examples=150, deadline=None)
@given(sums(), st.integers(0, 2**32 - 1))
def test_gathered_sums_are_the_sums(formula: tuple[Graph, list[int]], seed: int) -> None:
    """One instruction per sum, equal operations side by side: the same numbers but for the order of additions."""
    graph, wanted = formula
    file = Registers()
    place = {graph.symbol(name): file.block(1) for name in "xyz"}
    homes = [file.block(1) for _ in wanted[1:]]
    code = instructions(graph, list(zip(wanted[1:], homes, strict=True)), place, file, gathered=True, kept=wanted[:1])
    values = np.random.default_rng(seed).integers(-3, 4, (3, LANES)).astype(float)  # exact in any order
    registers = np.zeros((file.count + 1, LANES))
    registers[:3] = values
    for register, value in file.constants.items():
        registers[register] = value
    alone = registers.copy()
    execute(code, registers.reshape(-1))
    for lane in range(LANES):
        execute_lane(code, alone.reshape(-1), lane)
    np.testing.assert_array_equal(registers, alone)
    expected = graph.evaluate(wanted, dict(zip("xyz", values, strict=True)))
    kept = [] if graph.op[wanted[0]] == "const" else [place[wanted[0]]]
    for home, value in zip([*kept, *homes], expected[1 - len(kept) :], strict=True):
        np.testing.assert_array_equal(registers[home], np.broadcast_to(value, LANES))


@settings(max_examples=150, deadline=None)
@given(formulas(), st.integers(0, 2**32 - 1))
def test_tape_gives_what_numpy_gives_in_every_lane(formula: tuple[Graph, list[int]], seed: int) -> None:
    graph, wanted = formula
    file = Registers()
    place = {graph.symbol(name): file.block(1) for name in "xyz"}
    homes = [file.block(1) for _ in wanted]
    values = np.random.default_rng(seed).uniform(-2.0, 2.0, (3, LANES))
    code = instructions(graph, list(zip(wanted, homes, strict=True)), place, file)
    registers = np.zeros((file.count, LANES))
    registers[:3] = values
    for register, value in file.constants.items():
        registers[register] = value
    alone = registers.copy()
    execute(code, registers.reshape(-1))
    for lane in range(LANES):
        execute_lane(code, alone.reshape(-1), lane)
    expected = graph.evaluate(wanted, dict(zip("xyz", values, strict=True)))
    for home, value in zip(homes, expected, strict=True):
        np.testing.assert_allclose(registers[home], np.broadcast_to(value, LANES), rtol=1e-12, atol=0)
        np.testing.assert_array_equal(registers[home], alone[home])
