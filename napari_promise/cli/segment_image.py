"""One image segmented, plane by plane: its labels, prompts and provenance as files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_promise.cli.segment_files import SegmentJob
from napari_promise.cli.segment_request import (
    SegmentRequest,
    are_other_pixels,
    objects_on,
)
from napari_promise.cli.segment_tiles import (
    ImageInTiles,
    LabelsInTiles,
    PlaneInTiles,
    is_zarr,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.data.export import SavedObject
    from napari_promise.document import BBox, Plane, Region
    from napari_promise.segmenter import Segmenter


def segment_image(
    job: SegmentJob,
    request: SegmentRequest,
    segmenter: Segmenter,
    embeddings: EmbeddingCache | None,
    force: bool,
) -> str:
    """Segment one image and write its files; return what is worth telling."""
    from napari_promise.closer import segment_closer
    from napari_promise.data import export

    opened = ImageInTiles.open(job.image)
    source, shape = opened.source, opened.source.shape
    labels = LabelsInTiles(shape, on_disk=is_zarr(job.labels))
    done: list[SavedObject] = []
    digests: dict[str, str] = {}
    for index in opened.planes:
        wanted = objects_on(index, request, len(shape) > 2)
        if request.objects and not wanted:
            continue
        limits = request.contrast_limits
        plane = PlaneInTiles(opened, index, limits, segmenter, embeddings)
        region = _inside(request.region, plane.shape)
        if not request.objects:
            found, regions = _proposed(segmenter, plane, index, request)
            done += found
            for record, mask in zip(found, regions, strict=True):
                labels.write(index, mask, record.id)
        for record in wanted:
            prompts = record.prompts.within(plane.shape)
            if request.replayed is not None and not prompts.has_target:
                done.append(record)  # an adapter that found nothing, replayed
                continue
            if request.tiles == "auto" and request.replayed is None:
                result, prompts = segment_closer(
                    segmenter,
                    plane,
                    prompts,
                    plane.shape,
                    ips=request.ips,
                    local=request.local,
                )
            else:
                seen = record.tile if request.replayed is not None else region
                result = segmenter.segment(
                    plane(seen), prompts, ips=request.ips, local=request.local
                )
            labels.write(index, result.region, record.label)
            done.append(
                replace(record, prompts=prompts, score=result.score, tile=result.tile)
            )
        digests[",".join(map(str, index))] = plane.digest
    missing = {r.plane for r in request.objects} - {r.plane for r in done} - {()}
    if missing:
        raise ValueError(
            f"{job.image} has no plane {min(missing)} that the prompts speak of: "
            "replay them on the image they were made on."
        )
    image: dict[str, Any] = {"name": job.image.name, "digest": digests}
    if request.contrast_limits is not None:
        image["contrast_limits"] = list(request.contrast_limits)
    record_of_making = export.provenance(
        model=segmenter.model_id,
        model_sha256=segmenter.sha256,
        adapter=segmenter.adapter_info,
        adapter_sha256=segmenter.adapter_sha256,
        ips=request.ips and segmenter.adapter_info is not None,
        local=request.local,
    )
    export.save_prompts(
        job.prompts, done, image=image, metadata=record_of_making, overwrite=True
    )
    # The label file comes last: where it is, the image is done.
    labels.save(
        job.labels,
        source,
        metadata=record_of_making,
        image=image,
        classes={r.label: r.class_name for r in done if r.class_name},
        overwrite=force,
    )
    said = list(source.notes)
    if are_other_pixels(request, digests):
        said.append("these are not the pixels that the prompts were made on.")
    elif not labels.any:
        said.append("nothing was found, the labels are empty.")
    return " ".join(said)


def _inside(region: BBox | None, shape: tuple[int, int]) -> BBox | None:
    """Return the part of a plane that is to be seen; None for all of it."""
    if region is None or region == (0, 0, *shape):
        return None
    if region[2] > shape[0] or region[3] > shape[1]:
        raise ValueError(
            f"--region {','.join(map(str, region))} leaves the image of {shape[0]} "
            f"rows and {shape[1]} columns."
        )
    return region


def _proposed(
    segmenter: Segmenter, plane: PlaneInTiles, index: Plane, request: SegmentRequest
) -> tuple[list[SavedObject], list[Region | None]]:
    """Return what the adapter proposes for a plane, and the masks."""
    from napari_promise.data.export import SavedObject
    from napari_promise.proposing import propose, proposed_closer

    info = segmenter.adapter_info
    named = "" if info is None else info.class_name
    tile = _inside(request.region, plane.shape)
    embedding = plane(tile)
    answered: dict[str, Any] = {"ips": request.ips, "local": request.local}
    if request.closer and segmenter.finds_many and tile is None:
        found = proposed_closer(
            segmenter, embedding, index, shape=plane.shape, embed=plane, **answered
        )
    else:
        found = propose(segmenter, embedding, index, **answered)
    records = [
        SavedObject(
            number,
            one.prompts,
            index,
            named,
            one.sources or (),
            score=one.score,
            coarse=one.coarse if tile is None else None,
            tile=one.tile,
        )
        for number, one in enumerate(found, start=1)
    ]
    if records:
        return records, [one.region for one in found]
    # What the prompter says is kept, so that its file, replayed, finds nothing either.
    nothing = segmenter.propose(embedding)
    sources = ("auto",) * len(nothing.points)
    record = SavedObject(
        1,
        nothing,
        index,
        named,
        sources,
        coarse=nothing.logits if tile is None else None,
        tile=tile,
    )
    return [record], [None]


def upcoming(
    jobs: Iterable[SegmentJob],
    request: SegmentRequest,
    segmenter: Segmenter,
    embeddings: EmbeddingCache | None,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the planes that `segment_image` will have to encode, in its order.

    Only planes that are seen whole, of images that are read whole. What cannot be read
    is left out here: it is said when its turn comes.
    """
    from napari_promise.data.embeddings import key_of
    from napari_promise.data.planes import digest
    from napari_promise.data.pyramids import Pyramid

    if request.region is not None:
        return
    for job in jobs:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            opened = ImageInTiles.open(job.image)
            if isinstance(opened.source, Pyramid):
                continue
            for index in opened.planes:
                is_stack = len(opened.source.shape) > 2
                if request.objects and not objects_on(index, request, is_stack):
                    continue
                rgb8 = opened.read(index, None, request.contrast_limits)
                key = key_of(digest(rgb8), segmenter)
                if embeddings is None or key not in embeddings:
                    yield rgb8
