"""Write what is confirmed in a whole project, for other programs.

    masks/…              a label image for each image: PNG, or TIFF of stacks
    nifti/…              labels of stacks, in the place in the world of their scan
    dicom/…              DICOM segmentations of DICOM images that hold an object
    annotations.json     COCO instances of all images
    planes/…             the planes of stacks as PNG, which COCO names
    categories.json      the numbers of classes, the same in every export
    prompts.csv          every point and box, with scores
    images.csv           how every image stands
    provenance.json      what made it

Every file is whole or not there. Slow, and can be stopped between any two images.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_promise.data.coco import CATEGORIES, UNNAMED, CocoFile, class_numbers
from napari_promise.data.images import Place, exists, place_of, stem_of
from napari_promise.data.labels import save_labels
from napari_promise.document import ObjectRecord
from napari_promise.files import save_json, utc_now, whole_file, written_by
from napari_promise.project.items import Item, State
from napari_promise.project.project import Project

__all__ = ["FORMATS", "Format", "export_project"]

Format = Literal["masks", "coco", "nifti", "dicom", "csv", "provenance"]
#: What can be exported.
FORMATS: tuple[Format, ...] = get_args(Format)

_DONE: tuple[State, ...] = ("done",)
COCO, PROMPTS, IMAGES = "annotations.json", "prompts.csv", "images.csv"
PROVENANCE = "provenance.json"

_PROMPT_COLUMNS = (
    "image",
    "object",
    "class",
    "plane",
    "kind",
    "row",
    "column",
    "row_end",
    "column_end",
    "label",
    "source",
    "point_score",
    "object_score",
    "committed",
)
_IMAGE_COLUMNS = (
    "image",
    "group",
    "state",
    "objects",
    "confidence",
    "clicks",
    "untouched",
    "by",
    "when",
)


def export_project(
    project: Project,
    folder: Path,
    formats: Collection[Format] = FORMATS,
    *,
    states: Collection[State] = _DONE,
    overwrite: bool = False,
    metadata: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> list[Path]:
    """Write the images of a project that are in certain states.

    Parameters
    ----------
    project : Project
    folder : Path
        Made where missing; not the project's source.
    formats : collection of Format
    states : collection of State
        Whose images are written: "done", "in progress". Unconfirmed proposals
        never are.
    overwrite : bool
        Whether files already there may be replaced.
    metadata : mapping, optional
        What `data.provenance.provenance` returned, for the provenance and for COCO.
    progress : callable, optional
        Called with how many images are written, and of how many.
    cancel : callable, optional
        Asked before each image; true ends the export. Files of single images that are
        written by then stay.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ValueError
        If a format is none of these, or no image is in these states.
    FileExistsError
        If a file is there and `overwrite` is false; nothing is written then.
    OSError
        If a file cannot be written.
    """
    folder = Path(folder)
    unknown = set(formats).difference(FORMATS)
    if unknown or not formats:
        raise ValueError(
            f"the formats are {sorted(formats) or 'none'}; choose among "
            f"{', '.join(FORMATS)}."
        )
    if set(states).difference(("done", "in progress")):
        raise ValueError(
            f"the states are {sorted(states)}; only what is done or in progress holds "
            "anything that the user made."
        )
    items = [item for item in project.items if item.state in states]
    if not items:
        raise ValueError(
            f"no image is {' or '.join(states)} yet: finish one before the export."
        )
    places = _places(items)
    if not overwrite:
        _refuse_existing(folder, places.values(), formats)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    numbers = project.root / CATEGORIES
    coco = CocoFile(numbers=class_numbers(numbers))
    prompts: list[dict[str, Any]] = []
    left_out: list[str] = []
    for number, item in enumerate(items):
        if cancel is not None and cancel():
            return written
        if progress is not None:
            progress(number, len(items))
        try:
            one = _Export(project, item)
        except (ValueError, FileNotFoundError) as error:
            # An image that is gone must not keep the others from being written.
            left_out.append(item.key)
            project.events.noted.emit(f"{item.key} was left out: {error}")
            continue
        place = places[item.key]
        if "masks" in formats:
            written.append(one.write_mask(folder / "masks" / place, overwrite))
        if "nifti" in formats and one.is_stack:
            written.append(one.write_nifti(folder / "nifti" / place, overwrite))
        if "dicom" in formats and one.is_dicom and one.labels.any():
            try:
                written.append(one.write_dicom(folder / "dicom" / place, overwrite))
            except ValueError as error:
                project.events.noted.emit(f"{item.key}: {error}")
        if "coco" in formats:
            written += one.add_to(coco, folder, place, overwrite)
        if "csv" in formats:
            prompts += _prompt_rows(item.key, one.objects)
    if cancel is not None and cancel():
        return written
    about = dict(metadata or {})
    if "coco" in formats:
        path = folder / COCO
        written.append(coco.save(path, metadata=about or None, overwrite=overwrite))
        written.append(folder / CATEGORIES)
        save_json(numbers, coco.numbers, overwrite=True)
    if "csv" in formats:
        rows = [_image_row(item) for item in items]
        for name, columns, table in (
            (PROMPTS, _PROMPT_COLUMNS, prompts),
            (IMAGES, _IMAGE_COLUMNS, rows),
        ):
            _write_table(folder / name, columns, table, overwrite)
            written.append(folder / name)
    if "provenance" in formats:
        record = {**about, "project": _describe(project, items, left_out)}
        path = folder / PROVENANCE
        written.append(save_json(path, record, overwrite=overwrite))
    if progress is not None:
        progress(len(items), len(items))
    return written


class _Export:
    """One image with its confirmed labels."""

    def __init__(self, project: Project, item: Item) -> None:
        self._project = project
        stored = project.load(item.key)
        labels = None if stored is None else stored.labels
        self.item = item
        self.objects = () if stored is None else stored.objects
        self._place = Place()
        if labels is None:
            image = project.read_image(item.key)
            labels, self._place = np.zeros(image.shape, np.uint16), image.place
        elif exists(item.path):
            self._place = place_of(item.path)
        self.labels = labels
        default = project.settings.class_name or UNNAMED
        self.classes = {
            **{int(i): default for i in _ids(labels)},
            **{r.id: r.class_name or default for r in self.objects},
        }
        self.is_stack = labels.ndim > 2 or self._place.world is not None

    def write_mask(self, path: Path, overwrite: bool) -> Path:
        """Write a PNG, or a TIFF of a stack or of too many ids."""
        small = self.labels.ndim == 2 and self.labels.max(initial=0) < 2**16
        path = path.with_name(path.name + (".png" if small else ".tif"))
        path.parent.mkdir(parents=True, exist_ok=True)
        return save_labels(
            path,
            self.labels,
            scale=self._place.scale,
            unit=self._place.unit,
            overwrite=overwrite,
        )

    def write_nifti(self, path: Path, overwrite: bool) -> Path:
        """Write where the scan lies, as its own file says."""
        path = path.with_name(path.name + ".nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        labels, placement = self._place.labels_as_in_file(self.labels)
        return save_labels(path, labels, **placement, overwrite=overwrite)

    @property
    def is_dicom(self) -> bool:
        """Whether the image came from DICOM files that say where it lies."""
        return isinstance(self._place.header, tuple)

    def write_dicom(self, path: Path, overwrite: bool) -> Path:
        """Write a DICOM segmentation over the image's own files."""
        path = path.with_name(path.name + ".dcm")
        path.parent.mkdir(parents=True, exist_ok=True)
        return save_labels(
            path,
            self.labels,
            header=self._place.header,
            classes=self.classes,
            overwrite=overwrite,
        )

    def add_to(
        self, coco: CocoFile, folder: Path, place: str, overwrite: bool
    ) -> list[Path]:
        """Add the annotations, under the image's name in the project.

        Planes of a stack are no files yet: they are written, and named, in ``planes``.
        """
        names: str | list[str] = self.item.key
        written: list[Path] = []
        if self.labels.ndim > 2:
            image = self._project.read_image(self.item.key)
            names = []
            for index in np.ndindex(self.labels.shape[:-2]):
                number = "_".join(f"{i:04d}" for i in index)
                names.append(f"planes/{place}_{number}.png")
                path = folder / names[-1]
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(path, overwrite) as part:
                    Image.fromarray(image.rgb8(index)).save(part, format="PNG")
                written.append(path)
        coco.add(
            self.labels,
            classes=self.classes,
            scores={r.id: r.score for r in self.objects if r.score is not None},
            file_name=names,
        )
        return written


