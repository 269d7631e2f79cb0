"""Many objects in enlarged tiles of a plane."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.many_tiles import (
    found_closer,
    less_sure_at_edges,
    seen_again,
)
from napari_promise.prompts import Prompts


def test_small_objects_are_looked_for_in_tiles() -> None:
    class Finds:
        """Finds one object of 10 pixels in the middle of whatever it sees."""

        def proposals(self, region, **_):
            r, c = (region[0] + region[2]) / 2, (region[1] + region[3]) / 2
            box = (r - 5, c - 5, r + 5, c + 5)
            return (Prompts(points=[(r, c)], scores=[0.8], boxes=[box]),)

    tiles: list[tuple[int, int, int, int]] = []

    def embed(tile):
        tiles.append(tile)
        return tile

    found = found_closer(Finds(), (0, 0, 512, 1000), (512, 1000), embed)
    assert len(found) == len(tiles) > 10
    places = np.array([each.points[0] for each in found])
    assert places.max(0)[1] > 800, "the last tile reaches the edge"


def test_an_object_that_its_tile_cuts_is_less_sure() -> None:
    cut = Prompts(points=[(105, 50)], scores=[0.8], boxes=[(100, 40, 110, 60)])
    whole = Prompts(points=[(120, 50)], scores=[0.8], boxes=[(110, 40, 130, 60)])
    tile, shape = (100, 0, 200, 100), (400, 100)
    first, second = less_sure_at_edges([cut, whole], tile, shape)
    assert (first.scores[0], second.scores[0]) == (0.4, 0.8)


class Sees:
    """Sees the same whatever it is shown."""

    def __init__(self, *seen: Prompts) -> None:
        self.seen = seen

    def proposals(self, _emb, *, bar):
        assert bar < 0.5, "faint ones serve, too"
        return self.seen


def test_an_object_takes_its_box_from_the_tile_that_shows_it_larger() -> None:
    asked = [
        Prompts(points=[(50, 50)], scores=[0.8], boxes=[(40, 40, 60, 60)]),
        Prompts(points=[(90, 90)], scores=[0.7], boxes=[(80, 80, 100, 100)]),
        Prompts(points=[(51, 51)], scores=[0.6]),  # its box is not trusted
    ]
    seen = Sees(
        Prompts(points=[(53, 49)], scores=[0.3], boxes=[(42, 41, 63, 58)]),
        Prompts(points=[(98, 97)], scores=[0.9], boxes=[(95, 94, 101, 101)]),
        Prompts(points=[(50, 50)], scores=[0.9]),
    )
    first, second, third = seen_again(seen, None, asked)
    np.testing.assert_array_equal(first.boxes, [(42, 41, 63, 58)])
    assert first.points.tolist() == [[50, 50]]
    assert first.scores.tolist() == [pytest.approx(0.55)]
    assert second is None, "what is seen beside it is another object"
    assert third is asked[2]


def test_an_object_that_is_nothing_at_a_closer_look_is_left_out() -> None:
    asked = Prompts(points=[(50, 50)], scores=[0.8], boxes=[(40, 40, 60, 60)])
    assert seen_again(Sees(), None, [asked]) == [None]


def test_a_box_that_is_not_trusted_at_a_closer_look_changes_none() -> None:
    asked = Prompts(points=[(50, 50)], scores=[0.8], boxes=[(40, 40, 60, 60)])
    seen = Sees(
        Prompts(points=[(51, 50)], scores=[0.4]),
        Prompts(points=[(80, 50)], scores=[0.9], boxes=[(70, 40, 90, 60)]),
    )
    (told,) = seen_again(seen, None, [asked])
    np.testing.assert_array_equal(told.boxes, asked.boxes)
    assert told.scores.tolist() == [pytest.approx(0.6)]


def test_what_has_no_score_changes_none() -> None:
    asked = Prompts(points=[(50, 50)], scores=[0.8], boxes=[(40, 40, 60, 60)])
    (told,) = seen_again(Sees(Prompts(points=[(50, 50)])), None, [asked])
    assert (told.scores.tolist(), len(told.boxes)) == ([0.8], 1)
