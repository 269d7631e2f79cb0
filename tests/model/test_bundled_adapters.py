"""Every adapter in the wheel: of the bundled base, small, and told about in full."""

from __future__ import annotations

from functools import cache

import pytest

from napari_promise.model.adapters import (
    InstalledAdapter,
    bundled_folder,
    list_adapters,
    load_adapter,
)
from napari_promise.model.sam import load_sam
from napari_promise.model.weights import list_models

BUNDLED = [item for item in list_adapters() if item.bundled]


@cache
def base_of(name: str):
    """Return a model by name, or skip where what it needs is not installed."""
    if not any(e.info.name == name and e.available for e in list_models()):
        pytest.skip(f"{name} is not here")
    return load_sam(name)


def name_of(item: InstalledAdapter) -> str:
    return item.path.name


def test_polyps_skin_breast_lesions_and_nuclei_have_an_adapter() -> None:
    names = {item.info.name for item in BUNDLED}
    assert names >= {"polyp", "skin", "breast-us", "nuclei", "cells"}


@pytest.mark.parametrize("item", BUNDLED, ids=name_of)
def test_it_fits_its_base_by_name_and_into_the_wheel(item: InstalledAdapter) -> None:
    sam = base_of(item.info.base_model)
    assert item.path == bundled_folder(item.info.name, item.info.base_model)
    adapter = load_adapter(item.info.name, sam)
    assert adapter.info.base_sha256 == sam.sha256
    assert adapter.apm is not None
    assert (adapter.ips is not None) == adapter.info.ips
    assert sum(path.stat().st_size for path in item.path.iterdir()) <= 8e6


@pytest.mark.parametrize("item", BUNDLED, ids=name_of)
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
