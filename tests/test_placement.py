"""Simulators on other ranks: the same bits as on one, steps that overlap, and placements that cannot be."""

from __future__ import annotations

import sys
from functools import cache
from types import MappingProxyType
from typing import Any

import mpi_launch
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpi_launch import ROOT, needs_mpiexec

from hpc import builtin
from hpc.compiled_scribe import CompiledScribe
from hpc.errors import PlacementError
from hpc.form import Form
from hpc.placement import Placement

JOB = str(ROOT / "tests" / "remote_job.py")


@needs_mpiexec
@pytest.mark.slow
def test_where_simulators_run_changes_no_bit() -> None:
    """Noise comes from (seed, member), so members may be shared out among ranks."""
    digests = set()
    for ranks, words in ((1, ["cell=0"]), (2, ["patch=1"]), (4, ["patch=1-2", "cell=3", "drug=3"])):
        done = mpi_launch.run(ranks, JOB, "bits", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        digests.add(done.stdout.strip())
    assert len(digests) == 1


PLAIN = {"NUMBA_DISABLE_JIT": "1"}  # nothing is compiled: messages are written and looked for in Python


@needs_mpiexec
@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, PLAIN], ids=["compiled", "plain"])
@pytest.mark.parametrize("words", [["one=1", "two=1"], ["one=1-2", "two=2"]])
def test_what_came_stays_as_it_was_while_more_comes(words: list[str], how: dict[str, str]) -> None:
    """Buffers are used again: not while anybody holds a part of what they brought, small or large, in forms that change."""
    done = mpi_launch.run(3, JOB, "kept", *words, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "150 kept\n"


@needs_mpiexec
@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, PLAIN], ids=["compiled", "plain"])
@pytest.mark.parametrize("words", [["one=1"], ["one=1", "two=1"]])
def test_what_came_stays_as_it_was_while_forms_take_turns(words: list[str], how: dict[str, str]) -> None:
    """A buffer that is made ready for another form while its last message is read is not free for that."""
    done = mpi_launch.run(2, JOB, "held", *words, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "80 held\n"


@needs_mpiexec
@pytest.mark.slow
def test_forms_that_were_forgotten_are_told_again() -> None:
    """The other rank knows so many forms; the oldest make room for new ones."""
    done = mpi_launch.run(2, JOB, "forms", "one=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "1120 forms\n"


@needs_mpiexec
@pytest.mark.slow
def test_independent_steps_overlap() -> None:
    done = mpi_launch.run(2, JOB, "overlap", "two=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert 1.0 <= float(done.stdout) <= 1.1


@needs_mpiexec
def test_what_breaks_on_another_rank_is_told_with_its_place() -> None:
    done = mpi_launch.run(2, JOB, "breaks", "one=1")
    assert done.returncode == 2
    assert "simulator 'one' on rank 1: ZeroDivisionError: nothing to divide by" in done.stderr


@needs_mpiexec
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["one=1-3"], "placement one=1-3: the job has 2 ranks, 0-1; launch more (mpiexec -n 4 …), or place on fewer."),
        (["on=1"], "the twin has no simulator 'on'; did you mean one?"),
    ],
)
def test_a_placement_that_does_not_fit_the_job_is_refused(words: list[str], says: str) -> None:
    done = mpi_launch.run(2, JOB, "breaks", *words)
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["molecular"], r"'molecular': expected SIMULATOR=RANKS, e\.g\. molecular=1-3"),
        (["molecular="], r"expected SIMULATOR=RANKS"),
        (["a=3-1"], r"ranks 3-1 descend; write 1-3"),
        (["a=1", "a=2"], r"a is placed twice"),
        (["a=0-2"], r"rank 0 leads the others .* write a=0, or a=1-2"),
    ],
)
def test_words_that_are_no_placement(words: list[str], says: str) -> None:
    with pytest.raises(PlacementError, match=says):
        Placement.parse(words)


