"""*Find more like this*: from one object, on its image, its stack, or other layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from napari.layers import Image

from napari_promise.document import Document, ObjectRecord, Plane
from napari_promise.jobs.alike import FindAlike, Place
from napari_promise.project.proposals import record_of
from napari_promise.proposing import ProposedObject
from napari_promise.session import Session
from napari_promise.widgets.layers.bridge import LayerBridge
from napari_promise.widgets.layers.sources import LayerSource
from napari_promise.widgets.layers.work import Work
from napari_promise.widgets.words import counted

__all__ = ["Alike", "Where"]

#: The image's plane on display, all planes of the stack, or the other images.
Where = Literal["plane", "stack", "images"]


class Alike:
    """Looks for objects like one; what is found waits to be accepted.

    Parameters
    ----------
    session : Session
    bridge : LayerBridge
    tell : callable
        Shows one line to the user.
    """

    def __init__(
        self, session: Session, bridge: LayerBridge, tell: Callable[[str], None]
    ) -> None:
        self._session, self._bridge, self._tell = session, bridge, tell
        self._job: FindAlike | None = None
        self._count = 0
        self._run: object = object()

    @property
    def is_running(self) -> bool:
        """Whether objects are being looked for."""
        return self._job is not None

    def close(self) -> None:
        """Look no further; what was found stays."""
        job, self._job = self._job, None
        if job is not None:
            self._session.end_job(job)

    def find(self, object_id: int, where: Where = "plane") -> None:
        """Look for objects like one of the document on display.

        Parameters
        ----------
        object_id : int
        where : {"plane", "stack", "images"}
            On its plane; on all planes of its image; on the first plane, or the plane
            of the same number, of each other image of the viewer.
        """
        work, source = self._bridge.work, self._bridge.source()
        if work is None or source is None or object_id not in work.document:
            self._tell("There is no object to look for: draw one first.")
            return
        record = work.document.get(object_id)
        if record.region is None:
            self._tell(f"Object {object_id} has no mask on its plane yet: click on it.")
            return
        places = self._places(work, source, record, where)
        if not places:
            self._tell("There is no other image in the viewer to look at.")
            return
        self.close()
        self._count, self._run = 0, object()
        examples = [
            one.region
            for one in work.document.on_plane(record.plane)
            if one.region is not None
            and (
                one is record or (one.committed and one.class_name == record.class_name)
            )
        ]
        self._job = FindAlike(
            source,
            record.plane,
            examples,
            places,
            class_name=record.class_name,
            found=self._on_found,
            ended=self._on_ended,
        )
        self._session.start_job(self._job, first=True)

    def _places(
        self, work: Work, source: LayerSource, record: ObjectRecord, where: Where
    ) -> list[Place]:
        if where == "plane":
            known = _known(work.document, record.plane)
            return [Place(source, record.plane, known, work)]
        if where == "stack":
            planes = [tuple(map(int, at)) for at in np.ndindex(source.shape[:-2])]
            planes.sort(key=lambda at: (_apart(at, record.plane), at))
            return [
                Place(source, plane, _known(work.document, plane), work)
                for plane in planes
            ]
        others = [image for image in self._bridge.images() if image is not work.image]
        return [
            place
            for place in (self._on_image(image, record.plane) for image in others)
            if place is not None
        ]

    def _on_image(self, image: Image, plane: Plane) -> Place | None:
        work = self._bridge.work_on(image)
        if work is None:
            return None
        source = LayerSource(image)
        leading = source.shape[:-2]
        fits = len(plane) == len(leading) and all(
            at < size for at, size in zip(plane, leading, strict=True)
        )
        here = plane if fits else (0,) * len(leading)
        return Place(source, here, _known(work.document, here), work)

    def _on_found(self, place: Place, found: tuple[ProposedObject, ...]) -> None:
        if self._job is None:
            return
        document: Document = place.tag.document
        records = [record_of(number, one) for number, one in enumerate(found, start=1)]
        if records:
            with document.step("find more like this", run=self._run):
                document.add_many(records, name="find more like this")
        self._count += len(records)

    def _on_ended(self, line: str) -> None:
        self._job = None
        if line:
            self._tell(f"Looking for more stopped: {line}")
        elif self._count:
            self._tell(
                f"{counted(self._count, 'object')} found: commit those that are right "
                "below the table, delete the others."
            )
        else:
            self._tell("Nothing else looks like it.")


def _known(document: Document, plane: Plane) -> np.ndarray | None:
    """Return the pixels of all objects that a plane has already."""
    regions = [r.region for r in document.on_plane(plane) if r.region is not None]
    if not regions:
        return None
    known = np.zeros(regions[0].shape, bool)
    for region in regions:
        known |= region.mask
    return known


def _apart(a: Plane, b: Plane) -> int:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))
