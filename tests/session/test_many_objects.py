"""Objects that come and go together are answered and given up like single ones."""

from __future__ import annotations

from napari_promise.document import ObjectRecord
from napari_promise.prompts import Prompts
from tests.session.bench import bbox_at

POINTS = ((1, 1), (3, 4), (7, 8))


def asked() -> list[ObjectRecord]:
    return [
        ObjectRecord(number, prompts=Prompts(points=[at]), sources=("user",))
        for number, at in enumerate(POINTS, start=1)
    ]


def test_objects_added_together_are_all_answered(make) -> None:
    bench = make()
    bench.open()
    ids = [record.id for record in bench.document.add_many(asked())]
    for object_id, at in zip(ids, POINTS, strict=True):
        bench.until_answered(object_id)
        assert bench.document.get(object_id).bbox == bbox_at(*at)


def test_objects_removed_together_are_not_asked_for_any_more(make) -> None:
    bench = make()
    bench.open()
    bench.model.segmenting.hold()
    ids = [record.id for record in bench.document.add_many(asked())]
    bench.model.segmenting.wait_until_reached()
    bench.document.remove_many(ids)
    assert not bench.session._queue.waiting()
    bench.model.segmenting.open.set()
    again = bench.document.add_many(asked())
    bench.until_answered(again[-1].id)
    assert bench.failures == []


def test_undoing_that_many_were_removed_has_them_answered(make) -> None:
    bench = make(live=False)
    bench.open()
    ids = [record.id for record in bench.document.add_many(asked())]
    bench.document.remove_many(ids)
    bench.session.settings.live = True
    bench.document.undo()
    for object_id in ids:
        bench.until_answered(object_id)
