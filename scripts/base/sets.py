"""All image sets: terms, whether a base may be trained on them, how to read one.

Weights that are shipped are trained only on sets whose stated terms are MIT, BSD,
Apache, CC0, CC BY or CC BY-SA, and not on the sets of `LEFT_OUT`, which are kept as
strangers although their terms would allow it. Every set may measure. Parts are a pure
function of the file names and divide by patient, volume or sequence.

The sets lie outside the repository, see `scripts.study.datasets.data_root`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from napari_promise.data.ct_windows import SOFT_TISSUE
from scripts.study import datasets
from scripts.study.datasets import Pair

#: Terms under which what was trained on a set may be shipped.
OPEN = ("CC0", "CC BY 4.0", "CC BY-SA 4.0", "MIT", "Apache-2.0")
#: Sets whose terms would allow training, kept apart to say what a stranger gets.
LEFT_OUT = ("octa_faz", "prostate_mr_deepreg", "subcortical_brain_mr")

TEST_SHARE, VAL_SHARE = 0.25, 0.08
#: With fewer groups than this none is spent on choosing settings.
LEAST_GROUPS = 10


@dataclass(frozen=True)
class ImageSet:
    """One set of images with masks.

    Attributes
    ----------
    name, title : str
        Its folder, and what it shows.
    terms : str
        As stated where it comes from; one of `OPEN`, or what stands in the way.
    targets : {"masks", "ids", "classes"}
        Foreground, instance ids, or classes, of which every connected part is one
        object.
    unions : tuple of tuple of int
        Classes that make one object together (a disc is rim and cup).
    alone : tuple of int, optional
        Classes that are objects by themselves; all when left out.
    group : str
        Regular expression; what it matches of a file's stem stays in one part.
    ct : bool
        Volumes of Hounsfield units.
    test_groups : tuple of str
        Groups kept for measuring, instead of a draw by hash.
    uneven : bool
        Some masks have another shape than their image; those pairs are left out.
    """

    name: str
    title: str
    terms: str
    targets: str = "classes"
    unions: tuple[tuple[int, ...], ...] = ()
    alone: tuple[int, ...] | None = None
    group: str = r".*"
    ct: bool = False
    test_groups: tuple[str, ...] = ()
    uneven: bool = False

    @property
    def trainable(self) -> bool:
        """Whether shipped weights may see it and do."""
        return self.terms in OPEN and self.name not in LEFT_OUT


_BEFORE_DASH = r"^[^_]+"
_RESEARCH = "research only"
_NOT_STATED = "not stated"

SETS: dict[str, ImageSet] = {
    one.name: one
    for one in (
        ImageSet("kvasir-seg", "colonoscopy, polyps", _RESEARCH, "masks"),
        ImageSet("cvc-clinicdb", "colonoscopy, polyps", _RESEARCH, "masks"),
        ImageSet("ph2", "dermoscopy, lesions", _RESEARCH, "masks"),
        ImageSet("busi", "breast ultrasound, lesions", "CC BY 4.0", "masks"),
        ImageSet("dsb2018", "nuclei", "CC0", "ids"),
        ImageSet("hippocampus", "MR, hippocampus", "CC BY-SA 4.0", unions=((1, 2),)),
        ImageSet("openkbp_hn_ct", "head and neck CT", "MIT", ct=True),
        ImageSet("acdc_cardiac_mr", "cine cardiac MR", "data: non-commercial"),
        ImageSet("la_lge_mr", "LGE MR, left atrium", _NOT_STATED),
        ImageSet(
            "brats_brain_mr",
            "brain MR, glioma",
            "CC BY-NC-SA 3.0",
            unions=((1, 2, 3, 4), (1, 3, 4)),
            alone=(4,),
        ),
        ImageSet("subcortical_brain_mr", "T1 brain, subcortical", "MIT"),
        ImageSet("prostate_mr_deepreg", "prostate MR", "Apache-2.0"),
        ImageSet("lung_lobes_mr", "chest MR, lobes", _NOT_STATED),
        ImageSet("lung_ct_imlab", "chest CT, lungs", _NOT_STATED, ct=True),
        ImageSet(
            "totalseg_ct_mr",
            "CT and MR, organs",
            "Apache-2.0",
            test_groups=("example_mr_sm",),
        ),
        ImageSet("ct_spleen_volume", "CT, spleen", _NOT_STATED, ct=True),
        ImageSet("spinal_cord_mr", "cervical cord MR", "MIT", test_groups=("t2",)),
        ImageSet("ct_abdomen_curvas", "abdominal CT", "CC BY-NC", group=_BEFORE_DASH),
        ImageSet(
            "ct_kidney_kits",
            "CT, kidney and tumour",
            "data: non-commercial",
            unions=((1, 2),),
            alone=(2,),
            group=_BEFORE_DASH,
        ),
        ImageSet(
            "ct_spleen_msd", "CT, spleen", "CC BY-SA 4.0", "masks", group=_BEFORE_DASH
        ),
        ImageSet("ct_aorta", "CT, aorta", "CC BY 4.0", "masks", test_groups=("none",)),
        ImageSet("ct_head_hemorrhage", "head CT, bleeding", "MIT", group=r"^..."),
        ImageSet("mr_brain_tumour_brisc", "brain MR, tumours", "CC BY 4.0"),
        ImageSet("mr_head_tissue", "T1 head, tissues", "CC BY-NC-SA 4.0"),
        ImageSet("mr_spine_spider", "spine MR", "CC BY 4.0", group=_BEFORE_DASH),
        ImageSet(
            "mr_heart_hvsmr",
            "cardiac MR",
            "CC BY 4.0",
            group=_BEFORE_DASH,
            test_groups=("10004",),
        ),
        ImageSet("ct_heart_chd", "cardiac CT", "Apache-2.0", group=_BEFORE_DASH),
        ImageSet("mr_kidney_t2", "MR, kidneys", "CC BY 4.0", group=_BEFORE_DASH),
        ImageSet("mr_pancreas_t2", "MR, pancreas", "GPL 3.0", "masks"),
        ImageSet(
            "us_carotid",
            "ultrasound, carotid",
            "CC BY 4.0",
            "masks",
            group=_BEFORE_DASH,
            test_groups=("202201121815070032VAS", "202201121834300037VAS"),
        ),
        ImageSet("us_liver_lesion", "ultrasound, liver lesions", "CC BY 4.0"),
        ImageSet("us_fetal_head", "ultrasound, fetal head", _NOT_STATED, "masks"),
        ImageSet(
            "fundus_drishti",
            "fundus, disc and cup",
            "CC0",
            unions=((1, 2),),
            alone=(2,),
            uneven=True,
        ),
        ImageSet(
            "fundus_smdg",
            "fundus, disc and cup",
            "a collection, each its own",
            unions=((1, 2),),
            alone=(2,),
        ),
        ImageSet("octa_faz", "OCT angiography", "CC BY 4.0"),
        ImageSet("he_rings", "H&E, glands", "CC BY 4.0", group=r"^P\d+_[A-Z]\d+"),
        ImageSet("cxr_lungs_covid", "chest X-ray", "each image its own", uneven=True),
        ImageSet("em_mito_drosophila", "EM, mitochondria", "CC BY-NC-SA 3.0", "ids"),
        ImageSet("em_isbi_cells", "EM, cells", "data: not stated", "ids"),
        ImageSet(
            "wbc_smear",
            "blood smear, white cells",
            "GPL-3.0",
            unions=((1, 2),),
            alone=(2,),
        ),
        ImageSet("ctc_dic_hela", "DIC, cells", _NOT_STATED, "ids"),
        ImageSet("ctc_fluo_hela", "fluorescence, nuclei", _NOT_STATED, "ids"),
        ImageSet("ctc_phc_psc", "phase contrast, cells", _NOT_STATED, "ids"),
    )
}

#: How often each source is drawn while training; relative.
MIXTURE = {
    "scenes": 20.0,
    "vessels": 5.0,
    "dsb2018": 11.0,
    "busi": 8.0,
    "hippocampus": 4.0,
    "openkbp_hn_ct": 6.0,
    "totalseg_ct_mr": 6.0,
    "spinal_cord_mr": 1.5,
    "ct_spleen_msd": 3.5,
    "ct_aorta": 2.5,
    "ct_head_hemorrhage": 5.0,
    "mr_brain_tumour_brisc": 5.0,
    "mr_spine_spider": 6.0,
    "mr_heart_hvsmr": 5.0,
    "ct_heart_chd": 6.0,
    "mr_kidney_t2": 5.0,
    "us_carotid": 3.0,
    "us_liver_lesion": 5.0,
    "fundus_drishti": 5.0,
    "he_rings": 4.0,
}


@dataclass(frozen=True, eq=False)
class Plane:
    """One image and its truth.

    Attributes
    ----------
    image : numpy.ndarray
        (H, W) of any real type or (H, W, 3) uint8.
    labels : numpy.ndarray
        (H, W) int32.
    spacing : tuple of float
        Relative height and width of a pixel.
    """

    image: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float] = (1.0, 1.0)


def parts(name: str) -> dict[str, list[Pair]]:
    """Pairs of one set as ``train``, ``val`` and ``test``.

    The six sets that `scripts.study` knows keep its division. Of sets that are never
    trained on everything is ``test``.

    Raises
    ------
    ValueError
        If the set is unknown, missing, or an image has no counterpart.
    """
    if name in datasets.MASK_SETS + datasets.LABEL_SETS:
        return datasets.load_parts(name)
    if name not in SETS:
        raise ValueError(f"unknown image set {name!r}: use one of {', '.join(SETS)}")
    about = SETS[name]
    folder = datasets.data_root() / name
    if not (folder / "images").is_dir():
        raise ValueError(f"image set {name!r} not found at {folder}; set PROMISE_DATA")
    targets = folder / ("masks" if about.targets == "masks" else "labels")
    by_stem = {_stem(path): path for path in targets.iterdir()}
    pairs = []
    for image in sorted((folder / "images").iterdir()):
        stem = _stem(image)
        if stem not in by_stem:
            raise ValueError(f"{image} has no counterpart in {targets}; add or remove")
        found = re.match(about.group, stem)
        pair = Pair(image, by_stem[stem], found.group() if found else stem)
        if not about.uneven or _is_even(pair):
            pairs.append(pair)
    if not about.trainable:
        return {"train": [], "val": [], "test": pairs}
    if about.test_groups:
        kept = [p for p in pairs if p.group in about.test_groups]
        return {
            "train": [p for p in pairs if p not in kept],
            "val": [],
            "test": kept,
        }
    val = VAL_SHARE if len({p.group for p in pairs}) >= LEAST_GROUPS else 0.0
    return datasets.split(pairs, name, test_share=TEST_SHARE, val_share=val)


@cache
def read_volume(
    image: Path, target: Path
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Read a volume, its labels and the edges of a voxel."""
    import nibabel

    grey = nibabel.load(image)
    labels = np.asanyarray(nibabel.load(target).dataobj).astype(np.int32)
    return (
        np.asanyarray(grey.dataobj),
        labels,
        tuple(map(float, grey.header.get_zooms())),
    )


