"""The tile that a mask was drawn from: fed back with it, and kept."""

from __future__ import annotations

import numpy as np

from napari_promise.data.export import load_prompts, save_prompts
from napari_promise.document import Document, Region
from napari_promise.prompts import Prompts

TILE = (10, 20, 74, 84)
SHAPE = (200, 300)


def answered(document: Document, tile=TILE):
    record = document.new_object()
    record = document.set_prompts(record.id, Prompts(points=[(40, 50)]))
    region = Region.from_crop(np.ones((9, 9), bool), (36, 46), SHAPE)
    document.set_mask(
        record.id,
        region,
        score=0.9,
        logits=np.ones((1, 8, 8), np.float32),
        revision=record.revision,
        tile=tile,
    )
    return document.get(record.id)


def test_a_correction_says_which_tile_its_logits_cover() -> None:
    document = Document()
    record = answered(document)
    assert record.tile == TILE
    corrected = document.edit_prompts(record.id, points=[(40, 50), (44, 58)])
    assert corrected.prompts.before.tile == TILE


def test_a_prompts_file_keeps_the_tile(tmp_path) -> None:
    document = Document()
    record = answered(document)
    path = save_prompts(tmp_path / "a.json", [record])
    (saved,) = load_prompts(path).objects
    assert saved.tile == TILE
    replayed = Document().add_saved(saved)
    assert (replayed.tile, replayed.pinned) == (TILE, True)


def test_a_mask_of_the_whole_plane_is_written_as_version_0_1_reads_it(tmp_path) -> None:
    document = Document()
    path = save_prompts(tmp_path / "a.json", [answered(document, None)])
    assert '"version": 1' in path.read_text()
    assert load_prompts(path).objects[0].tile is None


def test_edited_prompts_are_free_to_be_drawn_from_another_tile() -> None:
    document = Document()
    saved = answered(Document())
    record = document.add_saved(saved)
    assert record.pinned
    edited = document.edit_prompts(record.id, points=[(40, 50), (44, 58)])
    assert not edited.pinned


def sharper(document: Document, record, side: int = 5) -> bool:
    region = Region.from_crop(np.ones((side, side), bool), (38, 48), SHAPE)
    return document.set_mask(
        record.id,
        region,
        score=0.8,
        logits=np.full((1, 8, 8), 2, np.float32),
        revision=record.revision,
        tile=(30, 40, 46, 56),
        sharper=True,
    )


def test_a_sharper_mask_joins_the_step_of_the_click() -> None:
    document = Document()
    record = answered(document, None)
    assert sharper(document, record)
    now = document.get(record.id)
    assert (now.region.area, now.tile, now.revision) == (
        25,
        (30, 40, 46, 56),
        record.revision,
    )
    assert document.undo_name == "edit prompts"
    document.undo()
    assert document.get(record.id).region is None
    document.redo()
    assert document.get(record.id).region.area == 25


def test_a_sharper_mask_of_what_was_undone_or_edited_is_dropped() -> None:
    document = Document()
    record = answered(document, None)
    document.undo()
    assert not sharper(document, record)
    document.redo()
    document.edit_prompts(record.id, points=[(40, 50), (44, 58)])
    assert not sharper(document, record)


def test_a_sharper_mask_never_changes_what_is_or_was_committed() -> None:
    document = Document()
    record = answered(document, None)
    labels = np.zeros(SHAPE, np.uint16)
    document.events.labels_patched.connect(lambda patch: patch.apply(labels))
    document.commit(record.id, labels)
    assert not sharper(document, record)
    document.undo()
    assert not sharper(document, record), "redo would write the mask as it was"
    document.redo()
    assert document.get(record.id).region.area == (labels > 0).sum() == 81


def test_a_commit_that_waits_keeps_its_mask() -> None:
    document = Document()
    record = answered(document, None)
    document.commit_later(record.id)
    assert not sharper(document, record)
