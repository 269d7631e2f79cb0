from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_promise.jobs.training import TrainingJob, TrainingOrder, keep
from napari_promise.jobs.training_sources import LabelledImage, ViewerSource, survey
from napari_promise.model.adapters import load_adapter
from napari_promise.session import ArraySource
from tests.jobs.contexts import Context


class _Labels:
    def __init__(self, array: Any) -> None:
        self.array = array

    def plane_labels(self, plane: Any) -> Any:
        return self.array[tuple(plane)] if plane else self.array


def _source(count: int) -> ViewerSource:
    rng = np.random.default_rng(0)
    items = []
    for number in range(count):
        image = rng.integers(60, 120, (64, 64, 3)).astype(np.uint8)
        labels = np.zeros((64, 64), np.uint8)
        labels[8 + number : 30 + number, 10:34] = 2
        image[labels > 0] += 100
        items.append(
            LabelledImage(ArraySource(image, True, f"image {number}"), _Labels(labels))
        )
    return ViewerSource(tuple(items))


def test_five_labelled_images_become_an_adapter_that_can_be_kept(
    micro_sam: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_PROMISE_ADAPTERS", str(tmp_path))
    ended, failed, updates = [], [], []
    changes = {"views": 2, "apm_epochs": 2, "ips_epochs": 1, "points": 6}
    order = TrainingOrder("mine", "disc", "CC0", "a note", changes=changes)
    job = TrainingJob(
        _source(5),
        order,
        on_update=updates.append,
        on_ended=ended.append,
        on_failed=failed.append,
    )
    bench = Context(micro_sam)
    while job.step(bench):  # type: ignore[arg-type]
        pass
    assert not failed
    (outcome,) = ended
    assert not outcome.stopped
    assert {row["phase"] for row in outcome.rows} == {"apm", "ips", "score"}
    loaded = load_adapter(keep(outcome, order), micro_sam)
    assert (loaded.info.class_name, loaded.info.licence) == ("disc", "CC0")
    assert "5 images" in loaded.info.trained_on
    assert (tmp_path / "mine" / "curves.csv").is_file()


def test_planes_without_the_wanted_class_are_left_out() -> None:
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[1, :2], labels[2, :2], labels[2, 4:] = 1, 1, 2
    stack = ArraySource(np.zeros((4, 8, 8), np.uint8), name="stack")
    both = ViewerSource((LabelledImage(stack, _Labels(labels)),))
    second = LabelledImage(stack, _Labels(labels), frozenset({2}))
    assert survey(both).names == ("stack, plane 1", "stack, plane 2")
    assert survey(both).objects == 3
    assert survey(ViewerSource((second,))).names == ("stack, plane 2",)


def test_planes_that_nobody_confirmed_are_left_out_and_counted() -> None:
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[:, :2] = 1
    stack = ArraySource(np.zeros((4, 8, 8), np.uint8), name="stack")
    unconfirmed = frozenset({(0,), (3,)})
    item = LabelledImage(stack, _Labels(labels), None, unconfirmed)
    found = survey(ViewerSource((item,)))
    assert found.names == ("stack, plane 1", "stack, plane 2")
    assert found.unlabelled == 0
    assert found.masks[-1].startswith("2 planes")
