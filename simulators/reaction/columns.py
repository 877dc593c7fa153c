"""Operations over columns: scalars of one member act on rows of its sensitivities, as vectors of the CPU.

Sensitivities of a member are a matrix, a row for each state and a column for each quantity that they are taken to. It is
cut into tiles of 32, 16, 8 or 4 columns; within a tile rows lie one after the other. A product with a sparse matrix, or a
substitution, is then one call per tile, whose rows are accumulated in the CPU's registers.

Every argument that is not said to be something else is an address; numbers in tables are int64, terms int32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from simulators.reaction.lanes import LANES

WIDTHS: Final = (32, 16, 8, 4)
_HALF: Final = WIDTHS[1] * 8
"""Bytes of half of the widest row: what needs two sums at once takes such a row in halves, which registers hold."""

_WIDE, _NARROW, _DOUBLE = ir.IntType(64), ir.IntType(32), ir.DoubleType()


def tiles(count: int) -> NDArray[np.int64]:
    """Widths of the tiles that hold a number of columns; together they are at least as wide."""
    widest, *_, narrowest = WIDTHS
    found = [widest] * (count // widest)
    left = count % widest
    for width in WIDTHS[1:]:
        if left >= width:
            found.append(width)
            left -= width
    return np.array([*found, narrowest] if left else found, dtype=np.int64)


class _Writer:
    """LLVM instructions over vectors of some width, in rows that lie `pitch` bytes apart."""

    def __init__(self, builder: Any, width: int, pitch: int) -> None:
        self.b, self.width, self.pitch = builder, width, pitch
        self.kind = ir.VectorType(_DOUBLE, width)

    def whole(self, value: int) -> Any:
        return ir.Constant(_WIDE, value)

    def at(self, base: Any, row: Any, size: int = 0) -> Any:
        """The address of a row: a vector's, or of numbers of `size` bytes."""
        return self.b.add(base, self.b.mul(row, self.whole(size or self.pitch)))

    def vector(self, address: Any) -> Any:
        value = self.b.load(self.b.inttoptr(address, self.kind.as_pointer()))
        value.align = 8
        return value

    def store(self, value: Any, address: Any) -> None:
        self.b.store(value, self.b.inttoptr(address, self.kind.as_pointer())).align = 8

    def number(self, address: Any, kind: Any) -> Any:
        return self.b.load(self.b.inttoptr(address, kind.as_pointer()))

    def index(self, address: Any) -> Any:
        return self.b.sext(self.number(address, _NARROW), _WIDE)

    def splat(self, value: Any) -> Any:
        single = self.b.insert_element(ir.Constant(self.kind, ir.Undefined), value, ir.Constant(_NARROW, 0))
        mask = ir.Constant(ir.VectorType(_NARROW, self.width), [0] * self.width)
        return self.b.shuffle_vector(single, ir.Constant(self.kind, ir.Undefined), mask)

    def constant(self, value: float) -> Any:
        return ir.Constant(self.kind, [value] * self.width)

    def call(self, name: str, *values: Any) -> Any:
        kind = ir.FunctionType(self.kind, [self.kind] * len(values))
        return self.b.call(self.b.module.declare_intrinsic(f"llvm.{name}.v{self.width}f64", fnty=kind), values)

    def greater(self, a: Any, b: Any) -> Any:
        return self.b.select(self.b.fcmp_ordered(">", a, b), a, b)


def _operation(width: int, kinds: str, build: Callable[..., None], pitch: int = 0) -> Any:
    """An intrinsic whose arguments are integers (i) or doubles (d), and whose instructions `build` writes."""
    signature = types.void(*(types.int64 if kind == "i" else types.float64 for kind in kinds))
    names = ", ".join(f"a{i}" for i in range(len(kinds)))

    def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        build(_Writer(builder, width, pitch or width * 8), *given)
        return context.get_dummy_value()

    scope: dict[str, Any] = {"found": (signature, generate)}
    exec(f"def operation(typing, {names}): return found", scope)  # intrinsics need a fixed list of arguments
    return intrinsic(scope["operation"])


