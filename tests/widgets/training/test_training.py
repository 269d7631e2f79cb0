"""Training from the dock, as a person does it; the trainer itself is faked."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from napari_promise.model import adapter_files
from napari_promise.model.adapters import Adapter, AdapterInfo, list_adapters
from napari_promise.model.pattern_shift import PatternEmbedding
from napari_promise.model.weights import model_file, sha256_of
from napari_promise.training.trainer import Progress
from napari_promise.widgets.training.panel import MANY


def _adapter(config: Any) -> Adapter:
    torch.manual_seed(0)
    info = AdapterInfo(
        config.name,
        "promise-tiny",
        sha256_of(model_file("promise-tiny")),  # another base is refused at import
        apm="none",
        scores={"held out in training": {"automatic": 0.8, "gt_prompted": 0.9}},
    )
    return Adapter(info, None, PatternEmbedding(32))


class FakeTrainer:
    """Passes that end when the test says so."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.config: Any = None
        self.sizes: list[Any] = []
        self.closed = False
        self.error: Exception | None = None

    def __call__(self, config: Any, sam: Any, *, give_way: Any) -> Iterator[Progress]:
        from napari_promise.data.images import read_mask

        self.config = config
        self.sizes = [int((read_mask(p.mask) > 0).sum()) for p in config.pairs]
        try:
            for at in range(1, 4):
                while not self.go.acquire(timeout=0.01):
                    yield Progress("apm", at - 1, 3)
                if self.error is not None:
                    raise self.error
                row = {"epoch": at, "phase": "apm", "loss": 1 / at, "automatic": 0.5}
                yield Progress("apm", at, 3, 1 / at, adapter=_adapter(config), row=row)
            yield Progress("done", 1, 1, adapter=_adapter(config))
        finally:
            self.closed = True


@pytest.fixture
def trainer() -> FakeTrainer:
    return FakeTrainer()


@pytest.fixture
def labelled(desk, trainer) -> Any:
    """The desk with five labelled images, the window open, ready to start."""
    for number in range(5):
        data = np.full((40, 50), 10 * number, np.uint8)
        labels = np.zeros((40, 50), np.uint8)
        labels[5 : 10 + number, 5:10] = 1
        desk.viewer.add_image(data, name=f"image {number}")
        desk.viewer.add_labels(labels, name=f"image {number} truth")
    desk.widget.training.train_function = trainer
    desk.widget.training.show()
    desk.until(lambda: desk.widget.training.panel.start.isEnabled())
    return desk


def _own() -> list[str]:
    return [item.info.name for item in list_adapters() if not item.bundled]


def _run(desk: Any, trainer: FakeTrainer, passes: int) -> None:
    desk.widget.training.panel.start.click()
    trainer.go.release(passes)
    job = desk.widget.training.job
    if passes < 3:
        desk.until(lambda: len(job._rows) == passes)
    else:
        desk.until(lambda: desk.widget.training.outcome is not None)


def test_it_says_what_would_be_learnt_before_it_starts(labelled) -> None:
    text = labelled.widget.training.panel.summary.text()
    assert "5 images, 5 objects on promise-tiny; 1 held out (by image)" in text
    assert "cache" in text


def test_keeping_saves_the_adapter_and_switches_to_it(labelled, trainer) -> None:
    _run(labelled, trainer, 3)
    training = labelled.widget.training
    assert sorted(trainer.sizes) == [25, 30, 35, 40, 45]
    training.panel.keep.click()
    labelled.until(lambda: training.outcome is None)
    assert _own() == ["my-adapter"]
    assert labelled.widget.session.settings.adapter == "my-adapter"
    assert not trainer.config.pairs[0].image.exists()  # what was written for it is gone


def test_discarding_leaves_all_as_it_was(labelled, trainer) -> None:
    _run(labelled, trainer, 3)
    labelled.widget.training.panel.discard.click()
    assert _own() == []
    assert labelled.widget.session.settings.adapter == "discs"
    assert labelled.widget.training.panel.start.isEnabled()


@pytest.mark.parametrize("keep", [True, False])
def test_stopping_keeps_the_best_so_far_or_nothing(labelled, trainer, keep) -> None:
    _run(labelled, trainer, 1)
    training = labelled.widget.training
    training.panel.stop_requested.emit(keep)
    labelled.until(lambda: training.job is None)
    assert trainer.closed
    assert (training.outcome is not None) == keep
    if keep:
        assert training.outcome.stopped


def test_a_click_is_answered_while_it_trains(labelled, trainer) -> None:
    _run(labelled, trainer, 1)
    labelled.click(30, 40)
    assert labelled.preview.any()
    assert labelled.widget.training.job is not None


def test_a_full_disk_loses_nothing(labelled, trainer, monkeypatch) -> None:
    _run(labelled, trainer, 3)
    training = labelled.widget.training
    sound = adapter_files.save_adapter

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    said: list[str] = []
    training._complain = said.append
    monkeypatch.setattr(adapter_files, "save_adapter", full)
    training.panel.keep.click()
    labelled.until(lambda: bool(said))
    assert "free disk space" in said[0]
    monkeypatch.setattr(adapter_files, "save_adapter", sound)
    training.panel.keep.click()
    labelled.until(lambda: training.outcome is None)
    assert _own() == ["my-adapter"]


def test_deleting_the_image_layer_while_it_trains_harms_nothing(
    labelled, trainer
) -> None:
    _run(labelled, trainer, 1)
    for layer in list(labelled.viewer.layers):
        labelled.viewer.layers.remove(layer)
    trainer.go.release(2)
    labelled.until(lambda: labelled.widget.training.outcome is not None)


