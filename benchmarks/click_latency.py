"""From a point event to the repainted mask, beside stock SAM in the same window.

Opens a real napari window (under Xvfb where there is no display) with a generated
image, its embedding ready, and clicks, five times an object, objects in turns:

- ``plugin``: a point is added to the dock's Points layer; the clock stops when the
  canvas has been drawn with the mask that answers it.
- ``stock``: `SamPredictor.predict` with the same points and the same embedding, then
  ``labels.data = mask``; the clock stops when the canvas has been drawn. Whose turn it
  is not, its layers are hidden.

Both have ``--threads`` of torch, and as they take turns, whatever else the computer
does meets both alike: the ratio of their medians is the figure to look at. ``cpu`` is
the processor time of the whole program in between, all threads together; ``window``
is that of the window's thread.

The plugin's time is told apart: ``asked``, until the session was asked; ``waited``,
until its worker began to answer; ``decoded``, until the worker was done; ``delivered``,
until the window's thread had the answer; ``shown``, until it lay in the layers;
``painted``, until the canvas was drawn.

Beyond ``--largest`` the image is a dask array, and stock, which would need the whole
plane in memory several times, is left out.

    python benchmarks/click_latency.py --sizes 512 1024 4096 8192 --clicks 40
    python benchmarks/click_latency.py --sizes 1024 --profile window.txt
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import os
import pstats
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.session import Settings

#: Clicks on one object before the next is begun, as people do.
CLICKS_PER_OBJECT = 5
PATIENCE = 600.0
#: The steps of a click in the plugin, in their order.
STAGES = ("asked", "waited", "decoded", "delivered", "shown", "painted")

Times = dict[str, list[float]]


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--decoder", choices=("stock", "lean"), default="stock")
    parser.add_argument("--largest", type=int, default=8192, help="kept in memory")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--profile", type=Path, help="of the window's thread, to here")
    arguments = parser.parse_args()
    _need_display()

    import torch

    torch.set_num_threads(arguments.threads)
    profile = None if arguments.profile is None else cProfile.Profile(time.thread_time)
    rows = []
    for size in arguments.sizes:
        in_memory = size <= arguments.largest
        settings = Settings(model=arguments.model, decoder=arguments.decoder)
        found = measure(size, arguments.clicks, settings, in_memory, profile)
        print(table(found), flush=True)
        rows += found
    load = os.getloadavg()[0]
    print(f"{arguments.clicks} clicks, {arguments.threads} threads, load {load:.1f}")
    print(ratios(rows))
    if profile is not None:
        text = io.StringIO()
        pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(120)
        arguments.profile.write_text(text.getvalue())
    if arguments.json:
        asked = {"clicks": arguments.clicks, "threads": arguments.threads}
        asked |= {"model": arguments.model, "decoder": arguments.decoder}
        record = {**asked, "load": load, "rows": rows}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


def measure(
    size: int,
    clicks: int,
    settings: Settings,
    in_memory: bool = True,
    profile: cProfile.Profile | None = None,
) -> list[dict[str, Any]]:
    """Measure both paths on one image.

    Parameters
    ----------
    size : int
        Rows and columns of the image.
    clicks : int
        Clicks on each path, after one object that warms up.
    settings : Settings
        Of the plugin.
    in_memory : bool
        Off, the image is a dask array, and the plugin alone is measured.
    profile : cProfile.Profile, optional
        Switched on while the plugin's clicks are measured.

    Returns
    -------
    list of dict
        One a path and part: size, path, part, p50_ms, p95_ms, mean_ms.
    """
    import napari

    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.session import Session
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.prompting.dock import PromiseWidget

    image, truth = picture(size) if in_memory else lazy_picture(size)
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1366, 768)
    viewer.add_image(image, name="picture")
    canvas = Canvas(viewer)
    dispatch = GuiDispatcher(viewer.window._qt_window)
    session = Session(dispatch=dispatch, settings=settings, cache=EmbeddingCache(None))
    widget = PromiseWidget(viewer, session)
    viewer.window.add_dock_widget(widget, area="right")
    try:
        canvas.until(lambda: session.status.state == "ready")
        plugin = Plugin(widget, canvas)
        paths: list[Plugin | Stock] = [plugin]
        if in_memory:
            paths.append(Stock(viewer, session, canvas, size))
        script = list(_objects(truth, clicks, size))
        for number, clicked in enumerate(script):
            for path in paths:
                for other in paths:
                    other.show(other is path)
                path.begin()
                canvas.settle()
                watched = number > 0 and path is plugin and profile is not None
                for position, include in clicked:
                    path.ready(include)
                    if watched:
                        profile.enable()
                    taken = path.click(position, include)
                    if watched:
                        profile.disable()
                    if number > 0:
                        for part, seconds in taken.items():
                            path.times[part].append(seconds)
    finally:
        widget.close_down()
        viewer.close()
    return [
        summary(size, path.name, part, values)
        for path in paths
        for part, values in path.times.items()
    ]


class Plugin:
    """Clicks in the plugin's own layers, and takes note of when what happens."""

    name = "plugin"

    def __init__(self, widget: Any, canvas: Canvas) -> None:
        self.times: Times = defaultdict(list)
        self._canvas = canvas
        self._bridge, self._session = widget.bridge, widget.session
        self._at: dict[str, float] = {}
        queue, worker = self._session._queue, self._session._worker
        self._note(queue, "ask", "asked", after=False)
        self._note(worker, "_answer", "waited", after=False)
        self._note(worker, "_answer", "decoded", after=True)
        self._session.segmented.connect(lambda _: self._mark("shown"))
        self._note(queue, "settle", "delivered")

    def show(self, visible: bool) -> None:
        """Show its layers, or hide them."""
        for layer in self._bridge.work.layers:
            layer.visible = visible

    def begin(self) -> None:
        """Begin an object."""
        self._session.document.new_object()

    def ready(self, include: bool) -> None:
        """Make ready for a click; the worker comes to rest."""
        self._bridge.set_include(include)
        queue = self._session._queue
        closer = queue._requests._latest_closer
        self._canvas.settle()
        self._canvas.until(lambda: queue._task is None and not closer)

    def click(self, position: tuple[float, float], include: bool) -> dict[str, float]:
        """Click, and return the seconds of each part."""
        self._at.clear()
        used, window = time.process_time(), time.thread_time()
        began = time.perf_counter()
        self._bridge.work.points.layer.add(position)
        self._canvas.until(lambda: "shown" in self._at)
        drawn = self._canvas.draw(since=self._at["shown"])
        cpu = time.process_time() - used
        self._at["painted"] = drawn
        window = time.thread_time() - window
        taken = {"drawn": drawn - began, "cpu": cpu, "window": window}
        last = began
        for stage in STAGES:
            taken[stage] = self._at[stage] - last
            last = self._at[stage]
        return taken

    def _note(self, owner: Any, name: str, stage: str, *, after: bool = False) -> None:
        """Have the first call of a method mark a stage, before or after it."""
        method = getattr(owner, name)

        def noted(*given: Any, **named: Any) -> Any:
            if not after:
                self._mark(stage)
            found = method(*given, **named)
            if after:
                self._mark(stage)
            return found

        setattr(owner, name, noted)

    def _mark(self, stage: str) -> None:
        self._at.setdefault(stage, time.perf_counter())


