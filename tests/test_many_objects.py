"""A segmenter whose adapter finds many objects: prompts, masks, replay, tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_promise import proposing
from napari_promise import segmenter as segmenter_module
from napari_promise.model.adapters import Adapter, AdapterInfo
from napari_promise.model.instance_prompter import InstanceAPM
from napari_promise.model.sam import Embedding
from napari_promise.prompts import Prompts
from napari_promise.segmenter import Segmenter

SIDE = 160


class Bright(InstanceAPM):
    """Finds the bright squares of the picture by the stem's detail, untrained."""

    def forward(self, levels, image, detail=None):
        centre = torch.full((1, 7, 128, 128), -9.0)
        for row, column in self.at:
            centre[0, 0, row, column] = 3 - row / 100
        centre[:, 3:] = float(np.log(6))  # boxes of 12 cells
        return centre

    at = ((16, 16), (16, 64), (64, 16))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    image = np.full((SIDE, SIDE, 3), 30, np.uint8)
    for row, column in Bright.at:
        r, c = int(row * SIDE / 128), int(column * SIDE / 128)
        image[r - 6 : r + 7, c - 6 : c + 7] = 220
    return image


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    found = Segmenter.load("promise-tiny")
    info = AdapterInfo("many", "promise-tiny", "", apm="instances", points=1, ips=False)
    apm = Bright([192, 192], 128, 48, width=12, threshold=0.5, trust=0.1)
    return Segmenter(found.sam, Adapter(info, apm.eval()))


@pytest.fixture(scope="module")
def emb(segmenter: Segmenter, picture: np.ndarray) -> Embedding:
    return segmenter.encode(picture)


def test_each_object_has_its_point_its_score_and_its_box_the_surest_first(
    segmenter: Segmenter, emb: Embedding
) -> None:
    found = segmenter.proposals(emb)
    assert [each.points.shape for each in found] == [(1, 2)] * 3
    scores = [float(each.scores[0]) for each in found]
    assert scores == sorted(scores, reverse=True)
    r0, c0, r1, c1 = found[0].boxes[0]
    assert (r1 - r0, c1 - c0) == pytest.approx((15, 15))
    row, column = found[0].points[0]
    assert r0 < row < r1
    assert c0 < column < c1
    assert len(segmenter.propose(emb).points) == 3


def test_a_box_that_is_not_trusted_is_left_out(
    segmenter: Segmenter, emb: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmenter.adapter.apm, "trust", -1.0)
    assert not any(len(each.boxes) for each in segmenter.proposals(emb))


def test_the_box_is_answered_alone_and_a_click_joins_it(
    segmenter: Segmenter, emb: Embedding
) -> None:
    found = segmenter.proposals(emb)[0]
    box = Prompts(boxes=found.boxes)
    assert np.array_equal(
        segmenter.segment(emb, found).logits, segmenter.segment(emb, box).logits
    )
    clicked = found.replace(
        points=[*found.points.tolist(), [80, 80]],
        labels=[1, 0],
        scores=[*found.scores, np.nan],
    )
    sent = box.replace(points=[[80, 80]], labels=[0])
    assert np.array_equal(
        segmenter.segment(emb, clicked).logits, segmenter.segment(emb, sent).logits
    )


def test_clicks_say_how_large_the_box_is_that_a_module_guessed() -> None:
    box = np.array([10.0, 10, 30, 30])

    def fitted(points: list[tuple[int, int]], labels: list[int]) -> list[float]:
        at = np.array(points, float).reshape(-1, 2)
        return segmenter_module._fitted(box, at, np.array(labels)).tolist()

    assert fitted([(20, 20)], [1]) == box.tolist()
    assert fitted([(20, 36)], [1]) == [10, 10, 30, 37.5]
    assert fitted([(13, 20)], [0]) == [13, 10, 30, 30]
    assert fitted([(20, 28)], [0]) == [10, 10, 30, 28]
    assert fitted([(20, 20)], [0]) == box.tolist(), "in the middle it says nothing"
    assert fitted([(50, 50)], [0]) == box.tolist()


def test_prompts_that_were_written_and_read_give_the_same_masks(
    segmenter: Segmenter, emb: Embedding
) -> None:
    proposed = proposing.propose(segmenter, emb)
    assert len(proposed) == 3
    read = [Prompts.from_json(one.prompts.to_json()) for one in proposed]
    cached = segmenter.restore(emb.to_arrays())
    for one, prompts in zip(proposed, read, strict=True):
        again = segmenter.segment(cached, prompts)
        assert np.array_equal(again.mask, one.region.mask)


def test_objects_are_answered_with_what_stock_sam_draws_beside(
    segmenter: Segmenter, emb: Embedding
) -> None:
    proposed = proposing.propose(segmenter, emb, signals=True)
    assert {"score", "stability", "tokens", "points"} <= set(proposed[0].signals)
    plain = proposing.propose(segmenter, emb)
    assert [a.region for a in proposed] == [b.region for b in plain]


def test_an_embedding_of_an_earlier_version_serves(
    segmenter: Segmenter, emb: Embedding
) -> None:
    arrays = emb.to_arrays()
    assert arrays.pop("detail").shape == (1, 48, 128, 128)
    old = segmenter.restore(arrays)
    assert old.detail is None
    assert len(segmenter.proposals(old)) == 3


def test_a_lower_bar_finds_more(segmenter: Segmenter, emb: Embedding) -> None:
    (*_, least) = segmenter.proposals(emb)
    bar = float(least.scores[0]) / 0.5
    assert len(segmenter.proposals(emb, bar=bar + 1e-3)) == 2
    assert len(segmenter.proposals(emb, bar=bar - 1e-3)) == 3


def test_what_is_found_in_tiles_is_in_the_pixels_of_the_whole(
    segmenter: Segmenter, picture: np.ndarray
) -> None:
    big = np.kron(picture, np.ones((4, 4, 1), np.uint8))
    part = segmenter.encode(big, region=(320, 320, 640, 640))
    found = segmenter.proposals(part)
    assert len(found) == 3
    assert all((each.points >= 320).all() for each in found)
    assert all((each.boxes >= 319).all() for each in found)
