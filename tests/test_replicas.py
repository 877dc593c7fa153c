"""Replicas of Brownian dynamics: parts of a run that may be shared out in any way."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from test_association_simulator import QUICK, SITE, sphere
from test_placed_run import drugs

from scenarios.scenario import Scenario
from simulators.molecular import AssociationReplicas, AssociationSimulator
from simulators.molecular.simulator import LigandClass
from twin import InputError


def made(replicas: int, *, sigma_ln: float = 0.1) -> AssociationReplicas:
    """Two classes of ligands."""
    ligands = [sphere("neutral"), sphere("cation", charge=1), sphere("another")]
    return AssociationReplicas(
        AssociationSimulator(ligands, SITE, sigma_ln=sigma_ln, trajectories=640, settings=QUICK), replicas
    )


def counts(of: AssociationReplicas, members: np.ndarray) -> dict[str, np.ndarray]:
    """What these replicas count `[M]`."""
    _, outputs = of.step(of.init(members=members, seed=3), {}, t0=0.0, t1=0.0)
    return {name: values[:, -1] for name, values in outputs.items()}


def test_one_replica_is_the_run_of_a_class_bit_by_bit() -> None:
    of = made(1)
    whole = of.of
    _, said = whole.step(whole.init(members=np.arange(3), seed=3), {}, t0=0.0, t1=0.0)
    for ligand_class, members in whole.classes.items():
        found = of.together(ligand_class, counts(of, of.members(ligand_class)))
        for member in members:
            assert whole.k_D(member, found, temperature_K=310.15) == said["k_D"][member, 0]
            assert found.sigma_ln == said["sigma_ln_k_D"][member, 0]


def test_replicas_have_the_same_bits_in_any_share_and_differ_from_each_other() -> None:
    of = made(4)
    ligand_class = LigandClass.of(of.of.ligands[0])
    all_ = of.members(ligand_class)
    together = counts(of, all_)
    for cut in ([1], [2], [1, 3]):
        parts = [counts(made(4), share) for share in np.split(all_, cut)]
        for name, values in together.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)
    assert len(set(together["reacted"])) > 1
    assert not set(all_) & set(of.members(LigandClass.of(of.of.ligands[1])))


def test_replicas_together_say_what_one_run_says() -> None:
    """To the error that was asked for, each part stopping at that times √4; 4 σ apart would be 1 in 16,000."""
    one, four = made(1, sigma_ln=0.12), made(4, sigma_ln=0.12)
    for ligand_class in one.of.classes:
        alone, parted = (of.together(ligand_class, counts(of, of.members(ligand_class))) for of in (one, four))
        assert parted.sigma_ln <= 0.12
        assert parted.trajectories >= alone.trajectories
        apart = math.log(parted.rate_over_D_nm / alone.rate_over_D_nm)
        assert abs(apart) < 4 * math.hypot(alone.sigma_ln, parted.sigma_ln)


def test_what_cannot_be_parted_is_refused(tmp_path: Path) -> None:
    for replicas in (0, 641):
        with pytest.raises(InputError, match=f"{replicas} replicas of 640 trajectories"):
            made(replicas)
    with pytest.raises(InputError, match=r"replicas 0…2, but there are 2"):
        made(1).init(members=np.arange(3), seed=1)
    path = drugs(tmp_path)
    path.write_text(path.read_text().replace("replicas: 2", "replicas: 101"))
    with pytest.raises(InputError, match="replicas 101 of 100 trajectories; expected no more than trajectories"):
        Scenario.load(path)
