"""Which part of a plane an object is shown in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_promise.document import BBox
from napari_promise.prompts import Prompts
from napari_promise.tiles import (
    AROUND,
    HALO,
    LEAST,
    MOST,
    at_once,
    better_tile,
    is_cut,
    is_finer,
    next_tile,
    tile_for,
)

SLIDE = (20_000, 20_000)


@st.composite
def planes(draw: st.DrawFn) -> tuple[int, int]:
    return draw(st.integers(1, 30_000)), draw(st.integers(1, 30_000))


@st.composite
def boxes_in(draw: st.DrawFn, shape: tuple[int, int]) -> BBox:
    r0, c0 = (draw(st.integers(0, n - 1)) for n in shape)
    return (
        r0,
        c0,
        draw(st.integers(r0 + 1, shape[0])),
        draw(st.integers(c0 + 1, shape[1])),
    )


@st.composite
def objects(draw: st.DrawFn) -> tuple[tuple[int, int], Prompts, BBox | None]:
    """A plane, some prompts in it, and perhaps what is known of the object."""
    shape = draw(planes())
    points = draw(
        st.lists(
            st.tuples(
                st.floats(-0.5, shape[0] - 0.5, allow_subnormal=False),
                st.floats(-0.5, shape[1] - 0.5, allow_subnormal=False),
            ),
            max_size=4,
        )
    )
    boxes = draw(st.lists(boxes_in(shape), max_size=2))
    known = draw(st.none() | boxes_in(shape))
    return shape, Prompts(points=points, boxes=boxes), known


def extent(tile: BBox | None, shape: tuple[int, int]) -> int:
    r0, c0, r1, c1 = tile or (0, 0, *shape)
    return max(r1 - r0, c1 - c0)


@given(objects())
def test_a_tile_lies_in_its_plane_and_is_one_of_a_few_sizes(asked) -> None:
    shape, prompts, known = asked
    tile = tile_for(prompts, None, shape, known=known)
    if tile is None:
        return
    r0, c0, r1, c1 = tile
    assert 0 <= r0 < r1 <= shape[0]
    assert 0 <= c0 < c1 <= shape[1]
    side = extent(tile, shape)
    assert side in {LEAST * 2**k for k in range(10)}
    assert side <= MOST * max(shape)
    assert {r1 - r0, c1 - c0} <= {side, *shape}


@given(objects())
def test_a_tile_holds_all_prompts_and_the_object_with_a_halo(asked) -> None:
    shape, prompts, known = asked
    tile = tile_for(prompts, None, shape, known=known)
    if tile is None:
        return
    halo = HALO * extent(tile, shape) - 1.5  # pixels are cut to whole ones
    held = [(*p, *p) for p in prompts.points.tolist()] + prompts.boxes.tolist()
    held += [] if known is None else [known]
    for r0, c0, r1, c1 in held:
        assert r0 >= tile[0] + halo or tile[0] == 0
        assert c0 >= tile[1] + halo or tile[1] == 0
        assert r1 <= tile[2] - halo or tile[2] == shape[0]
        assert c1 <= tile[3] - halo or tile[3] == shape[1]


@given(objects())
def test_where_prompts_are_added_the_tile_never_shrinks(asked) -> None:
    shape, prompts, known = asked
    if known is None:
        return
    without = tile_for(Prompts(), None, shape, known=known)
    with_all = tile_for(prompts, None, shape, known=known)
    assert extent(with_all, shape) >= extent(without, shape)


@given(
    st.integers(1, 4000),
    st.integers(0, 20_000 - 4000),
    st.integers(0, 20_000 - 4000),
)
def test_an_object_fills_a_good_part_of_its_tile(size: int, row: int, column: int):
    tile = tile_for(
        Prompts(), None, SLIDE, known=(row, column, row + size, column + size)
    )
    side = extent(tile, SLIDE)
    assert side >= min(AROUND * size, MOST * 20_000)
    assert side <= max(LEAST, 2 * AROUND * size) or tile is None


@given(st.integers(0, 19_000), st.integers(0, 19_000), st.integers(20, 30))
def test_what_lies_beside_asks_for_few_tiles(row: int, column: int, size: int) -> None:
    """A hundred objects in a square of a tile's side need no more than 36 tiles."""
    found = {
        tile_for(
            Prompts(),
            None,
            SLIDE,
            known=(row + r, column + c, row + r + size, column + c + size),
        )
        for r in range(0, 128, 13)
        for c in range(0, 128, 13)
    }
    assert len(found) <= 36


