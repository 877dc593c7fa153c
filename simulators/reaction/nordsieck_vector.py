"""The steps of a multistep method on one state of `LANES` members, as LLVM instructions: see `nordsieck`.

Eight lanes at a time: six rows of them lie in the CPU's registers together.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from simulators.reaction.bdf_coefficients import HIGHEST
from simulators.reaction.lanes import LANES

_WIDTH: Final = 4
_VECTOR = ir.VectorType(ir.DoubleType(), _WIDTH)
_BITS = ir.VectorType(ir.IntType(64), _WIDTH)


class _Row:
    """Rows of `LANES` numbers at an address, of which `_WIDTH` are looked at."""

    def __init__(self, builder: Any, address: Any, offset: Any) -> None:
        self._builder, self._start = builder, builder.add(address, offset)

    def _pointer(self, row: int) -> Any:
        address = self._builder.add(self._start, ir.Constant(ir.IntType(64), row * LANES * 8))
        return self._builder.inttoptr(address, _VECTOR.as_pointer())

    def load(self, row: int = 0) -> Any:
        value = self._builder.load(self._pointer(row))
        value.align = 8
        return value

    def store(self, value: Any, row: int = 0) -> None:
        self._builder.store(value, self._pointer(row)).align = 8


def _splat(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * _WIDTH)


def _chosen(b: Any, mask: Any, new: Any, old: Any) -> Any:
    """`new` where the bits of a mask are set, else `old`: a choice by comparison would be stored lane by lane."""
    new, old = b.bitcast(new, _BITS), b.bitcast(old, _BITS)
    return b.bitcast(b.xor(old, b.and_(b.xor(new, old), mask)), _VECTOR)


def _over_lanes(addresses: int, numbers: int, build: Callable[..., None]) -> Any:
    """An intrinsic of addresses and numbers, built for a part of the lanes at a time.

    Args:
        build: (builder, rows at the addresses, numbers in all lanes).
    """

    def operation(typing: Any, *given: Any) -> Any:
        signature = types.void(*[types.int64] * addresses, *[types.float64] * numbers)

        def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            wide = []
            for value in values[addresses:]:
                single = builder.insert_element(
                    ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
                )
                mask = ir.Constant(ir.VectorType(ir.IntType(32), _WIDTH), [0] * _WIDTH)
                wide.append(builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), mask))
            with cgutils.for_range(builder, ir.Constant(ir.IntType(64), LANES // _WIDTH)) as loop:
                offset = builder.mul(loop.index, ir.Constant(ir.IntType(64), _WIDTH * 8))
                build(builder, [_Row(builder, a, offset) for a in values[:addresses]], wide)
            return context.get_dummy_value()

        return signature, generate

    names = ("typing", *(f"a{i}" for i in range(addresses + numbers)))  # numba wants to know how many there are
    typed: Any = operation
    typed.__signature__ = Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names])
    return intrinsic(operation)


def _residual(b: Any, rows: list[_Row], _: Any) -> None:
    """`out` = by_f · f + by_z · slope + by_e · error."""
    out, f, slope, error, by_f, by_z, by_e = rows
    total = b.fmul(by_f.load(), f.load())
    total = b.fadd(total, b.fmul(by_z.load(), slope.load()))
    out.store(b.fadd(total, b.fmul(by_e.load(), error.load())))


def _advance(b: Any, rows: list[_Row], _: Any) -> None:
    """The error grows by a step, the state is what was predicted with it; squares of both, weighted, are added up."""
    step, error, predicted, state, weight, first, second = rows
    d = step.load()
    e = b.fadd(error.load(), d)
    error.store(e)
    state.store(b.fadd(predicted.load(), e))
    w = weight.load()
    d, e = b.fmul(d, w), b.fmul(e, w)
    first.store(b.fadd(first.load(), b.fmul(d, d)))
    second.store(b.fadd(second.load(), b.fmul(e, e)))


def _correct(b: Any, rows: list[_Row], _: Any) -> None:
    """z_j + l_j · error where all bits of `accepted` are set."""
    z, shape, accepted, error = rows
    e = b.bitcast(b.and_(b.bitcast(error.load(), _BITS), b.bitcast(accepted.load(), _BITS)), _VECTOR)
    for j in range(HIGHEST + 1):
        z.store(b.fadd(z.load(j), b.fmul(shape.load(j), e)), j)


def _predict(b: Any, rows: list[_Row], numbers: list[Any]) -> None:
    """x, weight and the prediction of the next step, where all bits of `moved` are set."""
    z, powers, moved, x, weight, floor, error, state = rows
    (rtol,) = numbers
    here = b.bitcast(moved.load(), _BITS)
    now = _chosen(b, here, z.load(), x.load())
    x.store(now)
    size = b.call(
        b.module.declare_intrinsic(f"llvm.fabs.v{_WIDTH}f64", fnty=ir.FunctionType(_VECTOR, [_VECTOR])), [now]
    )
    weight.store(b.fdiv(_splat(1.0), b.fadd(floor.load(), b.fmul(rtol, size))))
    found = [z.load()] + [b.fmul(z.load(j), powers.load(j)) for j in range(1, HIGHEST + 1)]
    for k in range(1, HIGHEST + 1):
        for j in range(HIGHEST, k - 1, -1):
            found[j - 1] = b.fadd(found[j - 1], found[j])
    for j, value in enumerate(found):
        z.store(_chosen(b, here, value, z.load(j)), j)
    error.store(_chosen(b, here, _splat(0.0), error.load()))
    state.store(_chosen(b, here, found[0], state.load()))


def _exchange(b: Any, rows: list[_Row], _: Any) -> None:
    """What is new is kept where all bits of `wanted` are set; elsewhere what was kept is put back."""
    new, kept, wanted = rows
    value = _chosen(b, b.bitcast(wanted.load(), _BITS), new.load(), kept.load())
    new.store(value)
    kept.store(value)


def _less(b: Any, rows: list[_Row], _: Any) -> None:
    """`out` = left - right."""
    out, left, right = rows
    out.store(b.fsub(left.load(), right.load()))


v_exchange: Any = _over_lanes(3, 0, _exchange)
v_less: Any = _over_lanes(3, 0, _less)
v_residual: Any = _over_lanes(7, 0, _residual)
v_advance: Any = _over_lanes(7, 0, _advance)
v_correct: Any = _over_lanes(4, 0, _correct)
v_predict: Any = _over_lanes(8, 1, _predict)
