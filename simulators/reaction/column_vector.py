"""Rows of columns as LLVM instructions: numbers of several columns side by side, as vectors of the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FOUR: Final = 4
"""Numbers in one register of the CPU (AVX2)."""

WIDE, NARROW, DOUBLE = ir.IntType(64), ir.IntType(32), ir.DoubleType()
VECTOR = ir.VectorType(DOUBLE, FOUR)


class Writer:
    """LLVM instructions over rows of some width, each of which is several registers of the CPU."""

    def __init__(self, builder: Any, width: int) -> None:
        self.b, self.parts = builder, range(width // FOUR)

    def whole(self, value: int) -> Any:
        return ir.Constant(WIDE, value)

    def at(self, base: Any, row: Any, pitch: Any) -> Any:
        """The address of a row, or a number, that lies so many bytes apart from the next one."""
        return self.b.add(base, self.b.mul(row, self.whole(pitch) if isinstance(pitch, int) else pitch))

    def _pointer(self, address: Any, part: int) -> Any:
        return self.b.inttoptr(self.b.add(address, self.whole(part * FOUR * 8)), VECTOR.as_pointer())

    def row(self, address: Any) -> list[Any]:
        found = [self.b.load(self._pointer(address, part)) for part in self.parts]
        for value in found:
            value.align = 8
        return found

    def store(self, row: Sequence[Any], address: Any) -> None:
        for part, value in zip(self.parts, row, strict=True):
            self.b.store(value, self._pointer(address, part)).align = 8

    def number(self, address: Any, kind: Any) -> Any:
        return self.b.load(self.b.inttoptr(address, kind.as_pointer()))

    def index(self, address: Any) -> Any:
        return self.b.sext(self.number(address, NARROW), WIDE)

    def splat(self, value: Any) -> Any:
        nothing = ir.Constant(VECTOR, ir.Undefined)
        single = self.b.insert_element(nothing, value, ir.Constant(NARROW, 0))
        return self.b.shuffle_vector(single, nothing, ir.Constant(ir.VectorType(NARROW, FOUR), [0] * FOUR))

    def each(self, what: Callable[..., Any], *rows: Sequence[Any]) -> list[Any]:
        return [what(*values) for values in zip(*rows, strict=True)]

    def same(self, value: Any) -> list[Any]:
        return [value] * len(self.parts)

    def zeros(self) -> list[Any]:
        return self.same(ir.Constant(VECTOR, [0.0] * FOUR))

    def _call(self, name: str, *values: Any) -> Any:
        kind = ir.FunctionType(VECTOR, [VECTOR] * len(values))
        return self.b.call(self.b.module.declare_intrinsic(f"llvm.{name}.v{FOUR}f64", fnty=kind), values)

    def fma(self, a: Sequence[Any], b: Sequence[Any], c: Sequence[Any]) -> list[Any]:
        return self.each(lambda *values: self._call("fmuladd", *values), a, b, c)

    def size(self, row: Sequence[Any]) -> list[Any]:
        return self.each(lambda value: self._call("fabs", value), row)

    def greater(self, a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        return self.each(lambda x, y: self.b.select(self.b.fcmp_ordered(">", x, y), x, y), a, b)

    def room(self) -> list[Any]:
        """Where a row is kept that a loop changes."""
        return [cgutils.alloca_once(self.b, VECTOR) for _ in self.parts]

    def keep(self, row: Sequence[Any], room: Sequence[Any]) -> None:
        for value, place in zip(row, room, strict=True):
            self.b.store(value, place)

    def kept(self, room: Sequence[Any]) -> list[Any]:
        return [self.b.load(place) for place in room]


def operation(width: int, kinds: str, build: Callable[..., None]) -> Any:
    """An intrinsic whose arguments are integers (i) or doubles (d), and whose instructions `build` writes."""
    signature = types.void(*(types.int64 if kind == "i" else types.float64 for kind in kinds))
    names = ", ".join(f"a{i}" for i in range(len(kinds)))

    def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        build(Writer(builder, width), *given)
        return context.get_dummy_value()

    scope: dict[str, Any] = {"found": (signature, generate)}
    exec(f"def found_of(typing, {names}): return found", scope)  # intrinsics need a fixed list of arguments
    return intrinsic(scope["found_of"])
