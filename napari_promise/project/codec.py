"""Turn a document with its undo history into JSON and blobs, and back exactly.

Arrays and compressed pixels go into blobs, everything else into plain data. What two
steps share is written once and shared again when read: hundreds of steps hold the same
records, masks and logits. Version 1, of napari-promise 0.1, is read too.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import (
    BBox,
    LabelPatch,
    MaskLogits,
    ObjectRecord,
    Overlap,
    PendingCommit,
    Region,
    SmallLogits,
    Snapshot,
    Step,
)
from napari_promise.files import check_version, written_by
from napari_promise.prompts import Before, Prompts

__all__ = ["Get", "Put", "Ref", "decode", "encode", "salvage"]

#: Where a blob lies; plain data.
Ref = list[int]
#: Keeps a blob: its owner, by whose identity it is known again, and how it is made.
Put = Callable[[Any, Callable[[], bytes]], Ref]
#: Returns a blob; raises ValueError where it is damaged or gone.
Get = Callable[[Ref], bytes]

_VERSION = 2
_T = TypeVar("_T")


def encode(snapshot: Snapshot, put: Put) -> dict[str, Any]:
    """Return a snapshot as plain data, its arrays handed to `put`.

    Parameters
    ----------
    snapshot : Snapshot
    put : callable

    Returns
    -------
    dict
        What the json module can write.
    """
    return _Encoder(put).snapshot(snapshot)


def decode(data: Mapping[str, Any], get: Get) -> tuple[Snapshot, list[tuple[Any, Ref]]]:
    """Return the snapshot that `encode` wrote, its arrays asked of `get`.

    Parameters
    ----------
    data : mapping
    get : callable

    Returns
    -------
    snapshot : Snapshot
    owners : list of (object, Ref)
        Which object came from which blob, so that it need not be written again.

    Raises
    ------
    ValueError
        If anything is missing or damaged.
    NewerFileError
        If a later version of the program wrote it.
    """
    check_version(data, _VERSION, "the history")
    try:
        decoder = _Decoder(data, get)
        return decoder.snapshot(), decoder.owners
    except (
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        OverflowError,
        zlib.error,
    ) as error:
        raise ValueError(
            f"the history is damaged ({type(error).__name__}: {error})."
        ) from error


def salvage(
    data: Mapping[str, Any], labels: NDArray[Any] | None
) -> tuple[ObjectRecord, ...]:
    """Return what is left of the objects where the blobs are lost.

    Points and boxes stand in the plain data, masks in the labels. What is lost: the
    history, logits, masks as prompts, and masks that were never committed.

    Parameters
    ----------
    data : mapping
        What `encode` returned.
    labels : (..., H, W) integer or None

    Returns
    -------
    tuple of ObjectRecord
        Empty where the plain data are damaged too.
    """
    found = []
    try:
        for revision, index in enumerate(data["records"], start=1):
            entry = data["objects"][index]
            stated = data["prompts"][entry["prompts"]]
            plane = tuple(int(i) for i in entry["plane"])
            written = None
            if labels is not None and entry["written"] is not None:
                label = entry.get("label", entry["id"])
                written = Region.from_mask(labels[plane] == label)
            found.append(
                ObjectRecord(
                    int(entry["id"]),
                    plane,
                    str(entry["class"]),
                    Prompts(stated["points"], stated["labels"], stated["boxes"]),
                    tuple(entry["sources"]),
                    region=written,
                    score=entry["score"],
                    revision=revision,
                    committed=written is not None and bool(entry["committed"]),
                    written=written,
                    label=int(entry.get("label", 0)),
                )
            )
    except (
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        OverflowError,
        ValueError,
    ):
        return ()
    # A mask without logits answers nothing that could be added to; where it is in
    # the labels it counts as the answer, so that no model is asked to replace it.
    return tuple(
        r
        if r.region is None
        else dataclasses.replace(r, answered=r.prompts, answered_revision=r.revision)
        for r in found
    )


class _Table:
    """Gives every object a number, by identity, and keeps it alive meanwhile."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._numbers: dict[int, tuple[int, Any]] = {}

    def number(self, owner: _T, make: Callable[[_T], Any]) -> int:
        known = self._numbers.get(id(owner))
        if known is not None:
            return known[0]
        row = make(owner)
        self.rows.append(row)
        self._numbers[id(owner)] = (len(self.rows) - 1, owner)
        return len(self.rows) - 1


