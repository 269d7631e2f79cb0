"""What was encoded is not encoded again, and can be measured and cleared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.document import Tile
from napari_promise.session import ArraySource
from tests.session.bench import SHAPE, bbox_at


def test_opening_the_same_image_again_encodes_nothing(make, tmp_path) -> None:
    first = make(cache=EmbeddingCache(tmp_path / "cache"))
    first.open()
    first.until(lambda: first.session._embeddings.are_saved)
    first.session.close()
    again = make(cache=EmbeddingCache(tmp_path / "cache"))
    again.open()
    assert again.model.encoded == []
    assert again.model.restored == 1
    assert again.session.status.cached


def test_another_adapter_answers_again_from_the_embedding_there_is(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.new_object().id
    bench.click(object_id, (3, 4))
    bench.until_answered(object_id)
    plain = bench.document.get(object_id)
    bench.session.settings.adapter = "polyp"
    bench.until(lambda: bench.document.get(object_id).bbox == bbox_at(3, 4, width=3))
    bench.session.settings.ips = False
    bench.until(lambda: bench.document.get(object_id).bbox == bbox_at(3, 4))
    assert bench.model.encoded == [1]
    bench.document.undo()
    bench.document.undo()
    assert bench.document.get(object_id) is plain


def test_turning_ips_off_and_on_again_ends_with_ips_on(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    object_id = bench.new_object().id
    bench.click(object_id, (3, 4))
    bench.until_answered(object_id)
    bench.model.segmenting.wait_until_reached()
    bench.model.segmenting.hold()
    bench.session.settings.ips = False
    bench.model.segmenting.wait_until_reached()
    bench.session.settings.ips = True
    bench.model.segmenting.open.set()
    bench.until(lambda: len(bench.model.segmented) == 3 and len(bench.results) == 2)
    assert bench.document.get(object_id).bbox == bbox_at(3, 4, width=3)


def test_clearing_the_cache_keeps_what_is_on_display(make) -> None:
    bench = make()
    bench.open(10, 20, plane=(0,))
    bench.until(
        lambda: len(bench.model.encoded) == 2 and bench.session._embeddings.are_saved
    )
    bench.session.clear_cache()
    bench.until(lambda: any("empty" in note for note in bench.notes))
    object_id = bench.new_object().id
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    assert bench.model.encoded == [10, 20]
    assert bench.session._embeddings.cache.size() == (0, 0)


def test_the_cache_is_measured_when_asked_and_after_it_was_cleared(
    make, tmp_path
) -> None:
    bench = make(cache=EmbeddingCache(tmp_path / "cache"))
    bench.open(10, 20, plane=(0,))
    bench.until(
        lambda: len(bench.model.encoded) == 2 and bench.session._embeddings.are_saved
    )
    sizes: list = []
    bench.session.cache_measured.connect(lambda *size: sizes.append(size))
    bench.session.measure_cache()
    bench.until(lambda: len(sizes) == 1)
    assert min(sizes[0]) > 0
    bench.session.clear_cache()
    bench.until(lambda: len(sizes) == 2)
    assert sizes[1] == (0, 0)
    bench.session.settings.disk_cache = False
    bench.until(lambda: len(sizes) == 3)
    assert sizes[2] == (0, None)


def test_parts_of_a_plane_have_embeddings_of_their_own(make) -> None:
    bench = make()
    bench.open()
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[:, 12:] = 8
    source, seen = ArraySource(pixels), []
    # the first and the third show the same pixels, at different places
    boxes = [(0, 0, 8, 12), (0, 12, 8, 24), (8, 0, 16, 12), None]

    def work(context) -> None:
        seen.extend(context.embedding(source, Tile((), box)) for box in boxes)

    bench.session.start_job(Once(work))
    bench.until(lambda: len(seen) == 4)
    assert bench.model.encoded[1:] == [0, 8, 0, 0]
    assert len({digest for _, digest in seen}) == 4
    bench.session.start_job(Once(work))
    bench.until(lambda: len(seen) == 8)
    assert len(bench.model.encoded) == 5, "all four were kept"
    assert [digest for _, digest in seen[:4]] == [digest for _, digest in seen[4:]]


class Once:
    """A job of one step."""

    def __init__(self, work: Callable[..., None]) -> None:
        self.step = lambda context: bool(work(context))

    def fail(self, context, error) -> None:
        raise error

    def close(self) -> None:
        pass
