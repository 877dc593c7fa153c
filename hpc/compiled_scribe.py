"""A compiled scribe does what `hpc.scribe` does to messages without large arrays, and looks for what comes, in a fifth of the time.

Its functions get Python's objects as they are: they read dicts, tuples and numbers through Python's C interface, arrays where every
C extension does, and call MPI in the library that mpi4py has loaded. What is not as it usually is (a mapping that is no dict, an
array that is not contiguous, a name that is equal but another object) they leave to the scribe in Python, untouched.

Each function has a plan: words of 8 bytes with what it compares to and where it copies from or to.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import config

from hpc.builtin import SIGNATURE, builtin, c_function, call1, call3, move, number, put, word, words
from hpc.form import Buffer, Form
from hpc.scribe import Write
from hpc.slot import Look

_I, _F, _INT = types.int64, types.float64, types.int32
_dict_size, _dict_next = c_function("PyDict_Size", _I, _I), c_function("PyDict_Next", _INT, _I, _I, _I, _I)
_tuple_size, _tuple_item = c_function("PyTuple_Size", _I, _I), c_function("PyTuple_GetItem", _I, _I, _I)
_new_tuple, _set_item = c_function("PyTuple_New", _I, _I), c_function("PyTuple_SetItem", _INT, _I, _I, _I)
_integer, _float = c_function("PyLong_AsLongLong", _I, _I), c_function("PyFloat_AsDouble", _F, _I)
_new_integer, _new_float = c_function("PyLong_FromLongLong", _I, _I), c_function("PyFloat_FromDouble", _I, _F)
_failed, _clear = c_function("PyErr_Occurred", _I), c_function("PyErr_Clear", types.void)
_raise, _let_go = c_function("PyErr_SetObject", types.void, _I, _I), c_function("Py_DecRef", types.void, _I)
_new_boolean = c_function("PyBool_FromLong", _I, _I)
_hold = c_function("Py_IncRef", types.void, _I)

# words of every plan
_START, _TEST, _REQUEST, _FLAG, _BLOCK, _NUMBER, _COUNT, _NONE, _ERROR, _STATUS, _COMMON = *range(10), 20
_FIRST = 2  # words of a head before its numbers: that of the form, and the ticket
# of one that receives: how often what lies there is held, and what that is
_HELD, _OBJECTS, _OBJECT = 20, 21, 22
# of one that writes, with 3 groups and then its arrays
_DICT, _TUPLE, _ARRAY, _POSITION, _KEY, _VALUE, _SIZES, _ARRAYS = 20, 21, 22, 23, 24, 25, 26, 29
_NAME, _DTYPE, _DIMENSIONS, _PLACE, _BYTES, _SOURCE, _LENGTHS, _EACH = 0, 1, 2, 3, 4, 5, 6, 14
_MOST_DIMENSIONS = _EACH - _LENGTHS

# words of any object, and of numpy's array (PyArrayObject_fields in ndarraytypes.h); of two only the lower half counts
_COUNTED, _TYPE, _DATA, _ND, _SHAPE, _DESCR, _FLAGS = 0, 1, 2, 3, 4, 7, 8
_HALF = 0xFFFFFFFF
_C_CONTIGUOUS = 1


@numba.njit(cache=True, error_model="numpy")
def _fits(plan: int, own: int, array: int) -> bool:
    """Whether an object is a contiguous array of the dtype and shape that the plan has for it; if so, notes where its values lie."""
    if word(array, _TYPE) != word(plan, _ARRAY):
        return False
    dimensions = word(own, _DIMENSIONS)
    if word(array, _ND) & _HALF != dimensions or word(array, _DESCR) != word(own, _DTYPE):
        return False
    if not word(array, _FLAGS) & _C_CONTIGUOUS:
        return False
    lengths = word(array, _SHAPE)
    for i in range(dimensions):
        if word(lengths, i) != word(own, _LENGTHS + i):
            return False
    put(own, _SOURCE, word(array, _DATA))
    return True


@numba.njit(cache=True, error_model="numpy")
def _none(plan: int) -> int:
    none = word(plan, _NONE)
    _hold(none)
    return none


@numba.njit(cache=True, error_model="numpy")
def _broken(plan: int, code: int) -> int:
    """Raises MPI's error: the address of no object says so to Python."""
    told = _new_integer(code)
    _raise(word(plan, _ERROR), told)
    _let_go(told)
    return 0


