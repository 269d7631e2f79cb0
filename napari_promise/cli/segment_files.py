"""Which file every image becomes. Reads no more of an image than its header."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

_PLANE_FORMATS = ("png", "tif", "npy", "nii", "nii.gz", "dcm", "zarr")
#: Of images with larger planes the labels are written by tile.
_LARGE = 2**26


@dataclass(frozen=True)
class SegmentJob:
    """One image and the files that it becomes."""

    image: Path
    labels: Path

    @property
    def prompts(self) -> Path:
        """The file of the prompts, beside the labels."""
        from napari_promise.data.images import stem_of

        return self.labels.with_name(stem_of(self.labels) + ".prompts.json")


def find_jobs(
    images: list[Path], output: Path, format_: str | None
) -> list[SegmentJob]:
    """Say which file every image becomes; two may not become the same."""
    from napari_promise.data.export import LABEL_SUFFIXES
    from napari_promise.data.images import exists, stem_of
    from napari_promise.data.pairs import find_images

    if format_ is not None and format_.lstrip(".") not in _PLANE_FORMATS:
        raise ValueError(
            f"--format {format_} is unknown: use one of {', '.join(_PLANE_FORMATS)}."
        )
    found = [path for path in images if _is_pyramid(path)]
    rest = [path for path in images if path not in found]
    if rest or not found:
        found += find_images(rest)
    for image in found:
        if not (_is_pyramid(image) or exists(image)):
            raise ValueError(f"{image} does not exist: check the name.")
    is_zarr = output.name.lower().endswith(".zarr")
    is_file = output.name.lower().endswith(tuple(LABEL_SUFFIXES))
    if is_zarr or (is_file and not output.is_dir()):
        if len(found) > 1:
            raise ValueError(
                f"--output {output} is one file for {len(found)} images: give a folder."
            )
        return [SegmentJob(found[0], output)]
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file: give a folder.")
    jobs: dict[Path, SegmentJob] = {}
    for image in found:
        suffix = f".{(format_ or _format_for(image)).lstrip('.')}"
        job = SegmentJob(image, output / (stem_of(image) + suffix))
        earlier = jobs.setdefault(job.labels, job)
        if earlier is not job:
            raise ValueError(
                f"{earlier.image} and {image} would both become {job.labels}: segment "
                "them into different folders."
            )
        if job.labels.resolve() == image.resolve():
            raise ValueError(
                f"{image} would be replaced by its own result: give another --output."
            )
    return list(jobs.values())


def _is_pyramid(path: Path) -> bool:
    """Whether it is an OME-Zarr folder: an image, though no file."""
    from napari_promise.data.formats.ome_zarr import is_ome_zarr

    return path.is_dir() and is_ome_zarr(path)


def _format_for(image: Path) -> str:
    """Choose a format by what the file holds, reading no more than its header."""
    from napari_promise.data.formats import nifti
    from napari_promise.data.images import shape_of

    if image.name.lower().endswith(nifti.SUFFIXES):
        return "nii.gz"
    if _is_pyramid(image):
        return "zarr"
    planes = 1
    with contextlib.suppress(OSError, ValueError):  # said when the file is read
        shape = shape_of(image)
        planes = math.prod(shape[:-2])
        if math.prod(shape[-2:]) > _LARGE:
            return "zarr"
    return "png" if planes == 1 else "tif"