def is_volume(pair: Pair) -> bool:
    """Tell whether a pair is a volume."""
    return pair.image.name.endswith(".nii.gz")


def axes_of(spacing: tuple[float, ...]) -> tuple[int, ...]:
    """Axes across which planes are cut: all of a nearly isotropic volume, else one."""
    coarsest = int(np.argmax(spacing[:3]))
    return (0, 1, 2) if max(spacing[:3]) < 1.6 * min(spacing[:3]) else (coarsest,)


def plane_at(pair: Pair, axis: int, index: int) -> Plane:
    """Cut one plane of a volume."""
    volume, labels, spacing = read_volume(pair.image, pair.target)
    rest = [s for a, s in enumerate(spacing[:3]) if a != axis]
    return Plane(
        np.take(volume, index, axis), np.take(labels, index, axis), (rest[0], rest[1])
    )


def read_picture(name: str, pair: Pair) -> Plane:
    """Read one 2-D pair."""
    image = datasets.read_image(pair.image)
    if SETS[name].targets == "masks":
        return Plane(image, datasets.read_mask(pair.target).astype(np.int32))
    return Plane(image, datasets.read_labels(pair.target))


def measured_planes(name: str, pair: Pair, count: int = 3) -> Iterator[Plane]:
    """Planes of a pair to measure on: the picture, or some of a volume.

    Of a volume: planes along its coarsest, else last axis, at even steps between the
    first and the last that hold anything.
    """
    if not is_volume(pair):
        yield read_picture(name, pair)
        return
    _, labels, spacing = read_volume(pair.image, pair.target)
    axes = axes_of(spacing)
    axis = axes[-1]
    others = tuple(a for a in range(3) if a != axis)
    filled = np.flatnonzero(labels.any(axis=others))
    places = (np.arange(count) + 0.5) / count * len(filled)
    for index in sorted({int(filled[int(p)]) for p in places}):
        yield plane_at(pair, axis, index)