class _Encoder:
    def __init__(self, put: Put) -> None:
        self._put = put
        self._arrays, self._regions = _Table(), _Table()
        self._prompts, self._objects, self._logits = _Table(), _Table(), _Table()

    def snapshot(self, snapshot: Snapshot) -> dict[str, Any]:
        records = [self._object(record) for record in snapshot.records]
        undo = [self._step(step) for step in snapshot.undo]
        redo = [self._step(step) for step in snapshot.redo]
        return {
            "version": _VERSION,
            "written_by": written_by(),
            "axes": "points are (row, column), boxes (r0, c0, r1, c1), in pixels",
            "active": snapshot.active,
            "highest_id": snapshot.highest_id,
            "records": records,
            "undo": undo,
            "redo": redo,
            "objects": self._objects.rows,
            "prompts": self._prompts.rows,
            "regions": self._regions.rows,
            "logits": self._logits.rows,
            "arrays": self._arrays.rows,
        }

    def _step(self, step: Step) -> dict[str, Any]:
        commit = step.commit
        waiting = {} if commit is None else {"commit": dataclasses.asdict(commit)}
        return {
            "name": step.name,
            **waiting,
            "active": list(step.active),
            "records": [
                [key, self._object(before), self._object(after)]
                for key, (before, after) in step.records.items()
            ],
            "patches": [
                {
                    "plane": list(patch.plane),
                    "region": self._region(patch.region),
                    "before": self._values(patch.before),
                    "after": self._values(patch.after),
                }
                for patch in step.patches
            ],
        }

    def _object(self, record: ObjectRecord | None) -> int | None:
        return None if record is None else self._objects.number(record, self._fields)

    def _fields(self, record: ObjectRecord) -> dict[str, Any]:
        score = record.score
        if score is not None and not math.isfinite(score):
            score = None
        return {
            "id": record.id,
            "plane": list(record.plane),
            "class": record.class_name,
            "prompts": self._prompts.number(record.prompts, self._prompt),
            "sources": list(record.sources),
            "region": self._region(record.region),
            "score": score,
            "logits": (
                None
                if record.logits is None
                else self._logits.number(record.logits, self._mask_logits)
            ),
            "answered": (
                None
                if record.answered is None
                else self._prompts.number(record.answered, self._prompt)
            ),
            "answered_revision": record.answered_revision,
            "coarse": self._array(record.coarse),
            "revision": record.revision,
            "committed": record.committed,
            "written": self._region(record.written),
            "yielded": self._region(record.yielded),
            "label": record.label,
            "ends": list(record.ends),
            "tile": record.tile,
            "pinned": record.pinned,
        }

    def _mask_logits(self, logits: MaskLogits) -> dict[str, Any]:
        held = logits.held
        if not isinstance(held, SmallLogits):
            return {"array": self._array(held)}
        return {
            "shape": held.shape,
            "origin": held.origin,
            "crop": self._array(held.crop),
            "around": self._array(held.around),
            "step": held.step,
        }

    def _prompt(self, prompts: Prompts) -> dict[str, Any]:
        scores = None
        if prompts.scores is not None:
            scores = [None if math.isnan(s) else s for s in prompts.scores.tolist()]
        before = prompts.before
        answered, added = prompts.answered, prompts.added
        return {
            "points": prompts.points.tolist(),
            "labels": prompts.labels.tolist(),
            "boxes": prompts.boxes.tolist(),
            "scores": scores,
            "answered": None if answered is None else answered.tolist(),
            "added": None if added is None else added.tolist(),
            "mask": self._array(prompts.mask),
            "logits": self._array(prompts.logits),
            "tile": None if before is None else before.tile,
        }

    def _region(self, region: Region | None) -> int | None:
        def row(owner: Region) -> dict[str, Any]:
            at = self._put(owner, lambda: owner.bits)
            return {"shape": owner.shape, "bbox": owner.bbox, "at": at}

        return None if region is None else self._regions.number(region, row)

    def _array(self, array: NDArray[Any] | None) -> int | None:
        def row(owner: NDArray[Any]) -> dict[str, Any]:
            kept = _kept_type(owner)

            def pack() -> bytes:
                if kept == "bits":
                    return zlib.compress(np.packbits(owner).tobytes(), 1)
                return zlib.compress(owner.astype(kept).tobytes(), 1)

            at = self._put(owner, pack)
            kind = owner.dtype.newbyteorder("<").str
            return {"shape": owner.shape, "type": kind, "kept": kept, "at": at}

        return None if array is None else self._arrays.number(array, row)

    def _values(self, values: NDArray[Any]) -> dict[str, Any]:
        if values.ndim == 0:
            return {"type": values.dtype.str, "value": values.item()}
        return {"array": self._array(values)}


