"""Where labelled images come from: the viewer, folders, pairs of files, a project.

Each source gives its labelled planes one by one, for training and for comparing, and
`survey` counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from napari_promise.data.images import LatestRead, ReadMask, plane_name
from napari_promise.data.mask_survey import MaskSurvey
from napari_promise.data.pairs import Pair, find_pairs, planes_of
from napari_promise.data.planes import to_rgb8
from napari_promise.document import Plane
from napari_promise.session import ImageSource

__all__ = [
    "FolderSource",
    "LabelledPlane",
    "LabelledImage",
    "LabelsLike",
    "LaterSource",
    "PairsSource",
    "Survey",
    "TrainingSource",
    "ViewerSource",
    "as_pairs",
    "survey",
]


@dataclass(frozen=True)
class LabelledPlane:
    """One labelled image.

    Attributes
    ----------
    objects : int
        Labels on it, of the class that is trained.
    where : str
        The image in words; planes of a stack are named.
    pair : Pair or None
        Its files; None where they were not to be written.
    group : str or None
        Patient, sequence or stack that it is of.
    """

    objects: int
    where: str
    pair: Pair | None = None
    group: str | None = None
    read: ReadMask | None = None


class TrainingSource(Protocol):
    """Where images with masks come from; asked by the worker or another thread."""

    @property
    def name(self) -> str:
        """What it is called: said in the adapter's record."""

    def images(self, folder: Path | None) -> Iterator[LabelledPlane | None]:
        """Give the labelled images one by one; None for one without a label.

        Parameters
        ----------
        folder : pathlib.Path or None
            Where to write what is no file yet; None to count only.
        """