def test_closing_the_dock_while_it_trains_keeps_the_best(labelled, trainer) -> None:
    _run(labelled, trainer, 2)
    labelled.widget.close_down()
    assert trainer.closed
    assert _own() == ["my-adapter"]


def test_an_error_ends_it_with_one_line_and_the_best(labelled, trainer) -> None:
    said: list[str] = []
    labelled.widget.training._complain = said.append
    labelled.widget.training.panel.start.click()
    labelled.widget.training.job._on_failed = said.append
    trainer.go.release(1)
    labelled.until(lambda: len(labelled.widget.training.job._rows) == 1)
    trainer.error = OSError(errno.ENOSPC, "No space left on device")
    trainer.go.release(1)
    labelled.until(lambda: labelled.widget.training.outcome is not None)
    assert "No space left" in said[0]


def test_of_a_stack_the_labelled_planes_are_learnt_and_named(desk, trainer) -> None:
    labels = np.zeros((6, 40, 50), np.uint8)
    labels[[1, 4], 5:10, 5:10] = 3
    desk.viewer.add_image(np.zeros((6, 40, 50), np.uint8), name="stack")
    desk.viewer.add_labels(labels, name="stack truth")
    training = desk.widget.training
    training.train_function = trainer
    training.show()
    desk.until(lambda: training.panel.start.isEnabled())
    text = training.panel.summary.text()
    assert "2 images, 2 objects" in text
    assert "4 planes without labels left out: stack, plane 1; stack, plane 4" in text
    assert "Only 2" in text


def test_adapters_are_listed_exported_renamed_deleted_and_taken_in(
    desk, tmp_path
) -> None:
    adapter_files.install(_adapter(type("Config", (), {"name": "mine"})))
    training = desk.widget.training
    training.library.show()
    dialog = training.library.dialog

    def names() -> list[str]:
        return [row.name for row in dialog._rows]

    desk.until(lambda: "mine" in names())
    dialog.table.selectRow(names().index("polyp"))
    assert not dialog.delete.isEnabled()
    assert dialog.selected()[0].automatic != dialog.selected()[0].gt_prompted
    path = tmp_path / "mine.promise-adapter"
    dialog.export_requested.emit("mine", path)
    desk.until(path.exists)
    dialog.rename_requested.emit("mine", "yours")
    desk.until(lambda: "yours" in names())
    dialog.delete_requested.emit("yours")
    desk.until(lambda: "yours" not in names())
    dialog.import_requested.emit(path)
    desk.until(lambda: "mine" in names())


def test_a_wrong_file_is_refused_in_one_line(desk, tmp_path) -> None:
    path = tmp_path / "x.promise-adapter"
    path.write_bytes(b"not a zip")
    training = desk.widget.training
    training.library.show()
    training.library.dialog.import_requested.emit(path)
    desk.until(lambda: "get it again" in training.library.dialog.status.text())
    assert _own() == []


def test_two_adapters_are_measured_on_what_is_labelled(labelled) -> None:
    training = labelled.widget.training
    training.library.compare_on_all("discs", "others")
    labelled.until(lambda: not training.library._comparing)
    said = training.library.dialog.status.text()
    assert said.startswith("5 labelled images of image 4, image 3")
    assert "discs 0." in said
    assert said.endswith("others is better on 0, worse on 0.")


def test_measuring_without_labelled_images_says_what_to_do(desk) -> None:
    training = desk.widget.training
    training.refresh()
    training.library.compare_on_all("discs", "others")
    assert "no labelled images" in training.library.dialog.status.text()


def test_an_adapter_that_is_taught_more_keeps_its_name(labelled) -> None:
    panel = labelled.widget.training.panel
    panel.start_from.chosen.emit("/somewhere/mine")
    assert panel.naming().name == "mine"
    panel.name.value = "another"
    panel.start_from.chosen.emit("/somewhere/mine")
    assert panel.naming().name == "another"


def test_another_model_may_be_chosen_while_it_trains(labelled, trainer) -> None:
    _run(labelled, trainer, 1)
    session, training = labelled.widget.session, labelled.widget.training
    session.settings.model = "vit_b"
    labelled.until(lambda: session.status.state == "ready")
    trainer.go.release(2)
    labelled.until(lambda: training.outcome is not None)
    training.panel.keep.click()
    labelled.until(lambda: training.outcome is None)
    assert _own() == ["my-adapter"]
    # it belongs to the model that it was trained on, and is not used on another
    assert session.settings.adapter != "my-adapter"


def test_the_summary_uses_what_encoding_took_here(labelled) -> None:
    training = labelled.widget.training
    labelled.widget.session._embeddings.encode_seconds = 36.0
    labelled.widget.session._embeddings.embedding_bytes = 10**9
    training.refresh()
    labelled.until(lambda: "GB of cache" in training.panel.summary.text())
    assert " h " in training.panel.summary.text()


def test_the_summary_follows_what_shall_be_found(labelled) -> None:
    training = labelled.widget.training
    labelled.widget.session._embeddings.encode_seconds = 36.0
    training.refresh()
    labelled.until(lambda: "At most" in training.panel.summary.text())
    of_one = training.panel.summary.text()
    finds = training.panel.finds
    finds.setCurrentIndex(finds.count() - 1)
    finds.activated.emit(finds.count() - 1)
    assert finds.value() == MANY
    labelled.until(
        lambda: (
            "At most" in training.panel.summary.text()
            and training.panel.summary.text() != of_one
        )
    )