class Stock:
    """Clicks that stock SAM answers, in layers of napari as anybody would add them."""

    name = "stock"

    def __init__(self, viewer: Any, session: Any, canvas: Canvas, size: int) -> None:
        from segment_anything import SamPredictor

        self.times: Times = defaultdict(list)
        self._canvas = canvas
        segmenter, queue = session._model.segmenter, session._queue
        embedding = session._embeddings.get(queue.image, queue.tile)
        self._predictor = SamPredictor(segmenter.sam)
        self._predictor.features = embedding.image
        self._predictor.original_size = embedding.original_size
        self._predictor.input_size = embedding.input_size
        self._predictor.is_image_set = True
        self._labels = viewer.add_labels(np.zeros((size, size), np.uint8), name="stock")
        self._points = viewer.add_points(np.empty((0, 2)), name="clicks")

    def show(self, visible: bool) -> None:
        """Show its layers, or hide them."""
        self._labels.visible = self._points.visible = visible

    def begin(self) -> None:
        """Begin an object."""
        self._coordinates: list[tuple[float, float]] = []
        self._polarity: list[int] = []
        self._low: NDArray[np.float32] | None = None

    def ready(self, include: bool) -> None:
        """Make ready for a click."""
        self._canvas.settle()

    def click(self, position: tuple[float, float], include: bool) -> dict[str, float]:
        """Click, and return the seconds of each part."""
        used, began = time.process_time(), time.perf_counter()
        self._points.add(position)
        self._coordinates.append((position[1], position[0]))
        self._polarity.append(int(include))
        masks, scores, logits = self._predictor.predict(
            np.array(self._coordinates),
            np.array(self._polarity),
            mask_input=self._low,
            multimask_output=self._low is None,
        )
        best = int(scores.argmax())
        self._low = logits[best][None]
        predicted = time.perf_counter()
        self._labels.data = masks[best].astype(np.uint8)
        drawn = self._canvas.draw()
        cpu = time.process_time() - used
        return {"drawn": drawn - began, "predict": predicted - began, "cpu": cpu}


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

    def draw(self, since: float | None = None) -> float:
        """Draw what is there now; return when that was done.

        What was drawn after `since` already is not drawn again.
        """
        asked = time.perf_counter() if since is None else since
        if self._drawn <= asked:
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


