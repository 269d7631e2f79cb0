"""A liver in a CT from five clicks and P, in a real window: seconds, Dice, stalls.

Opens napari (under Xvfb where there is no display) on a CT volume, clicks where a
person would correct most (the truth says where: a simulated annotator), presses P,
scrolls meanwhile, and prints how long the first neighbours and all planes took, the
longest time in which the window did not answer beside the same while one only scrolls
before, both also as processor time of the window's thread, which other work on the
computer does not lengthen, what the results took of that, and the Dice
with the truth on the clicked plane and in the whole volume. The clicks are prompted
from the truth; the propagation never sees it.

    python benchmarks/volume_window.py --image CT.nii.gz --labels SEG.nii.gz --label 5
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PATIENCE = 300.0


def main() -> None:
    """Run the benchmark and print a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--label", type=int, required=True)
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--window", type=float, nargs=2, default=(-160, 240))
    parser.add_argument("--shots", type=Path, help="a folder for screenshots")
    arguments = parser.parse_args()
    _need_display()
    print(json.dumps(measure(arguments), indent=2))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Annotate the volume; returns the figures."""
    import napari
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.data.images import read_image
    from napari_promise.session import Session, Settings
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.prompting.dock import PromiseWidget

    opened = read_image(arguments.image)
    truth = np.asarray(read_image(arguments.labels).array) == arguments.label
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1366, 768)
    folder = tempfile.TemporaryDirectory()
    taken: list[float] = []

    class Timed(GuiDispatcher):
        """Notes the processor time that the window's thread spends on what comes."""

        def __call__(self, call: Callable[[], None]) -> None:
            def timed() -> None:
                begun = time.thread_time()
                call()
                taken.append(time.thread_time() - begun)

            super().__call__(timed)

    session = Session(
        dispatch=Timed(),
        settings=Settings(model="promise-tiny", adapter=""),
        cache=EmbeddingCache(Path(folder.name)),
    )
    dock = PromiseWidget(viewer, session)
    viewer.window.add_dock_widget(dock, name="ProMISe", area="right")
    limits = tuple(arguments.window)
    place = opened.place
    options = {} if place.scale is None else {"scale": place.scale}
    if place.unit is not None:
        options["units"] = (place.unit,) * len(opened.shape)
    viewer.add_image(opened.array, name="CT", contrast_limits=limits, **options)

    def until(condition: Callable[[], bool]) -> float:
        begun = time.monotonic()
        while not condition():
            QApplication.processEvents()
            if time.monotonic() - begun > PATIENCE:
                raise SystemExit("gave up waiting: see what the window says")
            time.sleep(0.001)
        return time.monotonic() - begun

    def shoot(name: str) -> None:
        if arguments.shots:
            arguments.shots.mkdir(parents=True, exist_ok=True)
            until_drawn(0.5)
            viewer.window._qt_window.grab().save(str(arguments.shots / name))

    def until_drawn(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()

    until(lambda: dock.bridge.work is not None)
    plane = int(truth.sum(axis=(1, 2)).argmax())
    dock.bridge.go_to((plane,))
    until(lambda: session.status.state == "ready" and dock.bridge.plane == (plane,))
    document = dock.bridge.work.document
    mask = np.zeros(truth.shape[1:], bool)
    for _ in range(arguments.clicks):
        row, column, include = correction(mask, truth[plane])
        dock.bridge.set_include(include)
        dock.bridge.work.points.layer.add((plane, row, column))
        until_drawn(0.05)
        until(lambda: all(record.is_answered for record in document.objects))
        mask = document.objects[0].region.mask
    shoot("volume_1_clicked.png")

    beats: list[tuple[float, float]] = []

    def tick() -> None:
        beats.append((time.perf_counter(), time.thread_time()))

    def longest() -> tuple[int, int]:
        """Return the longest time between two beats, and most of the processor's."""
        waited, worked = np.diff(beats, axis=0).max(axis=0)
        return round(1000 * waited), round(1000 * worked)

    timer = QTimer()
    timer.setInterval(1)
    timer.timeout.connect(tick)
    timer.start()
    label = document.objects[0].label
    propagation = dock.desk.propagation
    tick()
    for step in range(1, 20):
        viewer.dims.set_current_step(0, (plane + step) % len(truth))
        until_drawn(0.1)
    viewer.dims.set_current_step(0, plane)
    until_drawn(1.0)
    scrolling = longest()
    taken.clear()
    beats.clear()
    begun = time.monotonic()
    tick()
    propagation.toggle()
    until(lambda: len(document.of_label(label)) >= 3)
    first = time.monotonic() - begun
    shots = len(document.of_label(label))
    # One scrolls meanwhile.
    for step in range(1, 200):
        if not propagation.is_running:
            break
        viewer.dims.set_current_step(0, (plane + step) % len(truth))
        until_drawn(0.1)
    until(lambda: not propagation.is_running)
    seconds = time.monotonic() - begun
    timer.stop()
    stalled = longest()
    shoot("volume_2_propagated.png")
    found = np.zeros_like(truth)
    for record in document.of_label(label):
        found[record.plane] = record.region.mask
    before = dice(found, truth)
    propagation.go_to_weakest()
    weakest = propagation.plane
    shoot("volume_3_weakest.png")
    dock.actions.commit()
    until_drawn(0.3)
    shoot("volume_4_committed.png")
    figures = {
        "planes": len(truth),
        "planes at the first look": shots,
        "first neighbours s": round(first, 2),
        "all planes s": round(seconds, 2),
        "longest stall ms": stalled[0],
        "of the window's own processor time ms": stalled[1],
        "the same before, scrolling alone ms": scrolling[0],
        "of the window's own processor time before ms": scrolling[1],
        "longest result, processor ms": round(1000 * max(taken)),
        "all results, processor ms": round(1000 * sum(taken)),
        "Dice clicked plane": round(dice(found[plane], truth[plane]), 3),
        "Dice volume": round(before, 3),
        "weakest plane": weakest,
        "volume": propagation.volume(),
        "load": round(os.getloadavg()[0], 1),
    }
    dock.close_down()
    viewer.close()
    folder.cleanup()
    return figures


def correction(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> tuple[int, int, bool]:
    """Return where the largest error is deepest, and whether to include it."""
    pieces, count = ndimage.label(mask != truth)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    largest = np.pad(pieces == int(sizes[1:].argmax()) + 1, 1)
    depth = ndimage.distance_transform_edt(largest)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row), int(column), bool(truth[row, column])


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks, in [0, 1]."""
    both = np.count_nonzero(found & truth)
    return 2 * both / (np.count_nonzero(found) + np.count_nonzero(truth))


def _need_display() -> None:
    """Start again under a virtual screen where there is none."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        xvfb = shutil.which("xvfb-run")
        if xvfb is None:
            raise SystemExit("There is no display; install xvfb, or start one.")
        screen = ["-a", "-s", "-screen 0 1366x768x24"]
        os.execv(xvfb, [xvfb, *screen, sys.executable, *sys.argv])


if __name__ == "__main__":
    main()
