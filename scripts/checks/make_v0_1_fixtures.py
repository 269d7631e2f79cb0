"""Write the files of ``tests/fixtures/v0_1`` with version 0.1, and what they hold.

To be run with the code of version 0.1 only, whose files every later version opens:

    git worktree add ../v0.1 2e47671
    cd ../v0.1
    PYTHONPATH=$PWD python PATH/scripts/checks/make_v0_1_fixtures.py OUT

``expected.json`` says what the files hold, as version 0.1 saw it; `describe` makes that
description, and the tests make it again of what is read today. The clock stands still,
so that no file says when it was made.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import napari_promise
from napari_promise.document import Document, LabelPatch, Region
from napari_promise.prompts import Prompts

SHAPE = (72, 96)
STACK = (3, 40, 60)
#: (row, column, radius) of the bright discs of every picture.
DISCS = ((24, 30, 12), (46, 70, 15))
_MOMENT = 978_350_400  # seconds; whatever it is, it says nothing


def picture(seed: int) -> np.ndarray:
    """Return a picture with two bright discs on a shaded ground, (72, 96, 3) uint8."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    grey = 40 + 30 * np.sin(rows / 9 + seed) + 10 * np.cos(columns / 7)
    for row, column, radius in DISCS:
        grey[np.hypot(rows - row, columns - column) < radius] += 130
    shades = [grey * share for share in (1, 0.85, 0.7)]
    return np.clip(np.stack(shades, -1), 0, 255).astype(np.uint8)


def digest(array: Any) -> str:
    """Name an array of integers or bools by its shape and values."""
    values = np.ascontiguousarray(array).astype("<i8")
    mark = hashlib.blake2b(repr(values.shape).encode(), digest_size=8)
    mark.update(values.tobytes())
    return mark.hexdigest()


def describe_object(record: Any) -> dict[str, Any]:
    """Return what an object is: its prompts, its mask, its place among the others."""
    region, prompts = record.region, record.prompts
    return {
        "id": record.id,
        "plane": list(record.plane),
        "class": record.class_name,
        "points": prompts.points.tolist(),
        "labels": prompts.labels.tolist(),
        "boxes": prompts.boxes.tolist(),
        "sources": list(record.sources),
        "score": None if record.score is None else round(float(record.score), 6),
        "committed": record.committed,
        "answered": record.is_answered,
        "mask": None if region is None else digest(region.mask),
    }


def describe_document(document: Document) -> dict[str, Any]:
    """Return what a document holds now."""
    return {
        "active": document.active_id,
        "next_id": document.next_id,
        "objects": [describe_object(record) for record in document.objects],
    }


def describe(document: Document, labels: np.ndarray) -> dict[str, Any]:
    """Return all that a document and its labels hold, to the first step and back.

    Parameters
    ----------
    document : Document
        As it is afterwards, undone and done again.
    labels : (..., H, W) integer
        They follow the document.

    Returns
    -------
    dict
        Plain data.
    """

    def now() -> dict[str, Any]:
        return {**describe_document(document), "labels": digest(labels)}

    first, undone, redone = now(), [], []
    while document.undo_name:
        name = document.undo_name
        document.undo()
        undone.append({"name": name, "then": now()})
    for _ in undone:
        document.redo()
        redone.append(digest(labels))
    return {"now": first, "undone": undone, "redone": redone}


