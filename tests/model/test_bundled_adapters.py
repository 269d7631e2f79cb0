"""Every adapter in the wheel: of the bundled base, small, and told about in full."""

from __future__ import annotations

import pytest

from napari_promise.model.adapters import InstalledAdapter, list_adapters, load_adapter
from napari_promise.model.sam import load_sam

BUNDLED = [item for item in list_adapters() if item.bundled]


@pytest.fixture(scope="module")
def sam():
    return load_sam("promise-tiny")


def test_polyps_skin_breast_lesions_and_nuclei_have_an_adapter() -> None:
    names = {item.info.name for item in BUNDLED}
    assert names >= {"polyp", "skin", "breast-us", "nuclei", "cells"}


@pytest.mark.parametrize("item", BUNDLED, ids=lambda item: item.info.name)
def test_it_fits_the_bundled_base_and_into_the_wheel(
    item: InstalledAdapter, sam
) -> None:
    adapter = load_adapter(item.path, sam)
    assert adapter.info.base_sha256 == sam.sha256
    assert adapter.apm is not None
    assert (adapter.ips is not None) == adapter.info.ips
    assert sum(path.stat().st_size for path in item.path.iterdir()) <= 8e6


@pytest.mark.parametrize("item", BUNDLED, ids=lambda item: item.info.name)
def test_its_record_is_complete(item: InstalledAdapter) -> None:
    info = item.info
    for text in (info.class_name, info.trained_on, info.licence, info.note):
        assert text
    assert info.scores["test"]
    for scores in info.scores["test"].values():
        if info.apm == "instances":  # object by object, nothing prompted from the truth
            assert scores["automatic"]["ap50"] > 0.7
            continue
        automatic, prompted = scores["automatic"], scores["gt_prompted"]
        assert automatic["dice"] > 0.7
        assert "frozen_dice_same_prompts" in automatic
        assert "frozen_dice_same_prompts" in prompted
