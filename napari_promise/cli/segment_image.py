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

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.data.export import SavedObject
    from napari_promise.document import Plane, Region
    from napari_promise.model.sam import Embedding
    from napari_promise.segmenter import Segmenter


def segment_image(
    job: SegmentJob,
    request: SegmentRequest,
    segmenter: Segmenter,
    embeddings: EmbeddingCache | None,
    force: bool,
) -> str:
    """Segment one image and write its files; return what is worth telling."""
    import numpy as np

    from napari_promise.data import export, planes
    from napari_promise.data.images import read_image

    opened = read_image(job.image)
    shape = opened.shape
    labels = np.zeros(shape, np.int64)
    done: list[SavedObject] = []
    digests: dict[str, str] = {}
    for index in opened.planes:
        wanted = objects_on(index, request, len(shape) > 2)
        if request.objects and not wanted:
            continue
        rgb8 = opened.rgb8(index, request.contrast_limits)
        digests[",".join(map(str, index))] = planes.digest(rgb8)
        embedding = embed(segmenter, rgb8, embeddings, job.image.name)
        if not request.objects:
            found, regions = _proposed(segmenter, embedding, index, request, rgb8)
            done += found
            for record, region in zip(found, regions, strict=True):
                _write(labels[index], region, record.id)
        for record in wanted:
            prompts = record.prompts.within((shape[-2], shape[-1]))
            if request.replayed is not None and not prompts.has_target:
                done.append(record)  # an adapter that found nothing, replayed
                continue
            result = segmenter.segment(
                embedding, prompts, ips=request.ips, local=request.local
            )
            _write(labels[index], result.region, record.label)
            done.append(replace(record, score=result.score))
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
    values, placement = opened.place.labels_as_in_file(labels)
    export.save_labels(
        job.labels,
        values,
        **placement,
        metadata=record_of_making,
        image=image,
        as_mask=True,
        overwrite=force,
    )
    said = list(opened.notes)
    if are_other_pixels(request, digests):
        said.append("these are not the pixels that the prompts were made on.")
    elif not labels.any():
        said.append("nothing was found, the labels are empty.")
    return " ".join(said)


def _proposed(
    segmenter: Segmenter,
    embedding: Embedding,
    index: Plane,
    request: SegmentRequest,
    rgb8: npt.NDArray[np.uint8],
) -> tuple[list[SavedObject], list[Region | None]]:
    """Return what the adapter proposes for a plane, and the masks."""
    from napari_promise.data.export import SavedObject
    from napari_promise.proposing import found_closer, propose

    info = segmenter.adapter_info
    named = "" if info is None else info.class_name
    closer = None
    if request.closer and segmenter.finds_many:
        closer = found_closer(segmenter, rgb8, embedding)
    found = propose(
        segmenter,
        embedding,
        index,
        ips=request.ips,
        local=request.local,
        found=closer,
    )
    records = [
        SavedObject(
            number,
            one.prompts,
            index,
            named,
            one.sources or (),
            score=one.score,
            coarse=one.coarse,
        )
        for number, one in enumerate(found, start=1)
    ]
    if records:
        return records, [one.region for one in found]
    # What the prompter says is kept, so that its file, replayed, finds nothing either.
    nothing = segmenter.propose(embedding)
    sources = ("auto",) * len(nothing.points)
    record = SavedObject(1, nothing, index, named, sources, coarse=nothing.logits)
    return [record], [None]


def _write(labels: npt.NDArray[Any], region: Region | None, number: int) -> None:
    """Write an object into a plane's labels, where there is none yet."""
    if region is None:
        return
    r0, c0, r1, c1 = region.bbox
    target = labels[r0:r1, c0:c1]
    target[region.crop & (target == 0)] = number


def embed(
    segmenter: Segmenter,
    rgb8: npt.NDArray[np.uint8],
    embeddings: EmbeddingCache | None,
    name: str,
) -> Embedding:
    """Return the embedding, encoding only what no session has encoded before."""
    from napari_promise.data.embeddings import key_of
    from napari_promise.data.planes import digest

    if embeddings is None:
        return segmenter.encode(rgb8)
    key = key_of(digest(rgb8), segmenter)
    arrays = embeddings.get(key)
    if arrays is not None:
        with contextlib.suppress(ValueError):  # not whole: encoded anew
            return segmenter.restore(arrays)
    embedding = segmenter.encode(rgb8)
    embeddings.put(key, embedding.to_arrays(), {"image": name})
    return embedding


def upcoming(
    jobs: Iterable[SegmentJob],
    request: SegmentRequest,
    segmenter: Segmenter,
    embeddings: EmbeddingCache | None,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the planes that `segment_image` will have to encode, in its order.

    What cannot be read is left out here: it is said when its turn comes.
    """
    from napari_promise.data.embeddings import key_of
    from napari_promise.data.images import read_image
    from napari_promise.data.planes import digest

    for job in jobs:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            opened = read_image(job.image)
            for index in opened.planes:
                is_stack = len(opened.shape) > 2
                if request.objects and not objects_on(index, request, is_stack):
                    continue
                rgb8 = opened.rgb8(index, request.contrast_limits)
                key = key_of(digest(rgb8), segmenter)
                if embeddings is None or key not in embeddings:
                    yield rgb8
