"""Segment in an image beyond memory, in a real window: docs/large-images.md's picture.

    python -m scripts.checks.whole_slide [--side 20000]

Writes a pyramidal OME-TIFF tile by tile, opens it as napari does, makes three objects
by a box or a click, commits them, exports them as OME-Zarr labels and as GeoJSON, reads
both back, and says how much memory that took.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_promise.data.pyramids import open_pyramid
from napari_promise.data.readers import pyramid_reader

PICTURE = Path("docs/images/large-image.png")
TILE = 512
SIZE = (1366, 768)
PATIENCE = 300.0

#: Row, column and the two half axes of each tumour, as shares of the side.
TUMOURS = ((0.3, 0.28, 0.12, 0.16), (0.66, 0.6, 0.16, 0.11), (0.25, 0.72, 0.07, 0.09))


def slide_tile(r0: int, c0: int, step: int, side: int) -> np.ndarray:
    """Return a tile of a stained section, (TILE, TILE, 3) uint8, at a level."""
    rows, columns = np.mgrid[r0 : r0 + TILE, c0 : c0 + TILE].astype(np.float32) * step
    waves = np.sin(rows / 90) * np.cos(columns / 70) + np.sin((rows + columns) / 400)
    pixels = np.array([232, 190, 214], np.float32) + 9 * waves[..., None]
    inside = np.zeros(rows.shape, bool)
    for row, column, high, wide in TUMOURS:
        inside |= _in_ellipse(rows, columns, row, column, high, wide, side)
    grain = 7 * np.sin(rows / 6) * np.sin(columns / 6.5)
    pixels[inside] = np.array([148, 92, 158]) + grain[inside][:, None]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _in_ellipse(
    rows: np.ndarray,
    columns: np.ndarray,
    row: float,
    column: float,
    high: float,
    wide: float,
    side: int,
) -> np.ndarray:
    down, across = (rows / side - row) / high, (columns / side - column) / wide
    ragged = 1 + 0.08 * np.sin(5 * np.arctan2(down, across))
    return np.asarray(np.hypot(down, across) < ragged)


def write_slide(path: Path, side: int) -> None:
    """Write the section as a pyramid; no more than a tile is in memory."""
    steps = [1, 4, 16]

    def tiles(step: int) -> Iterator[np.ndarray]:
        for r0 in range(0, side // step, TILE):
            for c0 in range(0, side // step, TILE):
                yield slide_tile(r0, c0, step, side)

    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as file:
        for number, step in enumerate(steps):
            file.write(
                tiles(step),
                shape=(side // step, side // step, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="zlib",
                subifds=None if number else len(steps) - 1,
                subfiletype=1 if number else 0,
                metadata={
                    "axes": "YXS",
                    "PhysicalSizeX": 0.5,
                    "PhysicalSizeY": 0.5,
                }
                if not number
                else None,
            )


def true_mask(number: int, side: int, step: int) -> np.ndarray:
    """Return a tumour's mask, thinned by a step."""
    rows, columns = np.mgrid[0:side:step, 0:side:step].astype(np.float32)
    return _in_ellipse(rows, columns, *TUMOURS[number], side)


def peak_memory() -> float:
    """Return the most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Do it, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--out", type=Path, help="where the exports stay")
    arguments = parser.parse_args()
    side = arguments.side // (16 * TILE) * 16 * TILE
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = Path(temporary) / "slide.ome.tif"
        began = time.monotonic()
        write_slide(path, side)
        print(f"{side} x {side} pixels, three levels: {time.monotonic() - began:.0f} s")
        before = peak_memory()
        drive(path, folder, side)
        print(f"peak memory {peak_memory():.2f} GB, before the window {before:.2f} GB")


def drive(path: Path, folder: Path, side: int) -> None:
    """Open the slide, make the objects and export them."""
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_promise import demo
    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.session import Session, Settings
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.prompting import exporting
    from napari_promise.widgets.prompting.dock import PromiseWidget
    from napari_promise.widgets.prompting.export_dialog import FORMATS, ExportRequest

    failures: list[str] = []

    def until(condition: Any) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            QApplication.processEvents()
            time.sleep(0.003)
            if failures or time.monotonic() > end:
                raise SystemExit(failures[0] if failures else "nothing happens")

    viewer = napari.Viewer()
    viewer.window._qt_window.resize(*SIZE)
    reader = pyramid_reader(str(path))
    assert reader is not None
    ((levels, options, _),) = reader(str(path))
    viewer.add_image(levels, **options)
    session = Session(
        dispatch=GuiDispatcher(),
        settings=Settings(model=demo.MODEL, adapter=""),
        cache=EmbeddingCache(None),
    )
    session.failed.connect(failures.append)
    widget = PromiseWidget(viewer, session)
    viewer.window.add_dock_widget(widget, name="ProMISe (napari-promise)", area="right")
    viewer.reset_view()
    began = time.monotonic()
    until(lambda: session.status.state == "ready")
    print(f"ready after {time.monotonic() - began:.1f} s")
    bridge, actions = widget.bridge, widget.actions
    work = bridge.work
    assert work is not None
    document = work.document
    for number, (row, column, high, wide) in enumerate(TUMOURS):
        began = time.monotonic()
        if number < 2:
            low, far = (row - high, column - wide), (row + high, column + wide)
            corners = np.array([low, (low[0], far[1]), far, (far[0], low[1])]) * side
            work.boxes.layer.add(corners, shape_type="rectangle")
        else:
            work.points.layer.add((row * side, column * side))
        until(lambda n=number: len(document) == n + 1)
        record = document.objects[-1]
        until(lambda i=record.id: document.get(i).is_answered)
        answered = time.monotonic() - began
        actions.set_class(record.id, "tumour")
        began = time.monotonic()
        actions.commit()
        until(lambda i=record.id: document.get(i).committed)
        region = document.get(record.id).region
        assert region is not None
        truth = true_mask(number, side, 16)
        found = np.zeros_like(truth)
        r0, c0, r1, c1 = region.bbox
        first = (-r0 % 16, -c0 % 16)
        part = region.crop[first[0] :: 16, first[1] :: 16]
        top, left = (r0 + first[0]) // 16, (c0 + first[1]) // 16
        found[top : top + part.shape[0], left : left + part.shape[1]] = part
        dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
        print(
            f"object {record.label}: {r1 - r0} x {c1 - c0} pixels, Dice {dice:.3f}, "
            f"mask after {answered:.2f} s, committed in "
            f"{time.monotonic() - began:.2f} s"
        )
    snapshot = actions.snapshot()
    assert snapshot is not None
    classes = {record.label: "tumour" for record in document.objects}
    for key, name in (("geojson", "slide.geojson"), ("zarr", "slide.labels.zarr")):
        chosen = next(f for f in FORMATS if f.key == key)
        began = time.monotonic()
        request = ExportRequest(chosen, folder / name, False, classes)
        exporting.write(request, snapshot)
        print(f"{name} written in {time.monotonic() - began:.1f} s")
    features = json.loads((folder / "slide.geojson").read_text())["features"]
    labels = open_pyramid(folder / "slide.labels.zarr")
    assert labels is not None
    assert labels.shape == (side, side)
    assert len(features) == len(TUMOURS) == int(np.asarray(labels.levels[-1]).max())
    end = time.monotonic() + 6
    until(lambda: time.monotonic() > end)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(PICTURE), canvas_only=False, flash=False)
    widget.close_down()
    viewer.close()


if __name__ == "__main__":
    main()
