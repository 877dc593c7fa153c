"""Steady states against closed forms: slow reactions beside fast ones, reactions that wait, and a model of 773 states."""

from __future__ import annotations

import numpy as np
import pytest
from shared_data import shared

from simulators.reaction import ReactionModel
from simulators.reaction.engine import Status
from simulators.reaction.steady_state import FoundBy


@pytest.mark.parametrize("method", ["newton", "integration"])
def test_what_is_slow_is_waited_for(method: str) -> None:
    """A ⇌ B within microseconds, B → C → A within hours: a small rate alone does not mean that all has settled.
    B (3 + 1 + 1/2) = 1, A = 3 B, C = B/2."""
    model = ReactionModel.read("A -> B; 1e5*A - 3e5*B; B -> C; 1e-4*B; C -> A; 2e-4*C; A = 1; B = 0; C = 0")
    found = model.steady_state(method=method)
    assert found["status"].item() == 0
    np.testing.assert_allclose([found[n].item() for n in "ABC"], [6 / 9, 2 / 9, 1 / 9], rtol=1e-6)


def test_reactions_that_wait_for_what_is_absent_do_not_make_it_singular() -> None:
    """Without Z nothing becomes of D, whatever it is; with Z all of it becomes E. A settles by itself at 3/2."""
    model = ReactionModel.read("D -> E; D*Z; D = 1; E = 0; Z = 0; -> A; 3; A -> ; 2*A; A = 0")
    found = model.steady_state(initial={"D": [1.0, 4.0, 4.0]}, parameters={"Z": [0.0, 0.0, 2.0]})
    assert (found["found_by"] == FoundBy.NEWTON).all()
    np.testing.assert_allclose(found["D"], [1.0, 4.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(found["E"], [0.0, 0.0, 4.0], atol=1e-9)
    np.testing.assert_allclose(found["A"], 1.5, rtol=1e-9)


def test_species_that_appear_only_later_are_waited_for_too() -> None:
    """The same with Z a species that is made slowly: at the start D's reaction stands still, in the end D is gone."""
    model = ReactionModel.read("D -> E; D*Z; D = 1; E = 0; Z = 0; -> Z; 1e-4; Z -> ; 1e-4*Z")
    found = model.steady_state()
    assert found["status"].item() == 0
    np.testing.assert_allclose([found[n].item() for n in "DEZ"], [0.0, 1.0, 1.0], atol=1e-8)


def test_members_that_never_settle_say_so() -> None:
    found = ReactionModel.read("S' = k; S = 0; k = 0").steady_state(parameters={"k": [0.0, 1.0]}, max_steps=2000)
    assert found["status"][0] == 0
    assert found["status"][1] != 0
    assert np.isnan(found["S"][1])


def test_an_infinite_readout_is_nan_and_told() -> None:
    model = ReactionModel.read("S -> ; k*S; S = 1; k = 1; z = 0; r := 1/z")
    found = model.steady_state(select=["S", "r"])
    assert found["status"].item() == Status.NOT_FINITE
    assert np.isnan(found["r"].item())
    assert found["S"].item() == pytest.approx(0.0, abs=1e-8)


def test_sparced_settles_and_stays() -> None:
    """Unstimulated cells of 773 states; ten further days moves nothing by more than a thousandth part of its maximum."""
    model = ReactionModel.read(shared("models", "SPARCED", "SPARCED.xml"))
    names = list(model.network.state_names)
    found = model.steady_state(select=names, quantity="amount", method="integration", threads=1)
    assert found["status"].item() == 0
    settled = {name: found[name].values for name in names}
    more = model.simulate([0.0, 10 * 86400.0], initial=settled, select=names, quantity="amount", rtol=1e-6, threads=1)
    start, end = (np.array([more[name].values[0, k] for name in names]) for k in (0, 1))
    assert np.abs(end - start).max() < 1e-3 * np.abs(start).max()
    before, _ = model.network.start({}, members=1, time=0.0)
    assert (np.abs(start - before[0]) > 0.01 * np.abs(start)).sum() > 50  # there was something to settle