def _ids(labels: NDArray[Any]) -> Iterable[int]:
    ids: set[int] = set()
    for index in np.ndindex(labels.shape[:-2]):
        plane = labels[index]
        if plane.any():
            ids.update(np.unique(plane).tolist())
    return ids - {0}


def _places(items: Iterable[Item]) -> dict[str, str]:
    """Return for each image a path without suffix that no other image has."""
    places = {item.key: _inside(PurePosixPath(item.key)) for item in items}
    stems = {key: str(path.with_name(stem_of(path))) for key, path in places.items()}
    # Not only on disks that know capitals from small letters.
    seen = Counter(stem.casefold() for stem in stems.values())
    return {
        key: stem if seen[stem.casefold()] == 1 else str(places[key])
        for key, stem in stems.items()
    }


def _inside(path: PurePosixPath) -> PurePosixPath:
    """Return a path that stays below the export's folder."""
    parts = [part.replace(":", "_") for part in path.parts if part != path.anchor]
    return PurePosixPath(*("_" if part == ".." else part for part in parts))


def _refuse_existing(
    folder: Path, places: Iterable[str], formats: Collection[Format]
) -> None:
    candidates: list[Path] = []
    for place in places:
        if "masks" in formats:
            candidates += [folder / "masks" / f"{place}{s}" for s in (".png", ".tif")]
        if "nifti" in formats:
            candidates.append(folder / "nifti" / f"{place}.nii.gz")
        if "dicom" in formats:
            candidates.append(folder / "dicom" / f"{place}.dcm")
    for wanted, names in (
        ("coco", (COCO, "planes")),
        ("csv", (PROMPTS, IMAGES)),
        ("provenance", (PROVENANCE,)),
    ):
        if wanted in formats:
            candidates += [folder / name for name in names]
    there = [path for path in candidates if path.exists()] if folder.exists() else []
    if there:
        more = f" and {len(there) - 1} more files" if len(there) > 1 else ""
        raise FileExistsError(
            f"{there[0]}{more} exist already: choose another folder or allow "
            "overwriting."
        )