def _write_mix(w: _Writer, u: Any, c: Any, s: Any, k: Any, stride: Any, a: Any, b: Any, n: Any, rows: Any) -> None:
    one, other = cgutils.alloca_once(w.b, w.kind), cgutils.alloca_once(w.b, w.kind)
    with cgutils.for_range(w.b, rows) as row:
        w.b.store(w.vector(w.at(s, row.index)), one)
        w.b.store(w.constant(0.0), other)
        first = w.at(k, row.index)
        with cgutils.for_range(w.b, n) as stage:
            vector = w.vector(w.b.add(first, w.b.mul(stage.index, stride)))
            for total, weights in ((one, a), (other, b)):
                weight = w.splat(w.number(w.at(weights, stage.index, 8), _DOUBLE))
                w.b.store(w.call("fmuladd", weight, vector, w.b.load(total)), total)
        w.store(w.b.load(one), w.at(u, row.index))
        w.store(w.b.load(other), w.at(c, row.index))


def _write_gather(
    w: _Writer, out: Any, start: Any, scalars: Any, vectors: Any, table: Any, rows: Any, terms: Any, scales: Any
) -> None:
    total = cgutils.alloca_once(w.b, w.kind)
    with cgutils.for_range(w.b, rows) as row:
        entry = w.at(table, row.index, 32)
        target, first, end, scale = (w.number(w.b.add(entry, w.whole(8 * i)), _WIDE) for i in range(4))
        w.b.store(w.vector(w.at(start, target)), total)
        with cgutils.for_range_slice(w.b, first, end, w.whole(1)) as (k, _):
            term = w.at(terms, k, 8)
            scalar = w.splat(w.number(w.at(scalars, w.index(term), 8), _DOUBLE))
            vector = w.vector(w.at(vectors, w.index(w.b.add(term, w.whole(4)))))
            w.b.store(w.call("fmuladd", scalar, vector, w.b.load(total)), total)
        with cgutils.if_likely(w.b, w.b.icmp_signed(">=", scale, w.whole(0))):
            factor = w.splat(w.number(w.at(scales, scale, 8), _DOUBLE))
            w.b.store(w.b.fmul(w.b.load(total), factor), total)
        w.store(w.b.load(total), w.at(out, target))


def _write_wrong(
    w: _Writer, out: Any, error: Any, end: Any, peak: Any, floor: Any, scale: Any, more: Any, rtol: Any, rows: Any
) -> None:
    total = cgutils.alloca_once(w.b, w.kind)
    w.b.store(w.constant(0.0), total)
    scaled, relative, own = w.vector(scale), w.splat(rtol), w.vector(more)
    with cgutils.for_range(w.b, rows) as row:
        e, then = w.vector(w.at(error, row.index)), w.vector(w.at(end, row.index))
        w.store(w.b.fadd(then, e), w.at(end, row.index))
        size = w.greater(w.call("fabs", w.b.fadd(then, e)), w.vector(w.at(peak, row.index)))
        allowed = w.b.fmul(w.splat(w.number(w.at(floor, row.index, 8), _DOUBLE)), scaled)
        allowed = w.call("fmuladd", relative, w.b.fadd(size, own), allowed)
        still = w.b.fcmp_ordered("==", e, w.constant(0.0))  # 0/0 where a column is nothing altogether
        ratio = w.b.select(still, w.constant(0.0), w.b.fdiv(e, allowed))
        w.b.store(w.call("fmuladd", ratio, ratio, w.b.load(total)), total)
    w.store(w.b.load(total), out)


def _write_advance(w: _Writer, s: Any, end: Any, peak: Any, rows: Any) -> None:
    with cgutils.for_range(w.b, rows) as row:
        value = w.vector(w.at(end, row.index))
        w.store(value, w.at(s, row.index))
        w.store(w.greater(w.call("fabs", value), w.vector(w.at(peak, row.index))), w.at(peak, row.index))


def _write_spread(w: _Writer, out: Any, stride: Any, base: Any, registers: Any, n: Any, sign: Any, add: Any) -> None:
    factor = w.splat(sign)
    with cgutils.for_range(w.b, n) as entry:
        pair = w.at(registers, entry.index, 16)
        register, place = w.number(pair, _WIDE), w.number(w.b.add(pair, w.whole(8)), _WIDE)
        vector = w.b.fmul(w.vector(w.at(base, register)), factor)
        target = w.at(out, place, 8)
        with w.b.if_else(w.b.icmp_signed("!=", add, w.whole(0))) as (onto, anew):
            for branch, more in ((onto, True), (anew, False)):
                with branch:
                    address = target
                    for lane in range(w.width):
                        value = w.b.extract_element(vector, ir.Constant(_NARROW, lane))
                        pointer = w.b.inttoptr(address, _DOUBLE.as_pointer())
                        w.b.store(w.b.fadd(w.b.load(pointer), value) if more else value, pointer)
                        address = w.b.add(address, stride)


