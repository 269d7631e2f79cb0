"""Measure what annotating a folder costs: clicks an image, in a real window.

A simulated person works through images with both docks of a napari window, as a person
would: opens the folder, looks at what is proposed, clicks into the middle of the
largest error (`simulated_prompts.next_click`) until the mask has an IoU of .85 with the
true one, ten times at most, and confirms with *Done & next*. Once an arm over the same
images in the same order:

scratch   frozen SAM alone, no adapter
adapter   the bundled adapter ``polyp``, everything proposed at the beginning
learning  no adapter to begin with; the dock trains one on what is done every ten
          images (*every 10*), it is kept, and everything that waits is proposed for
          again
instant   no adapter at all; each image opens with what those before it suggest
both      ``instant`` until the dock has trained an adapter, and then whichever of the
          two the dock found better

Somebody who sees a suggestion takes it (one key) where it overlaps the true mask with
an IoU of .5 or more, and clicks as without it elsewhere; keys are not counted as
clicks, what was taken is written down.

The images are of the part ``val`` of kvasir-seg (see `datasets`): ``polyp`` was not
trained on them, though the choice of its best pass looked at them, and so did the
choice of the instant adapter's penalty. Other sets (``--set``, see
`scripts.study.instant`) give images of all their parts in turn. The person waits
while an adapter is trained; somebody who does not would have some images more without.

    python -m scripts.checks.annotate_session --images 40

writes ``docs/images/annotate-clicks.json`` and ``.png``; arms that are not asked for
are kept from the file that is there.
Knows the docks, and masks that are true.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise import demo
from napari_promise.files import parse_json, save_json, utc_now, whole_file
from napari_promise.proposing import iou
from scripts.study import datasets, instant

ENOUGH, MOST = 0.85, 10
EVERY = 10
WINDOW = 10  # images of the running mean
#: IoU from which a suggestion is taken: a person sees whether it is mostly right.
TAKEN = 0.5
ARMS = ("scratch", "adapter", "learning", "instant", "both")
TITLES = {
    "scratch": "frozen SAM, from scratch",
    "adapter": "bundled adapter “polyp”",
    "learning": "no adapter at first, trained every 10 images",
    "instant": "instant suggestions from the second image on",
    "both": "instant, and trained every 10 images",
}
PICTURE = Path("docs/images/annotate-clicks.png")


@dataclass
class Course:
    """How one arm went.

    Attributes
    ----------
    arm : str
    images : list of str
    clicks : list of int
    first_iou, iou : list of float
        Of the mask before the first click, and of the one that was confirmed.
    click_seconds : list of float
        From each click to its mask.
    open_seconds : list of float
        From *Done & next* to the next image on display and encoded, and to what is
        suggested for it where that is on.
    suggest_seconds : list of float
        Of these, from the image on display and encoded to the suggestion.
    taken : list of bool
        Whether a suggestion was taken.
    trained : list of dict
        After how many images, on how many, and the seconds it took.
    """

    arm: str
    images: list[str] = field(default_factory=list)
    clicks: list[int] = field(default_factory=list)
    first_iou: list[float] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)
    click_seconds: list[float] = field(default_factory=list)
    open_seconds: list[float] = field(default_factory=list)
    suggest_seconds: list[float] = field(default_factory=list)
    taken: list[bool] = field(default_factory=list)
    trained: list[dict[str, Any]] = field(default_factory=list)
    untouched_share: float | None = None
    seconds: float = 0.0


class Person:
    """Works through a folder in a window of its own.

    Parameters
    ----------
    arm : str
    pairs : sequence of (datasets.Pair, (H, W) bool)
        Images and what is true of them.
    work : Path
        A folder for the images and what is kept of them.
    every : int
        After how many images the arm ``learning`` trains.
    model : str
    """

    def __init__(
        self,
        arm: str,
        pairs: Sequence[tuple[datasets.Pair, np.ndarray]],
        work: Path,
        every: int = EVERY,
        model: str = demo.MODEL,
    ) -> None:
        import napari

        from napari_promise.data.embeddings import EmbeddingCache
        from napari_promise.session import Session, Settings
        from napari_promise.widgets.dispatch import GuiDispatcher
        from napari_promise.widgets.folder.dock import FolderWidget
        from napari_promise.widgets.prompting.dock import PromiseWidget

        self.course = Course(arm)
        self._learns = arm in ("learning", "both")
        self._suggests = arm in ("instant", "both")
        self._every = every
        os.environ["NAPARI_PROMISE_ADAPTERS"] = str(work / "adapters")
        self._source = work / "images"
        self._source.mkdir(parents=True)
        self._truths = {}
        for number, (pair, truth) in enumerate(pairs):
            name = f"{number:03d}-{pair.image.name}"
            self._truths[name] = truth
            shutil.copy(pair.image, self._source / name)
        self._failures: list[str] = []
        self.viewer = napari.Viewer(title=f"ProMISe: {arm}")
        window = self.viewer.window._qt_window
        window.resize(*demo.WINDOW)
        adapter = demo.SAMPLES["endoscopy"].adapter if arm == "adapter" else ""
        self.session = Session(
            dispatch=GuiDispatcher(),
            settings=Settings(model=model, adapter=adapter),
            cache=EmbeddingCache(work / "embeddings"),
        )
        self.session.failed.connect(self._failures.append)
        self.promise = PromiseWidget(self.viewer, self.session)
        self.viewer.window.add_dock_widget(self.promise, name="ProMISe", area="right")
        self.folder = FolderWidget(self.viewer)
        self.viewer.window.add_dock_widget(
            self.folder, name="ProMISe: annotate folder", area="right"
        )

    def close(self) -> None:
        """Close docks and window."""
        self.folder.close_down()
        self.promise.close_down()
        self.viewer.close()

    def annotate(self) -> Course:
        """Work through all images."""
        began = time.monotonic()
        self.folder.open_project(self._source)
        self._until(lambda: self._key() is not None, "opening the folder")
        project = self.folder.project
        assert project is not None
        project.settings.suggest = self._suggests
        if self._learns:
            project.settings.retrain_every = self._every
        if self.session.settings.adapter:
            self._propose()
        for number, key in enumerate(project.keys, start=1):
            if self._key() != key:
                self.folder.open_image(key)
            self._until(lambda key=key: self._is_ready(key), f"opening {key}")
            self._annotate(key)
            last = number == len(project.keys)
            self._finish(key, last)
            if self._learns and number % self._every == 0 and not last:
                self._learn(number)
            print(
                f"{self.course.arm} {number}: {self.course.clicks[-1]} clicks, "
                f"IoU {self.course.first_iou[-1]:.2f} → {self.course.iou[-1]:.2f}",
                flush=True,
            )
        effort = project.learning.effort()
        assert list(effort.clicks) == self.course.clicks, "the log says otherwise"
        self.course.untouched_share = effort.untouched_share
        self.course.seconds = time.monotonic() - began
        return self.course

    # -- one image ----------------------------------------------------------------

    def _annotate(self, key: str) -> None:
        from napari_promise.training.simulated_prompts import next_click

        truth = self._truths[key]
        clicks = 0
        self.course.taken.append(self._take(truth))
        mask = self._mask(truth.shape)
        first = reached = iou(mask, truth)
        while reached < ENOUGH and clicks < MOST:
            wrong = next_click(mask, truth)
            if wrong is None:
                break
            (row, column), label = wrong
            asked = time.monotonic()
            self.promise.actions.choose_include(label == 1)
            self._points().add((row, column))
            self._until(self._is_answered, "the mask of a click")
            self.course.click_seconds.append(round(time.monotonic() - asked, 4))
            clicks += 1
            mask = self._mask(truth.shape)
            reached = iou(mask, truth)
        self.course.images.append(key)
        self.course.clicks.append(clicks)
        self.course.first_iou.append(round(first, 4))
        self.course.iou.append(round(reached, 4))

    def _take(self, truth: np.ndarray) -> bool:
        """Take what is suggested where it is mostly right."""
        suggestions = self._suggestions()
        document = self._document()
        found = np.zeros(truth.shape, bool)
        for object_id in suggestions.ids:
            region = document.get(object_id).region
            found |= False if region is None else region.mask
        if not suggestions.ids or iou(found, truth) < TAKEN:
            return False
        self.folder.take()
        return True

    def _suggestions(self) -> Any:
        assert self.folder._opened is not None
        return self.folder._opened.suggestions

    def is_prefetching(self) -> bool:
        """Whether the next images are being encoded, or are about to be."""
        runs = self.folder.runs
        waits = self.folder._ahead.isActive()
        return waits or (runs is not None and runs.is_prefetching)

    def _finish(self, key: str, last: bool) -> None:
        project = self.folder.project
        assert project is not None
        asked = time.monotonic()
        self.folder.steps.finish.click()
        self._until(lambda: project.item(key).state == "done", f"confirming {key}")
        if not last:
            self._until(lambda: self._key() != key, "opening the next image")
            self._until(lambda: self._is_encoded(self._key()), "encoding the next")
            encoded = time.monotonic()
            self._until(lambda: self._is_ready(self._key()), "what is suggested")
            if self._suggests:
                seconds = round(time.monotonic() - encoded, 4)
                self.course.suggest_seconds.append(seconds)
            self.course.open_seconds.append(round(time.monotonic() - asked, 4))

    def _mask(self, shape: tuple[int, ...]) -> np.ndarray:
        document = self._document()
        if document.active is None or document.active.region is None:
            return np.zeros(shape, bool)
        mask: np.ndarray = document.active.region.mask
        return mask

    def _is_ready(self, key: str | None) -> bool:
        return self._is_encoded(key) and not self._suggestions().is_asking

    def _is_encoded(self, key: str | None) -> bool:
        bridge = self.promise.bridge
        return (
            key is not None
            and self._key() == key
            and self.folder.work is not None
            and bridge.work is self.folder.work.work
            and self.session.status.state == "ready"
        )

    def _is_answered(self) -> bool:
        active = self._document().active
        return active is not None and active.is_answered and not active.is_blank

    def _document(self) -> Any:
        assert self.promise.bridge.work is not None
        return self.promise.bridge.work.document

    def _points(self) -> Any:
        assert self.promise.bridge.work is not None
        return self.promise.bridge.work.points.layer

    def _key(self) -> str | None:
        work = self.folder.work
        return None if work is None or work.wanted != work.key else work.key

    # -- the folder ---------------------------------------------------------------

    def _propose(self) -> None:
        self.folder.jobs.propose.click()
        self._until(
            lambda: self.folder.jobs.propose.isEnabled(), "proposing", patience=3600
        )

    def _learn(self, number: int) -> None:
        """Wait for the adapter that the dock trains, keep it, propose again."""
        training = self.promise.training
        self._until(lambda: training.job is not None, "beginning to train")
        began = time.monotonic()
        self._until(lambda: training.job is None, "training", patience=3600)
        if training.outcome is None:
            raise RuntimeError(f"training: {training.panel.summary.text()}")
        seconds = time.monotonic() - began
        scores = training.outcome.adapter.info.scores
        self.course.trained.append(
            {"after": number, "seconds": round(seconds, 1), "scores": scores}
        )
        name = training.panel.naming().name
        training.panel.keep.click()
        self._until(lambda: self.session.settings.adapter == name, "keeping it")
        self._until(lambda: self.session.adapter_info is not None, "the adapter")
        self._until(lambda: not self._suggestions().is_comparing, "comparing")
        project = self.folder.project
        assert project is not None
        if not self._suggests or project.settings.suggester:
            self._propose()
        self._until(lambda: self._is_ready(self._key()), "going on")

    def _until(
        self, condition: Callable[[], bool], doing: str, patience: float = 300
    ) -> None:
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + patience
        while not condition():
            QApplication.processEvents()
            if self._failures:
                raise RuntimeError(f"{doing}: {self._failures[0]}")
            if time.monotonic() > end:
                raise RuntimeError(f"{doing} took more than {patience:.0f} s")
            time.sleep(0.002)


def running(values: Sequence[float]) -> list[float]:
    """Return the mean of each value and those before it, `WINDOW` at most."""
    return [
        float(np.mean(values[max(0, end - WINDOW) : end]))
        for end in range(1, len(values) + 1)
    ]


_SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = (960, 480), 56, 24, 124, 48
_COLOURS = {
    "scratch": (120, 120, 120),
    "adapter": (31, 119, 180),
    "learning": (214, 39, 40),
    "instant": (44, 140, 60),
    "both": (148, 80, 190),
}


def draw(courses: Sequence[Course]) -> Any:
    """Draw clicks an image: dots, and their running mean as lines.

    Parameters
    ----------
    courses : sequence of Course

    Returns
    -------
    PIL.Image.Image
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", _SIZE, "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(14)
    count = max(len(course.clicks) for course in courses)
    width, height = _SIZE[0] - _LEFT - _RIGHT, _SIZE[1] - _TOP - _BOTTOM

    def place(number: float, clicks: float) -> tuple[float, float]:
        x = _LEFT + width * (number - 0.5) / count
        return x, _TOP + height * (1 - clicks / MOST)

    for clicks in range(0, MOST + 1, 2):
        pen.line([place(0.5, clicks), place(count + 0.5, clicks)], fill=(225, 225, 225))
        x, y = place(0.5, clicks)
        pen.text((x - 8, y), str(clicks), "black", font, anchor="rm")
    for number in sorted({1, *range(EVERY, count + 1, EVERY)}):
        x, y = place(number, 0)
        pen.text((x, y + 14), str(number), "black", font, anchor="mm")
    middle = _LEFT + width / 2
    pen.text((middle, _SIZE[1] - 14), "image", "black", font, anchor="mm")
    for row, course in enumerate(courses):
        colour = _COLOURS[course.arm]
        shift = 0.16 * (row - (len(courses) - 1) / 2)
        for trained in course.trained:
            x, y = place(trained["after"] + 0.5, 0)
            for dash in range(_TOP, round(y), 8):
                pen.line([(x, dash), (x, dash + 4)], fill=colour)
        for number, clicks in enumerate(course.clicks, start=1):
            x, y = place(number + shift, clicks)
            pen.ellipse([x - 3.5, y - 3.5, x + 3.5, y + 3.5], fill=colour)
        means = running(course.clicks)
        line = [place(number, mean) for number, mean in enumerate(means, start=1)]
        pen.line(line, fill=colour, width=3)
        y = 16 + 20 * row
        pen.line([(_LEFT, y), (_LEFT + 28, y)], fill=colour, width=3)
        mean = float(np.mean(course.clicks))
        text = f"{TITLES[course.arm]}: {mean:.2f} clicks an image"
        pen.text((_LEFT + 36, y), text, "black", font, anchor="lm")
    note = f"dots: images; lines: mean of the last {WINDOW}"
    pen.text((_SIZE[0] - _RIGHT, 16), note, (110, 110, 110), font, anchor="rm")
    return picture


