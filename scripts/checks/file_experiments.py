"""Try files as people have them, and say what comes of each: docs/files.md.

Every experiment makes a small file, does what its title says through the package or
its command line, and says what came out and whether that is right. The numbers are
those of the list of public reports that they were made after.

    python -m scripts.checks.file_experiments --write docs/files.md

writes the table. What version 0.1 did is kept in ``file_experiments_0_1.json``; with a
checkout of it, ``--before FOLDER`` tries it again.

    python -m scripts.checks.file_experiments --only 21

tries some alone. This file runs with version 0.1 too, so that it is the same file that
is tried; where that one kept things elsewhere, `_read_mask` and its like know.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXPERIMENTS", "measure", "write_dicom"]

HERE = Path(__file__).parent
BEFORE = HERE / "file_experiments_0_1.json"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"

#: What came out, and whether that is right.
Outcome = tuple[str, bool]
EXPERIMENTS: dict[str, tuple[str, Callable[[Path], Outcome]]] = {}


def _experiment(
    number: str, title: str
) -> Callable[[Callable[[Path], Outcome]], Callable[[Path], Outcome]]:
    def keep(function: Callable[[Path], Outcome]) -> Callable[[Path], Outcome]:
        EXPERIMENTS[number] = title, function
        return function

    return keep


# The package, of this version and of 0.1 ---------------------------------------------


def _read_mask(path: Path) -> NDArray[Any]:
    try:
        from napari_promise.data.masks import read_mask
    except ImportError:
        from napari_promise.data.pairs import read_mask
    return np.asarray(read_mask(path))


def _open(path: Path) -> Any:
    """Open as the window does."""
    try:
        from napari_promise.data.images import read_image
    except ImportError:
        from napari_promise.project.images import read as read_image
    return read_image(path)


def _as_sam_sees(path: Path, plane: tuple[int, ...] = ()) -> NDArray[Any]:
    """Return a plane as the command line gives it to SAM, (row, column, 3)."""
    try:
        from napari_promise.data.images import read_image

        return np.asarray(read_image(path).rgb8(plane))
    except ImportError:
        from napari_promise.data import pairs, planes

        array = pairs.read_image(path)
        rgb = array.ndim >= 3 and array.shape[-1] in (3, 4)
        return np.asarray(planes.to_rgb8(array[plane] if plane else array, rgb=rgb))


def _command(*arguments: object) -> tuple[int, str, str]:
    """Run the command line; returns status, and what went to stdout and stderr."""
    from napari_promise.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return status, out.getvalue(), err.getvalue()


def _segment(path: Path, *arguments: object) -> tuple[int, Path, str]:
    """Segment an image; returns status, the labels' file and what was said."""
    out = path.parent / "out"
    status, _, said = _command("segment", path, *arguments, "--output", out)
    files = sorted(p for p in out.rglob("*") if p.suffix != ".json" and p.is_file())
    return status, files[0] if files else out / "nothing", said.strip()


def _export(folder: Path, formats: tuple[str, ...], to: Path) -> list[Path]:
    """Confirm one object in every image of a folder, and export."""
    from napari_promise.document import Document
    from napari_promise.project import Project
    from napari_promise.project.exporting import export_project

    with Project.open(folder) as project:
        for item in project.items:
            labels = np.zeros(project.read_image(item.key).shape, np.uint16)
            labels[..., 5:15, 5:15] = 1
            project.save(item.key, Document(), labels, state="done")
        return export_project(project, to, formats)  # type: ignore[arg-type]


# Files -------------------------------------------------------------------------------


