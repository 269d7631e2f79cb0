"""The demonstration: napari on the generated scene with the dock, ready to click.

Driven by itself it does what a user would: auto-prompt, one corrective click,
commit, export; and leaves a picture of the window and the exported files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from napari_promise.widgets.prompting.dock import PromiseWidget

MODEL, ADAPTER = "promise-tiny", "polyp"
WINDOW = (1366, 768)

#: Seconds that any single step may take before the demonstration gives up.
PATIENCE = 180.0


class DemoFailed(RuntimeError):
    """A step of the demonstration did not succeed; the message says which and why."""


def main(auto: bool | None = None, out: Path | str = "demo") -> int:
    """Run the demonstration.

    Parameters
    ----------
    auto : bool, optional
        Drive it without a user. By default only where there is no display.
    out : path
        Folder for what the self-driven demonstration leaves: ``demo.png``,
        ``labels.tif`` and ``prompts.json``, each replaced if it is there already.

    Returns
    -------
    int
        Exit status: 0, or 1 when a step failed (said on stderr, in one line).
    """
    display = _has_display()
    try:
        if auto or (auto is None and not display):
            with _screen(display):
                _drive(Path(out))
        elif not display:
            raise DemoFailed("there is no display: set DISPLAY, or use --auto")
        else:
            _hand_over()
    except (DemoFailed, OSError, ValueError) as error:
        print(f"The demonstration failed: {error}", file=sys.stderr)
        return 1
    return 0


def _hand_over() -> None:
    """Open the window and leave it to the person."""
    import napari

    print("Opening napari with the sample, the dock, the model and an adapter …")
    _viewer, widget = _open()
    print(
        "Press A to let the adapter place its points; drag, delete or flip (T) them;\n"
        "C commits the object, Ctrl+Z takes back. Close the window to end."
    )
    try:
        napari.run()
    finally:
        widget.close_down()


def _drive(out: Path) -> None:
    """Do what a user would, saying every step."""
    from napari_promise.data.samples import endoscopy_scene

    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    _say("opening napari with the sample and the dock")
    _, truth = endoscopy_scene()
    viewer, widget = _open()
    try:
        _act(viewer, widget, truth, out)
    finally:
        widget.close_down()
        viewer.close()
    _say(f"done in {time.monotonic() - began:.0f} s")


def _act(viewer: Any, widget: PromiseWidget, truth: NDArray[Any], out: Path) -> None:
    session, bridge, actions = widget.session, widget.bridge, widget.actions
    failures: list[str] = []
    answers: list[str] = []
    session.failed.connect(failures.append)
    session.notified.connect(answers.append)

    def until(condition: Callable[[], bool], doing: str) -> None:
        _wait(condition, doing, lambda: failures or None)

    _say(f"loading {MODEL} with the adapter {ADAPTER}, encoding the image")
    until(lambda: session.status.state == "ready", "preparing the image")
    _say(session.status.message)

    _say("auto-prompt (A)")
    assert bridge.work is not None
    document = bridge.work.document
    actions.auto()
    until(lambda: len(document) > 0 or bool(answers), "auto-prompting")
    if not len(document):
        raise DemoFailed(f"auto-prompting placed no point: {' '.join(answers)}")
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

    _say("export")
    labels, saved = _export(widget, out)
    actions.reopen(object_id)
    _wait_a_moment()
    picture = out / "demo.png"
    viewer.screenshot(str(picture), canvas_only=False, flash=False)
    print(
        f"\nDice against the true mask: {_dice(before, truth):.3f} automatic, "
        f"{_dice(after, truth):.3f} after one click."
    )
    for path, what in (
        (picture, "the whole window"),
        (labels, "the committed object, pixel value = object number"),
        (saved, "its prompts; “Load prompts…” replays them to the same mask"),
    ):
        print(f"  {path}  {what}")


def _export(widget: PromiseWidget, out: Path) -> tuple[Path, Path]:
    from napari_promise.widgets.prompting import exporting
    from napari_promise.widgets.prompting.export_dialog import FORMATS, ExportRequest

    snapshot = widget.actions.snapshot()
    if snapshot is None:
        raise DemoFailed("there is nothing to export")
    classes = {record.id: record.class_name for record in snapshot.objects}
    formats = {choice.key: choice for choice in FORMATS}
    # The demonstration's own files of an earlier run may be replaced.
    labels, saved = (
        exporting.write(
            ExportRequest(formats[key], out / name, True, classes), snapshot
        )
        for key, name in (("tiff", "labels.tif"), ("prompts", "prompts.json"))
    )
    return labels, saved


def _open() -> tuple[Any, PromiseWidget]:
    """Open napari on the scene, with the dock, the bundled model and its adapter."""
    import napari

    from napari_promise.data.samples import endoscopy_layers
    from napari_promise.session import Session, Settings
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.prompting.dock import PromiseWidget

    viewer = napari.Viewer(title="ProMISe")
    window = viewer.window._qt_window
    window.resize(*WINDOW)
    window.move(0, 0)
    for data, options, kind in endoscopy_layers():
        getattr(viewer, f"add_{kind}")(data, **options)
    # Settings of its own: the person's preferences stay as they are.
    session = Session(
        dispatch=GuiDispatcher(), settings=Settings(model=MODEL, adapter=ADAPTER)
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
    depth = ndimage.distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return int(row), int(column), bool(truth[row, column])


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
