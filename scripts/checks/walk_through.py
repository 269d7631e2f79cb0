"""Take the pictures of docs/annotate-a-folder.md, in a real window.

    python -m scripts.checks.walk_through

Generates a folder of scenes like a colonoscope's, clicks through the first ones as a
person would, trains an adapter on them from the dock, keeps it, lets it propose on the
rest and looks at the weakest. Writes into ``docs/images``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_promise import demo
from napari_promise.data.samples import endoscopy_scene
from napari_promise.proposing import iou
from scripts.checks.walking import Walking

PICTURES = Path("docs/images")
SCENES, LABELLED = 16, 8
ENOUGH, MOST = 0.92, 5
SIZE = (1366, 768)
PATIENCE = 900.0

Mask = np.ndarray


def generate(folder: Path) -> dict[str, Mask]:
    """Write scenes, turned, cut and lit differently; returns where the polyps are."""
    rng = np.random.default_rng(0)
    truths = {}
    folder.mkdir(parents=True)
    for number in range(SCENES):
        image, mask = endoscopy_scene(seed=number)
        turns = int(rng.integers(4))
        image, mask = np.rot90(image, turns), np.rot90(mask, turns)
        if rng.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        light = rng.uniform(0.7, 1.15)
        top, left = (int(n) for n in rng.integers(0, 90, 2))
        image = np.clip(image * light, 0, 255).astype(np.uint8)[top:, left:]
        name = f"frame-{number + 1:03d}.png"
        Image.fromarray(image).save(folder / name)
        truths[name] = np.ascontiguousarray(mask[top:, left:])
    return truths


class Walk(Walking):
    """A window with both docks, and somebody who uses it."""

    def __init__(self, out: Path, truths: dict[str, Mask]) -> None:
        import napari

        from napari_promise.data.embeddings import EmbeddingCache
        from napari_promise.session import Session, Settings
        from napari_promise.widgets.dispatch import GuiDispatcher
        from napari_promise.widgets.folder.dock import FolderWidget
        from napari_promise.widgets.prompting.dock import PromiseWidget

        super().__init__(napari.Viewer(), out, PATIENCE)
        self._truths = truths
        self.viewer.window._qt_window.resize(*SIZE)
        self.session = Session(
            dispatch=GuiDispatcher(),
            settings=Settings(model=demo.MODEL, adapter=""),
            cache=EmbeddingCache(None),
        )
        self.session.failed.connect(self.failures.append)
        self.promise = PromiseWidget(self.viewer, self.session)
        self.viewer.window.add_dock_widget(
            self.promise, name="ProMISe (napari-promise)", area="right"
        )
        self.folder = FolderWidget(self.viewer)
        self.viewer.window.add_dock_widget(
            self.folder, name="ProMISe: annotate folder", area="right"
        )

    def ready(self) -> None:
        """Wait until the image that is wanted can be clicked into."""
        self.until(self._is_ready)

    def _is_ready(self) -> bool:
        work = self.folder.work
        return (
            work is not None
            and work.key is not None
            and work.key == work.wanted
            and self.promise.bridge.work is work.work
            and self.session.status.state == "ready"
        )

    def correct(self) -> None:
        """Click into the largest error until the mask is good."""
        from napari_promise.training.simulated_prompts import next_click

        truth = self._truths[self.folder.work.key]
        for _ in range(MOST):
            mask = self._mask(truth.shape)
            wrong = next_click(mask, truth)
            if wrong is None or iou(mask, truth) >= ENOUGH:
                break
            (row, column), label = wrong
            self.promise.actions.choose_include(label == 1)
            self.promise.bridge.work.points.layer.add((row, column))
            self.until(lambda: self._document().active.is_answered)

    def done(self) -> None:
        """Confirm what is shown and go on to the next image."""
        key = self.folder.work.key
        self.folder.finish()
        self.until(lambda: self.folder.work.key != key)
        self.ready()

    def _document(self) -> Any:
        return self.promise.bridge.work.document

    def _mask(self, shape: tuple[int, ...]) -> Mask:
        active = self._document().active
        if active is None or active.region is None:
            return np.zeros(shape, bool)
        mask: Mask = active.region.mask
        return mask

    def walk(self, images: Path) -> None:
        """Do what the page tells, and take its pictures."""
        self.folder.open_project(images)
        self.until(lambda: self.folder.work is not None)
        self.ready()
        self.folder.steps.class_name.setText("polyp")
        self.folder.steps.class_name.editingFinished.emit()
        self.correct()
        self.take("folder-opened")
        self.done()
        for _ in range(LABELLED - 1):
            self.correct()
            self.done()
        training = self.promise.training
        panel = training.panel
        self.folder.retrain()
        self.until(lambda: panel.start.isEnabled())
        panel.name.value = "my-polyps"
        panel.licence.value = "generated, CC0"
        panel.start.click()
        self.until(lambda: training.job is None)
        if training.outcome is None:
            raise SystemExit(panel.summary.text())
        self.until(lambda: panel.comparison.comparison is not None)
        self.take("train-window", panel)
        panel.keep.click()
        self.until(lambda: self.session.settings.adapter == "my-polyps")
        panel.close()
        self.until(lambda: self.session.adapter_info is not None)
        training.library.show()
        self.until(lambda: len(training.library.dialog._rows) > 1)
        self.take("adapters", training.library.dialog)
        training.library.dialog.close()
        self.folder.propose_all()
        self.until(lambda: not self.folder.runs.is_proposing)
        self.folder.open_image(self.folder.table.model.order[LABELLED])
        self.ready()
        self.take("folder-proposed")
        for _ in range(SCENES - LABELLED - 2):
            self.correct()
            self.done()
        self.folder.next_uncertain()
        self.rest(1)
        self.ready()
        self.folder.effort.figures.expand()
        self.take("folder-weakest")

    def close(self) -> None:
        """Close docks and window."""
        self.folder.close_down()
        self.promise.close_down()
        self.viewer.close()


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=PICTURES)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="walk-") as base:
        os.environ["NAPARI_PROMISE_ADAPTERS"] = str(Path(base) / "adapters")
        images = Path(base) / "colonoscopy"
        truths = generate(images)
        with demo._screen(demo._has_display()):
            walk = Walk(asked.out, truths)
            try:
                walk.walk(images)
            finally:
                walk.close()


if __name__ == "__main__":
    main()
