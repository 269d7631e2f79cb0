"""A small picture, pairs with masks, a micro model and an adapter for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_promise.segmenter import Segmenter
from tests.cli.running import draw


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def picture(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Return a small RGB image with a bright disc, as a PNG."""
    path = tmp_path / "in" / "frame.png"
    path.parent.mkdir()
    return draw(path, rng)


@pytest.fixture
def pairs(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    rows, columns = np.indices((40, 60))
    disc = (rows - 20) ** 2 + (columns - 30) ** 2 < 10**2
    for name in ("a", "b", "c"):
        draw(images / f"{name}.png", rng)
        Image.fromarray(disc.astype(np.uint8) * 255).save(masks / f"{name}.png")
    return images, masks


@pytest.fixture
def encoded(micro_sam: Any, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Let the commands use a micro model; return what it was asked to encode."""
    seen: list[np.ndarray] = []

    class Watched(Segmenter):
        def encode(self, image: Any, **kwargs: Any) -> Any:
            seen.append(image)
            return super().encode(image, **kwargs)

    def load(model: Any, adapter: Any = None, device: str = "auto", **kw: Any) -> Any:
        return Watched(micro_sam)

    monkeypatch.setattr(Segmenter, "load", staticmethod(load))
    return seen


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """Return the folder of an adapter for the micro model."""
    import torch

    from napari_promise.model.adapters import Adapter, AdapterInfo, save_adapter
    from napari_promise.model.auto_prompt import HeatmapAPM
    from napari_promise.model.pattern_shift import PatternEmbedding

    torch.manual_seed(0)
    info = AdapterInfo("toy", "micro", "0" * 64, points=6, class_name="disc")
    apm = HeatmapAPM([32, 32, 32], width=16)
    return save_adapter(
        Adapter(info, apm, PatternEmbedding(32)), tmp_path / "made" / "toy"
    )
