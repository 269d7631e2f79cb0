"""Take the pictures of docs/many-objects-in-napari.md, in a real window.

    python -m scripts.checks.walk_through_many

Cuts the sample of nuclei in four, clicks through three of the parts as a person would,
trains an adapter of many objects on them from the dock, keeps it, and lets it propose
on the fourth; then corrects that a little. Writes into ``docs/images``, and says how
many nuclei were found.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise import demo
from napari_promise.data.samples import nuclei_image
from napari_promise.depth import deepest
from napari_promise.widgets.training.panel import MANY
from scripts.checks.walking import Walking

PICTURES = Path("docs/images")
SIZE = (1366, 768)
PATIENCE = 3600.0
NAME = "my-nuclei"


class Walk(Walking):
    """A window with the dock, and somebody who uses it."""

    def __init__(self, out: Path) -> None:
        import napari

        from napari_promise.data.embeddings import EmbeddingCache
        from napari_promise.session import Session, Settings
        from napari_promise.widgets.dispatch import GuiDispatcher
        from napari_promise.widgets.prompting.dock import PromiseWidget

        super().__init__(napari.Viewer(), out, PATIENCE)
        self.viewer.window._qt_window.resize(*SIZE)
        image, labels = nuclei_image()
        rows, columns = (n // 2 for n in image.shape)
        self.layers: list[Any] = []
        self.truths: list[np.ndarray] = []
        for number in range(4):
            part = (
                slice(number // 2 * rows, (number // 2 + 1) * rows),
                slice(number % 2 * columns, (number % 2 + 1) * columns),
            )
            self.layers.append(
                self.viewer.add_image(
                    image[part],
                    name=f"nuclei {number + 1}",
                    contrast_limits=(8, 110),
                    visible=False,
                )
            )
            self.truths.append(labels[part])
        self.session = Session(
            dispatch=GuiDispatcher(),
            settings=Settings(model=demo.MODEL, adapter=""),
            cache=EmbeddingCache(None),
        )
        self.session.failed.connect(self.failures.append)
        self.promise = PromiseWidget(self.viewer, self.session)
        self.viewer.window.add_dock_widget(self.promise, name="ProMISe", area="right")

    @property
    def document(self) -> Any:
        """The objects of the image on display."""
        return self.promise.bridge.work.document

    def open(self, number: int) -> None:
        """Look at one of the parts, alone."""
        for at, layer in enumerate(self.layers):
            layer.visible = at == number
        for layer in self.viewer.layers:
            if layer.name.startswith("ProMISe labels"):
                layer.visible = False
        self.promise.bridge.open(self.layers[number])
        self.promise.bridge.work.result.layer.visible = True
        self.viewer.reset_view()
        self.until(lambda: self.session.status.state == "ready")

    def click(self, row: float, column: float) -> None:
        """Begin an object with a click, and wait for its mask."""
        self.promise.actions.new()
        self.promise.bridge.work.points.layer.add((row, column))
        self.until(lambda: all(r.is_answered for r in self.document.objects))

    def label(self, number: int) -> None:
        """Click into the middle of each nucleus, and commit all."""
        truth = self.truths[number]
        for nucleus in np.unique(truth[truth > 0]):
            self.click(*deepest(truth == nucleus))
        self.document.active_id = None

    def walk(self) -> None:
        """Do what the page tells, and take its pictures."""
        for number in range(3):
            self.open(number)
            self.label(number)
            if number == 0:
                self.take("many-labelled")
            self.promise.actions.accept(0.0)
        training = self.promise.training
        panel = training.panel
        training.show()
        panel.finds.setCurrentIndex(
            next(i for i, c in enumerate(panel.finds._choices) if c.value == MANY)
        )
        self.until(lambda: panel.start.isEnabled())
        panel.name.value = NAME
        panel.class_name.value = "nucleus"
        panel.licence.value = "CC0"
        self.take("many-train", panel)
        began = time.monotonic()
        panel.start.click()
        self.until(lambda: training.job is None)
        if training.outcome is None:
            raise SystemExit(panel.summary.text())
        print(f"trained in {time.monotonic() - began:.0f} s", flush=True)
        self.until(lambda: panel.comparison.comparison is not None)
        panel.keep.click()
        self.until(lambda: self.session.settings.adapter == NAME)
        panel.close()
        self.until(lambda: self.session.adapter_info is not None)
        self.propose(3)

    def propose(self, number: int) -> None:
        """Let the adapter propose on the part without labels; correct a little."""
        self.open(number)
        many, actions = self.promise.desk.many, self.promise.actions
        actions.auto()
        self.until(lambda: many.is_running)
        self.until(lambda: not many.is_running)
        proposed, truth = len(self.document), self.truths[number]
        self.promise.objects_panel.review.slider.setValue(50)
        self.take("many-proposed")
        actions.next_uncertain()
        actions.reject()
        masks = [r.region.mask for r in self.document.objects if r.region]
        missed = demo._missed(truth, masks)
        if missed is not None:
            self.click(*missed)
        self.promise.objects_panel.review.slider.setValue(0)
        self.document.active_id = None
        actions.accept(0.0)
        self.viewer.reset_view()
        right = demo._right(
            np.asarray(self.promise.bridge.work.result.plane(())), truth
        )
        print(
            f"{proposed} proposed; after one rejection and one click {right} of "
            f"{len(np.unique(truth)) - 1} nuclei have an IoU above .5"
        )

    def close(self) -> None:
        """Close dock and window."""
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
        with demo._screen(demo._has_display()):
            walk = Walk(asked.out)
            try:
                walk.walk()
            finally:
                walk.close()


if __name__ == "__main__":
    main()
