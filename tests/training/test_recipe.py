from __future__ import annotations

from pathlib import Path

import pytest

from napari_promise.data.pairs import Pair
from napari_promise.training.config import TrainConfig
from napari_promise.training.recipe import (
    expected_seconds,
    held_out_of,
    recipe_for,
    warning_for,
)
from napari_promise.training.split import split


@pytest.mark.parametrize("count", [2, 3, 5, 7, 8, 13, 14, 20, 40, 199, 200, 1000])
def test_every_number_of_images_gives_a_run_that_holds_out_what_it_says(
    count: int,
) -> None:
    pairs = tuple(Pair(Path(f"{i}"), Path(f"{i}m")) for i in range(count))
    config = TrainConfig(pairs=pairs, **recipe_for(count))
    training, held_out = split(config)
    assert len(held_out) == held_out_of(count)
    assert len(training) == count - len(held_out)


def test_few_images_get_more_views_and_more_patience() -> None:
    few, many = recipe_for(5), recipe_for(60)
    assert few["views"] > many["views"]
    assert few["patience"] > many["patience"]
    assert "views" not in recipe_for(1000)


def test_more_images_never_teach_the_prompter_less() -> None:
    def shown(count: int) -> float:
        config = TrainConfig(
            pairs=tuple(Pair(Path(f"{i}"), Path(f"{i}m")) for i in range(count)),
            **recipe_for(count),
        )
        return config.apm_epochs * config.views * (count - held_out_of(count))

    counts = [20, 100, 200, 399, 900]
    assert [shown(n) for n in counts] == sorted(shown(n) for n in counts)


def test_one_image_is_refused_and_three_are_warned_about() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        recipe_for(1)
    assert "Only 3" in warning_for(3)
    assert not warning_for(5)


def test_continuing_takes_fewer_passes_and_smaller_steps() -> None:
    anew, more = recipe_for(10), recipe_for(10, continuing=True)
    assert more["apm_epochs"] < anew["apm_epochs"]
    assert more["apm_rate"] < 1e-3
    assert expected_seconds(10, more, 1.0) < expected_seconds(10, anew, 1.0)


def test_many_objects_are_learnt_in_smaller_batches_and_more_steps() -> None:
    for count in (3, 10, 60):
        one, many = recipe_for(count), recipe_for(count, many=True)
        assert many["apm_batch"] < one["apm_batch"]
        assert many["views"] == one["views"]
        pairs = tuple(Pair(Path(f"{i}"), Path(f"{i}m")) for i in range(count))
        TrainConfig(pairs=pairs, apm="instances", **many)
    assert recipe_for(400, many=True) == recipe_for(400)


def test_few_images_teach_many_objects_in_fewer_steps() -> None:
    def steps(count: int) -> float:
        changes = recipe_for(count, many=True)
        shown = (count - held_out_of(count)) * changes["views"]
        return changes["apm_epochs"] * shown / changes["apm_batch"]

    assert steps(3) < 200
    assert steps(3) < steps(6) < steps(10)


def test_many_objects_of_few_images_are_learnt_by_a_narrow_prompter() -> None:
    assert recipe_for(10, many=True)["apm_width"] < TrainConfig.apm_width
    assert "apm_width" not in recipe_for(60, many=True)
    assert "apm_width" not in recipe_for(10)


def test_the_time_that_many_objects_take_is_told_without_a_shift() -> None:
    changes = recipe_for(10, many=True)
    told = expected_seconds(10, changes, 1.0, many=True)
    longer = {**changes, "ips_epochs": 100}
    assert expected_seconds(10, longer, 1.0, many=True) == told
    assert expected_seconds(10, longer, 1.0) > told
