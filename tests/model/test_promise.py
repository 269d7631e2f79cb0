from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_promise.model import promise
from napari_promise.model.adapters import Adapter, AdapterInfo
from napari_promise.model.auto_prompt import HeatmapAPM
from napari_promise.model.pattern_shift import PatternEmbedding
from napari_promise.model.point_prompters import CrossAPM
from napari_promise.model.sam import Embedding, encode_image

# isort: split
from segment_anything import SamPredictor


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (45, 90, 3), dtype=np.uint8)


@pytest.fixture
def adapter() -> Adapter:
    torch.manual_seed(1)
    info = AdapterInfo("toy", "micro", "0" * 64, points=6)
    ips = PatternEmbedding(32)
    torch.nn.init.normal_(ips.lin2.weight, std=0.1)
    return Adapter(info, HeatmapAPM([32, 32, 32], width=16), ips).eval()


def _points() -> dict[str, torch.Tensor]:
    return {
        "points_xy": torch.tensor([[[20.0, 10.0], [70.0, 30.0]]]),
        "labels": torch.tensor([[1, 0]]),
    }


def test_without_adapter_the_logits_are_those_of_the_stock_predictor(
    micro_sam: Any, image: np.ndarray, adapter: Adapter
) -> None:
    emb = encode_image(micro_sam, image)
    predictor = SamPredictor(micro_sam)
    predictor.set_image(image)
    predictor.features = emb.image
    box = np.array([5.0, 6.0, 60.0, 40.0])
    previous = np.random.default_rng(1).normal(size=(1, 32, 32)).astype(np.float32)
    for multimask in (True, False):
        _, stock_iou, stock = predictor.predict(
            np.array([[20.0, 10.0], [70.0, 30.0]]),
            np.array([1, 0]),
            box,
            previous,
            multimask,
        )
        for off in ({}, {"adapter": adapter, "ips": False}):
            logits, iou = promise.decode(
                micro_sam,
                emb,
                **_points(),
                boxes_xy=torch.tensor(box)[None],
                mask_logits=torch.from_numpy(previous)[None],
                multimask=multimask,
                **off,
            )
            np.testing.assert_array_equal(logits[0].numpy(), stock)
            np.testing.assert_array_equal(iou[0].numpy(), stock_iou)


def test_an_untrained_shift_changes_nothing(
    micro_sam: Any, image: np.ndarray, adapter: Adapter
) -> None:
    emb = encode_image(micro_sam, image)
    adapter.ips = PatternEmbedding(32)
    stock, _ = promise.decode(micro_sam, emb, **_points(), multimask=True)
    shifted, _ = promise.decode(
        micro_sam, emb, **_points(), multimask=True, adapter=adapter
    )
    torch.testing.assert_close(shifted, stock, rtol=0, atol=1e-6)


def test_a_trained_shift_changes_the_mask_of_that_call_only(
    micro_sam: Any, image: np.ndarray, adapter: Adapter
) -> None:
    emb = encode_image(micro_sam, image)
    before, _ = promise.decode(micro_sam, emb, **_points(), multimask=True)
    shifted, _ = promise.decode(
        micro_sam, emb, **_points(), multimask=True, adapter=adapter
    )
    after, _ = promise.decode(micro_sam, emb, **_points(), multimask=True)
    assert (shifted - before).abs().max() > 1e-3
    assert torch.equal(before, after)


def test_gradients_reach_shift_and_points_but_not_sam(
    micro_sam: Any, image: np.ndarray, adapter: Adapter
) -> None:
    emb = encode_image(micro_sam, image)
    points = torch.tensor([[[20.0, 10.0], [70.0, 30.0]]], requires_grad=True)
    logits, _ = promise.decode(
        micro_sam,
        emb,
        points_xy=points,
        labels=torch.tensor([[1, 0]]),
        multimask=True,
        adapter=adapter,
    )
    logits[:, :1].sum().backward()
    assert points.grad is not None
    assert points.grad.abs().min() > 0
    assert adapter.ips is not None
    assert adapter.ips.lin1.weight.grad is not None
    assert adapter.ips.lin1.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in micro_sam.parameters())


