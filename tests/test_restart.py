"""A run that is stopped at any window goes on from there, and ends in the bits of one that was not."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coupling import (
    AdaptiveWindows,
    FixedWindows,
    Jacobi,
    QuasiNewton,
    Restart,
    SerialStepper,
    Strang,
    WaveformRelaxation,
    advance,
    start,
)
from coupling.simulate import Course, simulate
from coupling.stepper import Step
from hpc import DamagedError, FingerprintError, Stopped, stop
from scenarios.commands.coupling_cases import masses_and_springs as cut_in_two
from simulators.closed_form import Constant
from simulators.reaction import ReactionSimulator
from twin import Conduit, InputError, Perturbation, State, Twin, Values

ABOUT = {"model": "two masses", "kakehashi": "this one"}
LOOKS = [0.0, 0.1, 0.35, 0.5, 0.5, 0.8, 1.0]
CHANGES = [Perturbation(0.5, "left.x", 0.1, "add"), Perturbation(1.0, "right.v", 0.5)]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of checkpoints are made here, and none has to outlive a crash of the machine."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Pulled(Exception):  # noqa: N818 - the plug is
    """The run ends in the middle of a window."""


class Mortal:
    """A stepper that ends the run when it has been called so often, or sends a signal."""

    def __init__(self, twin: Twin, calls: int, number: int | None = None) -> None:
        self._real, self.calls, self._number = SerialStepper(twin, time_units="s"), calls, number

    def __call__(self, steps: Sequence[Step]) -> Sequence[tuple[State, Values]]:
        self.calls -= 1
        if self.calls == 0:
            if self._number is None:
                raise Pulled
            os.kill(os.getpid(), self._number)
        return self._real(steps)


def run(twin: Twin, scheme: Any, windows: Any, stepper: Any = None, restart: Restart | None = None) -> Course:
    states = start(twin, members=np.arange(2))
    return advance(
        twin, states, CHANGES, t0=0.0, t1=1.0, sample=LOOKS, scheme=scheme, windows=windows, stepper=stepper,
        time_units="s", restart=restart,
    )  # fmt: skip


def same(one: Course, other: Course) -> None:
    assert one.values.keys() == other.values.keys()
    for name, values in one.values.items():
        assert values.tobytes() == other.values[name].tobytes(), name
    for name, state in one.states.items():
        assert {k: a.tobytes() for k, a in state.arrays.items()} == {
            k: a.tobytes() for k, a in other.states[name].arrays.items()
        }
    for what in ("counts", "residuals"):
        mine, yours = getattr(one, what), getattr(other, what)
        assert {k: a.tolist() for k, a in mine.items()} == {k: a.tolist() for k, a in yours.items()}, what


@pytest.mark.parametrize(
    ("scheme", "windows"),
    [
        (Jacobi(), FixedWindows(0.13)),
        (Jacobi(), AdaptiveWindows(0.2, smallest=0.02)),
        (Strang(), FixedWindows(0.3)),
        (WaveformRelaxation(1e-9, acceleration=QuasiNewton(reuse=3)), FixedWindows(0.25)),
        (WaveformRelaxation(1e-9), AdaptiveWindows(1e-2)),
    ],
    ids=["Jacobi", "Jacobi, adaptive", "Strang", "quasi-Newton with memory", "waveform, adaptive"],
)
def test_a_run_that_is_cut_off_anywhere_goes_on_to_the_same_bits(scheme: Any, windows: Any, tmp_path: Path) -> None:
    twin = cut_in_two()
    counting = Mortal(twin, 10**9)
    whole = run(twin, scheme, windows, counting)
    calls, done = 10**9 - counting.calls, []
    for number in range(1, calls + 1, max(1, calls // 4)):
        restart = Restart(tmp_path / "c", ABOUT, every_s=0.0)
        with pytest.raises(Pulled):
            run(twin, scheme, windows, Mortal(twin, number), restart)
        again = Mortal(twin, 10**9)
        same(whole, run(twin, scheme, windows, again, restart))
        done.append(10**9 - again.calls)
        none = Mortal(twin, 1)
        same(whole, run(twin, scheme, windows, none, restart))  # finished: nothing steps any more
        restart.remove()
    assert max(done) <= calls
    assert min(done) < calls / 3  # what is behind is not done again
    assert not list(tmp_path.iterdir())


def test_a_reaction_network_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """An integrator with steps and orders of its own, in the middle of its course."""
    model = "A = 1; B = 0; k = 0; J1: A -> B; k * A; J2: B -> A; 0.3 * B; J3: 2 A -> A; 0.05 * A^2"
    cell = ReactionSimulator(
        model, readouts=["A", "B"], inputs=["k"], units={"A": "nM", "B": "nM", "k": "1/min"}, time_units="min"
    )
    twin = Twin(
        {"rate": Constant({"k": ("1/min", np.array([0.6, 1.2]))}), "cell": cell}, (Conduit("rate.k", "cell.k"),)
    )
    given: dict[str, Any] = {"members": np.arange(2), "t0": 0.0, "t1": 5.0, "sample": [0.0, 2.5, 5.0], "exchange": 1.0}
    whole = simulate(twin, **given)
    restart = Restart(tmp_path / "c", ABOUT, every_s=0.0)
    real, left = cell.step, [5]

    def mortal(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    cell.step = mortal  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        simulate(twin, **given, restart=restart)
    cell.step = real  # type: ignore[method-assign]
    found = simulate(twin, **given, restart=restart)
    assert found["cell.A"].values.tobytes() == whole["cell.A"].values.tobytes()
    with pytest.raises(FingerprintError, match="seed"):
        simulate(twin, **given, restart=restart, seed=7)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGALRM, 75)])
def test_a_signal_waits_for_the_end_of_a_window_and_loses_nothing(number: int, code: int, tmp_path: Path) -> None:
    """With half a minute between checkpoints: one is made since the run has to end."""
    twin, windows = cut_in_two(), FixedWindows(0.13)
    whole = run(twin, Jacobi(), windows)
    restart = Restart(tmp_path / "c", ABOUT, every_s=30.0)
    with stop.listening(), pytest.raises(Stopped) as stopped:
        run(twin, Jacobi(), windows, Mortal(twin, 8, number), restart)
    assert stopped.value.exit_code == code
    again = Mortal(twin, 10**9)
    same(whole, run(twin, Jacobi(), windows, again, restart))
    assert 0 < 10**9 - again.calls < 10


def test_a_checkpoint_of_another_run_is_refused_and_stays(tmp_path: Path) -> None:
    twin, windows = cut_in_two(), FixedWindows(0.13)
    restart = Restart(tmp_path / "c", ABOUT, every_s=0.0)
    run(twin, Jacobi(), windows, restart=restart)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FingerprintError, match="times_and_scheme"):
        run(twin, Strang(), windows, restart=restart)
    with pytest.raises(FingerprintError, match="model: two masses there, three masses now"):
        run(twin, Jacobi(), windows, restart=Restart(tmp_path / "c", {**ABOUT, "model": "three masses"}))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    for path in before:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="delete it to begin anew"):
        run(twin, Jacobi(), windows, restart=restart)


def test_seconds_below_0_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"every_s -1; expected seconds, 0 or more"):
        Restart(tmp_path / "run.checkpoint", {}, every_s=-1)
