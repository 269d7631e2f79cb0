"""One stack segmented from the prompts of a few planes: `segment --propagate`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_promise.cli.segment_files import SegmentJob
from napari_promise.cli.segment_request import SegmentRequest, are_other_pixels
from napari_promise.cli.segment_tiles import embed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.data.export import SavedObject
    from napari_promise.data.images import OpenedImage
    from napari_promise.document import BBox
    from napari_promise.model.sam import Embedding
    from napari_promise.propagation import PlaneResult
    from napari_promise.segmenter import Segmenter

#: The label of what an adapter proposes: one object a stack.
_PROPOSED = 1


@dataclass(frozen=True)
class VolumeRequest:
    """What is wanted of every stack."""

    prompted: SegmentRequest  # without objects the adapter proposes
    z_range: tuple[int, int] | None = None
    every: int | None = None  # of so many planes one is proposed on


def read_volume_request(
    request: SegmentRequest,
    propagate: bool,
    z_range: str | None,
    every: int | None = None,
) -> VolumeRequest | None:
    """Read what `--propagate` is to do; None without it.

    Raises
    ------
    ValueError
        If nothing says on which plane the objects are, or the range is none.
    """
    if not propagate:
        if z_range is not None:
            raise ValueError("--z-range belongs to --propagate: add it.")
        if every is not None:
            raise ValueError("--every belongs to --propagate: add it.")
        return None
    if request.replayed is None and request.objects:
        raise ValueError(
            "--propagate needs --prompts FILE, which says on which planes the objects "
            "are, or an --adapter alone, which proposes one."
        )
    if every is not None and request.objects:
        raise ValueError(
            "--every is for what an adapter proposes, and --prompts says where the "
            "objects are: leave one out."
        )
    if any(not record.plane for record in request.objects):
        raise ValueError(
            "--prompts was made on a single plane and not on a stack: make prompts on "
            "a plane of the stack."
        )
    if z_range is None:
        return VolumeRequest(request, None, every)
    try:
        first, last = (int(number) for number in z_range.split(","))
    except ValueError:
        raise ValueError(
            f"--z-range {z_range!r} cannot be read: write first,last."
        ) from None
    if first > last:
        raise ValueError(f"--z-range {z_range}: the first plane comes first.")
    return VolumeRequest(request, (first, last), every)


def segment_volume(
    job: SegmentJob,
    request: VolumeRequest,
    segmenter: Segmenter,
    embeddings: EmbeddingCache | None,
    force: bool,
) -> str:
    """Segment one stack and write its files; return what is worth telling."""
    import numpy as np

    from napari_promise.data import export, planes
    from napari_promise.data.images import read_image

    opened = read_image(job.image)
    records = _checked(request.prompted.objects, opened, job)
    labels = np.zeros(opened.shape, np.int64)
    limits = request.prompted.contrast_limits
    done: list[SavedObject] = []
    found: list[dict[str, Any]] = []
    prompted = {record.plane[:-1] for record in records}
    every = np.ndindex(*opened.shape[:-3])
    for lead in sorted(prompted) if request.prompted.objects else every:
        stack = _Planes(opened, lead, limits, segmenter, embeddings, job)
        here = [record for record in records if record.plane[:-1] == lead]
        scored, results = (
            _propagated(stack, here, request)
            if request.prompted.objects
            else _proposed(stack, request)
        )
        done += scored
        for result in results:
            if result.region is not None:
                r0, c0, r1, c1 = result.region.bbox
                target = labels[(*lead, result.plane)][r0:r1, c0:c1]
                target[result.region.crop & (target == 0)] = result.label
            found.append(_told(result, lead))
    digests = {
        ",".join(map(str, record.plane)): planes.digest(
            opened.rgb8(record.plane, limits)
        )
        for record in done
    }
    image: dict[str, Any] = {"name": job.image.name, "digest": digests}
    if limits is not None:
        image["contrast_limits"] = list(limits)
    record_of_making = export.provenance(
        model=segmenter.model_id,
        model_sha256=segmenter.sha256,
        adapter=segmenter.adapter_info,
        adapter_sha256=segmenter.adapter_sha256,
        ips=request.prompted.ips and segmenter.adapter_info is not None,
        local=request.prompted.local and segmenter.adapter_info is not None,
    )
    record_of_making["propagation"] = found
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
    if are_other_pixels(request.prompted, digests):
        said.append("these are not the pixels that the prompts were made on.")
    elif not labels.any():
        said.append("nothing was found, the labels are empty.")
    return " ".join(said)


def _checked(
    records: tuple[SavedObject, ...], opened: OpenedImage, job: SegmentJob
) -> list[SavedObject]:
    """Return the prompts, all of whose planes are there."""
    leads = opened.shape[:-2]
    if not leads:
        raise ValueError(f"{job.image} is a single plane: leave --propagate out.")
    for record in records:
        if len(record.plane) != len(leads) or any(
            not 0 <= index < count
            for index, count in zip(record.plane, leads, strict=True)
        ):
            raise ValueError(
                f"{job.image} has no plane {record.plane} that the prompts speak of: "
                "replay them on the image they were made on."
            )
    return list(records)


def _propagated(
    stack: _Planes, records: list[SavedObject], request: VolumeRequest
) -> tuple[list[SavedObject], list[PlaneResult]]:
    """Answer the prompts of a stack and carry the answers through it."""
    from napari_promise.propagation import Propagator

    propagator = Propagator(
        stack.embed, stack.pixels, stack.count, spacing=stack.spacing
    )
    done = []
    for record in records:
        prompts = record.prompts.within(stack.shape)
        if not prompts.has_target:
            done.append(record)  # an adapter that found nothing, replayed
            continue
        plane = record.plane[-1]
        result = stack.segmenter.segment(
            stack.embed(plane, record.tile),
            prompts,
            ips=request.prompted.ips,
            local=request.prompted.local,
        )
        propagator.set_plane(plane, record.label, result.region)
        done.append(replace(record, score=result.score, tile=result.tile))
    for _ in propagator.run(request.z_range):
        pass
    return done, [r for label in propagator.labels for r in propagator.results(label)]


def _proposed(
    stack: _Planes, request: VolumeRequest
) -> tuple[list[SavedObject], list[PlaneResult]]:
    """Have the adapter propose on some planes of a stack, and fill the others."""
    from napari_promise.data.export import SavedObject
    from napari_promise.propagation import Propagator
    from napari_promise.propagation.proposed import agreeing, planes_to_ask
    from napari_promise.proposing import ProposedObject, propose

    segmenter = stack.segmenter
    if segmenter.finds_many:
        raise ValueError(
            "the adapter looks for many objects on a plane: leave --propagate out, or "
            "choose an adapter of one object."
        )
    first, last = request.z_range or (0, stack.count - 1)
    first, last = max(0, first), min(last, stack.count - 1)
    if first > last:
        raise ValueError(
            f"--z-range {first},{last} holds no plane: there are {stack.count}."
        )
    proposals: dict[int, ProposedObject] = {}
    for plane in planes_to_ask(first, last, request.every):
        objects = propose(
            segmenter,
            stack.embed(plane),
            (*stack.lead, plane),
            ips=request.prompted.ips,
            local=request.prompted.local,
        )
        if objects and objects[0].region is not None:
            proposals[plane] = objects[0]
    propagator = Propagator(
        stack.embed, stack.pixels, stack.count, spacing=stack.spacing
    )
    votes = agreeing(
        propagator,
        _PROPOSED,
        {p: one.region.mask for p, one in proposals.items() if one.region is not None},
    )
    for _ in propagator.run(request.z_range):
        pass
    named = segmenter.adapter_info.class_name if segmenter.adapter_info else ""
    done = [
        SavedObject(
            number,
            proposals[plane].prompts,
            (*stack.lead, plane),
            named,
            proposals[plane].sources or (),
            proposals[plane].score,
            coarse=proposals[plane].coarse,
            label=_PROPOSED,
        )
        for number, plane in enumerate(sorted(votes), 1)
    ]
    results = [
        replace(result, source="proposed", confidence=votes[result.plane])
        if result.plane in votes
        else result
        for result in propagator.results(_PROPOSED)
    ]
    return done, results


def _told(result: PlaneResult, lead: tuple[int, ...]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "plane": [*lead, result.plane],
        "label": result.label,
        "source": result.source,
        "confidence": round(result.confidence, 3),
    }
    if result.stopped is not None:
        told["stopped"] = result.stopped
    return told


@dataclass(frozen=True, eq=False)
class _Planes:
    """The planes of a stack as propagation asks for them."""

    opened: OpenedImage
    lead: tuple[int, ...]
    limits: tuple[float, float] | None
    segmenter: Segmenter
    embeddings: EmbeddingCache | None
    job: SegmentJob

    @property
    def shape(self) -> tuple[int, int]:
        return self.opened.shape[-2], self.opened.shape[-1]

    @property
    def count(self) -> int:
        return self.opened.shape[-3]

    @property
    def spacing(self) -> tuple[float, float, float]:
        scale = self.opened.place.scale
        if scale is None or len(scale) < 3:
            return 1.0, 1.0, 1.0
        return scale[-3], scale[-2], scale[-1]

    def rgb8(self, plane: int) -> npt.NDArray[np.uint8]:
        return self.opened.rgb8((*self.lead, plane), self.limits)

    def pixels(self, plane: int) -> npt.NDArray[Any]:
        return self.rgb8(plane).mean(axis=-1) / 255

    def embed(self, plane: int, tile: BBox | None = None) -> Embedding:
        seen, name = self.rgb8(plane), self.job.image.name
        if tile is not None:
            seen = seen[tile[0] : tile[2], tile[1] : tile[3]]
        return embed(self.segmenter, seen, self.embeddings, name, tile, self.shape)
