from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_promise.data.embeddings import key_of
from napari_promise.model.fast_encoder import MODES, FastViT, choose_mode, use_mode
from napari_promise.model.sam import encode_image
from napari_promise.segmenter import Segmenter

# isort: split
from segment_anything.modeling import ImageEncoderViT


@pytest.fixture
def vit() -> ImageEncoderViT:
    """Windows that do not divide the grid, whole attention, relative positions."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=80,
        patch_size=8,
        embed_dim=32,
        depth=3,
        num_heads=2,
        out_chans=16,
        use_rel_pos=True,
        window_size=4,
        global_attn_indexes=(1,),
    )
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder.eval().requires_grad_(False)


@pytest.mark.parametrize(("mode", "apart"), [("float32", 1e-5), ("bfloat16", 0.05)])
def test_a_mode_gives_the_numbers_of_stock_but_for_rounding(vit, mode, apart) -> None:
    x = torch.randn(2, 3, 80, 80)
    with torch.no_grad():
        stock, fast = vit(x), FastViT(vit, mode)(x)
    assert (stock - fast).abs().max() <= apart * stock.abs().max()


def test_in_float32_the_parameters_are_shared_and_none_is_changed(vit) -> None:
    before = {name: t.clone() for name, t in vit.state_dict().items()}
    fast = FastViT(vit, "float32")
    fast(torch.randn(1, 3, 80, 80))
    block = fast.blocks[0]
    assert block.up_weight.data_ptr() == vit.blocks[0].mlp.lin1.weight.data_ptr()
    assert not any(p.requires_grad for p in fast.parameters())
    for name, tensor in vit.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_few_scores_at_a_time_give_the_same(vit, monkeypatch) -> None:
    x = torch.randn(1, 3, 80, 80)
    fast = FastViT(vit, "float32")
    whole = fast(x)
    monkeypatch.setattr("napari_promise.model.fast_encoder._SCORES", 500)
    torch.testing.assert_close(fast(x), whole)


def test_the_bundled_model_has_modes_too_and_masks_stay_what_they_are() -> None:
    stock, fast = Segmenter.load(), Segmenter.load(mode="float32")
    assert (stock.encoder_mode, fast.encoder_mode) == ("stock", "float32")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 90, 3), np.uint8)
    image[10:40, 20:60] //= 3
    found = [one.encode(image) for one in (stock, fast)]
    torch.testing.assert_close(found[0].image, found[1].image, atol=5e-3, rtol=1e-2)
    assert len(found[1].levels) == len(found[0].levels)


def test_embeddings_of_a_mode_are_kept_apart(micro_sam: Any) -> None:
    micro_sam.sha256 = "0" * 64
    stock = key_of("pixels", Segmenter(micro_sam))
    assert use_mode(micro_sam, "float32") == "float32"
    assert key_of("pixels", Segmenter(micro_sam)) != stock
    encode_image(micro_sam, np.zeros((30, 40, 3), np.uint8))


def test_stock_stays_the_encoder_it_was(micro_sam: Any) -> None:
    encoder = micro_sam.image_encoder
    assert use_mode(micro_sam, "stock") == "stock"
    assert micro_sam.image_encoder is encoder


def test_the_fastest_is_measured_once_and_remembered(vit, tmp_path: Path) -> None:
    file = tmp_path / "cache" / "speeds.json"
    assert choose_mode(vit, file) in ("stock", *MODES)
    (known,) = json.loads(file.read_text()).items()
    name, seconds = known
    assert {"stock", "float32"} <= seconds.keys()
    seconds |= {"stock": 9.0, "float32": 1.0, "bfloat16": 2.0}
    file.write_text(json.dumps({name: seconds}))
    assert choose_mode(vit, file) == "float32"
    seconds["float32"] = 8.9  # no gain to speak of
    file.write_text(json.dumps({name: {"stock": 9.0, "float32": 8.9}}))
    assert choose_mode(vit, file) == "stock"
    file.write_text("nonsense")
    assert choose_mode(vit, file) in ("stock", *MODES)


def test_an_unknown_mode_is_refused_by_its_name(micro_sam: Any) -> None:
    with pytest.raises(ValueError, match="unknown mode 'int8'"):
        use_mode(micro_sam, "int8")