def objects(name: str, labels: np.ndarray, least: int = 1) -> list[np.ndarray]:
    """Masks of the single objects of a label image.

    Parameters
    ----------
    name : str
    labels : numpy.ndarray
        (H, W) int.
    least : int
        Pixels that an object has; what is smaller is left out.

    Returns
    -------
    list of numpy.ndarray
        (H, W) bool. Of classes every connected part that has at least a tenth of the
        pixels of its largest one; of masks the whole foreground.
    """
    about = SETS[name]
    if about.targets == "masks":
        return [labels > 0] if (labels > 0).sum() >= least else []
    values = [int(v) for v in np.unique(labels) if v != 0]
    if about.targets == "ids":
        masks = [labels == value for value in values]
        return [mask for mask in masks if mask.sum() >= least]
    return [
        part
        for mask in class_masks(name, labels)
        for part in _connected(mask)
        if part.sum() >= least
    ]


def class_masks(name: str, labels: np.ndarray) -> list[np.ndarray]:
    """Whole classes and unions of classes of a label image, (H, W) bool, none empty."""
    about = SETS[name]
    values = [int(v) for v in np.unique(labels) if v != 0]
    alone = values if about.alone is None else [v for v in about.alone if v in values]
    masks = [labels == value for value in alone]
    masks += [np.isin(labels, union) for union in about.unions]
    return [mask for mask in masks if mask.any()]