class Annotator:
    """Works on one image of a project, as the widgets do it with layers."""

    def __init__(self, project: Any, key: str, shape: tuple[int, ...]) -> None:
        self.project, self.key, self.clicks = project, key, 0
        self.document = Document()
        found = project.restore(key, self.document)
        self.labels = np.zeros(shape, np.uint16) if found is None else found
        self.document.events.labels_patched.connect(lambda p: p.apply(self.labels))

    def click(
        self,
        row: float,
        column: float,
        label: int = 1,
        plane: tuple[int, ...] = (),
        answer: Any = None,
    ) -> int:
        """Add a point; `answer` gives the mask of a record, else a square does."""
        active = self.document.active
        if active is None or active.plane != plane:
            active = self.document.new_object(plane)
        points = [*active.prompts.points.tolist(), (row, column)]
        labels = [*active.prompts.labels.tolist(), label]
        record = self.document.edit_prompts(active.id, points=points, labels=labels)
        if answer is None:
            result = _square(record, self.labels.shape[-2:])
        else:
            result = answer(record.prompts)
        region, score, logits = result
        self.document.set_mask(
            record.id, region, score=score, logits=logits, revision=record.revision
        )
        self.clicks += 1
        return record.id

    def commit(self) -> None:
        """Write the active object into the labels, and begin another."""
        active = self.document.active
        assert active is not None
        self.document.commit(active.id, self.labels[active.plane])
        self.document.active_id = None

    def paint(self, row: int, column: int, value: int) -> None:
        """Paint a square of five pixels into the labels by hand."""
        rows, columns = np.mgrid[row : row + 5, column : column + 5].reshape(2, -1)
        before = self.labels[rows, columns]
        patch = LabelPatch.from_pixels((), rows, columns, before, value, SHAPE)
        self.labels[rows, columns] = value
        self.document.record_paint([patch])

    def save(self, **options: Any) -> None:
        """Save, and count the clicks."""
        self.project.save(
            self.key, self.document, self.labels, clicks=self.clicks, **options
        )


def _square(record: Any, shape: tuple[int, int]) -> tuple[Any, float, Any]:
    mask = np.zeros(shape, bool)
    for row, column in record.prompts.points[record.prompts.labels == 1].astype(int):
        mask[max(row - 5, 0) : row + 5, max(column - 5, 0) : column + 6] = True
    ramp = np.linspace(-4, 4, 256, dtype=np.float16).astype(np.float32)
    logits = ramp.reshape(1, 16, 16)
    logits.flags.writeable = False
    return Region.from_mask(mask), 0.875, logits


def write_project(folder: Path, tiny: Any) -> dict[str, Any]:
    """Write pictures and their project; return what `expected.json` says of them."""
    import tifffile

    from napari_promise.project import Project, ProposedObject

    folder.mkdir()
    for seed, name in enumerate(("a", "b", "c", "d", "e", "f")):
        Image.fromarray(picture(seed)).save(folder / f"{name}.png", optimize=True)
    planes = np.stack([picture(n)[: STACK[1], : STACK[2], 0] for n in range(STACK[0])])
    tifffile.imwrite(folder / "stack.tif", planes, compression="zlib")

    embedding = tiny.encode(picture(1))

    def answer(prompts: Prompts) -> tuple[Any, float, Any]:
        found = tiny.segment(embedding, prompts)
        return found.region, found.score, found.logits

    def proposed(row: int, column: int) -> ProposedObject:
        mask = np.zeros(SHAPE, bool)
        mask[row - 8 : row + 8, column - 8 : column + 8] = True
        coarse = np.linspace(-2, 2, 256, dtype=np.float32).reshape(1, 16, 16)
        prompts = Prompts([(row, column), (2, 2)], [1, 0], scores=[0.75, 0.5])
        return ProposedObject(
            prompts, Region.from_mask(mask), 0.8125, coarse, coarse, class_name="cyst"
        )

    expected: dict[str, Any] = {}

    def note(one: Annotator) -> None:
        expected[one.key] = describe(one.document, one.labels)

    with Project.open(folder) as project:
        project.settings.user = "reader"
        project.settings.class_name = "lesion"
        project.settings.retrain_every = 10
        project.settings.order = "confidence"
        # a: done, two objects, one of them corrected after a commit, saved twice
        one = Annotator(project, "a.png", SHAPE)
        one.click(24, 30)
        one.document.set_class(1, "lesion")
        one.commit()
        one.save()
        one.click(46, 70)
        one.click(50, 74)
        one.click(5, 5, 0)
        one.commit()
        one.document.active_id = 1
        one.click(26, 34)
        one.commit()
        one.save(state="done")
        note(one)
        # b: in work, a mask of promise-tiny with a correction, and a stroke
        one = Annotator(project, "b.png", SHAPE)
        one.paint(2, 80, 1)
        one.document.reserve(1)
        one.click(46, 70, answer=answer)
        one.click(60, 70, 0, answer=answer)
        one.save()
        note(one)
        record = one.document.active
        assert record is not None
        assert record.prompts.logits is not None
        # c: skipped with work on it; the last step was undone
        one = Annotator(project, "c.png", SHAPE)
        one.click(24, 30)
        one.commit()
        one.click(46, 70)
        one.document.undo()
        one.save()
        project.set_states(["c.png"], "skipped")
        note(one)
        # d: proposed; e: a proposal that was confirmed as it was; f: new
        details = {"score": 0.8125, "stability": [0.9, 0.7], "adapter": "polyp"}
        project.save_proposal(
            "d.png", [proposed(24, 30), proposed(46, 70)], 0.5, details
        )
        project.save_proposal("e.png", [proposed(24, 30)], 0.75, {"score": 0.8125})
        project.accept_proposal("e.png")
        # the stack: done, an object on each of two planes
        one = Annotator(project, "stack.tif", STACK)
        one.click(24, 30, plane=(0,))
        one.commit()
        one.click(20, 20, plane=(2,))
        one.commit()
        one.save(state="done")
        note(one)
        project.set_held_out([(0.1 * n, min(1.0, 0.05 + 0.1 * n)) for n in range(10)])
        project.log_trained("mine")
        project.restore("b.png", Document())
        stored = project.load("e.png")
        assert stored is not None
        assert stored.labels is not None
        calibration = project.calibration
        assert calibration is not None
        effort = project.effort()
        return {
            "items": {
                item.key: [
                    item.state,
                    item.objects,
                    None if item.confidence is None else round(item.confidence, 6),
                    item.by,
                    item.clicks,
                    item.untouched,
                ]
                for item in project.items
            },
            "reopen": project.reopen_key,
            "order": project.by_confidence(),
            "calibrated": round(calibration(0.5), 6),
            "finished": [[f.key, f.clicks, f.untouched] for f in effort.finished],
            "trained": [list(entry) for entry in effort.trained],
            "work": expected,
            "accepted": digest(stored.labels),
            "proposal": [describe_object(r) for r in project.proposal("d.png") or ()],
            "details": details,
            "pairs": sorted(pair.image.name for pair in project.training_pairs()),
        }