@numba.njit(cache=True, error_model="numpy")
def _tested(plan: int) -> int:
    """MPI_Test; what it finds is in the plan, its code returned."""
    return call3(word(plan, _TEST), word(plan, _REQUEST), plan + 8 * _FLAG, plan + 8 * _STATUS)


@numba.cfunc(SIGNATURE, cache=True, error_model="numpy")
def _write(own: int, arguments: int, count: int) -> int:
    """See `hpc.scribe.Write`; None also for what is left to the scribe in Python, and while the last message has not left."""
    plan = _integer(own)
    if word(plan, _TEST) != 0:
        code = _tested(plan)
        if code != 0 or not word(plan, _FLAG) & _HALF:
            return _none(plan) if code == 0 else _broken(plan, code)
    ticket, numbers, block = word(arguments, 3), word(arguments, 4), word(plan, _BLOCK)
    if word(numbers, _TYPE) != word(plan, _TUPLE) or _tuple_size(numbers) != word(plan, _COUNT):
        return _none(plan)
    for i in range(word(plan, _COUNT)):
        value = _float(_tuple_item(numbers, i))
        if value == -1.0 and _failed() != 0:
            _clear()
            return _none(plan)
        put(block, _FIRST + i, value)
    array = plan + 8 * _ARRAYS  # no code of Python runs from here on
    for g in range(3):
        group, size = word(arguments, g), word(plan, _SIZES + g)
        if word(group, _TYPE) != word(plan, _DICT) or _dict_size(group) != size:
            return _none(plan)
        put(plan, _POSITION, 0)
        for _ in range(size):
            _dict_next(group, plan + 8 * _POSITION, plan + 8 * _KEY, plan + 8 * _VALUE)
            if word(plan, _KEY) != word(array, _NAME) or not _fits(plan, array, word(plan, _VALUE)):
                return _none(plan)
            array += 8 * _EACH
    put(block, 0, word(plan, _NUMBER))
    put(block, 1, _integer(ticket))
    end, array = array, plan + 8 * _ARRAYS
    while array < end:
        move(word(array, _PLACE), word(array, _SOURCE), word(array, _BYTES))
        array += 8 * _EACH
    code = call1(word(plan, _START), word(plan, _REQUEST)) if word(plan, _START) != 0 else 0
    return _new_tuple(0) if code == 0 else _broken(plan, code)


@numba.cfunc(SIGNATURE, cache=True, error_model="numpy")
def _look(own: int, arguments: int, count: int) -> int:
    """See `hpc.slot.Look`."""
    plan = _integer(own)
    for _ in range(_integer(word(arguments, 0))):
        code = _tested(plan)
        if code != 0:
            return _broken(plan, code)
        if word(plan, _FLAG) & _HALF:
            block = word(plan, _BLOCK)
            if word(block, 0) != word(plan, _NUMBER):
                return _new_tuple(0)
            numbers = _new_tuple(word(plan, _COUNT))
            for i in range(word(plan, _COUNT)):
                _set_item(numbers, i, _new_float(number(block, _FIRST + i)))
            head = _new_tuple(2)
            _set_item(head, 0, _new_integer(word(block, 1)))
            _set_item(head, 1, numbers)
            return head
    return _none(plan)


@numba.cfunc(SIGNATURE, cache=True, error_model="numpy")
def _begin(own: int, arguments: int, count: int) -> int:
    """See `hpc.slot.Incoming.begin`."""
    plan, held = _integer(own), 0
    for i in range(word(plan, _OBJECTS)):
        held += word(word(plan, _OBJECT + i), _COUNTED)
    if held != word(plan, _HELD):
        return _new_boolean(0)
    code = call1(word(plan, _START), word(plan, _REQUEST))
    return _new_boolean(1) if code == 0 else _broken(plan, code)


