"""From Labels layers to an adapter: seconds, gain, and the window's longest stall.

Opens a real napari window with kvasir-seg images of the train part and their masks as
Labels layers, trains from the dock, and measures the new adapter on a fixed part of the
test part: automatic Dice, frozen SAM with the same prompts beside it, and without an
adapter nothing is found at all. Meanwhile a timer beats in the window's thread every
10 ms: the longest time between two beats is the longest stall.

    xvfb-run -a python benchmarks/train_in_viewer.py --images 5 10 20 --json train.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
BEAT_MS = 10
PATIENCE = 3600.0


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--measured", type=int, default=50, help="held-out images")
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--epochs", type=int, help="fewer passes, to try it out")
    parser.add_argument("--views", type=int, help="fewer views, to try it out")
    arguments = parser.parse_args()
    os.environ["NAPARI_PROMISE_ADAPTERS"] = tempfile.mkdtemp(prefix="promise-bench-")
    changes: dict[str, Any] = {}
    if arguments.epochs:
        changes |= {"apm_epochs": arguments.epochs, "ips_epochs": arguments.epochs}
    if arguments.views:
        changes |= {"views": arguments.views, "ips_images": 4 * arguments.views}
    rows = [
        measure(count, arguments.measured, arguments.model, changes)
        for count in arguments.images
    ]
    print("images  seconds  automatic  frozen  stall ms  p99 ms")
    for row in rows:
        print(
            f"{row['images']:6} {row['seconds']:8.0f} {row['automatic']:10.3f} "
            f"{row['frozen']:7.3f} {row['stall_ms']:9.0f} {row['p99_ms']:7.0f}"
        )
    print(f"{arguments.measured} images measured, load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def measure(
    count: int, measured: int, model: str, changes: dict[str, Any]
) -> dict[str, Any]:
    """Train on so many images from the dock, and measure what came of it."""
    import napari
    import numpy as np
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    from napari_promise.jobs import training as jobs
    from napari_promise.session import Settings
    from napari_promise.widgets.prompting.dock import PromiseWidget
    from scripts.study import datasets

    parts = datasets.load_parts("kvasir-seg")
    viewer = napari.Viewer(show=True)
    for number, pair in enumerate(parts["train"][:count]):
        viewer.add_image(datasets.read_image(pair.image), name=f"image {number:03}")
        mask = datasets.read_mask(pair.target)
        viewer.add_labels(mask.astype(np.uint8), name=f"image {number:03} truth")
    application = QApplication.instance()
    assert application is not None

    def until(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError("nothing happened for an hour")
            application.processEvents()
            time.sleep(0.001)

    widget = PromiseWidget(viewer)
    values = Settings(model=model, adapter="").to_preferences()
    for name, value in values.items():
        setattr(widget.session.settings, name, value)
    viewer.window.add_dock_widget(widget, name="ProMISe", area="right")
    until(lambda: widget.session.status.state == "ready")
    training = widget.training
    training.show()
    until(training.panel.start.isEnabled)
    beats: list[float] = []
    timer = QTimer()
    timer.setInterval(BEAT_MS)
    timer.timeout.connect(lambda: beats.append(time.monotonic()))
    sound = jobs.recipe_for
    jobs.recipe_for = lambda *a, **k: sound(*a, **k) | changes
    try:
        timer.start()
        started = time.monotonic()
        training.start()
        until(lambda: training.job is None)
        seconds = time.monotonic() - started
        timer.stop()
    finally:
        jobs.recipe_for = sound
    if training.outcome is None:
        raise RuntimeError(f"training failed: {training.panel.status.text()}")
    name = f"bench-{count}"
    training.panel.name.value = name
    training.keep()
    until(lambda: training.outcome is None)
    widget.close_down()
    viewer.close()
    gaps = np.diff(beats) * 1000
    scores = _scores(parts["test"][:measured], model, name)
    return {
        "images": count,
        "seconds": seconds,
        "stall_ms": float(gaps.max()),
        "p99_ms": float(np.percentile(gaps, 99)),
        **scores,
    }


def _scores(pairs: list[Any], model: str, adapter: str) -> dict[str, float]:
    from napari_promise.data.pairs import Pair
    from napari_promise.segmenter import Segmenter
    from napari_promise.training.evaluate import evaluate

    folder = Path(os.environ["NAPARI_PROMISE_ADAPTERS"]) / adapter
    segmenter = Segmenter.load(model, folder)
    files = [Pair(pair.image, pair.target, pair.group) for pair in pairs]
    summary = evaluate(files, segmenter, "auto").summary
    return {
        "automatic": summary["automatic_dice"],
        "frozen": summary.get("frozen_automatic_dice", float("nan")),
    }


if __name__ == "__main__":
    main()