def write_prompts(path: Path, tiny: Any) -> dict[str, Any]:
    """Write a prompts file of two objects; return their masks."""
    from napari_promise.data.prompts_file import SavedObject, save_prompts
    from napari_promise.data.provenance import provenance

    embedding = tiny.encode(picture(0))
    first = tiny.segment(embedding, Prompts([(46, 70)]))
    corrected = Prompts(
        [(46, 70), (62, 70)], [1, 0], logits=first.logits, answered=[True, False]
    )
    prompts = [corrected, Prompts([(24, 30)], boxes=[(10, 16, 38, 44)])]
    masks = [tiny.segment(embedding, p) for p in prompts]
    saved = [
        SavedObject(
            number,
            one,
            class_name="lesion",
            sources=("auto", "user")[: len(one.points)],
            score=round(mask.score, 6),
            committed=True,
            coarse=np.linspace(-2, 2, 64, dtype=np.float32).reshape(1, 8, 8),
        )
        for number, (one, mask) in enumerate(zip(prompts, masks, strict=True), start=1)
    ]
    about = {"name": "a.png", "digest": {"": "0" * 32}}
    made_by = provenance(model=tiny.model_id, model_sha256=tiny.sha256, image=about)
    save_prompts(path, saved, image=about, metadata=made_by)
    return {
        "model_sha256": tiny.sha256,
        "objects": [
            {
                "id": one.id,
                "class": one.class_name,
                "points": one.prompts.points.tolist(),
                "labels": one.prompts.labels.tolist(),
                "boxes": one.prompts.boxes.tolist(),
                "sources": list(one.sources),
                "score": one.score,
                "mask": digest(mask.mask),
            }
            for one, mask in zip(saved, masks, strict=True)
        ],
    }