def summary(course: Course) -> dict[str, Any]:
    """Say an arm in a few figures."""
    clicks = np.array(course.clicks, float)
    return {
        "arm": course.arm,
        "images": len(clicks),
        "clicks_mean": round(float(clicks.mean()), 3),
        "clicks_last_10": round(float(clicks[-WINDOW:].mean()), 3),
        "without_a_click": round(float((clicks == 0).mean()), 3),
        "not_reached": int((np.array(course.iou) < ENOUGH).sum()),
        "iou_mean": round(float(np.mean(course.iou)), 4),
        "click_seconds_median": _median(course.click_seconds),
        "open_seconds_median": _median(course.open_seconds),
        "suggest_seconds_median": _median(course.suggest_seconds),
        "taken": int(sum(course.taken)),
        "seconds": round(course.seconds, 1),
    }


def _median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 4) if values else None


def images_of(name: str, most: int) -> list[tuple[datasets.Pair, np.ndarray]]:
    """Return images of a set with what is true of them, always in the same order.

    Parameters
    ----------
    name : str
        "kvasir-seg", of which the part val is taken, or another of
        `scripts.study.instant.SETS`, of which the parts are taken in turn.
    most : int
    """
    parts = ("val",) if name == "kvasir-seg" else ("val", "test", "train")
    found = [
        (pair, instant.true_mask(name, pair))
        for part in parts
        for pair in instant.listed(name, part)
    ]
    return [(pair, mask) for pair, mask in found if mask.any()][:most]


