"""Objects are looked at again from closer by: what is asked when, and what is dropped.

The stand-in sees discs of a slide, cut where its tile ends.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_promise.document import Region, Tile
from napari_promise.prompts import Before, Prompts
from napari_promise.session import ArraySource
from tests.session.bench import Embedded, Gate, StandIn

SLIDE = (4000, 4000)
#: Row, column and radius of the discs in it.
DISCS = ((500, 500, 12), (530, 560, 14), (2000, 2000, 900), (3000, 600, 100))


class Looker(StandIn):
    """Sees the disc under the first point, as far as the tile reaches."""

    sees = 64

    def __init__(self) -> None:
        super().__init__()
        self.tiles: list = []
        self.asked: list = []
        self.closer = Gate()
        self.score_of_tile: dict = {}

    def encode(
        self, image, *, region=None, plane_shape=None, progress=None, cancel=None
    ):
        self.tiles.append(region)
        if region is not None:
            self.closer.pass_through(cancel)
        found = Embedded(np.zeros(1, np.float32))
        found.tile = region
        return found

    def restore(self, arrays):
        raise ValueError("encode anew")

    def segment(self, emb, prompts, *, ips=True, local=True):
        self.asked.append((emb.tile, prompts))
        self.segmenting.pass_through()
        at = prompts.points[0] if len(prompts.points) else None
        if at is None:
            r0, c0, r1, c1 = prompts.boxes[0]
            at = ((r0 + r1) / 2, (c0 + c1) / 2)
        row, column, radius = min(
            DISCS, key=lambda d: np.hypot(d[0] - at[0], d[1] - at[1]) - d[2]
        )
        r0, c0, r1, c1 = emb.tile or (0, 0, *SLIDE)
        box = (
            max(r0, row - radius),
            max(c0, column - radius),
            min(r1, row + radius),
            min(c1, column + radius),
        )
        crop = np.ones((box[2] - box[0], box[3] - box[1]), bool)
        return SimpleNamespace(
            region=Region.from_crop(crop, box[:2], SLIDE),
            score=self.score_of_tile.get(emb.tile, 0.5),
            logits=np.full((1, 2, 2), len(prompts.points), np.float32),
            tile=emb.tile,
        )


@pytest.fixture
def bench(make):
    bench = make(models={"promise-tiny": Looker()})
    image = np.broadcast_to(np.zeros((), np.uint8), SLIDE)
    bench.session.set_image(ArraySource(image))
    bench.until(lambda: () in bench.planes)
    return bench


def side(tile) -> int:
    return max(SLIDE) if tile is None else tile[2] - tile[0]


def click(bench, *points) -> int:
    record = bench.document.new_object()
    bench.click(record.id, *points)
    return record.id


def until_tile(bench, object_id: int) -> None:
    bench.until(lambda: bench.document.get(object_id).tile is not None)


def test_a_click_is_answered_at_once_and_then_from_closer_by(bench) -> None:
    bench.model.closer.hold()
    one = click(bench, (500, 500))
    bench.until_answered(one)
    assert bench.document.get(one).tile is None
    bench.model.closer.open.set()
    until_tile(bench, one)
    record = bench.document.get(one)
    assert side(record.tile) == 128
    assert record.is_answered
    assert [tile for tile, _ in bench.model.asked] == [None, record.tile]
    assert bench.document.undo_name == "edit prompts"


def test_a_large_object_is_looked_at_once(bench) -> None:
    one = click(bench, (2000, 2000))
    bench.until_answered(one)
    two = click(bench, (3000, 600))
    until_tile(bench, two)
    assert bench.document.get(one).tile is None
    assert [t for t, p in bench.model.asked if p.points[0, 0] == 2000] == [None]


def test_the_closer_look_goes_on_from_the_first_mask_in_the_same_step(bench) -> None:
    bench.model.closer.hold()
    one = click(bench, (3000, 600))
    bench.until_answered(one)
    first = bench.document.get(one)
    assert first.prompts.before is None
    bench.model.closer.open.set()
    until_tile(bench, one)
    record = bench.document.get(one)
    assert record.prompts.before == Before(first.logits.array)
    assert record.answered == record.prompts == bench.model.asked[-1][1]
    bench.document.undo()
    assert one not in bench.document or bench.document.get(one).region is None
    bench.document.redo()
    assert bench.document.get(one).prompts.before == record.prompts.before


def test_a_doubtful_mask_is_not_gone_on_from_where_an_answer_anew_is_surer(
    bench,
) -> None:
    bench.model.score_of_tile = {None: 0.3}
    one = click(bench, (3000, 600))
    until_tile(bench, one)
    record = bench.document.get(one)
    assert record.prompts.before is None
    assert record.score == 0.5


def test_a_moved_click_starts_anew_and_one_more_goes_on(bench) -> None:
    one = click(bench, (3000, 600))
    until_tile(bench, one)
    bench.model.asked.clear()
    bench.document.edit_prompts(one, points=[(3005, 600)], labels=[1])
    bench.until(lambda: len(bench.model.asked) == 2)
    (far, plain), (near, on_top) = bench.model.asked
    assert (far, plain.before) == (None, None)
    assert near is not None
    assert on_top.before is not None
    bench.until_answered(one)
    bench.until(lambda: bench.document.get(one).tile == near)
    bench.click(one, (3010, 610))
    bench.until_answered(one)
    tile, asked = bench.model.asked[-1]
    assert tile == near == asked.before.tile
    assert asked.before.added.tolist() == [False, True]


def test_asked_again_of_another_adapter_the_mask_of_the_first_says_nothing(
    bench,
) -> None:
    one = click(bench, (3000, 600))
    until_tile(bench, one)
    tile = bench.document.get(one).tile
    bench.model.asked.clear()
    bench.session.segment(one, again=True)
    bench.until(lambda: len(bench.model.asked) == 1)
    assert bench.model.asked[0][0] == tile
    assert bench.model.asked[0][1].before is None
    bench.until(lambda: bench.document.get(one).prompts.before is None)
    bench.document.undo()
    assert bench.document.get(one).prompts.before is not None


def test_a_box_that_is_known_to_be_small_is_asked_of_its_tile(bench) -> None:
    record = bench.document.new_object()
    bench.document.edit_prompts(record.id, boxes=[(486, 486, 514, 514)])
    until_tile(bench, record.id)
    assert side(bench.model.asked[-1][0]) == 128


def test_a_second_object_beside_needs_no_tile_of_its_own(bench) -> None:
    one = click(bench, (500, 500))
    until_tile(bench, one)
    encoded = len(bench.model.tiles)
    bench.model.closer.hold()
    two = click(bench, (505, 505))
    until_tile(bench, two)
    bench.model.closer.open.set()
    assert bench.document.get(two).tile == bench.document.get(one).tile
    assert len(bench.model.tiles) == encoded


def test_another_click_meanwhile_makes_the_closer_look_stale(bench) -> None:
    bench.model.closer.hold()
    one = click(bench, (500, 500))
    bench.until_answered(one)
    bench.model.closer.wait_until_reached()
    bench.click(one, (505, 505))
    bench.until_answered(one)
    bench.model.closer.open.set()
    until_tile(bench, one)
    last = bench.model.asked[-1][1]
    assert len(last.points) == 2
    assert not any(t is not None and len(p.points) == 1 for t, p in bench.model.asked)


def test_undo_between_the_two_answers_takes_the_click_back_for_good(bench) -> None:
    bench.model.closer.hold()
    one = click(bench, (500, 500))
    bench.until_answered(one)
    bench.model.closer.wait_until_reached()
    bench.document.undo()
    bench.model.closer.open.set()
    two = click(bench, (3000, 600))
    until_tile(bench, two)
    if one != two:
        assert bench.document.get(one).region is None
    assert len(bench.document.get(two).prompts.points) == 1


def test_what_is_committed_meanwhile_stays_as_it_was_committed(bench) -> None:
    bench.model.segmenting.open.set()
    bench.model.closer.hold()
    one = click(bench, (500, 500))
    bench.until_answered(one)
    bench.model.closer.wait_until_reached()
    region = bench.document.get(one).region
    bench.session.commit(one, np.zeros(SLIDE, np.uint8))
    bench.model.closer.open.set()
    two = click(bench, (3000, 600))
    until_tile(bench, two)
    record = bench.document.get(one)
    assert (record.committed, record.region, record.tile) == (True, region, None)


def test_while_an_object_is_dragged_its_mask_does_not_jump(bench) -> None:
    bench.model.closer.hold()
    one = click(bench, (500, 500))
    bench.until_answered(one)
    bench.model.closer.wait_until_reached()
    record = bench.document.get(one)
    bench.session.drag_preview(one, record.prompts, record.sources)
    bench.model.closer.open.set()
    two = click(bench, (3000, 600))
    until_tile(bench, two)
    assert bench.document.get(one).tile is None
    bench.session.end_drag_previews()
    until_tile(bench, one)


def test_the_setting_switches_it_off(bench) -> None:
    bench.session.settings.closer = False
    one, two = click(bench, (500, 500)), click(bench, (3000, 600))
    bench.until_answered(one)
    bench.until_answered(two)
    assert {tile for tile, _ in bench.model.asked} == {None}
    assert set(bench.model.tiles) == {None}


def test_what_is_on_the_screen_is_encoded_ahead(bench) -> None:
    bench.session.show_view((400, 400, 600, 700))
    bench.until(lambda: len(bench.model.tiles) == 2)
    bench.until(lambda: bool(bench.session._embeddings._ready[1:]))
    assert side(bench.model.tiles[-1]) == 512
    one = click(bench, (500, 500))
    bench.until_answered(one)
    assert bench.model.asked[0][0] == bench.model.tiles[1]


def test_a_view_that_was_left_is_not_encoded_to_the_end(bench) -> None:
    bench.model.closer.hold()
    bench.session.show_view((400, 400, 600, 700))
    bench.model.closer.wait_until_reached()
    bench.session.show_view((3000, 3000, 3200, 3300))
    bench.model.closer.wait_until_reached()
    assert bench.model.tiles[-1][0] >= 2600
    assert bench.session.status.state == "ready"
    bench.model.closer.open.set()


def test_an_object_cut_by_the_tile_on_view_is_answered_whole(bench) -> None:
    """The person has zoomed in on the edge of a large object and clicks there."""
    bench.session.show_view((1950, 1950, 2100, 2100))
    bench.until(lambda: len(bench.model.tiles) == 2)
    bench.until(lambda: len(bench.session._embeddings._ready) == 2)
    one = click(bench, (2000, 2000))
    bench.until(
        lambda: (r := bench.document.get(one).region) is not None and r.area == 1800**2
    )
    assert side(bench.document.get(one).tile) >= 2048


def test_replayed_prompts_are_answered_from_the_tile_they_were_saved_with(
    bench, tmp_path
) -> None:
    from napari_promise.data.export import load_prompts, save_prompts
    from napari_promise.document import Document

    one, large = click(bench, (500, 500)), click(bench, (2000, 2000))
    until_tile(bench, one)
    bench.until_answered(large)
    saved = bench.document.objects
    path = save_prompts(tmp_path / "prompts.json", saved)
    bench.model.asked.clear()
    image = np.broadcast_to(np.zeros((), np.uint8), SLIDE)
    document = bench.session.set_image(ArraySource(image), document=Document())
    bench.session.replay(load_prompts(path).objects)
    bench.until(lambda: all(r.is_answered for r in document.objects))
    assert [tile for tile, _ in bench.model.asked] == [saved[0].tile, None]
    assert [r.region for r in document.objects] == [r.region for r in saved]
    assert document.objects[0].pinned


def test_the_status_says_what_the_model_saw(bench) -> None:
    one = click(bench, (500, 500))
    until_tile(bench, one)
    bench.until(lambda: "SAM sees" in bench.session.status.message)
    assert "128 × 128 pixels" in bench.session.status.message


def test_a_tile_that_cannot_be_encoded_leaves_the_first_answer(bench) -> None:
    def fail(image, **options):
        raise ValueError("unreadable")

    one = click(bench, (2000, 2000))
    bench.until_answered(one)
    bench.model.encode = fail
    two = click(bench, (500, 500))
    bench.until_answered(two)
    bench.until(lambda: not bench.session._queue._requests.closer())
    assert bench.failures == []
    assert bench.document.get(two).tile is None


def test_tiles_of_other_planes_answer_nothing(bench) -> None:
    embeddings, image = bench.session._embeddings, bench.session._queue.image
    assert embeddings.tiles_of(image, ()) == [None]
    assert embeddings.tiles_of(image, (3,)) == []
    assert embeddings.has(image, Tile())


class Finder(Looker):
    """Finds every disc of which a part lies in its tile."""

    finds_many = True

    def proposals(self, emb):
        r0, c0, r1, c1 = emb.tile or (0, 0, *SLIDE)
        return tuple(
            Prompts(points=[(row, column)], scores=[0.9])
            for row, column, radius in DISCS
            if r0 < row + radius and row - radius < r1
            if c0 < column + radius and column - radius < c1
        )


def test_many_objects_are_looked_for_in_what_is_on_the_screen(make) -> None:
    bench = make(models={"promise-tiny": Finder()})
    image = np.broadcast_to(np.zeros((), np.uint8), SLIDE)
    bench.session.set_image(ArraySource(image))
    bench.until(lambda: () in bench.planes)
    bench.session.show_view((400, 400, 600, 700))
    bench.session.propose()
    bench.until(lambda: not bench.session.is_proposing(bench.document))
    assert [r.prompts.points[0].tolist() for r in bench.document.objects] == [
        [500, 500],
        [530, 560],
    ]
    assert {side(r.tile) for r in bench.document.objects} == {512}
    # Panned a little: what is known is not proposed again.
    bench.session.show_view((480, 480, 680, 780))
    bench.session.propose()
    bench.until(lambda: not bench.session.is_proposing(bench.document))
    bench.until(lambda: any("nothing new" in note for note in bench.notes))
    assert len(bench.document) == 2


def test_what_the_edge_of_the_screen_cuts_is_left_for_the_next_part(make) -> None:
    bench = make(models={"promise-tiny": Finder()})
    image = np.broadcast_to(np.zeros((), np.uint8), SLIDE)
    bench.session.set_image(ArraySource(image))
    bench.until(lambda: () in bench.planes)
    bench.session.show_view((2850, 400, 3000, 600))
    bench.session.propose()
    bench.until(lambda: not bench.session.is_proposing(bench.document))
    assert len(bench.document) == 0
    bench.session.show_view((2800, 400, 3200, 800))
    bench.session.propose()
    bench.until(lambda: len(bench.document) == 1)
