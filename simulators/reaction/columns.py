"""Operations over columns: scalars of one member act on rows of its sensitivities, as vectors of the CPU.

Sensitivities of a member are a matrix, a row for each state and a column for each quantity that they are taken to. It is
cut into tiles of up to 56 columns; within a tile rows lie one after the other. A product with a sparse matrix, or a
substitution, is then one call per tile, whose rows are accumulated in the CPU's registers, four columns in each: 14 of
the 16, so that what it takes to read a term, and to see a row end, is paid for few tiles.

Every argument that is not said to be something else is an address; numbers in tables are int64, terms int32.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numpy.typing import NDArray

from simulators.reaction.column_vector import DOUBLE, FOUR, NARROW, VECTOR, WIDE, Writer, operation
from simulators.reaction.lanes import LANES

WIDTHS: Final = (56, 52, 48, 40, 32, 28, 24, 16, 8, 4)


def tiles(count: int) -> NDArray[np.int64]:
    """Widths of the tiles that hold a number of columns, as even as can be: a row's terms take a narrow tile almost
    as long as one of 16. Together they are at least as wide."""
    parts = -(-count // WIDTHS[0])
    found: list[int] = []
    for part in range(parts):
        share = -(-(count - sum(found)) // (parts - part))
        found.append(min(width for width in WIDTHS if width >= share))
    return np.array(found, dtype=np.int64)


def _write_mix(w: Writer, pitch: Any, u: Any, c: Any, s: Any, k: Any, stride: Any, a: Any, b: Any, n: Any, rows: Any):
    one, other = w.room(), w.room()
    with cgutils.for_range(w.b, rows) as row:
        w.keep(w.row(w.at(s, row.index, pitch)), one)
        w.keep(w.zeros(), other)
        first = w.at(k, row.index, pitch)
        with cgutils.for_range(w.b, n) as stage:
            vector = w.row(w.at(first, stage.index, stride))
            for total, weights in ((one, a), (other, b)):
                weight = w.splat(w.number(w.at(weights, stage.index, 8), DOUBLE))
                w.keep(w.fma(w.same(weight), vector, w.kept(total)), total)
        w.store(w.kept(one), w.at(u, row.index, pitch))
        w.store(w.kept(other), w.at(c, row.index, pitch))


def _write_total(w: Writer, pitch: Any, out: Any, k: Any, stride: Any, weights: Any, n: Any, rows: Any) -> None:
    total = w.room()
    with cgutils.for_range(w.b, rows) as row:
        first = w.at(k, row.index, pitch)
        w.keep(w.each(w.b.fmul, w.same(w.splat(w.number(weights, DOUBLE))), w.row(first)), total)
        with cgutils.for_range_slice(w.b, w.whole(1), n, w.whole(1)) as (i, _):
            weight = w.splat(w.number(w.at(weights, i, 8), DOUBLE))
            w.keep(w.fma(w.same(weight), w.row(w.at(first, i, stride)), w.kept(total)), total)
        w.store(w.kept(total), w.at(out, row.index, pitch))


def _write_gather(
    w: Writer, out: Any, start: Any, scalars: Any, vectors: Any, table: Any, rows: Any, terms: Any, scales: Any
) -> None:
    total, pitch = w.room(), len(w.parts) * FOUR * 8
    with cgutils.for_range(w.b, rows) as row:
        entry = w.at(table, row.index, 32)
        target, first, end, scale = (w.number(w.b.add(entry, w.whole(8 * i)), WIDE) for i in range(4))
        w.keep(w.row(w.at(start, target, pitch)), total)
        with cgutils.for_range_slice(w.b, first, end, w.whole(1)) as (k, _):
            scalar = w.splat(w.number(w.at(scalars, k, 8), DOUBLE))
            vector = w.row(w.at(vectors, w.index(w.at(terms, k, 4)), pitch))
            w.keep(w.fma(w.same(scalar), vector, w.kept(total)), total)
        with cgutils.if_likely(w.b, w.b.icmp_signed(">=", scale, w.whole(0))):
            factor = w.splat(w.number(w.at(scales, scale, 8), DOUBLE))
            w.keep(w.each(w.b.fmul, w.kept(total), w.same(factor)), total)
        w.store(w.kept(total), w.at(out, target, pitch))


def _write_wrong(
    w: Writer, pitch: Any, out: Any, error: Any, end: Any, peak: Any, floor: Any, scale: Any, more: Any, rtol: Any, rows: Any,
) -> None:  # fmt: skip
    total = w.room()
    w.keep(w.zeros(), total)
    scaled, relative, own = w.row(scale), w.same(w.splat(rtol)), w.row(more)
    with cgutils.for_range(w.b, rows) as row:
        e = w.row(w.at(error, row.index, pitch))
        size = w.greater(w.size(w.row(w.at(end, row.index, pitch))), w.row(w.at(peak, row.index, pitch)))
        allowed = w.each(w.b.fmul, w.same(w.splat(w.number(w.at(floor, row.index, 8), DOUBLE))), scaled)
        allowed = w.fma(relative, w.each(w.b.fadd, size, own), allowed)
        # 0/0 where a column is nothing altogether
        still = w.each(lambda value, zero: w.b.fcmp_ordered("==", value, zero), e, w.zeros())
        ratio = w.each(w.b.select, still, w.zeros(), w.each(w.b.fdiv, e, allowed))
        w.keep(w.fma(ratio, ratio, w.kept(total)), total)
    w.store(w.kept(total), out)


def _write_greatest(w: Writer, pitch: Any, out: Any, end: Any, peak: Any, rows: Any) -> None:
    greatest = w.room()
    w.keep(w.zeros(), greatest)
    with cgutils.for_range(w.b, rows) as row:
        size = w.greater(w.size(w.row(w.at(end, row.index, pitch))), w.row(w.at(peak, row.index, pitch)))
        w.keep(w.greater(size, w.kept(greatest)), greatest)
    w.store(w.kept(greatest), out)


def _write_advance(w: Writer, pitch: Any, s: Any, end: Any, peak: Any, rows: Any) -> None:
    with cgutils.for_range(w.b, rows) as row:
        value = w.row(w.at(end, row.index, pitch))
        w.store(value, w.at(s, row.index, pitch))
        greatest = w.at(peak, row.index, pitch)
        w.store(w.greater(w.size(value), w.row(greatest)), greatest)


def _write_spread(w: Writer, out: Any, stride: Any, base: Any, registers: Any, n: Any, sign: Any, add: Any) -> None:
    factor = w.splat(sign)
    with cgutils.for_range(w.b, n) as entry:
        pair = w.at(registers, entry.index, 16)
        register, place = w.number(pair, WIDE), w.number(w.b.add(pair, w.whole(8)), WIDE)
        row = w.each(w.b.fmul, w.row(w.at(base, register, LANES * 8)), w.same(factor))
        target = w.at(out, place, 8)
        with w.b.if_else(w.b.icmp_signed("!=", add, w.whole(0))) as (onto, anew):
            for branch, more in ((onto, True), (anew, False)):
                with branch:
                    address = target
                    for lane in range(LANES):
                        value = w.b.extract_element(row[lane // FOUR], ir.Constant(NARROW, lane % FOUR))
                        pointer = w.b.inttoptr(address, DOUBLE.as_pointer())
                        w.b.store(w.b.fadd(w.b.load(pointer), value) if more else value, pointer)
                        address = w.b.add(address, stride)


def _write_turn(w: Writer, out: Any, stride: Any, base: Any, registers: Any, n: Any, sign: Any) -> None:
    def pick(a: Any, b: Any, *places: int) -> Any:
        return w.b.shuffle_vector(a, b, ir.Constant(ir.VectorType(NARROW, FOUR), places))

    factor = w.splat(sign)
    with cgutils.for_range_slice(w.b, w.whole(0), n, w.whole(FOUR)) as (first, _):
        rows: list[list[Any]] = []
        for i in range(FOUR):
            register = w.number(w.at(registers, w.b.add(first, w.whole(i)), 8), WIDE)
            rows.append(w.each(w.b.fmul, w.row(w.at(base, register, LANES * 8)), w.same(factor)))
        address = w.at(out, first, 8)
        for part in w.parts:
            a, b, c, d = (row[part] for row in rows)
            low, high = (a, b), (c, d)
            even, odd = (
                (pick(*low, 0, 4, 2, 6), pick(*high, 0, 4, 2, 6)),
                (pick(*low, 1, 5, 3, 7), pick(*high, 1, 5, 3, 7)),
            )
            lanes = (pick(*even, 0, 1, 4, 5), pick(*odd, 0, 1, 4, 5), pick(*even, 2, 3, 6, 7), pick(*odd, 2, 3, 6, 7))
            for value in lanes:
                w.b.store(value, w.b.inttoptr(address, VECTOR.as_pointer())).align = 8
                address = w.b.add(address, stride)


_mix_16, _mix_8, _mix_4 = (operation(w, "iiiiiiiiii", _write_mix) for w in (16, 8, 4))
_total_16, _total_8, _total_4 = (operation(w, "iiiiiii", _write_total) for w in (16, 8, 4))
_gather_56, _gather_52, _gather_48, _gather_40, _gather_32, _gather_28, _gather_24, _gather_16, _gather_8, _gather_4 = (
    operation(w, "iiiiiiii", _write_gather) for w in WIDTHS
)
_wrong_16, _wrong_8, _wrong_4 = (operation(w, "iiiiiiiidi", _write_wrong) for w in (16, 8, 4))
_greatest_16, _greatest_8, _greatest_4 = (operation(w, "iiiii", _write_greatest) for w in (16, 8, 4))
_advance_16, _advance_8, _advance_4 = (operation(w, "iiiii", _write_advance) for w in (16, 8, 4))
_spread = operation(LANES, "iiiiidi", _write_spread)
_turn = operation(LANES, "iiiiid", _write_turn)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def mix(width: int, u: int, c: int, s: int, k: int, stride: int, a: int, b: int, n: int, rows: int) -> None:
    """Rows of a tile: u = s + Σ a_i × k_i and c = Σ b_i × k_i over n stages, whose rows lie `stride` bytes apart."""
    left, pitch = width, width * 8
    while left > 0:
        if left >= 16:
            _mix_16(pitch, u, c, s, k, stride, a, b, n, rows)
            done = 16
        elif left >= 8:
            _mix_8(pitch, u, c, s, k, stride, a, b, n, rows)
            done = 8
        else:
            _mix_4(pitch, u, c, s, k, stride, a, b, n, rows)
            done = 4
        left -= done
        u, c, s, k = u + done * 8, c + done * 8, s + done * 8, k + done * 8


@numba.njit(cache=True, nogil=True, error_model="numpy")
def total(width: int, out: int, k: int, stride: int, weights: int, n: int, rows: int) -> None:
    """Rows of a tile: out = Σ weight_i × k_i over n matrices that lie `stride` bytes apart, at least one."""
    left, pitch = width, width * 8
    while left > 0:
        if left >= 16:
            _total_16(pitch, out, k, stride, weights, n, rows)
            done = 16
        elif left >= 8:
            _total_8(pitch, out, k, stride, weights, n, rows)
            done = 8
        else:
            _total_4(pitch, out, k, stride, weights, n, rows)
            done = 4
        left -= done
        out, k = out + done * 8, k + done * 8


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gather(
    width: int, out: int, start: int, scalars: int, vectors: int, table: int, rows: int, terms: int, scales: int
) -> None:
    """Rows of a tile, one after the other: out = (start + Σ scalar × vector) × scale.

    Args:
        table: number of the row, first term, end, number of the scale or -1 `[rows, 4]`.
        terms: number of the vector; the scalars are those of the terms, in their order.
    """
    if width == 56:
        _gather_56(out, start, scalars, vectors, table, rows, terms, scales)
    elif width == 52:
        _gather_52(out, start, scalars, vectors, table, rows, terms, scales)
    elif width == 48:
        _gather_48(out, start, scalars, vectors, table, rows, terms, scales)
    elif width == 40:
        _gather_40(out, start, scalars, vectors, table, rows, terms, scales)
    elif width == 32:
        _gather_32(out, start, scalars, vectors, table, rows, terms, scales)
    elif width == 28:
        _gather_28(out, start, scalars, vectors, table, rows, terms, scales)
    elif width == 24:
        _gather_24(out, start, scalars, vectors, table, rows, terms, scales)
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
    """Sums over rows of (error / (floor × scale + rtol × (greatest + more)))², where the greatest is that of `end` and
    `peak`; `floor` is a number of each row, `scale` and `more` are numbers of each column."""
    left, pitch = width, width * 8
    while left > 0:
        if left >= 16:
            _wrong_16(pitch, out, error, end, peak, floor, scale, more, rtol, rows)
            done = 16
        elif left >= 8:
            _wrong_8(pitch, out, error, end, peak, floor, scale, more, rtol, rows)
            done = 8
        else:
            _wrong_4(pitch, out, error, end, peak, floor, scale, more, rtol, rows)
            done = 4
        left -= done
        out, error, end, peak = out + done * 8, error + done * 8, end + done * 8, peak + done * 8
        scale, more = scale + done * 8, more + done * 8


@numba.njit(cache=True, nogil=True, error_model="numpy")
def greatest(width: int, out: int, end: int, peak: int, rows: int) -> None:
    """Of each column of a tile the greatest that an entry is, at `end`, or has been."""
    left, pitch = width, width * 8
    while left > 0:
        if left >= 16:
            _greatest_16(pitch, out, end, peak, rows)
            done = 16
        elif left >= 8:
            _greatest_8(pitch, out, end, peak, rows)
            done = 8
        else:
            _greatest_4(pitch, out, end, peak, rows)
            done = 4
        left -= done
        out, end, peak = out + done * 8, end + done * 8, peak + done * 8


@numba.njit(cache=True, nogil=True, error_model="numpy")
def advance(width: int, s: int, end: int, peak: int, rows: int) -> None:
    """Rows of a tile: s = end, and peak is the greatest that |s| has been."""
    left, pitch = width, width * 8
    while left > 0:
        if left >= 16:
            _advance_16(pitch, s, end, peak, rows)
            done = 16
        elif left >= 8:
            _advance_8(pitch, s, end, peak, rows)
            done = 8
        else:
            _advance_4(pitch, s, end, peak, rows)
            done = 4
        left -= done
        s, end, peak = s + done * 8, end + done * 8, peak + done * 8


@numba.njit(cache=True, nogil=True, error_model="numpy")
def spread(out: int, stride: int, base: int, registers: int, n: int, sign: float, add: bool) -> None:
    """Numbers of each lane, side by side: out[lane][place] = sign × register, or grows by it.

    Args:
        stride: bytes from one lane's numbers to the next one's.
        base: register 0.
        registers: register and place `[n, 2]`.
    """
    _spread(out, stride, base, registers, n, sign, 1 if add else 0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def turn(out: int, stride: int, base: int, registers: int, n: int, sign: float) -> None:
    """Numbers of each lane, side by side in the order of their registers: out[lane][i] = sign × register i.

    Args:
        stride, base: as of `spread`. registers: `[n]`, a multiple of four.
    """
    _turn(out, stride, base, registers, n, sign)
