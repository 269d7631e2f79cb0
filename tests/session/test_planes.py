"""Which planes are encoded, when, and where their answers go."""

from __future__ import annotations

import numpy as np

from napari_promise.document import Tile
from napari_promise.session import ArraySource
from tests.session.bench import SHAPE, Gate


def test_a_result_goes_to_the_plane_of_its_request_not_to_that_on_display(make) -> None:
    bench = make()
    bench.open(10, 20, 30, plane=(0,))
    object_id = bench.new_object().id
    bench.model.segmenting.hold()
    bench.click(object_id, (2, 2))
    bench.model.segmenting.wait_until_reached()
    bench.session.show_plane((2,))
    bench.model.segmenting.open.set()
    bench.until_answered(object_id)
    assert bench.results[0].plane == (0,)
    assert bench.document.get(object_id).plane == (0,)


def test_a_click_on_a_plane_that_was_left_is_answered_from_that_plane(make) -> None:
    bench = make()
    seen = []
    plain = bench.model.segment
    bench.model.segment = lambda emb, prompts, **options: (
        seen.append(int(emb.values[0])),
        plain(emb, prompts, **options),
    )[1]
    bench.model.encoding.hold()
    bench.open(10, 20, 30, plane=(0,), wait=False)
    object_id = bench.new_object().id
    bench.click(object_id, (2, 2))
    bench.session.show_plane((2,))
    bench.model.encoding.open.set()
    bench.until_answered(object_id)
    assert seen == [10]


def test_leaving_a_plane_nobody_waits_for_stops_its_encoding(make) -> None:
    bench = make()
    bench.model.encoding.hold()
    bench.open(10, 20, 30, plane=(0,), wait=False)
    bench.model.encoding.wait_until_reached()
    bench.session.show_plane((2,))
    bench.model.encoding.wait_until_reached()
    bench.model.encoding.open.set()
    bench.until(lambda: (2,) in bench.planes)
    assert bench.model.encoded[:2] == [10, 30]
    assert (0,) not in bench.planes
    assert bench.failures == []


def test_the_planes_ahead_are_encoded_while_nobody_waits(make) -> None:
    bench = make()
    bench.open(10, 20, 30, 40, plane=(0,))
    bench.until(lambda: len(bench.model.encoded) == 3)
    assert bench.model.encoded == [10, 20, 30]
    bench.session.show_plane((2,))
    bench.until(lambda: (2,) in bench.planes)
    assert bench.session.status.cached
    bench.session.show_plane((1,))
    bench.until(lambda: (1,) in bench.planes)
    assert bench.model.encoded.count(20) == 1


def test_encoding_ahead_gives_way_to_a_click(make) -> None:
    bench = make()
    ahead = bench.model.slow[20] = Gate()
    ahead.hold()
    bench.open(10, 20, plane=(0,))
    ahead.wait_until_reached()
    object_id = bench.new_object().id
    bench.click(object_id, (2, 2))
    bench.until_answered(object_id)
    assert not ahead.open.is_set(), "the click did not wait for the plane ahead"
    assert bench.failures == []
    ahead.wait_until_reached()  # taken up again, now that nobody waits
    ahead.open.set()
    bench.until(
        lambda: bench.session._embeddings.has(bench.session._queue.image, Tile((1,)))
    )
    assert bench.model.encoded == [10, 20, 20]


def test_a_click_on_the_plane_that_is_encoded_ahead_waits_for_it(make) -> None:
    bench = make()
    ahead = bench.model.slow[20] = Gate()
    ahead.hold()
    bench.open(10, 20, plane=(0,))
    ahead.wait_until_reached()
    bench.session.show_plane((1,))
    object_id = bench.new_object().id
    bench.click(object_id, (2, 2))
    ahead.open.set()
    bench.until_answered(object_id)
    assert bench.model.encoded == [10, 20]


def test_every_image_keeps_its_objects_while_another_is_worked_on(make) -> None:
    bench = make()
    bench.open()
    first = bench.document
    object_id = bench.new_object().id
    bench.model.segmenting.hold()
    bench.click(object_id, (2, 2))
    bench.model.segmenting.wait_until_reached()
    told = []
    bench.session.document_changed.connect(told.append)
    source = ArraySource(np.full(SHAPE, 9, np.uint8))
    second = bench.session.set_image(source)
    assert told == [second]
    assert len(second) == 0
    bench.model.segmenting.open.set()
    bench.until(lambda: first.get(object_id).is_answered)
    assert bench.session.set_image(source, document=first) is first


def test_other_contrast_is_encoded_again_and_waiting_clicks_see_it(make) -> None:
    bench = make()
    image = np.zeros(SHAPE, np.float32)
    image[0, 0] = 10
    document = bench.session.set_image(ArraySource(image, contrast_limits=(0, 10)))
    bench.until(lambda: bench.planes == [()])
    bench.session.set_image(
        ArraySource(image, contrast_limits=(0, 20)), document=document
    )
    bench.until(lambda: bench.planes == [(), ()])
    assert bench.model.encoded == [255, 128]