def write_dicom(path: Path, pixels: NDArray[Any], **fields: Any) -> Path:
    """Write a DICOM file, explicit little-endian.

    Parameters
    ----------
    path : Path
    pixels : (row, column) or (frame, row, column) integers
    **fields
        Set on the file, by their DICOM keyword.

    Returns
    -------
    Path
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.Modality = "CT"
    data.Rows, data.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    bits = 8 * pixels.dtype.itemsize
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit = bits - 1
    data.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.PixelData = np.ascontiguousarray(pixels).tobytes()
    for name, value in fields.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def _disc(radius: float, shape: tuple[int, int] = (120, 160)) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside = np.hypot(rows - shape[0] // 2, columns - shape[1] // 2) <= radius
    return np.asarray(inside)


def _png(path: Path, array: NDArray[Any], **options: Any) -> Path:
    from PIL import Image

    Image.fromarray(array).save(path, **options)
    return path


def _scene(path: Path, shape: tuple[int, int] = (300, 300)) -> Path:
    """Write a picture with a bright disc in its middle."""
    array = np.full((*shape, 3), 60, np.uint8)
    array[_disc(60, shape)] = (200, 120, 90)
    return _png(path, array)


# How outcomes are told ---------------------------------------------------------------


def _refusal(call: Callable[[], Any]) -> tuple[Any, str]:
    """Return what a call gives, or the line of its refusal."""
    try:
        return call(), ""
    except (ValueError, OSError) as error:
        return None, str(error)


def _told(line: str, path: Path | None = None) -> str:
    """Shorten a refusal for a table: without folders."""
    for each in (path, path.parent if path else None):
        if each is not None:
            line = line.replace(str(each), each.name if each is path else "…")
    line = " ".join(line.split())
    return "refused: “" + (line if len(line) <= 130 else line[:127] + "…") + "”"


def _ids(array: NDArray[Any]) -> str:
    found = np.unique(array[array != 0])
    return (
        f"{len(found)} ids"
        if len(found) > 6
        else "ids " + (", ".join(map(str, found.tolist())) or "none")
    )


def _share(array: NDArray[Any]) -> float:
    return float((array != 0).mean())


def _mask_outcome(
    path: Path, is_right: Callable[[NDArray[Any]], bool], refused_by: str = ""
) -> Outcome:
    """Read a mask; right as `is_right` says, or refused with a word that is named."""
    array, line = _refusal(lambda: _read_mask(path))
    if array is None:
        return _told(line, path), bool(refused_by) and refused_by in line
    return f"{_ids(array)}, foreground {_share(array):.3f}", is_right(array)


def _is_disc(radius: float) -> Callable[[NDArray[Any]], bool]:
    expected = _disc(radius)
    return lambda array: bool(np.array_equal(array != 0, expected))


# A. Masks ----------------------------------------------------------------------------


@_experiment("1a", "A mask: a small object 15 in a ring of 255, which means “ignore”")
def _(folder: Path) -> Outcome:
    array = np.where(_disc(8), 15, np.where(_disc(12), 255, 0)).astype(np.uint8)
    return _mask_outcome(_png(folder / "m.png", array), _is_disc(8))


@_experiment("1b", "The same with a large object")
def _(folder: Path) -> Outcome:
    array = np.where(_disc(22), 15, np.where(_disc(26), 255, 0)).astype(np.uint8)
    return _mask_outcome(_png(folder / "m.png", array), _is_disc(22))


@_experiment("1c", "A mask with a class 255 and a class 127 around it")
def _(folder: Path) -> Outcome:
    array = np.where(_disc(10), 255, np.where(_disc(25), 127, 0)).astype(np.uint8)
    return _mask_outcome(_png(folder / "m.png", array), _is_disc(25))


@_experiment("1d", "A mask whose background is 255: disc 128, cup 0")
def _(folder: Path) -> Outcome:
    array = np.where(_disc(10), 0, np.where(_disc(25), 128, 255)).astype(np.uint8)
    path = _png(folder / "m.png", array)
    return _mask_outcome(path, _is_disc(25), refused_by="background")


@_experiment("2a", "A colour mask on a white background")
def _(folder: Path) -> Outcome:
    array = np.full((120, 160, 3), 255, np.uint8)
    array[_disc(22)] = (255, 0, 0)
    path = _png(folder / "m.png", array)
    return _mask_outcome(path, _is_disc(22), refused_by="background")


@_experiment("2b", "A colour mask on a transparent background")
def _(folder: Path) -> Outcome:
    array = np.zeros((120, 160, 4), np.uint8)
    array[..., :3] = 255
    array[_disc(22)] = (255, 0, 0, 255)
    return _mask_outcome(_png(folder / "m.png", array), _is_disc(22))


@_experiment("2c", "A mask that is black throughout and has its object in alpha")
def _(folder: Path) -> Outcome:
    array = np.zeros((120, 160, 4), np.uint8)
    array[..., 3] = np.where(_disc(22), 255, 0)
    return _mask_outcome(_png(folder / "m.png", array), _is_disc(22))


@_experiment("3", "A palette of black and white whose index 0 is the white object")
def _(folder: Path) -> Outcome:
    from PIL import Image

    picture = Image.fromarray(np.where(_disc(22), 0, 1).astype(np.uint8), "P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(folder / "m.png")
    return _mask_outcome(folder / "m.png", _is_disc(22))


@_experiment("5", "Labels of another image whose name begins alike, in the window")
def _(folder: Path) -> Outcome:
    from napari.components import ViewerModel

    viewer = ViewerModel()
    for name in ("cell_1", "cell_10"):
        viewer.add_image(np.zeros((20, 20)), name=name)
    for name in ("cell_1_labels", "cell_10_labels"):
        viewer.add_labels(np.ones((20, 20), np.uint8), name=name)
    try:
        from napari_promise.widgets.layers.lookup import labelled

        found = labelled(viewer.layers, ())
    except ImportError:
        from napari_promise.widgets.layers.bridge import LayerBridge

        found = LayerBridge(viewer).labelled()
    pairs = {str(each[0].name): str(each[1].name) for each in found}
    told = ", ".join(f"{image} → {labels}" for image, labels in sorted(pairs.items()))
    return told, pairs == {"cell_1": "cell_1_labels", "cell_10": "cell_10_labels"}


@_experiment("6", "A CMYK TIFF")
def _(folder: Path) -> Outcome:
    from PIL import Image

    rgb = np.asarray(Image.open(_scene(folder / "a.png")))
    Image.fromarray(rgb).convert("CMYK").save(folder / "c.tif")
    seen, line = _refusal(lambda: _as_sam_sees(folder / "c.tif"))
    if seen is None:
        return _told(line, folder / "c.tif"), "CMYK" in line or "RGB" in line
    off = float(np.abs(seen.astype(float) - rgb).mean())
    return f"differs from the RGB by {off:.0f} grey values", off < 3


@_experiment("8", "A colour mask that was resized, so that its edges are blends")
def _(folder: Path) -> Outcome:
    from PIL import Image

    array = np.zeros((240, 320, 3), np.uint8)
    array[_disc(44, (240, 320))] = (255, 0, 0)
    small = Image.fromarray(array).resize((160, 120), Image.Resampling.LANCZOS)
    small.save(folder / "m.png")
    return _mask_outcome(folder / "m.png", lambda a: len(np.unique(a)) == 2)


# A. Images, and what comes out -------------------------------------------------------


@_experiment("11", "A stack of floats whose end planes are noise, as SAM sees plane 0")
def _(folder: Path) -> Outcome:
    import tifffile

    stack = np.random.default_rng(0).normal(0, 1, (5, 60, 80)).astype(np.float32)
    stack[2, 20:40, 20:40] += 1000
    tifffile.imwrite(folder / "s.tif", stack, photometric="minisblack")
    spread = float(_as_sam_sees(folder / "s.tif", (0,)).std())
    return f"standard deviation {spread:.0f} of 255", spread < 5


@_experiment("12", "COCO exported twice, with one class more the second time")
def _(folder: Path) -> Outcome:
    from napari_promise.data.coco import save_coco

    labels, numbers = np.zeros((20, 20), np.uint8), []
    labels[2:6, 2:6], labels[10:14, 2:6] = 1, 2
    for name, classes, shown in (
        ("a.json", {1: "lesion"}, np.where(labels == 1, 1, 0)),
        ("a.json", {1: "lesion", 2: "cyst"}, labels),
    ):
        save_coco(
            folder / name, shown, classes=classes, file_name="a.png", overwrite=True
        )
        data = json.loads((folder / name).read_text(encoding="utf-8"))
        numbers.append({each["name"]: each["id"] for each in data["categories"]})
    told = " then ".join(str(each).replace("'", "") for each in numbers)
    return told, numbers[0]["lesion"] == numbers[1]["lesion"]


@_experiment("13", "COCO of a folder with a JPEG and a stack: files that it names")
def _(folder: Path) -> Outcome:
    import nibabel
    from PIL import Image

    source, to = folder / "images", folder / "export"
    source.mkdir()
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(source / "scan.jpg")
    nibabel.save(
        nibabel.Nifti1Image(np.zeros((40, 30, 3), np.int16), np.eye(4)),
        source / "a.nii.gz",
    )
    _export(source, ("coco",), to)
    file = next(to.rglob("annotations.json"))
    data = json.loads(file.read_text(encoding="utf-8"))
    names = [each["file_name"] for each in data["images"]]
    there = [
        any((place / name).exists() for place in (source, to, file.parent))
        for name in names
    ]
    return f"{sum(there)} of {len(names)} files exist ({', '.join(names)})", all(there)


@_experiment("14", "A scan with two affines, units and a time step, segmented")
def _(folder: Path) -> Outcome:
    import nibabel

    volume = np.zeros((60, 50, 2, 2), np.int16)
    volume[20:40, 20:40] = 500
    image = nibabel.Nifti1Image(volume, np.diag([0.5, 0.5, 2, 1]))
    turned = np.array([[0, -0.5, 0, 9], [0.5, 0, 0, 1], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    image.set_qform(turned, 1)
    image.set_sform(np.diag([0.5, 0.5, 2, 1.0]), 2)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((0.5, 0.5, 2, 2.2))
    nibabel.save(image, folder / "a.nii.gz")
    status, labels, said = _segment(folder / "a.nii.gz", "--points", "25,30")
    if status:
        return _told(said, folder / "a.nii.gz"), False
    before, after = (
        nibabel.load(folder / "a.nii.gz").header,
        nibabel.load(labels).header,
    )
    kept = {
        "sform": np.allclose(before.get_sform(), after.get_sform(), atol=1e-4),
        "qform": np.allclose(before.get_qform(), after.get_qform(), atol=1e-4),
        "codes": (int(before["qform_code"]), int(before["sform_code"]))
        == (int(after["qform_code"]), int(after["sform_code"])),
        "units": before.get_xyzt_units() == after.get_xyzt_units(),
        "time step": np.allclose(before.get_zooms(), after.get_zooms(), atol=1e-4),
    }
    lost = [name for name, is_kept in kept.items() if not is_kept]
    return "lost: " + ", ".join(lost) if lost else "all kept", not lost


@_experiment("15a", "A TIFF that states its pixel size, annotated and exported")
def _(folder: Path) -> Outcome:
    import tifffile

    source, to = folder / "images", folder / "export"
    source.mkdir()
    tifffile.imwrite(
        source / "a.tif",
        np.zeros((3, 30, 40), np.uint8),
        imagej=True,
        resolution=(5, 5),
        metadata={"axes": "ZYX", "spacing": 0.5, "unit": "um"},
    )
    _export(source, ("masks",), to)
    written = next(p for p in to.rglob("*") if p.suffix in (".tif", ".tiff", ".png"))
    with tifffile.TiffFile(written) as file:
        tags, noted = file.pages[0].tags, file.imagej_metadata or {}
        found = tags["XResolution"].value if "XResolution" in tags else (1, 1)
        size = found[1] / found[0]
        right = (
            abs(size - 0.2) < 1e-3 and abs(float(noted.get("spacing", 0)) - 0.5) < 1e-6
        )
        ome = file.ome_metadata or ""
        right = right or ('PhysicalSizeX="0.2"' in ome and 'PhysicalSizeZ="0.5"' in ome)
    return f"pixel {size:.2g}, spacing {noted.get('spacing', 'not said')}", right


@_experiment("15b", "An OME-TIFF of one plane with three channels of fluorescence")
def _(folder: Path) -> Outcome:
    import tifffile

    path = folder / "a.ome.tif"
    array = np.random.default_rng(0).integers(0, 999, (3, 30, 40)).astype(np.uint16)
    tifffile.imwrite(path, array, metadata={"axes": "CYX"}, photometric="minisblack")
    opened, line = _refusal(lambda: _open(path))
    if opened is None:
        return _told(line, path), "channel" in line
    planes = int(np.prod(opened.shape[:-2]))
    return f"{planes} plane{'s' * (planes > 1)} to annotate", planes == 1


def _dicom_scale(path: Path) -> tuple[tuple[float, ...] | None, Any]:
    opened = _open(path)
    scale = opened.placement.get("scale")
    return None if scale is None else tuple(round(float(s), 4) for s in scale), opened


@_experiment("16a", "DICOM of several frames, 5 mm thick and 2.5 mm apart")
def _(folder: Path) -> Outcome:
    frames = np.zeros((4, 20, 20), np.int16)
    fields = {"PixelSpacing": ["0.5", "0.5"], "SliceThickness": "5"}
    path = write_dicom(folder / "a.dcm", frames, **fields, SpacingBetweenSlices="2.5")
    scale, _opened = _dicom_scale(path)
    return f"scale {scale}", scale == (2.5, 0.5, 0.5)


@_experiment("16b", "Enhanced CT, its slope and spacing in the functional groups")
def _(folder: Path) -> Outcome:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    measures, values, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SpacingBetweenSlices = ["0.5", "0.5"], "2.5"
    values.RescaleSlope, values.RescaleIntercept = "1", "-1024"
    values.RescaleType = "HU"
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PixelValueTransformationSequence = Sequence([values])
    frames = np.arange(600, dtype=np.int16)[:, None, None] * np.ones(
        (1, 4, 4), np.int16
    )
    path = write_dicom(
        folder / "a.dcm", frames, SharedFunctionalGroupsSequence=Sequence([shared])
    )
    scale, opened = _dicom_scale(path)
    least = float(opened.array.min())
    return f"scale {scale}, least value {least:.0f}", (
        scale == (2.5, 0.5, 0.5) and least == -1024
    )


@_experiment("16c", "An X-ray with the spacing on the detector only")
def _(folder: Path) -> Outcome:
    path = write_dicom(
        folder / "a.dcm",
        np.zeros((20, 20), np.uint16),
        ImagerPixelSpacing=["0.2", "0.2"],
    )
    scale, _opened = _dicom_scale(path)
    return f"scale {scale}", scale == (0.2, 0.2)


@_experiment("16d", "A CT with padding of -2000 and a window, as it is shown first")
def _(folder: Path) -> Outcome:
    pixels = np.full((40, 40), -2000, np.int16)
    pixels[10:30, 10:30] = np.linspace(-100, 200, 400).reshape(20, 20)
    path = write_dicom(
        folder / "a.dcm",
        pixels,
        PixelPaddingValue=-2000,
        WindowCenter="50",
        WindowWidth="400",
    )
    opened = _open(path)
    limits = getattr(opened, "contrast_limits", None)
    if limits is None:
        limits = float(opened.array.min()), float(opened.array.max())
    told = f"contrast {limits[0]:.0f} … {limits[1]:.0f}"
    return told, -500 <= limits[0] <= 0 and 100 <= limits[1] <= 500


# A. Nothing is lost, nothing uncaught ------------------------------------------------


def _layer(shape: tuple[int, ...]) -> Any:
    from napari.layers import Image

    return Image(np.zeros(shape, np.uint8))


@_experiment("17", "Label number 65,536 in the window")
def _(folder: Path) -> Outcome:
    from napari_promise.widgets.layers.result import ResultLabels

    result = ResultLabels(_layer((20, 20)))
    try:
        result.write((), (2, 2, 4, 4), np.full((2, 2), 65_536))
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:110], False
    kept = int(result.layer.data.max())
    return f"label {kept} in a layer of type {result.layer.data.dtype}", kept == 65_536


@_experiment("18", "A lazy series of 500 × 200 × 4096 × 4096, opened in the dock")
def _(folder: Path) -> Outcome:
    import dask.array
    from napari.layers import Image

    from napari_promise.widgets.layers.result import ResultLabels

    data = dask.array.zeros(
        (500, 200, 4096, 4096), chunks=(1, 1, 4096, 4096), dtype="u1"
    )
    image = Image(data, contrast_limits=(0, 255))
    try:
        ResultLabels(image)
    except ValueError as error:
        return _told(str(error)), True
    except Exception as error:
        return f"{type(error).__name__}, uncaught", False
    return "labels of 3 TB allocated", False


@_experiment("19", "The labels of the window replaced by a lazy array")
def _(folder: Path) -> Outcome:
    import dask.array

    from napari_promise.widgets.layers.result import ResultLabels

    result = ResultLabels(_layer((20, 20)))
    try:
        result.layer.data = dask.array.ones((20, 20), dtype=np.uint16)
        result.write((), (2, 2, 4, 4), np.full((2, 2), 7))
    except Exception as error:
        return f"{type(error).__name__}, uncaught", False
    return "taken over", bool((result.layer.data == 7).sum() == 4)


# A. Ordinary files -------------------------------------------------------------------


@_experiment("21", "TIFF in LZW, JPEG and CCITT")
def _(folder: Path) -> Outcome:
    from PIL import Image

    failed = []
    for name, mode in (("tiff_lzw", "RGB"), ("jpeg", "RGB"), ("group4", "1")):
        path = folder / f"{name}.tif"
        picture = Image.open(_scene(folder / "a.png")).convert(mode)
        picture.save(path, compression=name)
        opened, _line = _refusal(lambda path=path: _open(path))
        if opened is None:
            failed.append(name)
    return "refused: " + ", ".join(failed) if failed else "all open", not failed


@_experiment("23", "A folder of stacks with masks, evaluated")
def _(folder: Path) -> Outcome:
    import nibabel

    for name in ("images", "masks"):
        (folder / name).mkdir()
    volume = np.zeros((32, 24, 5), np.int16)
    volume[8:20, 6:16, 1:4] = 1
    for at in range(2):
        for name, factor in (("images", 500), ("masks", 1)):
            image = nibabel.Nifti1Image(volume * np.int16(factor), np.eye(4))
            nibabel.save(image, folder / name / f"{at}.nii.gz")
    arguments = ["--images", folder / "images", "--masks", folder / "masks"]
    status, _out, said = _command("evaluate", *arguments, "--prompts", "box")
    if status:
        return _told(said, folder / "images"), False
    return "planes with objects are measured", True


@_experiment("24a", "Masks named as people name them, eight ways, for training")
def _(folder: Path) -> Outcome:
    from napari_promise.data.pairs import find_pairs

    names = {
        "case_001_0000.png": "case_001.png",
        "IMG.PNG": "IMG_MASK.PNG",
        "b.png": "mask_b.png",
        "c.jpg": "c.jpg.png",
        "d.png": "d-mask.png",
        "e.png": "e_seg.png",
        "f.png": "f_cp_masks.png",
        "h.png": "h_Annotation.png",
    }
    failed = []
    for number, (image, mask) in enumerate(names.items()):
        images, masks = folder / f"{number}" / "images", folder / f"{number}" / "labels"
        for where, name in ((images, image), (masks, mask)):
            where.mkdir(parents=True)
            file = _scene(folder / "scene.png")
            shutil.copy(file, where / name)
        pairs, _line = _refusal(lambda i=images, m=masks: find_pairs(i, m))
        if not pairs or pairs[0].mask.name != mask:
            failed.append(mask)
    return (f"not found: {', '.join(failed)}" if failed else "all found"), not failed


@_experiment("24b", "A folder with imagesTr and labelsTr in the dock")
def _(folder: Path) -> Outcome:
    from napari_promise.project import Project

    for where, name in (("imagesTr", "a_0000.png"), ("labelsTr", "a.png")):
        (folder / where).mkdir()
        _scene(folder / where / name)
    with Project.open(folder) as project:
        keys = list(project.keys)
    return "images: " + ", ".join(keys), keys == ["imagesTr/a_0000.png"]


@_experiment("26a", "Float labels that are whole but for 1e-7")
def _(folder: Path) -> Outcome:
    import nibabel

    array = np.where(_disc(22), 0.9999999, 0).astype(np.float32)
    array[:10, :10] = 1.9999998
    nibabel.save(nibabel.Nifti1Image(array.T[..., None], np.eye(4)), folder / "m.nii")
    return _mask_outcome(folder / "m.nii", lambda a: np.unique(a).tolist() == [0, 1, 2])


@_experiment("26b", "Integer labels that their header scales by 0.1")
def _(folder: Path) -> Outcome:
    import nibabel

    array = np.where(_disc(22), 1, 0).astype(np.int16)
    array[:10, :10] = 2
    image = nibabel.Nifti1Image(array.T[..., None], np.eye(4))
    image.header.set_slope_inter(0.1, 0)
    nibabel.save(image, folder / "m.nii")
    content = bytearray((folder / "m.nii").read_bytes())
    content[112:116] = np.float32(0.1).tobytes()  # nibabel writes none for integers
    (folder / "m.nii").write_bytes(content)
    return _mask_outcome(
        folder / "m.nii", lambda a: np.unique(a).tolist() == [0, 1, 2], "scaled"
    )


@_experiment("27", "A PNG of 14000 × 13000 pixels, 1 bit each")
def _(folder: Path) -> Outcome:
    from PIL import Image

    path = folder / "a.png"
    Image.new("1", (14_000, 13_000)).save(path)
    opened, line = _refusal(lambda: _open(path))
    if opened is not None:
        return f"opens, {opened.shape}", True
    return _told(line, path), "TIFF" in line


@_experiment("28a", "A DICOM file without a suffix, segmented")
def _(folder: Path) -> Outcome:
    pixels = np.zeros((60, 60), np.int16)
    pixels[20:40, 20:40] = 500
    path = write_dicom(folder / "IM0001", pixels)
    status, labels, said = _segment(path, "--points", "30,30")
    return (_told(said, path), False) if status else (f"writes {labels.name}", True)


@_experiment("28b", "A folder of DICOM files without a suffix, in the dock")
def _(folder: Path) -> Outcome:
    from napari_promise.project import Project

    source = folder / "disk"
    source.mkdir()
    for number in range(3):
        write_dicom(
            source / f"IM000{number}",
            np.zeros((20, 20), np.int16),
            SeriesInstanceUID="1.2.3",
            ImagePositionPatient=["0", "0", str(2 * number)],
        )
    project, line = _refusal(lambda: Project.open(source))
    if project is None:
        return _told(line, source), False
    with project:
        count = len(project)
    return f"{count} image{'s' * (count > 1)} of 3 slices", count == 1


@_experiment("28c", "A DICOM file without a preamble")
def _(folder: Path) -> Outcome:
    pixels = np.zeros((20, 20), np.int16)
    whole = write_dicom(folder / "whole.dcm", pixels).read_bytes()
    (folder / "a.dcm").write_bytes(whole[132:])
    opened, line = _refusal(lambda: _open(folder / "a.dcm"))
    return (_told(line, folder / "a.dcm"), False) if opened is None else ("opens", True)


def _edge(folder: Path, *arguments: str) -> tuple[int, int, str]:
    path = _scene(folder / "a.png")
    status, labels, said = _segment(path, *arguments)
    count = int((_read_mask(labels) != 0).sum()) if not status else 0
    return status, count, said.replace(str(path), path.name)


@_experiment("29a", "A box that reaches beyond the image, on the command line")
def _(folder: Path) -> Outcome:
    status, count, said = _edge(folder, "--box", "50,100,150,320")
    return (_told(said), False) if status else (f"cut, {count} pixels", count > 0)


@_experiment("29b", "A box without area")
def _(folder: Path) -> Outcome:
    status, count, said = _edge(folder, "--box", "100,150,100,150")
    return (_told(said), True) if status else (f"{count} pixels, status 0", False)


@_experiment("29c", "Points that exclude, and nothing else")
def _(folder: Path) -> Outcome:
    status, count, said = _edge(folder, "--points", "10,10,0")
    return (_told(said), True) if status else (f"{count} pixels, status 0", False)


@_experiment("29d", "A point to include and one to exclude on the same pixel")
def _(folder: Path) -> Outcome:
    status, count, said = _edge(folder, "--points", "150,150,1;150,150,0")
    return (_told(said), True) if status else (f"{count} pixels, status 0", count > 0)


# B. Limits ---------------------------------------------------------------------------


@_experiment("30", "A JPEG that a camera marked as turned by 180°")
def _(folder: Path) -> Outcome:
    from PIL import Image

    path, exif = folder / "a.jpg", Image.Exif()
    exif[0x0112] = 3
    Image.open(_scene(folder / "a.png")).save(path, exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        opened = _open(path)
        status, _labels, said = _segment(path, "--points", "150,150")
    words = " ".join([said, *(str(w.message) for w in caught), *map(str, vars(opened))])
    told = [
        word for word in ("orientation", "EXIF", "turned", "rotat") if word in words
    ]
    return "said once" if told else "not applied, without a word", told


@_experiment("31", "Training on one lesion of 2 pixels in 512: what the refusal says")
def _(folder: Path) -> Outcome:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(2):
        _png(folder / f"images/{number}.png", np.full((512, 512), 90, np.uint8))
        mask = np.zeros((512, 512), np.uint8)
        mask[250:252, 250:252] = 1
        _png(folder / f"masks/{number}.png", mask)
    arguments: list[Any] = ["--images", folder / "images", "--masks", folder / "masks"]
    arguments += ["--epochs", 1, "--output", folder / "adapter"]
    status, _out, said = _command("train", *arguments)
    lines = [line for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if not status:
        return "trained", True
    true = "every mask is empty" not in said and "above zero" not in said
    return _told(last), true and any(word in said for word in ("small", "grid", "cell"))


@_experiment("32", "Two objects that overlap, exported as COCO")
def _(folder: Path) -> Outcome:
    from napari_promise.data.coco import save_coco

    labels = np.zeros((20, 20), np.uint8)
    labels[2:10, 2:10], labels[6:14, 6:14] = 1, 2
    save_coco(folder / "a.json", labels, file_name="a.png")
    said = "overlap" in (folder / "a.json").read_text(encoding="utf-8")
    return ("said in the file" if said else "the hidden part is lost, unsaid"), said


@_experiment("33", "COCO for programs that take polygons only")
def _(folder: Path) -> Outcome:
    from skimage.draw import polygon2mask

    from napari_promise.data.coco import save_coco

    labels = np.where(_disc(22), 1, 0).astype(np.uint8)
    options: dict[str, Any] = {"file_name": "a.png"}
    try:
        save_coco(folder / "a.json", labels, polygons=True, **options)
    except TypeError:  # version 0.1
        save_coco(folder / "a.json", labels, **options)
    data = json.loads((folder / "a.json").read_text(encoding="utf-8"))
    outlines = data["annotations"][0]["segmentation"]
    if not isinstance(outlines, list):
        return "run-length only", False
    # COCO counts from the corner of the first pixel, (x, y).
    corners = np.reshape(outlines[0], (-1, 2))[:, ::-1] - 0.5
    there, seen = labels > 0, polygon2mask(labels.shape, corners)
    both, either = there & seen, there | seen
    told = f"polygons by choice, {both.sum() / either.sum():.0%} of the area agrees"
    return told, bool(both.sum() > 0.95 * either.sum())


@_experiment("34", "Labels as PNG, seen in another program")
def _(folder: Path) -> Outcome:
    from PIL import Image

    from napari_promise.data.labels import save_labels

    labels = np.zeros((20, 20), np.uint8)
    labels[2:8, 2:8], labels[10:16, 2:8] = 1, 2
    save_labels(folder / "m.png", labels)
    with Image.open(folder / "m.png") as picture:
        brightest = int(np.asarray(picture.convert("RGB")).max())
    kept = np.array_equal(_read_mask(folder / "m.png"), labels)
    told = f"brightest colour {brightest}, ids {'kept' if kept else 'lost'}"
    return told, brightest > 60 and kept


@_experiment("35a", "A TIFF whose first page is a thumbnail")
def _(folder: Path) -> Outcome:
    import tifffile

    path = folder / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(np.zeros((20, 30), np.uint8), subfiletype=1)
        file.write(np.ones((200, 300), np.uint8))
    opened, line = _refusal(lambda: _open(path))
    if opened is None:
        return _told(line, path), "page" in line
    return f"opens {opened.shape}", opened.shape == (200, 300)


@_experiment("35b", "The first file of an OME-TIFF set alone")
def _(folder: Path) -> Outcome:
    import tifffile

    path, missing = folder / "a.ome.tif", "b.ome.tif"
    planes = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{t}</UUID></TiffData>'
        for t, name in enumerate((path.name, missing))
    )
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/'
        '2016-06" UUID="urn:uuid:0"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="30" SizeY="20" SizeZ="1" SizeC="1" '
        f'SizeT="2"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels>'
        "</Image></OME>"
    )
    tifffile.imwrite(path, np.ones((20, 30), np.uint8), description=xml, metadata=None)
    opened, line = _refusal(lambda: _open(path))
    if opened is None:
        return _told(line, path), missing in line or "missing" in line
    black = not np.asarray(opened.array).reshape(-1, 600).any(axis=1).all()
    told = f"opens {opened.shape}" + (", a missing plane is black" if black else "")
    return told, not black


@_experiment("35c", "A mask in a TIFF with one object on each page")
def _(folder: Path) -> Outcome:
    import tifffile

    for name in ("images", "masks"):
        (folder / name).mkdir()
    _png(folder / "images/a.png", np.zeros((120, 160), np.uint8))
    pages = np.zeros((2, 120, 160), np.uint8)
    pages[0, 10:30, 10:40], pages[1, 60:90, 50:80] = 255, 255
    tifffile.imwrite(folder / "masks/a.tif", pages, photometric="minisblack")
    arguments = ["--images", folder / "images", "--masks", folder / "masks"]
    status, _out, said = _command("evaluate", *arguments, "--prompts", "box")
    if status:
        return _told(said.splitlines()[-1], folder), "pages" in said
    return f"read as {_ids(_read_mask(folder / 'masks/a.tif'))}", False


@_experiment("38", "A folder that cannot be written, annotated")
def _(folder: Path) -> Outcome:
    from napari_promise.project import Project

    source = folder / "images"
    source.mkdir()
    _scene(source / "a.png")
    (source / ".promise").write_text("in the way of the project's own folder")
    project, line = _refusal(lambda: Project.open(source))
    if project is not None:
        project.close()
        return "opens", False
    return _told(line, source), "choose another folder" in line


@_experiment("39", "A point added in the window while the axes of a stack are rolled")
def _(folder: Path) -> Outcome:
    import time

    import napari
    from napari.layers import Points
    from qtpy.QtWidgets import QApplication

    try:
        from napari_promise.widgets.prompting.dock import PromiseWidget
    except ImportError:
        from napari_promise.widgets.dock import PromiseWidget
    viewer = napari.Viewer(show=False)
    try:
        viewer.add_image(np.zeros((5, 90, 120), np.uint8))
        widget = PromiseWidget(viewer)
        viewer.window.add_dock_widget(widget)
        viewer.dims.order = (1, 0, 2)
        (points,) = (each for each in viewer.layers if isinstance(each, Points))
        points.add((1.8, 30, 40))
        document = widget.bridge.work.document
        end = time.monotonic() + 10
        while len(points.data) and not len(document) and time.monotonic() < end:
            QApplication.processEvents()
        if not len(document):
            return "refused" if not len(points.data) else "nothing", not len(
                points.data
            )
        (record,) = document.objects
        (place,) = record.prompts.points.tolist()
        told = f"plane {record.plane[0]}, at {tuple(place)}"
        return told, record.plane == (2,) and place == [30, 40]
    finally:
        viewer.close()


# Running them ------------------------------------------------------------------------


def measure(
    only: str = "",
    tell: Callable[[str, list[Any]], None] = lambda number, outcome: None,
) -> dict[str, list[Any]]:
    """Try experiments; returns what came out and whether it is right, by number."""
    found: dict[str, list[Any]] = {}
    for number, (_title, function) in EXPERIMENTS.items():
        if only and not {number, number.rstrip("abcd")} & set(only.split(",")):
            continue
        with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                told, right = function(Path(name))
            except Exception as error:
                line = (str(error).splitlines() or [""])[0][:110]
                told, right = f"{type(error).__name__}, uncaught: {line}", False
            found[number] = [told.replace(name, "…"), bool(right)]
            tell(number, found[number])
    return found


def _measure_before(checkout: Path) -> dict[str, list[Any]]:
    """Try them all with another checkout's package, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, __file__, "--outcomes"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=checkout,
        check=True,
    )
    return dict(json.loads(line) for line in done.stdout.splitlines())


