"""Operations over lanes: one instruction acts on the same quantity of `LANES` members at once, as vectors of the CPU.

A register is `LANES` numbers that lie side by side. An instruction is five integers: what to do, where the result
goes, and up to three arguments, all by register number. Nothing here knows what is computed.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

LANES: Final = 16
"""Members that one instruction acts on; four AVX2 vectors, which hides what it takes to read the instruction."""

Instructions = NDArray[np.int32]
"""`[I, 5]`: operation, result, three arguments."""

OPCODES: Final[dict[str, int]] = {
    name: code
    for code, name in enumerate(
        [
            "mul",
            "madd",
            "nmadd",
            "add",
            "sub",
            "div",
            "copy",
            "neg",
            "recip",
            "sqrt",
            "msub",
            "ln",
            "exp",
            "pow",
            "abs",
            "lt",
            "le",
            "gt",
            "ge",
            "eq",
            "ne",
            "and",
            "or",
            "xor",
            "not",
            "where",
            "min",
            "max",
            "floor",
            "ceil",
            "rem",
            "quotient",
            "factorial",
            "sin",
            "cos",
            "tan",
            "asin",
            "acos",
            "atan",
            "sinh",
            "cosh",
            "tanh",
            "asinh",
            "acosh",
            "atanh",
        ]
    )
}
"""Name → code. `madd` is a*b + c, `msub` a*b - c, `nmadd` c - a*b."""

_VECTOR = ir.VectorType(ir.DoubleType(), LANES)


def _vector_operation(build: Any, arguments: int) -> Any:
    """An intrinsic f(address of register 0, result, a, b, c) that loads whole registers, computes, and stores."""

    @intrinsic
    def operation(typing: Any, base: Any, d: Any, a: Any, b: Any, c: Any) -> Any:  # pyright: ignore[reportUnusedParameter]
        signature = types.void(types.int64, types.int64, types.int64, types.int64, types.int64)

        def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            start, places = given[0], given[1:]
            width = ir.Constant(ir.IntType(64), LANES * 8)

            def pointer(register: Any) -> Any:
                return builder.inttoptr(builder.add(start, builder.mul(register, width)), _VECTOR.as_pointer())

            loaded = []
            for place in places[1 : 1 + arguments]:
                value = builder.load(pointer(place))
                value.align = 8
                loaded.append(value)
            builder.store(build(builder, *loaded), pointer(places[0])).align = 8
            return context.get_dummy_value()

        return signature, generate

    return operation


def _splat(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * LANES)


def _call(builder: Any, name: str, *values: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(values))
    function = builder.module.declare_intrinsic(f"llvm.{name}.v{LANES}f64", fnty=kind)
    return builder.call(function, values)


_v_add = _vector_operation(lambda q, a, b: q.fadd(a, b), 2)
_v_sub = _vector_operation(lambda q, a, b: q.fsub(a, b), 2)
_v_mul = _vector_operation(lambda q, a, b: q.fmul(a, b), 2)
_v_div = _vector_operation(lambda q, a, b: q.fdiv(a, b), 2)
_v_madd = _vector_operation(lambda q, a, b, c: q.fadd(q.fmul(a, b), c), 3)
_v_msub = _vector_operation(lambda q, a, b, c: q.fsub(q.fmul(a, b), c), 3)
_v_nmadd = _vector_operation(lambda q, a, b, c: q.fsub(c, q.fmul(a, b)), 3)
_v_copy = _vector_operation(lambda q, a: a, 1)
_v_neg = _vector_operation(lambda q, a: q.fsub(_splat(-0.0), a), 1)
_v_recip = _vector_operation(lambda q, a: q.fdiv(_splat(1.0), a), 1)
_v_sqrt = _vector_operation(lambda q, a: _call(q, "sqrt", a), 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def one(op: int, a: float, b: float, c: float) -> float:
    """One operation on plain numbers; what the vector instructions do, lane by lane."""
    if op == 0:
        return a * b
    if op == 1:
        return a * b + c
    if op == 2:
        return c - a * b
    if op == 3:
        return a + b
    if op == 4:
        return a - b
    if op == 5:
        return a / b
    if op == 6:
        return a
    if op == 7:
        return -a
    if op == 8:
        return 1.0 / a
    if op == 9:
        return math.sqrt(a) if a >= 0.0 else math.nan
    if op == 10:
        return a * b - c
    if op == 11:
        return np.log(a)
    if op == 12:
        return np.exp(a)
    if op == 13:
        return np.power(a, b)
    if op == 14:
        return abs(a)
    if op == 15:
        return 1.0 if a < b else 0.0
    if op == 16:
        return 1.0 if a <= b else 0.0
    if op == 17:
        return 1.0 if a > b else 0.0
    if op == 18:
        return 1.0 if a >= b else 0.0
    if op == 19:
        return 1.0 if a == b else 0.0
    if op == 20:
        return 1.0 if a != b else 0.0
    if op == 21:
        return 1.0 if a != 0.0 and b != 0.0 else 0.0
    if op == 22:
        return 1.0 if a != 0.0 or b != 0.0 else 0.0
    if op == 23:
        return 1.0 if (a != 0.0) != (b != 0.0) else 0.0
    if op == 24:
        return 1.0 if a == 0.0 else 0.0
    if op == 25:
        return b if a != 0.0 else c
    if op == 26:
        return np.minimum(a, b)
    if op == 27:
        return np.maximum(a, b)
    if op == 28:
        return np.floor(a)
    if op == 29:
        return np.ceil(a)
    if op == 30:
        return np.fmod(a, b)
    if op == 31:
        return np.trunc(a / b)
    if op == 32:
        return math.gamma(a + 1.0)
    if op == 33:
        return np.sin(a)
    if op == 34:
        return np.cos(a)
    if op == 35:
        return np.tan(a)
    if op == 36:
        return np.arcsin(a)
    if op == 37:
        return np.arccos(a)
    if op == 38:
        return np.arctan(a)
    if op == 39:
        return np.sinh(a)
    if op == 40:
        return np.cosh(a)
    if op == 41:
        return np.tanh(a)
    if op == 42:
        return np.arcsinh(a)
    if op == 43:
        return np.arccosh(a)
    return np.arctanh(a)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def execute(code: Instructions, registers: Any) -> None:
    """Run instructions `[I, 5]` on all lanes of `registers` `[R * LANES]`."""
    base = registers.ctypes.data
    for i in range(code.shape[0]):
        op = code[i, 0]
        d, a, b, c = np.int64(code[i, 1]), np.int64(code[i, 2]), np.int64(code[i, 3]), np.int64(code[i, 4])
        if op == 0:
            _v_mul(base, d, a, b, c)
        elif op == 1:
            _v_madd(base, d, a, b, c)
        elif op == 2:
            _v_nmadd(base, d, a, b, c)
        elif op == 3:
            _v_add(base, d, a, b, c)
        elif op == 4:
            _v_sub(base, d, a, b, c)
        elif op == 5:
            _v_div(base, d, a, b, c)
        elif op == 6:
            _v_copy(base, d, a, b, c)
        elif op == 7:
            _v_neg(base, d, a, b, c)
        elif op == 8:
            _v_recip(base, d, a, b, c)
        elif op == 9:
            _v_sqrt(base, d, a, b, c)
        elif op == 10:
            _v_msub(base, d, a, b, c)
        else:
            for lane in range(LANES):
                registers[d * LANES + lane] = one(
                    op, registers[a * LANES + lane], registers[b * LANES + lane], registers[c * LANES + lane]
                )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def execute_lane(code: Instructions, registers: Any, lane: int) -> None:
    """Run instructions on one lane alone: the same bits as `execute` gives in that lane."""
    for i in range(code.shape[0]):
        registers[code[i, 1] * LANES + lane] = one(
            code[i, 0],
            registers[code[i, 2] * LANES + lane],
            registers[code[i, 3] * LANES + lane],
            registers[code[i, 4] * LANES + lane],
        )