class CompiledScribe:
    """Makes what writes to slots and looks into them.

    Args:
        start, test: addresses of MPI_Start and MPI_Test.
        handle: the address at which a request's handle lies.
        error: raised with MPI's code where these fail.

    Raises:
        ImportError: a Python or a machine in which this does not work.
    """

    def __init__(self, start: int, test: int, handle: Callable[[Any], int], error: type[Exception]) -> None:
        if (
            sys.implementation.name != "cpython"
            or sysconfig.get_config_var("Py_GIL_DISABLED")
            or getattr(config, "DISABLE_JIT", 0)
        ):
            raise ImportError("compiled functions get Python's objects of CPython only, and one at a time.")
        if sys.byteorder != "little" or object.__basicsize__ != 8 * _DATA or np.ndarray.__basicsize__ < 8 * _FLAGS + 4:
            raise ImportError("objects do not lie in memory as they do on 64-bit machines.")
        self._start, self._test, self._handle, self._error = start, test, handle, error
        self._try()

    @classmethod
    def of(cls, mpi: Any) -> CompiledScribe:
        """For requests of `mpi4py.MPI`.

        Raises:
            ImportError: as above, or MPI's functions are not found.
        """
        library = ctypes.CDLL(mpi.__file__)
        try:
            start, test = library["MPI_Start"], library["MPI_Test"]
        except AttributeError as error:
            raise ImportError(f"{mpi.__file__}: {error}") from error
        return cls(_address(start), _address(test), mpi._addressof, mpi.Exception)

    def writer(self, form: Form, buffer: Buffer, request: Any | None) -> Write | None:
        """What writes messages of a form, which has its number, and starts the request; None for large arrays and many axes."""
        if form.large or any(len(shape) > _MOST_DIMENSIONS for shape in form.shapes):
            return None
        plan = np.zeros(_ARRAYS + _EACH * len(form.dtypes), dtype=np.int64)
        plan[:_STATUS] = self._common(request, buffer, form.number, form.count)
        plan[[_DICT, _TUPLE, _ARRAY]] = id(dict), id(tuple), id(np.ndarray)
        plan[_SIZES : _SIZES + 3] = [len(names) for names in form.names]
        every = [name for names in form.names for name in names]
        for i, (name, dtype, shape, start) in enumerate(zip(every, form.dtypes, form.shapes, form.starts, strict=True)):
            own = plan[_ARRAYS + _EACH * i :]
            own[[_NAME, _DTYPE, _DIMENSIONS]] = id(name), id(dtype), len(shape)
            own[[_PLACE, _BYTES]] = buffer.ctypes.data + start, dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            own[_LENGTHS : _LENGTHS + len(shape)] = shape
        return builtin(_write, plan, form, buffer, request)

    def looker(self, buffer: Buffer, request: Any) -> Look:
        """What looks whether a request has brought a message."""
        plan = np.zeros(_COMMON, dtype=np.int64)
        plan[:_STATUS] = self._common(request, buffer, -1, 0)
        return builtin(_look, plan, buffer, request)

    def foresee(self, look: Look, form: Form) -> None:
        """The next message will have this form."""
        words(look)[[_NUMBER, _COUNT]] = form.number, form.count

    def beginner(self, request: Any, objects: Sequence[int], less: int) -> Callable[[], bool]:
        """What starts a request if the objects at these addresses are held less often than now, all together."""
        plan = np.zeros(_OBJECT + len(objects), dtype=np.int64)
        plan[:_STATUS] = self._common(request, None, 0, 0)
        plan[_OBJECTS], plan[_OBJECT:] = len(objects), objects
        plan[_HELD] = sum(ctypes.c_ssize_t.from_address(each).value for each in objects) - less
        return builtin(_begin, plan, request)

    def _common(self, request: Any | None, buffer: Buffer | None, number: int, count: int) -> list[int]:
        asked = [0, 0, 0] if request is None else [self._start, self._test, self._handle(request)]
        block = 0 if buffer is None else buffer.ctypes.data
        return [*asked, 0, block, number, count, id(None), id(self._error)]

    def _try(self) -> None:
        """Arrays of several forms are written as Python writes them, and told from others.

        Raises:
            ImportError: they are not.
        """
        one, two = np.arange(6.0).reshape(2, 3), np.array([3], dtype=np.int8)
        form = Form.of(1, 2, {}, ({}, {"one": one}, {"two": two}), 1)
        here, there = np.zeros((2, form.total), dtype=np.uint8)
        write, known = self.writer(form, here, None), form.writer(there, lambda: None)
        others = [one.T, one.astype(np.float32), one[:, ::2], one.reshape(6), 1.0, two]
        if (
            write is None
            or any(write({}, {"one": other}, {"two": two}, 5, (0.5,)) is not None for other in others)  # pyright: ignore[reportArgumentType]
            or write({}, {"one": one}, {"two": two}, 5, (0.5,)) != known({}, {"one": one}, {"two": two}, 5, (0.5,))
            or not np.array_equal(here, there)
        ):
            raise ImportError("arrays of numpy do not lie in memory as they are expected to.")


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
