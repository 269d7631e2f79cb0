"""Proposals on some planes become one object, and the wrong ones are outvoted."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.propagation import Propagator
from napari_promise.propagation.proposed import agreeing, planes_to_ask
from tests.propagation.conftest import PLANES, SIDE


def simple(look):
    return 3 * look.score + look.prior


@pytest.fixture
def propagator(phantom):
    return Propagator(phantom.embed, phantom.pixels, PLANES, outline=simple)


def test_a_proposal_of_something_else_is_outvoted(phantom, propagator):
    proposals = {plane: phantom.one[plane] for plane in (4, 6, 8, 10)}
    elsewhere = np.zeros((SIDE, SIDE), bool)
    elsewhere[38:46, 4:12] = True
    votes = agreeing(propagator, 1, {**proposals, 7: elsewhere})
    assert sorted(votes) == [4, 6, 8, 10]
    assert min(votes.values()) > 0.5
    assert propagator.drawn(1) == (4, 6, 8, 10)


def test_the_object_is_filled_in_between_what_was_proposed(phantom, propagator):
    agreeing(propagator, 1, {p: phantom.one[p] for p in (4, 7, 10)})
    found = {r.plane: r.mask for r in propagator.run((4, 10))}
    assert sorted(found) == [5, 6, 8, 9]
    both = sum(int((m & phantom.one[p]).sum()) for p, m in found.items())
    all_of_both = sum(int(m.sum() + phantom.one[p].sum()) for p, m in found.items())
    assert 2 * both / all_of_both > 0.9


def test_of_two_proposals_none_is_outvoted(phantom, propagator):
    votes = agreeing(propagator, 1, {3: phantom.one[3], 9: phantom.two[9]})
    assert votes == {3: 1.0, 9: 1.0}


def test_nothing_proposed_leaves_nothing_drawn(propagator):
    assert agreeing(propagator, 1, {}) == {}
    assert propagator.labels == ()


@pytest.mark.parametrize(
    ("first", "last", "every", "asked"),
    [
        (0, 9, 3, [1, 4, 7]),
        (5, 5, None, [5]),
        (0, 23, None, list(range(1, 24, 2))),
        (10, 12, 50, [12]),
    ],
)
def test_planes_are_asked_in_the_middle_of_their_share(first, last, every, asked):
    assert planes_to_ask(first, last, every) == asked