def test_several_prompts_are_decoded_at_once(micro_sam: Any, image: np.ndarray) -> None:
    emb = encode_image(micro_sam, image)
    points = torch.tensor([[[20.0, 10.0]], [[70.0, 30.0]]])
    labels = torch.ones(2, 1)
    both, _ = promise.decode(
        micro_sam, emb, points_xy=points, labels=labels, multimask=True
    )
    single, _ = promise.decode(
        micro_sam, emb, points_xy=points[1:], labels=labels[1:], multimask=True
    )
    assert both.shape == (2, 3, 32, 32)
    torch.testing.assert_close(both[1:], single, rtol=1e-4, atol=1e-4)


def test_decoding_nothing_is_refused(micro_sam: Any, image: np.ndarray) -> None:
    emb = encode_image(micro_sam, image)
    with pytest.raises(ValueError, match="nothing to decode"):
        promise.decode(micro_sam, emb, multimask=True)
    with pytest.raises(ValueError, match="points need labels"):
        promise.decode(micro_sam, emb, points_xy=torch.zeros(1, 1, 2), multimask=True)


def test_three_masks_are_asked_for_one_bare_click_or_for_the_first() -> None:
    assert promise.wants_multimask(1)
    assert not promise.wants_multimask(1, has_logits=True)
    assert not promise.wants_multimask(1, has_box=True)
    assert not promise.wants_multimask(2)
    assert promise.wants_multimask(2, first=True)


def test_the_best_predicted_mask_is_chosen_unless_tokens_were_shifted() -> None:
    logits, iou = torch.zeros(3, 4, 4), torch.tensor([0.2, 0.9, 0.4])
    assert promise.choose_mask(logits, iou, False) == 1
    assert promise.choose_mask(logits, iou, True) == 0
    assert promise.choose_mask(logits[:1], iou[:1], False) == 0


def test_proposed_points_lie_on_the_object_in_the_images_own_pixels() -> None:
    """A map over a wide frame; the lower half of the frame is padding."""
    size, inner = (100, 200), (32, 64)
    emb = Embedding(torch.zeros(1, 32, 8, 8), (), inner, size, "micro")
    logits = torch.full((64, 64), -6.0)
    logits[10:20, 40:56] = 6.0
    logits[40:, :] = 9.0  # in the padding
    found = promise.prompts_from_map(logits, emb, 16, (32, 32))
    assert found.labels.tolist() == [1] * 8 + [0] * 8
    truth = np.zeros(size, dtype=bool)
    truth[31:63, 125:175] = True
    columns, rows = np.rint(found.points_xy).astype(int).T
    assert (truth[rows, columns] == (found.labels == 1)).all()
    assert found.logits.shape == (1, 1, 32, 32)
    assert torch.equal(found.logits.half().float(), found.logits)
    assert found.presence > 0.99


def test_the_first_mask_is_taken_with_a_shift_or_where_the_adapter_says_so(
    adapter: Adapter,
) -> None:
    assert not promise.takes_first(None)
    assert promise.takes_first(adapter)
    assert not promise.takes_first(adapter, ips=False)
    adapter.ips = None
    assert not promise.takes_first(adapter)
    adapter.info = replace(adapter.info, mask_choice="paper")
    assert promise.takes_first(adapter)
    assert not promise.takes_first(adapter, ips=False)


def test_predicted_points_come_with_the_labels_of_their_slots_into_the_image(
    micro_sam: Any, adapter: Adapter
) -> None:
    """A frame of 64 pixels, filled by an image of 100 x 200 to its upper half."""
    emb = Embedding(
        torch.zeros(1, 32, 8, 8),
        (torch.zeros(1, 32, 8, 8),),
        (32, 64),
        (100, 200),
        "micro",
    )
    adapter.apm = CrossAPM([32], points=3, frame=64)
    frame_xy = torch.tensor([[[16.0, 8.0], [32.0, 50.0], [63.9, 31.9]]])
    adapter.apm.forward = lambda levels: frame_xy  # type: ignore[method-assign]
    found = promise.auto_prompts(adapter, emb, micro_sam)
    # the second lay in the padding, the third beyond the last pixel's centre
    np.testing.assert_allclose(found.points_xy, [[50, 25], [100, 99], [199, 99]])
    assert found.labels.tolist() == [1, 0, 0]
    assert np.isnan(found.scores).all()
    assert found.logits is None
    back = promise.to_frame(torch.tensor(found.points_xy), emb)
    torch.testing.assert_close(back[0], frame_xy[0, 0])


