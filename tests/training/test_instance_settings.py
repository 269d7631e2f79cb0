"""How a prompter of many objects is used: what held-out images may choose."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_promise.model.adapters import Adapter, AdapterInfo
from napari_promise.model.instance_prompter import InstanceAPM
from napari_promise.model.sam import load_sam
from napari_promise.training import instance_settings
from napari_promise.training.instance_metrics import InstanceScore
from napari_promise.training.instance_settings import (
    CHOOSING,
    THRESHOLDS,
    choose_settings,
)

#: One threshold is best by itself; around another, all do nearly as well.
LUCKY, SAFE = 0.5, 0.25
AP = dict.fromkeys(THRESHOLDS, 0.3) | {0.2: 0.7, SAFE: 0.71, 0.3: 0.7, LUCKY: 0.8}


@pytest.mark.parametrize(
    ("images", "chosen"), [(1, SAFE), (CHOOSING - 1, SAFE), (CHOOSING, LUCKY)]
)
def test_few_held_out_images_choose_a_threshold_whose_neighbours_do_well(
    monkeypatch: pytest.MonkeyPatch, images: int, chosen: float
) -> None:
    def score(threshold: float, trust: float) -> InstanceScore:
        ap = AP[threshold] + 0.01 * (trust == 0.08)
        return InstanceScore(1, 1, ap, ap, ap, ap, ap)

    look = SimpleNamespace(score=score)
    monkeypatch.setattr(instance_settings, "_look", lambda *_: look)
    apm = InstanceAPM([8], 4, width=12, threshold=0.4, trust=0.2)
    info = AdapterInfo("a", "promise-tiny", "", apm="instances", points=1, ips=False)
    truth = np.eye(4, dtype=np.int32)
    *looked, settings = choose_settings(
        load_sam("promise-tiny"), Adapter(info, apm), [(None, truth)] * images
    )
    assert looked == list(range(1, images + 1))
    assert (settings.threshold, settings.trust) == (chosen, 0.08)
    assert settings.scores["ap50"] == pytest.approx(AP[chosen] + 0.01)
    assert (apm.threshold, apm.trust) == (0.4, 0.2)