def lazy_picture(size: int) -> tuple[Any, NDArray[np.bool_]]:
    """Return the same as a dask array, and the mask of a smaller one."""
    import dask.array as da

    small, truth = picture(1024)
    chunk, times = 2048, size // 1024

    def drawn(block_info: Any = None) -> NDArray[np.uint8]:
        (r0, r1), (c0, c1), _ = block_info[None]["array-location"]
        rows, columns = np.arange(r0, r1) // times, np.arange(c0, c1) // times
        return small[rows[:, None], columns[None]]

    chunks = ((chunk,) * (size // chunk), (chunk,) * (size // chunk), (3,))
    return da.map_blocks(drawn, chunks=chunks, dtype=np.uint8, meta=small[:0]), truth


def _objects(
    truth: NDArray[np.bool_], clicks: int, size: int
) -> Iterator[list[tuple[tuple[float, float], bool]]]:
    """Yield the clicks of each object: inside but for the fourth; one to warm up."""
    rng = np.random.default_rng(0)
    inside, outside = np.argwhere(truth), np.argwhere(~truth)
    step = size / len(truth)
    for _ in range(1 + -(-clicks // CLICKS_PER_OBJECT)):
        clicked = []
        for index in range(CLICKS_PER_OBJECT):
            include = index != 3
            pool = inside if include else outside
            row, column = (pool[rng.integers(len(pool))] + 0.25) * step
            clicked.append(((float(row), float(column)), include))
        yield clicked


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as lines of text."""
    lines = [f"{'image':>6} {'path':>7} {'part':>9} {'p50 ms':>8} {'p95 ms':>8}"]
    lines += [
        f"{row['size']:>6} {row['path']:>7} {row['part']:>9} "
        f"{row['p50_ms']:>8.1f} {row['p95_ms']:>8.1f}"
        for row in rows
    ]
    return "\n".join(lines)


def ratios(rows: list[dict[str, Any]]) -> str:
    """Return how the plugin's medians stand to stock's, and to its smallest image's."""
    drawn = {
        (row["size"], row["path"]): row["p50_ms"]
        for row in rows
        if row["part"] == "drawn"
    }
    first = min(drawn)[0]
    lines = []
    for size, path in drawn:
        if path == "plugin":
            line = f"{size}: {drawn[size, path] / drawn[first, path]:.2f} of {first}'s"
            if (size, "stock") in drawn:
                line += f", {drawn[size, path] / drawn[size, 'stock']:.2f} of stock's"
            lines.append(line)
    return "\n".join(lines)


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
