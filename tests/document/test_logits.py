"""Logits kept small: the same mask, nearly the same elsewhere, far fewer bytes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import Document, MaskLogits, ObjectRecord, SmallLogits
from napari_promise.prompts import Before, Prompts
from tests.document.bench import SHAPE, rectangle


def logits(seed: int = 0, radius: float = 9.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    away = np.hypot(*np.ogrid[-90:166, -120:136]) - radius
    values = np.clip(-away, -9, 6) + rng.normal(0, 0.5, (256, 256))
    values[away > 2] = np.minimum(values[away > 2], -1)
    array = values[None].astype(np.float16).astype(np.float32)
    array.flags.writeable = False
    return array


def test_around_the_mask_small_logits_are_exact() -> None:
    whole = logits()
    small = SmallLogits.from_array(whole)
    back = small.to_array()
    np.testing.assert_array_equal(back > 0, whole > 0)
    rows, columns = np.nonzero(whole[0] > 0)
    window = np.s_[
        0, rows.min() - 8 : rows.max() + 9, columns.min() - 8 : columns.max() + 9
    ]
    np.testing.assert_array_equal(back[window], whole[window])
    blocks = np.mean(np.abs(back - whole))
    assert blocks < 0.6, "the noise, not what lies under it"
    assert small.crop.nbytes + small.around.nbytes < 10_000


def test_small_logits_are_fed_back_as_they_are() -> None:
    back = SmallLogits.from_array(logits()).to_array()
    assert Before(back).logits is back


@pytest.mark.parametrize("value", [-5.0, 5.0])
def test_a_map_that_is_all_mask_or_none_comes_back(value) -> None:
    whole = np.full((1, 256, 256), value, np.float32)
    np.testing.assert_allclose(
        SmallLogits.from_array(whole).to_array(), whole, atol=0.05
    )


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 9, 12), (1, 250, 251)])
def test_maps_that_gain_nothing_stay_whole(shape) -> None:
    held = MaskLogits(np.zeros(shape, np.float32))
    held.shrink()
    assert held.array.shape == shape


def test_the_latest_masks_keep_their_logits_whole_and_older_ones_small() -> None:
    document = Document()
    documents_logits = [logits(seed) for seed in range(40)]
    for whole in documents_logits:
        record = document.new_object()
        record = document.set_prompts(record.id, Prompts(points=[(1, 1)]))
        document.set_mask(
            record.id,
            rectangle(0, 0, 3, 3),
            score=1,
            logits=whole,
            revision=record.revision,
        )
    held = [record.logits.held for record in document.objects]
    assert held[-1] is documents_logits[-1]
    assert isinstance(held[0], SmallLogits)
    oldest = document.get(1)
    document.edit_prompts(1, points=[(1, 1), (2, 2)], labels=[1, 0])
    fed_back = document.get(1).prompts.before
    np.testing.assert_array_equal(fed_back.logits, oldest.logits.array)
    assert fed_back.added.tolist() == [False, True]
    # The history holds the same logits, as small.
    document.undo()
    assert document.get(1) is oldest


def test_records_of_many_share_the_logits_they_came_with() -> None:
    held = MaskLogits(logits())
    document = Document()
    records = document.add_many(
        ObjectRecord(
            number, region=rectangle(0, 0, 3, 3), logits=held, answered_revision=0
        )
        for number in (1, 2)
    )
    assert all(record.logits is held for record in records)
    assert SHAPE == records[0].region.shape
