"""From a point event to the repainted mask, beside stock SAM in the same window.

Opens a real napari window (under Xvfb where there is no display) with a generated
image, its embedding ready, and clicks:

- ``plugin``: a point is added to the dock's Points layer; the clock stops when the
  canvas has been drawn with the mask that answers it.
- ``stock``: `SamPredictor.predict` with the same points and the same embedding, then
  ``labels.data = mask``; the clock stops when the canvas has been drawn.

``cpu`` is the processor time of the whole program in between, all threads together:
on a busy computer the figure to compare. ``answer`` is the part of the plugin's time
until the mask lies in the preview, without the drawing, and ``predict`` is the same for
stock: what remains is napari and OpenGL. The plugin's worker leaves one core to the
window, as always; stock has the window's thread and all ``--threads`` of torch.

    python benchmarks/click_latency.py --sizes 1024 4096 --clicks 40 --json click.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Clicks on one object before the next is begun, as people do.
CLICKS_PER_OBJECT = 5
PATIENCE = 600.0


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--threads", type=int, default=2, help="of the stock path")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    _need_display()

    import torch

    torch.set_num_threads(arguments.threads)
    rows = [
        row
        for size in arguments.sizes
        for row in measure(size, arguments.clicks, arguments.model)
    ]
    print(f"{'image':>6} {'path':>7} {'part':>8} {'p50 ms':>8} {'p95 ms':>8}")
    for row in rows:
        print(
            f"{row['size']:>6} {row['path']:>7} {row['part']:>8} "
            f"{row['p50_ms']:>8.1f} {row['p95_ms']:>8.1f}"
        )
    load = os.getloadavg()[0]
    threads = f"{arguments.threads} threads for stock"
    print(f"{arguments.clicks} clicks, {threads}, load {load:.1f}")
    if arguments.json:
        settings = {"clicks": arguments.clicks, "threads": arguments.threads}
        record = {**settings, "load": load, "model": arguments.model, "rows": rows}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


def measure(size: int, clicks: int, model: str) -> list[dict[str, Any]]:
    """Measure both paths on one image.

    Parameters
    ----------
    size : int
        Rows and columns of the image.
    clicks : int
        Clicks on each path, after one object that warms up.
    model : str

    Returns
    -------
    list of dict
        One a path and part: size, path, part, p50_ms, p95_ms, mean_ms.
    """
    import napari

    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.session import Session, Settings
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.prompting.dock import PromiseWidget

    image, truth = picture(size)
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1366, 768)
    viewer.add_image(image, name="picture")
    canvas = Canvas(viewer)
    dispatch = GuiDispatcher(viewer.window._qt_window)
    session = Session(
        dispatch=dispatch, settings=Settings(model=model), cache=EmbeddingCache()
    )
    widget = PromiseWidget(viewer, session)
    viewer.window.add_dock_widget(widget, area="right")
    try:
        canvas.until(lambda: session.status.state == "ready")
        plugin = _time_plugin(widget, canvas, truth, clicks)
        stock = _time_stock(viewer, session, canvas, image, truth, clicks)
    finally:
        widget.close_down()
        viewer.close()
    return [
        summary(size, path, part, values)
        for path, parts in (("plugin", plugin), ("stock", stock))
        for part, values in parts.items()
    ]


def _time_plugin(
    widget: Any, canvas: Canvas, truth: NDArray[np.bool_], clicks: int
) -> dict[str, list[float]]:
    bridge, session = widget.bridge, widget.session
    answers: list[float] = []
    session.segmented.connect(lambda _: answers.append(time.perf_counter()))
    times: dict[str, list[float]] = {"answer": [], "drawn": [], "cpu": []}
    for index, (position, include) in enumerate(script(truth, clicks)):
        if index % CLICKS_PER_OBJECT == 0:
            session.document.new_object()
        bridge.set_include(include)
        canvas.settle()
        answers.clear()
        used, began = time.process_time(), time.perf_counter()
        bridge.work.points.layer.add(position)
        canvas.until(lambda: bool(answers))
        drawn = canvas.draw()
        if index >= CLICKS_PER_OBJECT:
            times["answer"].append(answers[0] - began)
            times["drawn"].append(drawn - began)
            times["cpu"].append(time.process_time() - used)
    return times


def _time_stock(
    viewer: Any,
    session: Any,
    canvas: Canvas,
    image: NDArray[np.uint8],
    truth: NDArray[np.bool_],
    clicks: int,
) -> dict[str, list[float]]:
    from segment_anything import SamPredictor

    segmenter = session._model.segmenter
    predictor = SamPredictor(segmenter.sam)
    embedding = segmenter.encode(image)
    predictor.features = embedding.image
    predictor.original_size = embedding.original_size
    predictor.input_size = embedding.input_size
    predictor.is_image_set = True
    labels = viewer.add_labels(np.zeros(truth.shape, np.uint8), name="stock")
    points = viewer.add_points(np.empty((0, 2)), name="clicks")
    times: dict[str, list[float]] = {"predict": [], "drawn": [], "cpu": []}
    coordinates: list[tuple[float, float]] = []
    polarity: list[int] = []
    low: NDArray[np.float32] | None = None
    for index, (position, include) in enumerate(script(truth, clicks)):
        if index % CLICKS_PER_OBJECT == 0:
            coordinates, polarity, low = [], [], None
        canvas.settle()
        used, began = time.process_time(), time.perf_counter()
        points.add(position)
        coordinates.append((position[1], position[0]))
        polarity.append(int(include))
        single = low is not None
        masks, scores, logits = predictor.predict(
            np.array(coordinates),
            np.array(polarity),
            mask_input=low,
            multimask_output=not single,
        )
        best = int(scores.argmax())
        low = logits[best][None]
        predicted = time.perf_counter()
        labels.data = masks[best].astype(np.uint8)
        drawn = canvas.draw()
        if index >= CLICKS_PER_OBJECT:
            times["predict"].append(predicted - began)
            times["drawn"].append(drawn - began)
            times["cpu"].append(time.process_time() - used)
    return times


class Canvas:
    """The window's canvas: waits for events and for drawing."""

    def __init__(self, viewer: Any) -> None:
        from qtpy.QtCore import QEventLoop, QTimer
        from qtpy.QtWidgets import QApplication

        # Waiting has to leave the processor to the worker, as Qt's own loop does.
        self._waiting = QEventLoop.ProcessEventsFlag.WaitForMoreEvents
        self._heartbeat = QTimer()
        self._heartbeat.start(100)
        self._application = QApplication.instance()
        self._scene = viewer.window._qt_viewer.canvas._scene_canvas
        self._drawn = 0.0
        self._scene.events.draw.connect(self._on_draw, position="last")

    def _on_draw(self, _event: Any = None) -> None:
        self._drawn = time.perf_counter()

    def until(self, done: Callable[[], bool]) -> None:
        """Process events until something is so."""
        deadline = time.perf_counter() + PATIENCE
        while not done():
            if time.perf_counter() > deadline:
                raise TimeoutError("the window did not answer")
            self._application.processEvents(self._waiting)

    def draw(self) -> float:
        """Draw what is there now; return when that was done."""
        asked = time.perf_counter()
        self._scene.update()
        self.until(lambda: self._drawn > asked)
        return self._drawn

    def settle(self) -> None:
        """Draw what is pending, so that it is not counted."""
        self.draw()
        for _ in range(5):
            self._application.processEvents()


