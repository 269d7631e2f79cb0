"""What a mask would be while points are dragged."""

from __future__ import annotations

from tests.session.bench import bbox_at, drain


def test_glimpses_follow_a_drag_and_leave_the_document_alone(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.new_object().id
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    record, steps = bench.document.get(object_id), bench.document.undo_name
    seen: list = []
    bench.session.drag_previewed.connect(seen.append)
    bench.model.segmented.clear()
    bench.model.segmenting.hold()
    drain(bench.model.segmenting)
    for row in (2, 3, 4, 5):
        moved = record.prompts.replace(points=[(row, row)])
        bench.session.drag_preview(object_id, moved, ["user"])
        if row == 2:
            bench.model.segmenting.wait_until_reached()
    bench.model.segmenting.open.set()
    bench.until(lambda: len(seen) == 2)
    # The one under way and the newest; those in between are not computed.
    assert [p.points.tolist() for p in bench.model.segmented] == [[[2, 2]], [[5, 5]]]
    assert [preview.region.bbox for preview in seen] == [bbox_at(2, 2), bbox_at(5, 5)]
    assert bench.document.get(object_id) is record
    assert bench.document.undo_name == steps
    assert len(bench.results) == 1


def test_a_glimpse_that_comes_after_the_drag_is_dropped(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.new_object().id
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    record = bench.document.get(object_id)
    seen: list = []
    bench.session.drag_previewed.connect(seen.append)
    moved = record.prompts.replace(points=[(4, 4)])
    for end in (
        bench.session.end_drag_previews,
        lambda: bench.document.set_prompts(object_id, moved, ["user"]),
    ):
        bench.model.segmenting.hold()
        drain(bench.model.segmenting)
        bench.session.drag_preview(object_id, moved, ["user"])
        bench.model.segmenting.wait_until_reached()
        end()
        bench.model.segmenting.open.set()
        bench.until_answered(object_id)
    bench.session.measure_cache()
    measured: list = []
    bench.session.cache_measured.connect(lambda *sizes: measured.append(sizes))
    bench.until(lambda: bool(measured))
    assert not seen
    assert bench.document.get(object_id).bbox == bbox_at(4, 4)


def test_a_drop_asks_for_what_was_drag_previewed(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.new_object().id
    bench.click(object_id, (1, 1), (2, 2))
    bench.until_answered(object_id)
    record = bench.document.get(object_id)
    moved = record.prompts.replace(points=[(1, 1), (6, 6)])
    seen: list = []
    bench.session.drag_previewed.connect(seen.append)
    bench.session.drag_preview(object_id, moved, ["user", "user"])
    bench.until(lambda: bool(seen))
    bench.session.end_drag_previews()
    bench.document.set_prompts(object_id, moved, ["user", "user"])
    bench.until_answered(object_id)
    drag_previewed, dropped = bench.model.segmented[-2:]
    assert drag_previewed == dropped
