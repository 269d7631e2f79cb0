"""The bundled adapter `polyp`, on the bundled model."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.data.samples import endoscopy_scene
from napari_promise.model.adapters import BUNDLED, list_adapters
from napari_promise.prompts import Before
from napari_promise.segmenter import Segmenter
from napari_promise.training.metrics import dice
from napari_promise.training.simulated_prompts import next_click


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load("promise-tiny", "polyp", device="cpu")


def test_it_travels_with_the_package_and_is_small() -> None:
    (polyp,) = [
        item
        for item in list_adapters()
        if (item.info.name, item.info.base_model) == ("polyp", "promise-tiny")
    ]
    assert polyp.bundled
    assert sum(path.stat().st_size for path in polyp.path.iterdir()) <= 8e6
    assert polyp.path == BUNDLED / "polyp"


def test_its_record_says_terms_and_scores(segmenter: Segmenter) -> None:
    info = segmenter.adapter_info
    assert info is not None
    assert "esearch" in info.licence
    assert info.class_name == "polyp"
    assert info.base_sha256 == segmenter.sha256
    least = {"kvasir-seg": 0.75, "cvc-clinicdb": 0.65}
    assert info.scores["test"].keys() == least.keys()
    gains = []
    for name, scores in info.scores["test"].items():
        automatic, prompted = scores["automatic"], scores["gt_prompted"]
        assert "frozen_dice_same_prompts" in automatic
        assert "frozen_dice_same_prompts" in prompted
        gains.append(automatic["dice_after_one_corrective_click"] - automatic["dice"])
        assert automatic["dice"] > least[name]
        assert automatic["positives_on_object"] > 0.8
    assert min(gains) > -0.005
    assert max(gains) > 0.01


@pytest.mark.slow
def test_the_sample_scene_is_found_and_a_click_does_not_harm(
    segmenter: Segmenter,
) -> None:
    image, truth = endoscopy_scene()
    emb = segmenter.encode(image)
    prompts = segmenter.propose(emb)
    rows, columns = np.rint(prompts.points).astype(int).T
    assert (truth[rows, columns] == (prompts.labels == 1)).mean() > 0.8
    first = segmenter.segment(emb, prompts)
    assert dice(first.mask, truth) >= 0.85
    click = next_click(first.mask, truth)
    assert click is not None
    corrected = segmenter.segment(
        emb,
        prompts.replace(
            points=np.vstack([prompts.points, [click[0]]]),
            labels=np.append(prompts.labels, click[1]),
            scores=None,
            before=Before(first.logits),
        ),
    )
    assert dice(corrected.mask, truth) >= 0.85
