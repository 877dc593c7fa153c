"""The journal: what `append` returned from is there after any kill, any damage is noticed, and no foreign run is resumed."""

from __future__ import annotations

import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from journal_writer import content
from mpi_launch import ROOT, environment

from hpc import FingerprintError, InUseError, Journal, StorageError

JOB = {"scenario": "a1b2", "seed": "1", "kakehashi": "0.1.0"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.journal"


def write(path: Path, count: int) -> None:
    with Journal(path, JOB) as journal:
        for number in range(count):
            journal.append(f"task {number}", {"x": np.arange(number, dtype=float)}, {"number": number})


def keys(path: Path) -> list[str]:
    with Journal(path, JOB) as journal:
        for key in journal:
            number = int(key.split()[1])
            record = journal.read(key)
            np.testing.assert_array_equal(record.arrays["x"], np.arange(number, dtype=float), strict=True)
            assert record.note == {"number": number}
        return list(journal)


def test_what_was_written_is_read(path: Path) -> None:
    write(path, 5)
    assert keys(path) == [f"task {number}" for number in range(5)]
    with Journal(path, JOB) as journal:
        assert "task 3" in journal
        assert "task 5" not in journal
        assert len(journal) == 5
        journal.append("task 3", {"x": np.ones(2)})
        journal.append("only a note", note=["µM", None, 1.5])
    with Journal(path, JOB) as journal:
        assert len(journal) == 6
        assert journal.read("task 3").arrays["x"].tolist() == [1.0, 1.0]  # the last one counts
        assert journal.read("only a note").note == ["µM", None, 1.5]
        with pytest.raises(KeyError):
            journal.read("task 5")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    array=arrays.arrays(
        dtype=st.one_of(
            arrays.floating_dtypes(), arrays.integer_dtypes(), arrays.boolean_dtypes(), arrays.complex_number_dtypes(),
            arrays.datetime64_dtypes(), arrays.unicode_string_dtypes(max_len=4),
        ),
        shape=arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    fortran=st.booleans(),
)  # fmt: skip
def test_arrays_come_back_bit_for_bit(path: Path, array: np.ndarray, fortran: bool) -> None:
    given_array = np.asfortranarray(array) if fortran else array[..., ::-1] if array.ndim else array
    with Journal(path, JOB, fresh=True) as journal:
        journal.append("a", {"before": np.ones(1, np.int8), "x": given_array, "after": np.ones(3)})
    with Journal(path, JOB) as journal:
        found = journal.read("a").arrays
    assert found["x"].dtype == given_array.dtype
    assert found["x"].shape == given_array.shape
    assert found["x"].tobytes() == given_array.tobytes()
    assert found["x"].flags.writeable
    assert found["after"].tolist() == [1.0, 1.0, 1.0]


def test_objects_are_refused_and_leave_no_trace(path: Path) -> None:
    with Journal(path, JOB) as journal:
        with pytest.raises(TypeError, match=r"array 'x' of record 'a' has dtype object"):
            journal.append("a", {"x": np.array([{}])})
        with pytest.raises(TypeError, match="not JSON serializable"):
            journal.append("a", note=object())
        with pytest.raises(ValueError, match=r"key .* is empty"):
            journal.append("")
        journal.append("task 0", {"x": np.arange(0.0)}, {"number": 0})
    assert keys(path) == ["task 0"]


def test_cut_anywhere_leaves_the_records_before(path: Path) -> None:
    write(path, 4)
    whole = path.read_bytes()
    with Journal(path, JOB) as journal:
        ends = [start + length for start, length in journal._found.values()]
    assert ends[-1] == len(whole)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        expected = sum(end <= length for end in ends)
        assert keys(path) == [f"task {number}" for number in range(expected)], length
        # and it can be written on
        if length % 7 == 0:
            write_on = Journal(path, JOB)
            write_on.append("task 9", {"x": np.arange(9.0)}, {"number": 9})
            write_on.close()
            assert keys(path) == [*(f"task {number}" for number in range(expected)), "task 9"]


def test_every_flipped_byte_is_noticed_and_costs_no_other_record(path: Path) -> None:
    write(path, 4)
    whole = path.read_bytes()
    with Journal(path, JOB) as journal:
        first = journal._found["task 0"][0]
        payloads = {key: range(start, start + length) for key, (start, length) in journal._found.items()}
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        try:
            found = keys(path)  # compares contents as well
        except FingerprintError:
            assert position < first
            continue
        hit = [key for key, place in payloads.items() if position in place]
        if hit:
            assert found == [key for key in payloads if key not in hit]
        else:  # in a header: what comes after cannot be found any more
            assert found == [key for key in payloads if payloads[key].stop <= position]


def test_damage_is_counted_and_the_key_can_be_written_again(path: Path) -> None:
    write(path, 4)
    with Journal(path, JOB) as journal:
        start, length = journal._found["task 2"]
    changed = bytearray(path.read_bytes())
    changed[start + length - 1] ^= 1
    path.write_bytes(changed)
    with Journal(path, JOB) as journal:
        assert journal.damaged == 1
        assert list(journal) == ["task 0", "task 1", "task 3"]
        journal.append("task 2", {"x": np.arange(2.0)}, {"number": 2})
    assert sorted(keys(path)) == ["task 0", "task 1", "task 2", "task 3"]


def test_another_job_is_refused_with_what_differs(path: Path) -> None:
    write(path, 2)
    before = path.read_bytes()
    with pytest.raises(FingerprintError, match=r"run\.journal belongs to a run on something else:") as caught:
        Journal(path, {**JOB, "seed": "2", "members": "200"})
    told = str(caught.value)
    assert "    seed: 1 there, 2 now\n" in told
    assert "    members: absent there, 200 now\n" in told
    assert "scenario" not in told
    assert "--overwrite" in told
    assert path.read_bytes() == before
    with Journal(path, {"seed": "2"}, fresh=True) as journal:
        assert len(journal) == 0


def test_another_file_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("species,value\nEGFR,1\n")
    with pytest.raises(FingerprintError, match="is not a journal of this version"):
        Journal(path, JOB)
    assert path.read_text() == "species,value\nEGFR,1\n"


def test_two_runs_cannot_write_the_same_journal(path: Path) -> None:
    write(path, 2)
    code = f"from hpc import Journal\nJournal({str(path)!r}, {JOB!r})"
    with Journal(path, JOB):
        with pytest.raises(InUseError, match="is being written by another run"):
            Journal(path, JOB)
        other = subprocess.run(
            [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60
        )
        assert "InUseError" in other.stderr
        with pytest.raises(InUseError, match="choose another place with --out"):
            Journal(path, JOB, fresh=True)
    assert keys(path) == ["task 0", "task 1"]


def test_remove_leaves_nothing(path: Path) -> None:
    write(path, 2)
    journal = Journal(path, JOB)
    journal.remove()
    journal.close()
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/run\.journal: No such file"):
        Journal(tmp_path / "nowhere" / "run.journal", JOB)


def test_a_hundred_kills_while_writing(path: Path) -> None:
    writers = [sys.executable, str(ROOT / "tests" / "journal_writer.py"), str(path), "100"]
    done = subprocess.run(writers, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    promised = int(done.stdout)
    with Journal(path, {"job": "kill test"}) as journal:
        assert len(journal) > promised >= 99  # each life keeps one promise at least
        assert journal.damaged == 0
        for number, key in enumerate(journal):
            record = journal.read(key)
            assert (key, record.note) == (str(number), {"number": number})
            np.testing.assert_array_equal(record.arrays["x"], content(number), strict=True)


def test_a_full_disk_leaves_the_records_before_and_can_be_cured(path: Path) -> None:
    write(path, 3)
    size = path.stat().st_size
    with Journal(path, JOB) as journal:
        with _file_size_limit(size + 5_000):
            with pytest.raises(StorageError, match=r"(?s)run\.journal: File too large.*go on with --resume"):
                journal.append("task 10000", {"x": np.arange(10_000.0)})
            assert path.stat().st_size == size
            journal.append("task 4", {"x": np.arange(4.0)}, {"number": 4})  # what is small still fits
        journal.append("task 10000", {"x": np.arange(10_000.0)}, {"number": 10_000})
    assert keys(path) == ["task 0", "task 1", "task 2", "task 4", "task 10000"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_no_space_is_said_as_such() -> None:
    with pytest.raises(StorageError, match=r"/dev/full: No space left on device.*Free some space"):
        Journal("/dev/full", JOB)


def test_reading_does_not_hold_the_whole_file(path: Path) -> None:
    with Journal(path, JOB) as journal:
        for number in range(20):
            journal.append(str(number), {"x": np.zeros(125_000)})  # 1 MB
    tracemalloc.start()
    with Journal(path, JOB) as journal:
        journal.read("7")
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
