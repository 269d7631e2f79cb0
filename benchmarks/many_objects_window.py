"""How thousands of objects feel in the window: a click, looking, the table, the view.

Opens a real napari window with the dock, the bundled model and the adapter `cells`, on
an image with one object and on one with thousands that wait to be accepted. A timer
beats in the window's thread: the longest time between two beats is what a person feels
as a jerk. Clicks on the two images take turns, so that both have the same machine.

- ``click``: a point is added to an object, until its mask is painted;
- ``look``: a click on another object's mask, until that one is in work;
- ``slider``, ``pan``, ``zoom``, ``scroll``, ``sort``, ``filter``: the longest stall;
- ``arrive``: objects come from a job, 64 at a time: the longest stall.

    xvfb-run -a python benchmarks/many_objects_window.py --objects 2000 --rows 5000
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from beating import Beating

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
PATIENCE = 1200.0
CLICKS, LOTS = 5, 4
SHAPE = (1024, 1024)


class Instant:
    """A model that draws a disc at once: what is left is the window's own time."""

    model_id, sha256, device = "promise-tiny", "0" * 64, "cpu"
    adapter_info = adapter_sha256 = sam = None
    finds_many = True

    def with_adapter(self, _adapter: Any) -> Instant:
        """Return itself."""
        return self

    def encode(self, image: Any, **_options: Any) -> Any:
        """Return nothing worth keeping."""
        return _Nothing(image.shape[:2])

    def segment(self, emb: Any, prompts: Any, **_options: Any) -> Any:
        """Return a disc at the last point."""
        from napari_promise.document import Region
        from napari_promise.segmentation import Segmentation

        row, column = (int(v) for v in prompts.points[-1])
        top, left = max(row - 8, 0), max(column - 8, 0)
        crop = np.hypot(*np.ogrid[-8:9, -8:9]) <= 8
        crop = crop[: emb.shape[0] - top, : emb.shape[1] - left]
        logits = np.full((1, 256, 256), -4, np.float32)
        logits.flags.writeable = False
        region = Region.from_crop(crop, (top, left), emb.shape)
        return Segmentation(emb.shape, region, 0.9, logits)


class _Nothing:
    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape

    def to_arrays(self) -> dict[str, Any]:
        """Return the shape."""
        return {"shape": np.array(self.shape)}


class Desk(Beating):
    """The dock in a window, and a timer that beats.

    Parameters
    ----------
    instant : bool
        Whether the model takes no time.
    """

    def __init__(self, instant: bool) -> None:
        import napari

        from napari_promise.data.embeddings import EmbeddingCache
        from napari_promise.session import Session, Settings
        from napari_promise.session.model_in_use import load_model
        from napari_promise.widgets.dispatch import GuiDispatcher
        from napari_promise.widgets.prompting.dock import PromiseWidget

        self.viewer = napari.Viewer(show=True)
        self.viewer.window._qt_window.resize(1366, 768)
        self.session = Session(
            dispatch=GuiDispatcher(),
            settings=Settings(model="promise-tiny", adapter="cells"),
            cache=EmbeddingCache(None),
            loader=(lambda *_, **__: Instant()) if instant else load_model,
        )
        self.widget = PromiseWidget(self.viewer, self.session)
        self.viewer.window.add_dock_widget(self.widget, name="ProMISe", area="right")
        super().__init__(PATIENCE)

    def close(self) -> None:
        """Close dock and window."""
        self.stop()
        self.widget.close_down()
        self.viewer.close()

    @property
    def document(self) -> Any:
        """The objects of the image worked on."""
        return self.widget.bridge.work.document

    def open(self, image: Any) -> None:
        """Work on an image, and wait until it is encoded."""
        self.widget.bridge.open(image)
        self.until(lambda: self.session.status.state == "ready")
        self.rest(0.5)

    def felt(self, act: Callable[[], object], seconds: float = 0.15) -> float:
        """Milliseconds of the longest stall by `act` and what comes of it so soon."""
        return super().felt(act, seconds)

    def click(self, row: float, column: float) -> float:
        """Add a point to the object in work; milliseconds until its mask is painted."""
        canvas = self.viewer.window._qt_viewer.canvas
        began, document = time.perf_counter(), self.document
        self.widget.bridge.work.points.layer.add((row, column))
        record = document.active
        self.until(lambda: document.get(record.id).is_answered)
        canvas.native.repaint()
        return 1e3 * (time.perf_counter() - began)


