"""The prompter in closed form: what it learns, and how exactly it forgets."""

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_promise.model import promise
from napari_promise.model.adapter_files import export_file, import_file
from napari_promise.model.adapters import Adapter, load_adapter, save_adapter
from napari_promise.model.instant_learner import InstantLearner, info_for, lesson_of
from napari_promise.model.instant_prompter import InstantAPM
from napari_promise.model.sam import Embedding

GRID, FRAME = 16, 64


def picture(seed: int, width: int = 64) -> tuple[Embedding, np.ndarray]:
    """A disc at some place whose tokens point elsewhere than those around it."""
    rng = np.random.default_rng(seed)
    row, column = rng.integers(20, 44, 2)
    y, x = np.mgrid[:64, :64]
    mask = (y - row) ** 2 + (x - column) ** 2 < 100
    small = torch.from_numpy(mask.reshape(GRID, 4, GRID, 4).mean((1, 3))).float()

    def tokens(channels: int, side: int) -> torch.Tensor:
        noise = torch.from_numpy(rng.normal(size=(channels, side, side))).float()
        level = torch.nn.functional.interpolate(small[None, None], (side, side))[0, 0]
        noise[0] += 3 * level
        return noise[None]

    emb = Embedding(
        tokens(4, GRID), (tokens(6, 8), tokens(6, 8)), (FRAME, width), (64, width), "m"
    )
    return emb, mask[:, :width]


def taught(*seeds: int) -> InstantLearner:
    learner = InstantLearner.like(picture(0)[0], penalty=10.0)
    for seed in seeds:
        learner.learn(str(seed), lesson_of(learner.apm, *picture(seed)))
    return learner


def answer(learner: InstantLearner) -> torch.Tensor:
    emb, _ = picture(99)
    return learner.fitted()(emb.levels, emb.image)


def test_one_image_is_enough_to_find_the_like_in_another() -> None:
    emb, mask = picture(5)
    drawn = taught(1).fitted()(emb.levels, emb.image)[0, 0]
    probability = torch.nn.functional.interpolate(drawn[None, None], (64, 64))[0, 0]
    inside = torch.from_numpy(mask)
    assert probability[inside].mean() > probability[~inside].mean() + 1


def test_an_image_that_is_taken_back_leaves_nothing_behind() -> None:
    before, learner = answer(taught(1, 2)), taught(1, 2)
    learner.learn("3", lesson_of(learner.apm, *picture(3)))
    assert not torch.equal(answer(learner), before)
    assert learner.forget("3")
    assert torch.equal(answer(learner), before)


def test_the_order_of_the_images_does_not_matter() -> None:
    assert torch.equal(answer(taught(1, 2, 3)), answer(taught(3, 1, 2)))


def test_an_image_that_is_learnt_anew_replaces_what_it_taught() -> None:
    learner = taught(1, 2)
    learner.learn("2", lesson_of(learner.apm, *picture(2)))
    assert torch.equal(answer(learner), answer(taught(1, 2)))


def test_left_out_means_as_if_never_seen() -> None:
    emb, _ = picture(99)
    without = taught(1, 2, 3).fitted(without=["2"])(emb.levels, emb.image)
    assert torch.equal(without, answer(taught(1, 3)))


def test_nothing_can_be_fitted_to_nothing() -> None:
    with pytest.raises(ValueError, match="confirm an image first"):
        taught().fitted()
    with pytest.raises(ValueError, match="confirm an image first"):
        taught(1).fitted(without=["1"])


def test_it_is_sure_where_images_are_alike_and_unsure_where_they_are_not() -> None:
    learner = taught(1, 2, 3)
    assert learner.certainty() > 0.3
    for seed in (4, 5, 6):
        emb, mask = picture(seed)
        nonsense = np.random.default_rng(seed).permutation(mask.ravel())
        learner.learn(str(seed), lesson_of(learner.apm, emb, nonsense.reshape(64, 64)))
    assert learner.certainty() < 0.1
    assert taught(1).certainty() is None


