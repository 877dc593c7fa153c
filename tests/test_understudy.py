"""What the rank next in line makes ready: once, in the background or when it is needed, and errors are told to who takes it."""

from __future__ import annotations

import threading

import pytest

from hpc.understudy import Understudy


def test_what_was_begun_is_made_once_and_by_another_thread() -> None:
    makers: list[threading.Thread] = []
    understudy = Understudy(lambda: makers.append(threading.current_thread()) or len(makers))
    understudy.begin()
    understudy.begin()
    assert understudy.take() == 1
    assert understudy.take() == 1
    assert len(makers) == 1
    assert makers[0] is not threading.current_thread()


def test_what_was_not_begun_is_made_when_it_is_taken() -> None:
    assert Understudy(threading.current_thread).take() is threading.current_thread()


def test_an_error_is_told_to_who_takes_it() -> None:
    attempts: list[int] = []

    def make() -> None:
        attempts.append(1)
        raise OSError("no such scenario")

    understudy = Understudy(make)
    understudy.begin()
    with pytest.raises(OSError, match="no such scenario"):
        understudy.take()
    assert len(attempts) == 2