def measure(count: int, rows: int, instant: bool) -> dict[str, Any]:
    """Use the window as a person does."""
    from many_objects import pick
    from qtpy.QtCore import Qt

    desk = Desk(instant)
    rng = np.random.default_rng(0)
    texture = rng.normal(0, 1, (256, 256)).astype(np.float32)
    pixels = rng.integers(0, 60, SHAPE, np.uint8)
    images = {
        name: desk.viewer.add_image(np.roll(pixels, at), name=name, visible=False)
        for at, name in enumerate(("one", "many"))
    }
    labels = np.zeros(SHAPE, np.uint16)
    arrive: list[float] = []
    for name, number in (("one", 1), ("many", count)):
        desk.open(images[name])
        pick(desk.document, labels, rng, texture, number)
        desk.rest(1)
    found: dict[str, Any] = {"objects": len(desk.document)}
    clicks: dict[str, list[float]] = {"one": [], "many": []}
    for lot in range(LOTS):
        for name in clicks:
            desk.open(images[name])
            objects = desk.document.objects
            desk.document.active_id = objects[len(objects) * (lot + 1) // 7].id
            desk.rest(0.3)
            r0, c0, r1, c1 = desk.document.active.bbox
            middle = (r0 + r1 - 1) / 2, (c0 + c1 - 1) / 2
            for step in range(CLICKS):
                spent = desk.click(middle[0] + step - 2, middle[1] + lot - 2)
                desk.rest(0.2)
                if step:  # the first of each lot warms up
                    clicks[name].append(spent)
    for name, spent in clicks.items():
        found[f"click, {name}"] = told(spent)
    medians = [found[f"click, {name}"]["median_ms"] for name in ("many", "one")]
    found["click, many over one"] = medians[0] / medians[1]

    others = desk.document.objects[::97][:12]
    points = desk.widget.bridge.work.points.layer

    def look(record: Any) -> None:
        r0, c0, r1, c1 = record.bbox
        points.add(((r0 + r1 - 1) / 2 + 1, (c0 + c1 - 1) / 2))

    found["look"] = told([desk.felt(lambda r=r: look(r)) for r in others])
    slider = desk.widget.objects_panel.review.slider
    moves = (20, 60, 95, 40, 0)
    found["slider"] = told([desk.felt(lambda v=v: slider.setValue(v)) for v in moves])
    camera = getattr(desk.viewer, "scene", desk.viewer).camera
    places = rng.uniform(200, 800, (20, 2))

    def pan(to: Any) -> None:
        camera.center = (0, *to)

    def zoom(to: float) -> None:
        camera.zoom = to

    found["pan"] = told([desk.felt(lambda p=p: pan(p), 0.05) for p in places])
    zooms = np.geomspace(0.5, 6, 12)
    found["zoom"] = told([desk.felt(lambda z=z: zoom(z), 0.05) for z in zooms])
    before = len(desk.document)
    for number in range(4):
        lot = [_moved(record, number) for record in desk.document.objects[:64]]
        arrive.append(desk.felt(lambda lot=lot: desk.document.add_many(lot), 0.3))
    found["arrive"] = told(arrive)
    for _ in range(4):
        desk.document.undo()
    assert len(desk.document) == before

    if rows > count:
        more = [_moved(r, 9) for r in desk.document.objects]
        desk.document.add_many((more * (rows // count + 1))[: rows - count])
        desk.rest(1)
    ascending = Qt.SortOrder.AscendingOrder
    panel = desk.widget.objects_panel
    bar, view = panel.table.verticalScrollBar(), panel.table
    found["rows"] = view.model().rowCount()
    steps = range(0, bar.maximum(), max(1, bar.maximum() // 40))
    found["scroll"] = told(
        [desk.felt(lambda v=v: bar.setValue(v), 0.05) for v in steps]
    )
    found["sort"] = told(
        [desk.felt(lambda c=c: view.sortByColumn(c, ascending)) for c in (2, 1, 0)]
    )
    found["filter"] = told(
        [
            desk.felt(lambda t=t: panel.filter.setText(t))
            for t in ("score>0.5", "99", "")
        ]
    )
    desk.close()
    return found


def _moved(record: Any, by: int) -> Any:
    """Return an object that was there as one that is not."""
    import dataclasses

    from napari_promise.prompts import Prompts

    prompts = Prompts(points=record.prompts.points[:1] + by, labels=[1])
    return dataclasses.replace(
        record,
        id=0,
        label=0,
        prompts=prompts,
        sources=("auto",),
        answered=prompts,
        answered_revision=record.revision,
    )


def told(milliseconds: list[float]) -> dict[str, float]:
    """Return median and largest."""
    return {"median_ms": float(np.median(milliseconds)), "max_ms": max(milliseconds)}


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument(
        "--instant", action="store_true", help="with a model that takes no time"
    )
    parser.add_argument("--profile", action="store_true", help="say where time goes")
    arguments = parser.parse_args()
    profile = cProfile.Profile() if arguments.profile else None
    if profile is not None:
        profile.enable()
    figures = measure(arguments.objects, arguments.rows, arguments.instant)
    if profile is not None:
        profile.disable()
        pstats.Stats(profile).sort_stats("cumulative").print_stats(70)
    for what, value in figures.items():
        if isinstance(value, dict):
            print(
                f"  {what:<12} {value['median_ms']:8.1f} ms median "
                f"{value['max_ms']:8.1f} ms at most"
            )
        else:
            print(f"  {what}: {value:.2f}")
    print(f"load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