@given(objects(), st.data())
def test_an_answer_leads_to_a_tile_that_holds_it_or_stays(asked, data) -> None:
    shape, prompts, found = asked
    tile = data.draw(st.none() | boxes_in(shape))
    better = better_tile(prompts, None, shape, found=found, tile=tile)
    if better == tile or found is None:
        assert better == tile
    elif is_finer(better, tile, shape):
        assert not is_cut(found, better, shape)
    else:
        assert is_finer(tile, better, shape) or better is None


@given(objects())
def test_looking_closer_comes_to_an_end(asked) -> None:
    shape, prompts, found = asked
    tile: BBox | None = None
    for _ in range(12):
        better = better_tile(prompts, None, shape, found=found, tile=tile)
        if better == tile:
            break
        tile = better
    else:
        raise AssertionError("the tile goes on changing")


def test_a_click_is_shown_at_the_scale_of_the_view() -> None:
    click = Prompts(points=[(5000, 7000)])
    assert tile_for(click, None, SLIDE) is None
    assert tile_for(click, (0, 0, 20_000, 20_000), SLIDE) is None
    tile = tile_for(click, (4800, 6600, 5200, 7300), SLIDE)
    assert extent(tile, SLIDE) == 1024


def test_a_view_alone_has_its_tile() -> None:
    tile = tile_for(Prompts(), (4800, 6600, 5200, 7300), SLIDE)
    assert tile is not None
    assert extent(tile, SLIDE) == 1024
    assert tile[0] < 4800
    assert tile[3] > 7200


def test_a_large_object_is_shown_in_the_whole_plane() -> None:
    assert tile_for(Prompts(boxes=[(100, 100, 8000, 9000)]), None, SLIDE) is None


def test_the_tile_of_a_mask_serves_its_corrections() -> None:
    tile = (4928, 6912, 5184, 7168)
    known = (5000, 7000, 5060, 7040)
    near = Prompts(points=[(5010, 7010), (5070, 7100)])
    far = Prompts(points=[(5010, 7010), (5600, 7100)])
    assert next_tile(near, None, SLIDE, known=known, tile=tile) == tile
    wider = next_tile(far, None, SLIDE, known=known, tile=tile)
    assert wider != tile
    assert extent(wider, SLIDE) > 256


def test_an_object_that_its_tile_cuts_is_shown_in_a_coarser_one() -> None:
    tile = (4928, 6912, 5184, 7168)
    found = (4950, 6912, 5100, 7100)
    click = Prompts(points=[(5000, 7000)])
    wider = better_tile(click, None, SLIDE, found=found, tile=tile)
    assert extent(wider, SLIDE) >= 512
    assert not is_cut(found, wider, SLIDE)


def test_a_click_far_from_the_view_is_not_trusted_from_far_away() -> None:
    """Whatever was found in the whole slide, the view says how large it is."""
    click = Prompts(points=[(5000, 7000)])
    view = (4800, 6600, 5200, 7300)
    found = (0, 0, 15_000, 15_000)
    better = better_tile(click, view, SLIDE, found=found, tile=None)
    assert extent(better, SLIDE) == 1024


def test_what_is_encoded_answers_at_once() -> None:
    click = Prompts(points=[(5000, 7000)])
    wanted = (4864, 6848, 5120, 7104)
    beside = (4800, 6912, 5056, 7168)
    coarse = (4096, 6144, 6144, 8192)
    assert at_once(wanted, [None, wanted], click, SLIDE) == (wanted, True)
    assert at_once(wanted, [None, beside], click, SLIDE) == (beside, True)
    assert at_once(wanted, [None, coarse], click, SLIDE) == (coarse, False)
    assert at_once(wanted, [None], click, SLIDE) == (None, False)
    assert at_once(wanted, [], click, SLIDE) == (wanted, True)


def test_a_tile_that_does_not_hold_all_prompts_answers_nothing() -> None:
    two = Prompts(points=[(5000, 7000), (9000, 9000)])
    wanted = tile_for(two, None, SLIDE)
    assert at_once(wanted, [(4864, 6848, 5120, 7104)], two, SLIDE)[0] == wanted


def test_a_small_image_is_shown_as_it_is() -> None:
    assert tile_for(Prompts(boxes=[(3, 3, 9, 9)]), None, (90, 100)) is None


@pytest.mark.parametrize("edge", [0, 1])
def test_at_the_edge_of_the_plane_the_halo_ends(edge: int) -> None:
    known = (0, 0, 20, 20) if edge == 0 else (19_980, 19_980, 20_000, 20_000)
    tile = tile_for(Prompts(), None, SLIDE, known=known)
    assert extent(tile, SLIDE) == 128
