"""The segmenter: numpy in, numpy out, and the same answer as stock SAM's predictor.

Weights are random and embeddings made up: what is tested is the way from prompts to
mask, not the quality of any model.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from napari_promise.model.adapters import Adapter, AdapterInfo
from napari_promise.model.pattern_shift import PatternEmbedding
from napari_promise.model.resampling import logits_of_tile, mask_to_logits
from napari_promise.model.sam import Embedding, build_sam, freeze
from napari_promise.prompts import Before, Prompts, round_logits
from napari_promise.segmentation import NoPrompterError
from napari_promise.segmenter import Segmenter

SHAPE = (90, 120)
MODEL = "promise-tiny"


def embedding(seed: int = 0) -> Embedding:
    noise = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(1, *shape, generator=noise).half().float()

    return Embedding(draw(128, 64, 64), (draw(192, 32, 32),), (384, 512), SHAPE, MODEL)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    sam = freeze(build_sam(MODEL))
    sam.model_id = MODEL
    return Segmenter(sam)


def with_ips(segmenter: Segmenter) -> Segmenter:
    info = AdapterInfo(
        name="test",
        base_model=MODEL,
        base_sha256="0" * 64,
        apm="none",
        points=4,
        slot_labels=(1, 1, 0, 0),
        ips=True,
        class_name="thing",
    )
    ips = PatternEmbedding(128)
    for parameter in ips.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return Segmenter(segmenter.sam, Adapter(info, None, ips))


def stock(segmenter: Segmenter, emb: Embedding, **prompts):
    from segment_anything import SamPredictor

    predictor = SamPredictor(segmenter.sam)
    predictor.features = emb.image
    predictor.original_size, predictor.input_size = emb.original_size, emb.input_size
    predictor.is_image_set = True
    return predictor.predict(**prompts)


@pytest.mark.parametrize(
    ("prompts", "arguments"),
    [
        (
            Prompts(points=[(40, 60), (20, 30)], labels=[1, 0]),
            {
                "point_coords": np.array([[60, 40], [30, 20]]),
                "point_labels": np.array([1, 0]),
                "multimask_output": False,
            },
        ),
        (
            Prompts(points=[(40, 60)], boxes=[(10, 20, 70, 90)]),
            {
                "point_coords": np.array([[60, 40]]),
                "point_labels": np.array([1]),
                "box": np.array([20, 10, 90, 70]),
                "multimask_output": False,
            },
        ),
        (
            Prompts(boxes=[(10, 20, 70, 90)]),
            {"box": np.array([20, 10, 90, 70]), "multimask_output": False},
        ),
    ],
    ids=["points", "point and box", "box"],
)
def test_without_an_adapter_masks_are_those_of_the_stock_predictor(
    segmenter, prompts, arguments
) -> None:
    emb = embedding()
    masks, scores, low = stock(segmenter, emb, **arguments)
    result = segmenter.segment(emb, prompts)
    np.testing.assert_array_equal(result.mask, masks[0])
    assert result.score == pytest.approx(float(scores[0]))
    np.testing.assert_array_equal(
        result.logits, low[:1].astype(np.float16).astype(np.float32)
    )
    assert result.token == 0


def test_a_single_click_takes_the_best_of_three_masks(segmenter) -> None:
    emb = embedding()
    masks, scores, _ = stock(
        segmenter,
        emb,
        point_coords=np.array([[60, 40]]),
        point_labels=np.array([1]),
        multimask_output=True,
    )
    result = segmenter.segment(emb, Prompts(points=[(40, 60)]))
    np.testing.assert_array_equal(result.mask, masks[scores.argmax()])
    assert result.token == scores.argmax() + 1
    single = segmenter.segment(emb, Prompts(points=[(40, 60)]), multimask=False)
    assert single.token == 0


def test_logits_of_a_result_are_ready_to_be_fed_back(segmenter) -> None:
    emb = embedding()
    first = segmenter.segment(emb, Prompts(points=[(40, 60)]))
    prompts = Prompts(
        points=[(40, 60), (70, 20)], labels=[1, 0], before=Before(first.logits)
    )
    assert prompts.logits is first.logits, "rounded already, so shared"
    masks, _, _ = stock(
        segmenter,
        emb,
        point_coords=prompts.points_xy(),
        point_labels=prompts.labels,
        mask_input=first.logits,
        multimask_output=False,
    )
    np.testing.assert_array_equal(segmenter.segment(emb, prompts).mask, masks[0])


def test_saved_prompts_and_a_cached_embedding_give_the_identical_mask(
    segmenter,
) -> None:
    emb = embedding()
    logits = segmenter.segment(emb, Prompts(points=[(40, 60)])).logits
    prompts = Prompts(
        points=[(40, 60), (70.25, 20.5)], labels=[1, 0], before=Before(logits)
    )
    result = segmenter.segment(emb, prompts)
    replayed = segmenter.segment(
        segmenter.restore(emb.to_arrays()),
        Prompts.from_json(json.loads(json.dumps(prompts.to_json()))),
    )
    assert replayed.region == result.region
    np.testing.assert_array_equal(replayed.logits, result.logits)


def test_answered_points_are_not_sent_with_the_logits_that_answer_them(
    segmenter,
) -> None:
    emb = embedding()
    logits = segmenter.segment(emb, Prompts(points=[(40, 60)])).logits
    points, labels = [(40, 60), (20, 30), (70, 20)], [1, 1, 0]
    prompts = Prompts(points=points, labels=labels, before=Before(logits))
    marked = prompts.replace(before=Before(logits, answered=[False, True, False]))
    result = segmenter.segment(emb, marked)
    alone = Prompts(points=[(40, 60), (70, 20)], labels=[1, 0], before=Before(logits))
    np.testing.assert_array_equal(result.logits, segmenter.segment(emb, alone).logits)
    everything = segmenter.segment(emb, prompts)
    assert not np.array_equal(result.logits, everything.logits)
    replayed = Prompts.from_json(json.loads(json.dumps(marked.to_json())))
    assert segmenter.segment(emb, replayed).region == result.region


def test_an_adapter_changes_the_answer_and_without_ips_it_does_not(segmenter) -> None:
    emb = embedding()
    adapted = with_ips(segmenter)
    prompts = Prompts(points=[(40, 60), (20, 30)])
    plain = segmenter.segment(emb, prompts)
    off = adapted.segment(emb, prompts, ips=False)
    assert off.region == plain.region
    np.testing.assert_array_equal(off.logits, plain.logits)
    on = adapted.segment(emb, prompts)
    assert on.token == 1, "shifted tokens are read from the first of the three"
    assert not np.array_equal(on.logits, plain.logits)
    adapted.adapter = None
    np.testing.assert_array_equal(adapted.segment(emb, prompts).logits, plain.logits)


def test_with_an_adapter_an_added_point_changes_only_its_piece_of_the_mask(
    segmenter, monkeypatch
) -> None:
    emb, adapted = embedding(), with_ips(segmenter)
    first = adapted.segment(emb, Prompts(points=[(40, 60)]))
    more = Prompts(
        points=[(40, 60), (20, 30)],
        labels=[1, 0],
        before=Before(first.logits, added=[False, True]),
    )
    whole = adapted.segment(emb, more, local=False)
    asked = []

    def merged(before, after, clicks):
        asked.append((before, after, list(clicks)))
        return before

    monkeypatch.setattr("napari_promise.segmenter.corrected_locally", merged)
    found = adapted.segment(emb, more)
    assert found.region == first.region, "what was merged becomes the mask"
    np.testing.assert_array_equal(found.logits, first.logits)
    ((before, after, clicks),) = asked
    np.testing.assert_array_equal(before, first.logits[0])
    np.testing.assert_array_equal(round_logits(after), whole.logits[0])
    # 90 x 120 pixels lie on 192 x 256 cells
    assert clicks == [(int(20.5 * 256 / 120), int(30.5 * 256 / 120), 0)]
    adapted.segment(emb, more.replace(before=Before(first.logits)))
    assert len(asked) == 1, "nothing was added"


@pytest.mark.parametrize("local", [None, False])
def test_without_an_adapter_every_answer_is_stock_and_whole(segmenter, local) -> None:
    emb = embedding()
    first = segmenter.segment(emb, Prompts(points=[(40, 60)]))
    more = Prompts(
        points=[(40, 60), (20, 30)], labels=[1, 0], before=Before(first.logits)
    )
    whole = segmenter.segment(emb, more)
    found = segmenter.segment(
        emb,
        more.replace(before=Before(first.logits, added=[False, True])),
        local=local,
    )
    np.testing.assert_array_equal(found.logits, whole.logits)
    assert found.region == whole.region


def test_asked_for_corrections_are_local_without_an_adapter_too(
    segmenter, monkeypatch
) -> None:
    emb = embedding()
    first = segmenter.segment(emb, Prompts(points=[(40, 60)]))
    more = Prompts(
        points=[(40, 60), (20, 30)],
        labels=[1, 0],
        before=Before(first.logits, added=[False, True]),
    )
    monkeypatch.setattr(
        "napari_promise.segmenter.corrected_locally", lambda before, *_: before
    )
    found = segmenter.segment(emb, more, local=True)
    np.testing.assert_array_equal(found.logits, first.logits)


def test_several_boxes_are_one_object_of_several_parts(segmenter) -> None:
    emb = embedding()
    boxes = [(5, 5, 40, 40), (50, 60, 80, 110)]
    near, far = (20, 20), (70, 90)
    both = segmenter.segment(emb, Prompts(points=[far, near], boxes=boxes))
    parts = [
        segmenter.segment(emb, Prompts(points=[point], boxes=[box]))
        for point, box in zip((near, far), boxes, strict=True)
    ]
    np.testing.assert_array_equal(
        both.logits, np.maximum(parts[0].logits, parts[1].logits)
    )


def test_a_mask_prompt_covers_its_cells_and_leaves_the_padding_out() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[:45, 60:] = True
    logits = mask_to_logits(mask, embedding(), (256, 256))
    assert logits.shape == (1, 1, 256, 256)
    inside = logits[0, 0] > 0
    assert inside[:96, 128:].all()
    assert not inside[96:].any()
    assert not inside[:, :128].any()
    np.testing.assert_array_equal(logits, logits.half().float())


def test_a_mask_prompt_alone_is_enough(segmenter) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[20:60, 30:80] = True
    emb = embedding()
    result = segmenter.segment(emb, Prompts(mask=mask))
    given = mask_to_logits(mask, emb, (256, 256))[0].numpy()
    same = segmenter.segment(emb, Prompts(before=Before(given)))
    assert result.region == same.region


def test_logits_of_another_grid_are_brought_to_this_models_grid(segmenter) -> None:
    logits = np.full((1, 128, 128), 3.0, np.float32)
    emb = embedding()
    coarse = segmenter.segment(emb, Prompts(points=[(40, 60)], before=Before(logits)))
    fine = segmenter.segment(
        emb, Prompts(points=[(40, 60)], before=Before(np.full((1, 256, 256), 3.0)))
    )
    np.testing.assert_array_equal(coarse.logits, fine.logits)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (Prompts(), "nothing to segment"),
        (Prompts(mask=np.ones((4, 4), bool)), "a mask of this image"),
    ],
)
def test_prompts_that_cannot_be_answered_are_refused(
    segmenter, prompts, message
) -> None:
    with pytest.raises(ValueError, match=message):
        segmenter.segment(embedding(), prompts)


def test_an_embedding_of_another_model_is_refused(segmenter) -> None:
    emb = embedding()
    other = Embedding(emb.image, emb.levels, emb.input_size, SHAPE, "vit_b")
    with pytest.raises(ValueError, match="made by vit_b"):
        segmenter.segment(other, Prompts(points=[(1, 1)]))


def test_proposing_without_an_adapter_says_what_to_do(segmenter) -> None:
    with pytest.raises(NoPrompterError, match="choose one, or train one"):
        segmenter.propose(embedding())


def test_an_empty_mask_has_no_region(segmenter, monkeypatch) -> None:
    from napari_promise import segmenter as module

    def nothing(sam, emb, **_: object):
        return torch.full((1, 1, 256, 256), -1.0), torch.zeros(1, 1)

    monkeypatch.setattr(module.promise, "decode", nothing)
    result = segmenter.segment(embedding(), Prompts(points=[(1, 1), (2, 2)]))
    assert result.region is None
    assert result.bbox is None
    assert result.mask.shape == SHAPE
    assert not result.mask.any()


# Several masks of one call -----------------------------------------------------------


@pytest.mark.parametrize("adapted", [False, True], ids=["stock", "shifted"])
@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(points=[(40, 60), (20, 30)], labels=[1, 0]),
        Prompts(points=[(40, 60)]),
        Prompts(points=[(20, 20), (70, 90)], boxes=[(5, 5, 40, 40), (50, 60, 80, 110)]),
    ],
    ids=["points", "click", "two boxes"],
)
def test_alternatives_are_what_stock_sam_draws_and_change_no_answer(
    segmenter, prompts, adapted
) -> None:
    emb = embedding()
    asked = with_ips(segmenter) if adapted else segmenter
    plain = asked.segment(emb, prompts)
    result = asked.segment(emb, prompts, alternatives=True)
    assert (result.region, result.score, result.token) == (
        plain.region,
        plain.score,
        plain.token,
    )
    np.testing.assert_array_equal(result.logits, plain.logits)
    assert plain.alternatives == ()
    assert result.alternatives == tuple(
        segmenter.segment(emb, prompts, multimask=several).region
        for several in (False, True)
    )


def test_without_shifted_tokens_one_pass_of_the_decoder_draws_them_all(
    segmenter, monkeypatch
) -> None:
    emb, passes = embedding(), []
    decoder = type(segmenter.sam.mask_decoder)
    predict = decoder.predict_masks
    monkeypatch.setattr(
        decoder,
        "predict_masks",
        lambda self, **options: (passes.append(1), predict(self, **options))[1],
    )
    prompts = Prompts(points=[(40, 60), (20, 30)])
    segmenter.segment(emb, prompts, alternatives=True)
    assert len(passes) == 1
    with_ips(segmenter).segment(emb, prompts, alternatives=True)
    assert len(passes) == 1 + 2


def test_several_objects_are_answered_in_their_order(segmenter) -> None:
    emb = embedding()
    asked = [Prompts(points=[(40, 60)]), Prompts(boxes=[(5, 5, 40, 40)])]
    many = segmenter.segment_many(emb, asked)
    assert [one.region for one in many] == [
        segmenter.segment(emb, each).region for each in asked
    ]
    assert segmenter.segment_many(emb, []) == ()


def test_a_proposal_is_what_the_module_finds_and_none_where_it_finds_nothing(
    segmenter, monkeypatch
) -> None:
    some, none = Prompts(points=[(1, 2)]), Prompts(points=[(1, 2)], labels=[0])
    monkeypatch.setattr(Segmenter, "propose", lambda self, emb: some)
    assert segmenter.proposals(embedding()) == (some,)
    monkeypatch.setattr(Segmenter, "propose", lambda self, emb: none)
    assert segmenter.proposals(embedding()) == ()


def test_another_adapter_is_another_segmenter_of_the_same_model(segmenter) -> None:
    adapted = with_ips(segmenter)
    plain = adapted.with_adapter(None)
    assert plain.adapter is None
    assert plain.sam is adapted.sam
    assert adapted.adapter is not None, "whoever uses it sees no change"
    assert plain.with_adapter(adapted.adapter).adapter is adapted.adapter


# Parts of a plane --------------------------------------------------------------------

REGION = (40, 60, 160, 240)  # of a plane of 200 x 300


@pytest.fixture(scope="module")
def part(segmenter) -> tuple[Embedding, Embedding]:
    """A part of a plane, encoded in its place, and the same pixels by themselves."""
    plane = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    r0, c0, r1, c1 = REGION
    inside = segmenter.encode(plane, region=REGION)
    return inside, segmenter.encode(plane[r0:r1, c0:c1])


def in_plane(mask: np.ndarray) -> np.ndarray:
    whole = np.zeros((200, 300), mask.dtype)
    whole[REGION[0] : REGION[2], REGION[1] : REGION[3]] = mask
    return whole


def moved(prompts: Prompts) -> Prompts:
    """Bring prompts of the part's pixels to the plane's."""
    (row, column), before = REGION[:2], prompts.before
    return prompts.replace(
        points=prompts.points + (row, column),
        boxes=prompts.boxes + (row, column, row, column),
        mask=None if prompts.mask is None else in_plane(prompts.mask),
        before=None if before is None else dataclasses.replace(before, tile=REGION),
    )


def test_a_part_is_encoded_as_the_same_pixels_by_themselves(part) -> None:
    inside, alone = part
    assert torch.equal(inside.image, alone.image)
    assert (inside.origin, inside.plane_shape) == ((40, 60), (200, 300))
    assert (alone.origin, alone.plane_shape) == ((0, 0), (120, 180))


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(points=[(50, 60), (20, 30)], labels=[1, 0]),
        Prompts(points=[(50, 60)], boxes=[(10, 20, 70, 90)]),
        Prompts(mask=np.arange(120 * 180).reshape(120, 180) % 180 > 90),
    ],
    ids=["points", "box", "mask"],
)
def test_prompts_and_masks_of_a_part_are_in_the_planes_pixels(
    segmenter, part, prompts
) -> None:
    inside, alone = part
    expected = segmenter.segment(alone, prompts)
    found = segmenter.segment(inside, moved(prompts))
    assert found.shape == (200, 300)
    np.testing.assert_array_equal(found.mask, in_plane(expected.mask))
    np.testing.assert_array_equal(found.logits, expected.logits)
    np.testing.assert_array_equal(
        segmenter.probabilities(inside, found.logits),
        in_plane(segmenter.probabilities(alone, expected.logits)),
    )


def test_a_correction_in_a_part_lands_where_it_points(segmenter, part) -> None:
    inside, alone = part
    adapted = with_ips(segmenter)
    first = Prompts(points=[(50, 60)])
    logits = adapted.segment(alone, first).logits
    more = Prompts(
        points=[(50, 60), (20, 30)],
        labels=[1, 0],
        before=Before(logits, added=[False, True]),
    )
    np.testing.assert_array_equal(
        adapted.segment(inside, moved(more)).logits,
        adapted.segment(alone, more).logits,
    )


def test_a_part_comes_back_from_the_cache_in_its_place(segmenter, part) -> None:
    inside, alone = part
    restored = segmenter.restore(inside.to_arrays())
    assert (restored.origin, restored.plane_shape) == ((40, 60), (200, 300))
    # of a whole plane, arrays are those of version 0.1, which said nothing of a place
    assert {"origin", "plane_shape"}.isdisjoint(alone.to_arrays())
    assert segmenter.restore(alone.to_arrays()).plane_shape == (120, 180)


def test_the_contrast_of_a_part_is_that_of_the_whole_image(segmenter) -> None:
    image = np.zeros((64, 64), np.float32)
    image[:32, :32] = 50.0
    image[32:] = 100.0
    limits = {"contrast_limits": (0, 100)}
    dark = segmenter.encode(image, region=(0, 0, 32, 32), **limits)
    same = segmenter.encode(np.full((32, 32), 50.0, np.float32), **limits)
    assert torch.equal(dark.image, same.image)


def test_a_region_that_leaves_the_image_is_refused(segmenter) -> None:
    with pytest.raises(ValueError, match="does not lie in the image of 64 rows"):
        segmenter.encode(np.zeros((64, 64), np.uint8), region=(0, 0, 65, 10))


def test_a_result_says_which_part_its_logits_cover(segmenter, part) -> None:
    inside, alone = part
    prompts = Prompts(points=[(50, 60)])
    assert segmenter.segment(inside, moved(prompts)).tile == REGION
    assert segmenter.segment(alone, prompts).tile is None


def test_logits_of_another_tile_are_the_mask_prompt_seen_through_this_one(
    segmenter, part
) -> None:
    inside, _ = part
    plane = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    whole = segmenter.encode(plane)
    click = Prompts(points=[(100, 150)])
    logits = segmenter.segment(whole, click).logits
    asked = click.replace(before=Before(logits))
    seen = logits_of_tile(torch.from_numpy(np.array(logits)), None, inside)
    same = click.replace(before=Before(seen.numpy(), tile=REGION))
    np.testing.assert_array_equal(
        segmenter.segment(inside, asked).logits, segmenter.segment(inside, same).logits
    )
    unmoved = click.replace(before=Before(logits, tile=REGION))
    assert not np.array_equal(
        segmenter.segment(inside, asked).logits,
        segmenter.segment(inside, unmoved).logits,
    )


def test_a_point_to_exclude_outside_of_the_part_needs_no_model(segmenter, part) -> None:
    inside, _ = part
    near = Prompts(points=[(100, 150)])
    both = Prompts(points=[(100, 150), (10, 10)], labels=[1, 0])
    np.testing.assert_array_equal(
        segmenter.segment(inside, both, multimask=True).logits,
        segmenter.segment(inside, near, multimask=True).logits,
    )


@pytest.mark.parametrize(
    "prompts",
    [Prompts(points=[(100, 150), (10, 10)]), Prompts(boxes=[(0, 0, 20, 20)])],
    ids=["point", "box"],
)
def test_what_to_include_outside_of_the_part_is_refused(
    segmenter, part, prompts
) -> None:
    with pytest.raises(ValueError, match="outside of the part"):
        segmenter.segment(part[0], prompts)
