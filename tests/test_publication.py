"""A result appears whole or not at all, wherever a run is killed while it publishes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mpi_launch import environment

from hpc import ExistsError, StorageError, draft, publication, publish, tidy


def result(place: Path, text: str) -> Path:
    """A result as a directory tree."""
    (place / "pAKT" / "c").mkdir(parents=True)
    (place / "pAKT" / "c" / "0").write_text(text)
    (place / "zarr.json").write_text(text)
    return place


def content(final: Path) -> str:
    """Its text, from both of its files."""
    texts = {(final / "pAKT/c/0").read_text(), (final / "zarr.json").read_text()}
    assert len(texts) == 1
    return texts.pop()


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "met [1].zarr"


def names(final: Path) -> list[str]:
    return sorted(path.name for path in final.parent.iterdir())


def test_a_draft_is_a_hidden_sibling(final: Path) -> None:
    one, other = draft(final), draft(final)
    assert one.parent == final.parent
    assert one.name.startswith(".met [1].zarr.partial-")
    assert one != other


def test_new_directory_and_new_file(final: Path, tmp_path: Path) -> None:
    publish(result(draft(final), "new"), final)
    page = tmp_path / "page.html"
    written = draft(page)
    written.write_text("<html>")
    publish(written, page)
    assert content(final) == "new"
    assert page.read_text() == "<html>"
    assert names(final) == ["met [1].zarr", "page.html"]


def test_what_is_there_is_refused_and_kept(final: Path, tmp_path: Path) -> None:
    publish(result(draft(final), "old"), final)
    with pytest.raises(ExistsError, match=r"met \[1\]\.zarr is there already.*--overwrite"):
        publish(result(draft(final), "new"), final)
    assert content(final) == "old"
    page = tmp_path / "page.html"
    page.write_text("old")
    written = draft(page)
    written.write_text("new")
    with pytest.raises(ExistsError, match=r"--out"):
        publish(written, page)
    assert page.read_text() == "old"


@pytest.mark.parametrize("exchange", [True, False])
def test_overwrite_replaces_directories_files_and_one_by_the_other(
    exchange: bool, final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(publication, "_exchange", lambda one, other: False)
    publish(result(draft(final), "old"), final)
    publish(result(draft(final), "new"), final, overwrite=True)
    assert content(final) == "new"
    written = draft(final)
    written.write_text("a file")
    publish(written, final, overwrite=True)
    assert final.read_text() == "a file"
    publish(result(draft(final), "newest"), final, overwrite=True)
    assert content(final) == "newest"
    assert names(final) == ["met [1].zarr"]


@pytest.mark.parametrize("exchange", [True, False])
def test_killed_at_any_system_call_the_old_or_the_new_is_there_whole(exchange: bool, final: Path) -> None:
    # the process dies at its k-th change of a name, for every k, until it gets through
    for deadly in range(1, 30):
        for path in final.parent.iterdir():
            publication._delete(path)
        publish(result(final.parent / "first", "old"), final)
        script = (
            "import os, shutil, sys\n"
            "from pathlib import Path\n"
            "from hpc import publication\n"
            "count = 0\n"
            "def watch(event, arguments):\n"
            "    global count\n"
            "    if event in ('os.rename', 'os.remove', 'os.rmdir', 'shutil.rmtree', 'ctypes.call_function'):\n"
            f"        count += 1\n        if count == {deadly}: os._exit(77)\n"
            f"if not {exchange}: publication._exchange = lambda one, other: False\n"
            f"final = Path({str(final)!r})\n"
            "written = publication.draft(final)\n"
            "(written / 'pAKT/c').mkdir(parents=True)\n"
            "(written / 'pAKT/c/0').write_text('new'); (written / 'zarr.json').write_text('new')\n"
            "sys.addaudithook(watch)\n"
            "publication.publish(written, final, overwrite=True)\n"
        )
        done = subprocess.run([sys.executable, "-c", script], env=environment(), timeout=60)
        assert done.returncode in (0, 77)
        tidy(final)
        assert content(final) in (("old", "new") if done.returncode else ("new",)), deadly
        assert names(final) == ["met [1].zarr"]
        if done.returncode == 0:
            break
    assert deadly >= 4


def test_tidy_spares_what_others_write_now(final: Path) -> None:
    mine_of_earlier = result(draft(final), "x")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    of_the_dead = mine_of_earlier.with_name(re.sub(r"partial-\d+", f"partial-{dead.pid}", mine_of_earlier.name))
    result(of_the_dead, "x")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        of_the_living = mine_of_earlier.with_name(re.sub(r"partial-\d+", f"partial-{living.pid}", mine_of_earlier.name))
        result(of_the_living, "x")
        elsewhere = final.with_name(f".{final.name}.partial-1-abcdef-another-host")
        elsewhere.write_text("x")
        other_result = final.with_name(f".met 1.zarr.partial-{dead.pid}-abcdef-x")
        other_result.write_text("x")
        tidy(final)
        assert names(final) == sorted([of_the_living.name, elsewhere.name, other_result.name])
        os.utime(elsewhere, (0, 0))
        tidy(final)
        assert not elsewhere.exists()
        living.communicate(b"\n")


def test_a_failing_disk_keeps_the_old(final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(result(draft(final), "old"), final)

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError, match=r"No space left on device\. The result could not be put there"):
            publish(result(draft(final), "new"), final, overwrite=True)
    assert content(final) == "old"
    monkeypatch.setattr(publication, "_exchange", lambda one, other: False)
    rename, calls = Path.rename, iter([True, False, True])

    def fail_the_second(self: Path, target: Path) -> Path:
        if not next(calls):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_the_second)
    with pytest.raises(StorageError, match="Input/output error"):
        publish(result(draft(final), "new"), final, overwrite=True)
    assert content(final) == "old"