def _kept_type(array: NDArray[Any]) -> str:
    """Name the smallest type in which the values survive."""
    if array.dtype.kind == "b":
        return "bits"
    if array.dtype == np.float32:
        with np.errstate(over="ignore"):
            if np.array_equal(array.astype(np.float16), array, equal_nan=True):
                return "<f2"
    return array.dtype.newbyteorder("<").str


class _Decoder:
    def __init__(self, data: Mapping[str, Any], get: Get) -> None:
        self._get = get
        self._data = data
        self.owners: list[tuple[Any, Ref]] = []
        self._arrays = [self._array(row) for row in data["arrays"]]
        self._regions = [self._region(row) for row in data["regions"]]
        self._prompts = [self._prompt(row) for row in data["prompts"]]
        # Version 1 named the array itself.
        arrays = ({"array": index} for index in range(len(self._arrays)))
        rows = arrays if data["version"] == 1 else data["logits"]
        self._logits = [self._mask_logits(row) for row in rows]
        self._objects = [self._object(row) for row in data["objects"]]

    def snapshot(self) -> Snapshot:
        data = self._data
        active = data["active"]
        return Snapshot(
            tuple(self._objects[index] for index in data["records"]),
            None if active is None else int(active),
            int(data["highest_id"]),
            tuple(self._step(row) for row in data["undo"]),
            tuple(self._step(row) for row in data["redo"]),
        )

    def _step(self, row: Mapping[str, Any]) -> Step:
        before, after = row["active"]
        return Step(
            str(row["name"]),
            (before, after),
            {
                int(key): (_at(self._objects, old), _at(self._objects, new))
                for key, old, new in row["records"]
            },
            [
                LabelPatch(
                    tuple(int(i) for i in patch["plane"]),
                    self._regions[patch["region"]],
                    self._values(patch["before"]),
                    self._values(patch["after"]),
                )
                for patch in row["patches"]
            ],
            None if row.get("commit") is None else _pending(row["commit"]),
        )

    def _object(self, row: Mapping[str, Any]) -> ObjectRecord:
        revision = int(row["revision"])
        if "answered_revision" in row:
            answered_revision = row["answered_revision"]
        else:  # version 1: the very prompts that the mask answers
            is_answered = row["answered"] == row["prompts"]
            answered_revision = revision if is_answered else None
        return ObjectRecord(
            int(row["id"]),
            tuple(int(index) for index in row["plane"]),
            str(row["class"]),
            self._prompts[row["prompts"]],
            tuple(row["sources"]),
            region=_at(self._regions, row["region"]),
            score=row["score"],
            logits=_at(self._logits, row["logits"]),
            answered=_at(self._prompts, row["answered"]),
            answered_revision=answered_revision,
            coarse=_at(self._arrays, row["coarse"]),
            revision=revision,
            committed=bool(row["committed"]),
            written=_at(self._regions, row["written"]),
            yielded=_at(self._regions, row["yielded"]),
            label=int(row.get("label", 0)),
            ends=_ends(row),
            tile=_bbox(row.get("tile")),
            pinned=bool(row.get("pinned", False)),
        )

    def _mask_logits(self, row: Mapping[str, Any]) -> MaskLogits:
        if "array" in row:
            return MaskLogits(self._arrays[row["array"]])
        height, width = (int(n) for n in row["shape"])
        r0, c0 = (int(n) for n in row["origin"])
        crop, around = self._arrays[row["crop"]], self._arrays[row["around"]]
        return MaskLogits(
            SmallLogits((height, width), (r0, c0), crop, around, float(row["step"]))
        )

    def _prompt(self, row: Mapping[str, Any]) -> Prompts:
        scores = row["scores"]
        if scores is not None:
            scores = [np.nan if score is None else score for score in scores]
        logits, tile = _at(self._arrays, row["logits"]), row.get("tile")
        before = None
        if logits is not None:
            part = None if tile is None else tuple(int(edge) for edge in tile)
            before = Before(
                logits,
                row["answered"],
                row.get("added"),
                part,  # type: ignore[arg-type]
            )
        return Prompts(
            row["points"],
            row["labels"],
            row["boxes"],
            mask=_at(self._arrays, row["mask"]),
            before=before,
            scores=scores,
        )

    def _region(self, row: Mapping[str, Any]) -> Region:
        height, width = (int(n) for n in row["shape"])
        r0, c0, r1, c1 = (int(n) for n in row["bbox"])
        region = Region((height, width), (r0, c0, r1, c1), self._get(row["at"]))
        self.owners.append((region, list(row["at"])))
        return region

    def _array(self, row: Mapping[str, Any]) -> NDArray[Any]:
        shape = tuple(int(n) for n in row["shape"])
        kept = np.dtype(np.uint8 if row["kept"] == "bits" else row["kept"])
        size = math.prod(shape) * kept.itemsize
        if row["kept"] == "bits":
            size = -(-size // 8)
        # No more than is wanted: a damaged blob may unpack to anything.
        blob = self._get(row["at"])
        raw = zlib.decompressobj().decompress(blob, max(1, size))
        if len(raw) != size:
            raise ValueError(f"an array of shape {shape} is not whole")
        if row["kept"] == "bits":
            bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=math.prod(shape))
            array = bits.reshape(shape).astype(bool)
        else:
            stored = np.frombuffer(raw, row["kept"]).reshape(shape)
            # By its class: NumPy copies arrays of a type that was made native by
            # newbyteorder, and what is copied is no longer shared.
            array = stored.astype(np.dtype(row["type"]).type, copy=True)
        array.flags.writeable = False
        self.owners.append((array, list(row["at"])))
        return array

    def _values(self, row: Mapping[str, Any]) -> NDArray[Any]:
        if "array" in row:
            return self._arrays[row["array"]]
        value = np.asarray(row["value"], np.dtype(row["type"]))
        value.flags.writeable = False
        return value


def _bbox(edges: Sequence[Any] | None) -> BBox | None:
    if edges is None:
        return None
    r0, c0, r1, c1 = (int(edge) for edge in edges)
    return r0, c0, r1, c1


def _pending(row: Mapping[str, Any]) -> PendingCommit:
    overlap: Overlap = "overwrite" if row["overlap"] == "overwrite" else "keep"
    return PendingCommit(int(row["object_id"]), overlap, bool(row["keep_painted"]))


def _ends(row: Mapping[str, Any]) -> tuple[str, str]:
    below, above = row.get("ends", ("", ""))
    return str(below), str(above)


def _at(rows: Sequence[_T], index: int | None) -> _T | None:
    return None if index is None else rows[index]