def test_a_placement_is_read_and_shown_alike() -> None:
    placement = Placement.parse(["molecular=1-3,5", "cell=0", "drug=4"])
    assert placement.ranks == {"molecular": (1, 2, 3, 5), "cell": (0,), "drug": (4,)}
    assert str(placement) == "molecular=1-3,5 cell=0 drug=4"
    assert placement.on(4) == ("drug",)
    assert Placement.parse(str(placement).split()) == placement


def others(group: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What differs from three floats `a` and three integers `b` in one thing each."""
    a, b = group["a"], group["b"]
    return [
        {"b": b, "a": a},
        {"a": a},
        {"a": a, "c": b},
        {"a": a, "b": b, "c": b},
        {"a": a.astype(np.float32), "b": b},
        {"a": a[:, None], "b": b},
        {"a": a[:2], "b": b},
        {"a": a.astype(">f8"), "b": b},
    ]


DTYPES = st.sampled_from([np.float64, np.float32, np.int64, np.int8, np.bool_, np.uint16])
SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=3).map(tuple)


@given(st.dictionaries(st.text(max_size=5), st.tuples(DTYPES, SHAPES), max_size=5), st.integers(0, 2**31))
def test_a_message_gives_back_what_was_packed(specs: dict[str, tuple[type, tuple[int, ...]]], seed: int) -> None:
    chance = np.random.default_rng(seed)
    arrays = {name: chance.integers(0, 2, shape).astype(dtype) for name, (dtype, shape) in specs.items()}
    facts = {"seed": seed, "name": "é|", "share": 0.1, "none": None, "yes": True, "nan": float("nan")}
    groups = ({}, arrays, {"other": np.arange(3)})
    form = Form.of(3, 7, facts, groups, 2)
    other = Form.read(form.text())
    assert (other.kind, other.about, other.total, repr(other.facts)) == (3, 7, form.total, repr(facts))
    buffer = np.empty(form.total, dtype=np.uint8)
    assert form.says(facts)
    gone: list[int] = []
    assert form.writer(buffer, lambda: gone.append(1))(*groups, 5, (1.5, 2.0)) == ()
    assert gone == [1]
    assert form.head.unpack_from(buffer) == (0, 5, 1.5, 2.0)
    found = other.message(*other.views(buffer)).groups
    assert [list(group) for group in found] == [list(group) for group in groups]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[1][name], array, strict=True)
        assert found[1][name].flags.writeable


def test_a_form_fits_nothing_that_differs_in_a_bit() -> None:
    """What fits is sent as raw bytes: names, their order, dtypes, shapes, how many numbers, and facts to type and sign."""
    groups = ({"a": np.zeros(3), "b": np.zeros(3, dtype=np.int64)}, {}, {})
    form = Form.of(1, 0, {"n": 0.0}, groups, 1)
    gone: list[int] = []
    write = form.writer(np.empty(form.total, dtype=np.uint8), lambda: gone.append(1))
    assert form.says({"n": 0.0})
    for facts in ({"n": -0.0}, {"n": 0}, {"n": False}, {}, {"n": 0.0, "m": 1}):
        assert not form.says(facts)
    for other in others(groups[0]):
        assert write(other, {}, {}, 0, (1.0,)) is None
    assert write({}, groups[0], {}, 0, (1.0,)) is None
    assert write(*groups, 0, (1.0, 2.0)) is None
    assert not gone
    assert write(*groups, 0, (1.0,)) == ()
    assert gone


@cache
def compiled() -> CompiledScribe:
    """Without requests to start."""
    return CompiledScribe(0, 0, lambda request: 0, RuntimeError)


@given(
    st.dictionaries(st.text(max_size=5), st.tuples(DTYPES, SHAPES), max_size=5),
    st.lists(st.floats() | st.integers(-(2**40), 2**40) | st.booleans(), max_size=10),
    st.integers(0, 2**31),
)
def test_a_compiled_scribe_writes_the_same_bytes(
    specs: dict[str, tuple[type, tuple[int, ...]]], numbers: list[float], seed: int
) -> None:
    chance = np.random.default_rng(seed)
    arrays = {name: chance.integers(0, 2, shape).astype(dtype) for name, (dtype, shape) in specs.items()}
    groups = ({"members": np.arange(4)}, arrays, {name: array[..., None] for name, array in arrays.items()})
    form = Form.of(3, 7, {}, groups, len(numbers))
    form.number = 11
    here, there = np.zeros((2, form.total), dtype=np.uint8)
    write = compiled().writer(form, here, None)
    assert write is not None
    assert write(*groups, seed, tuple(numbers)) == ()
    form.writer(there, lambda: None)(*groups, seed, tuple(numbers))
    np.testing.assert_array_equal(here, there)


def test_a_compiled_scribe_outlives_the_module_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python reads a built-in function's definition when it calls it and when it lets it go, be it at the very end, when modules
    have gone before."""
    monkeypatch.setattr(builtin, "_definitions", {})
    array = np.arange(3.0)
    form = Form.of(1, 2, {}, ({}, {"x": array}, {}), 0)
    write = compiled().writer(form, np.zeros(form.total, dtype=np.uint8), None)
    assert write is not None
    own: Any = write
    builtin._definitions.clear()
    assert isinstance(own.__self__.kept[0], builtin._Definition)
    assert write({}, {"x": array}, {}, 1, ()) == ()


def test_a_compiled_scribe_leaves_to_python_what_is_unusual() -> None:
    """What differs from the form is not written, and neither is what Python may know better."""
    a, b = np.zeros(3), np.zeros(3, dtype=np.int64)
    group = {"a": a, "b": b}
    form = Form.of(1, 0, {}, ({}, group, {}), 1)
    buffer = np.ones(form.total, dtype=np.uint8)
    write = compiled().writer(form, buffer, None)
    assert write is not None
    unusual: list[Any] = [
        *others(group),
        {"a": np.zeros(6)[::2], "b": b},
        {"a": [0.0, 0.0, 0.0], "b": b},
        {"a": a.view(np.recarray), "b": b},
        {"a": 0.0, "b": None},
        MappingProxyType(group),
    ]
    for other in unusual:
        assert write({}, other, {}, 1, (1.0,)) is None
    assert write(group, {}, {}, 1, (1.0,)) is None
    for numbers in ((), (1.0, 2.0), [1.0], ("1",), (1j,)):
        assert write({}, group, {}, 1, numbers) is None  # pyright: ignore[reportArgumentType]
    assert (buffer[form.head.size :] == 1).all()
    assert write({}, group, {}, 1, (np.float32(1.5),)) == ()
    assert form.head.unpack_from(buffer) == (0, 1, 1.5)
    held = sys.getrefcount(a)
    for _ in range(100):
        write({}, group, {}, 1, (1.0,))
        write({}, group, {}, 1, ("1",))  # pyright: ignore[reportArgumentType]
    assert sys.getrefcount(a) == held


def test_large_arrays_are_not_copied() -> None:
    large, small = np.zeros(5000), np.arange(3.0)
    groups = ({}, {"large": large, "small": small}, {})
    form = Form.of(1, 0, {}, groups, 0)
    assert form.total < 100 < 40_000 < form.bytes
    buffer = np.empty(form.total, dtype=np.uint8)
    (found,) = form.writer(buffer, lambda: None)(*groups, 0, ()) or [None]
    assert found is large
    np.testing.assert_array_equal(form.views(buffer)[0], small)


def test_what_is_no_plain_number_has_no_form() -> None:
    with pytest.raises(TypeError, match="array 'a' of object cannot go to another rank"):
        Form.of(1, 0, {}, ({"a": np.array([None])}, {}, {}), 0)
