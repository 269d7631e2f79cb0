from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_promise.model import promise
from napari_promise.model.sam import encode_image, load_sam
from napari_promise.model.windowed_decode import (
    OUTSIDE,
    WindowLogits,
    WindowPrompt,
    decode_windowed,
)


def disc(side: int = 256, centre: tuple[int, int] = (100, 60), radius: int = 10) -> Any:
    rows, columns = np.ogrid[:side, :side]
    inside = np.hypot(rows - centre[0], columns - centre[1]) < radius
    grey = np.where(inside, 220, 30).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), inside


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load_sam("promise-tiny")


def mixed_prompts() -> list[WindowPrompt]:
    click = torch.tensor([[60.0, 100.0]])
    box = torch.tensor([48.0, 88.0, 72.0, 112.0])
    logits = torch.randn(1, 256, 256, generator=torch.Generator().manual_seed(0))
    return [
        WindowPrompt(click, torch.tensor([1])),
        WindowPrompt(box_xy=box),
        WindowPrompt(click, torch.tensor([1]), box),
        WindowPrompt(torch.cat([click, click + 30]), torch.tensor([1, 0])),
        WindowPrompt(click, torch.tensor([1]), mask_logits=logits),
    ]


def stock(sam: Any, emb: Any, prompt: WindowPrompt) -> tuple[Any, Any]:
    points, box = prompt.points_xy, prompt.box_xy
    with torch.no_grad():
        return promise.decode(
            sam,
            emb,
            points_xy=None if points is None else points[None],
            labels=None if prompt.labels is None else prompt.labels[None],
            boxes_xy=None if box is None else box[None],
            mask_logits=(
                None if prompt.mask_logits is None else prompt.mask_logits[None]
            ),
            multimask=promise.wants_multimask(
                0 if points is None else len(points),
                has_box=box is not None,
                has_logits=prompt.mask_logits is not None,
            ),
        )


def test_a_window_as_large_as_the_grid_answers_as_the_stock_decoder(tiny: Any) -> None:
    emb, prompts = encode_image(tiny, disc()[0]), mixed_prompts()
    for prompt, found in zip(
        prompts, decode_windowed(tiny, emb, prompts, cells=()), strict=True
    ):
        logits, iou = stock(tiny, emb, prompt)
        torch.testing.assert_close(found.logits, logits[0], atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(found.iou, iou[0], atol=1e-5, rtol=1e-5)
        assert found.is_whole


def test_a_small_object_has_the_same_mask_in_a_small_window(tiny: Any) -> None:
    emb, (_, click_and_box) = encode_image(tiny, disc()[0]), mixed_prompts()[:2]
    (found,) = decode_windowed(tiny, emb, [click_and_box])
    wanted = stock(tiny, emb, click_and_box)[0][0, 0] > 0
    mask = found.whole() > 0
    assert found.logits.shape[-1] == 4 * 24
    assert (mask & wanted).sum() > 0.9 * (mask | wanted).sum()


def test_the_mask_prompt_is_the_one_around_the_window(tiny: Any) -> None:
    emb, click = encode_image(tiny, disc()[0]), torch.tensor([[60.0, 100.0]])
    mask = torch.from_numpy(np.where(disc()[1], 6.0, -6.0)).float()[None]
    far, near = mask.clone(), mask.clone()
    far[:, 200:, 200:] = 50  # outside of the window: it changes nothing
    near[:, 90:110, 50:60] = 50
    first, second, third = (
        decode_windowed(
            tiny,
            emb,
            [WindowPrompt(click, torch.tensor([1]), mask_logits=each)],
            cells=(24,),
        )[0]
        for each in (mask, far, near)
    )
    assert not first.is_whole
    torch.testing.assert_close(first.logits, second.logits)
    assert not torch.allclose(first.logits, third.logits)


def test_a_large_object_is_decoded_again_in_a_larger_window(tiny: Any) -> None:
    pixels, inside = disc(centre=(128, 128), radius=100)
    emb = encode_image(tiny, pixels)
    click = WindowPrompt(torch.tensor([[128.0, 128.0]]), torch.tensor([1]))
    (found,) = decode_windowed(tiny, emb, [click])
    assert found.logits.shape[-1] > 4 * 24
    assert not found.is_cut
    mask = (found.whole() > 0).numpy()
    assert mask.sum() == pytest.approx(inside.sum(), rel=0.1)


def test_a_large_box_begins_with_a_window_that_holds_it(tiny: Any) -> None:
    emb = encode_image(tiny, disc(centre=(128, 128), radius=60)[0])
    box = WindowPrompt(box_xy=torch.tensor([66.0, 66.0, 190.0, 190.0]))
    (found,) = decode_windowed(tiny, emb, [box])
    assert found.logits.shape[-1] >= 4 * 48


def test_many_prompts_of_several_kinds_come_back_in_order(tiny: Any) -> None:
    emb, prompts = encode_image(tiny, disc()[0]), mixed_prompts()
    together = decode_windowed(tiny, emb, prompts * 3, batch=4)
    for at, found in enumerate(together):
        (alone,) = decode_windowed(tiny, emb, [prompts[at % len(prompts)]])
        assert found.first == alone.first
        torch.testing.assert_close(found.logits, alone.logits, atol=2e-4, rtol=1e-4)


def test_windows_of_a_crop_answer_in_the_planes_pixels(tiny: Any) -> None:
    import dataclasses

    pixels, _ = disc()
    emb = encode_image(tiny, pixels[64:192, 0:128])
    crop = dataclasses.replace(emb, origin=(64, 0), plane_shape=(256, 256))
    click = WindowPrompt(torch.tensor([[60.0, 100.0]]), torch.tensor([1]))
    (found,) = decode_windowed(tiny, crop, [click])
    row, column = (100 - 64) * 2, 60 * 2
    assert found.whole()[row, column] > 0
    assert found.whole()[0, 0] == pytest.approx(OUTSIDE) or found.is_whole


def test_plain_prompt_encoders_are_served_too(micro_sam: Any) -> None:
    pixels = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8).numpy()
    emb = encode_image(micro_sam, pixels)
    click = WindowPrompt(torch.tensor([[20.0, 30.0]]), torch.tensor([1]))
    (found,) = decode_windowed(micro_sam, emb, [click], cells=())
    logits, _ = stock(micro_sam, emb, click)
    torch.testing.assert_close(found.logits, logits[0], atol=1e-4, rtol=1e-4)


def test_an_edge_of_the_grid_cuts_nothing() -> None:
    logits = torch.full((1, 8, 8), -1.0)
    logits[0, 0, 3] = 1
    at_the_edge = WindowLogits(logits, torch.ones(1), 0, (0, 4), 32)
    inside = WindowLogits(logits, torch.ones(1), 0, (4, 4), 32)
    assert not at_the_edge.is_cut
    assert inside.is_cut


def test_a_prompt_without_a_place_is_refused(micro_sam: Any) -> None:
    emb = encode_image(micro_sam, np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="a window needs a place"):
        decode_windowed(micro_sam, emb, [WindowPrompt()])