def test_an_adapter_without_prompter_says_so(
    micro_sam: Any, image: np.ndarray, adapter: Adapter
) -> None:
    adapter.apm = None
    with pytest.raises(ValueError, match="no auto-prompting module"):
        promise.auto_prompts(adapter, encode_image(micro_sam, image), micro_sam)


def test_the_prompter_sees_the_embeddings_of_its_own_model_only(
    micro_sam: Any, image: np.ndarray, adapter: Adapter
) -> None:
    adapter.apm = HeatmapAPM([16, 16])
    with pytest.raises(ValueError, match="levels"):
        promise.auto_prompts(adapter, encode_image(micro_sam, image), micro_sam)


def test_a_training_step_leaves_every_byte_of_sam_as_it_was(
    micro_sam: Any, image: np.ndarray, adapter: Adapter
) -> None:
    before = {k: v.clone() for k, v in micro_sam.state_dict().items()}
    emb = encode_image(micro_sam, image)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=1.0)
    logits, _ = promise.decode(
        micro_sam, emb, **_points(), multimask=True, adapter=adapter
    )
    assert adapter.apm is not None
    (logits.mean() + adapter.apm(emb.levels, emb.image).mean()).backward()
    optimizer.step()
    after = micro_sam.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_laying_cells_out_in_rows_changes_no_number_and_leaves_no_trace(
    micro_sam: Any, image: np.ndarray
) -> None:
    emb = encode_image(micro_sam, image)
    with torch.no_grad():
        logits, iou = promise.decode(micro_sam, emb, **_points(), multimask=True)
    plain, plain_iou = promise.decode(micro_sam, emb, **_points(), multimask=True)
    torch.testing.assert_close(logits, plain, rtol=0, atol=0)
    torch.testing.assert_close(iou, plain_iou, rtol=0, atol=0)
    assert not micro_sam.mask_decoder.transformer._forward_pre_hooks


def test_positions_are_those_of_the_prompt_encoder_and_follow_its_weights(
    micro_sam: Any,
) -> None:
    encoder = micro_sam.prompt_encoder
    first = promise.dense_positions(encoder)
    assert promise.dense_positions(encoder) is first
    assert torch.equal(first, encoder.get_dense_pe())
    frequencies = encoder.pe_layer.positional_encoding_gaussian_matrix
    with torch.no_grad():
        frequencies.mul_(2)
    try:
        assert not torch.equal(first, encoder.get_dense_pe())
        assert torch.equal(promise.dense_positions(encoder), encoder.get_dense_pe())
    finally:
        with torch.no_grad():
            frequencies.div_(2)


def test_proposed_points_of_a_part_are_in_the_planes_pixels() -> None:
    whole = Embedding(torch.zeros(1, 32, 8, 8), (), (32, 64), (100, 200), "micro")
    part = replace(whole, origin=(30, 70), plane_shape=(500, 600))
    logits = torch.full((64, 64), -6.0)
    logits[10:20, 40:56] = 6.0
    frame = torch.tensor([[10.0, 5.0], [63.0, 63.0]])
    for place in (
        lambda emb: promise.prompts_from_map(logits, emb, 16, (32, 32)),
        lambda emb: promise.prompts_from_points(frame, (1, 0), emb),
    ):
        alone, inside = place(whole), place(part)
        np.testing.assert_array_equal(inside.points_xy, alone.points_xy + (70, 30))
        assert inside.points_xy[:, 0].max() < 70 + 200