def picture(size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a square picture with one thing in it, and the thing's mask."""
    from skimage.transform import resize

    from napari_promise.data.samples import endoscopy_scene

    small, mask = endoscopy_scene()
    image = resize(small, (size, size), order=1, preserve_range=True)
    truth = resize(mask.astype(float), (size, size), order=1) > 0.5
    return image.astype(np.uint8), truth


def script(
    truth: NDArray[np.bool_], clicks: int
) -> Iterator[tuple[tuple[float, float], bool]]:
    """Yield clicks: the first of each object inside, then three inside for one out."""
    rng = np.random.default_rng(0)
    inside, outside = np.argwhere(truth), np.argwhere(~truth)
    for index in range(clicks + CLICKS_PER_OBJECT):
        include = index % CLICKS_PER_OBJECT != 3
        pool = inside if include else outside
        row, column = pool[rng.integers(len(pool))]
        yield (float(row), float(column)), include


def summary(size: int, path: str, part: str, seconds: list[float]) -> dict[str, Any]:
    """Return one row of the table."""
    milliseconds = np.array(seconds) * 1e3
    return {
        "size": size,
        "path": path,
        "part": part,
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "mean_ms": float(milliseconds.mean()),
    }


def _need_display() -> None:
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return
    runner = shutil.which("xvfb-run")
    if runner is None:
        sys.exit("there is no display: set DISPLAY, or install xvfb")
    screen = ["-a", "-s", "-screen 0 1366x768x24"]
    os.execv(runner, [runner, *screen, sys.executable, *sys.argv])


if __name__ == "__main__":
    main()
