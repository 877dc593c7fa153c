"""Operations over lanes: one instruction acts on the same quantity of `LANES` members at once, as vectors of the CPU.

A register is `LANES` numbers that lie side by side. An instruction is five integers: what to do, where the result
goes, and up to three arguments, all by register number. Nothing here knows what is computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
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
            "mul3",
            "dot",
            "sum",
        ]
    )
}
"""Name → code. `madd` is a*b + c, `msub` a*b - c, `nmadd` c - a*b, `mul3` (a*b)*c.

Two are longer than one row, for what is added up then stays in the CPU's registers; only `execute` and `execute_lane` know them.
`dot` (result, c, scale, n): (c - Σ a_k*b_k) * scale, where a scale below 0 is none; n pairs (a, b) follow.
`sum` (result, plus, minus, products added): Σ a - Σ b + Σ c*d - Σ e*f; the number of products that are subtracted
follows, then the registers of all four parts. What follows is packed five to a row.
"""

_MUL3, _DOT, _SUM = OPCODES["mul3"], OPCODES["dot"], OPCODES["sum"]


def dot(result: int, c: int, pairs: Sequence[tuple[int, int]], scale: int = -1) -> list[tuple[int, ...]]:
    """Rows of a `dot`."""
    return _rows([_DOT, result, c, scale, len(pairs)], [place for pair in pairs for place in pair])


def signed_sum(
    result: int,
    plus: Sequence[int],
    minus: Sequence[int],
    added: Sequence[tuple[int, int]],
    subtracted: Sequence[tuple[int, int]],
) -> list[tuple[int, ...]]:
    """Rows of a `sum`."""
    products = [place for pair in (*added, *subtracted) for place in pair]
    return _rows([_SUM, result, len(plus), len(minus), len(added)], [len(subtracted), *plus, *minus, *products])


def _rows(head: list[int], more: list[int]) -> list[tuple[int, ...]]:
    numbers = head + more + [0] * (-len(more) % 5)
    return [tuple(numbers[i : i + 5]) for i in range(0, len(numbers), 5)]


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
_v_mul3 = _vector_operation(lambda q, a, b, c: q.fmul(q.fmul(a, b), c), 3)
_v_recip = _vector_operation(lambda q, a: q.fdiv(_splat(1.0), a), 1)
_v_sqrt = _vector_operation(lambda q, a: _call(q, "sqrt", a), 1)


def _load(builder: Any, address: Any) -> Any:
    value = builder.load(builder.inttoptr(address, _VECTOR.as_pointer()))
    value.align = 8
    return value


def _index(builder: Any, terms: Any, k: Any) -> Any:
    """The k-th of packed numbers, wide."""
    pointer = builder.gep(builder.inttoptr(terms, ir.IntType(32).as_pointer()), [k])
    return builder.sext(builder.load(pointer), ir.IntType(64))


def _register(builder: Any, base: Any, terms: Any, k: Any) -> Any:
    """The register whose number is the k-th of packed ones."""
    width = ir.Constant(ir.IntType(64), LANES * 8)
    return _load(builder, builder.add(base, builder.mul(_index(builder, terms, k), width)))


def _products(typing: Any, base: Any, d: Any, c: Any, terms: Any, n: Any, sign: Any):  # pyright: ignore[reportUnusedParameter]
    """Register d = register c ± the products of n pairs of registers; + if sign is 1."""
    signature = types.void(*[types.int64] * 6)

    def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        start, d, c, terms, n, sign = given
        width, one_, two = (ir.Constant(ir.IntType(64), value) for value in (LANES * 8, 1, 2))
        total = cgutils.alloca_once(builder, _VECTOR)
        builder.store(_load(builder, builder.add(start, builder.mul(c, width))), total)
        with builder.if_else(builder.icmp_signed("==", sign, one_)) as (plus, minus):
            for branch, combined in ((plus, builder.fadd), (minus, builder.fsub)):
                with branch, cgutils.for_range(builder, n) as loop:
                    k = builder.mul(loop.index, two)
                    a = _register(builder, start, terms, k)
                    b = _register(builder, start, terms, builder.add(k, one_))
                    builder.store(combined(builder.load(total), builder.fmul(a, b)), total)
        address = builder.add(start, builder.mul(d, width))
        builder.store(builder.load(total), builder.inttoptr(address, _VECTOR.as_pointer())).align = 8
        return context.get_dummy_value()

    return signature, generate


_v_products: Any = intrinsic(_products)


def _terms(typing: Any, base: Any, d: Any, terms: Any, plus: Any, minus: Any):  # pyright: ignore[reportUnusedParameter]
    """Register d = the sum of registers less the sum of others."""
    signature = types.void(*[types.int64] * 5)

    def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        start, d, terms, plus, minus = given
        width = ir.Constant(ir.IntType(64), LANES * 8)
        total = cgutils.alloca_once(builder, _VECTOR)
        builder.store(_splat(0.0), total)
        with cgutils.for_range(builder, plus) as loop:
            builder.store(builder.fadd(builder.load(total), _register(builder, start, terms, loop.index)), total)
        with cgutils.for_range(builder, minus) as loop:
            k = builder.add(plus, loop.index)
            builder.store(builder.fsub(builder.load(total), _register(builder, start, terms, k)), total)
        address = builder.add(start, builder.mul(d, width))
        builder.store(builder.load(total), builder.inttoptr(address, _VECTOR.as_pointer())).align = 8
        return context.get_dummy_value()

    return signature, generate


_v_terms: Any = intrinsic(_terms)


def _combine(typing: Any, out: Any, start: Any, vectors: Any, stride: Any, weights: Any, n: Any):  # pyright: ignore[reportUnusedParameter]
    """`LANES` numbers at `out` = those at `start` + Σ weight_k × those at `vectors` + k × `stride` (all addresses)."""
    signature = types.void(*[types.int64] * 6)

    def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        out, start, vectors, stride, weights, n = given
        total = cgutils.alloca_once(builder, _VECTOR)
        builder.store(_load(builder, start), total)
        lane = ir.IntType(32)
        with cgutils.for_range(builder, n) as loop:
            pointer = builder.gep(builder.inttoptr(weights, ir.DoubleType().as_pointer()), [loop.index])
            single = builder.insert_element(
                ir.Constant(_VECTOR, ir.Undefined), builder.load(pointer), ir.Constant(lane, 0)
            )
            mask = ir.Constant(ir.VectorType(lane, LANES), [0] * LANES)
            weight = builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), mask)
            vector = _load(builder, builder.add(vectors, builder.mul(loop.index, stride)))
            builder.store(builder.fadd(builder.load(total), builder.fmul(weight, vector)), total)
        builder.store(builder.load(total), builder.inttoptr(out, _VECTOR.as_pointer())).align = 8
        return context.get_dummy_value()

    return signature, generate


_v_combine: Any = intrinsic(_combine)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def combine(out: Any, first: int, start: Any, vectors: Any, weights: Any, count: int, rows: int) -> None:
    """Rows of `out` from number `first` on = rows of `start` + Σ weight_k × rows of `vectors[k]`, the first `count`.

    Args:
        out, start: numbers, `LANES` to a row.
        vectors: `[K, rows * LANES]`.
    """
    width = LANES * 8
    o, x, v = out.ctypes.data + first * width, start.ctypes.data, vectors.ctypes.data
    w, stride = weights.ctypes.data, vectors.shape[1] * 8
    for row in range(rows):
        _v_combine(o + row * width, x + row * width, v + row * width, stride, w, count)


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
    if op == 44:
        return np.arctanh(a)
    return (a * b) * c  # mul3


@numba.njit(cache=True, nogil=True, error_model="numpy")
def execute(code: Instructions, registers: Any) -> None:
    """Run instructions `[I, 5]` on all lanes of `registers` `[R * LANES]`."""
    base, rows = registers.ctypes.data, code.ctypes.data
    i, end = 0, code.shape[0]
    while i < end:
        op = code[i, 0]
        d, a, b, c = np.int64(code[i, 1]), np.int64(code[i, 2]), np.int64(code[i, 3]), np.int64(code[i, 4])
        i += 1
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
        elif op == _MUL3:
            _v_mul3(base, d, a, b, c)
        elif op == _DOT:
            _v_products(base, d, a, rows + 20 * i, c, 0)
            if b >= 0:
                _v_mul(base, d, d, b, b)
            i += (2 * c + 4) // 5
        elif op == _SUM:
            subtracted, terms = np.int64(code[i, 0]), rows + 20 * i + 4
            _v_terms(base, d, terms, a, b)
            if c > 0:
                _v_products(base, d, d, terms + 4 * (a + b), c, 1)
            if subtracted > 0:
                _v_products(base, d, d, terms + 4 * (a + b + 2 * c), subtracted, 0)
            i += (1 + a + b + 2 * (c + subtracted) + 4) // 5
        else:
            for lane in range(LANES):
                registers[d * LANES + lane] = one(
                    op, registers[a * LANES + lane], registers[b * LANES + lane], registers[c * LANES + lane]
                )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def execute_lane(code: Instructions, registers: Any, lane: int) -> None:
    """Run instructions on one lane alone: the same bits as `execute` gives in that lane."""
    numbers = code.reshape(-1)
    i, end = 0, code.shape[0]
    while i < end:
        op, d, a, b, c = code[i, 0], code[i, 1], code[i, 2], code[i, 3], code[i, 4]
        i += 1
        if op == _DOT:
            first, total = 5 * i, registers[a * LANES + lane]
            for k in range(c):
                total -= (
                    registers[numbers[first + 2 * k] * LANES + lane]
                    * registers[numbers[first + 2 * k + 1] * LANES + lane]
                )
            registers[d * LANES + lane] = total * registers[b * LANES + lane] if b >= 0 else total
            i += (2 * c + 4) // 5
        elif op == _SUM:
            first, subtracted, total = 5 * i + 1, numbers[5 * i], 0.0
            for k in range(a):
                total += registers[numbers[first + k] * LANES + lane]
            for k in range(a, a + b):
                total -= registers[numbers[first + k] * LANES + lane]
            first += a + b
            for k in range(c + subtracted):
                product = (
                    registers[numbers[first + 2 * k] * LANES + lane]
                    * registers[numbers[first + 2 * k + 1] * LANES + lane]
                )
                total = total + product if k < c else total - product
            registers[d * LANES + lane] = total
            i += (1 + a + b + 2 * (c + subtracted) + 4) // 5
        else:
            registers[d * LANES + lane] = one(
                op, registers[a * LANES + lane], registers[b * LANES + lane], registers[c * LANES + lane]
            )
