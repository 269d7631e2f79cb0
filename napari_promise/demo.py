"""The demonstration: napari on a sample with the dock, ready to click.

Driven by itself it does what a user would: auto-prompt, correct, commit, export; and
leaves a picture of the window and the exported files. Which samples there are is in
`SAMPLES`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.depth import deepest

if TYPE_CHECKING:
    from napari_promise.document import Document
    from napari_promise.widgets.prompting.dock import PromiseWidget

MODEL = "promise-tiny"
WINDOW = (1366, 768)

#: In the labels of the abdominal CT.
_LIVER = 5
#: Seconds that any single step may take before the demonstration gives up.
PATIENCE = 180.0


class DemoFailed(RuntimeError):
    """A step of the demonstration did not succeed; the message says which and why."""


@dataclass(frozen=True)
class Sample:
    """What is opened, and what is done with it.

    Attributes
    ----------
    layers : str
        Function of `data.samples` that makes the layers: an image, and the truth.
    adapter : str
    drive : callable
        Does what a user would, given a `Driver`.
    hint : str
        What a person may try.
    """

    layers: str
    adapter: str
    drive: Callable[[Driver], None]
    hint: str


def main(
    auto: bool | None = None, out: Path | str = "demo", sample: str = "endoscopy"
) -> int:
    """Run the demonstration.

    Parameters
    ----------
    auto : bool, optional
        Drive it without a user. By default only where there is no display.
    out : path
        Folder for what the self-driven demonstration leaves: ``demo.png``,
        ``labels.tif`` and ``prompts.json``, each replaced if it is there already.
    sample : str
        One of `SAMPLES`.

    Returns
    -------
    int
        Exit status: 0, or 1 when a step failed (said on stderr, in one line).
    """
    display = _has_display()
    try:
        if sample not in SAMPLES:
            raise DemoFailed(
                f"there is no sample {sample!r}; there are {', '.join(SAMPLES)}"
            )
        if auto or (auto is None and not display):
            with _screen(display):
                _drive(Path(out), SAMPLES[sample])
        elif not display:
            raise DemoFailed("there is no display: set DISPLAY, or use --auto")
        else:
            _hand_over(SAMPLES[sample])
    except (DemoFailed, OSError, ValueError) as error:
        print(f"The demonstration failed: {error}", file=sys.stderr)
        return 1
    return 0


def _hand_over(sample: Sample) -> None:
    """Open the window and leave it to the person."""
    import napari

    print("Opening napari with the sample, the dock, the model and an adapter …")
    _viewer, widget = _open(sample)
    print(f"{sample.hint}\nCtrl+Z takes back. Close the window to end.")
    try:
        napari.run()
    finally:
        widget.close_down()


def _drive(out: Path, sample: Sample) -> None:
    """Do what a user would, saying every step."""
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    _say("opening napari with the sample and the dock")
    viewer, widget = _open(sample)
    try:
        driver = Driver(viewer, widget, np.asarray(viewer.layers[1].data), out)
        adapter = f"the adapter {sample.adapter}" if sample.adapter else "no adapter"
        _say(f"loading {MODEL} with {adapter}, encoding the image")
        driver.until(
            lambda: widget.session.status.state == "ready", "preparing the image"
        )
        _say(widget.session.status.message)
        if sample.adapter:
            _say("auto-prompt (A)")
        sample.drive(driver)
    finally:
        widget.close_down()
        viewer.close()
    _say(f"done in {time.monotonic() - began:.0f} s")


class Driver:
    """Drives the window, and waits for what it asked for.

    Parameters
    ----------
    viewer : napari.Viewer
    widget : PromiseWidget
    truth : array, shape (H, W)
        The sample's true labels.
    out : pathlib.Path
        Folder for pictures and files.
    """

    def __init__(
        self, viewer: Any, widget: PromiseWidget, truth: NDArray[Any], out: Path
    ) -> None:
        self.viewer, self.widget, self.truth, self.out = viewer, widget, truth, out
        self.failures: list[str] = []
        self.answers: list[str] = []
        widget.session.failed.connect(self.failures.append)
        widget.session.notified.connect(self.answers.append)

    def until(self, condition: Callable[[], bool], doing: str) -> None:
        """Keep the window alive until something is so, but not for ever."""
        _wait(condition, doing, lambda: self.failures or None)

    @property
    def document(self) -> Document:
        """The objects of the sample."""
        assert self.widget.bridge.work is not None
        return self.widget.bridge.work.document

    def finish(self, summary: str) -> None:
        """Export, take the picture, and say what there is."""
        _say("export")
        labels, saved = _export(self.widget, self.out)
        _wait_a_moment()
        picture = self.out / "demo.png"
        self.viewer.screenshot(str(picture), canvas_only=False, flash=False)
        print(f"\n{summary}")
        for path, what in (
            (picture, "the whole window"),
            (labels, "what was committed, pixel value = object number"),
            (saved, "its prompts; “Load prompts…” replays them to the same masks"),
        ):
            print(f"  {path}  {what}")


def _drive_endoscopy(driver: Driver) -> None:
    """One polyp: auto-prompt, one corrective click, commit."""
    widget, truth, until = driver.widget, driver.truth > 0, driver.until
    bridge, actions, document = widget.bridge, widget.actions, driver.document
    assert bridge.work is not None
    actions.auto()
    until(lambda: len(document) > 0 or bool(driver.answers), "auto-prompting")
    if not len(document):
        raise DemoFailed(f"auto-prompting placed no point: {' '.join(driver.answers)}")
    object_id = document.objects[0].id
    until(lambda: document.get(object_id).is_answered, "the mask of the auto-prompts")
    before = bridge.work.preview.mask()
    prompts = document.get(object_id).prompts
    positive = prompts.points[prompts.labels == 1]
    rows, columns = np.rint(positive).astype(int).T
    hits = int(truth[rows, columns].sum())
    _say(
        f"  {len(prompts.points)} points ({hits} of {len(positive)} to include lie on "
        f"the polyp), Dice {_dice(before, truth):.3f}"
    )

    row, column, include = _correction(before, truth)
    _say(
        f"one corrective click at row {row}, column {column}: "
        f"{'include' if include else 'exclude'}"
    )
    actions.choose_include(include)
    bridge.work.points.layer.add((row, column))
    until(lambda: document.get(object_id).is_answered, "the mask of the click")
    after = bridge.work.preview.mask().copy()
    _say(f"  Dice {_dice(before, truth):.3f} -> {_dice(after, truth):.3f}")

    _say("commit (C)")
    actions.set_class(object_id, "polyp")
    actions.commit()
    until(lambda: document.get(object_id).committed, "the commit")
    if not np.array_equal(bridge.work.result.plane(()) == object_id, after):
        raise DemoFailed("the labels layer does not hold the mask that was shown")
    actions.reopen(object_id)
    driver.finish(
        f"Dice against the true mask: {_dice(before, truth):.3f} automatic, "
        f"{_dice(after, truth):.3f} after one click."
    )


def _drive_liver(driver: Driver) -> None:
    """Click five times on a plane of a liver in CT, propagate, and commit."""
    widget, truth, until = driver.widget, driver.truth == _LIVER, driver.until
    bridge, actions = widget.bridge, widget.actions
    propagation, document = widget.desk.propagation, driver.document
    assert bridge.work is not None
    plane = int(truth.sum(axis=(1, 2)).argmax())
    bridge.go_to((plane,))
    mask = np.zeros(truth.shape[1:], bool)
    for _ in range(5):
        row, column, include = _correction(mask, truth[plane])
        _say(
            f"plane {plane}, row {row}, column {column}: "
            f"{'include' if include else 'exclude'}"
        )
        actions.choose_include(include)
        bridge.work.points.layer.add((plane, row, column))
        until(
            lambda: bool(document.objects) and document.objects[0].is_answered,
            "the mask of the click",
        )
        mask = document.objects[0].region.mask if document.objects[0].region else mask
    label = document.objects[0].label
    _say(f"  Dice {_dice(mask, truth[plane]):.3f} on this plane")

    _say("propagate (P)")
    began = time.monotonic()
    propagation.propagate()
    while propagation.is_running:
        known = len(document.of_label(label))
        until(
            lambda known=known: (  # type: ignore[misc]
                len(document.of_label(label)) != known or not propagation.is_running
            ),
            "propagating",
        )
    whole = document.of_label(label)
    _say(f"  {len(whole)} planes in {time.monotonic() - began:.1f} s")
    _wait_a_moment()
    driver.viewer.screenshot(
        str(driver.out / "propagated.png"), canvas_only=False, flash=False
    )
    found = np.zeros(truth.shape, bool)
    for record in whole:
        if record.region is not None:
            found[record.plane] = record.region.mask
    extent = propagation.extent()

    _say("commit (C)")
    actions.set_class(whole[0].id, "liver")
    actions.commit()
    until(lambda: all(r.committed for r in document.objects), "the commit")
    driver.finish(
        f"Dice against the labels: {_dice(mask, truth[plane]):.3f} on the clicked "
        f"plane, {_dice(found, truth):.3f} in the volume"
        + (f"; {extent.in_words}." if extent is not None else ".")
    )


def _drive_cells(driver: Driver) -> None:
    """Many nuclei: propose all, reject one, add one, commit what is sure enough."""
    widget, truth, until = driver.widget, driver.truth, driver.until
    desk, actions, document = widget.desk, widget.actions, driver.document
    bridge = widget.bridge
    assert bridge.work is not None
    began = time.monotonic()
    actions.auto()
    until(lambda: desk.many.is_running or bool(len(document)), "auto-prompting")
    until(lambda: not desk.many.is_running, "the proposals")
    if not len(document):
        raise DemoFailed("auto-prompting found no nucleus")
    proposed = len(document)
    _say(
        f"  {proposed} of {len(np.unique(truth)) - 1} nuclei proposed in "
        f"{time.monotonic() - began:.1f} s, each a point with a mask"
    )

    _wait_a_moment()
    driver.viewer.screenshot(
        str(driver.out / "proposals.png"), canvas_only=False, flash=False
    )
    _say("the least sure one (U), rejected (Delete)")
    actions.next_uncertain()
    actions.reject()
    until(lambda: len(document) == proposed - 1, "the rejection")

    missed = _missed(truth, [r.region.mask for r in document.objects if r.region])
    if missed is not None:
        row, column = missed
        _say(f"a click on a missed one, at row {row}, column {column}")
        actions.new()
        bridge.work.points.layer.add((row, column))
        until(
            lambda: (
                len(document) == proposed
                and all(record.is_answered for record in document.objects)
            ),
            "the mask of the click",
        )

    floor = 0.5
    _say(f"commit all from score {floor} on")
    widget.objects_panel.review.slider.setValue(round(100 * floor))
    actions.accept(floor)
    committed = [record for record in document.objects if record.committed]
    labels = bridge.work.result.plane(())
    right = _right(np.asarray(labels), truth)
    document.active_id = None
    driver.viewer.reset_view()
    driver.finish(
        f"{len(committed)} nuclei committed; {right} of {len(np.unique(truth)) - 1} "
        "true ones are outlined with an IoU above .5."
    )


def _export(widget: PromiseWidget, out: Path) -> tuple[Path, Path]:
    from napari_promise.widgets.prompting import exporting
    from napari_promise.widgets.prompting.export_dialog import FORMATS, ExportRequest

    snapshot = widget.actions.snapshot()
    if snapshot is None:
        raise DemoFailed("there is nothing to export")
    classes = {record.label: record.class_name for record in snapshot.objects}
    formats = {choice.key: choice for choice in FORMATS}
    # The demonstration's own files of an earlier run may be replaced.
    labels, saved = (
        exporting.write(
            ExportRequest(formats[key], out / name, True, classes), snapshot
        )
        for key, name in (("tiff", "labels.tif"), ("prompts", "prompts.json"))
    )
    return labels, saved


def _open(sample: Sample) -> tuple[Any, PromiseWidget]:
    """Open napari on a sample, with the dock, the bundled model and an adapter."""
    import napari

    from napari_promise.data import samples
    from napari_promise.session import Session, Settings
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.prompting.dock import PromiseWidget

    viewer = napari.Viewer(title="ProMISe")
    window = viewer.window._qt_window
    window.resize(*WINDOW)
    window.move(0, 0)
    for data, options, kind in getattr(samples, sample.layers)():
        getattr(viewer, f"add_{kind}")(data, **options)
    # Settings of its own: the person's preferences stay as they are.
    session = Session(
        dispatch=GuiDispatcher(), settings=Settings(model=MODEL, adapter=sample.adapter)
    )
    widget = PromiseWidget(viewer, session)
    viewer.window.add_dock_widget(widget, name="ProMISe", area="right")
    return viewer, widget


def _correction(mask: NDArray[Any], truth: NDArray[Any]) -> tuple[int, int, bool]:
    """Choose the click a user would make: the middle of the largest error.

    Parameters
    ----------
    mask, truth : array, shape (H, W), bool

    Returns
    -------
    row, column : int
    include : bool
        Whether the polyp was missed there.
    """
    wrong = mask != truth
    if not wrong.any():
        raise DemoFailed("the automatic mask needs no correction, which is too good")
    row, column = deepest(wrong)
    return row, column, bool(truth[row, column])


def _missed(
    truth: NDArray[Any], masks: list[NDArray[np.bool_]]
) -> tuple[int, int] | None:
    """Return the deepest place of a true nucleus that no mask touches, if any."""
    seen = np.zeros(truth.shape, bool)
    for mask in masks:
        seen |= mask
    touched = np.unique(truth[seen])
    left = np.isin(truth, touched, invert=True) & (truth > 0)
    return deepest(left) if left.any() else None


def _right(labels: NDArray[Any], truth: NDArray[Any]) -> int:
    """Count the true nuclei that one label outlines with an IoU above one half."""
    count = 0
    for number in np.unique(truth[truth > 0]):
        nucleus = truth == number
        found, pixels = np.unique(labels[nucleus], return_counts=True)
        likeliest = int(found[np.argmax(pixels)])
        if likeliest:
            other = labels == likeliest
            shared = np.count_nonzero(nucleus & other)
            count += int(2 * shared > np.count_nonzero(nucleus | other))
    return count


def _dice(mask: NDArray[Any], truth: NDArray[Any]) -> float:
    sizes = int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
    return 2 * int(np.count_nonzero(mask & truth)) / max(sizes, 1)


def _wait(
    condition: Callable[[], bool], doing: str, failed: Callable[[], list[str] | None]
) -> None:
    """Keep the window alive until something is so, but not for ever."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + PATIENCE
    while not condition():
        QApplication.processEvents()
        problem = failed()
        if problem:
            raise DemoFailed(f"{doing}: {problem[0]}")
        if time.monotonic() > end:
            raise DemoFailed(f"{doing} took more than {PATIENCE:.0f} s")
        time.sleep(0.01)


