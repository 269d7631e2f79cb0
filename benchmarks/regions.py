"""Objects of all sizes in an image beyond memory, in the window: speed, memory, Dice.

    python -m benchmarks.regions
    python -m benchmarks.regions --side 20000 --model promise-tiny --json regions.json

Generates a multiscale OME-Zarr with true objects of 20 to 4,000 pixels, opens it in a
real window and clicks each of them twice: from afar, with the whole image on the
screen, and after zooming in on it (as far as a person would, to an object of a third of
the canvas). Measured from adding the point: until the first mask is painted, and until
the sharpest one is; Dice of the whole image's answer, which is what there was without
tiles, and of the last one; the most memory that the process had. Between objects the
view zooms, pans and changes back.

Needs a display: starts itself under ``xvfb-run`` where there is none.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PATIENCE = 300.0
#: Longest sides of the objects, in pixels, and how many there are of each.
SIZES = {20: 6, 60: 6, 200: 6, 600: 4, 1500: 3, 4000: 1}
STEPS = (1, 4, 16)
CHUNK = 1024

Object = tuple[int, int, int, int]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--each", type=int, help="click so many of each size, at most")
    parser.add_argument("--folder", type=Path, help="keep the image here, or find it")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    _need_display()
    side = arguments.side // CHUNK * CHUNK
    with tempfile.TemporaryDirectory() as temporary:
        path = (arguments.folder or Path(temporary)) / f"objects-{side}.zarr"
        objects = placed(side)
        began = time.monotonic()
        if not path.exists():
            write(path, side, objects)
        print(f"{side} x {side} pixels: {time.monotonic() - began:.0f} s", flush=True)
        clicked = list(objects)
        if arguments.each:
            sizes = {high for _, _, high, _ in objects}
            clicked = [
                one
                for size in sorted(sizes)
                for one in [o for o in objects if o[2] == size][: arguments.each]
            ]
        rows = drive(path, side, clicked, arguments.model)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    report = {"side": side, "model": arguments.model, "peak_gb": memory, "rows": rows}
    print(table(rows))
    print(f"peak memory {memory:.2f} GB")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=1))


def placed(side: int) -> list[Object]:
    """Place ellipses that do not touch: (row, column, half height, half width)."""
    rng = np.random.default_rng(0)
    found: list[Object] = []
    for size in sorted(SIZES, reverse=True):
        for _ in range(SIZES[size]):
            high, wide = size // 2, max(4, round(size / 2 * rng.uniform(0.6, 1)))
            for _ in range(10_000):
                row, column = rng.integers(size, side - size, 2).tolist()
                apart = all(
                    np.hypot(row - r, column - c) > 1.3 * (high + max(h, w))
                    for r, c, h, w in found
                )
                if apart:
                    found.append((row, column, high, wide))
                    break
    return found


def inside(one: Object, rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which pixels an object covers; its edge is a little wavy."""
    row, column, high, wide = one
    down, across = (rows - row) / high, (columns - column) / wide
    wavy = 1 + 0.06 * np.sin(5 * np.arctan2(down, across))
    return np.asarray(np.hypot(down, across) < wavy)


def pixels(r0: int, c0: int, step: int, objects: list[Object]) -> NDArray[np.uint8]:
    """Return a chunk of a level: objects darker than their ragged surroundings."""
    rows = (np.arange(CHUNK, dtype=np.float32)[:, None] + r0) * step
    columns = (np.arange(CHUNK, dtype=np.float32)[None] + c0) * step
    image = 190 + 10 * np.sin(rows / 90) * np.cos(columns / 70)
    rng = np.random.default_rng((r0, c0, step))
    image = image + rng.normal(0, 6, image.shape)
    for one in objects:
        row, column, high, wide = one
        if (
            abs(row - float(rows.mean())) < high * 1.1 + CHUNK * step / 2
            and abs(column - float(columns.mean())) < wide * 1.1 + CHUNK * step / 2
        ):
            image = np.where(inside(one, rows, columns), image - 80, image)
    return np.clip(image, 0, 255).astype(np.uint8)


def write(path: Path, side: int, objects: list[Object]) -> None:
    """Write the image as an OME-Zarr pyramid, a chunk at a time."""
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=2)
    for number, step in enumerate(STEPS):
        length = -(-side // step)
        level = group.create_array(
            str(number),
            shape=(length, length),
            chunks=(CHUNK, CHUNK),
            dtype="uint8",
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        for r0 in range(0, length, CHUNK):
            for c0 in range(0, length, CHUNK):
                chunk = pixels(r0, c0, step, objects)
                level[r0 : r0 + CHUNK, c0 : c0 + CHUNK] = chunk[
                    : length - r0, : length - c0
                ]
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [{"type": "scale", "scale": [step, step]}],
        }
        for number, step in enumerate(STEPS)
    ]
    axes = [{"name": name, "type": "space"} for name in "yx"]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": datasets}
    ]