class LabelsLike(Protocol):
    """Labels over an image, as far as training is concerned."""

    def plane_labels(self, plane: Plane) -> Any:
        """Return the labels in the pixels of an image's plane, (H, W) integer."""


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image of the viewer and the labels that belong to it.

    Attributes
    ----------
    image : ImageSource
    labels : LabelsLike
    wanted : frozenset of int or None
        Labels of the class that is trained; None for all.
    unconfirmed : frozenset of Plane
        Planes with masks that nobody has looked at: no masks to learn from.
    """

    image: ImageSource
    labels: LabelsLike
    wanted: frozenset[int] | None = None
    unconfirmed: frozenset[Plane] = frozenset()


@dataclass(frozen=True, eq=False)
class ViewerSource:
    """Images of the viewer with Labels; of stacks, the planes that have any.

    Of an object that was carried through a stack, the planes that somebody drew or
    confirmed.
    """

    items: tuple[LabelledImage, ...]

    @property
    def name(self) -> str:
        """Names of the images."""
        return ", ".join(item.image.name for item in self.items)

    @property
    def unconfirmed(self) -> int:
        """Planes that are left out, as nobody has looked at their masks."""
        return sum(len(item.unconfirmed) for item in self.items)

    def images(self, folder: Path | None) -> Iterator[LabelledPlane | None]:
        """See `TrainingSource`."""
        stacks = sum(len(item.image.shape) > 2 for item in self.items)
        for number, item in enumerate(self.items):
            leading = item.image.shape[:-2]
            # Planes of one stack are alike: two stacks are not divided, one has to be.
            group = f"stack {number}" if leading and stacks > 1 else None
            for index in np.ndindex(*leading):
                if index in item.unconfirmed:
                    continue
                labels = np.asarray(item.labels.plane_labels(index))
                ids = np.unique(labels)
                ids = ids[ids != 0]
                if item.wanted is not None:
                    ids = ids[np.isin(ids, list(item.wanted))]
                if not len(ids):
                    yield None
                    continue
                where = plane_name(item.image.name, index)
                pair = None
                if folder is not None:
                    stem = "-".join(map(str, (number, *index)))
                    # each object keeps a number of its own: they may be told apart
                    wanted = np.isin(labels, ids)
                    mask = np.where(wanted, np.searchsorted(ids, labels) + 1, 0)
                    pair = _write(folder / stem, item.image, index, mask, group)
                yield LabelledPlane(len(ids), where, pair, group)


@dataclass(frozen=True)
class FolderSource:
    """A folder of images and one of masks of the same names.

    Attributes
    ----------
    images_dir, masks_dir : pathlib.Path
    group : str or None
        Regular expression, see `data.pairs.find_pairs`.
    """

    images_dir: Path
    masks_dir: Path
    group: str | None = None

    @property
    def name(self) -> str:
        """Name of the folder of images."""
        return self.images_dir.name

    def images(self, folder: Path | None) -> Iterator[LabelledPlane | None]:
        """See `TrainingSource`."""
        found = find_pairs(
            self.images_dir, self.masks_dir, group=self.group, skip_unpaired=True
        )
        yield from PairsSource(tuple(found), self.name).images(folder)


@dataclass(frozen=True)
class LaterSource:
    """Pairs that take a while to get: asked for where that stops nobody.

    Attributes
    ----------
    name : str
    pairs : callable
        Returns a tuple of `Pair`; may raise ValueError or OSError.
    """

    name: str
    pairs: Callable[[], Sequence[Pair]]

    def images(self, folder: Path | None) -> Iterator[LabelledPlane | None]:
        """See `TrainingSource`."""
        yield from PairsSource(tuple(self.pairs()), self.name).images(folder)


@dataclass(frozen=True)
class PairsSource:
    """Pairs of files, of an annotation project say; of stacks, planes (`planes_of`)."""

    pairs: tuple[Pair, ...]
    name: str = "images"

    def images(self, folder: Path | None) -> Iterator[LabelledPlane | None]:
        """See `TrainingSource`."""
        masks = LatestRead()
        for pair in planes_of(self.pairs):
            objects, read = 0, None
            if folder is None:
                read = masks.understood(pair.mask)
                mask = read.labels
                ids = np.unique(mask[pair.plane] if pair.plane else mask)
                objects = int((ids != 0).sum())
            yield LabelledPlane(objects, pair.name, pair, pair.group, read)


def _write(
    stem: Path, image: ImageSource, plane: Plane, mask: Any, group: str | None
) -> Pair:
    """Write a plane as SAM sees it, and its objects, numbered from 1."""
    from PIL import Image

    rgb = to_rgb8(image.plane_pixels(plane), image.contrast_limits, image.rgb)
    pair = Pair(stem.with_suffix(".png"), stem.with_suffix(".mask.png"), group)
    # the same pixels, the same bytes: what was encoded before is not encoded again
    Image.fromarray(rgb).save(pair.image, compress_level=1)
    Image.fromarray(mask.astype(np.uint16)).save(pair.mask, compress_level=1)
    return pair


@dataclass(frozen=True)
class Survey:
    """What a source holds.

    Attributes
    ----------
    images, objects, unlabelled : int
    names : tuple of str
        Of the labelled images, planes told apart.
    groups : int
        Patients, sequences or stacks that the images are of; 0 where nothing says so.
    masks : tuple of str
        How mask files were understood, and what looks wrong with them, in lines; and
        how many planes were left out.
    """

    images: int
    objects: int
    unlabelled: int
    names: tuple[str, ...]
    groups: int = 0
    masks: tuple[str, ...] = ()


def survey(source: TrainingSource) -> Survey:
    """Count; reads labels, so that no window's thread should call it.

    Raises
    ------
    ValueError, OSError
        If a file cannot be read.
    """
    masks, seen = MaskSurvey(), set[Path]()
    objects = unlabelled = 0
    names, groups = [], set()
    for each in source.images(None):
        if each is None:
            unlabelled += 1
            continue
        objects += each.objects
        names.append(each.where)
        if each.group is not None:
            groups.add(each.group)
        if each.read is not None and each.pair is not None:
            if each.pair.mask not in seen:
                seen.add(each.pair.mask)
                masks.add(each.pair.mask.name, each.read)
    said = (f"{masks.line()}.", *masks.warnings()) if masks.shares else ()
    if left_out := getattr(source, "unconfirmed", 0):
        said = (
            *said,
            f"{left_out} planes that were propagated and never confirmed are left out; "
            "Y confirms the plane on display.",
        )
    return Survey(len(names), objects, unlabelled, tuple(names), len(groups), said)


def as_pairs(pairs: Sequence[Any]) -> tuple[Pair, ...]:
    """Return pairs of any kind as `Pair`."""
    return tuple(
        Pair(Path(p.image), Path(p.mask), p.group, getattr(p, "plane", ()))
        for p in pairs
    )