def test_its_own_error_is_told_from_the_equations_alone() -> None:
    """What leave-one-out says is what going through the cells would say."""
    learner = taught(1, 2)
    emb, mask = picture(2)
    lesson = lesson_of(learner.apm, emb, mask)
    weights = learner.fitted(without=["2"]).weight.numpy()
    seen = learner.apm.describe(emb.levels, emb.image)[0].reshape(-1, 17).numpy()
    share = mask.reshape(GRID, 4, GRID, 4).mean((1, 3)).ravel()
    weight = 500 * (share / share.sum() + (1 - share) / (1 - share).sum())
    squares = (weight * (seen @ weights - (2 * share - 1)) ** 2).sum()
    assert learner._error("2") == pytest.approx(squares, rel=1e-2)
    assert lesson.energy == pytest.approx((weight * (2 * share - 1) ** 2).sum(), 1e-4)


def test_an_image_without_an_object_teaches_that_nothing_is_there() -> None:
    learner = taught(1)
    emb, mask = picture(99)
    before = learner.fitted()(emb.levels, emb.image).mean()
    learner.learn("empty", lesson_of(learner.apm, emb, np.zeros_like(mask)))
    assert learner.fitted()(emb.levels, emb.image).mean() < before


def test_pixels_that_are_not_known_teach_nothing() -> None:
    emb, mask = picture(1)
    learner = taught()
    where = np.zeros_like(mask)
    where[:, :32] = True
    other = mask.copy()
    other[:, 32:] = ~other[:, 32:]
    a, b = (lesson_of(learner.apm, emb, m, where) for m in (mask, other))
    assert np.array_equal(a.gram, b.gram)
    assert np.array_equal(a.moment, b.moment)


def test_padding_is_no_part_of_the_image() -> None:
    emb, mask = picture(1, width=40)
    lesson = lesson_of(taught().apm, emb, mask)
    assert np.isfinite(lesson.gram).all()
    with pytest.raises(ValueError, match="a mask of this image"):
        lesson_of(taught().apm, emb, np.zeros((3, 3), bool))


def test_another_models_features_are_refused() -> None:
    emb, _ = picture(1)
    with pytest.raises(ValueError, match="channels"):
        InstantAPM([6], 4).describe(emb.levels, emb.image)
    with pytest.raises(ValueError, match="channels"):
        InstantAPM([6, 6], 9).describe(emb.levels, emb.image)


def _adapter(micro_sam: object, *, wide: int = 192) -> tuple[Adapter, Embedding]:
    from napari_promise.model.sam import encode_image

    rng = np.random.default_rng(0)
    emb = encode_image(micro_sam, rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
    channels = [level.shape[1] for level in emb.levels]
    learner = InstantLearner(InstantAPM(channels, emb.image.shape[1], wide).eval())
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    learner.learn("one", lesson_of(learner.apm, emb, mask))
    return learner.adapter(info_for(micro_sam, "mine")), emb


@pytest.mark.parametrize("wide", [192, 8])
def test_what_is_kept_answers_as_what_was_learnt_bit_for_bit(
    micro_sam: object, tmp_path: Path, wide: int
) -> None:
    adapter, emb = _adapter(micro_sam, wide=wide)
    kept = load_adapter(save_adapter(adapter, tmp_path / "mine"), micro_sam)
    assert kept.info.apm == "instant"
    drawn = [one.apm(emb.levels, emb.image) for one in (adapter, kept)]
    assert torch.equal(*drawn)


def test_it_is_passed_on_and_taken_in_as_any_adapter(
    micro_sam: object, tmp_path: Path
) -> None:
    adapter, emb = _adapter(micro_sam)
    folder = save_adapter(adapter, tmp_path / "mine")
    file = export_file(folder, tmp_path / "passed-on")
    taken = load_adapter(import_file(file), micro_sam)
    assert torch.equal(
        taken.apm(emb.levels, emb.image), adapter.apm(emb.levels, emb.image)
    )


def test_it_places_points_as_the_learnt_maps_do(micro_sam: object) -> None:
    adapter, emb = _adapter(micro_sam)
    found = promise.auto_prompts(adapter, emb, micro_sam)
    assert found.logits is not None
    assert found.labels[0] == 1
    row, column = found.points_xy[0][::-1]
    assert 10 <= row < 30
    assert 20 <= column < 40