def drive(
    path: Path, side: int, objects: list[Object], model: str
) -> list[dict[str, Any]]:
    """Click on each object from afar and from close by; one row a click."""
    import napari

    from benchmarks.click_latency import Canvas
    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.data.readers import pyramid_reader
    from napari_promise.prompts import Prompts
    from napari_promise.session import Session, Settings
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.layers.geometry import camera_of
    from napari_promise.widgets.prompting.dock import PromiseWidget

    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1366, 768)
    reader = pyramid_reader(str(path))
    assert reader is not None
    ((levels, options, _),) = reader(str(path))
    image = viewer.add_image(levels, **options)
    canvas = Canvas(viewer)
    dispatch = GuiDispatcher(viewer.window._qt_window)
    session = Session(
        dispatch=dispatch,
        settings=Settings(model=model, adapter=""),
        cache=EmbeddingCache(None),
    )
    widget = PromiseWidget(viewer, session)
    viewer.window.add_dock_widget(widget, area="right")
    camera, queue = camera_of(viewer), session._queue
    document = widget.bridge.work.document

    def at_rest() -> bool:
        return (
            session.status.state == "ready"
            and all(r.is_answered for r in document.objects)
            and not queue._requests._latest_closer
            and queue._task is None
        )

    rows = []
    try:
        canvas.until(lambda: session.status.state == "ready")
        segmenter = session._model.segmenter
        # Held here: the session keeps the latest ones only.
        emb = session._embeddings.get(queue.image, queue.tile)
        for number, one in enumerate(objects):
            row, column, high, wide = one
            before = segmenter.segment(emb, Prompts(points=[(row, column)]))
            for kind in ("from afar", "zoomed in"):
                viewer.reset_view()
                canvas.settle()
                if kind == "zoomed in":
                    scale = float(image.scale[-1])
                    camera.center = tuple(np.array([row, column]) * scale)
                    camera.zoom = 1366 / (6 * max(high, wide) * scale)
                    canvas.settle()
                    # A person takes a moment to find the place to click.
                    rests = time.perf_counter() + 0.6
                    canvas.until(lambda end=rests: time.perf_counter() > end)
                canvas.until(at_rest)
                widget.actions.new()
                canvas.settle()
                answers: list[float] = []
                note = session.segmented.connect(
                    lambda _, a=answers: a.append(time.perf_counter())
                )
                began = time.perf_counter()
                widget.bridge.work.points.layer.add((row, column))
                canvas.until(lambda a=answers: bool(a))
                first = canvas.draw() - began
                canvas.until(at_rest)
                sharpest = canvas.draw() - began if len(answers) > 1 else first
                session.segmented.disconnect(note)
                record = document.active
                rows.append(
                    {
                        "size": 2 * high,
                        "object": number,
                        "view": kind,
                        "first_ms": 1e3 * first,
                        "sharpest_ms": 1e3 * sharpest,
                        "whole": agreement(before.region, one),
                        "dice": agreement(record.region, one),
                        "tile": record.tile,
                    }
                )
    finally:
        widget.close_down()
        viewer.close()
    return rows


def agreement(region: Any, one: Object) -> float:
    """Dice of a mask with an object, without an array over all of the image."""
    row, column, high, wide = one
    margin = 1.1
    box = [
        int(row - high * margin) - 1,
        int(column - wide * margin) - 1,
        int(row + high * margin) + 2,
        int(column + wide * margin) + 2,
    ]
    rows = np.arange(box[0], box[2], dtype=np.float32)[:, None]
    columns = np.arange(box[1], box[3], dtype=np.float32)[None]
    truth = inside(one, rows, columns)
    if region is None:
        return 0.0
    found = region.window(tuple(box))
    both = np.count_nonzero(found & truth)
    return float(2 * both / (region.area + np.count_nonzero(truth)))


def table(rows: list[dict[str, Any]]) -> str:
    """Return medians and means by size and view as a Markdown table."""
    lines = [
        "| object, px | clicked | first mask p50 / p95, ms | sharpest p50 / p95, ms | "
        "Dice, whole image | Dice |",
        "|---|---|---|---|---|---|",
    ]
    for size in (*SIZES, None):
        for view in ("from afar", "zoomed in"):
            here = [r for r in rows if r["view"] == view and size in (None, r["size"])]
            if not here:
                continue
            cells = []
            for name in ("first_ms", "sharpest_ms"):
                half, most = np.percentile([r[name] for r in here], [50, 95])
                cells.append(f"{half:.0f} / {most:.0f}")
            for name in ("whole", "dice"):
                cells.append(f"{np.mean([r[name] for r in here]):.3f}")
            lines.append(f"| {size or 'all'} | {view} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _need_display() -> None:
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return
    runner = shutil.which("xvfb-run")
    if runner is None:
        sys.exit("there is no display: set DISPLAY, or install xvfb")
    screen = ["-a", "-s", "-screen 0 1366x768x24"]
    command = [sys.executable, "-m", "benchmarks.regions", *sys.argv[1:]]
    os.execv(runner, [runner, *screen, *command])


if __name__ == "__main__":
    main()