def _wait_a_moment() -> None:
    """Let the window paint what it was told."""
    end = time.monotonic() + 0.5
    _wait(lambda: time.monotonic() > end, "painting", lambda: None)


def _say(text: str) -> None:
    print(f"· {text}", flush=True)


def _has_display() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def _screen(display: bool) -> Iterator[None]:
    """Provide a screen of our own where there is none."""
    if display:
        yield
        return
    if shutil.which("Xvfb") is None:
        raise DemoFailed("there is no display, and no Xvfb to stand in: install xvfb")
    reader, writer = os.pipe()
    size = f"{WINDOW[0]}x{WINDOW[1]}x24"
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writer), "-screen", "0", size, "-nolisten", "tcp"],
        pass_fds=[writer],
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    try:
        with os.fdopen(reader) as answer:
            number = answer.readline().strip()  # comes when the server is ready
        if not number:
            raise DemoFailed("Xvfb did not start")
        os.environ["DISPLAY"] = f":{number}"
        yield
    finally:
        server.terminate()
        server.wait()


#: By name, as the command line takes it.
SAMPLES: dict[str, Sample] = {
    "endoscopy": Sample(
        "endoscopy_layers",
        "polyp",
        _drive_endoscopy,
        "Press A to let the adapter place its points; drag, delete or flip (T) them;\n"
        "C commits the object.",
    ),
    "volume": Sample(
        "abdomen_layers",
        "",
        _drive_liver,
        "Click on the liver until its outline is right, then press P: it is found on\n"
        "all planes. Shift+W goes to the weakest; C commits the whole.",
    ),
    "cells": Sample(
        "nuclei_layers",
        "cells",
        _drive_cells,
        "Press A to find all nuclei; click on one to look at it, Delete rejects it, a\n"
        "click beside them adds one; E draws around several. Commit takes all at once.",
    ),
}