def _connected(mask: np.ndarray) -> list[np.ndarray]:
    marks, count = ndimage.label(mask)
    if count < 2:
        return [mask]
    sizes = np.bincount(marks.ravel())[1:]
    return [marks == 1 + i for i in np.flatnonzero(sizes >= 0.1 * sizes.max())]


def shown(name: str, plane: Plane) -> np.ndarray:
    """Return a plane as a person sees it when it is measured, (H, W, 3) uint8."""
    from napari_promise.data.planes import to_rgb8

    about = SETS[name]
    hounsfield = about.ct or (
        plane.image.dtype == np.int16 and plane.image.min() < -900
    )
    return to_rgb8(plane.image, SOFT_TISSUE if hounsfield else None)


def square_pixels(plane: Plane) -> Plane:
    """Enlarge the longer edge of oblong pixels, so that shapes are what they are."""
    high, wide = plane.spacing
    if max(high, wide) < 1.15 * min(high, wide):
        return plane
    rows, columns = plane.labels.shape
    size = (
        round(columns * wide / min(high, wide)),
        round(rows * high / min(high, wide)),
    )
    grey = Image.fromarray(plane.image.astype(np.float32)).resize(
        size, Image.Resampling.BICUBIC
    )
    labels = Image.fromarray(plane.labels.astype(np.int32)).resize(
        size, Image.Resampling.NEAREST
    )
    return Plane(np.asarray(grey), np.asarray(labels))


def _is_even(pair: Pair) -> bool:
    with Image.open(pair.image) as image, Image.open(pair.target) as target:
        return image.size == target.size


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
