"""Operations on whole registers, as LLVM instructions: numbers of `LANES` members side by side, as vectors of the CPU."""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES: Final = 16
"""Members that one instruction acts on; four AVX2 vectors, which hides what it takes to read the instruction."""

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


v_add = _vector_operation(lambda q, a, b: q.fadd(a, b), 2)
v_sub = _vector_operation(lambda q, a, b: q.fsub(a, b), 2)
v_mul = _vector_operation(lambda q, a, b: q.fmul(a, b), 2)
v_div = _vector_operation(lambda q, a, b: q.fdiv(a, b), 2)
v_madd = _vector_operation(lambda q, a, b, c: q.fadd(q.fmul(a, b), c), 3)
v_msub = _vector_operation(lambda q, a, b, c: q.fsub(q.fmul(a, b), c), 3)
v_nmadd = _vector_operation(lambda q, a, b, c: q.fsub(c, q.fmul(a, b)), 3)
v_copy = _vector_operation(lambda q, a: a, 1)
v_neg = _vector_operation(lambda q, a: q.fsub(_splat(-0.0), a), 1)
v_mul3 = _vector_operation(lambda q, a, b, c: q.fmul(q.fmul(a, b), c), 3)
v_recip = _vector_operation(lambda q, a: q.fdiv(_splat(1.0), a), 1)
v_sqrt = _vector_operation(lambda q, a: _call(q, "sqrt", a), 1)


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


v_products: Any = intrinsic(_products)


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


v_terms: Any = intrinsic(_terms)


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


v_combine: Any = intrinsic(_combine)
