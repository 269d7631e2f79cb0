"""The lean decoder gives stock SAM's numbers, but for the rounding of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_promise.model import promise
from napari_promise.model.lean_decoder import (
    decode_lean,
    is_lean_possible,
    prepare_lean,
)
from napari_promise.model.sam import encode_image, load_sam
from napari_promise.prompts import Prompts
from napari_promise.segmenter import Segmenter

POINT = {"points": (torch.tensor([[[0.4, 0.3]]]), torch.tensor([[1]]))}
POINTS = {
    "points": (
        torch.tensor([[[0.4, 0.3], [0.9, 0.1], [0.01, 0.5]]]),
        torch.tensor([[1, 0, 1]]),
    )
}
BOX = {"boxes": torch.tensor([[0.2, 0.1, 0.6, 0.55]])}
MASK = {"mask_logits": torch.linspace(-9, 9, 256 * 256).reshape(1, 1, 256, 256)}


@pytest.fixture(scope="module")
def tiny_sam() -> Any:
    return load_sam("promise-tiny")


@pytest.fixture(params=["promise-tiny", "segment_anything's own"])
def sam(request: pytest.FixtureRequest, tiny_sam: Any, micro_sam: Any) -> Any:
    return tiny_sam if request.param == "promise-tiny" else micro_sam


def drawn(sam: Any) -> torch.Tensor:
    """Return a random embedding of a model."""
    grid = sam.prompt_encoder.image_embedding_size
    draw = torch.Generator().manual_seed(3)
    return torch.randn(1, sam.prompt_encoder.embed_dim, *grid, generator=draw)


def in_frame(sam: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Bring prompts in sides of the image to pixels of a model's frame."""
    side, found = sam.image_encoder.img_size, dict(asked)
    if "points" in asked:
        found["points"] = (asked["points"][0] * side, asked["points"][1])
    if "boxes" in asked:
        found["boxes"] = asked["boxes"] * side
    if "mask_logits" in asked:
        rows, columns = sam.prompt_encoder.mask_input_size
        found["mask_logits"] = asked["mask_logits"][..., :rows, :columns]
    return found


def lean(sam: Any, asked: dict[str, Any], **options: Any) -> Any:
    positions = promise.dense_positions(sam.prompt_encoder)
    return decode_lean(sam, drawn(sam), positions=positions, **asked, **options)


@torch.no_grad()
def stock(sam: Any, asked: dict[str, Any], **options: Any) -> Any:
    return promise.decode_frame(sam, drawn(sam), **asked, **options)


@pytest.mark.parametrize(
    "asked",
    [POINT, POINTS, BOX, POINT | BOX, POINTS | MASK, POINTS | BOX | MASK],
    ids=["point", "points", "box", "point and box", "points and mask", "all"],
)
@pytest.mark.parametrize("multimask", [True, False])
def test_logits_and_quality_are_those_of_the_stock_decoder(
    sam: Any, asked: dict[str, Any], multimask: bool
) -> None:
    assert is_lean_possible(sam)
    asked = in_frame(sam, asked)
    logits, iou = stock(sam, asked, multimask=multimask)
    found, quality = lean(sam, asked, multimask=multimask)
    assert found.shape == logits.shape
    scale = float(logits.abs().max())
    assert float((found - logits).abs().max()) < 1e-4 * scale
    torch.testing.assert_close(quality, iou, rtol=0, atol=1e-5)


def test_shifted_tokens_are_shifted_here_too(sam: Any) -> None:
    asked, channels = in_frame(sam, POINT), sam.prompt_encoder.embed_dim
    delta = torch.linspace(-0.3, 0.3, 4 * channels).reshape(4, channels)
    plain, _ = stock(sam, asked, multimask=True)
    logits, _ = stock(sam, asked, multimask=True, delta=delta)
    found, _ = lean(sam, asked, multimask=True, delta=delta)
    assert float((plain - logits).abs().max()) > 1e-3
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-4)


def test_masks_of_a_picture_are_stock_sams_to_a_thousandth(tiny_sam: Any) -> None:
    rows, columns = np.ogrid[:480, :640]
    image = np.full((480, 640), 60, np.uint8)
    image[np.hypot(rows - 200, columns - 300) < 90] = 190
    exact, quick = Segmenter(tiny_sam), Segmenter(tiny_sam)
    quick.decoder = "lean"
    embedding = exact.encode(image)
    for prompts in (
        Prompts(points=[(200, 300)]),
        Prompts(points=[(200, 300), (60, 60)], labels=[1, 0]),
        Prompts(boxes=[(110, 210, 290, 390)]),
    ):
        a, b = (one.segment(embedding, prompts) for one in (exact, quick))
        assert a.mask.any()
        assert (a.mask & b.mask).sum() >= 0.999 * (a.mask | b.mask).sum()
        assert a.token == b.token
        assert a.score == pytest.approx(b.score, abs=1e-5)


def test_the_stock_decoder_is_in_use_unless_it_is_asked_otherwise(
    micro_sam: Any,
) -> None:
    assert Segmenter(micro_sam).decoder == "stock"
    with pytest.raises(ValueError, match="'stock' or 'lean'"):
        Segmenter(micro_sam).decoder = "quick"


def test_weights_of_the_model_stay_as_they_are(sam: Any) -> None:
    before = {name: t.clone() for name, t in sam.state_dict().items()}
    prepare_lean(sam)
    lean(sam, in_frame(sam, POINTS | MASK), multimask=True)
    for name, tensor in sam.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_weights_that_were_changed_are_read_anew(micro_sam: Any) -> None:
    asked = in_frame(micro_sam, POINT)
    lean(micro_sam, asked, multimask=True)
    with torch.no_grad():
        micro_sam.mask_decoder.output_upscaling[0].weight.mul_(-1)
    logits, _ = stock(micro_sam, asked, multimask=True)
    found, _ = lean(micro_sam, asked, multimask=True)
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-4)


def test_a_batch_is_left_to_the_stock_decoder(micro_sam: Any) -> None:
    embedding = encode_image(micro_sam, np.full((64, 64, 3), 90, np.uint8))
    asked = {
        "points_xy": torch.tensor([[[30.0, 40.0]], [[10.0, 20.0]]]),
        "labels": torch.ones(2, 1),
    }
    with torch.no_grad():
        both = [
            promise.decode(micro_sam, embedding, **asked, multimask=False, lean=lean)
            for lean in (False, True)
        ]
    assert torch.equal(both[0][0], both[1][0])
