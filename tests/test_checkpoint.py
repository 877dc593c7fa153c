"""Checkpoints: whole or not there, whatever happens while they are written, and what is read has the bits that were saved."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hpc import Checkpoint, DamagedError, FingerprintError, Record, StorageError
from scenarios.commands import checkpoint_faults
from scenarios.commands.checkpoint_faults import FINGERPRINT, parts, same


def test_what_is_saved_comes_back_bit_by_bit(tmp_path: Path) -> None:
    arrays = {
        "y": np.asfortranarray(np.random.default_rng(0).normal(size=(5, 3))),
        "special": np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324]),
        "members": np.arange(5),
        "flags": np.array([True, False]),
        "empty": np.empty((0, 4), dtype=np.float32),
        "bytes": np.frombuffer(os.urandom(1000), np.uint8),
        "scalar": np.float64(0.1),
    }
    note = {"time": 0.1 + 0.2, "words": "µM", "long": 2**200, "unset": None, "nested": [1, {"a": [True]}]}
    checkpoint = Checkpoint(tmp_path / "c", FINGERPRINT)
    assert checkpoint.load() is None
    checkpoint.save([Record("cell", arrays, note), Record("nothing")])
    found = Checkpoint(tmp_path / "c", FINGERPRINT).load()
    assert found is not None
    assert list(found) == ["cell", "nothing"]
    assert found["cell"].note == note
    for name, value in arrays.items():
        again = found["cell"].arrays[name]
        assert (again.dtype, again.shape) == (value.dtype, value.shape), name
        assert again.tobytes() == np.ascontiguousarray(value).tobytes(), name
    assert {path.name for path in tmp_path.iterdir()} == {"c"}


def test_the_one_before_stays_until_it_is_done(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", FINGERPRINT)
    for step in (1, 2, 3):
        checkpoint.save(parts(step, 10))
    assert {path.name for path in tmp_path.iterdir()} == {"c", "c.previous"}
    assert same(checkpoint.load() or {}, 3, 10)
    content = bytearray(checkpoint.path.read_bytes())
    content[-1] ^= 1
    checkpoint.path.write_bytes(content)
    assert same(checkpoint.load() or {}, 2, 10)
    assert checkpoint.older
    checkpoint.remove()
    assert not list(tmp_path.iterdir())


def test_numpy_torch_and_openmm_go_on_as_if_undisturbed(tmp_path: Path) -> None:
    """Their whole state as arrays and notes; each then draws, learns and moves the same bits."""
    openmm = pytest.importorskip("openmm")
    torch = pytest.importorskip("torch")

    generator = np.random.Generator(np.random.PCG64(1))
    generator.normal(size=100)

    torch.manual_seed(1)
    net = torch.nn.Linear(3, 1)
    optimiser = torch.optim.Adam(net.parameters())

    def learn() -> bytes:
        loss = net(torch.randn(8, 3)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return net.weight.detach().numpy().tobytes()

    learn()
    system = openmm.System()
    for _ in range(4):
        system.addParticle(10.0)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002)
    integrator.setRandomNumberSeed(5)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.zeros((4, 3)))
    integrator.step(10)

    def move() -> bytes:
        integrator.step(10)
        return np.asarray(context.getState(getPositions=True).getPositions(asNumpy=True)._value).tobytes()

    stored = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict(), "random": torch.get_rng_state()}, stored)
    checkpoint = Checkpoint(tmp_path / "c", FINGERPRINT)
    checkpoint.save(
        [
            Record("generator", note=generator.bit_generator.state),
            Record("learned", {"torch": np.frombuffer(stored.getvalue(), np.uint8)}),
            Record("molecule", {"openmm": np.frombuffer(context.createCheckpoint(), np.uint8)}),
        ]
    )
    expected = (generator.normal(size=5).tobytes(), learn(), move())
    found = checkpoint.load()
    assert found is not None
    again = np.random.Generator(np.random.PCG64(99))
    again.bit_generator.state = found["generator"].note
    learned = torch.load(io.BytesIO(found["learned"].arrays["torch"].tobytes()), weights_only=True)
    net.load_state_dict(learned["net"])
    optimiser.load_state_dict(learned["optimiser"])
    torch.set_rng_state(learned["random"])
    context.loadCheckpoint(found["molecule"].arrays["openmm"].tobytes())
    assert (again.normal(size=5).tobytes(), learn(), move()) == expected


def test_kills_while_writing_leave_no_unreadable_checkpoint(tmp_path: Path) -> None:
    """The short form of `twin bench faults`."""
    assert checkpoint_faults.killed_writes(tmp_path, kills=8, seed=1)["unreadable"] == 0


def test_a_limit_to_files_is_an_error_and_the_last_checkpoint_stands(tmp_path: Path) -> None:
    assert "Free some space (or raise the quota or `ulimit -f`)" in checkpoint_faults.full_disk(tmp_path)["said"]


def test_a_full_disk_is_an_error_and_the_last_checkpoint_stands(tmp_path: Path) -> None:
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        checkpoint = Checkpoint(tmp_path / "c", FINGERPRINT)
        checkpoint.save(parts(1))  # 1.6 MB each: the second does not fit beside the first
        with pytest.raises(StorageError, match=r"No space left on device.*What was written before is whole"):
            checkpoint.save(parts(2))
        assert same(checkpoint.load() or {}, 1)
        assert {path.name for path in tmp_path.iterdir()} == {"c"}
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_flipped_and_lost_bytes_are_found(tmp_path: Path) -> None:
    assert checkpoint_faults.damaged(tmp_path, flips=250)["found"] == 500


def test_a_checkpoint_of_something_else_is_refused_and_stays(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", FINGERPRINT)
    checkpoint.save(parts(1, 10))
    before = checkpoint.path.read_bytes()
    with pytest.raises(FingerprintError, match=r"seed: 1 there, 2 now(.|\n)*start anew with --overwrite"):
        Checkpoint(tmp_path / "c", {**FINGERPRINT, "seed": "2"}).load()
    assert checkpoint.path.read_bytes() == before
    checkpoint.path.write_bytes(before.replace(b"checkpoint 1\n", b"checkpoint 2\n"))
    with pytest.raises(FingerprintError, match=r"another version of kakehashi\. Go on with that version"):
        checkpoint.load()
    checkpoint.path.write_bytes(b"# a thesis\n" * 100)
    with pytest.raises(DamagedError, match="does not begin as a checkpoint does"):
        checkpoint.load()


def test_what_cannot_be_saved_is_said_before_anything_is_written(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", FINGERPRINT)
    with pytest.raises(ValueError, match="names of their own: 'a', 'a'"):
        checkpoint.save([Record("a"), Record("a")])
    with pytest.raises(TypeError, match=r"array 'x' of record 'a' has dtype object"):
        checkpoint.save([Record("a", {"x": np.array([{}])})])
    assert not list(tmp_path.iterdir())
