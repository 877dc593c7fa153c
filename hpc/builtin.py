"""Compiled functions that are built-in functions of Python: called as fast as those of C extensions, without a compiler at hand.

numba compiles them, with what it has no words for: memory at an address, functions of C at an address or by name. Python calls them
as it calls any function of C with positional arguments (METH_FASTCALL), each with words of 8 bytes of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

SIGNATURE = types.int64(types.int64, types.int64, types.int64)
"""Of such a function: its own object, the integer that is the address of its words; where the addresses of the arguments stand; their count. Returns
the address of a new reference to an object; 0 after an error of Python was set."""
_FASTCALL = 0x80  # METH_FASTCALL of Python's methodobject.h
_WORD, _BYTE = ir.IntType(64), ir.IntType(8)


class _Own(int):
    """The address of a function's words, which it keeps, with what else must stay as long as the function."""

    words: NDArray[np.int64]
    kept: tuple[Any, ...]

    def __new__(cls, words: NDArray[np.int64], kept: tuple[Any, ...]) -> _Own:
        own = super().__new__(cls, words.ctypes.data)
        own.words, own.kept = words, kept
        return own


def builtin(function: Any, words: NDArray[np.int64], *kept: Any) -> Callable[..., Any]:
    """A built-in function of what `numba.cfunc` compiled by `SIGNATURE`.

    Args:
        function: the compiled one.
        words: of the built-in one.
        kept: stays as long as the built-in function does.
    """
    definition = _definition(function.address)  # Python reads it when the built-in function goes, too: that keeps it
    return _new(ctypes.addressof(definition), _Own(words, (definition, *kept)), None)


def words(function: Any) -> NDArray[np.int64]:
    """Those of a built-in function."""
    return function.__self__.words


def c_function(name: str, returned: Any, *arguments: Any) -> Any:
    """A function of Python's C interface, for compiled code: types of what it returns and takes; pointers are words."""
    return types.ExternalFunction(name, returned(*arguments))


def native(implementation: Callable[..., Any]) -> Any:
    """What compiled code may call, by its instructions (`numba.extending.intrinsic`)."""
    return intrinsic(implementation)


@native
def word(typing_context: Any, address: Any, index: Any) -> Any:
    """The word of this index, counted from an address."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place(builder, arguments, _WORD))

    return types.int64(types.int64, types.int64), code


@native
def put(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
    """Write a word, or a number of double precision, as that of this index."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _place(builder, arguments, arguments[2].type))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, value), code


@native
def number(typing_context: Any, address: Any, index: Any) -> Any:
    """The number of double precision that is the word of this index."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place(builder, arguments, ir.DoubleType()))

    return types.float64(types.int64, types.int64), code


@native
def move(typing_context: Any, to: Any, since: Any, length: Any) -> Any:
    """Copy bytes from one address to another; they may overlap."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, since, length = arguments
        pointer = _BYTE.as_pointer()
        cgutils.raw_memmove(builder, builder.inttoptr(to, pointer), builder.inttoptr(since, pointer), length, 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@native
def call1(typing_context: Any, function: Any, one: Any) -> Any:
    """Call the C function at an address: an int of one word."""
    return types.int32(types.int64, types.int64), _call


@native
def call3(typing_context: Any, function: Any, one: Any, two: Any, three: Any) -> Any:
    """Call the C function at an address: an int of three words."""
    return types.int32(types.int64, types.int64, types.int64, types.int64), _call


def _place(builder: Any, arguments: Any, kind: Any) -> Any:
    """Of what the first two arguments tell: an address and an index."""
    return builder.gep(builder.inttoptr(arguments[0], kind.as_pointer()), [arguments[1]])


def _call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    function, *rest = arguments
    kind = ir.FunctionType(ir.IntType(32), [_WORD] * len(rest))
    return builder.call(builder.inttoptr(function, kind.as_pointer()), rest)


class _Definition(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)
    )  # fmt: skip


_definitions: dict[int, _Definition] = {}  # by address of the function
_new = ctypes.pythonapi.PyCFunction_NewEx
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)


def _definition(address: int) -> _Definition:
    found = _definitions.get(address)
    if found is None:
        found = _definitions[address] = _Definition(b"compiled", address, _FASTCALL, None)
    return found