def run(
    arms: Sequence[str],
    images: int,
    *,
    name: str = "kvasir-seg",
    every: int = EVERY,
    model: str = demo.MODEL,
    shots: Path | None = None,
) -> list[Course]:
    """Work through the images once an arm.

    Parameters
    ----------
    arms : sequence of str
    images : int
    name : str
        Of the set, see `images_of`.
    every : int
        After how many images the arm ``learning`` trains.
    model : str
    shots : Path, optional
        Folder for a picture of the window of each arm at its end.

    Returns
    -------
    list of Course
    """
    pairs = images_of(name, images)
    courses = []
    for arm in arms:
        with tempfile.TemporaryDirectory(prefix="annotate-") as work:
            person = Person(arm, pairs, Path(work), every, model)
            try:
                courses.append(person.annotate())
                if shots is not None:
                    demo._wait_a_moment()
                    shots.mkdir(parents=True, exist_ok=True)
                    path = str(shots / f"annotate-{arm}.png")
                    person.viewer.screenshot(path, canvas_only=False, flash=False)
            finally:
                person.close()
    return courses


def earlier(
    path: Path, name: str, model: str, images: int, without: Sequence[str]
) -> list[Course]:
    """Return arms of the file that is there, of the same set, model and many images."""
    if not path.exists():
        return []
    record = parse_json(path.read_text(encoding="utf-8"))
    if (record.get("set"), record.get("model", demo.MODEL)) != (name, model):
        return []
    courses = [Course(**one) for one in record["courses"] if one["arm"] not in without]
    return [course for course in courses if len(course.clicks) == images]


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the figures and the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=40, help="at most 90")
    parser.add_argument("--every", type=int, default=EVERY, help="images a training")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--set", choices=instant.SETS, default="kvasir-seg")
    parser.add_argument("--model", default=demo.MODEL, help="promise-medical, say")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/images/annotate-clicks.json")
    )
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--shots", type=Path, help="folder for pictures of the window")
    asked = parser.parse_args(arguments)
    if not 1 <= asked.images <= 90:
        parser.error(f"--images must be 1 to 90, got {asked.images}")
    with demo._screen(demo._has_display()):
        courses = run(
            asked.arms,
            asked.images,
            name=asked.set,
            every=asked.every,
            model=asked.model,
            shots=asked.shots,
        )
    named = "kvasir-seg, part val" if asked.set == "kvasir-seg" else asked.set
    kept = earlier(asked.out, named, asked.model, asked.images, asked.arms)
    courses = [*kept, *courses]
    record = {
        "set": named,
        "model": asked.model,
        "until_iou": ENOUGH,
        "most_clicks": MOST,
        "trained_every": asked.every,
        "when": utc_now(),
        "summary": [summary(course) for course in courses],
        "courses": [asdict(course) for course in courses],
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    save_json(asked.out, record, overwrite=True)
    asked.picture.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(asked.picture, overwrite=True) as part:
        draw(courses).save(part, "PNG", optimize=True)
    print(json.dumps(record["summary"], indent=1))


if __name__ == "__main__":
    main()
