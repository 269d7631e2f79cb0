"""How a prompter of many objects is used: what held-out images may choose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_promise.model.adapters import Adapter, AdapterInfo
from napari_promise.model.instance_prompter import InstanceAPM
from napari_promise.model.sam import load_sam
from napari_promise.training import instance_settings
from napari_promise.training.instance_metrics import score_instances
from napari_promise.training.instance_settings import (
    CAUTIOUS,
    CHOOSING,
    THRESHOLDS,
    choose_settings,
)


@pytest.mark.parametrize("images", [1, CHOOSING - 1, CHOOSING])
def test_few_held_out_images_choose_among_thresholds_that_seldom_harm(
    monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    truth = np.eye(4, dtype=np.int32)
    right, wrong = score_instances(truth, truth), score_instances(truth, truth * 0)
    lowest = THRESHOLDS[0]

    def score(threshold: float, trust: float) -> Any:
        return right if threshold == lowest or trust == 9.0 else wrong

    look = SimpleNamespace(score=score)
    monkeypatch.setattr(instance_settings, "_look", lambda *_: look)
    apm = InstanceAPM([8], 4, width=12, threshold=0.4, trust=0.2)
    info = AdapterInfo("a", "promise-tiny", "", apm="instances", points=1, ips=False)
    chosen = list(
        choose_settings(
            load_sam("promise-tiny"), Adapter(info, apm), [(None, truth)] * images
        )
    )
    assert chosen[:-1] == list(range(1, images + 1))
    if images < CHOOSING:
        assert (chosen[-1].threshold, chosen[-1].trust) == (CAUTIOUS[0], 9.0)
    else:
        assert chosen[-1].threshold == lowest
    assert (apm.threshold, apm.trust) == (0.4, 0.2)