def _rows(before: dict[str, list[Any]], now: dict[str, list[Any]]) -> Iterator[str]:
    def cell(outcome: list[Any] | None) -> str:
        if outcome is None:
            return "not tried"
        told = str(outcome[0]).replace("|", "\\|").replace("<", "&lt;")
        return f"{'✓' if outcome[1] else '**✗**'} {told}"

    yield "| | experiment | version 0.1 | now |"
    yield "| --- | --- | --- | --- |"
    for number, (title, _) in EXPERIMENTS.items():
        yield (
            f"| {number} | {title} | {cell(before.get(number))} | "
            f"{cell(now.get(number))} |"
        )
    right = [sum(bool(each[1]) for each in found.values()) for found in (before, now)]
    yield f"| | right | {right[0]} of {len(before)} | {right[1]} of {len(now)} |"


def _write(page: Path, before: dict[str, list[Any]], now: dict[str, list[Any]]) -> None:
    text = page.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    table = "\n".join(_rows(before, now))
    page.write_text(f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}", encoding="utf-8")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="numbers, such as 1a,15,28")
    parser.add_argument("--write", type=Path, help="a page with a place for the table")
    parser.add_argument("--before", type=Path, help="a checkout of version 0.1")
    parser.add_argument("--outcomes", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    if options.before:
        before = _measure_before(options.before.resolve())
        text = json.dumps(before, indent=1, ensure_ascii=False)
        BEFORE.write_text(text + "\n", encoding="utf-8")
    if options.outcomes:
        measure(options.only, lambda *each: print(json.dumps(each), flush=True))
        return 0
    before = json.loads(BEFORE.read_text(encoding="utf-8")) if BEFORE.exists() else {}

    def tell(number: str, outcome: list[Any]) -> None:
        mark = "right" if outcome[1] else "WRONG"
        print(f"{number:4} {mark:6} {outcome[0]}", flush=True)
        if number in before:
            print(f"{'':11} before: {before[number][0]}")

    now = measure(options.only, tell)
    if options.write:
        _write(options.write, before, now)
    return int(not all(right for _, right in now.values()))


if __name__ == "__main__":
    sys.exit(main())