def write_adapter(out: Path, tiny: Any) -> dict[str, Any]:
    """Write a small adapter as a folder and as a file; return what it proposes."""
    import torch

    from napari_promise.model.adapter_files import export_file
    from napari_promise.model.adapters import Adapter, AdapterInfo, save_adapter
    from napari_promise.model.auto_prompt import HeatmapAPM
    from napari_promise.segmenter import Segmenter

    torch.manual_seed(1)
    embedding = tiny.encode(picture(0))
    channels = [level.shape[-3] for level in embedding.levels]
    info = AdapterInfo(
        "small",
        tiny.model_id,
        tiny.sha256,
        points=6,
        ips=False,
        class_name="disc",
        scores={"test": {"discs": {"automatic": {"dice": 0.5}}}},
        licence="none",
        created="",
    )
    apm = HeatmapAPM(channels, width=8)
    folder = save_adapter(Adapter(info, apm), out / "adapter")
    export_file(folder, out / "small.promise-adapter")
    adapted = Segmenter(tiny.sam)
    adapted.adapter = folder
    found = adapted.propose(embedding)
    return {
        "name": "small",
        "class": "disc",
        "sha256": adapted.adapter_sha256,
        "points": found.points.tolist(),
        "labels": found.labels.tolist(),
        "mask": digest(adapted.segment(embedding, found).mask),
    }


def write_caches(out: Path) -> dict[str, Any]:
    """Write an embedding, a view, a run's state and preferences; say what is there."""
    import torch

    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.preferences import write_preferences
    from napari_promise.segmenter import Segmenter
    from napari_promise.session.settings import Settings
    from napari_promise.training.run_state import save_state
    from napari_promise.training.view_cache import Target, ViewCache, view_key
    from tests.conftest import build_micro_sam

    micro = Segmenter(build_micro_sam())
    embedding = micro.encode(picture(0))
    cache = EmbeddingCache(out / "embeddings", memory_bytes=0, disk_bytes=10**7)
    key = ("0" * 32, "micro-000000000000")
    cache.put(key, embedding.to_arrays(), {"image": "a.png"})
    restored = micro.restore(cache.get(key) or {})
    mask = micro.segment(restored, Prompts([(24, 30)])).mask

    views = ViewCache(out / "views")
    name = view_key("1" * 64, "plain", "2" * 64, 64, 1)
    views.put(name, "image", [torch.arange(32).reshape(2, 4, 4) / 8])
    truth = np.zeros((48, 64), bool)
    truth[10:20, 30:50] = True
    share = np.arange(64, dtype=np.uint8).reshape(8, 8)
    views.put_target(name, "3" * 64, Target((48, 64), share, truth))

    state = {"epoch": 3, "scores": {"automatic": 0.5}, "weights": torch.arange(4.0)}
    save_state(out / "run", "of this run", state)

    settings = Settings(adapter="polyp", live=False, overlap="overwrite")
    settings.cache_quota_mb = 1234
    values = {**settings.to_preferences(), "window": {"open": True}}
    write_preferences(out / "preferences.json", values)
    return {
        "embedding_key": list(key),
        "embedding_mask": digest(mask),
        "view": name,
        "preferences": values,
    }


def main(out: Path) -> None:
    """Write everything into a folder that is made anew."""
    from napari_promise.segmenter import Segmenter

    if napari_promise.__version__ != "0.1.0" or hasattr(napari_promise, "files"):
        raise SystemExit("this is to be run with version 0.1: see the first lines")
    _stop_the_clock()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tiny = Segmenter.load("promise-tiny", device="cpu")
    expected: Mapping[str, Any] = {
        "project": write_project(out / "project", tiny),
        "prompts": write_prompts(out / "a.prompts.json", tiny),
        "adapter": write_adapter(out, tiny),
        "caches": write_caches(out),
    }
    text = json.dumps(expected, indent=1, ensure_ascii=False)
    (out / "expected.json").write_text(text + "\n", encoding="utf-8")


def _stop_the_clock() -> None:
    class Standing(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Standing:
            return cls.fromtimestamp(_MOMENT, tz)

    for name in ("napari_promise.data.files",):
        module = __import__(name, fromlist=["datetime"])
        module.datetime = Standing
    time.time = lambda: float(_MOMENT)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