def _prompt_rows(key: str, objects: Iterable[ObjectRecord]) -> list[dict[str, Any]]:
    rows = []
    for record in objects:
        common = {
            "image": key,
            "object": record.id,
            "class": record.class_name,
            "plane": " ".join(map(str, record.plane)),
            "object_score": _number(record.score),
            "committed": int(record.committed),
        }
        prompts, scores = record.prompts, record.prompts.scores
        for at, (row, column) in enumerate(prompts.points.tolist()):
            rows.append(
                {
                    **common,
                    "kind": "point",
                    "row": row,
                    "column": column,
                    "label": int(prompts.labels[at]),
                    "source": record.sources[at],
                    "point_score": _number(None if scores is None else scores[at]),
                }
            )
        for r0, c0, r1, c1 in prompts.boxes.tolist():
            place = {"row": r0, "column": c0, "row_end": r1, "column_end": c1}
            rows.append({**common, "kind": "box", **place})
        if len(prompts.points) == len(prompts.boxes) == 0:
            rows.append({**common, "kind": "mask"})  # painted, or taken in
    return rows


def _image_row(item: Item) -> dict[str, Any]:
    return {
        "image": item.key,
        "group": item.group or "",
        "state": item.state,
        "objects": "" if item.objects is None else item.objects,
        "confidence": _number(item.confidence),
        "clicks": item.clicks,
        "untouched": "" if item.untouched is None else int(item.untouched),
        "by": item.by,
        "when": item.when,
    }


def _number(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:.6g}"


def _write_table(
    path: Path,
    columns: tuple[str, ...],
    rows: Iterable[Mapping[str, Any]],
    overwrite: bool,
) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with whole_file(path, overwrite) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def _describe(
    project: Project, items: list[Item], left_out: list[str]
) -> dict[str, Any]:
    effort = project.learning.effort()
    calibration = project.ledger.calibration
    return {
        "written_by": written_by(),
        "created": utc_now(),
        "adapter": project.settings.adapter or None,
        "images": [item.key for item in items if item.key not in set(left_out)],
        "left_out": left_out,
        "states": dict(Counter(item.state for item in project.items)),
        "effort": {
            "finished": len(effort.finished),
            "mean_clicks": effort.mean_clicks,
            "untouched_share": effort.untouched_share,
            "trained": [adapter for _, adapter in effort.trained],
        },
        "calibration": None
        if calibration is None
        else {
            "images": len(calibration.raw),
            "error_before": calibration.error_before,
            "error_after": calibration.error_after,
            "rank_correlation": calibration.rank_correlation,
        },
    }