_mix_16, _mix_8, _mix_4 = (_operation(w, "iiiiiiiii", _write_mix) for w in WIDTHS[1:])
_mix_half = _operation(WIDTHS[1], "iiiiiiiii", _write_mix, 2 * _HALF)
_gather_32, _gather_16, _gather_8, _gather_4 = (_operation(w, "iiiiiiii", _write_gather) for w in WIDTHS)
_wrong_16, _wrong_8, _wrong_4 = (_operation(w, "iiiiiiidi", _write_wrong) for w in WIDTHS[1:])
_wrong_half = _operation(WIDTHS[1], "iiiiiiidi", _write_wrong, 2 * _HALF)
_advance_16, _advance_8, _advance_4 = (_operation(w, "iiii", _write_advance) for w in WIDTHS[1:])
_advance_half = _operation(WIDTHS[1], "iiii", _write_advance, 2 * _HALF)
_spread = _operation(LANES, "iiiiidi", _write_spread)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def mix(width: int, u: int, c: int, s: int, k: int, stride: int, a: int, b: int, n: int, rows: int) -> None:
    """Rows of a tile: u = s + Σ a_i × k_i and c = Σ b_i × k_i over n stages, whose rows lie `stride` bytes apart."""
    if width == 32:
        for half in (0, _HALF):
            _mix_half(u + half, c + half, s + half, k + half, stride, a, b, n, rows)
    elif width == 16:
        _mix_16(u, c, s, k, stride, a, b, n, rows)
    elif width == 8:
        _mix_8(u, c, s, k, stride, a, b, n, rows)
    else:
        _mix_4(u, c, s, k, stride, a, b, n, rows)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gather(
    width: int, out: int, start: int, scalars: int, vectors: int, table: int, rows: int, terms: int, scales: int
) -> None:
    """Rows of a tile, one after the other: out = (start + Σ scalar × vector) × scale.

    Args:
        table: number of the row, first term, end, number of the scale or -1 `[rows, 4]`.
        terms: number of the scalar, number of the vector.
    """
    if width == 32:
        _gather_32(out, start, scalars, vectors, table, rows, terms, scales)
    elif width == 16:
        _gather_16(out, start, scalars, vectors, table, rows, terms, scales)
    elif width == 8:
        _gather_8(out, start, scalars, vectors, table, rows, terms, scales)
    else:
        _gather_4(out, start, scalars, vectors, table, rows, terms, scales)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def wrong(
    width: int, out: int, error: int, end: int, peak: int, floor: int, scale: int, more: int, rtol: float, rows: int
) -> None:
    """Sums over rows of (error / (floor × scale + rtol × (greatest + more)))², where `end` grows by the error and is not below
    `peak` for what is the greatest; `floor` is a number of each row,
    `scale` and `more` are numbers of each column."""
    if width == 32:
        for half in (0, _HALF):
            _wrong_half(out + half, error + half, end + half, peak + half, floor, scale + half, more + half, rtol, rows)
    elif width == 16:
        _wrong_16(out, error, end, peak, floor, scale, more, rtol, rows)
    elif width == 8:
        _wrong_8(out, error, end, peak, floor, scale, more, rtol, rows)
    else:
        _wrong_4(out, error, end, peak, floor, scale, more, rtol, rows)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def advance(width: int, s: int, end: int, peak: int, rows: int) -> None:
    """Rows of a tile: s = end, and peak is the greatest that |s| has been."""
    if width == 32:
        for half in (0, _HALF):
            _advance_half(s + half, end + half, peak + half, rows)
    elif width == 16:
        _advance_16(s, end, peak, rows)
    elif width == 8:
        _advance_8(s, end, peak, rows)
    else:
        _advance_4(s, end, peak, rows)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def spread(out: int, stride: int, base: int, registers: int, n: int, sign: float, add: bool) -> None:
    """Numbers of each lane, side by side: out[lane][place] = sign × register, or grows by it.

    Args:
        stride: bytes from one lane's numbers to the next one's.
        base: register 0.
        registers: register and place `[n, 2]`.
    """
    _spread(out, stride, base, registers, n, sign, 1 if add else 0)
