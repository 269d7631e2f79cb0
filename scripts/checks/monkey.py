"""Do random things in a window with both docks, and look for what breaks.

A folder of pictures and stacks is opened; then come clicks, keys, strokes, undo,
planes, images, and what people do to a window: layers are renamed, moved, removed,
replaced, docks closed and opened again. Nothing may raise, in a slot, a thread or an
event; no commit may be left waiting; and in the end what is on the disk has to be what
is in memory, for every image that was opened.

    python -m scripts.checks.monkey --acts 10000 --seed 1 --write docs/files.md

A stand-in of discs answers in place of the model, after a while that differs.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import random
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.document import Document, Region
from napari_promise.prompts import Before, Prompts
from napari_promise.segmentation import Segmentation
from napari_promise.session import Session, Settings

SHAPE, PLANES = (60, 80), 4
#: Seconds after which what waits counts as stuck.
PATIENCE = 120.0


class _Discs:
    """Stands in for the model: discs around points, after a random while."""

    model_id, sha256, device = "promise-tiny", "0" * 64, "cpu"
    adapter_sha256 = sam = None

    def __init__(self, seed: int) -> None:
        self.adapter_info: Any = None
        self._dice = random.Random(seed)

    def with_adapter(self, name: str | None) -> _Discs:
        known = SimpleNamespace(name=name, apm="heatmap", ips=True)
        self.adapter_info = known if name else None
        return self

    def encode(self, image: np.ndarray, **options: Any) -> Any:
        self._dawdle()
        return _Embedding(image.shape[:2])

    def restore(self, arrays: Any) -> Any:
        rows, columns = arrays["shape"]
        return _Embedding((int(rows), int(columns)))

    def segment(self, emb: Any, prompts: Prompts, **options: Any) -> Segmentation:
        self._dawdle()
        if self._dice.random() < 0.01:
            raise ValueError("no mask: try another point")
        rows, columns = np.ogrid[: emb.shape[0], : emb.shape[1]]
        mask = np.zeros(emb.shape, bool)
        if prompts.mask is not None:
            mask |= prompts.mask
        for r0, c0, r1, c1 in prompts.boxes:
            mask |= (rows >= r0) & (rows <= r1) & (columns >= c0) & (columns <= c1)
        for label in (1, 0):
            for row, column in prompts.points[prompts.labels == label]:
                disc = (rows - row) ** 2 + (columns - column) ** 2 <= 49
                mask = mask | disc if label else mask & ~disc
        logits = np.where(mask[::4, ::4], 4.0, -4.0).astype(np.float32)[None]
        return Segmentation(emb.shape, Region.from_mask(mask), 0.7, logits)

    def segment_many(self, emb: Any, prompts: Any, **options: Any) -> Any:
        return tuple(self.segment(emb, each) for each in prompts)

    def proposals(self, emb: Any) -> tuple[Prompts, ...]:
        return (self.propose(emb),)

    def propose(self, emb: Any) -> Prompts:
        return Prompts(
            points=[(20, 30), (24, 34)],
            labels=[1, 1],
            scores=[0.9, 0.8],
            before=Before(np.zeros((1, 15, 20), np.float32)),
        )

    def _dawdle(self) -> None:
        time.sleep(self._dice.choice([0, 0, 0.002, 0.02, 0.1]))


class _Embedding:
    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"shape": np.array(self.shape)}


class Monkey:
    """Hands on a window.

    Parameters
    ----------
    viewer : napari.Viewer
    folder : pathlib.Path
        Filled with images.
    seed : int

    Attributes
    ----------
    faults : list of str
        Tracebacks of whatever raised, with the act.
    done : Counter
        How often each act was done.
    """

    def __init__(self, viewer: Any, folder: Path, seed: int) -> None:
        from napari_promise.widgets.dispatch import GuiDispatcher

        self.viewer, self.folder = viewer, folder
        self.dice = random.Random(seed)
        self.faults: list[str] = []
        self.done: Counter[str] = Counter()
        self._act = ""
        self._works: dict[str, Any] = {}
        _fill(folder, seed)
        model = _Discs(seed)
        self._dispatch = GuiDispatcher()
        self.session = Session(
            dispatch=self._dispatch,
            settings=Settings(adapter="discs"),
            cache=EmbeddingCache(None),
            loader=lambda *_, **__: model,
        )
        self.prompting: Any = None
        self.folder_dock: Any = None
        self._open_prompting(self.session)
        self._open_folder()

    # -- the window ---------------------------------------------------------------

    def _open_prompting(self, session: Session | None = None) -> None:
        from napari_promise.widgets.prompting.dock import PromiseWidget

        self.prompting = PromiseWidget(self.viewer, session)
        self.viewer.window.add_dock_widget(self.prompting, name="ProMISe")

    def _open_folder(self) -> None:
        from napari_promise.widgets.folder.dock import FolderWidget

        self.folder_dock = FolderWidget(self.viewer)
        self.viewer.window.add_dock_widget(self.folder_dock, name="Folder", area="left")
        self.folder_dock.open_project(self.folder)
        self.until(lambda: self.work is not None and self.work.key is not None)
        self.work.opened.connect(self._on_opened)
        self._on_opened(self.work.key)

    def _on_opened(self, key: str) -> None:
        self._works[key] = self.work.work

    @property
    def desk(self) -> Any:
        """The desk of both docks."""
        return self.folder_dock.desk

    @property
    def work(self) -> Any:
        """The images of the folder, as the dock works on them."""
        return self.folder_dock.work

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the window live until something is so."""
        from qtpy.QtWidgets import QApplication

        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("it never happened")
            QApplication.processEvents()
            time.sleep(0.001)

    def live(self, seconds: float = 0.0) -> None:
        """Let the window live for a while."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end)

    # -- acts ---------------------------------------------------------------------

    def run(self, acts: int, most_seconds: float = math.inf) -> None:
        """Do so many random things, then look whether all is well."""
        end = time.monotonic() + most_seconds
        names = [
            name
            for name in dir(self)
            if name.startswith("_do_")
            for _ in range(_OFTEN.get(name, 1))
        ]
        with _Ears(self):
            for number in range(acts):
                if time.monotonic() > end:
                    break
                if number and not number % 250:
                    print(f"{number} acts", file=sys.stderr, flush=True)
                name = self.dice.choice(names)
                self._act = f"act {number + 1}: {name}"
                self.done[name[4:]] += 1
                self._try(getattr(self, name))
                if self.dice.random() < 0.4:
                    self._try(lambda: self.live(self.dice.choice([0, 0, 0.01, 0.2])))
            self._act = "the end"
            self._try(self.compare)

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception:
            self.fault(traceback.format_exc())

    def fault(self, text: str) -> None:
        """Take note of something that went wrong."""
        self.faults.append(f"{self._act}\n{text}")
        print(self.faults[-1], file=sys.stderr, flush=True)

    def _place(self) -> tuple[int, int]:
        return (
            self.dice.randrange(1, SHAPE[0] - 1),
            self.dice.randrange(1, SHAPE[1] - 1),
        )

    def _is_held(self, layer: Any) -> bool:
        return any(layer is other for other in self.viewer.layers)

    def _do_click(self) -> None:
        work = self.desk.bridge.work
        if work is not None and self._is_held(work.points.layer):
            work.points.layer.add((*self.desk.bridge.plane, *self._place()))

    def _do_polarity(self) -> None:
        self.desk.actions.flip()

    def _do_commit(self) -> None:
        self.desk.actions.commit()

    def _do_new(self) -> None:
        self.desk.actions.new()

    def _do_undo(self) -> None:
        self.desk.actions.undo()

    def _do_redo(self) -> None:
        self.desk.actions.redo()

    def _do_auto(self) -> None:
        self.desk.actions.auto()

    def _do_clear(self) -> None:
        self.desk.actions.clear()

    def _do_box(self) -> None:
        work = self.desk.bridge.work
        if self.desk.viewer.dims.ndisplay == 3:
            return  # napari itself cannot draw a rectangle there
        if work is not None and self._is_held(work.boxes.layer):
            (r0, c0), (r1, c1) = self._place(), self._place()
            plane = self.desk.bridge.plane
            around = ((r0, c0), (r0, c1), (r1, c1), (r1, c0))
            corners = [(*plane, *corner) for corner in around]
            work.boxes.layer.add_rectangles(np.array(corners, float))

    def _do_delete_points(self) -> None:
        work = self.desk.bridge.work
        if work is not None and len(work.points.layer.data):
            count = len(work.points.layer.data)
            work.points.layer.selected_data = {self.dice.randrange(count)}
            work.points.layer.remove_selected()

    def _do_paint(self) -> None:
        work = self.desk.bridge.work
        if work is not None:
            where = (*self.desk.bridge.plane, *self._place())
            work.result.layer.paint(where, self.dice.choice([0, 1, 2, 77]))

    def _do_reopen(self) -> None:
        self._with_object(self.desk.actions.reopen)

    def _do_delete_object(self) -> None:
        self._with_object(self.desk.actions.delete)

    def _do_rewrite(self) -> None:
        self._with_object(self.desk.actions.rewrite)

    def _do_name_class(self) -> None:
        name = self.dice.choice(["", "polyp", "cell"])
        self._with_object(lambda i: self.desk.actions.set_class(i, name))

    def _with_object(self, act: Callable[[int], Any]) -> None:
        work = self.desk.bridge.work
        if work is not None and len(work.document):
            act(self.dice.choice(work.document.objects).id)

    def _do_plane(self) -> None:
        dims = self.viewer.dims
        if dims.ndim > 2:
            dims.set_point(0, self.dice.randrange(PLANES))

    def _do_roll(self) -> None:
        self.viewer.dims.roll()

    def _do_3d(self) -> None:
        self.viewer.dims.ndisplay = self.dice.choice([2, 2, 3])

    def _do_overlap(self) -> None:
        self.desk.session.settings.overlap = self.dice.choice(["keep", "overwrite"])

    def _do_live(self) -> None:
        self.desk.session.settings.live = self.dice.random() < 0.8

    def _do_contrast(self) -> None:
        work = self.desk.bridge.work
        if work is not None:
            work.image.contrast_limits = (0, self.dice.randrange(100, 255))

    def _do_rename(self) -> None:
        if len(self.viewer.layers):
            layer = self.dice.choice(list(self.viewer.layers))
            layer.name = self.dice.choice(["a", "b", "ProMISe labels"])

    def _do_remove_layer(self) -> None:
        if len(self.viewer.layers):
            self.viewer.layers.remove(self.dice.choice(list(self.viewer.layers)))

    def _do_reorder(self) -> None:
        count = len(self.viewer.layers)
        if count > 1:
            self.viewer.layers.move(
                self.dice.randrange(count), self.dice.randrange(count)
            )

    def _do_replace_labels(self) -> None:
        work = self.desk.bridge.work
        if work is not None:
            layer = work.result.layer
            layer.data = np.array(layer.data) * self.dice.choice([0, 1, 1])

    def _do_replace_image(self) -> None:
        work = self.desk.bridge.work
        if work is not None and not work.image.rgb:
            work.image.data = 255 - np.asarray(work.image.data)

    def _do_foreign_image(self) -> None:
        images = [x for x in self.viewer.layers if x.name.startswith("foreign")]
        if len(images) > 2:
            self.viewer.layers.remove(self.dice.choice(images))
            return
        data = np.random.default_rng(len(images)).integers(0, 255, SHAPE, np.uint8)
        image = self.viewer.add_image(data, name="foreign")
        if self.dice.random() < 0.5:
            self.desk.bridge.open(image)

    def _do_open_image(self) -> None:
        if self.work is not None:
            self.folder_dock.open_image(self.dice.choice(self.work.project.keys))

    def _do_next(self) -> None:
        self.folder_dock.next()

    def _do_finish(self) -> None:
        self.folder_dock.finish()

    def _do_skip(self) -> None:
        self.folder_dock.skip()

    def _do_prompting_dock(self) -> None:
        if self.prompting is None:
            self._open_prompting()
        else:
            dock, self.prompting = self.prompting, None
            self.viewer.window.remove_dock_widget(dock)

    def _do_folder_dock(self) -> None:
        if self.prompting is None:
            self._open_prompting()  # else the desk would close with its session
        self.viewer.window.remove_dock_widget(self.folder_dock)
        self.live()
        self._open_folder()

    def _do_wait(self) -> None:
        self.live(0.3)

    # -- looking ------------------------------------------------------------------

    def compare(self) -> None:
        """Compare every image that was opened with what is on the disk."""
        self.desk.session.settings.live = True
        if self.work.key is not None:
            self.folder_dock.open_image(self.work.key)
        self.until(lambda: self.work.wanted == self.work.key)
        work = self.desk.bridge.work
        if work is not None:
            actions = self.desk.actions
            try:
                self.until(lambda: not actions.is_waiting(work.document))
            except TimeoutError:
                document, queue = work.document, self.desk.session._queue
                self.fault(
                    f"left waiting: {actions.waiting_line()} "
                    f"{ {i: document.get(i) for i in document.pending} } "
                    f"{queue.waiting()} {queue._task} {queue._requests._under_way}"
                )
        if not self.work.save():
            self.fault("the open image cannot be saved")
        project = self.work.project
        for key, work in self._works.items():
            document = Document()
            labels = project.restore(key, document, work.shape)
            wanted = np.asarray(work.result.layer.data)
            if labels is None:
                labels = np.zeros_like(wanted)
            if not np.array_equal(labels, wanted):
                self.fault(f"{key}: the labels on the disk are others")
            _forget_late_answers(document, work.document)
            pairs = list(zip_longest(_facts(document), _facts(work.document)))
            if others := [pair for pair in pairs if pair[0] != pair[1]]:
                self.fault(f"{key}: the objects on the disk are others: {others[:3]}")

    def close(self) -> None:
        """Close the docks."""
        self.folder_dock.close_down()
        if self.prompting is not None:
            self.prompting.close_down()
        self.live()


_OFTEN = {
    "_do_click": 12,
    "_do_commit": 8,
    "_do_undo": 4,
    "_do_redo": 3,
    "_do_new": 2,
    "_do_paint": 3,
    "_do_auto": 2,
    "_do_reopen": 3,
    "_do_plane": 3,
    "_do_open_image": 2,
    "_do_wait": 3,
}


class _Ears:
    """Hears of everything that raises anywhere, inside."""

    def __init__(self, monkey: Monkey) -> None:
        self._monkey = monkey

    def __enter__(self) -> None:
        from napari.utils.notifications import notification_manager

        self._before = sys.excepthook, threading.excepthook
        sys.excepthook = self._on_exception
        threading.excepthook = lambda args: self._on_exception(
            args.exc_type, args.exc_value, args.exc_traceback
        )
        notification_manager.notification_ready.connect(self._on_notification)

    def __exit__(self, *_: object) -> None:
        from napari.utils.notifications import notification_manager

        sys.excepthook, threading.excepthook = self._before
        notification_manager.notification_ready.disconnect(self._on_notification)

    def _on_exception(self, kind: Any, error: Any, where: Any) -> None:
        self._monkey.fault("".join(traceback.format_exception(kind, error, where)))

    def _on_notification(self, notification: Any) -> None:
        error = getattr(notification, "exception", None)
        if error is not None:
            self._monkey.fault("".join(traceback.format_exception(error)))


def _forget_late_answers(saved: Document, left: Document) -> None:
    """Give to what was saved the masks that came after its image was left.

    They are asked for again when it is opened: nobody made them.
    """
    for record in saved.objects:
        if not record.is_answered and record.id in left:
            late = left.get(record.id)
            if late.is_answered and late.revision == record.revision:
                assert late.score is not None
                saved.set_mask(
                    record.id,
                    late.region,
                    score=late.score,
                    logits=None,
                    revision=record.revision,
                )


def _facts(document: Document) -> list[Any]:
    return [
        (
            r.id,
            r.plane,
            r.class_name,
            r.committed,
            r.prompts.points.tolist(),
            r.prompts.labels.tolist(),
            r.prompts.boxes.tolist(),
            None if r.region is None else (r.region.bbox, r.region.bits),
            None if r.written is None else (r.written.bbox, r.written.bits),
        )
        for r in document.objects
    ]


def _fill(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed)
    for number in range(4):
        pixels = values.integers(0, 255, SHAPE, np.uint8)
        Image.fromarray(pixels).save(folder / f"picture{number}.png")
    for number in range(2):
        stack = values.integers(0, 255, (PLANES, *SHAPE), np.uint8)
        tifffile.imwrite(
            folder / f"stack{number}.tif",
            stack,
            photometric="minisblack",
            metadata={"axes": "ZYX"},
        )


def play(
    viewer: Any,
    folder: Path,
    *,
    acts: int,
    seed: int,
    most_seconds: float = math.inf,
) -> Monkey:
    """Let a monkey play in a viewer; see its `faults`."""
    monkey = Monkey(viewer, folder, seed)
    try:
        monkey.run(acts, most_seconds)
    finally:
        monkey.close()
    return monkey


def _write(page: Path, report: dict[str, Any]) -> None:
    """Put what the run found into its place of a page."""
    begin, end = "<!-- monkey: begin -->", "<!-- monkey: end -->"
    head, rest = page.read_text(encoding="utf-8").split(begin)
    tail = rest.split(end)[1]
    kinds = ", ".join(
        f"{name.replace('_', ' ')} {count}" for name, count in report["done"].items()
    )
    found = (
        f"{report['acts']:,} acts, seed {report['seed']}, {report['seconds']:,.0f} s: "
        f"**{len(report['faults'])} faults**.\n\nOf each kind: {kinds}."
    )
    text = f"{head}{begin}\n\n{_fill_lines(found)}\n\n{end}{tail}"
    page.write_text(text, encoding="utf-8")


def _fill_lines(text: str) -> str:
    """Break paragraphs into lines."""
    return "\n\n".join(textwrap.fill(one, 88) for one in text.split("\n\n"))


def main() -> int:
    """Play, and print seed, acts, seconds and faults as JSON."""
    import napari

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--acts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="stop earlier, after so many"
    )
    parser.add_argument("--write", type=Path, help="a page with a place for the run")
    options = parser.parse_args()
    viewer = napari.Viewer()
    viewer.window._qt_viewer.canvas.native.hide()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        gc.collect()
        gc.freeze()  # napari looks for garbage whenever a layer is removed
        monkey = play(
            viewer,
            Path(folder) / "images",
            acts=options.acts,
            seed=options.seed,
            most_seconds=60 * options.minutes,
        )
    report = {
        "seed": options.seed,
        "acts": sum(monkey.done.values()),
        "seconds": round(time.monotonic() - began, 1),
        "faults": monkey.faults,
        "done": dict(sorted(monkey.done.items())),
    }
    print(json.dumps(report, indent=1))
    if options.write:
        _write(options.write, report)
    viewer.close()
    return 1 if monkey.faults else 0


if __name__ == "__main__":
    sys.exit(main())
