"""Which mask belongs to which image, by the names that people and programs give.

One rule for the folder dock, training and evaluating. Names in, names out: no file is
looked at. Understood are equal stems; a word for the mask before or after the image's
name (``a_mask``, ``a-seg``, ``mask_a``, ``a_cp_masks``, ``a_bin_mask``,
``a_Annotation``); the image's whole name (``a.jpg.png``); a word for the image
(``a_img`` with ``a_masks``, ``volume-0`` with ``segmentation-0``, ``imaging`` with
``segmentation``, ``21_training`` with ``21_manual1``); and what tells the channels of a
case apart, nnU-Net's number or the name of a sequence (``a_0000`` with ``a``,
``a_flair`` with ``a_seg``). Capitals and small letters are the same where they leave no
doubt.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "Matching",
    "is_image_folder",
    "is_mask_folder",
    "match",
    "names_a_mask",
    "places_of_masks",
    "stem_of",
]

_KIND = r"(?:bin|binary|instances?|inst|semantic|manual|seg|segmentation|label|object)"
_MASK = (
    rf"(?:cp_masks?|(?:{_KIND}[-_ ])?masks?|label[-_ ]?maps?|labels?|segmentations?"
    r"|segs?|gts?|ground[-_ ]?truths?|annotations?|1stho|1st[-_ ]manual|manual[12]?)"
)
_IMAGE = r"(?:images?|imgs?|im|imaging|volumes?|vol|scans?|orig|original|raw)"
_BETWEEN = r"[-_. ]"
_AFTER = re.compile(rf"(?:^|{_BETWEEN}){_MASK}(?P<more>_\d{{1,2}})?$", re.IGNORECASE)
_BEFORE = re.compile(rf"^{_MASK}(?:{_BETWEEN}|(?=\d)|$)", re.IGNORECASE)
# DRIVE's 21_training goes with 21_manual1.
_IMAGE_AFTER = re.compile(
    rf"(?:^|{_BETWEEN})(?:{_IMAGE}|training|test|rgb)$", re.IGNORECASE
)
_IMAGE_BEFORE = re.compile(rf"^{_IMAGE}(?:{_BETWEEN}|(?=\d)|$)", re.IGNORECASE)
_CHANNEL = re.compile(
    r"_\d{4}$|[-_](?:flair|t1(?:w|n|c|ce|gd)?|t2(?:w|f)?|pd|adc|dwi|ct|pet)$",
    re.IGNORECASE,
)
# Tr, Ts and the like, as data sets divide themselves.
_PART = r"(?P<part>[-_ ]?(?:tr|ts|va|train|training|val|valid|validation|test|\d*))"
_MASK_FOLDER = re.compile(
    rf"^(?:{_MASK}|segmentationclass|segmentationobject){_PART}$", re.IGNORECASE
)
_IMAGE_FOLDER = re.compile(
    rf"^(?:images?|imgs?|jpegimages|originals?|volumes?|scans?){_PART}$", re.IGNORECASE
)


def stem_of(path: str | os.PathLike[str]) -> str:
    """Return a file's name without its suffix, ``.nii.gz`` counting as one.

    Examples
    --------
    >>> stem_of("scans/brain.01.nii.gz")
    'brain.01'
    """
    name = Path(path).name
    for suffix in (".nii.gz", ".ome.tif", ".ome.tiff"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def is_mask_folder(name: str) -> bool:
    """Tell whether a folder of this name holds masks: ``masks``, ``labelsTr``."""
    return _MASK_FOLDER.match(name) is not None


def is_image_folder(name: str) -> bool:
    """Tell whether a folder of this name holds images: ``images``, ``imagesTr``."""
    return _IMAGE_FOLDER.match(name) is not None


def places_of_masks(name: str, folders: Iterable[str]) -> list[str]:
    """Return which of `folders` may hold the masks of a folder of images beside them.

    Examples
    --------
    >>> places_of_masks("imagesTr", ["labelsTr", "labelsTs", "imagesTs"])
    ['labelsTr']
    """
    image = _IMAGE_FOLDER.match(name)
    part = "" if image is None else _plain(image["part"])
    found = []
    for folder in folders:
        mask = _MASK_FOLDER.match(folder)
        if mask is not None and _plain(mask["part"]) == part:
            found.append(folder)
    return found


def names_a_mask(stem: str) -> bool:
    """Tell whether a stem itself says that it is a mask: ``a_mask``, ``seg-1``."""
    return bool(_AFTER.search(stem) or _BEFORE.match(stem))


@dataclass
class Matching:
    """Which mask is whose.

    Attributes
    ----------
    masks : dict of str to str
        The mask of each image that has one, by their file names.
    unclear : dict of str to list of str
        Images that several files fit equally well.
    shared : dict of str to str
        Images that share their mask, being channels of one case: the case's name.
    fitting : set of str
        All masks that fit an image, chosen or not.
    """

    masks: dict[str, str] = field(default_factory=dict)
    unclear: dict[str, list[str]] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    fitting: set[str] = field(default_factory=set)


def match(
    images: Collection[str], masks: Collection[str], *, same_folder: bool = False
) -> Matching:
    """Find the mask of each image.

    Parameters
    ----------
    images, masks : collection of str
        Names of files.
    same_folder : bool
        Whether they lie together: then a mask has to say that it is one, and is taken
        from among `images` too.

    Returns
    -------
    Matching
        A mask that an image's own name fits is not given to one that it fits loosely:
        ``b.png`` belongs to ``b.jpg``, and not to ``b_0001.jpg`` beside it.
    """
    by_base: dict[str, list[tuple[int, str, str]]] = {}
    for name in masks:
        for rank, base in _bases_of(name, same_folder):
            by_base.setdefault(base.casefold(), []).append((rank, base, name))
    wanted: dict[str, list[tuple[int, str]]] = {}
    found = Matching()
    for image in images:
        for nearness, key in enumerate(_keys_of(image)):
            if key is None:
                continue
            known = by_base.get(key.casefold(), ())
            fitting = [e for e in known if not (same_folder and e[2] == image)]
            if not fitting:
                continue
            found.fitting.update(name for _, _, name in fitting)
            best = min(rank for rank, _, _ in fitting)
            fitting = [each for each in fitting if each[0] == best]
            exact = [each for each in fitting if each[1] == key]
            names = sorted({name for _, _, name in exact or fitting})
            if len(names) > 1:
                found.unclear[image] = names
            else:
                wanted.setdefault(names[0], []).append((nearness, image))
            break
    for mask, claims in wanted.items():
        nearest = min(nearness for nearness, _ in claims)
        takers = [image for nearness, image in claims if nearness == nearest]
        if len(takers) > 1 and nearest != _CHANNELS:
            same = [one for one in takers if stem_of(one) == stem_of(mask)]
            takers = same if len(same) == 1 else takers
        for image in takers:
            if len(takers) > 1 and nearest != _CHANNELS:
                found.unclear[image] = [mask]
                continue
            found.masks[image] = mask
            if len(takers) > 1:
                found.shared[image] = stem_of(mask)
    return found


_CHANNELS = 2  # the place of a case's name without its channel among `_keys_of`


def _keys_of(image: str) -> tuple[str | None, ...]:
    """Return the names under which an image's mask may go, the nearest first."""
    stem = stem_of(image)
    channel = _CHANNEL.sub("", stem) if _CHANNEL.search(stem) else None
    worded = None
    if _IMAGE_AFTER.search(stem):
        worded = _IMAGE_AFTER.sub("", stem)
    elif _IMAGE_BEFORE.match(stem):
        worded = _IMAGE_BEFORE.sub("", stem)
    return stem, image, channel, worded


def _bases_of(mask: str, same_folder: bool) -> list[tuple[int, str]]:
    """Return what a mask's name may belong to, with a rank: 0 the name as it is."""
    stem = stem_of(mask)
    bases = []
    if not same_folder or re.search(r"\.(png|jpe?g|tiff?|bmp)$", stem, re.IGNORECASE):
        bases.append((0, stem))
    after = _AFTER.search(stem)
    if after is not None:
        # Where one image has several files of this kind, none is more right.
        bases.append((1, stem[: after.start()]))
    before = _BEFORE.match(stem)
    if before is not None:
        bases.append((2, stem[before.end() :]))
    return bases


def _plain(part: str | None) -> str:
    plain = (part or "").strip("-_ ").casefold()
    return {"train": "tr", "training": "tr", "test": "ts"}.get(
        plain, {"val": "va", "valid": "va", "validation": "va"}.get(plain, plain)
    )
